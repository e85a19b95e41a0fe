//! How a client of a Kafka cluster is made: its settings, where its logs go, and what its errors mean.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, ResourceSpecifier};
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::producer::{DeliveryResult, ProducerContext};
use secrecy::ExposeSecret;

use crate::config::plan::KafkaPlan;

/// How long one question to the cluster may take.
pub const ASK_TIMEOUT: Duration = Duration::from_secs(10);
/// How often the log says that brokers are out of reach.
const OUTAGE_TOLD_EVERY: Duration = Duration::from_secs(10);
/// How long a transaction may stand open: readers wait so long behind a host that died in one.
const TRANSACTION_TIMEOUT_MS: &str = "10000";
/// The longest that librdkafka takes: whether a record is too large is for the topic to say.
const MESSAGE_BYTES_MAX: &str = "1000000000";

/// What a topic takes unless it was told otherwise, with room for what a batch adds.
const RECORD_BYTES_MAX: usize = 1_000_000;

/// What every client of the cluster has in common; what a person set is below what the host must own.
fn client(plan: &KafkaPlan) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("client.id", "tidemill");
    for (name, value) in &plan.properties {
        config.set(name, value.expose_secret());
    }
    config.set("bootstrap.servers", plan.brokers.join(","));
    // It is asked for all the time by clients that fetch nothing.
    config.set("log.connection.close", "false");
    // Who asks the client for its debug log wants to read it.
    let asked = config.get("debug").is_some();
    config.set_log_level(if asked { RDKafkaLogLevel::Debug } else { RDKafkaLogLevel::Info });
    config
}

/// A consumer that commits nothing by itself and never jumps.
pub fn consumer(plan: &KafkaPlan, group: &str) -> ClientConfig {
    let mut config = client(plan);
    let preset = config.get("session.timeout.ms").is_some();
    if !preset {
        // The default of 45 s is how long the partitions of a dead host would stand still.
        config.set("session.timeout.ms", "10000");
    }
    if config.get("fetch.queue.backoff.ms").is_none() {
        // With the default a consumer stalls for a second each time that its queue is full.
        config.set("fetch.queue.backoff.ms", "2");
    }
    config
        .set("group.id", group)
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        .set("isolation.level", "read_committed")
        .set("partition.assignment.strategy", "cooperative-sticky")
        .set("auto.offset.reset", "error")
        .set("enable.partition.eof", "true");
    config
}

/// A producer whose records are acknowledged by all replicas, each once and in order.
pub fn producer(plan: &KafkaPlan) -> ClientConfig {
    let mut config = client(plan);
    config
        .set("enable.idempotence", "true")
        .set("acks", "all")
        .set("partitioner", "murmur2_random")
        .set("message.max.bytes", MESSAGE_BYTES_MAX);
    config
}

/// A producer that publishes in transactions. Whoever begins one has all of it, so that waiting for more (5 ms) gathers nothing.
pub fn transactional(plan: &KafkaPlan, id: &str) -> ClientConfig {
    let mut config = producer(plan);
    if ["linger.ms", "queue.buffering.max.ms"].iter().all(|name| config.get(name).is_none()) {
        config.set("linger.ms", "0");
    }
    config.set("transactional.id", id).set("transaction.timeout.ms", TRANSACTION_TIMEOUT_MS);
    config
}

/// A producer to topics that take so much at once: what is batched is refused as a whole, so that a record would be refused for its
/// neighbours' sake.
pub fn within(mut config: ClientConfig, record_bytes_max: usize) -> ClientConfig {
    let set = config.get("batch.size").and_then(|set| set.parse().ok()).unwrap_or(RECORD_BYTES_MAX);
    config.set("batch.size", set.min(record_bytes_max).to_string());
    config
}

pub fn admin(plan: &KafkaPlan) -> KafkaResult<AdminClient<Logs>> {
    producer(plan).create_with_context(Logs)
}

