//! Records that break parsers and plugins: each becomes what the rules say, and those around it are unharmed.

use std::collections::HashMap;
use std::fs;

use rusqlite::types::Value as Cell;
use serde_json::Value;
use tempfile::TempDir;

use crate::support::host::Pipeline;
use crate::support::read::{Record, Store};
use crate::support::verify::{self, Decision, Extent, Native, Row};
use crate::support::{guests, root};

/// Runs the lines through a pipeline of the guest `fault`, and compares everything with what each line must become.
fn run(case: &str, lines: &[(Vec<u8>, Decision)]) -> (TempDir, Store) {
    guests::component("tests/guests/fault");
    let dir = TempDir::new().expect("make a folder");
    let source = dir.path().join("lines.ndjson");
    let values: Vec<&[u8]> = lines.iter().map(|(line, _)| line.as_slice()).collect();
    fs::write(&source, values.join(&b'\n')).expect("write the source");
    let pipeline = Pipeline::new(root().join("tests/pipelines").join(case).join("pipeline.toml"), dir.path().join("data"))
        .set(&format!("source.path={}", source.display()));
    pipeline.run_until_idle().ok();
    let known: HashMap<&[u8], &Decision> = lines.iter().map(|(line, decision)| (line.as_slice(), decision)).collect();
    let decide = |record: &Record, _: &Value| {
        let value = record.value.as_deref().unwrap_or_default();
        known.get(value).map_or(Decision::Dropped, |decision| (*decision).clone())
    };
    let table = format!("{case}.table");
    let native = Native { topic: case, table: &table, key: &["id"], decide: &decide };
    let mut findings = verify::verify(&pipeline.store(case), &native, Extent::All);
    findings.broken.extend(pipeline.verify());
    let store = Store::open(&pipeline.store(case), case);
    verify::compare_source(values.iter().copied(), &store.records(), &mut findings);
    findings.assert_clean();
    (dir, store)
}

fn text(text: &str) -> Cell {
    Cell::Text(text.to_owned())
}

fn row(id: &str, payload: Option<&str>, amount: Option<Cell>) -> Row {
    let mut row = Row::from([
        ("id".to_owned(), text(id)),
        ("payload".to_owned(), payload.map_or(Cell::Null, text)),
        ("payload_length".to_owned(), Cell::Integer(payload.map_or(0, str::len) as i64)),
    ]);
    row.extend(amount.map(|amount| ("amount".to_owned(), amount)));
    row
}

