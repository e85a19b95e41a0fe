//! The swap itself: other code comes into force while records flow.
//!
//! Invariant 3: the code has been compiled and checked when it comes here; it is started, one chain for each worker, and tried with recent
//! records before anything changes.
//! Invariant 2: it has a number of its own, claimed and its components kept, before a partition takes it up; each partition does so
//! between two batches and begins a boundary, which is saved before the first row under it (`partition`).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::code::Code;
use super::crash;
use super::deliver::Deliver;
use super::generation::{Generation, Joined};
use super::watched::{self, Watched};
use crate::config::plan::BreakerRule;
use crate::record::Batch;
use crate::store::{Store, components};
use crate::topic::GenerationStage;
use crate::transform::{Chain, Error};

/// A partition that is held up takes the swap up later; the receipt does not wait for it.
const JOIN_MAX: Duration = Duration::from_secs(2);

/// What a swap did.
pub struct Swapped {
    pub number: u64,
    /// Recent records that it was tried with.
    pub probed: u64,
    /// Where each partition took it up.
    pub joined: BTreeMap<u32, Joined>,
}

/// Why nothing has changed.
#[derive(Debug, thiserror::Error)]
pub enum Failed {
    #[error("{0}")]
    Code(String),
    #[error("keep it: {0}")]
    Store(String),
    /// It is what runs already.
    #[error("generation {0} is the same")]
    Same(u64),
}

/// How code comes to be trusted.
#[derive(Clone, Copy, Debug)]
pub enum Trust {
    /// It served before.
    Earned,
    /// The breaker watches it.
    Watched(BreakerRule),
}

/// Puts code into force. `components` are the bytes of those that may be new, by digest; `good` goes in its place if it is stopped.
pub async fn swap(
    deliver: &Deliver,
    store: &Store,
    code: Code,
    components: &[(String, Vec<u8>)],
    trust: Trust,
    good: Vec<GenerationStage>,
) -> Result<Swapped, Failed> {
    let (code, chains, probed) = start(deliver, code).await.map_err(Failed::Code)?;
    let unkept = |error: &dyn std::fmt::Display| Failed::Store(error.to_string());
    crash::point("before-claim");
    let number = deliver.topic.claim_generation(&code.content).await.map_err(|error| unkept(&error))?;
    if number == deliver.generations.present().number {
        return Err(Failed::Same(number));
    }
    crash::point("after-claim");
    // After the claim: until a generation names them, components count as unused.
    for (digest, bytes) in components {
        components::keep(store, digest, bytes).await.map_err(|error| unkept(&error))?;
    }
    match trust {
        Trust::Earned => {
            watched::forget(store).await.map_err(|error| unkept(&error))?;
            deliver.breaker.trust();
        }
        Trust::Watched(rule) => {
            let watched = Watched { generation: number, good, rule, usual: deliver.breaker.usual() };
            watched.keep(store).await.map_err(|error| unkept(&error))?;
            deliver.breaker.watch(number, rule);
        }
    }
    let generation = deliver.generations.apply(Generation::with_chains(number, code, chains)).await;
    crash::point("after-swap");
    let assigned = deliver.generations.assigned();
    let mut joined = generation.joined();
    let all = |joined: &BTreeMap<u32, Joined>| assigned.iter().all(|partition| joined.contains_key(partition));
    let _ = tokio::time::timeout(JOIN_MAX, joined.wait_for(all)).await;
    let joined = joined.borrow().clone();
    Ok(Swapped { number, probed, joined })
}

/// Makes a chain for each worker, and tries another one with recent records.
async fn start(deliver: &Deliver, code: Code) -> Result<(Code, Vec<Chain>, u64), String> {
    let (recent, workers) = (deliver.recent.batches(), deliver.workers.count());
    let starting = tokio::task::spawn_blocking(move || {
        let mut chains = Vec::with_capacity(workers);
        for _ in 0..workers {
            chains.push(code.chain().map_err(|error| error.to_string())?);
        }
        let probed = if recent.is_empty() { 0 } else { probe(&code, &recent)? };
        Ok((code, chains, probed))
    });
    starting.await.unwrap_or_else(|error| Err(format!("start it: {error}")))
}

/// Runs recent records, all of which the present code could process, through a chain that is thrown away. Which of them the new code
/// rejects is its own affair (the breaker judges that), but it must not fail.
fn probe(code: &Code, recent: &[Arc<Batch>]) -> Result<u64, String> {
    let mut chain = code.chain().map_err(|error| error.to_string())?;
    let mut probed = 0;
    for batch in recent {
        let failed = |error: Error| match error {
            Error::Retry { .. } => format!("tried with {} recent records, {error}", batch.rows()),
            Error::Blame { stage, reason } => {
                format!("tried with {} recent records, stage {stage} failed: {reason}", batch.rows())
            }
        };
        chain.process(batch).map_err(failed)?;
        probed += batch.rows() as u64;
    }
    Ok(probed)
}
