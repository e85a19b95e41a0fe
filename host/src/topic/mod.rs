//! The durable, partitioned, replayable log between source and stages, and what is kept with it: cursor, positions,
//! generations and dead letters.
//!
//! Ingest holds a [`Publisher`], deliver holds a [`Consumer`]; they know nothing of each other.

mod check;
pub mod embedded;
pub mod figures;
pub mod kafka;

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

pub use self::check::check;
pub use self::figures::Figures;
use crate::config::plan::{TopicAddress, TopicPlan};
use crate::record::{Batch, Header, Message, Place};
use crate::store;

/// From which offset on which generation decides, and the time its rows are written at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Boundary {
    /// First offset under it.
    pub first: i64,
    pub generation: u64,
    /// Write time of `first`, µs since 1970.
    pub time: i64,
}

impl Boundary {
    /// The write time of a record at or above `first`: it belongs to the offset, so a redelivery writes the same cells.
    pub fn write_time(&self, offset: i64) -> i64 {
        self.time + (offset - self.first)
    }
}

/// How far a partition is settled, and what decides from there on. One value, saved in one step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Position {
    /// The next offset to deliver: all below it is settled.
    pub next: i64,
    /// No row at or beyond it has been written.
    pub reach: i64,
    /// The boundary in force at `next` and all above it, ascending.
    pub boundaries: Vec<Boundary>,
    pub figures: Figures,
}

impl Position {
    /// The boundary that decides `offset`, which must not lie below the first one.
    pub fn boundary_of(&self, offset: i64) -> Option<&Boundary> {
        self.boundaries.iter().rev().find(|boundary| boundary.first <= offset)
    }
}

/// Where a source stands, opaque to the topic: it moves only together with the records it stands for (invariant 6).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cursor(pub serde_json::Value);

/// Which code and settings a generation consists of, canonical so that equal content is one generation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GenerationContent {
    pub stages: Vec<GenerationStage>,
    /// What else decides a row: sink columns, `null-value`.
    pub bindings: serde_json::Value,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GenerationStage {
    pub name: String,
    /// SHA-256 of the component, hex; its bytes are in [`store::components`].
    pub digest: String,
    pub settings: std::collections::BTreeMap<String, String>,
    pub limits: crate::config::plan::Limits,
    #[serde(default)]
    pub grants: crate::config::plan::GrantNames,
}

/// A rejected record with all that is needed to show, replay or discard it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetter {
    pub place: Place,
    pub key: Option<Vec<u8>>,
    pub value: Option<Vec<u8>>,
    pub headers: Vec<Header>,
    /// The record's own, ms.
    pub timestamp: i64,
    pub reason: String,
    /// `None`: the host rejected it before or after the stages.
    pub stage: Option<String>,
    /// Digest of that stage's component.
    pub digest: Option<String>,
    pub generation: u64,
    /// µs.
    pub write_time: i64,
    pub host: String,
}

/// What a partition's stages keep by key (delivery §9), by stage.
pub type StoredState = BTreeMap<String, BTreeMap<Vec<u8>, Vec<u8>>>;

/// What is set and, with `None`, removed of it.
pub type StateChanges = BTreeMap<String, BTreeMap<Vec<u8>, Option<Vec<u8>>>>;

/// One settled stretch of a partition, saved in one step.
#[derive(Clone)]
pub struct Save {
    pub position: Position,
    /// The offsets that this save settles; dead letters in it that are not listed again are removed.
    pub settled: Range<i64>,
    pub dead_letters: Vec<DeadLetter>,
    /// What the calls over these records have set.
    pub state: StateChanges,
    /// Writes of sinks that live in the topic's own store, to be in the same transaction. Empty unless [`Topic::joins`].
    pub with: Vec<store::Write>,
}

/// What a consumer tells.
pub enum Event {
    /// This host delivers the partition from now on. `None`: nothing was ever delivered; start at the first offset. With `moved` a
    /// person has moved the offset: start there, under a new boundary.
    Assigned { partition: u32, position: Option<Position>, first: i64, moved: Option<i64> },
    /// Records of an assigned partition, from where the last batch ended.
    Batch(Batch),
    /// Everything appended so far was handed out; sent once each time the end is reached.
    End { partition: u32, next: i64 },
    /// The partition goes to another host: settle or give up what is in flight, then drop `release`.
    Revoked { partition: u32, release: tokio::sync::oneshot::Sender<()> },
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It may pass: back off and try again; nothing was changed.
    #[error("{0}")]
    Transient(String),
    /// No room: appends and saves wait until there is some.
    #[error("{0}")]
    Full(String),
    /// Another host has taken over.
    #[error("another host has taken over")]
    Fenced,
    /// The position lies outside what the topic still holds.
    #[error("partition {partition}: offset {wanted} is asked for, but the topic holds {first}..{end}")]
    OutOfRange { partition: u32, wanted: i64, first: i64, end: i64 },
    /// The position is one of a topic that is gone.
    #[error("partition {partition}: offset {wanted} is asked for, but the topic was deleted and made again since")]
    Replaced { partition: u32, wanted: i64 },
    /// It will not pass by itself.
    #[error("{0}")]
    Fatal(String),
}

