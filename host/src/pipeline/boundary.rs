//! Which generation decides an offset, and at what time its rows are written (delivery §2 and §3).
//!
//! Invariant 2: what a predecessor may have written is decided by the boundaries it saved; a changed generation begins above that.
//! Invariant 5: write times belong to offsets and only grow along a partition.

use crate::record::Batch;
use crate::topic::{Boundary, Position};

/// Write times that are so far behind the clock get a new boundary, so that a person's own changes to a table behave as expected.
pub const LAG_MAX_MICROS: i64 = 10_000_000;

/// The boundaries of one partition during one assignment: those inherited, and those that begin as batches come.
#[derive(Debug)]
pub struct Course {
    boundaries: Vec<Boundary>,
    /// Decides from `floor` on.
    generation: u64,
    /// Below it rows may have been written already, by a predecessor or by this assignment: no boundary may begin there.
    floor: i64,
    /// What the floor was at first: below it a predecessor may have written.
    inherited: i64,
}

impl Course {
    /// Goes on from a saved position. `None`: nothing was ever delivered.
    pub fn resume(position: Option<&Position>, generation: u64) -> Course {
        let Some(position) = position else {
            return Course { boundaries: Vec::new(), generation, floor: i64::MIN, inherited: i64::MIN };
        };
        let floor = position.reach.max(position.next);
        // Above `reach` nothing was written, so what was planned there binds nobody.
        let boundaries = position.boundaries.iter().copied().filter(|boundary| boundary.first <= floor).collect();
        Course { boundaries, generation, floor, inherited: floor }
    }

    /// Begins afresh at `first`: what is decided from there on is decided by `generation`, whatever was written before, and later than
    /// anything that was. `end` is the partition's: a host that does not know yet that it lost the partition writes nothing beyond.
    pub fn anew(position: Option<&Position>, generation: u64, first: i64, end: i64, now: i64) -> Course {
        let before = position.and_then(|position| Some((position.boundaries.last()?, position.reach)));
        let time = before.map_or(now, |(last, reach)| now.max(last.write_time(end.max(reach).max(last.first)) + 1));
        Course { boundaries: vec![Boundary { first, generation, time }], generation, floor: first, inherited: first }
    }

    /// The boundaries that decide what a predecessor may have written and not settled.
    pub fn binding(position: &Position) -> impl Iterator<Item = &Boundary> {
        let in_force = position.boundaries.iter().rposition(|boundary| boundary.first <= position.next).unwrap_or(0);
        let reach = position.reach;
        position.boundaries.iter().skip(in_force).filter(move |boundary| boundary.first < reach && position.next < reach)
    }

    /// Those that bind records still to come, ascending.
    pub fn boundaries(&self) -> &[Boundary] {
        &self.boundaries
    }

    /// Lets another generation decide from the next batch on.
    pub fn change(&mut self, generation: u64) {
        self.generation = generation;
    }

    /// Begins the boundary of the present generation at `next`, before any record comes; `None` where it has begun, or may not begin
    /// there. `now` in µs.
    pub fn begin(&mut self, next: i64, now: i64) -> Option<Boundary> {
        let begun = self.boundaries.last().is_some_and(|last| last.generation == self.generation);
        (self.floor <= next && !begun).then(|| self.due(next, now))
    }

    /// The first offset at which a boundary may begin, none below `next` being of interest.
    pub fn floor(&self, next: i64) -> i64 {
        self.floor.max(next)
    }

    /// The oldest generation that may still decide something from `next` on.
    pub fn oldest(&self, next: i64) -> u64 {
        let below = (next < self.floor).then(|| self.in_force(next)).flatten();
        below.map_or(self.generation, |boundary| boundary.generation.min(self.generation))
    }

    /// Whether records from `first` on, which were handed out and of which nothing was written, may be decided by another generation.
    pub fn may_give_back(&self, first: i64) -> bool {
        first >= self.inherited
    }

    /// Takes back what was handed out from `first` on: nothing of it is written. Only where it [may be](Course::may_give_back).
    pub fn give_back(&mut self, first: i64) {
        self.floor = first;
    }