#[test]
fn poison_is_rejected_or_carried_by_rule_and_harms_nobody() {
    let carried = |id: &str, payload: Option<&str>| Decision::Rows(vec![row(id, payload, Some(Cell::Null))]);
    let rejected = |reason: &str| Decision::Rejected(None, reason.to_owned());
    let deep = |levels: usize| format!(r#"{{"id":"deep-{levels}","deep":{}{}}}"#, "[".repeat(levels), "]".repeat(levels));
    let megabyte = "m".repeat(1 << 20);
    let long_number = "7".repeat(400);
    let poison: Vec<(Vec<u8>, Decision)> = [
        (b"{\"id\":\"bad \xff\xfe utf-8\"}".to_vec(), rejected("payload is not UTF-8 at byte 11")),
        (b"{\"id\":\"cut \xe2\x82\"}".to_vec(), rejected("not UTF-8")),
        (b"{".to_vec(), rejected("payload is not JSON")),
        (b"nonsense".to_vec(), rejected("payload is not JSON")),
        (br#"{"id":"behind"} x"#.to_vec(), rejected("trailing characters")),
        (br#"{"id":"no end"#.to_vec(), rejected("payload is not JSON")),
        (deep(64).into_bytes(), carried("deep-64", None)),
        (deep(126).into_bytes(), carried("deep-126", None)),
        (deep(127).into_bytes(), rejected("payload is not JSON")),
        (deep(100_000).into_bytes(), rejected("payload is not JSON")),
        (b"{\"id\":\"raw \0 nul\"}".to_vec(), rejected("payload is not JSON")),
        (br#"{"id":"nul","payload":"a\u0000b"}"#.to_vec(), carried("nul", Some("a\0b"))),
        (br#"{"id":"no","id":"twice","payload":1,"payload":"last"}"#.to_vec(), carried("twice", Some("last"))),
        (br#"{"id":"huge","nobody-reads":1e999}"#.to_vec(), carried("huge", None)),
        (br#"{"id":"huge-text","payload":1e999}"#.to_vec(), carried("huge-text", Some("1e999"))),
        (br#"{"id":"huge-float","amount":1e999}"#.to_vec(), rejected("field `amount`")),
        (format!(r#"{{"id":"long","payload":{long_number}}}"#).into_bytes(), carried("long", Some(&long_number))),
        (br#"{"id":"high","payload":"\ud800"}"#.to_vec(), rejected("payload is not JSON")),
        (br#"{"id":"low","nobody-reads":"x\udc00y"}"#.to_vec(), rejected("payload is not JSON")),
        (br#"{"id":"pair","payload":"\ud83c\udf0a"}"#.to_vec(), carried("pair", Some("🌊"))),
        (format!(r#"{{"id":"large","payload":"{megabyte}"}}"#).into_bytes(), carried("large", Some(&megabyte))),
        (b"[]".to_vec(), rejected("field `id`")),
        (b"17".to_vec(), rejected("field `id`")),
        (br#"{"id":null}"#.to_vec(), rejected("field `id`")),
        (br#"{"id":{"an":"object"}}"#.to_vec(), rejected("field `id`")),
        (br#"{"id":17}"#.to_vec(), carried("17", None)),
        (br#"{"id":""}"#.to_vec(), rejected("must not be empty")),
    ]
    .into();
    let count = poison.len();
    let good = |at: usize| {
        let id = format!("good-{at}");
        let line = format!(r#"{{"id":"{id}","payload":"unharmed","amount":{at}.5}}"#).into_bytes();
        (line, Decision::Rows(vec![row(&id, Some("unharmed"), Some(Cell::Real(at as f64 + 0.5)))]))
    };
    let lines: Vec<_> = poison.into_iter().enumerate().flat_map(|(at, poison)| [poison, good(at)]).collect();
    let rejected = lines.iter().filter(|(_, decision)| matches!(decision, Decision::Rejected(..))).count();
    let (_dir, store) = run("poison", &lines);
    assert_eq!(store.rows(r#"SELECT * FROM "poison.table""#).len(), 2 * count - rejected);
    assert_eq!(store.dead_letters().len(), rejected);
}

#[test]
fn a_record_that_ends_its_plugin_is_blamed_alone() {
    let evil = [
        (17, "trap", "trap"),
        (18, "exit", ""),
        (200, "spin", ""),
        (333, "alloc", ""),
        (334, "fail", "told to fail"),
        (335, "malformed", ""),
        (400, "wait", ""),
        (599, "trap", ""),
    ];
    let lines: Vec<(Vec<u8>, Decision)> = (0..600)
        .map(|at| {
            let id = format!("row-{at}");
            let line = |what: &str| format!(r#"{{"id":"{id}","do":"{what}","payload":"p{at}"}}"#).into_bytes();
            match evil.iter().find(|(place, ..)| *place == at) {
                Some((_, what, reason)) => (line(what), Decision::Rejected(Some("fault"), (*reason).to_owned())),
                None => (line("ok"), Decision::Rows(vec![row(&id, Some(&format!("p{at}")), None)])),
            }
        })
        .collect();
    let (_dir, store) = run("blame", &lines);
    let letters = store.dead_letters();
    let blamed: Vec<i64> = letters.keys().map(|(_, offset)| *offset).collect();
    assert_eq!(blamed, evil.map(|(at, ..)| at));
    assert!(letters.values().all(|letter| !letter.reason.is_empty()));
}
