//! How a sink is doing: a breaker that keeps it from writing into an outage, and figures of what happened.

use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::sink::{Figures, Latencies};

/// After so many failures without one success between them, one row is tried at a time.
const FAILURES_MAX: u32 = 32;
/// Latencies are told of so many of the latest rows.
const LATENCIES: usize = 4_096;

pub(super) struct Pulse {
    /// Failures since the last success.
    failures: AtomicU32,
    probes: AtomicU64,
    in_flight: AtomicU64,
    /// µs, a ring; `written` counts all.
    latencies: Box<[AtomicU32]>,
    written: AtomicUsize,
    last_error: Mutex<Option<String>>,
}

impl Default for Pulse {
    fn default() -> Pulse {
        Pulse {
            failures: AtomicU32::new(0),
            probes: AtomicU64::new(0),
            in_flight: AtomicU64::new(0),
            latencies: (0..LATENCIES).map(|_| AtomicU32::new(0)).collect(),
            written: AtomicUsize::new(0),
            last_error: Mutex::default(),
        }
    }
}

impl Pulse {
    pub(super) fn is_open(&self) -> bool {
        self.failures.load(Ordering::Relaxed) >= FAILURES_MAX
    }

    /// A row is on its way until this is dropped, also when nobody waits for it any more.
    pub(super) fn flying(&self) -> Counted<'_> {
        Counted::new(&self.in_flight)
    }

    /// One row is tried while the breaker is open, until this is dropped.
    pub(super) fn probing(&self) -> Counted<'_> {
        Counted::new(&self.probes)
    }

    pub(super) fn wrote(&self, took: Duration) {
        self.failures.store(0, Ordering::Relaxed);
        let at = self.written.fetch_add(1, Ordering::Relaxed);
        let micros = u32::try_from(took.as_micros()).unwrap_or(u32::MAX);
        self.latencies[at % LATENCIES].store(micros, Ordering::Relaxed);
    }

    /// A row that must be written again, and why.
    pub(super) fn failed(&self, reason: &str) {
        self.failures.fetch_add(1, Ordering::Relaxed);
        self.told(reason);
    }

    /// There is no connection at all: nothing is known to be well before a row was taken.
    pub(super) fn out(&self, reason: &str) {
        self.failures.store(FAILURES_MAX, Ordering::Relaxed);
        self.told(reason);
    }

    pub(super) fn told(&self, reason: &str) {
        *self.last_error.lock().unwrap_or_else(PoisonError::into_inner) = Some(reason.to_owned());
    }

    pub(super) fn figures(&self) -> Figures {
        let of = self.written.load(Ordering::Relaxed).min(LATENCIES);
        let mut micros: Vec<u32> = self.latencies[..of].iter().map(|micros| micros.load(Ordering::Relaxed)).collect();
        micros.sort_unstable();
        // The smallest latency that so many hundredths of the rows did not exceed.
        let percentile = |percent: usize| f64::from(micros[(of * percent).div_ceil(100) - 1]) / 1e3;
        let latencies = (of > 0).then(|| Latencies {
            p50: percentile(50),
            p95: percentile(95),
            p99: percentile(99),
            max: percentile(100),
            of,
        });
        Figures {
            in_flight: self.in_flight.load(Ordering::Relaxed),
            latencies,
            breaker: match (self.is_open(), self.probes.load(Ordering::Relaxed)) {
                (false, _) => "closed",
                (true, 0) => "open",
                (true, _) => "half-open",
            },
            last_error: self.last_error.lock().unwrap_or_else(PoisonError::into_inner).clone(),
        }
    }
}

pub(super) struct Counted<'a>(&'a AtomicU64);

impl Counted<'_> {
    fn new(count: &AtomicU64) -> Counted<'_> {
        count.fetch_add(1, Ordering::Relaxed);
        Counted(count)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
