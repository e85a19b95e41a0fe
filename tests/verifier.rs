//! Both verifiers find what is wrong, the one that is shipped (`tidemill verify`) and the one of `tests/support` that shares no code with
//! the product: every kind of damage to a store that was right is named as what it is.

mod support;

use std::fs;
use std::path::Path;
use std::sync::LazyLock;

use rusqlite::Connection;
use support::host::{Answer, Host, Pipeline};
use support::jobs::{self, Scene};
use support::verify::{self, Extent, Findings};
use support::wait_for;
use tempfile::TempDir;

/// A run without a fault, and the store that it left.
static RIGHT: LazyLock<Scene> = LazyLock::new(|| {
    let scene = Scene::new("tests/pipelines/jobs", jobs::lines(1_000));
    scene.pipeline.run_until_idle().ok();
    scene
});

/// What both verifiers find.
struct Found {
    native: Findings,
    shipped: Answer,
}

/// What is found in a copy of the right store after this damage.
fn after(damage: impl FnOnce(&Connection)) -> Found {
    let dir = TempDir::new().expect("make a folder");
    let copy = dir.path().join("jobs");
    fs::create_dir_all(&copy).expect("make a folder");
    // Through SQLite, so that what stands in the write-ahead log comes along.
    let vacuum = format!("VACUUM INTO '{}'", copy.join("store.db").display());
    RIGHT.store().connection.execute_batch(&vacuum).expect("copy the store");
    damage(&Connection::open(copy.join("store.db")).expect("open the copy"));
    let shipped = Pipeline { data: dir.path().to_owned(), ..RIGHT.pipeline.clone() }.ask(&["verify"], &[]);
    Found { native: RIGHT.verify_at(&copy, Extent::All), shipped }
}

/// Executes a statement that must change this many rows.
fn change(connection: &Connection, statement: &str, rows: usize) {
    assert_eq!(connection.execute(statement, []).expect(statement), rows, "{statement}");
}

fn counts(findings: &Findings) -> [usize; 5] {
    [&findings.missing, &findings.differing, &findings.invented, &findings.duplicate, &findings.broken].map(|found| found.len())
}

/// The same counts from the verifier that is shipped.
fn counts_of(shipped: &Answer) -> [usize; 5] {
    ["missing", "differing", "invented", "duplicate", "contradictory"]
        .map(|kind| shipped.result()[kind]["count"].as_u64().unwrap_or_else(|| panic!("{}", shipped.envelope)) as usize)
}

impl Found {
    /// Both find so many, and name this.
    #[track_caller]
    fn assert(&self, expected: [usize; 5], named: &str) {
        self.assert_native(expected, named);
        self.assert_shipped(expected, named);
    }

    #[track_caller]
    fn assert_native(&self, expected: [usize; 5], named: &str) {
        let Found { native, .. } = self;
        assert_eq!(counts(native), expected, "{native}");
        assert!(native.to_string().contains(named), "{named} is not named: {native}");
    }

    #[track_caller]
    fn assert_shipped(&self, expected: [usize; 5], named: &str) {
        assert_eq!(counts_of(&self.shipped), expected, "{:#}", self.shipped.envelope);
        assert_eq!(self.shipped.exit, 1, "{}", self.shipped.envelope);
        assert!(self.shipped.envelope.to_string().contains(named), "{named} is not named: {:#}", self.shipped.envelope);
    }
}

#[test]
fn what_is_right_is_found_right() {
    let findings = after(|_| ());
    let Found { native, shipped } = &findings;
    native.assert_clean();
    assert!(native.records == 1_000 && native.rows > 100 && native.dead_letters > 10, "{native}");
    RIGHT.verify_all().assert_clean();
    assert_eq!((shipped.exit, counts_of(shipped)), (0, [0; 5]), "{:#}", shipped.envelope);
    assert_eq!(
        ["records", "rows", "dead-letters"].map(|name| shipped.count(name) as usize),
        [native.records, native.rows, native.dead_letters]
    );
    assert_eq!(shipped.result()["unverifiable"], serde_json::json!({}));
}

const A_ROW: &str = r#""@row" = (SELECT min("@row") FROM "jobs.done:rows" WHERE NOT "@deleted")"#;

