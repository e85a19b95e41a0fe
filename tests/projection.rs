//! The projection against `serde_json`: over arbitrary documents and broken ones, and the table of `wit/v0.1/kinds.md`.

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::value::RawValue;
use tidemill::record::{Batch, Column, Header, Kind, RecordRef, Values};
use tidemill::transform::{Input, Need, Projected, Projection};

const KINDS: [Kind; 7] = [Kind::Text, Kind::Bytes, Kind::Boolean, Kind::Int, Kind::Float, Kind::Timestamp, Kind::Json];

fn project(payload: &[u8], fields: &[(&str, Kind, Need)]) -> Projected {
    let mut projection = Projection::default();
    for (name, kind, need) in fields {
        projection.want(name, *kind, *need);
    }
    let mut batch = Batch::new(3);
    batch.push(RecordRef { offset: 41, timestamp: 1_700_000_000_000, key: Some(b"k"), value: Some(payload), headers: &[] });
    projection.project(&Input::Batch(&batch), 0..1)
}

/// A value of a column of one row, for comparing.
#[derive(Clone, Debug, PartialEq)]
enum One {
    Null,
    Bytes(Vec<u8>),
    Boolean(bool),
    Int(i64),
    Float(u64),
}

fn one(column: &Column) -> One {
    assert_eq!(column.rows(), 1);
    if column.is_null(0) {
        return One::Null;
    }
    match &column.values {
        Values::Text(buffer) | Values::Bytes(buffer) | Values::Json(buffer) => One::Bytes(buffer.get(0).to_vec()),
        Values::Booleans(values) => One::Boolean(values[0]),
        Values::Ints(values) | Values::Timestamps(values) => One::Int(values[0]),
        Values::Floats(values) => One::Float(values[0].to_bits()),
    }
}

/// `Ok` is the value, `Err` the reason of the rejection.
fn read(payload: &str, field: &str, kind: Kind) -> Result<One, String> {
    let projected = project(payload.as_bytes(), &[(field, kind, Need::Optional)]);
    match projected.rejected.first() {
        Some((_, reason)) => Err(reason.clone()),
        None => Ok(one(&projected.columns[0])),
    }
}

fn text(value: &str) -> One {
    One::Bytes(value.as_bytes().to_vec())
}

// The same by serde_json alone.

fn at(document: &RawValue, path: &str) -> Option<Box<RawValue>> {
    let mut here = document.to_owned();
    for step in path.split('.') {
        let members: BTreeMap<String, Box<RawValue>> = serde_json::from_str(here.get()).ok()?;
        here = members.get(step)?.clone();
    }
    Some(here)
}

fn expected(raw: Option<Box<RawValue>>, kind: Kind) -> Result<One, ()> {
    let Some(raw) = raw else { return Ok(One::Null) };
    let raw = raw.get();
    let integer = !raw.contains(['.', 'e', 'E']);
    match (kind, raw.as_bytes()[0]) {
        (_, b'n') => Ok(One::Null),
        (Kind::Json, _) => Ok(text(raw)),
        (Kind::Text, b'"') => Ok(text(&serde_json::from_str::<String>(raw).unwrap())),
        (Kind::Text, b'0'..=b'9' | b'-' | b't' | b'f') => Ok(text(raw)),
        (Kind::Int | Kind::Timestamp, b'0'..=b'9' | b'-') if integer => raw.parse().map(One::Int).map_err(|_| ()),
        (Kind::Float, b'0'..=b'9' | b'-') => match raw.parse::<f64>() {
            Ok(value) if value.is_finite() => Ok(One::Float(value.to_bits())),
            _ => Err(()),
        },
        (Kind::Boolean, b't' | b'f') => Ok(One::Boolean(raw == "true")),
        (Kind::Timestamp, b'"') => {
            let text: String = serde_json::from_str(raw).unwrap();
            text.parse::<jiff::Timestamp>().map(|time| One::Int(time.as_millisecond())).map_err(|_| ())
        }
        (Kind::Bytes, b'"') => {
            use base64::Engine;
            let text: String = serde_json::from_str(raw).unwrap();
            let engine = match text.ends_with('=') || text.len().is_multiple_of(4) {
                true => base64::engine::general_purpose::STANDARD,
                false => base64::engine::general_purpose::STANDARD_NO_PAD,
            };
            engine.decode(text).map(One::Bytes).map_err(|_| ())
        }
        _ => Err(()),
    }
}

