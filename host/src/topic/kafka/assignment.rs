//! What consumer, its threads and its savers share: which partitions this host holds, and how far they are settled.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerGroupMetadata};

use super::reading::Context;
use crate::store::Signal;

pub(super) struct Assignment {
    /// The consumer ends; nothing is saved any more.
    pub(super) closed: AtomicBool,
    pub(super) signal: Arc<Signal>,
    held: Mutex<Holding>,
    client: Mutex<Weak<BaseConsumer<Context>>>,
}

#[derive(Default)]
struct Holding {
    /// Given to each assignment of a partition: a save of an earlier one is refused.
    epochs: u64,
    partitions: HashMap<u32, Held>,
}

#[derive(Clone, Copy)]
struct Held {
    epoch: u64,
    settled: i64,
}

impl Assignment {
    pub(super) fn new() -> Assignment {
        Assignment {
            closed: AtomicBool::new(false),
            signal: Arc::new(Signal::default()),
            held: Mutex::default(),
            client: Mutex::default(),
        }
    }

    fn holding(&self) -> MutexGuard<'_, Holding> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn close(&self) {
        self.closed.store(true, Ordering::SeqCst);
        self.signal.raise();
    }

    pub(super) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::SeqCst)
    }

    /// The partition is held from now on; its epoch.
    pub(super) fn hold(&self, partition: u32, next: i64) -> u64 {
        let mut holding = self.holding();
        holding.epochs += 1;
        let epoch = holding.epochs;
        holding.partitions.insert(partition, Held { epoch, settled: next });
        epoch
    }

    pub(super) fn give_back(&self, partition: u32) {
        self.holding().partitions.remove(&partition);
    }

    pub(super) fn holds(&self, partition: u32, epoch: u64) -> bool {
        !self.is_closed() && self.holding().partitions.get(&partition).is_some_and(|held| held.epoch == epoch)
    }

    /// Partitions that are held.
    pub(super) fn count(&self) -> usize {
        self.holding().partitions.len()
    }

    /// All below `next` is settled: more may be handed out.
    pub(super) fn settled(&self, partition: u32, epoch: u64, next: i64) {
        let mut holding = self.holding();
        let Some(held) = holding.partitions.get_mut(&partition).filter(|held| held.epoch == epoch) else { return };
        if held.settled < next {
            held.settled = next;
            drop(holding);
            self.signal.raise();
        }
    }

    pub(super) fn settled_up_to(&self, partition: u32) -> i64 {
        self.holding().partitions.get(&partition).map_or(i64::MIN, |held| held.settled)
    }

    pub(super) fn set_client(&self, client: &Arc<BaseConsumer<Context>>) {
        *self.client.lock().unwrap_or_else(PoisonError::into_inner) = Arc::downgrade(client);
    }

    /// Who this host is in the group at present.
    pub(super) fn group(&self) -> Option<ConsumerGroupMetadata> {
        self.client.lock().unwrap_or_else(PoisonError::into_inner).upgrade()?.group_metadata()
    }
}
