//! A table in a Cassandra cluster.
//!
//! Every row is one execution of a statement that is prepared once: all columns, at the row's own write time (invariant 5), so that
//! whatever is written again leaves the table as it was. No batches, no lightweight transactions. So many rows are in flight at once as
//! the plan says, over all partitions (invariant 8).
//!
//! A row that fails for a reason that may pass is given back, to be written again by whoever asked, for ever; while none succeeds,
//! one row at a time is tried. A row that the server calls invalid is its record's dead letter, unless the table is no longer what it
//! was: that stops the pipeline.

mod check;
mod fault;
mod pulse;
mod row;
mod session;
mod table;
mod write;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use scylla::client::session::Session;
use scylla::statement::prepared::PreparedStatement;
use scylla::statement::{Consistency, Statement};
use tokio::sync::{OnceCell, Semaphore};

use self::fault::Fault;
use self::pulse::Pulse;
use self::table::{Name, quoted};
use super::{BindRejection, Bound, Emitted, Error, Figures, Sink, bind};
use crate::config::code;
use crate::config::plan::{self, SinkPlan};
use crate::record::Place;

pub(super) use check::check;

/// DDL waits for all nodes to agree.
const CREATE_TIMEOUT: Duration = Duration::from_secs(60);

pub(super) struct Cassandra {
    plan: SinkPlan,
    hosts: Vec<String>,
    table: Name,
    /// Once the cluster was there.
    ready: OnceCell<Ready>,
    /// When the cluster was last found to be away, and why.
    failed: Mutex<Option<(Instant, String)>>,
    /// Rows that may be in flight.
    permits: Semaphore,
    pulse: Pulse,
}

struct Ready {
    session: Arc<Session>,
    insert: PreparedStatement,
    delete: PreparedStatement,
}

impl Cassandra {
    /// Makes keyspace and table where they are absent and the plan says so. A cluster that cannot be reached is waited for by the first
    /// write; [`Error::Systemic`] when it refuses, or the table is not what the plan says.
    pub(super) async fn open(plan: &SinkPlan, hosts: &[String], table: &str) -> Result<Cassandra, Error> {
        let cassandra = Cassandra {
            plan: plan.clone(),
            hosts: hosts.to_vec(),
            table: Name::new(table),
            ready: OnceCell::new(),
            failed: Mutex::default(),
            permits: Semaphore::new(plan.cluster.in_flight as usize),
            pulse: Pulse::default(),
        };
        match cassandra.ready().await {
            Ok(_) => {}
            Err(Fault::Transient(reason)) => {
                tracing::warn!(sink = plan.name, "the cluster cannot be reached, it is waited for: {reason}")
            }
            Err(fault) => return Err(fault.into()),
        }
        Ok(cassandra)
    }

