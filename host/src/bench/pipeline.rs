//! Whole pipelines over generated users of about 1.1 KB: records per second into the embedded table, every acknowledged row durable,
//! beside plain SQLite; the time from an append to the visible row; start and memory.
//!
//! Throughput, start and memory are those of `tidemill run` in a process of its own; the latency is taken in this one, where the moment
//! of an append is known.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde::Serialize;
use serde_json::Value;

use super::{Sorted, median};
use crate::config::plan::{NullValue, Retention, TopicAddress, TopicPlan};
use crate::config::{self, LoadOptions};
use crate::pipeline::{self, prepare};
use crate::plugin::Engine;
use crate::record::Message;
use crate::source::generator::Seed;
use crate::status::Reporter;
use crate::store::Store;
use crate::topic::embedded::Embedded;
use crate::topic::{Cursor, Topic};

pub(super) const NAME: &str = "bench";
pub(super) const TABLE: &str = "bench.users";
/// Records of one publish.
const PAGE_RECORDS: u64 = 2_000;
pub(super) const LATENCY_RECORDS_PER_SECOND: u64 = 1_000;
/// Longest that a host may take to be ready.
const READY_WITHIN: Duration = Duration::from_secs(30);

/// What is measured with what.
pub struct Bench {
    /// This program.
    pub program: PathBuf,
    /// The folder that holds extract-user and enrich-user, built.
    pub plugins: PathBuf,
    /// Where stores are made, and left to the caller.
    pub dir: PathBuf,
    /// About how long each part takes.
    pub seconds: u64,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Throughput {
    pub records: u64,
    pub seconds: f64,
    pub records_per_second: f64,
    /// Of the host, sampled: the largest, and the largest of the second half.
    pub rss_bytes_max: u64,
    pub rss_bytes_max_late: u64,
    /// Of the host, all threads.
    pub cpu_seconds: f64,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Latency {
    pub records: usize,
    /// From the moment at which the append was due, so that one that had to wait counts.
    pub p50_ms: f64,
    pub p99_ms: f64,
    pub max_ms: f64,
    /// From the acknowledged append.
    pub acknowledged_p50_ms: f64,
    pub acknowledged_p99_ms: f64,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Start {
    /// From the start of the process to `/readyz`, plugins from the cache: the median.
    pub ready_ms: f64,
    pub idle_rss_bytes: u64,
}

impl Bench {
    /// From a topic that holds everything already.
    pub fn filled(&self, records: u64) -> Result<Throughput, String> {
        let data = self.dir.join("filled");
        fill(&data.join(NAME), records)?;
        let file = self.pipeline_file("filled", "")?;
        self.until_idle(&file, &data, &[])
    }

    /// From the generator, for [`Bench::seconds`].
    pub fn source_to_table(&self) -> Result<Throughput, String> {
        let source = format!(
            "[source]\nkind = \"generator\"\nevery = \"0s\"\nfor = \"{}s\"\nrecords-per-poll = {PAGE_RECORDS}\n",
            self.seconds
        );
        let file = self.pipeline_file("source", &source)?;
        self.until_idle(&file, &self.dir.join("source"), &[])
    }

    /// Starts again and again, with an empty topic.
    pub fn start(&self) -> Result<Start, String> {
        let file = self.pipeline_file("start", "")?;
        let data = self.dir.join("start");
        let mut times = Vec::new();
        let mut idle_rss_bytes = 0;
        // The first one fills the cache.
        for turn in 0..6 {
            let begun = Instant::now();
            let mut host = Host(self.command(&file, &data).stdout(Stdio::null()).spawn().map_err(cannot("start the host"))?);
            host.ready(&data.join(NAME))?;
            if turn > 0 {
                times.push(begun.elapsed().as_secs_f64() * 1e3);
                idle_rss_bytes = rss_bytes(host.0.id()).unwrap_or(0);
            }
        }
        Ok(Start { ready_ms: median(&mut times), idle_rss_bytes })
    }

    fn command(&self, file: &Path, data: &Path) -> Command {
        let mut command = Command::new(&self.program);
        command.arg("run").arg(file).arg("--data").arg(data).args(["--port", "0", "--quiet"]).stdin(Stdio::null());
        command
    }

    pub(super) fn until_idle(&self, file: &Path, data: &Path, more: &[&str]) -> Result<Throughput, String> {
        let mut command = self.command(file, data);
        command.args(more);
        let mut host =
            Host(command.args(["--until-idle", "--json"]).stdout(Stdio::piped()).spawn().map_err(cannot("start the host"))?);
        let (mut samples, mut cpu_seconds) = (Vec::new(), 0.0);
        while host.0.try_wait().map_err(cannot("wait for the host"))?.is_none() {
            samples.extend(rss_bytes(host.0.id()).filter(|bytes| *bytes > 0));
            cpu_seconds = self::cpu_seconds(host.0.id()).unwrap_or(cpu_seconds);
            std::thread::sleep(Duration::from_millis(50));
        }
        let mut text = String::new();
        if let Some(mut stdout) = host.0.stdout.take() {
            stdout.read_to_string(&mut text).map_err(cannot("read the host's answer"))?;
        }
        let envelope: Value = serde_json::from_str(&text).map_err(|error| format!("read the host's answer: {error}: {text}"))?;
        let count = |name: &str| envelope["result"][name].as_u64().ok_or_else(|| format!("the host failed: {envelope}"));
        let (records, seconds) = (count("delivered")?, count("duration_ms")? as f64 / 1e3);
        let late = &samples[samples.len() / 2..];
        Ok(Throughput {
            records,
            seconds,
            records_per_second: records as f64 / seconds,
            rss_bytes_max: samples.iter().copied().max().unwrap_or(0),
            rss_bytes_max_late: late.iter().copied().max().unwrap_or(0),
            cpu_seconds,
        })
    }

    fn pipeline_file(&self, name: &str, source: &str) -> Result<PathBuf, String> {
        let path = self.dir.join(format!("{name}.toml"));
        std::fs::write(&path, self.pipeline_text(source, 2)?).map_err(cannot("write a pipeline file"))?;
        Ok(path)
    }

    pub(super) fn pipeline_text(&self, source: &str, partitions: u32) -> Result<String, String> {
        Ok(format!(
            "name = \"{NAME}\"\n{source}\n[topic]\nkey = \"login.uuid\"\npartitions = {partitions}\nretention = \"for ever\"\n\
             {}[[sink]]\nname = \"users\"\ntable = \"{TABLE}\"\n{}",
            stages_text(&self.plugins)?,
            columns_text(),
        ))
    }

    /// Due → visible of one partition.
    pub fn latency(&self, engine: &Engine) -> Result<Latency, String> {
        let paced =
            Paced { text: self.pipeline_text("", 1)?, dir: self.dir.join("latency"), partitions: 1, seconds: self.seconds };
        paced.latency(engine, users())
    }
}

/// A pipeline whose records are appended one by one at their moments.
pub(super) struct Paced {
    pub text: String,
    /// Of its store.
    pub dir: PathBuf,
    pub partitions: u32,
    pub seconds: u64,
}

impl Paced {
    /// Looks when each record's row can be read. `due` makes what is published when a record is due: that record, and others that become no row.
    pub(super) fn latency(&self, engine: &Engine, due: impl Fn(u64) -> Vec<Message>) -> Result<Latency, String> {
        let options = LoadOptions::new(&config::process_env);
        let wrong = |found: Vec<config::diagnostic::Diagnostic>| format!("{} errors in the pipeline of the bench", found.len());
        let loaded = config::read(&self.dir.join("pipeline.toml"), &self.text, &options).map_err(wrong)?;
        let prepared = prepare(loaded, engine).map_err(wrong)?;
        let store = Store::open(&self.dir).map_err(|error| error.to_string())?;
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        let runtime = runtime.map_err(cannot("start a runtime"))?;
        let records = self.seconds.max(1) * LATENCY_RECORDS_PER_SECOND;
        runtime.block_on(async {
            let running = pipeline::start(prepared, store.clone(), Reporter::default(), pipeline::Options::default());
            let running = running.await.map_err(|error| error.to_string())?;
            let begun = Instant::now();
            let visible = watch(&store, records, begun)?;
            let acknowledged = append_paced(&store, self.partitions, records, begun, due).await?;
            let visible = tokio::task::spawn_blocking(move || visible.join()).await;
            let visible = visible.ok().and_then(Result::ok).ok_or("the reader of the table ended unexpectedly")??;
            running.drain();
            running.ended().await?;
            Ok(Latency::of(&acknowledged, &visible))
        })
    }
}

/// Columns behind the key, with their CQL types.
pub const COLUMNS: [(&str, &str); 15] = [
    ("first_name", "text"),
    ("last_name", "text"),
    ("gender", "text"),
    ("address", "text"),
    ("post_code", "text"),
    ("email", "text"),
    ("username", "text"),
    ("registered_date", "timestamp"),
    ("phone", "text"),
    ("picture", "text"),
    ("dob", "timestamp"),
    ("full_name", "text"),
    ("email_provider", "text"),
    ("age_band", "text"),
    ("registration_year", "int"),
];

/// Both stages in a pipeline file.
pub(super) fn stages_text(plugins: &Path) -> Result<String, String> {
    let plugins = plugins.canonicalize().map_err(|error| format!("find {}: {error}", plugins.display()))?;
    let stage = |name: &str, plugin: &str| {
        format!("[[stage]]\nname = \"{name}\"\nplugin = {}\n", Value::from(plugins.join(plugin).display().to_string()))
    };
    Ok(stage("extract", "extract-user") + &stage("enrich", "enrich-user"))
}

/// The columns of the last sink in a pipeline file.
pub(super) fn columns_text() -> String {
    let column = |(name, cql): &(&str, &str)| format!("{name} = {{ field = \"{name}\", type = \"{cql}\" }}\n");
    let columns: String = COLUMNS.iter().map(column).collect();
    format!("[sink.columns]\nid = {{ field = \"id\", type = \"uuid\", key = \"partition\" }}\n{columns}")
}

pub(super) fn cannot<E: std::fmt::Display>(what: &'static str) -> impl Fn(E) -> String {
    move |error| format!("{what}: {error}")
}

/// When record `at` is due.
fn due(at: u64) -> Duration {
    Duration::from_micros(at * 1_000_000 / LATENCY_RECORDS_PER_SECOND)
}

impl Latency {
    /// From when each record was acknowledged and when its row was visible, both since the first was due.
    fn of(acknowledged: &[Duration], visible: &[Duration]) -> Latency {
        let ms = |from: Duration, to: &Duration| to.saturating_sub(from).as_secs_f64() * 1e3;
        let all = Sorted::of((0..).zip(visible).map(|(at, seen)| ms(due(at), seen)));
        let after = Sorted::of(acknowledged.iter().zip(visible).map(|(from, seen)| ms(*from, seen)));
        Latency {
            records: visible.len(),
            p50_ms: all.at(0.5),
            p99_ms: all.at(0.99),
            max_ms: all.at(1.0),
            acknowledged_p50_ms: after.at(0.5),
            acknowledged_p99_ms: after.at(0.99),
        }
    }
}

/// Publishes what is due, as one page; returns when each record was acknowledged.
pub(super) async fn append_paced(
    store: &Store,
    partitions: u32,
    records: u64,
    begun: Instant,
    due_with: impl Fn(u64) -> Vec<Message>,
) -> Result<Vec<Duration>, String> {
    let topic = Embedded::open(store, &topic_plan(partitions)).await.map_err(|error| error.to_string())?;
    let mut publisher = topic.publisher().await.map_err(|error| error.to_string())?;
    let mut acknowledged = Vec::with_capacity(records as usize);
    let mut sent = 0;
    while sent < records {
        let now = begun.elapsed();
        let ready = (sent..records).take_while(|at| due(*at) <= now).count() as u64;
        if ready == 0 {
            tokio::time::sleep(due(sent) - now).await;
            continue;
        }
        let page = (sent..sent + ready).flat_map(&due_with).collect();
        publisher.publish(page, Cursor(Value::Null)).await.map_err(|error| error.to_string())?;
        sent += ready;
        acknowledged.resize(sent as usize, begun.elapsed());
    }
    Ok(acknowledged)
}

type Watching = std::thread::JoinHandle<Result<Vec<Duration>, String>>;

/// Reads the table after each save, on a connection like anybody's. All rows are of one partition and the keys differ, so row n is record n.
fn watch(store: &Store, records: u64, begun: Instant) -> Result<Watching, String> {
    let connection = store.reader().map_err(|error| error.to_string())?;
    let mut saved = store.saved().subscribe();
    let runtime = tokio::runtime::Handle::current();
    let look = move || {
        let mut seen = Vec::with_capacity(records as usize);
        let select = format!("SELECT coalesce(max(\"@row\"), 0) FROM \"{TABLE}:rows\"");
        while (seen.len() as u64) < records {
            runtime.block_on(saved.changed()).map_err(|_| "the store has closed".to_owned())?;
            let rows: usize = connection
                .prepare_cached(&select)
                .and_then(|mut select| select.query_row([], |row| row.get(0)))
                .map_err(cannot("read the table"))?;
            seen.resize(rows.max(seen.len()), begun.elapsed());
        }
        Ok(seen)
    };
    std::thread::Builder::new().name("bench-reader".to_owned()).spawn(look).map_err(cannot("start a thread"))
}

fn topic_plan(partitions: u32) -> TopicPlan {
    TopicPlan {
        name: NAME.to_owned(),
        at: TopicAddress::Embedded,
        key: Some("login.uuid".to_owned()),
        partitions,
        retention: Retention { age: None, bytes: None },
        null_value: NullValue::Reject,
    }
}

/// A generated user under its key.
pub(super) fn user(seed: &Seed, number: u64) -> Message {
    let mut value = Vec::with_capacity(1_280);
    seed.write_user(number, &mut value);
    // Our own generator's shape: the uuid is the only field of that name.
    const UUID: &[u8] = br#""uuid":""#;
    let key = value.windows(UUID.len()).position(|at| at == UUID).and_then(|at| value.get(at + UUID.len()..at + UUID.len() + 36));
    let key = key.map(<[u8]>::to_vec);
    Message { key, value: Some(value), timestamp: jiff::Timestamp::now().as_millisecond(), headers: Vec::new() }
}

/// Users by number.
pub(super) fn users() -> impl Fn(u64) -> Vec<Message> {
    let seed = Seed::new(NAME);
    move |number| vec![user(&seed, number)]
}

/// Fills the topic of a store with users.
pub(super) fn fill(dir: &Path, records: u64) -> Result<(), String> {
    let store = Store::open(dir).map_err(|error| error.to_string())?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(cannot("start a runtime"))?;
    let seed = Seed::new(NAME);
    runtime.block_on(async {
        let topic = Embedded::open(&store, &topic_plan(2)).await.map_err(|error| error.to_string())?;
        let mut publisher = topic.publisher().await.map_err(|error| error.to_string())?;
        for first in (0..records).step_by(PAGE_RECORDS as usize) {
            let page = (first..records.min(first + PAGE_RECORDS)).map(|number| user(&seed, number)).collect();
            publisher.publish(page, Cursor(Value::Null)).await.map_err(|error| error.to_string())?;
        }
        Ok(())
    })
}

/// A child that does not outlive its measurement.
pub(super) struct Host(pub(super) Child);

impl Host {
    /// Waits for `/readyz`; the address of its API.
    pub(super) fn ready(&mut self, store: &Path) -> Result<String, String> {
        let until = Instant::now() + READY_WITHIN;
        while Instant::now() < until {
            if let Some(status) = self.0.try_wait().map_err(cannot("wait for the host"))? {
                return Err(format!("the host ended with {status}"));
            }
            let owner = Store::owner(store).ok().flatten().filter(|owner| owner.pid == self.0.id());
            let address = owner.and_then(|owner| owner.address);
            if let Some(address) = address.filter(|address| get(address, "/readyz").is_ok_and(|answer| answer.starts_with(OK))) {
                return Ok(address);
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        Err(format!("the host was not ready within {READY_WITHIN:?}"))
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

const OK: &str = "HTTP/1.1 200";

/// Head and body of an answer.
pub(super) fn get(address: &str, path: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(1)))?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

pub(super) fn rss_bytes(pid: u32) -> Option<u64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/statm")).ok()?;
    let pages: u64 = text.split(' ').nth(1)?.parse().ok()?;
    Some(pages * rustix::param::page_size() as u64)
}

pub(super) fn cpu_seconds(pid: u32) -> Option<f64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The command's name may hold spaces; behind it come the numbers, the third of them being field 5.
    let mut fields = text.rsplit_once(')')?.1.split_ascii_whitespace().skip(11);
    let ticks: u64 = fields.next()?.parse::<u64>().ok()? + fields.next()?.parse::<u64>().ok()?;
    Some(ticks as f64 / rustix::param::clock_ticks_per_second() as f64)
}
