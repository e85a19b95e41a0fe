//! The embedded topic and its tables, read with plain SQL on a connection that cannot write. Reads are short: a running host must be
//! able to empty its write-ahead log.

mod log;
mod table;

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rusqlite::{Connection, OpenFlags, OptionalExtension, Row, params};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::evidence::{Error, Letter, Letters, Partition, Piece, Topic};
use crate::record::{Batch, Header};
use crate::topic::{Boundary, GenerationContent, Resolution};

pub use table::EmbeddedTable;

/// A batch holds about so many records.
const BATCH_RECORDS: usize = 4_000;
const BATCH_BYTES: usize = 4 << 20;
/// How long to wait for a program that writes without sharing.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// A connection that cannot change anything.
pub fn connect(path: &Path) -> Result<Connection, Error> {
    let open = || {
        let connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
        connection.busy_timeout(BUSY_TIMEOUT)?;
        connection.pragma_update(None, "query_only", true)?;
        Ok(connection)
    };
    open().map_err(|error: rusqlite::Error| Error::of(&format!("open {}", path.display()), error))
}

pub struct EmbeddedTopic {
    connection: Connection,
    path: PathBuf,
    name: String,
    topic: i64,
    /// Row of each partition, by its number.
    partitions: HashMap<u32, i64>,
}

/// What became of a dead letter by wish, or becomes of it now.
#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", tag = "how")]
enum Receipt {
    Replaying { generation: u64 },
    Replayed { generation: u64 },
    Discarded,
}

impl EmbeddedTopic {
    /// `None`: the store has no such topic.
    pub fn open(store: &Path, name: &str) -> Result<Option<EmbeddedTopic>, Error> {
        let connection = connect(store)?;
        let topic = connection.query_row("SELECT id FROM topics WHERE name = ?1", [name], |row| row.get(0)).optional();
        let Some(topic) = topic.map_err(|error| Error::of("read the topics", error))? else { return Ok(None) };
        let partitions = HashMap::new();
        Ok(Some(EmbeddedTopic { connection, path: store.to_owned(), name: name.to_owned(), topic, partitions }))
    }

    /// Runs a read in one snapshot.
    fn read<T>(&self, what: &str, read: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T, Error> {
        let snapshot = || {
            let transaction = self.connection.unchecked_transaction()?;
            let value = read(&transaction)?;
            transaction.commit()?;
            Ok(value)
        };
        snapshot().map_err(|error: rusqlite::Error| Error::of(&format!("read {what} of topic `{}`", self.name), error))
    }

    fn partition_row(&self, partition: u32) -> Result<i64, Error> {
        self.partitions
            .get(&partition)
            .copied()
            .ok_or_else(|| Error(format!("topic `{}` has no partition {partition}", self.name)))
    }
}

impl Topic for EmbeddedTopic {
    fn is_gapless(&self) -> bool {
        true
    }

    fn first(&mut self, partition: u32) -> Result<i64, Error> {
        let row = self.partition_row(partition)?;
        self.read("the start of a partition", |connection| {
            connection.query_row("SELECT first FROM partitions WHERE id = ?1", [row], |row| row.get(0))
        })
    }

    fn partitions(&mut self) -> Result<Vec<Partition>, Error> {
        let topic = self.topic;
        let rows = self.read("the positions", |connection| {
            let mut statement = connection.prepare_cached(
                "SELECT id, partition, first, next, position FROM partitions WHERE topic = ?1 ORDER BY partition",
            )?;
            let mut boundaries = connection
                .prepare_cached("SELECT first, generation, time FROM boundaries WHERE partition = ?1 ORDER BY first")?;
            let rows = statement.query_map([topic], |row| {
                let id: i64 = row.get(0)?;
                let boundaries = boundaries
                    .query_map([id], |row| Ok(Boundary { first: row.get(0)?, generation: row.get(1)?, time: row.get(2)? }))?;
                let position: Option<String> = row.get(4)?;
                let partition = Partition {
                    number: row.get(1)?,
                    first: row.get(2)?,
                    end: row.get(3)?,
                    position: None,
                    boundaries: boundaries.collect::<Result<_, _>>()?,
                };
                Ok((id, position, partition))
            })?;
            rows.collect::<rusqlite::Result<Vec<_>>>()
        })?;
        let mut partitions = Vec::with_capacity(rows.len());
        for (id, position, mut partition) in rows {
            self.partitions.insert(partition.number, id);
            partition.position = position.map(|text| parse(&text, "a position")).transpose()?;
            partitions.push(partition);
        }
        Ok(partitions)
    }

    fn records(&mut self, partition: u32, range: Range<i64>) -> Result<Piece, Error> {
        let row = self.partition_row(partition)?;
        let mut batch = Batch::new(partition);
        let mut damaged = None;
        self.read("records", |connection| {
            let select = "SELECT base, count, body FROM chunks WHERE partition = ?1 AND base < ?3
                AND base >= coalesce((SELECT max(base) FROM chunks WHERE partition = ?1 AND base <= ?2), ?2) ORDER BY base";
            let mut statement = connection.prepare_cached(select)?;
            let mut chunks = statement.query(params![row, range.start, range.end])?;
            while let Some(chunk) = chunks.next()? {
                let (base, count): (i64, i64) = (chunk.get(0)?, chunk.get(1)?);
                if log::decode(chunk.get_ref(2)?.as_blob()?, base, count, &range, &mut batch).is_none() {
                    batch.split_off(base);
                    damaged = Some(base.max(range.start)..(base + count).min(range.end));
                    break;
                }
                if batch.rows() >= BATCH_RECORDS || batch.bytes() >= BATCH_BYTES {
                    break;
                }
            }
            Ok(())
        })?;
        Ok(Piece { batch, damaged })
    }

