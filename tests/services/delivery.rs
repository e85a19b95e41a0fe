//! Whole pipelines on a real Kafka, with the real binary: killed, stopped, joined by a second host, moved by a person. In the end topic,
//! table, output and dead letters are compared with an independent computation.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write as _;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rusqlite::types::Value as Cell;
use serde_json::Value;
use tempfile::TempDir;
use tidemill::pipeline::crash;

use crate::kafka::{self, Kafka, Publish};
use crate::scene::Delivered;
use crate::support::host::{Host, Pipeline};
use crate::support::jobs::{self, Marks};
use crate::support::read::Record;
use crate::support::verify::{Decision, Row};
use crate::support::{root, wait_for};
use crate::topic::fresh;

struct Stream<'a> {
    kafka: &'a Kafka,
    dir: TempDir,
    name: String,
    pipeline: Pipeline,
    lines: Vec<Vec<u8>>,
    marks: Marks,
}

impl<'a> Stream<'a> {
    fn new(kafka: &'a Kafka, what: &str, lines: Vec<Vec<u8>>) -> Stream<'a> {
        let (dir, name) = (tempfile::tempdir().expect("a folder"), fresh(what));
        let text = fs::read_to_string(root().join("tests/services/jobs/pipeline.toml")).expect("the pipeline");
        let file = dir.path().join("pipeline.toml");
        fs::write(&file, text.replace("NAME", &name).replace("BROKER", &kafka.address())).expect("write the pipeline");
        fs::write(dir.path().join("jobs.ndjson"), lines.join(&b'\n')).expect("write the source");
        // What is written at once is more than it takes at once.
        kafka.create_topic(&format!("{name}.out"), 1, &[("max.message.bytes", "20000")]);
        let pipeline = Pipeline::new(file, dir.path().join("data"));
        let mut stream = Stream { kafka, dir, name, pipeline, lines, marks: Marks::default() };
        stream.marks.install(&stream.dir.path().join("triage.wasm"), "0000");
        stream
    }

    fn store(&self) -> PathBuf {
        self.pipeline.store(&self.name)
    }

    /// A second host: another store, the same file.
    fn elsewhere(&self) -> Pipeline {
        Pipeline { data: self.dir.path().join("elsewhere"), ..self.pipeline.clone() }
    }

    /// The rest of the source without a pause, until all is delivered.
    fn finish(&self) {
        self.pipeline.clone().set("source.every=0s").set("source.records-per-poll=1000").run_until_idle().ok();
    }

    fn records(&self) -> Vec<Record> {
        self.kafka.read(&format!("{}.data", self.name))
    }

    /// The latest value of each key of a side topic.
    fn side(&self, side: &str) -> BTreeMap<String, Vec<u8>> {
        let mut found = BTreeMap::new();
        for record in self.kafka.read(&format!("{}.{side}", self.name)) {
            let key = String::from_utf8(record.key.expect("a key")).expect("text");
            match record.value {
                Some(value) => drop(found.insert(key, value)),
                None => drop(found.remove(&key)),
            }
        }
        found
    }

    fn table(&self) -> BTreeMap<String, Row> {
        let connection = rusqlite::Connection::open(self.store().join("store.db")).expect("open the store");
        let mut statement = connection.prepare(r#"SELECT * FROM "jobs.done""#).expect("the table");
        let names: Vec<String> = statement.column_names().map(str::to_owned).collect();
        let rows = statement.query_map([], |row| {
            let cells = names.iter().enumerate().map(|(at, name)| Ok((name.clone(), row.get::<_, Cell>(at)?)));
            cells.collect::<rusqlite::Result<Row>>()
        });
        rows.expect("rows").map(|row| row.map(|row| (key(&row), row)).expect("a row")).collect()
    }

    /// What must have become of every record of the topic, in the order of each partition.
    fn decisions(&self) -> Vec<(Record, Decision)> {
        let generations = self.side("control").into_iter().filter(|(key, _)| key.starts_with("generation/"));
        let contents: Vec<Value> = generations.map(|(_, value)| serde_json::from_slice(&value).expect("JSON")).collect();
        let [content] = &contents[..] else { panic!("one generation, not {}", contents.len()) };
        let decide = |record: Record| {
            let decision = jobs::decide(&record, content, &self.marks);
            (record, decision)
        };
        self.records().into_iter().map(decide).collect()
    }

    /// The topic holds what the source has, each line once; the table holds the latest of each key; every rejected record is a dead
    /// letter with its bytes, and nothing else is.
    #[track_caller]
    fn compare(&self) {
        let decisions = self.decisions();
        let mut published: Vec<&[u8]> = decisions.iter().map(|(record, _)| record.value.as_deref().expect("a value")).collect();
        published.sort_unstable();
        let mut lines: Vec<&[u8]> = self.lines.iter().map(Vec::as_slice).collect();
        lines.sort_unstable();
        assert!(published == lines, "{} records of {} lines", published.len(), lines.len());
        let (mut rows, mut letters) = (BTreeMap::new(), BTreeMap::new());
        for (record, decision) in &decisions {
            match decision {
                Decision::Rows(written) => written.iter().for_each(|row| drop(rows.insert(key(row), row.clone()))),
                Decision::Deleted(row) => drop(rows.remove(&key(row))),
                Decision::Rejected(..) => {
                    letters.insert(format!("{}/{}", record.partition, record.offset), record.value.clone().expect("a value"));
                }
                Decision::Dropped | Decision::Mixed(_) => {}
            }
        }
        let table = self.table();
        assert!(!rows.is_empty() && table == rows, "{} rows, expected {}", table.len(), rows.len());
        let found = self.side("dead-letters");
        assert!(!letters.is_empty() && found == letters, "{} dead letters, expected {}", found.len(), letters.len());
    }

    /// More for the source to find.
    fn append(&mut self, lines: Vec<Vec<u8>>) {
        let mut file = fs::File::options().append(true).open(self.dir.path().join("jobs.ndjson")).expect("open the source");
        let text = lines.iter().flat_map(|line| [&line[..], &b"\n"[..]]).collect::<Vec<_>>().concat();
        file.write_all(if lines.is_empty() { b"\n" } else { &text }).expect("write to the source");
        self.lines.extend(lines);
    }

    /// Waits until each of these hosts shows what an independent computation makes of all lines, each counted once, and on its page too.
    #[track_caller]
    fn assert_figures(&self, hosts: &[&Host]) {
        wait_for("the topic to hold all lines", || (self.records().len() == self.lines.len()).then_some(()));
        let mut expected = [("emitted", 0_u64), ("dropped", 0), ("deleted", 0), ("rejected", 0)];
        let mut sum = 0.0;
        for (_, decision) in self.decisions() {
            let at = match decision {
                Decision::Rows(rows) => {
                    let Cell::Integer(number) = rows[0]["number"] else { panic!("{rows:?}") };
                    sum += number as f64;
                    0
                }
                Decision::Dropped => 1,
                Decision::Deleted(_) => 2,
                Decision::Rejected(..) => 3,
                Decision::Mixed(_) => panic!("a job has one outcome"),
            };
            expected[at].1 += 1;
        }
        assert_eq!(expected.iter().map(|(_, count)| *count).sum::<u64>(), self.lines.len() as u64);
        let shown = |host: &Host| {
            let status = host.status();
            let right = |(name, count): &(&str, u64)| status["totals"][name].as_u64() == Some(*count);
            let letters = status["dead-letters"].as_u64() == Some(expected[3].1);
            // Sums of integers far below 2^53: in any order the same.
            let charted = status["charts"][0]["number"]["sum"].as_f64() == Some(sum);
            (expected.iter().all(right) && letters && charted).then_some(())
        };
        for host in hosts {
            wait_for("a host to show the sum", || shown(host));
            // As it is without JavaScript.
            let page = host.page();
            let [emitted, dropped, deleted, rejected] = expected.map(|(_, count)| grouped(count));
            for text in [format!(">{emitted}<"), format!("{dropped} dropped · {deleted} deleted · {rejected} rejected")] {
                assert!(page.contains(&text), "{text} is not on the page");
            }
        }
    }

    /// Numbers of the records that came out, in the file and in the topic, each as often as it did.
    fn out(&self) -> [Vec<i64>; 2] {
        // Two hosts that append to one file may cut each other's lines; where it counts, nothing may be missing.
        let number = |text: &[u8]| serde_json::from_slice::<Value>(text).ok()?["number"].as_i64();
        let lines = fs::read(self.dir.path().join("lines.ndjson")).expect("the lines");
        let lines = lines.split(|byte| *byte == b'\n').filter_map(number);
        let records = self.kafka.read(&format!("{}.out", self.name));
        let records = records.iter().filter_map(|record| record.value.as_deref()).filter_map(number);
        let mut both = [lines.collect::<Vec<_>>(), records.collect()];
        both.iter_mut().for_each(|numbers| numbers.sort_unstable());
        both
    }

    /// Numbers of the records that are kept.
    fn kept(&self) -> Vec<i64> {
        let number = |(_, decision): (Record, Decision)| match decision {
            Decision::Rows(rows) => rows.first().map(|row| match row["number"] {
                Cell::Integer(number) => number,
                ref other => panic!("{other:?} is a number"),
            }),
            _ => None,
        };
        let mut kept: Vec<i64> = self.decisions().into_iter().filter_map(number).collect();
        kept.sort_unstable();
        kept
    }
}

/// `1,234`, of less than a million.
fn grouped(count: u64) -> String {
    if count < 1_000 { count.to_string() } else { format!("{},{:03}", count / 1_000, count % 1_000) }
}

fn key(row: &Row) -> String {
    format!("{:?}", row["id"])
}

#[test]
fn killed_at_every_point_and_at_random_nothing_is_missing_differing_or_invented() {
    let Some(kafka) = kafka::shared() else { return };
    let stream = Stream::new(kafka, "killed", jobs::lines(40_000));
    // A boundary is saved at the very start, and then not until what the killed host may have written is behind; a host that drains is
    // another test's.
    let (boundaries, others): (Vec<&str>, Vec<&str>) = crash::POINTS.iter().partition(|point| point.ends_with("-boundary"));
    let others = others.into_iter().filter(|point| *point != "in-drain");
    for (at, point) in boundaries.into_iter().chain(others).chain(crash::KAFKA_POINTS[..4].iter().copied()).enumerate() {
        let nth = if point.ends_with("-boundary") { 1 } else { 1 + at % 3 };
        let pipeline = stream.pipeline.clone().env("TIDEMILL_CRASH_AT", &format!("{point}:{nth}"));
        let mut host = pipeline.start("run", &[]);
        let status = host.wait();
        assert!(Host::was_killed(status), "at {point}:{nth} the host ended with {status}:\n{}", host.log());
    }
    for moment in [1_500, 4_200, 3_700] {
        let mut host = stream.pipeline.start("run", &[]);
        host.ready(&stream.store());
        // The moment is the point: no condition may choose it.
        std::thread::park_timeout(Duration::from_millis(moment));
        assert!(host.has_ended().is_none(), "the host ended by itself:\n{}", host.log());
        host.kill();
    }
    stream.finish();
    stream.compare();
    let (table, kept) = (stream.table(), stream.kept());
    for out in stream.out() {
        let distinct: Vec<i64> = out.iter().copied().collect::<BTreeSet<_>>().into_iter().collect();
        assert!(distinct == kept, "at least once: {} of {}", distinct.len(), kept.len());
    }
    // A person delivers all of it again.
    let (group, data) = (stream.name.clone(), format!("{}.data", stream.name));
    let reset = ["--group", &group, "--topic", &data, "--reset-offsets", "--to-earliest", "--execute"];
    println!("{}", kafka.consumer_groups(&reset));
    stream.finish();
    assert!(stream.table() == table, "every value is as it was");
    stream.compare();
}

#[test]
fn told_to_end_at_load_it_delivers_nothing_twice() {
    let Some(kafka) = kafka::shared() else { return };
    let stream = Stream::new(kafka, "drained", jobs::lines(80_000));
    // More than three times what may be in flight: all of it waits in the topic before the first host begins; what the source had is published by another.
    let data = format!("{}.data", stream.name);
    kafka.create_topic(&data, 3, &[]);
    let keys: Vec<Option<Vec<u8>>> = stream.lines.iter().map(|line| key_of(line)).collect();
    let records = stream.lines.iter().zip(&keys);
    kafka.publish(&data, records.map(|(line, key)| Publish { key: key.as_deref(), value: Some(line), ..Publish::default() }));
    fs::write(stream.dir.path().join("jobs.ndjson"), "").expect("empty the source");
    let mut before = 0;
    for times in 0..3 {
        let mut host = stream.pipeline.start("run", &[]);
        host.serves(&stream.store());
        let mut delivered = Delivered::by(&host);
        wait_for("records to be delivered", || delivered.grows(&host).then_some(()));
        let told = Instant::now();
        host.terminate();
        let status = host.wait();
        assert!(status.success(), "{status}:\n{}", host.log());
        // 10 s are for what can still be written; the rest is what a busy machine takes to end a process.
        let took = told.elapsed();
        assert!(took < Duration::from_secs(15), "round {times}: {took:?}");
        let next = |record: Record| {
            let saved: Value = serde_json::from_slice(&record.value.expect("a position")).expect("JSON");
            (record.partition, saved["position"]["next"].as_i64().expect("an offset"))
        };
        let positions = kafka.read(&format!("{}.positions", stream.name)).into_iter().map(next);
        let settled: i64 = positions.collect::<BTreeMap<_, _>>().into_values().sum();
        println!("round {times}: {settled} of {} are settled, after {took:?}", stream.lines.len());
        assert!(settled > before && settled < stream.lines.len() as i64, "round {times}: {settled} are settled");
        before = settled;
    }
    stream.finish();
    stream.compare();
    let kept = stream.kept();
    for out in stream.out() {
        assert!(out == kept, "exactly once: {} of {}", out.len(), kept.len());
    }
    // The verbs find the dead letters where they are.
    let count = stream.side("dead-letters").len() as u64;
    let listed = stream.pipeline.ask(&["dead-letters", "list"], &[]).ok();
    let letters = listed.result()["dead-letters"].as_array().expect("a list").clone();
    assert_eq!(letters.len() as u64, count.min(100));
    let place = |at: usize| format!("{}/{}", letters[at]["partition"], letters[at]["offset"]);
    stream.pipeline.ask(&["dead-letters", "discard"], &[&place(0)]).ok();
    stream.pipeline.ask(&["dead-letters", "replay"], &[&place(1)]);
    assert_eq!(stream.side("dead-letters").len() as u64, count - 1, "one is gone, one was rejected again");
    let shown = stream.pipeline.ask(&["dead-letters", "show"], &[&place(1)]).ok();
    assert_eq!(shown.result()["reason"].as_str(), letters[1]["reason"].as_str(), "{}", shown.envelope);
}

#[test]
fn a_replay_that_was_killed_is_finished_by_the_code_that_began_it() {
    let Some(kafka) = kafka::shared() else { return };
    for point in crash::REPLAY_POINTS {
        let mut stream = Stream::new(kafka, "replayed", vec![br#"{"number":0,"name":"a","do":"fix"}"#.to_vec()]);
        stream.pipeline = stream.pipeline.set("topic.partitions=1");
        stream.finish();
        let plugin = stream.dir.path().join("triage.wasm");
        stream.marks.install(&plugin, "0001");
        let mut killed = stream.pipeline.clone().env("TIDEMILL_CRASH_AT", point).command(&["dead-letters", "replay"]);
        let status = killed.arg("0/0").status().expect("start tidemill");
        assert!(Host::was_killed(status), "at {point} it ended with {status}");
        let left = stream.side("control").into_iter().find(|(key, _)| key == "receipt/0/0").map(|(_, receipt)| receipt);
        let receipt: Value = serde_json::from_slice(&left.expect("a receipt")).expect("JSON");
        assert_eq!((&receipt["how"], &receipt["generation"]), (&"replaying".into(), &2.into()), "{point}");
        // What it has written, or not, is neither invented nor missing.
        assert_eq!(stream.pipeline.verify(), Vec::<String>::new(), "{point}");

        stream.marks.install(&plugin, "0002");
        stream.pipeline.ask(&["dead-letters", "replay"], &["0/0"]).ok();
        let marks: Vec<Cell> = stream.table().into_values().map(|row| row["mark"].clone()).collect();
        assert_eq!(marks, [Cell::Text("0001".to_owned())], "{point}");
        let again = if *point == "before-letter-removed" { 2 } else { 1 };
        let out = kafka.read(&format!("{}.out", stream.name));
        let marked =
            |mark: &[u8]| out.iter().filter(|record| record.value.as_deref().is_some_and(|value| contains(value, mark))).count();
        assert_eq!((out.len(), marked(b"0001")), (again, again), "{point}");
        assert!(stream.side("dead-letters").is_empty(), "{point}");
        assert_eq!(stream.pipeline.verify(), Vec::<String>::new(), "{point}");
    }
}

/// The partitions that a host delivers.
fn held(host: &Host) -> Vec<Value> {
    let status = host.status();
    let partitions = status["partitions"].as_object().expect("partitions").values();
    partitions.filter(|partition| partition["here"] == true).cloned().collect()
}

fn here(host: &Host) -> usize {
    held(host).len()
}

fn delivered_here(host: &Host) -> u64 {
    held(host).iter().map(|partition| partition["figures"]["emitted"].as_u64().expect("a count")).sum()
}

/// As the source would key it.
fn key_of(line: &[u8]) -> Option<Vec<u8>> {
    Some(serde_json::from_slice::<Value>(line).ok()?["name"].as_str()?.as_bytes().to_vec())
}

fn contains(value: &[u8], what: &[u8]) -> bool {
    value.windows(what.len()).any(|window| window == what)
}

#[test]
fn hosts_share_the_partitions_and_one_goes_on_when_another_is_killed() {
    let Some(kafka) = kafka::shared() else { return };
    let stream = Stream::new(kafka, "hosts", jobs::lines(40_000));
    let mut first = stream.pipeline.start("run", &[]);
    first.ready(&stream.store());
    let mut second = stream.elsewhere().start("run", &[]);
    second.ready(&stream.elsewhere().store(&stream.name));
    wait_for("both to have a share", || (here(&first) > 0 && here(&second) > 0).then_some(()));
    assert_eq!(first.status()["partitions"].as_object().map(|all| all.len()), Some(3), "each shows all of them");
    // The one that polls the source and half of the partitions is gone.
    first.kill();
    wait_for("the other to have all", || (here(&second) == 3).then_some(()));
    let ingested = |host: &Host| host.status()["source"]["records"].as_u64().unwrap_or(0);
    let before = ingested(&second);
    wait_for("the other to poll the source", || (ingested(&second) > before + 500).then_some(()));
    second.terminate();
    assert!(second.wait().success());
    stream.finish();
    let kept = stream.kept();
    let [_, out] = stream.out();
    let distinct: Vec<i64> = out.iter().copied().collect::<BTreeSet<_>>().into_iter().collect();
    assert!(distinct == kept, "{} of {}", distinct.len(), kept.len());
    assert_eq!(stream.records().len(), stream.lines.len(), "each line once, whoever polled");
}

#[test]
fn either_host_shows_the_figures_of_both_each_record_once_also_when_one_is_dead() {
    let Some(kafka) = kafka::shared() else { return };
    let mut stream = Stream::new(kafka, "summed", jobs::lines(3_000));
    stream.append(Vec::new());
    let mut file = fs::File::options().append(true).open(&stream.pipeline.file).expect("open the pipeline");
    file.write_all(b"[[dashboard.chart]]\nfield = \"number\"\nkind = \"number\"\n").expect("write the pipeline");
    let mut first = stream.pipeline.start("run", &[]);
    first.ready(&stream.store());
    let mut second = stream.elsewhere().start("run", &[]);
    second.ready(&stream.elsewhere().store(&stream.name));
    wait_for("each to deliver a share of it", || (delivered_here(&first) > 0 && delivered_here(&second) > 0).then_some(()));
    stream.assert_figures(&[&first, &second]);
    first.kill();
    wait_for("the other to have all", || (here(&second) == 3).then_some(()));
    stream.assert_figures(&[&second]);
    stream.append(jobs::lines(5_000).split_off(3_000));
    stream.assert_figures(&[&second]);
    // All of it was counted before this one began.
    let mut third = stream.pipeline.start("run", &[]);
    third.ready(&stream.store());
    stream.assert_figures(&[&second, &third]);
}

#[test]
fn a_broker_that_is_killed_and_comes_back_is_survived() {
    let Some(mut own) = Kafka::own(&[]) else { return };
    let lines = jobs::lines(20_000);
    let address = own.address();
    let stream = Stream::new(&own, "outage", lines);
    let (pipeline, store, name) = (stream.pipeline.clone(), stream.store(), stream.name.clone());
    let (dir, lines, marks) = (stream.dir, stream.lines, stream.marks);
    let mut host = pipeline.start("run", &[]);
    host.ready(&store);
    let delivered = |host: &Host| host.status()["totals"]["emitted"].as_u64().unwrap_or(0);
    wait_for("records to be delivered", || (delivered(&host) > 300).then_some(()));
    own.kill();
    wait_for("an alarm", || {
        let alarms = host.status()["alarms"].to_string();
        alarms.contains("out of reach").then_some(())
    });
    own.start();
    assert_eq!(own.address(), address);
    let before = delivered(&host);
    wait_for("the stream to go on", || (delivered(&host) > before + 300).then_some(()));
    wait_for("the alarm to go", || (host.status()["alarms"] == serde_json::json!([])).then_some(()));
    host.terminate();
    assert!(host.wait().success(), "{}", host.log());
    let stream = Stream { kafka: &own, dir, name, pipeline, lines, marks };
    stream.finish();
    stream.compare();
}
