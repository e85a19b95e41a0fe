//! Log lines: to stderr as they come, and the latest ones in a bounded ring for the API.
//!
//! One layer makes both, so that a line reads the same everywhere and control characters (text of plugins and servers is in
//! there) never reach a terminal.

use std::collections::VecDeque;
use std::fmt::{self, Write as _};
use std::io::{self, IsTerminal, Write as _};
use std::sync::{Arc, Mutex};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Registry};

/// Lines kept; the oldest goes first.
const LINES_MAX: usize = 1_000;
/// A longer message is cut: a plugin may log a whole record.
const LINE_BYTES_MAX: usize = 4_096;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verbosity {
    Errors,
    Normal,
    More,
    Everything,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Line {
    /// Grows by one per line: where a reader goes on.
    pub number: u64,
    /// ms since 1970.
    pub at_ms: i64,
    /// `error`, `warn`, `info`, `debug`, `trace`.
    pub level: &'static str,
    /// Which part of the host, or whose line it is.
    pub from: String,
    /// Message and fields, escaped.
    pub text: String,
}

/// The latest lines; cheap to clone.
#[derive(Clone, Default)]
pub struct Logs(Arc<Mutex<Ring>>);

#[derive(Default)]
struct Ring {
    next: u64,
    lines: VecDeque<Line>,
}

impl Logs {
    /// Lines numbered `from` or above, oldest first.
    pub fn since(&self, from: u64) -> Vec<Line> {
        let ring = self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        ring.lines.iter().filter(|line| line.number >= from).cloned().collect()
    }

    fn push(&self, mut line: Line) {
        let mut ring = self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        line.number = ring.next;
        ring.next += 1;
        if ring.lines.len() == LINES_MAX {
            ring.lines.pop_front();
        }
        ring.lines.push_back(line);
    }
}

/// Starts logging for this process. `TIDEMILL_LOG` (`debug`, `tidemill::source=trace,warn`) overrides `verbosity`.
pub fn start(verbosity: Verbosity) -> Logs {
    let logs = Logs::default();
    let default = match verbosity {
        Verbosity::Errors => "error",
        Verbosity::Normal => "warn,tidemill=info",
        Verbosity::More => "info,tidemill=debug",
        Verbosity::Everything => "debug,tidemill=trace",
    };
    let filter = std::env::var("TIDEMILL_LOG")
        .ok()
        .and_then(|wanted| EnvFilter::try_new(wanted).ok())
        .unwrap_or_else(|| EnvFilter::new(default));
    let colour = io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    // Fails only where a test has started logging in the same process already.
    let _ = Registry::default().with(filter).with(Lines { logs: logs.clone(), colour }).try_init();
    logs
}

struct Lines {
    logs: Logs,
    colour: bool,
}

impl<S: Subscriber> Layer<S> for Lines {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut text = Text::default();
        event.record(&mut text);
        let at = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let (level, colour) = match *event.metadata().level() {
            Level::ERROR => ("error", "31"),
            Level::WARN => ("warn", "33"),
            Level::INFO => ("info", "32"),
            Level::DEBUG => ("debug", "36"),
            Level::TRACE => ("trace", "35"),
        };
        let from = event.metadata().target().trim_start_matches("tidemill::").to_owned();
        let line = Line { number: 0, at_ms: at.as_millis() as i64, level, from, text: text.finish() };
        let clock = clock(line.at_ms);
        // A closed stderr must not end the host.
        let _ = match self.colour {
            true => writeln!(
                io::stderr(),
                "\u{1b}[2m{clock}\u{1b}[0m \u{1b}[{colour}m{level:>5}\u{1b}[0m {} \u{1b}[2m{}\u{1b}[0m",
                line.text,
                line.from
            ),
            false => writeln!(io::stderr(), "{clock} {level:>5} {} ({})", line.text, line.from),
        };
        self.logs.push(line);
    }
}

/// `2026-01-31T08:15:30.123Z`.
fn clock(at_ms: i64) -> String {
    jiff::Timestamp::from_millisecond(at_ms).map(|at| format!("{at:.3}")).unwrap_or_else(|_| at_ms.to_string())
}

#[derive(Default)]
struct Text {
    message: String,
    fields: String,
}

impl Text {
    fn finish(self) -> String {
        let mut text = self.message + &self.fields;
        if text.len() > LINE_BYTES_MAX {
            let cut = (0..=LINE_BYTES_MAX).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
            text.truncate(cut);
            text.push('…');
        }
        text
    }
}

impl Visit for Text {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.record_debug(field, &format_args!("{value}"));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let value = format!("{value:?}");
        let value = crate::record::escape(&value);
        let _ = match field.name() {
            "message" => write!(self.message, "{value}"),
            name => write!(self.fields, " {name}={value}"),
        };
    }
}
