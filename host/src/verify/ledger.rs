//! What tables should hold and what they do hold, on disk: SQLite sorts it by key, so that a table of any size needs little memory.

use std::ops::Range;

use rusqlite::{Connection, OptionalExtension, params};

use super::cells::{Key, RowDigest, digest};
use super::evidence::{Error, Found};
use crate::record::Place;

const CACHE_KIB: u32 = 64 * 1024;

/// One row that a record leads to.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    pub place: Place,
    /// µs.
    pub time: i64,
    /// `None`: the row goes.
    pub digest: Option<RowDigest>,
    pub when: When,
    /// When the row is gone by itself, ms since 1970.
    pub ends: Option<i64>,
}

/// Whether a table must show a record already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// It was settled before the table was read.
    Settled,
    /// It may have been written by then, or not.
    Later,
}

/// A row of a table, without its cells.
#[derive(Clone, Debug, PartialEq)]
pub struct Held {
    pub written: Option<i64>,
    pub torn: bool,
    /// `None`: deleted.
    pub digest: Option<RowDigest>,
    pub at: i64,
}

/// All about one key of one table.
#[derive(Debug)]
pub struct Account {
    /// Place of the sink in the plan.
    pub sink: usize,
    pub key: Key,
    /// Ascending by write time; of those that are settled only the last, and those of the same time.
    pub expected: Vec<Entry>,
    pub found: Vec<Held>,
}

/// The books: rows expected and found, and records of which nothing can be said.
pub struct Ledger {
    connection: Connection,
}

impl Ledger {
    pub fn open() -> Result<Ledger, Error> {
        // A file of SQLite's own, gone when it is closed.
        let connection = Connection::open("").map_err(wrong)?;
        let schema = format!(
            "PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA temp_store = FILE; PRAGMA cache_size = -{CACHE_KIB};
             CREATE TABLE expected (sink INTEGER, key BLOB, time INTEGER, partition INTEGER, offset INTEGER, digest BLOB, later INTEGER, ends INTEGER);
             CREATE TABLE found (sink INTEGER, key BLOB, written INTEGER, torn INTEGER, digest BLOB, at INTEGER);
             CREATE TABLE unknown (partition INTEGER, first INTEGER, last INTEGER, why TEXT, PRIMARY KEY (partition, first)) WITHOUT ROWID;
             BEGIN;"
        );
        connection.execute_batch(&schema).map_err(wrong)?;
        Ok(Ledger { connection })
    }

    pub fn expect(&self, sink: usize, key: &Key, entry: &Entry) -> Result<(), Error> {
        let insert = "INSERT INTO expected VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)";
        let Entry { place, time, digest, when, ends } = entry;
        let mut insert = self.connection.prepare_cached(insert).map_err(wrong)?;
        let later = *when == When::Later;
        insert.execute(params![sink, key.encode(), time, place.partition, place.offset, digest, later, ends]).map_err(wrong)?;
        Ok(())
    }

    pub fn found(&self, sink: usize, found: &Found) -> Result<(), Error> {
        let insert = "INSERT INTO found VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
        let mut insert = self.connection.prepare_cached(insert).map_err(wrong)?;
        let cells = found.row.as_ref().map(digest);
        insert.execute(params![sink, found.key.encode(), found.written, found.torn, cells, found.at]).map_err(wrong)?;
        Ok(())
    }

    /// Nothing can be said of these offsets, and why.
    pub fn unknown(&self, partition: u32, offsets: Range<i64>, why: &str) -> Result<(), Error> {
        let join = "UPDATE unknown SET last = ?3 WHERE partition = ?1 AND why = ?4 AND last = ?2 - 1
            AND first = (SELECT max(first) FROM unknown WHERE partition = ?1)";
        let row = params![partition, offsets.start, offsets.end - 1, why];
        if self.connection.prepare_cached(join).and_then(|mut join| join.execute(row)).map_err(wrong)? == 0 {
            let insert = "INSERT OR REPLACE INTO unknown VALUES (?1, ?2, ?3, ?4)";
            self.connection.prepare_cached(insert).and_then(|mut insert| insert.execute(row)).map_err(wrong)?;
        }
        Ok(())
    }

    /// Why nothing can be said of an offset, if so.
    pub fn is_unknown(&self, place: Place) -> Result<Option<String>, Error> {
        let select = "SELECT why, last FROM unknown WHERE partition = ?1 AND first <= ?2 ORDER BY first DESC LIMIT 1";
        let row = self.connection.prepare_cached(select).and_then(|mut select| {
            select.query_row(params![place.partition, place.offset], |row| Ok((row.get(0)?, row.get::<_, i64>(1)?))).optional()
        });
        Ok(row.map_err(wrong)?.filter(|(_, last)| place.offset <= *last).map(|(why, _)| why))
    }

    /// Whether nothing can be said of some offset of the partition from this one on.
    pub fn is_any_unknown_from(&self, place: Place) -> Result<Option<String>, Error> {
        let select = "SELECT why FROM unknown WHERE partition = ?1 AND last >= ?2 LIMIT 1";
        let row = self
            .connection
            .prepare_cached(select)
            .and_then(|mut select| select.query_row(params![place.partition, place.offset], |row| row.get(0)).optional());
        row.map_err(wrong)
    }

    /// Every key of every table, once.
    pub fn settle(&self, mut each: impl FnMut(Account) -> Result<(), Error>) -> Result<(), Error> {
        let select = "
            SELECT sink, key, 0, time, partition, offset, digest, later, ends FROM expected UNION ALL
            SELECT sink, key, 1, written, 0, 0, digest, torn, at FROM found
            ORDER BY 1, 2, 3, 4";
        let mut statement = self.connection.prepare(select).map_err(wrong)?;
        let mut rows = statement.query([]).map_err(wrong)?;
        let mut account: Option<Account> = None;
        while let Some(row) = rows.next().map_err(wrong)? {
            let (sink, key, side): (usize, Vec<u8>, u8) =
                read(row, 0).and_then(|sink| Ok((sink, read(row, 1)?, read(row, 2)?)))?;
            let key = Key::decode(&key).ok_or_else(|| Error("a key of the ledger cannot be read".to_owned()))?;
            if account.as_ref().is_none_or(|account| account.sink != sink || account.key != key)
                && let Some(full) = account.replace(Account { sink, key, expected: Vec::new(), found: Vec::new() })
            {
                each(full)?;
            }
            let Some(account) = &mut account else { continue };
            if side == 1 {
                let torn: bool = read(row, 7)?;
                account.found.push(Held { written: read(row, 3)?, torn, digest: read(row, 6)?, at: read(row, 8)? });
                continue;
            }
            let place = Place { partition: read(row, 4)?, offset: read(row, 5)? };
            let when = if read(row, 7)? { When::Later } else { When::Settled };
            let entry = Entry { place, time: read(row, 3)?, digest: read(row, 6)?, when, ends: read(row, 8)? };
            if when == When::Settled {
                // A key may have been written a million times.
                account.expected.retain(|before| before.when == When::Later || before.time == entry.time);
            }
            account.expected.push(entry);
        }
        account.map_or(Ok(()), each)
    }
}

fn read<T: rusqlite::types::FromSql>(row: &rusqlite::Row<'_>, at: usize) -> Result<T, Error> {
    row.get(at).map_err(wrong)
}

fn wrong(error: rusqlite::Error) -> Error {
    Error::of("keep what was found in a temporary file", error)
}
