//! Hosts are killed with SIGKILL on Kafka and Cassandra, at random under load, and go on. In the end every cell, write time and dead letter is
//! what an independent native computation makes of the topic, and the topic holds what the source has.
//!
//! `TIDEMILL_CRASH_SEED=<number>` repeats a run, `TIDEMILL_CRASH_KILLS=<number>` lasts as long as one likes (see `tests/soak`).

use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;

use crate::cassandra::Cassandra;
use crate::cluster::Cluster;
use crate::kafka::Kafka;
use crate::support::host::Host;
use crate::support::jobs;
use crate::support::random::Random;
use crate::support::read::Record;
use crate::support::verify::{self, Extent, Findings, Native};
use crate::support::wait_for;

const KILLS_AT_RANDOM: u64 = 30;

/// Jobs on a cluster; the pipeline, its topic and its keyspace have one name.
struct Scene {
    jobs: jobs::Scene,
    name: &'static str,
}

type Services<'a> = (&'a Kafka, &'a Cassandra);

impl Scene {
    fn new(name: &'static str, (kafka, cassandra): Services<'_>, count: usize) -> Scene {
        let mut jobs = jobs::Scene::new("tests/services/crash", jobs::lines(count));
        let addresses = [("NAME", name), ("KAFKA", &kafka.address()), ("CASSANDRA", &cassandra.address())];
        for (variable, value) in addresses {
            jobs.pipeline = jobs.pipeline.env(variable, value);
        }
        Scene { jobs, name }
    }

    fn store_dir(&self) -> PathBuf {
        self.jobs.pipeline.store(self.name)
    }

    fn cluster<'a>(&'a self, (kafka, cassandra): Services<'a>) -> Cluster<'a> {
        Cluster { kafka, cassandra, pipeline: self.name, topic: self.name }
    }

    fn compare(&self, services: Services<'_>) -> Findings {
        let table = format!("{}.done", self.name);
        let decide = |record: &Record, content: &Value| jobs::decide(record, content, &self.jobs.marks);
        verify::compare(
            &self.cluster(services),
            &Native { topic: self.name, table: &table, key: &["id"], decide: &decide },
            Extent::All,
        )
    }

    /// The rest of the source without a pause, and then everything is compared.
    fn finish(&self, services: Services<'_>) {
        let before = self.cluster(services).records().len();
        assert!(before > 0, "something was done between the kills");
        assert!(before < self.jobs.lines.len(), "the source lasted longer than the kills");
        let answer = self.jobs.pipeline.clone().set("source.every=0s").set("source.records-per-poll=1000").run_until_idle().ok();
        assert_eq!(answer.count("ingested"), (self.jobs.lines.len() - before) as u64);
        let mut findings = self.compare(services);
        verify::compare_source(self.jobs.lines.iter().map(Vec::as_slice), &self.cluster(services).records(), &mut findings);
        findings.assert_clean();
        assert!(findings.records == self.jobs.lines.len() && findings.rows > 0 && findings.dead_letters > 0, "{findings}");
        println!("{before} records came before the end; in the end {findings}");
    }
}

/// Waits until a host that is ready has delivered something.
fn delivers(host: &Host) {
    let decided = |status: &Value| status["totals"]["emitted"].as_u64().unwrap_or_default();
    let before = decided(&host.status());
    wait_for("the host to deliver", || (decided(&host.status()) > before).then_some(()));
}

#[test]
fn nothing_is_missing_differing_or_invented_after_kills_at_random() {
    let Some(services) = crate::both() else { return };
    let kills = std::env::var("TIDEMILL_CRASH_KILLS").map_or(KILLS_AT_RANDOM, |kills| kills.parse().expect("a number of kills"));
    let mut random = Random::new();
    let scene = Scene::new("kills_at_random", services, 2_500 * kills as usize);
    for _ in 0..kills {
        let mut host = scene.jobs.pipeline.start("run", &[]);
        if random.below(6) > 0 {
            host.ready(&scene.store_dir());
            delivers(&host);
        }
        // The moment is the point: no condition may choose it.
        std::thread::park_timeout(Duration::from_micros(random.below(1_300_000)));
        assert!(host.has_ended().is_none(), "the host ended by itself:\n{}", host.log());
        host.kill();
    }
    scene.finish(services);
}
