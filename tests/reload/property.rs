//! Random swaps, edits, broken saves, kills and starts over a running stream: every record is decided by exactly one generation, first stage
//! to sink, in order per partition, and no position passes a record that is not settled. The comparison in the end holds each record
//! against what the generation of its boundary must make of it, write time included.
//!
//! `TIDEMILL_RELOAD_SEED=<number>` repeats a run, `TIDEMILL_RELOAD_CASES=<number>` makes more of it.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs;
use std::sync::Mutex;
use std::time::Duration;

use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use rustix::process::Signal;
use serde_json::{Value, json};

use super::scene::{finish, settled};
use crate::support::host::Host;
use crate::support::jobs::{self, Scene};
use crate::support::verify::Extent;
use crate::support::{guests, wait_for};

/// Points between boundary, write and commit, and within the swap.
const POINTS: [&str; 10] = [
    "before-boundary",
    "after-boundary",
    "after-chain",
    "before-sink-write",
    "after-sink-write",
    "before-save",
    "after-save",
    "before-claim",
    "after-claim",
    "after-swap",
];

#[derive(Clone, Debug)]
enum Step {
    /// Another build is renamed into place.
    Swap(u8),
    /// The same, and it serves before anything else happens.
    Serve(u8),
    /// So much of a build is written in place: bytes of 256.
    Prefix(u8, u8),
    /// What is no plugin at all.
    Rubbish,
    /// A save that must be refused, of one kind or another, over this build: what serves is served on.
    Refuse(u8, u8),
    /// The pipeline file gets other limits.
    Limits(u8),
    /// A second stage stands before the first, behind it, or nowhere; with these settings.
    Second(u8, bool),
    /// The pipeline file is broken, until the next edit.
    BreakFile,
    /// The plugin's file is gone.
    Remove,
    HangUp,
    /// Killed as it is, a moment later.
    Kill(u16),
    /// The next host kills itself when it passes a point for the nth time.
    KillAt(usize, u8),
    /// Ended and started again, with whatever lies there.
    Stop,
    /// So many records go by.
    Flow(u8),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (0u8..6).prop_map(Step::Swap),
        5 => (0u8..6).prop_map(Step::Serve),
        2 => (0u8..6, any::<u8>()).prop_map(|(mark, part)| Step::Prefix(mark, part)),
        1 => Just(Step::Rubbish),
        2 => (0u8..6, 0u8..4).prop_map(|(mark, kind)| Step::Refuse(mark, kind)),
        2 => (16u8..64).prop_map(Step::Limits),
        2 => (0u8..3, any::<bool>()).prop_map(|(place, other)| Step::Second(place, other)),
        1 => Just(Step::BreakFile),
        1 => Just(Step::Remove),
        1 => Just(Step::HangUp),
        2 => (0u16..20_000).prop_map(Step::Kill),
        2 => (0..POINTS.len(), 1u8..4).prop_map(|(point, nth)| Step::KillAt(point, nth)),
        1 => Just(Step::Stop),
        3 => (1u8..120).prop_map(Step::Flow),
    ]
}

/// The world of one case: files, and a host or none.
struct World {
    scene: Scene,
    host: Option<Host>,
    /// The pipeline file as it was at first.
    text: String,
    limits: u8,
    second: (u8, bool),
    /// Steps so far: what is refused is something else each time, or it would be told once.
    steps: usize,
    /// Points at which a host has killed itself.
    hit: Vec<&'static str>,
}

const PLUGIN: &str = "plugin = \"triage.wasm\"\n";
const TRIAGE: &str = "[[stage]]\nname = \"triage\"";
const SINK: &str = "[[sink]]\nname = \"done\"";

impl World {
    fn new(case: &str) -> World {
        let scene = Scene::new(case, jobs::lines(12_000));
        let text = fs::read_to_string(&scene.pipeline.file).unwrap();
        fs::copy(guests::component("tests/guests/fault"), scene.dir.path().join("second.wasm")).unwrap();
        World { scene, host: None, text, limits: 64, second: (2, false), steps: 0, hit: Vec::new() }
    }

