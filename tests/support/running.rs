//! The real binary, running a pipeline.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};

pub fn tidemill() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidemill"));
    command.env_remove("TIDEMILL_TOKEN").env_remove("TIDEMILL_DATA").env_remove("NO_COLOR");
    command
}

/// A pipeline file in a folder of its own: users from `source`, no plugin, into one table.
pub struct Pipeline {
    pub dir: tempfile::TempDir,
}

impl Pipeline {
    /// Made-up users; `records` in all, a few at a time.
    pub fn of_users(records: u32) -> Pipeline {
        Pipeline::with_source(&format!("kind = \"generator\"\nevery = \"0s\"\nrecords-per-poll = 10\nrecords = {records}"))
    }

    /// Payloads of one's own.
    pub fn of_payloads(payloads: &[&str]) -> Pipeline {
        let pipeline = Pipeline::with_source("kind = \"file\"\npath = \"payloads.ndjson\"\nevery = \"0s\"");
        std::fs::write(pipeline.dir.path().join("payloads.ndjson"), payloads.join("\n") + "\n").expect("write the payloads");
        pipeline
    }

    /// Made-up users, ten at once and then none for an hour.
    pub fn that_waits() -> Pipeline {
        Pipeline::with_source("kind = \"generator\"\nevery = \"1h\"\nrecords-per-poll = 10")
    }

    fn with_source(source: &str) -> Pipeline {
        let dir = tempfile::tempdir().expect("a folder");
        let text = format!(
            "name = \"plain\"\n[source]\n{source}\n[[sink]]\nname = \"users\"\ntable = \"plain.users\"\n\
             [sink.columns]\nid = {{ field = \"login.uuid\", type = \"uuid\", key = \"partition\" }}\nemail = \"email\"\n"
        );
        std::fs::write(dir.path().join("plain.toml"), text).expect("write the pipeline");
        Pipeline { dir }
    }

    /// With more keys at the end of the file.
    #[allow(dead_code, reason = "each class of test uses a part of it")]
    pub fn and(self, toml: &str) -> Pipeline {
        let text = std::fs::read_to_string(self.file()).expect("read the pipeline") + toml;
        std::fs::write(self.file(), text).expect("write the pipeline");
        self
    }

    pub fn file(&self) -> PathBuf {
        self.dir.path().join("plain.toml")
    }

    /// A verb on this pipeline, to its end.
    pub fn verb(&self, verb: &[&str], more: &[&str]) -> Output {
        tidemill().args(verb).arg(self.file()).args(more).output().expect("start tidemill")
    }

    pub fn run(&self) -> Running {
        Running::start(&self.file(), &[])
    }
}

/// `tidemill run`, with its API. Killed when dropped.
pub struct Running {
    process: Child,
    pub address: SocketAddr,
}

impl Running {
    pub fn start(file: &Path, more: &[&str]) -> Running {
        let mut command = tidemill();
        command.arg("run").arg(file).args(if more.contains(&"--port") { &[][..] } else { &["--port", "0"] }).args(more);
        let mut process = command.stdout(Stdio::piped()).spawn().expect("start tidemill");
        let mut lines = BufReader::new(process.stdout.take().expect("stdout is piped")).lines();
        let address = lines.find_map(|line| line.ok()?.split_once("http://")?.1.trim_end_matches('/').parse().ok());
        let Some(address) = address else { panic!("the host told no address and ended: {:?}", process.wait()) };
        // Read on, or the host's next line meets a closed pipe.
        std::thread::spawn(move || lines.for_each(drop));
        Running { process, address }
    }

    #[allow(dead_code, reason = "each class of test uses a part of it")]
    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    pub fn terminate(self) -> ExitStatus {
        let pid = rustix::process::Pid::from_child(&self.process);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("send SIGTERM");
        self.ended()
    }

    /// Waits for its end.
    pub fn ended(mut self) -> ExitStatus {
        self.process.wait().expect("wait for tidemill")
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
