//! Columns of fields become columns of a table: kinds to CQL types, with the values that do not fit rejected one by one.
//!
//! All sinks with columns bind here, so that a row which the embedded table takes is one that Cassandra takes.

mod collection;
mod convert;
mod number;

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use super::{BindRejection, BoundColumn, BoundValues, Emitted, Rows};
use crate::config::plan::{CqlType, KeyRole, SinkColumn};
use crate::record::{Buffer, Column};

pub(super) use collection::elements;
pub(super) use number::{decimal_text, varint_text};

/// The longest value of a key column that Cassandra takes, bytes.
const KEY_BYTES_MAX: usize = 65_535;

/// Binds every row, or says which records cannot be. Rows of one record with the same key are merged: the last one wins.
pub fn rows(columns: &[SinkColumn], emitted: &Emitted<'_>) -> Result<Rows, Vec<BindRejection>> {
    let mut refused = BTreeMap::new();
    let partition_keys = columns.iter().filter(|column| column.key == Some(KeyRole::Partition)).count();
    let bind = |column: &SinkColumn| {
        let mut refusals = Refusals { column, emitted, by_record: &mut refused };
        let bound = bind_column(column, emitted, &mut refusals);
        if let (Some(role), BoundValues::Buffer(buffer)) = (column.key, &bound.values) {
            let may_be_empty = role == KeyRole::Clustering || partition_keys > 1;
            check_key(buffer, may_be_empty, &bound, &mut refusals);
        }
        bound
    };
    let bound = columns.iter().map(bind).collect();
    if !refused.is_empty() {
        return Err(refused.into_iter().map(|(record, reason)| BindRejection { record, reason }).collect());
    }
    let rows = Rows {
        columns: bound,
        places: emitted.origins.iter().map(|record| emitted.batch.place(*record as usize)).collect(),
        write_times: emitted.write_times.to_vec(),
        deleted: emitted.deleted.to_vec(),
        ..Rows::default()
    };
    Ok(merge(columns, emitted.origins, rows))
}

/// As [`rows`], for a table whose rows end `ttl` after their record's time, or after now where that lies ahead. Rows that have ended
/// are left out; deletes never end.
pub fn ending_rows(
    columns: &[SinkColumn],
    ttl: Option<Duration>,
    now_ms: i64,
    emitted: &Emitted<'_>,
) -> Result<Rows, Vec<BindRejection>> {
    let mut rows = rows(columns, emitted)?;
    let Some(ttl) = ttl else { return Ok(rows) };
    let ttl_ms = ttl.as_millis() as i64;
    let record = |offset: i64| emitted.batch.offsets().binary_search(&offset).ok();
    let time = |offset: i64| record(offset).map_or(now_ms, |record| emitted.batch.timestamps()[record].min(now_ms));
    rows.ends = rows.places.iter().map(|place| time(place.offset).saturating_add(ttl_ms)).collect();
    let lives = |row: usize| rows.ends[row] > now_ms || rows.is_deleted(row);
    let kept: Vec<u32> = (0..rows.len() as u32).filter(|row| lives(*row as usize)).collect();
    if kept.len() == rows.len() {
        return Ok(rows);
    }
    let gone = (0..rows.len()).filter(|row| !lives(*row)).filter_map(|row| record(rows.places[row].offset));
    let mut expired: Vec<u32> = gone.map(|record| record as u32).collect();
    expired.dedup();
    Ok(Rows { expired, ..take(&rows, &kept) })
}

/// Reasons by record; the first one of a record stays.
struct Refusals<'a> {
    column: &'a SinkColumn,
    emitted: &'a Emitted<'a>,
    by_record: &'a mut BTreeMap<u32, String>,
}

impl Refusals<'_> {
    fn add(&mut self, row: usize, reason: &str) {
        // Of a row that is to be deleted only the key counts.
        if self.column.key.is_none() && self.emitted.deleted.binary_search(&(row as u32)).is_ok() {
            return;
        }
        let record = self.emitted.origins[row];
        self.by_record.entry(record).or_insert_with(|| format!("column `{}`: {reason}", self.column.column));
    }
}

