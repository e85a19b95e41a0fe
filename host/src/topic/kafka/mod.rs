//! The topic in a Kafka cluster (delivery §1, §3, §7, §10): positions, control and dead letters are compacted topics beside it, and a
//! position is saved in one transaction with the offsets of the group.

mod assignment;
mod bodies;
mod check;
mod consumer;
mod create;
mod election;
mod identity;
mod lane;
mod letters;
mod lookups;
mod names;
mod publisher;
mod queue;
mod reading;
mod saver;
mod take_over;
mod transaction;
mod turns;
mod view;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};

use async_trait::async_trait;
use rdkafka::error::KafkaError;
use rdkafka::producer::{FutureProducer, FutureRecord};
use rdkafka::util::Timeout;

use self::assignment::Assignment;
use self::lookups::Lookups;
use self::names::{Names, Side};
use self::view::{REPLAYING, Receipt, View};
use super::{Consumer, DeadLetter, Ends, Error, GenerationContent, Position, Publisher, Resolution, Topic, Window};
use crate::config::plan::{KafkaPlan, TopicPlan};
use crate::kafka::{self, ASK_TIMEOUT, Logs};
use crate::record::Place;
use crate::store;

pub use self::check::Obstacle;

/// The Kafka topic of a pipeline; cheap to clone.
#[derive(Clone)]
pub struct Kafka {
    inner: Arc<Inner>,
}

struct Inner {
    names: Names,
    plan: KafkaPlan,
    partitions: u32,
    lookups: Lookups,
    view: Arc<View>,
    /// For single records that are part of no transaction.
    producer: OnceLock<FutureProducer<Logs>>,
    /// The first offset that each partition held when the topic was last asked.
    first_held: Vec<AtomicI64>,
    letter_bytes_max: usize,
    consumer: Mutex<Weak<Assignment>>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.view.close();
    }
}

impl Kafka {
    /// Opens the topics, or makes them where absent. `host` is this host's id. Nobody is fenced by it.
    pub async fn open(plan: &TopicPlan, cluster: &KafkaPlan, pipeline: &str, host: &str) -> Result<Kafka, Error> {
        let names = Names { pipeline: pipeline.to_owned(), host: host.to_owned(), topic: plan.name.clone() };
        let plan = cluster.clone();
        let inner = blocking(move || {
            let lookups = Lookups::new(&plan, &names)?;
            let partitions = create::topics(&plan, &names, &lookups)?;
            let view = View::open(&plan, &names, partitions)?;
            let letter_bytes_max = crate::kafka::record_bytes_max(&plan, &names.side(Side::Letters));
            let first_held = (0..partitions).map(|_| AtomicI64::new(0)).collect();
            let producer = OnceLock::new();
            Ok(Inner {
                names,
                plan,
                partitions,
                lookups,
                view,
                producer,
                first_held,
                letter_bytes_max,
                consumer: Mutex::default(),
            })
        });
        Ok(Kafka { inner: Arc::new(inner.await?) })
    }

    /// Everything written to these partitions of a side topic until now is known.
    async fn catch_up(&self, side: Side, partitions: Vec<u32>) -> Result<(), Error> {
        let inner = self.inner.clone();
        blocking(move || inner.view.catch_up(&inner.lookups, side, &partitions)).await
    }

    fn all(&self) -> Vec<u32> {
        (0..self.inner.partitions).collect()
    }

    /// Writes one record of a side topic, acknowledged when it returns.
    async fn put(&self, side: Side, partition: u32, key: &str, value: Option<Vec<u8>>) -> Result<(), Error> {
        let producer = match self.inner.producer.get() {
            Some(producer) => producer,
            None => {
                let made = kafka::producer(&self.inner.plan).create_with_context(Logs);
                let made = made.map_err(|error| fatal("make a Kafka producer", &error))?;
                self.inner.producer.get_or_init(|| made)
            }
        };
        let topic = self.inner.names.side(side);
        let mut record = FutureRecord::<str, [u8]>::to(&topic).partition(partition as i32).key(key);
        record.payload = value.as_deref();
        let sent = producer.send(record, Timeout::After(ASK_TIMEOUT)).await;
        sent.map(drop).map_err(|(error, _)| Error::Transient(format!("write to topic `{topic}`: {}", kafka::reason(&error))))
    }

