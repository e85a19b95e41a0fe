//! What a plugin keeps by key in the host: counted natively from the topic, over kills, swaps, and the search for records to blame.

mod support;

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::Path;

use serde_json::Value;
use support::host::{Host, Pipeline, get};
use support::read::Store;
use support::{guests, root, wait_for};
use tempfile::TempDir;

const LINES: usize = 12_000;

struct Scene {
    dir: TempDir,
    pipeline: Pipeline,
}

impl Scene {
    fn new(lines: &[String]) -> Scene {
        let dir = TempDir::new().expect("make a folder");
        fs::copy(root().join("tests/state/pipeline.toml"), dir.path().join("pipeline.toml")).expect("copy the pipeline");
        fs::write(dir.path().join("jobs.ndjson"), lines.join("\n")).expect("write the source");
        let pipeline = Pipeline::new(dir.path().join("pipeline.toml"), dir.path().join("data"));
        install(&dir.path().join("tally.wasm"), 0);
        Scene { dir, pipeline }
    }

    fn store(&self) -> Store {
        Store::open(&self.pipeline.store("tally"), "tally")
    }

    /// Every row is numbered as the topic says, and there is no other. What stage `sour` rejected has no row, and was counted before it.
    #[track_caller]
    fn assert_counted(&self) {
        let store = self.store();
        let letters = store.dead_letters();
        let mut expected = BTreeMap::new();
        for partition in store.partitions() {
            assert_eq!(partition.position.as_ref().map(|position| position.next), Some(partition.next), "all is settled");
            let mut seen: HashMap<String, i64> = HashMap::new();
            for record in &partition.records {
                let job: Value = serde_json::from_slice(record.value.as_deref().expect("a value")).expect("JSON");
                let name = job["name"].as_str().expect("a name").to_owned();
                let what = job["do"].as_str().expect("what to do");
                if matches!(what, "keep" | "drop") {
                    let count = seen.entry(name.clone()).or_default();
                    *count += 1;
                    let letter = letters.get(&(partition.number, record.offset));
                    let is_sour = letter.is_some_and(|letter| letter.stage.as_deref() == Some("sour"));
                    if what == "keep" && !is_sour {
                        expected.insert(format!("{name}-{}", job["number"]), *count);
                    }
                }
            }
        }
        assert_eq!(self.rows(), expected);
    }

    fn rows(&self) -> BTreeMap<String, i64> {
        let store = self.store();
        let mut statement = store.connection.prepare(r#"SELECT id, seen FROM "jobs.seen""#).expect("read the table");
        let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).expect("read the table");
        rows.collect::<Result<_, _>>().expect("read the table")
    }
}

/// Puts another build of the plugin there: the same code, and other bytes for each number.
fn install(path: &Path, number: u8) {
    let mut bytes = fs::read(guests::component("tests/guests/tally")).expect("read the component of tally");
    // A custom section called `n`.
    bytes.extend([0, 3, 1, b'n', number]);
    let fresh = path.with_extension("fresh");
    fs::write(&fresh, bytes).expect("write a component");
    fs::rename(fresh, path).expect("replace a component");
}

