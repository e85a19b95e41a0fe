//! One column of a kind to one of a CQL type, value by value.

use std::net::IpAddr;

use super::{Refusals, collection, number};
use crate::config::plan::CqlType;
use crate::record::{Buffer, Column, Values, quote};
use crate::sink::{BoundColumn, BoundValues};

const DAY_MS: i64 = 86_400_000;
const DAY_NANOS: i64 = 86_400_000_000_000;
/// Years -9999 to 9999, in days since 1970.
const DAYS: std::ops::RangeInclusive<i64> = -4_371_587..=2_932_896;

/// What a column of this type takes, for a sentence.
fn wanted(cql: CqlType) -> &'static str {
    match cql {
        CqlType::Text => "text in UTF-8",
        CqlType::Ascii => "text in ASCII",
        CqlType::Uuid => "a uuid",
        CqlType::TimeUuid => "a timeuuid (a uuid of version 1)",
        CqlType::Int => "an int (-2147483648 to 2147483647)",
        CqlType::BigInt => "a bigint",
        CqlType::SmallInt => "a smallint (-32768 to 32767)",
        CqlType::TinyInt => "a tinyint (-128 to 127)",
        CqlType::Varint => "a varint (an integer of up to 10000 digits)",
        CqlType::Float => "a finite float",
        CqlType::Double => "a finite double",
        CqlType::Decimal => "a decimal (up to 10000 digits)",
        CqlType::Boolean => "a boolean",
        CqlType::Timestamp => "a timestamp",
        CqlType::Date => "a date (YYYY-MM-DD or RFC 3339, years -9999 to 9999)",
        CqlType::Time => "a time of the day (HH:MM:SS.fffffffff, or nanoseconds since midnight)",
        CqlType::Blob => "a blob",
        CqlType::Inet => "an address (IPv4 or IPv6)",
        CqlType::List | CqlType::Set => "a list of text, numbers, true or false",
        CqlType::Map => "an object of text, numbers, true or false",
    }
}

