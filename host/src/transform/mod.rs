//! The chain: projection, stages in order, and the search for the record to blame.

mod bisect;
mod chain;
mod input;
mod instances;
mod kinds;
mod parked;
mod path;
mod plan;
mod project;
mod sample;
mod scan;
mod stage;
mod time;
mod write_back;

pub use bisect::{Calls, Part, Whole, search};
pub use chain::{Chain, blame, blame_with};
pub use input::Input;
pub use kinds::write_json;
pub use plan::{ChainPlan, PlanError};
pub use project::{KeyPath, Need, Projected, Projection, Unfit};
pub use sample::Sampling;
pub use scan::is_json;
pub use stage::{Stage, StageFactory, StageInstance, Stages};

use std::collections::BTreeMap;
use std::time::Duration;

pub use crate::config::plan::StageContract;
use crate::record::{Columns, Message, RowOutcome};

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

impl Transformed {
    /// Rejects records after the stages, each with its reason: none of their rows stays.
    pub fn reject(&mut self, refused: &BTreeMap<u32, String>) {
        for (record, reason) in refused {
            self.outcomes[*record as usize] = RowOutcome::Rejected { stage: None, reason: reason.clone() };
        }
        let kept: Vec<u32> =
            (0u32..).zip(&self.origins).filter(|(_, record)| !refused.contains_key(record)).map(|(row, _)| row).collect();
        self.deleted = (0u32..).zip(&kept).filter(|(_, row)| self.deleted.binary_search(row).is_ok()).map(|(at, _)| at).collect();
        self.origins = kept.iter().map(|row| self.origins[*row as usize]).collect();
        self.columns = self.columns.select(&kept);
        if let Some(messages) = &mut self.messages {
            let mut row = 0;
            messages.retain(|_| {
                row += 1;
                kept.binary_search(&(row - 1)).is_ok()
            });
        }
    }
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
    /// Elements of its tables.
    pub table_elements: u64,
    /// CPU time of the call that took longest.
    pub slowest_call: Duration,
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{Buffer, Column, Values};

    #[test]
    fn rejecting_a_record_takes_all_its_rows_with_it() {
        let mut text = Buffer::default();
        ["a", "b", "b", ""].iter().for_each(|row| text.push(row.as_bytes()));
        let mut columns = Columns::default();
        columns.set("t", Column { values: Values::Text(text), nulls: vec![3] });
        let message = |timestamp| Message { timestamp, ..Message::default() };
        let mut transformed = Transformed {
            outcomes: vec![RowOutcome::Emitted, RowOutcome::Emitted, RowOutcome::Deleted],
            origins: vec![0, 1, 1, 2],
            deleted: vec![3],
            columns,
            messages: Some((0..4).map(message).collect()),
            stages: Vec::new(),
        };
        transformed.reject(&BTreeMap::from([(1, "no uuid".to_owned())]));
        assert_eq!(transformed.origins, [0, 2]);
        assert_eq!(transformed.deleted, [1]);
        assert_eq!(transformed.messages, Some(vec![message(0), message(3)]));
        let left = transformed.columns.get("t").map(|column| (column.is_null(0), column.is_null(1), column.rows()));
        assert_eq!(left, Some((false, true, 2)));
        assert_eq!(transformed.outcomes[1], RowOutcome::Rejected { stage: None, reason: "no uuid".to_owned() });
    }
}
