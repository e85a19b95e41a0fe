//! Saves: positions, dead letters and boundaries, with the offsets of the group, in one transaction (invariants 1 and 4). The broker
//! refuses it when this host has left the group.
//!
//! One thread has the producers. It takes all saves that wait into one transaction, and answers them together.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use async_trait::async_trait;
use rdkafka::{Offset, TopicPartitionList};
use tokio::sync::{mpsc, oneshot};

use super::assignment::Assignment;
use super::names::{self, POSITION, Side};
use super::transaction::{Failed, Record};
use super::turns::Turns;
use super::view::Held;
use super::{Inner, letters};
use crate::record::Header;
use crate::topic::{Boundary, Error, Save, Saver, StoredState};

/// Saves that may wait; whoever brings one more waits himself (invariant 8).
const REQUESTS_MAX: usize = 256;
/// Saves of one transaction.
const SAVES_MAX: usize = 64;
/// How long the boundary of a swap waits for those of the other partitions: whose comes later waits for a transaction more.
const GATHER: Duration = Duration::from_millis(1);
/// Boundaries that one save may clear away, and receipts.
const CLEARED_MAX: usize = 100;

pub(super) enum Request {
    Save(Saving),
    /// The partition was taken over: what is there of it already.
    Begin {
        partition: u32,
        letters: BTreeMap<i64, u32>,
        boundaries: Vec<Boundary>,
        topic_id: Option<String>,
    },
    /// Answered once every save before it is.
    Settled(oneshot::Sender<()>),
}

pub(super) struct Saving {
    partition: u32,
    epoch: u64,
    save: Save,
    answer: oneshot::Sender<Result<(), Error>>,
}

/// For the assignments that were made when it was asked for.
pub(super) struct KafkaSaver {
    pub(super) inner: Arc<Inner>,
    pub(super) assignment: Arc<Assignment>,
    pub(super) requests: mpsc::Sender<Request>,
    pub(super) epochs: HashMap<u32, u64>,
}

impl KafkaSaver {
    fn epoch(&self, partition: u32) -> Option<u64> {
        self.epochs.get(&partition).copied().filter(|epoch| self.assignment.holds(partition, *epoch))
    }
}

#[async_trait]
impl Saver for KafkaSaver {
    async fn save(&self, partition: u32, save: Save) -> Result<(), Error> {
        if !save.with.is_empty() {
            return Err(Error::Fatal("a write of the store cannot join a transaction of Kafka".to_owned()));
        }
        let epoch = self.epoch(partition).ok_or(Error::Fenced)?;
        let (answer, answered) = oneshot::channel();
        let saving = Saving { partition, epoch, save, answer };
        self.requests.send(Request::Save(saving)).await.map_err(|_| Error::Fenced)?;
        answered.await.unwrap_or(Err(Error::Fenced))
    }

    /// The view had come to the end of the partition's positions before it was assigned.
    async fn state(&self, partition: u32) -> Result<StoredState, Error> {
        self.epoch(partition).ok_or(Error::Fenced)?;
        Ok(self.inner.view.state(partition))
    }

    fn settled(&self, partition: u32, next: i64) {
        if let Some(epoch) = self.epoch(partition) {
            self.assignment.settled(partition, epoch, next);
        }
    }
}

/// The saving thread.
pub(super) struct Writing {
    inner: Arc<Inner>,
    assignment: Arc<Assignment>,
    producers: Option<Turns>,
    /// Of each partition held: its dead letters and in how many parts each is.
    letters: HashMap<u32, BTreeMap<i64, u32>>,
    /// Of each partition held: its boundaries as they are in the control topic.
    boundaries: HashMap<u32, BTreeMap<i64, Boundary>>,
    /// Of each partition held: which topic its records are of.
    topic_ids: HashMap<u32, Option<String>>,
}

/// Starts the thread; it ends with the last sender.
pub(super) fn start(inner: Arc<Inner>, assignment: Arc<Assignment>, producers: Turns) -> Result<mpsc::Sender<Request>, Error> {
    let (sender, requests) = mpsc::channel(REQUESTS_MAX);
    let (letters, boundaries, topic_ids) = (HashMap::new(), HashMap::new(), HashMap::new());
    let writing = Writing { inner, assignment, producers: Some(producers), letters, boundaries, topic_ids };
    thread::Builder::new()
        .name("kafka-saver".to_owned())
        .spawn(move || writing.run(requests))
        .map_err(|error| Error::Fatal(format!("start the thread that saves positions: {error}")))?;
    Ok(sender)
}