    async fn receipt(&self, place: Place, how: &str, generation: Option<u64>) -> Result<(), Error> {
        let at_ms = jiff::Timestamp::now().as_millisecond();
        let receipt = Receipt { how: how.to_owned(), generation, at_ms };
        let value = serde_json::to_vec(&receipt).expect("plain values");
        self.put(Side::Control, 0, &names::receipt(place), Some(value)).await
    }

    fn partition_of(&self, place: Place) -> Option<u32> {
        (place.partition < self.inner.partitions).then_some(place.partition)
    }
}

impl Inner {
    /// Takes the place of the consumer before, which is given back.
    fn replace_consumer(&self, assignment: &Arc<Assignment>) -> Option<Arc<Assignment>> {
        let mut consumer = self.consumer.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut *consumer, Arc::downgrade(assignment)).upgrade()
    }

    fn first_held(&self, partition: u32) -> i64 {
        self.first_held.get(partition as usize).map_or(0, |first| first.load(Ordering::Relaxed))
    }

    fn extents(&self) -> Result<Vec<(i64, i64)>, Error> {
        let extents = self.lookups.extents(&(0..self.partitions).collect::<Vec<_>>())?;
        for (held, (first, _)) in self.first_held.iter().zip(&extents) {
            held.store(*first, Ordering::Relaxed);
        }
        Ok(extents)
    }

    /// Records that wait for delivery, as far as positions are known here. Blocks.
    fn lag(&self) -> Result<u64, Error> {
        let positions = self.view.positions();
        let waiting = (0..).zip(self.extents()?).map(|(partition, (first, end))| {
            let next = positions.get(&partition).map_or(first, |held| held.position.next.max(first));
            end.saturating_sub(next).max(0) as u64
        });
        Ok(waiting.sum())
    }
}

#[async_trait]
impl Topic for Kafka {
    async fn publisher(&self) -> Result<Box<dyn Publisher>, Error> {
        Ok(Box::new(publisher::KafkaPublisher::new(&self.inner).await?))
    }

    async fn consumer(&self, window: Window) -> Result<Box<dyn Consumer>, Error> {
        Ok(Box::new(consumer::KafkaConsumer::new(&self.inner, window).await?))
    }

    fn joins(&self) -> Option<store::Store> {
        None
    }

    async fn ends(&self) -> Result<Vec<Ends>, Error> {
        let inner = self.inner.clone();
        let extents = blocking(move || inner.extents()).await?;
        Ok((0..).zip(extents).map(|(partition, (first, end))| Ends { partition, first, end, bytes: 0 }).collect())
    }

    async fn positions(&self) -> Result<Vec<(u32, Position)>, Error> {
        self.catch_up(Side::Positions, self.all()).await?;
        Ok(self.inner.view.positions().into_iter().map(|(partition, held)| (partition, held.position)).collect())
    }

    async fn hosts(&self) -> Result<BTreeMap<u32, String>, Error> {
        Ok(self.inner.view.positions().into_iter().map(|(partition, held)| (partition, held.host)).collect())
    }

    async fn generations(&self) -> Result<Vec<(u64, GenerationContent)>, Error> {
        self.catch_up(Side::Control, vec![0]).await?;
        Ok(self.inner.view.generations())
    }

    async fn generation(&self, number: u64) -> Result<Option<GenerationContent>, Error> {
        self.catch_up(Side::Control, vec![0]).await?;
        Ok(self.inner.view.generation(number))
    }

