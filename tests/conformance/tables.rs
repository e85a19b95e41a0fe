//! What every sink with a key does, whatever is written again.

use serde_json::{Value, json};
use tidemill::config::plan::{CqlType, KeyRole, SinkAddress, SinkColumn, SinkPlan};
use tidemill::record::{Batch, Column, Columns, RecordRef, Values};
use tidemill::sink::{self, Bound, Emitted, Sink};
use tidemill::store::Store;

fn plan(at: SinkAddress) -> SinkPlan {
    let column = |name: &str, cql, key| SinkColumn { column: name.to_owned(), field: name.to_owned(), cql, key };
    let columns = vec![column("k", CqlType::BigInt, Some(KeyRole::Partition)), column("v", CqlType::BigInt, None)];
    SinkPlan { name: "t".to_owned(), at, create: true, columns }
}

/// A row of key 1 with this value and write time; `None` deletes it.
type Step = (Option<i64>, i64);

fn bind(sink: &dyn Sink, (value, time): Step) -> Bound {
    // Write times stand near the wall clock: a delete of more than ten days ago is forgotten.
    let time = jiff::Timestamp::now().as_second() / 10_000 * 10_000_000_000 + time;
    let mut batch = Batch::new(0);
    batch.push(RecordRef { offset: time, timestamp: 0, key: None, value: None, headers: &[] });
    let mut columns = Columns::default();
    columns.set("k", Column { values: Values::Ints(vec![1]), nulls: Vec::new() });
    columns.set("v", Column { values: Values::Ints(vec![value.unwrap_or(0)]), nulls: Vec::new() });
    let deleted: &[u32] = if value.is_none() { &[0] } else { &[] };
    let emitted = Emitted { batch: &batch, origins: &[0], deleted, columns: &columns, write_times: &[time], messages: None };
    sink.bind(&emitted).unwrap()
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Flaw {
    None,
    /// The last write wins, not the latest.
    IgnoresWriteTimes,
    /// A delete does nothing.
    IgnoresDeletes,
}

const CHECKS: [(&str, &[Step], Option<i64>, Flaw); 4] = [
    ("an older write changes nothing", &[(Some(2), 20), (Some(1), 10)], Some(2), Flaw::IgnoresWriteTimes),
    ("a delete removes the row", &[(Some(1), 10), (None, 20)], None, Flaw::IgnoresDeletes),
    ("a replayed older record does not bring a deleted row back", &[(None, 20), (Some(1), 10)], None, Flaw::IgnoresWriteTimes),
    (
        "a later record brings a deleted row back",
        &[(Some(1), 10), (None, 20), (Some(3), 30), (None, 20)],
        Some(3),
        Flaw::IgnoresWriteTimes,
    ),
];

async fn value_after(at: SinkAddress, steps: &[Step], flaw: Flaw) -> Option<Value> {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let plan = plan(at.clone());
    let sink = sink::open(&plan, &store).await.unwrap();
    for (n, (value, time)) in (0..).zip(steps) {
        let time = if flaw == Flaw::IgnoresWriteTimes { n } else { *time };
        if flaw == Flaw::IgnoresDeletes && value.is_none() {
            continue;
        }
        assert_eq!(sink.write(&bind(sink.as_ref(), (*value, time))).await.unwrap(), []);
    }
    let rows = match &at {
        SinkAddress::Memory { name } => sink::memory::kept(name).rows(),
        _ => sink::embedded::latest(&store, "k.t", &plan.columns, 20).await.unwrap(),
    };
    assert!(rows.len() <= 1, "one key, one row");
    rows.first().map(|row| row["v"].clone())
}

#[tokio::test]
async fn every_table_passes_each_check_and_a_double_fails_it() {
    for (n, (name, steps, wanted, flaw)) in CHECKS.into_iter().enumerate() {
        let wanted = wanted.map(|value| json!(value));
        let embedded = || SinkAddress::Embedded { table: "k.t".to_owned() };
        let memory = SinkAddress::Memory { name: format!("conformance {n}") };
        assert_eq!(value_after(embedded(), steps, Flaw::None).await, wanted, "embedded: {name}");
        assert_eq!(value_after(memory, steps, Flaw::None).await, wanted, "memory: {name}");
        assert_ne!(value_after(embedded(), steps, flaw).await, wanted, "the double passes: {name}");
    }
}
