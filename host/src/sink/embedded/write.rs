//! Upserts and deletes, bound straight from the column buffers.

use std::sync::atomic::{AtomicI64, Ordering};

use rusqlite::types::{Null, ToSqlOutput, ValueRef};
use rusqlite::{Connection, Statement, ToSql};

use super::Table;
use super::table::{DELETED, ENDS, ROW, Stored, TIME, quoted, stored_name};
use crate::config::plan::{CqlType, SinkColumn, SinkPlan};
use crate::sink::{BoundColumn, BoundValues, Rows, json};
use crate::store::Error;

/// How long a deleted key is remembered, µs: ten days, as Cassandra's `gc_grace_seconds`.
const HIDDEN_MICROS: i64 = 10 * 86_400 * 1_000_000;
const PURGE_EVERY_MS: i64 = 60_000;
const PURGED_AT_ONCE: i64 = 1_000;

impl Table {
    /// Columns that are declared no longer become null.
    pub(super) fn new(table: &str, plan: &SinkPlan, stored: &Stored) -> Table {
        let (name, columns) = (stored_name(table), plan.columns.as_slice());
        let list = |columns: Vec<&SinkColumn>| columns.iter().map(|column| quoted(&column.column)).collect::<Vec<_>>().join(", ");
        let key: Vec<&SinkColumn> = columns.iter().filter(|column| column.key.is_some()).collect();
        let is_key = |column: &SinkColumn| key.iter().any(|key| key.column.eq_ignore_ascii_case(&column.column));
        let others: Vec<&SinkColumn> = stored.columns.iter().filter(|column| !is_key(column)).collect();
        let set = |value: &dyn Fn(&SinkColumn) -> String| -> String {
            others.iter().map(|column| format!(", {} = {}", quoted(&column.column), value(column))).collect()
        };
        let on_conflict = |deleted: u8, set: String| {
            let ends = if stored.ends { format!(", {ENDS} = excluded.{ENDS}") } else { String::new() };
            format!(
                "ON CONFLICT ({}) DO UPDATE SET {TIME} = excluded.{TIME}, {DELETED} = {deleted}{ends}{set} WHERE excluded.{TIME} >= {TIME}",
                list(key.clone())
            )
        };
        let places = |count: usize| ", ?".repeat(count);
        let (ends, end) = if stored.ends { (format!("{ENDS}, "), ", ?") } else { (String::new(), "") };
        let hidden = match stored.ends {
            // An end is as long ago as a delete, when nothing older can come any more.
            true => format!("({DELETED} AND {TIME} < ?1) OR {ENDS} < ?1 / 1000"),
            false => format!("{DELETED} AND {TIME} < ?1"),
        };
        Table {
            name: table.to_owned(),
            columns: columns.to_vec(),
            ttl: plan.ttl,
            ends: stored.ends,
            upsert: format!(
                "INSERT INTO {name} ({DELETED}, {TIME}, {ends}{}) VALUES (0, ?{end}{}) {}",
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
                "DELETE FROM {name} WHERE {ROW} IN (SELECT {ROW} FROM {name} WHERE {hidden} ORDER BY {TIME} LIMIT ?2)"
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
            if self.ends {
                upsert.raw_bind_parameter(2, rows.ends.get(row))?;
            }
            for (at, column) in (2 + usize::from(self.ends)..).zip(&rows.columns) {
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

    /// Forgets hidden keys after ten days.
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
    if column.is_null(row) {
        return statement.raw_bind_parameter(at, Null);
    }
    match (&column.values, column.cql) {
        (BoundValues::Buffer(buffer), CqlType::Text | CqlType::Ascii) => {
            statement.raw_bind_parameter(at, Lent(ValueRef::Text(buffer.get(row))))
        }
        (BoundValues::Buffer(buffer), CqlType::Blob) => statement.raw_bind_parameter(at, Lent(ValueRef::Blob(buffer.get(row)))),
        (BoundValues::Buffer(buffer), cql @ (CqlType::Decimal | CqlType::Varint | CqlType::Inet)) => {
            statement.raw_bind_parameter(at, json::text(buffer.get(row), cql))
        }
        (BoundValues::Buffer(_), _) => statement.raw_bind_parameter(at, json::value(column, row).to_string()),
        (BoundValues::Uuids(values), _) => statement.raw_bind_parameter(at, Lent(ValueRef::Blob(&values[row]))),
        (BoundValues::Integers(values), CqlType::Date) => match json::date(values[row]) {
            Some(date) => {
                let mut text = [0; 16];
                statement.raw_bind_parameter(at, Lent(ValueRef::Text(write_date(date, &mut text))))
            }
            None => statement.raw_bind_parameter(at, Null),
        },
        (BoundValues::Integers(values), CqlType::Time) => statement.raw_bind_parameter(at, json::time(values[row]).to_string()),
        (BoundValues::Integers(values), _) => statement.raw_bind_parameter(at, values[row]),
        (BoundValues::Floats(values), _) => statement.raw_bind_parameter(at, values[row]),
        (BoundValues::Booleans(values), _) => statement.raw_bind_parameter(at, values[row]),
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
