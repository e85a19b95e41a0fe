//! Pipelines between a Kafka and a Cassandra that run already, beside bare clients that do the same natively. Everything is made in
//! topics and a keyspace of the bench's own, which go when it ends.

mod moments;
mod native;
mod swaps;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer, ThreadedProducer};
use scylla::client::PoolSize;
use scylla::client::session::Session;
use scylla::client::session_builder::SessionBuilder;
use serde::Serialize;
use serde_json::Value;
use tokio::runtime::Runtime;

use super::median;
use super::pipeline::{COLUMNS, Host, cannot, columns_text, cpu_seconds, get, rss_bytes, stages_text, user};
use crate::record::Message;
use crate::source::generator::Seed;

pub use self::moments::{Latency, Restart};
pub use self::swaps::Boundaries;

const KEYSPACE: &str = "tidemill_bench";
const TABLE: &str = "tidemill_bench.users";
/// Rows that are in flight at once, for all contenders.
const IN_FLIGHT: usize = 256;
/// Requests go through so many connections to each node, as the host's do.
const CONNECTIONS: std::num::NonZeroUsize = std::num::NonZeroUsize::new(2).expect("two");
/// Longest without a record.
const PATIENCE: Duration = Duration::from_secs(60);
/// Where a pace is kept.
const RECORDS_PER_SECOND: u64 = 1_000;
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// What is measured with what.
pub struct Bench {
    /// This program.
    pub program: PathBuf,
    /// The folder that holds extract-user and enrich-user, built.
    pub plugins: PathBuf,
    /// Where the hosts keep their stores.
    pub dir: PathBuf,
    /// `host:port`.
    pub kafka: String,
    pub cassandra: String,
    runtime: Runtime,
    /// Part of every name.
    run: String,
    names: std::cell::Cell<u32>,
}

/// A topic of generated users, each under its key.
#[derive(Clone)]
pub struct Filled {
    name: String,
    partitions: u32,
    records: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Into {
    Null,
    Cassandra,
}

/// How one contender worked a topic through. The rate is that from the first row to the last one; CPU is counted from the start of the
/// process, the client or the session.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Through {
    pub records_per_second: f64,
    pub cpu_seconds_per_million: f64,
    /// Of one host, sampled: the largest, and the largest of the second half. 0: not looked at.
    pub rss_bytes_max: u64,
    pub rss_bytes_max_late: u64,
}

/// Rounds in which the contenders took turns: the median of each figure, and of the rounds' ratios.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Compared {
    pub partitions: u32,
    pub records: u64,
    pub rounds: usize,
    pub tidemill: Through,
    pub native: Through,
    /// Records/s of Tidemill for one of the native program.
    pub rate_ratio: f64,
    /// Records per CPU-second of Tidemill for one of the native program.
    pub per_cpu_ratio: f64,
}

