//! A running plugin: one store, one guest, one thread at a time.
//!
//! Invariant 7: no guest can crash, hang or exhaust the host. Each call has a budget of CPU time, a bound on memory and on what it
//! may return, and what it returns is checked before anybody uses it. After any trap the whole store is dead; a new
//! instance takes its place, from the same [`Plugin`].

use std::time::Duration;

use wasmtime::component::{Func, TypedFunc};
use wasmtime::{Store, UpdateDeadline};

use super::bindings::v0_1::{
    BatchRef, Failure, FieldsProcess, FieldsStart, IncomingRef, MessageRef, MessagesProcess, MessagesStart,
};
use super::contract;
use super::engine::Bounds;
use super::load::Plugin;
use super::outcome;
use super::sandbox::{Call, Ctx, Interrupted};
use super::state::StageState;
use super::{CallError, FieldsOutcome, Incoming, InstanceConfig, MessageOutcome, World};
use crate::config::units::size_text;
use crate::record::{Column, Contract};

/// The longest that `start` may compute, whatever the stage's own limit is: a large guest sets itself up here.
const START_TIME: Duration = Duration::from_secs(3);

/// A guest and its memory.
pub struct Instance {
    store: Store<Ctx>,
    process: Func,
    world: World,
    contract: Contract,
    batch_time: Duration,
    call_time: Duration,
    dead: bool,
    /// Above so many bytes of memory the instance should be replaced.
    watermark_bytes: u64,
}

/// Why a plugin gave no instance with these settings.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StartError {
    #[error("refuses its settings: {0}")]
    Refused(String),
    #[error("has an impossible contract: {0}")]
    BadContract(String),
    #[error("{0}")]
    Granted(String),
    #[error("does not start: {0}")]
    Failed(CallError),
}

impl Plugin {
    /// Makes an instance and calls its `start`. Takes microseconds, besides what the guest does in `start`.
    ///
    /// # Errors
    /// The guest refuses its settings, traps, exceeds a limit, or has a contract that cannot be kept.
    pub fn instantiate(&self, config: &InstanceConfig) -> Result<Instance, StartError> {
        let ctx = Ctx::new(config).map_err(StartError::Granted)?;
        let mut store = Store::new(self.pre.engine(), ctx);
        if self.bounds == Bounds::Kept {
            store.limiter(|ctx| &mut ctx.used);
        }
        store.set_hostcall_fuel(config.limits.output_bytes as usize);
        store.set_max_component_handles(config.limits.handles as usize);
        store.epoch_deadline_callback(|store| {
            store.data().call.check()?;
            Ok(UpdateDeadline::Continue(1))
        });

        begin(&mut store, START_TIME);
        let started = self.start(&mut store);
        store.data().log.end_call();
        let (process, contract) = match started {
            Ok(Ok(started)) => started,
            Ok(Err(reason)) => return Err(StartError::Refused(super::log::printable(&reason))),
            Err(error) => return Err(StartError::Failed(blame(&store, error))),
        };
        contract::check(&contract).map_err(StartError::BadContract)?;
        store.data_mut().hooks.open = true;
        let used = store.data().used.memory_bytes;
        let watermark_bytes = used + config.limits.memory_bytes.saturating_sub(used) / 4 * 3;
        Ok(Instance {
            store,
            process,
            world: self.world,
            contract,
            batch_time: config.limits.batch_time,
            call_time: Duration::ZERO,
            dead: false,
            watermark_bytes,
        })
    }

    fn start(&self, store: &mut Store<Ctx>) -> wasmtime::Result<Result<(Func, Contract), String>> {
        let instance = self.pre.instantiate(&mut *store)?;
        let process =
            instance.get_func(&mut *store, self.process).ok_or_else(|| wasmtime::Error::msg("`process` is not a function"))?;
        let contract = match self.world {
            World::Fields => {
                let start: FieldsStart = instance.get_typed_func(&mut *store, self.start)?;
                start.call(&mut *store, ())?.0
            }
            World::Messages => {
                let start: MessagesStart = instance.get_typed_func(&mut *store, self.start)?;
                start.call(&mut *store, ())?.0.map(|()| Contract::default())
            }
        };
        Ok(contract.map(|contract| (process, contract)))
    }
}

impl Instance {
    /// What the plugin reads and writes; empty for a `messages` plugin.
    pub fn contract(&self) -> &Contract {
        &self.contract
    }

    /// Linear memory of the guest, bytes. It never shrinks.
    pub fn memory_bytes(&self) -> u64 {
        self.store.data().used.memory_bytes
    }

    /// Elements of the guest's tables.
    pub fn table_elements(&self) -> u64 {
        self.store.data().used.table_elements
    }

    /// CPU time of the last call.
    pub fn call_time(&self) -> Duration {
        self.call_time
    }

