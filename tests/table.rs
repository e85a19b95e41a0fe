//! The embedded table against a model, under what can happen to a record on its way: redelivery, partial replay, two generations, retries out
//! of order, deletes, and producers' clocks that go back. On one key the later record wins, and no row is ever a mix (invariant 5).

use std::collections::BTreeMap;

use proptest::prelude::*;
use tidemill::config::plan::{CqlType, KeyRole, SinkAddress, SinkColumn, SinkPlan};
use tidemill::record::{Batch, Buffer, Column, Columns, RecordRef, Values};
use tidemill::sink::{self, Bound, Emitted, Sink};
use tidemill::store::Store;
use tidemill::topic::Boundary;

const TABLE: &str = "k.t";

/// One record of the topic: its offset is its place in the list.
#[derive(Clone, Debug)]
struct Record {
    key: u8,
    deletes: bool,
    /// The producer's clock, which goes back and forth.
    timestamp: i64,
}

/// A stretch of the topic that is delivered (again).
#[derive(Clone, Debug)]
struct Delivery {
    from: usize,
    rows: usize,
}

fn plan() -> SinkPlan {
    let column = |name: &str, cql, key| SinkColumn { column: name.to_owned(), field: name.to_owned(), cql, key };
    let columns = vec![
        column("key", CqlType::Int, Some(KeyRole::Partition)),
        column("a", CqlType::BigInt, None),
        column("b", CqlType::Text, None),
        column("generation", CqlType::Int, None),
    ];
    SinkPlan { name: "t".to_owned(), at: SinkAddress::Embedded { table: TABLE.to_owned() }, create: true, columns }
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
fn bind(sink: &dyn Sink, records: &[Record], stretch: std::ops::Range<usize>) -> Bound {
    let mut batch = Batch::new(0);
    let (mut keys, mut a, mut b, mut generations) = (Vec::new(), Vec::new(), Buffer::default(), Vec::new());
    let (mut times, mut deleted) = (Vec::new(), Vec::new());
    for offset in stretch {
        let record = &records[offset];
        let boundary = boundary_of(offset, records.len());
        batch.push(RecordRef { offset: offset as i64, timestamp: record.timestamp, key: None, value: Some(b"{}"), headers: &[] });
        keys.push(i64::from(record.key));
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

type Rows = BTreeMap<i64, (i64, String, i64)>;

fn read(dir: &std::path::Path) -> Rows {
    let tool = rusqlite::Connection::open(dir.join("store.db")).unwrap();
    let mut statement = tool.prepare(&format!("SELECT key, a, b, generation FROM \"{TABLE}\"")).unwrap();
    let rows = statement.query_map([], |row| Ok((row.get(0)?, (row.get(1)?, row.get(2)?, row.get(3)?)))).unwrap();
    rows.map(Result::unwrap).collect()
}

/// The last of the records that were delivered decides its key, whatever the order of the deliveries was.
fn expected(records: &[Record], delivered: &[bool]) -> Rows {
    let mut rows = Rows::new();
    for (offset, record) in records.iter().enumerate().filter(|(offset, _)| delivered[*offset]) {
        let generation = boundary_of(offset, records.len()).generation as i64;
        match record.deletes {
            true => rows.remove(&i64::from(record.key)),
            false => rows.insert(i64::from(record.key), (offset as i64, format!("{offset} under {generation}"), generation)),
        };
    }
    rows
}

fn records() -> impl Strategy<Value = Vec<Record>> {
    let record = (0u8..6, prop::bool::weighted(0.2), -1_000i64..1_000);
    prop::collection::vec(record.prop_map(|(key, deletes, timestamp)| Record { key, deletes, timestamp }), 2..40)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_later_record_wins_whatever_is_delivered_again(
        records in records(),
        deliveries in prop::collection::vec((0usize..40, 1usize..12), 1..14),
        whole_at_the_end in any::<bool>(),
    ) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        runtime.block_on(async {
            let dir = tempfile::tempdir().unwrap();
            let store = Store::open(dir.path()).unwrap();
            let sink = sink::open(&plan(), &store).await.unwrap();
            let mut delivered = vec![false; records.len()];
            let mut deliveries: Vec<Delivery> =
                deliveries.iter().map(|(from, rows)| Delivery { from: from % records.len(), rows: *rows }).collect();
            if whole_at_the_end {
                deliveries.push(Delivery { from: 0, rows: records.len() });
            }
            for Delivery { from, rows } in deliveries {
                let until = (from + rows).min(records.len());
                let bound = bind(sink.as_ref(), &records, from..until);
                // Once by itself, once as part of a save.
                if from % 2 == 0 {
                    sink.write(&bound).await.unwrap();
                } else {
                    let Ok(write) = sink.join(&store, bound) else { panic!("the table lives in this store") };
                    store.write(write).await.unwrap();
                }
                delivered[from..until].fill(true);
                prop_assert_eq!(read(dir.path()), expected(&records, &delivered));
            }
            Ok(())
        })?;
    }
}
