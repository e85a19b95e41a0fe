//! Where the two legs are put together: ingest (source to topic) and deliver (topic to sinks).

pub mod boundary;
pub mod crash;
pub mod drain;
pub mod generation;
pub mod tracker;
pub mod worker;
