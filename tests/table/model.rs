//! Records, what a generation makes of them, and what a table must hold after some of them were delivered.

use std::collections::BTreeMap;

use proptest::prelude::*;
use tidemill::config::plan::{CqlType, KeyRole, SinkAddress, SinkColumn, SinkPlan};
use tidemill::record::{Batch, Buffer, Column, Columns, RecordRef, Values};
use tidemill::sink::{Bound, Emitted, Sink};
use tidemill::topic::Boundary;

/// One record of the topic: its offset is its place in the list.
#[derive(Clone, Debug)]
pub struct Record {
    pub key: i64,
    pub deletes: bool,
    /// The producer's clock, which goes back and forth.
    pub timestamp: i64,
}

pub fn plan(at: SinkAddress) -> SinkPlan {
    let column = |name: &str, cql, key| SinkColumn { column: name.to_owned(), field: name.to_owned(), cql, key };
    let columns = vec![
        column("key", CqlType::Int, Some(KeyRole::Partition)),
        column("a", CqlType::BigInt, None),
        column("b", CqlType::Text, None),
        column("generation", CqlType::Int, None),
    ];
    SinkPlan::new("t", at, columns)
}

/// The second generation starts in the middle, at a time that a clock behind has made barely later.
fn boundary_of(offset: usize, records: usize) -> Boundary {
    // Near the wall clock: a delete of more than ten days ago is forgotten.
    let first = Boundary { first: 0, generation: 1, time: jiff::Timestamp::now().as_second() / 10_000 * 10_000_000_000 };
    let middle = (records / 2) as i64;
    match (offset as i64) < middle {
        true => first,
        false => Boundary { first: middle, generation: 2, time: first.write_time(middle) },
    }
}

/// What a generation makes of a record: every column says which record it is of.
pub fn bind(sink: &dyn Sink, records: &[Record], stretch: std::ops::Range<usize>) -> Bound {
    let mut batch = Batch::new(0);
    let (mut keys, mut a, mut b, mut generations) = (Vec::new(), Vec::new(), Buffer::default(), Vec::new());
    let (mut times, mut deleted) = (Vec::new(), Vec::new());
    for offset in stretch {
        let record = &records[offset];
        let boundary = boundary_of(offset, records.len());
        batch.push(RecordRef { offset: offset as i64, timestamp: record.timestamp, key: None, value: Some(b"{}"), headers: &[] });
        keys.push(record.key);
        a.push(offset as i64);
        b.push(format!("{offset} under {}", boundary.generation).as_bytes());
        generations.push(boundary.generation as i64);
        if record.deletes {
            deleted.push(times.len() as u32);
        }
        times.push(boundary.write_time(offset as i64));
    }
    let mut columns = Columns::default();
    let fields =
        [("key", Values::Ints(keys)), ("a", Values::Ints(a)), ("b", Values::Text(b)), ("generation", Values::Ints(generations))];
    for (name, values) in fields {
        columns.set(name, Column { values, nulls: Vec::new() });
    }
    let origins: Vec<u32> = (0..batch.rows() as u32).collect();
    let emitted =
        Emitted { batch: &batch, origins: &origins, deleted: &deleted, columns: &columns, write_times: &times, messages: None };
    sink.bind(&emitted).unwrap()
}

/// By key: offset, what the text says, generation.
pub type Rows = BTreeMap<i64, (i64, String, i64)>;

/// The last of the records that were delivered decides its key, whatever the order of the deliveries was.
pub fn expected(records: &[Record], delivered: &[bool]) -> Rows {
    let mut rows = Rows::new();
    for (offset, record) in records.iter().enumerate().filter(|(offset, _)| delivered[*offset]) {
        let generation = boundary_of(offset, records.len()).generation as i64;
        match record.deletes {
            true => rows.remove(&record.key),
            false => rows.insert(record.key, (offset as i64, format!("{offset} under {generation}"), generation)),
        };
    }
    rows
}

pub fn records() -> impl Strategy<Value = Vec<Record>> {
    let record = (0i64..6, prop::bool::weighted(0.2), -1_000i64..1_000);
    prop::collection::vec(record.prop_map(|(key, deletes, timestamp)| Record { key, deletes, timestamp }), 2..40)
}

/// Stretches of `records` that are delivered, one after the other; the same ones again, too.
pub fn deliveries() -> impl Strategy<Value = Vec<(usize, usize)>> {
    prop::collection::vec((0usize..40, 1usize..12), 1..14)
}

/// The stretches as ranges of records, and in the end all of them where `whole` says so.
pub fn stretches(deliveries: &[(usize, usize)], records: usize, whole: bool) -> Vec<std::ops::Range<usize>> {
    let range = |(from, rows): &(usize, usize)| (from % records)..(from % records + rows).min(records);
    deliveries.iter().map(range).chain(whole.then_some(0..records)).collect()
}
