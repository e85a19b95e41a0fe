//! What a record is survives the log, and its key decides its partition.

use proptest::prelude::*;
use serde_json::Value;
use tidemill::record::Message;
use tidemill::store::Store;
use tidemill::store::log::partition_of;
use tidemill::topic::embedded::Embedded;
use tidemill::topic::{Cursor, Event, Topic, Window};

use super::{message, plan};

async fn records_of(topic: &Embedded, partition: u32) -> Vec<Message> {
    let mut records = Vec::new();
    loop {
        let batch = topic.peek(partition, records.len() as i64, 7, 1 << 20).await.unwrap();
        if batch.is_empty() {
            return records;
        }
        records.extend(batch.iter().map(|record| record.to_message()));
    }
}

#[tokio::test]
async fn a_changed_number_of_partitions_is_refused_with_a_way_out() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    Embedded::open(&store, &plan(2)).await.unwrap();
    let refused = Embedded::open(&store, &plan(3)).await.err().unwrap().to_string();
    for says in ["`users_data`", "has partitions = 2", "says 3", "another topic name or --data folder"] {
        assert!(refused.contains(says), "{refused}");
    }
    Embedded::open(&store, &plan(2)).await.unwrap();
}

/// Hashes of Kafka's own `UtilsTest.testMurmur2`; its partitioner takes them without their sign, modulo the partitions.
#[tokio::test]
async fn a_key_goes_where_kafka_would_put_it() {
    const HASHES: [(&str, i32); 5] = [
        ("21", -973932308),
        ("foobar", -790332482),
        ("a-little-bit-long-string", -985981536),
        ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971),
        ("abc", 479470107),
    ];
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let topic = Embedded::open(&store, &plan(12)).await.unwrap();
    let page = HASHES.map(|(key, _)| Message { key: Some(key.into()), ..message(0) });
    topic.publisher().await.unwrap().publish(page.to_vec(), Cursor(Value::Null)).await.unwrap();
    for ((key, hash), message) in HASHES.iter().zip(page) {
        let partition = (hash & 0x7fff_ffff) as u32 % 12;
        assert_eq!(partition_of(key.as_bytes(), 12), partition, "{key}");
        assert!(records_of(&topic, partition).await.contains(&message), "{key}");
    }
}

#[tokio::test]
async fn records_without_a_key_spread_over_the_partitions() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let topic = Embedded::open(&store, &plan(3)).await.unwrap();
    let mut publisher = topic.publisher().await.unwrap();
    for n in 0..6 {
        publisher.publish(vec![Message { key: None, ..message(n) }], Cursor(Value::Null)).await.unwrap();
    }
    let ends: Vec<i64> = topic.ends().await.unwrap().iter().map(|ends| ends.end).collect();
    assert_eq!(ends, [2, 2, 2]);
}

#[tokio::test]
async fn a_record_larger_than_a_batch_comes_alone() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let topic = Embedded::open(&store, &plan(1)).await.unwrap();
    let page = [10, 500, 10, 10, 600].map(|len| Message { key: None, value: Some(vec![b'x'; len]), ..message(1) });
    topic.publisher().await.unwrap().publish(page.to_vec(), Cursor(Value::Null)).await.unwrap();
    let window = Window { batch_bytes_max: 100, batches_ahead: 9, ..Window::default() };
    let mut consumer = topic.consumer(window).await.unwrap();
    let mut batches = Vec::new();
    loop {
        match consumer.next().await.unwrap() {
            Event::Batch(batch) => batches.push(batch.offsets().to_vec()),
            Event::End { .. } => break,
            _ => {}
        }
    }
    assert_eq!(batches, [vec![0], vec![1], vec![2, 3], vec![4]]);
}

fn bytes() -> impl Strategy<Value = Option<Vec<u8>>> {
    prop::option::of(prop_oneof![
        prop::collection::vec(any::<u8>(), 0..40),
        (any::<u8>(), 0usize..200_000).prop_map(|(byte, len)| vec![byte; len])
    ])
}

fn any_message() -> impl Strategy<Value = Message> {
    let headers = prop::collection::vec((any::<String>(), prop::option::of(prop::collection::vec(any::<u8>(), 0..9))), 0..4);
    let timestamp = prop_oneof![any::<i64>(), Just(i64::MIN), Just(i64::MAX), Just(0)];
    (bytes(), bytes(), timestamp, headers).prop_map(|(key, value, timestamp, headers)| Message { key, value, timestamp, headers })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    /// Keys, values, tombstones, empty texts, headers, and any clock; in order within a partition.
    #[test]
    fn a_record_comes_out_of_the_log_as_it_went_in(page in prop::collection::vec(any_message(), 1..30)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let dir = tempfile::tempdir().unwrap();
            let store = Store::open(dir.path()).unwrap();
            let plan = tidemill::config::plan::TopicPlan {
                retention: tidemill::config::plan::Retention { age: None, bytes: None },
                ..plan(2)
            };
            let topic = Embedded::open(&store, &plan).await.unwrap();
            topic.publisher().await.unwrap().publish(page.clone(), Cursor(Value::Null)).await.unwrap();
            for partition in 0..2 {
                let sent: Vec<Message> = page
                    .iter()
                    .filter(|message| message.key.as_deref().map_or(0, |key| partition_of(key, 2)) == partition)
                    .cloned()
                    .collect();
                prop_assert_eq!(records_of(&topic, partition).await, sent);
            }
            Ok(())
        })?;
    }
}
