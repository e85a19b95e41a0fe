//! Following a few records through a chain, for people who look. While nobody does, it costs one look at a clock per batch.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use serde_json::{Map, Value};

use super::StageFigures;
use super::input::Input;
use super::kinds::write_json;
use super::plan::Segment;
use crate::plugin::{FieldsOutcome, MessageOutcome};
use crate::record::{Batch, Column, Message, Sample, Step, escape};

/// So long records are followed after somebody has looked.
const WATCHED_FOR: Duration = Duration::from_secs(15);
/// Batches are followed no more often than people can read.
const EVERY: Duration = Duration::from_millis(100);
/// Records of a batch, and samples kept.
const RECORDS: usize = 3;
const SAMPLES_MAX: usize = 60;
/// A longer text is cut.
const VALUE_BYTES_MAX: usize = 4 << 10;

/// What all workers of a pipeline share.
pub struct Sampling {
    began: Instant,
    /// ms since `began` until which records are followed.
    until: AtomicI64,
    followed: Mutex<Ring>,
}

#[derive(Default)]
struct Ring {
    last: Option<Instant>,
    samples: VecDeque<Sample>,
    /// Rows by stage since sampling began.
    seen: BTreeMap<String, u64>,
}

impl Default for Sampling {
    fn default() -> Sampling {
        Sampling { began: Instant::now(), until: AtomicI64::new(0), followed: Mutex::default() }
    }
}

impl Sampling {
    fn now(&self) -> i64 {
        self.began.elapsed().as_millis() as i64
    }

    fn is_watched(&self) -> bool {
        self.until.load(Ordering::Relaxed) > self.now()
    }

    fn ring(&self) -> MutexGuard<'_, Ring> {
        self.followed.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Somebody looks: samples, newest first, and how many rows each stage was given since sampling began.
    pub fn look(&self) -> (Vec<Sample>, BTreeMap<String, u64>) {
        let watched = self.is_watched();
        self.until.store(self.now() + WATCHED_FOR.as_millis() as i64, Ordering::Relaxed);
        let mut ring = self.ring();
        if !watched {
            *ring = Ring::default();
        }
        (ring.samples.iter().rev().cloned().collect(), ring.seen.clone())
    }

    /// Follows the last records of a batch, if somebody looks and has had time to read the ones before.
    pub(super) fn follow(&self, batch: &Batch, generation: u64) -> Option<Following> {
        if !self.is_watched() {
            return None;
        }
        let mut ring = self.ring();
        if ring.last.is_some_and(|last| last.elapsed() < EVERY) {
            return None;
        }
        ring.last = Some(Instant::now());
        let at_ms = jiff::Timestamp::now().as_millisecond();
        let sample = |row: usize| {
            let payload = batch.value(row).map_or(Value::Null, payload);
            Sample { place: batch.place(row), at_ms, generation, payload, steps: Vec::new() }
        };
        let first = batch.rows().saturating_sub(RECORDS);
        Some(Following { first: first as u32, samples: (first..batch.rows()).map(sample).collect() })
    }

    /// A batch has gone through.
    pub(super) fn passed(&self, stages: &[String], figures: &[StageFigures], following: Option<Following>) {
        if !self.is_watched() {
            return;
        }
        let mut ring = self.ring();
        for (stage, figures) in stages.iter().zip(figures) {
            *ring.seen.entry(stage.clone()).or_default() += figures.rows;
        }
        ring.samples.extend(following.into_iter().flat_map(|following| following.samples));
        let more = ring.samples.len().saturating_sub(SAMPLES_MAX);
        ring.samples.drain(..more);
    }
}

/// Records of one batch that are followed: the last ones.
pub struct Following {
    /// Number of the first in the batch.
    first: u32,
    samples: Vec<Sample>,
}

/// Rows of the followed records before a stage: row → sample, and what it is.
pub(super) struct Before(Vec<(u32, usize, Map<String, Value>)>);

impl Following {
    fn sample(&self, record: u32) -> Option<usize> {
        record.checked_sub(self.first).map(|at| at as usize).filter(|at| *at < self.samples.len())
    }

