//! How a JSON value becomes a value of a kind. The table is `wit/v0.1/kinds.md`; its cases are in `tests/projection.rs`.

use base64::alphabet::STANDARD;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use base64::engine::{DecodePaddingMode, Engine};

use super::path::Found;
use super::scan::{Shape, unescape};
use super::time;
use crate::record::{Column, Kind, Values};

/// Padding may be left out; the bits of the last character that count for nothing must be zero.
pub const BASE64: GeneralPurpose =
    GeneralPurpose::new(&STANDARD, GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent));

/// Adds the value to the column; an error says what is wrong with it, and the column is as before.
///
/// The value is neither absent nor null: what these mean depends on who asks.
#[inline]
pub fn push(column: &mut Column, found: Found, text: &[u8]) -> Result<(), &'static str> {
    match (&mut column.values, found.shape) {
        (Values::Text(buffer), Shape::Plain | Shape::Integer | Shape::Decimal | Shape::True | Shape::False) => {
            buffer.push(found.inner(text))
        }
        (Values::Text(buffer), Shape::Escaped) => {
            unescape(found.inner(text), &mut buffer.data);
            buffer.end_row();
        }
        (Values::Text(_), _) => return Err("is no text"),
        (Values::Json(buffer), _) => buffer.push(found.raw(text)),
        (Values::Ints(values), Shape::Integer) => values.push(integer(found.inner(text)).ok_or("is beyond 64 bits")?),
        (Values::Ints(_), _) => return Err("is no integer"),
        (Values::Floats(values), Shape::Integer | Shape::Decimal) => {
            let digits = std::str::from_utf8(found.inner(text)).map_err(|_| "is no number")?;
            match digits.parse::<f64>() {
                Ok(value) if value.is_finite() => values.push(value),
                _ => return Err("is beyond what a float can hold"),
            }
        }
        (Values::Floats(_), _) => return Err("is no number"),
        (Values::Booleans(values), Shape::True) => values.push(true),
        (Values::Booleans(values), Shape::False) => values.push(false),
        (Values::Booleans(_), _) => return Err("is neither true nor false"),
        (Values::Timestamps(values), Shape::Plain) => values.push(time::parse(found.inner(text)).ok_or("is no RFC 3339 time")?),
        (Values::Timestamps(values), Shape::Integer) => {
            values.push(integer(found.inner(text)).ok_or("is beyond 64 bits of milliseconds")?)
        }
        (Values::Timestamps(values), Shape::Escaped) => {
            let mut plain = Vec::new();
            unescape(found.inner(text), &mut plain);
            values.push(time::parse(&plain).ok_or("is no RFC 3339 time")?)
        }
        (Values::Timestamps(_), _) => return Err("is neither an RFC 3339 time nor an integer of milliseconds"),
        (Values::Bytes(buffer), Shape::Plain | Shape::Escaped) => {
            let mut plain = Vec::new();
            let encoded = match found.shape {
                Shape::Plain => found.inner(text),
                _ => {
                    unescape(found.inner(text), &mut plain);
                    &plain
                }
            };
            let rows = buffer.rows();
            if BASE64.decode_vec(encoded, &mut buffer.data).is_err() {
                buffer.data.truncate(if rows == 0 { 0 } else { buffer.ends[rows - 1] as usize });
                return Err("is not base64");
            }
            buffer.end_row();
        }
        (Values::Bytes(_), _) => return Err("is not base64 text"),
    }
    Ok(())
}

fn integer(digits: &[u8]) -> Option<i64> {
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// Appends the value of a row as JSON; an error says what is wrong with it, and what was appended is to be cut off.
pub fn write_json(column: &Column, row: usize, into: &mut Vec<u8>) -> Result<(), &'static str> {
    if column.is_null(row) {
        into.extend_from_slice(b"null");
        return Ok(());
    }
    match &column.values {
        Values::Text(buffer) => {
            let text = std::str::from_utf8(buffer.get(row)).map_err(|_| "is not UTF-8")?;
            write_text(text, into);
        }
        Values::Json(buffer) => match super::scan::is_json(buffer.get(row)) {
            true => into.extend_from_slice(buffer.get(row)),
            false => return Err("is not JSON"),
        },
        Values::Bytes(buffer) => {
            into.push(b'"');
            into.extend_from_slice(BASE64.encode(buffer.get(row)).as_bytes());
            into.push(b'"');
        }
        Values::Booleans(values) => into.extend_from_slice(if values[row] { b"true" } else { b"false" }),
        Values::Ints(values) => into.extend_from_slice(itoa::Buffer::new().format(values[row]).as_bytes()),
        Values::Floats(values) => {
            if !values[row].is_finite() {
                return Err("is not finite");
            }
            serde_json::to_writer(into, &values[row]).map_err(|_| "is no JSON number")?;
        }
        Values::Timestamps(values) => {
            let start = into.len();
            into.push(b'"');
            if time::write(values[row], into) {
                into.push(b'"');
            } else {
                // RFC 3339 has four digits of year; milliseconds are read back as the same time.
                into.truncate(start);
                into.extend_from_slice(itoa::Buffer::new().format(values[row]).as_bytes());
            }
        }
    }
    Ok(())
}

/// Appends text as a JSON string.
pub fn write_text(text: &str, into: &mut Vec<u8>) {
    serde_json::to_writer(into, text).expect("a text can be written to a buffer");
}

/// The kinds a payload value can be read as without ever being refused for its kind.
pub fn of_own_field(kind: Kind, own: Kind) -> bool {
    // A key or header that is text may be asked for as such: table keys often are.
    kind == own || (own == Kind::Bytes && kind == Kind::Text)
}
