//! Questions to the cluster about ends and committed offsets. All of them block.
//!
//! Ends are asked of a client that reads uncommitted: up to there something may become visible (delivery §1, take-over).

use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::{Offset, TopicPartitionList};

use super::{Names, identity};
use crate::config::plan::KafkaPlan;
use crate::kafka::{self, ASK_TIMEOUT, Logs};
use crate::topic::Error;

/// A timestamp that asks for the first offset, and one that asks for the next.
const FIRST: i64 = -2;
const NEXT: i64 = -1;

pub(super) struct Lookups {
    brokers: String,
    topic: String,
    uncommitted: BaseConsumer<Logs>,
    committed: BaseConsumer<Logs>,
}

impl Lookups {
    pub(super) fn new(plan: &KafkaPlan, names: &Names) -> Result<Lookups, Error> {
        let config = kafka::consumer(plan, names.group());
        let mut reads_uncommitted = config.clone();
        reads_uncommitted.set("isolation.level", "read_uncommitted");
        let made = |error: KafkaError| Error::Fatal(format!("make a Kafka client: {}", kafka::reason(&error)));
        Ok(Lookups {
            brokers: plan.brokers.join(","),
            topic: names.topic.clone(),
            uncommitted: reads_uncommitted.create_with_context(Logs).map_err(made)?,
            committed: config.create_with_context(Logs).map_err(made)?,
        })
    }

    /// How many partitions the topic has; `None`: there is no such topic.
    pub(super) fn partitions(&self, topic: &str) -> Result<Option<u32>, Error> {
        self.serve();
        let metadata = self.uncommitted.fetch_metadata(Some(topic), ASK_TIMEOUT);
        let metadata = metadata.map_err(|error| self.failed(&format!("ask for topic `{topic}`"), &error))?;
        let Some(found) = metadata.topics().iter().find(|found| found.name() == topic) else { return Ok(None) };
        match found.error().map(RDKafkaErrorCode::from) {
            None | Some(RDKafkaErrorCode::NoError) if found.partitions().is_empty() => Ok(None),
            None | Some(RDKafkaErrorCode::NoError) => Ok(Some(found.partitions().len() as u32)),
            Some(RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownTopic) => Ok(None),
            Some(RDKafkaErrorCode::LeaderNotAvailable) => {
                Err(Error::Transient(format!("topic `{topic}` has no leader at present")))
            }
            Some(error @ RDKafkaErrorCode::TopicAuthorizationFailed) => Err(Error::Fatal(format!("topic `{topic}`: {error}"))),
            Some(error) => Err(Error::Transient(format!("topic `{topic}`: {error}"))),
        }
    }

    /// The id of the pipeline's topic, as the cluster has it now; `None`: its topics have none.
    pub(super) fn topic_id(&self) -> Result<Option<String>, Error> {
        self.serve();
        let found = identity::topic_id(&self.uncommitted, &self.topic, ASK_TIMEOUT);
        found.map_err(|error| self.failed(&format!("ask for topic `{}`", self.topic), &error))
    }

    /// The next offsets, of open transactions too.
    pub(super) fn ends(&self, topic: &str, partitions: &[u32]) -> Result<Vec<i64>, Error> {
        self.offsets(topic, partitions, NEXT)
    }

    /// First and next offset of partitions of the pipeline's topic.
    pub(super) fn extents(&self, partitions: &[u32]) -> Result<Vec<(i64, i64)>, Error> {
        let first = self.offsets(&self.topic, partitions, FIRST)?;
        let next = self.offsets(&self.topic, partitions, NEXT)?;
        Ok(first.into_iter().zip(next).collect())
    }

    fn offsets(&self, topic: &str, partitions: &[u32], which: i64) -> Result<Vec<i64>, Error> {
        self.serve();
        let mut asked = TopicPartitionList::with_capacity(partitions.len());
        for partition in partitions {
            // Negative timestamps are special, and the list takes them as logical offsets of the same number.
            let _ = asked.add_partition_offset(topic, *partition as i32, Offset::from_raw(which));
        }
        let what = format!("ask for the ends of topic `{topic}`");
        let found = self.uncommitted.offsets_for_times(asked, ASK_TIMEOUT).map_err(|error| self.failed(&what, &error))?;
        let offset_of = |partition: &u32| {
            let found = found.find_partition(topic, *partition as i32);
            let found = found.ok_or_else(|| Error::Transient(format!("{what}: no answer for partition {partition}")))?;
            found.error().map_err(|error| self.failed(&what, &error))?;
            match found.offset() {
                Offset::Offset(offset) => Ok(offset),
                Offset::End => Ok(0),
                other => Err(Error::Transient(format!("{what}: partition {partition} is at {other:?}"))),
            }
        };
        partitions.iter().map(offset_of).collect()
    }

    /// What the group has committed; it waits for transactions that commit offsets to end.
    pub(super) fn committed(&self, partitions: &[u32]) -> Result<Vec<Option<i64>>, Error> {
        self.serve();
        let mut asked = TopicPartitionList::with_capacity(partitions.len());
        for partition in partitions {
            asked.add_partition(&self.topic, *partition as i32);
        }
        let what = "ask for the committed offsets";
        let found = self.committed.committed_offsets(asked, ASK_TIMEOUT).map_err(|error| self.failed(what, &error))?;
        let committed_of = |partition: &u32| {
            let found = found.find_partition(&self.topic, *partition as i32);
            let found = found.ok_or_else(|| Error::Transient(format!("{what}: no answer for partition {partition}")))?;
            found.error().map_err(|error| self.failed(what, &error))?;
            Ok(match found.offset() {
                Offset::Offset(offset) => Some(offset),
                _ => None,
            })
        };
        partitions.iter().map(committed_of).collect()
    }

    /// Takes what the clients have to say to the log.
    fn serve(&self) {
        for consumer in [&self.uncommitted, &self.committed] {
            for _ in 0..100 {
                if consumer.poll(Duration::ZERO).is_none() {
                    break;
                }
            }
        }
    }

    fn failed(&self, what: &str, error: &KafkaError) -> Error {
        let reason = kafka::reason(error);
        match kafka::code(error) {
            Some(
                RDKafkaErrorCode::AllBrokersDown
                | RDKafkaErrorCode::BrokerTransportFailure
                | RDKafkaErrorCode::OperationTimedOut
                | RDKafkaErrorCode::Resolve,
            ) => Error::Transient(format!("{what}: no broker answers at {} ({reason})", self.brokers)),
            Some(
                RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownTopic | RDKafkaErrorCode::UnknownPartition,
            ) => Error::Transient(format!("{what}: the cluster has it no longer; was it deleted?")),
            _ => Error::Transient(format!("{what}: {reason}")),
        }
    }
}
