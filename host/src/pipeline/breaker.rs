//! Watches a generation for a while after it was applied, and stops it when it does worse than the code before: more rejected records
//! (those that trap are among them), or more time for each. What it has stopped decides nothing more; the batch that tripped it is given
//! back unwritten, and decided by the generation that takes its place.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use super::worker::Decided;
use crate::config::plan::BreakerRule;
use crate::record::RowOutcome;

/// A generation is watched for at least so long, and for ten times the records that it is judged on.
const WATCHED_MIN: Duration = Duration::from_secs(60);
const WATCHED_TIMES: u64 = 10;
/// Time is judged on so many records, and never below so much for each: another language is no fault.
const TIMED_RECORDS: u64 = 200;
const TIME_ALLOWED: Duration = Duration::from_micros(100);
/// Older records count half.
const USUAL_RECORDS: u64 = 10_000;

#[derive(Default)]
pub struct Breaker {
    state: Mutex<State>,
    verdict: watch::Sender<Option<Verdict>>,
}

/// How the watch over a generation ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    pub generation: u64,
    /// Why it was stopped; `None`: it is good.
    pub stopped: Option<String>,
}

#[derive(Default)]
struct State {
    usual: Tally,
    watched: Option<Watched>,
}

/// What became of records, and how long they took.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(super) struct Tally {
    records: u64,
    rejected: u64,
    took: Duration,
}

impl Tally {
    fn add(&mut self, decided: &Decided) {
        self.records += decided.outcomes.len() as u64;
        self.rejected += decided.outcomes.iter().filter(|outcome| is_rejected(outcome)).count() as u64;
        self.took += decided.took;
    }

    fn time(&self) -> Duration {
        self.took / u32::try_from(self.records.max(1)).unwrap_or(u32::MAX)
    }
}

struct Watched {
    generation: u64,
    rule: BreakerRule,
    since: Instant,
    tally: Tally,
    /// Whether each of the last records was rejected, oldest first.
    last: VecDeque<bool>,
    rejected: u32,
    tripped: bool,
}

fn is_rejected(outcome: &RowOutcome) -> bool {
    matches!(outcome, RowOutcome::Rejected { .. })
}

impl Breaker {
    /// Watches a generation from now on, in place of any other.
    pub fn watch(&self, generation: u64, rule: BreakerRule) {
        self.state().watch(generation, rule);
    }

    /// Watches a generation from now on, and compares it with what another process saw.
    pub(super) fn resume(&self, generation: u64, rule: BreakerRule, usual: Tally) {
        let mut state = self.state();
        state.usual = usual;
        state.watch(generation, rule);
    }

    /// What the next generation would be compared with.
    pub(super) fn usual(&self) -> Tally {
        self.state().usual
    }

    /// Watches nothing: what is present was good before.
    pub fn trust(&self) {
        self.state().watched = None;
    }

    /// Whether a generation has been watched for long enough.
    pub fn trusts(&self, generation: u64) -> bool {
        self.state().watched.as_ref().is_none_or(|watched| watched.generation != generation)
    }

    /// Changes when a watch has ended.
    pub fn verdicts(&self) -> watch::Receiver<Option<Verdict>> {
        self.verdict.subscribe()
    }

    /// Takes what became of a batch. True: its generation is stopped, and the batch is not to be written.
    pub(super) fn stops(&self, decided: &Decided) -> bool {
        let mut state = self.state();
        let State { usual, watched } = &mut *state;
        let Some(watched) = watched.as_mut().filter(|watched| watched.generation == decided.boundary.generation) else {
            usual.add(decided);
            if usual.records > USUAL_RECORDS {
                *usual = Tally { records: usual.records / 2, rejected: usual.rejected / 2, took: usual.took / 2 };
            }
            return false;
        };
        if watched.tripped {
            return true;
        }
        watched.tally.add(decided);
        if let Some(reason) = watched.rejects_more(usual, decided).or_else(|| watched.takes_longer(usual)) {
            watched.tripped = true;
            self.verdict.send_replace(Some(Verdict { generation: watched.generation, stopped: Some(reason) }));
            return true;
        }
        let judged_on = watched.rule.rejects.map_or(0, |rejects| u64::from(rejects.of));
        if watched.since.elapsed() >= WATCHED_MIN && watched.tally.records >= WATCHED_TIMES * judged_on {
            *usual = watched.tally;
            self.verdict.send_replace(Some(Verdict { generation: watched.generation, stopped: None }));
            state.watched = None;
        }
        false
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn watch(&mut self, generation: u64, rule: BreakerRule) {
        let (tally, last) = (Tally::default(), VecDeque::new());
        self.watched = Some(Watched { generation, rule, since: Instant::now(), tally, last, rejected: 0, tripped: false });
    }
}

impl Watched {
    fn rejects_more(&mut self, usual: &Tally, decided: &Decided) -> Option<String> {
        let rule = self.rule.rejects?;
        // The share before, as far as is known, and what chance adds to it (three standard deviations).
        let (before, of) = ((usual.rejected + 1) as f64 / (usual.records + 2) as f64, f64::from(rule.of));
        let allowed = (rule.percent / 100.0 + before) * of + 3.0 * (before * (1.0 - before) * of).sqrt();
        let mut exceeded = None;
        for outcome in &decided.outcomes {
            let rejected = is_rejected(outcome);
            self.last.push_back(rejected);
            self.rejected += u32::from(rejected);
            if self.last.len() > rule.of as usize && self.last.pop_front() == Some(true) {
                self.rejected -= 1;
            }
            // So many of fewer records are too many of all as well.
            if f64::from(self.rejected) > allowed {
                exceeded = Some((self.rejected, self.last.len()));
            }
        }
        let (rejected, of) = exceeded?;
        let why = decided.outcomes.iter().find_map(|outcome| match outcome {
            RowOutcome::Rejected { reason, .. } => Some(reason.as_str()),
            _ => None,
        });
        let why = why.unwrap_or_default();
        let (before, seen) = (usual.rejected, usual.records);
        Some(format!("it rejected {rejected} of {of} records, the code before {before} of {seen}; as in: {why}"))
    }

    fn takes_longer(&self, usual: &Tally) -> Option<String> {
        let (now, before) = (self.tally.time(), usual.time());
        let judged = self.tally.records >= TIMED_RECORDS && usual.records >= TIMED_RECORDS;
        let slower = now > TIME_ALLOWED && now.as_secs_f64() > self.rule.times_slower * before.as_secs_f64();
        let micros = |time: Duration| time.as_secs_f64() * 1e6;
        (judged && slower)
            .then(|| format!("it takes {:.1} µs for a record, the code before took {:.1}", micros(now), micros(before)))
    }
}
