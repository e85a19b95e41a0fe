//! The chain: projection, stages in order, and the search for the record to blame.

use crate::record::{Columns, Contract, Message, RowOutcome};

/// What a chain made of a batch.
#[derive(Debug, Default)]
pub struct Transformed {
    /// One per record of the batch, in order.
    pub outcomes: Vec<RowOutcome>,
    /// Emitted (and deleted) rows: row → record of the batch, ascending.
    pub origins: Vec<u32>,
    /// Rows to be deleted from the tables, ascending.
    pub deleted: Vec<u32>,
    /// What the sinks read, one value per row.
    pub columns: Columns,
    /// Whole records, where a byte sink asks for them, one per row.
    pub messages: Option<Vec<Message>>,
    /// By stage, in order.
    pub stages: Vec<StageFigures>,
}

/// What one stage did in one batch.
#[derive(Clone, Copy, Debug, Default)]
pub struct StageFigures {
    pub rows: u64,
    pub rejected: u64,
    pub dropped: u64,
    pub calls: u64,
    pub traps: u64,
    /// Time in the guest and at its boundary.
    pub nanos: u64,
    /// Linear memory of the instance, bytes.
    pub memory_bytes: u64,
}

/// Why a whole batch waits or stops.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// A plugin said `retry`: hold the partition, back off, same batch again.
    #[error("stage {stage} is not ready: {reason}")]
    Retry { stage: String, reason: String },
    /// The batch must be searched for the record to blame, beside the worker.
    #[error("stage {stage}: {reason}")]
    Blame { stage: String, reason: String },
}

/// A stage's plugin as `check` and the chain see it.
#[derive(Clone, Debug)]
pub struct StageContract {
    pub stage: String,
    /// `None` for a `messages` plugin.
    pub contract: Option<Contract>,
}
