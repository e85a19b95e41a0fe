//! What became of a record.

use wasmtime::component::{ComponentType, Lift, Lower};

/// A row that a plugin cannot process.
#[derive(Clone, Debug, PartialEq, Eq, ComponentType, Lift, Lower)]
#[component(record)]
pub struct Rejection {
    #[component(name = "row")]
    pub row: u32,
    #[component(name = "reason")]
    pub reason: String,
}

/// What became of one record after the whole chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RowOutcome {
    /// Its rows go to the sinks. A `messages` stage may have made several of it.
    Emitted,
    /// Left out by intent.
    Dropped,
    /// Its row is removed from the table.
    Deleted,
    /// It becomes a dead letter.
    Rejected {
        /// The stage that rejected it; `None` when the host did (projection, a null value, binding).
        stage: Option<String>,
        reason: String,
    },
}
