//! What a person, the breaker or the code beside the stream asks for.

use std::time::Duration;

use super::attempt::rule;
use super::receipt::Attempt;
use super::{Pending, Reloader};
use crate::pipeline::candidate::{Candidate, Present, changes, summary};
use crate::pipeline::prepare::recall_stage;
use crate::pipeline::quarantine::chain;
use crate::pipeline::swap::Trust;
use crate::pipeline::watched;
use crate::status::swap::{Outcome, Receipt, Refusal, Wish};
use crate::store::components;

const TAKE_BACK_EVERY: Duration = Duration::from_millis(500);

impl Reloader {
    pub(super) async fn obey(&mut self, stage: Option<&str>, wish: Wish, who: &str) -> Result<Receipt, Refusal> {
        if let Some(stage) = stage
            && self.present.stage(stage).is_none()
            && !matches!(wish, Wish::Reload { .. })
        {
            return Err(Refusal::NoStage(stage.to_owned()));
        }
        let stage = stage.unwrap_or_default();
        match wish {
            Wish::Reload { force } => {
                let known = self.present.stage(stage).is_some() || stage.is_empty();
                let receipt = self.look(who, force).await;
                if known || self.present.stage(stage).is_some() { Ok(receipt) } else { Err(Refusal::NoStage(stage.to_owned())) }
            }
            Wish::Promote => {
                let pending = self.waiting(stage)?;
                Ok(self.promote(pending, who).await)
            }
            Wish::Discard => {
                let pending = self.waiting(stage)?;
                self.shared.deliver().beside.stop();
                for wanted in &pending.candidate.present.stages {
                    let kept = wanted.kept();
                    if self.present.stage(wanted.name()).is_some_and(|present| present.kept() != kept) {
                        self.held.stages.push(kept);
                    }
                }
                self.again = true;
                self.keep_held().await;
                let attempt = self.attempt(who);
                let receipt = Receipt { changes: pending.changes, ..attempt.receipt };
                Ok(self.finish(Attempt { receipt, ..attempt }, Outcome::Discarded).await)
            }
            Wish::RollBack { generation } => self.roll_back(stage, generation, who).await,
        }
    }

    pub(super) fn waiting(&mut self, stage: &str) -> Result<Pending, Refusal> {
        let concerns = |pending: &mut Pending| pending.changes.iter().any(|change| change.stage == stage);
        self.pending.take_if(concerns).ok_or_else(|| Refusal::Conflict(format!("nothing waits to come into stage `{stage}`")))
    }

    /// A stage's code and settings of an earlier generation.
    pub(super) async fn roll_back(&mut self, stage: &str, number: u64, who: &str) -> Result<Receipt, Refusal> {
        let conflict = |reason: String| Refusal::Conflict(reason);
        let deliver = self.shared.deliver();
        let content =
            deliver.topic.generation(number).await.map_err(|error| conflict(format!("read the generations: {error}")))?;
        let content = content.ok_or_else(|| conflict(format!("the store does not know generation {number} any more")))?;
        let wanted = content.stages.into_iter().find(|known| known.name == stage);
        let wanted = wanted.ok_or_else(|| conflict(format!("generation {number} had no stage `{stage}`")))?;
        let present = self.present.stage(stage).ok_or_else(|| Refusal::NoStage(stage.to_owned()))?.clone();
        if present.kept() == wanted {
            return Err(conflict(format!("stage `{stage}` is as it was in generation {number}")));
        }
        let bytes = components::load(&self.shared.store, &wanted.digest).await;
        let bytes = bytes.map_err(|error| conflict(format!("read the component: {error}")))?;
        let bytes = bytes.ok_or_else(|| conflict(format!("the store has the component of generation {number} no more")))?;
        let attempt = self.attempt(who);
        let loaded = self.present.loaded();
        let (engine, known) = (self.engine.clone(), loaded.clone());
        let starting = move || recall_stage(&known, wanted, bytes, present.path, &engine);
        let started = tokio::task::spawn_blocking(starting).await.unwrap_or_else(|error| Err(error.to_string()));
        let replacement = started.map_err(conflict)?;
        let mut stages = self.present.stages.clone();
        stages.iter_mut().filter(|known| known.name() == stage).for_each(|known| *known = replacement.clone());
        let changes = changes(&self.present, &stages);
        let reason = Some(format!("back to generation {number}"));
        let attempt = Attempt { receipt: Receipt { reason, ..attempt.receipt }, ..attempt };
        let sinks = deliver.generations.present().code.sinks.clone();
        let candidate = match Candidate::new(&loaded, stages, sinks) {
            Ok(candidate) => candidate,
            Err(found) => return Ok(self.refuse(attempt, changes, summary(&found), &found).await),
        };
        let trust = Trust::Watched(rule(&candidate.present.plan.stages, &changes));
        let replaced = self.present.clone();
        let receipt = self.bring(attempt, candidate, changes, trust, Outcome::RolledBack).await;
        if receipt.outcome == Outcome::RolledBack {
            let now = std::mem::replace(&mut self.present, replaced);
            self.hold(&now).await;
            self.present = now;
        }
        Ok(receipt)
    }

