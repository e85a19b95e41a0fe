//! Every CQL type with the values at its edges, and what else a row is made of: write times, nulls, composite keys, deletes.

use std::net::IpAddr;

use scylla::value::{CqlDate, CqlDecimal, CqlTime, CqlTimestamp, CqlTimeuuid, CqlValue, CqlVarint};
use serde_json::{Value, json};
use tidemill::config::plan::{CqlType, KeyRole, SinkAddress, SinkPlan};
use tidemill::record::{Buffer, Values};
use tidemill::store::Store;

use super::{Opened, Row, column, open, plan, text};
use crate::cassandra;

/// A value as a field has it, as Cassandra gives it back, and as people read it.
type Case = (CqlType, Values, Option<CqlValue>, Value);

fn bytes(value: &[u8]) -> Buffer {
    let mut buffer = Buffer::default();
    buffer.push(value);
    buffer
}

fn json_text(value: &str) -> Values {
    Values::Json(bytes(value.as_bytes()))
}

fn texts(values: &[&str]) -> Vec<CqlValue> {
    values.iter().map(|value| CqlValue::Text((*value).to_owned())).collect()
}

fn same(cql: CqlType, value: &str, read: CqlValue) -> Case {
    (cql, text(&[value]), Some(read), json!(value))
}

fn int(cql: CqlType, value: i64, read: CqlValue) -> Case {
    (cql, Values::Ints(vec![value]), Some(read), json!(value))
}

fn varint(value: &str, bytes: &[u8]) -> Case {
    same(CqlType::Varint, value, CqlValue::Varint(CqlVarint::from_signed_bytes_be_slice(bytes)))
}

fn decimal(value: &str, unscaled: &[u8], scale: i32, shown: &str) -> Case {
    let read = CqlDecimal::from_signed_be_bytes_slice_and_exponent(unscaled, scale);
    (CqlType::Decimal, text(&[value]), Some(CqlValue::Decimal(read)), json!(shown))
}

fn date(value: &str, days: u32) -> Case {
    same(CqlType::Date, value, CqlValue::Date(CqlDate(days)))
}

