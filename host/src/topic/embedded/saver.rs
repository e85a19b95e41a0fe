//! Saves: position, dead letters and the writes of sinks in the same store, in one transaction (invariants 1 and 4).

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use rusqlite::{Connection, params};

use super::{Embedded, dead_letters, now_ms, state};
use crate::store::{self, Signal, log};
use crate::topic::{Boundary, Error, Save, Saver, StoredState};

/// What consumer, its reading thread and its saver share.
pub(super) struct Assignment {
    /// Of the consumer; a later one has taken over what an earlier one held.
    pub(super) epoch: i64,
    pub(super) closed: AtomicBool,
    /// What is settled, by partition: the reader hands out more when it grows.
    pub(super) settled: Vec<AtomicI64>,
    pub(super) appended: Arc<Signal>,
}

impl Assignment {
    pub(super) fn close(&self) {
        self.closed.store(true, Ordering::SeqCst);
        self.appended.raise();
    }

    pub(super) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::SeqCst)
    }
}

pub(super) struct EmbeddedSaver {
    pub(super) topic: Embedded,
    pub(super) assignment: Arc<Assignment>,
    /// Boundaries as they are in the store, by partition.
    pub(super) boundaries: Mutex<HashMap<u32, Vec<Boundary>>>,
}

#[async_trait]
impl Saver for EmbeddedSaver {
    async fn save(&self, partition: u32, save: Save) -> Result<(), Error> {
        let Some(row) = self.topic.log.partitions.get(partition as usize).copied() else {
            return Err(Error::Fatal(format!("topic `{}` has no partition {partition}", self.topic.name)));
        };
        if self.assignment.is_closed() {
            return Err(Error::Fenced);
        }
        let (next, boundaries) = (save.position.next, save.position.boundaries.clone());
        let known = self.lock().get(&partition) == Some(&boundaries);
        let position =
            serde_json::to_string(&save.position).map_err(|error| Error::Fatal(format!("write a position: {error}")))?;
        let (log, retention, epoch) = (self.topic.log.clone(), self.topic.retention, self.assignment.epoch);
        let write = move |connection: &Connection| -> Result<bool, store::Error> {
            let current: i64 = connection
                .prepare_cached("SELECT consumer_epoch FROM topics WHERE id = ?1")?
                .query_row([log.topic], |row| row.get(0))?;
            if current != epoch {
                return Ok(false);
            }
            for write in &save.with {
                write(connection)?;
            }
            dead_letters::settle(connection, log.topic, partition, &save.settled, &save.dead_letters)?;
            let update = "UPDATE partitions SET position = ?2, settled = ?3 WHERE id = ?1";
            connection.prepare_cached(update)?.execute(params![row, position, save.position.next])?;
            state::write(connection, row, &save.state)?;
            if !known {
                write_boundaries(connection, row, &save.position.boundaries)?;
            }
            log::trim(connection, &log, (&retention, log::Unread::Stays), now_ms(), 0)?;
            Ok(true)
        };
        if !self.topic.store.write_returning(write).await? {
            return Err(Error::Fenced);
        }
        self.lock().insert(partition, boundaries);
        self.assignment.settled[partition as usize].store(next, Ordering::SeqCst);
        self.assignment.appended.raise();
        self.topic.store.saved().send_modify(|count| *count += 1);
        Ok(())
    }

    async fn state(&self, partition: u32) -> Result<StoredState, Error> {
        let row = self.topic.log.partitions.get(partition as usize).copied().unwrap_or(-1);
        Ok(self.topic.store.read(move |connection| state::read(connection, row)).await?)
    }
}

impl EmbeddedSaver {
    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<u32, Vec<Boundary>>> {
        self.boundaries.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

/// The boundaries of the position, and those that it has passed, which stay as long as records under them do.
fn write_boundaries(connection: &Connection, partition: i64, boundaries: &[Boundary]) -> Result<(), store::Error> {
    let Some(in_force) = boundaries.first() else { return Ok(()) };
    let replaced = "DELETE FROM boundaries WHERE partition = ?1 AND first > ?2";
    connection.prepare_cached(replaced)?.execute(params![partition, in_force.first])?;
    let insert = "INSERT OR REPLACE INTO boundaries (partition, first, generation, time) VALUES (?1, ?2, ?3, ?4)";
    let mut insert = connection.prepare_cached(insert)?;
    for boundary in boundaries {
        insert.execute(params![partition, boundary.first, boundary.generation, boundary.time])?;
    }
    Ok(())
}
