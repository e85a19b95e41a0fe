//! `tidemill check`: whether a pipeline would run, without running it: pure and offline (invariant 9), unless `--connect` asks for more.

use serde_json::json;

use super::pipeline::refused;
use super::{Done, Exit, Failure, Output, PipelineArgs, Tone, block_on, inspect};
use crate::config::code;
use crate::config::diagnostic::{self, Diagnostic, render_all};
use crate::pipeline::{connected, prepare};

#[derive(clap::Args)]
#[command(after_help = "Example:\n  tidemill check pipelines/users.toml --profile cluster\n\n\
                        Opens no socket, but for --connect, and changes nothing. `tidemill explain TM050` tells what a code means.")]
pub struct Args {
    #[command(flatten)]
    pipeline: PipelineArgs,
    /// Also ask the topic and the tables whether they are there and fit; nothing is changed
    #[arg(long)]
    connect: bool,
}

pub fn run(args: Args, out: &Output) -> Result<Done, Failure> {
    let loaded = args.pipeline.read()?;
    let progress = out.progress("compiling", None);
    let places = loaded.places.clone();
    let mut prepared = prepare(loaded, &inspect::engine()?).map_err(|found| refused(&found))?;
    drop(progress);
    if args.connect {
        let progress = out.progress("asking", None);
        let found = block_on(connected::check(&prepared.plan, &places))?;
        drop(progress);
        if found.iter().any(Diagnostic::is_error) {
            prepared.warnings.extend(found);
            diagnostic::sort(&mut prepared.warnings);
            let mut failure = refused(&prepared.warnings);
            let errors = prepared.warnings.iter().filter(|found| found.is_error());
            if errors.map(|error| error.code).all(|code| code::OF_THE_ENVIRONMENT.contains(&code)) {
                failure.exit = Exit::Environment;
            }
            return Err(failure);
        }
        prepared.warnings.extend(found);
    }
    if !prepared.warnings.is_empty() {
        out.line(render_all(&prepared.warnings, out.colour()));
    }
    let plan = &prepared.plan;
    let count = |n: usize, what: &str| format!("{n} {what}{}", if n == 1 { "" } else { "s" });
    let columns: usize = plan.sinks.iter().map(|sink| sink.columns.len()).sum();
    let summary = format!(
        "{}: {}, {}, {} with {}, {}",
        plan.name,
        plan.source.as_ref().map_or("no source", |source| source.kind.name()),
        count(plan.stages.len(), "stage"),
        count(plan.sinks.len(), "sink"),
        count(columns, "column"),
        if prepared.warnings.is_empty() { "nothing wrong".to_owned() } else { count(prepared.warnings.len(), "warning") },
    );
    out.line(format!("{} {summary}", out.paint(Tone::Good, "✓")));
    let diagnostics: Vec<_> = prepared.warnings.iter().map(Diagnostic::json).collect();
    let fields: Vec<_> = prepared.checked.sink_fields.iter().collect();
    Ok(Done::new(summary, json!({ "diagnostics": diagnostics, "sink-fields": fields })))
}