/// A record that a save is made of.
struct Written {
    side: Side,
    partition: u32,
    key: String,
    value: Option<Vec<u8>>,
    headers: Vec<Header>,
}

impl Writing {
    fn run(mut self, mut requests: mpsc::Receiver<Request>) {
        let mut saves: Vec<Saving> = Vec::new();
        while let Some(first) = requests.blocking_recv() {
            let mut next = Some(first);
            let mut gathered = Duration::ZERO;
            while let Some(request) = next {
                match request {
                    Request::Save(saving) => saves.push(saving),
                    Request::Begin { partition, letters, boundaries, topic_id } => {
                        self.topic_ids.insert(partition, topic_id);
                        self.letters.insert(partition, letters);
                        let boundaries = boundaries.into_iter().map(|boundary| (boundary.first, boundary)).collect();
                        self.boundaries.insert(partition, boundaries);
                    }
                    Request::Settled(answer) => {
                        self.save(std::mem::take(&mut saves));
                        let _ = answer.send(());
                    }
                }
                next = if saves.len() < SAVES_MAX { requests.try_recv().ok() } else { None };
                while next.is_none() && gathered < GATHER && self.others_follow(&saves) {
                    thread::sleep(GATHER / 4);
                    gathered += GATHER / 4;
                    next = requests.try_recv().ok();
                }
            }
            self.save(std::mem::take(&mut saves));
        }
    }

    /// Whether one of these saves is for a swap that other partitions are taking up as well.
    fn others_follow(&self, saves: &[Saving]) -> bool {
        let begins = |saving: &Saving| !self.changed_boundaries(saving.partition, &saving.save.position.boundaries).0.is_empty();
        saves.len() < self.assignment.count().min(SAVES_MAX) && saves.iter().any(begins)
    }

    fn save(&mut self, saves: Vec<Saving>) {
        let held = |saving: &Saving| self.assignment.holds(saving.partition, saving.epoch);
        let (saves, refused): (Vec<_>, Vec<_>) = saves.into_iter().partition(held);
        for refused in refused {
            let _ = refused.answer.send(Err(Error::Fenced));
        }
        if saves.is_empty() {
            return;
        }
        let outcome = self.transact(&saves);
        for Saving { partition, epoch, save, answer } in saves {
            if outcome.is_ok() {
                self.remember(partition, &save);
                self.assignment.settled(partition, epoch, save.position.next);
            }
            let _ = answer.send(match &outcome {
                Ok(()) => Ok(()),
                Err(Failed::Fenced) if !self.assignment.holds(partition, epoch) => Err(Error::Fenced),
                Err(Failed::Fenced) => Err(Error::Transient("another producer has begun in this host's name".to_owned())),
                Err(Failed::TooLarge(reason)) => Err(Error::Fatal(format!(
                    "{reason}: raise max.message.bytes of the pipeline's own topics ({}.…)",
                    self.inner.names.pipeline
                ))),
                Err(Failed::Aborted(reason) | Failed::Broken(reason)) => Err(Error::Transient(reason.clone())),
            });
        }
    }

    fn transact(&mut self, saves: &[Saving]) -> Result<(), Failed> {
        let given_up = &self.assignment.closed;
        if self.producers.is_none() {
            let begun = Turns::begin(&self.inner, &self.inner.names.host, given_up);
            self.producers = Some(begun.map_err(|error| match error {
                Error::Fenced => Failed::Fenced,
                other => Failed::Broken(other.to_string()),
            })?);
        }
        // It left the group: the partitions are about to be taken away.
        let Some(group) = self.assignment.group() else { return Err(Failed::Aborted("not in the group".to_owned())) };
        let mut written = Vec::new();
        let mut offsets = TopicPartitionList::new();
        for Saving { partition, save, .. } in saves {
            self.records(*partition, save, &mut written);
            let next = Offset::Offset(save.position.next);
            let _ = offsets.add_partition_offset(&self.inner.names.topic, *partition as i32, next);
        }
        let topics = Side::ALL.map(|side| self.inner.names.side(side));
        let records = written.iter().map(|written| Record {
            topic: &topics[written.side as usize],
            partition: Some(written.partition),
            key: Some(written.key.as_bytes()),
            value: written.value.as_deref(),
            headers: &written.headers,
            timestamp: None,
        });
        let Some(producers) = &mut self.producers else { return Err(Failed::Broken("no producer".to_owned())) };
        let outcome = producers.take().publish(given_up, records, Some((&offsets, &group)));
        match &outcome {
            Err(Failed::Broken(reason)) => {
                tracing::warn!(target: "kafka", "the producers that save positions are made anew: {reason}");
                self.producers = None;
            }
            // The coordinator gave it up while this host stood still, or a second process has a copy of this store.
            Err(Failed::Fenced) => {
                tracing::warn!(target: "kafka", "the producers that save positions were fenced and are made anew");
                self.producers = None;
            }
            _ => {}
        }
        outcome
    }

