//! The real binary, driven as a person or a script would.

use std::ffi::OsString;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use serde_json::Value;

use super::wait_for;

/// How to call `tidemill`: a pipeline and a folder for its store.
#[derive(Clone)]
pub struct Pipeline {
    pub file: PathBuf,
    pub data: PathBuf,
    /// Further arguments, such as `--set`.
    pub arguments: Vec<OsString>,
    pub environment: Vec<(String, String)>,
}

/// What a verb with `--json` said, and how it ended.
#[derive(Debug)]
pub struct Answer {
    pub exit: i32,
    pub envelope: Value,
    pub stderr: String,
}

impl Answer {
    pub fn result(&self) -> &Value {
        &self.envelope["result"]
    }

    #[track_caller]
    pub fn ok(self) -> Answer {
        assert!(self.exit == 0, "exit {}: {}\n{}", self.exit, self.envelope, self.stderr);
        self
    }

    #[track_caller]
    pub fn count(&self, name: &str) -> u64 {
        self.result()[name].as_u64().unwrap_or_else(|| panic!("no count {name} in {}", self.envelope))
    }
}

impl Pipeline {
    pub fn new(file: impl Into<PathBuf>, data: impl Into<PathBuf>) -> Pipeline {
        let pipeline = Pipeline { file: file.into(), data: data.into(), arguments: Vec::new(), environment: Vec::new() };
        // Compiled code is kept between runs: what a first start costs is tested elsewhere.
        pipeline.env("XDG_CACHE_HOME", concat!(env!("CARGO_TARGET_TMPDIR"), "/cache"))
    }

    pub fn set(mut self, key_and_value: &str) -> Pipeline {
        self.arguments.extend(["--set".into(), key_and_value.into()]);
        self
    }

    pub fn env(mut self, name: &str, value: &str) -> Pipeline {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The folder of the store of the pipeline called `name`.
    pub fn store(&self, name: &str) -> PathBuf {
        self.data.join(name)
    }

    /// `tidemill <verb…> FILE --data DATA …`
    pub fn command(&self, verb: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tidemill"));
        command.args(verb).arg(&self.file).arg("--data").arg(&self.data).args(&self.arguments);
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command.stdin(Stdio::null()).env_remove("TIDEMILL_DATA").env("NO_COLOR", "1");
        command
    }

    /// Runs a verb to its end.
    #[track_caller]
    pub fn ask(&self, verb: &[&str], more: &[&str]) -> Answer {
        let output = self.command(verb).args(more).arg("--json").output().expect("start tidemill");
        let stdout = String::from_utf8_lossy(&output.stdout);
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        let envelope = serde_json::from_str(stdout.trim())
            .unwrap_or_else(|error| panic!("{verb:?} printed no envelope ({error}): {stdout}\n{stderr}"));
        Answer { exit: output.status.code().unwrap_or(-1), envelope, stderr }
    }

    /// Runs until the source is exhausted and the topic settled.
    #[track_caller]
    pub fn run_until_idle(&self) -> Answer {
        self.ask(&["run"], &["--until-idle", "--port", "0"])
    }

    /// What `tidemill verify` finds wrong, or cannot verify: nothing in most tests.
    #[track_caller]
    pub fn verify(&self) -> Vec<String> {
        let answer = self.ask(&["verify"], &[]);
        let unverifiable = answer.result()["unverifiable"].as_object().is_some_and(|reasons| !reasons.is_empty());
        let clean = answer.exit == 0 && !unverifiable;
        if clean {
            Vec::new()
        } else {
            vec![format!("tidemill verify, exit {}: {:#}\n{}", answer.exit, answer.envelope, answer.stderr)]
        }
    }

    /// Starts a host that goes on until it is told otherwise.
    pub fn start(&self, verb: &str, more: &[&str]) -> Host {
        let mut command = self.command(&[verb]);
        command.args(["--port", "0"]).args(more);
        Host::spawn(command)
    }

    /// The same behind a command that ends by taking on its arguments, as `env` does.
    pub fn start_within(&self, mut outer: Command, verb: &str, more: &[&str]) -> Host {
        let command = self.command(&[verb]);
        outer.arg(command.get_program()).args(command.get_args()).args(["--port", "0"]).args(more).stdin(Stdio::null());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => outer.env(name, value),
                None => outer.env_remove(name),
            };
        }
        Host::spawn(outer)
    }
}

