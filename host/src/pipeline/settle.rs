//! What was decided is written, settled and saved.
//!
//! Invariant 1: the position is saved only past what sinks and dead letters have settled.
//! Invariant 4: dead letters are saved in the same step as the position that passes them.
//! Invariant 5: boundary and `reach` are saved before the first row under them is written to a sink that does not share the save.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use serde_json::{Map, Value};
use tokio::sync::mpsc;

use super::boundary::Course;
use super::crash;
use super::dead_letter;
use super::deliver::Deliver;
use super::drain::BackOff;
use super::partition::{DECIDED_AHEAD, PAUSE_MAX, PAUSE_MIN, Step, Stop};
use super::tracker::Tracker;
use super::worker::Decided;
use crate::record::{Place, RowOutcome};
use crate::sink::{self, Bound, Sink};
use crate::store;
use crate::topic::{self, Boundary, DeadLetter, Figures, Position, Save, Saver, StateChanges};

/// Records that one save may cover: what was decided while the last one was written is saved together.
const SAVE_RECORDS_MAX: usize = 16_000;
/// Write times this far ahead of the clock are an alarm.
const CLOCK_AHEAD_MICROS: i64 = 5_000_000;
/// Dead letters that wait for the next save are held in memory: more than so much are saved at once.
const DEAD_LETTER_BYTES_WAITING_MAX: usize = 4 << 20;
/// Attempts at a save once the host drains.
const DRAINING_SAVES_MAX: usize = 4;

/// What a written batch leaves to be saved.
struct Settled {
    outcomes: Vec<RowOutcome>,
    figures: Figures,
    dead_letters: Vec<DeadLetter>,
    state: StateChanges,
    /// What is written in the save itself, with the sink's place and the rows, which count once they are saved (invariant 10).
    joined: Vec<(usize, usize, store::Write)>,
    /// Rows to be shown once they are written.
    latest: Vec<Map<String, Value>>,
}

/// What is settled and not saved yet.
#[derive(Default)]
struct Waiting {
    /// Where it begins; `None`: nothing waits.
    from: Option<i64>,
    figures: Figures,
    dead_letters: Vec<DeadLetter>,
    dead_letter_bytes: usize,
    state: StateChanges,
    with: Vec<store::Write>,
    /// Sink and rows of what is in `with`.
    written: Vec<(usize, usize)>,
    latest: Vec<Map<String, Value>>,
    /// Why the pipeline stops once it is saved.
    fault: Option<String>,
}

pub(super) struct Settle<'a> {
    number: u32,
    /// As it was saved last.
    position: Position,
    /// Below it a predecessor may have written rows that are not settled.
    inherited: i64,
    /// Boundaries that saves must hold from now on, ascending.
    planned: VecDeque<Boundary>,
    tracker: Tracker<Settled>,
    /// Where sinks may join the save.
    store: Option<store::Store>,
    /// Some sink does not join: `reach` runs ahead.
    external: bool,
    again_below: i64,
    /// Records below it are in the figures already.
    counted_below: i64,
    waiting: Waiting,
    saved_at: Instant,
    /// Offsets that are settled between two saves, about.
    pace: i64,
    /// The end of the topic, when nothing was handed out since it was told.
    end: Option<i64>,
    saver: Arc<dyn Saver>,
    deliver: &'a Deliver,
}

