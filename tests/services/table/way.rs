//! Whole pipelines into Cassandra, through the real binary.

use std::collections::BTreeMap;

use scylla::value::{CqlTimestamp, CqlValue};
use scylla_proxy::{RequestReaction, example_db_errors};
use serde_json::Value;
use tempfile::TempDir;

use super::{faults, runtime};
use crate::cassandra;
use crate::process::Port;
use crate::support::host::Pipeline;
use crate::support::read::Store;
use crate::support::wait_for;

/// Made-up users into two tables: one by user, one by nation and birthday.
fn pipeline(address: &str, keyspace: &str, records: u32) -> (TempDir, Pipeline) {
    let dir = tempfile::tempdir().expect("a folder");
    let text = format!(
        r#"name = "way"
[source]
kind = "generator"
every = "0s"
records-per-poll = 100
records = {records}
[topic]
key = "login.uuid"
partitions = 3
[[sink]]
name = "users"
at = "cassandra://{address}"
table = "{keyspace}.users"
[sink.columns]
id = {{ field = "login.uuid", type = "uuid", key = "partition" }}
born = {{ field = "dob.date", type = "timestamp" }}
post_code = "location.postcode"
name = {{ field = "name", type = "map<text, text>" }}
[[sink]]
name = "by_nation"
at = "cassandra://{address}"
table = "{keyspace}.by_nation"
[sink.columns]
nat = {{ field = "nat", key = "partition" }}
born = {{ field = "dob.date", type = "timestamp", key = "clustering" }}
id = {{ field = "login.uuid", type = "uuid", key = "clustering" }}
email = "email"
"#
    );
    std::fs::write(dir.path().join("way.toml"), text).expect("write the pipeline");
    let pipeline = Pipeline::new(dir.path().join("way.toml"), dir.path().join("data"));
    (dir, pipeline)
}

type Rows = Vec<BTreeMap<String, Option<CqlValue>>>;

/// What the records of the topic must have become, as a native computation has it.
fn compare(pipeline: &Pipeline, users: &Rows, by_nation: &Rows) {
    let store = Store::open(&pipeline.store("way"), "way");
    let records = store.records();
    let find = |rows: &Rows, id: &str| {
        let id: uuid::Uuid = id.parse().expect("a uuid");
        rows.iter().find(|row| row["id"] == Some(CqlValue::Uuid(id))).cloned().unwrap_or_else(|| panic!("no row of {id}"))
    };
    let text = |value: &Value| Some(CqlValue::Text(value.as_str().map_or_else(|| value.to_string(), str::to_owned)));
    let mut times: BTreeMap<u32, i64> = BTreeMap::new();
    for record in &records {
        let user: Value = serde_json::from_slice(record.value.as_deref().expect("a value")).expect("JSON");
        let id = user["login"]["uuid"].as_str().expect("an id");
        let born: jiff::Timestamp = user["dob"]["date"].as_str().expect("a date").parse().expect("a date");
        let born = Some(CqlValue::Timestamp(CqlTimestamp(born.as_millisecond())));
        let row = find(users, id);
        assert_eq!((&row["born"], &row["post_code"]), (&born, &text(&user["location"]["postcode"])));
        let name: BTreeMap<String, Value> = serde_json::from_value(user["name"].clone()).expect("a name");
        let name = name.iter().map(|(key, value)| (CqlValue::Text(key.clone()), text(value).expect("text"))).collect();
        assert_eq!(row["name"], Some(CqlValue::Map(name)));
        let other = find(by_nation, id);
        assert_eq!((&other["nat"], &other["born"], &other["email"]), (&text(&user["nat"]), &born, &text(&user["email"])));
        // One write time per record in all tables, and along a partition they grow.
        assert_eq!(row["at"], other["at"]);
        let at = row["at"].as_ref().and_then(CqlValue::as_bigint).expect("a write time");
        assert!(times.insert(record.partition, at).is_none_or(|before| before < at));
    }
    assert_eq!((users.len(), by_nation.len()), (records.len(), records.len()));
}

