//! Receipts of swaps, the last thousands of them; what a swap must not bring back; and the swap that is watched.

use rusqlite::{OptionalExtension, params};

use super::{Error, Store, log};
use crate::status::swap::Receipt;

const RECEIPTS_KEPT: i64 = 10_000;

/// Keeps a receipt under a new number, which it returns; `receipt.id` is ignored.
pub async fn keep(store: &Store, receipt: &Receipt) -> Result<i64, Error> {
    let receipt = receipt.clone();
    let write = move |connection: &rusqlite::Connection| {
        let id = log::count_up(connection, "swaps")?;
        let text = serde_json::to_string(&Receipt { id, ..receipt.clone() })
            .map_err(|error| Error::Sqlite(format!("write a receipt: {error}")))?;
        connection.prepare_cached("INSERT INTO swaps (id, receipt) VALUES (?1, ?2)")?.execute(params![id, text])?;
        connection.prepare_cached("DELETE FROM swaps WHERE id <= ?1")?.execute([id - RECEIPTS_KEPT])?;
        Ok(id)
    };
    store.write_returning(write).await
}

/// Newest first.
pub async fn latest(store: &Store, limit: usize) -> Result<Vec<Receipt>, Error> {
    let read = move |connection: &rusqlite::Connection| {
        let mut statement = connection.prepare_cached("SELECT receipt FROM swaps ORDER BY id DESC LIMIT ?1")?;
        let texts = statement.query_map([i64::try_from(limit).unwrap_or(i64::MAX)], |row| row.get::<_, String>(0))?;
        texts
            .map(|text| serde_json::from_str(&text?).map_err(|error| Error::Sqlite(format!("read a receipt: {error}"))))
            .collect()
    };
    store.read(read).await
}

/// Replaces what is in quarantine: JSON of stages, oldest first.
pub async fn quarantine(store: &Store, stages: Vec<String>) -> Result<(), Error> {
    let write = move |connection: &rusqlite::Connection| {
        connection.prepare_cached("DELETE FROM quarantine")?.execute([])?;
        let mut insert = connection.prepare_cached("INSERT INTO quarantine (stage) VALUES (?1)")?;
        stages.iter().try_for_each(|stage| insert.execute([stage]).map(drop))?;
        Ok(())
    };
    store.write_returning(write).await
}

/// Oldest first.
pub async fn quarantined(store: &Store) -> Result<Vec<String>, Error> {
    let read = |connection: &rusqlite::Connection| {
        let mut statement = connection.prepare_cached("SELECT stage FROM quarantine ORDER BY id")?;
        Ok(statement.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?)
    };
    store.read(read).await
}

/// Replaces what is kept of the breaker's watch: JSON.
pub async fn watch(store: &Store, watch: Option<String>) -> Result<(), Error> {
    let write = move |connection: &rusqlite::Connection| {
        connection.prepare_cached("DELETE FROM watched")?.execute([])?;
        watch.iter().try_for_each(|watch| connection.execute("INSERT INTO watched (watch) VALUES (?1)", [watch]).map(drop))?;
        Ok(())
    };
    store.write_returning(write).await
}

pub async fn watched(store: &Store) -> Result<Option<String>, Error> {
    let select = "SELECT watch FROM watched";
    store.read(move |connection| Ok(connection.query_row(select, [], |row| row.get(0)).optional()?)).await
}
