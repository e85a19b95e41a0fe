//! Where the two legs are put together: ingest (source to topic) and deliver (topic to sinks).
//!
//! [`prepare`] turns a plan into code that can run, [`start`] runs it, and [`Running`] is what a person or the API holds of it.

mod begin;
pub mod boundary;
mod brake;
pub mod breaker;
mod candidate;
mod charts;
pub mod code;
pub mod connected;
mod control;
pub mod dead_letter;
pub mod deliver;
mod describe;
mod details;
pub mod drain;
pub mod generation;
pub mod ingest;
mod key;
mod lane;
mod partition;
mod pin;
mod prepare;
mod quarantine;
mod recall;
pub mod recent;
mod reload;
mod replay;
pub mod report;
mod settle;
pub mod shadow;
mod start;
pub mod states;
pub mod swap;
pub mod tracker;
mod waits;
mod watched;
pub mod worker;

pub use crate::crash;
pub use code::Bindings;
pub use prepare::{Prepared, PreparedStage, prepare};
pub use reload::{Live, Watching};
pub use start::{Ended, Options, Running, StartError, announce, at_rest, start};

/// µs since 1970.
fn now_micros() -> i64 {
    jiff::Timestamp::now().as_microsecond()
}