impl Bench {
    /// # Errors
    /// No Kafka or no Cassandra is there.
    pub fn new(program: PathBuf, plugins: PathBuf, dir: PathBuf, kafka: String, cassandra: String) -> Result<Bench, String> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        let runtime = runtime.map_err(cannot("start a runtime"))?;
        let run = format!("tidemill-bench-{}", jiff::Timestamp::now().as_second());
        let bench = Bench { program, plugins, dir, kafka, cassandra, runtime, run, names: Default::default() };
        let columns: String = COLUMNS.iter().map(|(name, cql)| format!(", {name} {cql}")).collect();
        bench.cql(&format!(
            "CREATE KEYSPACE IF NOT EXISTS {KEYSPACE} WITH replication = {{'class': 'SimpleStrategy', 'replication_factor': 1}}"
        ))?;
        bench.cql(&format!("CREATE TABLE IF NOT EXISTS {TABLE} (id uuid PRIMARY KEY{columns})"))?;
        Ok(bench)
    }

    /// A topic with so many users in it.
    pub fn fill(&self, partitions: u32, records: u64) -> Result<Filled, String> {
        let topic = self.topic(partitions)?;
        let producer = self.producer("5")?;
        let seed = Seed::new(&self.run);
        (0..records).try_for_each(|number| send(&producer, &topic.name, &user(&seed, number)))?;
        producer.flush(PATIENCE).map_err(cannot("fill a topic"))?;
        Ok(Filled { records, ..topic })
    }

    /// Native rows until Cassandra's compiler has done its work: until they come no faster.
    pub fn warm(&self, topic: &Filled) -> Result<Vec<f64>, String> {
        let mut rates: Vec<f64> = Vec::new();
        loop {
            rates.push(self.native(topic, Into::Cassandra)?.records_per_second);
            if let [.., before, last] = rates.as_slice()
                && (*last < before * 1.05 || rates.len() == 8)
            {
                return Ok(rates);
            }
        }
    }

    pub fn compare(&self, topic: &Filled, into: Into, rounds: usize) -> Result<Compared, String> {
        let mut turns = Vec::with_capacity(rounds);
        for _ in 0..rounds {
            turns.push((self.hosts(topic, into, 1)?, self.native(topic, into)?));
        }
        let ratio =
            |of: fn(&Through) -> f64| median(&mut turns.iter().map(|(ours, theirs)| of(ours) / of(theirs)).collect::<Vec<_>>());
        let (rate_ratio, cpu_ratio) =
            (ratio(|through| through.records_per_second), ratio(|through| through.cpu_seconds_per_million));
        let (tidemill, native): (Vec<_>, Vec<_>) = turns.into_iter().unzip();
        Ok(Compared {
            partitions: topic.partitions,
            records: topic.records,
            rounds,
            tidemill: Through::median(&tidemill),
            native: Through::median(&native),
            rate_ratio,
            per_cpu_ratio: 1.0 / cpu_ratio,
        })
    }

    fn native(&self, topic: &Filled, into: Into) -> Result<Through, String> {
        let group = self.name();
        let through = match into {
            Into::Null => native::null(self, topic, &group),
            Into::Cassandra => self.runtime.block_on(native::cassandra(self, topic, &group)),
        };
        self.remove(&group);
        through
    }

    /// So many hosts share the topic, in a group of their own.
    pub fn hosts(&self, topic: &Filled, into: Into, hosts: usize) -> Result<Through, String> {
        let (name, file) = self.pipeline(topic, into)?;
        let data = |host: usize| self.dir.join(format!("{name}-{host}"));
        let mut hosts = (0..hosts).map(|at| self.start(&file, &data(at), &[])).collect::<Result<Vec<_>, _>>()?;
        let addresses = (hosts.iter_mut().enumerate()).map(|(at, host)| host.ready(&data(at).join(&name)));
        let addresses = addresses.collect::<Result<Vec<_>, _>>()?;
        let (mut began, mut before, mut changed) = (Instant::now(), 0, Instant::now());
        let mut last = 0;
        let mut rss = Vec::new();
        while last < topic.records {
            std::thread::sleep(LOOK_EVERY);
            let rows = addresses.iter().map(|address| rows(address)).sum::<Result<u64, _>>()?;
            if rows > last {
                changed = Instant::now();
            }
            if before == 0 && rows > 0 {
                (began, before) = (changed, rows);
                rss.clear();
            }
            last = rows;
            rss.extend(hosts.iter().filter_map(|host| rss_bytes(host.0.id())).max());
            if changed.elapsed() > PATIENCE {
                return Err(format!("the hosts stand still at {rows} of {} records", topic.records));
            }
        }
        let seconds = (changed - began).as_secs_f64();
        let cpu_seconds: f64 = hosts.iter().filter_map(|host| cpu_seconds(host.0.id())).sum();
        hosts.iter_mut().try_for_each(|host| end(host, rustix::process::Signal::TERM))?;
        self.remove(&name);
        Ok(Through {
            records_per_second: (topic.records - before) as f64 / seconds,
            cpu_seconds_per_million: cpu_seconds * 1e6 / topic.records as f64,
            rss_bytes_max: rss.iter().copied().max().unwrap_or(0),
            rss_bytes_max_late: rss[rss.len() / 2..].iter().copied().max().unwrap_or(0),
        })
    }

    /// A name that nobody had: of a topic, a group or a pipeline.
    fn name(&self) -> String {
        self.names.set(self.names.get() + 1);
        format!("{}-{}", self.run, self.names.get())
    }

    /// A pipeline from the topic; its name and file.
    fn pipeline(&self, topic: &Filled, into: Into) -> Result<(String, PathBuf), String> {
        let (name, Filled { name: topic, partitions, .. }) = (self.name(), topic);
        let sink = match into {
            Into::Null => "at = \"null\"\n".to_owned(),
            Into::Cassandra => {
                let (cassandra, columns) = (&self.cassandra, columns_text());
                format!("at = \"cassandra://{cassandra}\"\ntable = \"{TABLE}\"\nin-flight = {IN_FLIGHT}\n{columns}")
            }
        };
        let text = format!(
            "name = \"{name}\"\n[topic]\nname = \"{topic}\"\nat = \"kafka://{}\"\nkey = \"login.uuid\"\npartitions = {partitions}\n\
             {}[[sink]]\nname = \"users\"\n{sink}",
            self.kafka,
            stages_text(&self.plugins)?,
        );
        let file = self.dir.join(format!("{name}.toml"));
        std::fs::write(&file, text).map_err(cannot("write a pipeline file"))?;
        Ok((name, file))
    }

    fn start(&self, file: &Path, data: &Path, more: &[&str]) -> Result<Host, String> {
        let mut command = Command::new(&self.program);
        command.arg("run").arg(file).arg("--data").arg(data).args(["--port", "0", "--quiet"]).args(more);
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn();
        Ok(Host(child.map_err(cannot("start the host"))?))
    }

    fn client(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.kafka);
        config
    }

    fn producer(&self, linger_ms: &str) -> Result<ThreadedProducer<DefaultProducerContext>, String> {
        let mut config = self.client();
        config.set("linger.ms", linger_ms).set("partitioner", "murmur2_random");
        config.create().map_err(cannot("make a producer"))
    }

    async fn session(&self) -> Result<Session, String> {
        let session = SessionBuilder::new().known_node(&self.cassandra).pool_size(PoolSize::PerHost(CONNECTIONS)).build().await;
        session.map_err(|error| format!("connect to Cassandra at {}: {error}", self.cassandra))
    }

    fn cql(&self, statement: &str) -> Result<(), String> {
        self.runtime.block_on(async {
            let mut statement = scylla::statement::Statement::new(statement);
            statement.set_request_timeout(Some(PATIENCE));
            self.session().await?.query_unpaged(statement, ()).await.map(drop).map_err(|error| error.to_string())
        })
    }

    fn admin(&self) -> Result<AdminClient<DefaultClientContext>, String> {
        self.client().create().map_err(cannot("make a Kafka client"))
    }

    /// An empty topic.
    fn topic(&self, partitions: u32) -> Result<Filled, String> {
        let name = self.name();
        let topic = NewTopic::new(&name, partitions as i32, TopicReplication::Fixed(1));
        let admin = self.admin()?;
        let made = self.runtime.block_on(admin.create_topics([&topic], &AdminOptions::new()));
        if let Some(Err((_, error))) = made.map_err(|error| format!("reach Kafka at {}: {error}", self.kafka))?.pop() {
            return Err(format!("make a topic: {error}"));
        }
        // Made is not yet seen.
        for _ in 0..PATIENCE.as_millis() / LOOK_EVERY.as_millis() {
            let seen = admin.inner().fetch_metadata(Some(&name), PATIENCE).map_err(cannot("ask for a topic"))?;
            if seen
                .topics()
                .iter()
                .any(|topic| topic.partitions().iter().filter(|one| one.leader() >= 0).count() == partitions as usize)
            {
                return Ok(Filled { name, partitions, records: 0 });
            }
            std::thread::sleep(LOOK_EVERY);
        }
        Err("a topic was made, and is not seen".to_owned())
    }

    /// What a pipeline or a bare group has left in Kafka. What cannot be removed does no harm.
    fn remove(&self, name: &str) {
        let Ok(admin) = self.admin() else { return };
        let side = ["positions", "control", "dead-letters"].map(|side| format!("{name}.{side}"));
        let topics: Vec<&str> = side.iter().map(String::as_str).chain([name]).collect();
        let options = AdminOptions::new();
        let _ = self.runtime.block_on(admin.delete_topics(&topics, &options));
        let _ = self.runtime.block_on(admin.delete_groups(&[name], &options));
    }

    pub fn forget(&self, topic: Filled) {
        self.remove(&topic.name);
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        let _ = self.cql(&format!("DROP KEYSPACE IF EXISTS {KEYSPACE}"));
    }
}

