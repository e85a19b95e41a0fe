//! `tidemill verify` on Kafka and Cassandra, beside the verifier of `support/`: both find nothing wrong where nothing is, and each damage for
//! what it is.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::kafka::Publish;
use crate::scene::{Scene, Services, delivers, end, held};
use crate::support::host::{Answer, Host, Pipeline};
use crate::support::read::Record;
use crate::support::verify::{Extent, Findings};
use crate::support::{jobs, wait_for};

fn counts(findings: &Findings) -> [usize; 5] {
    [&findings.missing, &findings.differing, &findings.invented, &findings.duplicate, &findings.broken].map(|found| found.len())
}

const KINDS: [&str; 5] = ["missing", "differing", "invented", "duplicate", "contradictory"];

fn counts_of(shipped: &Answer) -> [usize; 5] {
    KINDS.map(|kind| shipped.result()[kind]["count"].as_u64().unwrap_or_else(|| panic!("{:#}", shipped.envelope)) as usize)
}

/// Both find so many, and name this among those of one kind.
#[track_caller]
fn assert_found(scene: &Scene, services: Services<'_>, expected: [usize; 5], kind: &str, named: &[&str]) {
    let native = scene.compare(services, Extent::All);
    assert_eq!(counts(&native), expected, "{native}");
    let shipped = scene.jobs.pipeline.ask(&["verify"], &[]);
    assert_eq!(counts_of(&shipped), expected, "{:#}", shipped.envelope);
    assert_eq!(shipped.exit, 1, "{}", shipped.envelope);
    let first = shipped.result()[kind]["first"].to_string();
    for named in named {
        assert!(first.contains(named), "{named} is not named: {:#}", shipped.envelope);
    }
}

/// Names that only one record has, and what is kept of it in the end: the record, in the order of partitions and offsets.
fn kept_once(records: &[Record]) -> Vec<(String, Record)> {
    let read = |record: &Record| -> Option<(String, String)> {
        let job: Value = serde_json::from_slice(record.value.as_deref()?).ok()?;
        Some((job["name"].as_str()?.to_owned(), job["do"].as_str()?.to_owned()))
    };
    let mut kept: BTreeMap<String, Record> = BTreeMap::new();
    for record in records {
        if let Some((name, what)) = read(record)
            && name.starts_with("once-")
            && what == "keep"
        {
            kept.insert(name, record.clone());
        }
    }
    kept.into_iter().collect()
}

