//! Writing rows: as many lanes as rows may be in flight, each with one row at a time. What each row's answer means is decided here.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Instant;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;

use super::fault::{self, Fault};
use super::row::{Delete, Insert};
use super::{Cassandra, Ready};
use crate::crash;
use crate::record::Place;
use crate::sink::{Bound, Error, Rows, bind};

/// What one lane could not write.
#[derive(Default)]
struct Left {
    rows: Vec<u32>,
    refused: Vec<(Place, String)>,
    /// Why no row can be written.
    stopped: Option<String>,
    reason: Option<String>,
}

impl Left {
    fn add(&mut self, other: Left) {
        self.rows.extend(other.rows);
        self.refused.extend(other.refused);
        self.stopped = self.stopped.take().or(other.stopped);
        self.reason = self.reason.take().or(other.reason);
    }
}

/// Rows that are handed out one by one.
struct Queue<'a> {
    ready: &'a Ready,
    rows: &'a Rows,
    next: AtomicUsize,
    stopped: AtomicBool,
}

impl Cassandra {
    pub(super) async fn write_rows(&self, rows: &Rows) -> Result<Vec<(Place, String)>, Error> {
        let ready = self.ready().await?;
        let queue = Queue { ready, rows, next: AtomicUsize::new(0), stopped: AtomicBool::new(false) };
        let mut left = Left::default();
        if self.pulse.is_open() && !rows.is_empty() {
            let _probe = self.pulse.probing();
            left.add(self.next(&queue).await);
        }
        if !self.pulse.is_open() && left.stopped.is_none() {
            let count = rows.len().min(self.plan.cluster.in_flight as usize);
            let mut lanes: FuturesUnordered<_> = (0..count).map(|_| self.lane(&queue)).collect();
            while let Some(of_lane) = lanes.next().await {
                left.add(of_lane);
            }
        }
        if let Some(reason) = left.stopped {
            return Err(Error::Systemic(reason));
        }
        let untried = queue.next.into_inner().min(rows.len()) as u32..rows.len() as u32;
        left.rows.sort_unstable();
        left.rows.extend(untried);
        if left.rows.is_empty() {
            return Ok(left.refused);
        }
        let reason = left.reason.unwrap_or_else(|| "it waits until another row was written".to_owned());
        let reason = format!("{} of {} rows are left: {reason}", left.rows.len(), rows.len());
        Err(Error::Partly { reason, rest: Box::new(Bound::Rows(bind::take(rows, &left.rows))), refused: left.refused })
    }

    /// One row after the other, until there are no more or it is better to wait.
    async fn lane(&self, queue: &Queue<'_>) -> Left {
        let mut left = Left::default();
        let Ok(_permit) = self.permits.acquire().await else { return left };
        while queue.next.load(Ordering::Relaxed) < queue.rows.len()
            && !queue.stopped.load(Ordering::Relaxed)
            && !self.pulse.is_open()
        {
            left.add(self.next(queue).await);
        }
        left
    }

    /// Writes the next row of the queue, if there is one.
    async fn next(&self, queue: &Queue<'_>) -> Left {
        let mut left = Left::default();
        let row = queue.next.fetch_add(1, Ordering::Relaxed);
        if row >= queue.rows.len() {
            return left;
        }
        let place = queue.rows.places[row];
        match self.write_row(queue, row).await {
            Ok(()) => {}
            Err(Fault::Transient(reason)) => {
                self.pulse.failed(&reason);
                left.rows.push(row as u32);
                left.reason = Some(reason);
            }
            Err(Fault::Row(reason)) => left.refused.push((place, reason)),
            // The table may have been changed under the statement: then it is not the row's fault.
            Err(Fault::Invalid(reason)) => match self.compare(&queue.ready.session).await {
                Ok(()) => left.refused.push((place, reason)),
                Err(Fault::Transient(unread)) => {
                    self.pulse.failed(&unread);
                    left.rows.push(row as u32);
                    left.reason = Some(reason);
                }
                Err(other) => self.stop(queue, other, &mut left),
            },
            Err(other) => self.stop(queue, other, &mut left),
        }
        left
    }

    fn stop(&self, queue: &Queue<'_>, fault: Fault, left: &mut Left) {
        let reason = Error::from(fault).to_string();
        self.pulse.told(&reason);
        queue.stopped.store(true, Ordering::Relaxed);
        left.stopped = Some(reason);
    }

    async fn write_row(&self, queue: &Queue<'_>, row: usize) -> Result<(), Fault> {
        let Queue { ready, rows, .. } = queue;
        let seconds_left = rows.ends.get(row).map(|end| seconds_until(*end));
        if seconds_left == Some(0) && !rows.is_deleted(row) {
            // Its time ran out while it waited.
            return Ok(());
        }
        crash::point("before-row");
        let began = Instant::now();
        let _flying = self.pulse.flying();
        let answer = if rows.is_deleted(row) {
            ready.session.execute_unpaged(&ready.delete, Delete { rows, row, columns: &self.plan.columns }).await
        } else {
            ready.session.execute_unpaged(&ready.insert, Insert { rows, row, seconds_left }).await
        };
        crash::point("row-acknowledged");
        answer.map(|_| self.pulse.wrote(began.elapsed())).map_err(|error| fault::of_request(&error))
    }
}

/// Whole seconds that are left until a moment, ms since 1970; what has begun counts as one.
fn seconds_until(end_ms: i64) -> i32 {
    let left_ms = (end_ms - jiff::Timestamp::now().as_millisecond()).max(0);
    i32::try_from((left_ms as u64).div_ceil(1_000)).unwrap_or(i32::MAX)
}
