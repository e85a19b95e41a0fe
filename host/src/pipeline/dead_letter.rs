//! What becomes of rejected records, and when there are too many of them (delivery §7).

use std::collections::VecDeque;

use super::worker::Decided;
use crate::config::plan::StopWhen;
use crate::record::RowOutcome;
use crate::topic::{DeadLetter, Figures};

/// The dead letters of a decided batch, with the original bytes (invariant 4), ascending by place.
pub fn of(decided: &Decided, host: &str) -> Vec<DeadLetter> {
    let rejected = decided.outcomes.iter().enumerate().filter_map(|(row, outcome)| match outcome {
        RowOutcome::Rejected { stage, reason } => Some((row, stage, reason)),
        _ => None,
    });
    rejected
        .map(|(row, stage, reason)| {
            let record = decided.batch.get(row).to_message();
            DeadLetter {
                place: decided.batch.place(row),
                key: record.key,
                value: record.value,
                headers: record.headers,
                timestamp: record.timestamp,
                reason: reason.clone(),
                stage: stage.clone(),
                digest: stage.as_deref().and_then(|stage| decided.generation.digest(stage)),
                generation: decided.boundary.generation,
                write_time: decided.boundary.write_time(decided.batch.offsets()[row]),
                host: host.to_owned(),
            }
        })
        .collect()
}

/// Counts each record once.
pub fn figures(outcomes: &[RowOutcome]) -> Figures {
    let mut figures = Figures::default();
    for outcome in outcomes {
        match outcome {
            RowOutcome::Emitted => figures.emitted += 1,
            RowOutcome::Dropped => figures.dropped += 1,
            RowOutcome::Deleted => figures.deleted += 1,
            RowOutcome::Rejected { .. } => figures.rejected += 1,
        }
    }
    figures
}

/// `stop-when`: judged on the last `of` records that this host decided since it started, never on fewer.
#[derive(Debug)]
pub struct Threshold {
    stop_when: StopWhen,
    /// Whether each was rejected, oldest first.
    last: VecDeque<bool>,
    rejected: u32,
}

impl Threshold {
    pub fn new(stop_when: StopWhen) -> Threshold {
        Threshold { stop_when, last: VecDeque::with_capacity(stop_when.of as usize), rejected: 0 }
    }

    /// Takes the outcomes of a settled batch, in order; `Some` says that, and why, the pipeline must stop.
    pub fn count(&mut self, outcomes: &[RowOutcome]) -> Option<String> {
        let StopWhen { percent, of } = self.stop_when;
        let mut exceeded = None;
        for outcome in outcomes {
            let rejected = matches!(outcome, RowOutcome::Rejected { .. });
            self.last.push_back(rejected);
            self.rejected += u32::from(rejected);
            if self.last.len() > of as usize && self.last.pop_front() == Some(true) {
                self.rejected -= 1;
            }
            if self.last.len() == of as usize && f64::from(self.rejected) * 100.0 > percent * f64::from(of) {
                exceeded.get_or_insert(self.rejected);
            }
        }
        exceeded.map(|rejected| {
            format!("{rejected} of the last {of} records were rejected, more than {percent} % (stop-when); see `tidemill dead-letters list`")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcomes(of: usize, rejected: impl Fn(usize) -> bool) -> Vec<RowOutcome> {
        let reason = String::new();
        let outcome = |at| match rejected(at) {
            true => RowOutcome::Rejected { stage: None, reason: reason.clone() },
            false => RowOutcome::Emitted,
        };
        (0..of).map(outcome).collect()
    }

    #[test]
    fn never_judges_on_fewer_records_than_it_was_told() {
        let mut threshold = Threshold::new(StopWhen { percent: 5.0, of: 200 });
        assert_eq!(threshold.count(&outcomes(199, |_| true)), None);
        assert!(threshold.count(&outcomes(1, |_| false)).is_some());
    }

    #[test]
    fn just_as_many_as_allowed_is_not_more() {
        let mut threshold = Threshold::new(StopWhen { percent: 5.0, of: 200 });
        assert_eq!(threshold.count(&outcomes(2_000, |at| at % 20 == 19)), None, "10 in any 200");
        assert!(threshold.count(&outcomes(1, |_| true)).is_some_and(|why| why.starts_with("11 of the last 200")));
    }

    #[test]
    fn a_burst_in_the_middle_of_a_batch_counts() {
        let mut threshold = Threshold::new(StopWhen { percent: 5.0, of: 200 });
        assert!(threshold.count(&outcomes(2_000, |at| (500..520).contains(&at))).is_some());
    }
}
