//! How long rows took that are written in the topic's transaction: from when the sink had them until they were saved, a whole batch alike.

use std::collections::VecDeque;
use std::time::Duration;

use crate::status::WriteTimes;

/// So many of the latest batches are told of.
const BATCHES: usize = 512;

#[derive(Default)]
pub struct Waits(VecDeque<(Duration, usize)>);

impl Waits {
    pub fn add(&mut self, rows: usize, took: Duration) {
        if rows == 0 {
            return;
        }
        if self.0.len() == BATCHES {
            self.0.pop_front();
        }
        self.0.push_back((took, rows));
    }

    /// Of the rows, not of the batches. `None` where there were none.
    pub fn times(&self) -> Option<WriteTimes> {
        let mut batches: Vec<_> = self.0.iter().copied().collect();
        batches.sort_unstable();
        let of: usize = batches.iter().map(|(_, rows)| rows).sum();
        // The smallest time that so many hundredths of the rows did not exceed.
        let percentile = |percent: usize| {
            let mut left = (of * percent).div_ceil(100);
            let batch = batches.iter().find(|(_, rows)| {
                left = left.saturating_sub(*rows);
                left == 0
            });
            batch.map(|(took, _)| took.as_secs_f64() * 1e3)
        };
        Some(WriteTimes { p50: percentile(50)?, p95: percentile(95)?, p99: percentile(99)?, max: percentile(100)?, of })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_of_the_rows_of_the_latest_batches() {
        let mut waits = Waits::default();
        waits.add(0, Duration::from_secs(9));
        assert_eq!(waits.times(), None);
        for (rows, ms) in [(2, 40), (90, 10), (3, 30), (5, 20)] {
            waits.add(rows, Duration::from_millis(ms));
        }
        assert_eq!(waits.times(), Some(WriteTimes { p50: 10.0, p95: 20.0, p99: 40.0, max: 40.0, of: 100 }));
        for _ in 0..BATCHES {
            waits.add(1, Duration::from_millis(7));
        }
        assert_eq!(waits.times(), Some(WriteTimes { p50: 7.0, p95: 7.0, p99: 7.0, max: 7.0, of: BATCHES }));
    }
}
