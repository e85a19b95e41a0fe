//! Rows with a time to live: what remains of it from the record's time is written, in Cassandra and in the embedded table.

use std::time::Duration;

use scylla::value::CqlValue;
use tidemill::config::plan::{CqlType, SinkAddress, SinkPlan};
use tidemill::sink::{Bound, Sink, embedded};
use tidemill::store::Store;

use super::{Row, bind, open, plan, runtime};
use crate::cassandra;
use crate::support::wait_for;

const DAY_MS: i64 = 86_400_000;

fn now_ms() -> i64 {
    jiff::Timestamp::now().as_millisecond()
}

fn rows(bound: &Bound) -> (usize, Vec<u32>) {
    let Bound::Rows(rows) = bound else { panic!("a table binds rows") };
    (rows.len(), rows.expired.clone())
}

#[test]
fn a_row_lives_as_long_as_is_left_of_it() {
    let Some(cassandra) = cassandra::shared() else { return };
    let ttl = Some(Duration::from_secs(10 * 86_400));
    let table = open(&SinkPlan { ttl, ..plan(&cassandra.address(), "ending.rows", &[("v", CqlType::Text)]) });
    let now = now_ms();
    table.put(Row::new(1, 1).text("v", "fresh").at(now));
    table.put(Row::new(2, 2).text("v", "older").at(now - 9 * DAY_MS));
    table.put(Row::new(3, 3).text("v", "ahead").at(now + 5 * DAY_MS));
    let left = cassandra.rows("SELECT id, TTL(v) AS left FROM ending.rows");
    let left = |id: i32| {
        let row = left.iter().find(|row| row["id"] == Some(CqlValue::Int(id))).expect("a row");
        row["left"].as_ref().and_then(CqlValue::as_int).expect("it ends")
    };
    // A case may take a while; a row never lives longer than it was told.
    assert!((863_900..=864_000).contains(&left(1)), "{}", left(1));
    assert!((86_300..=86_400).contains(&left(2)), "{}", left(2));
    assert!((863_900..=864_000).contains(&left(3)), "{}", left(3));
    // What has ended is no row any more, and counts as dropped; a delete never ends.
    let ended = bind(table.sink.as_ref(), Row::new(1, 4).text("v", "late").at(now - 11 * DAY_MS)).expect("bind");
    assert_eq!(rows(&ended), (0, vec![0]));
    let deletes = bind(table.sink.as_ref(), Row::new(1, 4).deleting().at(now - 11 * DAY_MS)).expect("bind");
    assert_eq!(rows(&deletes), (1, Vec::new()));
}

#[test]
fn an_embedded_row_is_hidden_from_its_end_on_and_no_older_record_brings_it_back() {
    let runtime = runtime();
    let dir = tempfile::tempdir().expect("a folder");
    let at = SinkAddress::Embedded { table: "k.t".to_owned() };
    let without = SinkPlan { at, ..plan("", "k.t", &[("v", CqlType::Text)]) };
    let with = SinkPlan { ttl: Some(Duration::from_secs(100)), ..without.clone() };
    runtime.block_on(async {
        let store = Store::open(dir.path()).expect("open a store");
        let write =
            async |sink: &dyn Sink, row| assert_eq!(sink.write(&bind(sink, row).expect("bind")).await.expect("write"), []);
        // A table that had no ends is given them.
        let sink = tidemill::sink::open(&without, &store).await.expect("open the table");
        write(sink.as_ref(), Row::new(1, 10).text("v", "stays")).await;
        let sink = tidemill::sink::open(&with, &store).await.expect("open the table with a ttl");
        let soon = now_ms() - 98_000;
        write(sink.as_ref(), Row::new(2, 20).text("v", "ends").at(soon)).await;
        assert_eq!(rows(&bind(sink.as_ref(), Row::new(3, 30).text("v", "over").at(soon - 10_000)).expect("bind")), (0, vec![0]));
        let shown = async || embedded::latest(&store, "k.t", &with.columns, 10).await.expect("read").len();
        assert_eq!(shown().await, 2);
        let until = now_ms();
        while shown().await == 2 {
            assert!(now_ms() < until + 60_000, "the row does not end");
            tokio::task::yield_now().await;
        }
        assert_eq!((shown().await, embedded::count(&store, "k.t").await.expect("count")), (1, 1));
        write(sink.as_ref(), Row::new(2, 15).text("v", "older").at(now_ms())).await;
        assert_eq!(shown().await, 1);
        write(sink.as_ref(), Row::new(2, 25).text("v", "later").at(now_ms())).await;
        assert_eq!(shown().await, 2);
    });
    let tool = rusqlite::Connection::open(dir.path().join("store.db")).expect("open the store with another tool");
    let count = || tool.query_row("SELECT count(*) FROM \"k.t\"", [], |row| row.get::<_, i64>(0)).ok();
    wait_for("the view to show the live rows", || (count() == Some(2)).then_some(()));
}
