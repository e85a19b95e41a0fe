//! Columns of fields become columns of a table: kinds to CQL types, with the values that do not fit rejected one by one.
//!
//! All sinks with columns bind here, so that a row which the embedded table takes is one that Cassandra takes.

use std::collections::{BTreeMap, HashSet};

use super::{BindRejection, BoundColumn, BoundValues, Emitted, Rows};
use crate::config::plan::{CqlType, SinkColumn};
use crate::record::{Buffer, Column, Values};

/// What a reason shows of a value.
const SHOWN_MAX: usize = 60;
const DAY_MS: i64 = 86_400_000;
/// Years -9999 to 9999, in days since 1970.
const DAYS: std::ops::RangeInclusive<i64> = -4_371_587..=2_932_896;

/// Binds every row, or says which records cannot be. Rows of one record with the same key are merged: the last one wins.
pub fn rows(columns: &[SinkColumn], emitted: &Emitted<'_>) -> Result<Rows, Vec<BindRejection>> {
    let mut refused = BTreeMap::new();
    let bound = columns.iter().map(|column| bind_column(column, emitted, &mut refused)).collect();
    if !refused.is_empty() {
        return Err(refused.into_iter().map(|(record, reason)| BindRejection { record, reason }).collect());
    }
    let rows = Rows {
        columns: bound,
        places: emitted.origins.iter().map(|record| emitted.batch.place(*record as usize)).collect(),
        write_times: emitted.write_times.to_vec(),
        deleted: emitted.deleted.to_vec(),
    };
    Ok(merge(columns, emitted.origins, rows))
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

    fn misfit(&mut self, row: usize, value: &str) {
        let wanted = match self.column.cql {
            CqlType::Text => "text in UTF-8",
            CqlType::Uuid => "a uuid",
            CqlType::Int => "an int (-2147483648 to 2147483647)",
            CqlType::BigInt => "a bigint",
            CqlType::Float => "a finite float",
            CqlType::Double => "a finite double",
            CqlType::Boolean => "a boolean",
            CqlType::Timestamp => "a timestamp",
            CqlType::Date => "a date (YYYY-MM-DD or RFC 3339, years -9999 to 9999)",
            CqlType::Blob => "a blob",
        };
        self.add(row, &format!("{value} is not {wanted}"));
    }
}

fn bind_column(column: &SinkColumn, emitted: &Emitted<'_>, by_record: &mut BTreeMap<u32, String>) -> BoundColumn {
    let mut refusals = Refusals { column, emitted, by_record };
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
    BoundColumn { values: convert(field, column.cql, &mut refusals), nulls: field.nulls.clone() }
}

/// A field that nobody wrote is null in every row.
fn nothing(cql: CqlType, rows: usize) -> Column {
    let mut column = Column::empty(cql.natural_kind());
    (0..rows).for_each(|_| column.push_null());
    column
}

fn convert(field: &Column, cql: CqlType, refusals: &mut Refusals<'_>) -> BoundValues {
    match (&field.values, cql) {
        (Values::Text(buffer), CqlType::Text) => BoundValues::Text(utf8(buffer, field, refusals)),
        (Values::Json(buffer), CqlType::Text) => BoundValues::Text(utf8(buffer, field, refusals)),
        (Values::Text(buffer) | Values::Bytes(buffer), CqlType::Uuid) => {
            BoundValues::Uuid(each(buffer.iter(), field, refusals, uuid, show_bytes))
        }
        (Values::Ints(values), CqlType::Int) => {
            BoundValues::Int(each(values.iter(), field, refusals, |value| i32::try_from(*value).ok(), |value| value.to_string()))
        }
        (Values::Ints(values), CqlType::BigInt) => BoundValues::BigInt(values.clone()),
        (Values::Ints(values), CqlType::Float) => BoundValues::Float(values.iter().map(|value| *value as f32).collect()),
        (Values::Ints(values), CqlType::Double) => BoundValues::Double(values.iter().map(|value| *value as f64).collect()),
        (Values::Floats(values), CqlType::Float) => {
            let narrow = |value: &f64| Some(*value as f32).filter(|narrow| narrow.is_finite());
            BoundValues::Float(each(values.iter(), field, refusals, narrow, |value| value.to_string()))
        }
        (Values::Floats(values), CqlType::Double) => {
            let finite = |value: &f64| Some(*value).filter(|value| value.is_finite());
            BoundValues::Double(each(values.iter(), field, refusals, finite, |value| value.to_string()))
        }
        (Values::Booleans(values), CqlType::Boolean) => BoundValues::Boolean(values.clone()),
        (Values::Timestamps(values), CqlType::Timestamp) => BoundValues::Timestamp(values.clone()),
        (Values::Timestamps(values), CqlType::Date) => {
            let show = |value: &i64| format!("{value} ms since 1970");
            BoundValues::Date(each(values.iter(), field, refusals, |value| day(value.div_euclid(DAY_MS)), show))
        }
        (Values::Text(buffer), CqlType::Date) => BoundValues::Date(each(buffer.iter(), field, refusals, date, show_bytes)),
        (Values::Bytes(buffer) | Values::Text(buffer) | Values::Json(buffer), CqlType::Blob) => BoundValues::Blob(buffer.clone()),
        (values, _) => {
            // `check` and the chain's types keep this from happening; if it does, the records must not be lost.
            let reason = format!("a field of kind {} cannot become {}", values.kind(), cql.name());
            (0..field.rows()).for_each(|row| refusals.add(row, &reason));
            BoundValues::Boolean(vec![false; field.rows()])
        }
    }
}

