//! `tidemill check`: whether a pipeline would run, without running it: pure and offline (invariant 9).

use serde_json::json;

use super::pipeline::refused;
use super::{Done, Failure, Output, PipelineArgs, Tone, inspect};
use crate::config::diagnostic::{Diagnostic, render_all};
use crate::pipeline::prepare;

#[derive(clap::Args)]
#[command(after_help = "Example:\n  tidemill check pipelines/users.toml --profile cluster\n\n\
                        Opens no socket and changes nothing. `tidemill explain TM050` tells what a code means.")]
pub struct Args {
    #[command(flatten)]
    pipeline: PipelineArgs,
}

pub fn run(args: Args, out: &Output) -> Result<Done, Failure> {
    let loaded = args.pipeline.read()?;
    let progress = out.progress("compiling", None);
    let prepared = prepare(loaded, &inspect::engine()?).map_err(|found| refused(&found))?;
    drop(progress);
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
