//! Rows kept in this process, for tests: a table with the same rules as the embedded one, found again by its name.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard};

use async_trait::async_trait;
use serde_json::{Map, Value};

use super::{BindRejection, Bound, Emitted, Error, Rows, Sink, bind, json, lines};
use crate::config::plan::SinkColumn;
use crate::record::{Message, Place};

/// Write time in µs, and the row; `None` is deleted.
type Cell = (i64, Option<Map<String, Value>>);

/// What a memory sink holds.
#[derive(Debug, Default)]
pub struct Kept {
    /// By key.
    rows: Mutex<BTreeMap<Vec<u8>, Cell>>,
    messages: Mutex<Vec<(Place, Message)>>,
}

impl Kept {
    /// Live rows, in the order of their keys.
    pub fn rows(&self) -> Vec<Map<String, Value>> {
        locked(&self.rows).values().filter_map(|(_, row)| row.clone()).collect()
    }

    /// Whole records in the order of their writing, of a sink without columns.
    pub fn messages(&self) -> Vec<(Place, Message)> {
        locked(&self.messages).clone()
    }
}

static KEPT: LazyLock<Mutex<HashMap<String, Arc<Kept>>>> = LazyLock::new(Mutex::default);

/// What the memory sinks of this name hold, from the first look on.
pub fn kept(name: &str) -> Arc<Kept> {
    locked(&KEPT).entry(name.to_owned()).or_default().clone()
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

pub(super) struct Memory {
    name: String,
    columns: Vec<SinkColumn>,
    kept: Arc<Kept>,
}

impl Memory {
    pub(super) fn open(name: &str, at: &str, columns: &[SinkColumn]) -> Memory {
        Memory { name: name.to_owned(), columns: columns.to_vec(), kept: kept(at) }
    }

    /// Rows without a key are one per record.
    fn key(&self, rows: &Rows, row: usize) -> Vec<u8> {
        if self.columns.iter().any(|column| column.key.is_some()) {
            return bind::key_of(&self.columns, rows, row);
        }
        let Place { partition, offset } = rows.places[row];
        [&partition.to_be_bytes()[..], &offset.to_be_bytes()[..]].concat()
    }
}

#[async_trait]
impl Sink for Memory {
    fn name(&self) -> &str {
        &self.name
    }

    fn wants_messages(&self) -> bool {
        self.columns.is_empty()
    }

    fn bind(&self, emitted: &Emitted<'_>) -> Result<Bound, Vec<BindRejection>> {
        lines::bind(&self.columns, emitted)
    }

    async fn write(&self, bound: &Bound) -> Result<Vec<(Place, String)>, Error> {
        match bound {
            Bound::Rows(rows) => {
                let mut kept = locked(&self.kept.rows);
                for row in 0..rows.len() {
                    let time = rows.write_times[row];
                    let deleted = rows.deleted.binary_search(&(row as u32)).is_ok();
                    let entry = kept.entry(self.key(rows, row)).or_insert((i64::MIN, None));
                    if time >= entry.0 {
                        *entry = (time, (!deleted).then(|| json::object(&self.columns, rows, row)));
                    }
                }
            }
            Bound::Messages(messages) => locked(&self.kept.messages).extend(messages.iter().cloned()),
            Bound::Nothing { .. } => {}
        }
        Ok(Vec::new())
    }
}
