//! What of a partition is handed out, settled, and next (delivery §1).
//!
//! Stretches are handed out in offset order and settled in any order; only the settled stretch at the front moves the position
//! (invariant 1). A tracker belongs to one assignment of its partition: once closed it settles and yields nothing, because nobody
//! else checks who owns the partition.

use std::collections::VecDeque;
use std::ops::Range;

/// `T` is what a stretch leaves to be saved when the position passes it: counts, dead letters, joined writes.
#[derive(Debug)]
pub struct Tracker<T> {
    next: i64,
    /// Number of the stretch at the front.
    front: u64,
    stretches: VecDeque<Stretch<T>>,
    closed: bool,
}

#[derive(Debug)]
struct Stretch<T> {
    end: i64,
    settled: Option<T>,
}

/// Names a stretch that was handed out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticket(u64);

impl<T> Tracker<T> {
    pub fn new(next: i64) -> Tracker<T> {
        Tracker { next, front: 0, stretches: VecDeque::new(), closed: false }
    }

    /// The lowest offset that is not settled, gaps included.
    pub fn next(&self) -> i64 {
        self.next
    }

    /// Everything handed out is settled and taken.
    pub fn is_empty(&self) -> bool {
        self.stretches.is_empty()
    }

    /// The stretch from where the last one ended up to `end`. Offsets that no record has belong to the stretch they lie in.
    pub fn hand_out(&mut self, end: i64) -> Ticket {
        debug_assert!(self.stretches.back().map_or(self.next, |last| last.end) < end, "stretches ascend");
        self.stretches.push_back(Stretch { end, settled: None });
        Ticket(self.front + self.stretches.len() as u64 - 1)
    }

    /// A second settling of the same stretch changes nothing, nor does any after [`Tracker::close`].
    pub fn settle(&mut self, ticket: Ticket, left: T) {
        if self.closed {
            return;
        }
        let Some(at) = ticket.0.checked_sub(self.front) else { return };
        if let Some(stretch) = usize::try_from(at).ok().and_then(|at| self.stretches.get_mut(at))
            && stretch.settled.is_none()
        {
            stretch.settled = Some(left);
        }
    }

    /// Takes the settled stretches at the front: the offsets they cover and what each left, in order.
    pub fn take(&mut self) -> Option<(Range<i64>, Vec<T>)> {
        if self.closed {
            return None;
        }
        let start = self.next;
        let mut left = Vec::new();
        while let Some(stretch) = self.stretches.pop_front_if(|stretch| stretch.settled.is_some()) {
            self.front += 1;
            self.next = stretch.end;
            left.extend(stretch.settled);
        }
        (!left.is_empty()).then_some((start..self.next, left))
    }

    /// Nothing is handed out, and no record lies below `end`: the next offset moves there.
    pub fn skip_to(&mut self, end: i64) {
        if !self.closed && self.stretches.is_empty() {
            self.next = self.next.max(end);
        }
    }

    pub fn is_closed(&self) -> bool {
        self.closed
    }

    pub fn close(&mut self) {
        self.closed = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_position_moves_only_past_what_is_settled_whatever_the_order() {
        let mut tracker = Tracker::new(10);
        let [a, b, c] = [12, 20, 21].map(|end| tracker.hand_out(end));
        tracker.settle(c, 'c');
        tracker.settle(b, 'b');
        assert_eq!((tracker.take(), tracker.next()), (None, 10));
        tracker.settle(a, 'a');
        assert_eq!(tracker.take(), Some((10..21, vec!['a', 'b', 'c'])));
        assert!(tracker.is_empty());
        let d = tracker.hand_out(30);
        tracker.settle(a, 'x');
        assert_eq!(tracker.take(), None, "a ticket of the past settles nothing");
        tracker.settle(d, 'd');
        assert_eq!(tracker.take(), Some((21..30, vec!['d'])));
    }

    #[test]
    fn a_stretch_settles_once() {
        let mut tracker = Tracker::new(0);
        let a = tracker.hand_out(1);
        tracker.settle(a, 1);
        tracker.settle(a, 2);
        assert_eq!(tracker.take(), Some((0..1, vec![1])));
    }

    #[test]
    fn what_no_record_has_is_passed_only_when_nothing_is_in_flight() {
        let mut tracker = Tracker::new(0);
        let a = tracker.hand_out(5);
        tracker.skip_to(9);
        tracker.settle(a, ());
        assert_eq!(tracker.take(), Some((0..5, vec![()])));
        tracker.skip_to(9);
        tracker.skip_to(7);
        assert_eq!(tracker.next(), 9);
    }

    #[test]
    fn a_closed_tracker_settles_and_yields_nothing() {
        let mut tracker = Tracker::new(0);
        let [a, b] = [5, 9].map(|end| tracker.hand_out(end));
        tracker.settle(a, ());
        tracker.close();
        tracker.settle(b, ());
        assert_eq!((tracker.take(), tracker.next()), (None, 0));
    }
}
