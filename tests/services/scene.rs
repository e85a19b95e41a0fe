//! Jobs on Kafka and Cassandra with the real binary: what came of them is compared by `tidemill verify` and by an independent computation.

use std::cell::OnceCell;
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
    /// The last job that deletes a key.
    deletes: OnceCell<BTreeMap<String, usize>>,
}

impl Scene {
    pub fn new(name: &'static str, (kafka, cassandra): Services<'_>, lines: Vec<Vec<u8>>) -> Scene {
        let mut jobs = jobs::Scene::new("tests/services/crash", lines);
        let addresses = [("NAME", name), ("KAFKA", &kafka.address()), ("CASSANDRA", &cassandra.address())];
        for (variable, value) in addresses {
            jobs.pipeline = jobs.pipeline.env(variable, value);
        }
        Scene { jobs, name, deletes: OnceCell::new() }
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
    pub fn move_group(&self, services: Services<'_>, to: &[&str]) {
        self.change_group(services, &[&["--reset-offsets", "--execute"], to].concat());
    }

    /// The broker holds the group's offsets no longer, as if they had expired.
    #[track_caller]
    pub fn expire_group(&self, services: Services<'_>) {
        self.change_group(services, &["--delete-offsets"]);
    }

    #[track_caller]
    fn change_group(&self, (kafka, _): Services<'_>, how: &[&str]) {
        wait_for("the group to be empty", || {
            let described = kafka.consumer_groups(&["--group", self.name, "--describe", "--state"]);
            described.contains("Empty").then_some(())
        });
        println!("{}", kafka.consumer_groups(&[&["--group", self.name, "--topic", self.name], how].concat()));
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

    /// Of one write time there is one row, none gives way to an earlier one, and none goes but by a later job that deletes it, whatever was
    /// killed between the two looks.
    #[track_caller]
    pub fn assert_nothing_went_back(&self, before: &Snapshot, after: &Snapshot) {
        let deletes = self.deletes.get_or_init(|| jobs::deletes(&self.jobs.lines));
        for (key, (time, row)) in before {
            let Some((now, there)) = after.get(key) else {
                let number = row["number"].as_ref().and_then(CqlValue::as_bigint).expect("a number");
                let name = row["id"].as_ref().and_then(CqlValue::as_text).expect("a name");
                let later = deletes.get(name).is_some_and(|last| *last as i64 > number);
                assert!(later, "{key:?} of {time}, job {number}, is gone, and no later job deletes it");
                continue;
            };
            assert!(now >= time, "{key:?} was written at {time}, and now stands from {now}");
            assert!(now > time || row == there, "{key:?} of {time}: {row:?} has become {there:?}");
        }
    }
}

/// Partitions that a host holds.
pub fn held(host: &Host) -> usize {
    Delivered::by(host).0.len()
}

/// Records that a host has polled from the source.
pub fn ingested(host: &Host) -> u64 {
    host.status()["source"]["records"].as_u64().unwrap_or(0)
}

/// What a host has delivered, by the partitions that it holds; they come with what others delivered before.
pub struct Delivered(BTreeMap<String, u64>);

impl Delivered {
    pub fn by(host: &Host) -> Delivered {
        let status = host.status();
        let held = status["partitions"].as_object().expect("partitions").iter();
        let held = held.filter(|(_, partition)| partition["here"] == true);
        Delivered(
            held.map(|(number, partition)| (number.clone(), partition["figures"]["emitted"].as_u64().unwrap_or(0))).collect(),
        )
    }

    /// Whether the host has delivered more of a partition that it has held since it was looked at.
    pub fn grows(&mut self, host: &Host) -> bool {
        let Delivered(mut now) = Delivered::by(host);
        let more = now.iter().any(|(number, count)| self.0.get(number).is_some_and(|before| count > before));
        for (number, count) in &mut now {
            *count = self.0.get(number).copied().unwrap_or(*count);
        }
        self.0 = now;
        more
    }
}

/// Waits until this very host, which serves, has delivered something more.
#[track_caller]
pub fn delivers(host: &Host) {
    let mut delivered = Delivered::by(host);
    wait_for("the host to deliver", || delivered.grows(host).then_some(()));
}

/// Ends a host in order.
#[track_caller]
pub fn end(mut host: Host) {
    host.terminate();
    let status = host.wait();
    assert!(status.success(), "{status}:\n{}", host.log());
}
