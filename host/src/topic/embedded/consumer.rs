//! Reads ahead on a thread of its own, which sleeps until something is appended or settled, and is woken at once.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use rusqlite::Connection;
use tokio::sync::mpsc;

use super::Embedded;
use super::saver::{Assignment, EmbeddedSaver};
use crate::record::Batch;
use crate::store::{self, log};
use crate::topic::{Consumer, Error, Event, Position, Saver, Window};

pub(super) struct EmbeddedConsumer {
    events: mpsc::Receiver<Result<Event, Error>>,
    assignment: Arc<Assignment>,
    saver: Arc<EmbeddedSaver>,
}

impl EmbeddedConsumer {
    pub(super) async fn new(topic: &Embedded, window: Window) -> Result<EmbeddedConsumer, Error> {
        let log = topic.log.clone();
        let take_over = move |connection: &Connection| {
            let raise = "UPDATE topics SET consumer_epoch = consumer_epoch + 1 WHERE id = ?1 RETURNING consumer_epoch";
            let epoch: i64 = connection.query_row(raise, [log.topic], |row| row.get(0))?;
            let mut partitions = Vec::new();
            for row in &log.partitions {
                partitions.push((super::position(connection, *row)?, log::extent(connection, *row)?));
            }
            Ok((epoch, partitions))
        };
        let (epoch, partitions) = topic.store.write_returning(take_over).await?;
        let assignment = Arc::new(Assignment {
            epoch,
            closed: AtomicBool::new(false),
            settled: partitions.iter().map(|(position, extent)| AtomicI64::new(start(position.as_ref(), extent))).collect(),
            appended: topic.store.appended(),
        });
        let mut readers = Vec::new();
        for ((partition, row), (position, extent)) in (0..).zip(&topic.log.partitions).zip(&partitions) {
            let next = start(position.as_ref(), extent);
            if next < extent.first || next > extent.next {
                return Err(Error::OutOfRange { partition, wanted: next, first: extent.first, end: extent.next });
            }
            readers.push(PartitionReader {
                row: *row,
                partition,
                next,
                end_told: None,
                waiting_since: None,
                in_flight: VecDeque::new(),
            });
        }
        // What is in flight is bounded by the window of each partition; events about them are few.
        let (sender, events) = mpsc::channel(readers.len() * (window.batches_ahead + 3));
        for ((partition, (position, extent)), _) in (0..).zip(partitions).zip(&readers) {
            let assigned = Event::Assigned { partition, position, first: extent.first, moved: None };
            sender.try_send(Ok(assigned)).map_err(|_| Error::Fatal("the consumer's queue is too short".to_owned()))?;
        }
        let window = window.among(readers.len());
        let reading = Reading { connection: topic.store.reader()?, assignment: assignment.clone(), window, readers, sender };
        std::thread::Builder::new()
            .name("topic-reader".to_owned())
            .spawn(move || reading.run())
            .map_err(|error| Error::Fatal(format!("start the thread that reads the topic: {error}")))?;
        let saver = EmbeddedSaver { topic: topic.clone(), assignment: assignment.clone(), boundaries: Mutex::default() };
        Ok(EmbeddedConsumer { events, assignment, saver: Arc::new(saver) })
    }
}

fn start(position: Option<&Position>, extent: &log::Extent) -> i64 {
    position.map_or(extent.first, |position| position.next)
}

impl Drop for EmbeddedConsumer {
    fn drop(&mut self) {
        self.assignment.close();
    }
}

#[async_trait]
impl Consumer for EmbeddedConsumer {
    async fn next(&mut self) -> Result<Event, Error> {
        self.events.recv().await.unwrap_or_else(|| Err(Error::Fatal("the thread that reads the topic has ended".to_owned())))
    }

    fn saver(&self) -> Arc<dyn Saver> {
        self.saver.clone()
    }
}

/// One partition as it is read.
struct PartitionReader {
    row: i64,
    partition: u32,
    next: i64,
    /// The end that was told last.
    end_told: Option<i64>,
    /// Since when records wait for more to come with them.
    waiting_since: Option<Instant>,
    /// Ends of batches that were handed out and are not settled.
    in_flight: VecDeque<i64>,
}

/// The reading thread.
struct Reading {
    connection: Connection,
    assignment: Arc<Assignment>,
    window: Window,
    readers: Vec<PartitionReader>,
    sender: mpsc::Sender<Result<Event, Error>>,
}

/// What a look at a partition found.
enum Look {
    Found(Event),
    /// Records wait for others to come with them, so long.
    Lingering(Duration),
    /// Nothing new, or as much as may be is in flight.
    Nothing,
}

impl Reading {
    fn run(mut self) {
        while !self.assignment.is_closed() {
            let seen = self.assignment.appended.count();
            let mut found = false;
            let mut linger: Option<Duration> = None;
            for reader in &mut self.readers {
                let settled = self.assignment.settled[reader.partition as usize].load(Ordering::SeqCst);
                let event = match reader.look(&self.connection, &self.window, settled) {
                    Ok(Look::Nothing) => continue,
                    Ok(Look::Lingering(left)) => {
                        linger = Some(linger.map_or(left, |other| other.min(left)));
                        continue;
                    }
                    Ok(Look::Found(event)) => Ok(event),
                    Err(error) => Err(error.into()),
                };
                found = true;
                let failed = event.is_err();
                if self.sender.blocking_send(event).is_err() || failed {
                    return;
                }
            }
            if !found {
                self.assignment.appended.wait(seen, linger);
            }
        }
    }
}

impl PartitionReader {
    fn look(&mut self, connection: &Connection, window: &Window, settled: i64) -> Result<Look, store::Error> {
        while self.in_flight.front().is_some_and(|end| *end <= settled) {
            self.in_flight.pop_front();
        }
        // Invariant 8: not more is handed out than the window says.
        if self.in_flight.len() > window.batches_ahead {
            return Ok(Look::Nothing);
        }
        let end = log::extent(connection, self.row)?.next;
        if end == self.next {
            if self.end_told == Some(end) {
                return Ok(Look::Nothing);
            }
            self.end_told = Some(end);
            return Ok(Look::Found(Event::End { partition: self.partition, next: end }));
        }
        if end - self.next < window.batch_records_max as i64 && !window.linger.is_zero() {
            let since = *self.waiting_since.get_or_insert_with(Instant::now);
            let left = window.linger.saturating_sub(since.elapsed());
            if !left.is_zero() {
                return Ok(Look::Lingering(left));
            }
        }
        self.waiting_since = None;
        let batch = self.read(connection, window)?;
        self.in_flight.push_back(self.next);
        Ok(Look::Found(Event::Batch(batch)))
    }

    fn read(&mut self, connection: &Connection, window: &Window) -> Result<Batch, store::Error> {
        let (records_max, bytes_max) = (window.batch_records_max.max(1), window.batch_bytes_max);
        let batch = log::read(connection, self.row, self.partition, self.next, records_max, bytes_max)?;
        match batch.offsets() {
            [first, .., last] | [first @ last] if *first == self.next => {
                self.next = last + 1;
                Ok(batch)
            }
            _ => Err(store::Error::Sqlite(format!("the log of partition {} has a hole at offset {}", self.partition, self.next))),
        }
    }
}
