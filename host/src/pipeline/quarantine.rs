//! Code that was taken back or discarded stays away when a host starts, though its file still lies there: the stage begins as it
//! last was, and so does the chain where its order or a stage that was added is what was taken back.

use serde::{Deserialize, Serialize};

use super::prepare::{Prepared, PreparedStage, fit, recall_stage};
use super::start::StartError;
use crate::config::Loaded;
use crate::config::diagnostic::Diagnostic;
use crate::plugin::Engine;
use crate::store::{self, Store, components, swaps};
use crate::topic::{GenerationContent, GenerationStage, Topic};

/// What was taken back or discarded and is not tried again as it was. No more of each.
const HELD_MAX: usize = 100;

/// What must not come back by itself, oldest first.
#[derive(Clone, Default)]
pub(super) struct Quarantine {
    pub stages: Vec<GenerationStage>,
    /// Whole chains: of stages that are good by themselves, the order or the company may be what was bad.
    pub chains: Vec<Vec<GenerationStage>>,
}

/// How one lies in the store.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Kept {
    Stage(Box<GenerationStage>),
    Chain(Vec<GenerationStage>),
}

pub(super) fn chain(stages: &[PreparedStage]) -> Vec<GenerationStage> {
    stages.iter().map(PreparedStage::kept).collect()
}

impl Quarantine {
    pub async fn read(store: &Store) -> Result<Quarantine, StartError> {
        let mut quarantine = Quarantine::default();
        for text in swaps::quarantined(store).await? {
            match serde_json::from_str(&text) {
                Ok(Kept::Stage(stage)) => quarantine.stages.push(*stage),
                Ok(Kept::Chain(chain)) => quarantine.chains.push(chain),
                Err(error) => return Err(store::Error::Sqlite(format!("read the quarantine: {error}")).into()),
            }
        }
        Ok(quarantine)
    }

    pub async fn keep(&self, store: &Store) -> Result<(), store::Error> {
        let stages = self.stages.iter().cloned().map(|stage| Kept::Stage(Box::new(stage)));
        let all = stages.chain(self.chains.iter().cloned().map(Kept::Chain));
        let text = |kept| serde_json::to_string(&kept).expect("a stage has text keys and plain values");
        swaps::quarantine(store, all.map(text).collect()).await
    }

    pub fn is_empty(&self) -> bool {
        self.stages.is_empty() && self.chains.is_empty()
    }

    /// Holds a chain, and of its stages those that differ from what serves instead.
    pub fn hold(&mut self, chain: Vec<GenerationStage>, instead: &[GenerationStage]) {
        self.stages.extend(chain.iter().filter(|stage| !instead.contains(stage)).cloned());
        self.chains.push(chain);
        let excess = |len: usize| len.saturating_sub(HELD_MAX);
        self.stages.drain(..excess(self.stages.len()));
        self.chains.drain(..excess(self.chains.len()));
    }

    /// Holds nothing of what is in force; whether it did.
    pub fn release(&mut self, present: &[GenerationStage]) -> bool {
        let held = self.stages.len() + self.chains.len();
        self.chains.retain(|chain| *chain != present);
        self.stages.retain(|stage| !present.contains(stage));
        self.stages.len() + self.chains.len() != held
    }

    pub fn holds(&self, chain: &[GenerationStage]) -> bool {
        self.chains.iter().any(|held| held == chain)
    }
}

