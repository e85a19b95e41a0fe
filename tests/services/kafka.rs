//! A real Kafka, and plain clients of it that share no code with the product.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;
use std::time::Duration;

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{Header, Headers, Message, OwnedHeaders, ToBytes};
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer, ThreadedProducer};
use rdkafka::types::RDKafkaErrorCode;
use rdkafka::{Offset, TopicPartitionList};
use rustix::process::Signal;
use tempfile::TempDir;

use super::jars;
use super::process::{Port, Process};
use crate::support::read::Record;
use crate::support::{PATIENCE, wait_for};

const POM: &str = include_str!("kafka/pom.xml");
const PROPERTIES: &str = include_str!("kafka/server.properties");
const LOGGING: &str = include_str!("kafka/log4j2.properties");

pub struct Kafka {
    process: Option<Process>,
    command: Command,
    jars: PathBuf,
    client: Port,
    _controller: Port,
    dir: TempDir,
}

/// What a test publishes.
#[derive(Clone, Debug, Default)]
pub struct Publish<'a> {
    pub partition: Option<i32>,
    pub key: Option<&'a [u8]>,
    /// `None`: a tombstone.
    pub value: Option<&'a [u8]>,
    pub headers: &'a [(&'a str, Option<&'a [u8]>)],
    /// ms; `None`: now.
    pub timestamp: Option<i64>,
}

/// The Kafka that the cases share, started by the first that asks. A case must not harm it.
pub fn shared() -> Option<&'static Kafka> {
    static SHARED: OnceLock<Option<Kafka>> = OnceLock::new();
    SHARED.get_or_init(|| Kafka::own(&[])).as_ref()
}

impl Kafka {
    /// One for this case alone, with further broker properties; ended when dropped.
    #[track_caller]
    pub fn own(properties: &[&str]) -> Option<Kafka> {
        let jars = jars::resolve("kafka-4.1.1", POM, format)?;
        let (client, controller) = (Port::choose(), Port::choose());
        let dir = tempfile::tempdir().expect("a folder for Kafka");
        let data = dir.path().join("data");
        fs::create_dir(&data).expect("make the data folder");
        for file in ["meta.properties", "bootstrap.checkpoint"] {
            fs::copy(jars.join("formatted").join(file), data.join(file)).expect("copy the formatted folder");
        }
        fs::write(dir.path().join("server.properties"), written(&client, &controller, &data, properties))
            .expect("write properties");
        fs::write(dir.path().join("log4j2.properties"), LOGGING).expect("write properties");
        let mut command = java(&jars);
        command.args(["-Xms256m", "-Xmx512m", "-XX:+UseG1GC", "-XX:+ExitOnOutOfMemoryError", "-Djava.awt.headless=true"]);
        command.args(["-Dlog4j2.configurationFile=log4j2.properties", "kafka.Kafka", "server.properties"]);
        let mut kafka = Kafka { process: None, command, jars, client, _controller: controller, dir };
        kafka.start();
        Some(kafka)
    }

