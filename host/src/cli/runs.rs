//! `tidemill runs`: what each poll of the source did, and the source's brake.

use serde_json::json;

use super::owner::{self, Keeper, block_on};
use super::{Done, Exit, Failure, OrExit, Output, PipelineArgs, table};
use crate::status::Run;
use crate::store;

#[derive(clap::Args)]
#[command(after_help = "Examples:\n  tidemill runs pipelines/users.toml --limit 5\n  tidemill runs pipelines/users.toml --pause")]
pub struct Args {
    #[command(flatten)]
    pipeline: PipelineArgs,
    /// How many, newest first; at most 1000
    #[arg(long, default_value_t = 20)]
    limit: usize,
    /// Ask the running host to poll no more until it is resumed
    #[arg(long, group = "order")]
    pause: bool,
    /// Ask the running host to poll on
    #[arg(long, group = "order")]
    resume: bool,
    /// Ask the running host to poll now
    #[arg(long, group = "order")]
    poll: bool,
}

pub fn run(args: Args, out: &Output) -> Result<Done, Failure> {
    let loaded = args.pipeline.load(out)?;
    let store_dir = args.pipeline.store_to_ask(&loaded);
    let order = [(args.pause, "pause"), (args.resume, "resume"), (args.poll, "poll")].into_iter().find(|(given, _)| *given);
    if let Some((_, order)) = order {
        let Some(host) = owner::owner(&store_dir)? else {
            return Err(Failure::new(
                Exit::Environment,
                format!("no host runs `{}`: there is nothing to {order}", loaded.pipeline.name),
            ));
        };
        host.post(&format!("/api/source/{order}"), &json!({}))?;
        let summary = format!("asked the host of `{}` to {order}", loaded.pipeline.name);
        out.line(&summary);
        return Ok(Done::new(summary, json!({ "order": order })));
    }
    let runs: Vec<Run> = match owner::keeper(&store_dir)? {
        Keeper::Host(host) => host.get(&format!("/api/runs?limit={}", args.limit))?,
        Keeper::Us(store) => block_on(store::runs::latest(&store, args.limit))?.or_exit(Exit::Failed)?,
    };
    let rows: Vec<Vec<String>> = runs
        .iter()
        .map(|run| {
            let took = format!("{:.0} ms", run.duration_ms);
            let numbers = [run.records, run.bytes, run.retries].map(|number| number.to_string());
            let [records, bytes, retries] = numbers;
            let status = run.status.map_or_else(|| "-".to_owned(), |status| status.to_string());
            vec![
                run.id.to_string(),
                table::time(run.started_ms),
                took,
                records,
                bytes,
                status,
                retries,
                run.what.clone(),
                run.result.clone(),
            ]
        })
        .collect();
    table::print(out, &["run", "started (UTC)", "took", "records", "bytes", "status", "retries", "what", "result"], &rows);
    Ok(Done::new(format!("{} runs", runs.len()), json!({ "runs": runs })))
}
