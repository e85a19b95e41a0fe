//! A topic, a chain and a sink in memory, which note in one list what happens in which order.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use tidemill::config::plan::{NullValue, StageContract, StopWhen};
use tidemill::pipeline::code;
use tidemill::pipeline::deliver::{Deliver, Progress};
use tidemill::pipeline::drain::Drain;
use tidemill::pipeline::generation::{Generation, Generations, Joined, Recall};
use tidemill::pipeline::report::Report;
use tidemill::pipeline::worker::Workers;
use tidemill::plugin::{CallError, FieldsOutcome, Incoming, MessageOutcome};
use tidemill::record::{Batch, Column, Place, RecordRef};
use tidemill::sink::{self, BindRejection, Bound, Emitted, Sink};
use tidemill::store::{Store, Write};
use tidemill::topic::{
    Consumer, DeadLetter, Ends, Error, Event, GenerationContent, Position, Publisher, Resolution, Save, Saver, Topic, Window,
};
use tidemill::transform::{ChainPlan, StageFactory, StageInstance};
use tokio::sync::mpsc;

/// What happened, in order.
#[derive(Clone, Debug, PartialEq)]
pub enum Seen {
    /// `next`, `reach`, and the boundaries as (first, generation).
    Saved(i64, i64, Vec<(i64, u64)>),
    /// Offset and write time of each row.
    Wrote(Vec<(i64, i64)>),
}

#[derive(Default)]
pub struct World {
    pub seen: Mutex<Vec<Seen>>,
    pub position: Mutex<Option<Position>>,
    pub dead_letters: Mutex<BTreeMap<i64, DeadLetter>>,
    /// Errors that the next saves and writes meet.
    pub save_errors: Mutex<Vec<Error>>,
    pub write_errors: Mutex<Vec<sink::Error>>,
    /// Write errors never end.
    pub sink_is_down: AtomicBool,
    /// Each call writes one row and gives the others back.
    pub writes_one_row: AtomicBool,
    /// So many calls answer `retry`.
    pub retries: AtomicUsize,
    /// Where a person has moved the offset to.
    pub moved: Mutex<Option<i64>>,
    /// Generations whose code is not here.
    pub lost_code: Mutex<Vec<u64>>,
    /// The end of the topic.
    pub end: AtomicI64,
    pub save_every: Mutex<Duration>,
}

impl World {
    pub fn saved(&self) -> Position {
        self.position.lock().unwrap().clone().expect("a position was saved")
    }

    pub fn rows(&self) -> Vec<(i64, i64)> {
        let seen = self.seen.lock().unwrap();
        seen.iter().filter_map(|seen| if let Seen::Wrote(rows) = seen { Some(rows.clone()) } else { None }).flatten().collect()
    }
}

/// Values decide: `drop`, `reject`, `trap`, `unbindable` (the sink refuses it), `refused` (the server does), else emitted.
pub fn batch(values: &[(i64, &str)]) -> Batch {
    let mut batch = Batch::new(0);
    for (offset, value) in values {
        batch.push(RecordRef { offset: *offset, timestamp: 0, key: None, value: Some(value.as_bytes()), headers: &[] });
    }
    batch
}

struct Stage(Arc<World>);

impl StageInstance for Stage {
    fn process_fields(&mut self, _: u32, _: &[&Column]) -> Result<FieldsOutcome, CallError> {
        unreachable!("the double is a messages stage")
    }

    fn process_messages(&mut self, messages: &[Incoming]) -> Result<Vec<MessageOutcome>, CallError> {
        let take = |left: &AtomicUsize| left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok();
        if take(&self.0.retries) {
            return Err(CallError::Retry("not yet".to_owned()));
        }
        let value = |incoming: &Incoming| incoming.message.value.clone().unwrap_or_default();
        if messages.iter().any(|incoming| value(incoming) == b"trap") {
            return Err(CallError::Trap("as told".to_owned()));
        }
        let outcome = |incoming: &Incoming| match &value(incoming)[..] {
            b"drop" => MessageOutcome::Drop,
            b"reject" => MessageOutcome::Reject("as told".to_owned()),
            _ => MessageOutcome::Unchanged,
        };
        Ok(messages.iter().map(outcome).collect())
    }

    fn memory_bytes(&self) -> u64 {
        0
    }

    fn wants_recycling(&self) -> bool {
        false
    }
}

struct Code(Arc<World>);

impl StageFactory for Code {
    fn instance(&self, _: usize) -> Result<Box<dyn StageInstance>, String> {
        Ok(Box::new(Stage(self.0.clone())))
    }
}

struct Table(Arc<World>);

#[async_trait]
impl Sink for Table {
    fn name(&self) -> &str {
        "double"
    }

