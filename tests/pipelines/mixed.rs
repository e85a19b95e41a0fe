//! `fields` and `messages` stages in one chain, several sinks, and records without a value.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use base64::Engine;
use rusqlite::types::Value as Cell;
use serde_json::{Value, json};
use tempfile::TempDir;
use tidemill::config::plan::{NullValue, Retention, TopicAddress, TopicPlan};
use tidemill::record::Message;
use tidemill::topic::{Cursor, Topic, embedded};

use crate::support::host::Pipeline;
use crate::support::jobs::{self, Marks, Scene};
use crate::support::read::{Record, Store};
use crate::support::verify::{self, Decision, Extent, Native};
use crate::support::{guests, root};

fn job(number: i64, name: &str, what: &str) -> Value {
    json!({ "number": number, "name": name, "do": what, "note": format!("note {number}") })
}

/// What the three stages must make of a page, from what `triage` makes of a job.
fn decide_page(record: &Record, content: &Value, marks: &Marks) -> Decision {
    let triage = |value: &Value, stage| {
        let record = Record { value: Some(value.to_string().into_bytes()), ..record.clone() };
        jobs::decide_in(stage, &record, content, marks)
    };
    let Ok(page) = serde_json::from_slice::<Value>(record.value.as_deref().unwrap_or_default()) else {
        return Decision::Rejected(None, "not JSON".to_owned());
    };
    match triage(&page, "page") {
        Decision::Rows(_) => {}
        other => return other,
    }
    let Some(results) = page["results"].as_array() else {
        return Decision::Rejected(Some("split"), "not a page".to_owned());
    };
    let mut rows = Vec::new();
    for result in results {
        match triage(result, "triage") {
            Decision::Rows(some) => rows.extend(some.into_iter().map(|row| (row, true))),
            Decision::Deleted(row) => rows.push((row, false)),
            Decision::Dropped => {}
            // One row that is rejected takes its record with it.
            rejected => return rejected,
        }
    }
    match rows.is_empty() {
        true => Decision::Dropped,
        false => Decision::Mixed(rows),
    }
}

#[test]
fn pages_are_looked_at_split_and_looked_at_again() {
    let dir = TempDir::new().expect("make a folder");
    let mut marks = Marks::default();
    marks.install(&dir.path().join("triage.wasm"), "0000");
    let page = |number: i64, what: &str, results: Vec<Value>| {
        let mut page = job(number, &format!("page-{number}"), what);
        page["results"] = results.into();
        page.to_string()
    };
    let mut lines: Vec<String> = (0..200)
        .map(|number| {
            let at = number * 10;
            page(number, "keep", (at..at + 5).map(|job_number| job(job_number, &format!("job-{job_number}"), "keep")).collect())
        })
        .collect();
    lines.extend([
        page(900, "drop", vec![job(9_000, "never", "keep")]),
        page(901, "reject", vec![job(9_010, "never", "keep")]),
        job(902, "no-results", "keep").to_string(),
        page(903, "keep", vec![job(9_030, "rejected-with-it", "keep"), job(9_031, "bad", "reject")]),
        page(904, "keep", vec![job(9_040, "twice", "keep"), job(9_041, "twice", "keep")]),
        page(905, "keep", vec![job(9_050, "comes-and-goes", "keep"), job(9_051, "comes-and-goes", "delete")]),
        page(906, "keep", vec![job(9_060, "goes-and-comes", "delete"), job(9_061, "goes-and-comes", "keep")]),
        page(907, "keep", vec![job(9_070, "left", "keep"), job(9_071, "left-out", "drop")]),
        page(908, "keep", vec![]),
        page(909, "keep", vec![json!({ "number": "no number", "name": "n", "do": "keep" })]),
        "no page".to_owned(),
        page(910, "keep", vec![job(9_100, "last", "keep")]),
    ]);
    let source = dir.path().join("pages.ndjson");
    fs::write(&source, lines.join("\n")).expect("write the source");
    guests::component("plugins/split-results");
    let plugin = dir.path().join("triage.wasm");
    let pipeline = Pipeline::new(root().join("tests/pipelines/split/pipeline.toml"), dir.path().join("data"))
        .set(&format!("source.path={}", source.display()))
        .set(&format!("stage.page.plugin={}", plugin.display()))
        .set(&format!("stage.triage.plugin={}", plugin.display()));
    pipeline.run_until_idle().ok();
    let decide = |record: &Record, content: &Value| decide_page(record, content, &marks);
    let native = Native { topic: "pages", table: jobs::TABLE, key: &["id"], decide: &decide };
    let mut findings = verify::verify(&pipeline.store("pages"), &native, Extent::All);
    findings.broken.extend(pipeline.verify());
    let records = Store::open(&pipeline.store("pages"), "pages").records();
    verify::compare_source(lines.iter().map(String::as_bytes), &records, &mut findings);
    findings.assert_clean();
    assert_eq!((findings.rows, findings.dead_letters), (1_004, 5), "{findings}");
}