/// Converts row by row; null rows keep any value.
fn each<V: Copy, T: Default>(
    values: impl Iterator<Item = V>,
    field: &Column,
    refusals: &mut Refusals<'_>,
    convert: impl Fn(V) -> Option<T>,
    show: impl Fn(V) -> String,
) -> Vec<T> {
    let one = |(row, value)| match convert(value) {
        Some(converted) => converted,
        None => {
            if !field.is_null(row) {
                refusals.misfit(row, &show(value));
            }
            T::default()
        }
    };
    values.enumerate().map(one).collect()
}

/// Guests are trusted with nothing: what they call text may not be UTF-8.
fn utf8(buffer: &Buffer, field: &Column, refusals: &mut Refusals<'_>) -> Buffer {
    let whole = std::str::from_utf8(&buffer.data);
    let sound = whole.is_ok_and(|text| buffer.ends.iter().all(|end| text.is_char_boundary(*end as usize)));
    if !sound {
        for (row, bytes) in buffer.iter().enumerate() {
            if std::str::from_utf8(bytes).is_err() && !field.is_null(row) {
                refusals.misfit(row, &show_bytes(bytes));
            }
        }
    }
    buffer.clone()
}

/// In any of its usual spellings, or as its 16 bytes.
fn uuid(bytes: &[u8]) -> Option<[u8; 16]> {
    match <[u8; 16]>::try_from(bytes) {
        Ok(raw) => Some(raw),
        Err(_) => uuid::Uuid::try_parse_ascii(bytes).ok().map(uuid::Uuid::into_bytes),
    }
}

/// Days since 1970 of `YYYY-MM-DD`, or of the day in UTC of an RFC 3339 time.
fn date(bytes: &[u8]) -> Option<i32> {
    let text = std::str::from_utf8(bytes).ok()?;
    let days = |ms: i64| day(ms.div_euclid(DAY_MS));
    if text.len() > 10 {
        return days(text.parse::<jiff::Timestamp>().ok()?.as_millisecond());
    }
    let date: jiff::civil::Date = text.parse().ok()?;
    days(date.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp().as_millisecond())
}

fn day(days: i64) -> Option<i32> {
    DAYS.contains(&days).then_some(days as i32)
}

fn show_bytes(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(SHOWN_MAX)]).into_owned();
    format!("`{text}{}`", if bytes.len() > SHOWN_MAX { "…" } else { "" })
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
            BoundValues::Text(buffer) | BoundValues::Blob(buffer) => {
                key.extend_from_slice(&(buffer.get(row).len() as u64).to_be_bytes());
                key.extend_from_slice(buffer.get(row));
            }
            BoundValues::Uuid(values) => key.extend_from_slice(&values[row]),
            BoundValues::Int(values) | BoundValues::Date(values) => key.extend_from_slice(&values[row].to_be_bytes()),
            BoundValues::BigInt(values) | BoundValues::Timestamp(values) => key.extend_from_slice(&values[row].to_be_bytes()),
            BoundValues::Float(values) => key.extend_from_slice(&values[row].to_be_bytes()),
            BoundValues::Double(values) => key.extend_from_slice(&values[row].to_be_bytes()),
            BoundValues::Boolean(values) => key.push(u8::from(values[row])),
        }
    }
    key
}

fn take(rows: &Rows, kept: &[u32]) -> Rows {
    // Where each row that is kept goes; `kept` ascends.
    let moved = |listed: &[u32]| -> Vec<u32> {
        listed.iter().filter_map(|row| kept.binary_search(row).ok()).map(|at| at as u32).collect()
    };
    fn pick<T: Copy>(values: &[T], kept: &[u32]) -> Vec<T> {
        kept.iter().map(|row| values[*row as usize]).collect()
    }
    let pick_buffer = |buffer: &Buffer| {
        let mut picked = Buffer::with_capacity(kept.len(), buffer.data.len());
        kept.iter().for_each(|row| picked.push(buffer.get(*row as usize)));
        picked
    };
    let columns = rows.columns.iter().map(|column| BoundColumn {
        nulls: moved(&column.nulls),
        values: match &column.values {
            BoundValues::Text(buffer) => BoundValues::Text(pick_buffer(buffer)),
            BoundValues::Blob(buffer) => BoundValues::Blob(pick_buffer(buffer)),
            BoundValues::Uuid(values) => BoundValues::Uuid(pick(values, kept)),
            BoundValues::Int(values) => BoundValues::Int(pick(values, kept)),
            BoundValues::Date(values) => BoundValues::Date(pick(values, kept)),
            BoundValues::BigInt(values) => BoundValues::BigInt(pick(values, kept)),
            BoundValues::Timestamp(values) => BoundValues::Timestamp(pick(values, kept)),
            BoundValues::Float(values) => BoundValues::Float(pick(values, kept)),
            BoundValues::Double(values) => BoundValues::Double(pick(values, kept)),
            BoundValues::Boolean(values) => BoundValues::Boolean(pick(values, kept)),
        },
    });
    Rows {
        columns: columns.collect(),
        places: pick(&rows.places, kept),
        write_times: pick(&rows.write_times, kept),
        deleted: moved(&rows.deleted),
    }
}
