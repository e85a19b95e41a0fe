//! Running a batch through projection and stages.
//!
//! One outcome per record: a record of which any row is rejected is rejected, and none of its rows goes out. Rows that are
//! dropped, deleted or rejected are taken out of the columns before the next stage; where there are none, nothing is copied.

use std::ops::Range;
use std::sync::Arc;

use super::bisect::{Calls, Part, Whole, search};
use super::input::Input;
use super::instances::{Instances, Tried};
use super::parked::Parked;
use super::plan::{ChainPlan, FieldsStage, Segment};
use super::project::{Projected, Unfit, absent};
use super::sample::{Following, Sampling};
use super::stage::StageFactory;
use super::{Error, StageFigures, Transformed};
use crate::config::plan::NullValue;
use crate::plugin::{CallError, FieldsOutcome, Incoming, MessageOutcome, StageState, States};
use crate::record::{Batch, Column, Columns, Message, Rejection, RowOutcome};

/// A chain with instances of its own. Not shared: each worker has one, and so has the search for a record to blame.
pub struct Chain {
    plan: Arc<ChainPlan>,
    stages: Instances,
    /// With the number of the generation.
    sampling: Option<(Arc<Sampling>, u64)>,
}

/// What to do when a call fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Failing {
    /// Give the batch back with [`Error::Blame`].
    Stops,
    /// Find the record to blame and go on; of one stage it may be known that the call over all rows fails.
    IsSearched { known: Option<usize> },
}

impl Chain {
    /// Starts every stage; an error names the stage that cannot be.
    pub fn new(plan: Arc<ChainPlan>, factory: Arc<dyn StageFactory>) -> Result<Chain, Error> {
        let stages = Instances::start(factory, &plan.stages)?;
        Ok(Chain { plan, stages, sampling: None })
    }

    /// Lets people follow some of its records.
    pub fn sampled(mut self, sampling: Arc<Sampling>, generation: u64) -> Chain {
        self.sampling = Some((sampling, generation));
        self
    }

    pub fn plan(&self) -> &Arc<ChainPlan> {
        &self.plan
    }

    /// Runs a batch. A call that fails gives [`Error::Blame`]: the caller hands the batch to [`blame`], beside the worker.
    /// Stages find no state, and what they set is thrown away.
    pub fn process(&mut self, batch: &Batch) -> Result<Transformed, Error> {
        self.process_with(&mut States::default(), batch)
    }

    /// The same with what the stages keep for the batch's partition. What they set counts once the caller keeps it
    /// ([`StageState::keep_batch`]); what the batch before set and nobody kept is undone first.
    pub fn process_with(&mut self, states: &mut States, batch: &Batch) -> Result<Transformed, Error> {
        self.run(states, batch, Failing::Stops)
    }

    /// Starts what takes the place of the next instance that traps, where one has. For when nobody waits.
    pub fn restock(&mut self) {
        self.stages.restock();
    }

    fn run(&mut self, states: &mut States, batch: &Batch, failing: Failing) -> Result<Transformed, Error> {
        self.stages.figures.fill(StageFigures::default());
        let plan = self.plan.clone();
        states.values_mut().for_each(StageState::drop_batch);
        self.stages.states = plan.stages.iter().map(|stage| states.remove(stage).unwrap_or_default()).collect();
        let mut following = self.sampling.as_ref().and_then(|(sampling, generation)| sampling.follow(batch, *generation));
        let (rejected, parked, followed) = (Vec::new(), Parked::default(), &mut following);
        let transformed = Run { plan: &plan, batch, stages: &mut self.stages, failing, rejected, parked, followed }.all();
        states.extend(plan.stages.iter().cloned().zip(std::mem::take(&mut self.stages.states)));
        match (&transformed, &self.sampling) {
            (Err(_), _) => states.values_mut().for_each(StageState::drop_batch),
            (Ok(transformed), Some((sampling, _))) => sampling.passed(&plan.stages, &transformed.stages, following),
            (Ok(_), None) => {}
        }
        transformed
    }
}

