//! Rows in one form, whatever wrote or read them, so that two of them can be compared by their digest.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use crate::config::plan::{CqlType, SinkColumn};
use crate::sink::{self, BoundColumn, BoundValues, Rows};

/// One value. What several types share is told apart by the column's type.
#[derive(Clone, Debug, PartialEq)]
pub enum Cell {
    Null,
    /// Whole numbers; booleans as 0 and 1, timestamps as ms, dates as days since 1970-01-01.
    Integer(i64),
    Real(f64),
    /// Also times of the day, decimals, varints and addresses as they are written; lists, sets and maps as JSON.
    Text(Vec<u8>),
    /// Blobs; uuids as their 16 bytes.
    Blob(Vec<u8>),
}

/// Cells by column in lower case, without those of the key, without nulls.
pub type Row = BTreeMap<String, Cell>;

/// Cells of a table's key, in the order of the key.
#[derive(Clone, Debug, PartialEq)]
pub struct Key(pub Vec<Cell>);

/// Stands for a row's cells.
pub type RowDigest = [u8; 16];

impl Cell {
    /// One way only: equal cells give equal bytes.
    fn encode(&self, into: &mut Vec<u8>) {
        let mut bytes = |tag: u8, bytes: &[u8]| {
            into.push(tag);
            into.extend_from_slice(&(bytes.len() as u64).to_be_bytes());
            into.extend_from_slice(bytes);
        };
        match self {
            Cell::Null => bytes(0, &[]),
            Cell::Integer(value) => bytes(1, &value.to_be_bytes()),
            // The two zeros are one number, and SQLite knows one of them only.
            Cell::Real(value) => bytes(2, &if *value == 0.0 { 0.0f64 } else { *value }.to_be_bytes()),
            Cell::Text(text) => bytes(3, text),
            Cell::Blob(blob) => bytes(4, blob),
        }
    }

    fn decode(bytes: &[u8]) -> Option<(Cell, &[u8])> {
        let (tag, rest) = bytes.split_first()?;
        let (len, rest) = rest.split_first_chunk()?;
        let (bytes, rest) = rest.split_at_checked(usize::try_from(u64::from_be_bytes(*len)).ok()?)?;
        let cell = match tag {
            0 => Cell::Null,
            1 => Cell::Integer(i64::from_be_bytes(bytes.try_into().ok()?)),
            2 => Cell::Real(f64::from_be_bytes(bytes.try_into().ok()?)),
            3 => Cell::Text(bytes.to_vec()),
            4 => Cell::Blob(bytes.to_vec()),
            _ => return None,
        };
        Some((cell, rest))
    }

    /// As a person reads it.
    pub fn json(&self, cql: Option<CqlType>) -> Value {
        match (self, cql) {
            (Cell::Null, _) => Value::Null,
            (Cell::Integer(value), Some(CqlType::Boolean)) if matches!(value, 0 | 1) => json!(*value == 1),
            (Cell::Integer(ms), Some(CqlType::Timestamp)) => sink::json::timestamp(*ms),
            (Cell::Integer(days), Some(CqlType::Date)) => {
                sink::json::date(*days).map_or_else(|| json!(days), |date| date.to_string().into())
            }
            (Cell::Integer(value), _) => json!(value),
            (Cell::Real(value), _) => json!(value),
            (Cell::Text(text), Some(CqlType::List | CqlType::Set | CqlType::Map)) => {
                serde_json::from_slice(text).unwrap_or_default()
            }
            (Cell::Text(text), _) => String::from_utf8_lossy(text).into(),
            (Cell::Blob(bytes), _) => match <[u8; 16]>::try_from(bytes.as_slice()) {
                Ok(bytes) if matches!(cql, Some(CqlType::Uuid | CqlType::TimeUuid)) => {
                    uuid::Uuid::from_bytes(bytes).to_string().into()
                }
                _ => sink::json::blob(bytes),
            },
        }
    }
}

