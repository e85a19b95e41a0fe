//! Where results go. All rows are bound for all sinks before any is written, so that one that cannot be bound rejects its record.

pub mod bind;
mod cassandra;
pub mod embedded;
mod file;
pub mod json;
mod kafka;
mod lines;
pub mod memory;
mod null;
mod stdout;
mod topic;

use std::time::Duration;

use async_trait::async_trait;

use crate::config::Places;
use crate::config::diagnostic::Diagnostic;
use crate::config::plan::{CqlType, SinkAddress, SinkPlan};
use crate::record::{Batch, Buffer, Columns, Message, Place};
use crate::store;

/// What leaves the chain, row by row: the input of binding.
pub struct Emitted<'a> {
    pub batch: &'a Batch,
    /// Row → record of the batch. Several rows may come of one record; they ascend.
    pub origins: &'a [u32],
    /// Rows to be deleted from the tables, ascending.
    pub deleted: &'a [u32],
    /// Columns by field name: what stages wrote and what was projected for the sinks.
    pub columns: &'a Columns,
    /// Write time of each row, µs.
    pub write_times: &'a [i64],
    /// Whole records with the written fields set at their paths, as JSON; made only where a byte sink asks for them.
    pub messages: Option<&'a [Message]>,
}

/// Values as they lie in memory; what they mean is their column's CQL type.
#[derive(Clone, Debug, PartialEq)]
pub enum BoundValues {
    /// text and ascii (UTF-8), blob; decimal, varint, inet, list, set and map as CQL's native protocol writes them, without their length.
    Buffer(Buffer),
    /// uuid and timeuuid.
    Uuids(Vec<[u8; 16]>),
    /// int, bigint, smallint, tinyint; timestamp in ms since 1970, date in days since 1970, time in ns since midnight.
    Integers(Vec<i64>),
    /// float and double.
    Floats(Vec<f64>),
    Booleans(Vec<bool>),
}

#[derive(Clone, Debug, PartialEq)]
pub struct BoundColumn {
    pub cql: CqlType,
    pub values: BoundValues,
    /// Ascending.
    pub nulls: Vec<u32>,
}

impl BoundColumn {
    pub fn is_null(&self, row: usize) -> bool {
        !self.nulls.is_empty() && self.nulls.binary_search(&(row as u32)).is_ok()
    }
}

/// Rows for a table, columns in the order of the sink's plan.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rows {
    pub columns: Vec<BoundColumn>,
    pub places: Vec<Place>,
    /// µs.
    pub write_times: Vec<i64>,
    /// Rows that are deletes: only their key columns count. Ascending.
    pub deleted: Vec<u32>,
    /// When each row ends, ms since 1970; empty where rows stay.
    pub ends: Vec<i64>,
    /// Records of the batch that were left out, since they have ended already. Ascending.
    pub expired: Vec<u32>,
}

impl Rows {
    pub fn len(&self) -> usize {
        self.places.len()
    }

    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    pub fn is_deleted(&self, row: usize) -> bool {
        !self.deleted.is_empty() && self.deleted.binary_search(&(row as u32)).is_ok()
    }
}

/// Everything a sink was given of one batch, ready to be written.
#[derive(Clone, Debug, PartialEq)]
pub enum Bound {
    Rows(Rows),
    /// For byte sinks.
    Messages(Vec<(Place, Message)>),
    /// For the null sink.
    Nothing {
        rows: usize,
    },
}

impl Bound {
    pub fn rows(&self) -> usize {
        match self {
            Bound::Rows(rows) => rows.len(),
            Bound::Messages(messages) => messages.len(),
            Bound::Nothing { rows } => *rows,
        }
    }
}

/// A record that cannot be bound: the record of the batch and why, with column and value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BindRejection {
    pub record: u32,
    pub reason: String,
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Back off and write the same again, for ever.
    #[error("{0}")]
    Transient(String),
    /// Some rows are written; back off and write the others, for ever.
    #[error("{reason}")]
    Partly {
        reason: String,
        rest: Box<Bound>,
        /// As what [`Sink::write`] returns.
        refused: Vec<(Place, String)>,
    },
    #[error("{0}")]
    Full(String),
    /// The sink as a whole is wrong (no such table): the pipeline stops.
    #[error("{0}")]
    Systemic(String),
}

