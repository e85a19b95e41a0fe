//! What every sink with a key does, whatever is written again. The list is for whoever has such a table and a reader of it.

use tidemill::config::plan::{CqlType, KeyRole, SinkAddress, SinkColumn, SinkPlan};
use tidemill::record::{Batch, Column, Columns, RecordRef, Values};
use tidemill::sink::{Bound, Emitted, Sink};

pub fn plan(at: SinkAddress) -> SinkPlan {
    let column = |name: &str, cql, key| SinkColumn { column: name.to_owned(), field: name.to_owned(), cql, key };
    let columns = vec![column("k", CqlType::BigInt, Some(KeyRole::Partition)), column("v", CqlType::BigInt, None)];
    SinkPlan::new("t", at, columns)
}

/// A row of key 1 with this value and write time; `None` deletes it.
pub type Step = (Option<i64>, i64);

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
pub enum Flaw {
    None,
    /// The last write wins, not the latest.
    IgnoresWriteTimes,
    /// A delete does nothing.
    IgnoresDeletes,
}

/// What is shown, what is written, what `v` of the row is then, and what a double does that fails it.
pub const CHECKS: [(&str, &[Step], Option<i64>, Flaw); 4] = [
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

/// Writes the steps to a sink of [`plan`].
pub async fn apply(sink: &dyn Sink, steps: &[Step], flaw: Flaw) {
    for (n, (value, time)) in (0..).zip(steps) {
        let time = if flaw == Flaw::IgnoresWriteTimes { n } else { *time };
        if flaw == Flaw::IgnoresDeletes && value.is_none() {
            continue;
        }
        assert_eq!(sink.write(&bind(sink, (*value, time))).await.unwrap(), []);
    }
}