    /// Whether the guest has grown so far that a fresh instance should take its place between two batches.
    pub fn wants_recycling(&self) -> bool {
        self.memory_bytes() > self.watermark_bytes
    }

    /// Exchanges what the guest reads and sets by key: lent before a call, taken back after it, also after a trap.
    pub fn swap_state(&mut self, state: &mut StageState) {
        std::mem::swap(&mut self.store.data_mut().state, state);
    }

    /// Runs a `fields` plugin over `rows` rows; `columns` in the order of `contract.reads`.
    ///
    /// # Errors
    /// After any but `Retry` and `Failed` the instance is dead, and gives `Trap` for ever.
    ///
    /// # Panics
    /// On a plugin of the other world, or with columns that are not the contract's.
    pub fn process_fields(&mut self, rows: u32, columns: &[&Column]) -> Result<FieldsOutcome, CallError> {
        assert_eq!(self.world, World::Fields, "a fields plugin is called with columns");
        assert_eq!(columns.len(), self.contract.reads.len(), "one column for each field that is read");
        // SAFETY: `load` has checked the export's type against these very types.
        let process: FieldsProcess<'_> = unsafe { TypedFunc::new_unchecked(self.process) };
        let outcome = self.call(|store| process.call(store, (BatchRef { rows, columns },)))?;
        outcome::check_fields(&self.contract, rows, outcome).map_err(|reason| self.malformed(reason))
    }

    /// Runs a `messages` plugin: one outcome per message, in order. Errors and panics as [`Instance::process_fields`].
    pub fn process_messages(&mut self, messages: &[Incoming]) -> Result<Vec<MessageOutcome>, CallError> {
        assert_eq!(self.world, World::Messages, "a messages plugin is called with messages");
        let batch: Vec<IncomingRef<'_>> = messages
            .iter()
            .map(|Incoming { message, place }| IncomingRef {
                message: MessageRef::from(message),
                partition: place.partition,
                offset: place.offset,
            })
            .collect();
        // SAFETY: `load` has checked the export's type against these very types.
        let process: MessagesProcess<'_> = unsafe { TypedFunc::new_unchecked(self.process) };
        let outcomes = self.call(|store| process.call(store, (&batch,)))?;
        if outcomes.len() != messages.len() {
            return Err(self.malformed(format!("{} outcomes for {} messages", outcomes.len(), messages.len())));
        }
        Ok(outcomes.into_iter().map(MessageOutcome::from).collect())
    }

    fn call<T>(&mut self, call: impl FnOnce(&mut Store<Ctx>) -> wasmtime::Result<(Result<T, Failure>,)>) -> Result<T, CallError> {
        if self.dead {
            return Err(CallError::Trap("the instance is dead after an earlier trap".to_owned()));
        }
        begin(&mut self.store, self.batch_time);
        let result = call(&mut self.store);
        self.call_time = self.store.data().call.cpu();
        self.store.data().log.end_call();
        match result {
            Ok((Ok(outcome),)) => Ok(outcome),
            Ok((Err(Failure::Retry(reason)),)) => Err(CallError::Retry(super::log::printable(&reason))),
            Ok((Err(Failure::Failed(reason)),)) => Err(CallError::Failed(super::log::printable(&reason))),
            Err(error) => {
                self.dead = true;
                Err(blame(&self.store, error))
            }
        }
    }

    fn malformed(&mut self, reason: String) -> CallError {
        self.dead = true;
        CallError::Malformed(reason)
    }
}

fn begin(store: &mut Store<Ctx>, budget: Duration) {
    store.data().log.start_call();
    store.data_mut().call = Call::start(budget);
    store.set_epoch_deadline(1);
}

/// What a failed call was.
fn blame(store: &Store<Ctx>, error: wasmtime::Error) -> CallError {
    if let Some(interrupted) = error.downcast_ref::<Interrupted>() {
        return match *interrupted {
            Interrupted::Cpu(budget) => CallError::OutOfTime(budget),
            Interrupted::Memory(limit) => CallError::OutOfMemory(limit),
            Interrupted::Wall(_) | Interrupted::Waits | Interrupted::Waited => CallError::Trap(interrupted.to_string()),
        };
    }
    let mut reason = error.root_cause().to_string();
    let limits = &store.data().used.limits;
    // The runtime's words for its two tables of handles, and for what is copied between guest and host.
    if reason.contains("no free keys") || reason.contains("handle limit") {
        reason = format!("holds more than {} handles", limits.handles);
    } else if reason.contains("fuel allocated for hostcalls") {
        let most = size_text(limits.output_bytes);
        reason = format!("hands over more than {most} in one call; `limits.output` of its stage gives it more");
    }
    let last_words = store.data().log.last_words();
    CallError::Trap(super::log::printable(&if last_words.is_empty() { reason } else { format!("{last_words} ({reason})") }))
}
