//! What deliver tells the status: per batch, never per record.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde_json::{Map, Value};

use super::waits::Waits;
use super::worker::Decided;
use crate::config::plan::SinkColumn;
use crate::record::RowOutcome;
use crate::sink::{self, Bound, Rows, json};
use crate::status::mask::Mask;
use crate::status::{PartitionStatus, Reporter, SinkStatus, WriteTimes};
use crate::topic::Position;
use crate::transform::StageFigures;

/// Rows that the page shows.
const LATEST_MAX: usize = 20;
/// Rows are made into JSON no more often than people can read them.
const LATEST_EVERY: Duration = Duration::from_millis(200);

/// The state of a partition that a person has to put right.
pub const STOPPED: &str = "stopped";

pub struct Report {
    reporter: Reporter,
    /// By sink; none where it takes whole records.
    columns: Vec<Vec<SinkColumn>>,
    /// Of what the reasons tell.
    mask: Mask,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    alarms: BTreeMap<String, String>,
    /// By stage.
    stages: BTreeMap<String, StageFigures>,
    latest_at: Option<Instant>,
    /// By sink that is written in the topic's transaction.
    waits: BTreeMap<usize, Waits>,
}

impl Report {
    pub fn new(reporter: Reporter, columns: Vec<Vec<SinkColumn>>, mask: Mask) -> Report {
        Report { reporter, columns, mask, inner: Mutex::default() }
    }

    pub fn reporter(&self) -> &Reporter {
        &self.reporter
    }

