//! `tidemill bench cluster`: the whole way over real services.

use std::path::PathBuf;

use rustix::process::Signal;
use serde_json::{Map, Value, json};

use crate::bench::cluster::{Bench, Compared, Into, Latency, Through};
use crate::cli::{Done, Exit, Failure, OrExit, Output};

/// Records of the topic that Cassandra is warmed with, at most.
const WARM_ROWS: u64 = 200_000;

#[derive(clap::Args)]
pub(super) struct ClusterArgs {
    /// A broker
    #[arg(long, value_name = "HOST:PORT")]
    kafka: String,
    /// A node
    #[arg(long, value_name = "HOST:PORT")]
    cassandra: String,
    /// The folder that holds extract-user and enrich-user, built
    #[arg(long, value_name = "DIR", default_value = "plugins")]
    plugins: PathBuf,
    /// Records of the topic that goes to null; 1.1 KB each
    #[arg(long, value_name = "COUNT", default_value_t = 1_000_000)]
    records: u64,
    /// Records of each topic that goes to Cassandra
    #[arg(long, value_name = "COUNT", default_value_t = 200_000)]
    rows: u64,
    /// Partitions of each of these topics and of those in which swaps are timed, as in 1,2,4
    #[arg(long, value_name = "COUNT", value_delimiter = ',', default_values_t = [1, 2, 4])]
    partitions: Vec<u32>,
    /// How often the contenders take turns
    #[arg(long, value_name = "COUNT", default_value_t = 3)]
    rounds: usize,
    /// Swaps that are timed with each count of partitions and each sink, about one a second
    #[arg(long, value_name = "COUNT", default_value_t = 100)]
    swaps: usize,
    /// Seconds of the measurement at 1,000 records/s
    #[arg(long, value_name = "SECONDS", default_value_t = 20)]
    seconds: u64,
    /// Only these parts [default: all]
    #[arg(long, value_name = "PART", value_enum)]
    only: Vec<Part>,
}

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Part {
    /// Filled topic to null
    Null,
    /// Filled topics to Cassandra, and two hosts over the last
    Cassandra,
    /// Produced to readable
    Latency,
    /// End of a host to the first commit of the next one
    Restart,
    /// How long rows wait for the boundary of a swap, at 1,000 records/s to null and to Cassandra
    Swaps,
}

pub(super) fn run(args: ClusterArgs, out: &Output) -> Result<Done, Failure> {
    let failed = |reason| Failure::new(Exit::Failed, reason);
    let wants = |part| args.only.is_empty() || args.only.contains(&part);
    if cfg!(debug_assertions) {
        out.line("this is a debug build: its figures say nothing");
    }
    let dir = tempfile::TempDir::new().or_exit(Exit::Environment)?;
    let program = std::env::current_exe().or_exit(Exit::Environment)?;
    let bench = Bench::new(program, args.plugins.clone(), dir.path().to_owned(), args.kafka.clone(), args.cassandra.clone());
    let bench = bench.map_err(|reason| Failure::new(Exit::Environment, reason))?;
    let mut results = Map::new();
    let progress = out.progress("measuring", None);
    if wants(Part::Null) {
        let topic = bench.fill(2, args.records).map_err(failed)?;
        let compared = bench.compare(&topic, Into::Null, args.rounds).map_err(failed)?;
        bench.forget(topic);
        tell(out, "null", &compared);
        results.insert("null".to_owned(), json!(compared));
    }
    if wants(Part::Swaps) {
        results.insert("swaps-to-null".to_owned(), swaps(&bench, &args, Into::Null, out)?);
    }
    if wants(Part::Cassandra) || wants(Part::Latency) || wants(Part::Restart) || wants(Part::Swaps) {
        let topic = bench.fill(1, args.rows.min(WARM_ROWS)).map_err(failed)?;
        let rates = bench.warm(&topic).map_err(failed)?;
        let shown: Vec<String> = rates.iter().map(|rate| format!("{rate:.0}")).collect();
        out.line(format!("Cassandra is warm: native rows/s were {}", shown.join(", ")));
        if wants(Part::Latency) {
            let (tidemill, native) = bench.latencies(args.seconds, args.rounds).map_err(failed)?;
            out.line("produced to readable, 1,000 records/s");
            took(out, "tidemill", &tidemill);
            took(out, "bare clients, native", &native);
            results.insert("latency".to_owned(), json!({ "tidemill": tidemill, "native": native }));
        }
        if wants(Part::Restart) {
            for (how, signal) in [("stopped", Signal::TERM), ("killed", Signal::KILL)] {
                let restart = bench.restart(&topic, signal).map_err(failed)?;
                out.line(format!(
                    "restart after it was {how:<22} in the group after {:.0} ms, first commit {:.0} ms later",
                    restart.let_in_ms, restart.first_commit_ms
                ));
                results.insert(format!("restart-{how}"), json!(restart));
            }
        }
        bench.forget(topic);
        if wants(Part::Swaps) {
            results.insert("swaps-to-cassandra".to_owned(), swaps(&bench, &args, Into::Cassandra, out)?);
        }
        if wants(Part::Cassandra) {
            results.insert("cassandra".to_owned(), cassandra(&bench, &args, out).map_err(failed)?);
        }
    }
    drop(progress);
    Ok(Done::new("measured the cluster", Value::Object(results)))
}