fn cases() -> Vec<Case> {
    const A: &str = "6ba7b810-9dad-11d1-80b4-00c04fd430c8";
    let uuid: uuid::Uuid = A.parse().expect("a uuid");
    let inet = |address: &str| same(CqlType::Inet, address, CqlValue::Inet(address.parse::<IpAddr>().expect("an address")));
    let float = |value: f64| {
        (CqlType::Float, Values::Floats(vec![value]), Some(CqlValue::Float(value as f32)), json!(f64::from(value as f32)))
    };
    let double = |value: f64| (CqlType::Double, Values::Floats(vec![value]), Some(CqlValue::Double(value)), json!(value));
    let timestamp = |ms: i64, shown: Value| {
        (CqlType::Timestamp, Values::Timestamps(vec![ms]), Some(CqlValue::Timestamp(CqlTimestamp(ms))), shown)
    };
    let time = |value: &str, nanos: i64| same(CqlType::Time, value, CqlValue::Time(CqlTime(nanos)));
    vec![
        same(CqlType::Text, "", CqlValue::Text(String::new())),
        same(CqlType::Text, "жук 🪲 \u{0}", CqlValue::Text("жук 🪲 \u{0}".to_owned())),
        same(CqlType::Ascii, "plain~\u{7f}", CqlValue::Ascii("plain~\u{7f}".to_owned())),
        same(CqlType::Uuid, A, CqlValue::Uuid(uuid)),
        same(CqlType::TimeUuid, A, CqlValue::Timeuuid(CqlTimeuuid::from(uuid))),
        int(CqlType::Int, i64::from(i32::MAX), CqlValue::Int(i32::MAX)),
        int(CqlType::Int, i64::from(i32::MIN), CqlValue::Int(i32::MIN)),
        int(CqlType::BigInt, i64::MAX, CqlValue::BigInt(i64::MAX)),
        int(CqlType::BigInt, i64::MIN, CqlValue::BigInt(i64::MIN)),
        int(CqlType::SmallInt, 32_767, CqlValue::SmallInt(32_767)),
        int(CqlType::SmallInt, -32_768, CqlValue::SmallInt(-32_768)),
        int(CqlType::TinyInt, 127, CqlValue::TinyInt(127)),
        int(CqlType::TinyInt, -128, CqlValue::TinyInt(-128)),
        varint("0", &[0]),
        varint("127", &[127]),
        varint("128", &[0, 128]),
        varint("-128", &[128]),
        varint("-129", &[255, 127]),
        varint("340282366920938463463374607431768211456", &[1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
        (
            CqlType::Varint,
            Values::Ints(vec![-1]),
            Some(CqlValue::Varint(CqlVarint::from_signed_bytes_be_slice(&[255]))),
            json!("-1"),
        ),
        decimal("12.50", &[4, 226], 2, "12.50"),
        decimal("-0.001", &[255], 3, "-0.001"),
        decimal("1e3", &[1], -3, "1E+3"),
        decimal("1.5e-40", &[15], 41, "1.5E-40"),
        decimal("+7", &[7], 0, "7"),
        (
            CqlType::Decimal,
            Values::Floats(vec![0.1]),
            Some(CqlValue::Decimal(CqlDecimal::from_signed_be_bytes_slice_and_exponent(&[1], 1))),
            json!("0.1"),
        ),
        float(f64::from(f32::MAX)),
        float(-0.1),
        double(f64::MIN_POSITIVE),
        double(-f64::MAX),
        (CqlType::Double, Values::Ints(vec![3]), Some(CqlValue::Double(3.0)), json!(3.0)),
        (CqlType::Boolean, Values::Booleans(vec![true]), Some(CqlValue::Boolean(true)), json!(true)),
        (CqlType::Boolean, Values::Booleans(vec![false]), Some(CqlValue::Boolean(false)), json!(false)),
        timestamp(-1, json!("1969-12-31T23:59:59.999Z")),
        timestamp(i64::MAX, json!(i64::MAX)),
        date("1970-01-01", 1 << 31),
        date("1969-12-31", (1 << 31) - 1),
        date("9999-12-31", (1 << 31) + 2_932_896),
        time("00:00:00", 0),
        time("23:59:59.999999999", 86_399_999_999_999),
        (CqlType::Time, Values::Ints(vec![1_000]), Some(CqlValue::Time(CqlTime(1_000))), json!("00:00:00.000001")),
        (CqlType::Time, Values::Timestamps(vec![-1]), Some(CqlValue::Time(CqlTime(86_399_999_000_000))), json!("23:59:59.999")),
        (CqlType::Blob, Values::Bytes(bytes(&[0, 255])), Some(CqlValue::Blob(vec![0, 255])), json!("AP8=")),
        (CqlType::Blob, Values::Bytes(bytes(&[])), Some(CqlValue::Blob(vec![])), json!("")),
        inet("127.0.0.1"),
        inet("2001:db8::1"),
        (
            CqlType::List,
            json_text(r#"["b", 1.50, true, "b", "ж\n"]"#),
            Some(CqlValue::List(texts(&["b", "1.50", "true", "b", "ж\n"]))),
            json!(["b", "1.50", "true", "b", "ж\n"]),
        ),
        (CqlType::Set, json_text(r#"["b", "a", "b"]"#), Some(CqlValue::Set(texts(&["a", "b"]))), json!(["a", "b"])),
        (
            CqlType::Map,
            json_text(r#"{"b": "x", "a": 1, "b": false}"#),
            Some(CqlValue::Map(texts(&["a", "b"]).into_iter().zip(texts(&["1", "false"])).collect())),
            json!({"a": "1", "b": "false"}),
        ),
        // Cassandra keeps no empty collection.
        (CqlType::List, json_text("[]"), None, Value::Null),
        (CqlType::Set, json_text("[]"), None, Value::Null),
        (CqlType::Map, json_text("{}"), None, Value::Null),
    ]
}

const NAMES: [&str; 21] = [
    "text",
    "ascii",
    "uuid",
    "timeuuid",
    "int",
    "bigint",
    "smallint",
    "tinyint",
    "varint",
    "float",
    "double",
    "decimal",
    "boolean",
    "timestamp",
    "date",
    "time",
    "blob",
    "inet",
    "list",
    "set",
    "map",
];

/// The column of a type.
fn name(cql: CqlType) -> &'static str {
    NAMES[CqlType::ALL.iter().position(|known| *known == cql).expect("all types")]
}

#[test]
fn every_type_is_read_back_as_it_was_written_and_embedded_says_the_same() {
    let Some(cassandra) = cassandra::shared() else { return };
    let columns: Vec<(&str, CqlType)> = CqlType::ALL.iter().map(|cql| (name(*cql), *cql)).collect();
    let plan = plan(&cassandra.address(), "types.every", &columns);
    let table = open(&plan);
    let dir = tempfile::tempdir().expect("a folder");
    let embedded = SinkPlan { at: SinkAddress::Embedded { table: "types.every".to_owned() }, ..plan.clone() };
    let store = table.runtime.block_on(async { Store::open(dir.path()).expect("open a store") });
    let embedded = table.runtime.block_on(tidemill::sink::open(&embedded, &store)).expect("open the embedded table");
    let cases = cases();
    for (id, (cql, values, ..)) in (0..).zip(&cases) {
        let row = || Row::new(id, 1_000 + id).with(name(*cql), values.clone());
        table.put(row());
        let bound = super::bind(embedded.as_ref(), row()).expect("bind");
        assert_eq!(table.runtime.block_on(embedded.write(&bound)).expect("write"), []);
    }
    let rows = cassandra.rows("SELECT * FROM types.every");
    assert_eq!(rows.len(), cases.len());
    let latest = tidemill::sink::embedded::latest(&store, "types.every", &plan.columns, 1_000);
    let latest = table.runtime.block_on(latest).expect("read the embedded table");
    for (id, (cql, _, read, shown)) in (0..).zip(&cases) {
        let row = rows.iter().find(|row| row["id"] == Some(CqlValue::Int(id))).expect("a row of each");
        for column in NAMES {
            let wanted = if column == name(*cql) { read.clone() } else { None };
            assert_eq!(row[column], wanted, "{column} of {shown}");
        }
        let row = latest.iter().find(|row| row["id"] == json!(id)).expect("a row of each");
        assert_eq!(row[name(*cql)], *shown, "{} embedded", name(*cql));
    }
    let times = cassandra.rows("SELECT id, WRITETIME(boolean) AS at FROM types.every WHERE boolean = true ALLOW FILTERING");
    let id = cases.iter().position(|case| case.0 == CqlType::Boolean).expect("a boolean") as i64;
    assert_eq!(times[0]["at"], Some(CqlValue::BigInt(1_000 + id)));
}

fn composite(address: &str) -> Opened {
    let columns = vec![
        column("a", CqlType::Text, Some(KeyRole::Partition)),
        column("v", CqlType::Text, None),
        column("c", CqlType::Timestamp, Some(KeyRole::Clustering)),
        column("b", CqlType::BigInt, Some(KeyRole::Partition)),
        // A word of CQL.
        column("order", CqlType::Text, Some(KeyRole::Clustering)),
    ];
    let at = SinkAddress::Cassandra { hosts: vec![address.to_owned()], table: "types.composite".to_owned() };
    open(&SinkPlan::new("t", at, columns))
}

fn composite_row(order: &str, v: &str, time: i64) -> Row {
    let row = Row { values: Vec::new(), nulls: Vec::new(), time, timestamp: 0, deletes: false };
    let row = row.text("a", "").with("b", Values::Ints(vec![1])).with("c", Values::Timestamps(vec![2]));
    row.text("order", order).text("v", v)
}

#[test]
fn rows_of_a_composite_key_are_written_and_deleted_by_all_of_it() {
    let Some(cassandra) = cassandra::shared() else { return };
    let table = composite(&cassandra.address());
    let left = || {
        let rows = cassandra.rows(r#"SELECT "order", v, WRITETIME(v) AS at FROM types.composite"#);
        let text = |value: &Option<CqlValue>| value.as_ref().and_then(CqlValue::as_text).cloned().unwrap_or_default();
        rows.iter().map(|row| (text(&row["order"]), text(&row["v"]))).collect::<Vec<_>>()
    };
    let pair = |order: &str, v: &str| (order.to_owned(), v.to_owned());
    table.put(composite_row("x", "one", 10));
    table.put(composite_row("y", "two", 11));
    assert_eq!(left(), [pair("x", "one"), pair("y", "two")]);
    table.put(composite_row("x", "gone", 20).deleting());
    assert_eq!(left(), [pair("y", "two")]);
    // A replayed older record does not bring it back, a later one does, and the null of a later one is no mix with the earlier.
    table.put(composite_row("x", "old", 15));
    assert_eq!(left(), [pair("y", "two")]);
    table.put(composite_row("x", "new", 30));
    table.put(composite_row("y", "", 30).null("v"));
    assert_eq!(left(), [pair("x", "new"), pair("y", "")]);
    table.put(composite_row("y", "two", 11));
    assert_eq!(left(), [pair("x", "new"), pair("y", "")]);
}
