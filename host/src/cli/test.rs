//! `tidemill test`: the `[[test]]` cases of a pipeline, or the samples of a plugin, through the real components.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::trial::{Trial, Wanted, field_at_end};
use super::{Done, Exit, Failure, OrExit, Output, PipelineArgs, Tone, build, ending, inspect, refused};
use crate::config::plan::{TestExpectation, TestPlan};
use crate::pipeline::{Prepared, prepare};
use crate::plugin::{InstanceConfig, build_directory};
use crate::record::{Message, escape};
use crate::transform::{Stage, StageContract};

#[derive(clap::Args)]
#[command(after_help = "Examples:\n  tidemill test pipelines/users.toml\n  tidemill test plugins/extract-user")]
pub struct Args {
    /// A pipeline file, for its [[test]] cases; or the directory of a plugin, for its samples/*.json
    #[arg(value_name = "PIPELINE.toml | PLUGIN-DIRECTORY")]
    what: PathBuf,
    /// Apply the settings of [profile.NAME] in the file
    #[arg(long, value_name = "NAME")]
    profile: Option<String>,
    /// Set any key of the file
    #[arg(long = "set", value_name = "KEY=VALUE")]
    set: Vec<String>,
}

/// What a case found: nothing, or what is other than expected, a line each.
struct Case {
    name: String,
    differences: Vec<String>,
}

pub fn run(args: Args, out: &Output) -> Result<Done, Failure> {
    let cases = match args.what.is_dir() {
        true => samples(&args.what, out)?,
        false => tests(PipelineArgs { file: args.what.clone(), profile: args.profile, set: args.set, data: None }, out)?,
    };
    if cases.is_empty() {
        return Err(Failure::new(
            Exit::Wrong,
            format!("{} has no cases: write a [[test]], or samples/<case>.json", args.what.display()),
        ));
    }
    for case in &cases {
        let mark = if case.differences.is_empty() { out.paint(Tone::Good, "✓") } else { out.paint(Tone::Bad, "✗") };
        out.line(format!("{mark} {}", escape(&case.name)));
        case.differences.iter().for_each(|difference| out.line(format!("    {}", escape(difference))));
    }
    let failed = cases.iter().filter(|case| !case.differences.is_empty()).count();
    let list: Vec<Value> = cases
        .iter()
        .map(|case| json!({ "name": case.name, "ok": case.differences.is_empty(), "differences": case.differences }))
        .collect();
    let result = json!({ "cases": list, "passed": cases.len() - failed, "failed": failed });
    let of = format!("{} case{}", cases.len(), if cases.len() == 1 { "" } else { "s" });
    match failed {
        0 => {
            out.line(format!("{of} passed"));
            Ok(Done::new(format!("{of} passed"), result))
        }
        _ => Err(Failure::new(Exit::Failed, format!("{failed} of {of} failed")).with_result(result)),
    }
}

// ---- the cases of a pipeline

fn tests(args: PipelineArgs, out: &Output) -> Result<Vec<Case>, Failure> {
    let loaded = args.load(out)?;
    build::build(&loaded, out)?;
    let progress = out.progress("compiling", None);
    let prepared = prepare(loaded, &inspect::engine()?).map_err(|found| refused(&found))?;
    drop(progress);
    prepared.plan.tests.iter().map(|test| run_test(&prepared, test)).collect()
}

