//! What happens in a running pipeline, told in one line per event.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::time::Duration;

use super::{Output, Tone};
use crate::record::escape;
use crate::status::{Reporter, Snapshot};

const LOOK_EVERY: Duration = Duration::from_millis(250);
/// Looks between two lines about how much has been delivered.
const LOOKS_PER_LINE: u32 = 40;

/// Tells events until it is dropped.
pub async fn tell(out: &Output, reporter: &Reporter) -> Infallible {
    let mut told = Told::new(&reporter.snapshot());
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        told.look(out, &reporter.sample());
    }
}

struct Told {
    delivered_at_start: u64,
    delivered: u64,
    rejected: u64,
    source_error: Option<String>,
    alarms: BTreeSet<String>,
    looks: u32,
}

impl Told {
    fn new(snapshot: &Snapshot) -> Told {
        let delivered = delivered(snapshot);
        let rejected = snapshot.totals.rejected;
        Told { delivered_at_start: delivered, delivered, rejected, source_error: None, alarms: BTreeSet::new(), looks: 0 }
    }

    fn look(&mut self, out: &Output, now: &Snapshot) {
        self.rows(out, now);
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
