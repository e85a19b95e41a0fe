//! The reading thread: polls the client, answers rebalances, and fills batches from a queue per partition.
//!
//! Rebalances are only noted by the client's callback. To take partitions over and to give them back takes time, and is done beside this
//! thread, which goes on reading for the others (delivery §10). A client that is of no use any more is made anew.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::types::RDKafkaRespErr;
use rdkafka::{Offset, TopicPartitionList};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};

use super::assignment::Assignment;
use super::consumer::Handed;
use super::lane::{Lane, Looked};
use super::queue::Queue;
use super::saver::Request;
use super::take_over::{self, Start, is_another};
use super::{Inner, fatal};
use crate::crash;
use crate::kafka;
use crate::store::Signal;
use crate::topic::{Error, Event, Window};

/// The group's life does not depend on it, but the client's log and errors are looked at so often.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// The cluster is asked so often whether the topic is still the one that was begun on.
const ASK_ID_EVERY: Duration = Duration::from_secs(1);
/// Between two attempts at what the cluster refuses.
const PAUSE: Duration = Duration::from_secs(1);
/// A partition that is taken away is given back at the latest after so long: what is in flight is delivered again, harmlessly.
const GIVE_BACK_WITHIN: Duration = Duration::from_secs(10);
/// The client's own threads answer at once.
const SEEK_WITHIN: Duration = Duration::from_secs(10);
/// Of what is fetched ahead, for all partitions together and for one at least, KiB.
const QUEUED_KIB: u32 = 16 << 10;
const QUEUED_KIB_MIN: u32 = 1 << 10;

pub(super) struct Context {
    changes: Mutex<VecDeque<Change>>,
    closing: AtomicBool,
    signal: Arc<Signal>,
}

#[derive(Clone)]
enum Change {
    Assign(Vec<u32>),
    Revoke(Vec<u32>),
}

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        kafka::log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(target: "kafka", "{error}: {reason}");
    }
}

impl ConsumerContext for Context {
    fn rebalance(&self, consumer: &BaseConsumer<Context>, what: RDKafkaRespErr, list: &mut TopicPartitionList) {
        let assigns = what == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS;
        if self.closing.load(Ordering::SeqCst) {
            // Whatever is answered ends the assignment of a client that closes.
            let _ = if assigns { consumer.unassign() } else { consumer.incremental_unassign(list) };
            return;
        }
        let partitions = list.elements().iter().map(|element| element.partition() as u32).collect();
        let change = if assigns { Change::Assign(partitions) } else { Change::Revoke(partitions) };
        self.changes.lock().unwrap_or_else(PoisonError::into_inner).push_back(change);
        self.signal.raise();
    }
}

/// What was done beside the reading thread.
enum Done {
    TakenOver(Vec<Start>),
    /// No answer yet; it is tried again meanwhile.
    Waiting(Error),
    GivenBack(Vec<u32>),
    /// The topic's id, where the cluster tells one, and how many take-overs had begun when it was asked for.
    Asked(Option<String>, u64),
}

type DoneSender = std::sync::mpsc::Sender<(u64, Done)>;

pub(super) struct Reading {
    inner: Arc<Inner>,
    assignment: Arc<Assignment>,
    requests: mpsc::Sender<Request>,
    events: mpsc::Sender<Handed>,
    window: Window,
    runtime: Handle,
    done: (DoneSender, std::sync::mpsc::Receiver<(u64, Done)>),
    lanes: BTreeMap<u32, Lane>,
    /// Counts the clients: what was done for an earlier one is of no use to the next.
    serial: u64,
    /// The rebalance that the client waits for an answer to.
    unanswered: Option<Change>,
    take_overs: u64,
    /// When the topic's id is asked for again; `None`: it is being asked for.
    asks_id_at: Option<Instant>,
}

/// Why the client is used no longer.
enum Over {
    Closed,
    /// It has to be made anew.
    Broken(String),
}

type Client = Arc<BaseConsumer<Context>>;

impl Reading {
    /// To be called on a runtime, which waits for partitions that are given back.
    pub(super) fn new(
        inner: Arc<Inner>,
        assignment: Arc<Assignment>,
        requests: mpsc::Sender<Request>,
        events: mpsc::Sender<Handed>,
        window: Window,
    ) -> Result<Reading, Error> {
        let (runtime, done) = (Handle::current(), std::sync::mpsc::channel());
        Ok(Reading {
            inner,
            assignment,
            requests,
            events,
            window,
            runtime,
            done,
            lanes: BTreeMap::new(),
            serial: 0,
            unanswered: None,
            take_overs: 0,
            asks_id_at: None,
        })
    }