pub(super) fn column(field: &Column, cql: CqlType, refusals: &mut Refusals<'_>) -> BoundColumn {
    let mut nulls = field.nulls.clone();
    let mut values = Converter { field, cql, refusals };
    let values = match (&field.values, cql) {
        (Values::Text(buffer) | Values::Json(buffer), CqlType::Text) => values.utf8(buffer),
        (Values::Text(buffer) | Values::Json(buffer), CqlType::Ascii) => values.ascii(buffer),
        (Values::Bytes(buffer) | Values::Text(buffer) | Values::Json(buffer), CqlType::Blob) => {
            BoundValues::Buffer(buffer.clone())
        }
        (Values::Text(buffer) | Values::Bytes(buffer), CqlType::Uuid) => {
            BoundValues::Uuids(values.each(buffer.iter(), uuid, show_bytes))
        }
        (Values::Text(buffer) | Values::Bytes(buffer), CqlType::TimeUuid) => {
            // The version is the upper half of the seventh byte.
            let timeuuid = |bytes: &[u8]| uuid(bytes).filter(|uuid| uuid[6] >> 4 == 1);
            BoundValues::Uuids(values.each(buffer.iter(), timeuuid, show_bytes))
        }
        (Values::Ints(ints), CqlType::BigInt) => BoundValues::Integers(ints.clone()),
        (Values::Ints(ints), CqlType::Int) => values.ranged(ints, i64::from(i32::MIN)..=i64::from(i32::MAX)),
        (Values::Ints(ints), CqlType::SmallInt) => values.ranged(ints, i64::from(i16::MIN)..=i64::from(i16::MAX)),
        (Values::Ints(ints), CqlType::TinyInt) => values.ranged(ints, i64::from(i8::MIN)..=i64::from(i8::MAX)),
        (Values::Ints(ints), CqlType::Time) => values.ranged(ints, 0..=DAY_NANOS - 1),
        (Values::Ints(ints), CqlType::Float) => BoundValues::Floats(ints.iter().map(|int| f64::from(*int as f32)).collect()),
        (Values::Ints(ints), CqlType::Double) => BoundValues::Floats(ints.iter().map(|int| *int as f64).collect()),
        (Values::Floats(floats), CqlType::Float) => {
            let narrow = |float: &f64| Some(f64::from(*float as f32)).filter(|narrow| narrow.is_finite());
            BoundValues::Floats(values.each(floats.iter(), narrow, f64::to_string))
        }
        (Values::Floats(floats), CqlType::Double) => {
            let finite = |float: &f64| Some(*float).filter(|float| float.is_finite());
            BoundValues::Floats(values.each(floats.iter(), finite, f64::to_string))
        }
        (Values::Booleans(booleans), CqlType::Boolean) => BoundValues::Booleans(booleans.clone()),
        (Values::Timestamps(times), CqlType::Timestamp) => BoundValues::Integers(times.clone()),
        (Values::Timestamps(times), CqlType::Date) => {
            BoundValues::Integers(values.each(times.iter(), |ms| day(ms.div_euclid(DAY_MS)), show_ms))
        }
        (Values::Timestamps(times), CqlType::Time) => {
            BoundValues::Integers(times.iter().map(|ms| ms.rem_euclid(DAY_MS) * 1_000_000).collect())
        }
        (Values::Text(buffer), CqlType::Date) => BoundValues::Integers(values.each(buffer.iter(), date, show_bytes)),
        (Values::Text(buffer), CqlType::Time) => BoundValues::Integers(values.each(buffer.iter(), time, show_bytes)),
        (Values::Text(buffer), CqlType::Varint) => values.written(buffer.iter(), number::varint, show_bytes),
        (Values::Ints(ints), CqlType::Varint) => {
            values.written(ints.iter(), |int, out| number::varint(int.to_string().as_bytes(), out), i64::to_string)
        }
        (Values::Text(buffer), CqlType::Decimal) => values.written(buffer.iter(), number::decimal, show_bytes),
        (Values::Ints(ints), CqlType::Decimal) => {
            values.written(ints.iter(), |int, out| number::decimal(int.to_string().as_bytes(), out), i64::to_string)
        }
        // The shortest digits that are this float; those of infinities are no number.
        (Values::Floats(floats), CqlType::Decimal) => {
            values.written(floats.iter(), |float, out| number::decimal(float.to_string().as_bytes(), out), f64::to_string)
        }
        (Values::Text(buffer), CqlType::Inet) => values.written(buffer.iter(), inet, show_bytes),
        (Values::Bytes(buffer), CqlType::Inet) => values.written(buffer.iter(), inet_bytes, show_bytes),
        (Values::Json(buffer), CqlType::List) => values.collection(buffer, collection::list, &mut nulls),
        (Values::Json(buffer), CqlType::Set) => values.collection(buffer, collection::set, &mut nulls),
        (Values::Json(buffer), CqlType::Map) => values.collection(buffer, collection::map, &mut nulls),
        (other, _) => {
            // `check` and the chain's types keep this from happening; if it does, the records must not be lost.
            let reason = format!("a field of kind {} cannot become {}", other.kind(), cql.name());
            (0..field.rows()).for_each(|row| values.refusals.add(row, &reason));
            BoundValues::Booleans(vec![false; field.rows()])
        }
    };
    BoundColumn { cql, values, nulls }
}

struct Converter<'a, 'r> {
    field: &'a Column,
    cql: CqlType,
    refusals: &'a mut Refusals<'r>,
}

impl Converter<'_, '_> {
    fn misfit(&mut self, row: usize, value: &str) {
        if !self.field.is_null(row) {
            self.refusals.add(row, &format!("{value} is not {}", wanted(self.cql)));
        }
    }

    /// Row by row; null rows keep any value.
    fn each<V: Copy, T: Default>(
        &mut self,
        values: impl Iterator<Item = V>,
        convert: impl Fn(V) -> Option<T>,
        show: impl Fn(V) -> String,
    ) -> Vec<T> {
        let one = |(row, value)| {
            convert(value).unwrap_or_else(|| {
                self.misfit(row, &show(value));
                T::default()
            })
        };
        values.enumerate().map(one).collect()
    }

    fn ranged(&mut self, ints: &[i64], range: std::ops::RangeInclusive<i64>) -> BoundValues {
        BoundValues::Integers(self.each(ints.iter(), |int| Some(*int).filter(|int| range.contains(int)), i64::to_string))
    }