fn read(cassandra: &cassandra::Cassandra, keyspace: &str) -> (Rows, Rows) {
    let users = cassandra.rows(&format!("SELECT id, born, post_code, name, WRITETIME(born) AS at FROM {keyspace}.users"));
    (users, cassandra.rows(&format!("SELECT nat, born, id, email, WRITETIME(email) AS at FROM {keyspace}.by_nation")))
}

#[test]
fn users_arrive_in_both_tables_as_computed_natively_and_a_second_delivery_changes_nothing() {
    let Some(cassandra) = cassandra::shared() else { return };
    let (_dir, pipeline) = pipeline(&cassandra.address(), "way", 2_000);
    let answer = pipeline.run_until_idle().ok();
    assert_eq!(["delivered", "rejected"].map(|name| answer.count(name)), [2_000, 0], "{}", answer.envelope);
    let (users, by_nation) = read(cassandra, "way");
    compare(&pipeline, &users, &by_nation);
    // As if the host had been killed before it saved: what the boundary in force has decided comes again.
    let tool = rusqlite::Connection::open(pipeline.store("way").join("store.db")).expect("open the store");
    let first = "json_extract(position, '$.boundaries[0].first')";
    let reset = format!("UPDATE partitions SET settled = {first}, position = json_set(position, '$.next', {first})");
    assert_eq!(tool.execute(&reset, []).expect("reset the positions"), 3);
    drop(tool);
    let again = pipeline.run_until_idle().ok();
    assert!(again.count("delivered") > 0, "{}", again.envelope);
    assert_eq!(read(cassandra, "way"), (users, by_nation));
}

/// The sink alone is tried with each fault in `faults`; here the position, the dead letters and the proof hang on it too.
#[test]
fn behind_a_network_that_lies_and_fails_a_pipeline_writes_what_it_writes_without() {
    let Some(cassandra) = cassandra::shared() else { return };
    let (port, runtime) = (Port::choose(), runtime());
    let mut proxy = faults::proxied(cassandra, &port, &runtime);
    let lies = faults::applied_but(example_db_errors::write_timeout()).responses;
    let fails = faults::on_execute(RequestReaction::forge().overloaded()).requests;
    proxy.running_nodes[0].change_response_rules(Some(lies));
    proxy.running_nodes[0].change_request_rules(Some(fails));
    let (_dir, pipeline) = pipeline(&format!("127.0.0.1:{}", port.number()), "lied", 2_000);
    let mut host = pipeline.start("run", &[]);
    host.ready(&pipeline.store("way"));
    let most = |sinks: &Value| (0..2).all(|at| sinks[at]["rows"].as_u64() > Some(1_500));
    wait_for("most rows", || most(&host.status()["sinks"]).then_some(()));
    // A last row that is unlucky each time is waited for longer and longer.
    proxy.turn_off_rules();
    wait_for("the rows", || (host.status()["totals"]["emitted"] == 2_000).then_some(()));
    let sinks = host.status()["sinks"].take();
    assert!(sinks[0]["retries"].as_u64() > Some(0) && sinks[1]["retries"].as_u64() > Some(0), "nothing happened: {sinks}");
    host.terminate();
    assert!(host.wait().success(), "{}", host.log());
    let (users, by_nation) = read(cassandra, "lied");
    compare(&pipeline, &users, &by_nation);
    assert_eq!(pipeline.verify(), Vec::<String>::new());
}

