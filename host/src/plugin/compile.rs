//! Compiling apart from the stream: in a child process that can be stopped and whose memory is bounded.
//!
//! A valid component of some hundred KiB can keep a compiler busy for minutes, fill the memory, or make it panic or run out of stack. None of
//! that may reach the host, so it starts itself as a child (`tidemill compile-component`, which is no verb for people): the component goes in by standard
//! input, the code comes back by standard output. The child bounds itself before it reads a byte of the component.

use std::ffi::OsString;
use std::io::{Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, ExitStatus, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, Signal};

use super::engine;
use super::load::LoadError;
use crate::config::plan::Limits;

/// First argument of a child.
const VERB: &str = "compile-component";
/// The clock on the wall ends a child after so many times its CPU time, and never sooner than this.
const WALL_FACTOR: u32 = 10;
const WALL_MIN: Duration = Duration::from_secs(60);
/// How often a person hears of it.
const PROGRESS_EVERY: Duration = Duration::from_secs(1);
/// Of what a child says, for its error; and the largest code that it may return.
const REASON_BYTES: u64 = 4096;
pub(super) const CODE_BYTES_MAX: u64 = 1 << 30;
/// The stream goes first.
const NICENESS: i32 = 5;

/// Where plugins are compiled.
#[derive(Clone, Debug)]
pub enum Compiler {
    /// In a child process of this program, which is `tidemill`, under the stage's limits.
    Child(PathBuf),
    /// In this process, with neither a deadline nor a bound on memory: for a program that embeds the library without the `tidemill`
    /// binary at hand, and only for components that it trusts.
    Here,
}

impl Compiler {
    /// Children of the running program, for `tidemill` itself.
    ///
    /// # Errors
    /// The system does not tell which program this is.
    pub fn this_program() -> std::io::Result<Compiler> {
        // Still the same program after an upgrade has replaced the file.
        let running = Path::new("/proc/self/exe");
        if running.exists() {
            return Ok(Compiler::Child(running.to_owned()));
        }
        std::env::current_exe().map(Compiler::Child)
    }

    /// Machine code of a component, serialised; `progress` is told about once a second for how long it has been at it.
    pub(super) fn compile(
        &self,
        engine: &wasmtime::Engine,
        component: &[u8],
        limits: &Limits,
        progress: &dyn Fn(Duration),
    ) -> Result<Vec<u8>, LoadError> {
        match self {
            Compiler::Child(program) => in_child(program, component, limits, progress),
            Compiler::Here => here(engine, component).map_err(LoadError::Invalid),
        }
    }
}

/// The compiler has panicked on valid components before (cross-component adapters, with multi-memory off).
fn here(engine: &wasmtime::Engine, component: &[u8]) -> Result<Vec<u8>, String> {
    // An engine has no state that a compilation cut short would leave half-done: code is registered when it is complete.
    let compilation = std::panic::AssertUnwindSafe(|| engine.precompile_component(component));
    match std::panic::catch_unwind(compilation) {
        Ok(Ok(code)) => Ok(code),
        Ok(Err(error)) => Err(format!("{error:#}")),
        Err(_) => Err(GAVE_UP.to_owned()),
    }
}

const GAVE_UP: &str = "the compiler gave up on it";

fn in_child(program: &Path, component: &[u8], limits: &Limits, progress: &dyn Fn(Duration)) -> Result<Vec<u8>, LoadError> {
    let failed = |what: &str, error: std::io::Error| LoadError::Compiler(format!("{what}: {error}"));
    let seconds = limits.compile_time.as_secs().max(1);
    let mut child = Command::new(program)
        .args([VERB, &seconds.to_string(), &limits.compile_memory_bytes.to_string()])
        .env_clear()
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| failed("start a child process", error))?;
    let wall = (limits.compile_time * WALL_FACTOR).max(WALL_MIN);
    let (code, said, in_time) = talk(&mut child, component, wall, progress);
    let status = child.wait().map_err(|error| failed("wait for the child process", error))?;
    match status.success() {
        true => code.map_err(|error| failed("read the code of the child process", error)),
        false => Err(blame(status, &said, in_time, limits)),
    }
}

/// Feeds the child and listens to it until it closes its output, or until `wall` has passed and it is killed.
fn talk(
    child: &mut Child,
    component: &[u8],
    wall: Duration,
    progress: &dyn Fn(Duration),
) -> (std::io::Result<Vec<u8>>, String, bool) {
    let began = Instant::now();
    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    thread::scope(|scope| {
        // A child that ends early closes its input: what it says tells why.
        scope.spawn(move || stdin.map(|mut stdin| stdin.write_all(component)));
        let said = scope.spawn(move || stderr.map(|stderr| read(stderr, REASON_BYTES)));
        let (sender, answer) = mpsc::channel();
        scope.spawn(move || sender.send(stdout.map_or_else(|| Ok(Vec::new()), |stdout| read(stdout, CODE_BYTES_MAX))));
        let mut in_time = true;
        let code = loop {
            match answer.recv_timeout(PROGRESS_EVERY) {
                Ok(code) => break code,
                Err(RecvTimeoutError::Disconnected) => break Err(std::io::Error::other("its reader ended")),
                Err(RecvTimeoutError::Timeout) if began.elapsed() > wall => {
                    in_time = false;
                    // It may have ended by itself just now.
                    let _ = child.kill();
                }
                Err(RecvTimeoutError::Timeout) => progress(began.elapsed()),
            }
        };
        let said = said.join().ok().flatten().and_then(Result::ok).unwrap_or_default();
        (code, String::from_utf8_lossy(&said).trim().to_owned(), in_time)
    })
}

