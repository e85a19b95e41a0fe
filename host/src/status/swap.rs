//! What is told of swaps: a receipt of every attempt, what waits to come into force, and how new code compares with old.

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Under which receipts are logged.
pub const LOG_TARGET: &str = "tidemill::pipeline::reload";

/// What an attempt to bring other code into force did.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Receipt {
    pub id: i64,
    pub at_ms: i64,
    pub outcome: Outcome,
    /// Who asked for it: `watch`, `api`, `signal`, `breaker`, `shadow`.
    pub who: String,
    /// The generation that serves afterwards, and the one before.
    pub generation: u64,
    pub from_generation: u64,
    pub changes: Vec<Change>,
    /// Why it was refused, parked or taken back.
    pub reason: Option<String>,
    /// What is wrong with the pipeline file or the chain, as `check --json` tells it.
    pub diagnostics: Vec<Value>,
    /// To compile what is new, or to read it from the cache.
    pub compile_ms: f64,
    /// From the first look at the files to the first record that it may decide.
    pub took_ms: f64,
    /// The longest that a partition decided nothing for it; `None` where nothing was applied.
    pub pause_ms: Option<f64>,
    /// Recent records that it was tried with.
    pub probed: u64,
    /// Where each partition took it up.
    pub partitions: Vec<ReceiptPartition>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    Applied,
    #[default]
    Refused,
    /// It asks for more than it is granted.
    Parked,
    /// It runs beside the present code.
    Shadowing,
    /// A person decides.
    Waiting,
    RolledBack,
    /// Source, topic or sinks have changed: drained, and started again in place.
    Restarted,
    Discarded,
    /// There was nothing to do.
    Unchanged,
}

impl Outcome {
    pub fn name(self) -> &'static str {
        match self {
            Outcome::Applied => "applied",
            Outcome::Refused => "refused",
            Outcome::Parked => "parked",
            Outcome::Shadowing => "shadowing",
            Outcome::Waiting => "waiting",
            Outcome::RolledBack => "rolled-back",
            Outcome::Restarted => "restarted",
            Outcome::Discarded => "discarded",
            Outcome::Unchanged => "unchanged",
        }
    }
}

/// What was to change in one stage.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Change {
    pub stage: String,
    /// Digests; `None` of a stage that is added or removed.
    pub from: Option<String>,
    pub to: Option<String>,
    /// `code`, `settings`, `limits`, `grants`, `added`, `removed`, `moved`.
    pub what: Vec<String>,
    /// Interfaces that the new code imports and the one before does not; of what was refused for another reason, none.
    #[serde(default)]
    pub gained: Vec<String>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct ReceiptPartition {
    pub partition: u32,
    /// The first offset under the new code.
    pub first: i64,
    /// Offsets below it that the code before had decided, and that were not settled yet.
    pub in_flight: i64,
    pub pause_ms: f64,
}

/// What is on its way into a stage, or was kept out of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Candidate {
    /// Empty while it is built.
    pub digest: String,
    /// `building`, `compiling`, `refused`, `parked`, `shadow`, `waiting`, `quarantined`.
    pub state: String,
    pub since_ms: i64,
    pub reason: Option<String>,
}

/// The pipeline file as it stands now, beside what runs.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct FileStatus {
    pub path: String,
    pub watched: bool,
    /// What is wrong with it, as `check --json` tells it; empty: it runs as it is.
    pub diagnostics: Vec<Value>,
}

/// Attempts since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct SwapFigures {
    pub applied: u64,
    pub refused: u64,
    pub parked: u64,
    pub rolled_back: u64,
    /// Of the last one that was applied; 0 before there was one.
    pub last_took_ms: f64,
    pub last_compile_ms: f64,
    pub last_pause_ms: f64,
}

impl SwapFigures {
    pub fn count(&mut self, receipt: &Receipt) {
        match receipt.outcome {
            Outcome::Applied => self.applied += 1,
            Outcome::Refused => self.refused += 1,
            Outcome::Parked => self.parked += 1,
            Outcome::RolledBack => self.rolled_back += 1,
            _ => {}
        }
        if let Some(pause_ms) = receipt.pause_ms {
            (self.last_took_ms, self.last_compile_ms, self.last_pause_ms) = (receipt.took_ms, receipt.compile_ms, pause_ms);
        }
    }
}

/// How the code that runs beside the present one compares with it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Shadow {
    pub stage: String,
    pub digest: String,
    /// The generation that it is compared with.
    pub against: u64,
    /// Records compared, and on how many both must agree.
    pub records: u64,
    pub wanted: u64,
    /// Records that went by while it was busy.
    pub skipped: u64,
    /// Records that differ.
    pub differing: u64,
    pub fields: Vec<ShadowField>,
    /// The first few.
    pub examples: Vec<ShadowExample>,
    pub old_micros_per_record: f64,
    pub new_micros_per_record: f64,
}

/// A field that differs, in so many records; `@outcome` is what became of the record.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct ShadowField {
    pub field: String,
    pub records: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct ShadowExample {
    pub partition: u32,
    pub offset: i64,
    pub field: String,
    pub old: Value,
    pub new: Value,
}

/// A generation that the store knows, for a roll-back.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct KnownGeneration {
    pub generation: u64,
    pub stages: Vec<KnownStage>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct KnownStage {
    pub name: String,
    pub digest: String,
}

/// What a person asks of a stage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wish {
    /// Read the files again now; `force` tries also what was rolled back or discarded.
    Reload { force: bool },
    /// Let what waits, or runs beside, come into force.
    Promote,
    /// Forget it until it changes.
    Discard,
    /// Take the stage's code and settings of an earlier generation.
    RollBack { generation: u64 },
}

/// Why a wish was not even tried.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("there is no stage `{0}`")]
    NoStage(String),
    #[error("{0}")]
    Conflict(String),
}

/// What a person may ask about swaps; the API's other half, implemented by the pipeline.
#[async_trait]
pub trait Swaps: Send + Sync {
    /// Newest first.
    async fn receipts(&self, limit: usize) -> anyhow::Result<Vec<Receipt>>;
    /// Newest first.
    async fn generations(&self) -> anyhow::Result<Vec<KnownGeneration>>;
    /// `None`: nothing runs beside this stage.
    fn shadow(&self, stage: &str) -> Option<Shadow>;
    async fn wish(&self, stage: &str, wish: Wish) -> Result<Receipt, Refusal>;
}