    /// Row by row as CQL's native protocol writes it; `None`: it does not fit.
    fn written<V: Copy>(
        &mut self,
        values: impl Iterator<Item = V>,
        write: impl Fn(V, &mut Vec<u8>) -> Option<()>,
        show: impl Fn(V) -> String,
    ) -> BoundValues {
        let mut out = Buffer::default();
        for (row, value) in values.enumerate() {
            let start = out.data.len();
            if write(value, &mut out.data).is_none() {
                out.data.truncate(start);
                self.misfit(row, &show(value));
            }
            out.end_row();
        }
        BoundValues::Buffer(out)
    }

    /// Cassandra keeps no empty collection: it reads back as null, so it is null everywhere.
    fn collection(
        &mut self,
        buffer: &Buffer,
        write: impl Fn(&[u8], &mut Vec<u8>) -> Option<()>,
        nulls: &mut Vec<u32>,
    ) -> BoundValues {
        let values = self.written(buffer.iter(), write, show_bytes);
        if let BoundValues::Buffer(out) = &values {
            let before = nulls.len();
            nulls.extend((0u32..).zip(out.iter()).filter(|(_, bytes)| collection::is_empty(bytes)).map(|(row, _)| row));
            if nulls.len() > before {
                nulls.sort_unstable();
                nulls.dedup();
            }
        }
        values
    }

    /// Guests are trusted with nothing: what they call text may not be UTF-8.
    fn utf8(&mut self, buffer: &Buffer) -> BoundValues {
        let whole = std::str::from_utf8(&buffer.data);
        let sound = whole.is_ok_and(|text| buffer.ends.iter().all(|end| text.is_char_boundary(*end as usize)));
        if !sound {
            self.each(buffer.iter(), |bytes| std::str::from_utf8(bytes).ok().map(drop), show_bytes);
        }
        BoundValues::Buffer(buffer.clone())
    }

    fn ascii(&mut self, buffer: &Buffer) -> BoundValues {
        if !buffer.data.is_ascii() {
            self.each(buffer.iter(), |bytes| bytes.is_ascii().then_some(()), show_bytes);
        }
        BoundValues::Buffer(buffer.clone())
    }
}

/// In any of its usual spellings, or as its 16 bytes.
fn uuid(bytes: &[u8]) -> Option<[u8; 16]> {
    match <[u8; 16]>::try_from(bytes) {
        Ok(raw) => Some(raw),
        Err(_) => uuid::Uuid::try_parse_ascii(bytes).ok().map(uuid::Uuid::into_bytes),
    }
}

fn inet(text: &[u8], out: &mut Vec<u8>) -> Option<()> {
    match std::str::from_utf8(text).ok()?.parse().ok()? {
        IpAddr::V4(address) => out.extend_from_slice(&address.octets()),
        IpAddr::V6(address) => out.extend_from_slice(&address.octets()),
    }
    Some(())
}

fn inet_bytes(bytes: &[u8], out: &mut Vec<u8>) -> Option<()> {
    out.extend_from_slice(bytes);
    matches!(bytes.len(), 4 | 16).then_some(())
}

/// Days since 1970 of `YYYY-MM-DD`, or of the day in UTC of an RFC 3339 time.
fn date(bytes: &[u8]) -> Option<i64> {
    let text = std::str::from_utf8(bytes).ok()?;
    if text.len() > 10 {
        return day(text.parse::<jiff::Timestamp>().ok()?.as_millisecond().div_euclid(DAY_MS));
    }
    let date: jiff::civil::Date = text.parse().ok()?;
    Some(i64::from((date - jiff::civil::date(1970, 1, 1)).get_days()))
}

fn day(days: i64) -> Option<i64> {
    DAYS.contains(&days).then_some(days)
}

/// Nanoseconds since midnight of `HH:MM:SS.fffffffff`.
fn time(bytes: &[u8]) -> Option<i64> {
    let time: jiff::civil::Time = std::str::from_utf8(bytes).ok()?.parse().ok()?;
    let seconds = (i64::from(time.hour()) * 60 + i64::from(time.minute())) * 60 + i64::from(time.second());
    Some(seconds * 1_000_000_000 + i64::from(time.subsec_nanosecond()))
}

fn show_ms(ms: &i64) -> String {
    format!("{ms} ms since 1970")
}

fn show_bytes(bytes: &[u8]) -> String {
    format!("`{}`", quote(bytes))
}
