//! The chain as planned: which column each stage and sink reads, found before the first record.
//!
//! Stages of the `fields` world that follow each other are a segment: one projection, then columns from stage to stage. A stage
//! of the `messages` world ends a segment, and what it emits starts the next.

use super::StageContract;
use super::kinds;
use super::project::{Need, Projection};
use super::write_back::WriteBack;
use crate::config::plan::NullValue;
use crate::record::{Contract, Field, Kind, OwnField};

/// Why stages and sinks do not fit together. `check` finds the same with a place in the file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct PlanError(pub String);

#[derive(Debug)]
pub struct ChainPlan {
    pub(super) stages: Vec<String>,
    pub(super) segments: Vec<Segment>,
    /// What the sinks read, by name.
    pub(super) sinks: Vec<Field>,
    /// Whether whole records are wanted at the end.
    pub(super) messages: bool,
    pub(super) null_value: NullValue,
}

/// A segment, and what ends it.
#[derive(Debug)]
pub(super) struct Segment {
    pub projection: Projection,
    /// Column of the projection → slot.
    pub projected: Vec<usize>,
    pub slots: Vec<Slot>,
    pub stages: Vec<FieldsStage>,
    /// Sink field → slot; in a segment that is not the last, what a deleted row can give of it.
    pub feeds: Vec<Option<usize>>,
    pub write_back: WriteBack,
    /// Whether a record without a value can pass.
    pub needs_value: bool,
    /// The `messages` stage that follows; `None` in the last segment.
    pub then: Option<usize>,
}

#[derive(Clone, Debug)]
pub(super) struct Slot {
    pub name: String,
    pub kind: Kind,
    /// The stage of the segment that wrote it; `None`: projected.
    pub writer: Option<String>,
}

#[derive(Debug)]
pub(super) struct FieldsStage {
    pub stage: usize,
    pub reads: Vec<Read>,
    /// Slots, in the order of `contract.writes`.
    pub writes: Vec<usize>,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Read {
    pub slot: usize,
    pub required: bool,
}

impl ChainPlan {
    /// `stages` in order; `sinks` are the fields that sinks with columns read; `messages`: a byte sink wants whole records.
    pub fn new(stages: &[StageContract], sinks: &[Field], messages: bool, null_value: NullValue) -> Result<ChainPlan, PlanError> {
        let sinks = by_name(sinks)?;
        let mut segments = Vec::new();
        let mut building = Building::default();
        for (at, stage) in stages.iter().enumerate() {
            match &stage.contract {
                Some(contract) => building.stage(at, &stage.stage, contract)?,
                None => segments.push(std::mem::take(&mut building).end_before_messages(at, &sinks)),
            }
        }
        segments.push(building.end(&sinks)?);
        Ok(ChainPlan { stages: stages.iter().map(|stage| stage.stage.clone()).collect(), segments, sinks, messages, null_value })
    }

    /// Names of the stages, in order.
    pub fn stages(&self) -> &[String] {
        &self.stages
    }

    /// What the sinks read.
    pub fn sinks(&self) -> &[Field] {
        &self.sinks
    }
}

fn by_name(fields: &[Field]) -> Result<Vec<Field>, PlanError> {
    let mut unique: Vec<Field> = Vec::new();
    for field in fields {
        match unique.iter_mut().find(|known| known.name == field.name) {
            Some(known) if known.kind != field.kind => {
                return Err(PlanError(format!("sinks read `{}` both as {} and as {}", field.name, known.kind, field.kind)));
            }
            Some(known) => known.optional &= field.optional,
            None => unique.push(field.clone()),
        }
    }
    Ok(unique)
}

/// A payload or own field that is asked for, and who asks first.
#[derive(Debug)]
struct Request {
    slot: usize,
    /// Place among the segment's readers, 0 being its first stage.
    reader: usize,
    required: bool,
}

#[derive(Debug, Default)]
struct Building {
    slots: Vec<Slot>,
    requests: Vec<Request>,
    stages: Vec<FieldsStage>,
    /// Slots that are written and not shadowed, in the order of writing.
    written: Vec<usize>,
}

/// Whether `path` lies below `above`.
fn below(path: &str, above: &str) -> bool {
    path.strip_prefix(above).is_some_and(|rest| rest.starts_with('.'))
}

fn check_name(who: &str, name: &str, kind: Kind) -> Result<(), PlanError> {
    match OwnField::parse(name) {
        Some(own) if !kinds::of_own_field(kind, own.kind()) => {
            Err(PlanError(format!("{who} reads `{name}` as {kind}, but it is of kind {}", own.kind())))
        }
        Some(_) => Ok(()),
        None if name.starts_with('@') => Err(PlanError(format!("{who} names `{name}`, which no record has"))),
        None if name.split('.').any(str::is_empty) => Err(PlanError(format!("{who} names `{name}`, which is no path"))),
        None => Ok(()),
    }
}

impl Building {
    fn stage(&mut self, at: usize, name: &str, contract: &Contract) -> Result<(), PlanError> {
        let who = format!("stage `{name}`");
        let mut reads = Vec::with_capacity(contract.reads.len());
        for field in &contract.reads {
            reads.push(Read { slot: self.read(&who, field)?, required: !field.optional });
        }
        let mut writes = Vec::with_capacity(contract.writes.len());
        for field in &contract.writes {
            check_write(&who, field, &contract.writes)?;
            // Also within the stage itself: what it writes is not seen by its own reads.
            if let Some(above) = self.written.iter().find(|slot| below(&field.name, &self.slots[**slot].name)) {
                let above = &self.slots[*above].name;
                return Err(PlanError(format!("{who} writes `{}` inside `{above}`, which an earlier stage writes", field.name)));
            }
            self.slots.push(Slot { name: field.name.clone(), kind: field.kind, writer: Some(name.to_owned()) });
            writes.push(self.slots.len() - 1);
        }
        for slot in &writes {
            let name = &self.slots[*slot].name;
            self.written.retain(|known| self.slots[*known].name != *name && !below(&self.slots[*known].name, name));
        }
        self.written.extend(&writes);
        self.stages.push(FieldsStage { stage: at, reads, writes });
        Ok(())
    }

