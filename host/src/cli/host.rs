//! What `run` and `dev` have in common: a pipeline under way in this process, with its page, until it ends or is told to.

use std::convert::Infallible;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use serde_json::json;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::{Done, Exit, Failure, ListenArgs, OrExit, Output, Tone, ending, events, listen};
use crate::config::plan::SinkAddress;
use crate::pipeline::{self, Ended, Options, Prepared, Running, StartError};
use crate::plugin::end_builds;
use crate::status::Reporter;
use crate::status::late::Late;
use crate::status::token::Token;
use crate::store::{self, Store};

/// Threads for I/O; plugins have threads of their own.
const IO_THREADS: usize = 2;
/// A start that takes longer says what it waits for.
const START_TOLD_AFTER: Duration = Duration::from_secs(1);

pub struct Host {
    pub prepared: Prepared,
    pub store_dir: PathBuf,
    pub listen: ListenArgs,
    pub options: Options,
    pub telling: Telling,
}

/// What a person reads while the pipeline runs.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Telling {
    /// Where it is, and how it ended.
    Briefly,
    /// Every event.
    Events,
}

impl Host {
    pub fn run(self, out: &Output) -> Result<Done, Failure> {
        let mut runtime = tokio::runtime::Builder::new_multi_thread();
        let runtime = runtime.worker_threads(IO_THREADS).thread_name("io").enable_all().build();
        let runtime = runtime.context("start the runtime").or_exit(Exit::Environment)?;
        let ended = runtime.block_on(self.host(out));
        end_builds();
        // Nothing is left to wait for: what still runs was given up.
        runtime.shutdown_background();
        ended
    }

    async fn host(self, out: &Output) -> Result<Done, Failure> {
        let Host { prepared, store_dir, listen: args, options, telling } = self;
        // Before anything is open, so that a signal during the start is not lost.
        let mut ends = Ends::new(options.control.clone()).or_exit(Exit::Environment)?;
        let hang_ups = signal(SignalKind::hangup()).context("listen for signals").or_exit(Exit::Environment)?;
        ending::leave_to_host();
        let store = Store::open(&store_dir).or_exit(Exit::Environment)?;
        let pipeline = prepared.plan.name.clone();
        let showing = listen::showing(&prepared.plan.dashboard);
        let public = showing.is_public();
        if prepared.plan.sinks.iter().any(|sink| sink.at == SinkAddress::Stdout) {
            out.leave_stdout_to_records();
        }
        let reporter = Reporter::default();
        pipeline::announce(&prepared, &reporter, &options);
        let server = args.serve(&store_dir, showing, reporter.clone(), Arc::new(options.control.clone()), out.logs().clone())?;
        store.set_address(&server.address.to_string()).or_exit(Exit::Environment)?;
        let page = format!("http://{}/", listen::to_open(server.address));
        let waits = async {
            tokio::time::sleep(START_TOLD_AFTER).await;
            let reason = reporter.snapshot().reason.unwrap_or_default();
            out.line(format!("{} {pipeline} does not run yet, {reason}; page: {page}", out.paint(Tone::Warn, "!")));
            std::future::pending::<Infallible>().await
        };
        let running = tokio::select! {
            running = pipeline::start(prepared, store.clone(), reporter.clone(), options) => running.map_err(refused)?,
            () = ends.next() => {
                let summary = format!("{pipeline}: told to end before it ran");
                out.line(&summary);
                return Ok(Done::new(summary, json!(Ended::default())));
            }
            never = waits => match never {},
        };
        let running = Arc::new(running);
        drop(store);
        out.line(format!("{} {pipeline} runs; page: {page}", out.paint(Tone::Good, "✓")));
        // A token of a person's own choice is theirs to tell.
        if telling == Telling::Events && !public && std::env::var_os("TIDEMILL_TOKEN").is_none() {
            let token = Token::load(&store_dir).or_exit(Exit::Environment)?;
            out.line(out.paint(Tone::Faint, format!("  with the right to change things: {page}{}", token.fragment())));
        }
        let drained = tokio::spawn(drain_on(ends, running.clone()));
        let reloads = tokio::spawn(reload_on(hang_ups, running.clone()));
        let receipts = running.receipts();
        let events = async {
            match telling {
                Telling::Events => events::tell(out, &reporter, receipts).await,
                Telling::Briefly => std::future::pending().await,
            }
        };
        let ended = tokio::select! {
            ended = running.ended() => ended,
            never = events => match never {},
        };
        drained.abort();
        reloads.abort();
        drop(server);
        let ended = ended.map_err(|reason| Failure::new(Exit::Failed, reason))?;
        let summary = format!(
            "{pipeline}: {} ingested, {} delivered, {} dropped, {} rejected in {:.1} s",
            ended.ingested,
            ended.delivered,
            ended.dropped,
            ended.rejected,
            ended.duration_ms as f64 / 1e3
        );
        out.line(&summary);
        Ok(Done::new(summary, json!(ended)))
    }
}

fn refused(error: StartError) -> Failure {
    let exit = match &error {
        StartError::Store(store::Error::Owned(_) | store::Error::Io(_)) | StartError::Workers(_) => Exit::Environment,
        StartError::Chain(_) => Exit::Wrong,
        _ => Exit::Failed,
    };
    Failure::new(exit, error.to_string())
}

/// SIGTERM, Ctrl-C, and the API's drain while nothing runs that could be asked.
struct Ends {
    terminate: Signal,
    interrupt: Signal,
    control: Late,
}

impl Ends {
    fn new(control: Late) -> anyhow::Result<Ends> {
        let on = |kind| signal(kind).context("listen for signals");
        Ok(Ends { terminate: on(SignalKind::terminate())?, interrupt: on(SignalKind::interrupt())?, control })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
            () = self.control.told_to_end() => {}
        }
    }
}

/// The first signal drains; a second one leaves at once, which is as correct as a crash.
async fn drain_on(mut ends: Ends, running: Arc<Running>) {
    ends.next().await;
    tracing::info!("draining; a second signal leaves at once");
    running.drain();
    end_builds();
    ends.next().await;
    std::process::exit(i32::from(Exit::Failed as u8));
}

/// SIGHUP looks at all files, whether or not they are watched.
async fn reload_on(mut hang_ups: Signal, running: Arc<Running>) {
    while hang_ups.recv().await.is_some() {
        running.reload();
    }
}
