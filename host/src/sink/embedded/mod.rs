//! A table in the pipeline's own store, with kinds that mirror CQL's.
//!
//! Rows are upserts by key that compare write times, as Cassandra does by cell: an older write changes nothing, an equal one is the same
//! record again (invariant 5). All columns are bound every time, so that no row is ever a mix of two records. A delete leaves key and write
//! time, hidden, for ten days, or a replayed older record would bring the row back.
//!
//! The table `k.t` is stored as `k.t:rows`; what other tools and people read is the view `k.t` of the live rows with the declared columns:
//! uuid, date, time, decimal, varint and inet as text, lists, sets and maps as JSON, timestamp as integer ms, boolean 0/1. A column that is
//! no longer declared stays in the table, null in every row written from then on.
//!
//! With a `ttl` a row has its end beside it. From then on it is hidden as a deleted one is.

mod rows;
mod table;
mod write;

use std::sync::Arc;
use std::sync::atomic::AtomicI64;
use std::time::Duration;

use async_trait::async_trait;

use super::{BindRejection, Bound, Emitted, Error, Rows, Sink, bind};
use crate::config::plan::{SinkColumn, SinkPlan};
use crate::record::Place;
use crate::store::keys::Keys;
use crate::store::{Store, Write};

pub use rows::{count, latest};

pub(super) struct Embedded {
    name: String,
    store: Store,
    table: Arc<Table>,
}

/// A table that is there, and the statements that write to it.
struct Table {
    name: String,
    columns: Vec<SinkColumn>,
    ttl: Option<Duration>,
    /// Whether rows have their end beside them.
    ends: bool,
    /// The stored row of each key.
    keys: Arc<Keys>,
    insert: String,
    update: String,
    insert_deleted: String,
    clear: String,
    purge: String,
    /// When hidden rows were last removed, ms.
    purged_ms: AtomicI64,
}

impl Embedded {
    /// Makes the table where it is absent and the plan says so; [`Error::Systemic`] when it is there with other types or another key.
    pub(super) async fn open(store: &Store, plan: &SinkPlan, table: &str) -> Result<Embedded, Error> {
        let (wanted, wants) = (table.to_owned(), plan.clone());
        let opened = store.write_returning(move |connection| table::open(connection, &wanted, &wants)).await?;
        let stored = opened.map_err(Error::Systemic)?;
        let table = Arc::new(Table::new(store, table, plan, &stored));
        Ok(Embedded { name: plan.name.clone(), store: store.clone(), table })
    }

    fn write_of(&self, rows: Arc<Rows>) -> Write {
        let table = self.table.clone();
        Arc::new(move |connection| table.write(connection, &rows))
    }
}

#[async_trait]
impl Sink for Embedded {
    fn name(&self) -> &str {
        &self.name
    }

    fn bind(&self, emitted: &Emitted<'_>) -> Result<Bound, Vec<BindRejection>> {
        let now_ms = jiff::Timestamp::now().as_millisecond();
        bind::ending_rows(&self.table.columns, self.table.ttl, now_ms, emitted).map(Bound::Rows)
    }

    fn join(&self, store: &Store, bound: Bound) -> Result<Write, Bound> {
        match bound {
            Bound::Rows(rows) if self.store.is(store) => Ok(self.write_of(Arc::new(rows))),
            other => Err(other),
        }
    }

    async fn write(&self, bound: &Bound) -> Result<Vec<(Place, String)>, Error> {
        if let Bound::Rows(rows) = bound {
            self.store.write(self.write_of(Arc::new(rows.clone()))).await?;
        }
        Ok(Vec::new())
    }

    async fn count(&self) -> Result<Option<u64>, Error> {
        Ok(Some(count(&self.store, &self.table.name).await?))
    }
}