    fn generation(&mut self, number: u64) -> Result<Option<GenerationContent>, Error> {
        let topic = self.topic;
        let content: Option<String> = self.read("a generation", |connection| {
            let select = "SELECT content FROM generations WHERE topic = ?1 AND number = ?2";
            connection.prepare_cached(select)?.query_row(params![topic, number], |row| row.get(0)).optional()
        })?;
        content.map(|text| parse(&text, "a generation")).transpose()
    }

    fn component(&mut self, digest: &str) -> Result<Option<Vec<u8>>, Error> {
        component(&self.connection, &self.path, digest)
    }

    fn letters(&mut self, partition: u32, range: Range<i64>) -> Result<Letters, Error> {
        let topic = self.topic;
        let (kept, resolved) = self.read("dead letters", |connection| {
            let select = r#"SELECT "offset", "key", value, headers, timestamp, reason, stage, digest, generation, write_time
                FROM dead_letters WHERE topic = ?1 AND partition = ?2 AND "offset" >= ?3 AND "offset" < ?4"#;
            let mut statement = connection.prepare_cached(select)?;
            let kept = statement.query_map(params![topic, partition, range.start, range.end], letter)?;
            let kept: Vec<_> = kept.collect::<Result<_, _>>()?;
            let select = r#"SELECT "offset", resolution FROM receipts
                WHERE topic = ?1 AND partition = ?2 AND "offset" >= ?3 AND "offset" < ?4"#;
            let mut statement = connection.prepare_cached(select)?;
            let read = |row: &Row<'_>| Ok((row.get::<_, i64>(0)?, row.get::<_, String>(1)?));
            let resolved = statement.query_map(params![topic, partition, range.start, range.end], read)?;
            Ok((kept, resolved.collect::<Result<Vec<_>, _>>()?))
        })?;
        let mut letters = Letters::default();
        for (offset, mut letter, encoded) in kept {
            letter.headers = headers(&encoded)?;
            letters.kept.insert(offset, letter);
        }
        for (offset, resolution) in resolved {
            match parse(&resolution, "a receipt")? {
                Receipt::Replaying { generation } => drop(letters.replaying.insert(offset, generation)),
                Receipt::Replayed { generation } => drop(letters.resolved.insert(offset, Resolution::Replayed { generation })),
                Receipt::Discarded => drop(letters.resolved.insert(offset, Resolution::Discarded)),
            }
        }
        Ok(letters)
    }

    fn strays(&mut self, ranges: &BTreeMap<u32, Range<i64>>) -> Result<Vec<(u32, i64)>, Error> {
        let topic = self.topic;
        self.read("dead letters", |connection| {
            let mut strays = Vec::new();
            let select = r#"SELECT partition, "offset" FROM dead_letters WHERE topic = ?1 ORDER BY 1, 2"#;
            let mut statement = connection.prepare_cached(select)?;
            let mut rows = statement.query([topic])?;
            while let Some(row) = rows.next()? {
                let (partition, offset) = (row.get(0)?, row.get(1)?);
                if !ranges.get(&partition).is_some_and(|range| range.contains(&offset)) {
                    strays.push((partition, offset));
                }
            }
            Ok(strays)
        })
    }
}

/// A component that the store keeps.
pub fn component(connection: &Connection, path: &Path, digest: &str) -> Result<Option<Vec<u8>>, Error> {
    let select = "SELECT bytes FROM components WHERE digest = ?1";
    let read = connection.query_row(select, [digest], |row| row.get(0)).optional();
    read.map_err(|error| Error::of(&format!("read a component of {}", path.display()), error))
}

/// With its headers as they are written.
fn letter(row: &Row<'_>) -> rusqlite::Result<(i64, Letter, String)> {
    let letter = Letter {
        key: row.get(1)?,
        value: row.get(2)?,
        headers: Vec::new(),
        timestamp: row.get(4)?,
        reason: row.get(5)?,
        stage: row.get(6)?,
        digest: row.get(7)?,
        generation: row.get(8)?,
        write_time: row.get(9)?,
    };
    Ok((row.get(0)?, letter, row.get(3)?))
}

fn headers(text: &str) -> Result<Vec<Header>, Error> {
    let encoded: Vec<(String, Option<String>)> = parse(text, "the headers of a dead letter")?;
    let decode = |(name, value): (String, Option<String>)| Ok((name, value.map(|value| STANDARD.decode(value)).transpose()?));
    let headers: Result<_, base64::DecodeError> = encoded.into_iter().map(decode).collect();
    headers.map_err(|error| Error::of("read the headers of a dead letter", error))
}

fn parse<T: DeserializeOwned>(text: &str, what: &str) -> Result<T, Error> {
    serde_json::from_str(text).map_err(|error| Error::of(&format!("read {what}"), error))
}