    fn inner(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Raises the alarm about something, or takes it back.
    pub fn alarm(&self, about: &str, what: Option<String>) {
        let mut inner = self.inner();
        let changed = match what {
            Some(what) => inner.alarms.insert(about.to_owned(), what.clone()) != Some(what),
            None => inner.alarms.remove(about).is_some(),
        };
        if changed {
            let alarms = inner.alarms.values().cloned().collect();
            drop(inner);
            self.reporter.update(|snapshot| snapshot.alarms = alarms);
        }
    }

    /// One that has stopped stays so, whatever becomes of what was in flight, until it is assigned anew or another host's.
    pub fn partition(&self, number: u32, change: impl FnOnce(&mut PartitionStatus)) {
        self.reporter.update(|snapshot| {
            let partition = snapshot.partitions.entry(number).or_default();
            let stopped = partition.state == STOPPED;
            change(partition);
            if stopped {
                STOPPED.clone_into(&mut partition.state);
            }
        });
    }

    fn place(&self, number: u32, here: bool, state: &str) {
        self.reporter.update(|snapshot| {
            let partition = snapshot.partitions.entry(number).or_default();
            partition.here = here;
            state.clone_into(&mut partition.state);
        });
    }

    pub fn sink(&self, at: usize, change: impl FnOnce(&mut SinkStatus)) {
        self.reporter.update(|snapshot| {
            if let Some(sink) = snapshot.sinks.get_mut(at) {
                change(sink);
            }
        });
    }

    /// Rows that a sink has written in the topic's transaction, and for how long they waited for it.
    pub fn saved_with(&self, at: usize, rows: usize, took: Duration) {
        self.inner().waits.entry(at).or_default().add(rows, took);
        self.sink(at, |status| status.rows += rows as u64);
    }

    /// How long the latest of these took.
    pub fn tell_waits(&self) {
        let times: Vec<_> = self.inner().waits.iter().map(|(at, waits)| (*at, waits.times())).collect();
        times.into_iter().for_each(|(at, times)| self.sink(at, |status| status.write_ms = times));
    }

    /// What a sink knows of itself.
    pub fn sink_figures(&self, at: usize, figures: sink::Figures) {
        self.sink(at, |status| {
            let times = |times: sink::Latencies| WriteTimes {
                p50: times.p50,
                p95: times.p95,
                p99: times.p99,
                max: times.max,
                of: times.of,
            };
            status.write_ms = figures.latencies.map(times);
            status.unanswered = Some(figures.in_flight);
            status.breaker = Some(figures.breaker.to_owned());
            if figures.last_error.is_some() {
                status.last_error = figures.last_error;
            }
        });
    }

    /// This host delivers the partition from now on.
    pub fn assigned(&self, number: u32, position: Option<&Position>) {
        self.place(number, true, "delivering");
        if let Some(position) = position {
            self.saved(number, position);
        }
    }

    pub fn revoked(&self, number: u32) {
        self.place(number, false, "elsewhere");
    }

    /// Who saved a partition last, and its position where that is another host.
    pub fn held(&self, number: u32, position: &Position, host: &str) {
        let mut here = false;
        self.partition(number, |partition| {
            partition.host = Some(host.to_owned());
            here = partition.here;
            if !here {
                "elsewhere".clone_into(&mut partition.state);
            }
        });
        if !here {
            self.saved(number, position);
        }
    }

    /// A partition's position as it was just saved.
    pub fn saved(&self, number: u32, position: &Position) {
        self.reporter.update(|snapshot| {
            let partition = snapshot.partitions.entry(number).or_default();
            partition.next = position.next;
            partition.end = partition.end.max(position.next);
            partition.lag = partition.end - position.next;
            partition.generation = position.boundary_of(position.next).map_or(partition.generation, |b| b.generation);
        });
        self.reporter.counted(number, &position.figures);
    }

    /// Records of a partition were counted now.
    pub fn counted(&self) {
        let now = jiff::Timestamp::now().as_millisecond();
        self.reporter.update(|snapshot| snapshot.figures_at_ms = Some(now));
    }

    /// What the stages did with a batch, and why a record of it was rejected, if one was.
    pub fn decided(&self, decided: &Decided) {
        let mut inner = self.inner();
        for (name, stage) in decided.generation.code.plan.stages().iter().zip(&decided.stages) {
            let sum = inner.stages.entry(name.clone()).or_default();
            sum.rows += stage.rows;
            sum.rejected += stage.rejected;
            sum.dropped += stage.dropped;
            sum.calls += stage.calls;
            sum.traps += stage.traps;
            sum.nanos += stage.nanos;
            sum.memory_bytes = stage.memory_bytes;
            sum.table_elements = stage.table_elements;
            sum.slowest_call = sum.slowest_call.max(stage.slowest_call);
        }
        let stages = inner.stages.clone();
        drop(inner);
        let end = decided.batch.offsets().last().map_or(0, |last| last + 1);
        let rejected = decided.outcomes.iter().enumerate().rev().find_map(|(row, outcome)| match outcome {
            RowOutcome::Rejected { stage, reason } => {
                Some((stage.as_deref(), self.mask.reason(reason, decided.batch.value(row))))
            }
            _ => None,
        });
        self.reporter.update(|snapshot| {
            for status in &mut snapshot.stages {
                let Some(figures) = stages.get(&status.name) else { continue };
                status.rows = figures.rows;
                status.rejected = figures.rejected;
                status.dropped = figures.dropped;
                status.traps = figures.traps;
                status.memory_bytes = figures.memory_bytes;
                status.table_elements = figures.table_elements;
                status.slowest_call_ms = figures.slowest_call.as_secs_f64() * 1e3;
                if figures.rows > 0 {
                    status.micros_per_record = figures.nanos as f64 / 1e3 / figures.rows as f64;
                }
                if let Some((Some(stage), reason)) = &rejected
                    && *stage == status.name
                {
                    status.last_error = Some(reason.clone());
                }
            }
            let partition = snapshot.partitions.entry(decided.batch.partition()).or_default();
            partition.end = partition.end.max(end);
            if let Some((None, reason)) = rejected {
                partition.last_error = Some(reason);
            }
        });
    }

    /// Shows rows that are written now (invariant 10).
    pub fn written(&self, latest: Vec<Map<String, Value>>) {
        if !latest.is_empty() {
            self.reporter.update(|snapshot| {
                snapshot.latest.splice(0..0, latest);
                snapshot.latest.truncate(LATEST_MAX);
            });
        }
    }

    /// The last rows of a batch, newest first, for [`Report::written`]; none where people could not read them so soon.
    pub fn latest(&self, bound: &[Bound]) -> Vec<Map<String, Value>> {
        let mut inner = self.inner();
        if inner.latest_at.is_some_and(|at| at.elapsed() < LATEST_EVERY) {
            return Vec::new();
        }
        inner.latest_at = Some(Instant::now());
        drop(inner);
        let shown = bound.iter().zip(&self.columns).find_map(|(bound, columns)| match bound {
            Bound::Rows(rows) if !rows.is_empty() => Some(newest(rows, columns)),
            Bound::Messages(messages) if !messages.is_empty() => Some(
                messages
                    .iter()
                    .rev()
                    .take(LATEST_MAX)
                    .filter_map(|(_, message)| serde_json::from_slice(message.value.as_ref()?).ok())
                    .collect(),
            ),
            _ => None,
        });
        shown.unwrap_or_default()
    }
}

fn newest(rows: &Rows, columns: &[SinkColumn]) -> Vec<Map<String, Value>> {
    let kept = (0..rows.len()).rev().filter(|row| rows.deleted.binary_search(&(*row as u32)).is_err());
    kept.take(LATEST_MAX).map(|row| json::object(columns, rows, row)).collect()
}
