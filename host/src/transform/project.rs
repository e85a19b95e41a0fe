//! Projection: the fields that are read are taken out of a batch of payloads as columns, each payload being read once.

use super::input::Input;
use super::kinds;
use super::path::{Found, Paths};
use super::scan::Shape;
use crate::record::{Column, Kind, OwnField, Values, quote};

/// What a record lacks, or has and does not fit: when that counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// At once: the first stage needs it.
    Required,
    /// Absent is null; a value that does not fit counts at once.
    Optional,
    /// When a later stage reads it, if the row still lives then: absent and unfit are null until that stage.
    Later,
}

#[derive(Clone, Debug)]
enum Place {
    /// A node of the paths.
    Payload(u32),
    Own(OwnField),
}

#[derive(Clone, Debug)]
struct Wanted {
    name: String,
    kind: Kind,
    need: Need,
    place: Place,
}

/// What is taken from each record, in the order asked for.
#[derive(Clone, Debug, Default)]
pub struct Projection {
    paths: Paths,
    wanted: Vec<Wanted>,
    payload: bool,
}

/// Values that did not fit and whose stage is still to come.
#[derive(Clone, Debug, PartialEq)]
pub struct Unfit {
    /// Column of the projection.
    pub column: usize,
    /// Row of the input.
    pub input: u32,
    pub reason: String,
}

#[derive(Debug, Default)]
pub struct Projected {
    /// In the order of [`Projection::want`], one value per accepted row.
    pub columns: Vec<Column>,
    /// Row → row of the input, ascending.
    pub rows: Vec<u32>,
    /// Rows of the input that are rejected, and why.
    pub rejected: Vec<(u32, String)>,
    pub unfit: Vec<Unfit>,
}

/// The reason for a record that lacks what somebody needs.
pub fn absent(name: &str) -> String {
    format!("field `{name}`: is required, and the record has none")
}

impl Projection {
    /// Asks for a field; gives the number of its column. The name is a path or a known own field, and the kind fits it: the plan checks both.
    pub fn want(&mut self, name: &str, kind: Kind, need: Need) -> usize {
        let place = match OwnField::parse(name) {
            Some(own) => Place::Own(own),
            None => {
                self.payload = true;
                Place::Payload(self.paths.add(name))
            }
        };
        self.wanted.push(Wanted { name: name.to_owned(), kind, need, place });
        self.wanted.len() - 1
    }

    pub fn columns(&self) -> usize {
        self.wanted.len()
    }

    /// Reads the given rows of the input. A row that is rejected is in no column.
    pub fn project(&self, input: &Input<'_>, rows: impl ExactSizeIterator<Item = u32>) -> Projected {
        let count = rows.len();
        let mut projected = Projected {
            columns: self.wanted.iter().map(|wanted| with_capacity(wanted.kind, count)).collect(),
            rows: Vec::with_capacity(count),
            ..Projected::default()
        };
        let mut found = vec![Found::ABSENT; self.paths.nodes()];
        for row in rows {
            match self.record(input, row, &mut found, &mut projected) {
                Ok(()) => projected.rows.push(row),
                Err(reason) => projected.rejected.push((row, reason)),
            }
        }
        projected
    }

    #[inline]
    fn record(&self, input: &Input<'_>, row: u32, found: &mut [Found], projected: &mut Projected) -> Result<(), String> {
        let mut payload: &[u8] = &[];
        if self.payload {
            payload = input.value(row).ok_or("the record has no value")?;
            let text = simdutf8::compat::from_utf8(payload)
                .map_err(|error| format!("payload is not UTF-8 at byte {}", error.valid_up_to()))?;
            self.paths.read(text, found).map_err(|(at, what)| format!("payload is not JSON: {what} at byte {at}"))?;
        }
        for at in 0..self.wanted.len() {
            let wanted = &self.wanted[at];
            let pushed = match &wanted.place {
                Place::Payload(node) => self.push_payload(at, found[*node as usize], payload, row, projected),
                Place::Own(own) => push_own(&mut projected.columns[at], wanted, own, input, row),
            };
            if let Err(reason) = pushed {
                let kept = projected.rows.len();
                projected.columns[..at].iter_mut().for_each(|column| column.truncate(kept));
                projected.unfit.retain(|unfit| unfit.input != row);
                return Err(reason);
            }
        }
        Ok(())
    }