fn bind_column(column: &SinkColumn, emitted: &Emitted<'_>, refusals: &mut Refusals<'_>) -> BoundColumn {
    let rows = emitted.origins.len();
    let absent;
    let field = match emitted.columns.get(&column.field) {
        Some(field) => field,
        None => {
            absent = nothing(column.cql, rows);
            &absent
        }
    };
    if column.key.is_some() {
        for row in &field.nulls {
            refusals.add(*row as usize, "it is part of the key and must not be null");
        }
    }
    convert::column(field, column.cql, refusals)
}

/// What Cassandra refuses in a key.
fn check_key(buffer: &Buffer, may_be_empty: bool, bound: &BoundColumn, refusals: &mut Refusals<'_>) {
    let mut start = 0;
    for (row, end) in buffer.ends.iter().enumerate() {
        let len = (*end - start) as usize;
        start = *end;
        if len == 0 && !may_be_empty && !bound.is_null(row) {
            refusals.add(row, "it is the whole partition key and must not be empty");
        } else if len > KEY_BYTES_MAX {
            refusals.add(row, &format!("{len} bytes are too many for a part of the key, which takes {KEY_BYTES_MAX}"));
        }
    }
}

/// A field that nobody wrote is null in every row.
fn nothing(cql: CqlType, rows: usize) -> Column {
    let mut column = Column::empty(cql.natural_kind());
    (0..rows).for_each(|_| column.push_null());
    column
}

/// Rows of one record that meet in one row of the table: the last one stays.
fn merge(columns: &[SinkColumn], origins: &[u32], rows: Rows) -> Rows {
    let has_key = columns.iter().any(|column| column.key.is_some());
    if !has_key || origins.windows(2).all(|pair| pair[0] < pair[1]) {
        return rows;
    }
    let mut seen = HashSet::new();
    let mut kept: Vec<u32> = Vec::with_capacity(rows.len());
    for row in (0..rows.len()).rev() {
        if seen.insert((origins[row], key_of(columns, &rows, row))) {
            kept.push(row as u32);
        }
    }
    kept.reverse();
    if kept.len() == rows.len() { rows } else { take(&rows, &kept) }
}

/// The key columns of a row as bytes, one way only.
pub(super) fn key_of(columns: &[SinkColumn], rows: &Rows, row: usize) -> Vec<u8> {
    let mut key = Vec::new();
    for (_, bound) in columns.iter().zip(&rows.columns).filter(|(column, _)| column.key.is_some()) {
        match &bound.values {
            BoundValues::Buffer(buffer) => {
                key.extend_from_slice(&(buffer.get(row).len() as u64).to_be_bytes());
                key.extend_from_slice(buffer.get(row));
            }
            BoundValues::Uuids(values) => key.extend_from_slice(&values[row]),
            BoundValues::Integers(values) => key.extend_from_slice(&values[row].to_be_bytes()),
            BoundValues::Floats(values) => key.extend_from_slice(&values[row].to_bits().to_be_bytes()),
            BoundValues::Booleans(values) => key.push(u8::from(values[row])),
        }
    }
    key
}

/// The named rows, ascending.
pub(super) fn take(rows: &Rows, kept: &[u32]) -> Rows {
    // Where each row that is kept goes.
    let moved = |listed: &[u32]| -> Vec<u32> {
        listed.iter().filter_map(|row| kept.binary_search(row).ok()).map(|at| at as u32).collect()
    };
    fn pick<T: Copy>(values: &[T], kept: &[u32]) -> Vec<T> {
        kept.iter().map(|row| values[*row as usize]).collect()
    }
    let columns = rows.columns.iter().map(|column| BoundColumn {
        cql: column.cql,
        nulls: moved(&column.nulls),
        values: match &column.values {
            BoundValues::Buffer(buffer) => BoundValues::Buffer(buffer.select(kept)),
            BoundValues::Uuids(values) => BoundValues::Uuids(pick(values, kept)),
            BoundValues::Integers(values) => BoundValues::Integers(pick(values, kept)),
            BoundValues::Floats(values) => BoundValues::Floats(pick(values, kept)),
            BoundValues::Booleans(values) => BoundValues::Booleans(pick(values, kept)),
        },
    });
    Rows {
        columns: columns.collect(),
        places: pick(&rows.places, kept),
        write_times: pick(&rows.write_times, kept),
        deleted: moved(&rows.deleted),
        ends: if rows.ends.is_empty() { Vec::new() } else { pick(&rows.ends, kept) },
        expired: rows.expired.clone(),
    }
}