fn swaps(bench: &Bench, args: &ClusterArgs, into: Into, out: &Output) -> Result<Value, Failure> {
    let engine = crate::cli::inspect::engine()?;
    let sink = if into == Into::Null { "null" } else { "Cassandra" };
    out.line(format!("a swap each second at 1,000 records/s into {sink}: rows wait until its boundary is saved"));
    let mut all = Vec::with_capacity(args.partitions.len());
    for partitions in &args.partitions {
        let measured = bench.boundaries(&engine, into, *partitions, args.swaps.max(1));
        let measured = measured.map_err(|reason| Failure::new(Exit::Failed, reason))?;
        took(out, &format!("tidemill, partitions: {partitions}"), &measured.waited);
        took(out, "one transaction of bare clients", &measured.transaction);
        all.push(measured);
    }
    Ok(json!(all))
}

fn cassandra(bench: &Bench, args: &ClusterArgs, out: &Output) -> Result<Value, String> {
    let mut all = Vec::with_capacity(args.partitions.len());
    let mut two_hosts = None;
    for (at, partitions) in args.partitions.iter().enumerate() {
        let topic = bench.fill(*partitions, args.rows)?;
        let compared = bench.compare(&topic, Into::Cassandra, args.rounds)?;
        tell(out, &format!("Cassandra, partitions: {partitions}"), &compared);
        all.push(compared);
        if at + 1 == args.partitions.len() && *partitions > 1 {
            let through = bench.hosts(&topic, Into::Cassandra, 2)?;
            line(out, "tidemill, two hosts", &through);
            two_hosts = Some(through);
        }
        bench.forget(topic);
    }
    Ok(json!({ "one-host": all, "two-hosts": two_hosts }))
}

fn took(out: &Output, what: &str, Latency { p50_ms, p99_ms, max_ms, .. }: &Latency) {
    out.line(format!("  {what:<38} p50 {p50_ms:.2} ms  p99 {p99_ms:.2} ms  max {max_ms:.2} ms"));
}

fn tell(out: &Output, into: &str, compared: &Compared) {
    let Compared { records, rounds, tidemill, native, rate_ratio, per_cpu_ratio, .. } = compared;
    out.line(format!("Kafka → two stages → {into}: {records} records, median of {rounds} rounds"));
    line(out, "tidemill", tidemill);
    line(out, "bare clients, native", native);
    out.line(format!("  {:<38} {rate_ratio:.2} of the records/s, {per_cpu_ratio:.2} of the records per CPU-second", "ratio"));
}

fn line(out: &Output, who: &str, through: &Through) {
    let rss = if through.rss_bytes_max == 0 {
        String::new()
    } else {
        format!("  RSS max {} MB, late {} MB", through.rss_bytes_max >> 20, through.rss_bytes_max_late >> 20)
    };
    out.line(format!(
        "  {who:<24} {:>9.0} records/s  {:>6.2} CPU-s per million{rss}",
        through.records_per_second, through.cpu_seconds_per_million
    ));
}