/// Runs a batch of which a call failed: the records to blame are rejected, and the rest goes on, in order. The chain has
/// instances of its own, so that the worker goes on meanwhile. `failed`, if known, is what [`Chain::process`] gave, and saves a call.
pub fn blame(chain: &mut Chain, batch: &Batch, failed: Option<&Error>) -> Result<Transformed, Error> {
    blame_with(chain, &mut States::default(), batch, failed)
}

/// The same with what the stages keep for the batch's partition: only calls whose outcome counts change it.
pub fn blame_with(chain: &mut Chain, states: &mut States, batch: &Batch, failed: Option<&Error>) -> Result<Transformed, Error> {
    let known = match failed {
        Some(Error::Blame { stage, .. }) => chain.plan.stages.iter().position(|name| name == stage),
        Some(Error::Retry { .. }) | None => None,
    };
    chain.run(states, batch, Failing::IsSearched { known })
}

/// A record that is rejected: which, by whom, why.
struct Rejected {
    record: u32,
    stage: Option<String>,
    reason: String,
}

/// One batch on its way.
struct Run<'a> {
    plan: &'a ChainPlan,
    batch: &'a Batch,
    stages: &'a mut Instances,
    failing: Failing,
    rejected: Vec<Rejected>,
    parked: Parked,
    followed: &'a mut Option<Following>,
}

/// The rows of a segment that are still alive, and their columns by slot.
struct Living {
    /// Row → row of the segment's input, ascending.
    rows: Vec<u32>,
    columns: Vec<Option<Column>>,
    unfit: Vec<Unfit>,
}

impl Living {
    /// Takes out rows, which ascend.
    fn remove(&mut self, gone: &[u32]) {
        if gone.is_empty() {
            return;
        }
        let mut gone = gone.iter().copied().peekable();
        let kept: Vec<u32> = (0..self.rows.len() as u32).filter(|row| gone.next_if_eq(row).is_none()).collect();
        for column in self.columns.iter_mut().flatten() {
            *column = column.select(&kept);
        }
        self.rows = kept.iter().map(|row| self.rows[*row as usize]).collect();
    }
}

