//! A producer that publishes in transactions, and what to do when it cannot. Everything here blocks.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rdkafka::TopicPartitionList;
use rdkafka::consumer::ConsumerGroupMetadata;
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::message::{Header as NativeHeader, OwnedHeaders};
use rdkafka::producer::{BaseRecord, Producer, ThreadedProducer};

use super::fatal;
use crate::config::plan::KafkaPlan;
use crate::crash;
use crate::kafka::{self, Logs};
use crate::record::Header;
use crate::topic::Error;

/// One attempt at a step; it is made again as long as it may succeed.
const STEP_TIMEOUT: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(50);
const ANSWER_PAUSE: Duration = Duration::from_millis(1);
const QUEUE_FULL_PAUSE: Duration = Duration::from_millis(2);

/// Why a transaction did not happen.
#[derive(Debug)]
pub(super) enum Failed {
    /// It was aborted, and may be tried again.
    Aborted(String),
    /// Another one goes on in this one's name.
    Fenced,
    /// The client is of no use any more; whether the transaction happened is not known.
    Broken(String),
    /// A record is larger than its topic takes.
    TooLarge(String),
}

pub(super) struct Transactional {
    producer: ThreadedProducer<Logs>,
}

/// A record to be produced.
pub(super) struct Record<'a> {
    pub(super) topic: &'a str,
    /// `None`: by its key.
    pub(super) partition: Option<u32>,
    pub(super) key: Option<&'a [u8]>,
    /// `None` is a tombstone.
    pub(super) value: Option<&'a [u8]>,
    pub(super) headers: &'a [Header],
    /// ms; `None`: now.
    pub(super) timestamp: Option<i64>,
}

pub(super) fn native(headers: &[Header]) -> OwnedHeaders {
    headers.iter().fold(OwnedHeaders::new_with_capacity(headers.len()), |headers, (key, value)| {
        headers.insert(NativeHeader { key, value: value.as_deref() })
    })
}

impl Transactional {
    /// Begins in the name of `id`: whoever had it is fenced, and what it left open is over. Given up when `given_up` is set. Its topics take
    /// records of so many bytes.
    pub(super) fn new(
        plan: &KafkaPlan,
        id: &str,
        record_bytes_max: usize,
        given_up: &AtomicBool,
    ) -> Result<Transactional, Error> {
        let config = kafka::within(kafka::transactional(plan, id), record_bytes_max);
        let producer: ThreadedProducer<Logs> =
            config.create_with_context(Logs).map_err(|error| fatal("make a Kafka producer", &error))?;
        let transactional = Transactional { producer };
        let begun = transactional.patiently(given_up, || transactional.producer.init_transactions(STEP_TIMEOUT));
        begun.map_err(|failed| match failed {
            Failed::Fenced => Error::Fenced,
            Failed::Aborted(reason) | Failed::Broken(reason) | Failed::TooLarge(reason) => {
                Error::Transient(format!("begin transactions as `{id}`: {reason}"))
            }
        })?;
        Ok(transactional)
    }

    /// Produces what `fill` gives, then sends the offsets, then commits.
    pub(super) fn publish<'a>(
        &self,
        given_up: &AtomicBool,
        records: impl Iterator<Item = Record<'a>>,
        offsets: Option<(&TopicPartitionList, &ConsumerGroupMetadata)>,
    ) -> Result<(), Failed> {
        let (before, after) = match offsets {
            Some(_) => ("before-commit", "after-commit"),
            None => ("before-page-commit", "after-page-commit"),
        };
        self.producer.begin_transaction().map_err(|error| broken(&error))?;
        let filled = self.fill(given_up, records).and_then(|()| match offsets {
            // Behind the records, so that whoever sees the offsets sees the position that they belong to.
            Some((offsets, group)) => {
                self.patiently(given_up, || self.producer.send_offsets_to_transaction(offsets, group, STEP_TIMEOUT))
            }
            None => Ok(()),
        });
        crash::point(before);
        let committed = filled.and_then(|()| self.patiently(given_up, || self.producer.commit_transaction(STEP_TIMEOUT)));
        crash::point(after);
        let Err(failed @ (Failed::Aborted(_) | Failed::TooLarge(_))) = committed else { return committed };
        match self.patiently(given_up, || self.producer.abort_transaction(STEP_TIMEOUT)) {
            Ok(()) => Err(failed),
            Err(Failed::Fenced) => Err(Failed::Fenced),
            Err(Failed::Aborted(reason) | Failed::Broken(reason) | Failed::TooLarge(reason)) => Err(Failed::Broken(reason)),
        }
    }

    fn fill<'a>(&self, given_up: &AtomicBool, records: impl Iterator<Item = Record<'a>>) -> Result<(), Failed> {
        for record in records {
            let mut native_record = BaseRecord::<[u8], [u8]>::to(record.topic);
            native_record.partition = record.partition.map(|partition| partition as i32);
            native_record.key = record.key;
            native_record.payload = record.value;
            native_record.timestamp = record.timestamp;
            if !record.headers.is_empty() {
                native_record.headers = Some(native(record.headers));
            }
            loop {
                match self.producer.send(native_record) {
                    Ok(()) => break,
                    Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), same)) => {
                        native_record = same;
                        if given_up.load(Ordering::Relaxed) {
                            return Err(Failed::Aborted("given up".to_owned()));
                        }
                        std::thread::sleep(QUEUE_FULL_PAUSE);
                    }
                    Err((error, _)) => return Err(self.failed(&error)),
                }
            }
        }
        // What failed is told by the next step. `flush` would look every 100 ms only, since the producer's own thread takes the answers
        // away from it (rdkafka 0.39, `BaseProducer::flush`).
        while self.producer.in_flight_count() > 0 {
            self.look(given_up)?;
            std::thread::sleep(ANSWER_PAUSE);
        }
        Ok(())
    }

    fn patiently(&self, given_up: &AtomicBool, mut step: impl FnMut() -> KafkaResult<()>) -> Result<(), Failed> {
        loop {
            match step() {
                Ok(()) => return Ok(()),
                Err(KafkaError::Transaction(error)) if error.is_retriable() => {
                    self.look(given_up)?;
                    std::thread::sleep(PAUSE);
                }
                Err(error) => return Err(self.failed(&error)),
            }
        }
    }

    /// Whether to go on at all.
    fn look(&self, given_up: &AtomicBool) -> Result<(), Failed> {
        if given_up.load(Ordering::Relaxed) {
            return Err(Failed::Broken("given up".to_owned()));
        }
        match self.producer.client().fatal_error() {
            Some((RDKafkaErrorCode::Fenced | RDKafkaErrorCode::ProducerFenced | RDKafkaErrorCode::InvalidProducerEpoch, _)) => {
                Err(Failed::Fenced)
            }
            Some((_, reason)) => Err(Failed::Broken(reason)),
            None => Ok(()),
        }
    }

    fn failed(&self, error: &KafkaError) -> Failed {
        if kafka::is_fenced(error) {
            return Failed::Fenced;
        }
        if kafka::is_too_large(error) {
            return Failed::TooLarge(kafka::reason(error));
        }
        match error {
            KafkaError::Transaction(error) if error.is_fatal() => Failed::Broken(error.string()),
            _ => Failed::Aborted(kafka::reason(error)),
        }
    }
}

fn broken(error: &KafkaError) -> Failed {
    if kafka::is_fenced(error) { Failed::Fenced } else { Failed::Broken(kafka::reason(error)) }
}
