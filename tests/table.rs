//! The embedded table against a model, under what can happen to a record on its way: redelivery, partial replay, two generations, retries out
//! of order, deletes, and producers' clocks that go back. On one key the later record wins, and no row is ever a mix (invariant 5).

#[path = "table/model.rs"]
mod model;

use model::{Rows, bind, deliveries, expected, plan, records, stretches};
use proptest::prelude::*;
use tidemill::config::plan::SinkAddress;
use tidemill::sink;
use tidemill::store::Store;

const TABLE: &str = "k.t";

fn read(dir: &std::path::Path) -> Rows {
    let tool = rusqlite::Connection::open(dir.join("store.db")).unwrap();
    let mut statement = tool.prepare(&format!("SELECT key, a, b, generation FROM \"{TABLE}\"")).unwrap();
    let rows = statement.query_map([], |row| Ok((row.get(0)?, (row.get(1)?, row.get(2)?, row.get(3)?)))).unwrap();
    rows.map(Result::unwrap).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_later_record_wins_whatever_is_delivered_again(
        records in records(),
        deliveries in deliveries(),
        whole_at_the_end in any::<bool>(),
    ) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        runtime.block_on(async {
            let dir = tempfile::tempdir().unwrap();
            let store = Store::open(dir.path()).unwrap();
            let sink = sink::open(&plan(SinkAddress::Embedded { table: TABLE.to_owned() }), &store).await.unwrap();
            let mut delivered = vec![false; records.len()];
            for stretch in stretches(&deliveries, records.len(), whole_at_the_end) {
                let bound = bind(sink.as_ref(), &records, stretch.clone());
                // Once by itself, once as part of a save.
                if stretch.start % 2 == 0 {
                    sink.write(&bound).await.unwrap();
                } else {
                    let Ok(write) = sink.join(&store, bound) else { panic!("the table lives in this store") };
                    store.write(write).await.unwrap();
                }
                delivered[stretch].fill(true);
                prop_assert_eq!(read(dir.path()), expected(&records, &delivered));
            }
            Ok(())
        })?;
    }
}