impl Run<'_> {
    fn all(mut self) -> Result<Transformed, Error> {
        let mut emitted: Option<(Vec<Message>, Vec<u32>)> = None;
        for segment in &self.plan.segments {
            let input = match &emitted {
                None => Input::Batch(self.batch),
                Some((messages, origins)) => Input::Messages { batch: self.batch, messages, origins },
            };
            let mut living = self.project(segment, &input);
            for stage in &segment.stages {
                self.fields_stage(segment, stage, &input, &mut living)?;
            }
            match segment.then {
                None => return Ok(self.finish(segment, &input, living)),
                Some(stage) => emitted = Some(self.messages_stage(segment, stage, &input, living)?),
            }
        }
        Ok(Transformed::default())
    }

    fn reject(&mut self, input: &Input<'_>, input_row: u32, stage: Option<String>, reason: String) {
        self.rejected.push(Rejected { record: input.origin(input_row), stage, reason });
    }

    fn project(&mut self, segment: &Segment, input: &Input<'_>) -> Living {
        let count = input.rows() as u32;
        let projected = match segment.needs_value && (0..count).any(|row| input.value(row).is_none()) {
            false => segment.projection.project(input, 0..count),
            true => {
                let valued: Vec<u32> = (0..count).filter(|row| input.value(*row).is_some()).collect();
                for row in (0..count).filter(|row| input.value(*row).is_none()) {
                    self.null_value(segment, input, row);
                }
                segment.projection.project(input, valued.iter().copied())
            }
        };
        let Projected { columns, rows, rejected, unfit } = projected;
        for (row, reason) in rejected {
            self.reject(input, row, None, reason);
        }
        let mut slots: Vec<Option<Column>> = vec![None; segment.slots.len()];
        for (column, slot) in columns.into_iter().zip(&segment.projected) {
            slots[*slot] = Some(column);
        }
        Living { rows, columns: slots, unfit }
    }

    fn null_value(&mut self, segment: &Segment, input: &Input<'_>, row: u32) {
        match self.plan.null_value {
            NullValue::Drop => {}
            NullValue::Reject => self.reject(input, row, None, "the record has no value".to_owned()),
            NullValue::Delete if input.key(row).is_none() => {
                self.reject(input, row, None, "the record has neither value nor key".to_owned());
            }
            NullValue::Delete => self.parked.tombstone(self.plan, segment, input, row),
        }
    }

    /// Rejects rows that lack what the stage needs, or whose value does not fit its read.
    fn check_reads(&mut self, segment: &Segment, reads: &[super::plan::Read], input: &Input<'_>, living: &mut Living) {
        let mut gone: Vec<u32> = Vec::new();
        for read in reads {
            let Some(column) = &living.columns[read.slot] else { continue };
            if column.nulls.is_empty() || (!read.required && living.unfit.is_empty()) {
                continue;
            }
            let projected = segment.projected.iter().position(|slot| *slot == read.slot);
            for row in &column.nulls {
                let input_row = living.rows[*row as usize];
                let unfit = living.unfit.iter().find(|unfit| unfit.input == input_row && Some(unfit.column) == projected);
                let slot = &segment.slots[read.slot];
                let reason = match (unfit, &slot.writer) {
                    (Some(unfit), _) => unfit.reason.clone(),
                    (None, _) if !read.required => continue,
                    (None, Some(writer)) => format!("field `{}`: is required, and stage `{writer}` left it null", slot.name),
                    (None, None) => absent(&slot.name),
                };
                self.rejected.push(Rejected { record: input.origin(input_row), stage: None, reason });
                gone.push(*row);
            }
        }
        gone.sort_unstable();
        gone.dedup();
        living.remove(&gone);
    }

    fn fields_stage(
        &mut self,
        segment: &Segment,
        stage: &FieldsStage,
        input: &Input<'_>,
        living: &mut Living,
    ) -> Result<(), Error> {
        self.check_reads(segment, &stage.reads, input, living);
        let rows = living.rows.len();
        let name = &self.plan.stages[stage.stage];
        let before = self.followed.as_ref().map(|followed| followed.before_fields(segment, input, &living.rows, &living.columns));
        let mut outcome = match rows {
            0 => FieldsOutcome { columns: empty_writes(segment, stage), ..FieldsOutcome::default() },
            _ => {
                let reads: Vec<&Column> = stage.reads.iter().filter_map(|read| living.columns[read.slot].as_ref()).collect();
                let mut calls = FieldsCalls { stages: self.stages, stage: stage.stage, reads: &reads, rows };
                match self.failing {
                    Failing::Stops => kept(calls.call(0..rows), &mut calls).map_err(|error| blamed(name, error))?,
                    Failing::IsSearched { known } => {
                        let parts = search(&mut calls, rows, whole(known, stage.stage)).map_err(|error| blamed(name, error))?;
                        join_fields(parts, empty_writes(segment, stage)).map_err(|error| blamed(name, error))?
                    }
                }
            }
        };
        if let (Some(followed), Some(before)) = (self.followed.as_mut(), before) {
            let writes: Vec<&str> = stage.writes.iter().map(|slot| segment.slots[*slot].name.as_str()).collect();
            followed.after_fields(name, before, &outcome, &writes);
        }
        let figures = &mut self.stages.figures[stage.stage];
        figures.rows += rows as u64;
        figures.dropped += outcome.dropped.len() as u64;
        figures.rejected += outcome.rejected.len() as u64;
        for (slot, column) in stage.writes.iter().zip(outcome.columns) {
            living.columns[*slot] = Some(column);
        }
        if outcome.dropped.is_empty() && outcome.deleted.is_empty() && outcome.rejected.is_empty() {
            return Ok(());
        }
        let mut gone = outcome.dropped;
        for Rejection { row, reason } in outcome.rejected {
            self.rejected.push(Rejected { record: input.origin(living.rows[row as usize]), stage: Some(name.clone()), reason });
            gone.push(row);
        }
        // A row that a plugin both deletes and drops or rejects is not deleted.
        outcome.deleted.retain(|row| !gone.contains(row));
        self.parked.rows(self.plan, segment, input, &living.rows, &living.columns, &outcome.deleted);
        gone.append(&mut outcome.deleted);
        gone.sort_unstable();
        gone.dedup();
        living.remove(&gone);
        Ok(())
    }

    /// Whole records of the living rows; a row that cannot be written back is taken out.
    fn serialise(&mut self, segment: &Segment, input: &Input<'_>, living: &mut Living) -> Vec<Message> {
        let mut messages = Vec::with_capacity(living.rows.len());
        let mut gone = Vec::new();
        for (row, input_row) in living.rows.iter().enumerate() {
            match segment.write_back.message(input, *input_row, &living.columns, row) {
                Ok(message) => messages.push(message),
                Err((stage, reason)) => {
                    self.rejected.push(Rejected { record: input.origin(*input_row), stage, reason });
                    gone.push(row as u32);
                }
            }
        }
        living.remove(&gone);
        messages
    }

    fn messages_stage(
        &mut self,
        segment: &Segment,
        stage: usize,
        input: &Input<'_>,
        mut living: Living,
    ) -> Result<(Vec<Message>, Vec<u32>), Error> {
        let messages = self.serialise(segment, input, &mut living);
        let incoming: Vec<Incoming> = messages
            .into_iter()
            .zip(&living.rows)
            .map(|(message, input_row)| Incoming { message, place: input.place(*input_row) })
            .collect();
        let outcomes = self.call_messages(stage, &incoming)?;
        let mut emitted = Vec::with_capacity(incoming.len());
        let mut origins = Vec::with_capacity(incoming.len());
        // Input row → how many messages were emitted before it, for the order among deleted rows.
        let mut before = Vec::with_capacity(input.rows() + 1);
        let name = &self.plan.stages[stage];
        let figures = &mut self.stages.figures[stage];
        figures.rows += incoming.len() as u64;
        for ((incoming, outcome), input_row) in incoming.into_iter().zip(outcomes).zip(&living.rows) {
            before.resize(*input_row as usize + 1, emitted.len() as u32);
            if let Some(followed) = self.followed.as_mut() {
                followed.message(name, input.origin(*input_row), &incoming.message, &outcome);
            }
            match outcome {
                MessageOutcome::Unchanged => emitted.push(incoming.message),
                MessageOutcome::Emit(message) => emitted.push(message),
                MessageOutcome::EmitMany(messages) => emitted.extend(messages),
                MessageOutcome::Drop => figures.dropped += 1,
                MessageOutcome::Reject(reason) => {
                    figures.rejected += 1;
                    self.rejected.push(Rejected { record: input.origin(*input_row), stage: Some(name.clone()), reason });
                }
            }
            origins.resize(emitted.len(), input.origin(*input_row));
        }
        before.resize(input.rows() + 1, emitted.len() as u32);
        self.parked.moved(&before);
        Ok((emitted, origins))
    }

    fn call_messages(&mut self, stage: usize, incoming: &[Incoming]) -> Result<Vec<MessageOutcome>, Error> {
        if incoming.is_empty() {
            return Ok(Vec::new());
        }
        let name = &self.plan.stages[stage];
        let mut calls = MessagesCalls { stages: self.stages, stage, incoming };
        let known = match self.failing {
            Failing::Stops => {
                return kept(calls.call(0..incoming.len()), &mut calls).map_err(|error| blamed(name, error));
            }
            Failing::IsSearched { known } => known,
        };
        let parts = search(&mut calls, incoming.len(), whole(known, stage)).map_err(|error| blamed(name, error))?;
        let mut outcomes = Vec::with_capacity(incoming.len());
        for part in parts {
            match part {
                Part::Done(_, mut some) => outcomes.append(&mut some.outcome),
                Part::Blamed(_, error) => outcomes.push(MessageOutcome::Reject(error.to_string())),
            }
        }
        Ok(outcomes)
    }

    fn finish(mut self, segment: &Segment, input: &Input<'_>, mut living: Living) -> Transformed {
        let reads: Vec<super::plan::Read> = (self.plan.sinks.iter().zip(&segment.feeds))
            .filter_map(|(field, slot)| slot.map(|slot| super::plan::Read { slot, required: !field.optional }))
            .collect();
        self.check_reads(segment, &reads, input, &mut living);
        let mut messages = self.plan.messages.then(|| self.serialise(segment, input, &mut living));
        let several = matches!(input, Input::Messages { .. }) || !self.parked.is_empty();
        if several && !self.rejected.is_empty() {
            // A record that is rejected by one of its rows takes the others with it.
            let rejected: std::collections::HashSet<u32> = self.rejected.iter().map(|rejected| rejected.record).collect();
            let gone: Vec<u32> = (0..living.rows.len() as u32)
                .filter(|row| rejected.contains(&input.origin(living.rows[*row as usize])))
                .collect();
            if let Some(messages) = &mut messages {
                let mut at = 0;
                messages.retain(|_| {
                    at += 1;
                    gone.binary_search(&(at - 1)).is_err()
                });
            }
            living.remove(&gone);
            self.parked.retain(|record| !rejected.contains(&record));
        }
        let mut transformed = Transformed {
            outcomes: vec![RowOutcome::Dropped; self.batch.rows()],
            origins: living.rows.iter().map(|row| input.origin(*row)).collect(),
            deleted: Vec::new(),
            columns: Columns::default(),
            messages,
            stages: std::mem::take(&mut self.stages.figures),
        };
        self.stages.figures = vec![StageFigures::default(); self.plan.stages.len()];
        let columns: Vec<Column> = segment
            .feeds
            .iter()
            .map(|slot| slot.and_then(|slot| living.columns[slot].take()))
            .zip(&self.plan.sinks)
            .map(|(column, field)| column.unwrap_or_else(|| Column::nulls(field.kind, transformed.origins.len())))
            .collect();
        let columns = self.parked.merge(self.plan, &living.rows, columns, &mut transformed);
        for (field, column) in self.plan.sinks.iter().zip(columns) {
            transformed.columns.set(&field.name, column);
        }
        self.decide(&mut transformed);
        transformed
    }

    fn decide(self, transformed: &mut Transformed) {
        let mut deleted = transformed.deleted.iter().peekable();
        for (row, record) in transformed.origins.iter().enumerate() {
            let outcome = &mut transformed.outcomes[*record as usize];
            match deleted.next_if_eq(&&(row as u32)) {
                None => *outcome = RowOutcome::Emitted,
                Some(_) if *outcome == RowOutcome::Dropped => *outcome = RowOutcome::Deleted,
                Some(_) => {}
            }
        }
        for Rejected { record, stage, reason } in self.rejected {
            let outcome = &mut transformed.outcomes[record as usize];
            if !matches!(outcome, RowOutcome::Rejected { .. }) {
                *outcome = RowOutcome::Rejected { stage, reason };
            }
        }
    }
}