/// As a table of Cassandra's unless it was told otherwise.
pub const DELETES_REMEMBERED: Duration = Duration::from_secs(10 * 24 * 60 * 60);

#[async_trait]
pub trait Sink: Send + Sync {
    fn name(&self) -> &str;

    /// Whether binding needs [`Emitted::messages`].
    fn wants_messages(&self) -> bool {
        false
    }

    /// Binds every row or says which records cannot be. CPU only, called on a worker thread. Records in `rejections` of
    /// another sink are left out by a second call without them.
    fn bind(&self, emitted: &Emitted<'_>) -> Result<Bound, Vec<BindRejection>>;

    /// The write as part of a transaction of `store`, when this sink lives there; `Err` gives the rows back.
    #[allow(clippy::result_large_err, reason = "the rows are handed back as they came, once per batch")]
    fn join(&self, _store: &store::Store, bound: Bound) -> Result<store::Write, Bound> {
        Err(bound)
    }

    /// Writes and confirms, durable when it returns. Idempotent for tables. Records that the server refuses for their own
    /// sake come back as rejections (their place and reason).
    async fn write(&self, bound: &Bound) -> Result<Vec<(Place, String)>, Error>;

    /// Whether several writes may be under way at once, so that a later batch may be there before an earlier one.
    fn takes_any_order(&self) -> bool {
        false
    }

    /// How long a deleted row's write time is remembered: what is written with an earlier one may bring the row back.
    async fn remembers_deletes(&self) -> Result<Duration, Error> {
        Ok(DELETES_REMEMBERED)
    }

    /// What the sink itself knows of its writes; `None` where there is no more to it than the calls.
    fn figures(&self) -> Option<Figures> {
        None
    }

    /// Counts the rows of its table, however long that takes. `None`: it has none.
    async fn count(&self) -> Result<Option<u64>, Error> {
        Ok(None)
    }
}

/// How a sink that writes row by row is doing.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Figures {
    /// Rows that wait for an answer.
    pub in_flight: u64,
    pub latencies: Option<Latencies>,
    /// `closed`; `open` while one row at a time is tried, since none was taken; `half-open` while one is.
    pub breaker: &'static str,
    pub last_error: Option<String>,
}

/// How long the latest rows took, ms: exact, over `of` of them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Latencies {
    pub p50: f64,
    pub p95: f64,
    pub p99: f64,
    pub max: f64,
    pub of: usize,
}

impl From<store::Error> for Error {
    fn from(error: store::Error) -> Error {
        match error {
            store::Error::Full(reason) => Error::Full(reason),
            store::Error::Busy(reason) => Error::Transient(reason),
            other => Error::Systemic(other.to_string()),
        }
    }
}

/// Opens the sink of a plan, ready to be written to: tables are there, files are open.
pub async fn open(plan: &SinkPlan, store: &store::Store) -> Result<Box<dyn Sink>, Error> {
    let (name, columns) = (plan.name.as_str(), plan.columns.as_slice());
    Ok(match &plan.at {
        SinkAddress::Embedded { table } => Box::new(embedded::Embedded::open(store, plan, table).await?),
        SinkAddress::File { path } => Box::new(file::FileSink::open(name, path, columns)?),
        SinkAddress::Stdout => Box::new(stdout::Stdout { name: name.to_owned(), columns: columns.to_vec() }),
        SinkAddress::Topic { name: topic, retention } => Box::new(topic::TopicSink::open(store, name, topic, *retention).await?),
        SinkAddress::KafkaTopic { name: topic, cluster } => Box::new(kafka::KafkaSink::open(name, topic, cluster).await?),
        SinkAddress::Null => Box::new(null::Null { name: name.to_owned() }),
        SinkAddress::Memory { name: at } => Box::new(memory::Memory::open(name, at, columns)),
        SinkAddress::Cassandra { hosts, table } => Box::new(cassandra::Cassandra::open(plan, hosts, table).await?),
    })
}

/// Asks what is at the sink's address whether it is there and fits the plan. It reads and changes nothing.
pub async fn check(plan: &SinkPlan, places: &Places) -> Vec<Diagnostic> {
    match &plan.at {
        SinkAddress::Cassandra { hosts, table } => cassandra::check(plan, hosts, table, places).await,
        _ => Vec::new(),
    }
}