impl Key {
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.0.iter().for_each(|cell| cell.encode(&mut bytes));
        bytes
    }

    pub fn decode(mut bytes: &[u8]) -> Option<Key> {
        let mut cells = Vec::new();
        while !bytes.is_empty() {
            let (cell, rest) = Cell::decode(bytes)?;
            cells.push(cell);
            bytes = rest;
        }
        Some(Key(cells))
    }

    /// By column, as a person reads it.
    pub fn json(&self, columns: &[SinkColumn]) -> Map<String, Value> {
        let key = columns.iter().filter(|column| column.key.is_some());
        key.zip(&self.0).map(|(column, cell)| (column.column.clone(), cell.json(Some(column.cql)))).collect()
    }

    pub fn show(&self, columns: &[SinkColumn]) -> String {
        let mut text = String::new();
        for (name, value) in self.json(columns) {
            let _ = write!(text, "{}{name} = {value}", if text.is_empty() { "" } else { ", " });
        }
        text
    }
}

pub fn digest(row: &Row) -> RowDigest {
    let mut bytes = Vec::new();
    for (name, cell) in row {
        bytes.extend_from_slice(&(name.len() as u64).to_be_bytes());
        bytes.extend_from_slice(name.as_bytes());
        cell.encode(&mut bytes);
    }
    let mut short = RowDigest::default();
    short.copy_from_slice(&Sha256::digest(&bytes)[..16]);
    short
}

/// The key of a bound row.
pub fn key_of(columns: &[SinkColumn], rows: &Rows, row: usize) -> Key {
    let key = columns.iter().zip(&rows.columns).filter(|(column, _)| column.key.is_some());
    Key(key.map(|(_, bound)| cell(bound, row)).collect())
}

/// The other cells of a bound row.
pub fn row_of(columns: &[SinkColumn], rows: &Rows, row: usize) -> Row {
    let others = columns.iter().zip(&rows.columns).filter(|(column, _)| column.key.is_none());
    others
        .map(|(column, bound)| (column.column.to_ascii_lowercase(), cell(bound, row)))
        .filter(|(_, cell)| *cell != Cell::Null)
        .collect()
}

/// A list, set or map in one order. An empty one is none: Cassandra keeps no other.
pub(super) fn collection(value: Value, cql: CqlType) -> Cell {
    let ordered = match value {
        Value::Array(mut elements) => {
            if cql == CqlType::Set {
                elements.sort_by(|a, b| a.as_str().cmp(&b.as_str()));
                elements.dedup();
            }
            Value::Array(elements)
        }
        Value::Object(pairs) => pairs.into_iter().collect::<BTreeMap<_, _>>().into_iter().collect::<Map<_, _>>().into(),
        other => other,
    };
    let is_empty = ordered.as_array().is_some_and(Vec::is_empty) || ordered.as_object().is_some_and(Map::is_empty);
    if is_empty || ordered.is_null() { Cell::Null } else { Cell::Text(ordered.to_string().into_bytes()) }
}

fn cell(column: &BoundColumn, row: usize) -> Cell {
    if column.nulls.binary_search(&(row as u32)).is_ok() {
        return Cell::Null;
    }
    match (&column.values, column.cql) {
        (BoundValues::Buffer(buffer), CqlType::Text | CqlType::Ascii) => Cell::Text(buffer.get(row).to_vec()),
        (BoundValues::Buffer(buffer), CqlType::Blob) => Cell::Blob(buffer.get(row).to_vec()),
        (BoundValues::Buffer(buffer), cql @ (CqlType::Decimal | CqlType::Varint | CqlType::Inet)) => {
            Cell::Text(sink::json::text(buffer.get(row), cql).into_bytes())
        }
        (BoundValues::Buffer(_), cql) => collection(sink::json::value(column, row), cql),
        (BoundValues::Uuids(values), _) => Cell::Blob(values[row].to_vec()),
        (BoundValues::Integers(values), CqlType::Time) => Cell::Text(sink::json::time(values[row]).to_string().into_bytes()),
        (BoundValues::Integers(values), _) => Cell::Integer(values[row]),
        (BoundValues::Floats(values), _) => Cell::Real(values[row]),
        (BoundValues::Booleans(values), _) => Cell::Integer(values[row].into()),
    }
}
