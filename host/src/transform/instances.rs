//! The instances of a chain's stages, and what takes the place of one that trapped.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use super::stage::{StageFactory, StageInstance};
use super::{Error, StageFigures};
use crate::plugin::{CallError, Entries, StageState};

/// The instances of a chain's stages; one that trapped is gone until the next call.
pub(super) struct Instances {
    factory: Arc<dyn StageFactory>,
    instances: Vec<Option<Box<dyn StageInstance>>>,
    /// Of stages that have trapped, what takes the place of the next one that does; `None`: to be started.
    reserves: BTreeMap<usize, Option<Box<dyn StageInstance>>>,
    pub figures: Vec<StageFigures>,
    /// What the stages keep for the partition of the present batch.
    pub states: Vec<StageState>,
}

/// An outcome, and what its call has set: nothing counts before the outcome does.
pub(super) struct Tried<T> {
    pub outcome: T,
    set: Entries,
}

impl Instances {
    /// Starts every stage; an error names the stage that cannot be.
    pub(super) fn start(factory: Arc<dyn StageFactory>, stages: &[String]) -> Result<Instances, Error> {
        let mut instances = Vec::with_capacity(stages.len());
        for (at, stage) in stages.iter().enumerate() {
            let instance = factory.instance(at).map_err(|reason| Error::Retry { stage: stage.clone(), reason })?;
            instances.push(Some(instance));
        }
        let figures = vec![StageFigures::default(); stages.len()];
        let states = vec![StageState::default(); stages.len()];
        Ok(Instances { factory, instances, reserves: BTreeMap::new(), figures, states })
    }

    pub(super) fn call<T>(
        &mut self,
        stage: usize,
        call: impl FnOnce(&mut dyn StageInstance) -> Result<T, CallError>,
    ) -> Result<Tried<T>, CallError> {
        let begun = Instant::now();
        let reserve = || self.reserves.get_mut(&stage)?.take();
        let mut instance = match self.instances[stage].take().or_else(reserve) {
            Some(instance) => instance,
            None => self.factory.instance(stage).map_err(CallError::Retry)?,
        };
        instance.swap_state(&mut self.states[stage]);
        let result = call(&mut *instance);
        instance.swap_state(&mut self.states[stage]);
        let set = self.states[stage].take_call();
        let figures = &mut self.figures[stage];
        figures.calls += 1;
        figures.nanos += begun.elapsed().as_nanos() as u64;
        figures.memory_bytes = instance.memory_bytes();
        figures.table_elements = instance.table_elements();
        figures.slowest_call = figures.slowest_call.max(instance.call_time());
        match &result {
            Ok(_) | Err(CallError::Retry(_) | CallError::Failed(_)) if !instance.wants_recycling() => {
                self.instances[stage] = Some(instance);
            }
            Ok(_) | Err(CallError::Retry(_) | CallError::Failed(_)) => {}
            // After a trap the whole store is dead.
            Err(_) => {
                figures.traps += 1;
                self.reserves.entry(stage).or_default();
            }
        }
        result.map(|outcome| Tried { outcome, set })
    }

    /// The outcome of a call counts, and what it set.
    pub(super) fn keep<T>(&mut self, stage: usize, tried: &mut Tried<T>) {
        self.states[stage].keep_call(std::mem::take(&mut tried.set));
    }

    /// The next call of a stage meets a fresh instance.
    pub(super) fn renew(&mut self, stage: usize) {
        self.instances[stage] = None;
    }

    /// Starts what takes the place of the next instance that traps, where one has: code that traps does so again.
    pub(super) fn restock(&mut self) {
        // What does not start is told by the call that needs it.
        self.reserves.retain(|stage, reserve| {
            *reserve = reserve.take().or_else(|| self.factory.instance(*stage).ok());
            reserve.is_some()
        });
    }
}
