//! The side topics as they are read: one thread follows all of their partitions, committed records only.
//!
//! Whoever must know all that was written asks for the end first, of open transactions too, and waits until the view has come to it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Bound;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::{Offset, TopicPartitionList};
use serde::{Deserialize, Serialize};

use super::letters;
use super::lookups::Lookups;
use super::names::{self, ControlKey, POSITION, Side};
use super::queue::{Enough, Fetched, Queue, What};
use super::{Names, fatal};
use crate::config::plan::KafkaPlan;
use crate::kafka::{self, Logs};
use crate::record::Place;
use crate::store::Signal;
use crate::topic::{Boundary, Cursor, Error, GenerationContent, Position, StoredState};

/// How long to wait for a transaction of others that stands in the way: longer than a broker takes to give one up.
const PATIENCE: Duration = Duration::from_secs(40);
/// The client's log is looked at so often when nothing is read.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// What is fetched ahead, KiB: side topics are small.
const QUEUED_KIB: &str = "4096";

/// A saved position, and who saved it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Held {
    /// Id of the host.
    pub(super) host: String,
    /// Id of the topic whose offset it is, where the cluster gives ids.
    #[serde(rename = "topic-id", default, skip_serializing_if = "Option::is_none")]
    pub(super) topic_id: Option<String>,
    pub(super) position: Position,
}

/// Where the body of a dead letter is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Body {
    /// Offset of its first record in the dead letters topic.
    pub(super) offset: i64,
    pub(super) parts: u32,
}

/// The first claim of a generation's number, which counts.
struct Claim {
    /// Id of the host whose it is.
    host: String,
    /// JSON as it was read, since there may be thousands and hardly one is looked at.
    content: Box<[u8]>,
}

impl Claim {
    fn content(&self) -> GenerationContent {
        serde_json::from_slice(&self.content).expect("it was read when it came")
    }
}

/// What became of a dead letter by wish, or becomes of it now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct Receipt {
    pub(super) how: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) generation: Option<u64>,
    pub(super) at_ms: i64,
}

/// `how` of a replay that has begun and not ended.
pub(super) const REPLAYING: &str = "replaying";

#[derive(Default)]
struct Known {
    positions: BTreeMap<u32, Held>,
    states: BTreeMap<u32, StoredState>,
    letters: BTreeMap<Place, Body>,
    cursor: Option<Cursor>,
    generations: BTreeMap<u64, Claim>,
    boundaries: BTreeMap<(u32, i64), Boundary>,
    replaying: HashMap<Place, u64>,
    /// Dead letters that were replayed or discarded, as far as there is a receipt of it.
    resolved: BTreeSet<Place>,
    /// The next offset of each partition.
    reached: HashMap<(Side, u32), i64>,
    /// Why a partition cannot be read at present.
    trouble: Option<String>,
}

pub(super) struct View {
    names: Names,
    known: Mutex<Known>,
    advanced: Condvar,
    closed: AtomicBool,
    signal: Arc<Signal>,
}

impl View {
    /// Starts the reading thread; it ends when the view is closed.
    pub(super) fn open(plan: &KafkaPlan, names: &Names, partitions: u32) -> Result<Arc<View>, Error> {
        let mut config = kafka::consumer(plan, names.group());
        config.set("queued.max.messages.kbytes", QUEUED_KIB);
        let signal = Arc::new(Signal::default());
        let mut consumer: BaseConsumer<Logs> =
            config.create_with_context(Logs).map_err(|error| fatal("make a Kafka client", &error))?;
        let raised = signal.clone();
        consumer.set_nonempty_callback(move || raised.raise());
        let consumer = Arc::new(consumer);
        let view = Arc::new(View {
            names: names.clone(),
            known: Mutex::default(),
            advanced: Condvar::new(),
            closed: AtomicBool::new(false),
            signal: signal.clone(),
        });
        let mut followed = Vec::new();
        let mut assignment = TopicPartitionList::new();
        for side in Side::ALL {
            let topic = names.side(side);
            for partition in 0..if side == Side::Control { 1 } else { partitions } {
                let queue = Queue::split(&consumer, &topic, partition, signal.clone());
                let queue = queue.ok_or_else(|| Error::Fatal(format!("no queue for partition {partition} of `{topic}`")))?;
                assignment
                    .add_partition_offset(&topic, partition as i32, Offset::Beginning)
                    .map_err(|error| fatal("assign", &error))?;
                followed.push(Followed { side, partition, queue });
            }
        }
        consumer.assign(&assignment).map_err(|error| fatal("follow the side topics", &error))?;
        let reading = view.clone();
        std::thread::Builder::new()
            .name("kafka-view".to_owned())
            .spawn(move || reading.run(&consumer, followed))
            .map_err(|error| Error::Fatal(format!("start the thread that follows the side topics: {error}")))?;
        Ok(view)
    }