    /// The slot of a field as the next reader sees it.
    fn read(&mut self, who: &str, field: &Field) -> Result<usize, PlanError> {
        check_name(who, &field.name, field.kind)?;
        for slot in &self.written {
            let written = &self.slots[*slot];
            let by = written.writer.as_deref().unwrap_or_default();
            if written.name == field.name {
                if written.kind != field.kind {
                    return Err(PlanError(format!(
                        "{who} reads `{}` as {}, but stage `{by}` writes it as {}",
                        field.name, field.kind, written.kind
                    )));
                }
                return Ok(*slot);
            }
            if below(&field.name, &written.name) {
                return Err(PlanError(format!(
                    "{who} reads `{}` inside `{}`, which stage `{by}` writes",
                    field.name, written.name
                )));
            }
            if below(&written.name, &field.name) {
                return Err(PlanError(format!("{who} reads `{}`, in which stage `{by}` writes `{}`", field.name, written.name)));
            }
        }
        let reader = self.stages.len();
        let known = self.requests.iter_mut().find(|request| {
            let slot = &self.slots[request.slot];
            slot.name == field.name && slot.kind == field.kind
        });
        if let Some(request) = known {
            request.required |= request.reader == reader && !field.optional;
            return Ok(request.slot);
        }
        self.slots.push(Slot { name: field.name.clone(), kind: field.kind, writer: None });
        let slot = self.slots.len() - 1;
        self.requests.push(Request { slot, reader, required: !field.optional });
        Ok(slot)
    }

    fn end(mut self, sinks: &[Field]) -> Result<Segment, PlanError> {
        let mut feeds = Vec::with_capacity(sinks.len());
        for field in sinks {
            feeds.push(Some(self.read("a sink", field)?));
        }
        let needs_value = !self.stages.is_empty() || !sinks.is_empty();
        Ok(self.finish(feeds, needs_value, None))
    }

    fn end_before_messages(mut self, messages: usize, sinks: &[Field]) -> Segment {
        let feeds = sinks
            .iter()
            .map(|field| {
                let written = self.written.iter().copied().find(|slot| {
                    let slot = &self.slots[*slot];
                    slot.name == field.name && slot.kind == field.kind
                });
                let own_key = field.name == "@key" && !self.stages.is_empty();
                written
                    .or_else(|| own_key.then(|| self.read("a sink", &Field { optional: true, ..field.clone() }).ok()).flatten())
            })
            .collect();
        let needs_value = !self.stages.is_empty();
        self.finish(feeds, needs_value, Some(messages))
    }

    fn finish(self, feeds: Vec<Option<usize>>, needs_value: bool, then: Option<usize>) -> Segment {
        let mut projection = Projection::default();
        for Request { slot, reader, required } in &self.requests {
            let need = match (reader, required) {
                (0, true) => Need::Required,
                (0, false) => Need::Optional,
                _ => Need::Later,
            };
            projection.want(&self.slots[*slot].name, self.slots[*slot].kind, need);
        }
        let mut write_back = WriteBack::default();
        for slot in &self.written {
            let written = &self.slots[*slot];
            write_back.add(&written.name, *slot, written.writer.as_deref().unwrap_or_default());
        }
        Segment {
            projected: self.requests.iter().map(|request| request.slot).collect(),
            projection,
            slots: self.slots,
            stages: self.stages,
            feeds,
            write_back,
            needs_value,
            then,
        }
    }
}

fn check_write(who: &str, field: &Field, writes: &[Field]) -> Result<(), PlanError> {
    match OwnField::parse(&field.name) {
        Some(own) if !own.may_be_written() => {
            return Err(PlanError(format!("{who} writes `{}`, which cannot be written", field.name)));
        }
        Some(own) if own.kind() != field.kind => {
            return Err(PlanError(format!("{who} writes `{}` as {}, but it is of kind {}", field.name, field.kind, own.kind())));
        }
        Some(_) => {}
        None => check_name(who, &field.name, field.kind)?,
    }
    if writes.iter().filter(|other| other.name == field.name).count() > 1 {
        return Err(PlanError(format!("{who} writes `{}` twice", field.name)));
    }
    if let Some(above) = writes.iter().find(|other| below(&field.name, &other.name)) {
        return Err(PlanError(format!("{who} writes `{}` inside `{}`, which it writes too", field.name, above.name)));
    }
    Ok(())
}
