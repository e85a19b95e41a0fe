//! The flagship: users through `extract-user` and `enrich-user` into the table.

use std::collections::HashSet;
use std::fs;
use std::net::TcpListener;

use rusqlite::types::Value as Cell;
use serde_json::Value;
use tempfile::TempDir;

use crate::support::host::Pipeline;
use crate::support::read::{Record, Store};
use crate::support::verify::{self, Extent, Native};
use crate::support::{guests, root, users, wait_for};

/// A pipeline file of the repository, its plugins built.
fn pipeline(file: &str) -> (TempDir, Pipeline) {
    guests::component("plugins/extract-user");
    guests::component("plugins/enrich-user");
    let dir = TempDir::new().expect("make a folder");
    let pipeline = Pipeline::new(root().join(file), dir.path().join("data"));
    (dir, pipeline)
}

fn compare(store: &std::path::Path, topic: &str) -> verify::Findings {
    let decide = |record: &Record, _: &Value| users::decide(record);
    verify::verify(store, &Native { topic, table: users::TABLE, key: &["id"], decide: &decide }, Extent::All)
}

#[test]
fn five_thousand_users_arrive_with_every_column_as_computed_natively() {
    let (_dir, pipeline) = pipeline("pipelines/users.toml");
    users::five_thousand_arrive(&pipeline, &|| {
        let mut findings = compare(&pipeline.store("users"), "users_data");
        findings.broken.extend(pipeline.verify());
        findings
    });
}

#[test]
fn a_thousand_users_of_the_real_api_arrive_with_every_column_as_computed_natively() {
    let path = root().join("../shared/data/randomuser-1000.json");
    let Ok(text) = fs::read(&path) else {
        // Its one data set that cannot be part of the project; asked for or not, it may be absent.
        eprintln!("SKIPPED: {} is not there", path.display());
        return;
    };
    let response: Value = serde_json::from_slice(&text).expect("the file is JSON");
    let users = response["results"].as_array().expect("results");
    let (dir, pipeline) = pipeline("tests/pipelines/file/pipeline.toml");
    let lines: Vec<Vec<u8>> = users.iter().map(|user| serde_json::to_vec(user).expect("a user")).collect();
    let source = dir.path().join("users.ndjson");
    fs::write(&source, lines.join(&b'\n')).expect("write the source");
    let sample = dir.path().join("user.json");
    fs::write(&sample, &lines[0]).expect("write the sample");
    let set = |key: &str, path: &std::path::Path| format!("{key}={}", path.display());
    let pipeline = pipeline.set(&set("source.path", &source)).set(&set("source.sample", &sample));
    let answer = pipeline.run_until_idle().ok();
    assert_eq!(answer.count("delivered"), 1_000, "{}", answer.envelope);
    let mut findings = compare(&pipeline.store("users"), "users");
    findings.broken.extend(pipeline.verify());
    let records = Store::open(&pipeline.store("users"), "users").records();
    verify::compare_source(lines.iter().map(Vec::as_slice), &records, &mut findings);
    findings.assert_clean();
    assert_eq!((findings.records, findings.rows), (1_000, 1_000));
    // The traps of the real data are in it: postcodes that are numbers and such that are text.
    let codes = Store::open(&pipeline.store("users"), "users").rows(r#"SELECT post_code FROM "spark_streams.created_users""#);
    let is_number = |row: &std::collections::BTreeMap<String, Cell>| match &row["post_code"] {
        Cell::Text(code) => code.parse::<u64>().is_ok(),
        _ => false,
    };
    let kinds: HashSet<bool> = codes.iter().map(is_number).collect();
    assert_eq!(kinds.len(), 2);
}

/// The address of nobody.
fn unreachable() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("find a free port");
    let address = listener.local_addr().expect("its address");
    format!("source.url=http://{address}/")
}

#[test]
fn in_dev_the_generator_stands_in_for_an_unreachable_api_and_says_so_everywhere() {
    let (_dir, pipeline) = pipeline("pipelines/users.toml");
    let pipeline = pipeline.set(&unreachable()).set("source.every=20ms");
    let store = pipeline.store("users.stand-in");
    let mut host = pipeline.start("dev", &[]);
    host.ready(&store);
    wait_for("users that stand in", || (host.status()["totals"]["emitted"].as_u64()? >= 50).then_some(()));
    let status = host.status();
    let why = status["source"]["stand-in-for"].as_str().unwrap_or_else(|| panic!("no label: {status}"));
    assert!(why.contains("127.0.0.1"), "{why}");
    host.terminate();
    assert!(host.wait().success(), "{}", host.log());
    assert!(host.log().contains("makes up users"), "{}", host.log());
    let findings = compare_settled(&store);
    assert!(findings.is_clean() && findings.rows >= 50, "{findings}");
    assert!(!pipeline.store("users").join("store.db").exists(), "the real store is not touched");
}

fn compare_settled(store: &std::path::Path) -> verify::Findings {
    let decide = |record: &Record, _: &Value| users::decide(record);
    let native = Native { topic: "users_data", table: users::TABLE, key: &["id"], decide: &decide };
    verify::verify(store, &native, Extent::Settled)
}

#[test]
fn in_run_an_unreachable_api_is_told_and_nothing_stands_in() {
    let (_dir, pipeline) = pipeline("pipelines/users.toml");
    let pipeline = pipeline.set(&unreachable());
    let mut host = pipeline.start("run", &[]);
    host.ready(&pipeline.store("users"));
    let status = wait_for("the source to back off", || {
        let status = host.status();
        (status["source"]["state"] == "backing off").then_some(status)
    });
    assert!(status["source"]["last-error"].as_str().is_some_and(|why| why.contains("127.0.0.1")), "{status}");
    assert!(status["source"]["stand-in-for"].is_null(), "{status}");
    assert_eq!(status["source"]["records"], 0);
    host.terminate();
    assert!(host.wait().success(), "{}", host.log());
    assert!(!pipeline.store("users.stand-in").exists());
}
