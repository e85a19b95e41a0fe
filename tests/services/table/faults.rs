//! Between host and Cassandra stands a proxy that loses answers, makes up errors and drops connections: the table ends as it does
//! without them, cell by cell and write time by write time.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use scylla::errors::DbError;
use scylla::value::CqlValue;
use scylla_proxy::{
    Condition, Node, Proxy, Reaction, RequestOpcode, RequestReaction, RequestRule, ResponseFrame, ResponseOpcode,
    ResponseReaction, ResponseRule, RunningProxy, ShardAwareness, example_db_errors,
};
use tidemill::config::plan::{Consistency, CqlType};
use tidemill::record::{Batch, Column, Columns, RecordRef, Values};
use tidemill::sink::{Bound, Emitted, Error, Sink};

use super::{Opened, open, plan};
use crate::cassandra;
use crate::process::Port;

const ROWS: i64 = 1_000;
/// Several records of each key: a retry out of order must not bring an earlier one back.
const KEYS: i64 = 150;

/// A result without rows, as that of a write.
const VOID: &[u8] = &[0, 0, 0, 1];

pub fn proxied(cassandra: &cassandra::Cassandra, port: &Port, runtime: &tokio::runtime::Runtime) -> RunningProxy {
    let real: SocketAddr = cassandra.address().parse().expect("an address");
    let proxy = SocketAddr::from(([127, 0, 0, 1], port.number()));
    let node = Node::builder().real_address(real).proxy_address(proxy).shard_awareness(ShardAwareness::Unaware).build();
    runtime.block_on(Proxy::builder().with_node(node).build().run()).expect("start the proxy")
}

fn bind(sink: &dyn Sink) -> Bound {
    let mut batch = Batch::new(0);
    (0..ROWS).for_each(|offset| batch.push(RecordRef { offset, timestamp: 0, key: None, value: None, headers: &[] }));
    let origins: Vec<u32> = (0..ROWS as u32).collect();
    let times: Vec<i64> = (0..ROWS).map(|offset| 1_000_000 + offset).collect();
    // Every ninth record deletes its key.
    let deleted: Vec<u32> = origins.iter().copied().filter(|row| row % 9 == 0).collect();
    let values = |value: &dyn Fn(i64) -> i64| Values::Ints((0..ROWS).map(value).collect());
    let nulls: Vec<u32> = origins.iter().copied().filter(|row| row % 5 == 0).collect();
    let mut columns = Columns::default();
    columns.set("id", Column { values: values(&|offset| offset % KEYS), nulls: Vec::new() });
    columns.set("v", Column { values: values(&|offset| offset), nulls });
    columns.set("w", Column { values: values(&|offset| -offset), nulls: Vec::new() });
    let emitted =
        Emitted { batch: &batch, origins: &origins, deleted: &deleted, columns: &columns, write_times: &times, messages: None };
    sink.bind(&emitted).expect("bind")
}

/// As the pipeline does: what is left is written again, until nothing is.
fn write_patiently(table: &Opened) -> u32 {
    let mut bound = bind(table.sink.as_ref());
    let mut again = 0;
    loop {
        match table.runtime.block_on(table.sink.write(&bound)) {
            Ok(refused) => {
                assert_eq!(refused, [], "no row is to blame");
                return again;
            }
            Err(Error::Partly { rest, refused, .. }) => {
                assert_eq!(refused, [], "no row is to blame");
                bound = *rest;
            }
            Err(Error::Transient(_)) => {}
            Err(other) => panic!("it must not stop: {other:?}"),
        }
        again += 1;
        assert!(again < 10_000, "it gets nowhere");
    }
}

type Table = BTreeMap<i32, Vec<Option<CqlValue>>>;

fn read(cassandra: &cassandra::Cassandra, table: &str) -> Table {
    let rows = cassandra.rows(&format!("SELECT id, v, w, WRITETIME(v) AS vt, WRITETIME(w) AS wt FROM {table}"));
    let cells = |row: &BTreeMap<String, Option<CqlValue>>| ["v", "w", "vt", "wt"].map(|cell| row[cell].clone()).to_vec();
    let id = |value: &Option<CqlValue>| value.as_ref().and_then(CqlValue::as_int).expect("a key");
    rows.iter().map(|row| (id(&row["id"]), cells(row))).collect()
}

/// One in four writes meets the fault; the control connection is left alone.
fn now_and_then(of: Condition) -> Condition {
    Condition::not(Condition::ConnectionRegisteredAnyEvent).and(of).and(Condition::RandomWithProbability(0.25))
}

pub fn on_execute(reaction: RequestReaction) -> Fault {
    Fault {
        requests: vec![RequestRule(now_and_then(Condition::RequestOpcode(RequestOpcode::Execute)), reaction)],
        responses: Vec::new(),
    }
}

pub struct Fault {
    pub requests: Vec<RequestRule>,
    pub responses: Vec<ResponseRule>,
}

/// The write is applied, and the answer says otherwise.
pub fn applied_but(error: DbError) -> Fault {
    let lie = move |frame: ResponseFrame| match frame.body.as_ref() == VOID {
        true => ResponseFrame::forged_error(frame.params, error.clone(), None).expect("an error frame"),
        false => frame,
    };
    let condition = now_and_then(Condition::ResponseOpcode(ResponseOpcode::Result));
    Fault { requests: Vec::new(), responses: vec![ResponseRule(condition, ResponseReaction::transform_frame(Arc::new(lie)))] }
}

