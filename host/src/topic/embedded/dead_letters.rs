//! Dead letters by place, and the receipts that a replay or discard leaves (delivery.md §7).

use std::ops::Range;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::{Embedded, now_ms};
use crate::record::{Header, Place};
use crate::store;
use crate::topic::{DeadLetter, Error, REASONS_MAX, ReasonCount, Resolution};

const COLUMNS: &str =
    "partition, \"offset\", \"key\", value, headers, timestamp, reason, stage, digest, generation, write_time, host";

/// Writes those of a save; another one in the settled range was accepted now, and goes.
pub(super) fn settle(
    connection: &Connection,
    topic: i64,
    partition: u32,
    settled: &Range<i64>,
    letters: &[DeadLetter],
) -> Result<(), store::Error> {
    if !settled.is_empty() {
        let accepted = "DELETE FROM dead_letters WHERE topic = ?1 AND partition = ?2 AND \"offset\" >= ?3 AND \"offset\" < ?4";
        connection.prepare_cached(accepted)?.execute(params![topic, partition, settled.start, settled.end])?;
    }
    let insert =
        format!("INSERT OR REPLACE INTO dead_letters (topic, {COLUMNS}) VALUES (?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11,?12,?13)");
    for letter in letters {
        let DeadLetter { place, key, value, headers, timestamp, reason, stage, digest, generation, write_time, host } = letter;
        let encoded: Vec<_> =
            headers.iter().map(|(name, value)| (name, value.as_ref().map(|value| STANDARD.encode(value)))).collect();
        let headers = serde_json::to_string(&encoded).map_err(|error| store::Error::Sqlite(format!("write headers: {error}")))?;
        connection.prepare_cached(&insert)?.execute(params![
            topic,
            place.partition,
            place.offset,
            key,
            value,
            headers,
            timestamp,
            reason,
            stage,
            digest,
            generation,
            write_time,
            host
        ])?;
    }
    Ok(())
}

pub(super) async fn list(topic: &Embedded, after: Option<Place>, limit: usize) -> Result<Vec<DeadLetter>, Error> {
    let id = topic.log.topic;
    let after = after.unwrap_or(Place { partition: 0, offset: -1 });
    let read = move |connection: &Connection| {
        let select = format!(
            "SELECT {COLUMNS} FROM dead_letters WHERE topic = ?1 AND (partition, \"offset\") > (?2, ?3)
             ORDER BY partition, \"offset\" LIMIT ?4"
        );
        let mut statement = connection.prepare_cached(&select)?;
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let mut rows = statement.query(params![id, after.partition, after.offset, limit])?;
        let mut letters = Vec::new();
        while let Some(row) = rows.next()? {
            letters.push(letter(row)?);
        }
        Ok(letters)
    };
    Ok(topic.store.read(read).await?)
}

pub(super) async fn get(topic: &Embedded, place: Place) -> Result<Option<DeadLetter>, Error> {
    let id = topic.log.topic;
    let read = move |connection: &Connection| {
        let select = format!("SELECT {COLUMNS} FROM dead_letters WHERE topic = ?1 AND partition = ?2 AND \"offset\" = ?3");
        let mut statement = connection.prepare_cached(&select)?;
        let mut rows = statement.query(params![id, place.partition, place.offset])?;
        rows.next()?.map(letter).transpose()
    };
    Ok(topic.store.read(read).await?)
}

pub(super) async fn reasons(topic: &Embedded) -> Result<Vec<ReasonCount>, Error> {
    let id = topic.log.topic;
    let read = move |connection: &Connection| {
        // Partition and offset in one number, the partition above 2^44 offsets.
        let select = "SELECT stage, reason, count(*), min(generation), max(generation), min((partition << 44) + \"offset\"),
            max(write_time) FROM dead_letters WHERE topic = ?1 GROUP BY stage, reason ORDER BY count(*) DESC LIMIT ?2";
        let mut statement = connection.prepare_cached(select)?;
        let reasons = statement.query_map(params![id, REASONS_MAX as i64], |row| {
            let first: i64 = row.get(5)?;
            Ok(ReasonCount {
                stage: row.get(0)?,
                reason: row.get(1)?,
                count: row.get(2)?,
                generations: [row.get(3)?, row.get(4)?],
                first: Place { partition: (first >> 44) as u32, offset: first & ((1 << 44) - 1) },
                last_write_time: row.get(6)?,
            })
        })?;
        Ok(reasons.collect::<Result<_, _>>()?)
    };
    Ok(topic.store.read(read).await?)
}

