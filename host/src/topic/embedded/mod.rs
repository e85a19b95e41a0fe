//! The topic in the pipeline's own store: log, cursor, positions and dead letters in one SQLite file, so that results which live there
//! too share a transaction with the position.

mod consumer;
mod dead_letters;
mod publisher;
mod saver;
mod state;

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use rusqlite::{Connection, OptionalExtension, params};

use super::{Consumer, DeadLetter, Ends, Error, GenerationContent, Position, Publisher, ReasonCount, Resolution, Topic, Window};
use crate::config::plan::{Retention, TopicPlan};
use crate::record::Place;
use crate::store::{self, Store, log};

/// The embedded topic of a pipeline; cheap to clone.
#[derive(Clone)]
pub struct Embedded {
    store: Store,
    name: String,
    log: log::Log,
    retention: Retention,
}

impl Embedded {
    /// Opens the topic, or makes it where absent. A changed number of partitions is refused: it would move keys.
    pub async fn open(store: &Store, plan: &TopicPlan) -> Result<Embedded, Error> {
        let (name, partitions) = (plan.name.clone(), plan.partitions);
        let opened = store.write_returning(move |connection| log::open(connection, &name, partitions)).await?;
        let log = opened.map_err(|has| {
            let (name, wants, dir) = (&plan.name, plan.partitions, store.dir().display());
            Error::Fatal(format!(
                "topic `{name}` in {dir} has partitions = {has}, the pipeline file says {wants}: that would move keys to other partitions. \
                 go on with partitions = {has}, or start afresh with another topic name or --data folder"
            ))
        })?;
        Ok(Embedded { store: store.clone(), name: plan.name.clone(), log, retention: plan.retention })
    }

    /// Reads records without consuming them. A record larger than `bytes_max` comes alone.
    pub async fn peek(
        &self,
        partition: u32,
        from: i64,
        records_max: usize,
        bytes_max: usize,
    ) -> Result<crate::record::Batch, Error> {
        let Some(row) = self.log.partitions.get(partition as usize).copied() else {
            return Err(Error::Fatal(format!("topic `{}` has no partition {partition}", self.name)));
        };
        let read = move |connection: &Connection| {
            let from = from.max(log::extent(connection, row)?.first);
            log::read(connection, row, partition, from, records_max, bytes_max)
        };
        Ok(self.store.read(read).await?)
    }
}

#[async_trait]
impl Topic for Embedded {
    async fn publisher(&self) -> Result<Box<dyn Publisher>, Error> {
        Ok(Box::new(publisher::EmbeddedPublisher::new(self).await?))
    }

    async fn consumer(&self, window: Window) -> Result<Box<dyn Consumer>, Error> {
        Ok(Box::new(consumer::EmbeddedConsumer::new(self, window).await?))
    }

    fn joins(&self) -> Option<Store> {
        Some(self.store.clone())
    }

    async fn ends(&self) -> Result<Vec<Ends>, Error> {
        let rows = self.log.partitions.clone();
        let read = move |connection: &Connection| {
            let ends = (0..).zip(&rows).map(|(partition, row)| {
                let extent = log::extent(connection, *row)?;
                Ok(Ends { partition, first: extent.first, end: extent.next, bytes: extent.bytes.max(0) as u64 })
            });
            ends.collect()
        };
        Ok(self.store.read(read).await?)
    }

    async fn positions(&self) -> Result<Vec<(u32, Position)>, Error> {
        let rows = self.log.partitions.clone();
        let read = move |connection: &Connection| {
            let mut positions = Vec::new();
            for (partition, row) in (0..).zip(&rows) {
                positions.extend(position(connection, *row)?.map(|position| (partition, position)));
            }
            Ok(positions)
        };
        Ok(self.store.read(read).await?)
    }

    async fn hosts(&self) -> Result<BTreeMap<u32, String>, Error> {
        Ok(BTreeMap::new())
    }

    async fn generations(&self) -> Result<Vec<(u64, GenerationContent)>, Error> {
        let topic = self.log.topic;
        let read = move |connection: &Connection| {
            let mut statement =
                connection.prepare_cached("SELECT number, content FROM generations WHERE topic = ?1 ORDER BY number")?;
            let rows = statement.query_map([topic], |row| Ok((row.get(0)?, row.get::<_, String>(1)?)))?;
            rows.map(|row| row.map_err(store::Error::from).and_then(|(number, text)| Ok((number, parse(&text, "a generation")?))))
                .collect()
        };
        Ok(self.store.read(read).await?)
    }

    async fn claim_generation(&self, content: &GenerationContent) -> Result<u64, Error> {
        let topic = self.log.topic;
        let text = serde_json::to_string(content).map_err(|error| Error::Fatal(format!("write a generation: {error}")))?;
        let claim = move |connection: &Connection| {
            let newest = "SELECT number, content FROM generations WHERE topic = ?1 ORDER BY number DESC LIMIT 1";
            let newest: Option<(u64, String)> =
                connection.query_row(newest, [topic], |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
            if let Some((number, known)) = newest
                && known == text
            {
                return Ok(number);
            }
            let number = log::count_up(connection, &format!("generation of topic {topic}"))?;
            let insert = "INSERT INTO generations (topic, number, content) VALUES (?1, ?2, ?3)";
            connection.execute(insert, params![topic, number, text])?;
            Ok(number as u64)
        };
        Ok(self.store.write_returning(claim).await?)
    }

    async fn dead_letters(&self, after: Option<Place>, limit: usize) -> Result<Vec<DeadLetter>, Error> {
        dead_letters::list(self, after, limit).await
    }

    async fn dead_letter(&self, place: Place) -> Result<Option<DeadLetter>, Error> {
        dead_letters::get(self, place).await
    }

    async fn dead_letter_reasons(&self) -> Result<Vec<ReasonCount>, Error> {
        dead_letters::reasons(self).await
    }

    async fn dead_letter_count(&self) -> Result<u64, Error> {
        dead_letters::count(self).await
    }

    async fn resolve_dead_letter(&self, place: Place, how: Resolution, with: Vec<store::Write>) -> Result<bool, Error> {
        dead_letters::resolve(self, place, how, with).await
    }

    async fn replay_generation(&self, place: Place) -> Result<Option<u64>, Error> {
        dead_letters::replay_generation(self, place).await
    }

    async fn begin_replay(&self, place: Place, generation: u64) -> Result<(), Error> {
        dead_letters::begin_replay(self, place, generation).await
    }
}

fn position(connection: &Connection, partition_row: i64) -> Result<Option<Position>, store::Error> {
    let select = "SELECT position FROM partitions WHERE id = ?1";
    let text: Option<String> = connection.prepare_cached(select)?.query_row([partition_row], |row| row.get(0))?;
    text.map(|text| parse(&text, "a position")).transpose()
}

fn parse<T: serde::de::DeserializeOwned>(text: &str, what: &str) -> Result<T, store::Error> {
    serde_json::from_str(text).map_err(|error| store::Error::Sqlite(format!("read {what}: {error}")))
}

fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

impl From<store::Error> for Error {
    fn from(error: store::Error) -> Error {
        match error {
            store::Error::Full(reason) => Error::Full(reason),
            store::Error::Busy(reason) => Error::Transient(reason),
            other => Error::Fatal(other.to_string()),
        }
    }
}
