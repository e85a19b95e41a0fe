//! A topic of a Kafka cluster and what a pipeline keeps beside it, read by clients that belong to no group: committed records only, each
//! piece up to the end that it had when it was asked for.

mod client;
mod letter;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::{Path, PathBuf};

use rusqlite::{Connection, params};
use serde::Deserialize;

use self::client::{Client, Message};
use super::embedded;
use super::evidence::{Error, Letters, Partition, Piece, Topic};
use crate::config::plan::KafkaPlan;
use crate::record::{Batch, RecordRef};
use crate::topic::{Boundary, GenerationContent, Position, Resolution};

/// A batch holds about so much.
const BATCH_RECORDS: usize = 4_000;
const BATCH_BYTES: usize = 4 << 20;

pub struct KafkaTopic {
    topic: String,
    pipeline: String,
    /// Follows the topic itself.
    records: Client,
    /// Reads the side topics.
    side: Client,
    partitions: u32,
    generations: BTreeMap<u64, GenerationContent>,
    boundaries: BTreeMap<(u32, i64), Boundary>,
    resolved: BTreeMap<(u32, i64), Resolution>,
    replaying: BTreeMap<(u32, i64), u64>,
    positions: BTreeMap<u32, Position>,
    /// Next offset to be read of each partition of the positions and of the dead letters, and of the control topic.
    positions_read: BTreeMap<u32, i64>,
    letters_read: BTreeMap<u32, i64>,
    control_read: i64,
    /// Dead letters as they are in their topic, on disk.
    letters: Connection,
    /// Where components are kept on this machine, and the file's path.
    store: Option<(Connection, PathBuf)>,
}

/// A position as it is kept.
#[derive(Deserialize)]
struct Held {
    position: Position,
}

#[derive(Deserialize)]
struct Receipt {
    how: String,
    generation: Option<u64>,
}

impl KafkaTopic {
    pub fn open(plan: &KafkaPlan, topic: &str, pipeline: &str, store: &Path) -> Result<KafkaTopic, Error> {
        let (records, side) = (Client::new(plan)?, Client::new(plan)?);
        let partitions = records.partitions(topic)?;
        let letters = Connection::open("").and_then(|letters| {
            letters.execute_batch(
                "PRAGMA journal_mode = OFF; CREATE TABLE letters (partition INTEGER, offset INTEGER, part INTEGER, value BLOB, headers TEXT,
                 PRIMARY KEY (partition, offset, part)) WITHOUT ROWID;",
            )?;
            Ok(letters)
        });
        Ok(KafkaTopic {
            topic: topic.to_owned(),
            pipeline: pipeline.to_owned(),
            records,
            side,
            partitions,
            generations: BTreeMap::new(),
            boundaries: BTreeMap::new(),
            resolved: BTreeMap::new(),
            replaying: BTreeMap::new(),
            positions: BTreeMap::new(),
            positions_read: BTreeMap::new(),
            letters_read: BTreeMap::new(),
            control_read: 0,
            letters: letters.map_err(kept)?,
            store: store.exists().then(|| Ok((embedded::connect(store)?, store.to_owned()))).transpose()?,
        })
    }

    fn position(&mut self, partition: u32) -> Result<Option<Position>, Error> {
        let from = self.positions_read.get(&partition).copied().unwrap_or(0);
        let mut position = self.positions.remove(&partition);
        let next = self.side.follow(&format!("{}.positions", self.pipeline), partition, from, &mut |message| {
            if message.key == Some(b"position") {
                position = message.value.map(parse::<Held>).transpose()?.map(|held| held.position);
            }
            Ok(())
        })?;
        self.positions_read.insert(partition, next);
        self.positions.extend(position.iter().map(|position| (partition, position.clone())));
        Ok(position)
    }

    /// Returns whether a dead letter was resolved, or is about to be.
    fn control(&mut self) -> Result<bool, Error> {
        let mut resolving = false;
        let (generations, boundaries) = (&mut self.generations, &mut self.boundaries);
        let (resolved, replaying) = (&mut self.resolved, &mut self.replaying);
        self.control_read = self.side.follow(&format!("{}.control", self.pipeline), 0, self.control_read, &mut |message| {
            let Some(key) = message.key.and_then(|key| std::str::from_utf8(key).ok()) else { return Ok(()) };
            let parts: Vec<&str> = key.split('/').collect();
            match (parts.as_slice(), message.value) {
                // The first claim of a number counts.
                (["generation", number, _], Some(value)) => {
                    let content = parse(value)?;
                    number.parse().ok().map(|number| generations.entry(number).or_insert(content));
                }
                (["boundary", partition, first], value) => {
                    let Some(at) = partition.parse().ok().zip(first.parse().ok()) else { return Ok(()) };
                    match value {
                        Some(value) => drop(boundaries.insert(at, parse(value)?)),
                        None => drop(boundaries.remove(&at)),
                    }
                }
                (["receipt", partition, offset], value) => {
                    let Some(at) = partition.parse().ok().zip(offset.parse().ok()) else { return Ok(()) };
                    resolved.remove(&at);
                    replaying.remove(&at);
                    // What was cleared away is of a record that the topic holds no longer.
                    resolving |= value.is_some();
                    match value.map(parse::<Receipt>).transpose()? {
                        Some(Receipt { how, generation: Some(generation) }) if how == "replayed" => {
                            resolved.insert(at, Resolution::Replayed { generation });
                        }
                        Some(Receipt { how, .. }) if how == "discarded" => drop(resolved.insert(at, Resolution::Discarded)),
                        // It resolves nothing yet.
                        Some(Receipt { how, generation: Some(generation) }) if how == "replaying" => {
                            replaying.insert(at, generation);
                        }
                        _ => {}
                    }
                }
                _ => {}
            }
            Ok(())
        })?;
        Ok(resolving)
    }

    /// Takes in the dead letters that are new.
    fn follow_letters(&mut self, partition: u32) -> Result<(), Error> {
        let from = self.letters_read.get(&partition).copied().unwrap_or(0);
        let letters = &self.letters;
        let next = self.side.follow(&format!("{}.dead-letters", self.pipeline), partition, from, &mut |message| {
            let Some((place, part)) = message.key.and_then(letter::place) else { return Ok(()) };
            if part == 0 {
                let gone = "DELETE FROM letters WHERE partition = ?1 AND offset = ?2";
                letters.prepare_cached(gone).and_then(|mut gone| gone.execute(params![place.0, place.1])).map_err(kept)?;
            }
            if let Some(value) = message.value {
                let headers = letter::encode(&message.headers);
                let insert = "INSERT OR REPLACE INTO letters VALUES (?1, ?2, ?3, ?4, ?5)";
                let row = params![place.0, place.1, part, value, headers];
                letters.prepare_cached(insert).and_then(|mut insert| insert.execute(row)).map_err(kept)?;
            }
            Ok(())
        })?;
        self.letters_read.insert(partition, next);
        Ok(())
    }
}

