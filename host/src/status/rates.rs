//! The last minutes, second by second: the line that moves.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

/// Seconds kept.
pub const POINTS_MAX: usize = 900;
const EVERY: Duration = Duration::from_secs(1);

/// Records per second between two looks about a second apart, and what waited at the second one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Point {
    /// ms since 1970 of its end.
    pub at_ms: i64,
    pub delivered: f64,
    pub ingested: f64,
    pub rejected: f64,
    pub lag: i64,
}

/// The points of `/api/rates`, by what they are of: shorter than one object a second.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Rates {
    pub every_ms: u64,
    pub at_ms: Vec<i64>,
    pub delivered: Vec<f64>,
    pub ingested: Vec<f64>,
    pub rejected: Vec<f64>,
    pub lag: Vec<i64>,
}

/// What has been counted so far by this process.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counted {
    pub delivered: u64,
    pub ingested: u64,
    pub rejected: u64,
}

#[derive(Default)]
pub struct Ring {
    points: VecDeque<Point>,
    before: Option<(Instant, Counted)>,
}

impl Ring {
    /// Looks at the counters; once a second there is a new point, which is given back.
    pub fn look(&mut self, now: Instant, at_ms: i64, counted: Counted, lag: i64) -> Option<Point> {
        let Some((since, before)) = self.before else {
            self.before = Some((now, counted));
            return None;
        };
        let elapsed = now.duration_since(since);
        if elapsed < EVERY {
            return None;
        }
        let rate = |now: u64, before: u64| (now.saturating_sub(before) as f64 / elapsed.as_secs_f64() * 10.0).round() / 10.0;
        let point = Point {
            at_ms,
            delivered: rate(counted.delivered, before.delivered),
            ingested: rate(counted.ingested, before.ingested),
            rejected: rate(counted.rejected, before.rejected),
            lag,
        };
        self.before = Some((now, counted));
        if self.points.len() == POINTS_MAX {
            self.points.pop_front();
        }
        self.points.push_back(point);
        Some(point)
    }

    /// The last so many, ascending.
    pub fn last(&self, points: usize) -> Rates {
        let from = self.points.len().saturating_sub(points);
        let mut rates = Rates { every_ms: EVERY.as_millis() as u64, ..Rates::default() };
        for point in self.points.iter().skip(from) {
            rates.at_ms.push(point.at_ms);
            rates.delivered.push(point.delivered);
            rates.ingested.push(point.ingested);
            rates.rejected.push(point.rejected);
            rates.lag.push(point.lag);
        }
        rates
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_point_is_the_growth_of_a_second_and_the_oldest_goes() {
        let start = Instant::now();
        let mut ring = Ring::default();
        let delivered = |delivered| Counted { delivered, ..Counted::default() };
        assert_eq!(ring.look(start, 0, delivered(1_000), 0), None);
        assert_eq!(ring.look(start + EVERY / 2, 500, delivered(1_100), 0), None, "half a second is no point");
        let point = ring.look(start + 2 * EVERY, 2_000, delivered(1_300), 5).expect("a point");
        assert_eq!((point.delivered, point.lag), (150.0, 5));
        for second in 3..POINTS_MAX as u32 + 10 {
            ring.look(start + EVERY * second, i64::from(second), delivered(1_300), 0);
        }
        let all = ring.last(usize::MAX);
        assert_eq!((all.at_ms.len(), all.at_ms.last()), (POINTS_MAX, Some(&(POINTS_MAX as i64 + 9))));
        assert_eq!(ring.last(3).at_ms.len(), 3);
    }
}
