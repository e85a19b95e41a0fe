//! Measurements, each beside its baseline in one run: what `tidemill bench` and the criterion benches share.

pub mod chain;
pub mod cluster;
pub mod native;
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

/// The middle value; 0 of nothing.
pub fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(0.0)
}
