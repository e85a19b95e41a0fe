//! Generations as deliver needs them: what decides under a number, ready to be given to a worker, and the one that is present, which
//! changes while records flow.
//!
//! Invariant 2: a partition takes up another generation between two batches, and begins a boundary with it (`partition`).
//! Invariant 3: what is made present has been compiled, checked, started and probed; the one before stays as long as somebody needs it.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::watch;

use super::code::Code;
use crate::transform::{Chain, Error};

pub struct Generation {
    pub number: u64,
    pub code: Code,
    /// Chains made beforehand, for the workers to take.
    ready: Mutex<Vec<Chain>>,
    joined: watch::Sender<BTreeMap<u32, Joined>>,
}

/// How a partition took up a generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Joined {
    /// The first offset that it may decide.
    pub first: i64,
    /// Offsets below that were decided, or are being written, and not settled yet.
    pub in_flight: i64,
    /// How long the partition decided nothing for it.
    pub pause: Duration,
}

impl Generation {
    pub fn new(number: u64, code: Code) -> Generation {
        Generation::with_chains(number, code, Vec::new())
    }

    /// With a chain for each worker, so that no batch waits for one.
    pub fn with_chains(number: u64, code: Code, chains: Vec<Chain>) -> Generation {
        Generation { number, code, ready: Mutex::new(chains), joined: watch::Sender::new(BTreeMap::new()) }
    }

    /// A chain for a worker: one that was made beforehand, if any is left.
    pub fn ready_chain(&self) -> Result<Chain, Error> {
        let ready = lock(&self.ready).pop();
        ready.map_or_else(|| self.code.chain(), Ok)
    }

    pub(super) fn join(&self, partition: u32, joined: Joined) {
        self.joined.send_modify(|all| {
            all.insert(partition, joined);
        });
    }

    /// Which partitions have taken it up.
    pub fn joined(&self) -> watch::Receiver<BTreeMap<u32, Joined>> {
        self.joined.subscribe()
    }

    /// Whether a stage may wait for something outside, as it is granted.
    pub fn waits(&self) -> bool {
        self.code.content.stages.iter().any(|stage| !stage.grants.http.is_empty() || !stage.grants.read.is_empty())
    }

    /// Digest of a stage's component, for dead letters.
    pub fn digest(&self, stage: &str) -> Option<String> {
        self.code.content.stages.iter().find(|known| known.name == stage).map(|known| known.digest.clone())
    }
}

/// Gets an older generation back from what the store keeps of it.
#[async_trait]
pub trait Recall: Send + Sync {
    async fn recall(&self, number: u64) -> Result<Generation, String>;

    /// Whether all of its code is here: another host may have decided with code that this one never had.
    async fn has(&self, number: u64) -> Result<bool, String>;
}

/// The present generation, and those whose records are still in flight or come again after a crash.
pub struct Generations {
    present: watch::Sender<Arc<Generation>>,
    older: tokio::sync::Mutex<HashMap<u64, Arc<Generation>>>,
    /// By assigned partition, the oldest generation that may still decide something of it.
    needed: Mutex<BTreeMap<u32, u64>>,
    recall: Box<dyn Recall>,
}

impl Generations {
    pub fn new(present: Generation, recall: Box<dyn Recall>) -> Generations {
        let present = watch::Sender::new(Arc::new(present));
        Generations { present, older: tokio::sync::Mutex::default(), needed: Mutex::default(), recall }
    }

    pub fn present(&self) -> Arc<Generation> {
        self.present.borrow().clone()
    }

    /// Changes when another generation is applied.
    pub(super) fn watch(&self) -> watch::Receiver<Arc<Generation>> {
        self.present.subscribe()
    }

    /// Whether [`Generations::get`] can give it.
    pub async fn has(&self, number: u64) -> Result<bool, String> {
        if number == self.present().number || self.older.lock().await.contains_key(&number) {
            return Ok(true);
        }
        self.recall.has(number).await
    }

    pub async fn get(&self, number: u64) -> Result<Arc<Generation>, String> {
        let present = self.present();
        if number == present.number {
            return Ok(present);
        }
        let mut older = self.older.lock().await;
        if let Some(known) = older.get(&number) {
            return Ok(known.clone());
        }
        let recalled = self.recall.recall(number).await.map_err(|reason| format!("load generation {number}: {reason}"))?;
        let recalled = Arc::new(recalled);
        older.insert(number, recalled.clone());
        Ok(recalled)
    }

    /// Lets another generation decide, from each partition's next batch on.
    pub async fn apply(&self, next: Generation) -> Arc<Generation> {
        let next = Arc::new(next);
        let mut older = self.older.lock().await;
        let before = self.present.send_replace(next.clone());
        older.insert(before.number, before);
        next
    }

    /// Partitions of this host.
    pub fn assigned(&self) -> Vec<u32> {
        lock(&self.needed).keys().copied().collect()
    }

    /// Says which generation is the oldest that a partition needs (`None`: the partition is gone), and drops what nobody needs. Returns
    /// the oldest number that is left.
    pub(super) async fn needs(&self, partition: u32, oldest: Option<u64>) -> u64 {
        let needed = {
            let mut needed = lock(&self.needed);
            match oldest {
                Some(oldest) => needed.insert(partition, oldest),
                None => needed.remove(&partition),
            };
            needed.values().copied().min()
        };
        let mut older = self.older.lock().await;
        let present = self.present.borrow().number;
        let oldest = needed.map_or(present, |needed| needed.min(present));
        older.retain(|number, _| *number >= oldest);
        oldest
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