/// The largest record that a topic takes, as far as the cluster says. Blocks.
pub fn record_bytes_max(plan: &KafkaPlan, topic: &str) -> usize {
    let ask = || {
        let options = AdminOptions::new().request_timeout(Some(ASK_TIMEOUT));
        let described = answer(admin(plan).ok()?.describe_configs([&ResourceSpecifier::Topic(topic)], &options)).ok()?;
        let topic = described.into_iter().next()?.ok()?;
        topic.get("max.message.bytes")?.value.as_ref()?.parse::<usize>().ok()
    };
    ask().map_or(RECORD_BYTES_MAX, |bytes| bytes.saturating_sub(1_024).max(4_096))
}

/// Waits for what the client's own thread completes.
pub fn answer<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime of one thread without drivers");
    runtime.block_on(work)
}

/// Sends what librdkafka says to the host's log.
#[derive(Clone, Copy, Debug, Default)]
pub struct Logs;

impl ClientContext for Logs {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        let outage = matches!(code(&error), Some(RDKafkaErrorCode::AllBrokersDown | RDKafkaErrorCode::BrokerTransportFailure));
        if outage && !tells_outage() {
            tracing::debug!(target: "kafka", "{error}: {reason}");
        } else {
            tracing::warn!(target: "kafka", "{error}: {reason}");
        }
    }
}

impl ConsumerContext for Logs {}

impl ProducerContext for Logs {
    type DeliveryOpaque = ();

    /// A transaction that lost a record cannot be committed, which is where it is looked at.
    fn delivery(&self, _: &DeliveryResult<'_>, (): ()) {}
}

/// Whether it is time to say again that brokers are out of reach: every client says it of every broker, several times a second.
fn tells_outage() -> bool {
    static TOLD: Mutex<Option<Instant>> = Mutex::new(None);
    let mut told = TOLD.lock().unwrap_or_else(PoisonError::into_inner);
    let again = told.is_none_or(|at| at.elapsed() >= OUTAGE_TOLD_EVERY);
    if again {
        *told = Some(Instant::now());
    }
    again
}

pub fn log(level: RDKafkaLogLevel, facility: &str, message: &str) {
    match level {
        _ if facility == "FAIL" && !tells_outage() => tracing::debug!(target: "kafka", "{facility}: {message}"),
        // A property that is a producer's is ignored by a consumer: a pipeline file has one list for both.
        // What becomes of a transaction is heard by who makes it: one that a rebalance refuses is as it should be.
        _ if matches!(facility, "CONFWARN" | "TXNERR") => tracing::debug!(target: "kafka", "{facility}: {message}"),
        RDKafkaLogLevel::Emerg | RDKafkaLogLevel::Alert | RDKafkaLogLevel::Critical | RDKafkaLogLevel::Error => {
            tracing::error!(target: "kafka", "{facility}: {message}");
        }
        RDKafkaLogLevel::Warning => tracing::warn!(target: "kafka", "{facility}: {message}"),
        RDKafkaLogLevel::Notice | RDKafkaLogLevel::Info | RDKafkaLogLevel::Debug => {
            tracing::debug!(target: "kafka", "{facility}: {message}");
        }
    }
}

/// The code of an error, where the library gives one.
pub fn code(error: &KafkaError) -> Option<RDKafkaErrorCode> {
    if let KafkaError::Transaction(error) = error { Some(error.code()) } else { error.rdkafka_error_code() }
}

/// The error in words: of a transaction, what went wrong in it.
pub fn reason(error: &KafkaError) -> String {
    match error {
        KafkaError::Transaction(error) => error.string(),
        error => error.rdkafka_error_code().map_or_else(|| error.to_string(), |code| code.to_string()),
    }
}

/// Whether a record is larger than its topic takes, which no second attempt changes.
pub fn is_too_large(error: &KafkaError) -> bool {
    matches!(code(error), Some(RDKafkaErrorCode::MessageSizeTooLarge | RDKafkaErrorCode::InvalidMessageSize))
}

/// Whether another producer with the same transactional id has begun, or the coordinator has given this one up.
pub fn is_fenced(error: &KafkaError) -> bool {
    matches!(
        code(error),
        Some(RDKafkaErrorCode::Fenced | RDKafkaErrorCode::ProducerFenced | RDKafkaErrorCode::InvalidProducerEpoch)
    )
}