fn run_test(prepared: &Prepared, test: &TestPlan) -> Result<Case, Failure> {
    let mut trial = Trial::new(prepared.stages.iter().map(|stage| stage.stage.clone()).collect(), |contracts| Wanted {
        fields: fields(prepared, contracts, test),
        messages: false,
        null_value: prepared.plan.topic.null_value,
        tables: prepared.plan.sinks.iter().map(|sink| sink.columns.clone()).filter(|columns| !columns.is_empty()).collect(),
        key: prepared.plan.topic.key.clone(),
    })?;
    let (key, value) = (test.key.clone().map(String::into_bytes), Some(test.payload.clone().into_bytes()));
    let message = Message { key, value, timestamp: now_ms(), ..Message::default() };
    let tried = trial.run(&[message])?;
    let outcome = tried.outcome(0);
    let differences = match (&test.expect, outcome.as_str()) {
        (TestExpectation::Fields(expected), "emitted") => match tried.rows_of(0).as_slice() {
            [row] => expected.iter().filter_map(|(name, value)| differs(name, value, &tried.field(name, *row))).collect(),
            rows => vec![format!("expected one row, found {}", rows.len())],
        },
        (TestExpectation::Dropped, "dropped") | (TestExpectation::Deleted, "deleted") => Vec::new(),
        (TestExpectation::Rejected(part), rejected) if rejected.starts_with("rejected") && rejected.contains(part) => Vec::new(),
        (expected, _) => vec![format!("expected {}, found: {outcome}", words(expected))],
    };
    Ok(Case { name: test.name.clone(), differences })
}

/// What the sinks read, and what the case asks for besides.
fn fields(prepared: &Prepared, contracts: &[StageContract], test: &TestPlan) -> Vec<crate::record::Field> {
    let mut fields = prepared.checked.sink_fields.clone();
    if let TestExpectation::Fields(expected) = &test.expect {
        for (name, value) in expected {
            if !fields.iter().any(|field| field.name == *name) {
                fields.push(field_at_end(contracts, name, value));
            }
        }
    }
    fields
}

fn words(expected: &TestExpectation) -> String {
    match expected {
        TestExpectation::Fields(_) => "a row".to_owned(),
        TestExpectation::Dropped => "dropped".to_owned(),
        TestExpectation::Deleted => "deleted".to_owned(),
        TestExpectation::Rejected(part) if part.is_empty() => "rejected".to_owned(),
        TestExpectation::Rejected(part) => format!("rejected with `{part}`"),
    }
}

fn differs(name: &str, expected: &Value, found: &Value) -> Option<String> {
    let same = match (expected, found) {
        // 2 and 2.0 are one number.
        (Value::Number(a), Value::Number(b)) => a == b || a.as_f64() == b.as_f64(),
        _ => expected == found,
    };
    (!same).then(|| format!("{name}: expected {expected}, found {found}"))
}

// ---- the samples of a plugin

/// One file of `samples/`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Sample {
    #[serde(default)]
    settings: Map<String, Value>,
    /// The record's time, RFC 3339.
    timestamp: Option<String>,
    /// The payload.
    input: Value,
    /// Of a `fields` plugin the fields it writes, of a `messages` plugin the payloads it emits; or `"dropped"`, `"deleted"`,
    /// `"unchanged"`, `"rejected: part of the reason"`.
    expect: Value,
}

fn samples(dir: &Path, out: &Output) -> Result<Vec<Case>, Failure> {
    ending::with_builds()?;
    let progress = out.progress("building", None);
    let component =
        build_directory(dir).map_err(|error| Failure::new(Exit::Failed, format!("build {}: {error}", dir.display())))?;
    let engine = inspect::engine()?;
    let wrong = |error: &dyn std::fmt::Display| Failure::new(Exit::Wrong, format!("plugin {}: {error}", component.display()));
    let plugin = Arc::new(engine.load_file(&component).map_err(|error| wrong(&error))?);
    drop(progress);
    files(&dir.join("samples"))?
        .iter()
        .map(|path| {
            let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            Ok(Case { name, differences: run_sample(&plugin, path)? })
        })
        .collect()
}

