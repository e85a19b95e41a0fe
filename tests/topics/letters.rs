//! The end of dead letters, and of code that decided nothing which is still held.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tidemill::config::plan::{Retention, TopicPlan};
use tidemill::record::{Message, Place};
use tidemill::store::{self, Store, components};
use tidemill::topic::embedded::Embedded;
use tidemill::topic::{Boundary, Cursor, DeadLetter, Figures, GenerationContent, Position, Resolution, Save, Topic, Window};

use super::{message, plan, save};

pub fn letter(offset: i64, generation: u64) -> DeadLetter {
    DeadLetter {
        place: Place { partition: 0, offset },
        key: None,
        value: None,
        headers: Vec::new(),
        timestamp: 0,
        reason: "why".to_owned(),
        stage: None,
        digest: None,
        generation,
        write_time: 0,
        host: "here".to_owned(),
    }
}

fn page() -> Vec<Message> {
    (0..10).map(message).collect()
}

pub fn receipts(dir: &Path) -> Vec<(i64, Value)> {
    let tool = rusqlite::Connection::open(dir.join("store.db")).unwrap();
    let mut statement = tool.prepare("SELECT \"offset\", resolution FROM receipts ORDER BY 1").unwrap();
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get::<_, String>(1)?))).unwrap();
    rows.map(|row| row.map(|(offset, text)| (offset, serde_json::from_str(&text).unwrap())).unwrap()).collect()
}

#[tokio::test]
async fn a_replay_or_discard_leaves_a_receipt_by_place() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let topic = Embedded::open(&store, &plan(1)).await.unwrap();
    topic.publisher().await.unwrap().publish(page(), Cursor(Value::Null)).await.unwrap();
    let consumer = topic.consumer(Window::default()).await.unwrap();
    consumer.saver().save(0, save(0, 10, vec![letter(1, 1), letter(2, 1), letter(3, 1)])).await.unwrap();
    let at = |offset| Place { partition: 0, offset };
    assert!(topic.resolve_dead_letter(at(1), Resolution::Discarded, Vec::new()).await.unwrap());
    let row: store::Write = Arc::new(|connection| Ok(connection.execute_batch("INSERT INTO counters VALUES ('row', 1)")?));
    assert!(topic.resolve_dead_letter(at(2), Resolution::Replayed { generation: 7 }, vec![row]).await.unwrap());
    let left = topic.dead_letters(None, 10).await.unwrap();
    assert_eq!(left, [letter(3, 1)]);
    let expected = [(1, json!({"how": "discarded"})), (2, json!({"how": "replayed", "generation": 7}))];
    assert_eq!(receipts(dir.path()), expected);
    // A second time there is nothing to resolve, and the first receipt stays.
    assert!(!topic.resolve_dead_letter(at(1), Resolution::Replayed { generation: 8 }, Vec::new()).await.unwrap());
    // A replay whose rows cannot be written leaves the letter.
    let fails: store::Write = Arc::new(|_| Err(store::Error::Sqlite("no".to_owned())));
    topic.resolve_dead_letter(at(3), Resolution::Replayed { generation: 8 }, vec![fails]).await.unwrap_err();
    assert_eq!((topic.dead_letters(None, 10).await.unwrap(), receipts(dir.path())), (left, expected.to_vec()));
}

fn content(digest: &str) -> GenerationContent {
    let stage = json!({
        "name": "s", "digest": digest, "settings": {},
        "limits": serde_json::to_value(tidemill::config::plan::Limits::default()).unwrap(),
    });
    GenerationContent { stages: vec![serde_json::from_value(stage).unwrap()], bindings: Value::Null }
}

/// A save of everything up to `next`, decided by `generation` from `first` on.
fn under(generation: u64, first: i64, next: i64, dead_letters: Vec<DeadLetter>) -> Save {
    let boundaries = vec![Boundary { first, generation, time: first }];
    let position = Position { next, reach: next, boundaries, figures: Figures::default() };
    Save { position, settled: first..next, dead_letters, state: Default::default(), with: Vec::new() }
}

#[tokio::test]
async fn code_is_kept_as_long_as_a_record_or_a_dead_letter_of_it() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let retention = Retention { age: Some(Duration::from_secs(3_600)), bytes: None };
    let topic = Embedded::open(&store, &TopicPlan { retention, ..plan(1) }).await.unwrap();
    let consumer = topic.consumer(Window::default()).await.unwrap();
    let saver = consumer.saver();
    let mut publisher = topic.publisher().await.unwrap();
    // Records so old that they go as soon as the position has passed them.
    for (number, digest) in [(1, "a"), (2, "b"), (3, "c")] {
        components::keep(&store, digest, digest.as_bytes()).await.unwrap();
        assert_eq!(topic.claim_generation(&content(digest)).await.unwrap(), number);
        publisher.publish(page(), Cursor(Value::Null)).await.unwrap();
        let first = 10 * (number as i64 - 1);
        let letters = if number == 1 { vec![letter(0, 1)] } else { Vec::new() };
        saver.save(0, under(number, first, first + 10, letters)).await.unwrap();
    }
    let kept = async || {
        let mut kept = Vec::new();
        for digest in ["a", "b", "c"] {
            kept.push(components::load(&store, digest).await.unwrap().is_some());
        }
        let numbers: Vec<u64> = topic.generations().await.unwrap().iter().map(|(number, _)| *number).collect();
        (kept, numbers)
    };
    assert_eq!(kept().await, (vec![true, false, true], vec![1, 3]), "the dead letter keeps the first");
    assert!(topic.resolve_dead_letter(Place { partition: 0, offset: 0 }, Resolution::Discarded, Vec::new()).await.unwrap());
    publisher.publish(page(), Cursor(Value::Null)).await.unwrap();
    saver.save(0, under(3, 20, 40, Vec::new())).await.unwrap();
    assert_eq!(kept().await, (vec![false, false, true], vec![3]));
}
