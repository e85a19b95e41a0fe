//! Publishes pages: records and cursor in one transaction (invariant 6), as the one host that polls the source.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;

use super::election::Election;
use super::names::{CURSOR, Side};
use super::transaction::{Failed, Record, Transactional};
use super::{Inner, blocking};
use crate::kafka;
use crate::record::Message;
use crate::topic::{Cursor, Error, HeldBack, Published, Publisher};

/// How often a publisher that is held back looks again, and how long a look holds.
const LOOK_AGAIN: Duration = Duration::from_millis(200);

pub(super) struct KafkaPublisher {
    inner: Arc<Inner>,
    election: Election,
    producer: Arc<Producer>,
    /// Records that there was room for at the last look, less those published since.
    room: u64,
    looked: Instant,
    held_back: HeldBack,
}

/// To drop a producer takes as long as its thread looks away, so it is not done where others wait.
struct Producer(Mutex<Option<Transactional>>);

impl Drop for Producer {
    fn drop(&mut self) {
        let producer = self.0.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        let _ = std::thread::Builder::new().name("kafka-drop".to_owned()).spawn(move || drop(producer));
    }
}

impl KafkaPublisher {
    pub(super) async fn new(inner: &Arc<Inner>) -> Result<KafkaPublisher, Error> {
        let mut election = Election::stand(inner)?;
        election.won().await?;
        // Once per turn: whoever polled before is fenced, and what it left open is over, before the cursor is read.
        let (begun_in, given_up) = (inner.clone(), election.ended.clone());
        let producer = blocking(move || {
            let (plan, names) = (&begun_in.plan, &begun_in.names);
            let record_bytes_max = kafka::record_bytes_max(plan, &names.topic);
            Transactional::new(plan, names.publisher(), record_bytes_max, &given_up)
        });
        let producer = producer.await?;
        let producer = Arc::new(Producer(Mutex::new(Some(producer))));
        let (looked, held_back) = (Instant::now(), HeldBack::default());
        Ok(KafkaPublisher { inner: inner.clone(), election, producer, room: 0, looked, held_back })
    }

    /// Waits while as many records as the bound wait for delivery: not more than a page goes beyond it (invariant 8).
    async fn room(&mut self, records: u64) -> Result<(), Error> {
        if self.looked.elapsed() >= LOOK_AGAIN {
            self.room = 0;
        }
        while self.room == 0 {
            let inner = self.inner.clone();
            let lag = blocking(move || inner.lag()).await?;
            (self.room, self.looked) = (self.inner.plan.lag_max.saturating_sub(lag), Instant::now());
            if self.room > 0 {
                break;
            }
            if !self.election.is_ours() {
                return Err(Error::Fenced);
            }
            let most = self.inner.plan.lag_max;
            self.held_back.tell(Some(format!("{lag} records wait for delivery, and `lag-max` is {most}")));
            tokio::time::sleep(LOOK_AGAIN).await;
        }
        self.held_back.tell(None);
        self.room = self.room.saturating_sub(records);
        Ok(())
    }
}

#[async_trait]
impl Publisher for KafkaPublisher {
    async fn cursor(&mut self) -> Result<Option<Cursor>, Error> {
        let inner = self.inner.clone();
        blocking(move || {
            inner.view.catch_up(&inner.lookups, Side::Control, &[0])?;
            Ok(inner.view.cursor())
        })
        .await
    }

    fn held_back(&self) -> HeldBack {
        self.held_back.clone()
    }

    async fn publish(&mut self, page: Vec<Message>, cursor: Cursor) -> Result<Published, Error> {
        self.room(page.len() as u64).await?;
        if !self.election.is_ours() {
            return Err(Error::Fenced);
        }
        let cursor = serde_json::to_vec(&cursor).map_err(|error| Error::Fatal(format!("write a cursor: {error}")))?;
        let (inner, producer, given_up) = (self.inner.clone(), self.producer.clone(), self.election.ended.clone());
        blocking(move || {
            let producer = producer.0.lock().unwrap_or_else(PoisonError::into_inner);
            let Some(producer) = &*producer else { return Err(Error::Fenced) };
            let control = inner.names.side(Side::Control);
            let records = page.iter().map(|message| Record {
                topic: &inner.names.topic,
                partition: None,
                key: message.key.as_deref(),
                value: message.value.as_deref(),
                headers: &message.headers,
                timestamp: (message.timestamp > 0).then_some(message.timestamp),
            });
            let moved = Record {
                topic: &control,
                partition: Some(0),
                key: Some(CURSOR.as_bytes()),
                value: Some(&cursor),
                headers: &[],
                timestamp: None,
            };
            let length = |bytes: &Option<Vec<u8>>| bytes.as_ref().map_or(0, Vec::len) as u64;
            let bytes = page.iter().map(|message| length(&message.key) + length(&message.value)).sum();
            match producer.publish(&given_up, records.chain([moved]), None) {
                Ok(()) => Ok(Published { records: page.len() as u64, bytes }),
                Err(Failed::Aborted(reason)) => Err(Error::Transient(reason)),
                Err(Failed::TooLarge(reason)) => {
                    let largest = page.iter().map(|message| length(&message.key) + length(&message.value)).max().unwrap_or(0);
                    Err(Error::Fatal(format!(
                        "{reason}: the largest record of the page has {largest} bytes; raise max.message.bytes of topic `{}`",
                        inner.names.topic
                    )))
                }
                // The turn is over; the next one, here or elsewhere, begins with the cursor.
                Err(Failed::Fenced) => Err(Error::Fenced),
                Err(Failed::Broken(reason)) => {
                    tracing::warn!(target: "kafka", "this host's turn to poll the source ends: {reason}");
                    Err(Error::Fenced)
                }
            }
        })
        .await
    }
}
