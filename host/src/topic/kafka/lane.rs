//! One partition as it is read: records are copied once, from the client's memory into a batch.

use std::collections::VecDeque;

use rdkafka::error::RDKafkaErrorCode;

use super::queue::{Enough, Queue, What};
use super::reading::Context;
use crate::record::{Batch, RecordRef};
use crate::topic::Window;

/// Memory for a batch is asked for in this many bytes at least.
const CAPACITY_BYTES_MIN: usize = 16 << 10;

pub(super) struct Lane {
    partition: u32,
    topic_id: Option<String>,
    /// `None`: it stands still, because the topic no longer holds what comes next.
    queue: Option<Queue<Context>>,
    next: i64,
    /// Ends of batches that were handed out and are not settled.
    in_flight: VecDeque<i64>,
    /// Rows and bytes of the last batches, to ask for the right memory.
    rows: usize,
    bytes: usize,
}

/// What a look at a partition found.
#[derive(Default)]
pub(super) struct Looked {
    pub(super) batch: Option<Batch>,
    /// The end was reached: the next offset.
    pub(super) end: Option<i64>,
    /// The topic does not hold this offset; the partition stands still.
    pub(super) failed: Option<i64>,
}

impl Lane {
    pub(super) fn new(partition: u32, next: i64, topic_id: Option<String>, queue: Option<Queue<Context>>) -> Lane {
        Lane { partition, topic_id, queue, next, in_flight: VecDeque::new(), rows: 0, bytes: 0 }
    }

    /// Of the topic that it was begun on.
    pub(super) fn topic_id(&self) -> Option<&str> {
        self.topic_id.as_deref()
    }

    /// The next offset to read; `None`: it stands still.
    pub(super) fn reads_from(&self) -> Option<i64> {
        self.queue.as_ref().map(|_| self.next)
    }

    /// Reads no further. Where it has come to, if it did not stand still before.
    pub(super) fn stop(&mut self) -> Option<i64> {
        self.queue.take().map(|_| self.next)
    }

    pub(super) fn look(&mut self, window: &Window, settled: i64) -> Looked {
        while self.in_flight.front().is_some_and(|end| *end <= settled) {
            self.in_flight.pop_front();
        }
        let mut looked = Looked::default();
        // Invariant 8: not more is handed out than the window says.
        if self.in_flight.len() > window.batches_ahead {
            return looked;
        }
        let Some(queue) = &mut self.queue else { return looked };
        let (partition, next) = (self.partition, &mut self.next);
        let mut batch: Option<Batch> = None;
        let (rows, bytes) = (self.rows.max(1), (self.bytes + self.bytes / 4).max(CAPACITY_BYTES_MIN));
        queue.serve(|fetched| match fetched.what() {
            What::Record => {
                // What was fetched before a seek may come twice.
                if fetched.offset() < *next {
                    return Enough::No;
                }
                *next = fetched.offset() + 1;
                let batch = batch.get_or_insert_with(|| Batch::with_capacity(partition, rows, bytes));
                batch.push(RecordRef {
                    offset: fetched.offset(),
                    timestamp: fetched.timestamp(),
                    key: fetched.key(),
                    value: fetched.value(),
                    headers: &fetched.headers(),
                });
                let full = batch.rows() >= window.batch_records_max || batch.bytes() >= window.batch_bytes_max;
                if full { Enough::Yes } else { Enough::No }
            }
            What::End => {
                *next = (*next).max(fetched.offset());
                looked.end = Some(*next);
                Enough::Yes
            }
            What::Failed(RDKafkaErrorCode::AutoOffsetReset | RDKafkaErrorCode::OffsetOutOfRange) => {
                looked.failed = Some(*next);
                Enough::Yes
            }
            What::Failed(error) => {
                tracing::debug!(target: "kafka", "partition {partition}: {error}");
                Enough::No
            }
        });
        if looked.failed.is_some() {
            self.queue = None;
        }
        if let Some(batch) = &batch {
            self.in_flight.push_back(batch.offsets().last().map_or(self.next, |last| last + 1));
            (self.rows, self.bytes) = (batch.rows(), batch.bytes());
        }
        looked.batch = batch;
        looked
    }
}
