//! What was decided is written, settled and saved.
//!
//! Where the sinks are not in the topic's store, these go on side by side: batches are written while those before them wait for their
//! answers, as far as the window of the topic goes, and a position is saved meanwhile. The tracker puts them in order.
//!
//! Invariant 1: the position is saved only past what sinks and dead letters have settled.
//! Invariant 4: dead letters are saved in the same step as the position that passes them.
//! Invariant 5: boundary and `reach` are saved before the first row under them is written to a sink that does not share the save.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesUnordered, StreamExt};
use serde_json::{Map, Value};
use tokio::sync::mpsc;
use tokio::task::{JoinError, JoinSet};

use super::boundary::Course;
use super::crash;
use super::dead_letter;
use super::deliver::Deliver;
use super::drain::BackOff;
use super::partition::{DECIDED_AHEAD, PAUSE_MAX, PAUSE_MIN, Step, Stop};
use super::tracker::{Ticket, Tracker};
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
    /// What is written in the save itself, with the sink's place, the rows, which count once they are saved (invariant 10), and since when.
    joined: Vec<(usize, usize, Instant, store::Write)>,
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
    written: Vec<(usize, usize, Instant)>,
    latest: Vec<Map<String, Value>>,
    /// Why the pipeline stops once it is saved.
    fault: Option<String>,
}

/// A batch that all sinks have taken, or that will be written in the save.
struct Written {
    ticket: Ticket,
    decided: Decided,
    joined: Vec<(usize, usize, Instant, store::Write)>,
    latest: Vec<Map<String, Value>>,
}

type Writing<'a> = FuturesUnordered<BoxFuture<'a, Result<Written, Stop>>>;

/// What follows once a save is done.
struct Begun {
    position: Position,
    /// Where what it settles begins; `None`: it settles nothing.
    from: Option<i64>,
    rejected: bool,
    written: Vec<(usize, usize, Instant)>,
    latest: Vec<Map<String, Value>>,
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
    /// The save that is under way, and what follows.
    saving: JoinSet<Result<(), Stop>>,
    begun: Option<Begun>,
    /// When something settled was saved last; `None`: never yet, so that the first is saved at once.
    saved_at: Option<Instant>,
    /// Offsets that are settled between two saves, about.
    pace: i64,
    /// The end of the topic, when nothing was handed out since it was told.
    end: Option<i64>,
    saver: Arc<dyn Saver>,
    deliver: &'a Arc<Deliver>,
}

impl<'a> Settle<'a> {
    pub fn new(
        number: u32,
        position: Position,
        course: &Course,
        again_below: i64,
        counted_below: i64,
        saver: Arc<dyn Saver>,
        deliver: &'a Arc<Deliver>,
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
            saving: JoinSet::new(),
            begun: None,
            saved_at: None,
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
        let mut writing = Writing::new();
        let mut open = true;
        while open || !writing.is_empty() {
            let due = self.save_due();
            tokio::select! {
                Some(saved) = self.saving.join_next() => self.saved(saved)?,
                Some(written) = writing.next() => self.written(written?),
                step = steps.recv(), if open => match step {
                    None => open = false,
                    Some(step) => {
                        let mut records = 0;
                        let mut next = Some(step);
                        while let Some(step) = next {
                            match step {
                                Step::End(end) => self.end = Some(end),
                                // Where all is written in the save, it is saved with its first row.
                                Step::Boundary(boundary) if self.external => self.plan(boundary),
                                Step::Boundary(_) => {}
                                Step::Decided(decided) => {
                                    self.end = None;
                                    records += decided.batch.rows();
                                    self.write(decided, &mut writing).await?;
                                }
                            }
                            next = if records < SAVE_RECORDS_MAX { steps.try_recv().ok() } else { None };
                        }
                    }
                },
                () = tokio::time::sleep(due.unwrap_or_default()), if due.is_some() => {}
            }
            if let Some((range, settled)) = self.tracker.take() {
                self.keep(range, settled);
            }
            let at_once = self.waiting.dead_letter_bytes >= DEAD_LETTER_BYTES_WAITING_MAX || self.waiting.fault.is_some();
            if at_once {
                self.end_save().await?;
            }
            if at_once || self.save_due() == Some(Duration::ZERO) {
                self.begin_settled();
                if at_once || self.store.is_some() {
                    self.end_save().await?;
                }
            }
            self.tell();
        }
        Ok(())
    }

    /// In how long something must be saved; `None`: nothing waits for it, or a save is under way.
    fn save_due(&self) -> Option<Duration> {
        if self.begun.is_some() {
            return None;
        }
        if self.external && !self.holds_boundaries() {
            return Some(Duration::ZERO);
        }
        let left = || self.saved_at.map_or(Duration::ZERO, |at| self.deliver.save_every.saturating_sub(at.elapsed()));
        self.waiting.from.is_some().then(left)
    }

