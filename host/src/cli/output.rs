//! What a verb says: text for people or one JSON envelope, and an exit code.

use std::ffi::OsString;
use std::fmt::Display;
use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::{Value, json};

use crate::record::escape;
use crate::status::logs::Logs;

/// How a process ends; the numbers are part of the interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    Ok = 0,
    /// It was tried and did not work out: a test failed, the host stopped on an error.
    Failed = 1,
    /// The pipeline file or the command line is wrong.
    Wrong = 2,
    /// The environment is: a missing tool, a port in use, a store that another host owns.
    Environment = 3,
}

/// What a verb did.
#[derive(Debug)]
pub struct Done {
    /// One line, also the envelope's `summary`. A verb prints it itself where people should read it.
    pub summary: String,
    pub result: Value,
}

impl Done {
    pub fn new(summary: impl Into<String>, result: Value) -> Done {
        Done { summary: summary.into(), result }
    }
}

/// Why a verb did not do it.
#[derive(Debug)]
pub struct Failure {
    pub exit: Exit,
    /// Lowercase, no full stop.
    pub message: String,
    /// The envelope's `result`: diagnostics, test results, or null. Boxed: failures are rare, and returned everywhere.
    pub result: Box<Value>,
    /// What a person reads instead of `error: <message>`, such as rendered diagnostics.
    pub report: Option<String>,
}

impl Failure {
    pub fn new(exit: Exit, message: impl Into<String>) -> Failure {
        Failure { exit, message: message.into(), result: Box::new(Value::Null), report: None }
    }

    pub fn with_result(mut self, result: Value) -> Failure {
        self.result = Box::new(result);
        self
    }

    pub fn with_report(mut self, report: impl Into<String>) -> Failure {
        self.report = Some(report.into());
        self
    }
}

/// An error that nobody classified is a failure, exit 1; see [`OrExit`] for the others.
impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Failure {
        Failure::new(Exit::Failed, format!("{error:#}"))
    }
}

/// `open(path).or_exit(Exit::Environment)?`
pub trait OrExit<T> {
    fn or_exit(self, exit: Exit) -> Result<T, Failure>;
}

impl<T, E: Into<anyhow::Error>> OrExit<T> for Result<T, E> {
    fn or_exit(self, exit: Exit) -> Result<T, Failure> {
        self.map_err(|error| Failure::new(exit, format!("{:#}", error.into())))
    }
}

/// What a piece of text means; becomes a colour on a terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tone {
    Good,
    Bad,
    Warn,
    Strong,
    Faint,
}

impl Tone {
    fn code(self) -> &'static str {
        match self {
            Tone::Good => "32",
            Tone::Bad => "31",
            Tone::Warn => "33",
            Tone::Strong => "1",
            Tone::Faint => "2",
        }
    }
}

/// Where a verb writes.
pub struct Output {
    command: String,
    json: bool,
    quiet: bool,
    colour: bool,
    /// The reader of stdout has gone: nothing is written any more, and that is no error.
    closed: AtomicBool,
    /// Stdout is a sink's: whatever else is said goes to stderr.
    stdout_taken: AtomicBool,
    logs: Logs,
}

impl Output {
    pub fn new(command: &str, json: bool, quiet: bool, logs: Logs) -> Output {
        let colour = !json && io::stdout().is_terminal() && colour_wanted();
        Output {
            command: command.to_owned(),
            json,
            quiet,
            colour,
            closed: AtomicBool::new(false),
            stdout_taken: AtomicBool::new(false),
            logs,
        }
    }

    /// Whether one envelope is all that may appear on stdout.
    pub fn json(&self) -> bool {
        self.json
    }

    /// The latest log lines of this process.
    pub fn logs(&self) -> &Logs {
        &self.logs
    }

    /// Leaves stdout to a sink, so that its reader finds records and nothing else; lines and envelope go to stderr from now on.
    pub fn leave_stdout_to_records(&self) {
        self.stdout_taken.store(true, Ordering::Relaxed);
    }

    /// A line for people on stdout; nothing with `--json`.
    pub fn line(&self, text: impl Display) {
        if !self.json {
            self.write(&text);
        }
    }

    /// Colours a piece of a line where stdout is a terminal that wants it.
    pub fn paint(&self, tone: Tone, text: impl Display) -> String {
        match self.colour {
            true => format!("\u{1b}[{}m{text}\u{1b}[0m", tone.code()),
            false => text.to_string(),
        }
    }

    /// Whether stdout is a terminal that wants colours.
    pub fn colour(&self) -> bool {
        self.colour
    }

    /// Whether a broken pipe has ended the output.
    pub fn closed(&self) -> bool {
        self.closed.load(Ordering::Relaxed)
    }