fn line(number: usize, what: &str) -> String {
    format!(r#"{{"number":{number},"name":"n{}","do":"{what}"}}"#, number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 58)
}

const LINES_A_TRAP: usize = 1_000;

/// Kept and dropped, refused by the plugin, and traps.
fn lines() -> Vec<String> {
    let what = |number: usize| match (number % LINES_A_TRAP, number % 100) {
        (17, _) => "trap",
        (_, 40..45) => "reject",
        (_, 60..70) => "drop",
        _ => "keep",
    };
    (0..LINES).map(|number| line(number, what(number))).collect()
}

#[test]
fn nothing_is_counted_twice_or_forgotten_over_kills_and_swaps_and_poison_counts_nothing() {
    let scene = Scene::new(&lines());
    // Every time with another build.
    let points =
        ["after-chain", "before-save", "after-save", "before-dead-letter", "after-dead-letter", "after-poll", "after-save"];
    for (number, point) in (1..).zip(points) {
        let crashing = scene.pipeline.clone().env("TIDEMILL_CRASH_AT", &format!("{point}:{}", 1 + number % 2));
        let mut host = crashing.start("run", &[]);
        let status = host.wait();
        assert!(Host::was_killed(status), "at {point} the host ended with {status}:\n{}", host.log());
        install(&scene.dir.path().join("tally.wasm"), number);
    }
    let before = scene.store().records().len();
    assert!(before < LINES, "the source lasted longer than the kills");
    scene.pipeline.clone().set("source.every=0s").run_until_idle().ok();
    scene.assert_counted();
    let store = scene.store();
    assert!(store.generations().len() > 3, "the plugin was swapped: {}", store.generations().len());
    assert_eq!(
        store.dead_letters().values().filter(|letter| letter.reason.contains("told to trap")).count(),
        LINES / LINES_A_TRAP
    );

    // What state led to cannot be decided again: it is said, and nothing is called wrong.
    let answer = scene.pipeline.ask(&["verify"], &[]).ok();
    let reasons = answer.result()["unverifiable"].as_object().expect("reasons");
    let told: u64 = reasons.iter().filter(|(why, _)| why.contains("keeps state")).filter_map(|(_, count)| count.as_u64()).sum();
    assert!(told >= LINES as u64, "{reasons:?}");
    assert_eq!(answer.count("rows"), 0, "{:#}", answer.envelope);
}

#[test]
fn nothing_is_counted_twice_or_forgotten_over_live_swaps_and_one_that_is_taken_back() {
    let scene = Scene::new(&lines());
    let (file, component) = (scene.dir.path().join("pipeline.toml"), scene.dir.path().join("tally.wasm"));
    let text = fs::read_to_string(&file).expect("read the pipeline file");
    let write = |text: &str| {
        fs::write(file.with_extension("fresh"), text).expect("write the pipeline file");
        fs::rename(file.with_extension("fresh"), &file).expect("replace the pipeline file");
    };
    let slow = scene.pipeline.clone().set("source.every=250ms").set("source.records-per-poll=250");
    let start = || {
        let mut host = slow.start("run", &["--watch"]);
        host.ready(&scene.pipeline.store("tally"));
        host
    };
    let swaps = |host: &Host, outcome: &str| host.status()["swaps"][outcome].as_u64().expect("a count");
    let host = start();
    wait_for("records to be counted", || (host.status()["totals"]["emitted"].as_u64()? >= 400).then_some(()));
    // A further stage that rejects everything: what the stage before it has counted of the batch that is given back, counts once.
    fs::copy(guests::component("tests/guests/fault"), scene.dir.path().join("sour.wasm")).expect("copy a component");
    let sour = "[[stage]]\nname = \"sour\"\nplugin = \"sour.wasm\"\n\n[[sink]]";
    write(&text.replace("[[sink]]", sour));
    wait_for(&format!("it to be taken back:\n{}", host.log()), || (swaps(&host, "rolled-back") == 1).then_some(()));
    write(&text);
    for number in 1..=20 {
        install(&component, number);
        let before = swaps(&host, "applied");
        wait_for(&format!("swap {number}:\n{}", host.log()), || (swaps(&host, "applied") > u64::from(number)).then_some(()));
        assert!(before <= u64::from(number), "each is one swap");
    }
    host.kill();
    let host = start();
    for number in 21..=25 {
        install(&component, number);
        wait_for(&format!("swap {number}:\n{}", host.log()), || (swaps(&host, "applied") > u64::from(number) - 21).then_some(()));
    }
    host.kill();
    scene.pipeline.clone().set("source.every=0s").run_until_idle().ok();
    scene.assert_counted();
    let generations = scene.store().generations().len();
    assert!(generations > 25, "{generations} generations");
}

#[test]
fn what_runs_beside_the_stream_counts_nothing() {
    let scene = Scene::new(&lines());
    let (file, component) = (scene.dir.path().join("pipeline.toml"), scene.dir.path().join("tally.wasm"));
    let plugin = "plugin = \"tally.wasm\"\n";
    let text = fs::read_to_string(&file).expect("read the pipeline file");
    let shadow = format!("{plugin}swap = {{ mode = \"shadow\", shadow-records = 1000000 }}\n");
    fs::write(&file, text.replace(plugin, &shadow)).expect("write the pipeline file");
    let mut host = scene.pipeline.start("run", &["--watch"]);
    let address = host.ready(&scene.pipeline.store("tally"));
    install(&component, 1);
    wait_for(&format!("records to be compared:\n{}", host.log()), || {
        let (status, body) = get(&address, "/api/stages/tally/shadow")?;
        let shadow: Value = serde_json::from_str(&body).ok()?;
        (status == 200 && shadow["records"].as_u64()? > 400).then_some(())
    });
    host.terminate();
    assert!(host.wait().success(), "{}", host.log());
    install(&component, 0);
    scene.pipeline.clone().set("source.every=0s").run_until_idle().ok();
    scene.assert_counted();
    assert_eq!(scene.store().generations().len(), 1, "nothing was swapped");
}

#[test]
fn state_is_bounded_and_what_goes_beyond_is_told_with_a_way_out() {
    // All of one name: what is counted is one entry.
    let what = |number| if number < 20 { "hoard" } else { "keep" };
    let lines: Vec<String> =
        (0..40).map(|number| format!(r#"{{"number":{number},"name":"n","do":"{}"}}"#, what(number))).collect();
    let scene = Scene::new(&lines);
    let bounded = scene.pipeline.clone().set("stage.tally.limits.state=6 KiB").set("topic.partitions=1");
    bounded.run_until_idle().ok();
    let letters = scene.store().dead_letters();
    assert_eq!(letters.len(), 15, "of 20 KiB five fit: {letters:?}");
    for letter in letters.values() {
        assert!(letter.reason.contains("`limits.state`") && letter.reason.contains("6144"), "{}", letter.reason);
        assert_eq!(letter.stage.as_deref(), Some("tally"));
    }
    assert_eq!(scene.rows().len(), 40 - letters.len(), "the others went on");
    let bytes: i64 = scene
        .store()
        .connection
        .query_row("SELECT sum(length(\"key\") + length(value) + 32) FROM state", [], |row| row.get(0))
        .expect("read the state");
    assert!(bytes <= 6144, "{bytes}");
}

#[test]
fn what_is_only_tried_changes_no_state() {
    let scene = Scene::new(&lines()[..400]);
    scene.pipeline.clone().set("source.every=0s").run_until_idle().ok();
    let state = || -> Vec<(String, Vec<u8>, Vec<u8>)> {
        let store = scene.store();
        let mut statement = store.connection.prepare("SELECT stage, \"key\", value FROM state").expect("read the state");
        let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?))).expect("read the state");
        rows.collect::<Result<_, _>>().expect("read the state")
    };
    let before = state();
    assert!(!before.is_empty());
    scene.pipeline.ask(&["dry-run"], &["--records", "50"]).ok();
    scene.pipeline.ask(&["check"], &[]).ok();
    // Replayed, a trap traps again; and what passes would count nothing either.
    scene.pipeline.ask(&["dead-letters", "replay"], &["--all"]);
    assert_eq!(state(), before);
    scene.pipeline.run_until_idle().ok();
    scene.assert_counted();
}
