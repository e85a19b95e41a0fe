//! Rows read back, for the page and for verbs.

use rusqlite::types::ValueRef;
use rusqlite::{Connection, params};
use serde_json::{Map, Value};

use super::table::{ROW, has_ends, live, shown, stored_name};
use crate::config::plan::{CqlType, SinkColumn};
use crate::sink::json as rendered;
use crate::store::{Error, Store};

/// Rows counted in one snapshot.
const COUNTED_AT_ONCE: i64 = 200_000;

/// The rows that were added last, newest first: column → JSON, timestamps as RFC 3339 and blobs as base64.
pub async fn latest(store: &Store, table: &str, columns: &[SinkColumn], limit: usize) -> Result<Vec<Map<String, Value>>, Error> {
    let columns = columns.to_vec();
    let list: Vec<String> = columns.iter().map(shown).collect();
    let (list, table) = (list.join(", "), table.to_owned());
    let read = move |connection: &Connection| {
        let live = live(has_ends(connection, &table)?);
        let select = format!("SELECT {list} FROM {} WHERE {live} ORDER BY {ROW} DESC LIMIT {limit}", stored_name(&table));
        let mut statement = connection.prepare_cached(&select)?;
        let mut rows = statement.query([])?;
        let mut found = Vec::new();
        while let Some(row) = rows.next()? {
            let mut object = Map::new();
            for (at, column) in columns.iter().enumerate() {
                object.insert(column.column.clone(), json(row.get_ref(at)?, column.cql));
            }
            found.push(object);
        }
        Ok(found)
    };
    store.read(read).await
}

/// Counts the live rows, piece by piece, so that no snapshot is held for long: exact when nothing is written meanwhile.
pub async fn count(store: &Store, table: &str) -> Result<u64, Error> {
    let (mut after, mut counted) = (i64::MIN, 0);
    loop {
        let table = table.to_owned();
        let read = move |connection: &Connection| {
            let live = live(has_ends(connection, &table)?);
            let select = format!(
                "SELECT count(*), coalesce(sum(live), 0), coalesce(max({ROW}), 0) FROM
                 (SELECT {ROW}, {live} AS live FROM {} WHERE {ROW} > ?1 ORDER BY {ROW} LIMIT ?2)",
                stored_name(&table)
            );
            let counts = |row: &rusqlite::Row<'_>| Ok((row.get::<_, i64>(0)?, row.get::<_, u64>(1)?, row.get::<_, i64>(2)?));
            Ok(connection.query_row(&select, params![after, COUNTED_AT_ONCE], counts)?)
        };
        let (seen, found, last) = store.read(read).await?;
        counted += found;
        after = last;
        if seen < COUNTED_AT_ONCE {
            return Ok(counted);
        }
    }
}

fn json(value: ValueRef<'_>, cql: CqlType) -> Value {
    match value {
        ValueRef::Null => Value::Null,
        ValueRef::Integer(value) if cql == CqlType::Boolean => (value != 0).into(),
        ValueRef::Integer(ms) if cql == CqlType::Timestamp => rendered::timestamp(ms),
        ValueRef::Integer(value) => value.into(),
        ValueRef::Real(value) => value.into(),
        ValueRef::Text(text) if matches!(cql, CqlType::List | CqlType::Set | CqlType::Map) => {
            serde_json::from_slice(text).unwrap_or_default()
        }
        ValueRef::Text(text) => String::from_utf8_lossy(text).into(),
        ValueRef::Blob(bytes) => rendered::blob(bytes),
    }
}
