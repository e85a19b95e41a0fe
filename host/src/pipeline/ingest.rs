//! The leg from the source to the topic: wait for the schedule, fetch a page, publish its records and the next cursor in one step.
//!
//! Invariant 6: a cursor moves only together with the records it stands for.
//! Invariant 8: a topic without room makes publishing wait, and nothing is fetched meanwhile but the one page ahead.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;
use tracing::{info, warn};

use super::brake::Command;
pub use super::brake::{Commands, Handle, control};
use super::crash;
use super::drain::{BackOff, Drain};
use super::key;
use crate::config::plan::{SourceKind, SourcePlan, Trigger};
use crate::record::Message;
use crate::schedule::{self, Clock, Next, Timetable};
use crate::source::{self, Page, Source};
use crate::status::{Reporter, Run, SourceStatus};
use crate::store::{self, Store};
use crate::topic::{self, Cursor, Published, Publisher, Topic};
use crate::transform::KeyPath;

/// Run records that wait; a sender waits when there are more.
const RUNS_MAX: usize = 64;
/// Of what is odd about the answers, the latest of each kind.
const NOTES_MAX: usize = 8;

/// How patient the leg is. Tests make it quick.
#[derive(Clone)]
pub struct Pace {
    pub clock: Clock,
    /// The first and the longest pause before another attempt; what is waited is a random part of it.
    pub back_off: Duration,
    pub back_off_max: Duration,
    /// A publish that takes longer is told as `held back`.
    pub held_back_after: Duration,
    /// How long a publish may go on after draining has begun. Given up, it has happened wholly or not at all.
    pub drain_within: Duration,
}

impl Default for Pace {
    fn default() -> Pace {
        Pace {
            clock: Clock::default(),
            back_off: Duration::from_secs(1),
            back_off_max: Duration::from_secs(60),
            held_back_after: Duration::from_secs(1),
            drain_within: Duration::from_secs(2),
        }
    }
}

/// What the leg is made of.
pub struct Ingest {
    pub plan: SourcePlan,
    /// `[topic] key`.
    pub key: Option<String>,
    pub source: Box<dyn Source>,
    pub topic: Arc<dyn Topic>,
    /// Where run records are kept.
    pub store: Store,
    pub reporter: Reporter,
    pub drain: Drain,
    pub pace: Pace,
    /// End when the source is exhausted, even if its schedule would poll on for what is added later.
    pub until_idle: bool,
}

/// Why the leg ended without an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    Drained,
    /// The source has no more.
    Exhausted,
    /// `records` was reached.
    Reached,
    /// The schedule's `for` is over.
    TimeUp,
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("source: {0}")]
    Source(String),
    #[error("publish: {0}")]
    Topic(#[from] topic::Error),
    #[error("read the cursor: {0}")]
    Cursor(String),
    #[error("read the schedule: {0}")]
    Schedule(String),
}

/// What is saved as the topic's cursor: where the source stands, and how many records it has given over all restarts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Place {
    at: Option<Cursor>,
    records: u64,
    /// Of the page behind `at`, so many records are published already: `records` was reached in the middle of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    taken: Option<Taken>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Taken {
    records: usize,
    /// The cursor behind that page, by which it is known again.
    next: Cursor,
}

/// A page on its way into the topic.
struct Fetched {
    messages: Vec<Message>,
    after: Place,
    exhausted: bool,
    run: Run,
    notes: Vec<String>,
}

enum Turn<T> {
    Done(T),
    /// The publisher's turn is over; another may come.
    Fenced,
    /// The poll was given up for a pause; the next one asks for the same page.
    GivenUp,
    Ended(Ended),
}

