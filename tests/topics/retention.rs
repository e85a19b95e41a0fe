//! Retention and back-pressure: what the position has not passed stays, and a publisher waits for it.

use std::time::Duration;

use serde_json::Value;
use tidemill::config::plan::{Retention, TopicPlan};
use tidemill::record::{Message, Place};
use tidemill::store::Store;
use tidemill::topic::embedded::Embedded;
use tidemill::topic::{Consumer, Cursor, GenerationContent, Resolution, Topic, Window};

use super::letters::{letter, receipts};
use super::{message, plan, save};

const HOUR: Duration = Duration::from_secs(3_600);

fn kept(age: Option<Duration>, bytes: Option<u64>) -> TopicPlan {
    TopicPlan { retention: Retention { age, bytes }, ..plan(1) }
}

/// One chunk of ten records.
fn page(hours_old: i64) -> Vec<Message> {
    let timestamp = jiff::Timestamp::now().as_millisecond() - hours_old * 3_600_000;
    (0..10).map(|n| Message { timestamp, ..message(n) }).collect()
}

async fn publish(topic: &Embedded, page: Vec<Message>) {
    topic.publisher().await.unwrap().publish(page, Cursor(Value::Null)).await.unwrap();
}

async fn settle(consumer: &dyn Consumer, from: i64, next: i64) {
    consumer.saver().save(0, save(from, next, Vec::new())).await.unwrap();
}

async fn extent(topic: &Embedded) -> (i64, i64) {
    let ends = topic.ends().await.unwrap()[0];
    (ends.first, ends.end)
}

#[tokio::test]
async fn age_removes_only_what_the_position_has_passed() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let topic = Embedded::open(&store, &kept(Some(HOUR), None)).await.unwrap();
    for hours_old in [3, 2, 0] {
        publish(&topic, page(hours_old)).await;
    }
    assert_eq!(extent(&topic).await, (0, 30));
    let consumer = topic.consumer(Window::default()).await.unwrap();
    settle(consumer.as_ref(), 0, 15).await;
    assert_eq!(extent(&topic).await, (10, 30), "half of the second chunk is unread");
    settle(consumer.as_ref(), 15, 30).await;
    assert_eq!(extent(&topic).await, (20, 30), "what is young stays, read or not");
}

#[tokio::test]
async fn a_publisher_waits_while_unread_records_fill_the_topic() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let topic = Embedded::open(&store, &kept(None, None)).await.unwrap();
    publish(&topic, page(0)).await;
    let chunk = topic.ends().await.unwrap()[0].bytes;
    let bound = 3 * chunk + chunk / 2;
    let topic = Embedded::open(&store, &kept(None, Some(bound))).await.unwrap();
    for _ in 0..2 {
        publish(&topic, page(0)).await;
    }
    let consumer = topic.consumer(Window::default()).await.unwrap();
    let publishing = tokio::spawn({
        let topic = topic.clone();
        async move { publish(&topic, page(0)).await }
    });
    // Writes are in order: once a save of nothing new is through, the publisher has been told that there is no room or asks again.
    settle(consumer.as_ref(), 0, 0).await;
    settle(consumer.as_ref(), 0, 9).await;
    assert_eq!(extent(&topic).await, (0, 30));
    assert!(!publishing.is_finished());
    settle(consumer.as_ref(), 9, 10).await;
    tokio::time::timeout(super::PATIENCE, publishing).await.expect("the save made room").unwrap();
    assert_eq!(extent(&topic).await, (10, 40));
    assert!(topic.ends().await.unwrap()[0].bytes <= bound);
}

#[tokio::test]
async fn a_page_larger_than_the_bound_goes_into_an_empty_topic() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let topic = Embedded::open(&store, &kept(None, Some(1))).await.unwrap();
    publish(&topic, page(0)).await;
    let consumer = topic.consumer(Window::default()).await.unwrap();
    settle(consumer.as_ref(), 0, 10).await;
    publish(&topic, page(0)).await;
    assert_eq!(extent(&topic).await, (10, 20));
}

/// Nobody saves while everything is read: a bound made smaller must not wait for a save.
#[tokio::test]
async fn a_bound_made_much_smaller_is_reached_without_a_save() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let topic = Embedded::open(&store, &kept(None, None)).await.unwrap();
    let mut publisher = topic.publisher().await.unwrap();
    for n in 0..200 {
        publisher.publish(vec![message(n)], Cursor(Value::Null)).await.unwrap();
    }
    let consumer = topic.consumer(Window::default()).await.unwrap();
    settle(consumer.as_ref(), 0, 200).await;
    let topic = Embedded::open(&store, &kept(None, Some(200))).await.unwrap();
    tokio::time::timeout(super::PATIENCE, publish(&topic, vec![message(0)])).await.expect("room is made");
    let ends = topic.ends().await.unwrap()[0];
    assert!(ends.bytes <= 200 && ends.end == 201, "{ends:?}");
}

/// Under the code that it began with a replay is finished, and verified.
#[tokio::test]
async fn a_receipt_stays_as_long_as_its_record_and_that_of_a_replay_with_its_generation_until_it_ends() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let topic = Embedded::open(&store, &kept(Some(HOUR), None)).await.unwrap();
    for what in 1..=4 {
        let content = GenerationContent { stages: Vec::new(), bindings: what.into() };
        assert_eq!(topic.claim_generation(&content).await.unwrap(), what);
    }
    for hours_old in [3, 2, 0] {
        publish(&topic, page(hours_old)).await;
    }
    // One of a record that the topic holds no longer, and one that was done and is held no longer either.
    topic.begin_replay(Place { partition: 0, offset: 3 }, 2).await.unwrap();
    let done = letter(4, 1);
    let consumer = topic.consumer(Window::default()).await.unwrap();
    consumer.saver().save(0, save(0, 5, vec![done.clone()])).await.unwrap();
    let how = Resolution::Replayed { generation: 3 };
    assert!(topic.resolve_dead_letter(done.place, how, Vec::new()).await.unwrap());
    let numbers = async || topic.generations().await.unwrap().into_iter().map(|(number, _)| number).collect::<Vec<_>>();
    assert_eq!(numbers().await, [1, 2, 3, 4]);
    let receipts =
        || receipts(dir.path()).into_iter().map(|(offset, receipt)| (offset, receipt["how"].clone())).collect::<Vec<_>>();
    assert_eq!(receipts(), [(3, "replaying".into()), (4, "replayed".into())]);
    let kept = letter(22, 1);
    consumer.saver().save(0, save(5, 25, vec![kept.clone()])).await.unwrap();
    assert!(topic.resolve_dead_letter(kept.place, Resolution::Discarded, Vec::new()).await.unwrap());
    settle(consumer.as_ref(), 25, 30).await;
    assert_eq!(extent(&topic).await, (20, 30));
    assert_eq!(receipts(), [(3, "replaying".into()), (22, "discarded".into())]);
    assert_eq!(numbers().await, [1, 2, 4], "1 decided what the topic holds, 2 began a replay, 4 is the newest");
}