    pub(super) fn close(&self) {
        self.closed.store(true, Ordering::SeqCst);
        self.signal.raise();
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Blocks until everything is known that was written to these partitions before now.
    pub(super) fn catch_up(&self, lookups: &Lookups, side: Side, partitions: &[u32]) -> Result<(), Error> {
        self.catch_up_within(PATIENCE, lookups, side, partitions)
    }

    /// [`View::catch_up`] for so long at most.
    pub(super) fn catch_up_within(
        &self,
        patience: Duration,
        lookups: &Lookups,
        side: Side,
        partitions: &[u32],
    ) -> Result<(), Error> {
        let topic = self.names.side(side);
        let ends = lookups.ends(&topic, partitions)?;
        let until = Instant::now() + patience;
        let mut known = self.known();
        loop {
            let reached = |(partition, end): (&u32, &i64)| known.reached.get(&(side, *partition)).is_some_and(|next| next >= end);
            if partitions.iter().zip(&ends).all(reached) {
                return Ok(());
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() || self.closed.load(Ordering::SeqCst) {
                let why = known.trouble.clone().unwrap_or_else(|| "an open transaction stands in the way".to_owned());
                return Err(Error::Transient(format!("read topic `{topic}` to its end: {why}")));
            }
            known = self.advanced.wait_timeout(known, left.min(LOOK_EVERY)).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    pub(super) fn position(&self, partition: u32) -> Option<Held> {
        self.known().positions.get(&partition).cloned()
    }

    /// What the stages keep, as of the position.
    pub(super) fn state(&self, partition: u32) -> StoredState {
        self.known().states.get(&partition).cloned().unwrap_or_default()
    }

    pub(super) fn positions(&self) -> BTreeMap<u32, Held> {
        self.known().positions.clone()
    }

    pub(super) fn cursor(&self) -> Option<Cursor> {
        self.known().cursor.clone()
    }

    /// Ascending.
    pub(super) fn generations(&self) -> Vec<(u64, GenerationContent)> {
        self.known().generations.iter().map(|(number, claim)| (*number, claim.content())).collect()
    }

    pub(super) fn generation(&self, number: u64) -> Option<GenerationContent> {
        self.known().generations.get(&number).map(Claim::content)
    }

    pub(super) fn newest_generation(&self) -> Option<(u64, GenerationContent)> {
        self.known().generations.last_key_value().map(|(number, claim)| (*number, claim.content()))
    }

    /// Which host has the number of a generation.
    pub(super) fn claimed_by(&self, number: u64) -> Option<String> {
        self.known().generations.get(&number).map(|claim| claim.host.clone())
    }

    /// Of one partition, ascending.
    pub(super) fn boundaries(&self, partition: u32) -> Vec<Boundary> {
        self.known().boundaries.range((partition, i64::MIN)..=(partition, i64::MAX)).map(|(_, boundary)| *boundary).collect()
    }

    pub(super) fn replaying(&self, place: Place) -> Option<u64> {
        self.known().replaying.get(&place).copied()
    }

    /// The first of those below an offset of a partition that were replayed or discarded.
    pub(super) fn resolved_below(&self, partition: u32, offset: i64, limit: usize) -> Vec<Place> {
        let below = Place { partition, offset: i64::MIN }..Place { partition, offset };
        self.known().resolved.range(below).take(limit).copied().collect()
    }

    pub(super) fn letter(&self, place: Place) -> Option<Body> {
        self.known().letters.get(&place).copied()
    }

    pub(super) fn letters(&self, after: Option<Place>, limit: usize) -> Vec<(Place, Body)> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let known = self.known();
        known.letters.range((from, Bound::Unbounded)).take(limit).map(|(place, body)| (*place, *body)).collect()
    }

    /// Of one partition: offset and parts.
    pub(super) fn letters_of(&self, partition: u32) -> BTreeMap<i64, u32> {
        let all = Place { partition, offset: i64::MIN }..=Place { partition, offset: i64::MAX };
        self.known().letters.range(all).map(|(place, body)| (place.offset, body.parts)).collect()
    }

    pub(super) fn letter_count(&self) -> usize {
        self.known().letters.len()
    }

    fn run(&self, consumer: &Arc<BaseConsumer<Logs>>, mut followed: Vec<Followed>) {
        while !self.closed.load(Ordering::SeqCst) {
            let seen = self.signal.count();
            for _ in 0..8 {
                if let Some(Err(error)) = consumer.poll(Duration::ZERO) {
                    tracing::debug!(target: "kafka", "side topics: {}", kafka::reason(&error));
                }
            }
            let mut found = false;
            for followed in &mut followed {
                found |= self.serve(consumer, followed);
            }
            if found {
                self.advanced.notify_all();
            } else {
                self.signal.wait(seen, Some(LOOK_EVERY));
            }
        }
    }

    /// Whether there was anything.
    fn serve(&self, consumer: &BaseConsumer<Logs>, followed: &mut Followed) -> bool {
        let Followed { side, partition, queue } = followed;
        let (side, partition) = (*side, *partition);
        let (mut found, mut again) = (false, false);
        let mut known = self.known();
        queue.serve(|fetched| {
            found = true;
            match fetched.what() {
                What::Record => {
                    known.take_in(side, partition, fetched);
                    known.reached.insert((side, partition), fetched.offset() + 1);
                }
                What::End => {
                    known.trouble = None;
                    known.reached.insert((side, partition), fetched.offset());
                }
                What::Failed(RDKafkaErrorCode::AutoOffsetReset) => {
                    again = true;
                    return Enough::Yes;
                }
                What::Failed(error) => known.trouble = Some(error.to_string()),
            }
            Enough::No
        });
        if again {
            known.reached.remove(&(side, partition));
            drop(known);
            let topic = self.names.side(side);
            if let Err(error) = consumer.seek(&topic, partition as i32, Offset::Beginning, Duration::from_secs(5)) {
                tracing::warn!(target: "kafka", "read topic `{topic}` from its beginning: {}", kafka::reason(&error));
            }
        }
        found
    }
}

struct Followed {
    side: Side,
    partition: u32,
    queue: Queue<Logs>,
}

impl Known {
    fn take_in(&mut self, side: Side, partition: u32, fetched: &Fetched) {
        let Some(key) = fetched.key().and_then(|key| std::str::from_utf8(key).ok()) else { return };
        match side {
            Side::Positions if key == POSITION => match read(fetched.value()) {
                Some(held) => drop(self.positions.insert(partition, held)),
                None => drop(self.positions.remove(&partition)),
            },
            Side::Positions => {
                if let Some((stage, key)) = names::state_key(key) {
                    let stage = self.states.entry(partition).or_default().entry(stage).or_default();
                    match fetched.value() {
                        Some(value) => drop(stage.insert(key, value.to_vec())),
                        None => drop(stage.remove(&key)),
                    }
                }
            }
            Side::Letters => self.letter(key, fetched),
            Side::Control => self.control(key, fetched.value()),
        }
    }

    fn letter(&mut self, key: &str, fetched: &Fetched) {
        let Some((place, 0)) = names::letter_key(key) else { return };
        match fetched.value() {
            None => drop(self.letters.remove(&place)),
            Some(_) => {
                let body = Body { offset: fetched.offset(), parts: letters::parts(&fetched.headers()) };
                self.letters.insert(place, body);
            }
        }
    }

    fn control(&mut self, key: &str, value: Option<&[u8]>) {
        match ControlKey::parse(key) {
            Some(ControlKey::Cursor) => self.cursor = read(value),
            Some(ControlKey::Generation { number, host }) => {
                if let (Some(text), Some(GenerationContent { .. })) = (value, read(value)) {
                    self.generations.entry(number).or_insert_with(|| Claim { host, content: text.into() });
                }
            }
            Some(ControlKey::Boundary { partition, first }) => match read(value) {
                Some(boundary) => drop(self.boundaries.insert((partition, first), boundary)),
                None => drop(self.boundaries.remove(&(partition, first))),
            },
            Some(ControlKey::Receipt(place)) => {
                self.replaying.remove(&place);
                self.resolved.remove(&place);
                match read::<Receipt>(value) {
                    Some(Receipt { how, generation: Some(generation), .. }) if how == REPLAYING => {
                        self.replaying.insert(place, generation);
                    }
                    Some(_) => drop(self.resolved.insert(place)),
                    None => {}
                }
            }
            None => {}
        }
    }
}

fn read<T: serde::de::DeserializeOwned>(value: Option<&[u8]>) -> Option<T> {
    serde_json::from_slice(value?).inspect_err(|error| tracing::warn!(target: "kafka", "a record of a side topic: {error}")).ok()
}
