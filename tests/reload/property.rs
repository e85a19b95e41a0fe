//! Random swaps, edits, broken saves, kills and starts over a running stream: every record is decided by exactly one generation, first stage
//! to sink, in order per partition, and no position passes a record that is not settled. The comparison in the end holds each record
//! against what the generation of its boundary must make of it, write time included.
//!
//! `TIDEMILL_RELOAD_SEED=<number>` repeats a run, `TIDEMILL_RELOAD_CASES=<number>` makes more of it.

use std::fs;
use std::time::Duration;

use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use rustix::process::Signal;

use super::scene::{finish, settled};
use crate::support::host::Host;
use crate::support::jobs::{self, Scene};
use crate::support::verify::Extent;
use crate::support::wait_for;

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
    /// The pipeline file gets other limits.
    Limits(u8),
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
        2 => (16u8..64).prop_map(Step::Limits),
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
}

impl World {
    fn new(case: &str) -> World {
        let scene = Scene::new(case, jobs::lines(12_000));
        let text = fs::read_to_string(&scene.pipeline.file).unwrap();
        World { scene, host: None, text }
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

    fn set_limits(&self, mebibytes: u8) {
        let plugin = "plugin = \"triage.wasm\"\n";
        self.write_file(&self.text.replace(plugin, &format!("{plugin}limits = {{ memory = \"{mebibytes} MiB\" }}\n")));
    }

    fn mend_file(&self) {
        if !fs::read_to_string(&self.scene.pipeline.file).unwrap().contains("partitions = 3") {
            self.set_limits(32);
        }
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
            Step::Serve(mark) => {
                self.start(None);
                self.mend_file();
                self.scene.swap(&World::mark(*mark));
                let digest = self.scene.marks.digest(&World::mark(*mark));
                let host = self.host.as_ref().expect("it was started");
                let serves = || (host.status()["stages"][0]["digest"] == digest.as_str()).then_some(());
                wait_for(&format!("{} to serve:\n{}", World::mark(*mark), host.log()), serves);
            }
            Step::Prefix(mark, part) => {
                let bytes = self.scene.marks.component(&World::mark(*mark));
                fs::write(self.component(), &bytes[..bytes.len() * usize::from(*part) / 256]).unwrap();
            }
            Step::Rubbish => fs::write(self.component(), "no plugin").unwrap(),
            Step::Limits(mebibytes) => self.set_limits(*mebibytes),
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
            Step::KillAt(point, nth) => {
                self.stop();
                self.start(Some((POINTS[*point], *nth)));
                // A swap for it to be killed in; some points are not passed, then it is killed all the same.
                self.scene.swap(&World::mark(*nth));
                self.kill(Duration::from_millis(150));
                self.scene.verify(Extent::Settled).assert_clean();
            }
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

fn run(case: &str, steps: &[Step]) {
    let mut world = World::new(case);
    world.start(None);
    for step in steps {
        world.take(step);
    }
    world.stop();
    world.start(None);
    world.stop();
    finish(&world.scene);
    let told = world.scene.pipeline.ask(&["receipts"], &["--limit", "1000"]).ok();
    let count = |outcome: &str| {
        told.result()["receipts"].as_array().map_or(0, |all| all.iter().filter(|receipt| receipt["outcome"] == outcome).count())
    };
    let (applied, refused) = (count("applied"), count("refused"));
    let generations = world.scene.store().generations().len();
    println!("{} steps, {generations} generations, {applied} live swaps, {refused} refused", steps.len());
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
    let result = TestRunner::new_with_rng(config, rng).run(&steps, |steps| {
        run(case, &steps);
        Ok(())
    });
    result.unwrap_or_else(|failed| panic!("with TIDEMILL_RELOAD_SEED={seed}: {failed}"));
}

#[test]
fn every_record_has_one_generation_whatever_happens_where_rows_share_the_save() {
    holds("tests/reload/table", 6);
}

#[test]
fn every_record_has_one_generation_whatever_happens_where_rows_are_written_first() {
    holds("tests/reload/table-and-file", 4);
}
