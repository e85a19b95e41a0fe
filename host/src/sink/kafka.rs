//! Another topic of the cluster that the pipeline's topic is in: whole records, deletes as tombstones, at least once.

use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::join_all;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header as NativeHeader, OwnedHeaders};
use rdkafka::producer::{FutureProducer, FutureRecord};

use super::{BindRejection, Bound, Emitted, Error, Sink, lines};
use crate::config::plan::KafkaPlan;
use crate::kafka::{self, Logs};
use crate::record::{Message, Place};

const QUEUE_FULL_PAUSE: Duration = Duration::from_millis(5);

pub(super) struct KafkaSink {
    name: String,
    topic: String,
    producer: FutureProducer<Logs>,
}

impl KafkaSink {
    pub(super) async fn open(name: &str, topic: &str, cluster: &KafkaPlan) -> Result<KafkaSink, Error> {
        let (asked, plan) = (topic.to_owned(), cluster.clone());
        let record_bytes_max = tokio::task::spawn_blocking(move || kafka::record_bytes_max(&plan, &asked)).await;
        let record_bytes_max = record_bytes_max.map_err(|error| Error::Transient(format!("ask for topic `{topic}`: {error}")))?;
        let producer = kafka::within(kafka::producer(cluster), record_bytes_max).create_with_context(Logs);
        let producer = producer.map_err(|error| Error::Systemic(format!("make a Kafka producer: {}", kafka::reason(&error))))?;
        Ok(KafkaSink { name: name.to_owned(), topic: topic.to_owned(), producer })
    }

    async fn send(&self, message: &Message) -> Result<(), KafkaError> {
        loop {
            let mut record = FutureRecord::<[u8], [u8]>::to(&self.topic);
            record.key = message.key.as_deref();
            record.payload = message.value.as_deref();
            record.timestamp = (message.timestamp > 0).then_some(message.timestamp);
            if !message.headers.is_empty() {
                let headers = OwnedHeaders::new_with_capacity(message.headers.len());
                let add = |headers: OwnedHeaders, (key, value): &(String, Option<Vec<u8>>)| {
                    headers.insert(NativeHeader { key, value: value.as_deref() })
                };
                record.headers = Some(message.headers.iter().fold(headers, add));
            }
            match self.producer.send_result(record) {
                Ok(delivered) => {
                    return match delivered.await {
                        Ok(Ok(_)) => Ok(()),
                        Ok(Err((error, _))) => Err(error),
                        Err(_) => Err(KafkaError::Canceled),
                    };
                }
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), _)) => {
                    tokio::time::sleep(QUEUE_FULL_PAUSE).await
                }
                Err((error, _)) => return Err(error),
            }
        }
    }
}

#[async_trait]
impl Sink for KafkaSink {
    fn name(&self) -> &str {
        &self.name
    }

    fn wants_messages(&self) -> bool {
        true
    }

    fn bind(&self, emitted: &Emitted<'_>) -> Result<Bound, Vec<BindRejection>> {
        lines::messages(emitted, lines::Deletes::AsTombstones)
    }

    async fn write(&self, bound: &Bound) -> Result<Vec<(Place, String)>, Error> {
        let Bound::Messages(messages) = bound else { return Ok(Vec::new()) };
        let mut refused = Vec::new();
        // In this order they go into the producer's queue, which keeps it.
        let sent = join_all(messages.iter().map(|(_, message)| self.send(message))).await;
        for ((place, _), sent) in messages.iter().zip(sent) {
            match sent {
                Ok(()) => {}
                Err(error) if kafka::is_too_large(&error) => refused.push((*place, kafka::reason(&error))),
                Err(error) => {
                    let reason = format!("write to topic `{}`: {}", self.topic, kafka::reason(&error));
                    return Err(match kafka::code(&error) {
                        Some(RDKafkaErrorCode::UnknownTopic | RDKafkaErrorCode::UnknownTopicOrPartition) => {
                            Error::Systemic(format!("{reason}; make it with Kafka's own tool"))
                        }
                        _ => Error::Transient(reason),
                    });
                }
            }
        }
        Ok(refused)
    }
}