    /// A host claims a number and reads back: the first claim for it counts (delivery §3).
    async fn claim_generation(&self, content: &GenerationContent) -> Result<u64, Error> {
        let mut claimed = None;
        loop {
            self.catch_up(Side::Control, vec![0]).await?;
            // Others may have claimed the next numbers meanwhile; a claim that was the first for its number holds.
            let is_ours = |number: &u64| self.inner.view.claimed_by(*number).as_ref() == Some(&self.inner.names.host);
            if let Some(number) = claimed.filter(is_ours) {
                return Ok(number);
            }
            let newest = match self.inner.view.newest_generation() {
                Some((number, newest)) if newest == *content => return Ok(number),
                Some((number, _)) => number,
                None => 0,
            };
            let value = serde_json::to_vec(content).map_err(|error| Error::Fatal(format!("write a generation: {error}")))?;
            // A number is claimed once by each host: a second claim under the same key would remove the first.
            self.put(Side::Control, 0, &names::generation(newest + 1, &self.inner.names.host), Some(value)).await?;
            claimed = Some(newest + 1);
        }
    }

    async fn dead_letters(&self, after: Option<Place>, limit: usize) -> Result<Vec<DeadLetter>, Error> {
        self.catch_up(Side::Letters, self.all()).await?;
        let inner = self.inner.clone();
        blocking(move || bodies::read(&inner, &inner.view.letters(after, limit))).await
    }

    async fn dead_letter(&self, place: Place) -> Result<Option<DeadLetter>, Error> {
        let Some(partition) = self.partition_of(place) else { return Ok(None) };
        self.catch_up(Side::Letters, vec![partition]).await?;
        let inner = self.inner.clone();
        blocking(move || match inner.view.letter(place) {
            Some(body) => Ok(bodies::read(&inner, &[(place, body)])?.pop()),
            None => Ok(None),
        })
        .await
    }

    async fn dead_letter_count(&self) -> Result<u64, Error> {
        self.catch_up(Side::Letters, self.all()).await?;
        Ok(self.inner.view.letter_count() as u64)
    }

    async fn resolve_dead_letter(&self, place: Place, how: Resolution, with: Vec<store::Write>) -> Result<bool, Error> {
        if !with.is_empty() {
            return Err(Error::Fatal("a write of the store cannot join a transaction of Kafka".to_owned()));
        }
        let Some(partition) = self.partition_of(place) else { return Ok(false) };
        self.catch_up(Side::Letters, vec![partition]).await?;
        let Some(body) = self.inner.view.letter(place) else { return Ok(false) };
        let (how, generation) = match how {
            Resolution::Replayed { generation } => ("replayed", Some(generation)),
            Resolution::Discarded => ("discarded", None),
        };
        // The receipt first: a letter that is still there is resolved again, one that is gone must have its receipt.
        self.receipt(place, how, generation).await?;
        for key in letters::keys(place, body.parts) {
            self.put(Side::Letters, partition, &key, None).await?;
        }
        Ok(true)
    }

    async fn replay_generation(&self, place: Place) -> Result<Option<u64>, Error> {
        self.catch_up(Side::Control, vec![0]).await?;
        Ok(self.inner.view.replaying(place))
    }

    async fn begin_replay(&self, place: Place, generation: u64) -> Result<(), Error> {
        self.receipt(place, REPLAYING, Some(generation)).await
    }
}

/// What stands in the way of a topic, by asking its cluster; nothing is changed.
pub async fn check(plan: &TopicPlan, cluster: &KafkaPlan, pipeline: &str) -> Vec<Obstacle> {
    let names = Names { pipeline: pipeline.to_owned(), host: String::new(), topic: plan.name.clone() };
    let cluster = cluster.clone();
    blocking(move || Ok(check::look(&cluster, &names))).await.unwrap_or_default()
}

fn fatal(what: &str, error: &KafkaError) -> Error {
    Error::Fatal(format!("{what}: {}", kafka::reason(error)))
}

/// Runs what waits for the cluster where nothing else waits for it.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T, Error> + Send + 'static) -> Result<T, Error> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| Err(Error::Fatal(format!("a thread has ended: {error}"))))
}