    /// `127.0.0.1:port`; the same over restarts.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.client.number())
    }

    /// Starts it again on the data it had.
    #[track_caller]
    pub fn start(&mut self) {
        assert!(self.process.is_none(), "Kafka runs");
        self.process = Some(Process::start(&self.command, self.dir.path(), "Kafka Server started"));
    }

    /// SIGTERM, and its end.
    pub fn stop(&mut self) {
        self.end(Signal::TERM);
    }

    /// SIGKILL, and its end.
    pub fn kill(&mut self) {
        self.end(Signal::KILL);
    }

    fn end(&mut self, signal: Signal) {
        self.process.take().expect("Kafka runs").end(signal);
    }

    /// SIGSTOP: it keeps its connections and answers nobody.
    pub fn pause(&self) {
        self.process.as_ref().expect("Kafka runs").signal(Signal::STOP);
    }

    pub fn resume(&self) {
        self.process.as_ref().expect("Kafka runs").signal(Signal::CONT);
    }

    /// A tool of Kafka's own by its class, such as `org.apache.kafka.tools.GetOffsetShell`.
    pub fn tool(&self, class: &str, arguments: &[&str]) -> Output {
        let mut command = java(&self.jars);
        command.arg(class).args(["--bootstrap-server", &self.address()]).args(arguments).output().expect("start the tool")
    }

    /// `kafka-consumer-groups`; what it printed.
    #[track_caller]
    pub fn consumer_groups(&self, arguments: &[&str]) -> String {
        let output = self.tool("org.apache.kafka.tools.consumer.group.ConsumerGroupCommand", arguments);
        let text = [output.stdout, output.stderr].concat();
        let text = String::from_utf8_lossy(&text).into_owned();
        // It ends with 0 also when it says that it could not.
        assert!(output.status.success() && !text.contains("Error"), "{arguments:?}: {text}");
        text
    }

    pub fn config(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", self.address());
        config
    }

    #[track_caller]
    pub fn create_topic(&self, name: &str, partitions: i32, config: &[(&str, &str)]) {
        let mut topic = NewTopic::new(name, partitions, TopicReplication::Fixed(1));
        for (key, value) in config {
            topic = topic.set(key, value);
        }
        let made = block_on(self.admin().create_topics([&topic], &AdminOptions::new())).expect("ask Kafka for a topic");
        made.into_iter().for_each(|made| drop(made.expect("make a topic")));
    }

    /// What a property of a topic is.
    #[track_caller]
    pub fn topic_property(&self, name: &str, property: &str) -> Option<String> {
        let described = block_on(self.admin().describe_configs([&ResourceSpecifier::Topic(name)], &AdminOptions::new()));
        let topic = described.expect("ask Kafka").remove(0).expect("describe a topic");
        topic.get(property)?.value.clone()
    }

    /// Sets a property of a topic, `name=value`, with Kafka's own tool.
    #[track_caller]
    pub fn configure_topic(&self, name: &str, property: &str) {
        let arguments = ["--alter", "--entity-type", "topics", "--entity-name", name, "--add-config", property];
        let output = self.tool("kafka.admin.ConfigCommand", &arguments);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&[output.stdout, output.stderr].concat()));
    }

    #[track_caller]
    pub fn delete_topic(&self, name: &str) {
        let gone = block_on(self.admin().delete_topics(&[name], &AdminOptions::new())).expect("ask Kafka to delete a topic");
        gone.into_iter().for_each(|gone| drop(gone.expect("delete a topic")));
    }

    /// Everything below these offsets goes, as if retention had passed.
    #[track_caller]
    pub fn delete_records(&self, topic: &str, before: &[(i32, i64)]) {
        let mut list = TopicPartitionList::new();
        for (partition, offset) in before {
            list.add_partition_offset(topic, *partition, Offset::Offset(*offset)).expect("an offset");
        }
        let gone = block_on(self.admin().delete_records(&list, &AdminOptions::new())).expect("ask Kafka to delete records");
        gone.elements().iter().for_each(|partition| partition.error().expect("delete records"));
    }

    pub fn admin(&self) -> AdminClient<DefaultClientContext> {
        self.config().create().expect("make an admin client")
    }

    /// A plain producer: idempotent, keys to partitions as the Java clients do.
    pub fn producer(&self) -> ThreadedProducer<DefaultProducerContext> {
        let mut config = self.config();
        config
            .set("enable.idempotence", "true")
            .set("partitioner", "murmur2_random")
            .set("queue.buffering.max.messages", "1000000")
            // What is too large is for the broker to say.
            .set("message.max.bytes", "10000000");
        config.create().expect("make a producer")
    }

    /// Publishes records and waits until all are acknowledged.
    #[track_caller]
    pub fn publish<'a>(&self, topic: &str, records: impl IntoIterator<Item = Publish<'a>>) {
        let producer = self.producer();
        for publish in records {
            send(&producer, topic, &publish);
        }
        producer.flush(PATIENCE).expect("Kafka acknowledges");
    }

    pub fn partitions(&self, topic: &str) -> Vec<i32> {
        let consumer = self.reader("read_uncommitted");
        let metadata = consumer.fetch_metadata(Some(topic), PATIENCE).expect("ask for the topic");
        metadata.topics()[0].partitions().iter().map(rdkafka::metadata::MetadataPartition::id).collect()
    }

    /// First offset and one past the last, by partition; records of open transactions are counted.
    pub fn ends(&self, topic: &str) -> BTreeMap<i32, (i64, i64)> {
        self.ends_of(&self.reader("read_uncommitted"), topic)
    }

    fn ends_of(&self, consumer: &BaseConsumer, topic: &str) -> BTreeMap<i32, (i64, i64)> {
        // A client that has just begun may not know of the partition.
        let ends = |partition| wait_for("the ends", || consumer.fetch_watermarks(topic, partition, PATIENCE).ok());
        self.partitions(topic).into_iter().map(|partition| (partition, ends(partition))).collect()
    }

    /// Every committed record of a topic, in the order of partitions and offsets, once the transactions that are open now are over.
    #[track_caller]
    pub fn read(&self, topic: &str) -> Vec<Record> {
        let written = self.ends(topic);
        let consumer = self.reader("read_committed");
        wait_for("open transactions to end", || {
            let committed = self.ends_of(&consumer, topic);
            committed.iter().all(|(partition, (_, end))| written[partition].1 <= *end).then_some(())
        });
        let mut list = TopicPartitionList::new();
        let mut open: BTreeMap<i32, i64> = BTreeMap::new();
        for (partition, (first, end)) in self.ends_of(&consumer, topic) {
            list.add_partition_offset(topic, partition, Offset::Offset(first)).expect("an offset");
            if first < end {
                open.insert(partition, end);
            }
        }
        consumer.assign(&list).expect("assign the topic");
        let mut records = Vec::new();
        while !open.is_empty() {
            match wait_for("Kafka's records", || consumer.poll(Duration::from_millis(100))) {
                Ok(message) => records.push(owned(&message)),
                // The end may lie behind markers of transactions, of which there is no message.
                Err(rdkafka::error::KafkaError::PartitionEOF(partition)) => drop(open.remove(&partition)),
                // The client goes on by itself.
                Err(error)
                    if matches!(
                        error.rdkafka_error_code(),
                        Some(RDKafkaErrorCode::AllBrokersDown | RDKafkaErrorCode::BrokerTransportFailure)
                    ) => {}
                Err(error) => panic!("read {topic}: {error}"),
            }
        }
        records.sort_by_key(Record::place);
        records
    }

    fn reader(&self, isolation: &str) -> BaseConsumer {
        let mut config = self.config();
        // The group is never joined; assigning needs a name all the same.
        config.set("group.id", "reader").set("enable.auto.commit", "false").set("enable.partition.eof", "true");
        config.set("isolation.level", isolation).create().expect("make a consumer")
    }
}

