//! Measurements, each beside its baseline in one run: what `tidemill bench` and the criterion benches share.

mod builds;
pub mod chain;
pub mod cluster;
pub mod native;
mod neighbours;
pub mod pipeline;
pub mod reload;
pub mod sandbox;
pub mod sqlite;

use rustix::time::{ClockId, clock_gettime};

pub use crate::plugin::thread_cpu_time as thread_time;

/// CPU seconds of this process, all threads.
fn process_time() -> f64 {
    let now = clock_gettime(ClockId::ProcessCPUTime);
    now.tv_sec as f64 + now.tv_nsec as f64 / 1e9
}

/// The middle value, between the two in the middle of an even number; 0 of nothing.
pub fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = |at: usize| values.get(at).copied().unwrap_or(0.0);
    (middle(values.len().saturating_sub(1) / 2) + middle(values.len() / 2)) / 2.0
}

/// Values in ascending order.
struct Sorted(Vec<f64>);

impl Sorted {
    fn of(values: impl IntoIterator<Item = f64>) -> Sorted {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        Sorted(values)
    }

    /// The value that this share of them does not exceed: 0.5, 0.99; 1 is the largest. 0 of nothing.
    fn at(&self, share: f64) -> f64 {
        let at = (self.0.len() as f64 * share) as usize;
        self.0.get(at).or(self.0.last()).copied().unwrap_or(0.0)
    }
}
