//! Component bytes by digest, kept as long as the topic holds a record that they decided: after a crash, or for `verify`, the code that
//! decided a record must still be there (delivery.md §3).

use rusqlite::{Connection, OptionalExtension, params};

use super::{Error, Store};

/// Keeps the bytes under their digest (SHA-256, hex).
pub async fn keep(store: &Store, digest: &str, bytes: &[u8]) -> Result<(), Error> {
    let (digest, bytes) = (digest.to_owned(), bytes.to_vec());
    let insert = "INSERT INTO components (digest, bytes) VALUES (?1, ?2) ON CONFLICT (digest) DO NOTHING";
    store.write_returning(move |connection| Ok(connection.prepare_cached(insert)?.execute(params![digest, bytes])?)).await?;
    Ok(())
}

pub async fn load(store: &Store, digest: &str) -> Result<Option<Vec<u8>>, Error> {
    let digest = digest.to_owned();
    let select = "SELECT bytes FROM components WHERE digest = ?1";
    store.read(move |connection| Ok(connection.query_row(select, [digest], |row| row.get(0)).optional()?)).await
}

/// Removes every generation but the newest that decided no record which its topic still holds, and that no replay needs, and the components
/// that none names and a watched one need not be replaced by.
pub(super) fn forget_unused(connection: &Connection, topic: i64) -> Result<(), Error> {
    // A boundary that retention has passed is removed with the chunks, so what is listed is needed.
    let generations = "DELETE FROM generations WHERE topic = ?1
        AND number < (SELECT max(number) FROM generations WHERE topic = ?1)
        AND number NOT IN (SELECT generation FROM boundaries JOIN partitions ON boundaries.partition = partitions.id WHERE topic = ?1)
        AND number NOT IN (SELECT generation FROM dead_letters WHERE topic = ?1)
        AND number NOT IN (SELECT resolution ->> '$.generation' FROM receipts WHERE topic = ?1
            AND resolution ->> '$.generation' IS NOT NULL)";
    if connection.prepare_cached(generations)?.execute([topic])? > 0 {
        let components = "DELETE FROM components WHERE digest NOT IN
            (SELECT stage.value ->> '$.digest' FROM generations, json_each(generations.content, '$.stages') AS stage)
            AND digest NOT IN (SELECT stage.value ->> '$.digest' FROM watched, json_each(watched.watch, '$.good') AS stage)";
        connection.execute(components, [])?;
    }
    Ok(())
}