    pub(super) fn run(mut self) {
        while !self.assignment.is_closed() {
            self.serial += 1;
            let over = match self.client() {
                Ok(client) => {
                    let over = self.serve(&client);
                    self.leave(client);
                    over
                }
                Err(error) => Over::Broken(error.to_string()),
            };
            if let Over::Broken(reason) = over {
                self.tell(Err(Error::Transient(format!("the Kafka client is made anew: {reason}"))), None);
                let seen = self.assignment.signal.count();
                self.assignment.signal.wait(seen, Some(PAUSE));
            }
        }
    }

    fn client(&self) -> Result<Client, Error> {
        let mut config = kafka::consumer(&self.inner.plan, self.inner.names.group());
        if config.get("queued.max.messages.kbytes").is_none() {
            // It holds for each partition's queue.
            let kib = (QUEUED_KIB / self.inner.partitions.max(1)).max(QUEUED_KIB_MIN);
            config.set("queued.max.messages.kbytes", kib.to_string());
        }
        let signal = self.assignment.signal.clone();
        let context = Context { changes: Mutex::default(), closing: AtomicBool::new(false), signal: signal.clone() };
        let mut client: BaseConsumer<Context> =
            config.create_with_context(context).map_err(|error| fatal("make a Kafka client", &error))?;
        client.set_nonempty_callback(move || signal.raise());
        client.subscribe(&[&self.inner.names.topic]).map_err(|error| fatal("subscribe to the topic", &error))?;
        let client = Arc::new(client);
        self.assignment.set_client(&client);
        Ok(client)
    }

    fn serve(&mut self, client: &Client) -> Over {
        self.asks_id_at = Some(Instant::now() + ASK_ID_EVERY);
        loop {
            if self.assignment.is_closed() {
                return Over::Closed;
            }
            let seen = self.assignment.signal.count();
            if self.asks_id_at.is_some_and(|at| at <= Instant::now()) {
                self.ask_id();
            }
            if let Err(over) = self.poll(client) {
                return over;
            }
            while let Ok((serial, done)) = self.done.1.try_recv() {
                if serial == self.serial
                    && let Err(over) = self.finish(client, done)
                {
                    return over;
                }
            }
            let mut found = false;
            for number in self.lanes.keys().copied().collect::<Vec<_>>() {
                found |= self.look(number);
            }
            if !found {
                self.assignment.signal.wait(seen, Some(LOOK_EVERY));
            }
        }
    }

    /// Errors, logs and rebalances of the client.
    fn poll(&mut self, client: &Client) -> Result<(), Over> {
        // One call takes one event, and not every event is told: a few more calls find the queue empty.
        for _ in 0..8 {
            match client.poll(Duration::ZERO) {
                None => {}
                Some(Err(KafkaError::MessageConsumptionFatal(error))) => return Err(Over::Broken(error.to_string())),
                Some(Err(error)) => self.failed(&error),
                // Every partition has a queue of its own.
                Some(Ok(_)) => return Err(Over::Broken("a record came that nobody asked for".to_owned())),
            }
        }
        if let Some((_, reason)) = client.client().fatal_error() {
            return Err(Over::Broken(reason));
        }
        let context = client.context().clone();
        loop {
            let change = context.changes.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
            self.unanswered = change.clone().or(self.unanswered.take());
            match change {
                None => return Ok(()),
                Some(Change::Assign(partitions)) => self.take_over(partitions),
                Some(Change::Revoke(partitions)) => self.give_back(partitions, client.assignment_lost()),
            }
        }
    }

    /// Brokers that do not answer, and topics that are not there, are seen by everyone who asks for the ends of the topic.
    fn failed(&self, error: &KafkaError) {
        let told = matches!(
            kafka::code(error),
            Some(
                RDKafkaErrorCode::GroupAuthorizationFailed
                    | RDKafkaErrorCode::TopicAuthorizationFailed
                    | RDKafkaErrorCode::InconsistentGroupProtocol
                    | RDKafkaErrorCode::SaslAuthenticationFailed
            )
        );
        let reason = kafka::reason(error);
        tracing::debug!(target: "kafka", "{reason}");
        if told {
            self.tell(Err(Error::Transient(reason)), None);
        }
    }

    fn tell(&self, event: Result<Event, Error>, epoch: Option<u64>) {
        // Nobody listens any more when the consumer was dropped.
        let _ = self.events.blocking_send((event, epoch));
    }

