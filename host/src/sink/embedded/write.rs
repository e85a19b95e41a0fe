//! Upserts and deletes, bound straight from the column buffers.

use std::sync::atomic::{AtomicI64, Ordering};

use rusqlite::types::{Null, ToSqlOutput, ValueRef};
use rusqlite::{Connection, ToSql};

use super::Table;
use super::table::{DELETED, ENDS, ROW, Stored, TIME, quoted, stored_name};
use crate::config::plan::{CqlType, SinkColumn, SinkPlan};
use crate::sink::{BoundColumn, BoundValues, DELETES_REMEMBERED, Rows, json};
use crate::store::keys::{self, Writing};
use crate::store::{Error, Store};

/// How long a deleted key is remembered, µs.
const HIDDEN_MICROS: i64 = DELETES_REMEMBERED.as_micros() as i64;
const PURGE_EVERY_MS: i64 = 60_000;
const PURGED_AT_ONCE: i64 = 1_000;

impl Table {
    /// Columns that are declared no longer become null.
    pub(super) fn new(store: &Store, table: &str, plan: &SinkPlan, stored: &Stored) -> Table {
        let (name, columns) = (stored_name(table), plan.columns.as_slice());
        let same = |a: &SinkColumn, b: &SinkColumn| a.column.eq_ignore_ascii_case(&b.column);
        let all: Vec<String> = columns.iter().map(|column| quoted(&column.column)).collect();
        let key: Vec<String> =
            columns.iter().filter(|column| column.key.is_some()).map(|column| quoted(&column.column)).collect();
        let others = || columns.iter().filter(|column| column.key.is_none());
        let undeclared = || stored.columns.iter().filter(|column| !columns.iter().any(|declared| same(declared, column)));
        let null = |column: &SinkColumn| format!(", {} = NULL", quoted(&column.column));
        // Parameters: the write time, the row, where there are any the end, then columns in their order.
        let first = if stored.ends { 4 } else { 3 };
        let set = (first..).zip(others()).map(|(at, column)| format!(", {} = ?{at}", quoted(&column.column)));
        let set: String = set.chain(undeclared().map(null)).collect();
        let cleared: String = others().chain(undeclared()).map(null).collect();
        let (ends, end, set_end) = match stored.ends {
            true => (format!("{ENDS}, "), ", ?", format!(", {ENDS} = ?3")),
            false => (String::new(), "", String::new()),
        };
        let update = |deleted: u8, set: String| {
            format!("UPDATE {name} SET {TIME} = ?1, {DELETED} = {deleted}{set_end}{set} WHERE {ROW} = ?2 AND {TIME} <= ?1")
        };
        let insert = |deleted: u8, columns: &[String]| {
            let (list, places) = (columns.join(", "), ", ?".repeat(columns.len()));
            format!("INSERT INTO {name} ({DELETED}, {TIME}, {ROW}, {ends}{list}) VALUES ({deleted}, ?, ?{end}{places})")
        };
        let hidden = match stored.ends {
            // An end is as long ago as a delete, when nothing older can come any more.
            true => format!("({DELETED} AND {TIME} < ?1) OR {ENDS} < ?1 / 1000"),
            false => format!("{DELETED} AND {TIME} < ?1"),
        };
        Table {
            keys: store.keys(table, &name, ROW, &key),
            insert: insert(0, &all),
            update: update(0, set),
            insert_deleted: insert(1, &key),
            clear: update(1, cleared),
            purge: format!(
                "DELETE FROM {name} WHERE {ROW} IN (SELECT {ROW} FROM {name} WHERE {hidden} ORDER BY {TIME} LIMIT ?2) RETURNING {}",
                key.join(", ")
            ),
            purged_ms: AtomicI64::new(0),
            name: table.to_owned(),
            columns: columns.to_vec(),
            ttl: plan.ttl,
            ends: stored.ends,
        }
    }

