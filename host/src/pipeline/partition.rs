//! One partition during one assignment: batches are cut at boundaries and decided here, then written, settled and saved (`settle`).
//!
//! Two loops with a short queue between them, so that a worker decides the next batch while the sinks write the last one.
//!
//! A swap is taken up between two batches, also where none comes: its boundary begins at the next offset that is not decided (invariant 2).

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, watch};

use super::begin::Begun;
use super::boundary::Course;
use super::crash;
use super::deliver::Deliver;
use super::drain::BackOff;
use super::generation::{Generation, Joined};
use super::settle::Settle;
use super::states::States;
use super::worker::{self, Decided};
use crate::record::Batch;
use crate::topic::{self, Boundary, Position, Saver};

/// What the topic hands out for the partition.
pub(super) enum Handed {
    Batch(Batch),
    /// The end was reached: nothing comes below this offset any more.
    End(i64),
}

#[allow(clippy::large_enum_variant, reason = "the queue holds two of them")]
pub(super) enum Step {
    Decided(Decided),
    /// What comes next is decided under it.
    Boundary(Boundary),
    End(i64),
}

/// Why a partition ends before its queue does.
#[derive(Debug)]
pub(super) enum Stop {
    /// What is in flight will be delivered again, harmlessly: the host drains, or the partition is another's now.
    GivenUp,
    /// The pipeline must stop, and why.
    Fault(String),
}

/// Decided batches that wait for the sinks (invariant 8).
pub(super) const DECIDED_AHEAD: usize = 2;
pub(super) const PAUSE_MIN: Duration = Duration::from_millis(50);
pub(super) const PAUSE_MAX: Duration = Duration::from_secs(10);
/// A roll-back that takes longer is asked about again.
const ROLL_BACK_MAX: Duration = Duration::from_secs(1);

pub(super) struct Partition {
    pub number: u32,
    pub position: Option<Position>,
    /// The first offset that the topic holds.
    pub first: i64,
    /// Where a person has moved the offset to.
    pub moved: Option<i64>,
    pub saver: Arc<dyn Saver>,
    pub deliver: Arc<Deliver>,
}

impl Partition {
    pub async fn run(self, handed: mpsc::Receiver<Handed>) -> Result<(), Stop> {
        let deliver = self.deliver.clone();
        let states = load_states(&deliver, self.saver.as_ref(), self.number).await?;
        let Begun { course, mut position, again_below, afresh } = self.begin().await?;
        let charts = deliver.generations.present().code.charts.clone();
        position.figures.tallies.retain(|key| charts.iter().any(|chart| chart.key() == key));
        let counted_below = position.figures.counted_below.unwrap_or(i64::MIN);
        let (decided, steps) = mpsc::channel(DECIDED_AHEAD);
        let mut deciding = Deciding {
            deliver: &deliver,
            number: self.number,
            next: position.next,
            present: deliver.generations.watch(),
            course,
            states,
            counted_below,
            needs: None,
            steps: decided,
        };
        let settle = Settle::new(self.number, position, &deciding.course, again_below, counted_below, self.saver, &deliver);
        deciding.join().await;
        let decide = deciding.run(handed);
        let settle = settle.run(steps, afresh);
        tokio::pin!(settle);
        let ended = tokio::select! {
            // It ends before the other loop only when it cannot go on.
            stopped = &mut settle => stopped,
            decided = decide => settle.await.and(decided),
        };
        deliver.needs(self.number, None).await;
        ended
    }
}

/// Hands batches to the worker, each to the generation that decides it.
struct Deciding<'a> {
    deliver: &'a Deliver,
    number: u32,
    /// All below it was decided.
    next: i64,
    present: watch::Receiver<Arc<Generation>>,
    course: Course,
    /// What the stages keep by key.
    states: States,
    /// The oldest generation that the deliver leg was told to keep for it.
    needs: Option<u64>,
    steps: mpsc::Sender<Step>,
    /// Records below it are counted already.
    counted_below: i64,
}

