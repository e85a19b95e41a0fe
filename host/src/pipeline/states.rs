//! What the stages of one partition keep by key (delivery §9), shared by the partition's task and the worker that decides for it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::plugin::{self, StageState};
use crate::topic::{StateChanges, StoredState};

#[derive(Clone, Default)]
pub struct States(Arc<Mutex<plugin::States>>);

impl States {
    pub fn new(stored: StoredState) -> States {
        let states = stored.into_iter().map(|(stage, kept)| (stage, StageState::new(kept)));
        States(Arc::new(Mutex::new(states.collect())))
    }

    pub(super) fn lend(&self) -> MutexGuard<'_, plugin::States> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The batch that was decided last goes on: what it set counts, and is to be saved with its records.
    pub(super) fn keep(&self) -> StateChanges {
        let mut states = self.lend();
        let changes = states.iter_mut().map(|(stage, state)| (stage.clone(), state.keep_batch()));
        changes.filter(|(_, entries)| !entries.is_empty()).collect()
    }
}
