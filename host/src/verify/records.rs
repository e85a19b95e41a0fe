//! Goes along the log: decides every record again, compares its dead letter, and books the rows that it leads to.

use std::ops::Range;

use super::Verification;
use super::decide::{Decided, TableRows};
use super::evidence::{Error, Letter, Letters, Partition, Piece};
use super::ledger::{Entry, When};
use super::letters;
use super::report::{Difference, Finding};
use super::{cells, evidence};
use crate::record::{Batch, Place, RecordRef, RowOutcome};
use crate::topic::{Boundary, Figures, Resolution};

/// Records that cannot be judged, and why.
pub const PAST_RETENTION: &str = "the topic holds its record no longer (retention)";
const DAMAGED: &str = "the log is damaged there";
const LOST: &str = "the log lacks the record";
const MACHINE: &str = "it was rejected for the time that it took, which depends on the machine";
const RESOLVED: &str = "its dead letter was resolved by wish, and the record would pass now";

/// What a stretch of records is compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stretch {
    /// Settled before the tables were read.
    Settled,
    /// Settled since.
    Since,
    /// Above the position: their rows may have been written ahead, and nothing else is known.
    Ahead,
}

impl Stretch {
    fn when(self) -> When {
        if self == Stretch::Settled { When::Settled } else { When::Later }
    }
}

/// What became of the records of a stretch, where all of them could be judged.
#[derive(Debug, Default)]
pub struct Counted {
    pub figures: Figures,
    pub incomplete: bool,
}