    async fn ready(&self) -> Result<&Ready, Fault> {
        let asked = Instant::now();
        let prepare = async || {
            // Those that waited while another one tried have their answer.
            let failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner).clone();
            match failed {
                Some((at, reason)) if at > asked => Err(Fault::Transient(reason)),
                _ => self.prepare().await,
            }
        };
        let ready = self.ready.get_or_try_init(prepare).await;
        ready.inspect_err(|fault| {
            if let Fault::Transient(reason) = fault {
                *self.failed.lock().unwrap_or_else(PoisonError::into_inner) = Some((Instant::now(), reason.clone()));
                self.pulse.out(reason);
            }
        })
    }

    async fn prepare(&self) -> Result<Ready, Fault> {
        let session = session::session(&self.plan.cluster, &self.hosts, &self.table.keyspace).await?;
        if self.plan.create {
            self.create(&session).await?;
        }
        self.compare(&session).await?;
        let (name, columns) = (self.table.cql(), &self.plan.columns);
        let names = columns.iter().map(|column| quoted(&column.column)).collect::<Vec<_>>().join(", ");
        let values = vec!["?"; columns.len()].join(", ");
        let ttl = if self.plan.ttl.is_some() { " AND TTL ?" } else { "" };
        let key = columns.iter().filter(|column| column.key.is_some()).map(|column| format!("{} = ?", quoted(&column.column)));
        let key = key.collect::<Vec<_>>().join(" AND ");
        let insert = format!("INSERT INTO {name} ({names}) VALUES ({values}) USING TIMESTAMP ?{ttl}");
        let delete = format!("DELETE FROM {name} USING TIMESTAMP ? WHERE {key}");
        let (insert, delete) = (self.prepared(&session, insert).await?, self.prepared(&session, delete).await?);
        Ok(Ready { session, insert, delete })
    }

    async fn prepared(&self, session: &Session, text: String) -> Result<PreparedStatement, Fault> {
        let prepared = session.prepare(text).await.map_err(|error| fault::of_request(&error.into()));
        let mut prepared = prepared?;
        prepared.set_consistency(consistency(self.plan.cluster.consistency));
        prepared.set_is_idempotent(true);
        Ok(prepared)
    }

    /// What is there already is never touched: one that may write but not create needs no more.
    async fn create(&self, session: &Session) -> Result<(), Fault> {
        let actual = table::read(session, &self.table).await?;
        for missing in table::differences(&self.plan, &self.table, &actual) {
            if [code::KEYSPACE_MISSING, code::TABLE_MISSING].contains(&missing.code) {
                let mut create = Statement::new(missing.help);
                create.set_request_timeout(Some(CREATE_TIMEOUT));
                session.query_unpaged(create, ()).await.map_err(|error| match fault::of_request(&error) {
                    Fault::Transient(reason) => Fault::Transient(reason),
                    other => Fault::Refused(format!("{}, and it cannot be made: {}", missing.message, Error::from(other))),
                })?;
            }
        }
        Ok(())
    }

    /// Whether the table is what the plan says.
    async fn compare(&self, session: &Session) -> Result<(), Fault> {
        let actual = table::read(session, &self.table).await?;
        let found: Vec<String> = table::differences(&self.plan, &self.table, &actual).iter().map(ToString::to_string).collect();
        if found.is_empty() { Ok(()) } else { Err(Fault::Table(found.join("; "))) }
    }
}

#[async_trait]
impl Sink for Cassandra {
    fn name(&self) -> &str {
        &self.plan.name
    }

    fn bind(&self, emitted: &Emitted<'_>) -> Result<Bound, Vec<BindRejection>> {
        let now_ms = jiff::Timestamp::now().as_millisecond();
        bind::ending_rows(&self.plan.columns, self.plan.ttl, now_ms, emitted).map(Bound::Rows)
    }

    /// On one key the later write time wins, whatever comes first.
    fn takes_any_order(&self) -> bool {
        true
    }

    async fn write(&self, bound: &Bound) -> Result<Vec<(Place, String)>, Error> {
        match bound {
            Bound::Rows(rows) => self.write_rows(rows).await,
            Bound::Messages(_) | Bound::Nothing { .. } => Ok(Vec::new()),
        }
    }

    async fn remembers_deletes(&self) -> Result<Duration, Error> {
        let ready = self.ready().await?;
        let there = table::gc_grace(&ready.session, &self.table).await?;
        there.ok_or_else(|| Error::Systemic(format!("there is no table `{}.{}`", self.table.keyspace, self.table.table)))
    }

    fn figures(&self) -> Option<Figures> {
        Some(self.pulse.figures())
    }
}

fn consistency(wanted: plan::Consistency) -> Consistency {
    match wanted {
        plan::Consistency::One => Consistency::One,
        plan::Consistency::Two => Consistency::Two,
        plan::Consistency::Three => Consistency::Three,
        plan::Consistency::Quorum => Consistency::Quorum,
        plan::Consistency::All => Consistency::All,
        plan::Consistency::LocalOne => Consistency::LocalOne,
        plan::Consistency::LocalQuorum => Consistency::LocalQuorum,
        plan::Consistency::EachQuorum => Consistency::EachQuorum,
    }
}
