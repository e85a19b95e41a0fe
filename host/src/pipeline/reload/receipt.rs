//! What is told of attempts: to the status while they are under way, and a receipt in the end.

use std::path::Path;
use std::time::{Duration, Instant};

use super::Reloader;
use crate::config::code;
use crate::config::diagnostic::Diagnostic;
use crate::pipeline::candidate::{Found, Unusable, summary, unknown_change};
use crate::status::swap::{Candidate as Shown, Change, LOG_TARGET, Outcome, Receipt};
use crate::store::swaps;

/// An attempt under way.
pub(super) struct Attempt {
    pub began: Instant,
    pub receipt: Receipt,
}

impl Reloader {
    pub(super) fn attempt(&self, who: &str) -> Attempt {
        let number = self.number();
        let receipt = Receipt {
            at_ms: jiff::Timestamp::now().as_millisecond(),
            who: who.to_owned(),
            generation: number,
            from_generation: number,
            ..Receipt::default()
        };
        Attempt { began: Instant::now(), receipt }
    }

    pub(super) fn number(&self) -> u64 {
        self.shared.deliver().generations.present().number
    }

    pub(super) fn show_folder(&self, folder: &Path, state: Option<(&str, Option<String>)>) {
        for stage in self.stages_of(folder) {
            self.show(stage, state.clone().map(|(state, reason)| (state, "", reason)));
        }
    }

    /// Nothing is on its way into a stage, unless its source does not build.
    pub(super) fn clear(&self, stage: &str) {
        self.shared.reporter.update(|snapshot| {
            if let Some(status) = snapshot.stages.iter_mut().find(|status| status.name == stage) {
                status.candidate.take_if(|candidate| !candidate.digest.is_empty());
            }
        });
    }

    /// Shows what is on its way into a stage: state, digest and reason.
    pub(super) fn show(&self, stage: &str, shown: Option<(&str, &str, Option<String>)>) {
        let shown = shown.map(|(state, digest, reason)| Shown {
            digest: digest.to_owned(),
            state: state.to_owned(),
            since_ms: jiff::Timestamp::now().as_millisecond(),
            reason,
        });
        self.shared.reporter.update(|snapshot| {
            if let Some(status) = snapshot.stages.iter_mut().find(|status| status.name == stage) {
                status.candidate = shown;
            }
        });
    }

    pub(super) fn show_file(&self, found: &[Diagnostic]) {
        let found = found.iter().filter_map(|diagnostic| serde_json::to_value(diagnostic.json()).ok()).collect();
        self.shared.reporter.update(|snapshot| snapshot.file.diagnostics = found);
    }

    pub(super) fn show_changes(&self, changes: &[Change], shown: Option<(&str, &str)>) {
        for change in changes {
            let digest = change.to.as_deref().unwrap_or_default();
            self.show(&change.stage, shown.map(|(state, reason)| (state, digest, Some(reason.to_owned()))));
        }
    }

    pub(super) async fn refuse_found(
        &mut self,
        attempt: Attempt,
        stages: impl IntoIterator<Item = &(String, Found)>,
        found: &[Diagnostic],
    ) -> Receipt {
        self.show_file(found);
        let mut changes = Vec::new();
        for (name, stage) in stages {
            match stage {
                Found::New(stage) => {
                    let digest = stage.stage.plugin.digest.clone();
                    changes.push(unknown_change(&self.present, name, Some(digest)));
                }
                Found::Wrong(Unusable { digest, gained, .. }) => {
                    changes.push(Change { gained: gained.clone(), ..unknown_change(&self.present, name, digest.clone()) });
                }
                Found::Same(_) | Found::Held(..) => {}
            }
        }
        self.refuse(attempt, changes, summary(found), found).await
    }

    /// Nothing changes, and why. What the watcher finds is told once.
    pub(super) async fn refuse(
        &mut self,
        attempt: Attempt,
        changes: Vec<Change>,
        reason: String,
        found: &[Diagnostic],
    ) -> Receipt {
        let told = Some(format!("{reason} {changes:?}"));
        let parked = found.iter().any(|diagnostic| diagnostic.code == code::PLUGIN_NOT_GRANTED);
        let diagnostics = found.iter().filter_map(|diagnostic| serde_json::to_value(diagnostic.json()).ok()).collect();
        for change in &changes {
            let digest = change.to.clone().unwrap_or_default();
            let state = if parked { "parked" } else { "refused" };
            self.show(&change.stage, Some((state, &digest, Some(reason.clone()))));
        }
        let receipt = Receipt { changes, reason: Some(reason), diagnostics, ..attempt.receipt };
        if receipt.who == "watch" && self.refused == told {
            return receipt;
        }
        self.refused = told;
        let outcome = if parked { Outcome::Parked } else { Outcome::Refused };
        self.finish(Attempt { receipt, ..attempt }, outcome).await
    }

    /// Keeps the receipt and tells it.
    pub(super) async fn finish(&self, attempt: Attempt, outcome: Outcome) -> Receipt {
        let mut receipt = Receipt { outcome, took_ms: millis(attempt.began.elapsed()), ..attempt.receipt };
        match swaps::keep(&self.shared.store, &receipt).await {
            Ok(id) => receipt.id = id,
            Err(error) => tracing::warn!(%error, "keep a receipt"),
        }
        self.shared.reporter.update(|snapshot| snapshot.swaps.count(&receipt));
        let stages = receipt.changes.iter().map(|change| change.stage.as_str()).collect::<Vec<_>>().join(", ");
        let (generation, reason) = (receipt.generation, receipt.reason.as_deref().unwrap_or_default());
        match outcome {
            Outcome::Refused | Outcome::Parked | Outcome::RolledBack => {
                tracing::warn!(target: LOG_TARGET, who = receipt.who, stages, generation, "{}: {reason}", outcome.name());
            }
            _ => {
                let took_ms = receipt.took_ms;
                tracing::info!(target: LOG_TARGET, who = receipt.who, stages, generation, took_ms, "{} {reason}", outcome.name());
            }
        }
        // Nobody may be listening.
        let _ = self.shared.receipts.send(receipt.clone());
        receipt
    }
}

pub(super) fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}