impl Through {
    fn median(of: &[Through]) -> Through {
        let middle = |figure: fn(&Through) -> f64| median(&mut of.iter().map(figure).collect::<Vec<_>>());
        let most = |figure: fn(&Through) -> u64| of.iter().map(figure).max().unwrap_or(0);
        Through {
            records_per_second: middle(|through| through.records_per_second),
            cpu_seconds_per_million: middle(|through| through.cpu_seconds_per_million),
            rss_bytes_max: most(|through| through.rss_bytes_max),
            rss_bytes_max_late: most(|through| through.rss_bytes_max_late),
        }
    }
}

/// Rows that a host's sink has taken.
fn rows(address: &str) -> Result<u64, String> {
    let status = status(address)?;
    status["sinks"][0]["rows"].as_u64().ok_or_else(|| format!("no rows in the host's status: {status}"))
}

fn status(address: &str) -> Result<Value, String> {
    let answer = get(address, "/api/status").map_err(cannot("ask the host"))?;
    let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    serde_json::from_str(body).map_err(|error| format!("read the host's status: {error}: {answer}"))
}

fn end(host: &mut Host, signal: rustix::process::Signal) -> Result<(), String> {
    rustix::process::kill_process(rustix::process::Pid::from_child(&host.0), signal).map_err(cannot("end the host"))?;
    host.0.wait().map(drop).map_err(cannot("wait for the host"))
}