    /// Within the transaction that saves the position, or one of its own.
    pub(super) fn write(&self, connection: &Connection, rows: &Rows) -> Result<(), Error> {
        let mut keys = self.keys.writing(connection)?;
        let mut insert = connection.prepare_cached(&self.insert)?;
        let mut update = connection.prepare_cached(&self.update)?;
        let mut insert_deleted = connection.prepare_cached(&self.insert_deleted)?;
        let mut clear = connection.prepare_cached(&self.clear)?;
        let all: Vec<&BoundColumn> = rows.columns.iter().collect();
        let is_key = |at: usize| self.columns[at].key.is_some();
        let (of_key, others): (Vec<_>, Vec<_>) = (0..all.len()).partition(|at| is_key(*at));
        let [of_key, others] = [of_key, others].map(|places| places.into_iter().map(|at| all[at]).collect::<Vec<_>>());
        let mut deleted = rows.deleted.iter().copied().peekable();
        let mut key = Vec::new();
        for row in 0..rows.len() {
            key.clear();
            for column in &of_key {
                keys::push(&mut key, borrowed(&value(column, row)), of_key.len() == 1);
            }
            let known = keys.find(&key)?;
            let at = known.unwrap_or_else(|| keys.insert(&key));
            let delete = deleted.next_if_eq(&(row as u32)).is_some();
            let (statement, columns) = match (delete, known) {
                (false, None) => (&mut insert, &all),
                (false, Some(_)) => (&mut update, &others),
                (true, None) => (&mut insert_deleted, &of_key),
                (true, Some(_)) => (&mut clear, &Vec::new()),
            };
            statement.raw_bind_parameter(1, rows.write_times[row])?;
            statement.raw_bind_parameter(2, at)?;
            if self.ends {
                statement.raw_bind_parameter(3, rows.ends.get(row).filter(|_| !delete))?;
            }
            for (parameter, column) in (3 + usize::from(self.ends)..).zip(columns) {
                statement.raw_bind_parameter(parameter, Lent(value(column, row)))?;
            }
            statement.raw_execute()?;
        }
        self.purge(connection, &mut keys)?;
        keys.end()
    }

    /// Forgets hidden keys after ten days.
    fn purge(&self, connection: &Connection, keys: &mut Writing<'_>) -> Result<(), Error> {
        let now = jiff::Timestamp::now();
        if now.as_millisecond() - self.purged_ms.load(Ordering::Relaxed) < PURGE_EVERY_MS {
            return Ok(());
        }
        let mut purge = connection.prepare_cached(&self.purge)?;
        let mut purged = purge.query((now.as_microsecond() - HIDDEN_MICROS, PURGED_AT_ONCE))?;
        let (mut removed, mut key) = (0, Vec::new());
        while let Some(row) = purged.next()? {
            keys::read(row, 0, &mut key)?;
            keys.remove(&key)?;
            removed += 1;
        }
        if removed < PURGED_AT_ONCE {
            self.purged_ms.store(now.as_millisecond(), Ordering::Relaxed);
        }
        Ok(())
    }
}

/// A value that is bound as it lies in its buffer.
struct Lent<'a>(ToSqlOutput<'a>);

impl ToSql for Lent<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(borrowed(&self.0)))
    }
}

fn borrowed<'a>(value: &'a ToSqlOutput<'_>) -> ValueRef<'a> {
    match value {
        ToSqlOutput::Borrowed(value) => *value,
        ToSqlOutput::Owned(value) => value.into(),
        _ => ValueRef::Null,
    }
}

fn value(column: &BoundColumn, row: usize) -> ToSqlOutput<'_> {
    if column.is_null(row) {
        return Null.into();
    }
    let lent = |value| ToSqlOutput::Borrowed(value);
    match (&column.values, column.cql) {
        (BoundValues::Buffer(buffer), CqlType::Text | CqlType::Ascii) => lent(ValueRef::Text(buffer.get(row))),
        (BoundValues::Buffer(buffer), CqlType::Blob) => lent(ValueRef::Blob(buffer.get(row))),
        (BoundValues::Buffer(buffer), cql @ (CqlType::Decimal | CqlType::Varint | CqlType::Inet)) => {
            json::text(buffer.get(row), cql).into()
        }
        (BoundValues::Buffer(_), _) => json::value(column, row).to_string().into(),
        (BoundValues::Uuids(values), _) => lent(ValueRef::Blob(&values[row])),
        (BoundValues::Integers(values), CqlType::Date) => {
            json::date(values[row]).map_or(Null.into(), |date| date.to_string().into())
        }
        (BoundValues::Integers(values), CqlType::Time) => json::time(values[row]).to_string().into(),
        (BoundValues::Integers(values), _) => values[row].into(),
        (BoundValues::Floats(values), _) => values[row].into(),
        (BoundValues::Booleans(values), _) => values[row].into(),
    }
}
