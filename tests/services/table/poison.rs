//! Values that Cassandra does not take: each is its record's dead letter, and those beside it are written.

use tidemill::config::plan::{CqlType, KeyRole, SinkAddress, SinkPlan};
use tidemill::record::{Buffer, Values};

use super::{Row, bind, column, open, plan};
use crate::cassandra;

fn buffer(value: &[u8]) -> Buffer {
    let mut buffer = Buffer::default();
    buffer.push(value);
    buffer
}

#[test]
fn a_row_that_is_too_large_for_the_server_is_refused_and_its_neighbours_are_written() {
    let Some(cassandra) = cassandra::shared() else { return };
    let table = open(&plan(&cassandra.address(), "poison.large", &[("v", CqlType::Blob)]));
    let large = |id: i64, bytes: usize| Row::new(id, id).with("v", Values::Bytes(buffer(&vec![7; bytes])));
    table.put(large(1, 1 << 20));
    // Beyond what one mutation may hold, and beyond what one request may.
    for (id, bytes) in [(2, 9 << 20), (3, 20 << 20)] {
        let refused = table.write(large(id, bytes)).expect("it is the row's fault");
        let [(place, reason)] = refused.as_slice() else { panic!("it is refused: {refused:?}") };
        assert_eq!(place.offset, id, "{reason}");
    }
    table.put(large(4, 1 << 20));
    assert_eq!(cassandra.rows("SELECT id FROM poison.large").len(), 2);
}

#[test]
fn what_cassandra_refuses_in_a_key_is_refused_by_binding_on_every_table() {
    let Some(cassandra) = cassandra::shared() else { return };
    let columns =
        |second: Option<KeyRole>| vec![column("k", CqlType::Text, Some(KeyRole::Partition)), column("c", CqlType::Text, second)];
    let at = SinkAddress::Cassandra { hosts: vec![cassandra.address()], table: "poison.keys".to_owned() };
    let table = open(&SinkPlan::new("t", at, columns(Some(KeyRole::Clustering))));
    let row = |k: &str, c: &str| Row { values: Vec::new(), ..Row::new(0, 1) }.text("k", k).text("c", c);
    let long = "x".repeat(65_536);
    let refused = |row| bind(table.sink.as_ref(), row).expect_err("it is refused");
    assert_eq!(refused(row("", "c")), "column `k`: it is the whole partition key and must not be empty");
    assert!(refused(row(&long, "c")).starts_with("column `k`: 65536 bytes are too many"));
    assert!(refused(row("k", &long)).starts_with("column `c`: 65536 bytes are too many"));
    // What binding takes, the server takes.
    table.put(row("k", ""));
    table.put(row(&long[..65_535], &long[..65_535]));
    assert_eq!(cassandra.rows("SELECT k FROM poison.keys").len(), 2);
    // And binding is not stricter than the server.
    let refuses = |statement: &str| assert!(cassandra.try_rows(statement).is_err(), "{statement}");
    refuses("INSERT INTO poison.keys (k, c) VALUES ('', 'c')");
    refuses(&format!("INSERT INTO poison.keys (k, c) VALUES ('{long}', 'c')"));
    refuses(&format!("INSERT INTO poison.keys (k, c) VALUES ('k', '{long}')"));
}