    fn bind(&self, emitted: &Emitted<'_>) -> Result<Bound, Vec<BindRejection>> {
        let refused = |record: &&u32| emitted.batch.value(**record as usize) == Some(b"unbindable");
        let rejections: Vec<BindRejection> = emitted
            .origins
            .iter()
            .filter(refused)
            .map(|record| BindRejection { record: *record, reason: "no uuid".into() })
            .collect();
        if !rejections.is_empty() {
            return Err(rejections);
        }
        let mut rows = sink::Rows::default();
        for (record, time) in emitted.origins.iter().zip(emitted.write_times) {
            rows.places.push(emitted.batch.place(*record as usize));
            rows.write_times.push(*time);
            rows.deleted
                .extend((emitted.batch.value(*record as usize) == Some(b"refused")).then_some(rows.places.len() as u32 - 1));
        }
        Ok(Bound::Rows(rows))
    }

    async fn write(&self, bound: &Bound) -> Result<Vec<(Place, String)>, sink::Error> {
        let Bound::Rows(rows) = bound else { panic!("the double is given rows") };
        if self.0.sink_is_down.load(Ordering::SeqCst) {
            return Err(sink::Error::Transient("down".to_owned()));
        }
        if let Some(error) = self.0.write_errors.lock().unwrap().pop() {
            return Err(error);
        }
        let now = if self.0.writes_one_row.load(Ordering::SeqCst) { rows.len().min(1) } else { rows.len() };
        let written = rows.places.iter().zip(&rows.write_times).take(now).map(|(place, time)| (place.offset, *time)).collect();
        self.0.seen.lock().unwrap().push(Seen::Wrote(written));
        let (refused, later): (Vec<u32>, Vec<u32>) = rows.deleted.iter().partition(|row| (**row as usize) < now);
        let refused = refused.iter().map(|row| (rows.places[*row as usize], "the server says no".to_owned())).collect();
        if now == rows.len() {
            return Ok(refused);
        }
        let mut rest = sink::Rows { places: rows.places[now..].to_vec(), ..sink::Rows::default() };
        rest.write_times = rows.write_times[now..].to_vec();
        rest.deleted = later.iter().map(|row| row - now as u32).collect();
        Err(sink::Error::Partly { reason: "busy".to_owned(), rest: Box::new(Bound::Rows(rest)), refused })
    }
}

/// One partition, whose events are given by the test.
pub struct Log {
    world: Arc<World>,
    events: Mutex<Option<mpsc::UnboundedReceiver<Event>>>,
}

struct Reads(mpsc::UnboundedReceiver<Event>, Arc<World>);
struct Saves(Arc<World>);

#[async_trait]
impl Consumer for Reads {
    async fn next(&mut self) -> Result<Event, Error> {
        match self.0.recv().await {
            Some(event) => Ok(event),
            None => std::future::pending().await,
        }
    }

    fn saver(&self) -> Arc<dyn Saver> {
        Arc::new(Saves(self.1.clone()))
    }
}

#[async_trait]
impl Saver for Saves {
    async fn save(&self, _: u32, save: Save) -> Result<(), Error> {
        if let Some(error) = self.0.save_errors.lock().unwrap().pop() {
            return Err(error);
        }
        let boundaries = save.position.boundaries.iter().map(|boundary| (boundary.first, boundary.generation)).collect();
        self.0.seen.lock().unwrap().push(Seen::Saved(save.position.next, save.position.reach, boundaries));
        let mut dead_letters = self.0.dead_letters.lock().unwrap();
        dead_letters.retain(|offset, _| !save.settled.contains(offset));
        dead_letters.extend(save.dead_letters.into_iter().map(|letter| (letter.place.offset, letter)));
        *self.0.position.lock().unwrap() = Some(save.position);
        Ok(())
    }

    async fn state(&self, _: u32) -> Result<tidemill::topic::StoredState, Error> {
        Ok(tidemill::topic::StoredState::new())
    }
}

#[async_trait]
impl Topic for Log {
    async fn publisher(&self) -> Result<Box<dyn Publisher>, Error> {
        Err(Error::Fatal("the double has no publisher".to_owned()))
    }
    async fn consumer(&self, _: Window) -> Result<Box<dyn Consumer>, Error> {
        let events = self.events.lock().unwrap().take().expect("one consumer");
        Ok(Box::new(Reads(events, self.world.clone())))
    }
    fn joins(&self) -> Option<Store> {
        None
    }
    async fn ends(&self) -> Result<Vec<Ends>, Error> {
        Ok(vec![Ends { partition: 0, first: 0, end: self.world.end.load(Ordering::SeqCst), bytes: 0 }])
    }
    async fn positions(&self) -> Result<Vec<(u32, Position)>, Error> {
        Ok(Vec::new())
    }
    async fn hosts(&self) -> Result<BTreeMap<u32, String>, Error> {
        Ok(BTreeMap::new())
    }
    async fn generations(&self) -> Result<Vec<(u64, GenerationContent)>, Error> {
        Ok(Vec::new())
    }
    async fn claim_generation(&self, _: &GenerationContent) -> Result<u64, Error> {
        Ok(1)
    }
    async fn dead_letters(&self, _: Option<Place>, _: usize) -> Result<Vec<DeadLetter>, Error> {
        Ok(Vec::new())
    }
    async fn dead_letter(&self, _: Place) -> Result<Option<DeadLetter>, Error> {
        Ok(None)
    }
    async fn dead_letter_count(&self) -> Result<u64, Error> {
        Ok(0)
    }
    async fn resolve_dead_letter(&self, _: Place, _: Resolution, _: Vec<Write>) -> Result<bool, Error> {
        Ok(false)
    }
    async fn replay_generation(&self, _: Place) -> Result<Option<u64>, Error> {
        Ok(None)
    }
    async fn begin_replay(&self, _: Place, _: u64) -> Result<(), Error> {
        Ok(())
    }
}

