//! Upserts and deletes, bound straight from the column buffers.

use std::sync::atomic::{AtomicI64, Ordering};

use rusqlite::types::{Null, ToSqlOutput, ValueRef};
use rusqlite::{Connection, Statement, ToSql};

use super::Table;
use super::table::{DELETED, ROW, TIME, quoted, stored_name};
use crate::config::plan::SinkColumn;
use crate::sink::{BoundColumn, BoundValues, Rows, json};
use crate::store::Error;

/// How long a deleted key is remembered, µs: ten days, as Cassandra's `gc_grace_seconds`.
const HIDDEN_MICROS: i64 = 10 * 86_400 * 1_000_000;
const PURGE_EVERY_MS: i64 = 60_000;
const PURGED_AT_ONCE: i64 = 1_000;

impl Table {
    /// `stored` are all columns of the table: those that are declared no longer become null.
    pub(super) fn new(table: &str, columns: &[SinkColumn], stored: &[SinkColumn]) -> Table {
        let name = stored_name(table);
        let list = |columns: Vec<&SinkColumn>| columns.iter().map(|column| quoted(&column.column)).collect::<Vec<_>>().join(", ");
        let key: Vec<&SinkColumn> = columns.iter().filter(|column| column.key.is_some()).collect();
        let is_key = |column: &SinkColumn| key.iter().any(|key| key.column.eq_ignore_ascii_case(&column.column));
        let others: Vec<&SinkColumn> = stored.iter().filter(|column| !is_key(column)).collect();
        let set = |value: &dyn Fn(&SinkColumn) -> String| -> String {
            others.iter().map(|column| format!(", {} = {}", quoted(&column.column), value(column))).collect()
        };
        let on_conflict = |deleted: u8, set: String| {
            format!(
                "ON CONFLICT ({}) DO UPDATE SET {TIME} = excluded.{TIME}, {DELETED} = {deleted}{set} WHERE excluded.{TIME} >= {TIME}",
                list(key.clone())
            )
        };
        let places = |count: usize| ", ?".repeat(count);
        Table {
            columns: columns.to_vec(),
            upsert: format!(
                "INSERT INTO {name} ({DELETED}, {TIME}, {}) VALUES (0, ?{}) {}",
                list(columns.iter().collect()),
                places(columns.len()),
                on_conflict(0, set(&|column| format!("excluded.{}", quoted(&column.column)))),
            ),
            delete: format!(
                "INSERT INTO {name} ({DELETED}, {TIME}, {}) VALUES (1, ?{}) {}",
                list(key.clone()),
                places(key.len()),
                on_conflict(1, set(&|_| "NULL".to_owned())),
            ),
            purge: format!(
                "DELETE FROM {name} WHERE {ROW} IN (SELECT {ROW} FROM {name} WHERE {DELETED} AND {TIME} < ?1 ORDER BY {TIME} LIMIT ?2)"
            ),
            purged_ms: AtomicI64::new(0),
        }
    }

    /// Within the transaction that saves the position, or one of its own.
    pub(super) fn write(&self, connection: &Connection, rows: &Rows) -> Result<(), Error> {
        let mut upsert = connection.prepare_cached(&self.upsert)?;
        let mut deleted = rows.deleted.iter().copied().peekable();
        for row in 0..rows.len() {
            if deleted.next_if_eq(&(row as u32)).is_some() {
                self.delete(connection, rows, row)?;
                continue;
            }
            upsert.raw_bind_parameter(1, rows.write_times[row])?;
            for (at, column) in (2..).zip(&rows.columns) {
                bind(&mut upsert, at, column, row)?;
            }
            upsert.raw_execute()?;
        }
        self.purge(connection)
    }

    fn delete(&self, connection: &Connection, rows: &Rows, row: usize) -> Result<(), Error> {
        let mut delete = connection.prepare_cached(&self.delete)?;
        delete.raw_bind_parameter(1, rows.write_times[row])?;
        let key = self.columns.iter().zip(&rows.columns).filter(|(column, _)| column.key.is_some());
        for (at, (_, column)) in (2..).zip(key) {
            bind(&mut delete, at, column, row)?;
        }
        delete.raw_execute()?;
        Ok(())
    }

    /// Forgets deleted keys after ten days.
    fn purge(&self, connection: &Connection) -> Result<(), Error> {
        let now = jiff::Timestamp::now();
        if now.as_millisecond() - self.purged_ms.load(Ordering::Relaxed) < PURGE_EVERY_MS {
            return Ok(());
        }
        let removed = connection.prepare_cached(&self.purge)?.execute((now.as_microsecond() - HIDDEN_MICROS, PURGED_AT_ONCE))?;
        if (removed as i64) < PURGED_AT_ONCE {
            self.purged_ms.store(now.as_millisecond(), Ordering::Relaxed);
        }
        Ok(())
    }
}

/// A value that is bound as it lies in its buffer.
struct Lent<'a>(ValueRef<'a>);

impl ToSql for Lent<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(self.0))
    }
}

fn bind(statement: &mut Statement<'_>, at: usize, column: &BoundColumn, row: usize) -> rusqlite::Result<()> {
    if !column.nulls.is_empty() && column.nulls.binary_search(&(row as u32)).is_ok() {
        return statement.raw_bind_parameter(at, Null);
    }
    match &column.values {
        BoundValues::Text(buffer) => statement.raw_bind_parameter(at, Lent(ValueRef::Text(buffer.get(row)))),
        BoundValues::Blob(buffer) => statement.raw_bind_parameter(at, Lent(ValueRef::Blob(buffer.get(row)))),
        BoundValues::Uuid(values) => statement.raw_bind_parameter(at, Lent(ValueRef::Blob(&values[row]))),
        BoundValues::Int(values) => statement.raw_bind_parameter(at, values[row]),
        BoundValues::BigInt(values) | BoundValues::Timestamp(values) => statement.raw_bind_parameter(at, values[row]),
        BoundValues::Float(values) => statement.raw_bind_parameter(at, f64::from(values[row])),
        BoundValues::Double(values) => statement.raw_bind_parameter(at, values[row]),
        BoundValues::Boolean(values) => statement.raw_bind_parameter(at, values[row]),
        BoundValues::Date(values) => match json::date(values[row]) {
            Some(date) => {
                let mut text = [0; 16];
                statement.raw_bind_parameter(at, Lent(ValueRef::Text(write_date(date, &mut text))))
            }
            None => statement.raw_bind_parameter(at, Null),
        },
    }
}

/// ISO 8601: `2026-11-24`; a year before 0 as `-000042-01-31`.
fn write_date(date: jiff::civil::Date, text: &mut [u8; 16]) -> &[u8] {
    use std::io::Write;
    let mut rest = &mut text[..];
    let _ = write!(rest, "{date}");
    let left = rest.len();
    &text[..16 - left]
}
