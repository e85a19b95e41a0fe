//! The deliver leg: topic to sinks. One task per assigned partition; this one hands the topic's events to them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::{AbortHandle, JoinSet};

use super::breaker::Breaker;
use super::crash;
use super::dead_letter::Threshold;
use super::drain::{BackOff, Drain};
use super::generation::Generations;
use super::partition::{Handed, Partition, Stop};
use super::recent::Recent;
use super::report::{Report, STOPPED};
use super::shadow::Beside;
use super::worker::Workers;
use crate::record::RowOutcome;
use crate::topic::{self, Consumer, Event, Saver, Topic, Window};

/// A partition that is taken away must be given up well before the topic's own deadline.
const REVOKE_DEADLINE: Duration = Duration::from_secs(5);
/// Between two looks at a topic that cannot be read.
const READ_FAILED_PAUSE: Duration = Duration::from_millis(50);

pub struct Deliver {
    pub topic: Arc<dyn Topic>,
    pub generations: Generations,
    pub workers: Workers,
    pub window: Window,
    /// Named in dead letters.
    pub host: String,
    pub threshold: Option<Mutex<Threshold>>,
    pub report: Report,
    pub progress: Progress,
    pub breaker: Arc<Breaker>,
    pub recent: Recent,
    pub beside: Beside,
    pub drain: Drain,
    /// How long what is in flight may take once draining has begun.
    pub drain_deadline: Duration,
    /// How long settled records may wait to be saved together: to save is dear where the sinks do not take part in it.
    pub save_every: Duration,
}

/// Up to which offset each partition is settled; those that wait for the end of a topic watch it.
#[derive(Clone)]
pub struct Progress(Arc<watch::Sender<BTreeMap<u32, i64>>>);

impl Default for Progress {
    fn default() -> Progress {
        Progress(Arc::new(watch::channel(BTreeMap::new()).0))
    }
}

impl Progress {
    pub(super) fn settled(&self, partition: u32, next: i64) {
        self.0.send_if_modified(|settled| settled.insert(partition, next) != Some(next));
    }

    /// Up to where a partition is settled, once that was told.
    pub(super) fn of(&self, partition: u32) -> Option<i64> {
        self.0.borrow().get(&partition).copied()
    }

    /// Waits until every partition is settled up to its end.
    pub async fn reaches(&self, ends: &[topic::Ends]) {
        let reached = |settled: &BTreeMap<u32, i64>| {
            ends.iter().all(|end| end.first == end.end || settled.get(&end.partition).is_some_and(|next| *next >= end.end))
        };
        let _ = self.0.subscribe().wait_for(reached).await;
    }
}

struct Lane {
    handed: mpsc::Sender<Handed>,
    /// Closes when the partition's task has ended.
    ended: oneshot::Receiver<()>,
    abort: AbortHandle,
}

type Tasks = JoinSet<(u32, Result<(), Stop>)>;

impl Deliver {
    /// Delivers until draining begins or something stops the pipeline; `Err` says what. When it returns, all that was in flight is
    /// settled, or given up to be delivered again.
    pub async fn run(self: Arc<Self>) -> Result<(), String> {
        let mut tasks = Tasks::new();
        let mut lanes = BTreeMap::new();
        let mut consumer = None;
        let delivered = self.hand_out(&mut consumer, &mut tasks, &mut lanes).await;
        self.drain.begin();
        crash::point("in-drain");
        // Without their queues the partitions end as soon as what is in flight is settled, and saved: the consumer holds them until then.
        lanes.clear();
        let mut fault = delivered.err();
        let finish = async {
            while let Some(ended) = tasks.join_next().await {
                fault = fault.take().or(self.ended(ended).err());
            }
        };
        let in_time = tokio::time::timeout(self.drain_deadline, finish).await;
        if in_time.is_err() {
            tracing::warn!("what is in flight was given up after {:?}: it will be delivered again", self.drain_deadline);
            tasks.shutdown().await;
        }
        if let Some(mut consumer) = consumer {
            consumer.close().await;
        }
        fault.map_or(Ok(()), Err)
    }

    async fn hand_out(
        self: &Arc<Self>,
        consumer: &mut Option<Box<dyn Consumer>>,
        tasks: &mut Tasks,
        lanes: &mut BTreeMap<u32, Lane>,
    ) -> Result<(), String> {
        let Some(consumer) = self.consumer().await?.map(|made| consumer.insert(made)) else { return Ok(()) };
        loop {
            let event = tokio::select! {
                biased;
                () = self.drain.begun() => return Ok(()),
                Some(ended) = tasks.join_next() => {
                    self.ended(ended)?;
                    continue;
                }
                event = consumer.next() => event,
            };
            match event {
                Ok(event) => {
                    self.report.alarm("topic", None);
                    // For this assignment: a save of an earlier one is refused.
                    let saver = matches!(event, Event::Assigned { .. }).then(|| consumer.saver());
                    self.handle(event, saver, tasks, lanes).await;
                }
                Err(topic::Error::Fatal(reason)) => return Err(format!("read the topic: {reason}")),
                Err(error) => {
                    self.read_failed(error, lanes);
                    // Short: the other partitions' events wait behind it.
                    if self.drain.or(tokio::time::sleep(READ_FAILED_PAUSE)).await.is_none() {
                        return Ok(());
                    }
                }
            }
        }
    }

