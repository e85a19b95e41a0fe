//! The Cassandra sink on a real Cassandra: what is written is read back by a reader that shares no code with it.

#[path = "table/check.rs"]
mod check;
#[path = "table/conformance.rs"]
mod conformance;
#[path = "table/ending.rs"]
mod ending;
#[path = "table/faults.rs"]
mod faults;
#[path = "table/poison.rs"]
mod poison;
#[path = "table/schema.rs"]
mod schema;
#[path = "table/types.rs"]
mod types;
#[path = "table/way.rs"]
mod way;

use tempfile::TempDir;
use tidemill::config::plan::{CqlType, KeyRole, SinkAddress, SinkColumn, SinkPlan};
use tidemill::record::{Batch, Buffer, Column, Columns, Place, RecordRef, Values};
use tidemill::sink::{self, Bound, Emitted, Error, Sink};
use tidemill::store::Store;
use tokio::runtime::Runtime;

pub fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("make a runtime")
}

pub fn column(name: &str, cql: CqlType, key: Option<KeyRole>) -> SinkColumn {
    SinkColumn { column: name.to_owned(), field: name.to_owned(), cql, key }
}

/// `id int` is the key, beside these columns.
pub fn plan(address: &str, table: &str, columns: &[(&str, CqlType)]) -> SinkPlan {
    let mut all = vec![column("id", CqlType::Int, Some(KeyRole::Partition))];
    all.extend(columns.iter().map(|(name, cql)| column(name, *cql, None)));
    let at = SinkAddress::Cassandra { hosts: vec![address.to_owned()], table: table.to_owned() };
    SinkPlan::new("t", at, all)
}

/// A sink, and a runtime for it beside that of the reader.
pub struct Opened {
    pub runtime: Runtime,
    pub sink: Box<dyn Sink>,
    _store: TempDir,
}

pub fn try_open(plan: &SinkPlan) -> Result<Opened, Error> {
    let runtime = runtime();
    let dir = tempfile::tempdir().expect("a folder");
    let sink = runtime.block_on(async {
        let store = Store::open(dir.path()).expect("open a store");
        sink::open(plan, &store).await
    });
    Ok(Opened { runtime, sink: sink?, _store: dir })
}

#[track_caller]
pub fn open(plan: &SinkPlan) -> Opened {
    try_open(plan).unwrap_or_else(|error| panic!("open the sink: {error}"))
}

/// What a record gives.
pub struct Row {
    pub values: Vec<(&'static str, Values)>,
    pub nulls: Vec<&'static str>,
    pub time: i64,
    pub timestamp: i64,
    pub deletes: bool,
}

impl Row {
    pub fn new(id: i64, time: i64) -> Row {
        Row { values: vec![("id", Values::Ints(vec![id]))], nulls: Vec::new(), time, timestamp: 0, deletes: false }
    }

    pub fn with(mut self, name: &'static str, value: Values) -> Row {
        self.values.push((name, value));
        self
    }

    pub fn text(self, name: &'static str, value: &str) -> Row {
        self.with(name, text(&[value]))
    }

    pub fn null(mut self, name: &'static str) -> Row {
        self.nulls.push(name);
        self
    }

    pub fn deleting(mut self) -> Row {
        self.deletes = true;
        self
    }

    pub fn at(mut self, timestamp: i64) -> Row {
        self.timestamp = timestamp;
        self
    }
}

pub fn text(rows: &[&str]) -> Values {
    let mut buffer = Buffer::default();
    rows.iter().for_each(|row| buffer.push(row.as_bytes()));
    Values::Text(buffer)
}

/// Binds one record, which stands at the offset that is its write time.
pub fn bind(sink: &dyn Sink, row: Row) -> Result<Bound, String> {
    let mut batch = Batch::new(0);
    batch.push(RecordRef { offset: row.time, timestamp: row.timestamp, key: None, value: None, headers: &[] });
    let mut columns = Columns::default();
    for (name, values) in row.values {
        columns.set(name, Column { values, nulls: if row.nulls.contains(&name) { vec![0] } else { Vec::new() } });
    }
    let deleted: &[u32] = if row.deletes { &[0] } else { &[] };
    let emitted = Emitted { batch: &batch, origins: &[0], deleted, columns: &columns, write_times: &[row.time], messages: None };
    sink.bind(&emitted).map_err(|refused| refused[0].reason.clone())
}

impl Opened {
    /// Binds and writes one record; a refusal by binding reads as one by the server.
    pub fn write(&self, row: Row) -> Result<Vec<(Place, String)>, Error> {
        match bind(self.sink.as_ref(), row) {
            Ok(bound) => self.runtime.block_on(self.sink.write(&bound)),
            Err(reason) => Ok(vec![(Place { partition: 0, offset: -1 }, reason)]),
        }
    }

    #[track_caller]
    pub fn put(&self, row: Row) {
        assert_eq!(self.write(row).expect("write"), []);
    }
}