/// Hands one record to a producer, waiting while its queue is full.
#[track_caller]
pub fn send(producer: &ThreadedProducer<DefaultProducerContext>, topic: &str, publish: &Publish<'_>) {
    let mut headers = OwnedHeaders::new();
    for (key, value) in publish.headers {
        headers = headers.insert(Header { key, value: *value });
    }
    let mut record: BaseRecord<'_, [u8], [u8]> = BaseRecord::to(topic).headers(headers);
    record.partition = publish.partition;
    record.key = publish.key.map(ToBytes::to_bytes);
    record.payload = publish.value.map(ToBytes::to_bytes);
    record.timestamp = publish.timestamp;
    let mut waiting = Some(record);
    wait_for("room in the producer", || match producer.send(waiting.take()?) {
        Ok(()) => Some(()),
        Err((rdkafka::error::KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), back)) => {
            waiting = Some(back);
            None
        }
        Err((error, _)) => panic!("publish to {topic}: {error}"),
    });
}

fn owned(message: &impl Message) -> Record {
    let headers = message.headers().into_iter().flat_map(Headers::iter);
    Record {
        partition: message.partition() as u32,
        offset: message.offset(),
        timestamp: message.timestamp().to_millis().unwrap_or(-1),
        key: message.key().map(<[u8]>::to_vec),
        value: message.payload().map(<[u8]>::to_vec),
        headers: headers.map(|header| (header.key.to_owned(), header.value.map(<[u8]>::to_vec))).collect(),
    }
}

fn java(jars: &Path) -> Command {
    let mut command = Command::new("java");
    // These processes are short-lived: the second compiler would cost more than it gives.
    command.arg("-XX:TieredStopAtLevel=1").arg("-cp").arg(jars.join("lib/*"));
    command
}

fn written(client: &Port, controller: &Port, data: &Path, more: &[&str]) -> String {
    let text =
        PROPERTIES.replace("{client}", &client.number().to_string()).replace("{controller}", &controller.number().to_string());
    text.replace("{data}", &data.display().to_string()) + &more.join("\n")
}

/// An empty data folder as `kafka-storage format` leaves it, to be copied for each broker.
fn format(jars: &Path) {
    let properties = jars.join("server.properties");
    let formatted = jars.join("formatted");
    fs::write(&properties, written(&Port::choose(), &Port::choose(), &formatted, &[])).expect("write properties");
    let mut command = java(jars);
    command.args(["kafka.tools.StorageTool", "format", "-t", "AAAAAAAAAAAAAAAAAAAAAA", "-c"]).arg(properties);
    let output = command.output().expect("start kafka-storage");
    assert!(output.status.success(), "kafka-storage: {}", String::from_utf8_lossy(&output.stderr));
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("make a runtime").block_on(future)
}
