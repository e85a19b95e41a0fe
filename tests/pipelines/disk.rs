//! A disk that is really full: the host pauses with an alarm, loses nothing, and goes on when there is room.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use rusqlite::types::Value as Cell;
use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;

use crate::support::host::{Host, Pipeline};
use crate::support::read::Record;
use crate::support::verify::{self, Decision, Extent, Native, Row};
use crate::support::{root, skip_or_panic, wait_for};

const RECORDS: u64 = 6_000;
/// A disk of its own, of which all but 4 MiB are taken; the host takes the shell's place.
const ON_A_SMALL_DISK: &str = r#"mount -t tmpfs -o size=96m none "$0" && head -c 92m /dev/zero > "$0/ballast" && exec "$@""#;

/// Made-up users pass as they are.
fn decide(record: &Record, _: &Value) -> Decision {
    let user: Value = serde_json::from_slice(record.value.as_deref().expect("a payload")).expect("JSON");
    let text = |value: &Value| Cell::Text(value.as_str().expect("a text").to_owned());
    Decision::Rows(vec![Row::from([("id".to_owned(), text(&user["login"]["uuid"])), ("email".to_owned(), text(&user["email"]))])])
}

/// The host's disk as seen from outside of its mount namespace.
fn inside(host: &Host, path: &Path) -> PathBuf {
    PathBuf::from(format!("/proc/{}/root{}", host.pid(), path.display()))
}

fn emitted(host: &Host) -> u64 {
    host.status()["totals"]["emitted"].as_u64().unwrap_or_default()
}

/// A host whose disk has just become full. `None`: such a disk is not to be had here.
fn on_a_full_disk(dir: &TempDir) -> Option<(Host, PathBuf)> {
    let output = Command::new("unshare").args(["-Urm", "sh", "-c", "mount -t tmpfs none /mnt"]).output();
    if !output.as_ref().is_ok_and(|output| output.status.success()) {
        skip_or_panic(&format!("a file system in a namespace of one's own is not to be had: {output:?}"));
        return None;
    }
    let data = dir.path().join("data");
    std::fs::create_dir(&data).expect("make a folder");
    let mut small_disk = Command::new("unshare");
    small_disk.args(["--user", "--map-root-user", "--mount", "sh", "-c", ON_A_SMALL_DISK]).arg(&data);
    let pipeline = Pipeline::new(root().join("tests/pipelines/disk/pipeline.toml"), &data)
        .set(&format!("source.records={RECORDS}"))
        .set(&format!("sink.lines.at=file:{}", data.join("lines.ndjson").display()));
    let mut host = pipeline.start_within(small_disk, "run", &[]);
    let disk = inside(&host, &data);
    host.ready(&disk.join("disk"));
    // Which of the two meets it first is open; the other one's alarm follows.
    wait_for("the store's alarm", || {
        let status = host.status();
        let alarms: Vec<&str> = status["alarms"].as_array()?.iter().filter_map(Value::as_str).collect();
        alarms.iter().any(|alarm| alarm.contains("full") && alarm.contains("goes on when there is room")).then_some(())
    });
    let stuck = emitted(&host);
    assert!(stuck < RECORDS, "the disk was not small enough");
    assert_eq!(host.has_ended(), None, "{}", host.log());
    Some((host, disk))
}

#[test]
fn a_full_disk_pauses_the_host_with_an_alarm_until_there_is_room() {
    let dir = TempDir::new().expect("make a folder");
    let Some((mut host, disk)) = on_a_full_disk(&dir) else { return };
    std::fs::remove_file(disk.join("ballast")).expect("make room");
    wait_for("all records", || (emitted(&host) == RECORDS).then_some(()));
    wait_for("the alarm to end", || (host.status()["alarms"] == Value::Array(Vec::new())).then_some(()));
    // With the host its disk goes, and SQLite does not open files by such a path: what a kill would leave is copied out.
    let copied = dir.path().join("copied");
    std::fs::create_dir(&copied).expect("make a folder");
    host.signal(Signal::STOP);
    for file in ["disk/store.db", "disk/store.db-wal", "lines.ndjson"] {
        let name = file.rsplit('/').next().expect("a name");
        std::fs::copy(disk.join(file), copied.join(name)).expect("copy a file of the host");
    }
    host.signal(Signal::CONT);
    let native = Native { topic: "disk", table: "disk.users", key: &["id"], decide: &decide };
    let findings = verify::verify(&copied, &native, Extent::All);
    findings.assert_clean();
    assert_eq!((findings.records as u64, findings.rows as u64), (RECORDS, RECORDS));
    let lines = std::fs::read_to_string(copied.join("lines.ndjson")).expect("read the lines");
    let ids: HashSet<String> = lines
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .map(|user| user["login"]["uuid"].as_str().expect("a uuid").to_owned())
        .collect();
    // Nobody was killed, so nothing is repeated either.
    assert_eq!((lines.lines().count() as u64, ids.len() as u64), (RECORDS, RECORDS));
    host.terminate();
    assert!(host.wait().success(), "{}", host.log());
}

#[test]
fn a_host_on_a_full_disk_ends_when_it_is_told_to() {
    let dir = TempDir::new().expect("make a folder");
    let Some((mut host, _)) = on_a_full_disk(&dir) else { return };
    host.terminate();
    let status = host.wait();
    assert!(status.code().is_some_and(|code| code <= 1), "{status}: {}", host.log());
}