impl<'a> Settle<'a> {
    pub fn new(
        number: u32,
        position: Position,
        course: &Course,
        again_below: i64,
        counted_below: i64,
        saver: Arc<dyn Saver>,
        deliver: &'a Deliver,
    ) -> Settle<'a> {
        Settle {
            number,
            tracker: Tracker::new(position.next),
            planned: course.boundaries().iter().copied().collect(),
            store: deliver.topic.joins(),
            inherited: position.reach,
            position,
            external: false,
            again_below,
            counted_below,
            waiting: Waiting::default(),
            saved_at: Instant::now(),
            pace: 0,
            end: None,
            saver,
            deliver,
        }
    }

    pub async fn run(mut self, mut steps: mpsc::Receiver<Step>, afresh: bool) -> Result<(), Stop> {
        if afresh {
            self.save(self.position.reach).await?;
        }
        let ended = self.steps(&mut steps).await;
        // What is settled is saved whatever ended it, unless it was the save itself.
        let finished = self.finish().await;
        ended.and(finished)
    }

    async fn steps(&mut self, steps: &mut mpsc::Receiver<Step>) -> Result<(), Stop> {
        loop {
            let step = match self.waiting.from {
                None => steps.recv().await,
                Some(_) => {
                    let due = self.saved_at + self.deliver.save_every;
                    match tokio::time::timeout_at(due.into(), steps.recv()).await {
                        Ok(step) => step,
                        Err(_) => {
                            self.save_settled().await?;
                            self.tell();
                            continue;
                        }
                    }
                }
            };
            let Some(step) = step else { return Ok(()) };
            let mut records = 0;
            let mut next = Some(step);
            while let Some(step) = next {
                match step {
                    Step::End(end) => self.end = Some(end),
                    Step::Decided(decided) => {
                        self.end = None;
                        records += decided.batch.rows();
                        self.write(decided).await?;
                    }
                }
                next = if records < SAVE_RECORDS_MAX { steps.try_recv().ok() } else { None };
            }
            if let Some((range, settled)) = self.tracker.take() {
                self.keep(range, settled);
            }
            let due = self.saved_at.elapsed() >= self.deliver.save_every
                || self.waiting.dead_letter_bytes >= DEAD_LETTER_BYTES_WAITING_MAX
                || self.waiting.fault.is_some();
            if self.waiting.from.is_some() && due {
                self.save_settled().await?;
            }
            self.tell();
        }
    }

    /// Tells how far everything is settled and saved.
    fn tell(&self) {
        let saved = if self.waiting.from.is_none() { self.end.unwrap_or(self.position.next) } else { self.position.next };
        self.deliver.progress.settled(self.number, saved.max(self.position.next));
        let state = if self.end.is_some() { "idle" } else { "delivering" };
        self.deliver.report.partition(self.number, |status| state.clone_into(&mut status.state));
    }

    /// Gives a batch to all sinks; those that live in the topic's store take part in the save instead.
    async fn write(&mut self, mut decided: Decided) -> Result<(), Stop> {
        let Some(end) = decided.batch.offsets().last().map(|last| last + 1) else { return Ok(()) };
        let ticket = self.tracker.hand_out(end);
        if !self.planned.contains(&decided.boundary) {
            self.planned.retain(|planned| planned.first < decided.boundary.first);
            self.planned.push_back(decided.boundary);
        }
        self.deliver.report.decided(&decided);
        let latest = self.deliver.report.latest(&decided.bound);
        let sinks = decided.generation.code.sinks.clone();
        let mut joined = Vec::new();
        let mut external = Vec::new();
        for (at, (sink, bound)) in sinks.iter().zip(std::mem::take(&mut decided.bound)).enumerate() {
            let rows = bound.rows();
            if rows == 0 {
                continue;
            }
            let joins = match &self.store {
                Some(store) => sink.join(store, bound),
                None => Err(bound),
            };
            match joins {
                Ok(write) => joined.push((at, rows, write)),
                Err(bound) => external.push((at, sink, bound)),
            }
        }
        if !external.is_empty() {
            self.external = true;
            self.raise(end).await?;
            crash::point("before-sink-write");
            let writes = external.iter().map(|(at, sink, bound)| write_patiently(self.deliver, *at, sink.as_ref(), bound));
            for refused in futures_util::future::try_join_all(writes).await? {
                refuse(&mut decided, refused);
            }
            crash::point("after-sink-write");
        }
        let dead_letters = dead_letter::of(&decided, &self.deliver.host);
        let again = decided.batch.offsets().partition_point(|offset| *offset < self.again_below) as u64;
        let figures = match decided.batch.offsets().first() {
            Some(first) if *first < self.counted_below => Figures::default(),
            _ => Figures { tallies: decided.charted.tallies, ..dead_letter::figures(&decided.outcomes) },
        };
        let figures = Figures { re_decided: again, ..figures };
        let state = decided.state;
        self.tracker.settle(ticket, Settled { outcomes: decided.outcomes, figures, dead_letters, state, joined, latest });
        Ok(())
    }

    /// Saves boundary and `reach` before rows up to `end` are written where the save is not.
    async fn raise(&mut self, end: i64) -> Result<(), Stop> {
        if end <= self.position.reach && self.boundaries(self.tracker.next()) == self.position.boundaries {
            return Ok(());
        }
        crash::point("before-boundary");
        self.save(self.ahead(end)).await?;
        crash::point("after-boundary");
        Ok(())
    }

    /// `reach`, so far ahead that what is in flight fits below it, and what is settled until the next save or two.
    fn ahead(&self, offset: i64) -> i64 {
        let window = &self.deliver.window;
        let in_flight = window.batch_records_max * (window.batches_ahead + DECIDED_AHEAD + 1);
        self.position.reach.max(offset + in_flight as i64 + 2 * self.pace)
    }

    /// The boundary in force at `next` and all above.
    fn boundaries(&self, next: i64) -> Vec<Boundary> {
        let in_force = self.planned.iter().rposition(|boundary| boundary.first <= next).unwrap_or(0);
        self.planned.iter().skip(in_force).copied().collect()
    }

    /// Keeps what is settled for the next save.
    fn keep(&mut self, range: std::ops::Range<i64>, settled: Vec<Settled>) {
        self.saver.settled(self.number, range.end);
        let waiting = &mut self.waiting;
        waiting.from.get_or_insert(range.start);
        for settled in settled {
            waiting.figures += &settled.figures;
            let bytes = |letter: &DeadLetter| letter.value.as_ref().map_or(0, Vec::len) + letter.reason.len();
            waiting.dead_letter_bytes += settled.dead_letters.iter().map(bytes).sum::<usize>();
            waiting.dead_letters.extend(settled.dead_letters);
            for (stage, entries) in settled.state {
                waiting.state.entry(stage).or_default().extend(entries);
            }
            if settled.joined.is_empty() {
                self.deliver.report.written(settled.latest);
            } else if !settled.latest.is_empty() {
                waiting.latest = settled.latest;
            }
            for (at, rows, write) in settled.joined {
                waiting.with.push(write);
                waiting.written.push((at, rows));
            }
            let judged = self.deliver.judge(&settled.outcomes);
            waiting.fault = waiting.fault.take().or(judged.err());
        }
    }

    /// Saves what waits, and `reach` ahead of it.
    async fn save_settled(&mut self) -> Result<(), Stop> {
        self.skip_to_end();
        let next = self.tracker.next();
        let rejected = !self.waiting.dead_letters.is_empty();
        if rejected {
            crash::point("before-dead-letter");
        }
        crash::point("before-save");
        self.save(if self.external { self.ahead(next) } else { self.position.reach.max(next) }).await?;
        crash::point("after-save");
        if rejected {
            crash::point("after-dead-letter");
        }
        Ok(())
    }

    /// What lies between the last record and the end are no records: transaction markers, and what compaction removed.
    fn skip_to_end(&mut self) {
        if let Some(end) = self.end {
            self.tracker.skip_to(end);
        }
    }

    /// Saves what waits, with this `reach`.
    async fn save(&mut self, reach: i64) -> Result<(), Stop> {
        let next = self.tracker.next();
        let waiting = std::mem::take(&mut self.waiting);
        let mut figures = self.position.figures.clone();
        figures += &waiting.figures;
        figures.counted_below = figures.counted_below.filter(|below| next < *below);
        let position = Position { next, reach, boundaries: self.boundaries(next), figures };
        let Waiting { from, dead_letters, state, with, .. } = waiting;
        let advanced = next - self.position.next;
        self.save_patiently(Save { position, settled: from.unwrap_or(next)..next, dead_letters, state, with }).await?;
        let (every, took) = (self.deliver.save_every.as_secs_f64(), self.saved_at.elapsed().as_secs_f64());
        self.pace = (advanced as f64 * (every / took.max(1e-3)).min(100.0)) as i64;
        self.saved_at = Instant::now();
        while self.planned.get(1).is_some_and(|above| above.first <= next) {
            self.planned.pop_front();
        }
        for (at, rows) in waiting.written {
            self.deliver.report.sink(at, |status| status.rows += rows as u64);
        }
        self.deliver.report.saved(self.number, &self.position);
        self.deliver.report.counted();
        self.deliver.report.written(waiting.latest);
        self.compare_clocks();
        waiting.fault.map_or(Ok(()), |fault| Err(Stop::Fault(fault)))
    }

    /// Write times run ahead of the clock when a host's clock, then or now, was wrong: people's own changes would be hidden by them.
    fn compare_clocks(&self) {
        let next = self.position.next;
        let ahead = self.position.boundary_of(next).map_or(0, |boundary| boundary.write_time(next) - super::now_micros());
        let alarm = (ahead > CLOCK_AHEAD_MICROS).then(|| {
            let seconds = ahead / 1_000_000;
            format!(
                "partition {}: write times are {seconds} s ahead of this host's clock; changes by hand count only then",
                self.number
            )
        });
        self.deliver.report.alarm(&format!("partition {}: clock", self.number), alarm);
    }

    /// Saves until it works. What it cannot save is not settled: full disks and the like hold the partition with an alarm,
    /// and what will not pass stops the pipeline.
    async fn save_patiently(&mut self, save: Save) -> Result<(), Stop> {
        let about = format!("partition {}: save", self.number);
        let mut back_off = BackOff::new(PAUSE_MIN, PAUSE_MAX);
        let mut last_attempts = DRAINING_SAVES_MAX;
        loop {
            match self.saver.save(self.number, save.clone()).await {
                Ok(()) => {
                    self.deliver.report.alarm(&about, None);
                    self.position = save.position;
                    return Ok(());
                }
                Err(error @ (topic::Error::Transient(_) | topic::Error::Full(_))) => {
                    self.deliver
                        .report
                        .alarm(&about, Some(format!("partition {} waits to save its position: {error}", self.number)));
                    let pause = tokio::time::sleep(back_off.pause());
                    if !self.deliver.drain.has_begun() {
                        // When draining begins meanwhile, it is tried at once.
                        self.deliver.drain.or(pause).await;
                    } else if last_attempts > 0 && matches!(error, topic::Error::Transient(_)) {
                        last_attempts -= 1;
                        pause.await;
                    } else {
                        self.tracker.close();
                        return Err(Stop::GivenUp);
                    }
                }
                Err(topic::Error::Fenced) => {
                    self.tracker.close();
                    return Err(Stop::GivenUp);
                }
                Err(error) => {
                    self.tracker.close();
                    return Err(Stop::Fault(format!("save the position of partition {}: {error}", self.number)));
                }
            }
        }
    }

    /// Saves what is settled. At a clean end nothing beyond the position was written, unless by a predecessor that ended otherwise.
    async fn finish(mut self) -> Result<(), Stop> {
        if self.tracker.is_closed() {
            return Ok(());
        }
        let mut reach = self.position.reach;
        if self.tracker.is_empty() {
            self.skip_to_end();
            reach = self.inherited.max(self.tracker.next());
        }
        if self.waiting.from.is_none() && self.position.reach == reach {
            return Ok(());
        }
        self.save(reach).await
    }
}