    #[inline]
    fn push_payload(&self, at: usize, found: Found, payload: &[u8], row: u32, projected: &mut Projected) -> Result<(), String> {
        let wanted = &self.wanted[at];
        let column = &mut projected.columns[at];
        if matches!(found.shape, Shape::Absent | Shape::Null) {
            if wanted.need == Need::Required {
                return Err(absent(&wanted.name));
            }
            column.push_null();
            return Ok(());
        }
        if let Err(problem) = kinds::push(column, found, payload) {
            let reason = format!("field `{}`: {problem}: {}", wanted.name, quote(found.raw(payload)));
            if wanted.need != Need::Later {
                return Err(reason);
            }
            column.push_null();
            projected.unfit.push(Unfit { column: at, input: row, reason });
        }
        Ok(())
    }
}

fn with_capacity(kind: Kind, rows: usize) -> Column {
    let mut column = Column::empty(kind);
    match &mut column.values {
        Values::Text(buffer) | Values::Bytes(buffer) | Values::Json(buffer) => buffer.ends.reserve(rows),
        Values::Booleans(values) => values.reserve(rows),
        Values::Ints(values) | Values::Timestamps(values) => values.reserve(rows),
        Values::Floats(values) => values.reserve(rows),
    }
    column
}

fn push_own(column: &mut Column, wanted: &Wanted, own: &OwnField, input: &Input<'_>, row: u32) -> Result<(), String> {
    let bytes = match own {
        OwnField::Key => input.key(row),
        OwnField::Header(name) => input.header(row, name),
        OwnField::Timestamp | OwnField::Partition | OwnField::Offset => {
            match (&mut column.values, own) {
                (Values::Timestamps(values), OwnField::Timestamp) => values.push(input.timestamp(row)),
                (Values::Ints(values), OwnField::Partition) => values.push(i64::from(input.place(row).partition)),
                (Values::Ints(values), _) => values.push(input.place(row).offset),
                _ => return Err(format!("field `{}`: is not of kind {}", wanted.name, wanted.kind)),
            }
            return Ok(());
        }
    };
    match (bytes, &mut column.values) {
        (None, _) if wanted.need == Need::Required => return Err(absent(&wanted.name)),
        (None, _) => column.push_null(),
        (Some(bytes), Values::Bytes(buffer)) => buffer.push(bytes),
        (Some(bytes), Values::Text(buffer)) => match std::str::from_utf8(bytes) {
            Ok(_) => buffer.push(bytes),
            Err(_) => return Err(format!("field `{}`: is not UTF-8: {}", wanted.name, quote(bytes))),
        },
        (Some(_), _) => return Err(format!("field `{}`: is not of kind {}", wanted.name, wanted.kind)),
    }
    Ok(())
}

/// One text field of a payload, for the record's key.
#[derive(Clone, Debug)]
pub struct KeyPath {
    name: String,
    paths: Paths,
    node: u32,
}

impl KeyPath {
    pub fn new(path: &str) -> KeyPath {
        let mut paths = Paths::default();
        let node = paths.add(path);
        KeyPath { name: path.to_owned(), paths, node }
    }

    /// The field as text, `None` when it is absent; an error says what is wrong with the payload or the value.
    pub fn read(&self, payload: &[u8]) -> Result<Option<Vec<u8>>, String> {
        let mut found = vec![Found::ABSENT; self.paths.nodes()];
        let text = simdutf8::compat::from_utf8(payload)
            .map_err(|error| format!("payload is not UTF-8 at byte {}", error.valid_up_to()))?;
        self.paths.read(text, &mut found).map_err(|(at, what)| format!("payload is not JSON: {what} at byte {at}"))?;
        let found = found[self.node as usize];
        if matches!(found.shape, Shape::Absent | Shape::Null) {
            return Ok(None);
        }
        let mut column = Column::empty(Kind::Text);
        kinds::push(&mut column, found, payload)
            .map_err(|problem| format!("field `{}`: {problem}: {}", self.name, quote(found.raw(payload))))?;
        match column.values {
            Values::Text(buffer) => Ok(Some(buffer.data)),
            _ => Ok(None),
        }
    }
}
