//! Bound rows as JSON, as people read it: times as RFC 3339, dates as `YYYY-MM-DD`, bytes as base64.

use std::net::IpAddr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};

use super::{BoundColumn, BoundValues, Rows, bind};
use crate::config::plan::{CqlType, SinkColumn};

/// One row: column → value.
pub fn object(columns: &[SinkColumn], rows: &Rows, row: usize) -> Map<String, Value> {
    columns.iter().zip(&rows.columns).map(|(column, bound)| (column.column.clone(), value(bound, row))).collect()
}

pub fn value(column: &BoundColumn, row: usize) -> Value {
    if column.is_null(row) {
        return Value::Null;
    }
    match (&column.values, column.cql) {
        (BoundValues::Buffer(buffer), cql) => buffered(buffer.get(row), cql),
        (BoundValues::Uuids(values), _) => uuid::Uuid::from_bytes(values[row]).to_string().into(),
        (BoundValues::Integers(values), CqlType::Timestamp) => timestamp(values[row]),
        (BoundValues::Integers(values), CqlType::Date) => {
            date(values[row]).map_or_else(|| values[row].into(), |date| date.to_string().into())
        }
        (BoundValues::Integers(values), CqlType::Time) => time(values[row]).to_string().into(),
        (BoundValues::Integers(values), _) => values[row].into(),
        (BoundValues::Floats(values), _) => values[row].into(),
        (BoundValues::Booleans(values), _) => values[row].into(),
    }
}

fn buffered(bytes: &[u8], cql: CqlType) -> Value {
    match cql {
        CqlType::Blob => blob(bytes),
        CqlType::List | CqlType::Set => bind::elements(bytes).map(Value::from).collect(),
        CqlType::Map => {
            let mut elements = bind::elements(bytes);
            let mut map = Map::new();
            while let (Some(key), Some(value)) = (elements.next(), elements.next()) {
                map.insert(key.to_owned(), value.into());
            }
            Value::Object(map)
        }
        _ => text(bytes, cql).into(),
    }
}

/// A value of a type that people read as text: decimal and varint keep all their digits so.
pub fn text(bytes: &[u8], cql: CqlType) -> String {
    match cql {
        CqlType::Decimal => bind::decimal_text(bytes),
        CqlType::Varint => bind::varint_text(bytes),
        CqlType::Inet => inet(bytes).map_or_else(String::new, |address| address.to_string()),
        _ => String::from_utf8_lossy(bytes).into_owned(),
    }
}

fn inet(bytes: &[u8]) -> Option<IpAddr> {
    match bytes.len() {
        4 => Some(IpAddr::from(<[u8; 4]>::try_from(bytes).ok()?)),
        _ => Some(IpAddr::from(<[u8; 16]>::try_from(bytes).ok()?)),
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
pub fn date(days: i64) -> Option<jiff::civil::Date> {
    jiff::civil::date(1970, 1, 1).checked_add(jiff::Span::new().try_days(days).ok()?).ok()
}

/// Of nanoseconds since midnight.
pub fn time(nanos: i64) -> jiff::civil::Time {
    jiff::civil::Time::midnight().wrapping_add(jiff::SignedDuration::from_nanos(nanos))
}