    pub(super) fn before_fields(&self, segment: &Segment, input: &Input<'_>, rows: &[u32], columns: &[Option<Column>]) -> Before {
        let followed = (0u32..).zip(rows).filter_map(|(row, input_row)| Some((row, self.sample(input.origin(*input_row))?)));
        Before(
            followed
                .map(|(row, sample)| {
                    let mut fields = Map::new();
                    for (slot, column) in segment.slots.iter().zip(columns) {
                        if let Some(column) = column {
                            fields.insert(slot.name.clone(), value(column, row as usize));
                        }
                    }
                    (row, sample, fields)
                })
                .collect(),
        )
    }

    /// `writes`: name and column, in the order of the outcome's.
    pub(super) fn after_fields(&mut self, stage: &str, before: Before, outcome: &FieldsOutcome, writes: &[&str]) {
        for (row, sample, before) in before.0 {
            let rejected = outcome.rejected.iter().find(|rejection| rejection.row == row);
            let (word, reason) = match rejected {
                Some(rejection) => ("rejected", Some(rejection.reason.clone())),
                None if outcome.dropped.contains(&row) => ("dropped", None),
                None if outcome.deleted.contains(&row) => ("deleted", None),
                None => ("emitted", None),
            };
            let mut after = None;
            let mut changed = Vec::new();
            if word == "emitted" {
                let mut fields = before.clone();
                for (name, column) in writes.iter().zip(&outcome.columns) {
                    let value = value(column, row as usize);
                    if before.get(*name) != Some(&value) {
                        changed.push((*name).to_owned());
                    }
                    fields.insert((*name).to_owned(), value);
                }
                after = Some(fields);
            }
            let (stage, outcome) = (stage.to_owned(), word.to_owned());
            self.samples[sample].steps.push(Step { stage, outcome, reason, before, after, changed });
        }
    }

    /// A message and what became of it.
    pub(super) fn message(&mut self, stage: &str, record: u32, message: &Message, outcome: &MessageOutcome) {
        let Some(sample) = self.sample(record) else { return };
        let mut before = Map::new();
        before.insert("payload".to_owned(), message.value.as_deref().map_or(Value::Null, payload));
        if let Some(key) = &message.key {
            before.insert("key".to_owned(), payload(key));
        }
        let of = |messages: &[&Message]| {
            let payloads: Vec<Value> =
                messages.iter().map(|message| message.value.as_deref().map_or(Value::Null, payload)).collect();
            Some(Map::from_iter([("messages".to_owned(), Value::Array(payloads))]))
        };
        let (word, reason, after) = match outcome {
            MessageOutcome::Unchanged => ("emitted", None, of(&[message])),
            MessageOutcome::Emit(message) => ("emitted", None, of(&[message])),
            MessageOutcome::EmitMany(messages) => ("emitted", None, of(&messages.iter().collect::<Vec<_>>())),
            MessageOutcome::Drop => ("dropped", None, None),
            MessageOutcome::Reject(reason) => ("rejected", Some(reason.clone()), None),
        };
        let changed = match outcome {
            MessageOutcome::Emit(_) | MessageOutcome::EmitMany(_) => vec!["messages".to_owned()],
            _ => Vec::new(),
        };
        let (stage, outcome) = (stage.to_owned(), word.to_owned());
        self.samples[sample].steps.push(Step { stage, outcome, reason, before, after, changed });
    }
}

fn value(column: &Column, row: usize) -> Value {
    let mut text = Vec::new();
    match write_json(column, row, &mut text) {
        Ok(()) => short(serde_json::from_slice(&text).unwrap_or_default(), text.len()),
        Err(reason) => Value::String(format!("a value that {reason}")),
    }
}

/// JSON as it is, other text as a string; bytes that are neither, by their number.
fn payload(bytes: &[u8]) -> Value {
    match serde_json::from_slice(bytes) {
        Ok(value) => short(value, bytes.len()),
        Err(_) => match std::str::from_utf8(bytes) {
            Ok(text) => short(Value::String(escape(text).into_owned()), bytes.len()),
            Err(_) => Value::String(format!("{} bytes that are no text", bytes.len())),
        },
    }
}

/// A value of so many bytes of JSON; a page cannot show a megabyte beside another.
fn short(value: Value, bytes: usize) -> Value {
    match value {
        Value::String(text) if bytes > VALUE_BYTES_MAX => {
            Value::String(text.chars().take(VALUE_BYTES_MAX / 4).chain(['…']).collect())
        }
        Value::Array(_) | Value::Object(_) if bytes > 4 * VALUE_BYTES_MAX => Value::String(format!("{bytes} bytes of JSON")),
        value => value,
    }
}