    /// Takes what one boundary decides off the front of a batch, and begins a new boundary where one is due. `now` in µs. `None` of an
    /// empty batch.
    pub fn cut(&mut self, mut batch: Batch, now: i64) -> Option<(Boundary, Batch, Batch)> {
        let first = *batch.offsets().first()?;
        let boundary = if first < self.floor { self.in_force(first) } else { None };
        let (boundary, rest) = match boundary {
            Some(boundary) => {
                let above = self.boundaries.iter().map(|b| b.first).find(|above| *above > first);
                (boundary, batch.split_off(above.map_or(self.floor, |above| above.min(self.floor))))
            }
            None => (self.due(first, now), Batch::new(batch.partition())),
        };
        self.floor = self.floor.max(batch.offsets().last().map_or(first, |last| last + 1));
        Some((boundary, batch, rest))
    }

    fn in_force(&self, offset: i64) -> Option<Boundary> {
        self.boundaries.iter().rev().find(|boundary| boundary.first <= offset).copied()
    }

    /// The boundary for an offset at which a new one may begin.
    fn due(&mut self, first: i64, now: i64) -> Boundary {
        let before = self.in_force(first);
        if let Some(before) = before
            && before.generation == self.generation
            && now - before.write_time(first) <= LAG_MAX_MICROS
        {
            return before;
        }
        let time = before.map_or(now, |before| now.max(before.write_time(first)));
        let boundary = Boundary { first, generation: self.generation, time };
        // Batches ascend, so older ones are not asked for again.
        self.boundaries = before.into_iter().filter(|before| before.first < first).chain([boundary]).collect();
        boundary
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::RecordRef;
    use crate::topic::Figures;

    fn batch(offsets: impl IntoIterator<Item = i64>) -> Batch {
        let mut batch = Batch::new(0);
        for offset in offsets {
            batch.push(RecordRef { offset, timestamp: 0, key: None, value: None, headers: &[] });
        }
        batch
    }

    fn cut(course: &mut Course, offsets: impl IntoIterator<Item = i64>, now: i64) -> Vec<(Boundary, Vec<i64>)> {
        let mut pieces = Vec::new();
        let mut left = batch(offsets);
        while let Some((boundary, piece, rest)) = course.cut(left, now) {
            pieces.push((boundary, piece.offsets().to_vec()));
            left = rest;
        }
        pieces
    }

    fn position(next: i64, reach: i64, boundaries: &[(i64, u64, i64)]) -> Position {
        let boundaries = boundaries.iter().map(|&(first, generation, time)| Boundary { first, generation, time }).collect();
        Position { next, reach, boundaries, figures: Figures::default() }
    }

    #[test]
    fn a_new_partition_begins_at_its_first_record_at_the_present_time() {
        let mut course = Course::resume(None, 1);
        let begun = Boundary { first: 7, generation: 1, time: 1_000 };
        assert_eq!(cut(&mut course, [7, 9], 1_000), [(begun, vec![7, 9])]);
        assert_eq!(cut(&mut course, [10], 1_000 + LAG_MAX_MICROS), [(begun, vec![10])]);
    }

    #[test]
    fn times_that_lag_begin_a_new_boundary_and_never_go_back() {
        let mut course = Course::resume(None, 1);
        cut(&mut course, [0], 1_000);
        let later = 1_002 + LAG_MAX_MICROS;
        assert_eq!(cut(&mut course, [1], later), [(Boundary { first: 1, generation: 1, time: later }, vec![1])]);
        // The clock goes back; a swap then takes the time that the boundary before would have used.
        course.change(2);
        assert_eq!(cut(&mut course, [2], 5), [(Boundary { first: 2, generation: 2, time: later + 1 }, vec![2])]);
    }

    #[test]
    fn a_boundary_may_begin_before_its_first_record() {
        let mut course = Course::resume(None, 1);
        cut(&mut course, [0, 1], 1_000);
        course.change(2);
        let begun = Boundary { first: 2, generation: 2, time: 1_010 };
        assert_eq!((course.begin(2, 1_010), course.begin(2, 1_020)), (Some(begun), None));
        // No record came, and another swap.
        course.change(3);
        let instead = Boundary { generation: 3, ..begun };
        assert_eq!(course.begin(2, 900), Some(instead));
        assert_eq!(cut(&mut course, [5], 1_030), [(instead, vec![5])]);
        // What a predecessor may have written is decided by its boundaries.
        let mut course = Course::resume(Some(&position(10, 15, &[(0, 1, 100)])), 2);
        assert_eq!(course.begin(10, 1_000), None);
    }

    #[test]
    fn after_an_unclean_end_a_changed_generation_begins_at_reach() {
        let mut course = Course::resume(Some(&position(10, 15, &[(0, 1, 100), (12, 2, 500)])), 3);
        assert_eq!(
            cut(&mut course, 10..20, 1_000),
            [
                (Boundary { first: 0, generation: 1, time: 100 }, vec![10, 11]),
                (Boundary { first: 12, generation: 2, time: 500 }, vec![12, 13, 14]),
                (Boundary { first: 15, generation: 3, time: 1_000 }, vec![15, 16, 17, 18, 19]),
            ]
        );
    }

    #[test]
    fn what_was_planned_above_reach_is_planned_anew() {
        let mut course = Course::resume(Some(&position(10, 10, &[(0, 1, 100), (30, 2, 500)])), 1);
        assert_eq!(cut(&mut course, [10, 40], 200), [(Boundary { first: 0, generation: 1, time: 100 }, vec![10, 40])]);
    }

    #[test]
    fn below_reach_a_lag_begins_nothing() {
        let mut course = Course::resume(Some(&position(10, 12, &[(0, 1, 100)])), 1);
        let now = 10 * LAG_MAX_MICROS;
        assert_eq!(
            cut(&mut course, 10..14, now),
            [
                (Boundary { first: 0, generation: 1, time: 100 }, vec![10, 11]),
                (Boundary { first: 12, generation: 1, time: now }, vec![12, 13]),
            ]
        );
    }

    #[test]
    fn a_fresh_course_is_later_than_anything_before_it() {
        let before = position(10, 15, &[(0, 1, 100), (12, 2, 500)]);
        // Generation 2 may have written up to the end of the partition, at 500 + (40 - 12).
        let mut course = Course::anew(Some(&before), 3, 4, 40, 300);
        let fresh = Boundary { first: 4, generation: 3, time: 529 };
        assert_eq!(course.boundaries(), [fresh]);
        assert_eq!(cut(&mut course, [4, 20], 600), [(fresh, vec![4, 20])]);
        assert_eq!(Course::anew(None, 3, 4, 40, 300).boundaries(), [Boundary { time: 300, ..fresh }]);
    }

    #[test]
    fn what_lies_between_next_and_reach_binds() {
        let firsts = |next, reach| {
            let position = position(next, reach, &[(0, 1, 100), (12, 2, 500), (15, 3, 900)]);
            Course::binding(&position).map(|boundary| boundary.first).collect::<Vec<_>>()
        };
        assert_eq!(firsts(10, 15), [0, 12]);
        assert_eq!(firsts(12, 16), [12, 15]);
        assert_eq!(firsts(15, 15), [0; 0]);
    }

    #[test]
    fn a_boundary_at_reach_itself_holds_if_it_fits() {
        let saved = (10, 1, 700);
        let mut course = Course::resume(Some(&position(10, 10, &[(0, 1, 100), saved])), 1);
        assert_eq!(cut(&mut course, [10], 800), [(Boundary { first: 10, generation: 1, time: 700 }, vec![10])]);
    }

    #[test]
    fn what_is_given_back_is_decided_by_the_newer_generation_and_no_time_goes_back() {
        let mut course = Course::resume(None, 1);
        cut(&mut course, [0, 1], 1_000);
        cut(&mut course, [2, 3], 1_000);
        course.change(2);
        assert!(course.may_give_back(2));
        course.give_back(2);
        assert_eq!(cut(&mut course, [2, 3], 500), [(Boundary { first: 2, generation: 2, time: 1_002 }, vec![2, 3])]);
        assert_eq!((course.oldest(2), course.oldest(4)), (2, 2));
    }

    #[test]
    fn what_a_predecessor_may_have_written_is_not_given_back() {
        let course = Course::resume(Some(&position(10, 15, &[(0, 1, 100)])), 2);
        assert!(!course.may_give_back(14) && course.may_give_back(15));
        assert_eq!((course.oldest(10), course.oldest(15), course.floor(10)), (1, 2, 15));
    }
}
