//! The verifier of `tests/support` finds what is wrong: every kind of damage to a store that was right is named as what it is.

mod support;

use std::fs;
use std::path::Path;
use std::sync::LazyLock;

use rusqlite::Connection;
use support::host::Host;
use support::jobs::{self, Scene};
use support::verify::{self, Extent, Findings};
use tempfile::TempDir;

/// A run without a fault, and the store that it left.
static RIGHT: LazyLock<Scene> = LazyLock::new(|| {
    let scene = Scene::new("tests/pipelines/jobs", jobs::lines(1_000));
    scene.pipeline.run_until_idle().ok();
    scene
});

/// What is found in a copy of the right store after this damage.
fn after(damage: impl FnOnce(&Connection)) -> Findings {
    let dir = TempDir::new().expect("make a folder");
    let copy = dir.path().join("jobs");
    fs::create_dir_all(&copy).expect("make a folder");
    // Through SQLite, so that what stands in the write-ahead log comes along.
    let vacuum = format!("VACUUM INTO '{}'", copy.join("store.db").display());
    RIGHT.store().connection.execute_batch(&vacuum).expect("copy the store");
    damage(&Connection::open(copy.join("store.db")).expect("open the copy"));
    RIGHT.verify_at(&copy, Extent::All)
}

/// Executes a statement that must change this many rows.
fn change(connection: &Connection, statement: &str, rows: usize) {
    assert_eq!(connection.execute(statement, []).expect(statement), rows, "{statement}");
}

fn counts(findings: &Findings) -> [usize; 5] {
    [&findings.missing, &findings.differing, &findings.invented, &findings.duplicate, &findings.broken].map(|found| found.len())
}

#[track_caller]
fn assert_found(findings: &Findings, counts_expected: [usize; 5], named: &str) {
    assert_eq!(counts(findings), counts_expected, "{findings}");
    assert!(findings.to_string().contains(named), "{named} is not named: {findings}");
}

#[test]
fn what_is_right_is_found_right() {
    let findings = after(|_| ());
    findings.assert_clean();
    assert!(findings.records == 1_000 && findings.rows > 100 && findings.dead_letters > 10, "{findings}");
    RIGHT.verify_all().assert_clean();
}

const A_ROW: &str = r#""@row" = (SELECT min("@row") FROM "jobs.done:rows" WHERE NOT "@deleted")"#;