/// Runs the leg until it is drained, ends by itself, or cannot go on.
pub async fn run(ingest: Ingest, commands: Commands) -> Result<Ended, Error> {
    let (reporter, drain, drain_within) = (ingest.reporter.clone(), ingest.drain.clone(), ingest.pace.drain_within);
    let (runs, recorded) = mpsc::channel(RUNS_MAX);
    let mut recorder = tokio::spawn(record_runs(ingest.store.clone(), recorded));
    let ended = match Leg::new(ingest, commands, runs) {
        Ok(leg) => leg.run().await,
        Err(error) => Err(error),
    };
    let too_late = async {
        drain.begun().await;
        tokio::time::sleep(drain_within).await;
    };
    tokio::select! {
        // It ends with the leg's sender.
        _ = &mut recorder => {}
        // A full disk must not keep the host from ending.
        () = too_late => {
            recorder.abort();
            warn!("run records not kept: the store took none in time");
        }
    }
    update(&reporter, |source| {
        source.next_poll_ms = None;
        match &ended {
            Ok(Ended::Drained) => source.state = "drained".to_owned(),
            Ok(Ended::Exhausted | Ended::Reached | Ended::TimeUp) => source.state = "exhausted".to_owned(),
            Err(error) => {
                source.state = "failed".to_owned();
                source.last_error = Some(error.to_string());
            }
        }
    });
    ended
}

/// Beside the leg: a run record waits for the disk, and the next page need not.
async fn record_runs(store: Store, mut runs: mpsc::Receiver<Run>) {
    let mut waiting = Vec::new();
    while runs.recv_many(&mut waiting, RUNS_MAX).await > 0 {
        for kept in join_all(waiting.drain(..).map(|run| keep(&store, run))).await {
            if let Err(error) = kept {
                warn!(%error, "run record not kept");
            }
        }
    }
}

async fn keep(store: &Store, run: Run) -> Result<i64, store::Error> {
    store::runs::keep(store, &run).await
}

fn update(reporter: &Reporter, change: impl FnOnce(&mut SourceStatus)) {
    reporter.update(|snapshot| change(snapshot.source.get_or_insert_default()));
}

struct Leg {
    plan: SourcePlan,
    key: Option<(String, KeyPath)>,
    source: Box<dyn Source>,
    topic: Arc<dyn Topic>,
    runs: mpsc::Sender<Run>,
    reporter: Reporter,
    drain: Drain,
    pace: Pace,
    until_idle: bool,
    commands: Commands,
    timetable: Timetable,
    paused: bool,
    /// Poll without a pause: the next page is fetched while the last one is published.
    ahead: bool,
}

impl Leg {
    fn new(ingest: Ingest, commands: Commands, runs: mpsc::Sender<Run>) -> Result<Leg, Error> {
        let Ingest { plan, key, source, topic, store: _, reporter, drain, pace, until_idle } = ingest;
        update(&reporter, |status| {
            status.kind = plan.kind.name().to_owned();
            status.state = "waiting".to_owned();
            status.every_ms = Some(plan.schedule.trigger.every().as_millis() as u64);
            status.cron = plan.schedule.trigger.cron().map(str::to_owned);
            status.for_ms = plan.schedule.run_for.map(|run_for| run_for.as_millis() as u64);
        });
        let timetable = Timetable::new(&plan.schedule, TimeZone::system(), pace.clock.now()).map_err(Error::Schedule)?;
        let ahead = matches!(plan.schedule.trigger, Trigger::Every(pause) if pause.is_zero());
        let key = key.map(|path| (path.clone(), KeyPath::new(&path)));
        Ok(Leg { plan, key, source, topic, runs, reporter, drain, pace, until_idle, commands, timetable, paused: false, ahead })
    }

    async fn run(mut self) -> Result<Ended, Error> {
        loop {
            match self.turn().await? {
                Turn::Ended(ended) => return Ok(ended),
                Turn::Fenced => info!("this host's turn to poll the source is over"),
                Turn::Done(()) | Turn::GivenUp => {}
            }
        }
    }

