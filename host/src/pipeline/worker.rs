//! Workers: the threads of the lanes, each with plugin instances of its own. No guest runs anywhere else, but for the search for a record to blame,
//! which has a thread of its own so that a lane's other partitions go on.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::charts;
use super::code;
use super::generation::Generation;
use super::lane::{Lane, Work};
use super::states::States;
use crate::plugin::thread_cpu_time;
use crate::record::{Batch, Columns, RowOutcome};
use crate::sink::{Bound, Emitted};
use crate::topic::figures::Tallies;
use crate::topic::{Boundary, StateChanges};
use crate::transform::{self, Chain, Sampling, StageFigures, Transformed};

/// A batch whose records are all decided and bound for every sink.
pub struct Decided {
    pub batch: Arc<Batch>,
    /// What stages have set by key, once the batch is taken on.
    pub state: StateChanges,
    pub boundary: Boundary,
    pub generation: Arc<Generation>,
    pub outcomes: Vec<RowOutcome>,
    /// One per sink of the generation.
    pub bound: Vec<Bound>,
    pub stages: Vec<StageFigures>,
    /// CPU time of the chain; of one that may wait, time.
    pub took: Duration,
    pub charted: Charted,
}

/// When a thread began with a batch.
struct Began {
    wall: Instant,
    cpu: Duration,
}

impl Began {
    fn now() -> Began {
        Began { wall: Instant::now(), cpu: thread_cpu_time() }
    }

    /// A pause of the machine does not count, a wait that was granted does.
    fn elapsed(&self, generation: &Generation) -> Duration {
        if generation.waits() { self.wall.elapsed() } else { thread_cpu_time().saturating_sub(self.cpu) }
    }
}

/// What the charts count of a batch, and what it is counted over: a sink may refuse a record later.
pub struct Charted {
    pub tallies: Tallies,
    columns: Columns,
    /// Row → record of the batch, ascending; and the rows that are deletes.
    origins: Vec<u32>,
    deleted: Vec<u32>,
}

impl Decided {
    /// Counts again, without the records that are rejected or dropped by now.
    pub fn chart_again(&mut self) {
        let Charted { columns, origins, deleted, .. } = &self.charted;
        let gone = |row: &u32| {
            matches!(self.outcomes[origins[*row as usize] as usize], RowOutcome::Rejected { .. } | RowOutcome::Dropped)
        };
        let rows = origins.len() as u32;
        let skip: Vec<u32> = (0..rows).filter(|row| gone(row) || deleted.binary_search(row).is_ok()).collect();
        self.charted.tallies =
            charts::count(&self.generation.code.charts, columns, origins.len(), &skip, super::now_micros() / 1_000);
    }
}

/// Why a batch is not decided.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Back off, same batch again.
    #[error("{0}")]
    Retry(String),
    /// The chain cannot be made, or a worker has ended: the pipeline stops.
    #[error("{0}")]
    Fatal(String),
}

struct Job {
    batch: Arc<Batch>,
    boundary: Boundary,
    generation: Arc<Generation>,
    states: States,
    sampling: Arc<Sampling>,
    oldest: u64,
    reply: oneshot::Sender<Result<Decided, Failure>>,
}

enum Failure {
    Chain(transform::Error),
    Fatal(String),
}

/// Partitions are spread over the lanes by number; a lane has one thread, and more only while a batch of it is stuck.
#[derive(Clone)]
pub struct Workers {
    lanes: Vec<Lane<Job, Worker>>,
    sampling: Arc<Sampling>,
    /// Generations below this number decide nothing any more.
    oldest: Arc<AtomicU64>,
}

impl Workers {
    /// Starts `count` lanes, each with room for one batch of every partition it may have (invariant 8). They end when the last
    /// handle is dropped.
    pub fn start(count: usize, partitions: u32) -> std::io::Result<Workers> {
        let partitions = partitions.max(1) as usize;
        let lanes = (0..count.clamp(1, partitions))
            .map(|at| Lane::start(format!("worker-{at}"), partitions, Worker::default))
            .collect::<std::io::Result<Vec<_>>>()?;
        Ok(Workers { lanes, sampling: Arc::default(), oldest: Arc::default() })
    }

    pub fn count(&self) -> usize {
        self.lanes.len()
    }

    /// Lets the workers drop their chains of generations below a number, each with its next batch.
    pub(super) fn forget(&self, below: u64) {
        self.oldest.store(below, Ordering::Relaxed);
    }

