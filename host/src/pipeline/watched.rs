//! A breaker's watch, kept from before the first record of a swap until its end: a host that ends meanwhile, however that is, goes on with
//! it when it starts.

use serde::{Deserialize, Serialize};

use super::breaker::Tally;
use super::candidate::Present;
use super::control::Shared;
use super::quarantine::recall_chain;
use super::start::StartError;
use crate::config::plan::BreakerRule;
use crate::plugin::Engine;
use crate::store::{Error, Store, swaps};
use crate::topic::GenerationStage;

/// What is watched, and what it is compared with.
#[derive(Serialize, Deserialize)]
pub(super) struct Watched {
    pub generation: u64,
    /// Goes in its place if it is stopped.
    pub good: Vec<GenerationStage>,
    pub rule: BreakerRule,
    /// What the code before did.
    pub usual: Tally,
}

impl Watched {
    pub async fn keep(&self, store: &Store) -> Result<(), Error> {
        let text = serde_json::to_string(self).map_err(|error| Error::Sqlite(format!("write a watch: {error}")))?;
        swaps::watch(store, Some(text)).await
    }
}

pub(super) async fn forget(store: &Store) -> Result<(), Error> {
    swaps::watch(store, None).await
}

/// Watches what a host has started with, where that was watched when the last one ended; returns what to go back to.
pub(super) async fn resume(shared: &Shared, present: &Present, engine: &Engine) -> Result<Option<Present>, StartError> {
    let Some(text) = swaps::watched(&shared.store).await? else { return Ok(None) };
    let watched: Watched = serde_json::from_str(&text).map_err(|error| Error::Sqlite(format!("read a watch: {error}")))?;
    let generation = shared.deliver().generations.present().number;
    if watched.generation != generation {
        return Ok(None);
    }
    let mut loaded = present.loaded();
    match recall_chain(&watched.good, &mut loaded, &present.stages, engine, &shared.store).await? {
        Ok(stages) => {
            shared.breaker.resume(generation, watched.rule, watched.usual);
            tracing::info!(generation, "the breaker watches it again, from the beginning");
            Ok(Some(Present { plan: loaded.pipeline, stages, ..present.clone() }))
        }
        Err(why) => {
            tracing::warn!(generation, "the breaker watches it no more, since nothing could take its place: {why}");
            Ok(None)
        }
    }
}