/// Puts what served before in the place of what is in quarantine. Where nothing did, or it does not fit any more, the files win.
pub(super) async fn keep_out(mut prepared: Prepared, topic: &dyn Topic, store: &Store) -> Result<Prepared, StartError> {
    let held = Quarantine::read(store).await?;
    let wanted = chain(&prepared.stages);
    if !held.holds(&wanted) && !wanted.iter().any(|stage| held.stages.contains(stage)) {
        return Ok(prepared);
    }
    let known: Vec<GenerationContent> = topic.generations().await?.into_iter().rev().map(|(_, content)| content).collect();
    let mut loaded = Loaded { pipeline: prepared.plan.clone(), places: prepared.places.clone(), warnings: Vec::new() };
    let mut stages = prepared.stages.clone();
    for stage in stages.iter_mut().filter(|stage| held.stages.contains(&stage.kept())) {
        let (name, digest) = (stage.name().to_owned(), stage.kept().digest);
        // As the newest generation had it that did not have what is held.
        let mut others = known.iter().flat_map(|content| &content.stages).filter(|other| other.name == name);
        let before = match others.find(|other| !held.stages.contains(other)) {
            Some(good) => recall(good, &loaded, &prepared.stages, &prepared.engine, store).await?,
            None => Err("no generation had another".to_owned()),
        };
        match before {
            Ok(before) => {
                tracing::warn!(stage = name, digest, "in quarantine: the stage goes on with {}", before.kept().digest);
                *stage = before;
            }
            Err(why) => tracing::warn!(stage = name, digest, "in quarantine, but nothing can take its place: {why}"),
        }
    }
    if held.holds(&chain(&stages)) {
        let is_good = |content: &&GenerationContent| {
            !held.holds(&content.stages) && !content.stages.iter().any(|stage| held.stages.contains(stage))
        };
        let before = match known.iter().find(is_good) {
            Some(good) => recall_chain(&good.stages, &mut loaded, &prepared.stages, &prepared.engine, store).await?,
            None => Err("no generation had another".to_owned()),
        };
        match before {
            Ok(before) => {
                let names = before.iter().map(PreparedStage::name).collect::<Vec<_>>().join(", ");
                tracing::warn!("the chain of the pipeline file is in quarantine: {names} go on as they were");
                stages = before;
            }
            Err(why) => tracing::warn!("the chain of the pipeline file is in quarantine, but nothing can take its place: {why}"),
        }
    }
    let contracts: Vec<_> = stages.iter().map(|stage| stage.contract.clone()).collect();
    let (checked, found) = fit(&loaded, &contracts);
    match found.iter().find(|diagnostic| diagnostic.is_error()) {
        Some(Diagnostic { message, .. }) => {
            tracing::warn!("what is in quarantine runs, since what was before does not fit: {message}")
        }
        None => (prepared.plan, prepared.stages, prepared.checked) = (loaded.pipeline, stages, checked),
    }
    Ok(prepared)
}

/// All stages of a generation, in its order; of the file only they are left.
pub(super) async fn recall_chain(
    good: &[GenerationStage],
    loaded: &mut Loaded,
    present: &[PreparedStage],
    engine: &Engine,
    store: &Store,
) -> Result<Result<Vec<PreparedStage>, String>, StartError> {
    let mut stages = Vec::with_capacity(good.len());
    let mut plans = Vec::with_capacity(good.len());
    for kept in good {
        match recall(kept, loaded, present, engine, store).await? {
            Ok(stage) => stages.push(stage),
            Err(why) => return Ok(Err(format!("stage `{}`: {why}", kept.name))),
        }
        plans.extend(loaded.pipeline.stages.iter().find(|plan| plan.name == kept.name).cloned());
    }
    loaded.pipeline.stages = plans;
    Ok(Ok(stages))
}

/// A stage as it stands in a generation; the file must have one of its name.
async fn recall(
    good: &GenerationStage,
    loaded: &Loaded,
    present: &[PreparedStage],
    engine: &Engine,
    store: &Store,
) -> Result<Result<PreparedStage, String>, StartError> {
    let Some(there) = present.iter().find(|stage| stage.name() == good.name) else {
        return Ok(Err("it is not in the pipeline file".to_owned()));
    };
    if there.kept() == *good {
        return Ok(Ok(there.clone()));
    }
    let Some(bytes) = components::load(store, &good.digest).await? else {
        return Ok(Err(format!("the store has {} no more", good.digest)));
    };
    let (loaded, good, path, engine) = (loaded.clone(), good.clone(), there.path.clone(), engine.clone());
    let started = tokio::task::spawn_blocking(move || recall_stage(&loaded, good, bytes, path, &engine)).await;
    Ok(started.unwrap_or_else(|error| Err(error.to_string())))
}