    fn mark(mark: u8) -> String {
        format!("v{mark:03}")
    }

    fn component(&self) -> std::path::PathBuf {
        self.scene.dir.path().join("triage.wasm")
    }

    fn write_file(&self, text: &str) {
        let fresh = self.scene.pipeline.file.with_extension("fresh");
        fs::write(&fresh, text).unwrap();
        fs::rename(fresh, &self.scene.pipeline.file).unwrap();
    }

    /// The second stage hands on what it is given: no record has its fields.
    fn planned(&self) -> String {
        let text = self.text.replace(PLUGIN, &format!("{PLUGIN}limits = {{ memory = \"{} MiB\" }}\n", self.limits));
        let field = if self.second.1 { "nothing" } else { "nobody" };
        let stage =
            format!("[[stage]]\nname = \"second\"\nplugin = \"second.wasm\"\nsettings = {{ names = \"do={field}\" }}\n\n");
        match self.second.0 {
            0 => text.replacen(TRIAGE, &format!("{stage}{TRIAGE}"), 1),
            1 => text.replacen(SINK, &format!("{stage}{SINK}"), 1),
            _ => text,
        }
    }

    fn mend_file(&self) {
        let planned = self.planned();
        if fs::read_to_string(&self.scene.pipeline.file).unwrap() != planned {
            self.write_file(&planned);
        }
    }

    /// The stage that is swapped, in the status.
    fn triage(host: &Host) -> Value {
        let status = host.status();
        let stages = status["stages"].as_array().expect("stages");
        stages.iter().find(|stage| stage["name"] == "triage").cloned().unwrap_or_default()
    }

    /// A build serves, and the pipeline file as it is planned.
    fn serve(&mut self, mark: u8) -> String {
        self.start(None);
        self.mend_file();
        self.scene.swap(&World::mark(mark));
        let digest = self.scene.marks.digest(&World::mark(mark));
        let host = self.host.as_ref().expect("it was started");
        let serves = || (World::triage(host)["digest"] == digest.as_str()).then_some(());
        wait_for(&format!("{} to serve:\n{}", World::mark(mark), host.log()), serves);
        let stages = if self.second.0 < 2 { 2 } else { 1 };
        let mended = || {
            let status = host.status();
            let is_fine = status["file"]["diagnostics"].as_array()?.iter().all(|found| found["severity"] != "error");
            (is_fine && status["stages"].as_array()?.len() == stages).then_some(())
        };
        wait_for(&format!("the file to be in force:\n{}", host.log()), mended);
        digest
    }

    fn refuse(&mut self, mark: u8, kind: u8) {
        let digest = self.serve(mark);
        // An answer comes when all before it is done.
        self.scene.pipeline.ask(&["receipts"], &["--stage", "triage", "--reload"]).ok();
        let host = self.host.as_ref().expect("it serves");
        let refused = || host.status()["swaps"]["refused"].as_u64().expect("a count");
        let (known, generation) = (refused(), World::triage(host)["generation"].clone());
        let other = |name: &str| format!("{name}{}", "\n".repeat(self.steps));
        match kind {
            0 => fs::write(self.component(), other("no plugin")).unwrap(),
            1 => {
                let bytes = self.scene.marks.component(&World::mark(mark));
                fs::write(self.component(), &bytes[..bytes.len() / 2 + self.steps]).unwrap();
            }
            2 => self.write_file(&other("name = \"jobs\"\n[topic\n")),
            _ => self.write_file(&self.planned().replace("triage.wasm", &format!("absent-{}.wasm", self.steps))),
        }
        if kind == 3 {
            // The file of a stage may be gone for a moment: what runs goes on with it, and nothing is told.
            self.scene.pipeline.ask(&["receipts"], &["--stage", "triage", "--reload"]).ok();
        } else {
            wait_for(&format!("save {} to be refused:\n{}", self.steps, host.log()), || (refused() > known).then_some(()));
        }
        let now = World::triage(host);
        assert_eq!((&now["digest"], &now["generation"]), (&json!(digest), &generation), "{}", host.log());
        self.mend_file();
    }