    /// Records that people may follow through the stages.
    pub fn sampling(&self) -> &Sampling {
        &self.sampling
    }

    /// Decides a batch: on the partition's lane, and beside it where a record must be blamed. What its stages set in `states` counts
    /// once the batch is taken on ([`States::keep`]).
    pub async fn decide(
        &self,
        batch: Arc<Batch>,
        boundary: Boundary,
        generation: Arc<Generation>,
        states: &States,
    ) -> Result<Decided, Error> {
        let lane = &self.lanes[batch.partition() as usize % self.lanes.len()];
        let (reply, answer) = oneshot::channel();
        let waits = generation.waits();
        let oldest = self.oldest.load(Ordering::Relaxed);
        let (lent, sampling) = (states.clone(), self.sampling.clone());
        let generation_of = generation.clone();
        let job = Job { batch: batch.clone(), boundary, generation: generation_of, states: lent, sampling, oldest, reply };
        lane.hand_over(job, waits).await.map_err(Error::Fatal)?;
        match answer.await.map_err(|_| ended("a worker"))? {
            Err(Failure::Chain(failed @ transform::Error::Blame { .. })) => {
                tracing::debug!(%failed, records = batch.rows(), "searching a batch for the record to blame");
                blame(batch, boundary, generation, states.clone(), Some(failed)).await
            }
            other => other.map_err(Error::from),
        }
    }
}

/// Decides one batch on a thread of its own, with a fresh chain. Its stages find no state, and what they set is thrown away.
pub async fn decide_alone(batch: Arc<Batch>, boundary: Boundary, generation: Arc<Generation>) -> Result<Decided, Error> {
    blame(batch, boundary, generation, States::default(), None).await
}

/// As [`decide_alone`], and what it is decided over: for those who write nothing.
pub async fn rehearse(batch: Arc<Batch>, boundary: Boundary, generation: Arc<Generation>) -> Result<(Decided, Columns), Error> {
    let rehearsed = on_own_thread("rehearse", move || {
        let began = Began::now();
        let mut chain = generation.code.chain().map_err(Failure::Chain)?;
        let transformed = transform::blame(&mut chain, &batch, None).map_err(Failure::Chain)?;
        let columns = transformed.columns.clone();
        Ok((bind(transformed, batch, boundary, generation, began)?, columns))
    });
    rehearsed.await?.map_err(|failure: Failure| Error::from(failure))
}

async fn blame(
    batch: Arc<Batch>,
    boundary: Boundary,
    generation: Arc<Generation>,
    states: States,
    failed: Option<transform::Error>,
) -> Result<Decided, Error> {
    let searched = on_own_thread("blame", move || {
        let began = Began::now();
        let mut chain = generation.code.chain().map_err(Failure::Chain)?;
        let transformed =
            transform::blame_with(&mut chain, &mut states.lend(), &batch, failed.as_ref()).map_err(Failure::Chain)?;
        bind(transformed, batch, boundary, generation, began)
    });
    searched.await?.map_err(Error::from)
}

async fn on_own_thread<T: Send + 'static>(name: &str, run: impl FnOnce() -> T + Send + 'static) -> Result<T, Error> {
    let (reply, answer) = oneshot::channel();
    let spawned = thread::Builder::new().name(name.to_owned()).spawn(move || {
        // Of this thread only. Without it, the search competes with the stream, which is no reason not to search.
        let _ = rustix::process::nice(SEARCH_NICENESS);
        // Nobody waits any more when the host gave up while draining.
        let _ = reply.send(run());
    });
    spawned.map_err(|error| Error::Fatal(format!("start a thread: {error}")))?;
    answer.await.map_err(|_| ended("a thread"))
}

/// The stream goes first.
const SEARCH_NICENESS: i32 = 5;

fn ended(what: &str) -> Error {
    Error::Fatal(format!("{what} ended unexpectedly"))
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Error {
        match failure {
            Failure::Chain(error @ transform::Error::Retry { .. }) => Error::Retry(error.to_string()),
            // A search that cannot blame anybody and cannot go on is no record's fault.
            Failure::Chain(error @ transform::Error::Blame { .. }) => Error::Retry(error.to_string()),
            Failure::Fatal(reason) => Error::Fatal(reason),
        }
    }
}

/// Chains that a worker keeps: the present one, and one whose last records may still come.
const CHAINS_MAX: usize = 2;

