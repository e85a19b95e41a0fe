//! Sinks of bytes: lines in a file, records of another topic.

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use tidemill::config::plan::{
    CqlType, KeyRole, NullValue, Retention, SinkAddress, SinkColumn, SinkPlan, TopicAddress, TopicPlan,
};
use tidemill::record::{Columns, Message, Values};
use tidemill::sink::{self, Bound, Emitted, Sink};
use tidemill::store::Store;
use tidemill::topic::embedded::Embedded;
use tidemill::topic::{Figures, Position, Save, StateChanges, Topic, Window};

use super::{batch, column, columns, text};

fn plan(at: SinkAddress, columns: Vec<SinkColumn>) -> SinkPlan {
    SinkPlan::new("out", at, columns)
}

fn file(path: &Path, columns: Vec<SinkColumn>) -> SinkPlan {
    plan(SinkAddress::File { path: path.to_owned() }, columns)
}

fn message(key: Option<&str>, value: &str) -> Message {
    Message {
        key: key.map(|key| key.as_bytes().to_vec()),
        value: Some(value.as_bytes().to_vec()),
        timestamp: 7,
        headers: vec![("h".to_owned(), Some(vec![0, 255]))],
    }
}

fn bind(sink: &dyn Sink, messages: &[Message], deleted: &[u32]) -> Bound {
    let batch = batch(0, messages.len() as i64);
    let origins: Vec<u32> = (0..messages.len() as u32).collect();
    let times = vec![0; messages.len()];
    let columns = Columns::default();
    let emitted =
        Emitted { batch: &batch, origins: &origins, deleted, columns: &columns, write_times: &times, messages: Some(messages) };
    sink.bind(&emitted).unwrap()
}

async fn write(sink: &dyn Sink, messages: &[Message]) {
    let bound = bind(sink, messages, &[]);
    assert!(sink.wants_messages());
    assert_eq!(sink.write(&bound).await.unwrap(), []);
}

/// What a killed host leaves behind is a whole line without its end, or a piece of one.
#[tokio::test]
async fn a_file_goes_on_behind_its_last_whole_line() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let cases = [
        ("", ""),
        ("{\"n\":1}\n", "{\"n\":1}\n"),
        ("{\"n\":1}\n{\"n\":", "{\"n\":1}\n"),
        ("{\"n\":1}\n{\"n\":2}", "{\"n\":1}\n{\"n\":2}\n"),
        ("{\"n\":", ""),
    ];
    for (left, kept) in cases {
        let path = dir.path().join("new folder").join("lines.ndjson");
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, left).unwrap();
        let sink = sink::open(&file(&path, Vec::new()), &store).await.unwrap();
        write(sink.as_ref(), &[message(None, "{\n \"n\": 9}")]).await;
        assert_eq!(std::fs::read_to_string(&path).unwrap(), format!("{kept}{{  \"n\": 9}}\n"), "{left:?}");
    }
}

#[tokio::test]
async fn a_file_of_columns_has_a_line_per_live_row() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let path = dir.path().join("lines.ndjson");
    let declared = vec![column("k", CqlType::Text, Some(KeyRole::Partition)), column("at", CqlType::Timestamp, None)];
    let sink = sink::open(&file(&path, declared), &store).await.unwrap();
    let batch = batch(0, 3);
    let columns = columns([("k", text(["a", "b", "c\n"])), ("at", Values::Timestamps(vec![0, 0, i64::MAX]))]);
    let emitted =
        Emitted { batch: &batch, origins: &[0, 1, 2], deleted: &[1], columns: &columns, write_times: &[0; 3], messages: None };
    assert!(!sink.wants_messages());
    let bound = sink.bind(&emitted).unwrap();
    sink.write(&bound).await.unwrap();
    let lines: Vec<Value> =
        std::fs::read_to_string(&path).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines, [json!({"k": "a", "at": "1970-01-01T00:00:00Z"}), json!({"k": "c\n", "at": i64::MAX})]);
}

