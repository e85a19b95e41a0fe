//! An attempt: what the files hold now, checked, and brought into force the way its stages want it.

use std::collections::BTreeSet;

use tokio::sync::oneshot;

use super::receipt::{Attempt, millis};
use super::{Pending, Reloader, Restart};
use crate::config::Loaded;
use crate::config::diagnostic::Diagnostic;
use crate::config::plan::{BreakerRule, Pipeline, StagePlan, StopWhen, SwapMode};
use crate::pipeline::candidate::{Candidate, Findings, Found, Present, Search, Unusable, changes};
use crate::pipeline::prepare::{Prepared, PreparedStage, fit};
use crate::pipeline::quarantine::chain;
use crate::pipeline::start::assemble;
use crate::pipeline::swap::{self, Failed, Trust};
use crate::status::swap::{Candidate as Shown, Change, Outcome, Receipt, ReceiptPartition};

impl Reloader {
    /// Other stages, or other code in them.
    pub(super) async fn swap(&mut self, mut attempt: Attempt, loaded: Loaded) -> Receipt {
        let Findings { stages, compiled } = self.find(&loaded).await;
        attempt.receipt.compile_ms = millis(compiled);
        let mut new = BTreeSet::new();
        let mut wrong = Vec::new();
        let mut unusable = false;
        for (name, found) in &stages {
            match found {
                Found::Same(_) => self.clear(name),
                Found::New(_) => drop(new.insert(name.clone())),
                Found::Held(_, digest) => {
                    let why = "it was taken back or discarded, and has not changed since".to_owned();
                    self.show(name, Some(("quarantined", digest, Some(why))));
                }
                Found::Wrong(Unusable { why, .. }) => {
                    wrong.push(why.clone());
                    unusable |= self.present.stage(name).is_none();
                }
            }
        }
        if wrong.is_empty() && new.is_empty() {
            self.refused = None;
        }
        if unusable {
            return self.refuse_found(attempt, &stages, &wrong).await;
        }
        let mut failed = wrong.clone();
        for chosen in self.choices(&loaded, &new) {
            let wanted: Vec<PreparedStage> = stages.iter().filter_map(|(name, found)| self.take(name, found, &chosen)).collect();
            let sinks = self.shared.deliver().generations.present().code.sinks.clone();
            match Candidate::new(&loaded, wanted, sinks) {
                Ok(candidate) => {
                    // What is left lies there and is tried next, against what runs then.
                    self.again |= chosen.len() < new.len();
                    if !wrong.is_empty() {
                        let refused = self.attempt(&attempt.receipt.who);
                        let useless = stages.iter().filter(|(_, found)| matches!(found, Found::Wrong(..)));
                        self.refuse_found(refused, useless, &wrong).await;
                    }
                    return self.enter(attempt, candidate, &chosen).await;
                }
                Err(found) if failed.is_empty() => failed = found,
                Err(_) => {}
            }
        }
        self.tried = stages
            .iter()
            .filter_map(|(_, found)| if let Found::New(stage) = found { Some(stage.stage.plugin.clone()) } else { None })
            .collect();
        self.forget_pending(&attempt.receipt.who).await;
        self.refuse_found(attempt, &stages, &failed).await
    }

    /// What waits lies there no more.
    async fn forget_pending(&mut self, who: &str) {
        let Some(pending) = self.pending.take() else { return };
        self.shared.deliver().beside.stop();
        let attempt = self.attempt(who);
        let reason = Some("what waited lies there no more".to_owned());
        let receipt = Receipt { changes: pending.changes, reason, ..attempt.receipt };
        self.finish(Attempt { receipt, ..attempt }, Outcome::Discarded).await;
    }

