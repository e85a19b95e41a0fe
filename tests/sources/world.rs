//! A store with a topic in a folder of its own, and the ingest leg over it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;
use tidemill::config::plan::{
    NullValue, RandomUserPlan, Retention, Schedule, SourceKind, SourcePlan, TopicAddress, TopicPlan, Trigger,
};
use tidemill::pipeline::drain::Drain;
use tidemill::pipeline::ingest::{self, Ended, Error, Handle, Ingest, Pace};
use tidemill::record::Message;
use tidemill::source::{self, Source};
use tidemill::stand_in::{self, Options};
use tidemill::status::{Reporter, Run, SourceStatus};
use tidemill::store::{self, Store};
use tidemill::topic::Topic;
use tidemill::topic::embedded::Embedded;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::support::PATIENCE;

pub struct World {
    _dir: TempDir,
    pub store: Store,
    pub topic: Embedded,
}

/// The leg at work.
pub struct Leg {
    pub handle: Handle,
    pub drain: Drain,
    pub reporter: Reporter,
    running: JoinHandle<Result<Ended, Error>>,
}

impl World {
    pub async fn new() -> World {
        World::with_retention(Retention { age: None, bytes: None }).await
    }

    pub async fn with_retention(retention: Retention) -> World {
        let dir = tempfile::tempdir().expect("make a folder");
        let store = Store::open(dir.path()).expect("open a store");
        let plan = TopicPlan {
            name: "users_data".to_owned(),
            at: TopicAddress::Embedded,
            key: Some("login.uuid".to_owned()),
            partitions: 1,
            retention,
            null_value: NullValue::Reject,
        };
        let topic = Embedded::open(&store, &plan).await.expect("open a topic");
        World { _dir: dir, store, topic }
    }

    pub fn start(&self, plan: &SourcePlan) -> Leg {
        self.start_with(plan, source::open(plan).expect("open a source"), Arc::new(self.topic.clone()), false)
    }

    pub fn start_with(&self, plan: &SourcePlan, source: Box<dyn Source>, topic: Arc<dyn Topic>, until_idle: bool) -> Leg {
        let (handle, commands) = ingest::control();
        let (drain, reporter) = (Drain::default(), Reporter::default());
        let leg = Ingest {
            plan: plan.clone(),
            key: Some("login.uuid".to_owned()),
            source,
            topic,
            store: self.store.clone(),
            reporter: reporter.clone(),
            drain: drain.clone(),
            pace: quick(),
            until_idle,
        };
        Leg { handle, drain, reporter, running: tokio::spawn(ingest::run(leg, commands)) }
    }

    pub async fn run(&self, plan: &SourcePlan) -> Ended {
        self.start(plan).ended().await.expect("the leg ends well")
    }

    pub async fn messages(&self) -> Vec<Message> {
        let batch = self.topic.peek(0, 0, usize::MAX, usize::MAX).await.expect("read the topic");
        batch.iter().map(|record| record.to_message()).collect()
    }

    /// The values in the topic, in order.
    pub async fn values(&self) -> Vec<Vec<u8>> {
        self.messages().await.into_iter().map(|message| message.value.expect("a value")).collect()
    }

    /// As it is saved.
    pub async fn cursor(&self) -> Option<Value> {
        let read =
            |connection: &rusqlite::Connection| Ok(connection.query_row("SELECT cursor FROM topics", [], |row| row.get(0))?);
        let text: Option<String> = self.store.read(read).await.expect("read the cursor");
        text.map(|text| serde_json::from_str(&text).expect("a cursor is JSON"))
    }

    /// Oldest first.
    pub async fn runs(&self) -> Vec<Run> {
        let mut runs = store::runs::latest(&self.store, 1_000).await.expect("read the runs");
        runs.reverse();
        runs
    }
}

impl Leg {
    pub async fn ended(self) -> Result<Ended, Error> {
        tokio::time::timeout(PATIENCE, self.running).await.expect("the leg ends in time").expect("the leg does not panic")
    }

    pub fn status(&self) -> SourceStatus {
        self.reporter.snapshot().source.unwrap_or_default()
    }

    pub async fn until(&self, what: &str, holds: impl Fn(&SourceStatus) -> bool) -> SourceStatus {
        until(what, || Some(self.status()).filter(|status| holds(status))).await
    }

    /// Ends its waits by asking for polls, as a person would who does not want to wait for the back-off.
    pub async fn hurried(self) -> Result<Ended, Error> {
        let until = Instant::now() + PATIENCE;
        while !self.running.is_finished() {
            assert!(Instant::now() < until, "the leg does not end: {:?}", self.status());
            // It fails once the leg has ended.
            let _ = tokio::time::timeout(Duration::from_millis(5), self.handle.poll_now()).await;
            tokio::task::yield_now().await;
        }
        self.ended().await
    }
}

/// Looks until there is something, without blocking the runtime that makes it.
pub async fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let until = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < until, "waited {PATIENCE:?} for {what}");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

pub fn quick() -> Pace {
    Pace {
        back_off: Duration::from_millis(1),
        back_off_max: Duration::from_millis(4),
        held_back_after: Duration::from_millis(5),
        drain_within: Duration::from_millis(100),
        ..Pace::default()
    }
}

pub fn plan(kind: SourceKind, records_per_poll: u32) -> SourcePlan {
    SourcePlan {
        kind,
        schedule: Schedule { trigger: Trigger::Every(Duration::ZERO), run_for: None, jitter: Duration::ZERO },
        records_per_poll,
        records: None,
        sample: None,
        timeout: Duration::from_secs(20),
        response_bytes_max: 4 << 20,
    }
}

pub fn randomuser(url: &str, records_per_poll: u32) -> SourcePlan {
    let kind = RandomUserPlan {
        url: url.parse().expect("a URL"),
        seed: "tidemill".to_owned(),
        nat: Vec::new(),
        gender: None,
        inc: Vec::new(),
        exc: Vec::new(),
    };
    plan(SourceKind::RandomUser(kind), records_per_poll)
}

pub async fn stand_in(options: Options) -> stand_in::Handle {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    stand_in::serve(listener, options).expect("serve")
}

/// A body of the service, fetched without anything of ours but the socket.
pub async fn get(server: &stand_in::Handle, target: &str) -> Vec<u8> {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut stream = tokio::net::TcpStream::connect(server.address()).await.expect("connect");
    stream.write_all(format!("GET {target} HTTP/1.1\r\nhost: here\r\n\r\n").as_bytes()).await.expect("ask");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.expect("an answer");
    let body = answer.windows(4).position(|four| four == b"\r\n\r\n").expect("a head") + 4;
    answer.split_off(body)
}

/// The users of pages, as the service has them.
pub async fn users(server: &stand_in::Handle, pages: std::ops::RangeInclusive<u64>, results: u32) -> Vec<Value> {
    let mut users = Vec::new();
    for page in pages {
        let body = get(server, &format!("/api/?results={results}&seed=tidemill&page={page}")).await;
        let mut answer: Value = serde_json::from_slice(&body).expect("JSON");
        users.append(answer["results"].as_array_mut().expect("a list"));
    }
    users
}

pub fn parsed(values: &[Vec<u8>]) -> Vec<Value> {
    values.iter().map(|value| serde_json::from_slice(value).expect("JSON")).collect()
}
