//! Where the two legs are put together: ingest (source to topic) and deliver (topic to sinks).

pub mod boundary;
pub mod crash;
pub mod dead_letter;
pub mod deliver;
pub mod drain;
pub mod generation;
pub mod ingest;
mod key;
mod partition;
pub mod report;
pub mod tracker;
pub mod worker;

/// µs since 1970.
fn now_micros() -> i64 {
    jiff::Timestamp::now().as_microsecond()
}
