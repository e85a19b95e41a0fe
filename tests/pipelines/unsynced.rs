//! A disk that takes lines and cannot keep them: what `fdatasync` has not confirmed is not settled. The host runs behind a filter of the
//! kernel's (seccomp) that lets this one call fail; SQLite keeps the store with another, `fsync`.

use std::collections::BTreeSet;
use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

use serde_json::Value;

use crate::support::host::Host;
use crate::support::jobs::{self, Scene};
use crate::support::{skip_or_panic, wait_for};

/// The number of `fdatasync`, by architecture.
const FDATASYNC: u32 = if cfg!(target_arch = "x86_64") { 75 } else { 83 };

/// An instruction of a filter (`struct sock_filter` in linux/filter.h).
#[repr(C)]
struct Instruction(u16, u8, u8, u32);

/// `struct sock_fprog`.
#[repr(C)]
struct Program(u16, *const Instruction);

unsafe extern "C" {
    fn prctl(option: i32, ...) -> i32;
}

/// To be called in the child: `fdatasync` fails with EIO from now on, here and in what is started.
fn fail_to_sync() -> io::Result<()> {
    const SET_NO_NEW_PRIVS: i32 = 38;
    const SET_SECCOMP: i32 = 22;
    const FILTER: u64 = 2;
    let filter = [
        // The call's number; where it is this one, EIO, else it is allowed.
        Instruction(0x20, 0, 0, 0),
        Instruction(0x15, 0, 1, FDATASYNC),
        Instruction(0x06, 0, 0, 0x0005_0000 | 5),
        Instruction(0x06, 0, 0, 0x7fff_0000),
    ];
    let program = Program(filter.len() as u16, filter.as_ptr());
    // SAFETY: both are calls of the kernel's, which copies the program.
    let set = unsafe {
        prctl(SET_NO_NEW_PRIVS, 1u64, 0u64, 0u64, 0u64) == 0 && prctl(SET_SECCOMP, FILTER, &raw const program, 0u64, 0u64) == 0
    };
    if set { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Starts what it is given behind the filter.
fn unsynced() -> Command {
    let mut command = Command::new("env");
    // SAFETY: nothing but two calls of the kernel's is made in the child.
    unsafe { command.pre_exec(fail_to_sync) };
    command
}

#[test]
fn lines_that_were_not_synced_are_not_settled() {
    let there = unsynced().arg("true").status();
    if !there.as_ref().is_ok_and(std::process::ExitStatus::success) {
        skip_or_panic(&format!("a filter of calls is not to be had: {there:?}"));
        return;
    }
    let scene = Scene::new("tests/crash/table-and-file", jobs::lines(200));
    let mut host = scene.pipeline.start_within(unsynced(), "run", &[]);
    assert!(!host.wait().success());
    assert!(host.log().contains("lines.ndjson: Input/output error"), "a name is synced as well: {}", host.log());

    let lines = scene.dir.path().join("lines.ndjson");
    let read = || std::fs::read_to_string(&lines).expect("the lines");
    assert_eq!(read(), "");
    let mut host = scene.pipeline.start_within(unsynced(), "run", &[]);
    host.ready(&scene.store_dir());
    let sink = |host: &Host| host.status()["sinks"][1].clone();
    wait_for("some attempts", || (sink(&host)["retries"].as_u64() >= Some(3)).then_some(()));
    let reason = sink(&host)["last-error"].to_string();
    assert!(reason.contains("lines.ndjson: Input/output error"), "{reason}");
    let status = host.status();
    let partitions = status["partitions"].as_object().expect("partitions");
    let settled = partitions.values().filter(|partition| partition["next"] != 0).count();
    assert_eq!((settled, &status["totals"]["emitted"]), (0, &Value::from(0)), "{status:#}");
    host.kill();

    scene.pipeline.run_until_idle().ok();
    scene.verify_all().assert_clean();
    let written = read();
    let number = |line: &[u8]| serde_json::from_slice::<Value>(line).ok()?["number"].as_i64();
    let written: BTreeSet<_> = written.lines().map(|line| number(line.as_bytes()).expect("a whole line")).collect();
    let kept = scene.lines.iter().filter(|line| String::from_utf8_lossy(line).contains(r#""do":"keep""#));
    assert_eq!(written, kept.filter_map(|line| number(line)).collect());
    assert!(!written.is_empty());
}
