//! Code that was taken back or discarded stays away when a host starts, though its file still lies there: the stage begins as it last was.

use super::prepare::{Prepared, PreparedStage, fit, recall_stage};
use super::start::StartError;
use crate::config::Loaded;
use crate::config::diagnostic::Diagnostic;
use crate::store::{self, Store, components, swaps};
use crate::topic::{GenerationContent, GenerationStage, Topic};

/// What must not come back by itself, oldest first.
pub(super) async fn held(store: &Store) -> Result<Vec<GenerationStage>, StartError> {
    let read =
        |text: &String| serde_json::from_str(text).map_err(|error| store::Error::Sqlite(format!("read the quarantine: {error}")));
    Ok(swaps::quarantined(store).await?.iter().map(read).collect::<Result<_, _>>()?)
}

pub(super) async fn hold(store: &Store, held: &[GenerationStage]) -> Result<(), store::Error> {
    let text = |stage| serde_json::to_string(stage).expect("a stage has text keys and plain values");
    swaps::quarantine(store, held.iter().map(text).collect()).await
}

/// Puts what served before in the place of what is in quarantine. Where nothing did, or it does not fit any more, the files win.
pub(super) async fn keep_out(mut prepared: Prepared, topic: &dyn Topic, store: &Store) -> Result<Prepared, StartError> {
    let held = held(store).await?;
    if !prepared.stages.iter().any(|stage| held.contains(&stage.kept())) {
        return Ok(prepared);
    }
    let known = topic.generations().await?;
    let loaded = Loaded { pipeline: prepared.plan.clone(), places: prepared.places.clone(), warnings: Vec::new() };
    let mut stages = prepared.stages.clone();
    for stage in stages.iter_mut().filter(|stage| held.contains(&stage.kept())) {
        let (name, digest) = (stage.name().to_owned(), stage.kept().digest);
        match before(stage, &known, &held, &loaded, store, &prepared).await? {
            Ok(before) => {
                tracing::warn!(stage = name, digest, "in quarantine: the stage goes on with {}", before.kept().digest);
                *stage = before;
            }
            Err(why) => tracing::warn!(stage = name, digest, "in quarantine, but nothing can take its place: {why}"),
        }
    }
    let contracts: Vec<_> = stages.iter().map(|stage| stage.contract.clone()).collect();
    let (checked, found) = fit(&loaded, &contracts);
    match found.iter().find(|diagnostic| diagnostic.is_error()) {
        Some(Diagnostic { message, .. }) => {
            tracing::warn!("what is in quarantine runs, since what was before does not fit: {message}")
        }
        None => (prepared.stages, prepared.checked) = (stages, checked),
    }
    Ok(prepared)
}

/// The stage as the newest generation had it that did not have what is held.
async fn before(
    stage: &PreparedStage,
    known: &[(u64, GenerationContent)],
    held: &[GenerationStage],
    loaded: &Loaded,
    store: &Store,
    prepared: &Prepared,
) -> Result<Result<PreparedStage, String>, StartError> {
    let stages = known.iter().rev().flat_map(|(_, content)| &content.stages);
    let mut good = stages.filter(|other| other.name == stage.name() && !held.contains(other));
    let Some(good) = good.next().cloned() else { return Ok(Err("no generation had another".to_owned())) };
    let Some(bytes) = components::load(store, &good.digest).await? else {
        return Ok(Err(format!("the store has {} no more", good.digest)));
    };
    let (loaded, path, engine) = (loaded.clone(), stage.path.clone(), prepared.engine.clone());
    let started = tokio::task::spawn_blocking(move || recall_stage(&loaded, good, bytes, path, &engine)).await;
    Ok(started.unwrap_or_else(|error| Err(error.to_string())))
}
