//! Plugins: WebAssembly components in a sandbox. Engine, compiled plugins and their instances.
//!
//! Everything here is synchronous and runs on worker threads, never on an I/O thread (invariant 7 names what a guest cannot do).

pub mod bindings;
mod build;
mod cache;
mod compile;
mod contract;
mod engine;
pub mod grants;
mod http;
mod instance;
mod load;
mod log;
mod origin;
mod outcome;
mod outline;
mod sandbox;
mod state;
mod wasi_io;
mod watch;

use std::collections::BTreeMap;

use wasmtime::component::{ComponentType, Lift};

pub use build::{BuildError, build_directory, component_path, end_builds, exit_with_builds};
pub use cache::Cache;
pub use compile::{Compiler, child as compile_as_child};
pub use engine::{Engine, EngineError};
pub use instance::{Instance, StartError};
pub use load::{LoadError, Plugin};
pub use sandbox::thread_cpu_time;
pub use state::{Entries, StageState, States};
pub use watch::{STILL, Watch, Watched};

pub use grants::Granted;

use crate::config::plan::{Limits, StagePlan};
use crate::record::{Column, Message, Place, Rejection};

/// Which interface a plugin exports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum World {
    Fields,
    Messages,
}

/// What an instance is started with.
#[derive(Clone, Debug, Default)]
pub struct InstanceConfig {
    /// The stage's name: where its log lines come from.
    pub stage: String,
    pub settings: BTreeMap<String, String>,
    pub limits: Limits,
    pub grants: Granted,
}

impl InstanceConfig {
    pub fn new(stage: &StagePlan) -> InstanceConfig {
        InstanceConfig {
            stage: stage.name.clone(),
            settings: stage.settings.clone(),
            limits: stage.limits,
            grants: Granted::new(stage.grants.clone()),
        }
    }
}

/// What a `fields` plugin made of a batch; checked against its contract already.
#[derive(Clone, Debug, Default, PartialEq, ComponentType, Lift)]
#[component(record)]
pub struct FieldsOutcome {
    /// In the order of `contract.writes`.
    #[component(name = "columns")]
    pub columns: Vec<Column>,
    #[component(name = "dropped")]
    pub dropped: Vec<u32>,
    #[component(name = "deleted")]
    pub deleted: Vec<u32>,
    /// Ascending by row.
    #[component(name = "rejected")]
    pub rejected: Vec<Rejection>,
}

/// What a `messages` plugin made of one message.
#[derive(Clone, Debug, PartialEq)]
pub enum MessageOutcome {
    Unchanged,
    Emit(Message),
    EmitMany(Vec<Message>),
    Drop,
    Reject(String),
}

/// A message on its way into a `messages` plugin.
#[derive(Clone, Debug)]
pub struct Incoming {
    pub message: Message,
    pub place: Place,
}

/// Why a call gave no outcome. After any but `Retry` and `Failed` the instance is dead.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// Something outside is not ready; no record is to blame.
    #[error("not ready: {0}")]
    Retry(String),
    /// The plugin says the batch cannot be processed: find the record to blame.
    #[error("{0}")]
    Failed(String),
    #[error("trap: {0}")]
    Trap(String),
    /// CPU time of the call.
    #[error("ran for more than {} ms of CPU time", .0.as_millis())]
    OutOfTime(std::time::Duration),
    #[error("asked for more than {} MiB of memory", .0 >> 20)]
    OutOfMemory(u64),
    /// The outcome breaks the contract (row count, kinds, ends, UTF-8, row numbers).
    #[error("broke its contract: {0}")]
    Malformed(String),
}