/// A running host; killed when dropped.
pub struct Host {
    child: Child,
    log: tempfile::NamedTempFile,
    address: Option<String>,
}

impl Host {
    pub fn spawn(mut command: Command) -> Host {
        // Files, not pipes: a host must never wait for a test to read.
        let log = tempfile::NamedTempFile::new().expect("make a file for the log");
        // Each write at the end, or the two would write over each other.
        let both = || Stdio::from(std::fs::File::options().append(true).open(log.path()).expect("open the log"));
        let child = command.stdout(both()).stderr(both()).spawn().expect("start tidemill");
        Host { child, log, address: None }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn log(&self) -> String {
        let bytes = std::fs::read(self.log.path()).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    pub fn has_ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("ask for the host's end")
    }

    /// Waits until the host says that it is ready, and returns its address.
    #[track_caller]
    pub fn ready(&mut self, store: &Path) -> String {
        let address = self.serves(store);
        wait_for("the host to be ready", || {
            if let Some(status) = self.has_ended() {
                panic!("the host ended with {status} before it was ready:\n{}", self.log());
            }
            (get(&address, "/readyz")?.0 == 200).then_some(())
        });
        address
    }

    /// Waits until the host serves its page, whether or not the pipeline runs, and returns its address.
    #[track_caller]
    pub fn serves(&mut self, store: &Path) -> String {
        let address = wait_for("the host to serve its page", || {
            if let Some(status) = self.child.try_wait().expect("ask for the host's end") {
                panic!("the host ended with {status} before it served:\n{}", self.log());
            }
            let lock = std::fs::read(store.join("owner.lock")).ok()?;
            let owner: Value = serde_json::from_slice(&lock).ok()?;
            // Until the host has written it, the file may name a predecessor.
            Some((owner["pid"].as_u64() == Some(u64::from(self.child.id()))).then(|| owner["address"].as_str())??.to_owned())
        });
        self.address = Some(address.clone());
        address
    }

    /// `/api/status` of a host that [`Host::serves`].
    #[track_caller]
    pub fn status(&self) -> Value {
        let address = self.address.as_deref().expect("the host serves");
        let (_, body) = get(address, "/api/status").unwrap_or_else(|| panic!("no answer from {address}:\n{}", self.log()));
        serde_json::from_str(&body).expect("the status is JSON")
    }

    /// The page of a host that [`Host::serves`], as it comes.
    #[track_caller]
    pub fn page(&self) -> String {
        let address = self.address.as_deref().expect("the host serves");
        get(address, "/").unwrap_or_else(|| panic!("no answer from {address}:\n{}", self.log())).1
    }

    /// SIGTERM.
    pub fn terminate(&self) {
        self.signal(rustix::process::Signal::TERM);
    }

    pub fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_child(&self.child);
        // It may have ended by itself a moment ago.
        let _ = rustix::process::kill_process(pid, signal);
    }

    /// SIGKILL, and the end of the process.
    pub fn kill(mut self) {
        self.child.kill().expect("kill the host");
        self.child.wait().expect("wait for the host's end");
    }

    /// SIGKILL, unless it has killed itself.
    pub fn kill_if_alive(mut self) {
        let _ = self.child.kill();
        self.child.wait().expect("wait for the host's end");
    }

    #[track_caller]
    pub fn wait(&mut self) -> ExitStatus {
        wait_for("the host to end", || self.child.try_wait().expect("ask for the host's end"))
    }

    /// Whether it ended by SIGKILL, which only tests and crash points send.
    pub fn was_killed(status: ExitStatus) -> bool {
        status.signal() == Some(9)
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the log of host {}:\n{}", self.pid(), self.log());
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Status and body of a GET; `None` when nobody answers.
pub fn get(address: &str, path: &str) -> Option<(u16, String)> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(10))).ok()?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").ok()?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).ok()?;
    let answer = String::from_utf8_lossy(&answer);
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    Some((status, body.to_owned()))
}
