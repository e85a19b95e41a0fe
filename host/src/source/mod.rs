//! Where records come from. A source is polled; back-off, schedule and run records are ingest's.

pub mod client;
pub mod file;
pub mod generator;
pub mod http;
pub mod randomuser;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use serde::{Serialize, de::DeserializeOwned};

use crate::config::plan::{GeneratorPlan, SourceKind, SourcePlan};
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
    /// Nothing more is there at present. Polled again where the schedule goes on, for what is added later.
    pub exhausted: bool,
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Back off with jitter, at least `after`, and fetch the same page again. All that a remote side does is this.
    #[error("{reason}")]
    Retry { reason: String, after: Option<Duration> },
    /// It will not pass by itself (a file that is not there, a line that cannot be carried).
    #[error("{0}")]
    Fatal(String),
}

impl Error {
    fn retry(reason: impl Into<String>) -> Error {
        Error::Retry { reason: reason.into(), after: None }
    }
}

#[async_trait]
pub trait Source: Send + Sync {
    /// Fetches the page behind the cursor, at most `records` records. Changes nothing on failure; a repeated call asks for the same page.
    /// Dropping the future is a failure.
    async fn fetch(&mut self, cursor: Option<&Cursor>, records: u32) -> Result<Page, Error>;

    /// HTTP status of the last answer, told once; none where nothing was asked by HTTP, or nobody answered.
    fn answered(&self) -> Option<u16> {
        None
    }

    /// Asks once, with a short deadline, whether the source can be reached; for `dev`, which lets the generator stand in.
    async fn reachable(&mut self) -> Result<(), Error>;
}

/// The source that a plan names. Opens no socket and no file yet.
pub fn open(plan: &SourcePlan) -> Result<Box<dyn Source>, Error> {
    Ok(match &plan.kind {
        SourceKind::RandomUser(kind) => Box::new(randomuser::RandomUser::new(plan, kind)?),
        SourceKind::Http(kind) => Box::new(http::Http::new(plan, kind)?),
        SourceKind::File(kind) => Box::new(file::File::new(plan, kind)),
        SourceKind::Generator(kind) => Box::new(generator::Generator::new(kind)),
    })
}

/// The generator in the place of a source that cannot be reached: same schedule, same amounts. Its store must be another, or the
/// generator's users would stand among the real ones.
pub fn stand_in_plan(plan: &SourcePlan) -> SourcePlan {
    let seed = match &plan.kind {
        SourceKind::RandomUser(kind) => kind.seed.clone(),
        SourceKind::Generator(kind) => kind.seed.clone(),
        SourceKind::Http(_) | SourceKind::File(_) => "tidemill".to_owned(),
    };
    SourcePlan { kind: SourceKind::Generator(GeneratorPlan { seed }), ..plan.clone() }
}

/// A cursor that cannot be read is of another kind of source, hence of another stream.
fn read_cursor<T: DeserializeOwned>(cursor: Option<&Cursor>) -> Option<T> {
    serde::Deserialize::deserialize(&cursor?.0).ok()
}

fn write_cursor<T: Serialize>(place: &T) -> Cursor {
    Cursor(serde_json::to_value(place).expect("a place has text keys and plain values"))
}

fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64)
}