    /// Asks beside this thread where the partitions stand. The group waits for the answer.
    fn take_over(&self, partitions: Vec<u32>) {
        let (inner, assignment, done, serial) = (self.inner.clone(), self.assignment.clone(), self.done.0.clone(), self.serial);
        let ask = move || {
            while !assignment.is_closed() {
                let found = take_over::starts(&inner, &partitions, &assignment.closed);
                let again = found.is_err();
                let _ = done.send((serial, found.map_or_else(Done::Waiting, Done::TakenOver)));
                assignment.signal.raise();
                if !again {
                    return;
                }
                std::thread::sleep(PAUSE);
            }
        };
        if let Err(error) = std::thread::Builder::new().name("kafka-take-over".to_owned()).spawn(ask) {
            self.tell(Err(Error::Fatal(format!("start a thread: {error}"))), None);
        }
    }

    /// Asks beside this thread which topic has the name now.
    fn ask_id(&mut self) {
        let (inner, assignment, done) = (self.inner.clone(), self.assignment.clone(), self.done.0.clone());
        let (serial, take_overs) = (self.serial, self.take_overs);
        let ask = move || {
            // Whoever cannot be asked now is asked again.
            let id = inner.lookups.topic_id().unwrap_or_default();
            let _ = done.send((serial, Done::Asked(id, take_overs)));
            assignment.signal.raise();
        };
        let started = std::thread::Builder::new().name("kafka-topic-id".to_owned()).spawn(ask);
        self.asks_id_at = started.is_err().then(|| Instant::now() + ASK_ID_EVERY);
    }

    /// Stops handing out at once, and waits beside this thread until what is in flight is settled or given up.
    fn give_back(&mut self, partitions: Vec<u32>, lost: bool) {
        let mut released = Vec::new();
        for partition in &partitions {
            if lost {
                self.assignment.give_back(*partition);
            }
            if self.lanes.remove(partition).is_some() {
                let (release, waiting) = oneshot::channel();
                released.push(waiting);
                self.tell(Ok(Event::Revoked { partition: *partition, release }), None);
            }
        }
        let (assignment, requests) = (self.assignment.clone(), self.requests.clone());
        let (done, serial) = (self.done.0.clone(), self.serial);
        self.runtime.spawn(async move {
            let all = futures_util::future::join_all(released);
            if tokio::time::timeout(GIVE_BACK_WITHIN, all).await.is_err() {
                tracing::warn!(target: "kafka", "partitions {partitions:?} are given back with records in flight");
            }
            crash::point("in-revoke");
            partitions.iter().for_each(|partition| assignment.give_back(*partition));
            // A save that is under way is answered before the partition goes.
            let (answer, answered) = oneshot::channel();
            if requests.send(Request::Settled(answer)).await.is_ok() {
                let _ = answered.await;
            }
            let _ = done.send((serial, Done::GivenBack(partitions)));
            assignment.signal.raise();
        });
    }

    fn finish(&mut self, client: &Client, done: Done) -> Result<(), Over> {
        match done {
            Done::Waiting(error) => {
                self.tell(Err(error), None);
                Ok(())
            }
            Done::GivenBack(partitions) => {
                self.unanswered = None;
                let mut list = TopicPartitionList::new();
                for partition in &partitions {
                    list.add_partition(&self.inner.names.topic, *partition as i32);
                }
                if let Err(error) = client.incremental_unassign(&list) {
                    return Err(Over::Broken(format!("give back partitions {partitions:?}: {}", kafka::reason(&error))));
                }
                self.go_on(client)
            }
            Done::TakenOver(starts) => self.begin(client, starts),
            Done::Asked(id, take_overs) => {
                self.asks_id_at = Some(Instant::now() + ASK_ID_EVERY);
                // What was taken over since may have seen a newer topic than this answer did.
                if take_overs == self.take_overs {
                    self.stand_still_unless(id.as_deref());
                }
                Ok(())
            }
        }
    }

    /// Reads on where this thread has come to, in the partitions that stay through a rebalance.
    ///
    /// The client pauses them and goes on behind what it last took from a queue. Between the two, records are dropped as outdated, but the
    /// markers of transactions among them are taken for read (librdkafka 2.12, `rd_kafka_op_handle_std`): whole pages would be skipped.
    fn go_on(&self, client: &Client) -> Result<(), Over> {
        let mut list = TopicPartitionList::new();
        for (partition, next) in self.lanes.iter().filter_map(|(partition, lane)| Some((*partition, lane.reads_from()?))) {
            let _ = list.add_partition_offset(&self.inner.names.topic, partition as i32, Offset::Offset(next));
        }
        if list.count() == 0 {
            return Ok(());
        }
        let over = |error: &KafkaError| Over::Broken(format!("read on after a rebalance: {}", kafka::reason(error)));
        let sought = client.seek_partitions(list, SEEK_WITHIN).map_err(|error| over(&error))?;
        for element in sought.elements() {
            match element.error() {
                Ok(()) => {}
                // It has not begun yet, and will where it was assigned.
                Err(error)
                    if matches!(kafka::code(&error), Some(RDKafkaErrorCode::State | RDKafkaErrorCode::PreviousInProgress)) => {}
                Err(error) => return Err(over(&error)),
            }
        }
        Ok(())
    }

