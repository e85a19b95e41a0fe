//! `tidemill tap`: records before and after a stage, as a running host sees them.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::owner::{self};
use super::{Done, Exit, Failure, Output, PipelineArgs, Tone};
use crate::record::{Step, escape};
use crate::status::samples::{StageSample, StageSamples};

/// Between two looks: the host follows no more than people can read.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// How long `--json` waits for its records, unless told.
const SECONDS_OF_JSON: u64 = 10;

#[derive(clap::Args)]
#[command(
    after_help = "Examples:\n  tidemill tap pipelines/users.toml enrich\n  tidemill tap pipelines/users.toml enrich --count 3 --json"
)]
pub struct Args {
    #[command(flatten)]
    pipeline: PipelineArgs,
    /// The stage
    stage: String,
    /// End after so many records [default: go on; 10 with --json]
    #[arg(long)]
    count: Option<usize>,
    /// End after so many seconds [default: go on; 10 with --json]
    #[arg(long)]
    seconds: Option<u64>,
}

pub fn run(args: Args, out: &Output) -> Result<Done, Failure> {
    let loaded = args.pipeline.load(out)?;
    if !loaded.pipeline.stages.iter().any(|stage| stage.name == args.stage) {
        let names: Vec<String> = loaded.pipeline.stages.iter().map(|stage| format!("`{}`", stage.name)).collect();
        let there = if names.is_empty() { "it has none".to_owned() } else { format!("there is {}", names.join(", ")) };
        return Err(Failure::new(Exit::Wrong, format!("the pipeline has no stage `{}`: {there}", args.stage)));
    }
    let Some(host) = owner::owner(&args.pipeline.store_to_ask(&loaded))? else {
        let why = format!("no host runs `{}`: there are no records to follow", loaded.pipeline.name);
        return Err(Failure::new(Exit::Environment, why));
    };
    let path = format!("/api/stages/{}/samples?limit=60", args.stage);
    let count = args.count.or(out.json().then_some(10)).unwrap_or(usize::MAX);
    let until =
        args.seconds.or(out.json().then_some(SECONDS_OF_JSON)).map(|seconds| Instant::now() + Duration::from_secs(seconds));
    let mut seen = BTreeSet::new();
    let mut shown: Vec<StageSample> = Vec::new();
    let mut not_shown = 0;
    while shown.len() < count && !out.closed() && until.is_none_or(|until| Instant::now() < until) {
        let found: StageSamples = host.get(&path)?;
        not_shown = found.seen.saturating_sub(shown.len() as u64);
        // They come newest first, and are told in the order in which they went.
        for sample in found.samples.into_iter().rev() {
            if shown.len() < count && seen.insert((sample.place, sample.at_ms)) {
                tell(&sample, out);
                shown.push(sample);
            }
        }
        if shown.len() < count {
            std::thread::sleep(LOOK_EVERY);
        }
    }
    let summary =
        format!("{} records shown, {} passed meanwhile that were not", shown.len(), not_shown.saturating_sub(shown.len() as u64));
    out.line(&summary);
    Ok(Done::new(summary, json!({ "stage": args.stage, "samples": shown, "not-shown": not_shown })))
}

fn tell(sample: &StageSample, out: &Output) {
    let StageSample { place, generation, step, .. } = sample;
    let Step { outcome, reason, before, after, .. } = step;
    let tone = if outcome == "rejected" { Tone::Bad } else { Tone::Good };
    let reason = reason.as_deref().map(|reason| format!(": {}", escape(reason))).unwrap_or_default();
    let place = out.paint(Tone::Strong, format!("{}/{}", place.partition, place.offset));
    out.line(format!("{place} generation {generation} {}{reason}", out.paint(tone, outcome)));
    let text = |value: &Value| escape(&value.to_string()).into_owned();
    for (field, value) in before {
        match after.as_ref().map(|after| after.get(field)) {
            Some(Some(other)) if other != value => {
                out.line(format!("  {} {field}: {} → {}", out.paint(Tone::Warn, "~"), text(value), text(other)));
            }
            Some(None) => out.line(format!("  {} {field}: {}", out.paint(Tone::Bad, "-"), text(value))),
            _ => out.line(out.paint(Tone::Faint, format!("    {field}: {}", text(value)))),
        }
    }
    for (field, value) in after.iter().flatten().filter(|(field, _)| !before.contains_key(*field)) {
        out.line(format!("  {} {field}: {}", out.paint(Tone::Good, "+"), text(value)));
    }
}