// Documents as text, with all the freedom that JSON gives.

fn space() -> impl Strategy<Value = &'static str> {
    prop_oneof![8 => Just(""), 1 => Just(" "), 1 => Just("\n\t "), 1 => Just("\r\n          \t")]
}

fn string() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        6 => "[a-zA-Z0-9 ,:{}\\[\\]/.@-]{0,12}",
        1 => Just("\\\"".to_owned()),
        1 => Just("\\\\".to_owned()),
        1 => Just("\\n\\t\\b\\f\\r\\/".to_owned()),
        1 => Just("\\u0000\\u001f".to_owned()),
        1 => Just("\\ud83d\\uDE00".to_owned()),
        1 => Just("\\u00e9\\uFFFF".to_owned()),
        1 => "\\PC{0,6}".prop_map(|text| text.replace(['"', '\\'], "")),
        1 => Just("\u{7f}é漢😀".to_owned()),
    ];
    proptest::collection::vec(piece, 0..4).prop_map(|pieces| format!("\"{}\"", pieces.concat()))
}

fn scalar() -> impl Strategy<Value = String> {
    let times_and_bytes = prop_oneof![
        Just("\"2023-02-28T23:59:59Z\""),
        Just("\"1969-12-31T23:59:59.9999-01:30\""),
        Just("\"0000-01-01T00:00:00.1Z\""),
        Just("\"2023-02-29T00:00:00Z\""),
        Just("\"2024-02-29t00:00:00z\""),
        Just("\"aGVsbG8=\""),
        Just("\"aGVsbG8\""),
        Just("\"aGVsbG9=\""),
    ];
    prop_oneof![
        4 => string(),
        2 => any::<i64>().prop_map(|value| value.to_string()),
        1 => (any::<i32>(), 0u32..400).prop_map(|(mantissa, exponent)| format!("{mantissa}e-{exponent}")),
        1 => proptest::num::f64::NORMAL.prop_map(|value| format!("{value:?}")),
        1 => "-?(0|[1-9][0-9]{0,40})(\\.[0-9]{1,25})?([eE][+-]?[0-9]{1,2})?",
        1 => prop_oneof![Just("true"), Just("false"), Just("null"), Just("-0"), Just("0.0")].prop_map(str::to_owned),
        1 => times_and_bytes.prop_map(str::to_owned),
    ]
}

fn key() -> impl Strategy<Value = &'static str> {
    prop_oneof![
        4 => Just("\"a\""),
        4 => Just("\"b\""),
        2 => Just("\"c\""),
        1 => Just("\"\\u0061\""),
        1 => Just("\"long enough to be skipped\""),
        1 => Just("\"\""),
        1 => Just("\"a.b\""),
    ]
}

fn document() -> impl Strategy<Value = String> {
    let value = scalar().prop_recursive(6, 60, 6, |inner| {
        prop_oneof![
            1 => proptest::collection::vec((space(), inner.clone(), space()), 0..5).prop_map(|items| {
                let items: Vec<String> = items.into_iter().map(|(before, item, behind)| format!("{before}{item}{behind}")).collect();
                format!("[{}]", items.join(","))
            }),
            4 => proptest::collection::vec((space(), key(), space(), inner, space()), 0..6).prop_map(|members| {
                let members: Vec<String> =
                    members.into_iter().map(|(a, key, b, value, c)| format!("{a}{key}{b}:{a}{value}{c}")).collect();
                format!("{{{}}}", members.join(","))
            }),
        ]
    });
    (space(), value, space()).prop_map(|(before, value, behind)| format!("{before}{value}{behind}"))
}