    fn begin(&mut self, client: &Client, starts: Vec<Start>) -> Result<(), Over> {
        self.unanswered = None;
        self.take_overs += 1;
        let topic = &self.inner.names.topic;
        let mut list = TopicPartitionList::new();
        let mut begun = Vec::new();
        for start in starts {
            let offset = match &start.gone {
                None => Offset::Offset(start.next),
                // It is held and stands still: the end is where nothing is read.
                Some(_) => Offset::End,
            };
            let _ = list.add_partition_offset(topic, start.partition as i32, offset);
            let queue = Queue::split(client, topic, start.partition, self.assignment.signal.clone());
            begun.push((start, queue));
        }
        if let Err(error) = client.incremental_assign(&list) {
            return Err(Over::Broken(format!("assign partitions: {}", kafka::reason(&error))));
        }
        self.go_on(client)?;
        for (start, queue) in begun {
            let partition = start.partition;
            let queue = queue.filter(|_| start.gone.is_none());
            let lane = Lane::new(partition, start.next, start.topic_id.clone(), queue);
            self.lanes.insert(partition, lane);
            if let Some(error) = start.gone {
                self.tell(Err(error), None);
                continue;
            }
            let epoch = self.assignment.hold(partition, start.next);
            let begin =
                Request::Begin { partition, letters: start.letters, boundaries: start.boundaries, topic_id: start.topic_id };
            let _ = self.requests.blocking_send(begin);
            let Start { position, first, moved, .. } = start;
            self.tell(Ok(Event::Assigned { partition, position, first, moved }), Some(epoch));
        }
        Ok(())
    }

    /// An offset of one topic says nothing about another of the same name. What was read of it since the last look was saved as the old
    /// one's, with its id, so that no host goes on from there.
    fn stand_still_unless(&mut self, id: Option<&str>) {
        let of_another = self.lanes.iter_mut().filter(|(_, lane)| is_another(lane.topic_id(), id));
        let stopped: Vec<(u32, Option<i64>)> = of_another.map(|(partition, lane)| (*partition, lane.stop())).collect();
        for (partition, stopped) in stopped {
            self.assignment.give_back(partition);
            if let Some(wanted) = stopped {
                self.tell(Err(Error::Replaced { partition, wanted }), None);
            }
        }
    }

    /// Whether a partition had anything.
    fn look(&mut self, number: u32) -> bool {
        let settled = self.assignment.settled_up_to(number);
        let window = self.window.among(self.lanes.len());
        let Some(lane) = self.lanes.get_mut(&number) else { return false };
        let Looked { batch, end, failed } = lane.look(&window, settled);
        let found = batch.is_some() || end.is_some() || failed.is_some();
        if let Some(batch) = batch {
            self.tell(Ok(Event::Batch(batch)), None);
        }
        if let Some(next) = end {
            self.tell(Ok(Event::End { partition: number, next }), None);
        }
        if let Some(wanted) = failed {
            let (first, end) =
                self.inner.lookups.extents(&[number]).ok().and_then(|found| found.first().copied()).unwrap_or_default();
            self.tell(Err(Error::OutOfRange { partition: number, wanted, first, end }), None);
        }
        found
    }

    /// Gives up all partitions and leaves the group.
    fn leave(&mut self, client: Client) {
        if !self.assignment.is_closed() {
            let partitions: Vec<u32> = self.lanes.keys().copied().collect();
            self.give_back(partitions, true);
            // Whoever still works on them is refused from now on, but must be gone before they come again.
            while let Ok((serial, done)) = self.done.1.recv_timeout(GIVE_BACK_WITHIN + PAUSE) {
                if serial == self.serial && matches!(done, Done::GivenBack(_)) {
                    break;
                }
            }
        }
        self.lanes.clear();
        client.context().closing.store(true, Ordering::SeqCst);
        // A rebalance that waits for an answer would hold the client's end up.
        let mut list = TopicPartitionList::new();
        let _ = match self.unanswered.take() {
            None => Ok(()),
            Some(Change::Assign(_)) => client.incremental_assign(&list),
            Some(Change::Revoke(partitions)) => {
                for partition in &partitions {
                    list.add_partition(&self.inner.names.topic, *partition as i32);
                }
                client.incremental_unassign(&list)
            }
        };
        drop(client);
    }
}
