//! `/metrics`: a snapshot in Prometheus' text format, version 0.0.4.

use std::fmt::Write;

use super::Snapshot;

/// A metric's row in the table of `host/README.md`.
pub struct Metric {
    pub name: &'static str,
    /// `counter` or `gauge`.
    pub kind: &'static str,
    /// Besides `pipeline`, which all have.
    pub labels: &'static [&'static str],
    pub help: &'static str,
}

const fn counter(name: &'static str, labels: &'static [&'static str], help: &'static str) -> Metric {
    Metric { name, kind: "counter", labels, help }
}

const fn gauge(name: &'static str, labels: &'static [&'static str], help: &'static str) -> Metric {
    Metric { name, kind: "gauge", labels, help }
}

/// Every metric, in the order of the output.
pub const METRICS: &[Metric] = &[
    gauge("tidemill_build_info", &["version"], "1; the version is a label"),
    gauge("tidemill_state", &["state"], "1 for the state that the pipeline is in"),
    gauge("tidemill_start_time_seconds", &[], "When this host started, seconds since 1970"),
    gauge("tidemill_resident_memory_bytes", &[], "Resident memory of the host, bytes"),
    counter("tidemill_records_total", &["outcome"], "Records settled, each counted once per offset, also over restarts"),
    gauge("tidemill_dead_letters", &[], "Dead letters that wait for replay or discard"),
    gauge("tidemill_alarms", &[], "Alarms in force"),
    counter("tidemill_source_polls_total", &["source"], "Polls since the start"),
    counter("tidemill_source_records_total", &["source"], "Records published since the start"),
    counter("tidemill_source_bytes_total", &["source"], "Bytes received from the source since the start"),
    counter("tidemill_source_retries_total", &["source"], "Fetches that were tried again since the start"),
    gauge("tidemill_partition_next_offset", &["partition"], "The next offset to deliver: all below it is settled"),
    gauge("tidemill_partition_end_offset", &["partition"], "One past the last offset of the topic"),
    gauge("tidemill_partition_lag_records", &["partition"], "Offsets between the position and the end"),
    gauge("tidemill_partition_generation", &["partition"], "The generation that decides the next record"),
    counter("tidemill_stage_rows_total", &["stage"], "Rows that the stage was given since the start"),
    counter("tidemill_stage_rejected_total", &["stage"], "Rows that the stage rejected since the start"),
    counter("tidemill_stage_dropped_total", &["stage"], "Rows that the stage dropped since the start"),
    counter("tidemill_stage_traps_total", &["stage"], "Calls that ended the instance since the start"),
    gauge("tidemill_stage_seconds_per_record", &["stage"], "Time in the guest and at its boundary, seconds per record"),
    gauge("tidemill_stage_memory_bytes", &["stage"], "Linear memory of the instance, bytes"),
    gauge("tidemill_stage_memory_limit_bytes", &["stage"], "What it may grow to, bytes"),
    gauge("tidemill_stage_table_elements", &["stage"], "Elements of the instance's tables"),
    gauge("tidemill_stage_slowest_call_seconds", &["stage"], "CPU time of the slowest call since the start, seconds"),
    gauge("tidemill_stage_call_limit_seconds", &["stage"], "CPU time that one call may take, seconds"),
    gauge("tidemill_stage_generation", &["stage"], "The generation that the stage runs"),
    counter("tidemill_swaps_total", &["outcome"], "Attempts to swap code since the start"),
    gauge(
        "tidemill_swap_seconds",
        &["part"],
        "How long the last swap took: whole, to compile, the longest pause of a partition; and to save the latest boundary, where that is not saved with the rows",
    ),
    counter("tidemill_sink_rows_total", &["sink"], "Rows written since the start"),
    counter("tidemill_sink_retries_total", &["sink"], "Writes that were tried again since the start"),
    gauge("tidemill_sink_in_flight_rows", &["sink"], "Rows given to the sink and not confirmed yet"),
    gauge(
        "tidemill_sink_last_write_seconds",
        &["sink"],
        "How long the last write took, seconds; none for what is written in the topic's transaction",
    ),
    gauge(
        "tidemill_sink_row_seconds",
        &["sink", "quantile"],
        "How long the latest rows took, seconds: until the answer where a sink writes row by row, until the save where in the topic's transaction",
    ),
    gauge("tidemill_sink_unanswered_rows", &["sink"], "Rows that wait for the server's answer; of sinks that write row by row"),
    gauge("tidemill_sink_breaker_open", &["sink"], "1 while one row at a time is tried, since none was taken"),
];

/// The values of one metric: label values in the order of [`Metric::labels`].
fn values(name: &str, snapshot: &Snapshot) -> Vec<(Vec<String>, f64)> {
    let one = |value: f64| vec![(Vec::new(), value)];
    let source = |value: fn(&super::SourceStatus) -> u64| {
        snapshot.source.iter().map(|source| (vec![source.kind.clone()], value(source) as f64)).collect()
    };
    let partitions = |value: fn(&super::PartitionStatus) -> f64| {
        snapshot.partitions.iter().map(|(number, status)| (vec![number.to_string()], value(status))).collect()
    };
    let stages = |value: fn(&super::StageStatus) -> f64| {
        snapshot.stages.iter().map(|stage| (vec![stage.name.clone()], value(stage))).collect()
    };
    let sinks =
        |value: fn(&super::SinkStatus) -> f64| snapshot.sinks.iter().map(|sink| (vec![sink.name.clone()], value(sink))).collect();
    match name {
        "tidemill_build_info" => vec![(vec![env!("CARGO_PKG_VERSION").to_owned()], 1.0)],
        "tidemill_state" => vec![(vec![snapshot.state.clone()], 1.0)],
        "tidemill_start_time_seconds" => one(snapshot.started_ms as f64 / 1e3),
        "tidemill_resident_memory_bytes" => one(snapshot.rss_bytes as f64),
        "tidemill_records_total" => {
            let totals = &snapshot.totals;
            let outcomes = [
                ("emitted", totals.emitted),
                ("dropped", totals.dropped),
                ("deleted", totals.deleted),
                ("rejected", totals.rejected),
            ];
            outcomes.into_iter().map(|(outcome, count)| (vec![outcome.to_owned()], count as f64)).collect()
        }
        "tidemill_dead_letters" => one(snapshot.dead_letters as f64),
        "tidemill_alarms" => one(snapshot.alarms.len() as f64),
        "tidemill_source_polls_total" => source(|source| source.polls),
        "tidemill_source_records_total" => source(|source| source.records),
        "tidemill_source_bytes_total" => source(|source| source.bytes),
        "tidemill_source_retries_total" => source(|source| source.retries),
        "tidemill_partition_next_offset" => partitions(|partition| partition.next as f64),
        "tidemill_partition_end_offset" => partitions(|partition| partition.end as f64),
        "tidemill_partition_lag_records" => partitions(|partition| partition.lag as f64),
        "tidemill_partition_generation" => partitions(|partition| partition.generation as f64),
        "tidemill_stage_rows_total" => stages(|stage| stage.rows as f64),
        "tidemill_stage_rejected_total" => stages(|stage| stage.rejected as f64),
        "tidemill_stage_dropped_total" => stages(|stage| stage.dropped as f64),
        "tidemill_stage_traps_total" => stages(|stage| stage.traps as f64),
        // Nothing was measured before the first record.
        "tidemill_stage_seconds_per_record" => {
            let timed = snapshot.stages.iter().filter(|stage| stage.micros_per_record > 0.0);
            timed.map(|stage| (vec![stage.name.clone()], stage.micros_per_record / 1e6)).collect()
        }
        "tidemill_stage_memory_bytes" => stages(|stage| stage.memory_bytes as f64),
        "tidemill_stage_memory_limit_bytes" => stages(|stage| stage.memory_limit_bytes as f64),
        "tidemill_stage_table_elements" => stages(|stage| stage.table_elements as f64),
        "tidemill_stage_slowest_call_seconds" => stages(|stage| stage.slowest_call_ms / 1e3),
        "tidemill_stage_call_limit_seconds" => stages(|stage| stage.call_limit_ms / 1e3),
        "tidemill_stage_generation" => stages(|stage| stage.generation as f64),
        "tidemill_swaps_total" => {
            let swaps = &snapshot.swaps;
            let outcomes = [
                ("applied", swaps.applied),
                ("refused", swaps.refused),
                ("parked", swaps.parked),
                ("rolled-back", swaps.rolled_back),
            ];
            outcomes.into_iter().map(|(outcome, count)| (vec![outcome.to_owned()], count as f64)).collect()
        }
        "tidemill_swap_seconds" if snapshot.swaps.last_took_ms > 0.0 => {
            let swaps = &snapshot.swaps;
            let boundary = snapshot.partitions.values().map(|partition| partition.boundary_ms).fold(0.0, f64::max);
            let parts = [
                ("whole", swaps.last_took_ms),
                ("compile", swaps.last_compile_ms),
                ("pause", swaps.last_pause_ms),
                ("boundary", boundary),
            ];
            parts.into_iter().map(|(part, ms)| (vec![part.to_owned()], ms / 1e3)).collect()
        }
        "tidemill_sink_rows_total" => sinks(|sink| sink.rows as f64),
        "tidemill_sink_retries_total" => sinks(|sink| sink.retries as f64),
        "tidemill_sink_in_flight_rows" => sinks(|sink| sink.in_flight as f64),
        // A sink that is written in the topic's transaction has no time of its own; no figure is better than 0 (invariant 10).
        "tidemill_sink_last_write_seconds" => {
            let timed = snapshot.sinks.iter().filter(|sink| sink.last_write_ms > 0.0);
            timed.map(|sink| (vec![sink.name.clone()], sink.last_write_ms / 1e3)).collect()
        }
        "tidemill_sink_row_seconds" => {
            let of_sink = |sink: &super::SinkStatus| {
                let times = sink.write_ms.unwrap_or_default();
                let quantiles = [("0.5", times.p50), ("0.95", times.p95), ("0.99", times.p99), ("1", times.max)];
                let name = sink.name.clone();
                quantiles.map(|(quantile, ms)| (vec![name.clone(), quantile.to_owned()], ms / 1e3))
            };
            snapshot.sinks.iter().filter(|sink| sink.write_ms.is_some()).flat_map(of_sink).collect()
        }
        "tidemill_sink_unanswered_rows" => {
            let counted = snapshot.sinks.iter().filter_map(|sink| Some((vec![sink.name.clone()], sink.unanswered? as f64)));
            counted.collect()
        }
        "tidemill_sink_breaker_open" => {
            let open = |state: &str| if state == "closed" { 0.0 } else { 1.0 };
            let told = snapshot.sinks.iter().filter_map(|sink| Some((vec![sink.name.clone()], open(sink.breaker.as_deref()?))));
            told.collect()
        }
        _ => Vec::new(),
    }
}

/// The whole of `/metrics`.
pub fn text(snapshot: &Snapshot) -> String {
    let mut text = String::with_capacity(8 << 10);
    for metric in METRICS {
        let _ = writeln!(text, "# HELP {} {}\n# TYPE {} {}", metric.name, metric.help, metric.name, metric.kind);
        for (labels, value) in values(metric.name, snapshot) {
            let _ = write!(text, "{}{{pipeline=\"{}\"", metric.name, label(&snapshot.pipeline));
            for (name, value) in metric.labels.iter().zip(&labels) {
                let _ = write!(text, ",{name}=\"{}\"", label(value));
            }
            let _ = writeln!(text, "}} {value}");
        }
    }
    text
}

/// A label value as the format wants it escaped.
fn label(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}