pub(super) async fn count(topic: &Embedded) -> Result<u64, Error> {
    let id = topic.log.topic;
    let select = "SELECT count(*) FROM dead_letters WHERE topic = ?1";
    Ok(topic.store.read(move |connection| Ok(connection.query_row(select, [id], |row| row.get(0))?)).await?)
}

pub(super) async fn resolve(topic: &Embedded, place: Place, how: Resolution, with: Vec<store::Write>) -> Result<bool, Error> {
    let id = topic.log.topic;
    let resolution = serde_json::to_string(&how).map_err(|error| Error::Fatal(format!("write a receipt: {error}")))?;
    let write = move |connection: &Connection| {
        let known = "SELECT 1 FROM dead_letters WHERE topic = ?1 AND partition = ?2 AND \"offset\" = ?3";
        let key = params![id, place.partition, place.offset];
        if connection.query_row(known, key, |_| Ok(())).optional()?.is_none() {
            return Ok(false);
        }
        for write in &with {
            write(connection)?;
        }
        let delete = "DELETE FROM dead_letters WHERE topic = ?1 AND partition = ?2 AND \"offset\" = ?3";
        connection.execute(delete, key)?;
        let receipt =
            "INSERT OR REPLACE INTO receipts (topic, partition, \"offset\", resolution, at_ms) VALUES (?1, ?2, ?3, ?4, ?5)";
        connection.execute(receipt, params![id, place.partition, place.offset, resolution, now_ms()])?;
        Ok(true)
    };
    Ok(topic.store.write_returning(write).await?)
}

/// A receipt of a replay that has begun and not ended.
const REPLAYING: &str = "replaying";

pub(super) async fn replay_generation(topic: &Embedded, place: Place) -> Result<Option<u64>, Error> {
    let id = topic.log.topic;
    let select = "SELECT resolution ->> '$.generation' FROM receipts
        WHERE topic = ?1 AND partition = ?2 AND \"offset\" = ?3 AND resolution ->> '$.how' = ?4";
    let read = move |connection: &Connection| {
        Ok(connection.query_row(select, params![id, place.partition, place.offset, REPLAYING], |row| row.get(0)).optional()?)
    };
    Ok(topic.store.read(read).await?)
}

pub(super) async fn begin_replay(topic: &Embedded, place: Place, generation: u64) -> Result<(), Error> {
    let id = topic.log.topic;
    let resolution = serde_json::json!({ "how": REPLAYING, "generation": generation }).to_string();
    let insert = "INSERT OR REPLACE INTO receipts (topic, partition, \"offset\", resolution, at_ms) VALUES (?1, ?2, ?3, ?4, ?5)";
    let write = move |connection: &Connection| {
        Ok(connection.execute(insert, params![id, place.partition, place.offset, resolution, now_ms()])?)
    };
    topic.store.write_returning(write).await?;
    Ok(())
}

fn letter(row: &Row<'_>) -> Result<DeadLetter, store::Error> {
    let encoded: Vec<(String, Option<String>)> = super::parse(&row.get::<_, String>(4)?, "headers")?;
    let headers: Result<Vec<Header>, _> =
        encoded.into_iter().map(|(name, value)| Ok((name, value.map(|value| STANDARD.decode(value)).transpose()?))).collect();
    Ok(DeadLetter {
        place: Place { partition: row.get(0)?, offset: row.get(1)? },
        key: row.get(2)?,
        value: row.get(3)?,
        headers: headers.map_err(|error: base64::DecodeError| store::Error::Sqlite(format!("read headers: {error}")))?,
        timestamp: row.get(5)?,
        reason: row.get(6)?,
        stage: row.get(7)?,
        digest: row.get(8)?,
        generation: row.get(9)?,
        write_time: row.get(10)?,
        host: row.get(11)?,
    })
}