impl Topic for KafkaTopic {
    /// Transactions leave their marks between records.
    fn is_gapless(&self) -> bool {
        false
    }

    fn first(&mut self, partition: u32) -> Result<i64, Error> {
        Ok(self.records.ends(&self.topic, partition)?.0)
    }

    fn partitions(&mut self) -> Result<Vec<Partition>, Error> {
        let mut positions = Vec::new();
        for number in 0..self.partitions {
            positions.push(self.position(number)?);
        }
        // After the positions: what belongs to them was written in the same transactions, or before. A person who resolves a dead letter
        // writes to both topics; between two looks at the one, nothing happened in the other that it does not tell of.
        self.control()?;
        loop {
            for number in 0..self.partitions {
                self.follow_letters(number)?;
            }
            if !self.control()? {
                break;
            }
        }
        let mut partitions = Vec::new();
        for (number, position) in (0..).zip(positions) {
            let (first, end) = self.records.ends(&self.topic, number)?;
            let own = (number, i64::MIN)..=(number, i64::MAX);
            let boundaries = self.boundaries.range(own).map(|(_, boundary)| *boundary).collect();
            partitions.push(Partition { number, first, end, position, boundaries });
        }
        Ok(partitions)
    }

    fn records(&mut self, partition: u32, range: Range<i64>) -> Result<Piece, Error> {
        let mut batch = Batch::new(partition);
        self.records.read(&self.topic, partition, range, &mut |message: Message<'_>| {
            let Message { offset, timestamp, key, value, headers } = message;
            batch.push(RecordRef { offset, timestamp, key, value, headers: &headers });
            Ok(batch.rows() < BATCH_RECORDS && batch.bytes() < BATCH_BYTES)
        })?;
        Ok(Piece { batch, damaged: None })
    }

    fn generation(&mut self, number: u64) -> Result<Option<GenerationContent>, Error> {
        Ok(self.generations.get(&number).cloned())
    }

    fn component(&mut self, digest: &str) -> Result<Option<Vec<u8>>, Error> {
        let Some((store, path)) = &self.store else { return Ok(None) };
        embedded::component(store, path, digest)
    }

    fn letters(&mut self, partition: u32, range: Range<i64>) -> Result<Letters, Error> {
        let select = "SELECT offset, value, headers FROM letters WHERE partition = ?1 AND offset >= ?2 AND offset < ?3 ORDER BY offset, part";
        let mut statement = self.letters.prepare_cached(select).map_err(kept)?;
        let row = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?, row.get(2)?));
        let rows = statement.query_map(params![partition, range.start, range.end], row).map_err(kept)?;
        let mut parts: BTreeMap<i64, (String, Vec<Vec<u8>>)> = BTreeMap::new();
        for row in rows {
            let (offset, value, headers): (i64, Vec<u8>, String) = row.map_err(kept)?;
            parts.entry(offset).or_insert_with(|| (headers, Vec::new())).1.push(value);
        }
        let mut letters = Letters::default();
        for (offset, (headers, values)) in parts {
            letters.kept.insert(offset, letter::read((partition, offset), &headers, values)?);
        }
        let within = (partition, range.start)..(partition, range.end.max(range.start));
        letters.replaying =
            self.replaying.range(within.clone()).map(|((_, offset), generation)| (*offset, *generation)).collect();
        letters.resolved = self.resolved.range(within).map(|((_, offset), resolution)| (*offset, *resolution)).collect();
        Ok(letters)
    }

    fn strays(&mut self, ranges: &BTreeMap<u32, Range<i64>>) -> Result<Vec<(u32, i64)>, Error> {
        let mut statement = self.letters.prepare("SELECT DISTINCT partition, offset FROM letters").map_err(kept)?;
        let places = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).map_err(kept)?;
        let places = places.collect::<Result<BTreeSet<(u32, i64)>, _>>().map_err(kept)?;
        let stray = |(partition, offset): &(u32, i64)| !ranges.get(partition).is_some_and(|range| range.contains(offset));
        Ok(places.into_iter().filter(stray).collect())
    }
}

fn parse<T: for<'a> Deserialize<'a>>(bytes: &[u8]) -> Result<T, Error> {
    serde_json::from_slice(bytes).map_err(|error| Error::of("read a record of a side topic", error))
}

fn kept(error: rusqlite::Error) -> Error {
    Error::of("keep dead letters in a temporary file", error)
}
