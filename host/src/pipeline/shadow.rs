//! New code beside the present one: both decide the same live records, on a thread of their own; what they made is compared field by field
//! and thrown away. The stream never waits for it: while it is busy, records go by and are counted.

use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::sync::watch;

use super::code::Code;
use super::generation::Generation;
use crate::record::{Batch, Message, RowOutcome};
use crate::status::swap::{Shadow, ShadowExample, ShadowField};
use crate::transform::{self, Chain, Transformed, write_json};

/// Examples that a report shows, and characters of a value in it.
const EXAMPLES_MAX: usize = 10;
const SHOWN_CHARS_MAX: usize = 200;
/// Fields that are counted.
const FIELDS_MAX: usize = 100;

/// The place beside the stream, empty most of the time.
#[derive(Default)]
pub struct Beside(RwLock<Option<Running>>);

#[derive(Clone)]
struct Running {
    batches: SyncSender<(Arc<Batch>, Arc<Generation>)>,
    comparison: Arc<Comparison>,
}

struct Comparison {
    state: Mutex<State>,
    agreed: watch::Sender<bool>,
}

#[derive(Default)]
struct State {
    shadow: Shadow,
    fields: BTreeMap<String, u64>,
    old: Duration,
    new: Duration,
}

impl Beside {
    /// Runs code beside the stream, in place of any other. The answer changes to true once it agreed on `wanted` records.
    pub fn start(&self, stage: &str, digest: &str, code: Code, wanted: u64) -> std::io::Result<watch::Receiver<bool>> {
        let shadow = Shadow { stage: stage.to_owned(), digest: digest.to_owned(), wanted, ..Shadow::default() };
        let comparison =
            Arc::new(Comparison { state: Mutex::new(State { shadow, ..State::default() }), agreed: watch::Sender::new(false) });
        let (batches, queue) = sync_channel(1);
        let agreed = comparison.agreed.subscribe();
        let comparing = comparison.clone();
        std::thread::Builder::new().name("shadow".to_owned()).spawn(move || comparing.run(&code, &queue))?;
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Some(Running { batches, comparison });
        Ok(agreed)
    }