/// The first bytes; the rest is read and forgotten, so that whoever writes is not held up.
fn read(mut from: impl Read, bytes_max: u64) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    from.by_ref().take(bytes_max).read_to_end(&mut bytes)?;
    std::io::copy(&mut from, &mut std::io::sink())?;
    Ok(bytes)
}

/// Why a child gave no code.
fn blame(status: ExitStatus, said: &str, in_time: bool, limits: &Limits) -> LoadError {
    if status.code() == Some(i32::from(REFUSED)) {
        return LoadError::Invalid(super::log::printable(said));
    }
    let signal = status.signal().and_then(Signal::from_named_raw);
    match signal {
        _ if !in_time => LoadError::CompileTime(limits.compile_time),
        Some(Signal::XCPU) => LoadError::CompileTime(limits.compile_time),
        // The system kills who takes the last of the memory.
        Some(Signal::KILL) => LoadError::CompileMemory(limits.compile_memory_bytes),
        _ if said.contains("memory allocation of") => LoadError::CompileMemory(limits.compile_memory_bytes),
        _ => LoadError::Invalid(GAVE_UP.to_owned()),
    }
}

/// How a child ends that has found the component wrong.
const REFUSED: u8 = 9;

/// What a child is asked to do, if this process is one: its arguments are looked at before anything else is set up.
pub fn child(args: &[OsString]) -> Option<ExitCode> {
    let [_, verb, seconds, memory_bytes] = args else { return None };
    if verb != VERB {
        return None;
    }
    let number = |text: &OsString| text.to_str().and_then(|text| text.parse().ok());
    let (Some(seconds), Some(memory_bytes)) = (number(seconds), number(memory_bytes)) else {
        return Some(ExitCode::FAILURE);
    };
    let compiled = confine(seconds, memory_bytes).map_err(|error| error.to_string()).and_then(|()| {
        let mut component = Vec::new();
        std::io::stdin().lock().read_to_end(&mut component).map_err(|error| error.to_string())?;
        let engine = wasmtime::Engine::new(&engine::config(engine::STACK_BYTES_MAX)).map_err(|error| format!("{error:#}"))?;
        let code = engine.precompile_component(&component).map_err(|error| format!("{error:#}"))?;
        std::io::stdout().lock().write_all(&code).map_err(|error| error.to_string())
    });
    Some(match compiled {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            // Nobody listens when the host has gone.
            let _ = std::io::stderr().write_all(reason.as_bytes());
            ExitCode::from(REFUSED)
        }
    })
}

/// Address space that this process has taken before it does anything, bytes; a debug build has much.
fn mapped_bytes() -> std::io::Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let kib = status.lines().find_map(|line| line.strip_prefix("VmSize:")?.trim().strip_suffix("kB")?.trim().parse::<u64>().ok());
    kib.map(|kib| kib << 10).ok_or_else(|| std::io::Error::other("the system does not tell the size of a process"))
}

/// Gives up what a compiler does not need. Nothing of this can be taken back.
fn confine(cpu_seconds: u64, memory_bytes: u64) -> std::io::Result<()> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    close_inherited();
    rustix::process::nice(NICENESS)?;
    let space = memory_bytes.saturating_add(mapped_bytes()?);
    for (resource, most) in [(Resource::Core, 0), (Resource::Fsize, 0), (Resource::Cpu, cpu_seconds), (Resource::As, space)] {
        let maximum = rustix::process::getrlimit(resource).maximum;
        let current = maximum.map_or(most, |maximum| most.min(maximum));
        // A second more of CPU time than the signal that tells why.
        let maximum = if resource == Resource::Cpu { maximum.map_or(current + 1, |most| most.min(current + 1)) } else { current };
        rustix::process::setrlimit(resource, Rlimit { current: Some(current), maximum: Some(maximum) })?;
    }
    Ok(())
}

/// Whatever the host's own parent left open; the host itself marks its files to be closed.
fn close_inherited() {
    let open: Vec<i32> = std::fs::read_dir("/proc/self/fd")
        .map(|entries| entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect())
        .unwrap_or_default();
    // The folder's own is closed by now.
    let open = open.into_iter().filter(|descriptor| Path::new("/proc/self/fd").join(descriptor.to_string()).is_symlink());
    for descriptor in open.filter(|descriptor| *descriptor > 2) {
        // SAFETY: it is open, and this process has opened nothing yet: nothing of it owns a descriptor beyond the standard ones.
        unsafe { rustix::io::close(descriptor) };
    }
}
