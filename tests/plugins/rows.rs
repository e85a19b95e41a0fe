//! Payloads to columns and back, for single calls of a plugin: a reader of its own, independent of the host's.

use serde_json::{Map, Value, json};
use tidemill::record::{Buffer, Column, Contract, Field, Kind, Values};

/// The fields that a plugin reads, of payloads that were written at `timestamp`.
pub fn columns(contract: &Contract, payloads: &[Value], timestamp: i64) -> Vec<Column> {
    contract.reads.iter().map(|field| column(field, payloads, timestamp)).collect()
}

fn column(field: &Field, payloads: &[Value], timestamp: i64) -> Column {
    let mut column = Column::empty(field.kind);
    for payload in payloads {
        let value = match field.name.as_str() {
            "@timestamp" => json!(timestamp),
            "@key" => Value::Null,
            path => path.split('.').try_fold(payload, |value, part| value.get(part)).cloned().unwrap_or(Value::Null),
        };
        push(&mut column, &value);
    }
    column
}

fn push(column: &mut Column, value: &Value) {
    match (&mut column.values, value) {
        (_, Value::Null) => column.push_null(),
        (Values::Text(buffer), Value::String(text)) => buffer.push(text.as_bytes()),
        (Values::Text(buffer), Value::Number(number)) => buffer.push(number.to_string().as_bytes()),
        (Values::Ints(values), Value::Number(number)) => values.push(number.as_i64().expect("an int")),
        (Values::Timestamps(values), Value::Number(number)) => values.push(number.as_i64().expect("ms")),
        (Values::Timestamps(values), Value::String(text)) => {
            values.push(text.parse::<jiff::Timestamp>().expect("RFC 3339").as_millisecond());
        }
        (values, value) => panic!("{value} is not {}", values.kind()),
    }
}

/// One row of what a plugin wrote, as JSON.
pub fn written(contract: &Contract, columns: &[Column], row: usize) -> Map<String, Value> {
    let fields = contract.writes.iter().zip(columns);
    fields.filter(|(_, column)| !column.is_null(row)).map(|(field, column)| (field.name.clone(), value(column, row))).collect()
}

fn value(column: &Column, row: usize) -> Value {
    let text = |buffer: &Buffer| String::from_utf8(buffer.get(row).to_vec()).expect("UTF-8");
    match &column.values {
        Values::Text(buffer) => json!(text(buffer)),
        Values::Bytes(buffer) => json!(buffer.get(row)),
        Values::Json(buffer) => serde_json::from_str(&text(buffer)).expect("JSON"),
        Values::Booleans(values) => json!(values[row]),
        Values::Ints(values) => json!(values[row]),
        Values::Floats(values) => json!(values[row]),
        Values::Timestamps(values) => {
            json!(jiff::Timestamp::from_millisecond(values[row]).expect("a time").strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string())
        }
    }
}

/// A column of text with one value per row.
pub fn text(rows: &[&str]) -> Column {
    let mut buffer = Buffer::default();
    rows.iter().for_each(|row| buffer.push(row.as_bytes()));
    Column { values: Values::Text(buffer), nulls: Vec::new() }
}

/// A column without any value.
pub fn nothing(kind: Kind, rows: usize) -> Column {
    let mut column = Column::empty(kind);
    (0..rows).for_each(|_| column.push_null());
    column
}