fn whole(known: Option<usize>, stage: usize) -> Whole {
    if known == Some(stage) { Whole::Failed } else { Whole::Untried }
}

fn blamed(stage: &str, error: CallError) -> Error {
    match error {
        CallError::Retry(reason) => Error::Retry { stage: stage.to_owned(), reason },
        error => Error::Blame { stage: stage.to_owned(), reason: error.to_string() },
    }
}

fn empty_writes(segment: &Segment, stage: &FieldsStage) -> Vec<Column> {
    stage.writes.iter().map(|slot| Column::empty(segment.slots[*slot].kind)).collect()
}

/// Puts the outcomes of several calls together, as if it had been one.
fn join_fields(parts: Vec<Part<Tried<FieldsOutcome>>>, columns: Vec<Column>) -> Result<FieldsOutcome, CallError> {
    let mut joined = FieldsOutcome { columns, ..FieldsOutcome::default() };
    for part in parts {
        match part {
            Part::Done(rows, Tried { outcome, .. }) => {
                let base = rows.start as u32;
                for (column, more) in joined.columns.iter_mut().zip(&outcome.columns) {
                    if !column.append(more) {
                        return Err(CallError::Malformed(format!("a column is of kind {}, not {}", more.kind(), column.kind())));
                    }
                }
                joined.dropped.extend(outcome.dropped.iter().map(|row| base + row));
                joined.deleted.extend(outcome.deleted.iter().map(|row| base + row));
                let rejected = outcome.rejected.into_iter();
                joined.rejected.extend(rejected.map(|Rejection { row, reason }| Rejection { row: base + row, reason }));
            }
            Part::Blamed(row, error) => {
                joined.columns.iter_mut().for_each(Column::push_null);
                joined.rejected.push(Rejection { row: row as u32, reason: error.to_string() });
            }
        }
    }
    Ok(joined)
}

