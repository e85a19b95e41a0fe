//! A table of the store, read as it is stored: live rows, and keys of deleted ones.

use std::path::Path;

use rusqlite::types::ValueRef;
use rusqlite::{Connection, OptionalExtension, Row as SqlRow, params};

use super::{connect, parse};
use crate::config::plan::{CqlType, SinkColumn};
use crate::verify::cells::{Cell, Key, Row, collection};
use crate::verify::evidence::{Deletes, Error, Found, Table};

/// Rows read in one snapshot.
const ROWS_AT_ONCE: i64 = 20_000;
/// How long a deleted key is kept: ten days.
const HIDDEN_MICROS: i64 = 10 * 86_400 * 1_000_000;

pub struct EmbeddedTable {
    connection: Connection,
    name: String,
    /// All columns that the table has, and `@row`, `@time` and `@deleted` before them in each select.
    columns: Vec<SinkColumn>,
    list: String,
}

impl EmbeddedTable {
    /// `None`: there is no such table.
    pub fn open(store: &Path, name: &str) -> Result<Option<EmbeddedTable>, Error> {
        let connection = connect(store)?;
        let columns = connection.query_row("SELECT columns FROM tables WHERE name = ?1", [name], |row| row.get(0)).optional();
        let columns: Option<String> = columns.map_err(|error| Error::of("read the tables of the store", error))?;
        let Some(columns) = columns else { return Ok(None) };
        let columns: Vec<SinkColumn> = parse(&columns, "the columns of a table")?;
        let list = columns.iter().map(|column| format!(", {}", quoted(&column.column))).collect();
        Ok(Some(EmbeddedTable { connection, name: name.to_owned(), columns, list }))
    }

    fn select(&self, which: &str) -> String {
        let (list, table) = (&self.list, quoted(&format!("{}:rows", self.name)));
        format!(r#"SELECT "@row", "@time", "@deleted"{list} FROM {table} WHERE {which}"#)
    }

    fn found(&self, row: &SqlRow<'_>) -> rusqlite::Result<Found> {
        let (mut key, mut cells) = (Vec::new(), Row::new());
        for (at, column) in (3..).zip(&self.columns) {
            let cell = cell(row.get_ref(at)?, column.cql);
            match column.key {
                Some(_) => key.push(cell),
                None if cell == Cell::Null => {}
                None => {
                    cells.insert(column.column.to_ascii_lowercase(), cell);
                }
            }
        }
        let deleted: bool = row.get(2)?;
        Ok(Found { key: Key(key), written: row.get(1)?, torn: false, row: (!deleted).then_some(cells), at: row.get(0)? })
    }
}

impl Table for EmbeddedTable {
    fn rows_expected(&mut self) -> Option<u64> {
        let max = format!(r#"SELECT coalesce(max("@row"), 0) FROM {}"#, quoted(&format!("{}:rows", self.name)));
        self.connection.query_row(&max, [], |row| row.get(0)).ok()
    }

    fn scan(&mut self, each: &mut dyn FnMut(Found) -> Result<(), Error>) -> Result<(), Error> {
        let select = self.select(r#""@row" > ?1 ORDER BY "@row" LIMIT ?2"#);
        let mut after = i64::MIN;
        loop {
            let read = || {
                let mut statement = self.connection.prepare_cached(&select)?;
                let rows = statement.query_map(params![after, ROWS_AT_ONCE], |row| self.found(row))?;
                rows.collect::<rusqlite::Result<Vec<Found>>>()
            };
            let piece = read().map_err(|error| Error::of(&format!("read table `{}`", self.name), error))?;
            let Some(last) = piece.last() else { return Ok(()) };
            after = last.at;
            piece.into_iter().try_for_each(&mut *each)?;
        }
    }

    fn row(&mut self, _: &Key, at: i64) -> Result<Option<Found>, Error> {
        let select = self.select(r#""@row" = ?1"#);
        let read = self.connection.prepare_cached(&select);
        let found = read.and_then(|mut statement| statement.query_row([at], |row| self.found(row)).optional());
        found.map_err(|error| Error::of(&format!("read table `{}`", self.name), error))
    }

    fn deletes(&self) -> Deletes {
        Deletes::Hidden { micros: HIDDEN_MICROS }
    }

    fn compares(&self, _: &str) -> bool {
        true
    }
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

fn cell(value: ValueRef<'_>, cql: CqlType) -> Cell {
    match value {
        ValueRef::Null => Cell::Null,
        ValueRef::Integer(value) => Cell::Integer(value),
        ValueRef::Real(value) => Cell::Real(value),
        ValueRef::Text(text) if cql == CqlType::Date => days(text).map_or_else(|| Cell::Text(text.to_vec()), Cell::Integer),
        ValueRef::Text(text) if matches!(cql, CqlType::List | CqlType::Set | CqlType::Map) => {
            serde_json::from_slice(text).map_or_else(|_| Cell::Text(text.to_vec()), |value| collection(value, cql))
        }
        ValueRef::Text(text) => Cell::Text(text.to_vec()),
        ValueRef::Blob(bytes) => Cell::Blob(bytes.to_vec()),
    }
}

/// Days since 1970-01-01 of a date as it is stored: `2026-11-24`, or `-000042-01-31`.
fn days(text: &[u8]) -> Option<i64> {
    let date: jiff::civil::Date = std::str::from_utf8(text).ok()?.parse().ok()?;
    let since = jiff::civil::date(1970, 1, 1).until((jiff::Unit::Day, date)).ok()?;
    Some(i64::from(since.get_days()))
}
