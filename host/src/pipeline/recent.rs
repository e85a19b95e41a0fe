//! The records that were decided last: what a new plugin is probed with before it decides any.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::worker::Decided;
use crate::record::{Batch, RowOutcome};

/// Of each partition, at most.
const RECORDS_MAX: usize = 100;
const BYTES_MAX: usize = 256 << 10;
/// Partitions of which records are kept.
const PARTITIONS_MAX: usize = 16;
/// How often they are taken anew.
const EVERY: Duration = Duration::from_millis(500);

/// A few recent records of each partition. Those that were rejected are left out: no code is judged by them.
#[derive(Default)]
pub struct Recent(Mutex<BTreeMap<u32, (Instant, Arc<Batch>)>>);

impl Recent {
    /// Called per batch.
    pub(super) fn note(&self, decided: &Decided) {
        let partition = decided.batch.partition();
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let known = kept.get(&partition);
        if known.map_or(kept.len() >= PARTITIONS_MAX, |(at, _)| at.elapsed() < EVERY) {
            return;
        }
        let mut recent = Batch::new(partition);
        let accepted = |row: &usize| !matches!(decided.outcomes[*row], RowOutcome::Rejected { .. });
        let rows = decided.batch.rows();
        for row in (rows.saturating_sub(RECORDS_MAX)..rows).filter(accepted) {
            let record = decided.batch.get(row);
            let bytes = record.key.map_or(0, <[u8]>::len) + record.value.map_or(0, <[u8]>::len);
            if recent.bytes() + bytes <= BYTES_MAX {
                recent.push(record);
            }
        }
        if !recent.is_empty() {
            kept.insert(partition, (Instant::now(), Arc::new(recent)));
        }
    }

    /// What there is, one batch per partition.
    pub fn batches(&self) -> Vec<Arc<Batch>> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.values().map(|(_, batch)| batch.clone()).collect()
    }
}