/// What was published.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Published {
    pub records: u64,
    pub bytes: u64,
}

/// The ends of one partition.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ends {
    pub partition: u32,
    /// The first offset still held.
    pub first: i64,
    /// One past the last.
    pub end: i64,
    pub bytes: u64,
}

#[async_trait]
pub trait Topic: Send + Sync {
    /// Waits until this host is the one that polls the source.
    async fn publisher(&self) -> Result<Box<dyn Publisher>, Error>;

    async fn consumer(&self, window: Window) -> Result<Box<dyn Consumer>, Error>;

    /// Whether [`Save::with`] is possible: `Some` with the store that saves go to.
    fn joins(&self) -> Option<store::Store>;

    async fn ends(&self) -> Result<Vec<Ends>, Error>;

    /// Positions as saved, by partition.
    async fn positions(&self) -> Result<Vec<(u32, Position)>, Error>;

    /// Which host saved each partition's position last, by id; empty where there is only one host.
    async fn hosts(&self) -> Result<BTreeMap<u32, String>, Error>;

    /// All claimed generations, ascending.
    async fn generations(&self) -> Result<Vec<(u64, GenerationContent)>, Error>;

    async fn generation(&self, number: u64) -> Result<Option<GenerationContent>, Error> {
        Ok(self.generations().await?.into_iter().find(|(known, _)| *known == number).map(|(_, content)| content))
    }

    /// The number of the newest generation if its content equals this one, else a new number, saved.
    async fn claim_generation(&self, content: &GenerationContent) -> Result<u64, Error>;

    /// Dead letters by place, ascending, at most `limit` from `after` on.
    async fn dead_letters(&self, after: Option<Place>, limit: usize) -> Result<Vec<DeadLetter>, Error>;

    async fn dead_letter(&self, place: Place) -> Result<Option<DeadLetter>, Error>;

    /// How many dead letters there are of each stage and reason, at most [`REASONS_MAX`] of them.
    async fn dead_letter_reasons(&self) -> Result<Vec<ReasonCount>, Error> {
        let (mut reasons, mut after) = (BTreeMap::new(), None);
        loop {
            let letters = self.dead_letters(after, 1_000).await?;
            let Some(last) = letters.last() else { return Ok(reasons.into_values().collect()) };
            after = Some(last.place);
            letters.iter().for_each(|letter| ReasonCount::count(&mut reasons, letter));
        }
    }

    async fn dead_letter_count(&self) -> Result<u64, Error>;

    /// Removes a dead letter after its replay or by wish, and leaves a receipt by place. `with` is in the same step where the topic joins.
    async fn resolve_dead_letter(&self, place: Place, how: Resolution, with: Vec<store::Write>) -> Result<bool, Error>;

    /// The generation of a replay that has begun and not ended, by [`Topic::begin_replay`].
    async fn replay_generation(&self, place: Place) -> Result<Option<u64>, Error>;

    /// Records which generation a replay uses, before its first row is written: it is finished under that one, also after a crash.
    async fn begin_replay(&self, place: Place, generation: u64) -> Result<(), Error>;
}

/// Opens a pipeline's topic where its plan says. Nobody who consumes or publishes is disturbed by it.
pub async fn open(plan: &TopicPlan, pipeline: &str, store: &store::Store) -> Result<Arc<dyn Topic>, Error> {
    Ok(match &plan.at {
        TopicAddress::Embedded => Arc::new(embedded::Embedded::open(store, plan).await?),
        TopicAddress::Kafka(cluster) => {
            let host = store::host::id(store).await?;
            Arc::new(kafka::Kafka::open(plan, cluster, pipeline, &host).await?)
        }
    })
}

/// Reasons that are told apart; an overview needs no more.
pub const REASONS_MAX: usize = 5_000;

/// Dead letters of one stage with one reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReasonCount {
    pub stage: Option<String>,
    pub reason: String,
    pub count: u64,
    /// The oldest and the newest.
    pub generations: [u64; 2],
    /// The lowest place.
    pub first: Place,
    /// µs.
    pub last_write_time: i64,
}