    /// As long as this host is the one that polls.
    async fn turn(&mut self) -> Result<Turn<()>, Error> {
        let topic = self.topic.clone();
        let drain = self.drain.clone();
        let Some(begun) = drain.or(self.begin(&*topic)).await else {
            return Ok(Turn::Ended(Ended::Drained));
        };
        let (mut publisher, mut place) = match begun {
            Ok(begun) => begun,
            Err(Error::Topic(topic::Error::Fenced)) => return Ok(Turn::Fenced),
            Err(error) => return Err(error),
        };
        let mut ahead = None;
        loop {
            if self.plan.records.is_some_and(|limit| place.records >= limit) {
                return Ok(Turn::Ended(Ended::Reached));
            }
            if let Some(ended) = self.wait().await {
                return Ok(Turn::Ended(ended));
            }
            let fetched = match ahead.take() {
                Some(fetched) => fetched,
                None => match self.fetch(&place).await? {
                    Turn::Done(fetched) => fetched,
                    Turn::GivenUp => continue,
                    Turn::Fenced => return Ok(Turn::Fenced),
                    Turn::Ended(ended) => return Ok(Turn::Ended(ended)),
                },
            };
            crash::point("after-fetch");
            let (after, exhausted) = (fetched.after.clone(), fetched.exhausted);
            match self.publish(&mut *publisher, &place, fetched).await? {
                Turn::Done(next) => ahead = next,
                Turn::Fenced => return Ok(Turn::Fenced),
                Turn::GivenUp => continue,
                Turn::Ended(ended) => return Ok(Turn::Ended(ended)),
            }
            place = after;
            if exhausted && (self.ahead || self.until_idle) {
                return Ok(Turn::Ended(Ended::Exhausted));
            }
            let state = if exhausted { "exhausted" } else { "waiting" };
            update(&self.reporter, |status| status.state = state.to_owned());
        }
    }

