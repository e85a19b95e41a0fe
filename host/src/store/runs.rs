//! What each poll of the source did, the last thousand of them.

use rusqlite::params;

use super::{Error, Store, log};
use crate::status::Run;

const RUNS_KEPT: i64 = 1_000;

/// Keeps a run under a new number, which it returns; `run.id` is ignored.
pub async fn keep(store: &Store, run: &Run) -> Result<i64, Error> {
    let run = run.clone();
    let write = move |connection: &rusqlite::Connection| {
        let id = log::count_up(connection, "runs")?;
        let text =
            serde_json::to_string(&Run { id, ..run.clone() }).map_err(|error| Error::Sqlite(format!("write a run: {error}")))?;
        connection.prepare_cached("INSERT INTO runs (id, run) VALUES (?1, ?2)")?.execute(params![id, text])?;
        connection.prepare_cached("DELETE FROM runs WHERE id <= ?1")?.execute([id - RUNS_KEPT])?;
        Ok(id)
    };
    store.write_returning(write).await
}

/// Newest first.
pub async fn latest(store: &Store, limit: usize) -> Result<Vec<Run>, Error> {
    let read = move |connection: &rusqlite::Connection| {
        let mut statement = connection.prepare_cached("SELECT run FROM runs ORDER BY id DESC LIMIT ?1")?;
        let texts = statement.query_map([i64::try_from(limit).unwrap_or(i64::MAX)], |row| row.get::<_, String>(0))?;
        texts.map(|text| serde_json::from_str(&text?).map_err(|error| Error::Sqlite(format!("read a run: {error}")))).collect()
    };
    store.read(read).await
}