/// Generated users, 1,000 a second, until `sent` has enough of them.
fn produce_paced(
    producer: &ThreadedProducer<DefaultProducerContext>,
    topic: &str,
    mut sent: impl FnMut(u64, Message, Instant) -> bool,
) -> Result<(), String> {
    let seed = Seed::new(topic);
    let began = Instant::now();
    for number in 0.. {
        let message = user(&seed, number);
        std::thread::sleep(Duration::from_micros(number * 1_000_000 / RECORDS_PER_SECOND).saturating_sub(began.elapsed()));
        let at = Instant::now();
        send(producer, topic, &message)?;
        if !sent(number, message, at) {
            break;
        }
    }
    // Dropping it would purge what is queued.
    producer.flush(PATIENCE).map_err(cannot("produce"))
}

fn send<C: rdkafka::producer::ProducerContext<DeliveryOpaque = ()>>(
    producer: &ThreadedProducer<C>,
    topic: &str,
    user: &Message,
) -> Result<(), String> {
    let mut record = BaseRecord::<[u8], [u8]>::to(topic).timestamp(user.timestamp);
    (record.key, record.payload) = (user.key.as_deref(), user.value.as_deref());
    while let Err((error, same)) = producer.send(record) {
        if error.rdkafka_error_code() != Some(rdkafka::error::RDKafkaErrorCode::QueueFull) {
            return Err(format!("produce: {error}"));
        }
        record = same;
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}
