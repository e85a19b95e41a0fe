//! A record on its way, for people: what each stage was given of it, and what it gave.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::Place;

/// One record followed through the stages.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Sample {
    #[serde(flatten)]
    pub place: Place,
    /// ms since 1970.
    pub at_ms: i64,
    pub generation: u64,
    /// JSON, other text as a string; `null`: none, or bytes that are no text.
    pub payload: Value,
    pub steps: Vec<Step>,
}

/// What a stage made of the record.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Step {
    pub stage: String,
    /// `emitted`, `dropped`, `deleted`, `rejected`.
    pub outcome: String,
    pub reason: Option<String>,
    /// Field → value. A `messages` stage has `payload` and `key`.
    pub before: Map<String, Value>,
    /// `null`: nothing came out. Of a `messages` stage: `messages`, a list of payloads.
    pub after: Option<Map<String, Value>>,
    /// Fields that are other than before.
    pub changed: Vec<String>,
}
