//! The embedded topic: what is published is delivered, in order, once it is durable, and goes on at the saved position.

#[path = "topics/letters.rs"]
mod letters;
#[path = "topics/records.rs"]
mod records;
#[path = "topics/retention.rs"]
mod retention;

use std::time::Duration;

use tidemill::config::plan::{NullValue, Retention, TopicAddress, TopicPlan};
use tidemill::record::{Message, Place};
use tidemill::store::Store;
use tidemill::topic::embedded::Embedded;
use tidemill::topic::{Boundary, Cursor, DeadLetter, Event, Figures, Position, Save, Topic, Window};

/// Longest that a condition may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

fn plan(partitions: u32) -> TopicPlan {
    TopicPlan {
        name: "users_data".to_owned(),
        at: TopicAddress::Embedded,
        key: None,
        partitions,
        retention: Retention { age: Some(Duration::from_secs(7 * 86_400)), bytes: Some(1 << 30) },
        null_value: NullValue::Reject,
    }
}

fn message(n: usize) -> Message {
    Message {
        key: Some(format!("key {n}").into_bytes()),
        value: Some(format!("value {n}").into_bytes()),
        timestamp: 1_700_000_000_000 + n as i64,
        headers: if n.is_multiple_of(3) {
            vec![("h".to_owned(), Some(vec![0, 255])), ("none".to_owned(), None)]
        } else {
            Vec::new()
        },
    }
}

fn position(next: i64) -> Position {
    let boundary = Boundary { first: 0, generation: 1, time: 1_700_000_000_000_000 };
    Position { next, reach: next, boundaries: vec![boundary], figures: Figures { emitted: next as u64, ..Figures::default() } }
}

fn save(from: i64, next: i64, dead_letters: Vec<DeadLetter>) -> Save {
    Save { position: position(next), settled: from..next, dead_letters, state: Default::default(), with: Vec::new() }
}

#[tokio::test]
async fn a_consumer_goes_on_at_the_saved_position() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let topic = Embedded::open(&store, &plan(1)).await.unwrap();
    let mut publisher = topic.publisher().await.unwrap();
    let page: Vec<Message> = (0..10).map(message).collect();
    publisher.publish(page.clone(), Cursor(serde_json::json!({ "page": 2 }))).await.unwrap();

    let mut consumer = topic.consumer(Window::default()).await.unwrap();
    assert!(matches!(consumer.next().await.unwrap(), Event::Assigned { partition: 0, position: None, first: 0, moved: None }));
    let Event::Batch(batch) = consumer.next().await.unwrap() else { panic!("a batch") };
    let read: Vec<Message> = batch.iter().map(|record| record.to_message()).collect();
    assert_eq!(read, page);
    assert!(matches!(consumer.next().await.unwrap(), Event::End { partition: 0, next: 10 }));
    let letter = DeadLetter {
        place: Place { partition: 0, offset: 2 },
        key: None,
        value: Some(vec![0]),
        headers: vec![("h".to_owned(), Some(vec![1, 2])), ("n".to_owned(), None)],
        timestamp: 5,
        reason: "why".to_owned(),
        stage: None,
        digest: None,
        generation: 1,
        write_time: 7,
        host: "here".to_owned(),
    };
    consumer.saver().save(0, save(0, 4, vec![letter.clone()])).await.unwrap();
    assert_eq!(topic.dead_letters(None, 10).await.unwrap(), [letter]);
    drop(consumer);
    drop(publisher);
    drop(topic);
    drop(store);

    let store = Store::open(dir.path()).unwrap();
    let topic = Embedded::open(&store, &plan(1)).await.unwrap();
    let mut consumer = topic.consumer(Window::default()).await.unwrap();
    let Event::Assigned { position: Some(found), .. } = consumer.next().await.unwrap() else { panic!("a position") };
    assert_eq!(found, position(4));
    let Event::Batch(batch) = consumer.next().await.unwrap() else { panic!("a batch") };
    assert_eq!(batch.offsets(), [4, 5, 6, 7, 8, 9]);
    let mut publisher = topic.publisher().await.unwrap();
    assert_eq!(publisher.cursor().await.unwrap(), Some(Cursor(serde_json::json!({ "page": 2 }))));
}
