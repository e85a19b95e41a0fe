//! What happens in a running pipeline, told in one line per event.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::time::Duration;

use tokio::sync::broadcast;

use super::{Output, Tone};
use crate::record::escape;
use crate::status::swap::{LOG_TARGET, Outcome, Receipt};
use crate::status::{Reporter, Snapshot};

const LOOK_EVERY: Duration = Duration::from_millis(250);
/// Looks between two lines about how much has been delivered.
const LOOKS_PER_LINE: u32 = 40;

/// A build that takes longer says so.
const BUILD_SAID_AFTER: Duration = Duration::from_secs(2);

/// Tells events until it is dropped.
pub async fn tell(out: &Output, reporter: &Reporter, mut receipts: broadcast::Receiver<Receipt>) -> Infallible {
    out.logs().told_elsewhere(LOG_TARGET);
    let mut told = Told::new(&reporter.snapshot());
    let mut looks = tokio::time::interval(LOOK_EVERY);
    loop {
        tokio::select! {
            receipt = receipts.recv() => match receipt {
                Ok(receipt) => swapped(out, &receipt),
                Err(broadcast::error::RecvError::Lagged(count)) => out.line(format!("{count} swaps were not told here; see `tidemill receipts`")),
                // The pipeline ends.
                Err(broadcast::error::RecvError::Closed) => std::future::pending().await,
            },
            _ = looks.tick() => told.look(out, &reporter.sample()),
        }
    }
}

/// One line, and under it what a compiler or the check of the pipeline file says.
fn swapped(out: &Output, receipt: &Receipt) {
    let named: Vec<&str> = receipt.changes.iter().map(|change| change.stage.as_str()).collect();
    let named = if named.is_empty() { "pipeline file".to_owned() } else { named.join(", ") };
    let reason = receipt.reason.as_deref().unwrap_or_default();
    let mut reason = reason.lines().map(escape);
    let first = reason.next().unwrap_or_default();
    let generation = receipt.generation;
    let pause = receipt.pause_ms.unwrap_or_default();
    let took = format!("in {:.0} ms (compile {:.0}, pause {pause:.1})", receipt.took_ms, receipt.compile_ms);
    let (good, bad, warn) = (out.paint(Tone::Good, "✓"), out.paint(Tone::Bad, "✗"), out.paint(Tone::Warn, "!"));
    let in_flight: i64 = receipt.partitions.iter().map(|partition| partition.in_flight).sum();
    out.line(match receipt.outcome {
        Outcome::Applied => format!("{good} {named} generation {generation}: swapped {took}, {in_flight} records in flight"),
        Outcome::RolledBack => {
            format!("{warn} {named} generation {generation}: rolled back {took}, {in_flight} records in flight: {first}")
        }
        Outcome::Refused => format!("{bad} {named} kept generation {generation}: {first}"),
        Outcome::Parked => format!("{warn} {named} kept generation {generation}, parked: {first}"),
        Outcome::Shadowing => format!("{good} {named} kept generation {generation}: the new code runs beside it"),
        Outcome::Waiting => format!("{warn} {named} kept generation {generation}: the new code waits, promote it or discard it"),
        Outcome::Restarted => format!("{good} generation {generation}: {first} in {:.0} ms", receipt.took_ms),
        Outcome::Discarded => format!("{good} {named} kept generation {generation}: the new code is discarded"),
        Outcome::Unchanged => return,
    });
    reason.for_each(|line| out.line(format!("  {line}")));
}

struct Told {
    delivered_at_start: u64,
    delivered: u64,
    rejected: u64,
    source_error: Option<String>,
    alarms: BTreeSet<String>,
    /// Stages whose long build was told.
    building: BTreeSet<String>,
    looks: u32,
}

impl Told {
    fn new(snapshot: &Snapshot) -> Told {
        let delivered = delivered(snapshot);
        let rejected = snapshot.totals.rejected;
        Told {
            delivered_at_start: delivered,
            delivered,
            rejected,
            source_error: None,
            alarms: BTreeSet::new(),
            building: BTreeSet::new(),
            looks: 0,
        }
    }

    fn look(&mut self, out: &Output, now: &Snapshot) {
        self.rows(out, now);
        self.builds(out, now);
        let rejected = now.totals.rejected;
        if rejected > self.rejected {
            let last = now.stages.iter().filter_map(|stage| stage.last_error.as_deref()).next_back().unwrap_or_default();
            let more = rejected - self.rejected;
            let line = format!("{more} rejected, {rejected} in all; see `tidemill dead-letters list`");
            out.line(format!("{} {line} {}", out.paint(Tone::Bad, "✗"), out.paint(Tone::Faint, escape(last))));
            self.rejected = rejected;
        }
        let error = now.source.as_ref().and_then(|source| source.last_error.clone());
        if error != self.source_error {
            match &error {
                Some(error) => out.line(format!("{} source: {}", out.paint(Tone::Warn, "!"), escape(error))),
                None => out.line(format!("{} source: polls again", out.paint(Tone::Good, "✓"))),
            }
            self.source_error = error;
        }
        let alarms: BTreeSet<String> = now.alarms.iter().cloned().collect();
        for alarm in alarms.difference(&self.alarms) {
            out.line(format!("{} {}", out.paint(Tone::Bad, "✗"), escape(alarm)));
        }
        for alarm in self.alarms.difference(&alarms) {
            out.line(format!("{} over: {}", out.paint(Tone::Good, "✓"), escape(alarm)));
        }
        self.alarms = alarms;
    }

    fn builds(&mut self, out: &Output, now: &Snapshot) {
        for stage in &now.stages {
            let busy = stage.candidate.as_ref().filter(|candidate| ["building", "compiling"].contains(&candidate.state.as_str()));
            match busy {
                None => drop(self.building.remove(&stage.name)),
                Some(candidate) if now.at_ms - candidate.since_ms > BUILD_SAID_AFTER.as_millis() as i64 => {
                    if self.building.insert(stage.name.clone()) {
                        let line = format!("… {} {}; generation {} goes on", candidate.state, stage.name, stage.generation);
                        out.line(out.paint(Tone::Faint, line));
                    }
                }
                Some(_) => {}
            }
        }
    }

    fn rows(&mut self, out: &Output, now: &Snapshot) {
        self.looks += 1;
        let delivered = delivered(now);
        let first = self.delivered == self.delivered_at_start;
        if delivered == self.delivered || !(first || self.looks >= LOOKS_PER_LINE) {
            return;
        }
        let more = delivered - self.delivered_at_start;
        let rate = match now.records_per_second {
            // Nothing was measured yet, or less than one a second.
            ..0.5 => String::new(),
            rate => out.paint(Tone::Faint, format!(", {rate:.0} records/s")),
        };
        out.line(format!("{} {more} delivered, {delivered} in all{rate}", out.paint(Tone::Good, "✓")));
        (self.delivered, self.looks) = (delivered, 0);
    }
}

fn delivered(snapshot: &Snapshot) -> u64 {
    snapshot.totals.emitted + snapshot.totals.deleted
}