/// The outcome of the only call, which counts.
fn kept<C: Calls<Outcome = Tried<T>>, T>(tried: Result<Tried<T>, CallError>, calls: &mut C) -> Result<T, CallError> {
    let mut tried = tried?;
    calls.keep(&mut tried);
    Ok(tried.outcome)
}

struct FieldsCalls<'a> {
    stages: &'a mut Instances,
    stage: usize,
    reads: &'a [&'a Column],
    rows: usize,
}

impl Calls for FieldsCalls<'_> {
    type Outcome = Tried<FieldsOutcome>;

    fn call(&mut self, rows: Range<usize>) -> Result<Tried<FieldsOutcome>, CallError> {
        let count = rows.len() as u32;
        if rows == (0..self.rows) {
            return self.stages.call(self.stage, |instance| instance.process_fields(count, self.reads));
        }
        let columns: Vec<Column> = self.reads.iter().map(|column| column.slice(rows.clone())).collect();
        let columns: Vec<&Column> = columns.iter().collect();
        self.stages.call(self.stage, |instance| instance.process_fields(count, &columns))
    }

    fn keep(&mut self, tried: &mut Tried<FieldsOutcome>) {
        self.stages.keep(self.stage, tried);
    }

    fn renew(&mut self) {
        self.stages.renew(self.stage);
    }
}

struct MessagesCalls<'a> {
    stages: &'a mut Instances,
    stage: usize,
    incoming: &'a [Incoming],
}

impl Calls for MessagesCalls<'_> {
    type Outcome = Tried<Vec<MessageOutcome>>;

    fn call(&mut self, rows: Range<usize>) -> Result<Tried<Vec<MessageOutcome>>, CallError> {
        let incoming = &self.incoming[rows];
        let tried = self.stages.call(self.stage, |instance| instance.process_messages(incoming))?;
        match tried.outcome.len() == incoming.len() {
            true => Ok(tried),
            false => Err(CallError::Malformed(format!("{} outcomes for {} messages", tried.outcome.len(), incoming.len()))),
        }
    }

    fn keep(&mut self, tried: &mut Tried<Vec<MessageOutcome>>) {
        self.stages.keep(self.stage, tried);
    }

    fn renew(&mut self) {
        self.stages.renew(self.stage);
    }
}
