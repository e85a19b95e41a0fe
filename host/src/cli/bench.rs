//! `tidemill bench`: what this machine does, each figure beside its baseline.

mod cluster;

use std::path::PathBuf;
use std::time::Duration;

use serde_json::json;

use super::{Done, Exit, Failure, OrExit, Output};
use crate::bench::pipeline::{Bench, Latency, Throughput};
use crate::bench::{chain, sandbox, sqlite};

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
    /// What the sandbox costs and how soon it holds: traps, loops, the search for a record to blame, limits
    #[command(after_help = "Example:\n  tidemill bench sandbox --seconds 5")]
    Sandbox(SandboxArgs),
    /// Pipelines between a Kafka and a Cassandra that run already, beside bare clients with native code
    #[command(after_help = "Example:\n  tidemill bench cluster --kafka localhost:9092 --cassandra localhost:9042")]
    Cluster(cluster::ClusterArgs),
    /// Other code while records flow: from a save to the first record by it, the pause, throughput beside a run without swaps
    #[command(after_help = "Example:\n  tidemill bench reload --seconds 10")]
    Reload(ReloadArgs),
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
        What::Sandbox(args) => run_sandbox(args, out),
        What::Cluster(args) => cluster::run(args, out),
        What::Reload(args) => run_reload(args, out),
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
    /// Where stores are made for the time of the measurement, about 10 GB a minute [default: the folder for temporary files]
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

impl PipelineArgs {
    /// And the folder that goes with it.
    fn bench(&self) -> Result<(Bench, tempfile::TempDir), Failure> {
        let dir = match &self.dir {
            Some(dir) => tempfile::TempDir::new_in(dir),
            None => tempfile::TempDir::new(),
        };
        let dir = dir.or_exit(Exit::Environment)?;
        let program = std::env::current_exe().or_exit(Exit::Environment)?;
        let (plugins, seconds) = (self.plugins.clone(), self.seconds.max(1));
        Ok((Bench { program, plugins, dir: dir.path().to_owned(), seconds }, dir))
    }
}

/// Records for each second of `--seconds`, of what works through a given number of them.
const RECORDS_PER_SECOND: u64 = 100_000;

fn run_pipeline(args: PipelineArgs, out: &Output) -> Result<Done, Failure> {
    let (bench, dir) = args.bench()?;
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

#[derive(clap::Args)]
struct SandboxArgs {
    /// The folder that holds extract-user and enrich-user, built
    #[arg(long, value_name = "DIR", default_value = "plugins")]
    plugins: PathBuf,
    /// The source of a guest that traps and loops as it is told
    #[arg(long, value_name = "DIR", default_value = "tests/guests/fault")]
    guest: PathBuf,
    /// Seconds for the cost of limits, and for each half of the latency beside a partition in trouble
    #[arg(long, value_name = "SECONDS", default_value_t = 3)]
    seconds: u64,
}

fn run_sandbox(args: SandboxArgs, out: &Output) -> Result<Done, Failure> {
    if cfg!(debug_assertions) {
        out.line("this is a debug build: its figures say nothing");
    }
    let engine = super::inspect::engine()?;
    let progress = out.progress("measuring", None);
    let measured = sandbox::measure(&engine, &args.plugins, &args.guest, Duration::from_secs(args.seconds));
    drop(progress);
    let m = measured.map_err(|reason| Failure::new(Exit::Failed, reason))?;
    let spread = |what: &str, spread: sandbox::Spread| {
        out.line(format!("{what:<44} p50 {:>9.1} µs  p99 {:>9.1} µs", spread.p50_us, spread.p99_us));
    };
    spread("trap to next good call", m.trap_to_good_call);
    spread("  a good call", m.good_call);
    spread("loop stopped after its time", m.loop_stopped);
    spread("200 MiB filled at once, stopped after its time", m.fill_stopped);
    spread("  a sleep ends after its time", m.sleep_late);
    let latency = |what: &str, latency: &Latency| {
        out.line(format!("{what:<44} p50 {:>9.2} ms  p99 {:>9.2} ms", latency.p50_ms, latency.p99_ms));
    };
    latency("due to visible beside a partition in a loop", &m.neighbour_in_trouble);
    latency("  beside one that is calm", &m.neighbour_calm);
    out.line(format!("{:<44} {:>4}  (one by one: {})", "calls to blame 1 of 500 records", m.blame_calls, m.blame_calls_singly));
    out.line(format!(
        "{:<44} {:.3} µs  without: {:.3} µs  ratio {:.3}",
        "two Rust stages with interruption and limits", m.bounded_us, m.unbounded_us, m.bounded_to_unbounded
    ));
    Ok(Done::new("measured the sandbox", serde_json::to_value(m).or_exit(Exit::Failed)?))
}

#[derive(clap::Args)]
struct ReloadArgs {
    #[command(flatten)]
    pipeline: PipelineArgs,
    /// Swaps that are timed
    #[arg(long, value_name = "COUNT", default_value_t = 300)]
    swaps: usize,
}

fn run_reload(args: ReloadArgs, out: &Output) -> Result<Done, Failure> {
    let (bench, _dir) = args.pipeline.bench()?;
    let failed = |reason| Failure::new(Exit::Failed, reason);
    if cfg!(debug_assertions) {
        out.line("this is a debug build: its figures say nothing");
    }
    let engine = super::inspect::engine()?;
    let progress = out.progress("measuring", None);
    let swaps = bench.swaps(&engine, args.swaps.max(1)).map_err(failed)?;
    out.line(format!(
        "{:<44} p50 {:.2} ms  p99 {:.2} ms  max {:.2} ms  ({} swaps; reading the cache, p50 {:.2} ms, is not in it)",
        "saved to first record by the new code",
        swaps.first_record_p50_ms,
        swaps.first_record_p99_ms,
        swaps.first_record_max_ms,
        swaps.swaps,
        swaps.cache_p50_ms
    ));
    out.line(format!(
        "{:<44} p50 {:.2} ms  max {:.2} ms",
        "  a restart of the pipeline instead", swaps.restart_p50_ms, swaps.restart_max_ms
    ));
    out.line(format!("{:<44} p50 {:.3} ms  p99 {:.3} ms", "pause of the partition", swaps.pause_p50_ms, swaps.pause_p99_ms));
    let records = bench.seconds * RECORDS_PER_SECOND;
    let alternating = bench.alternating(&engine, records).map_err(failed)?;
    out.line(format!(
        "{:<44} {:.0} records/s  without: {:.0}  ratio {:.3}  ({} swaps)",
        "filled topic to table, a swap each second",
        alternating.records_per_second,
        alternating.records_per_second_without,
        alternating.to_without,
        alternating.swaps
    ));
    drop(progress);
    Ok(Done::new("measured reload", json!({ "swaps": swaps, "alternating": alternating })))
}