    pub(super) async fn find(&self, loaded: &Loaded) -> Findings {
        let waiting = self.pending.iter().flat_map(|pending| &pending.candidate.present.stages);
        let known = self.tried.iter().cloned().chain(waiting.map(|stage| stage.stage.plugin.clone()));
        let search = Search {
            present: self.present.clone(),
            held: self.held.stages.clone(),
            known: known.collect(),
            engine: self.engine.clone(),
        };
        let (loaded, reporter) = (loaded.clone(), self.shared.reporter.clone());
        let searching = tokio::task::spawn_blocking(move || {
            search.run(&loaded, &|stage, digest| {
                reporter.update(|snapshot| {
                    if let Some(status) = snapshot.stages.iter_mut().find(|status| status.name == stage) {
                        let (digest, since_ms) = (digest.to_owned(), jiff::Timestamp::now().as_millisecond());
                        status.candidate = Some(Shown { digest, state: "compiling".to_owned(), since_ms, reason: None });
                    }
                });
            })
        });
        searching.await.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))
    }

    /// Which of the new stages are tried together, in turn: those that need nobody's consent, all, those that were not tried before.
    pub(super) fn choices(&self, loaded: &Loaded, new: &BTreeSet<String>) -> Vec<BTreeSet<String>> {
        let needed: BTreeSet<String> = new.iter().filter(|name| self.present.stage(name).is_none()).cloned().collect();
        let direct = |name: &&String| plan_of(loaded, name).is_none_or(|stage| stage.swap.mode == SwapMode::Direct);
        let mut choices = Vec::new();
        let direct: BTreeSet<String> = new.iter().filter(direct).chain(&needed).cloned().collect();
        if direct.len() < new.len() && !direct.is_empty() {
            choices.push(direct);
        }
        choices.push(new.clone());
        // One that fits alone need not wait for another that does not fit.
        choices.extend(new.iter().filter(|_| new.len() > 1).map(|name| needed.iter().chain([name]).cloned().collect()));
        choices
    }

    pub(super) fn take(&self, name: &str, found: &Found, chosen: &BTreeSet<String>) -> Option<PreparedStage> {
        match found {
            Found::Same(stage) | Found::Held(stage, _) => Some(stage.clone()),
            Found::New(stage) if chosen.contains(name) => Some(stage.clone()),
            Found::New(_) | Found::Wrong(..) => self.present.stage(name).cloned(),
        }
    }

    /// Lets a candidate in, the way its stages want it.
    pub(super) async fn enter(&mut self, attempt: Attempt, candidate: Candidate, chosen: &BTreeSet<String>) -> Receipt {
        let changes = changes(&self.present, &candidate.present.stages);
        let same = candidate.code.content == self.shared.deliver().generations.present().code.content;
        if same || self.held.holds(&chain(&candidate.present.stages)) {
            self.show_file(&candidate.warnings);
            self.forget_pending(&attempt.receipt.who).await;
            if same {
                self.present = candidate.present;
                self.watch_files(None);
            }
            return Receipt { outcome: Outcome::Unchanged, ..attempt.receipt };
        }
        let waits = self.pending.as_ref().is_some_and(|pending| pending.candidate.code.content == candidate.code.content);
        if waits {
            return Receipt { outcome: Outcome::Unchanged, changes, ..attempt.receipt };
        }
        let plans = || {
            candidate
                .present
                .plan
                .stages
                .iter()
                .filter(|stage| chosen.contains(&stage.name) && self.present.stage(&stage.name).is_some())
        };
        let mode = plans().map(|stage| stage.swap.mode).max().unwrap_or_default();
        let wanted = plans().map(|stage| stage.swap.shadow_records).max().unwrap_or(0);
        self.show_file(&candidate.warnings);
        match mode {
            SwapMode::Direct => {
                let trust = Trust::Watched(rule(&candidate.present.plan.stages, &changes));
                self.bring(attempt, candidate, changes, trust, Outcome::Applied).await
            }
            SwapMode::Shadow => self.run_beside(attempt, candidate, changes, u64::from(wanted)).await,
            SwapMode::Manual => {
                self.shared.deliver().beside.stop();
                self.show_changes(&changes, Some(("waiting", "a person decides: promote it or discard it")));
                self.pending = Some(Pending { candidate, changes: changes.clone(), agreed: None });
                self.finish(Attempt { receipt: Receipt { changes, ..attempt.receipt }, ..attempt }, Outcome::Waiting).await
            }
        }
    }

    pub(super) async fn run_beside(
        &mut self,
        attempt: Attempt,
        candidate: Candidate,
        changes: Vec<Change>,
        wanted: u64,
    ) -> Receipt {
        let first = changes.first().cloned().unwrap_or_default();
        let digest = first.to.clone().unwrap_or_default();
        let beside = self.shared.deliver().beside.start(&first.stage, &digest, candidate.code.clone(), wanted);
        let receipt = Receipt { changes: changes.clone(), ..attempt.receipt };
        let attempt = Attempt { receipt, ..attempt };
        match beside {
            Ok(agreed) => {
                self.show_changes(&changes, Some(("shadow", "it runs beside the present code")));
                self.pending = Some(Pending { candidate, changes, agreed: Some(agreed) });
                self.finish(attempt, Outcome::Shadowing).await
            }
            Err(error) => self.refuse(attempt, changes, format!("start a thread beside the stream: {error}"), &[]).await,
        }
    }

    /// Puts a candidate into force, or says why not.
    pub(super) async fn bring(
        &mut self,
        attempt: Attempt,
        candidate: Candidate,
        changes: Vec<Change>,
        trust: Trust,
        outcome: Outcome,
    ) -> Receipt {
        let deliver = self.shared.deliver();
        let before = self.number();
        let is_good = deliver.breaker.trusts(before);
        let is_new = |stage: &&PreparedStage| changes.iter().any(|change| change.stage == stage.name());
        let new = candidate.present.stages.iter().filter(is_new);
        let components: Vec<_> = new.map(|stage| (stage.stage.plugin.digest.clone(), stage.bytes.to_vec())).collect();
        let good = chain(if is_good { &self.present.stages } else { &self.good.stages });
        let swapped = match swap::swap(&deliver, &self.shared.store, candidate.code, &components, trust, good).await {
            Ok(swapped) => swapped,
            Err(Failed::Same(_)) => {
                self.present = candidate.present;
                return Receipt { outcome: Outcome::Unchanged, ..attempt.receipt };
            }
            Err(failed) => return self.refuse(attempt, changes, failed.to_string(), &[]).await,
        };
        if is_good {
            self.good = self.present.clone();
        }
        self.present = candidate.present;
        self.release().await;
        self.refused = None;
        self.tried.clear();
        if self.pending.take().is_some() {
            deliver.beside.stop();
            self.again = true;
        }
        self.watch_files(None);
        self.shared.describe_stages(&self.present, swapped.number);
        let partitions: Vec<ReceiptPartition> = swapped
            .joined
            .iter()
            .map(|(partition, joined)| ReceiptPartition {
                partition: *partition,
                first: joined.first,
                in_flight: joined.in_flight,
                pause_ms: millis(joined.pause),
            })
            .collect();
        let receipt = Receipt {
            generation: swapped.number,
            from_generation: before,
            changes,
            pause_ms: Some(partitions.iter().map(|partition| partition.pause_ms).fold(0.0, f64::max)),
            probed: swapped.probed,
            partitions,
            ..attempt.receipt
        };
        self.finish(Attempt { receipt, ..attempt }, outcome).await
    }

    /// Source, topic or sinks have changed: everything is checked and opened before what runs is drained.
    pub(super) async fn restart(&mut self, mut attempt: Attempt, loaded: Loaded, parts: &[&str]) -> Receipt {
        let Findings { stages, compiled } = self.find(&loaded).await;
        attempt.receipt.compile_ms = millis(compiled);
        let wrong: Vec<Diagnostic> = stages
            .iter()
            .filter_map(|(_, found)| if let Found::Wrong(Unusable { why, .. }) = found { Some(why.clone()) } else { None })
            .collect();
        if !wrong.is_empty() {
            return self.refuse_found(attempt, &stages, &wrong).await;
        }
        let all: BTreeSet<String> = stages.iter().map(|(name, _)| name.clone()).collect();
        let wanted: Vec<PreparedStage> = stages.iter().filter_map(|(name, found)| self.take(name, found, &all)).collect();
        let contracts: Vec<_> = wanted.iter().map(|stage| stage.contract.clone()).collect();
        let (checked, found) = fit(&loaded, &contracts);
        if found.iter().any(Diagnostic::is_error) {
            return self.refuse_found(attempt, &stages, &found).await;
        }
        let changes = changes(&self.present, &wanted);
        self.show_file(&found);
        let Loaded { pipeline: plan, places, .. } = loaded;
        let prepared = Prepared { plan, places, stages: wanted, checked, warnings: found, engine: self.engine.clone() };
        let present = Present::of(&prepared);
        let before = self.number();
        let reason = format!("{} changed: drained, and started again", parts.join(", "));
        let assembled =
            match assemble(prepared, &self.shared.store, &self.shared.reporter, &self.shared.breaker, &self.options).await {
                Ok(assembled) => assembled,
                Err(error) => return self.refuse(attempt, changes, format!("{} changed: {error}", parts.join(", ")), &[]).await,
            };
        let (started, starting) = oneshot::channel();
        if self.restarts.send(Restart { assembled, started }).await.is_err() || starting.await.is_err() {
            return self.refuse(attempt, changes, "the pipeline ends".to_owned(), &[]).await;
        }
        if self.number() == before {
            // What is watched is watched on.
            let stages = std::mem::take(&mut self.good.plan.stages);
            self.good.plan = Pipeline { stages, ..present.plan.clone() };
            self.good.places = present.places.clone();
        } else {
            self.shared.breaker.trust();
            self.watch_ended().await;
            self.good = present.clone();
        }
        self.present = present;
        (self.pending, self.refused) = (None, None);
        self.watch_files(None);
        let receipt =
            Receipt { generation: self.number(), from_generation: before, changes, reason: Some(reason), ..attempt.receipt };
        self.finish(Attempt { receipt, ..attempt }, Outcome::Restarted).await
    }
}

fn plan_of<'a>(loaded: &'a Loaded, stage: &str) -> Option<&'a StagePlan> {
    loaded.pipeline.stages.iter().find(|known| known.name == stage)
}

/// The strictest rule of the stages that change.
pub(super) fn rule(stages: &[StagePlan], changes: &[Change]) -> BreakerRule {
    let changed = stages.iter().filter(|stage| changes.iter().any(|change| change.stage == stage.name));
    let rules = changed.map(|stage| stage.swap.breaker);
    let strictest = |a: BreakerRule, b: BreakerRule| BreakerRule {
        rejects: match (a.rejects, b.rejects) {
            (Some(a), Some(b)) => Some(if a.percent <= b.percent { a } else { b }),
            (a, b) => a.or(b),
        },
        times_slower: a.times_slower.min(b.times_slower),
    };
    // A chain that only lost a stage is watched too.
    rules.reduce(strictest).unwrap_or(BreakerRule { rejects: Some(StopWhen { percent: 5.0, of: 200 }), times_slower: 10.0 })
}