impl Verification<'_> {
    pub fn records(&mut self, partition: &Partition, range: Range<i64>, stretch: Stretch) -> Result<Counted, Error> {
        let mut counted = Counted::default();
        let mut from = range.start;
        while from < range.end {
            let began = from;
            let Piece { batch, damaged } = self.topic.records(partition.number, from..range.end)?;
            let end = match (&damaged, batch.offsets().last()) {
                (Some(damaged), _) => damaged.start,
                (None, Some(last)) => last + 1,
                (None, None) => range.end,
            };
            let mut letters = match stretch {
                Stretch::Ahead => Letters::default(),
                _ => self.topic.letters(partition.number, from..damaged.as_ref().map_or(end, |damaged| damaged.end))?,
            };
            let holes = holes(&batch, from..end);
            if !holes.is_empty() {
                let first = self.topic.first(partition.number)?;
                for hole in holes {
                    counted.incomplete |= self.hole(partition.number, hole, first, &mut letters)?;
                }
            }
            for (boundary, piece) in cut(self.courses.get(&partition.number).map_or(&[], Vec::as_slice), batch) {
                self.batch(partition, boundary, &piece, stretch, &mut letters, &mut counted)?;
            }
            from = end;
            if let Some(damaged) = damaged {
                counted.incomplete = true;
                let Range { start, end } = damaged;
                self.report.contradictory.add(|| {
                    Finding::new(format!("the log of partition {} cannot be read from {start} to {}", partition.number, end - 1))
                });
                letters.kept.retain(|offset, _| !damaged.contains(offset));
                self.unknown(partition.number, damaged, DAMAGED)?;
                from = end;
            }
            for offset in letters.kept.keys() {
                let place = Place { partition: partition.number, offset: *offset };
                self.report.invented.add(|| Finding::new(format!("{}: there is no such record", letter_at(place))));
            }
            self.progress.add((from - began) as u64);
        }
        Ok(counted)
    }

    pub(super) fn unknown(&mut self, partition: u32, offsets: Range<i64>, why: &str) -> Result<(), Error> {
        self.report.cannot_judge(why, (offsets.end - offsets.start) as u64);
        self.ledger.unknown(partition, offsets, why)
    }

    /// Offsets without a record; the topic now begins at `first`. Returns whether there may have been records.
    fn hole(&mut self, partition: u32, hole: Range<i64>, first: i64, letters: &mut Letters) -> Result<bool, Error> {
        // Retention has removed them meanwhile.
        let gone = hole.start..hole.end.min(first);
        if !gone.is_empty() {
            letters.kept.retain(|offset, _| !gone.contains(offset));
            self.unknown(partition, gone.clone(), PAST_RETENTION)?;
        }
        let lost = hole.start.max(first)..hole.end;
        if lost.is_empty() || !self.topic.is_gapless() {
            return Ok(!gone.is_empty());
        }
        self.report
            .missing
            .add(|| Finding::new(format!("records {} to {} of partition {partition} in the topic", lost.start, lost.end - 1)));
        letters.kept.retain(|offset, _| !lost.contains(offset));
        self.unknown(partition, lost, LOST)?;
        Ok(true)
    }

    /// Records behind the position.
    pub fn waiting(&mut self, partition: &Partition) -> Result<u64, Error> {
        let mut from = partition.settled();
        if self.topic.is_gapless() {
            return Ok((partition.end - from).max(0) as u64);
        }
        let mut waiting = 0;
        loop {
            let batch = self.topic.records(partition.number, from..partition.end)?.batch;
            let Some(last) = batch.offsets().last() else { return Ok(waiting) };
            waiting += batch.rows() as u64;
            from = last + 1;
        }
    }

    fn batch(
        &mut self,
        partition: &Partition,
        boundary: Option<Boundary>,
        batch: &Batch,
        stretch: Stretch,
        letters: &mut Letters,
        counted: &mut Counted,
    ) -> Result<(), Error> {
        let (Some(first), Some(last)) = (batch.offsets().first(), batch.offsets().last()) else { return Ok(()) };
        let offsets = *first..last + 1;
        let Some(boundary) = boundary else {
            // Above the position nobody may have decided yet.
            if stretch != Stretch::Ahead {
                counted.incomplete = true;
                let what = format!("no boundary says who decided {} to {last} of partition {}", first, partition.number);
                self.report.contradictory.add(|| Finding::new(what.clone()));
                self.unknown(partition.number, offsets, "no boundary says who decided it")?;
            }
            return Ok(());
        };
        let decided = match self.decider.decide(&mut *self.topic, &boundary, batch)? {
            Ok(decided) => decided,
            Err(why) => {
                counted.incomplete = true;
                letters.kept.retain(|offset, _| !offsets.contains(offset));
                return self.unknown(partition.number, offsets, &why);
            }
        };
        let mut booked = Vec::with_capacity(batch.rows());
        for (row, outcome) in decided.outcomes.iter().enumerate() {
            let offset = batch.offsets()[row];
            let letter = letters.kept.remove(&offset);
            let resolved = letters.resolved.remove(&offset);
            // Its rows may stand in some of the tables already.
            if let Some(generation) = letters.replaying.remove(&offset).filter(|_| letter.is_some() && stretch != Stretch::Ahead)
            {
                self.replayed(&boundary, generation, batch.get(row), batch.place(row), When::Later)?;
            }
            let judged = match stretch {
                Stretch::Ahead => Judged::Rows(When::Later),
                _ => self.judge(&boundary, batch, row, outcome, (letter, resolved), stretch.when())?,
            };
            match judged {
                Judged::Unknown => counted.incomplete = true,
                Judged::Refused => counted.figures.rejected += 1,
                _ if stretch != Stretch::Ahead => count(&mut counted.figures, outcome),
                _ => {}
            }
            booked.push(judged);
        }
        if stretch != Stretch::Ahead {
            self.report.records += batch.rows() as u64;
        }
        self.book(&boundary, batch, &decided, &booked)
    }

    fn judge(
        &mut self,
        boundary: &Boundary,
        batch: &Batch,
        row: usize,
        outcome: &RowOutcome,
        (letter, resolved): (Option<Letter>, Option<Resolution>),
        when: When,
    ) -> Result<Judged, Error> {
        let place = batch.place(row);
        self.report.dead_letters += u64::from(letter.is_some());
        if let (Some(_), Some(resolution)) = (&letter, &resolved) {
            let how = match resolution {
                Resolution::Replayed { .. } => "replayed",
                Resolution::Discarded => "discarded",
            };
            self.report
                .duplicate
                .add(|| Finding::new(format!("{}: it was {how} and is still there", letter_at(place))).of(place));
            return Ok(Judged::Nothing);
        }
        if let Some(Resolution::Replayed { generation }) = resolved {
            return self.replayed(boundary, generation, batch.get(row), place, when);
        }
        match (outcome, letter) {
            (RowOutcome::Rejected { .. }, None) if resolved.is_some() => Ok(Judged::Nothing),
            (_, None) if resolved.is_some() => self.cannot_judge(place, RESOLVED),
            (RowOutcome::Rejected { stage, reason }, Some(letter)) => {
                if letter.reason != *reason
                    && (letters::depends_on_the_machine(&letter.reason) || letters::depends_on_the_machine(reason))
                {
                    return self.cannot_judge(place, MACHINE);
                }
                let content = match self.decider.code(&mut *self.topic, boundary.generation)? {
                    Ok(code) => code.content.clone(),
                    Err(why) => return Err(Error(why.clone())),
                };
                let by = (stage.as_deref(), reason.as_str());
                let differs = letters::differences(batch.get(row), by, boundary, &content, &letter);
                if !differs.is_empty() {
                    self.report.differing.add(|| Finding::new(letter_at(place)).of(place).differing(differs));
                }
                Ok(Judged::Nothing)
            }
            (RowOutcome::Rejected { reason, .. }, None) if letters::depends_on_the_machine(reason) => {
                self.cannot_judge(place, MACHINE)
            }
            (RowOutcome::Rejected { .. }, None) => {
                let expected = Difference::new("outcome", letters::words(outcome), "no dead letter");
                self.report.missing.add(|| Finding::new(letter_at(place)).of(place).differing(vec![expected]));
                Ok(Judged::Nothing)
            }
            (_, Some(letter)) if letters::depends_on_the_machine(&letter.reason) => self.cannot_judge(place, MACHINE),
            (_, Some(letter)) if letters::is_refusal(&letter, &self.servers()) => {
                self.report.refused += 1;
                Ok(Judged::Refused)
            }
            (_, Some(letter)) => {
                let differs = Difference::new("outcome", letters::words(outcome), format!("a dead letter: {}", letter.reason));
                self.report.duplicate.add(|| Finding::new(letter_at(place)).of(place).differing(vec![differs]));
                Ok(Judged::Rows(when))
            }
            (_, None) => Ok(Judged::Rows(when)),
        }
    }

    fn cannot_judge(&mut self, place: Place, why: &str) -> Result<Judged, Error> {
        self.unknown(place.partition, place.offset..place.offset + 1, why)?;
        Ok(Judged::Unknown)
    }

    /// A dead letter that was replayed was decided by that generation, at the record's own write time.
    fn replayed(
        &mut self,
        boundary: &Boundary,
        generation: u64,
        record: RecordRef<'_>,
        place: Place,
        when: When,
    ) -> Result<Judged, Error> {
        let boundary = Boundary { first: record.offset, generation, time: boundary.write_time(record.offset) };
        let mut batch = Batch::new(place.partition);
        batch.push(record);
        match self.decider.decide(&mut *self.topic, &boundary, &batch)? {
            Err(why) => self.cannot_judge(place, &why),
            Ok(decided) => {
                if let Some(outcome @ RowOutcome::Rejected { .. }) = decided.outcomes.first() {
                    let words = letters::words(outcome);
                    self.report.differing.add(|| {
                        let what = format!("replay of {} by generation {generation}", letter_at(place));
                        Finding::new(what).of(place).differing(vec![Difference::new("outcome", words, "it passed")])
                    });
                    return Ok(Judged::Nothing);
                }
                self.book(&boundary, &batch, &decided, &[Judged::Rows(when)])?;
                Ok(Judged::Nothing)
            }
        }
    }

    /// The cells of a row that the table tells of.
    pub(super) fn row_of(&self, table: &TableRows, row: usize) -> cells::Row {
        let mut cells = cells::row_of(&table.columns, &table.rows, row);
        if let Some(known) = self.tables.get(&table.sink) {
            cells.retain(|column, _| known.compares(column));
        }
        cells
    }

    /// Books the rows that a batch leads to.
    fn book(&mut self, boundary: &Boundary, batch: &Batch, decided: &Decided, judged: &[Judged]) -> Result<(), Error> {
        for table in &decided.tables {
            let mut deleted = table.rows.deleted.iter().copied().peekable();
            for row in 0..table.rows.len() {
                let goes = deleted.next_if_eq(&(row as u32)).is_some();
                let place = table.rows.places[row];
                let Ok(record) = batch.offsets().binary_search(&place.offset) else { continue };
                let when = match judged[record] {
                    Judged::Rows(when) => when,
                    Judged::Refused => When::Later,
                    Judged::Nothing | Judged::Unknown => continue,
                };
                let digest = (!goes).then(|| cells::digest(&self.row_of(table, row)));
                let ttl = self.plan.sinks[table.sink].ttl.filter(|_| !goes);
                let ends = ttl.map(|ttl| batch.timestamps()[record].saturating_add(ttl.as_millis() as i64));
                let entry = Entry { place, time: boundary.write_time(place.offset), digest, when, ends };
                self.ledger.expect(table.sink, &cells::key_of(&table.columns, &table.rows, row), &entry)?;
            }
        }
        Ok(())
    }
}