const PATHS: [&str; 7] = ["a", "b", "c", "a.b", "a.b.c", "b.a", "b.b.b.a"];

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn takes_the_values_that_serde_json_finds(document in document()) {
        let raw: Box<RawValue> = serde_json::from_str(document.trim_matches([' ', '\t', '\n', '\r'])).unwrap();
        for kind in KINDS {
            for path in PATHS {
                let found = read(&document, path, kind).map_err(|_| ());
                prop_assert_eq!(&found, &expected(at(&raw, path), kind), "{} as {}", path, kind);
            }
        }
        // All at once, each path with every kind: one read must not disturb another.
        let fields: Vec<(&str, Kind, Need)> = PATHS.iter().flat_map(|path| KINDS.map(|kind| (*path, kind, Need::Later))).collect();
        let projected = project(document.as_bytes(), &fields);
        prop_assert!(projected.rejected.is_empty());
        for (column, (path, kind, _)) in fields.iter().enumerate() {
            let unfit = projected.unfit.iter().any(|unfit| unfit.column == column);
            let found = if unfit { Err(()) } else { Ok(one(&projected.columns[column])) };
            prop_assert_eq!(found, expected(at(&raw, path), *kind), "{} as {}", path, kind);
        }
    }

    #[test]
    fn accepts_and_rejects_as_serde_json_does(
        document in document(),
        changes in proptest::collection::vec((any::<prop::sample::Index>(), 0u8..4, any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let mut bytes = document.into_bytes();
        for (place, how, which, any) in changes {
            let likely = b"\"\\{}[],:.eE+-0123456789ntfu \n\x00\x1f\x7f\x80\xc3\xed\xff";
            let byte = if how == 3 { any } else { likely[which.index(likely.len())] };
            let place = place.index(bytes.len().max(1));
            match how {
                0 if !bytes.is_empty() => { bytes.remove(place); }
                1 if !bytes.is_empty() => bytes[place] = byte,
                _ => bytes.insert(place, byte),
            }
        }
        let ours = project(&bytes, &[("a.b", Kind::Json, Need::Optional)]).rejected.is_empty();
        match serde_json::from_slice::<serde_json::Value>(&bytes) {
            Ok(_) => prop_assert!(ours, "{:?}", String::from_utf8_lossy(&bytes)),
            // The size of a number counts only where it is read.
            Err(error) if error.to_string().contains("number out of range") => {}
            Err(error) => prop_assert!(!ours, "{} {:?}", error, String::from_utf8_lossy(&bytes)),
        }
    }

    #[test]
    fn reads_times_as_jiff_does(milliseconds in -62_167_000_000_000i64..253_402_000_000_000, minutes in -1439i32..1440) {
        let offset = jiff::tz::Offset::from_seconds(minutes * 60).unwrap();
        let time = jiff::Timestamp::from_millisecond(milliseconds).unwrap();
        let document = format!("{{\"t\":\"{}\"}}", time.display_with_offset(offset));
        prop_assume!(!document.contains("\"-0"));
        prop_assert_eq!(read(&document, "t", Kind::Timestamp), Ok(One::Int(milliseconds)));
    }
}

#[test]
fn reads_json_as_the_table_of_kinds_says() {
    // Value, kind, what it becomes; `Err` is a piece of the reason.
    let cases: &[(&str, Kind, Result<One, &str>)] = &[
        (r#""two\nlines""#, Kind::Text, Ok(text("two\nlines"))),
        ("2100", Kind::Text, Ok(text("2100"))),
        ("1.50e3", Kind::Text, Ok(text("1.50e3"))),
        ("1e999", Kind::Text, Ok(text("1e999"))),
        ("true", Kind::Text, Ok(text("true"))),
        ("[1]", Kind::Text, Err("field `f`: is no text: [1]")),
        (r#""\u0000""#, Kind::Text, Ok(text("\0"))),
        ("-0", Kind::Int, Ok(One::Int(0))),
        ("9223372036854775807", Kind::Int, Ok(One::Int(i64::MAX))),
        ("9223372036854775808", Kind::Int, Err("field `f`: is beyond 64 bits: 9223372036854775808")),
        ("1.0", Kind::Int, Err("field `f`: is no integer: 1.0")),
        ("1e3", Kind::Int, Err("is no integer")),
        (r#""7""#, Kind::Int, Err("field `f`: is no integer: \"7\"")),
        ("1", Kind::Float, Ok(One::Float(1f64.to_bits()))),
        ("-2.5e-1", Kind::Float, Ok(One::Float((-0.25f64).to_bits()))),
        ("1e999", Kind::Float, Err("field `f`: is beyond what a float can hold: 1e999")),
        (r#""1""#, Kind::Float, Err("is no number")),
        (r#""1970-01-01T00:00:01.5Z""#, Kind::Timestamp, Ok(One::Int(1_500))),
        (r#""1970-01-01T01:00:00+01:00""#, Kind::Timestamp, Ok(One::Int(0))),
        ("-1", Kind::Timestamp, Ok(One::Int(-1))),
        ("1.5", Kind::Timestamp, Err("is neither an RFC 3339 time nor an integer")),
        (r#""yesterday""#, Kind::Timestamp, Err("field `f`: is no RFC 3339 time: \"yesterday\"")),
        (r#""1970-01-01""#, Kind::Timestamp, Err("is no RFC 3339 time")),
        ("false", Kind::Boolean, Ok(One::Boolean(false))),
        ("0", Kind::Boolean, Err("is neither true nor false")),
        (r#""aGk=""#, Kind::Bytes, Ok(text("hi"))),
        (r#""aGk""#, Kind::Bytes, Ok(text("hi"))),
        (r#""a-_k""#, Kind::Bytes, Err("is not base64")),
        (r#"{ "x" : [1, 2] }"#, Kind::Json, Ok(text(r#"{ "x" : [1, 2] }"#))),
        (r#""t""#, Kind::Json, Ok(text(r#""t""#))),
    ];
    for (value, kind, becomes) in cases {
        let found = read(&format!("{{\"f\":{value}}}"), "f", *kind);
        match (found, becomes) {
            (Ok(found), Ok(becomes)) => assert_eq!(found, *becomes, "{value} as {kind}"),
            (Err(reason), Err(piece)) => assert!(reason.contains(piece), "{value} as {kind}: {reason}"),
            (found, becomes) => panic!("{value} as {kind}: {found:?}, not {becomes:?}"),
        }
    }
    for kind in KINDS {
        assert_eq!(read(r#"{"f":null}"#, "f", kind), Ok(One::Null));
        assert_eq!(read("{}", "f", kind), Ok(One::Null));
        let reason = project(br#"{"f":null}"#, &[("f", kind, Need::Required)]).rejected[0].1.clone();
        assert_eq!(reason, "field `f`: is required, and the record has none");
    }
}

/// Each poison record is rejected or carried by a rule, and those before and behind it are unharmed.
#[test]
fn poison_harms_no_other_record() {
    let deep = |levels: usize| format!("{{\"id\":\"deep\",\"x\":{}{}}}", "[".repeat(levels), "]".repeat(levels)).into_bytes();
    let large = format!("{{\"id\":\"{}\"}}", "x".repeat(1 << 20)).into_bytes();
    let poison: Vec<(Vec<u8>, Result<&str, &str>)> = vec![
        (b"{\"id\":\"\xff\"}".to_vec(), Err("payload is not UTF-8 at byte 7")),
        (b"{".to_vec(), Err("payload is not JSON: expected a key in quotes at byte 1")),
        (b"".to_vec(), Err("payload is not JSON: expected a value at byte 0")),
        (b"<html>".to_vec(), Err("payload is not JSON")),
        (b"[]".to_vec(), Err("field `id`: is required")),
        (deep(63), Ok("deep")),
        (deep(126), Ok("deep")),
        (deep(127), Err("nested too deep")),
        (vec![b'['; 1 << 20], Err("nested too deep")),
        (b"{\"id\":\"a\0b\"}".to_vec(), Err("control character in a string at byte 8")),
        (br#"{"id":"a\u0000b"}"#.to_vec(), Ok("a\0b")),
        (br#"{"id":"first","id":"last"}"#.to_vec(), Ok("last")),
        (br#"{"id":"1e999","x":1e999}"#.to_vec(), Ok("1e999")),
        (br#"{"id":"x","y":"\ud800"}"#.to_vec(), Err("lone surrogate")),
        (br#"{"id":"x","y":"\udc00\ud800"}"#.to_vec(), Err("lone surrogate")),
        (br#"{"id":"x"} {"#.to_vec(), Err("trailing characters at byte 11")),
        (b"\xef\xbb\xbf{\"id\":\"x\"}".to_vec(), Err("payload is not JSON")),
        (large, Ok("xxxxxxxx")),
    ];
    let mut batch = Batch::new(0);
    let mut push = |value: &[u8]| {
        let offset = batch.rows() as i64;
        batch.push(RecordRef { offset, timestamp: 0, key: None, value: Some(value), headers: &[] });
    };
    push(br#"{"id":"good"}"#);
    for (payload, _) in &poison {
        push(payload);
        push(br#"{"id":"good"}"#);
    }
    let mut projection = Projection::default();
    projection.want("id", Kind::Text, Need::Required);
    let projected = projection.project(&Input::Batch(&batch), 0..batch.rows() as u32);
    let Values::Text(ids) = &projected.columns[0].values else { panic!("text was asked for") };
    let taken: BTreeMap<u32, &str> =
        projected.rows.iter().zip(ids.iter()).map(|(row, id)| (*row, std::str::from_utf8(id).unwrap())).collect();
    let rejected: BTreeMap<u32, &str> = projected.rejected.iter().map(|(row, reason)| (*row, reason.as_str())).collect();
    assert_eq!(taken.len() + rejected.len(), batch.rows());
    for row in (0..batch.rows() as u32).step_by(2) {
        assert_eq!(taken.get(&row), Some(&"good"));
    }
    for (at, (payload, becomes)) in poison.iter().enumerate() {
        let row = 2 * at as u32 + 1;
        let payload = String::from_utf8_lossy(&payload[..payload.len().min(60)]).into_owned();
        match becomes {
            Ok(id) => assert!(taken.get(&row).is_some_and(|taken| taken.starts_with(id)), "{payload}: {:?}", rejected.get(&row)),
            Err(piece) => {
                assert!(rejected.get(&row).is_some_and(|why| why.contains(piece)), "{payload}: {:?}", rejected.get(&row))
            }
        }
    }
}

#[test]
fn a_value_in_a_reason_is_short_and_has_no_control_characters() {
    let reason = read(&format!("{{\"f\":\"{}\"}}", "é".repeat(5_000)), "f", Kind::Int).unwrap_err();
    assert!(reason.chars().count() < 100, "{reason}");
    assert!(reason.ends_with('…'));
    let reason = read("{\"f\":[\n1,\u{7f}\"\u{9b}\"]}".replace('\u{7f}', "").as_str(), "f", Kind::Text).unwrap_err();
    assert_eq!(reason, r#"field `f`: is no text: [\n1,"\u{9b}"]"#);
}

#[test]
fn a_path_reads_a_leaf_and_the_object_above_it() {
    let payload = br#"{"location":{"city":"Oslo","postcode":1},"location":{"city":"Bergen"}}"#;
    let fields = [
        ("location", Kind::Json, Need::Required),
        ("location.city", Kind::Text, Need::Required),
        ("location.postcode", Kind::Text, Need::Optional),
        ("location.city.x", Kind::Text, Need::Optional),
    ];
    let projected = project(payload, &fields);
    let values: Vec<One> = projected.columns.iter().map(one).collect();
    assert_eq!(values, [text(r#"{"city":"Bergen"}"#), text("Bergen"), One::Null, One::Null]);
}

#[test]
fn reads_the_fields_of_the_record_itself() {
    let mut projection = Projection::default();
    for (name, kind) in [
        ("@key", Kind::Bytes),
        ("@key", Kind::Text),
        ("@header.h", Kind::Bytes),
        ("@header.none", Kind::Bytes),
        ("@timestamp", Kind::Timestamp),
        ("@partition", Kind::Int),
        ("@offset", Kind::Int),
    ] {
        projection.want(name, kind, Need::Optional);
    }
    let headers: [Header; 2] = [("h".to_owned(), Some(b"old".to_vec())), ("h".to_owned(), Some(b"new".to_vec()))];
    let mut batch = Batch::new(3);
    // No payload field is asked for, so the payload may be anything.
    batch.push(RecordRef { offset: 41, timestamp: 17, key: Some(b"k"), value: Some(b"\xff"), headers: &headers });
    let projected = projection.project(&Input::Batch(&batch), 0..1);
    let values: Vec<One> = projected.columns.iter().map(one).collect();
    assert_eq!(values, [text("k"), text("k"), text("new"), One::Null, One::Int(17), One::Int(3), One::Int(41)]);
}