/// Chains with instances of this thread's own, by generation.
#[derive(Default)]
struct Worker {
    chains: HashMap<u64, Chain>,
}

impl Work<Job> for Worker {
    fn run(&mut self, Job { batch, boundary, generation, states, sampling, oldest, reply }: Job) {
        let number = generation.number;
        self.chains.retain(|number, _| *number >= oldest);
        let fresh = || generation.ready_chain().map(|chain| chain.sampled(sampling, number));
        let mut chain = match self.chains.remove(&number).map_or_else(fresh, Ok) {
            Ok(chain) => chain,
            Err(error) => {
                let _ = reply.send(Err(Failure::Chain(error)));
                return;
            }
        };
        let _ = reply.send(decide(&mut chain, &states, batch, boundary, generation));
        chain.restock();
        if self.chains.len() >= CHAINS_MAX {
            self.chains.clear();
        }
        self.chains.insert(number, chain);
    }
}

fn decide(
    chain: &mut Chain,
    states: &States,
    batch: Arc<Batch>,
    boundary: Boundary,
    generation: Arc<Generation>,
) -> Result<Decided, Failure> {
    let began = Began::now();
    let transformed = chain.process_with(&mut states.lend(), &batch).map_err(Failure::Chain)?;
    bind(transformed, batch, boundary, generation, began)
}

/// Binds for all sinks before any is written: a record that one of them cannot take is rejected whole.
fn bind(
    mut transformed: Transformed,
    batch: Arc<Batch>,
    boundary: Boundary,
    generation: Arc<Generation>,
    began: Began,
) -> Result<Decided, Failure> {
    let took = began.elapsed(&generation);
    if generation.code.stamped {
        code::stamp(&mut transformed, boundary.generation);
    }
    let bound = loop {
        let write_times: Vec<i64> =
            transformed.origins.iter().map(|record| boundary.write_time(batch.offsets()[*record as usize])).collect();
        let emitted = Emitted {
            batch: &batch,
            origins: &transformed.origins,
            deleted: &transformed.deleted,
            columns: &transformed.columns,
            write_times: &write_times,
            messages: transformed.messages.as_deref(),
        };
        let mut bound = Vec::with_capacity(generation.code.sinks.len());
        let mut refused = BTreeMap::new();
        for sink in &generation.code.sinks {
            match sink.bind(&emitted) {
                Ok(rows) => bound.push(rows),
                Err(rejections) => {
                    for rejection in rejections {
                        let reason = format!("sink {}: {}", sink.name(), rejection.reason);
                        refused.entry(rejection.record).or_insert(reason);
                    }
                }
            }
        }
        if bound.len() == generation.code.sinks.len() {
            break bound;
        }
        let rows = transformed.origins.len();
        transformed.reject(&refused);
        if transformed.origins.len() == rows {
            return Err(Failure::Fatal("a sink refuses a batch without naming a record of it".to_owned()));
        }
    };
    let ended = ended_everywhere(&bound);
    for &record in &ended {
        if transformed.outcomes[record as usize] == RowOutcome::Emitted {
            transformed.outcomes[record as usize] = RowOutcome::Dropped;
        }
    }
    let charts = &generation.code.charts;
    let mut columns = transformed.columns;
    columns.retain(|name| charts.iter().any(|chart| chart.field.name == name));
    let (origins, deleted) = (transformed.origins, transformed.deleted);
    let tallies = charts::count(charts, &columns, origins.len(), &deleted, super::now_micros() / 1_000);
    let mut decided = Decided {
        charted: Charted { tallies, columns, origins, deleted },
        outcomes: transformed.outcomes,
        stages: transformed.stages,
        batch,
        state: StateChanges::new(),
        boundary,
        generation,
        bound,
        took,
    };
    if !ended.is_empty() {
        decided.chart_again();
    }
    Ok(decided)
}

/// Records that every sink left out, since their time to live has run out.
fn ended_everywhere(bound: &[Bound]) -> Vec<u32> {
    let left_out = |bound: &Bound| match bound {
        Bound::Rows(rows) => rows.expired.clone(),
        Bound::Messages(_) | Bound::Nothing { .. } => Vec::new(),
    };
    let mut bound = bound.iter();
    let mut ended = bound.next().map(left_out).unwrap_or_default();
    for bound in bound {
        let others = left_out(bound);
        ended.retain(|record| others.binary_search(record).is_ok());
    }
    ended
}