#[test]
fn a_removed_row_is_missing() {
    let findings = after(|store| change(store, &format!(r#"DELETE FROM "jobs.done:rows" WHERE {A_ROW}"#), 1));
    findings.assert([1, 0, 0, 0, 0], "row ");
}

#[test]
fn an_altered_cell_differs() {
    let findings = after(|store| change(store, &format!(r#"UPDATE "jobs.done:rows" SET twice = twice + 1 WHERE {A_ROW}"#), 1));
    findings.assert([0, 1, 0, 0, 0], "twice");
}

#[test]
fn a_cell_of_another_type_differs() {
    let findings = after(|store| change(store, &format!(r#"UPDATE "jobs.done:rows" SET mark = NULL WHERE {A_ROW}"#), 1));
    findings.assert([0, 1, 0, 0, 0], "mark");
}

#[test]
fn an_altered_write_time_differs() {
    let findings =
        after(|store| change(store, &format!(r#"UPDATE "jobs.done:rows" SET "@time" = "@time" + 1 WHERE {A_ROW}"#), 1));
    findings.assert([0, 1, 0, 0, 0], "written");
}

#[test]
fn a_row_too_many_is_invented() {
    let insert =
        r#"INSERT INTO "jobs.done:rows" ("@time", "@deleted", id, number, twice, mark) VALUES (1, 0, 'nobody', 1, 2, '0000')"#;
    after(|store| change(store, insert, 1)).assert([0, 0, 1, 0, 0], "nobody");
}

#[test]
fn a_deleted_row_that_came_back_is_invented_and_one_forgotten_is_missing() {
    let hidden = r#""@row" = (SELECT min("@row") FROM "jobs.done:rows" WHERE "@deleted")"#;
    let findings = after(|store| change(store, &format!(r#"UPDATE "jobs.done:rows" SET "@deleted" = 0 WHERE {hidden}"#), 1));
    findings.assert([0, 0, 1, 0, 0], "delete");
    let findings = after(|store| change(store, &format!(r#"DELETE FROM "jobs.done:rows" WHERE {hidden}"#), 1));
    findings.assert([1, 0, 0, 0, 0], "delete of");
}

#[test]
fn dead_letters_are_missing_differing_and_invented() {
    let one = "rowid = (SELECT min(rowid) FROM dead_letters)";
    let findings = after(|store| change(store, &format!("DELETE FROM dead_letters WHERE {one}"), 1));
    findings.assert([1, 0, 0, 0, 0], "dead letter ");
    for column in ["key", "value", "timestamp", "reason", "stage", "generation", "write_time"] {
        let other = if matches!(column, "key" | "value") { "x'07'" } else { "7" };
        let findings = after(|store| change(store, &format!(r#"UPDATE dead_letters SET "{column}" = {other} WHERE {one}"#), 1));
        findings.assert([0, 1, 0, 0, 0], &column.replace('_', " "));
    }
    let moved = format!(r#"UPDATE dead_letters SET "offset" = "offset" + 1000000 WHERE {one}"#);
    after(|store| change(store, &moved, 1)).assert([1, 0, 1, 0, 0], "dead letter ");
    let copied = r#"INSERT INTO dead_letters SELECT topic, partition, "offset" + 1, "key", value, headers, timestamp, reason, stage, digest,
        generation, write_time, host FROM dead_letters AS letter WHERE NOT EXISTS (SELECT 1 FROM dead_letters AS other
        WHERE other.partition = letter.partition AND other."offset" = letter."offset" + 1) LIMIT 1"#;
    let findings = after(|store| change(store, copied, 1));
    findings.assert_native([0, 0, 1, 0, 0], "dead letter ");
    findings.assert_shipped([0, 0, 0, 1, 0], "dead letter ");
}

#[test]
fn boundaries_and_figures_that_were_altered_are_found() {
    let findings = after(|store| change(store, "UPDATE boundaries SET time = time + 1 WHERE partition = 1", 1));
    let Found { native, shipped } = &findings;
    assert!(!native.differing.is_empty() && !native.broken.is_empty(), "{native}");
    let [missing, differing, invented, duplicate, contradictory] = counts_of(shipped);
    assert!(differing > 50 && contradictory == 1, "{:#}", shipped.envelope);
    assert_eq!([missing, invented, duplicate], [0; 3], "{:#}", shipped.envelope);
    let findings = after(|store| change(store, "DELETE FROM boundaries WHERE partition = 1", 1));
    assert!(!findings.native.missing.is_empty(), "{}", findings.native);
    // The position still names it.
    findings.assert_shipped([0, 0, 0, 0, 1], "not among the boundaries");
    let counted_twice =
        "UPDATE partitions SET position = json_set(position, '$.figures.emitted', position ->> '$.figures.emitted' + 1)
        WHERE id = 1";
    after(|store| change(store, counted_twice, 1)).assert([0, 1, 0, 0, 0], "emitted");
}

#[test]
fn gaps_and_damage_in_the_log_are_found() {
    let findings = after(|store| change(store, "UPDATE chunks SET base = base + 1 WHERE id = (SELECT max(id) FROM chunks)", 1));
    assert!(!findings.native.broken.is_empty(), "{}", findings.native);
    assert!(findings.shipped.envelope.to_string().contains("in the topic"), "{:#}", findings.shipped.envelope);
    let findings = after(|store| change(store, "UPDATE chunks SET body = x'0102' WHERE id = 1", 1));
    let Found { native, shipped } = &findings;
    assert!(native.broken.iter().any(|what| what.contains("cannot be read")), "{native}");
    // Nothing is said of what cannot be known.
    findings.assert_shipped([0, 0, 0, 0, 1], "cannot be read");
    assert!(shipped.result()["unverifiable"]["the log is damaged there"].as_u64() > Some(100), "{:#}", shipped.envelope);
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
    let findings = Found { native: scene.verify_at(&scene.store_dir(), Extent::All), shipped: one.ask(&["verify"], &[]) };
    let offset = 400 + skipped;
    // Its row, and the figures: one fewer was emitted.
    findings.assert_native([1, 1, 0, 0, 0], &format!("(0, {offset})"));
    findings.assert_shipped([1, 1, 0, 0, 0], &format!(r#""offset":{offset}}}"#));
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

#[test]
fn beside_a_running_host_what_is_settled_is_found_right() {
    let scene = Scene::new("tests/pipelines/jobs", jobs::lines(40_000));
    let mut host = scene.pipeline.clone().set("source.every=1ms").set("source.records-per-poll=50").start("run", &[]);
    host.ready(&scene.store_dir());
    let settled = |answer: &Answer| -> i64 {
        let partitions = answer.result()["partitions"].as_array().expect("partitions");
        partitions.iter().map(|partition| partition["next"].as_i64().expect("an offset")).sum()
    };
    let mut before = -1;
    let emitted = || host.status()["totals"]["emitted"].as_u64();
    for _ in 0..4 {
        let seen = emitted();
        wait_for("the host to go on", || (emitted() > seen).then_some(()));
        let answer = scene.pipeline.ask(&["verify"], &[]).ok();
        assert_eq!(answer.result()["unverifiable"], serde_json::json!({}), "{:#}", answer.envelope);
        assert!(settled(&answer) > before, "the host went on: {:#}", answer.envelope);
        before = settled(&answer);
    }
    assert!(host.has_ended().is_none(), "{}", host.log());
}

#[test]
fn what_retention_took_cannot_be_verified_and_the_rest_can() {
    let scene = Scene::new("tests/pipelines/jobs", jobs::lines(4_000));
    let short = scene.pipeline.clone().set("topic.retention=100 KiB").set("source.records-per-poll=200");
    short.run_until_idle().ok();
    let answer = short.ask(&["verify"], &[]).ok();
    let reason = "the topic holds its record no longer (retention)";
    assert!(answer.result()["unverifiable"][reason].as_u64() > Some(100), "{:#}", answer.envelope);
    assert!((1..4_000).contains(&answer.count("records")) && answer.count("rows") > 10, "{:#}", answer.envelope);
    let store = scene.store();
    let newest = r#"(SELECT "@row" FROM "jobs.done:rows" WHERE NOT "@deleted" ORDER BY "@time" DESC LIMIT 1)"#;
    change(&store.connection, &format!(r#"UPDATE "jobs.done:rows" SET twice = 0 WHERE "@row" = {newest}"#), 1);
    let found = Found { native: Findings::default(), shipped: short.ask(&["verify"], &[]) };
    found.assert_shipped([0, 1, 0, 0, 0], "column `twice`");
}

#[test]
fn records_whose_code_is_gone_cannot_be_verified_nor_are_they_called_wrong() {
    let mut scene = Scene::new("tests/pipelines/jobs", jobs::lines(500));
    scene.pipeline.run_until_idle().ok();
    scene.swap("0001");
    change(&scene.store().connection, "DELETE FROM components", 1);
    let answer = scene.pipeline.ask(&["verify"], &[]).ok();
    assert_eq!([answer.count("records"), answer.count("rows")], [0, 0], "{:#}", answer.envelope);
    let reasons = answer.result()["unverifiable"].as_object().expect("reasons");
    assert!(reasons.keys().all(|reason| reason.contains("is gone")), "{reasons:?}");
    assert!(reasons.values().filter_map(|count| count.as_u64()).sum::<u64>() > 500, "records and rows: {reasons:?}");
}