#[tokio::test]
async fn what_is_no_file_is_refused_when_it_is_opened() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    for path in [dir.path(), Path::new("/dev/null")] {
        let refused = sink::open(&file(path, Vec::new()), &store).await.err().unwrap();
        assert!(matches!(&refused, sink::Error::Systemic(reason) if reason.contains(&*path.to_string_lossy())), "{refused:?}");
    }
}

async fn topic(store: &Store, name: &str, partitions: u32) -> Embedded {
    let plan = TopicPlan {
        name: name.to_owned(),
        at: TopicAddress::Embedded,
        key: None,
        partitions,
        retention: Retention { age: None, bytes: None },
        null_value: NullValue::Reject,
    };
    Embedded::open(store, &plan).await.unwrap()
}

async fn records(topic: &Embedded) -> Vec<Message> {
    let mut records = Vec::new();
    for ends in topic.ends().await.unwrap() {
        records.extend(topic.peek(ends.partition, 0, 100, 1 << 20).await.unwrap().iter().map(|record| record.to_message()));
    }
    records
}

async fn open_topic(store: &Store, retention: Retention) -> Box<dyn Sink> {
    sink::open(&plan(SinkAddress::Topic { name: "other".to_owned(), retention }, Vec::new()), store).await.unwrap()
}

#[tokio::test]
async fn a_topic_takes_whole_records_and_deletes_as_tombstones() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let sink = open_topic(&store, Retention::default()).await;
    let sent = [message(Some("a"), "1"), message(Some("b"), "2"), message(None, "3")];
    let bound = bind(sink.as_ref(), &sent, &[1, 2]);
    sink.write(&bound).await.unwrap();
    let tombstone = Message { value: None, ..sent[1].clone() };
    assert_eq!(records(&topic(&store, "other", 1).await).await, [sent[0].clone(), tombstone]);
}

#[tokio::test]
async fn a_topic_in_the_store_takes_records_within_a_save_and_keeps_its_partitions() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let other = topic(&store, "other", 3).await;
    let sink = open_topic(&store, Retention::default()).await;
    let sent: Vec<Message> = (0..30).map(|n| message(Some(&n.to_string()), "{}")).collect();
    let bound = bind(sink.as_ref(), &sent, &[]);
    let Ok(joined) = sink.join(&store, bound) else { panic!("the topic is in this store") };
    assert_eq!(records(&other).await, []);
    store.write(joined).await.unwrap();
    let ends = other.ends().await.unwrap();
    assert!(ends.iter().all(|ends| ends.end > 0) && ends.iter().map(|ends| ends.end).sum::<i64>() == 30, "{ends:?}");
    let (elsewhere, bound) = (tempfile::tempdir().unwrap(), bind(sink.as_ref(), &sent, &[]));
    assert!(sink.join(&Store::open(elsewhere.path()).unwrap(), bound).is_err());
}

#[tokio::test]
async fn a_topic_in_the_store_keeps_what_its_retention_says_and_what_somebody_has_not_read() {
    // The records are of 1970.
    let hour = Retention { age: Some(Duration::from_secs(3_600)), bytes: None };
    for retention in [hour, Retention { age: None, bytes: Some(1) }] {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let other = topic(&store, "other", 1).await;
        let sink = open_topic(&store, retention).await;
        let held = async || other.ends().await.map(|ends| (ends[0].first, ends[0].end)).unwrap();
        for _ in 0..3 {
            write(sink.as_ref(), &[message(Some("a"), "1")]).await;
        }
        assert_eq!(held().await, (2, 3), "what was written last stays");
        let consumer = other.consumer(Window::default()).await.unwrap();
        let position = Position { next: 2, reach: 2, boundaries: Vec::new(), figures: Figures::default() };
        let (dead_letters, state, with) = (Vec::new(), StateChanges::new(), Vec::new());
        consumer.saver().save(0, Save { position, settled: 0..2, dead_letters, state, with }).await.unwrap();
        write(sink.as_ref(), &[message(Some("a"), "2")]).await;
        assert_eq!(held().await, (2, 4));
    }
}
