//! The log of a topic: chunks of records per partition, with offsets from a saved counter.
//!
//! These are plain functions over a connection, to be called within a write or a read of the store.

mod chunk;
mod partitioner;

use rusqlite::{Connection, OptionalExtension, params};

use super::{Error, components};
use crate::config::plan::Retention;
use crate::record::{Batch, Message};

pub use chunk::{CHUNK_BYTES, Chunk};
pub use partitioner::partition_of;

/// Chunks removed in one go: so long at most others wait for the writer.
const CHUNKS_TRIMMED_MAX: usize = 64;

/// A topic of the store and its partitions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    pub topic: i64,
    /// Row of each partition in `partitions`, by partition number.
    pub partitions: Vec<i64>,
}

/// Where one partition stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    pub first: i64,
    pub next: i64,
    pub bytes: i64,
    pub settled: i64,
}

/// The next number of a counter, saved, from 1.
pub fn count_up(connection: &Connection, name: &str) -> Result<i64, Error> {
    let next = "INSERT INTO counters (name, last) VALUES (?1, 1) ON CONFLICT (name) DO UPDATE SET last = last + 1 RETURNING last";
    Ok(connection.prepare_cached(next)?.query_row([name], |row| row.get(0))?)
}

/// Opens the topic, or makes it with so many partitions where absent. `Ok(Err(has))`: it has another number of them.
pub fn open(connection: &Connection, name: &str, partitions: u32) -> Result<Result<Log, u32>, Error> {
    let select = "SELECT id, partitions FROM topics WHERE name = ?1";
    let known: Option<(i64, u32)> = connection.query_row(select, [name], |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
    let topic = match known {
        Some((_, has)) if has != partitions => return Ok(Err(has)),
        Some((id, _)) => id,
        None => {
            let insert = "INSERT INTO topics (name, partitions) VALUES (?1, ?2)";
            connection.execute(insert, params![name, partitions])?;
            let id = connection.last_insert_rowid();
            for partition in 0..partitions {
                connection.execute("INSERT INTO partitions (topic, partition) VALUES (?1, ?2)", params![id, partition])?;
            }
            id
        }
    };
    let mut statement = connection.prepare_cached("SELECT id FROM partitions WHERE topic = ?1 ORDER BY partition")?;
    let partitions = statement.query_map([topic], |row| row.get(0))?.collect::<Result<_, _>>()?;
    Ok(Ok(Log { topic, partitions }))
}

/// Distributes a page over the partitions: by key, and what has none to `keyless`.
pub fn chunks_of<'a>(page: impl IntoIterator<Item = &'a Message>, partitions: u32, keyless: u32) -> Vec<(u32, Chunk)> {
    let mut open: Vec<Chunk> = (0..partitions).map(|_| Chunk::default()).collect();
    let mut done = Vec::new();
    for message in page {
        let partition = message.key.as_deref().map_or(keyless, |key| partition_of(key, partitions));
        let chunk = &mut open[partition as usize];
        chunk.push(message);
        if chunk.is_full() {
            done.push((partition, std::mem::take(chunk)));
        }
    }
    done.extend((0..).zip(open).filter(|(_, chunk)| chunk.count > 0));
    done
}

/// Appends a chunk and returns the offset of its first record.
pub fn append(connection: &Connection, partition: i64, chunk: &Chunk) -> Result<i64, Error> {
    let take = "UPDATE partitions SET next = next + ?2, bytes = bytes + ?3 WHERE id = ?1 RETURNING next - ?2";
    let bytes = chunk.body.len() as i64;
    let base: i64 = connection.prepare_cached(take)?.query_row(params![partition, chunk.count, bytes], |row| row.get(0))?;
    let insert = "INSERT INTO chunks (partition, base, count, bytes, newest, body) VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
    connection.prepare_cached(insert)?.execute(params![partition, base, chunk.count, bytes, chunk.newest, chunk.body])?;
    Ok(base)
}

pub fn extent(connection: &Connection, partition: i64) -> Result<Extent, Error> {
    let select = "SELECT first, next, bytes, settled FROM partitions WHERE id = ?1";
    let extent = connection.prepare_cached(select)?.query_row([partition], |row| {
        Ok(Extent { first: row.get(0)?, next: row.get(1)?, bytes: row.get(2)?, settled: row.get(3)? })
    })?;
    Ok(extent)
}

