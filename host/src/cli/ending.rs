//! Signals while plugins are built: what builds ends with this process.
//!
//! A signal that is listened for once ends no process by itself any more, so this goes on until a host drains on them.

use std::sync::Once;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context;
use tokio::signal::unix::{SignalKind, signal};

use super::{Exit, Failure, OrExit};

static LEFT_TO_HOST: AtomicBool = AtomicBool::new(false);

/// From now on SIGTERM and Ctrl-C end builds and this process, as they do without builds.
pub fn with_builds() -> Result<(), Failure> {
    static LISTENS: Once = Once::new();
    let mut started = Ok(());
    LISTENS.call_once(|| started = listen());
    started.context("listen for signals").or_exit(Exit::Environment)
}

/// A host listens itself.
pub fn leave_to_host() {
    LEFT_TO_HOST.store(true, Ordering::Relaxed);
}

fn listen() -> std::io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    let entered = runtime.enter();
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    drop(entered);
    let listening = async move {
        loop {
            let number = tokio::select! {
                _ = terminate.recv() => SignalKind::terminate(),
                _ = interrupt.recv() => SignalKind::interrupt(),
            };
            if !LEFT_TO_HOST.load(Ordering::Relaxed) {
                // As a shell tells of a process that a signal has ended.
                crate::plugin::exit_with_builds(128 + number.as_raw_value());
            }
        }
    };
    std::thread::Builder::new().name("signals".to_owned()).spawn(move || runtime.block_on(listening)).map(drop)
}
