//! Log lines: to stderr as they come, and the latest ones in a bounded ring for the API.
//!
//! One layer makes both, so that a line reads the same everywhere and control characters (text of plugins and servers is in
//! there) never reach a terminal.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::fmt::{self, Write as _};
use std::io::{self, IsTerminal, Write as _};
use std::sync::{Arc, Mutex, OnceLock};

use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Registry};

/// Lines kept, and bytes of text; the oldest goes first.
const LINES_MAX: usize = 5_000;
const BYTES_MAX: usize = 4 << 20;
/// A longer message is cut: a plugin may log a whole record.
const LINE_BYTES_MAX: usize = 4_096;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verbosity {
    Errors,
    Normal,
    More,
    Everything,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Line {
    /// Grows by one per line: where a reader goes on.
    pub number: u64,
    /// ms since 1970; of a file's line, when it was read.
    pub at_ms: i64,
    /// `error`, `warn`, `info`, `debug`, `trace`.
    pub level: Cow<'static, str>,
    /// Whose line it is: `host`, `plugin`, `kafka`, `cassandra`, `source`, `sink`, `api`, `file`.
    pub component: Cow<'static, str>,
    /// Which part of the component, or which file.
    pub from: String,
    /// Message and fields, escaped.
    pub text: String,
}

impl Line {
    pub fn new(level: &'static str, component: &'static str, from: &str, text: &str) -> Line {
        let at_ms = jiff::Timestamp::now().as_millisecond();
        Line { number: 0, at_ms, level: level.into(), component: component.into(), from: from.to_owned(), text: shortened(text) }
    }

    /// As it stands in a downloaded log.
    pub fn plain(&self) -> String {
        let Line { level, component, from, text, .. } = self;
        format!("{} {level:>5} {component} {from}: {text}", clock(self.at_ms))
    }
}

/// Which lines are wanted.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Wanted {
    /// Lines numbered so or above.
    #[serde(default)]
    pub from: u64,
    /// That, or worse.
    pub level: Option<String>,
    /// Separated by commas.
    pub component: Option<String>,
    /// Whatever its case.
    pub text: Option<String>,
    /// The latest so many.
    pub limit: Option<usize>,
}

impl Wanted {
    fn takes(&self, line: &Line) -> bool {
        const LEVELS: [&str; 5] = ["error", "warn", "info", "debug", "trace"];
        let rank = |level: &str| LEVELS.iter().position(|known| *known == level).unwrap_or(LEVELS.len());
        let any = |list: &String| list.is_empty() || list.split(',').any(|component| component == line.component);
        line.number >= self.from
            && self.level.as_ref().is_none_or(|level| rank(&line.level) <= rank(level))
            && self.component.as_ref().is_none_or(any)
            && self.text.as_ref().is_none_or(|text| {
                let text = text.to_lowercase();
                line.text.to_lowercase().contains(&text) || line.from.to_lowercase().contains(&text)
            })
    }
}

/// Lines that were asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Found {
    pub lines: Vec<Line>,
    /// Where to go on.
    pub next: u64,
    /// Lines that had gone before they were asked for.
    pub lost: u64,
    /// Of all lines that there are.
    pub components: Vec<Cow<'static, str>>,
}

/// The latest lines; cheap to clone.
#[derive(Clone, Default)]
pub struct Logs(Arc<Shared>);

#[derive(Default)]
struct Shared {
    ring: Mutex<Ring>,
    /// Number of the next line, for those that follow.
    next: watch::Sender<u64>,
    /// Where lines come from that stderr is not given.
    elsewhere: OnceLock<&'static str>,
}

#[derive(Default)]
struct Ring {
    bytes: usize,
    lines: VecDeque<Line>,
}

impl Logs {
    /// What is wanted of the lines that are kept, oldest first.
    pub fn find(&self, wanted: &Wanted) -> Found {
        let ring = self.0.ring.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let next = *self.0.next.borrow();
        let first = ring.lines.front().map_or(next, |line| line.number);
        let lines = ring.lines.iter().rev().take_while(|line| line.number >= wanted.from).filter(|line| wanted.takes(line));
        let mut lines: Vec<Line> = lines.take(wanted.limit.unwrap_or(LINES_MAX)).cloned().collect();
        lines.reverse();
        let mut components: Vec<Cow<'static, str>> = ring.lines.iter().map(|line| line.component.clone()).collect();
        components.sort();
        components.dedup();
        Found { lines, next, lost: first.saturating_sub(wanted.from), components }
    }

    /// Changes with each new line, to the number of the one after it.
    pub fn watch(&self) -> watch::Receiver<u64> {
        self.0.next.subscribe()
    }

    /// Lines from this target are kept, but not written to stderr: whoever calls it tells them to people in another way.
    pub fn told_elsewhere(&self, target: &'static str) {
        let _ = self.0.elsewhere.set(target);
    }

    pub fn push(&self, mut line: Line) {
        let mut ring = self.0.ring.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        self.0.next.send_modify(|next| {
            line.number = *next;
            *next += 1;
        });
        ring.bytes += line.text.len();
        ring.lines.push_back(line);
        while ring.lines.len() > LINES_MAX || ring.bytes > BYTES_MAX {
            let Some(gone) = ring.lines.pop_front() else { break };
            ring.bytes -= gone.text.len();
        }
    }
}

