//! The list of what every table does, and the model of the embedded one, on a real Cassandra.

#[path = "../../table/model.rs"]
mod model;
#[path = "../../conformance/tables.rs"]
mod tables;

use std::sync::atomic::{AtomicI64, Ordering};

use proptest::prelude::*;
use scylla::value::CqlValue;
use tables::{CHECKS, Flaw, Step};
use tidemill::config::plan::SinkAddress;

use super::open;
use crate::cassandra::{self, Cassandra};

fn at(cassandra: &Cassandra, table: &str) -> SinkAddress {
    SinkAddress::Cassandra { hosts: vec![cassandra.address()], table: table.to_owned() }
}

fn value_after(cassandra: &Cassandra, table: &str, steps: &[Step], flaw: Flaw) -> Option<i64> {
    let opened = open(&tables::plan(at(cassandra, table)));
    opened.runtime.block_on(tables::apply(opened.sink.as_ref(), steps, flaw));
    let rows = cassandra.rows(&format!("SELECT v FROM {table}"));
    assert!(rows.len() <= 1, "one key, one row");
    rows.first()?["v"].as_ref().and_then(CqlValue::as_bigint)
}

#[test]
fn cassandra_passes_each_check_of_the_list_and_a_double_fails_it() {
    let Some(cassandra) = cassandra::shared() else { return };
    for (n, (name, steps, wanted, flaw)) in CHECKS.into_iter().enumerate() {
        assert_eq!(value_after(cassandra, &format!("conformance.sound{n}"), steps, Flaw::None), wanted, "{name}");
        assert_ne!(value_after(cassandra, &format!("conformance.flawed{n}"), steps, flaw), wanted, "the double passes: {name}");
    }
}

fn read(cassandra: &Cassandra, keys: std::ops::Range<i64>) -> model::Rows {
    let list = keys.map(|key| key.to_string()).collect::<Vec<_>>().join(", ");
    let rows = cassandra.rows(&format!("SELECT key, a, b, generation FROM conformance.model WHERE key IN ({list})"));
    let int = |value: &Option<CqlValue>| i64::from(value.as_ref().and_then(CqlValue::as_int).expect("an int"));
    let row = |row: &std::collections::BTreeMap<String, Option<CqlValue>>| {
        let offset = row["a"].as_ref().and_then(CqlValue::as_bigint).expect("a bigint");
        let text = row["b"].as_ref().and_then(CqlValue::as_text).cloned().expect("a text");
        (int(&row["key"]), (offset, text, int(&row["generation"])))
    };
    rows.iter().map(row).collect()
}

/// Each case has keys of its own in one table.
static NEXT_KEY: AtomicI64 = AtomicI64::new(0);

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_later_record_wins_whatever_is_delivered_again(
        records in model::records(),
        deliveries in model::deliveries(),
        whole_at_the_end in any::<bool>(),
    ) {
        let Some(cassandra) = cassandra::shared() else { return Ok(()) };
        let first = NEXT_KEY.fetch_add(10, Ordering::Relaxed);
        let mut records = records;
        records.iter_mut().for_each(|record| record.key += first);
        let table = open(&model::plan(at(cassandra, "conformance.model")));
        let mut delivered = vec![false; records.len()];
        for stretch in model::stretches(&deliveries, records.len(), whole_at_the_end) {
            let bound = model::bind(table.sink.as_ref(), &records, stretch.clone());
            prop_assert_eq!(table.runtime.block_on(table.sink.write(&bound)).expect("write"), []);
            delivered[stretch].fill(true);
        }
        prop_assert_eq!(read(cassandra, first..first + 10), model::expected(&records, &delivered));
    }
}
