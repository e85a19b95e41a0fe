//! Where records come from. A source is polled; back-off, schedule and run records are ingest's.

use std::time::Duration;

use async_trait::async_trait;

use crate::record::Message;
use crate::topic::Cursor;

/// What one poll brought.
#[derive(Clone, Debug)]
pub struct Page {
    /// Without keys; ingest sets them from `[topic] key`.
    pub messages: Vec<Message>,
    /// Where to go on; published together with the messages.
    pub next: Cursor,
    /// Bytes received.
    pub bytes: u64,
    /// For a person: `seed tidemill, page 3`.
    pub what: String,
    /// What is odd but no error: fewer records than asked, duplicated ids, a gender filtered here.
    pub notes: Vec<String>,
    /// No further page will come.
    pub exhausted: bool,
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Back off with jitter, at least `after`, and fetch the same page again.
    #[error("{reason}")]
    Retry { reason: String, after: Option<Duration> },
    /// It will not pass by itself (a 4xx that is our fault, a file that is not there).
    #[error("{0}")]
    Fatal(String),
}

#[async_trait]
pub trait Source: Send {
    /// Fetches the page behind the cursor, at most `records` records. Changes nothing on failure; a repeated call asks for the same page.
    async fn fetch(&mut self, cursor: Option<&Cursor>, records: u32) -> Result<Page, Error>;

    /// Waits until the source can be reached, or says why not; for `dev`, which lets the generator stand in.
    async fn reachable(&mut self) -> Result<(), Error>;
}