/// Reads records from offset `from` on into a batch, at most so many records and bytes; a record that is larger comes alone.
pub fn read(
    connection: &Connection,
    partition_row: i64,
    partition: u32,
    from: i64,
    records_max: usize,
    bytes_max: usize,
) -> Result<Batch, Error> {
    // The chunk that holds `from` is the last one that starts at or below it.
    let select = "SELECT base, count, body FROM chunks WHERE partition = ?1
        AND base >= (SELECT max(base) FROM chunks WHERE partition = ?1 AND base <= ?2) ORDER BY base";
    let mut batch = Batch::with_capacity(partition, 0, 0);
    let mut statement = connection.prepare_cached(select)?;
    let mut rows = statement.query(params![partition_row, from])?;
    let fits =
        |batch: &Batch, bytes: usize| batch.is_empty() || (batch.rows() < records_max && batch.bytes() + bytes <= bytes_max);
    while let Some(row) = rows.next()? {
        let (base, count): (i64, u32) = (row.get(0)?, row.get(1)?);
        let body = row.get_ref(2)?.as_blob().map_err(|error| Error::Sqlite(format!("read a chunk of the log: {error}")))?;
        if chunk::decode(body, base, count, from, &mut batch, fits)? < base + i64::from(count) || batch.rows() >= records_max {
            break;
        }
    }
    Ok(batch)
}

/// What becomes of records that no position has passed, when they are old or too many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unread {
    Stays,
    /// Unless there is a position, nobody waits for them.
    Goes,
}

/// What [`trim`] left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trimmed {
    /// Bytes that the topic holds.
    pub held: u64,
    /// It removed as much as it may in one go: there may be more.
    pub more: bool,
}

/// Removes chunks that may go and that retention no longer keeps, a bounded number at a time; `room` more bytes are wanted.
pub fn trim(
    connection: &Connection,
    log: &Log,
    (retention, unread): (&Retention, Unread),
    now_ms: i64,
    room: u64,
) -> Result<Trimmed, Error> {
    let held: i64 = connection
        .prepare_cached("SELECT total(bytes) FROM partitions WHERE topic = ?1")?
        .query_row([log.topic], |row| Ok(row.get::<_, f64>(0)? as i64))?;
    let mut held = held.max(0) as u64;
    let oldest_ms = retention.age.map(|age| now_ms.saturating_sub(i64::try_from(age.as_millis()).unwrap_or(i64::MAX)));
    let mut removed = 0;
    // Always the partition whose first chunk is oldest, so that all reach back equally far.
    while removed < CHUNKS_TRIMMED_MAX {
        let too_many = retention.bytes.is_some_and(|max| held + room > max);
        let mut oldest: Option<(i64, i64, i64, i64, i64)> = None;
        for partition in &log.partitions {
            let first = first_chunk(connection, *partition)?;
            if let Some((id, end, bytes, newest)) = first
                && (end <= extent(connection, *partition)?.settled
                    || unread == Unread::Goes && !is_delivered(connection, *partition)?)
                && oldest.is_none_or(|(_, _, _, _, other)| newest < other)
            {
                oldest = Some((*partition, id, end, bytes, newest));
            }
        }
        let Some((partition, id, end, bytes, newest)) = oldest else { break };
        if !too_many && oldest_ms.is_none_or(|oldest_ms| newest >= oldest_ms) {
            break;
        }
        connection.prepare_cached("DELETE FROM chunks WHERE id = ?1")?.execute([id])?;
        let update = "UPDATE partitions SET first = ?2, bytes = bytes - ?3 WHERE id = ?1";
        connection.prepare_cached(update)?.execute(params![partition, end, bytes])?;
        // The boundary in force at `first` stays.
        let passed = "DELETE FROM boundaries WHERE partition = ?1
            AND first < (SELECT max(first) FROM boundaries WHERE partition = ?1 AND first <= ?2)";
        connection.prepare_cached(passed)?.execute(params![partition, end])?;
        held = held.saturating_sub(bytes.max(0) as u64);
        removed += 1;
    }
    if removed > 0 {
        // Of records that are gone: nobody decides or verifies them again. A replay that has begun is finished first.
        let receipts = "DELETE FROM receipts WHERE topic = ?1 AND partition = ?2
            AND \"offset\" < (SELECT first FROM partitions WHERE id = ?3) AND resolution ->> '$.how' <> 'replaying'";
        for (number, partition) in log.partitions.iter().enumerate() {
            connection.prepare_cached(receipts)?.execute(params![log.topic, number as i64, partition])?;
        }
        components::forget_unused(connection, log.topic)?;
    }
    Ok(Trimmed { held, more: removed == CHUNKS_TRIMMED_MAX })
}

/// Whether somebody has a position in it.
fn is_delivered(connection: &Connection, partition: i64) -> Result<bool, Error> {
    let select = "SELECT position IS NOT NULL FROM partitions WHERE id = ?1";
    Ok(connection.prepare_cached(select)?.query_row([partition], |row| row.get(0))?)
}

/// Row, end, bytes and newest timestamp of the first chunk.
fn first_chunk(connection: &Connection, partition: i64) -> Result<Option<(i64, i64, i64, i64)>, Error> {
    let select = "SELECT id, base + count, bytes, newest FROM chunks WHERE partition = ?1 ORDER BY base LIMIT 1";
    let read = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?));
    Ok(connection.prepare_cached(select)?.query_row([partition], read).optional()?)
}
