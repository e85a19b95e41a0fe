//! The host is killed with SIGKILL, at random under load and at every named point, and goes on with the same data. In the end a
//! verifier with a reader of its own finds nothing missing, nothing differing and nothing invented.
//!
//! `TIDEMILL_CRASH_SEED=<number>` repeats a run.

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use serde_json::Value;
use support::host::Host;
use support::jobs::{self, Scene};
use support::random::Random;
use support::verify::{Decision, Extent};
use support::wait_for;
use tidemill::pipeline::crash;

/// Kills of one run of these tests; with those at the named points more than 60.
const KILLS_AT_RANDOM: usize = 30;
const KILLS_WITH_SWAPS: usize = 12;

/// Starts a host and kills it up to a moment after it was ready, or before.
fn kill_at_random(scene: &Scene, random: &mut Random) {
    let mut host = scene.pipeline.start("run", &[]);
    if random.below(5) > 0 {
        host.ready(&scene.store_dir());
    }
    // The moment is the point: no condition may choose it.
    std::thread::park_timeout(Duration::from_micros(random.below(180_000)));
    assert!(host.has_ended().is_none(), "the host ended by itself:\n{}", host.log());
    host.kill();
}

/// Starts a host that kills itself when it passes a point for the nth time.
fn kill_at(scene: &Scene, point: &str, nth: u64) {
    let pipeline = scene.pipeline.clone().env("TIDEMILL_CRASH_AT", &format!("{point}:{nth}"));
    let mut host = pipeline.start("run", &[]);
    if point == "in-drain" {
        host.ready(&scene.store_dir());
        host.terminate();
    }
    let status = host.wait();
    assert!(Host::was_killed(status), "at {point}:{nth} the host ended with {status}:\n{}", host.log());
}

/// A clean end in the middle of the stream.
fn stop(scene: &Scene) {
    let mut host = scene.pipeline.start("run", &[]);
    host.ready(&scene.store_dir());
    host.terminate();
    let status = host.wait();
    assert!(status.success(), "{status}:\n{}", host.log());
}

/// The rest of the source without a pause, and then everything is compared.
fn finish(scene: &Scene) {
    let before = scene.store().records().len();
    assert!(before > 0, "something was done between the kills");
    assert!(before < scene.lines.len(), "the source lasted longer than the kills");
    let answer = scene.pipeline.clone().set("source.every=0s").set("source.records-per-poll=1000").run_until_idle().ok();
    assert_eq!(answer.count("ingested"), (scene.lines.len() - before) as u64);
    let findings = scene.verify_all();
    findings.assert_clean();
    assert!(findings.records == scene.lines.len() && findings.rows > 0 && findings.dead_letters > 0, "{findings}");
    println!("{before} records came while hosts were killed; in the end {findings}");
}

#[test]
fn nothing_is_missing_differing_or_invented_after_kills_at_random() {
    let mut random = Random::new();
    let scene = Scene::new("tests/crash/table", jobs::lines(40_000));
    for kill in 1..=KILLS_AT_RANDOM {
        kill_at_random(&scene, &mut random);
        if kill % 10 == 0 {
            scene.verify(Extent::Settled).assert_clean();
        }
    }
    finish(&scene);
}

#[test]
fn nothing_is_missing_differing_or_invented_after_a_kill_at_every_named_point() {
    let scene = Scene::new("tests/crash/table-and-file", jobs::lines(30_000));
    // First of all, while `reach` is low: once it lies ahead, as after any unclean end, no boundary is saved for long.
    let (boundaries, others): (Vec<&str>, Vec<&str>) = crash::POINTS.iter().partition(|point| point.ends_with("-boundary"));
    for point in boundaries.into_iter().chain(others) {
        for nth in if matches!(point, "after-boundary" | "in-drain") { &[1][..] } else { &[1, 3] } {
            kill_at(&scene, point, *nth);
            scene.verify(Extent::Settled).assert_clean();
        }
    }
    finish(&scene);
    compare_file(&scene);
}

#[test]
fn each_record_keeps_its_generation_when_the_plugin_changes_between_kills() {
    let mut random = Random::new();
    let mut scene = Scene::new("tests/crash/table", jobs::lines(30_000));
    for kill in 0..KILLS_WITH_SWAPS {
        scene.swap(&format!("{kill:04}"));
        kill_at_random(&scene, &mut random);
        if kill % 4 == 3 {
            stop(&scene);
            scene.verify(Extent::Settled).assert_clean();
        }
    }
    // An old version again is a generation of its own.
    scene.swap("0000");
    finish(&scene);
    let generations = scene.store().generations();
    assert!(generations.len() > KILLS_WITH_SWAPS / 2, "{} generations", generations.len());
}

#[test]
fn each_record_keeps_its_generation_when_the_plugin_changes_at_every_named_point() {
    let mut scene = Scene::new("tests/crash/table-and-file", jobs::lines(40_000));
    // Killed within a live swap, and started with other files in place than those that were on their way in.
    for (number, point) in crash::SWAP_POINTS.iter().enumerate() {
        let mut host = scene.pipeline.clone().env("TIDEMILL_CRASH_AT", point).start("run", &["--watch"]);
        host.ready(&scene.store_dir());
        wait_for("records to flow", || host.status()["totals"]["emitted"].as_u64().filter(|emitted| *emitted > 0));
        scene.swap(&format!("in-{number}"));
        let status = host.wait();
        assert!(Host::was_killed(status), "at {point} the host ended with {status}:\n{}", host.log());
        scene.verify(Extent::Settled).assert_clean();
        scene.swap(&format!("at-{number}"));
    }
    // Once `reach` lies ahead no boundary is saved for long.
    for (number, point) in crash::POINTS.iter().filter(|point| !point.ends_with("-boundary")).enumerate() {
        scene.swap(&format!("p{number:03}"));
        kill_at(&scene, point, 1 + number as u64 % 2 * u64::from(*point != "in-drain"));
        scene.verify(Extent::Settled).assert_clean();
    }
    finish(&scene);
    let generations = scene.store().generations().len();
    assert!(generations > crash::POINTS.len(), "{generations} generations");
}

/// The `file` sink holds what each kept record became at least once, and nothing else.
fn compare_file(scene: &Scene) {
    let text = fs::read(scene.dir.path().join("lines.ndjson")).expect("read the sink's file");
    let mut written: BTreeMap<i64, Value> = BTreeMap::new();
    for line in text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        let line: Value = serde_json::from_slice(line)
            .unwrap_or_else(|error| panic!("a line of the sink is no JSON ({error}): {}", String::from_utf8_lossy(line)));
        let number = line["number"].as_i64().expect("a number");
        if let Some(before) = written.insert(number, line.clone()) {
            assert_eq!(before, line, "a second writing of a record is the same");
        }
    }
    let content = scene.store().generations().into_values().next().expect("a generation");
    let mut kept = 0;
    for record in scene.store().records() {
        let Decision::Rows(_) = jobs::decide(&record, &content, &scene.marks) else { continue };
        kept += 1;
        let payload: Value = serde_json::from_slice(record.value.as_deref().unwrap_or_default()).expect("a job");
        let number = payload["number"].as_i64().expect("a number");
        let line = written.get(&number).unwrap_or_else(|| panic!("job {number} is missing in the file"));
        for (name, value) in payload.as_object().expect("a job is an object") {
            assert_eq!(&line[name], value, "{name} of job {number}");
        }
        assert_eq!((&line["mark"], &line["twice"]), (&Value::from("0000"), &Value::from(2 * number)));
    }
    assert_eq!(written.len(), kept, "nothing but kept records is in the file");
}
