//! A service as a process that cannot outlive the test.

use std::fs;
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::net::TcpSocket;

use crate::support::wait_within;

/// A Java service on a busy machine.
const PATIENCE: Duration = Duration::from_secs(180);

/// Starts a command with its output in `$1/log` and says its process id. The pipe to this guardian closes when the test process ends,
/// however it ends; then the service ends too, and its folder goes. The service holds stdout open, which tells when it has ended.
const GUARDIAN: &str = r#"dir=$1; shift
"$@" 3>&1 >>"$dir/log" 2>&1 </dev/null &
echo $!
exec >&-
read -r word
kill -s KILL $! 2>/dev/null
wait
[ "$word" = keep ] || rm -rf "$dir""#;

pub struct Process {
    guardian: Child,
    pid: Pid,
    /// Ends when the service does.
    alive: JoinHandle<()>,
}

impl Process {
    /// Starts `command` with its output in the folder's `log`, and waits until it has written `ready` there.
    #[track_caller]
    pub fn start(command: &Command, dir: &Path, ready: &str) -> Process {
        let log = dir.join("log");
        let before = fs::metadata(&log).map_or(0, |log| log.len());
        let mut guarded = Command::new("sh");
        guarded.args(["-c", GUARDIAN, "sh"]).arg(dir).arg(command.get_program()).args(command.get_args()).current_dir(dir);
        // A group of its own: what ends the tests from a terminal must not end their guardian.
        let mut guardian =
            guarded.stdin(Stdio::piped()).stdout(Stdio::piped()).process_group(0).spawn().expect("start the guardian");
        let mut output = BufReader::new(guardian.stdout.take().expect("stdout is piped"));
        let mut pid = String::new();
        output.read_line(&mut pid).expect("the guardian says the process id");
        let pid = pid.trim().parse().ok().and_then(Pid::from_raw).expect("a process id");
        let alive = std::thread::spawn(move || drop(output.read_to_end(&mut Vec::new())));
        let process = Process { guardian, pid, alive };
        wait_within(PATIENCE, &format!("`{ready}` in {}", log.display()), || {
            let written = read_from(&log, before);
            assert!(!process.alive.is_finished(), "the service ended before it was ready:\n{}", tail(&written));
            written.contains(ready).then_some(())
        });
        process
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(self.pid, signal).expect("signal the service");
    }

    /// Ends it with a signal; its folder stays.
    pub fn end(mut self, signal: Signal) {
        self.signal(signal);
        wait_within(PATIENCE, "the service to end", || self.alive.is_finished().then_some(()));
        let word = self.guardian.stdin.take().expect("stdin is piped").write_all(b"keep\n");
        word.expect("the guardian lives as long as this");
        self.guardian.wait().expect("wait for the guardian");
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.guardian.stdin.take());
        let _ = self.guardian.wait();
    }
}

/// A port that the system chose. It stays bound, without listening, so that nobody else is given it while the service is down.
pub struct Port(TcpSocket);

impl Port {
    pub fn choose() -> Port {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.set_reuseaddr(true).expect("share the port with the service");
        socket.bind(SocketAddr::from(([127, 0, 0, 1], 0))).expect("find a free port");
        Port(socket)
    }

    pub fn number(&self) -> u16 {
        self.0.local_addr().expect("it is bound").port()
    }
}

fn read_from(path: &Path, start: u64) -> String {
    let mut bytes = Vec::new();
    let read = fs::File::open(path).and_then(|mut file| {
        file.seek(SeekFrom::Start(start))?;
        file.read_to_end(&mut bytes)
    });
    read.map_or(String::new(), |_| String::from_utf8_lossy(&bytes).into_owned())
}

fn tail(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(40)..].join("\n")
}