/// Rejects the records whose rows a server refused; their other rows stand.
fn refuse(decided: &mut Decided, refused: Vec<(Place, String)>) {
    if refused.is_empty() {
        return;
    }
    for (place, reason) in refused {
        if let Ok(row) = decided.batch.offsets().binary_search(&place.offset) {
            decided.outcomes[row] = RowOutcome::Rejected { stage: None, reason };
        }
    }
    decided.chart_again();
}

/// Writes until it works, or the sink as a whole is wrong, or the host drains.
async fn write_patiently(deliver: &Deliver, at: usize, sink: &dyn Sink, bound: &Bound) -> Result<Vec<(Place, String)>, Stop> {
    let about = format!("sink {}", sink.name());
    let mut back_off = BackOff::new(PAUSE_MIN, PAUSE_MAX);
    let mut refused = Vec::new();
    let mut rest: Option<Box<Bound>> = None;
    loop {
        let began = Instant::now();
        let bound = rest.as_deref().unwrap_or(bound);
        let rows = bound.rows() as u64;
        deliver.report.sink(at, |status| status.in_flight += rows);
        let written = sink.write(bound).await;
        let failed = written.as_ref().err().map(ToString::to_string);
        let again = match &written {
            Ok(_) => 0,
            Err(sink::Error::Partly { rest, .. }) => rest.rows() as u64,
            Err(_) => rows,
        };
        deliver.report.sink(at, |status| {
            status.in_flight -= rows;
            status.rows += rows - again;
            status.last_write_ms = began.elapsed().as_secs_f64() * 1e3;
            match &failed {
                None => "writing".clone_into(&mut status.state),
                Some(reason) => {
                    // A sink that writes row by row tries rows again, another one the whole.
                    status.retries += if matches!(written, Err(sink::Error::Partly { .. })) { again } else { 1 };
                    status.last_error = Some(reason.clone());
                    "backing off".clone_into(&mut status.state);
                }
            }
        });
        match written {
            Ok(last) => {
                deliver.report.alarm(&about, None);
                refused.extend(last);
                let named = |(place, reason)| (place, format!("sink {}: {reason}", sink.name()));
                return Ok(refused.into_iter().map(named).collect());
            }
            Err(sink::Error::Systemic(reason)) => return Err(Stop::Fault(format!("write to sink {}: {reason}", sink.name()))),
            Err(error) => {
                deliver.report.alarm(&about, Some(format!("sink {} cannot be written, trying again: {error}", sink.name())));
                if let sink::Error::Partly { rest: left, refused: some, .. } = error {
                    if again < rows {
                        back_off = BackOff::new(PAUSE_MIN, PAUSE_MAX);
                    }
                    refused.extend(some);
                    rest = Some(left);
                }
                deliver.drain.or(tokio::time::sleep(back_off.pause())).await.ok_or(Stop::GivenUp)?;
            }
        }
    }
}
