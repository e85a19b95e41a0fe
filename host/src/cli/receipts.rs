//! `tidemill receipts`: what each attempt to swap code did, and what a person may ask of a stage.

use serde_json::{Value, json};

use super::owner::{self, Keeper, block_on};
use super::{Done, Exit, Failure, OrExit, Output, PipelineArgs, table};
use crate::status::swap::{Outcome, Receipt};
use crate::store;

#[derive(clap::Args)]
#[command(
    after_help = "Examples:\n  tidemill receipts pipelines/users.toml --limit 5\n  tidemill receipts pipelines/users.toml --stage enrich --roll-back 3"
)]
pub struct Args {
    #[command(flatten)]
    pipeline: PipelineArgs,
    /// How many, newest first; at most 1000
    #[arg(long, default_value_t = 20)]
    limit: usize,
    /// Only those of this stage; or the stage that an order is about
    #[arg(long, value_name = "NAME")]
    stage: Option<String>,
    /// Ask the running host to look at the files of the stage now
    #[arg(long, group = "order", requires = "stage")]
    reload: bool,
    /// Ask the running host to let what waits, or runs beside, come into force
    #[arg(long, group = "order", requires = "stage")]
    promote: bool,
    /// Ask the running host to forget what waits until it changes
    #[arg(long, group = "order", requires = "stage")]
    discard: bool,
    /// Ask the running host for the stage's code and settings of an earlier generation
    #[arg(long, group = "order", requires = "stage", value_name = "GENERATION")]
    roll_back: Option<u64>,
}

impl Args {
    /// The order as the API has it: its name and its body.
    fn order(&self) -> Option<(&'static str, Value)> {
        let plain = [(self.reload, "reload"), (self.promote, "promote"), (self.discard, "discard")];
        let plain = plain.into_iter().find(|(given, _)| *given).map(|(_, order)| (order, json!({})));
        plain.or(self.roll_back.map(|generation| ("rollback", json!({ "generation": generation }))))
    }
}

pub fn run(args: Args, out: &Output) -> Result<Done, Failure> {
    let loaded = args.pipeline.load(out)?;
    let store_dir = args.pipeline.store_to_ask(&loaded);
    if let (Some((order, body)), Some(stage)) = (args.order(), &args.stage) {
        let Some(host) = owner::owner(&store_dir)? else {
            let why = format!("no host runs `{}`: there is nothing to {order}", loaded.pipeline.name);
            return Err(Failure::new(Exit::Environment, why));
        };
        let answer = host.post(&format!("/api/stages/{stage}/{order}"), &body)?;
        let receipt: Receipt = serde_json::from_value(answer.clone()).or_exit(Exit::Failed)?;
        print(out, std::slice::from_ref(&receipt));
        let summary = format!("{order} {stage}: {}", receipt.outcome.name());
        return match receipt.outcome {
            Outcome::Refused | Outcome::Parked => {
                Err(Failure::new(Exit::Failed, receipt.reason.unwrap_or(summary)).with_result(json!({ "receipt": answer })))
            }
            _ => Ok(Done::new(summary, json!({ "receipt": answer }))),
        };
    }
    let mut receipts: Vec<Receipt> = match owner::keeper(&store_dir)? {
        Keeper::Host(host) => host.get(&format!("/api/receipts?limit={}", args.limit))?,
        Keeper::Us(store) => block_on(store::swaps::latest(&store, args.limit))?.or_exit(Exit::Failed)?,
    };
    if let Some(stage) = &args.stage {
        receipts.retain(|receipt| receipt.changes.iter().any(|change| change.stage == *stage));
    }
    print(out, &receipts);
    Ok(Done::new(format!("{} receipts", receipts.len()), json!({ "receipts": receipts })))
}

fn print(out: &Output, receipts: &[Receipt]) {
    let short = |digest: &Option<String>| digest.as_deref().map_or("-", |digest| digest.get(..8).unwrap_or(digest)).to_owned();
    let rows: Vec<Vec<String>> = receipts
        .iter()
        .map(|receipt| {
            let stages = receipt.changes.iter().map(|change| {
                format!("{} {} → {} ({})", change.stage, short(&change.from), short(&change.to), change.what.join(", "))
            });
            let offsets = receipt.partitions.iter().map(|partition| format!("{}/{}", partition.partition, partition.first));
            let in_flight: i64 = receipt.partitions.iter().map(|partition| partition.in_flight).sum();
            vec![
                receipt.id.to_string(),
                table::time(receipt.at_ms),
                receipt.who.clone(),
                receipt.outcome.name().to_owned(),
                receipt.generation.to_string(),
                format!("{:.0}", receipt.took_ms),
                format!("{:.0}", receipt.compile_ms),
                receipt.pause_ms.map_or_else(|| "-".to_owned(), |pause| format!("{pause:.2}")),
                offsets.collect::<Vec<_>>().join(" "),
                if receipt.partitions.is_empty() { "-".to_owned() } else { in_flight.to_string() },
                stages.collect::<Vec<_>>().join("; "),
                receipt.reason.clone().unwrap_or_default(),
            ]
        })
        .collect();
    let headings = [
        "receipt",
        "at (UTC)",
        "who",
        "outcome",
        "generation",
        "took ms",
        "compile ms",
        "pause ms",
        "first offsets",
        "in flight",
        "stages",
        "reason",
    ];
    table::print(out, &headings, &rows);
}
