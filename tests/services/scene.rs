//! Jobs on Kafka and Cassandra with the real binary: what came of them is compared by `tidemill verify` and by an independent computation.

use std::collections::BTreeMap;
use std::path::PathBuf;

use scylla::value::CqlValue;
use serde_json::Value;

use crate::cassandra::Cassandra;
use crate::cluster::Cluster;
use crate::kafka::Kafka;
use crate::support::host::{Host, Pipeline};
use crate::support::jobs;
use crate::support::read::Record;
use crate::support::verify::{self, Extent, Findings, Native};
use crate::support::wait_for;

/// Records that come when all faults are over.
const MORE: usize = 1_000;

/// Rows by key, with their write times.
pub type Snapshot = BTreeMap<String, (i64, BTreeMap<String, Option<CqlValue>>)>;

pub type Services<'a> = (&'a Kafka, &'a Cassandra);

/// The pipeline, its topic and its keyspace have one name.
pub struct Scene {
    pub jobs: jobs::Scene,
    pub name: &'static str,
}

impl Scene {
    pub fn new(name: &'static str, (kafka, cassandra): Services<'_>, lines: Vec<Vec<u8>>) -> Scene {
        let mut jobs = jobs::Scene::new("tests/services/crash", lines);
        let addresses = [("NAME", name), ("KAFKA", &kafka.address()), ("CASSANDRA", &cassandra.address())];
        for (variable, value) in addresses {
            jobs.pipeline = jobs.pipeline.env(variable, value);
        }
        Scene { jobs, name }
    }

    pub fn pipeline(&self) -> Pipeline {
        self.jobs.pipeline.clone()
    }

    /// With a longer session: where hosts must not lose their partitions because the machine is busy.
    pub fn with_session(mut self, ms: &str) -> Scene {
        self.jobs.pipeline = self.jobs.pipeline.env("SESSION", ms);
        self
    }

    /// The same on another machine.
    pub fn elsewhere(&self) -> Pipeline {
        Pipeline { data: self.jobs.dir.path().join("elsewhere"), ..self.pipeline() }
    }

    /// Starts a host and waits until it is ready.
    #[track_caller]
    pub fn start(&self, pipeline: &Pipeline) -> Host {
        let mut host = pipeline.start("run", &[]);
        host.ready(&pipeline.store(self.name));
        host
    }

    pub fn store_dir(&self) -> PathBuf {
        self.jobs.pipeline.store(self.name)
    }

    pub fn table(&self) -> String {
        format!("{}.done", self.name)
    }

    pub fn cluster<'a>(&'a self, (kafka, cassandra): Services<'a>) -> Cluster<'a> {
        Cluster { kafka, cassandra, pipeline: self.name, topic: self.name }
    }

    /// By the independent computation alone.
    pub fn compare(&self, services: Services<'_>, extent: Extent) -> Findings {
        let decide = |record: &Record, content: &Value| jobs::decide(record, content, &self.jobs.marks);
        let native = Native { topic: self.name, table: &self.table(), key: &["id"], decide: &decide };
        verify::compare(&self.cluster(services), &native, extent)
    }

    /// By both, the topic against the beginning of the source included.
    #[track_caller]
    pub fn verify_all(&self, services: Services<'_>, verifier: &Pipeline) -> Findings {
        let mut findings = self.compare(services, Extent::All);
        let records = self.cluster(services).records();
        let published = &self.jobs.lines[..records.len().min(self.jobs.lines.len())];
        verify::compare_source(published.iter().map(Vec::as_slice), &records, &mut findings);
        findings.broken.extend(verifier.verify());
        findings
    }

    /// Some more of the source, until all is settled; and then everything is compared.
    #[track_caller]
    pub fn finish(&self, services: Services<'_>) {
        self.finish_seen_by(services, &self.jobs.pipeline);
    }

    /// The same, looked at with the components of another machine or file.
    #[track_caller]
    pub fn finish_seen_by(&self, services: Services<'_>, verifier: &Pipeline) {
        let before = self.cluster(services).records().len();
        assert!(before > 0, "something was done before");
        assert!(before + MORE < self.jobs.lines.len(), "the source lasted longer than the faults");
        assert_eq!(self.settle(before + MORE), MORE as u64);
        let findings = self.verify_all(services, verifier);
        findings.assert_clean();
        assert!(findings.records == before + MORE && findings.rows > 0 && findings.dead_letters > 0, "{findings}");
        println!("{}: {before} records came before the end; in the end {findings}", self.name);
    }

    /// Runs until so much of the source is published and all is settled; returns how many records were published.
    #[track_caller]
    pub fn settle(&self, records: usize) -> u64 {
        let quick = self.pipeline().set("source.every=0s").set("source.records-per-poll=1000");
        quick.set(&format!("source.records={records}")).run_until_idle().ok().count("ingested")
    }

    /// Moves the group's offsets as a person would, with Kafka's own tool, once its last member is gone.
    #[track_caller]
    pub fn move_group(&self, (kafka, _): Services<'_>, to: &[&str]) {
        wait_for("the group to be empty", || {
            let described = kafka.consumer_groups(&["--group", self.name, "--describe", "--state"]);
            described.contains("Empty").then_some(())
        });
        let mut arguments = vec!["--group", self.name, "--topic", self.name, "--reset-offsets", "--execute"];
        arguments.extend(to);
        println!("{}", kafka.consumer_groups(&arguments));
    }

    /// The table as it stands, each row with its write time.
    pub fn snapshot(&self, (_, cassandra): Services<'_>) -> Snapshot {
        let rows = cassandra.rows(&format!("SELECT id, number, twice, shout, mark, WRITETIME(mark) AS at FROM {}", self.table()));
        let row = |mut row: BTreeMap<String, Option<CqlValue>>| {
            let at = row.remove("at").flatten().and_then(|at| at.as_bigint()).expect("a write time");
            (format!("{:?}", row["id"]), (at, row))
        };
        rows.into_iter().map(row).collect()
    }
}

/// Of one write time there is one row, and none gives way to an earlier one, whatever was killed between the two looks.
#[track_caller]
pub fn assert_nothing_went_back(before: &Snapshot, after: &Snapshot) {
    for (key, (time, row)) in before {
        let Some((now, there)) = after.get(key) else { continue };
        assert!(now >= time, "{key:?} was written at {time}, and now stands from {now}");
        assert!(now > time || row == there, "{key:?} of {time}: {row:?} has become {there:?}");
    }
}

pub fn emitted(host: &Host) -> u64 {
    host.status()["totals"]["emitted"].as_u64().unwrap_or_default()
}

/// Waits until a host that is ready has delivered something more.
#[track_caller]
pub fn delivers(host: &Host) {
    let before = emitted(host);
    wait_for("the host to deliver", || (emitted(host) > before).then_some(()));
}
