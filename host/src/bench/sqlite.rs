//! The baseline of the embedded table: the same rows, computed natively, into a table of the same columns and key with the same
//! durability, and nothing else. One thread computes while the other inserts, as the host does.

use std::path::Path;
use std::sync::mpsc;
use std::time::Instant;

use rusqlite::{Connection, Statement};
use serde::Serialize;

use super::pipeline::COLUMNS;
use super::{native, process_time};
use crate::record::{Batch, Columns, RecordRef, Values};
use crate::source::generator::Seed;

/// Records of one computed batch, and of one transaction: as many as the host saves at once at most.
const BATCH_RECORDS: u64 = 2_000;
const BATCHES_PER_COMMIT: usize = 8;

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Plain {
    pub records: u64,
    pub seconds: f64,
    pub records_per_second: f64,
    /// Without what it costs to make the payloads up.
    pub cpu_seconds: f64,
}

/// Computes and inserts so many generated users; making them up is not counted.
pub fn measure(path: &Path, records: u64) -> Result<Plain, String> {
    let connection = Connection::open(path).map_err(|error| error.to_string())?;
    let insert = open(&connection).map_err(|error| error.to_string())?;
    let seed = Seed::new("bench");
    let (mut seconds, mut cpu_seconds) = (0.0, 0.0);
    let share = BATCH_RECORDS * BATCHES_PER_COMMIT as u64 * 4;
    for first in (0..records).step_by(share as usize) {
        let end = records.min(first + share);
        let batches: Vec<Batch> =
            (first..end).step_by(BATCH_RECORDS as usize).map(|at| users(&seed, at..end.min(at + BATCH_RECORDS))).collect();
        let (began, cpu) = (Instant::now(), process_time());
        let (sender, computed) = mpsc::sync_channel::<Result<Columns, String>>(2);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for batch in &batches {
                    if sender.send(native::to_columns(batch)).is_err() {
                        break;
                    }
                }
                drop(sender);
            });
            write(&connection, &insert, computed)
        })?;
        seconds += began.elapsed().as_secs_f64();
        cpu_seconds += process_time() - cpu;
    }
    Ok(Plain { records, seconds, records_per_second: records as f64 / seconds, cpu_seconds })
}

fn open(connection: &Connection) -> rusqlite::Result<String> {
    let kind = |cql: &str| if cql == "text" { "TEXT" } else { "INTEGER" };
    let columns: String = COLUMNS.iter().map(|(name, cql)| format!(", {name} {}", kind(cql))).collect();
    connection.execute_batch(&format!(
        "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;
         CREATE TABLE users (time INTEGER NOT NULL, id BLOB NOT NULL UNIQUE{columns});"
    ))?;
    let names: String = COLUMNS.iter().map(|(name, _)| format!(", {name}")).collect();
    let set: String = COLUMNS.iter().map(|(name, _)| format!(", {name} = excluded.{name}")).collect();
    Ok(format!(
        "INSERT INTO users (time, id{names}) VALUES (?, ?{}) ON CONFLICT (id) DO UPDATE SET time = excluded.time{set}
         WHERE excluded.time >= time",
        ", ?".repeat(COLUMNS.len())
    ))
}

fn users(seed: &Seed, numbers: std::ops::Range<u64>) -> Batch {
    let mut batch = Batch::new(0);
    let mut payload = Vec::new();
    for number in numbers {
        payload.clear();
        seed.write_user(number, &mut payload);
        batch.push(RecordRef {
            offset: number as i64,
            timestamp: 1_750_000_000_000,
            key: None,
            value: Some(&payload),
            headers: &[],
        });
    }
    batch
}

fn write(connection: &Connection, insert: &str, computed: mpsc::Receiver<Result<Columns, String>>) -> Result<(), String> {
    let cannot = |error: rusqlite::Error| error.to_string();
    let mut open = 0;
    let mut time = 0;
    for columns in computed {
        let columns = columns?;
        if open == 0 {
            connection.execute_batch("BEGIN").map_err(cannot)?;
        }
        let mut insert = connection.prepare_cached(insert).map_err(cannot)?;
        let rows = columns.get("id").map_or(0, |id| id.rows());
        for row in 0..rows {
            time += 1;
            insert.raw_bind_parameter(1, time).map_err(cannot)?;
            for (at, name) in (2..).zip(std::iter::once("id").chain(COLUMNS.iter().map(|(name, _)| *name))) {
                bind(&mut insert, at, &columns, name, row)?;
            }
            insert.raw_execute().map_err(cannot)?;
        }
        open = (open + 1) % BATCHES_PER_COMMIT;
        if open == 0 {
            connection.execute_batch("COMMIT").map_err(cannot)?;
        }
    }
    if open > 0 {
        connection.execute_batch("COMMIT").map_err(cannot)?;
    }
    Ok(())
}

fn bind(insert: &mut Statement<'_>, at: usize, columns: &Columns, name: &str, row: usize) -> Result<(), String> {
    let column = columns.get(name).ok_or_else(|| format!("the native program makes no `{name}`"))?;
    let bound = match &column.values {
        _ if column.is_null(row) => insert.raw_bind_parameter(at, rusqlite::types::Null),
        Values::Text(buffer) if name == "id" => {
            let text = std::str::from_utf8(buffer.get(row)).map_err(|error| error.to_string())?;
            let id = uuid::Uuid::parse_str(text).map_err(|error| error.to_string())?;
            insert.raw_bind_parameter(at, id.as_bytes().as_slice())
        }
        Values::Text(buffer) => {
            let text = std::str::from_utf8(buffer.get(row)).map_err(|error| error.to_string())?;
            insert.raw_bind_parameter(at, text)
        }
        Values::Ints(values) | Values::Timestamps(values) => insert.raw_bind_parameter(at, values[row]),
        _ => return Err(format!("the native program makes `{name}` of another kind")),
    };
    bound.map_err(|error| error.to_string())
}
