//! Records through the real chain, with no topic, no store and no sink: what `test` and `dry-run` do.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;

use super::{Exit, Failure};
use crate::config::plan::{NullValue, SinkColumn};
use crate::record::{Batch, Column, Field, Kind, Message, OwnField, RecordRef, RowOutcome};
use crate::sink::{Emitted, bind};
use crate::transform::{self, Chain, ChainPlan, KeyPath, Stage, StageContract, Stages, Transformed, blame, write_json};

/// A chain, and the tables that its rows are bound for.
pub struct Trial {
    chain: Chain,
    tables: Vec<Vec<SinkColumn>>,
    key: Option<KeyPath>,
}

/// What a chain reads and gives.
#[derive(Default)]
pub struct Wanted {
    /// Fields at the end of the chain.
    pub fields: Vec<Field>,
    /// Whole records at the end.
    pub messages: bool,
    pub null_value: NullValue,
    pub tables: Vec<Vec<SinkColumn>>,
    /// Payload field that becomes the record's key.
    pub key: Option<String>,
}

/// A batch and what became of it.
pub struct Tried {
    pub batch: Batch,
    pub transformed: Transformed,
}

impl Trial {
    /// `wants` is told the contracts of the stages, which decide of which kind a field is at the end.
    pub fn new(stages: Vec<Stage>, wants: impl FnOnce(&[StageContract]) -> Wanted) -> Result<Trial, Failure> {
        let wrong = |reason: String| Failure::new(Exit::Wrong, reason);
        let stages = Stages::start(stages).map_err(wrong)?;
        let wanted = wants(stages.contracts());
        let plan = ChainPlan::new(stages.contracts(), &wanted.fields, wanted.messages, wanted.null_value);
        let plan = plan.map_err(|error| wrong(error.to_string()))?;
        let chain =
            Chain::new(Arc::new(plan), Arc::new(stages)).map_err(|error| Failure::new(Exit::Failed, error.to_string()))?;
        Ok(Trial { chain, tables: wanted.tables, key: wanted.key.as_deref().map(KeyPath::new) })
    }

    /// Runs records as one batch, offsets from 0 on. Records that fail are blamed and rejected, as when the host runs.
    pub fn run(&mut self, messages: &[Message]) -> Result<Tried, Failure> {
        let mut batch = Batch::new(0);
        for (offset, message) in (0..).zip(messages) {
            let read = |key: &KeyPath| message.value.as_deref().and_then(|value| key.read(value).ok().flatten());
            let key = message.key.clone().or_else(|| self.key.as_ref().and_then(read));
            let (timestamp, value) = (message.timestamp, message.value.as_deref());
            batch.push(RecordRef { offset, timestamp, key: key.as_deref(), value, headers: &message.headers });
        }
        let processed = self.chain.process(&batch);
        let processed = match processed {
            Err(error @ transform::Error::Blame { .. }) => blame(&mut self.chain, &batch, Some(&error)),
            other => other,
        };
        let mut transformed = processed.map_err(|error| Failure::new(Exit::Failed, error.to_string()))?;
        let mut refused = BTreeMap::new();
        for columns in &self.tables {
            let rows = bind::rows(columns, &emitted(&batch, &transformed, &vec![0; transformed.origins.len()]));
            refused.extend(rows.err().into_iter().flatten().map(|rejection| (rejection.record, rejection.reason)));
        }
        transformed.reject(&refused);
        Ok(Tried { batch, transformed })
    }
}

/// What the sinks are given; `write_times` one per row.
pub fn emitted<'a>(batch: &'a Batch, transformed: &'a Transformed, write_times: &'a [i64]) -> Emitted<'a> {
    Emitted {
        batch,
        origins: &transformed.origins,
        deleted: &transformed.deleted,
        columns: &transformed.columns,
        write_times,
        messages: transformed.messages.as_deref(),
    }
}

impl Tried {
    /// Rows that came of a record.
    pub fn rows_of(&self, record: u32) -> Vec<usize> {
        let rows = self.transformed.origins.iter().enumerate();
        rows.filter(|(_, origin)| **origin == record).map(|(row, _)| row).collect()
    }

    /// The value of a field in a row; null where it has none.
    pub fn field(&self, name: &str, row: usize) -> Value {
        self.transformed.columns.get(name).map_or(Value::Null, |column| json(column, row))
    }

    /// The payload of a row, where whole records were wanted.
    pub fn payload(&self, row: usize) -> Value {
        let message = self.transformed.messages.as_ref().and_then(|messages| messages.get(row));
        message.and_then(|message| message.value.as_deref()).map_or(Value::Null, payload)
    }

    /// What became of a record, in a few words.
    pub fn outcome(&self, record: u32) -> String {
        match &self.transformed.outcomes[record as usize] {
            RowOutcome::Emitted => "emitted".to_owned(),
            RowOutcome::Dropped => "dropped".to_owned(),
            RowOutcome::Deleted => "deleted".to_owned(),
            RowOutcome::Rejected { stage, reason } => {
                format!("rejected by {}: {reason}", stage.as_ref().map_or("the host".to_owned(), |stage| format!("`{stage}`")))
            }
        }
    }
}

/// JSON as it is, other text as a string, other bytes as text with marks for what is not.
pub fn payload(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes).unwrap_or_else(|_| Value::String(String::from_utf8_lossy(bytes).into_owned()))
}

fn json(column: &Column, row: usize) -> Value {
    let mut text = Vec::new();
    match write_json(column, row, &mut text) {
        Ok(()) => serde_json::from_slice(&text).unwrap_or_default(),
        Err(reason) => Value::String(format!("a value that {reason}")),
    }
}

/// The field that a test or a person asks for, in the kind that it has at the end of the chain; `like` is a value of a field
/// that no stage writes.
pub fn field_at_end(contracts: &[StageContract], name: &str, like: &Value) -> Field {
    let after_messages = contracts.iter().rposition(|stage| stage.contract.is_none()).map_or(0, |at| at + 1);
    let writes = contracts[after_messages..]
        .iter()
        .rev()
        .filter_map(|stage| stage.contract.as_ref())
        .flat_map(|contract| &contract.writes);
    let written = writes.into_iter().find(|field| field.name == name).map(|field| field.kind);
    let own = || OwnField::parse(name).map(|own| own.kind());
    let natural = match like {
        Value::String(_) => Kind::Text,
        Value::Bool(_) => Kind::Boolean,
        Value::Number(number) if number.is_i64() => Kind::Int,
        Value::Number(_) => Kind::Float,
        Value::Null | Value::Array(_) | Value::Object(_) => Kind::Json,
    };
    Field { name: name.to_owned(), kind: written.or_else(own).unwrap_or(natural), optional: true }
}