    /// Dead letters first, then boundaries, then the position that speaks of them.
    fn records(&self, partition: u32, save: &Save, written: &mut Vec<Written>) {
        let mut put = |side: Side, at: u32, key: String, value: Option<Vec<u8>>, headers: Vec<Header>| {
            written.push(Written { side, partition: at, key, value, headers });
        };
        let known = self.letters.get(&partition);
        for (offset, parts) in known.into_iter().flat_map(|known| known.range(save.settled.clone())) {
            let again = save.dead_letters.iter().find(|letter| letter.place.offset == *offset);
            // One that is written again goes over the first; only its further parts would stay.
            let first = if again.is_some() { 1 } else { 0 };
            let place = crate::record::Place { partition, offset: *offset };
            for key in letters::keys(place, *parts).skip(first) {
                put(Side::Letters, partition, key, None, Vec::new());
            }
        }
        for letter in &save.dead_letters {
            for part in letters::write(letter, self.inner.letter_bytes_max) {
                put(Side::Letters, partition, part.key, Some(part.value), part.headers);
            }
        }
        let (new, gone) = self.changed_boundaries(partition, &save.position.boundaries);
        for boundary in new {
            let value = serde_json::to_vec(&boundary).expect("numbers");
            put(Side::Control, 0, names::boundary(partition, boundary.first), Some(value), Vec::new());
        }
        for first in gone {
            put(Side::Control, 0, names::boundary(partition, first), None, Vec::new());
        }
        // Of records that the topic holds no longer: nobody decides or verifies them again. A replay that has begun is finished first.
        for place in self.inner.view.resolved_below(partition, self.inner.first_held(partition), CLEARED_MAX) {
            put(Side::Control, 0, names::receipt(place), None, Vec::new());
        }
        for (stage, entries) in &save.state {
            for (key, value) in entries {
                put(Side::Positions, partition, names::state(stage, key), value.clone(), Vec::new());
            }
        }
        let topic_id = self.topic_ids.get(&partition).cloned().flatten();
        let held = Held { host: self.inner.names.host.clone(), topic_id, position: save.position.clone() };
        let value = serde_json::to_vec(&held).expect("numbers and text keys");
        put(Side::Positions, partition, POSITION.to_owned(), Some(value), Vec::new());
    }

    /// Those to write, and the first offsets of those to clear away: replaced ones, and those under which the topic holds nothing any
    /// more.
    fn changed_boundaries(&self, partition: u32, boundaries: &[Boundary]) -> (Vec<Boundary>, Vec<i64>) {
        let nothing = BTreeMap::new();
        let known = self.boundaries.get(&partition).unwrap_or(&nothing);
        let Some(in_force) = boundaries.first() else { return (Vec::new(), Vec::new()) };
        let new = boundaries.iter().filter(|boundary| known.get(&boundary.first) != Some(boundary)).copied().collect();
        let above = known.range(in_force.first + 1..).map(|(first, _)| *first);
        let replaced = above.filter(|first| boundaries.iter().all(|boundary| boundary.first != *first));
        let first_held = self.inner.first_held(partition);
        let passed = known.keys().zip(known.keys().skip(1)).filter(|(_, next)| **next <= first_held).map(|(first, _)| *first);
        (new, replaced.chain(passed).take(CLEARED_MAX).collect())
    }

    fn remember(&mut self, partition: u32, save: &Save) {
        let (new, gone) = self.changed_boundaries(partition, &save.position.boundaries);
        let boundaries = self.boundaries.entry(partition).or_default();
        boundaries.extend(new.into_iter().map(|boundary| (boundary.first, boundary)));
        boundaries.retain(|first, _| !gone.contains(first));
        let letters = self.letters.entry(partition).or_default();
        letters.retain(|offset, _| !save.settled.contains(offset));
        for letter in &save.dead_letters {
            let parts = letters::write(letter, self.inner.letter_bytes_max).len() as u32;
            letters.insert(letter.place.offset, parts);
        }
    }
}