    /// Ends it, with the batch that it is at.
    pub fn stop(&self) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = None;
    }

    pub fn report(&self) -> Option<Shadow> {
        self.running().map(|running| running.comparison.report())
    }

    /// Shows it a batch that the present code has decided.
    pub(super) fn offer(&self, batch: &Arc<Batch>, generation: &Arc<Generation>) {
        if let Some(running) = self.running()
            && running.batches.try_send((batch.clone(), generation.clone())).is_err()
        {
            running.comparison.state().shadow.skipped += batch.rows() as u64;
        }
    }

    fn running(&self) -> Option<Running> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Comparison {
    fn run(&self, code: &Code, batches: &Receiver<(Arc<Batch>, Arc<Generation>)>) {
        let (mut old_chain, mut new_chain): (Option<(u64, Chain)>, Option<Chain>) = (None, None);
        while let Ok((batch, generation)) = batches.recv() {
            let same = old_chain.as_ref().is_some_and(|(number, _)| *number == generation.number);
            if !same {
                old_chain = generation.code.chain().ok().map(|chain| (generation.number, chain));
            }
            if new_chain.is_none() {
                new_chain = code.chain().ok();
            }
            let (Some((_, old)), Some(new)) = (&mut old_chain, &mut new_chain) else {
                self.state().shadow.skipped += batch.rows() as u64;
                continue;
            };
            let (Some((old, old_took)), Some((new, new_took))) = (decide(old, &batch), decide(new, &batch)) else {
                self.state().shadow.skipped += batch.rows() as u64;
                continue;
            };
            let mut state = self.state();
            state.shadow.against = generation.number;
            state.shadow.records += batch.rows() as u64;
            state.old += old_took;
            state.new += new_took;
            compare(&batch, &old, &new, &mut state);
            let agrees = state.shadow.differing == 0 && state.shadow.records >= state.shadow.wanted;
            drop(state);
            self.agreed.send_if_modified(|agreed| std::mem::replace(agreed, agrees) != agrees);
        }
    }

    fn report(&self) -> Shadow {
        let state = self.state();
        let micros = |took: Duration| took.as_secs_f64() * 1e6 / state.shadow.records.max(1) as f64;
        let fields = state.fields.iter().map(|(field, records)| ShadowField { field: field.clone(), records: *records });
        Shadow {
            fields: fields.collect(),
            old_micros_per_record: micros(state.old),
            new_micros_per_record: micros(state.new),
            ..state.shadow.clone()
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a chain makes of a batch, also where a record must be blamed; `None` where a plugin is not ready.
fn decide(chain: &mut Chain, batch: &Batch) -> Option<(Transformed, Duration)> {
    let began = Instant::now();
    let decided = match chain.process(batch) {
        Ok(decided) => decided,
        Err(failed) => transform::blame(chain, batch, Some(&failed)).ok()?,
    };
    Some((decided, began.elapsed()))
}

fn compare(batch: &Batch, old: &Transformed, new: &Transformed, state: &mut State) {
    let (old_rows, new_rows) = (rows_of(batch, old), rows_of(batch, new));
    for record in 0..batch.rows() {
        let mut differs = Vec::new();
        let word = |transformed: &Transformed| match &transformed.outcomes[record] {
            RowOutcome::Emitted => Value::from("emitted"),
            RowOutcome::Dropped => Value::from("dropped"),
            RowOutcome::Deleted => Value::from("deleted"),
            RowOutcome::Rejected { reason, .. } => Value::from(format!("rejected: {reason}")),
        };
        let outcomes = (&old.outcomes[record], &new.outcomes[record]);
        let (old_at, new_at) = (&old_rows[record], &new_rows[record]);
        if std::mem::discriminant(outcomes.0) != std::mem::discriminant(outcomes.1) {
            differs.push(("@outcome".to_owned(), word(old), word(new)));
        } else if old_at.len() != new_at.len() {
            differs.push(("@rows".to_owned(), old_at.len().into(), new_at.len().into()));
        } else {
            for (old_row, new_row) in old_at.iter().zip(new_at) {
                compare_rows(old, *old_row, new, *new_row, &mut differs);
            }
        }
        if differs.is_empty() {
            continue;
        }
        state.shadow.differing += 1;
        let place = batch.place(record);
        let mut counted = std::collections::BTreeSet::new();
        for (field, old, new) in differs {
            if state.shadow.examples.len() < EXAMPLES_MAX {
                let (partition, offset) = (place.partition, place.offset);
                let (old, new) = (shortened(old), shortened(new));
                state.shadow.examples.push(ShadowExample { partition, offset, field: field.clone(), old, new });
            }
            if (state.fields.contains_key(&field) || state.fields.len() < FIELDS_MAX) && counted.insert(field.clone()) {
                *state.fields.entry(field).or_default() += 1;
            }
        }
    }
}

/// By record, its rows.
fn rows_of(batch: &Batch, transformed: &Transformed) -> Vec<Vec<usize>> {
    let mut rows = vec![Vec::new(); batch.rows()];
    for (row, record) in transformed.origins.iter().enumerate() {
        rows[*record as usize].push(row);
    }
    rows
}

fn compare_rows(old: &Transformed, old_row: usize, new: &Transformed, new_row: usize, differs: &mut Vec<(String, Value, Value)>) {
    let names = old.columns.iter().chain(new.columns.iter()).map(|(name, _)| name);
    for name in names.collect::<std::collections::BTreeSet<_>>() {
        let (before, after) = (field(old, name, old_row), field(new, name, new_row));
        if before != after {
            differs.push((name.to_owned(), before, after));
        }
    }
    let message = |transformed: &Transformed, row: usize| transformed.messages.as_ref().and_then(|all| all.get(row).cloned());
    if let (Some(before), Some(after)) = (message(old, old_row), message(new, new_row))
        && before != after
    {
        let shown = |message: Message| Value::from(String::from_utf8_lossy(&message.value.unwrap_or_default()).into_owned());
        differs.push(("@message".to_owned(), shown(before), shown(after)));
    }
}

fn field(transformed: &Transformed, name: &str, row: usize) -> Value {
    let mut text = Vec::new();
    match transformed.columns.get(name).map(|column| write_json(column, row, &mut text)) {
        Some(Ok(())) => serde_json::from_slice(&text).unwrap_or_else(|_| String::from_utf8_lossy(&text).into_owned().into()),
        Some(Err(wrong)) => Value::from(wrong),
        None => Value::Null,
    }
}

fn shortened(value: Value) -> Value {
    let text = match &value {
        Value::String(text) => text.clone(),
        Value::Array(_) | Value::Object(_) => value.to_string(),
        _ => return value,
    };
    match text.char_indices().nth(SHOWN_CHARS_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]).into(),
        None => value,
    }
}