/// What a record has to do with the tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Judged {
    Rows(When),
    /// A server refused one of its rows; the others may stand.
    Refused,
    Nothing,
    Unknown,
}

fn count(figures: &mut Figures, outcome: &RowOutcome) {
    match outcome {
        RowOutcome::Emitted => figures.emitted += 1,
        RowOutcome::Dropped => figures.dropped += 1,
        RowOutcome::Deleted => figures.deleted += 1,
        RowOutcome::Rejected { .. } => figures.rejected += 1,
    }
}

fn letter_at(place: Place) -> String {
    format!("dead letter {}/{}", place.partition, place.offset)
}

/// Offsets of a range that the batch lacks.
fn holes(batch: &Batch, range: Range<i64>) -> Vec<Range<i64>> {
    let mut holes = Vec::new();
    let mut next = range.start;
    for offset in batch.offsets().iter().copied().chain([range.end]) {
        if offset > next {
            holes.push(next..offset);
        }
        next = offset + 1;
    }
    holes
}

/// Cuts a batch where one boundary gives way to the next.
fn cut(course: &[Boundary], mut batch: Batch) -> Vec<(Option<Boundary>, Batch)> {
    let mut pieces = Vec::new();
    while let Some(&first) = batch.offsets().first() {
        let above = course.get(course.partition_point(|boundary| boundary.first <= first));
        let rest = batch.split_off(above.map_or(i64::MAX, |above| above.first));
        pieces.push((evidence::boundary_of(course, first), std::mem::replace(&mut batch, rest)));
    }
    pieces
}
