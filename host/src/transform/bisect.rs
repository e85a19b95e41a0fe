//! The search for the one record to blame, when a call over many rows fails (`design/delivery.md` §8).
//!
//! The smallest failing prefix is found in at most log2 n calls; its last row is tried alone in a fresh instance, and only if it
//! fails there as well is it to blame. The rest goes on in one call. If it passes alone nobody is blamed, and the calls become
//! smaller, down to single rows.

use std::ops::Range;

use crate::plugin::CallError;

/// Calls over a stretch of a stage's rows.
pub trait Calls {
    type Outcome;

    fn call(&mut self, rows: Range<usize>) -> Result<Self::Outcome, CallError>;

    /// The outcome counts, and with it what the call has set in the stage's state: later calls see that.
    fn keep(&mut self, _outcome: &mut Self::Outcome) {}

    /// The next call meets a fresh instance.
    fn renew(&mut self);
}

/// What the search made of the rows; parts tile them in order.
#[derive(Debug, PartialEq)]
pub enum Part<O> {
    Done(Range<usize>, O),
    Blamed(usize, CallError),
}

/// Whether the call over all rows has failed already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whole {
    Untried,
    Failed,
}

/// Runs all rows; the only error is [`CallError::Retry`], which blames nobody.
pub fn search<C: Calls>(calls: &mut C, rows: usize, whole: Whole) -> Result<Vec<Part<C::Outcome>>, CallError> {
    let mut parts = Vec::new();
    let mut start = 0;
    let mut largest = rows;
    let mut failed = whole == Whole::Failed;
    while start < rows {
        let end = (start + largest).min(rows);
        if !failed {
            match calls.call(start..end) {
                Ok(mut outcome) => {
                    calls.keep(&mut outcome);
                    parts.push(Part::Done(start..end, outcome));
                    start = end;
                    continue;
                }
                Err(error @ CallError::Retry(_)) => return Err(error),
                Err(_) => {}
            }
        }
        failed = false;
        let mut passing = start;
        let mut failing = end;
        let mut passed = None;
        while failing - passing > 1 {
            let middle = passing + (failing - passing) / 2;
            match calls.call(start..middle) {
                Ok(outcome) => {
                    passing = middle;
                    passed = Some(outcome);
                }
                Err(error @ CallError::Retry(_)) => return Err(error),
                Err(_) => failing = middle,
            }
        }
        if let Some(mut outcome) = passed {
            calls.keep(&mut outcome);
            parts.push(Part::Done(start..passing, outcome));
        }
        calls.renew();
        match calls.call(passing..passing + 1) {
            Ok(mut outcome) => {
                calls.keep(&mut outcome);
                parts.push(Part::Done(passing..passing + 1, outcome));
                largest = ((end - start) / 2).max(1);
            }
            Err(error @ CallError::Retry(_)) => return Err(error),
            Err(error) => parts.push(Part::Blamed(passing, error)),
        }
        start = passing + 1;
    }
    Ok(parts)
}
