//! Publishes pages: records and cursor in one transaction (invariant 6).

use async_trait::async_trait;
use rusqlite::{Connection, params};

use super::{Embedded, now_ms};
use crate::record::Message;
use crate::store::log;
use crate::topic::{Cursor, Error, HeldBack, Published, Publisher};

pub(super) struct EmbeddedPublisher {
    topic: Embedded,
    epoch: i64,
    /// Where the next page's records without a key go: one page to one partition, in turn.
    keyless: u32,
    held_back: HeldBack,
}

/// How often a publisher that is held back has the length of the write-ahead log looked at.
const LOOK_AGAIN: std::time::Duration = std::time::Duration::from_millis(100);

/// What became of an attempt to append.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Attempt {
    Appended,
    NoRoom,
    /// Some was made, and more can be without a save.
    Trimming,
    Fenced,
}

impl EmbeddedPublisher {
    pub(super) async fn new(topic: &Embedded) -> Result<EmbeddedPublisher, Error> {
        let id = topic.log.topic;
        let take_over = "UPDATE topics SET publisher_epoch = publisher_epoch + 1 WHERE id = ?1 RETURNING publisher_epoch";
        let epoch =
            topic.store.write_returning(move |connection| Ok(connection.query_row(take_over, [id], |row| row.get(0))?)).await?;
        Ok(EmbeddedPublisher { topic: topic.clone(), epoch, keyless: 0, held_back: HeldBack::default() })
    }
}

#[async_trait]
impl Publisher for EmbeddedPublisher {
    async fn cursor(&mut self) -> Result<Option<Cursor>, Error> {
        let id = self.topic.log.topic;
        let read = move |connection: &Connection| {
            let text: Option<String> = connection.query_row("SELECT cursor FROM topics WHERE id = ?1", [id], |row| row.get(0))?;
            text.map(|text| super::parse(&text, "a cursor")).transpose()
        };
        Ok(self.topic.store.read(read).await?)
    }

    fn held_back(&self) -> HeldBack {
        self.held_back.clone()
    }

    async fn publish(&mut self, page: Vec<Message>, cursor: Cursor) -> Result<Published, Error> {
        let partitions = self.topic.log.partitions.len() as u32;
        let chunks = log::chunks_of(&page, partitions, self.keyless);
        self.keyless = (self.keyless + 1) % partitions;
        let bytes: usize = page
            .iter()
            .map(|message| message.key.as_ref().map_or(0, Vec::len) + message.value.as_ref().map_or(0, Vec::len))
            .sum();
        let published = Published { records: page.len() as u64, bytes: bytes as u64 };
        drop(page);
        let cursor = serde_json::to_string(&cursor).map_err(|error| Error::Fatal(format!("write a cursor: {error}")))?;
        let room: usize = chunks.iter().map(|(_, chunk)| chunk.body.len()).sum();
        let (log, retention, epoch) = (self.topic.log.clone(), self.topic.retention, self.epoch);
        let attempt = move |connection: &Connection| {
            let move_cursor = "UPDATE topics SET cursor = ?3 WHERE id = ?1 AND publisher_epoch = ?2";
            let current: i64 = connection
                .prepare_cached("SELECT publisher_epoch FROM topics WHERE id = ?1")?
                .query_row([log.topic], |row| row.get(0))?;
            if current != epoch {
                return Ok(Attempt::Fenced);
            }
            let log::Trimmed { held, more } =
                log::trim(connection, &log, (&retention, log::Unread::Stays), now_ms(), room as u64)?;
            // A page that is larger than the bound goes into an empty topic, or it would wait for ever.
            if held > 0 && retention.bytes.is_some_and(|max| held + room as u64 > max) {
                return Ok(if more { Attempt::Trimming } else { Attempt::NoRoom });
            }
            for (partition, chunk) in &chunks {
                log::append(connection, log.partitions[*partition as usize], chunk)?;
            }
            connection.prepare_cached(move_cursor)?.execute(params![log.topic, epoch, cursor])?;
            Ok(Attempt::Appended)
        };
        let attempt = std::sync::Arc::new(attempt);
        let mut saved = self.topic.store.saved().subscribe();
        let mut health = self.topic.store.watch_health();
        loop {
            // Held back while somebody keeps the write-ahead log from being emptied (invariant 8).
            while health.borrow_and_update().wal_over {
                self.held_back.tell(Some("the write-ahead log is over 1 GiB".to_owned()));
                if !matches!(tokio::time::timeout(LOOK_AGAIN, health.changed()).await, Ok(Ok(()))) {
                    // The writer looks at the log after a commit only, and ours may be the one that it waits for.
                    self.topic.store.write(std::sync::Arc::new(|_| Ok(()))).await?;
                }
            }
            saved.mark_unchanged();
            let attempt = attempt.clone();
            match self.topic.store.write_returning(move |connection| attempt(connection)).await? {
                Attempt::Appended => break,
                Attempt::Trimming => {}
                Attempt::Fenced => return Err(Error::Fenced),
                // Only what a save settles can be removed.
                Attempt::NoRoom => {
                    let bytes = retention.bytes.unwrap_or_default();
                    self.held_back.tell(Some(format!("what waits for delivery fills the topic's `retention` of {bytes} bytes")));
                    saved.changed().await.map_err(|_| Error::Fatal("the store is closed".to_owned()))?;
                }
            }
        }
        self.held_back.tell(None);
        self.topic.store.appended().raise();
        Ok(published)
    }
}
