//! Bound rows as JSON, as people read it: times as RFC 3339, dates as `YYYY-MM-DD`, bytes as base64.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};

use super::{BoundColumn, BoundValues, Rows};
use crate::config::plan::SinkColumn;

/// One row: column → value.
pub fn object(columns: &[SinkColumn], rows: &Rows, row: usize) -> Map<String, Value> {
    columns.iter().zip(&rows.columns).map(|(column, bound)| (column.column.clone(), value(bound, row))).collect()
}

pub fn value(column: &BoundColumn, row: usize) -> Value {
    if column.nulls.binary_search(&(row as u32)).is_ok() {
        return Value::Null;
    }
    match &column.values {
        BoundValues::Text(buffer) => String::from_utf8_lossy(buffer.get(row)).into(),
        BoundValues::Uuid(values) => uuid::Uuid::from_bytes(values[row]).to_string().into(),
        BoundValues::Int(values) => values[row].into(),
        BoundValues::BigInt(values) => values[row].into(),
        BoundValues::Float(values) => values[row].into(),
        BoundValues::Double(values) => values[row].into(),
        BoundValues::Boolean(values) => values[row].into(),
        BoundValues::Timestamp(values) => timestamp(values[row]),
        BoundValues::Date(values) => date(values[row]).map_or_else(|| values[row].into(), |date| date.to_string().into()),
        BoundValues::Blob(buffer) => blob(buffer.get(row)),
    }
}

/// RFC 3339; outside the years that it can write, the number of milliseconds.
pub fn timestamp(ms: i64) -> Value {
    jiff::Timestamp::from_millisecond(ms).map_or_else(|_| ms.into(), |at| at.to_string().into())
}

pub fn blob(bytes: &[u8]) -> Value {
    STANDARD.encode(bytes).into()
}

/// `None` outside the years -9999 to 9999.
pub fn date(days: i32) -> Option<jiff::civil::Date> {
    jiff::civil::date(1970, 1, 1).checked_add(jiff::Span::new().try_days(days).ok()?).ok()
}