fn files(dir: &Path) -> Result<Vec<PathBuf>, Failure> {
    let mut files = Vec::new();
    for entry in
        std::fs::read_dir(dir).map_err(|error| anyhow::anyhow!("read {}: {error}", dir.display())).or_exit(Exit::Wrong)?
    {
        let path = entry.map_err(|error| anyhow::anyhow!("read {}: {error}", dir.display())).or_exit(Exit::Wrong)?.path();
        if path.extension().is_some_and(|extension| extension == "json") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

fn run_sample(plugin: &Arc<crate::plugin::Plugin>, path: &Path) -> Result<Vec<String>, Failure> {
    let wrong = |reason: String| Failure::new(Exit::Wrong, format!("sample {}: {reason}", path.display()));
    let text = std::fs::read(path).map_err(|error| wrong(error.to_string()))?;
    let sample: Sample = serde_json::from_slice(&text).map_err(|error| wrong(error.to_string()))?;
    let mut config = InstanceConfig { stage: "sample".to_owned(), ..InstanceConfig::default() };
    for (name, value) in sample.settings {
        let value = value.as_str().ok_or_else(|| wrong(format!("setting `{name}` is no text")))?;
        config.settings.insert(name, value.to_owned());
    }
    let mut writes = None;
    let mut trial = Trial::new(vec![Stage { plugin: plugin.clone(), config }], |contracts| {
        let contract = contracts.iter().find_map(|stage| stage.contract.as_ref());
        writes = contract.map(|contract| contract.writes.iter().map(|field| field.name.clone()).collect::<Vec<_>>());
        let fields = contract.map(|contract| contract.writes.clone()).unwrap_or_default();
        let optional = fields.into_iter().map(|field| crate::record::Field { optional: true, ..field });
        Wanted { fields: optional.collect(), messages: contract.is_none(), ..Wanted::default() }
    })?;
    let timestamp = match &sample.timestamp {
        Some(text) => text.parse::<jiff::Timestamp>().map_err(|error| wrong(error.to_string()))?.as_millisecond(),
        None => 0,
    };
    let message = Message { value: Some(sample.input.to_string().into_bytes()), timestamp, ..Message::default() };
    let tried = trial.run(&[message])?;

    let outcome = tried.outcome(0);
    let rows = tried.rows_of(0);
    let found = match (outcome.as_str(), &writes) {
        ("emitted", Some(writes)) => {
            let fields = writes.iter().map(|name| (name.clone(), tried.field(name, rows[0])));
            Value::Object(fields.filter(|(_, value)| !value.is_null()).collect())
        }
        ("emitted", None) => rows.iter().map(|row| tried.payload(*row)).collect(),
        // A page without results is no row, and no drop either.
        ("dropped", None) if sample.expect == json!([]) => json!([]),
        _ => Value::String(outcome),
    };
    Ok(compare(&sample.expect, &found, &sample.input))
}

fn compare(expected: &Value, found: &Value, input: &Value) -> Vec<String> {
    match (expected, found) {
        (Value::Object(expected), Value::Object(found)) => {
            let mut names: Vec<&String> = expected.keys().collect();
            names.extend(found.keys().filter(|name| !expected.contains_key(*name)));
            let value = |of: &Map<String, Value>, name: &str| of.get(name).cloned().unwrap_or_default();
            names.iter().filter_map(|name| differs(name, &value(expected, name), &value(found, name))).collect()
        }
        (Value::Array(expected), Value::Array(found)) if expected.len() == found.len() => {
            let pairs = expected.iter().zip(found).enumerate();
            pairs.filter_map(|(at, (expected, found))| differs(&format!("message {at}"), expected, found)).collect()
        }
        (Value::String(word), Value::Array(found)) if word == "unchanged" && *found == [input.clone()] => Vec::new(),
        (Value::String(word), Value::String(found)) => {
            let fits = match word.strip_prefix("rejected") {
                Some(reason) => found.starts_with("rejected") && found.contains(reason.trim_start_matches(':').trim()),
                None => word == found,
            };
            if fits { Vec::new() } else { vec![format!("expected {word}, found: {found}")] }
        }
        (expected, found) => vec![format!("expected {expected}"), format!("found    {found}")],
    }
}

fn now_ms() -> i64 {
    jiff::Timestamp::now().as_millisecond()
}
