//! `tidemill doctor`: whether this machine has what a pipeline needs, each finding with its way out.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::json;

use super::owner::block_on;
use super::{Done, Exit, Failure, Output, PipelineArgs, Tone, listen};
use crate::config::Loaded;
use crate::config::plan::{Pipeline, SinkAddress, TopicAddress};
use crate::pipeline::connected;
use crate::plugin::{Cache, Compiler, Engine};
use crate::record::escape;
use crate::store::Store;

#[derive(clap::Args)]
#[command(after_help = "Examples:\n  tidemill doctor\n  tidemill doctor pipelines/users.toml --profile cluster")]
pub struct Args {
    /// Also look at the store of this pipeline, and ask its topic and tables
    #[arg(value_name = "PIPELINE.toml")]
    file: Option<PathBuf>,
    /// Apply the settings of [profile.NAME] in the file
    #[arg(long, value_name = "NAME", requires = "file")]
    profile: Option<String>,
    /// Where stores are kept [default: .tidemill beside the pipeline file]
    #[arg(long, value_name = "DIR", env = "TIDEMILL_DATA")]
    data: Option<PathBuf>,
    /// The port to look at
    #[arg(long, default_value_t = listen::PORT)]
    port: u16,
}

/// What was looked at, and what was found.
struct Finding {
    what: &'static str,
    verdict: Verdict,
    /// Lowercase, no full stop.
    found: String,
    /// The way out, when there is something to do.
    help: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Good,
    /// Works, but not for everything.
    Note,
    Bad,
}

impl Finding {
    fn good(what: &'static str, found: impl Into<String>) -> Finding {
        Finding { what, verdict: Verdict::Good, found: found.into(), help: None }
    }

    fn note(what: &'static str, found: impl Into<String>, help: impl Into<String>) -> Finding {
        Finding { what, verdict: Verdict::Note, found: found.into(), help: Some(help.into()) }
    }

    fn bad(what: &'static str, found: impl Into<String>, help: impl Into<String>) -> Finding {
        Finding { what, verdict: Verdict::Bad, found: found.into(), help: Some(help.into()) }
    }
}

pub fn run(args: Args, out: &Output) -> Result<Done, Failure> {
    let progress = out.progress("looking", None);
    let mut findings = vec![rust(), wasm_target(), engine(), cache(), port(args.port)];
    let data = match (&args.data, &args.file) {
        (Some(dir), _) => dir.clone(),
        (None, Some(file)) => file.parent().unwrap_or(Path::new("")).join(".tidemill"),
        (None, None) => PathBuf::from("."),
    };
    findings.push(disk(&data));
    if let Some(file) = args.file {
        let pipeline = PipelineArgs { file, profile: args.profile, set: Vec::new(), data: args.data };
        findings.extend(of_pipeline(&pipeline, out));
    }
    drop(progress);
    for finding in &findings {
        let mark = match finding.verdict {
            Verdict::Good => out.paint(Tone::Good, "✓"),
            Verdict::Note => out.paint(Tone::Warn, "!"),
            Verdict::Bad => out.paint(Tone::Bad, "✗"),
        };
        out.line(format!("{mark} {:<14} {}", finding.what, escape(&finding.found)));
        if let Some(help) = &finding.help {
            out.line(format!("  {:<14} {}", "", out.paint(Tone::Faint, escape(help))));
        }
    }
    let bad = findings.iter().filter(|finding| finding.verdict == Verdict::Bad).count();
    let list: Vec<_> = findings
        .iter()
        .map(|finding| json!({ "what": finding.what, "ok": finding.verdict != Verdict::Bad, "found": finding.found, "help": finding.help }))
        .collect();
    match bad {
        0 => Ok(Done::new("nothing stands in the way", json!({ "findings": list }))),
        1 => Err(Failure::new(Exit::Environment, "1 thing stands in the way").with_result(json!({ "findings": list }))),
        _ => {
            Err(Failure::new(Exit::Environment, format!("{bad} things stand in the way"))
                .with_result(json!({ "findings": list })))
        }
    }
}

/// The first line of what a program prints.
fn first_line(program: &str, args: &[&str]) -> Option<String> {
    let output = Command::new(program).args(args).output().ok().filter(|output| output.status.success())?;
    Some(String::from_utf8_lossy(&output.stdout).lines().next().unwrap_or_default().to_owned())
}

fn rust() -> Finding {
    match first_line("cargo", &["--version"]) {
        Some(version) => Finding::good("rust", version),
        None => {
            Finding::note("rust", "cargo is not on the path", "only building plugins from source needs it: https://rustup.rs")
        }
    }
}

fn wasm_target() -> Finding {
    const TARGET: &str = "wasm32-wasip2";
    let Some(sysroot) = first_line("rustc", &["--print", "sysroot"]) else {
        return Finding::note(
            TARGET,
            "rustc is not on the path",
            "only building plugins from source needs it: https://rustup.rs",
        );
    };
    match Path::new(&sysroot).join("lib/rustlib").join(TARGET).exists() {
        true => Finding::good(TARGET, "installed"),
        false => Finding::note(TARGET, "not installed", format!("to build Rust plugins: rustup target add {TARGET}")),
    }
}

