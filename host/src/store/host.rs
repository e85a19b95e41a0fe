//! Who this host is to others that work on the same pipeline: an id made once, in its store.

use rusqlite::OptionalExtension;

use super::{Error, Store};

/// The id; it stays the same over restarts, and no two stores have the same.
pub async fn id(store: &Store) -> Result<String, Error> {
    let write = |connection: &rusqlite::Connection| {
        // Stores made before there were several hosts do not have the table.
        connection.execute_batch("CREATE TABLE IF NOT EXISTS host (id TEXT NOT NULL)")?;
        let known: Option<String> = connection.query_row("SELECT id FROM host", [], |row| row.get(0)).optional()?;
        if let Some(known) = known {
            return Ok(known);
        }
        let make = "INSERT INTO host (id) VALUES (lower(hex(randomblob(6)))) RETURNING id";
        Ok(connection.query_row(make, [], |row| row.get(0))?)
    };
    store.write_returning(write).await
}
