//! `tidemill bench`: what this machine does, each figure beside its baseline.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::json;

use super::{Done, Exit, Failure, OrExit, Output};
use crate::bench::pipeline::{Bench, Throughput};
use crate::bench::{chain, sqlite};

#[derive(clap::Args)]
#[command(after_help = "Examples:\n  tidemill bench chain --seconds 5\n  tidemill bench pipeline --seconds 120")]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(clap::Subcommand)]
enum What {
    /// Projection and two Rust stages, beside native programs that do the same
    #[command(after_help = "Example:\n  tidemill bench chain --seconds 5\n  tidemill bench pipeline --seconds 120")]
    Chain(ChainArgs),
    /// Whole pipelines into the embedded table, beside plain SQLite: throughput, latency, start and memory
    #[command(after_help = "Example:\n  tidemill bench pipeline --seconds 120")]
    Pipeline(PipelineArgs),
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
        What::Pipeline(args) => run_pipeline(args, out),
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

#[derive(clap::Args)]
struct PipelineArgs {
    /// The folder that holds extract-user and enrich-user, built
    #[arg(long, value_name = "DIR", default_value = "plugins")]
    plugins: PathBuf,
    /// About how many seconds each part takes
    #[arg(long, value_name = "SECONDS", default_value_t = 10)]
    seconds: u64,
    /// Where stores are made for the time of the measurement, about 2 GB a minute [default: the folder for temporary files]
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

/// Records for each second of `--seconds`, of what works through a given number of them.
const RECORDS_PER_SECOND: u64 = 60_000;

fn run_pipeline(args: PipelineArgs, out: &Output) -> Result<Done, Failure> {
    let dir = match &args.dir {
        Some(dir) => tempfile::TempDir::new_in(dir),
        None => tempfile::TempDir::new(),
    };
    let dir = dir.or_exit(Exit::Environment)?;
    let program = std::env::current_exe().or_exit(Exit::Environment)?;
    let bench = Bench { program, plugins: args.plugins, dir: dir.path().to_owned(), seconds: args.seconds.max(1) };
    let failed = |reason| Failure::new(Exit::Failed, reason);
    if cfg!(debug_assertions) {
        out.line("this is a debug build: its figures say nothing");
    }
    let records = bench.seconds * RECORDS_PER_SECOND;
    let throughput = |what: &str, measured: &Throughput| {
        out.line(format!(
            "{what:<34} {:>9.0} records/s  {:>6.2} CPU-s per million  RSS max {:>4} MB, late {:>4} MB",
            measured.records_per_second,
            measured.cpu_seconds * 1e6 / measured.records as f64,
            measured.rss_bytes_max >> 20,
            measured.rss_bytes_max_late >> 20,
        ));
    };
    let progress = out.progress("measuring", None);
    let start = bench.start().map_err(failed)?;
    out.line(format!("{:<34} {:>9.0} ms  RSS idle {} MB", "warm start to ready", start.ready_ms, start.idle_rss_bytes >> 20));
    let filled = bench.filled(records).map_err(failed)?;
    throughput("filled topic to table", &filled);
    let plain = sqlite::measure(&dir.path().join("plain.db"), records).map_err(failed)?;
    out.line(format!(
        "{:<34} {:>9.0} records/s  {:>6.2} CPU-s per million",
        "  plain SQLite, native transform",
        plain.records_per_second,
        plain.cpu_seconds * 1e6 / plain.records as f64
    ));
    let source = bench.source_to_table().map_err(failed)?;
    throughput("source to table", &source);
    let latency = bench.latency(&super::inspect::engine()?).map_err(failed)?;
    out.line(format!(
        "{:<34} p50 {:.2} ms  p99 {:.2} ms  max {:.2} ms  (from the acknowledgement: p50 {:.2} ms, p99 {:.2} ms)",
        "due to visible, 1,000 records/s",
        latency.p50_ms,
        latency.p99_ms,
        latency.max_ms,
        latency.acknowledged_p50_ms,
        latency.acknowledged_p99_ms
    ));
    drop(progress);
    let result = json!({ "start": start, "filled": filled, "plain-sqlite": plain, "source": source, "latency": latency });
    Ok(Done::new("measured the pipeline", result))
}
