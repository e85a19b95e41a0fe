//! The producers that a host saves with. They take turns: one that begins again before the cluster has marked its last transaction
//! everywhere is told to wait, and asks again 20 ms later (librdkafka 2.12, `rd_kafka_txn_handle_AddPartitionsToTxn`). Saves follow each
//! other at once when several partitions take up a swap. One is over before the next begins, so that their order is that of the saves.

use std::sync::atomic::AtomicBool;
use std::thread;

use super::Inner;
use super::transaction::Transactional;
use crate::topic::Error;

pub(super) struct Turns {
    producers: [Transactional; 2],
    next: usize,
}

impl Turns {
    /// Begins in the name of a host: whoever saved in it is fenced, and what it left open is over. Given up when `given_up` is set. Blocks.
    pub(super) fn begin(inner: &Inner, host: &str, given_up: &AtomicBool) -> Result<Turns, Error> {
        let begin = |id: &str| Transactional::new(&inner.plan, id, inner.letter_bytes_max, given_up);
        let [one, other] = inner.names.savers(host);
        let (one, other) = thread::scope(|scope| {
            let other = scope.spawn(|| begin(&other));
            (begin(&one), other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
        });
        Ok(Turns { producers: [one?, other?], next: 0 })
    }

    pub(super) fn take(&mut self) -> &Transactional {
        self.next ^= 1;
        &self.producers[self.next]
    }
}
