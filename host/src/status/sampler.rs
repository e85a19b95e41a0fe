//! Rates, from counters that only this process has seen grow (invariant 10: nothing is estimated).
//!
//! A partition's figures begin with what its position held, so a rate counts only growth between two looks at the same
//! partition; stages and sinks count from the start of the process.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use super::Snapshot;
use super::rates::{Counted, Rates, Ring};

/// A rate is the growth over so much time, or since the start while that is shorter.
const WINDOW: Duration = Duration::from_secs(10);

#[derive(Default)]
pub struct Sampler {
    looks: VecDeque<Look>,
    /// Delivered (emitted and deleted) and rejected records by partition, at the last look.
    seen: BTreeMap<u32, (u64, u64)>,
    /// All growth seen so far.
    delivered: u64,
    rejected: u64,
    ring: Ring,
}

struct Look {
    at: Instant,
    delivered: u64,
    ingested: u64,
    /// Rows by stage, in order.
    stages: Vec<u64>,
}

impl Sampler {
    /// Looks at the counters and fills in the rates.
    pub fn look(&mut self, now: Instant, snapshot: &mut Snapshot) {
        for (partition, status) in &snapshot.partitions {
            let (delivered, rejected) = (status.figures.emitted + status.figures.deleted, status.figures.rejected);
            if let Some(before) = self.seen.insert(*partition, (delivered, rejected)) {
                self.delivered += delivered.saturating_sub(before.0);
                self.rejected += rejected.saturating_sub(before.1);
            }
        }
        self.seen.retain(|partition, _| snapshot.partitions.contains_key(partition));
        let ingested = snapshot.source.as_ref().map_or(0, |source| source.records);
        let stages = snapshot.stages.iter().map(|stage| stage.rows).collect();
        let look = Look { at: now, delivered: self.delivered, ingested, stages };

        // The youngest look that is a whole window old stays, as the other end of the difference.
        while self.looks.get(1).is_some_and(|second| now.duration_since(second.at) >= WINDOW) {
            self.looks.pop_front();
        }
        if let Some(first) = self.looks.front() {
            let seconds = now.duration_since(first.at).as_secs_f64();
            if seconds > 0.0 {
                snapshot.records_per_second = (look.delivered - first.delivered) as f64 / seconds;
                if let Some(source) = &mut snapshot.source {
                    source.records_per_second = ingested.saturating_sub(first.ingested) as f64 / seconds;
                }
                for (at, stage) in snapshot.stages.iter_mut().enumerate() {
                    let before = first.stages.get(at).copied().unwrap_or(0);
                    stage.records_per_second = stage.rows.saturating_sub(before) as f64 / seconds;
                }
            }
        }
        self.looks.push_back(look);

        let counted = Counted { delivered: self.delivered, ingested, rejected: self.rejected };
        let lag = snapshot.partitions.values().map(|partition| partition.lag.max(0)).sum();
        let at_ms = jiff::Timestamp::now().as_millisecond();
        if let Some(point) = self.ring.look(now, at_ms, counted, lag) {
            snapshot.rate = Some(point);
        }
    }

    pub fn rates(&self, seconds: usize) -> Rates {
        self.ring.last(seconds)
    }
}

/// Resident memory of this process, bytes; 0 where the system does not tell.
pub fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok());
    kib.unwrap_or(0) << 10
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::{PartitionStatus, StageStatus};
    use crate::topic::Figures;

    fn snapshot(delivered: u64, rows: u64) -> Snapshot {
        let figures = Figures { emitted: delivered, ..Figures::default() };
        Snapshot {
            partitions: BTreeMap::from([(0, PartitionStatus { figures, ..PartitionStatus::default() })]),
            stages: vec![StageStatus { rows, ..StageStatus::default() }],
            ..Snapshot::default()
        }
    }

    #[test]
    fn what_a_position_brought_along_is_no_rate() {
        let start = Instant::now();
        let mut sampler = Sampler::default();
        let mut first = snapshot(1_000_000, 0);
        sampler.look(start, &mut first);
        assert_eq!(first.records_per_second, 0.0);
        let mut second = snapshot(1_000_050, 60);
        sampler.look(start + Duration::from_secs(1), &mut second);
        assert_eq!(second.records_per_second, 50.0);
        assert_eq!(second.stages[0].records_per_second, 60.0);
    }

    #[test]
    fn growth_older_than_the_window_is_forgotten() {
        let start = Instant::now();
        let mut sampler = Sampler::default();
        for second in 0..=40 {
            let mut now = snapshot(100 * second.min(20), 0);
            sampler.look(start + Duration::from_secs(second), &mut now);
            let expected = match second {
                0 => 0.0,
                1..=20 => 100.0,
                21..=29 => 10.0 * (30 - second) as f64,
                _ => 0.0,
            };
            assert_eq!(now.records_per_second, expected, "at second {second}");
        }
    }
}
