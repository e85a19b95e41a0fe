//! `tidemill bench`: what this machine does, each figure beside its baseline.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::json;

use super::{Done, Exit, Failure, OrExit, Output};
use crate::bench::chain;

#[derive(clap::Args)]
#[command(after_help = "Example:\n  tidemill bench chain --seconds 5")]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(clap::Subcommand)]
enum What {
    /// Projection and two Rust stages, beside native programs that do the same
    #[command(after_help = "Example:\n  tidemill bench chain --seconds 5")]
    Chain(ChainArgs),
}

#[derive(clap::Args)]
struct ChainArgs {
    /// The folder that holds extract-user and enrich-user, built
    #[arg(long, value_name = "DIR", default_value = "plugins")]
    plugins: PathBuf,
    /// Seconds for each size of batch
    #[arg(long, value_name = "SECONDS", default_value_t = 3)]
    seconds: u64,
}

pub fn run(args: Args, out: &Output) -> Result<Done, Failure> {
    match args.what {
        What::Chain(args) => run_chain(args, out),
    }
}

fn run_chain(args: ChainArgs, out: &Output) -> Result<Done, Failure> {
    let engine = super::inspect::engine()?;
    let stages = chain::stages(&engine, &args.plugins).map_err(|reason| Failure::new(Exit::Environment, reason))?;
    if cfg!(debug_assertions) {
        out.line("this is a debug build: its figures say nothing");
    }
    out.line(
        "µs of CPU per record             batch    chain  (project extract enrich)  native JSON  ratio  native columns  ratio",
    );
    let mut results = Vec::new();
    for batch_records in chain::BATCH_RECORDS {
        let progress = out.progress("measuring", None);
        let measured = chain::measure(&stages, batch_records, Duration::from_secs(args.seconds));
        drop(progress);
        let m = measured.map_err(|reason| Failure::new(Exit::Failed, reason))?;
        out.line(format!(
            "{:>8.0} bytes, {:>5} rounds  {:>8}  {:>7.3}  {:>8.3} {:>7.3} {:>6.3}   {:>10.3}  {:>5.2}  {:>14.3}  {:>5.2}",
            m.payload_bytes,
            m.rounds,
            m.batch_records,
            m.chain,
            m.project,
            m.extract_user,
            m.enrich_user,
            m.native_json,
            m.to_native_json,
            m.native_columns,
            m.to_native_columns,
        ));
        results.push(serde_json::to_value(m).or_exit(Exit::Failed)?);
    }
    Ok(Done::new("measured the chain", json!({ "chain": results })))
}