    /// Saves must hold this boundary from now on.
    fn plan(&mut self, boundary: Boundary) {
        if !self.planned.contains(&boundary) {
            self.planned.retain(|planned| planned.first < boundary.first);
            self.planned.push_back(boundary);
            self.deliver.report.partition(self.number, |status| status.boundary_ms = 0.0);
        }
    }

    /// Whether the position that was saved last holds them: they are planned in order, and saved together.
    fn holds_boundaries(&self) -> bool {
        self.planned.back() == self.position.boundaries.last()
    }

    /// Tells how far everything is settled and saved.
    fn tell(&self) {
        let all_saved = self.tracker.is_empty() && self.waiting.from.is_none() && self.begun.is_none();
        let saved = self.end.filter(|_| all_saved).unwrap_or(self.position.next);
        self.deliver.progress.settled(self.number, saved.max(self.position.next));
        let state = if self.end.is_some() && self.tracker.is_empty() { "idle" } else { "delivering" };
        self.deliver.report.partition(self.number, |status| state.clone_into(&mut status.state));
    }

    /// Gives a batch to all sinks; those that live in the topic's store take part in the save instead.
    async fn write(&mut self, mut decided: Decided, writing: &mut Writing<'a>) -> Result<(), Stop> {
        let Some(end) = decided.batch.offsets().last().map(|last| last + 1) else { return Ok(()) };
        let ticket = self.tracker.hand_out(end);
        self.plan(decided.boundary);
        self.deliver.report.decided(&decided);
        let latest = self.deliver.report.latest(&decided.bound);
        let mut joined = Vec::new();
        let mut external = Vec::new();
        for (at, (sink, bound)) in decided.generation.code.sinks.iter().zip(std::mem::take(&mut decided.bound)).enumerate() {
            let rows = bound.rows();
            if rows == 0 {
                continue;
            }
            let joins = match &self.store {
                Some(store) => sink.join(store, bound),
                None => Err(bound),
            };
            match joins {
                Ok(write) => joined.push((at, rows, Instant::now(), write)),
                Err(bound) => external.push((at, sink.clone(), bound)),
            }
        }
        let written = Written { ticket, decided, joined, latest };
        if external.is_empty() {
            self.written(written);
            return Ok(());
        }
        self.external = true;
        self.raise(end).await?;
        if external.iter().any(|(_, sink, _)| !sink.takes_any_order()) {
            while let Some(before) = writing.next().await {
                self.written(before?);
            }
        }
        writing.push(Box::pin(write_all(self.deliver, written, external)));
        Ok(())
    }

    /// A batch is settled.
    fn written(&mut self, Written { ticket, decided, joined, latest }: Written) {
        let dead_letters = dead_letter::of(&decided, &self.deliver.host);
        let again = decided.batch.offsets().partition_point(|offset| *offset < self.again_below) as u64;
        let figures = match decided.batch.offsets().first() {
            Some(first) if *first < self.counted_below => Figures::default(),
            _ => Figures { tallies: decided.charted.tallies, ..dead_letter::figures(&decided.outcomes) },
        };
        let figures = Figures { re_decided: again, ..figures };
        let state = decided.state;
        self.tracker.settle(ticket, Settled { outcomes: decided.outcomes, figures, dead_letters, state, joined, latest });
    }

