//! Plugins are compiled in a child process that gives up what it does not need and can be stopped; a bomb is refused and harms nobody.

use std::cell::Cell;
use std::io::Write;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tidemill::config::plan::Limits;
use tidemill::plugin::{Compiler, Engine, LoadError, World};

use super::wrong::{FIELDS, UNCHANGED, component};
use crate::support::{guests, wait_for};

fn engine() -> Engine {
    Engine::new(None, guests::compiler()).expect("an engine")
}

/// A plugin whose module has one function of so many statements beside it: small, and much work.
fn bomb(statements: usize) -> Vec<u8> {
    let statement = "(if (i32.lt_u (local.get $a) (local.get $b)) (then (local.set $a (i32.mul (local.get $b) (local.get $a)))) \
                     (else (local.set $b (i32.xor (local.get $a) (local.get $b)))))";
    let text = format!(
        "(component (core module (func (export \"f\") (param $a i32) (param $b i32) (result i32) {} (local.get $a))) {})",
        statement.repeat(statements),
        // It says that it is a plugin, so that it is compiled at all.
        "(component $empty) (instance $empty (instantiate $empty)) (export \"tidemill:plugin/fields@0.1.0\" (instance $empty))",
    );
    wat::parse_str(&text).expect("a component")
}

#[test]
fn a_child_compiles_as_this_process_would() {
    let plugin = engine().load(&guest()).expect("a plugin");
    assert_eq!(plugin.world, World::Fields);
    let here = Engine::new(None, Compiler::Here).expect("an engine").load(&guest()).expect("a plugin");
    assert_eq!((plugin.digest, plugin.imports), (here.digest, here.imports));
    let whole = component(UNCHANGED, FIELDS);
    let mut broken = whole.clone();
    // Inside of the module, whose length stays as it is.
    let code = whole.windows(2).rposition(|pair| pair == [0x00, 0x0b]).expect("the end of a function");
    broken[code + 1] = 0xff;
    let LoadError::Invalid(here) =
        Engine::new(None, Compiler::Here).expect("an engine").load(&broken).map(drop).expect_err("broken")
    else {
        panic!("invalid")
    };
    assert_eq!(engine().load(&broken).map(drop), Err(LoadError::Invalid(here)));
}

fn guest() -> Vec<u8> {
    std::fs::read(guests::component("tests/guests/triage")).expect("read the guest")
}

#[test]
fn a_bomb_is_stopped_and_told_apart_and_the_next_plugin_compiles() {
    let engine = engine();
    let bomb = bomb(60_000);
    assert!(bomb.len() < 2 << 20, "{} bytes", bomb.len());
    let limits = Limits { compile_time: Duration::from_secs(2), ..Limits::default() };
    let told = Cell::new(0);
    let stopped = engine.load_stage(&bomb, &limits, &|_| told.set(told.get() + 1)).map(drop);
    assert_eq!(stopped, Err(LoadError::CompileTime(Duration::from_secs(2))));
    assert!(told.get() >= 1, "nobody heard that it compiles");
    let limits = Limits { compile_memory_bytes: 64 << 20, ..Limits::default() };
    assert_eq!(engine.load_stage(&bomb, &limits, &|_| {}).map(drop), Err(LoadError::CompileMemory(64 << 20)));
    assert!(engine.load(&guest()).is_ok());
}

#[test]
fn without_a_program_nothing_is_said_of_the_plugin() {
    let engine = Engine::new(None, Compiler::Child("/nowhere/tidemill".into())).expect("an engine");
    assert!(
        matches!(engine.load(&guest()).map(drop), Err(LoadError::Compiler(reason)) if reason.contains("start a child process"))
    );
}

/// A child that has been asked and waits for its component.
fn child(seconds: &str) -> Child {
    let Compiler::Child(program) = guests::compiler() else { panic!("tests compile in children") };
    let mut command = Command::new(program);
    command
        .args(["compile-component", seconds, "1073741824"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command.spawn().expect("start a child")
}

#[test]
fn a_child_keeps_no_file_open_and_bounds_itself_before_it_reads() {
    // As if the host's own parent had left a file open to its children.
    let left_open = std::fs::File::open("/dev/null").expect("a file");
    rustix::io::fcntl_setfd(&left_open, rustix::io::FdFlags::empty()).expect("leave it open");
    let mut child = child("7");
    let proc = Path::new("/proc").join(child.id().to_string());
    let limits = wait_for("the child to bound itself", || {
        let limits = std::fs::read_to_string(proc.join("limits")).ok()?;
        limits.lines().any(|line| line.starts_with("Max address space") && !line.contains("unlimited")).then_some(limits)
    });
    let limit =
        |name: &str| limits.lines().find_map(|line| line.strip_prefix(name)?.split_whitespace().next().map(str::to_owned));
    assert_eq!(limit("Max cpu time").as_deref(), Some("7"));
    assert_eq!((limit("Max core file size").as_deref(), limit("Max file size").as_deref()), (Some("0"), Some("0")));
    let mut open: Vec<_> =
        std::fs::read_dir(proc.join("fd")).expect("list").map(|entry| entry.expect("an entry").file_name()).collect();
    open.sort();
    assert_eq!(open, ["0", "1", "2"], "{} was left open", left_open.as_raw_fd());
    let niceness = |of: &Path| -> i32 {
        let stat = std::fs::read_to_string(of.join("stat")).expect("read");
        stat.rsplit(')').next().and_then(|rest| rest.split_whitespace().nth(16)?.parse().ok()).expect("a niceness")
    };
    assert_eq!(niceness(&proc), niceness(Path::new("/proc/self")) + 5);
    child.stdin.take().expect("its input").write_all(b"\0asm\x0d\0\x01\0 and nonsense").expect("write");
    let output = child.wait_with_output().expect("the end of the child");
    assert_eq!((output.status.code(), output.stdout.len()), (Some(9), 0));
    assert!(!output.stderr.is_empty(), "it says why");
}