#[test]
fn every_sink_gets_what_the_chain_makes() {
    let scene = Scene::new("tests/pipelines/sinks", jobs::lines(3_000));
    scene.pipeline.run_until_idle().ok();
    scene.verify_all().assert_clean();
    let content = scene.store().generations().into_values().next().expect("a generation");
    let decided: Vec<(Record, Decision)> = scene
        .store()
        .records()
        .into_iter()
        .map(|record| (record.clone(), jobs::decide(&record, &content, &scene.marks)))
        .collect();
    compare_by_number(&scene, &decided);
    compare_lines(&scene.dir.path().join("lines.ndjson"), &decided);
    compare_copies(&scene, &decided);
}

/// The second table holds the same records under another key and in other types. Its deletes have another key as well, that of the
/// deleting record, and remove nothing.
fn compare_by_number(scene: &Scene, decided: &[(Record, Decision)]) {
    let mut expected: BTreeMap<i64, Vec<Cell>> = BTreeMap::new();
    for (record, decision) in decided {
        let Decision::Rows(rows) = decision else { continue };
        let Cell::Integer(number) = rows[0]["number"] else { panic!("a number") };
        let key = record.key.clone().expect("jobs have a key");
        let (name, twice) = (rows[0]["id"].clone(), rows[0]["twice"].clone());
        expected.insert(number, vec![name, Cell::Real(2.0 * number as f64), twice, Cell::Blob(key)]);
    }
    let rows = scene.store().rows(r#"SELECT * FROM "jobs.by_number""#);
    assert_eq!(rows.len(), expected.len());
    for mut row in rows {
        let Some(Cell::Integer(number)) = row.remove("number") else { panic!("a number") };
        let cells = ["name", "as_double", "as_int", "payload_key"].map(|name| row.remove(name).expect("a column"));
        assert_eq!(expected.get(&number).map(Vec::as_slice), Some(&cells[..]), "row {number}");
    }
}

/// The record with the written fields set, as JSON.
fn whole(record: &Record, decision: &Decision) -> Option<Value> {
    let (Decision::Rows(rows), Some(value)) = (decision, &record.value) else { return None };
    let mut whole: Value = serde_json::from_slice(value).expect("a job");
    for name in ["id", "twice", "shout", "mark"] {
        whole[name] = match &rows[0][name] {
            Cell::Integer(number) => (*number).into(),
            Cell::Text(text) => text.as_str().into(),
            _ => Value::Null,
        };
    }
    Some(whole)
}

fn compare_lines(path: &Path, decided: &[(Record, Decision)]) {
    let read: Vec<Value> = fs::read_to_string(path)
        .expect("read the sink's file")
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect();
    let expected: Vec<Value> = decided.iter().filter_map(|(record, decision)| whole(record, decision)).collect();
    let sorted = |mut values: Vec<Value>| {
        values.sort_by_key(|value| value["number"].as_i64());
        values
    };
    assert_eq!(sorted(read), sorted(expected));
}

/// A topic also gets the deletes, as records without a value.
fn compare_copies(scene: &Scene, decided: &[(Record, Decision)]) {
    type Copies = BTreeMap<Vec<u8>, Vec<Option<Value>>>;
    let mut expected = Copies::new();
    for (record, decision) in decided {
        let value = whole(record, decision);
        if value.is_some() || matches!(decision, Decision::Deleted(_)) {
            expected.entry(record.key.clone().expect("jobs have a key")).or_default().push(value);
        }
    }
    let mut found = Copies::new();
    for record in Store::open(&scene.store_dir(), "copies").records() {
        let value = record.value.map(|value| serde_json::from_slice(&value).expect("a copy is JSON"));
        found.entry(record.key.expect("a copy has a key")).or_default().push(value);
    }
    assert_eq!(found, expected, "in order, by key");
}

/// Feeds a topic as somebody else would, through the library.
fn feed(dir: &Path, name: &str, messages: Vec<Message>) {
    let plan = TopicPlan {
        name: name.to_owned(),
        at: TopicAddress::Embedded,
        key: None,
        partitions: 1,
        retention: Retention { age: None, bytes: None },
        null_value: NullValue::default(),
    };
    let store = tidemill::store::Store::open(dir).expect("open the store");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("start a runtime");
    runtime.block_on(async {
        let topic = embedded::Embedded::open(&store, &plan).await.expect("open the topic");
        let mut publisher = topic.publisher().await.expect("be the publisher");
        publisher.publish(messages, Cursor(Value::Null)).await.expect("publish");
    });
}

#[test]
fn a_record_without_a_value_is_rejected_dropped_or_deletes_its_row() {
    guests::component("tests/guests/fault");
    let message = |key: Option<&str>, value: Option<&str>| Message {
        key: key.map(|key| key.as_bytes().to_vec()),
        value: value.map(|value| value.as_bytes().to_vec()),
        // Of now: what retention would remove could not be compared.
        timestamp: jiff::Timestamp::now().as_millisecond(),
        headers: vec![("h".to_owned(), Some(b"v".to_vec())), ("none".to_owned(), None)],
    };
    let messages = [
        message(Some("a"), Some(r#"{"payload":"first"}"#)),
        message(Some("b"), Some(r#"{"payload":"stays"}"#)),
        message(Some("a"), None),
        message(None, None),
        message(Some("c"), None),
        message(Some("c"), Some(r#"{"payload":"after its tombstone"}"#)),
    ];
    for null_value in ["reject", "drop", "delete"] {
        let dir = TempDir::new().expect("make a folder");
        let pipeline = Pipeline::new(root().join("tests/pipelines/tombstones/pipeline.toml"), dir.path().join("data"))
            .set(&format!("topic.null-value={null_value}"));
        feed(&pipeline.store("tombstones"), "tombstones", messages.to_vec());
        pipeline.run_until_idle().ok();
        let decide = |record: &Record, _: &Value| {
            let id = record.key.clone().map_or(Cell::Null, Cell::Blob);
            let row = |payload: Cell| [("id".to_owned(), id.clone()), ("payload".to_owned(), payload)].into();
            match (&record.value, null_value) {
                (Some(value), _) => {
                    let payload: Value = serde_json::from_slice(value).expect("JSON");
                    Decision::Rows(vec![row(Cell::Text(payload["payload"].as_str().expect("text").to_owned()))])
                }
                (None, "drop") => Decision::Dropped,
                (None, "delete") if record.key.is_some() => Decision::Deleted(row(Cell::Null)),
                (None, "delete") => Decision::Rejected(None, "neither value nor key".to_owned()),
                (None, _) => Decision::Rejected(None, "no value".to_owned()),
            }
        };
        let native = Native { topic: "tombstones", table: "tombstones.table", key: &["id"], decide: &decide };
        let mut findings = verify::verify(&pipeline.store("tombstones"), &native, Extent::All);
        findings.broken.extend(pipeline.verify());
        assert!(findings.is_clean(), "{null_value}: {findings}");
        let expected = match null_value {
            "reject" => (3, 3),
            "drop" => (3, 0),
            _ => (2, 1),
        };
        assert_eq!((findings.rows, findings.dead_letters), expected, "{null_value}");
        let letters = Store::open(&pipeline.store("tombstones"), "tombstones").dead_letters();
        for letter in letters.values() {
            let none = base64::engine::general_purpose::STANDARD.encode("v");
            let headers: Value = serde_json::from_str(&letter.headers).expect("headers are JSON");
            assert_eq!(headers, json!([["h", none], ["none", null]]));
        }
    }
}