#[test]
fn a_cluster_that_is_down_is_waited_for_told_and_does_not_hold_the_end() {
    let Some(cassandra) = cassandra::shared() else { return };
    let port = Port::choose();
    let (_dir, pipeline) = pipeline(&format!("127.0.0.1:{}", port.number()), "late", 500);
    let down = |host: &crate::support::host::Host| {
        wait_for("the alarm", || {
            let status = host.status();
            let sink = &status["sinks"][0];
            let told = status["alarms"].to_string().contains("sink users cannot be written, trying again");
            (told && sink["breaker"] == "open" && sink["state"] == "backing off").then_some(())
        })
    };
    let mut host = pipeline.start("run", &[]);
    host.ready(&pipeline.store("way"));
    down(&host);
    let began = std::time::Instant::now();
    host.terminate();
    assert!(host.wait().success(), "{}", host.log());
    // Far below the deadline of draining, which is for what can still be written.
    assert!(began.elapsed().as_secs() < 8, "{:?}", began.elapsed());

    let mut host = pipeline.start("run", &[]);
    host.ready(&pipeline.store("way"));
    down(&host);
    let runtime = runtime();
    let _proxy = faults::proxied(cassandra, &port, &runtime);
    wait_for("the rows", || (host.status()["totals"]["emitted"] == 500).then_some(()));
    // They are looked at once a second.
    let at_rest = |sink: &Value| sink["unanswered"] == 0 && sink["breaker"] == "closed";
    let sink = wait_for("the figures", || Some(host.status()["sinks"][0].clone()).filter(at_rest));
    assert_eq!(sink["rows"], 500, "{sink}");
    let times = &sink["write-ms"];
    let ms = |name: &str| times[name].as_f64().expect("a time");
    assert!(ms("p50") > 0.0 && ms("p50") <= ms("p95") && ms("p95") <= ms("p99") && ms("p99") <= ms("max"), "{sink}");
    assert!(host.status()["alarms"].as_array().expect("alarms").is_empty());
    host.terminate();
    assert!(host.wait().success(), "{}", host.log());
    let (users, by_nation) = read(cassandra, "late");
    compare(&pipeline, &users, &by_nation);
}

#[test]
fn a_row_that_the_server_refuses_is_its_records_dead_letter_and_what_is_beside_it_stands() {
    let Some(cassandra) = cassandra::shared() else { return };
    let dir = tempfile::tempdir().expect("a folder");
    // Beyond what one mutation may hold, and beyond what one request may.
    let bytes = |id: usize| match id {
        3 => 9 << 20,
        6 => 20 << 20,
        _ => 10,
    };
    let line = |id: usize| format!(r#"{{"id":{id},"what":"{}"}}"#, "x".repeat(bytes(id)));
    std::fs::write(dir.path().join("lines.ndjson"), (0..10).map(line).collect::<Vec<_>>().join("\n")).expect("write the source");
    let address = cassandra.address();
    let sink = |name: &str, columns: &str| {
        let key = r#"id = { field = "id", type = "int", key = "partition" }"#;
        format!(
            "[[sink]]\nname = \"{name}\"\nat = \"cassandra://{address}\"\ntable = \"refused.{name}\"\n[sink.columns]\n{key}\n{columns}\n"
        )
    };
    let source = "name = \"refused\"\n[source]\nkind = \"file\"\npath = \"lines.ndjson\"\n[topic]\nkey = \"id\"\n";
    let stop_when = "[dead-letters]\nstop-when = \"never\"\n";
    let text = [source, &sink("whole", "what = \"what\""), &sink("ids", ""), stop_when].concat();
    std::fs::write(dir.path().join("refused.toml"), text).expect("write the pipeline");
    let pipeline = Pipeline::new(dir.path().join("refused.toml"), dir.path().join("data"));
    let answer = pipeline.run_until_idle().ok();
    assert_eq!(["delivered", "rejected"].map(|name| answer.count(name)), [8, 2], "{}", answer.envelope);

    let listed = pipeline.ask(&["dead-letters", "list"], &[]).ok();
    let letters = listed.result()["dead-letters"].as_array().expect("a list").clone();
    let told = |letter: &Value| letter["reason"].as_str().is_some_and(|reason| reason.starts_with("sink whole: "));
    assert!(letters.len() == 2 && letters.iter().all(told), "{:#}", listed.envelope);
    let ids = |table: &str| {
        let rows = cassandra.rows(&format!("SELECT id FROM refused.{table}"));
        let mut ids: Vec<i32> = rows.into_iter().filter_map(|mut row| row.remove("id")??.as_int()).collect();
        ids.sort_unstable();
        ids
    };
    assert_eq!(ids("whole"), [0, 1, 2, 4, 5, 7, 8, 9]);
    // Where it was taken its row stands.
    assert_eq!(ids("ids"), (0..10).collect::<Vec<_>>());
    assert_eq!(pipeline.verify(), Vec::<String>::new());
}
