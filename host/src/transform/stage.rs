//! What the chain asks of a stage's plugin, so that it can be run over native doubles as well.

use std::sync::Arc;
use std::time::Duration;

use super::StageContract;
use crate::plugin::{CallError, FieldsOutcome, Incoming, Instance, InstanceConfig, MessageOutcome, Plugin, StageState, World};
use crate::record::Column;

/// A started plugin. Its outcomes are checked: row counts, kinds, ends, UTF-8 and row numbers are as the contract says.
pub trait StageInstance: Send {
    /// `columns` in the order of `contract.reads`, each of `rows` rows.
    fn process_fields(&mut self, rows: u32, columns: &[&Column]) -> Result<FieldsOutcome, CallError>;

    /// One outcome per message, in order.
    fn process_messages(&mut self, messages: &[Incoming]) -> Result<Vec<MessageOutcome>, CallError>;

    /// Exchanges what the plugin keeps by key: lent before a call, taken back after it.
    fn swap_state(&mut self, _state: &mut StageState) {}

    /// Linear memory, bytes.
    fn memory_bytes(&self) -> u64;

    /// Elements of its tables.
    fn table_elements(&self) -> u64 {
        0
    }

    /// CPU time of its last call.
    fn call_time(&self) -> Duration {
        Duration::ZERO
    }

    /// Whether a fresh instance should take its place: it has grown.
    fn wants_recycling(&self) -> bool;
}

impl StageInstance for Instance {
    fn process_fields(&mut self, rows: u32, columns: &[&Column]) -> Result<FieldsOutcome, CallError> {
        Instance::process_fields(self, rows, columns)
    }

    fn process_messages(&mut self, messages: &[Incoming]) -> Result<Vec<MessageOutcome>, CallError> {
        Instance::process_messages(self, messages)
    }

    fn swap_state(&mut self, state: &mut StageState) {
        Instance::swap_state(self, state);
    }

    fn memory_bytes(&self) -> u64 {
        Instance::memory_bytes(self)
    }

    fn table_elements(&self) -> u64 {
        Instance::table_elements(self)
    }

    fn call_time(&self) -> Duration {
        Instance::call_time(self)
    }

    fn wants_recycling(&self) -> bool {
        Instance::wants_recycling(self)
    }
}

/// Makes instances: when a chain is built, and a fresh one after each trap.
pub trait StageFactory: Send + Sync {
    /// A new instance for a stage, by its place in the chain; an error says why there can be none now.
    fn instance(&self, stage: usize) -> Result<Box<dyn StageInstance>, String>;
}

/// A stage's plugin and what its instances are started with.
#[derive(Clone)]
pub struct Stage {
    pub plugin: Arc<Plugin>,
    pub config: InstanceConfig,
}

/// The stages of a chain with their plugins, in order.
#[derive(Clone)]
pub struct Stages {
    stages: Vec<Stage>,
    contracts: Vec<StageContract>,
}

impl Stages {
    /// Starts each plugin once to learn its contract; an error names the stage that cannot be.
    pub fn start(stages: Vec<Stage>) -> Result<Stages, String> {
        let mut contracts = Vec::with_capacity(stages.len());
        for Stage { plugin, config } in &stages {
            let instance =
                plugin.instantiate(config).map_err(|error| format!("start stage `{}`: its plugin {error}", config.stage))?;
            let contract = match plugin.world {
                World::Fields => Some(instance.contract().clone()),
                World::Messages => None,
            };
            contracts.push(StageContract { stage: config.stage.clone(), contract });
        }
        Ok(Stages { stages, contracts })
    }

    /// Of plugins that were started before, with the contracts they had.
    pub fn known(stages: Vec<Stage>, contracts: Vec<StageContract>) -> Stages {
        Stages { stages, contracts }
    }

    pub fn contracts(&self) -> &[StageContract] {
        &self.contracts
    }
}

impl StageFactory for Stages {
    fn instance(&self, stage: usize) -> Result<Box<dyn StageInstance>, String> {
        let Stage { plugin, config } = &self.stages[stage];
        let instance = plugin.instantiate(config).map_err(|error| format!("its plugin {error}"))?;
        // The chain is planned by the contract: a guest that changes its mind would be given other columns than it expects.
        if self.contracts[stage].contract.as_ref().is_some_and(|contract| contract != instance.contract()) {
            return Err("its plugin changed its contract between two starts".to_owned());
        }
        Ok(Box::new(instance))
    }
}