#[test]
fn damage_is_found_with_its_count_and_its_key_and_where_none_is_none_is_found() {
    let Some(services) = crate::both() else { return };
    let (kafka, cassandra) = services;
    let scene = Scene::new("verified", services, jobs::lines(2_000));
    scene.settle(2_000);
    scene.verify_all(services, &scene.pipeline()).assert_clean();
    // As a record it is 17 bytes below what the topic takes; what is told of it puts its letter beyond, so that this one is in several.
    let large = vec![b'7'; 1_043_480];
    let headers: &[(&str, Option<&[u8]>)] = &[("trace", Some(&[7; 5_000])), ("none", None)];
    kafka.publish(
        scene.name,
        [Publish { partition: Some(1), key: Some(b"large"), value: Some(&large), headers, timestamp: None }],
    );
    scene.settle(2_000);
    let in_parts =
        |letter: &Record| letter.headers.iter().any(|(name, value)| name == "tidemill.parts" && value.as_deref() == Some(b"2"));
    let letters = kafka.read(&format!("{}.dead-letters", scene.name));
    assert_eq!(letters.iter().filter(|letter| in_parts(letter)).count(), 1, "{} dead letters", letters.len());
    let right = scene.compare(services, Extent::All);
    right.assert_clean();
    let shipped = scene.jobs.pipeline.ask(&["verify"], &[]).ok();
    let found = ["records", "rows", "dead-letters"].map(|name| shipped.count(name) as usize);
    assert_eq!(found, [right.records, right.rows, right.dead_letters], "{:#}", shipped.envelope);
    assert!(right.records == 2_001 && right.rows > 100 && right.dead_letters > 10, "{right}");
    assert_eq!((shipped.count("waiting"), counts_of(&shipped)), (0, [0; 5]), "{:#}", shipped.envelope);
    // On a machine that never ran it, with the component that the file names.
    let elsewhere = scene.elsewhere().ask(&["verify"], &[]).ok();
    assert_eq!(elsewhere.result(), shipped.result());

    let table = scene.table();
    let records = scene.cluster(services).records();
    let kept = kept_once(&records);
    let [(removed, gone), (altered, _), (torn, _), (late, _), ..] = &kept[..] else { panic!("{} rows", kept.len()) };
    let key = |name: &str| format!("id = \\\"{name}\\\"");
    let time = |name: &str| {
        let rows = cassandra.rows(&format!("SELECT WRITETIME(mark) AS at FROM {table} WHERE id = '{name}'"));
        rows[0]["at"].clone().and_then(|at| at.as_bigint()).expect("a write time")
    };
    cassandra.execute(&format!("DELETE FROM {table} WHERE id = '{removed}'"));
    let place = format!(r#""partition":{},"offset":{}"#, gone.partition, gone.offset);
    assert_found(&scene, services, [1, 0, 0, 0, 0], "missing", &[&key(removed), &place]);
    // Of equal times the larger value wins, so that the write time stays.
    let at = time(altered);
    cassandra.execute(&format!("UPDATE {table} USING TIMESTAMP {at} SET mark = 'zzzz' WHERE id = '{altered}'"));
    assert_found(&scene, services, [1, 1, 0, 0, 0], "differing", &[&key(altered), "column `mark`", "zzzz"]);
    let at = time(torn) + 1;
    cassandra.execute(&format!("UPDATE {table} USING TIMESTAMP {at} SET mark = '0000' WHERE id = '{torn}'"));
    assert_found(&scene, services, [1, 2, 0, 0, 0], "differing", &[&key(torn), "cells of several write times"]);
    let rows = cassandra.rows(&format!("SELECT number, shout FROM {table} WHERE id = '{late}'"));
    let text = |value: &Option<scylla::value::CqlValue>| value.as_ref().and_then(|value| value.as_text().cloned());
    let number = rows[0]["number"].as_ref().and_then(scylla::value::CqlValue::as_bigint).expect("a number");
    let shout = text(&rows[0]["shout"]).map_or("null".to_owned(), |shout| format!("'{shout}'"));
    let insert = format!("INSERT INTO {table} (id, number, twice, shout, mark) VALUES");
    let at = time(late) + 1;
    cassandra.execute(&format!("{insert} ('{late}', {number}, {}, {shout}, '0000') USING TIMESTAMP {at}", 2 * number));
    assert_found(&scene, services, [1, 3, 0, 0, 0], "differing", &[&key(late), &format!(r#""expected":{}"#, at - 1)]);
    cassandra.execute(&format!("{insert} ('nobody', 1, 2, null, '0000')"));
    assert_found(&scene, services, [1, 3, 1, 0, 0], "invented", &[&key("nobody")]);

    // Dead letters: one is dropped, one altered, one made up.
    let side = format!("{}.dead-letters", scene.name);
    let letters = kafka.read(&side);
    let has = |letter: &Record, name: &str| letter.headers.iter().any(|(known, _)| known == name);
    let mut small = letters.iter().filter(|letter| has(letter, "tidemill.reason") && !has(letter, "tidemill.parts"));
    let (Some(dropped), Some(changed)) = (small.next(), small.next()) else { panic!("{} dead letters", letters.len()) };
    let put = |partition: u32, key: &[u8], value: Option<&[u8]>, like: &Record| {
        let headers: Vec<(&str, Option<&[u8]>)> =
            like.headers.iter().map(|(name, value)| (name.as_str(), value.as_deref())).collect();
        let headers = if value.is_some() { &headers[..] } else { &[] };
        kafka.publish(&side, [Publish { partition: Some(partition as i32), key: Some(key), value, headers, timestamp: None }]);
    };
    let name = |letter: &Record| format!("dead letter {}", String::from_utf8_lossy(letter.key.as_deref().expect("a key")));
    put(dropped.partition, dropped.key.as_deref().expect("a key"), None, dropped);
    assert_found(&scene, services, [2, 3, 1, 0, 0], "missing", &[&name(dropped), &key(removed)]);
    put(changed.partition, changed.key.as_deref().expect("a key"), Some(b"other"), changed);
    assert_found(&scene, services, [2, 4, 1, 0, 0], "differing", &[&name(changed), r#""what":"value""#]);
    put(changed.partition, format!("{}/999999", changed.partition).as_bytes(), Some(b"made up"), changed);
    let made_up = format!("dead letter {}/999999", changed.partition);
    assert_found(&scene, services, [2, 4, 2, 0, 0], "invented", &[&made_up]);
}

#[test]
fn an_offset_that_the_host_skipped_is_found() {
    let Some(services) = crate::both() else { return };
    let scene = Scene::new("skipped", services, jobs::lines(1_000));
    let one = scene.pipeline().set("topic.partitions=1");
    // The next record is kept and alone on its key, so that nothing later covers its absence.
    let is_kept_once = |line: &[u8]| {
        let line = String::from_utf8_lossy(line);
        line.contains("once-") && line.contains(r#""do":"keep""#)
    };
    let lines = jobs::lines(1_000);
    let next = 400 + lines.iter().skip(400).take_while(|line| !is_kept_once(line)).count();
    one.clone().set(&format!("source.records={next}")).run_until_idle().ok();
    // More is in the topic than is settled.
    let mut host = one.clone().env("TIDEMILL_CRASH_AT", "after-poll:1").start("run", &[]);
    assert!(Host::was_killed(host.wait()), "{}", host.log());
    skip(&scene, services, &lines[next]);
    one.clone().set("source.every=0s").run_until_idle().ok();
    // Its row, and the figures: one fewer was emitted.
    let name = serde_json::from_slice::<Value>(&lines[next]).expect("a job")["name"].as_str().expect("a name").to_owned();
    let named = format!("id = \\\"{name}\\\"");
    assert_found(&scene, services, [1, 1, 0, 0, 0], "missing", &[&named]);
}

/// Makes the host believe that it had settled this record, the next one: the position is moved behind it, and the group's offset with it.
fn skip(scene: &Scene, services: Services<'_>, line: &[u8]) {
    let (kafka, _) = services;
    let records = scene.cluster(services).records();
    let behind = 1 + records.iter().find(|record| record.value.as_deref() == Some(line)).expect("it is in the topic").offset;
    let side = format!("{}.positions", scene.name);
    let saved = kafka.read(&side).into_iter().rfind(|record| record.key.as_deref() == Some(b"position")).expect("a position");
    let mut held: Value = serde_json::from_slice(saved.value.as_deref().expect("a value")).expect("JSON");
    assert!(held["position"]["next"].as_i64() < Some(behind), "it is not settled yet");
    held["position"]["next"] = behind.into();
    held["position"]["reach"] = behind.max(held["position"]["reach"].as_i64().expect("reach")).into();
    let value = held.to_string().into_bytes();
    let publish = Publish { partition: Some(0), key: Some(b"position"), value: Some(&value), headers: &[], timestamp: None };
    kafka.publish(&side, [publish]);
    scene.move_group(services, &["--to-offset", &behind.to_string()]);
}

#[test]
fn beside_two_hosts_at_load_what_is_settled_is_found_right() {
    let Some(services) = crate::both() else { return };
    let scene = Scene::new("beside", services, jobs::lines(60_000));
    let hosts = [scene.start(&scene.pipeline()), scene.start(&scene.elsewhere())];
    wait_for("both to have a share", || hosts.iter().all(|host| held(host) > 0).then_some(()));
    hosts.iter().for_each(delivers);
    let settled = |answer: &Answer| -> i64 {
        let partitions = answer.result()["partitions"].as_array().expect("partitions");
        partitions.iter().map(|partition| partition["next"].as_i64().expect("an offset")).sum()
    };
    let mut before = -1;
    for looker in [&scene.pipeline(), &scene.elsewhere(), &scene.pipeline()] {
        hosts.iter().for_each(delivers);
        let answer = ask(looker);
        assert!(settled(&answer) > before, "the hosts went on: {:#}", answer.envelope);
        before = settled(&answer);
    }
    hosts.into_iter().for_each(end);
    scene.finish(services);
}

#[track_caller]
fn ask(pipeline: &Pipeline) -> Answer {
    let answer = pipeline.ask(&["verify"], &[]).ok();
    assert_eq!(answer.result()["unverifiable"], serde_json::json!({}), "{:#}", answer.envelope);
    answer
}
