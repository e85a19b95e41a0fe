//! `tidemill dry-run`: some records through the real chain, before and after; nothing is kept and nothing is written.

use std::path::PathBuf;

use serde_json::{Value, json};

use super::owner::block_on;
use super::trial::{self, Trial, Tried, Wanted};
use super::{Done, Exit, Failure, OrExit, Output, PipelineArgs, Tone, build, inspect, refused};
use crate::config::plan::{FilePlan, GeneratorPlan, SinkPlan, SourceKind, SourcePlan};
use crate::pipeline::{Prepared, prepare};
use crate::record::{Message, RowOutcome, escape};
use crate::sink::{self, bind};
use crate::source;

#[derive(clap::Args)]
#[command(
    after_help = "Examples:\n  tidemill dry-run pipelines/users.toml --records 5\n  tidemill dry-run pipelines/users.toml --input my.ndjson"
)]
pub struct Args {
    #[command(flatten)]
    pipeline: PipelineArgs,
    /// How many records
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    records: u32,
    /// Take the payloads from this file, one JSON value per line
    #[arg(long, value_name = "FILE.ndjson")]
    input: Option<PathBuf>,
}

pub fn run(args: Args, out: &Output) -> Result<Done, Failure> {
    let loaded = args.pipeline.load(out)?;
    build::build(&loaded, out)?;
    let progress = out.progress("compiling", None);
    let prepared = prepare(loaded, &inspect::engine()?).map_err(|found| refused(&found))?;
    drop(progress);
    let (from, messages) = records(prepared.plan.source.as_ref(), &args)?;
    let mut trial = Trial::new(prepared.stages.iter().map(|stage| stage.stage.clone()).collect(), |_| Wanted {
        fields: prepared.checked.sink_fields.clone(),
        messages: prepared.plan.sinks.iter().any(|sink| sink.columns.is_empty()),
        null_value: prepared.plan.topic.null_value,
        tables: tables(&prepared).map(|sink| sink.columns.clone()).collect(),
        key: prepared.plan.topic.key.clone(),
    })?;
    let tried = trial.run(&messages)?;

    out.line(out.paint(Tone::Faint, format!("{} records from {from}; nothing is written", messages.len())));
    let mut shown = Vec::new();
    for (record, message) in (0..).zip(&messages) {
        let before = message.value.as_deref().map_or(Value::Null, trial::payload);
        let outcome = tried.outcome(record);
        let after = after(&prepared, &tried, record);
        print(out, record, &before, &outcome, &after);
        shown.push(json!({ "before": before, "outcome": outcome, "after": after }));
    }
    let rejected = tried.transformed.outcomes.iter().filter(|outcome| matches!(outcome, RowOutcome::Rejected { .. })).count();
    let summary = format!("{} records, {rejected} of them rejected", messages.len());
    Ok(Done::new(summary, json!({ "from": from, "records": shown })))
}

fn tables(prepared: &Prepared) -> impl Iterator<Item = &SinkPlan> {
    prepared.plan.sinks.iter().filter(|sink| !sink.columns.is_empty())
}

/// Records as the source gives them, and from where. No service is asked: its sample stands for it.
fn records(source: Option<&SourcePlan>, args: &Args) -> Result<(String, Vec<Message>), Failure> {
    let wrong = |why: &str| Failure::new(Exit::Wrong, why);
    let (from, plan) = match (&args.input, source) {
        (Some(path), plan) => {
            let plan = plan.cloned().ok_or_else(|| wrong("the topic is fed by others: there is no source to read as"))?;
            (path.display().to_string(), SourcePlan { kind: SourceKind::File(FilePlan { path: path.clone() }), ..plan })
        }
        (None, None) => return Err(wrong("the topic is fed by others: give records with --input FILE.ndjson")),
        (None, Some(plan)) => match &plan.kind {
            SourceKind::File(file) => (file.path.display().to_string(), plan.clone()),
            SourceKind::Generator(_) => ("the generator".to_owned(), plan.clone()),
            SourceKind::RandomUser(randomuser) => {
                let kind = SourceKind::Generator(GeneratorPlan { seed: randomuser.seed.clone() });
                ("the generator, which stands in for randomuser".to_owned(), SourcePlan { kind, ..plan.clone() })
            }
            SourceKind::Http(_) => {
                let sample = plan
                    .sample
                    .clone()
                    .ok_or_else(|| wrong("the source has no `sample`: give records with --input FILE.ndjson"))?;
                return Ok(("the source's sample".to_owned(), vec![message(sample.into_bytes())]));
            }
        },
    };
    let page = block_on(async { source::open(&plan)?.fetch(None, args.records).await })?.or_exit(Exit::Failed)?;
    Ok((from, page.messages.into_iter().take(args.records as usize).collect()))
}

fn message(value: Vec<u8>) -> Message {
    Message { value: Some(value), timestamp: jiff::Timestamp::now().as_millisecond(), ..Message::default() }
}

/// What each sink would be given of a record, by the sink's name.
fn after(prepared: &Prepared, tried: &Tried, record: u32) -> Value {
    let write_times = vec![0; tried.transformed.origins.len()];
    let emitted = trial::emitted(&tried.batch, &tried.transformed, &write_times);
    let place = tried.batch.place(record as usize);
    let sinks = prepared.plan.sinks.iter().map(|plan| {
        let rows: Vec<Value> = match plan.columns.is_empty() {
            true => tried.rows_of(record).into_iter().map(|row| tried.payload(row)).collect(),
            // Everything that cannot be bound is rejected by now.
            false => bind::rows(&plan.columns, &emitted).map_or_else(
                |_| Vec::new(),
                |rows| {
                    let own = (0..rows.len()).filter(|row| rows.places[*row] == place);
                    own.map(|row| Value::Object(sink::json::object(&plan.columns, &rows, row))).collect()
                },
            ),
        };
        (plan.name.clone(), Value::Array(rows))
    });
    Value::Object(sinks.collect())
}

fn print(out: &Output, record: u32, before: &Value, outcome: &str, after: &Value) {
    out.line("");
    out.line(format!("{} {}", out.paint(Tone::Strong, format!("record {record}")), escape(&before.to_string())));
    let tone = if outcome == "emitted" { Tone::Good } else { Tone::Warn };
    out.line(format!("  {}", out.paint(tone, escape(outcome))));
    for (sink, rows) in after.as_object().into_iter().flatten() {
        for row in rows.as_array().into_iter().flatten() {
            let Some(fields) = row.as_object() else {
                out.line(format!("  → {} {}", escape(sink), escape(&row.to_string())));
                continue;
            };
            out.line(format!("  → {}", escape(sink)));
            let width = fields.keys().map(|name| name.chars().count()).max().unwrap_or(0);
            for (name, value) in fields {
                out.line(format!(
                    "      {} {}",
                    out.paint(Tone::Faint, format!("{:<width$}", escape(name))),
                    escape(&value.to_string())
                ));
            }
        }
    }
}