    fn read_failed(&self, error: topic::Error, lanes: &mut BTreeMap<u32, Lane>) {
        let (topic::Error::OutOfRange { partition, .. } | topic::Error::Replaced { partition, .. }) = error else {
            return self.report.alarm("topic", Some(format!("the topic cannot be read, trying again: {error}")));
        };
        // Never a jump: a person decides where to go on.
        lanes.remove(&partition);
        self.report.alarm(
            &format!("partition {partition}"),
            Some(format!("{error}; the partition stands still until a person moves its offset")),
        );
        self.report.partition(partition, |status| {
            status.here = true;
            STOPPED.clone_into(&mut status.state);
            status.last_error = Some(error.to_string());
        });
    }

    /// `None` when draining begins before there is one.
    async fn consumer(&self) -> Result<Option<Box<dyn Consumer>>, String> {
        let mut back_off = BackOff::new(Duration::from_millis(50), Duration::from_secs(5));
        loop {
            match self.drain.or(self.topic.consumer(self.window)).await {
                None => return Ok(None),
                Some(Ok(consumer)) => return Ok(Some(consumer)),
                Some(Err(error @ (topic::Error::Transient(_) | topic::Error::Full(_)))) => {
                    self.report.alarm("topic", Some(format!("the topic cannot be read, trying again: {error}")));
                    if self.drain.or(tokio::time::sleep(back_off.pause())).await.is_none() {
                        return Ok(None);
                    }
                }
                Some(Err(error)) => return Err(format!("read the topic: {error}")),
            }
        }
    }

    async fn handle(
        self: &Arc<Self>,
        event: Event,
        saver: Option<Arc<dyn Saver>>,
        tasks: &mut Tasks,
        lanes: &mut BTreeMap<u32, Lane>,
    ) {
        match event {
            Event::Assigned { partition: number, position, first, moved } => {
                let Some(saver) = saver else { return };
                self.report.alarm(&format!("partition {number}"), None);
                self.report.assigned(number, position.as_ref());
                let partition = Partition { number, position, first, moved, saver, deliver: self.clone() };
                // The window bounds what the topic hands out; the queue has room for it and for the ends between.
                let (handed, queue) = mpsc::channel(2 * (self.window.batches_ahead + 2));
                let (ending, ended) = oneshot::channel();
                let abort = tasks.spawn(async move {
                    let _ending: oneshot::Sender<()> = ending;
                    (number, partition.run(queue).await)
                });
                lanes.insert(number, Lane { handed, ended, abort });
            }
            Event::Batch(batch) => self.hand(lanes, batch.partition(), Handed::Batch(batch)).await,
            Event::End { partition, next } => self.hand(lanes, partition, Handed::End(next)).await,
            Event::Revoked { partition, release } => {
                self.report.alarm(&format!("partition {partition}"), None);
                self.report.revoked(partition);
                let Some(Lane { handed, ended, abort }) = lanes.remove(&partition) else { return };
                drop(handed);
                tokio::spawn(async move {
                    if tokio::time::timeout(REVOKE_DEADLINE, ended).await.is_err() {
                        abort.abort();
                    }
                    drop(release);
                });
            }
        }
    }

    async fn hand(&self, lanes: &BTreeMap<u32, Lane>, partition: u32, handed: Handed) {
        if let Some(lane) = lanes.get(&partition) {
            // A partition that has ended is told by its task.
            let _ = self.drain.or(lane.handed.send(handed)).await;
        }
    }

    fn ended(&self, ended: Result<(u32, Result<(), Stop>), tokio::task::JoinError>) -> Result<(), String> {
        match ended {
            Ok((_, Ok(()) | Err(Stop::GivenUp))) => Ok(()),
            Ok((partition, Err(Stop::Fault(reason)))) => {
                self.report.partition(partition, |status| {
                    STOPPED.clone_into(&mut status.state);
                    status.last_error = Some(reason.clone());
                });
                Err(reason)
            }
            Err(error) if error.is_cancelled() => Ok(()),
            Err(error) => Err(format!("deliver a partition: {error}")),
        }
    }

    /// Says which generation is the oldest that a partition needs, and lets go of what nobody does.
    pub(super) async fn needs(&self, partition: u32, oldest: Option<u64>) {
        let oldest = self.generations.needs(partition, oldest).await;
        self.workers.forget(oldest);
    }

    /// Counts settled records towards `stop-when`.
    pub(super) fn judge(&self, outcomes: &[RowOutcome]) -> Result<(), String> {
        let Some(threshold) = &self.threshold else { return Ok(()) };
        threshold.lock().unwrap_or_else(PoisonError::into_inner).count(outcomes).map_or(Ok(()), Err)
    }
}