    async fn begin(&self, topic: &dyn Topic) -> Result<(Box<dyn Publisher>, Place), Error> {
        let mut back_off = self.back_off();
        loop {
            let begun = async {
                let mut publisher = topic.publisher().await?;
                let cursor = publisher.cursor().await?;
                Ok((publisher, cursor))
            };
            match begun.await {
                Ok((publisher, None)) => return Ok((publisher, Place::default())),
                Ok((publisher, Some(cursor))) => {
                    let place = serde_json::from_value(cursor.0).map_err(|error| Error::Cursor(error.to_string()))?;
                    return Ok((publisher, place));
                }
                Err(topic::Error::Transient(reason) | topic::Error::Full(reason)) => {
                    self.tell("backing off", Some(&reason));
                    tokio::time::sleep(part_of(back_off.pause())).await;
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Until the schedule or a person asks for a poll; `Some` when none will come.
    async fn wait(&mut self) -> Option<Ended> {
        while let Some(command) = self.commands.try_next() {
            if self.obey(command) {
                self.timetable.polled(self.pace.clock.now());
                return self.drain.has_begun().then_some(Ended::Drained);
            }
        }
        let chance = schedule::chance();
        loop {
            let now = self.pace.clock.now();
            let next = self.timetable.next(now, chance);
            if self.drain.has_begun() {
                return Some(Ended::Drained);
            }
            let due = match next {
                Next::Ended => return Some(Ended::TimeUp),
                Next::At(_) if self.paused => Timestamp::MAX,
                Next::At(due) => due,
            };
            if due <= now {
                self.timetable.polled(now);
                return None;
            }
            update(&self.reporter, |status| {
                if self.paused {
                    status.state = "paused".to_owned();
                } else if status.state != "exhausted" {
                    status.state = "waiting".to_owned();
                }
                status.next_poll_ms = (!self.paused).then(|| due.as_millisecond());
            });
            let (drain, clock) = (self.drain.clone(), self.pace.clock.clone());
            tokio::select! {
                biased;
                () = drain.begun() => return Some(Ended::Drained),
                command = self.commands.next() => {
                    if self.obey(command) {
                        self.timetable.polled(self.pace.clock.now());
                        return None;
                    }
                }
                () = clock.sleep_until(due) => {
                    self.timetable.polled(self.pace.clock.now());
                    return None;
                }
            }
        }
    }

    /// Whether it asks for a poll at once.
    fn obey(&mut self, command: Command) -> bool {
        match command {
            Command::Pause => self.paused = true,
            Command::Resume => {
                self.paused = false;
                update(&self.reporter, |status| status.state = "waiting".to_owned());
            }
            Command::PollNow => return true,
        }
        false
    }

    /// The page behind `place`, tried until it comes.
    async fn fetch(&mut self, place: &Place) -> Result<Turn<Fetched>, Error> {
        self.tell("polling", None);
        update(&self.reporter, |status| status.next_poll_ms = None);
        let mut back_off = self.back_off();
        let started = self.pace.clock.now();
        let mut run = Run { started_ms: started.as_millisecond(), ..Run::default() };
        let drain = self.drain.clone();
        // Why the attempt before failed.
        let mut refused: Option<String> = None;
        loop {
            let asked = fetch_once(&mut *self.source, &self.plan, self.key.as_ref(), place, run.clone(), &self.pace.clock);
            let (reason, after) = match drain.or(asked).await {
                None => {
                    if let Some(reason) = refused {
                        self.give_up(run, &reason, started).await;
                    }
                    return Ok(Turn::Ended(Ended::Drained));
                }
                Some(Ok(fetched)) => return Ok(Turn::Done(fetched)),
                Some(Err(source::Error::Fatal(reason))) => {
                    run.status = self.source.answered();
                    self.give_up(run, &reason, started).await;
                    return Err(Error::Source(reason));
                }
                Some(Err(source::Error::Retry { reason, after })) => (reason, after),
            };
            run.retries += 1;
            run.status = self.source.answered();
            // The server's wish is a lower bound, and clients that were refused together must not come back together.
            let pause = part_of(back_off.pause()) + after.unwrap_or_default();
            let again = later(self.pace.clock.now(), pause);
            warn!(%reason, pause_ms = pause.as_millis() as u64, "source backs off");
            update(&self.reporter, |status| {
                status.state = "backing off".to_owned();
                status.last_error = Some(reason.clone());
                status.retries += 1;
                status.next_poll_ms = Some(again.as_millisecond());
            });
            let clock = self.pace.clock.clone();
            tokio::select! {
                biased;
                () = drain.begun() => {
                    self.give_up(run, &reason, started).await;
                    return Ok(Turn::Ended(Ended::Drained));
                }
                command = self.commands.next() => if !self.obey(command) && self.paused {
                    self.give_up(run, &reason, started).await;
                    return Ok(Turn::GivenUp);
                },
                () = clock.sleep_until(again) => {}
            }
            refused = Some(reason);
        }
    }

    async fn give_up(&self, run: Run, reason: &str, started: Timestamp) {
        let duration_ms = millis(self.pace.clock.now(), started);
        let _ = self.runs.send(Run { result: reason.to_owned(), duration_ms, ..run }).await;
    }

    /// Publishes a page with its cursor, and fetches the one behind it meanwhile where the schedule never pauses.
    async fn publish(
        &mut self,
        publisher: &mut dyn Publisher,
        before: &Place,
        fetched: Fetched,
    ) -> Result<Turn<Option<Fetched>>, Error> {
        let Fetched { messages, after, exhausted, mut run, notes } = fetched;
        if messages.is_empty() && after == *before {
            self.count(&run, notes);
            let _ = self.runs.send(run).await;
            return Ok(Turn::Done(None));
        }
        let started = self.pace.clock.now();
        let published = publish(publisher, messages, &after, &self.pace, &self.reporter);
        let reached = self.plan.records.is_some_and(|limit| after.records >= limit);
        let go_on = self.ahead && !exhausted && !reached && !self.paused && !self.drain.has_begun();
        let ahead = async {
            if !go_on {
                return None;
            }
            let run = Run { started_ms: self.pace.clock.now().as_millisecond(), ..Run::default() };
            // What fails here is tried again, and told, when its turn has come.
            fetch_once(&mut *self.source, &self.plan, self.key.as_ref(), &after, run, &self.pace.clock).await.ok()
        };
        let too_late = async {
            self.drain.begun().await;
            tokio::time::sleep(self.pace.drain_within).await;
        };
        let (published, ahead) = tokio::select! {
            biased;
            both = async { tokio::join!(published, ahead) } => both,
            () = too_late => return Ok(Turn::Ended(Ended::Drained)),
        };
        match published {
            Ok(_) => {}
            Err(topic::Error::Fenced) => return Ok(Turn::Fenced),
            Err(error) => return Err(error.into()),
        }
        crash::point("after-publish");
        run.duration_ms += millis(self.pace.clock.now(), started);
        self.count(&run, notes);
        let _ = self.runs.send(run).await;
        Ok(Turn::Done(ahead))
    }

    fn count(&self, run: &Run, notes: Vec<String>) {
        update(&self.reporter, |status| {
            status.polls += 1;
            status.records += run.records;
            status.bytes += run.bytes;
            status.last_error = None;
            for note in notes {
                status.notes.retain(|known| *known != note);
                status.notes.push(note);
            }
            let too_many = status.notes.len().saturating_sub(NOTES_MAX);
            status.notes.drain(..too_many);
        });
    }

    fn tell(&self, state: &str, error: Option<&str>) {
        tell(&self.reporter, state, error);
    }

    fn back_off(&self) -> BackOff {
        BackOff::new(self.pace.back_off, self.pace.back_off_max)
    }
}

/// One attempt at the page behind `place`, made ready for the topic.
async fn fetch_once(
    source: &mut dyn Source,
    plan: &SourcePlan,
    key: Option<&(String, KeyPath)>,
    place: &Place,
    mut run: Run,
    clock: &Clock,
) -> Result<Fetched, source::Error> {
    let left = plan.records.map_or(u64::MAX, |limit| limit.saturating_sub(place.records));
    let ask = match plan.kind {
        // The size of a page is part of its name there.
        SourceKind::RandomUser(_) => plan.records_per_poll,
        _ => u64::from(plan.records_per_poll).min(left) as u32,
    };
    let started = clock.now();
    let Page { mut messages, next, bytes, what, mut notes, exhausted } = source.fetch(place.at.as_ref(), ask).await?;
    let skip = place.taken.as_ref().filter(|taken| taken.next == next).map_or(0, |taken| taken.records.min(messages.len()));
    messages.drain(..skip);
    let fits = messages.len() as u64 <= left;
    messages.truncate(usize::try_from(left).unwrap_or(usize::MAX));
    let records = place.records + messages.len() as u64;
    let after = if fits {
        Place { at: Some(next), records, taken: None }
    } else {
        Place { at: place.at.clone(), records, taken: Some(Taken { records: skip + messages.len(), next }) }
    };
    if let Some((path, field)) = key {
        let without = key::set(field, &mut messages);
        if without > 0 {
            notes.push(format!("{without} of {} records have no `{path}` and are published without a key", messages.len()));
        }
    }
    run.what = what;
    run.records = messages.len() as u64;
    run.bytes = bytes;
    run.status = source.answered();
    run.duration_ms = millis(clock.now(), started);
    run.result = "ok".to_owned();
    Ok(Fetched { messages, after, exhausted: exhausted && fits, run, notes })
}

/// Until the topic has it. Nothing is given back on failure, so a copy is kept: asking the source again would be neither cheaper nor,
/// for one that cannot be asked for the same page twice, harmless.
async fn publish(
    publisher: &mut dyn Publisher,
    messages: Vec<Message>,
    after: &Place,
    pace: &Pace,
    reporter: &Reporter,
) -> Result<Published, topic::Error> {
    let cursor = Cursor(serde_json::to_value(after).expect("a place has text keys and plain values"));
    let mut back_off = BackOff::new(pace.back_off, pace.back_off_max);
    let held_back = publisher.held_back();
    loop {
        crash::point("before-publish");
        let attempt = publisher.publish(messages.clone(), cursor.clone());
        tokio::pin!(attempt);
        let published = loop {
            // Again and again: why it waits may be known later, and changes.
            match tokio::time::timeout(pace.held_back_after, &mut attempt).await {
                Ok(published) => break published,
                Err(_) => tell(reporter, "held back", held_back.why().as_deref()),
            }
        };
        let (state, reason) = match published {
            Ok(published) => return Ok(published),
            Err(topic::Error::Full(reason)) => ("held back", reason),
            Err(topic::Error::Transient(reason)) => ("backing off", reason),
            Err(error) => return Err(error),
        };
        tell(reporter, state, Some(&reason));
        tokio::time::sleep(part_of(back_off.pause())).await;
    }
}

fn tell(reporter: &Reporter, state: &str, error: Option<&str>) {
    update(reporter, |status| {
        status.state = state.to_owned();
        if let Some(error) = error {
            status.last_error = Some(error.to_owned());
        }
    });
}

/// Full jitter (Brooker, "Exponential Backoff and Jitter", 2015).
fn part_of(pause: Duration) -> Duration {
    pause.mul_f64(schedule::chance())
}

fn later(at: Timestamp, by: Duration) -> Timestamp {
    at.checked_add(by).unwrap_or(Timestamp::MAX)
}

fn millis(now: Timestamp, since: Timestamp) -> f64 {
    now.duration_since(since).as_millis_f64().max(0.0)
}