impl ReasonCount {
    fn count(reasons: &mut BTreeMap<(Option<String>, String), ReasonCount>, letter: &DeadLetter) {
        let key = (letter.stage.clone(), letter.reason.clone());
        if let Some(known) = reasons.get_mut(&key) {
            known.count += 1;
            known.generations = [known.generations[0].min(letter.generation), known.generations[1].max(letter.generation)];
            known.first = known.first.min(letter.place);
            known.last_write_time = known.last_write_time.max(letter.write_time);
        } else if reasons.len() < REASONS_MAX {
            let (stage, reason) = key.clone();
            let generations = [letter.generation; 2];
            let new =
                ReasonCount { stage, reason, count: 1, generations, first: letter.place, last_write_time: letter.write_time };
            reasons.insert(key, new);
        }
    }
}

/// How a dead letter came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "how")]
pub enum Resolution {
    Replayed { generation: u64 },
    Discarded,
}

/// How much may be handed out of a partition and not yet settled.
#[derive(Clone, Copy, Debug)]
pub struct Window {
    pub batch_records_max: usize,
    pub batch_bytes_max: usize,
    /// Batches handed out beyond the one being worked on.
    pub batches_ahead: usize,
    /// How long an append may wait to be read together with others; zero hands out at once.
    pub linger: Duration,
}

impl Default for Window {
    fn default() -> Window {
        Window { batch_records_max: 3_000, batch_bytes_max: 4 << 20, batches_ahead: 2, linger: Duration::ZERO }
    }
}

impl Window {
    /// So many partitions have the whole of it each; more of them have together what these have, so that memory does not grow with their number.
    const WHOLE: usize = 2;
    /// A smaller batch costs more to hand about than to work on.
    const BATCH_RECORDS_MIN: usize = 100;
    const BATCH_BYTES_MIN: usize = 128 << 10;

    /// What each of the partitions has that one consumer holds.
    pub fn among(self, partitions: usize) -> Window {
        let share = |most: usize, least: usize| (most * Window::WHOLE / partitions.max(Window::WHOLE)).max(least.min(most));
        Window {
            batch_records_max: share(self.batch_records_max, Window::BATCH_RECORDS_MIN),
            batch_bytes_max: share(self.batch_bytes_max, Window::BATCH_BYTES_MIN),
            ..self
        }
    }
}

#[async_trait]
pub trait Publisher: Send {
    async fn cursor(&mut self) -> Result<Option<Cursor>, Error>;

    /// Publishes a page and the cursor behind it in one step (invariant 6). Waits while unread records fill the topic.
    async fn publish(&mut self, page: Vec<Message>, cursor: Cursor) -> Result<Published, Error>;

    /// Why a publish waits, while it does.
    fn held_back(&self) -> HeldBack {
        HeldBack::default()
    }
}

/// What a publish waits for, told while it waits; cheap to clone.
#[derive(Clone, Default)]
pub struct HeldBack(Arc<Mutex<Option<String>>>);

impl HeldBack {
    /// `None`: for nothing but the topic itself.
    pub fn tell(&self, why: Option<String>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = why;
    }

    pub fn why(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[async_trait]
pub trait Consumer: Send {
    /// The next event. Cancel-safe.
    async fn next(&mut self) -> Result<Event, Error>;

    /// Where saves of the partitions assigned so far go; cheap to clone, usable from other tasks while `next` waits.
    fn saver(&self) -> Arc<dyn Saver>;

    /// Gives all partitions back, so that other hosts may have them at once. Nothing is saved after it.
    async fn close(&mut self) {}
}

#[async_trait]
pub trait Saver: Send + Sync {
    /// Durable when it returns. A save for a partition that this host no longer holds is refused with [`Error::Fenced`].
    async fn save(&self, partition: u32, save: Save) -> Result<(), Error>;

    /// What the stages of an assigned partition have kept, as of its position.
    async fn state(&self, partition: u32) -> Result<StoredState, Error>;

    /// Everything below `next` is settled and will be in the next save: more may be handed out meanwhile.
    fn settled(&self, _partition: u32, _next: i64) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partitions_have_together_what_two_of_them_would() {
        let whole = Window::default();
        let held = |partitions: usize| {
            let window = whole.among(partitions);
            (window.batch_records_max * partitions, window.batch_bytes_max * partitions)
        };
        assert_eq!([1, 2].map(held), [(3_000, 4 << 20), (6_000, 8 << 20)]);
        assert!([3, 4, 7, 8, 60].map(held).iter().all(|(records, bytes)| *records <= 6_000 && *bytes <= 8 << 20));
        assert_eq!(whole.among(1_000).batch_records_max, Window::BATCH_RECORDS_MIN, "it never comes to nothing");
        let small = Window { batch_records_max: 4, ..whole };
        assert_eq!(small.among(1_000).batch_records_max, 4, "nor to more than was asked for");
    }
}