impl Deciding<'_> {
    async fn run(mut self, mut handed: mpsc::Receiver<Handed>) -> Result<(), Stop> {
        loop {
            tokio::select! {
                biased;
                // Between two batches, also where none comes.
                Ok(()) = self.present.changed() => self.swap().await?,
                next = handed.recv() => match next {
                    None => return Ok(()),
                    Some(Handed::End(end)) => self.steps.send(Step::End(end)).await.map_err(|_| Stop::GivenUp)?,
                    Some(Handed::Batch(batch)) => self.batch(batch).await?,
                },
            }
        }
    }

    /// Lets another generation decide from here on. Its boundary need not wait for its first row to be saved.
    async fn swap(&mut self) -> Result<(), Stop> {
        self.join().await;
        match self.course.begin(self.next, super::now_micros()) {
            Some(boundary) => self.steps.send(Step::Boundary(boundary)).await.map_err(|_| Stop::GivenUp),
            None => Ok(()),
        }
    }

    /// Lets the present generation decide from here on.
    async fn join(&mut self) {
        let began = Instant::now();
        let generation = self.present.borrow_and_update().clone();
        self.course.change(generation.number);
        let first = self.course.floor(self.next);
        let in_flight = self.next - self.deliver.progress.of(self.number).unwrap_or(self.next);
        generation.join(self.number, Joined { first, in_flight, pause: began.elapsed() });
        self.told().await;
    }

    /// Says what is needed no longer.
    async fn told(&mut self) {
        let oldest = self.course.oldest(self.next);
        if self.needs != Some(oldest) {
            self.needs = Some(oldest);
            self.deliver.needs(self.number, self.needs).await;
        }
    }

    async fn batch(&mut self, batch: Batch) -> Result<(), Stop> {
        crash::point("after-poll");
        let mut batch = batch;
        // A batch is counted as a whole or not at all.
        let spans = batch.offsets().first().is_some_and(|first| *first < self.counted_below);
        let rest = if spans { batch.split_off(self.counted_below) } else { Batch::new(self.number) };
        let mut left = vec![rest, batch];
        while let Some(batch) = left.pop() {
            let Some((boundary, piece, rest)) = self.course.cut(batch, super::now_micros()) else { continue };
            left.push(rest);
            match self.decide(boundary, Arc::new(piece)).await? {
                Ok(mut decided) => {
                    decided.state = self.states.keep();
                    crash::point("after-chain");
                    self.next = decided.batch.offsets().last().map_or(self.next, |last| last + 1);
                    self.steps.send(Step::Decided(decided)).await.map_err(|_| Stop::GivenUp)?;
                    self.told().await;
                }
                Err(given_back) => left.push(given_back),
            }
        }
        Ok(())
    }

    /// Holds the partition while a plugin is not ready; nobody is to blame. The inner `Err` gives the batch back: another generation has
    /// come meanwhile, which decides it.
    async fn decide(&mut self, boundary: Boundary, batch: Arc<Batch>) -> Result<Result<Decided, Batch>, Stop> {
        let deliver = self.deliver;
        let generation = deliver.generations.get(boundary.generation).await.map_err(Stop::Fault)?;
        let first = batch.offsets().first().copied().unwrap_or(self.next);
        let may_give_back = self.course.may_give_back(first);
        let mut back_off = BackOff::new(PAUSE_MIN, PAUSE_MAX);
        let mut held = false;
        loop {
            let pause = match deliver.workers.decide(batch.clone(), boundary, generation.clone(), &self.states).await {
                Ok(decided) if may_give_back && deliver.breaker.stops(&decided) => {
                    // Nothing of it is written: what the breaker stopped decides nothing more.
                    self.hold("rolling back", None);
                    ROLL_BACK_MAX
                }
                Ok(decided) => {
                    if held {
                        deliver.report.partition(self.number, |status| "delivering".clone_into(&mut status.state));
                    }
                    deliver.recent.note(&decided);
                    deliver.beside.offer(&decided.batch, &generation);
                    return Ok(Ok(decided));
                }
                Err(worker::Error::Retry(reason)) => {
                    self.hold("backing off", Some(reason));
                    back_off.pause()
                }
                Err(worker::Error::Fatal(reason)) => return Err(Stop::Fault(reason)),
            };
            held = true;
            tokio::select! {
                biased;
                () = deliver.drain.begun() => return Err(Stop::GivenUp),
                Ok(()) = self.present.changed(), if may_give_back => {
                    self.course.give_back(first);
                    self.swap().await?;
                    return Ok(Err(Arc::unwrap_or_clone(batch)));
                }
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    fn hold(&self, state: &str, reason: Option<String>) {
        self.deliver.report.partition(self.number, |status| {
            state.clone_into(&mut status.state);
            status.last_error = reason.or(status.last_error.take());
        });
    }
}

/// What the partition's stages have kept as of its position: nothing is decided before it is there.
async fn load_states(deliver: &Deliver, saver: &dyn Saver, number: u32) -> Result<States, Stop> {
    let about = format!("partition {number}: state");
    let mut back_off = BackOff::new(PAUSE_MIN, PAUSE_MAX);
    loop {
        match saver.state(number).await {
            Ok(stored) => {
                deliver.report.alarm(&about, None);
                return Ok(States::new(stored));
            }
            Err(error @ (topic::Error::Transient(_) | topic::Error::Full(_))) => {
                deliver.report.alarm(&about, Some(format!("partition {number} waits to read its stages' state: {error}")));
                deliver.drain.or(tokio::time::sleep(back_off.pause())).await.ok_or(Stop::GivenUp)?;
            }
            Err(topic::Error::Fenced) => return Err(Stop::GivenUp),
            Err(error) => return Err(Stop::Fault(format!("read the state of partition {number}: {error}"))),
        }
    }
}
