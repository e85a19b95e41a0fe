//! A pipeline of jobs whose files change while it runs.

use std::fs;
use std::path::PathBuf;

use serde_json::Value;

use crate::support::host::{Answer, Host, get};
use crate::support::jobs::{self, Scene};
use crate::support::wait_for;

pub struct Live {
    pub scene: Scene,
    pub host: Host,
    pub address: String,
}

impl Live {
    /// `run --watch` over so many jobs.
    pub fn start(case: &str, records: usize) -> Live {
        // Slower than it is written there, so that the records last on a busy machine.
        Live::with(case, jobs::lines(records), "\"20ms\"", "\"50ms\"")
    }

    /// The same with a change in the pipeline file.
    pub fn with(case: &str, lines: Vec<Vec<u8>>, from: &str, to: &str) -> Live {
        let scene = Scene::new(case, lines);
        let text = fs::read_to_string(&scene.pipeline.file).expect("read the pipeline file");
        assert!(text.contains(from), "the pipeline file has {from}");
        fs::write(&scene.pipeline.file, text.replace(from, to)).expect("write the pipeline file");
        Live::of(scene)
    }

    /// Puts these bytes in the place of the component, as a build would.
    pub fn save(&self, bytes: &[u8]) {
        let fresh = self.component().with_extension("fresh");
        fs::write(&fresh, bytes).expect("write a component");
        fs::rename(fresh, self.component()).expect("replace the component");
    }

    pub fn of(scene: Scene) -> Live {
        let mut host = scene.pipeline.start("run", &["--watch"]);
        let address = host.ready(&scene.store_dir());
        Live { scene, host, address }
    }

    /// Ends the host and starts another one over the same files.
    #[track_caller]
    pub fn restart(&mut self, arguments: &[&str]) {
        self.host.terminate();
        let status = self.host.wait();
        assert!(status.success(), "{status}:\n{}", self.host.log());
        self.host = self.scene.pipeline.start("run", arguments);
        self.address = self.host.ready(&self.scene.store_dir());
    }

    pub fn component(&self) -> PathBuf {
        self.scene.dir.path().join("triage.wasm")
    }

    /// The pipeline file with a text in the place of another, saved as editors do.
    #[track_caller]
    pub fn edit(&self, from: &str, to: &str) {
        let text = fs::read_to_string(&self.scene.pipeline.file).expect("read the pipeline file");
        assert!(text.contains(from), "the pipeline file has {from}");
        self.write(&text.replace(from, to));
    }

    pub fn write(&self, text: &str) {
        let fresh = self.scene.pipeline.file.with_extension("fresh");
        fs::write(&fresh, text).expect("write the pipeline file");
        fs::rename(fresh, &self.scene.pipeline.file).expect("replace the pipeline file");
    }

    pub fn get(&self, path: &str) -> Value {
        let (status, body) = get(&self.address, path).unwrap_or_else(|| panic!("no answer:\n{}", self.host.log()));
        assert_eq!(status, 200, "{path}: {body}");
        serde_json::from_str(&body).expect("the answer is JSON")
    }

    pub fn status(&self) -> Value {
        self.get("/api/status")
    }

    /// Newest first.
    pub fn receipts(&self) -> Vec<Value> {
        self.get("/api/receipts?limit=1000").as_array().expect("a list of receipts").clone()
    }

    pub fn count(&self, outcome: &str) -> usize {
        self.receipts().iter().filter(|receipt| receipt["outcome"] == outcome).count()
    }

    /// Waits for the newest receipt of an outcome that is not among `known`.
    #[track_caller]
    pub fn receipt(&self, outcome: &str, known: usize) -> Value {
        wait_for(&format!("receipt {outcome} number {}\n{}", known + 1, self.host.log()), || {
            let all = self.receipts();
            let of: Vec<&Value> = all.iter().filter(|receipt| receipt["outcome"] == outcome).collect();
            (of.len() > known).then(|| of[0].clone())
        })
    }

    /// Puts a plugin with this mark in the place of the present one, and waits until it serves.
    #[track_caller]
    pub fn swap(&mut self, mark: &str) {
        self.scene.swap(mark);
        self.serves(mark);
    }

    #[track_caller]
    pub fn serves(&self, mark: &str) {
        let digest = self.scene.marks.digest(mark);
        wait_for(&format!("mark {mark} to serve:\n{}", self.host.log()), || (self.digest() == digest).then_some(()));
    }

    /// Of the component that runs.
    pub fn digest(&self) -> String {
        self.status()["stages"][0]["digest"].as_str().expect("a stage").to_owned()
    }

    pub fn generation(&self) -> u64 {
        self.status()["stages"][0]["generation"].as_u64().expect("a generation")
    }

    /// Records settled so far.
    pub fn settled(&self) -> u64 {
        settled(&self.status())
    }

    /// Waits until so many more records are settled.
    #[track_caller]
    pub fn flows(&self, records: u64) {
        let from = self.settled();
        wait_for(&format!("{records} more records after {from}:\n{}", self.host.log()), || {
            (self.settled() >= from + records).then_some(())
        });
    }

    /// `tidemill receipts --stage triage …`, which asks this host.
    pub fn ask(&self, order: &[&str]) -> Answer {
        self.scene.pipeline.ask(&["receipts"], &[&["--stage", "triage"], order].concat())
    }

    /// The rest of the source without a pause, and then everything is compared.
    pub fn finish(mut self) -> Scene {
        self.host.terminate();
        let status = self.host.wait();
        assert!(status.success(), "{status}:\n{}", self.host.log());
        finish(&self.scene);
        self.scene
    }
}

pub fn finish(scene: &Scene) {
    scene.pipeline.clone().set("source.every=0s").set("source.records-per-poll=1000").run_until_idle().ok();
    let findings = scene.verify_all();
    findings.assert_clean();
    assert_eq!(findings.records, scene.lines.len(), "{findings}");
}

/// Records settled, by `/api/status`.
pub fn settled(status: &Value) -> u64 {
    let totals = &status["totals"];
    ["emitted", "dropped", "deleted", "rejected"].iter().filter_map(|outcome| totals[*outcome].as_u64()).sum()
}