    /// A host that kills itself at a point, if it comes there.
    fn kill_at(&mut self, point: &'static str, nth: u8) {
        self.stop();
        let within_a_swap = ["before-claim", "after-claim", "after-swap"].contains(&point);
        self.start(Some((point, if within_a_swap { 1 } else { nth })));
        if within_a_swap {
            let host = self.host.as_mut().expect("it was started");
            host.ready(&self.scene.store_dir());
            // What may be there already is no swap.
            self.scene.swap(&format!("k{:03}", self.steps % 1000));
            let killed = wait_for(&format!("{point}:\n{}", host.log()), || host.has_ended());
            assert!(Host::was_killed(killed), "{killed}");
        } else {
            self.scene.swap(&World::mark(nth));
            // Some points are not passed: then it is killed all the same.
            std::thread::park_timeout(Duration::from_millis(150));
        }
        if self.host.as_mut().is_some_and(|host| host.has_ended().is_some()) {
            self.hit.push(point);
        }
        self.kill(Duration::ZERO);
        self.scene.verify(Extent::Settled).assert_clean();
    }

    /// Starts a host if none runs. What lies there must be whole then, or it would not start, rightly.
    fn start(&mut self, kill_at: Option<(&str, u8)>) {
        if self.host.is_some() {
            return;
        }
        let component = fs::read(self.component()).unwrap_or_default();
        if !self.scene.marks.knows(&component) {
            self.scene.swap("v000");
        }
        self.mend_file();
        let mut pipeline = self.scene.pipeline.clone();
        if let Some((point, nth)) = kill_at {
            pipeline = pipeline.env("TIDEMILL_CRASH_AT", &format!("{point}:{nth}"));
        }
        let mut host = pipeline.start("run", &["--watch"]);
        if kill_at.is_none() {
            host.ready(&self.scene.store_dir());
        }
        self.host = Some(host);
    }

    fn kill(&mut self, after: Duration) {
        let Some(mut host) = self.host.take() else { return };
        // The moment is the point: no condition may choose it.
        std::thread::park_timeout(after);
        assert!(host.has_ended().is_none_or(Host::was_killed), "the host ended by itself:\n{}", host.log());
        host.kill_if_alive();
    }

    fn stop(&mut self) {
        let Some(mut host) = self.host.take() else { return };
        host.terminate();
        let status = host.wait();
        assert!(status.success() || Host::was_killed(status), "{status}:\n{}", host.log());
    }

    fn take(&mut self, step: &Step) {
        match step {
            Step::Swap(mark) => self.scene.swap(&World::mark(*mark)),
            Step::Serve(mark) => drop(self.serve(*mark)),
            Step::Refuse(mark, kind) => self.refuse(*mark, *kind),
            Step::Prefix(mark, part) => {
                let bytes = self.scene.marks.component(&World::mark(*mark));
                fs::write(self.component(), &bytes[..bytes.len() * usize::from(*part) / 256]).unwrap();
            }
            Step::Rubbish => fs::write(self.component(), "no plugin").unwrap(),
            Step::Limits(mebibytes) => {
                self.limits = *mebibytes;
                self.mend_file();
            }
            Step::Second(place, other) => {
                self.second = (*place, *other);
                self.mend_file();
            }
            Step::BreakFile => self.write_file("name = \"jobs\"\n[topic\n"),
            Step::Remove => drop(fs::remove_file(self.component())),
            Step::HangUp => {
                if let Some(host) = &self.host {
                    host.signal(Signal::HUP);
                }
            }
            Step::Kill(micros) => {
                self.start(None);
                self.kill(Duration::from_micros(u64::from(*micros)));
            }
            Step::KillAt(point, nth) => self.kill_at(POINTS[*point], *nth),
            Step::Stop => self.stop(),
            Step::Flow(records) => {
                self.start(None);
                let host = self.host.as_ref().expect("it was started");
                let settled = || settled(&host.status());
                let until = (settled() + u64::from(*records)).min(self.scene.lines.len() as u64);
                wait_for(&format!("{until} records:\n{}", host.log()), || (settled() >= until).then_some(()));
            }
        }
    }
}