    fn write(&self, text: &dyn Display) {
        if self.closed() {
            return;
        }
        if self.stdout_taken.load(Ordering::Relaxed) {
            // Nobody is left to tell if it fails.
            let _ = writeln!(io::stderr(), "{text}");
            return;
        }
        let mut stdout = io::stdout().lock();
        if writeln!(stdout, "{text}").and_then(|()| stdout.flush()).is_err() {
            self.closed.store(true, Ordering::Relaxed);
        }
    }

    /// A bar (`total` known) or a spinner on stderr that appears once the work has taken a second, on a terminal only.
    pub fn progress(&self, what: &str, total: Option<u64>) -> Progress {
        let shown = !self.json && !self.quiet && io::stderr().is_terminal();
        Progress::start(what, total, shown)
    }

    /// Tells what came of the verb; the last thing a process does.
    pub fn finish(&self, finished: Result<Done, Failure>) -> ExitCode {
        if self.json {
            let envelope = match &finished {
                Ok(done) => envelope(&self.command, &done.summary, &done.result, None),
                Err(failure) => envelope(&self.command, &failure.message, &failure.result, Some(failure)),
            };
            self.write(&envelope);
        } else if let Err(failure) = &finished {
            complain(failure);
        }
        ExitCode::from(match finished {
            Ok(_) => Exit::Ok as u8,
            Err(failure) => failure.exit as u8,
        })
    }
}

pub(super) fn colour_wanted() -> bool {
    std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
        && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
}

fn envelope(command: &str, summary: &str, result: &Value, failure: Option<&Failure>) -> Value {
    let error = failure.map(|failure| json!({ "message": failure.message, "exit": failure.exit as u8 }));
    json!({ "command": command, "ok": failure.is_none(), "summary": summary, "result": result, "error": error })
}

fn complain(failure: &Failure) {
    let text = match &failure.report {
        Some(report) => report.trim_end().to_owned(),
        None if io::stderr().is_terminal() && colour_wanted() => {
            format!("\u{1b}[1;31merror\u{1b}[0m: {}", escape(&failure.message))
        }
        None => format!("error: {}", escape(&failure.message)),
    };
    // Nobody is left to be told when stderr is closed.
    let _ = writeln!(io::stderr(), "{text}");
}

/// What clap refused (exit 2), or printed because it was asked to (`--help`, `--version`: exit 0).
pub(super) fn usage(args: &[OsString], refused: &clap::Error) -> ExitCode {
    if refused.use_stderr() && args.iter().any(|arg| arg == "--json") {
        let text = refused.render().to_string();
        let message = text.lines().next().unwrap_or_default().trim_start_matches("error: ").to_owned();
        let command = args.iter().skip(1).filter_map(|arg| arg.to_str()).find(|arg| !arg.starts_with('-')).unwrap_or_default();
        let failure = Failure::new(Exit::Wrong, message).with_result(json!({ "usage": text }));
        let _ = writeln!(io::stdout(), "{}", envelope(command, &failure.message, &failure.result, Some(&failure)));
    } else {
        let _ = refused.print();
    }
    ExitCode::from(if refused.use_stderr() { Exit::Wrong as u8 } else { Exit::Ok as u8 })
}

/// Progress of something that may take longer than a second.
pub struct Progress {
    bar: ProgressBar,
    /// Dropped to tell the thread that waits for the first second.
    _shows_after: Option<mpsc::Sender<()>>,
}

impl Progress {
    fn start(what: &str, total: Option<u64>, shown: bool) -> Progress {
        let bar = ProgressBar::with_draw_target(total, ProgressDrawTarget::hidden());
        let template = match total {
            Some(_) => "{spinner} {msg} {wide_bar} {human_pos}/{human_len} {eta}",
            None => "{spinner} {msg} {human_pos} {elapsed}",
        };
        bar.set_style(ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()));
        bar.set_message(what.to_owned());
        if !shown {
            return Progress { bar, _shows_after: None };
        }
        let (finished, wait) = mpsc::channel::<()>();
        let shows = bar.clone();
        std::thread::spawn(move || {
            if wait.recv_timeout(Duration::from_secs(1)) == Err(mpsc::RecvTimeoutError::Timeout) {
                shows.set_draw_target(ProgressDrawTarget::stderr());
                shows.enable_steady_tick(Duration::from_millis(120));
            }
        });
        Progress { bar, _shows_after: Some(finished) }
    }

    pub fn add(&self, done: u64) {
        self.bar.inc(done);
    }

    pub fn says(&self, what: &str) {
        self.bar.set_message(escape(what).into_owned());
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
