//! A client that follows one partition at a time, from an offset to the end that it has then.

use std::ops::Range;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Headers};
use rdkafka::{Message as _, Offset, TopicPartitionList};

use crate::config::plan::KafkaPlan;
use crate::kafka::{self, Logs};
use crate::record::Header;
use crate::verify::evidence::Error;

/// How long the cluster may say nothing.
const PATIENCE: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(200);
/// So often it is looked whether an open transaction is over.
const LOOK_EVERY: Duration = Duration::from_millis(50);

pub struct Client {
    consumer: BaseConsumer<Logs>,
    /// Sees the records of open transactions too.
    uncommitted: BaseConsumer<Logs>,
    /// Partition and offset that the next record is read from without asking anew.
    at: Option<(String, u32, i64)>,
}

/// A committed record.
pub struct Message<'a> {
    pub offset: i64,
    /// ms.
    pub timestamp: i64,
    pub key: Option<&'a [u8]>,
    pub value: Option<&'a [u8]>,
    pub headers: Vec<Header>,
}

impl Client {
    pub fn new(plan: &KafkaPlan) -> Result<Client, Error> {
        // A group is needed to make a client, and never joined.
        let mut config = kafka::consumer(plan, "tidemill-verify");
        // What retention has taken is seen as a gap; and an end is told at once.
        config.set("auto.offset.reset", "earliest").set("fetch.wait.max.ms", "10");
        let about = |error: KafkaError| Error::of("make a Kafka client", error);
        let consumer = config.create_with_context(Logs).map_err(about)?;
        let uncommitted = config.set("isolation.level", "read_uncommitted").create_with_context(Logs).map_err(about)?;
        Ok(Client { consumer, uncommitted, at: None })
    }

    pub fn partitions(&self, topic: &str) -> Result<u32, Error> {
        let metadata = self.consumer.fetch_metadata(Some(topic), kafka::ASK_TIMEOUT);
        let metadata = metadata.map_err(|error| Error::of(&format!("read topic `{topic}`"), error))?;
        let found = metadata.topics().iter().find(|known| known.name() == topic);
        match found.map_or(0, |topic| topic.partitions().len()) {
            0 => Err(Error(format!("there is no topic `{topic}`: nothing has run yet"))),
            partitions => Ok(partitions as u32),
        }
    }

    /// The first offset held, and one past the last that is committed.
    pub fn ends(&self, topic: &str, partition: u32) -> Result<(i64, i64), Error> {
        ends(&self.consumer, topic, partition)
    }

    /// The same once every transaction that is open now is over: whoever writes behind it may have committed already.
    fn settled_ends(&self, topic: &str, partition: u32) -> Result<(i64, i64), Error> {
        let (_, written) = ends(&self.uncommitted, topic, partition)?;
        let until = Instant::now() + PATIENCE;
        loop {
            let (first, end) = self.ends(topic, partition)?;
            if end >= written {
                return Ok((first, end));
            }
            if Instant::now() > until {
                return Err(Error(format!("an open transaction stands in partition {partition} of topic `{topic}`")));
            }
            std::thread::sleep(LOOK_EVERY);
        }
    }

    /// Reads from an offset to the end as it is now, and returns that.
    pub fn follow(
        &mut self,
        topic: &str,
        partition: u32,
        from: i64,
        each: &mut dyn FnMut(Message<'_>) -> Result<(), Error>,
    ) -> Result<i64, Error> {
        let (first, end) = self.settled_ends(topic, partition)?;
        let from = from.max(first);
        self.read(topic, partition, from..end, &mut |message| each(message).map(|()| true))?;
        Ok(end.max(from))
    }

    /// Reads a range until it is through or `each` says that it is enough.
    pub fn read(
        &mut self,
        topic: &str,
        partition: u32,
        range: Range<i64>,
        each: &mut dyn FnMut(Message<'_>) -> Result<bool, Error>,
    ) -> Result<(), Error> {
        if range.is_empty() {
            return Ok(());
        }
        let about = |error: &dyn std::fmt::Display| Error::of(&format!("read partition {partition} of topic `{topic}`"), error);
        if !self.at.as_ref().is_some_and(|(known, of, at)| known == topic && *of == partition && *at == range.start) {
            let mut assignment = TopicPartitionList::new();
            let offset = Offset::Offset(range.start);
            assignment.add_partition_offset(topic, partition as i32, offset).map_err(|error| about(&error))?;
            self.consumer.assign(&assignment).map_err(|error| about(&error))?;
        }
        self.at = None;
        let mut until = Instant::now() + PATIENCE;
        loop {
            match self.consumer.poll(POLL) {
                None if Instant::now() > until => return Err(about(&"the cluster does not answer")),
                None => {}
                Some(Ok(message)) if message.offset() >= range.end => return Ok(()),
                Some(Ok(message)) => {
                    until = Instant::now() + PATIENCE;
                    if message.offset() < range.start {
                        continue;
                    }
                    let next = message.offset() + 1;
                    if !each(read(&message))? || next >= range.end {
                        self.at = Some((topic.to_owned(), partition, next));
                        return Ok(());
                    }
                }
                // Committed records end here, and the range was asked for below it.
                Some(Err(KafkaError::PartitionEOF(_))) => return Ok(()),
                Some(Err(KafkaError::MessageConsumption(RDKafkaErrorCode::UnknownTopicOrPartition))) => {
                    return Err(about(&"it does not exist"));
                }
                // The client mends itself.
                Some(Err(_)) if Instant::now() < until => {}
                Some(Err(error)) => return Err(about(&error)),
            }
        }
    }
}

fn ends(consumer: &BaseConsumer<Logs>, topic: &str, partition: u32) -> Result<(i64, i64), Error> {
    let ends = consumer.fetch_watermarks(topic, partition as i32, PATIENCE);
    ends.map_err(|error| Error::of(&format!("read the ends of partition {partition} of topic `{topic}`"), error))
}

fn read<'a>(message: &'a BorrowedMessage<'_>) -> Message<'a> {
    let headers = message.headers().map(|headers| {
        headers.iter().map(|header| (header.key.to_owned(), header.value.map(<[u8]>::to_vec))).collect::<Vec<_>>()
    });
    Message {
        offset: message.offset(),
        timestamp: message.timestamp().to_millis().unwrap_or_default(),
        key: message.key(),
        value: message.payload(),
        headers: headers.unwrap_or_default(),
    }
}
