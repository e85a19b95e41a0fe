//! What the host tells of itself. Stages hold a [`Reporter`] and write; the page and the API hold snapshots and read.

pub mod api;
pub mod charts;
mod connection;
pub mod dead_letter;
mod events;
mod follow;
mod guard;
pub mod health;
pub mod late;
pub mod logs;
pub mod mask;
pub mod metrics;
mod open;
mod page;
pub mod rates;
mod sampler;
pub mod samples;
pub mod swap;
mod swaps;
pub mod token;
pub mod view;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Instant;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use self::charts::Chart;
use self::health::Health;
use self::rates::{Point, Rates};
use self::sampler::Sampler;
use self::samples::StageDetail;
use crate::record::Place;
use crate::topic::figures::Tallies;
use crate::topic::{DeadLetter, Figures, ReasonCount};

/// All of the status at one moment. Serialised as it is by `/api/status`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Snapshot {
    pub pipeline: String,
    /// One word: `starting`, `running`, `paused`, `waiting`, `draining`, `stopped`, `failed`.
    pub state: String,
    /// Why, when it is not simply running.
    pub reason: Option<String>,
    /// ms since 1970 of the start and of this snapshot.
    pub started_ms: i64,
    pub at_ms: i64,
    pub source: Option<SourceStatus>,
    pub topic: TopicStatus,
    pub partitions: BTreeMap<u32, PartitionStatus>,
    pub stages: Vec<StageStatus>,
    pub sinks: Vec<SinkStatus>,
    pub dead_letters: u64,
    /// Sum over partitions, counted once per offset.
    pub totals: Figures,
    /// Delivered records per second over the last 10 seconds.
    pub records_per_second: f64,
    /// The pipeline file as it stands now.
    pub file: swap::FileStatus,
    pub swaps: swap::SwapFigures,
    /// Alarms in force, each with its way out.
    pub alarms: Vec<String>,
    /// The latest rows that were written, newest first, at most 20: column → JSON.
    pub latest: Vec<serde_json::Map<String, serde_json::Value>>,
    pub rss_bytes: u64,
    pub health: Health,
    /// When a record was counted last, ms since 1970; `null`: none since the start.
    pub figures_at_ms: Option<i64>,
    /// The last full second.
    pub rate: Option<Point>,
    pub charts: Vec<Chart>,
    /// Nothing can be changed, and values of records are withheld.
    pub public: bool,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct SourceStatus {
    pub kind: String,
    /// Set when the generator stands in for a source that cannot be reached: why.
    pub stand_in_for: Option<String>,
    /// `polling`, `waiting`, `paused`, `backing off`, `held back`, `exhausted`, `failed`.
    pub state: String,
    /// Or why it is held back.
    pub last_error: Option<String>,
    pub polls: u64,
    pub records: u64,
    pub bytes: u64,
    pub retries: u64,
    /// Fetched records per second over the last 10 seconds.
    pub records_per_second: f64,
    pub next_poll_ms: Option<i64>,
    /// The schedule: a poll every so many ms; a cron pattern that starts runs of them; how long a run lasts, ms.
    pub every_ms: Option<u64>,
    pub cron: Option<String>,
    pub for_ms: Option<u64>,
    pub notes: Vec<String>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct TopicStatus {
    pub name: String,
    pub at: String,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct PartitionStatus {
    pub next: i64,
    pub end: i64,
    pub lag: i64,
    pub generation: u64,
    pub figures: Figures,
    /// How long its rows waited until its latest boundary was saved; 0 where it was saved before they came, or is saved with them.
    pub boundary_ms: f64,
    /// `delivering`, `idle`, `backing off`, `stopped`, `elsewhere`.
    pub state: String,
    pub last_error: Option<String>,
    /// This host delivers it. If not, another one may, and its figures are read from the topic once a second.
    pub here: bool,
    /// Id of the host that saved its position last, where there may be several.
    pub host: Option<String>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct StageStatus {
    pub name: String,
    pub plugin: String,
    pub digest: String,
    pub world: String,
    pub language: String,
    pub generation: u64,
    pub rows: u64,
    pub rejected: u64,
    pub dropped: u64,
    pub traps: u64,
    pub micros_per_record: f64,
    pub records_per_second: f64,
    /// What an instance uses of its limits, each beside the limit: linear memory, tables, and CPU time of the slowest call.
    pub memory_bytes: u64,
    pub memory_limit_bytes: u64,
    pub table_elements: u64,
    pub table_limit_elements: u64,
    pub slowest_call_ms: f64,
    pub call_limit_ms: f64,
    /// Of the component.
    pub size_bytes: u64,
    pub last_error: Option<String>,
    /// What is on its way into the stage, or was kept out of it.
    pub candidate: Option<swap::Candidate>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct SinkStatus {
    pub name: String,
    pub at: String,
    pub rows: u64,
    pub retries: u64,
    pub in_flight: u64,
    /// How long the last write took, ms; 0 where none was timed, as for rows in the topic's own transaction.
    pub last_write_ms: f64,
    /// How long the latest rows took: until the server's answer where the sink writes row by row, until the save where they are in the
    /// topic's transaction.
    pub write_ms: Option<WriteTimes>,
    /// Rows that wait for the server's answer now, where the sink writes row by row.
    pub unanswered: Option<u64>,
    /// `closed`, or `open` while the sink tries one row at a time (`half-open` while it does); `None`: the sink has none.
    pub breaker: Option<String>,
    pub state: String,
    pub last_error: Option<String>,
}

/// Latencies in ms, exact over the latest `of` rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct WriteTimes {
    pub p50: f64,
    pub p95: f64,
    pub p99: f64,
    pub max: f64,
    pub of: usize,
}

/// Where stages write what they do; cheap to clone. Called per batch, never per record.
#[derive(Clone, Default)]
pub struct Reporter(Arc<Mutex<Reported>>);

#[derive(Default)]
struct Reported {
    snapshot: Snapshot,
    sampler: Sampler,
    /// What the charts show, by partition. Not in the snapshot, which is copied for every look.
    tallies: BTreeMap<u32, Tallies>,
}

impl Reporter {
    pub fn update(&self, change: impl FnOnce(&mut Snapshot)) {
        change(&mut self.lock().snapshot);
    }

    pub fn snapshot(&self) -> Snapshot {
        let mut snapshot = self.lock().snapshot.clone();
        snapshot.at_ms = jiff::Timestamp::now().as_millisecond();
        snapshot
    }

    /// Brings the rates and the memory up to date. The API does so twice a second; whoever runs without it does so itself.
    pub fn sample(&self) -> Snapshot {
        let rss_bytes = sampler::resident_bytes();
        let mut reported = self.lock();
        let Reported { snapshot, sampler, tallies } = &mut *reported;
        sampler.look(Instant::now(), snapshot);
        snapshot.rss_bytes = rss_bytes;
        snapshot.health = health::of(snapshot);
        if !snapshot.charts.is_empty() {
            let mut sum = Tallies::default();
            tallies.values().for_each(|tallies| sum.add(tallies));
            for chart in &mut snapshot.charts {
                if let Some(tally) = sum.get(&chart.key) {
                    chart.show(tally);
                }
            }
        }
        drop(reported);
        self.snapshot()
    }

    /// A partition's figures as they were saved.
    pub fn counted(&self, partition: u32, figures: &Figures) {
        let mut reported = self.lock();
        let Reported { snapshot, tallies, .. } = &mut *reported;
        tallies.insert(partition, figures.tallies.clone());
        snapshot.partitions.entry(partition).or_default().figures = figures.outcomes();
        let mut totals = Figures::default();
        snapshot.partitions.values().for_each(|partition| totals += &partition.figures);
        snapshot.totals = totals;
    }

    /// The last so many seconds, one by one.
    pub fn rates(&self, seconds: usize) -> Rates {
        self.lock().sampler.rates(seconds)
    }

    fn lock(&self) -> MutexGuard<'_, Reported> {
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

/// What a person may ask of a running pipeline; the API's other half, implemented by the pipeline.
#[async_trait]
pub trait Control: Send + Sync {
    async fn pause(&self) -> anyhow::Result<()>;
    async fn resume(&self) -> anyhow::Result<()>;
    async fn poll_now(&self) -> anyhow::Result<()>;
    async fn drain(&self) -> anyhow::Result<()>;
    /// Newest first.
    async fn runs(&self, limit: usize) -> anyhow::Result<Vec<Run>>;
    /// By place, ascending, from behind `after` on.
    async fn dead_letters(&self, after: Option<Place>, limit: usize) -> anyhow::Result<Vec<DeadLetter>>;
    async fn dead_letter(&self, place: Place) -> anyhow::Result<Option<DeadLetter>>;
    async fn dead_letter_reasons(&self) -> anyhow::Result<Vec<ReasonCount>>;
    /// Through the present code, at the record's own write time. `Ok(None)`: it passed; `Ok(Some(reason))`: it was rejected again.
    async fn replay(&self, place: Place, force: bool) -> anyhow::Result<Option<String>>;
    /// As [`Control::replay`], and nothing is written.
    async fn rehearse(&self, place: Place) -> anyhow::Result<Option<String>>;
    async fn discard(&self, place: Place) -> anyhow::Result<bool>;
    /// Makes a `[[test]]` case of a dead letter: it expects what the present code makes of the record. Written into the pipeline
    /// file if `write` is set.
    async fn pin(&self, place: Place, name: Option<String>, write: bool) -> anyhow::Result<Pinned>;
    /// Counts the rows of a sink's table. `None`: there is no such sink.
    async fn count_rows(&self, sink: &str) -> anyhow::Result<Option<u64>>;
    async fn stages(&self) -> anyhow::Result<Vec<StageDetail>>;
    /// Switches sampling on for a while, and gives the records that were followed through the stages, newest first.
    fn samples(&self) -> samples::Followed;
    /// `None`: nothing is ever swapped here.
    fn swaps(&self) -> Option<&dyn swap::Swaps> {
        None
    }
}

/// A dead letter as a `[[test]]` case.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Pinned {
    pub name: String,
    pub file: String,
    /// Where it stands in the file.
    pub line: usize,
    pub text: String,
    /// `rejected: …`, `dropped`, `deleted`, or the fields of the row.
    pub expect: serde_json::Value,
    pub written: bool,
}

/// What one poll of the source did.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Run {
    pub id: i64,
    pub started_ms: i64,
    pub duration_ms: f64,
    /// Seed and page, or what else the page is called.
    pub what: String,
    pub records: u64,
    pub bytes: u64,
    /// HTTP status of the last answer; none where nothing is asked by HTTP, or nobody answered.
    pub status: Option<u16>,
    pub retries: u64,
    /// `ok`, or the last error when the poll was given up.
    pub result: String,
}