#[test]
fn a_removed_row_is_missing() {
    let findings = after(|store| change(store, &format!(r#"DELETE FROM "jobs.done:rows" WHERE {A_ROW}"#), 1));
    assert_found(&findings, [1, 0, 0, 0, 0], "row [");
}

#[test]
fn an_altered_cell_differs() {
    let findings = after(|store| change(store, &format!(r#"UPDATE "jobs.done:rows" SET twice = twice + 1 WHERE {A_ROW}"#), 1));
    assert_found(&findings, [0, 1, 0, 0, 0], "twice: ");
}

#[test]
fn a_cell_of_another_type_differs() {
    let findings = after(|store| change(store, &format!(r#"UPDATE "jobs.done:rows" SET mark = NULL WHERE {A_ROW}"#), 1));
    assert_found(&findings, [0, 1, 0, 0, 0], "mark: ");
}

#[test]
fn an_altered_write_time_differs() {
    let findings =
        after(|store| change(store, &format!(r#"UPDATE "jobs.done:rows" SET "@time" = "@time" + 1 WHERE {A_ROW}"#), 1));
    assert_found(&findings, [0, 1, 0, 0, 0], "written at ");
}

#[test]
fn a_row_too_many_is_invented() {
    let insert =
        r#"INSERT INTO "jobs.done:rows" ("@time", "@deleted", id, number, twice, mark) VALUES (1, 0, 'nobody', 1, 2, '0000')"#;
    assert_found(&after(|store| change(store, insert, 1)), [0, 0, 1, 0, 0], "nobody");
}

#[test]
fn a_deleted_row_that_came_back_is_invented_and_one_forgotten_is_missing() {
    let hidden = r#""@row" = (SELECT min("@row") FROM "jobs.done:rows" WHERE "@deleted")"#;
    let findings = after(|store| change(store, &format!(r#"UPDATE "jobs.done:rows" SET "@deleted" = 0 WHERE {hidden}"#), 1));
    assert_found(&findings, [0, 0, 1, 0, 0], "deletes");
    let findings = after(|store| change(store, &format!(r#"DELETE FROM "jobs.done:rows" WHERE {hidden}"#), 1));
    assert_found(&findings, [1, 0, 0, 0, 0], "delete of");
}

#[test]
fn dead_letters_are_missing_differing_and_invented() {
    let one = "rowid = (SELECT min(rowid) FROM dead_letters)";
    let findings = after(|store| change(store, &format!("DELETE FROM dead_letters WHERE {one}"), 1));
    assert_found(&findings, [1, 0, 0, 0, 0], "dead letter ");
    for column in ["key", "value", "timestamp", "reason", "stage", "generation", "write_time"] {
        let other = if matches!(column, "key" | "value") { "x'07'" } else { "7" };
        let findings = after(|store| change(store, &format!(r#"UPDATE dead_letters SET "{column}" = {other} WHERE {one}"#), 1));
        assert_found(&findings, [0, 1, 0, 0, 0], &column.replace('_', " "));
    }
    let moved = format!(r#"UPDATE dead_letters SET "offset" = (SELECT max("offset") FROM dead_letters) + 1 WHERE {one}"#);
    assert_found(&after(|store| change(store, &moved, 1)), [1, 0, 1, 0, 0], "dead letter ");
}

#[test]
fn boundaries_and_figures_that_were_altered_are_found() {
    let findings = after(|store| change(store, "UPDATE boundaries SET time = time + 1 WHERE partition = 1", 1));
    assert!(!findings.differing.is_empty() && !findings.broken.is_empty(), "{findings}");
    let findings = after(|store| change(store, "DELETE FROM boundaries WHERE partition = 1", 1));
    assert!(!findings.missing.is_empty(), "{findings}");
    let counted_twice =
        "UPDATE partitions SET position = json_set(position, '$.figures.emitted', position ->> '$.figures.emitted' + 1)
        WHERE id = 1";
    assert_found(&after(|store| change(store, counted_twice, 1)), [0, 1, 0, 0, 0], "emitted");
}

#[test]
fn gaps_and_damage_in_the_log_are_found() {
    let findings = after(|store| change(store, "UPDATE chunks SET base = base + 1 WHERE id = (SELECT max(id) FROM chunks)", 1));
    assert!(!findings.broken.is_empty(), "{findings}");
    let findings = after(|store| change(store, "UPDATE chunks SET body = x'0102' WHERE id = 1", 1));
    assert!(findings.broken.iter().any(|what| what.contains("cannot be read")), "{findings}");
}

#[test]
fn an_offset_that_the_host_skipped_is_found() {
    let scene = Scene::new("tests/pipelines/jobs", jobs::lines(1_000));
    let one = scene.pipeline.clone().set("topic.partitions=1");
    one.clone().set("source.records=400").run_until_idle().ok();
    // The next record is kept and alone on its key, so that nothing later covers its absence.
    let skipped = jobs::lines(1_000).iter().skip(400).take_while(|line| !is_kept_once(line)).count() as i64;
    one.clone().set(&format!("source.records={}", 400 + skipped)).run_until_idle().ok();
    // More is in the topic than is settled.
    let mut host = one.clone().env("TIDEMILL_CRASH_AT", "after-poll:1").start("run", &[]);
    assert!(Host::was_killed(host.wait()), "{}", host.log());
    skip(&scene.store_dir());
    one.run_until_idle().ok();
    let findings = scene.verify(Extent::All);
    let missing = format!("(0, {})", 400 + skipped);
    // Its row, and the figures: one fewer was emitted.
    assert_found(&findings, [1, 1, 0, 0, 0], &missing);
}

fn is_kept_once(line: &[u8]) -> bool {
    let line = String::from_utf8_lossy(line);
    line.contains("once-") && line.contains(r#""do":"keep""#)
}

/// Makes the host believe that it had settled one record more. The boundary covers it.
fn skip(dir: &Path) {
    let store = Connection::open(dir.join("store.db")).expect("open the store");
    let further = "UPDATE partitions SET settled = settled + 1, position = json_set(position,
        '$.next', position ->> '$.next' + 1, '$.reach', position ->> '$.reach' + 1)";
    change(&store, further, 1);
}

#[test]
fn records_that_the_topic_lacks_repeats_or_made_up_are_found() {
    let right = RIGHT.store().records();
    let compare = |records: &[support::read::Record]| {
        let mut findings = Findings::default();
        verify::compare_source(RIGHT.lines.iter().map(Vec::as_slice), records, &mut findings);
        counts(&findings)
    };
    assert_eq!(compare(&right), [0; 5]);
    assert_eq!(compare(&right[1..]), [1, 0, 0, 0, 0]);
    let mut records = right.clone();
    records.push(right[0].clone());
    assert_eq!(compare(&records), [0, 0, 0, 1, 0]);
    records[0].value = Some(b"made up".to_vec());
    assert_eq!(compare(&records), [0, 0, 1, 0, 1], "made up, and the last one is out of order");
    let mut records = right.clone();
    records.swap(0, 1);
    assert_eq!(compare(&records), [0, 0, 0, 0, 1]);
}