#[test]
fn whatever_happens_between_host_and_cluster_the_table_is_the_same() {
    let Some(cassandra) = cassandra::shared() else { return };
    let columns = [("v", CqlType::BigInt), ("w", CqlType::BigInt)];
    let undisturbed = open(&plan(&cassandra.address(), "faults.undisturbed", &columns));
    assert_eq!(write_patiently(&undisturbed), 0);
    let wanted = read(cassandra, "faults.undisturbed");
    assert!(wanted.len() > 100 && wanted.len() < KEYS as usize);
    let faults = [
        ("applied_but_timed_out", applied_but(example_db_errors::write_timeout())),
        ("applied_but_failed", applied_but(example_db_errors::write_failure())),
        ("timed_out", on_execute(RequestReaction::forge().write_timeout())),
        ("overloaded", on_execute(RequestReaction::forge().overloaded())),
        ("unavailable", on_execute(RequestReaction::forge().unavailable())),
        ("bootstrapping", on_execute(RequestReaction::forge().is_bootstrapping())),
        ("server_error", on_execute(RequestReaction::forge().server_error())),
        ("unprepared", on_execute(RequestReaction::forge().unprepared())),
    ];
    for (name, fault) in faults {
        let port = Port::choose();
        let runtime = super::runtime();
        let mut proxy = proxied(cassandra, &port, &runtime);
        let table = open(&plan(&format!("127.0.0.1:{}", port.number()), &format!("faults.{name}"), &columns));
        proxy.running_nodes[0].change_request_rules(Some(fault.requests));
        proxy.running_nodes[0].change_response_rules(Some(fault.responses));
        let again = write_patiently(&table);
        assert!(again > 0, "{name}: nothing happened");
        let figures = table.sink.figures().expect("it has figures");
        assert_eq!((figures.in_flight, figures.breaker), (0, "closed"), "{name}");
        assert!(figures.last_error.is_some() && figures.latencies.is_some(), "{name}");
        assert_eq!(read(cassandra, &format!("faults.{name}")), wanted, "{name}");
    }
}

#[test]
fn dropped_connections_are_made_again_and_the_table_is_the_same() {
    let Some(cassandra) = cassandra::shared() else { return };
    let columns = [("v", CqlType::BigInt), ("w", CqlType::BigInt)];
    write_patiently(&open(&plan(&cassandra.address(), "lost.undisturbed", &columns)));
    let port = Port::choose();
    let runtime = super::runtime();
    let mut proxy = proxied(cassandra, &port, &runtime);
    let table = open(&plan(&format!("127.0.0.1:{}", port.number()), "lost.connections", &columns));
    let some = Condition::RequestOpcode(RequestOpcode::Execute).and(Condition::not(Condition::ConnectionRegisteredAnyEvent));
    let some = some.and(Condition::RandomWithProbability(0.01)).and(Condition::TrueForLimitedTimes(6));
    proxy.running_nodes[0].change_request_rules(Some(vec![RequestRule(some, RequestReaction::drop_connection())]));
    assert!(write_patiently(&table) > 0);
    assert_eq!(read(cassandra, "lost.connections"), read(cassandra, "lost.undisturbed"));
}

#[test]
fn replicas_that_are_not_there_are_waited_for_and_told() {
    let Some(cassandra) = cassandra::shared() else { return };
    let columns = [("v", CqlType::BigInt), ("w", CqlType::BigInt)];
    let mut plan = plan(&cassandra.address(), "replicas.rows", &columns);
    plan.cluster.consistency = Consistency::Two;
    let table = open(&plan);
    match table.runtime.block_on(table.sink.write(&bind(table.sink.as_ref()))) {
        Err(Error::Partly { rest, refused, reason }) => {
            assert_eq!((rest.rows() as i64, refused), (ROWS, Vec::new()), "no row is to blame");
            assert!(reason.contains("consistency: Two, required: 2, alive: 1"), "{reason}");
        }
        other => panic!("one node cannot keep two copies: {other:?}"),
    }
    assert!(read(cassandra, "replicas.rows").is_empty());
}

#[test]
fn in_an_outage_one_row_at_a_time_is_tried_and_then_all_go_on() {
    let Some(cassandra) = cassandra::shared() else { return };
    let columns = [("v", CqlType::BigInt), ("w", CqlType::BigInt)];
    let port = Port::choose();
    let runtime = super::runtime();
    let mut proxy = proxied(cassandra, &port, &runtime);
    let table = open(&plan(&format!("127.0.0.1:{}", port.number()), "outage.rows", &columns));
    let all = Condition::RequestOpcode(RequestOpcode::Execute).and(Condition::not(Condition::ConnectionRegisteredAnyEvent));
    let (told, mut asked) = tokio::sync::mpsc::unbounded_channel();
    let down = RequestReaction::forge().unavailable().with_feedback_when_performed(told);
    proxy.running_nodes[0].change_request_rules(Some(vec![RequestRule(all, down)]));
    let mut bound = bind(table.sink.as_ref());
    let mut outage = |bound: &mut Bound| {
        match table.runtime.block_on(table.sink.write(bound)) {
            Err(Error::Partly { rest, reason, .. }) => {
                assert_eq!(rest.rows() as i64, ROWS, "{reason}");
                *bound = *rest;
            }
            other => panic!("nothing can be written: {other:?}"),
        }
        let mut count = 0;
        while asked.try_recv().is_ok() {
            count += 1;
        }
        count
    };
    // All that were in flight fail, and those that some lanes began before there were so many; after that each call tries one.
    assert!((32..=256 + 32).contains(&outage(&mut bound)));
    assert_eq!(table.sink.figures().expect("it has figures").breaker, "open");
    assert_eq!((outage(&mut bound), outage(&mut bound)), (1, 1));
    proxy.turn_off_rules();
    assert_eq!(table.runtime.block_on(table.sink.write(&bound)).expect("it goes on"), []);
    assert_eq!(table.sink.figures().expect("it has figures").breaker, "closed");
    assert!(!read(cassandra, "outage.rows").is_empty());
}
