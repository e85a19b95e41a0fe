//! What the stages of a partition keep by key, saved in the transaction that saves the position (delivery §9).

use rusqlite::{Connection, params};

use crate::store;
use crate::topic::{StateChanges, StoredState};

pub(super) fn write(connection: &Connection, partition: i64, changes: &StateChanges) -> Result<(), store::Error> {
    for (stage, entries) in changes {
        for (key, value) in entries {
            match value {
                Some(value) => {
                    let set = "INSERT OR REPLACE INTO state (partition, stage, \"key\", value) VALUES (?1, ?2, ?3, ?4)";
                    connection.prepare_cached(set)?.execute(params![partition, stage, key, value])?
                }
                None => {
                    let remove = "DELETE FROM state WHERE partition = ?1 AND stage = ?2 AND \"key\" = ?3";
                    connection.prepare_cached(remove)?.execute(params![partition, stage, key])?
                }
            };
        }
    }
    Ok(())
}

pub(super) fn read(connection: &Connection, partition: i64) -> Result<StoredState, store::Error> {
    let mut state = StoredState::new();
    let mut statement = connection.prepare_cached("SELECT stage, \"key\", value FROM state WHERE partition = ?1")?;
    let mut rows = statement.query([partition])?;
    while let Some(row) = rows.next()? {
        state.entry(row.get(0)?).or_default().insert(row.get(1)?, row.get(2)?);
    }
    Ok(state)
}