pub fn generation(world: &Arc<World>, number: u64) -> Generation {
    let content = GenerationContent { stages: Vec::new(), bindings: serde_json::Value::Null };
    let stage = StageContract { stage: "double".to_owned(), contract: None };
    let plan = ChainPlan::new(&[stage], &[], false, NullValue::Reject).expect("a chain of one stage");
    let (stages, sinks) = (Arc::new(Code(world.clone())), vec![Arc::new(Table(world.clone())) as Arc<dyn Sink>]);
    let charts = Arc::default();
    Generation::new(number, code::Code { content, plan: Arc::new(plan), stages, sinks, charts, stamped: false })
}

struct Older(Arc<World>);

#[async_trait]
impl Recall for Older {
    async fn recall(&self, number: u64) -> Result<Generation, String> {
        Ok(generation(&self.0, number))
    }

    async fn has(&self, number: u64) -> Result<bool, String> {
        Ok(!self.0.lost_code.lock().unwrap().contains(&number))
    }
}

/// A deliver leg over one partition, under way.
pub struct Running {
    world: Arc<World>,
    pub deliver: Arc<Deliver>,
    events: mpsc::UnboundedSender<Event>,
    run: tokio::task::JoinHandle<Result<(), String>>,
}

impl Running {
    /// Resumes from the world's position under generation `number`.
    pub fn start(world: &Arc<World>, number: u64, stop_when: Option<StopWhen>) -> Running {
        let (events, given) = mpsc::unbounded_channel();
        let position = world.position.lock().unwrap().clone();
        let moved = *world.moved.lock().unwrap();
        let _ = events.send(Event::Assigned { partition: 0, position, first: 0, moved });
        let deliver = Arc::new(Deliver {
            topic: Arc::new(Log { world: world.clone(), events: Mutex::new(Some(given)) }),
            generations: Generations::new(generation(world, number), Box::new(Older(world.clone()))),
            workers: Workers::start(1, 1).unwrap(),
            window: Window::default(),
            host: "test".to_owned(),
            threshold: stop_when.map(|stop_when| Mutex::new(tidemill::pipeline::dead_letter::Threshold::new(stop_when))),
            report: Report::new(Default::default(), vec![Vec::new()], Default::default()),
            progress: Progress::default(),
            breaker: Default::default(),
            recent: Default::default(),
            beside: Default::default(),
            drain: Drain::default(),
            drain_deadline: Duration::from_secs(5),
            save_every: *world.save_every.lock().unwrap(),
        });
        Running { world: world.clone(), run: tokio::spawn(deliver.clone().run()), deliver, events }
    }

    /// Another generation decides from now on; returns where the partition took it up.
    pub async fn swap(&self, number: u64) -> Joined {
        let next = self.deliver.generations.apply(generation(&self.world, number)).await;
        let mut joined = next.joined();
        let joined = tokio::time::timeout(Duration::from_secs(10), joined.wait_for(|joined| joined.contains_key(&0))).await;
        joined.expect("it is taken up").expect("the generation lives")[&0]
    }

    /// Tells that the topic ends there.
    pub fn end(&self, next: i64) {
        let _ = self.events.send(Event::End { partition: 0, next });
    }

    pub fn give(&self, batch: Batch) {
        let _ = self.events.send(Event::Batch(batch));
    }

    /// Takes the partition away; returns once it is given back.
    pub async fn revoke(&self) {
        let (release, released) = tokio::sync::oneshot::channel();
        let _ = self.events.send(Event::Revoked { partition: 0, release });
        let _ = tokio::time::timeout(Duration::from_secs(10), released).await.expect("it is released");
    }

    /// Waits until all below `end` is settled.
    pub async fn settled(&self, end: i64) {
        let ends = [Ends { partition: 0, first: 0, end, bytes: 0 }];
        tokio::time::timeout(Duration::from_secs(10), self.deliver.progress.reaches(&ends)).await.expect("it settles");
    }

    pub async fn drained(self) -> Result<(), String> {
        self.deliver.drain.begin();
        self.ended().await
    }

    pub async fn ended(self) -> Result<(), String> {
        tokio::time::timeout(Duration::from_secs(10), self.run).await.expect("it ends").expect("no panic")
    }

    /// As a crash would: nothing is finished.
    pub async fn killed(self) {
        self.run.abort();
        let _ = self.run.await;
    }
}