/// Whose line it is, by where it was written.
fn component(target: &str) -> &'static str {
    let own = target.strip_prefix("tidemill::");
    let starts = |of: &[&str]| of.iter().any(|start| own.unwrap_or(target).starts_with(start));
    match own {
        _ if target == "plugin" => "plugin",
        _ if starts(&["kafka", "rdkafka", "librdkafka", "topic::kafka", "sink::kafka"]) => "kafka",
        _ if starts(&["cassandra", "scylla", "sink::cassandra"]) => "cassandra",
        Some(_) if starts(&["source", "pipeline::ingest"]) => "source",
        Some(_) if starts(&["sink"]) => "sink",
        Some(_) if starts(&["status"]) => "api",
        _ => "host",
    }
}

/// Starts logging for this process. `TIDEMILL_LOG` (`debug`, `tidemill::source=trace,warn`) overrides `verbosity`.
pub fn start(verbosity: Verbosity) -> Logs {
    let logs = Logs::default();
    let default = match verbosity {
        Verbosity::Errors => "error",
        Verbosity::Normal => "warn,tidemill=info,plugin=info",
        Verbosity::More => "info,tidemill=debug,plugin=debug",
        Verbosity::Everything => "debug,tidemill=trace,plugin=trace",
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
        let (level, colour) = match *event.metadata().level() {
            Level::ERROR => ("error", "31"),
            Level::WARN => ("warn", "33"),
            Level::INFO => ("info", "32"),
            Level::DEBUG => ("debug", "36"),
            Level::TRACE => ("trace", "35"),
        };
        let target = event.metadata().target();
        let line = Line::new(level, component(target), target.trim_start_matches("tidemill::"), &(text.message + &text.fields));
        if self.logs.0.elsewhere.get() == Some(&target) {
            return self.logs.push(line);
        }
        let clock = clock(line.at_ms);
        let Line { text, from, .. } = &line;
        let whole = match self.colour {
            true => format!("\u{1b}[2m{clock}\u{1b}[0m \u{1b}[{colour}m{level:>5}\u{1b}[0m {text} \u{1b}[2m{from}\u{1b}[0m\n"),
            false => format!("{clock} {level:>5} {text} ({from})\n"),
        };
        // In one piece, since nothing is buffered on the way. A closed stderr must not end the host.
        let _ = io::stderr().write_all(whole.as_bytes());
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

fn shortened(text: &str) -> String {
    match text.char_indices().map(|(at, _)| at).take_while(|at| *at <= LINE_BYTES_MAX).last() {
        Some(cut) if text.len() > LINE_BYTES_MAX => format!("{}…", &text[..cut]),
        _ => text.to_owned(),
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

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(found: &Found) -> Vec<&str> {
        found.lines.iter().map(|line| line.text.as_str()).collect()
    }

    #[test]
    fn lines_are_found_by_level_component_and_text() {
        let logs = Logs::default();
        logs.push(Line::new("info", "host", "cli", "begun"));
        logs.push(Line::new("warn", "kafka", "rdkafka", "Broker gone"));
        logs.push(Line::new("error", "plugin", "plugin", "no broker"));
        let find = |wanted: Wanted| logs.find(&wanted);
        let wanted = |level: Option<&str>, component: Option<&str>, text: Option<&str>| {
            let owned = |text: Option<&str>| text.map(str::to_owned);
            find(Wanted { level: owned(level), component: owned(component), text: owned(text), ..Wanted::default() })
        };
        assert_eq!(texts(&wanted(Some("warn"), None, None)), ["Broker gone", "no broker"]);
        assert_eq!(texts(&wanted(None, Some("kafka,host"), None)), ["begun", "Broker gone"]);
        assert_eq!(texts(&wanted(Some("error"), None, Some("BROKER"))), ["no broker"]);
        let last = find(Wanted { limit: Some(1), ..Wanted::default() });
        assert_eq!((texts(&last), last.next), (vec!["no broker"], 3));
        assert!(find(Wanted { from: last.next, ..Wanted::default() }).lines.is_empty());
        assert_eq!(last.components, ["host", "kafka", "plugin"]);
    }

    #[test]
    fn what_is_kept_is_bounded_and_what_went_is_counted() {
        let logs = Logs::default();
        (0..LINES_MAX + 10).for_each(|number| logs.push(Line::new("info", "host", "", &number.to_string())));
        let found = logs.find(&Wanted { from: 3, ..Wanted::default() });
        assert_eq!((found.lines.len(), found.lost), (LINES_MAX, 7));
        let long = "é".repeat(LINE_BYTES_MAX);
        (0..BYTES_MAX / LINE_BYTES_MAX + 5).for_each(|_| logs.push(Line::new("info", "host", "", &long)));
        let found = logs.find(&Wanted::default());
        assert!(found.lines.iter().map(|line| line.text.len()).sum::<usize>() <= BYTES_MAX);
        assert!(found.lines.last().unwrap().text.len() <= LINE_BYTES_MAX + '…'.len_utf8());
    }

    #[test]
    fn lines_belong_to_components() {
        for (target, expected) in [
            ("plugin", "plugin"),
            ("tidemill::pipeline::ingest", "source"),
            ("tidemill::topic::kafka::consumer", "kafka"),
            ("rdkafka::client", "kafka"),
            ("scylla::cluster", "cassandra"),
            ("tidemill::status::api", "api"),
            ("tidemill::pipeline::deliver", "host"),
            ("hyper", "host"),
        ] {
            assert_eq!(component(target), expected, "{target}");
        }
    }
}