    pub(super) async fn promote(&mut self, pending: Pending, who: &str) -> Receipt {
        let attempt = self.attempt(who);
        self.shared.deliver().beside.stop();
        let trust = Trust::Watched(rule(&pending.candidate.present.plan.stages, &pending.changes));
        self.bring(attempt, pending.candidate, pending.changes, trust, Outcome::Applied).await
    }

    /// Back to the last generation that was good.
    pub(super) async fn take_back(&mut self, generation: u64, why: String) {
        let deliver = self.shared.deliver();
        let good = self.good.clone();
        self.hold(&good).await;
        loop {
            let attempt = self.attempt("breaker");
            let (loaded, sinks) = (good.loaded(), deliver.generations.present().code.sinks.clone());
            let changes = changes(&self.present, &good.stages);
            let reason = Some(why.clone());
            let attempt = Attempt { receipt: Receipt { reason, ..attempt.receipt }, ..attempt };
            let receipt = match Candidate::new(&loaded, good.stages.clone(), sinks) {
                Ok(candidate) => self.bring(attempt, candidate, changes, Trust::Earned, Outcome::RolledBack).await,
                Err(found) => self.refuse(attempt, changes, summary(&found), &found).await,
            };
            let about = "roll-back";
            if receipt.outcome == Outcome::RolledBack {
                deliver.report.alarm(about, None);
                return;
            }
            let why = receipt.reason.unwrap_or_default();
            deliver
                .report
                .alarm(about, Some(format!("generation {generation} is stopped and cannot be taken back, trying again: {why}")));
            if deliver.drain.or(tokio::time::sleep(TAKE_BACK_EVERY)).await.is_none() {
                return;
            }
        }
    }

    /// A later start does not go on with it.
    pub(super) async fn watch_ended(&self) {
        if let Err(error) = watched::forget(&self.shared.store).await {
            tracing::warn!(%error, "forget a watch that has ended");
        }
    }

    /// What runs now is not tried again in these stages until it changes.
    pub(super) async fn hold(&mut self, instead: &Present) {
        self.held.hold(chain(&self.present.stages), &chain(&instead.stages));
        self.again = true;
        self.keep_held().await;
    }

    /// What is in force by somebody's wish is held no more.
    pub(super) async fn release(&mut self) {
        if self.held.release(&chain(&self.present.stages)) {
            self.keep_held().await;
        }
    }

    /// Over a restart too.
    pub(super) async fn keep_held(&self) {
        if let Err(error) = self.held.keep(&self.shared.store).await {
            tracing::warn!(%error, "keep the quarantine");
        }
    }
}