    /// Saves boundary and `reach` before rows up to `end` are written where the save is not.
    async fn raise(&mut self, end: i64) -> Result<(), Stop> {
        let is_saved = |settle: &Settle<'a>| end <= settle.position.reach && settle.holds_boundaries();
        if is_saved(self) {
            return Ok(());
        }
        crash::point("before-boundary");
        let began = Instant::now();
        // What is under way may do it.
        self.end_save().await?;
        if !is_saved(self) {
            self.save(self.ahead(end)).await?;
        }
        self.deliver.report.partition(self.number, |status| status.boundary_ms = began.elapsed().as_secs_f64() * 1e3);
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
            for (at, rows, since, write) in settled.joined {
                waiting.with.push(write);
                waiting.written.push((at, rows, since));
            }
            let judged = self.deliver.judge(&settled.outcomes);
            waiting.fault = waiting.fault.take().or(judged.err());
        }
    }

    /// Begins to save what waits, and `reach` ahead of it.
    fn begin_settled(&mut self) {
        self.skip_to_end();
        let next = self.tracker.next();
        if !self.waiting.dead_letters.is_empty() {
            crash::point("before-dead-letter");
        }
        crash::point("before-save");
        let first = self.planned.back().map_or(next, |boundary| boundary.first.max(next));
        self.begin_save(if self.external { self.ahead(first) } else { self.position.reach.max(next) });
    }

    /// What lies between the last record and the end are no records: transaction markers, and what compaction removed.
    fn skip_to_end(&mut self) {
        if let Some(end) = self.end {
            self.tracker.skip_to(end);
        }
    }

    /// Saves what waits, with this `reach`, behind the save that is under way.
    async fn save(&mut self, reach: i64) -> Result<(), Stop> {
        self.end_save().await?;
        self.begin_save(reach);
        self.end_save().await
    }

    /// None may be under way.
    fn begin_save(&mut self, reach: i64) {
        let next = self.tracker.next();
        let waiting = std::mem::take(&mut self.waiting);
        let mut figures = self.position.figures.clone();
        figures += &waiting.figures;
        figures.counted_below = figures.counted_below.filter(|below| next < *below);
        let position = Position { next, reach, boundaries: self.boundaries(next), figures };
        let Waiting { from, dead_letters, state, with, written, latest, fault, .. } = waiting;
        let rejected = !dead_letters.is_empty();
        let settled = from.unwrap_or(next)..next;
        let save = Save { position: position.clone(), settled, dead_letters, state, with };
        self.begun = Some(Begun { position, from, rejected, written, latest, fault });
        let (number, saver, deliver) = (self.number, self.saver.clone(), self.deliver.clone());
        self.saving.spawn(async move { save_patiently(&deliver, saver.as_ref(), number, save).await });
    }

    /// Waits for the save that is under way, if one is.
    async fn end_save(&mut self) -> Result<(), Stop> {
        match self.saving.join_next().await {
            Some(saved) => self.saved(saved),
            None => Ok(()),
        }
    }

    fn saved(&mut self, saved: Result<Result<(), Stop>, JoinError>) -> Result<(), Stop> {
        let Some(begun) = self.begun.take() else { return Ok(()) };
        saved
            .unwrap_or_else(|error| Err(Stop::Fault(format!("save a position: {error}"))))
            .inspect_err(|_| self.tracker.close())?;
        if begun.from.is_some() {
            crash::point("after-save");
            if begun.rejected {
                crash::point("after-dead-letter");
            }
            let every = self.deliver.save_every.as_secs_f64();
            let took = self.saved_at.map_or(every, |at| at.elapsed().as_secs_f64());
            let advanced = begun.position.next - self.position.next;
            self.pace = (advanced as f64 * (every / took.max(1e-3)).min(100.0)) as i64;
            self.saved_at = Some(Instant::now());
        }
        self.position = begun.position;
        while self.planned.get(1).is_some_and(|above| above.first <= self.position.next) {
            self.planned.pop_front();
        }
        for (at, rows, since) in begun.written {
            self.deliver.report.saved_with(at, rows, since.elapsed());
        }
        self.deliver.report.saved(self.number, &self.position);
        self.deliver.report.counted();
        self.deliver.report.written(begun.latest);
        self.compare_clocks();
        begun.fault.map_or(Ok(()), |fault| Err(Stop::Fault(fault)))
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

    /// Saves what is settled. At a clean end nothing beyond the position was written, unless by a predecessor that ended otherwise.
    async fn finish(mut self) -> Result<(), Stop> {
        if self.tracker.is_closed() {
            return Ok(());
        }
        self.end_save().await?;
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

/// Saves until it works. What it cannot save is not settled: full disks and the like hold the partition with an alarm,
/// and what will not pass stops the pipeline.
async fn save_patiently(deliver: &Deliver, saver: &dyn Saver, number: u32, save: Save) -> Result<(), Stop> {
    let about = format!("partition {number}: save");
    let mut back_off = BackOff::new(PAUSE_MIN, PAUSE_MAX);
    let mut last_attempts = DRAINING_SAVES_MAX;
    loop {
        match saver.save(number, save.clone()).await {
            Ok(()) => {
                deliver.report.alarm(&about, None);
                return Ok(());
            }
            Err(error @ (topic::Error::Transient(_) | topic::Error::Full(_))) => {
                deliver.report.alarm(&about, Some(format!("partition {number} waits to save its position: {error}")));
                let pause = tokio::time::sleep(back_off.pause());
                if !deliver.drain.has_begun() {
                    // When draining begins meanwhile, it is tried at once.
                    deliver.drain.or(pause).await;
                } else if last_attempts > 0 && matches!(error, topic::Error::Transient(_)) {
                    last_attempts -= 1;
                    pause.await;
                } else {
                    return Err(Stop::GivenUp);
                }
            }
            Err(topic::Error::Fenced) => return Err(Stop::GivenUp),
            Err(error) => return Err(Stop::Fault(format!("save the position of partition {number}: {error}"))),
        }
    }
}

/// Writes a batch to the sinks that have no part in the save.
async fn write_all(
    deliver: &Deliver,
    mut written: Written,
    external: Vec<(usize, Arc<dyn Sink>, Bound)>,
) -> Result<Written, Stop> {
    crash::point("before-sink-write");
    let writes = external.iter().map(|(at, sink, bound)| write_patiently(deliver, *at, sink.as_ref(), bound));
    for refused in futures_util::future::try_join_all(writes).await? {
        refuse(&mut written.decided, refused);
    }
    crash::point("after-sink-write");
    Ok(written)
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
