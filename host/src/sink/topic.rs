//! Another topic in the same store: whole records, deletes as tombstones.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use async_trait::async_trait;

use super::{BindRejection, Bound, Emitted, Error, Sink, lines};
use crate::config::plan::Retention;
use crate::record::{Message, Place};
use crate::store::{Store, Write, log};

pub(super) struct TopicSink {
    name: String,
    store: Store,
    log: Arc<log::Log>,
    retention: Retention,
    /// Where records without a key go, batch by batch.
    keyless: AtomicU32,
}

impl TopicSink {
    /// Appends to the topic; where it is absent it is made with one partition.
    pub(super) async fn open(store: &Store, name: &str, topic: &str, retention: Retention) -> Result<TopicSink, Error> {
        let topic = topic.to_owned();
        let open = move |connection: &rusqlite::Connection| match log::open(connection, &topic, 1)? {
            Ok(log) => Ok(Ok(log)),
            Err(has) => log::open(connection, &topic, has),
        };
        let log = store.write_returning(open).await?;
        let log = log.map_err(|has| Error::Systemic(format!("open a topic with {has} partitions")))?;
        let (name, store, log) = (name.to_owned(), store.clone(), Arc::new(log));
        Ok(TopicSink { name, store, log, retention, keyless: AtomicU32::new(0) })
    }

    fn write_of(&self, messages: &[(Place, Message)]) -> Write {
        let partitions = self.log.partitions.len() as u32;
        let keyless = self.keyless.fetch_add(1, Ordering::Relaxed) % partitions;
        let chunks = log::chunks_of(messages.iter().map(|(_, message)| message), partitions, keyless);
        let room: usize = chunks.iter().map(|(_, chunk)| chunk.body.len()).sum();
        let (log, retention) = (self.log.clone(), self.retention);
        Arc::new(move |connection| {
            let now_ms = jiff::Timestamp::now().as_millisecond();
            log::trim(connection, &log, (&retention, log::Unread::Goes), now_ms, room as u64)?;
            for (partition, chunk) in &chunks {
                log::append(connection, log.partitions[*partition as usize], chunk)?;
            }
            Ok(())
        })
    }
}

#[async_trait]
impl Sink for TopicSink {
    fn name(&self) -> &str {
        &self.name
    }

    fn wants_messages(&self) -> bool {
        true
    }

    fn bind(&self, emitted: &Emitted<'_>) -> Result<Bound, Vec<BindRejection>> {
        lines::messages(emitted, lines::Deletes::AsTombstones)
    }

    /// A reader in this process is woken by the save.
    fn join(&self, store: &Store, bound: Bound) -> Result<Write, Bound> {
        match &bound {
            Bound::Messages(messages) if self.store.is(store) => Ok(self.write_of(messages)),
            _ => Err(bound),
        }
    }

    async fn write(&self, bound: &Bound) -> Result<Vec<(Place, String)>, Error> {
        if let Bound::Messages(messages) = bound {
            self.store.write(self.write_of(messages)).await?;
            self.store.appended().raise();
        }
        Ok(Vec::new())
    }
}