fn run(case: &str, steps: &[Step]) -> Vec<&'static str> {
    let mut world = World::new(case);
    world.start(None);
    // Whatever else happens, each case is killed within a swap, and where a save begins.
    let kills = [Step::KillAt(8, 1), Step::KillAt(5, 1)];
    for step in steps.iter().chain(&kills) {
        world.steps += 1;
        world.take(step);
    }
    world.stop();
    world.start(None);
    world.stop();
    finish(&world.scene);
    in_order(&world.scene);
    let told = world.scene.pipeline.ask(&["receipts"], &["--limit", "1000"]).ok();
    let count = |outcome: &str| {
        told.result()["receipts"].as_array().map_or(0, |all| all.iter().filter(|receipt| receipt["outcome"] == outcome).count())
    };
    let (applied, refused) = (count("applied"), count("refused"));
    let generations = world.scene.store().generations().len();
    println!(
        "{} steps, {generations} generations, {applied} live swaps, {refused} refused, killed at {:?}",
        steps.len(),
        world.hit
    );
    world.hit
}

/// The file, where there is one, has each partition's records in their order; what comes again after a kill was there before.
fn in_order(scene: &Scene) {
    let Ok(text) = fs::read(scene.dir.path().join("lines.ndjson")) else { return };
    let number = |value: &[u8]| serde_json::from_slice::<Value>(value).ok()?["number"].as_i64();
    let records = scene.store().records();
    let places: HashMap<i64, (u32, i64)> = records
        .iter()
        .filter_map(|record| Some((number(record.value.as_deref()?)?, (record.partition, record.offset))))
        .collect();
    let mut last: HashMap<u32, i64> = HashMap::new();
    let mut seen = HashSet::new();
    for line in text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        let number = number(line).expect("a number");
        let (partition, offset) = places[&number];
        if seen.insert(number) {
            let before = last.insert(partition, offset).unwrap_or(-1);
            assert!(before < offset, "record {partition}/{offset} was written after {before}");
        }
    }
    assert!(seen.len() > 1_000, "the file has {} records", seen.len());
}

fn holds(case: &str, cases: u32) {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().expect("it is a number"));
    let seed = number("TIDEMILL_RELOAD_SEED").unwrap_or_else(|| jiff::Timestamp::now().as_nanosecond() as u64);
    println!("TIDEMILL_RELOAD_SEED={seed}");
    let cases = number("TIDEMILL_RELOAD_CASES").map_or(cases, |cases| cases as u32);
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    // A case takes seconds: a few attempts at a smaller one are worth their time.
    let config = Config { cases, max_shrink_iters: 12, failure_persistence: None, ..Config::default() };
    let steps = prop::collection::vec(step(), 8..24);
    let hit = Mutex::new(BTreeMap::new());
    let result = TestRunner::new_with_rng(config, rng).run(&steps, |steps| {
        for point in run(case, &steps) {
            *hit.lock().unwrap().entry(point).or_insert(0) += 1;
        }
        Ok(())
    });
    result.unwrap_or_else(|failed| panic!("with TIDEMILL_RELOAD_SEED={seed}: {failed}"));
    let hit: BTreeMap<&str, u32> = hit.into_inner().unwrap();
    println!("killed at {hit:?}");
    assert!(hit.get("after-claim").is_some_and(|times| *times >= cases), "{hit:?}");
}

#[test]
fn every_record_has_one_generation_whatever_happens_where_rows_share_the_save() {
    holds("tests/reload/table", 6);
}

#[test]
fn every_record_has_one_generation_whatever_happens_where_rows_are_written_first() {
    holds("tests/reload/table-and-file", 4);
}
