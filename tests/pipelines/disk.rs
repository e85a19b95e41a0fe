//! A disk that is really full: the host pauses with an alarm, loses nothing, and goes on when there is room.

use std::path::{Path, PathBuf};
use std::process::Command;

use rusqlite::types::Value as Cell;
use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;

use crate::support::host::{Host, Pipeline};
use crate::support::read::Record;
use crate::support::verify::{self, Decision, Extent, Native, Row};
use crate::support::{root, wait_for};

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

#[test]
fn a_full_disk_pauses_the_host_with_an_alarm_until_there_is_room() {
    let dir = TempDir::new().expect("make a folder");
    let data = dir.path().join("data");
    std::fs::create_dir(&data).expect("make a folder");
    let mut small_disk = Command::new("unshare");
    small_disk.args(["--user", "--map-root-user", "--mount", "sh", "-c", ON_A_SMALL_DISK]).arg(&data);
    // Asked for or not, a kernel may forbid it.
    let output = Command::new("unshare").args(["-Urm", "sh", "-c", "mount -t tmpfs none /mnt"]).output();
    if !output.as_ref().is_ok_and(|output| output.status.success()) {
        eprintln!("SKIPPED: a file system in a namespace of one's own is not to be had: {output:?}");
        return;
    }
    let pipeline =
        Pipeline::new(root().join("tests/pipelines/disk/pipeline.toml"), &data).set(&format!("source.records={RECORDS}"));
    let mut host = pipeline.start_within(small_disk, "run", &[]);
    let store = inside(&host, &pipeline.store("disk"));
    host.ready(&store);
    let alarm = wait_for("an alarm", || Some(host.status()["alarms"].get(0)?.as_str()?.to_owned()));
    assert!(alarm.contains("full") && alarm.contains("goes on when there is room"), "{alarm}");
    let stuck = emitted(&host);
    assert!(stuck < RECORDS, "the disk was not small enough");
    assert_eq!(host.has_ended(), None, "{}", host.log());

    std::fs::remove_file(inside(&host, &data.join("ballast"))).expect("make room");
    wait_for("all records", || (emitted(&host) == RECORDS).then_some(()));
    wait_for("the alarm to end", || (host.status()["alarms"] == Value::Array(Vec::new())).then_some(()));
    // With the host its disk goes, and SQLite does not open files by such a path: what a kill would leave is copied out.
    let copied = dir.path().join("copied");
    std::fs::create_dir(&copied).expect("make a folder");
    host.signal(Signal::STOP);
    for file in ["store.db", "store.db-wal"] {
        std::fs::copy(store.join(file), copied.join(file)).expect("copy the store");
    }
    host.signal(Signal::CONT);
    let native = Native { topic: "disk", table: "disk.users", key: &["id"], decide: &decide };
    let findings = verify::verify(&copied, &native, Extent::All);
    findings.assert_clean();
    assert_eq!((findings.records as u64, findings.rows as u64), (RECORDS, RECORDS));
    host.terminate();
    assert!(host.wait().success(), "{}", host.log());
}