fn engine() -> Finding {
    match Engine::new(None, Compiler::Here) {
        Ok(_) => Finding::good("webassembly", "the engine starts"),
        Err(error) => Finding::bad(
            "webassembly",
            error.to_string(),
            "wasmtime needs x86-64 or aarch64 and the right to map executable memory",
        ),
    }
}

fn cache() -> Finding {
    let Some(dir) = Cache::default_dir() else {
        return Finding::note(
            "cache",
            "there is no home folder",
            "set HOME or XDG_CACHE_HOME, else plugins are compiled at each start",
        );
    };
    match Cache::open(&dir) {
        Ok(_) => Finding::good("cache", dir.display().to_string()),
        Err(error) => {
            let help = format!("chmod 700 {0}, or delete it; until then plugins are compiled at each start", dir.display());
            Finding::note("cache", error.to_string(), help)
        }
    }
}

fn port(port: u16) -> Finding {
    match std::net::TcpListener::bind(("127.0.0.1", port)) {
        Ok(_) => Finding::good("port", format!("{port} is free")),
        Err(error) => Finding::note("port", format!("{port}: {error}"), "another one is taken then, or name one with --port"),
    }
}

fn disk(dir: &Path) -> Finding {
    /// Less than this and a topic with the default retention may fill the disk.
    const COMFORT_BYTES: u64 = 2 << 30;
    // The folder may not be there yet: the first ancestor that is has the same disk.
    let dir = std::path::absolute(dir).unwrap_or_else(|_| dir.to_owned());
    let Some(there) = dir.ancestors().find(|dir| dir.exists()) else {
        return Finding::bad("disk", format!("{} cannot be reached", dir.display()), "name another folder with --data");
    };
    let free = match rustix::fs::statvfs(there) {
        Ok(stat) => stat.f_bavail * stat.f_frsize,
        Err(error) => return Finding::bad("disk", format!("{}: {error}", there.display()), "name another folder with --data"),
    };
    let found = format!("{:.1} GiB free in {}", free as f64 / (1u64 << 30) as f64, there.display());
    match free {
        0..COMFORT_BYTES => Finding::note("disk", found, "the default [topic] retention is 1 GiB: lower it, or make room"),
        _ => Finding::good("disk", found),
    }
}

fn of_pipeline(pipeline: &PipelineArgs, out: &Output) -> Vec<Finding> {
    let loaded = match pipeline.load(out) {
        Ok(loaded) => loaded,
        Err(failure) => {
            let help = format!("tidemill check {}", pipeline.file.display());
            return vec![Finding::bad("pipeline", failure.message, help)];
        }
    };
    let mut findings = vec![store(pipeline, &loaded)];
    match block_on(connected::check(&loaded.pipeline, &loaded.places)) {
        Ok(found) if found.is_empty() => findings.push(Finding::good("connections", reached(&loaded.pipeline))),
        Ok(found) => findings.extend(found.into_iter().map(|diagnostic| {
            let place = diagnostic.place.as_ref().map(|place| format!("{}:{}: ", place.file, place.line)).unwrap_or_default();
            Finding::bad("connections", format!("{place}{}", diagnostic.message), diagnostic.help.join("; "))
        })),
        Err(failure) => findings.push(Finding::bad("connections", failure.message, "try again")),
    }
    findings
}

/// What was asked, and is as the file says.
fn reached(pipeline: &Pipeline) -> String {
    let topic = match &pipeline.topic.at {
        TopicAddress::Kafka(cluster) => Some(format!("topic `{}` at {}", pipeline.topic.name, cluster.brokers.join(", "))),
        TopicAddress::Embedded => None,
    };
    let tables = pipeline.sinks.iter().filter_map(|sink| match &sink.at {
        SinkAddress::Cassandra { hosts, table } => Some(format!("table `{table}` at {}", hosts.join(", "))),
        _ => None,
    });
    let asked: Vec<String> = topic.into_iter().chain(tables).collect();
    if asked.is_empty() {
        "topic and sinks are on this machine".to_owned()
    } else {
        format!("{}: as the file says", asked.join("; "))
    }
}

fn store(pipeline: &PipelineArgs, loaded: &Loaded) -> Finding {
    let dir = pipeline.store_dir(loaded);
    if !dir.join("store.db").exists() {
        return Finding::good("store", format!("none yet in {}", dir.display()));
    }
    match Store::owner(&dir) {
        Ok(Some(owner)) => {
            let at = owner.address.map(|at| format!(" at {at}")).unwrap_or_default();
            return Finding::good("store", format!("in use by process {}{at}", owner.pid));
        }
        Ok(None) => {}
        Err(error) => return Finding::bad("store", error.to_string(), "see who may read the folder"),
    }
    let checked = Store::open(&dir).and_then(|store| {
        let check = |connection: &rusqlite::Connection| {
            Ok(connection.query_row("PRAGMA quick_check(1)", [], |row| row.get::<_, String>(0))?)
        };
        block_on(store.read(check)).unwrap_or_else(|failure| Err(crate::store::Error::Io(failure.message)))
    });
    let help = "keep a copy of the folder before you try anything; a fresh one is made when it is moved away";
    match checked {
        Ok(verdict) if verdict == "ok" => Finding::good("store", format!("sound, in {}", dir.display())),
        Ok(verdict) => Finding::bad("store", verdict, help),
        Err(error) => Finding::bad("store", error.to_string(), help),
    }
}
