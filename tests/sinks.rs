//! Sinks: what binding refuses, what a table shows, what files hold.

#[path = "sinks/binding.rs"]
mod binding;
#[path = "sinks/bytes.rs"]
mod bytes;
#[path = "sinks/widen.rs"]
mod widen;

use rusqlite::Connection;
use serde_json::json;
use tidemill::config::plan::{CqlType, KeyRole, SinkAddress, SinkColumn, SinkPlan};
use tidemill::record::{Batch, Buffer, Column, Columns, RecordRef, Values};
use tidemill::sink::{self, Emitted};
use tidemill::store::Store;

fn column(name: &str, cql: CqlType, key: Option<KeyRole>) -> SinkColumn {
    SinkColumn { column: name.to_owned(), field: name.to_owned(), cql, key }
}

fn users(columns: Vec<SinkColumn>) -> SinkPlan {
    let table = "spark_streams.created_users".to_owned();
    SinkPlan::new("users", SinkAddress::Embedded { table }, columns)
}

fn text<const N: usize>(rows: [&str; N]) -> Values {
    let mut buffer = Buffer::default();
    rows.iter().for_each(|row| buffer.push(row.as_bytes()));
    Values::Text(buffer)
}

fn columns<const N: usize>(fields: [(&str, Values); N]) -> Columns {
    let mut columns = Columns::default();
    for (name, values) in fields {
        columns.set(name, Column { values, nulls: Vec::new() });
    }
    columns
}

fn batch(from: i64, rows: i64) -> Batch {
    let mut batch = Batch::new(0);
    for offset in from..from + rows {
        batch.push(RecordRef { offset, timestamp: 0, key: None, value: Some(b"{}"), headers: &[] });
    }
    batch
}

const A: &str = "00000000-0000-4000-8000-00000000000a";
const B: &str = "00000000-0000-4000-8000-00000000000b";

#[tokio::test]
async fn the_view_shows_live_rows_with_the_declared_columns_only() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let plan = users(vec![
        column("id", CqlType::Uuid, Some(KeyRole::Partition)),
        column("age", CqlType::Int, None),
        column("day", CqlType::Date, None),
        column("seen", CqlType::Timestamp, None),
        column("on", CqlType::Boolean, None),
    ]);
    let sink = sink::open(&plan, &store).await.unwrap();
    let batch = batch(0, 3);
    let columns = columns([
        ("id", text([A, B, B])),
        ("age", Values::Ints(vec![1, 2, 3])),
        ("day", text(["2001-02-03", "1969-12-31", "0001-01-01"])),
        ("seen", Values::Timestamps(vec![1, -1, 0])),
        ("on", Values::Booleans(vec![true, false, true])),
    ]);
    let emitted = Emitted {
        batch: &batch,
        origins: &[0, 1, 2],
        deleted: &[2],
        columns: &columns,
        write_times: &[10, 11, 12],
        messages: None,
    };
    let bound = sink.bind(&emitted).unwrap();
    sink.write(&bound).await.unwrap();
    let tool = Connection::open(dir.path().join("store.db")).unwrap();
    let read = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?));
    let mut statement = tool.prepare(r#"SELECT * FROM "spark_streams.created_users""#).unwrap();
    assert!(statement.column_names().eq(["id", "age", "day", "seen", "on"]));
    let rows: Vec<(String, i64, String, i64, i64)> = statement.query_map([], read).unwrap().map(Result::unwrap).collect();
    assert_eq!(rows, [(A.to_owned(), 1, "2001-02-03".to_owned(), 1, 1)]);
    let latest = sink::embedded::latest(&store, "spark_streams.created_users", &plan.columns, 20).await.unwrap();
    let shown = json!({"id": A, "age": 1, "day": "2001-02-03", "seen": "1970-01-01T00:00:00.001Z", "on": true});
    assert_eq!(serde_json::Value::Object(latest[0].clone()), shown);
    assert_eq!(sink::embedded::count(&store, "spark_streams.created_users").await.unwrap(), 1);
}
