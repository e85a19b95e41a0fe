//! The Kafka topic as pipeline and source see it, against a real broker.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use serde_json::json;
use tidemill::config::plan::{KafkaPlan, NullValue, Retention, TopicAddress, TopicPlan};
use tidemill::record::{Message, Place};
use tidemill::topic::kafka::Kafka as Topics;
use tidemill::topic::{
    Boundary, Consumer, Cursor, DeadLetter, Error, Event, Figures, GenerationContent, Position, Resolution, Save, StateChanges,
    Topic, Window,
};

use crate::conformance;
use crate::kafka::{self, Kafka, Publish};
use crate::support::{PATIENCE, wait_for};

/// A pipeline name that no other case has.
pub fn fresh(what: &str) -> String {
    static CASES: AtomicU32 = AtomicU32::new(0);
    format!("{what}-{}", CASES.fetch_add(1, Ordering::Relaxed))
}

pub async fn open(kafka: &Kafka, name: &str, partitions: u32, host: &str) -> Topics {
    open_in(KafkaPlan::new(vec![kafka.address()]), name, partitions, host).await
}

pub async fn open_in(mut cluster: KafkaPlan, name: &str, partitions: u32, host: &str) -> Topics {
    cluster.partitions = Some(partitions);
    // A lost member is a matter of seconds here.
    for (name, value) in [("session.timeout.ms", "3000"), ("heartbeat.interval.ms", "50")] {
        cluster.properties.push((name.to_owned(), value.to_owned().into()));
    }
    let plan = TopicPlan {
        name: format!("{name}.data"),
        at: TopicAddress::Kafka(cluster.clone()),
        key: None,
        partitions,
        retention: Retention { age: None, bytes: None },
        null_value: NullValue::Reject,
    };
    Topics::open(&plan, &cluster, name, host).await.expect("open the topic")
}

/// With and without key, value and headers; every fifth key, every seventh value is absent.
fn message(n: usize) -> Message {
    Message {
        key: (!n.is_multiple_of(5)).then(|| format!("key {n}").into_bytes()),
        value: match n % 7 {
            0 => None,
            1 => Some(Vec::new()),
            _ => Some(format!("value {n}").into_bytes()),
        },
        timestamp: 1_700_000_000_000 + n as i64,
        headers: match n % 3 {
            0 => vec![("h".to_owned(), Some(vec![0, 255])), ("none".to_owned(), None), ("h".to_owned(), Some(Vec::new()))],
            _ => Vec::new(),
        },
    }
}

pub async fn publish(topic: &Topics, records: std::ops::Range<usize>) {
    let page = records.map(message).collect();
    topic.publisher().await.unwrap().publish(page, Cursor(json!(1))).await.unwrap();
}

pub async fn next(consumer: &mut dyn Consumer) -> Result<Event, Error> {
    let event = async {
        loop {
            match consumer.next().await {
                Err(Error::Transient(_)) => {}
                event => return event,
            }
        }
    };
    tokio::time::timeout(PATIENCE, event).await.expect("an event")
}

/// Position and moved offset of so many partitions.
pub async fn assigned(consumer: &mut dyn Consumer, partitions: usize) -> BTreeMap<u32, (Option<Position>, Option<i64>)> {
    let mut found = BTreeMap::new();
    while found.len() < partitions {
        if let Event::Assigned { partition, position, moved, .. } = next(consumer).await.unwrap() {
            found.insert(partition, (position, moved));
        }
    }
    found
}

/// Records by partition, up to the ends, which lie behind the markers of transactions.
pub async fn read(topic: &Topics, consumer: &mut dyn Consumer) -> BTreeMap<u32, Vec<(i64, Message)>> {
    let ends = topic.ends().await.unwrap();
    let mut reached: BTreeMap<u32, i64> = BTreeMap::new();
    let mut found: BTreeMap<u32, Vec<(i64, Message)>> = BTreeMap::new();
    while ends.iter().any(|end| end.end > 0 && reached.get(&end.partition).is_none_or(|next| *next < end.end)) {
        match next(consumer).await.unwrap() {
            Event::Batch(batch) => {
                let records = batch.iter().map(|record| (record.offset, record.to_message()));
                found.entry(batch.partition()).or_default().extend(records);
                consumer.saver().settled(batch.partition(), batch.offsets().last().unwrap() + 1);
            }
            Event::End { partition, next } => drop(reached.insert(partition, next)),
            _ => {}
        }
    }
    found
}

pub fn position(next: i64) -> Position {
    let boundaries = vec![Boundary { first: 0, generation: 1, time: 1 }];
    Position { next, reach: next, boundaries, figures: Figures::default() }
}

pub fn save(from: i64, next: i64, dead_letters: Vec<DeadLetter>) -> Save {
    Save { position: position(next), settled: from..next, dead_letters, state: StateChanges::new(), with: Vec::new() }
}

pub fn letter(offset: i64, value: Option<Vec<u8>>) -> DeadLetter {
    DeadLetter {
        place: Place { partition: 1, offset },
        key: Some(b"k".to_vec()),
        value,
        headers: vec![("h".to_owned(), Some(vec![0, 255])), ("none".to_owned(), None)],
        timestamp: 5,
        reason: "no JSON".to_owned(),
        stage: Some("extract".to_owned()),
        digest: Some("d".to_owned()),
        generation: 1,
        write_time: 7,
        host: "here".to_owned(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_kafka_topic_passes_each_check_and_a_double_fails_it() {
    let Some(kafka) = kafka::shared() else { return };
    conformance::list(|| async { Arc::new(open(kafka, &fresh("list"), 1, "a").await) as Arc<dyn Topic> }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn records_come_through_as_they_were_in_order_and_by_key() {
    let Some(kafka) = kafka::shared() else { return };
    let topic = open(kafka, &fresh("records"), 3, "a").await;
    let mut publisher = topic.publisher().await.unwrap();
    let page: Vec<Message> = (0..1_000).map(message).collect();
    for (number, chunk) in page.chunks(250).enumerate() {
        publisher.publish(chunk.to_vec(), Cursor(json!({ "page": number }))).await.unwrap();
    }
    let mut consumer = topic.consumer(Window::default()).await.unwrap();
    let mut all = Vec::new();
    for (partition, records) in read(&topic, consumer.as_mut()).await {
        assert!(records.is_sorted_by(|a, b| a.0 < b.0), "offsets ascend in partition {partition}");
        for (_, message) in records {
            if let Some(key) = &message.key {
                assert_eq!(tidemill::store::log::partition_of(key, 3), partition, "as the Java clients do");
            }
            all.push(message);
        }
    }
    all.sort_by_key(|message| message.timestamp);
    assert_eq!(all, page);
    assert_eq!(publisher.cursor().await.unwrap(), Some(Cursor(json!({ "page": 3 }))));
}

#[tokio::test(flavor = "multi_thread")]
async fn compressed_records_of_others_come_through_and_those_of_an_aborted_transaction_do_not() {
    let Some(kafka) = kafka::shared() else { return };
    use rdkafka::producer::ThreadedProducer;
    let name = fresh("compressed");
    let topic = open(kafka, &name, 1, "a").await;
    let data = format!("{name}.data");
    let codecs = ["gzip", "snappy", "lz4", "zstd"];
    let record = |number: usize| Message {
        key: Some(format!("key {number}").into_bytes()),
        value: Some("again ".repeat(500 + number).into_bytes()),
        timestamp: 1_700_000_000_000 + number as i64,
        headers: vec![("h".to_owned(), Some(vec![number as u8, 255])), ("none".to_owned(), None)],
    };
    for (number, codec) in codecs.iter().enumerate() {
        let mut config = kafka.config();
        config.set("transactional.id", format!("{name}-{codec}")).set("compression.type", *codec);
        let producer: ThreadedProducer<rdkafka::producer::DefaultProducerContext> = config.create().unwrap();
        producer.init_transactions(PATIENCE).unwrap();
        for (number, commits) in [(number, true), (100 + number, false)] {
            let Message { key, value, timestamp, headers } = record(number);
            let headers: Vec<(&str, Option<&[u8]>)> =
                headers.iter().map(|(name, value)| (name.as_str(), value.as_deref())).collect();
            let (key, value, timestamp) = (key.as_deref(), value.as_deref(), Some(timestamp));
            producer.begin_transaction().unwrap();
            kafka::send(&producer, &data, &Publish { partition: None, key, value, headers: &headers, timestamp });
            if commits { producer.commit_transaction(PATIENCE).unwrap() } else { producer.abort_transaction(PATIENCE).unwrap() }
        }
    }
    let mut consumer = topic.consumer(Window::default()).await.unwrap();
    let found: Vec<Message> =
        read(&topic, consumer.as_mut()).await.remove(&0).unwrap().into_iter().map(|(_, found)| found).collect();
    assert_eq!(found, (0..codecs.len()).map(record).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn positions_and_dead_letters_of_any_size_are_saved_and_found_by_another_host() {
    let Some(kafka) = kafka::shared() else { return };
    let name = fresh("saved");
    let topic = open(kafka, &name, 2, "a").await;
    publish(&topic, 0..100).await;
    let mut consumer = topic.consumer(Window::default()).await.unwrap();
    assert_eq!(assigned(consumer.as_mut(), 2).await, BTreeMap::from([(0, (None, None)), (1, (None, None))]));
    // With its reason it is beyond what one record may be.
    let large: Vec<u8> = (0..1_048_000u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let letters = vec![letter(1, None), letter(2, Some(Vec::new())), letter(3, Some(large)), letter(4, Some(b"{".to_vec()))];
    consumer.saver().save(1, save(0, 9, letters.clone())).await.unwrap();
    assert_eq!(topic.dead_letters(None, 10).await.unwrap(), letters);
    assert_eq!(topic.dead_letters(Some(letters[1].place), 1).await.unwrap(), letters[2..3]);
    assert_eq!(topic.dead_letter(letters[2].place).await.unwrap().as_ref(), Some(&letters[2]));
    assert_eq!(topic.positions().await.unwrap(), [(1, position(9))]);
    assert!(topic.resolve_dead_letter(letters[2].place, Resolution::Discarded, Vec::new()).await.unwrap());
    assert!(!topic.resolve_dead_letter(letters[2].place, Resolution::Discarded, Vec::new()).await.unwrap());
    topic.begin_replay(letters[3].place, 4).await.unwrap();
    assert_eq!(topic.replay_generation(letters[3].place).await.unwrap(), Some(4));
    assert!(topic.resolve_dead_letter(letters[3].place, Resolution::Replayed { generation: 4 }, Vec::new()).await.unwrap());
    assert_eq!(topic.replay_generation(letters[3].place).await.unwrap(), None);
    assert_eq!(topic.dead_letter_count().await.unwrap(), 2);
    consumer.close().await;
    // Every part of a letter has a tombstone, and a receipt tells what became of it.
    let mut left = BTreeMap::new();
    for record in kafka.read(&format!("{name}.dead-letters")) {
        left.insert(record.key, record.value.is_some());
    }
    assert!(left.len() > 4 && left.values().filter(|there| **there).count() == 2, "{left:?}");
    let receipts: Vec<String> = kafka
        .read(&format!("{name}.control"))
        .iter()
        .map(|record| String::from_utf8_lossy(record.key.as_deref().unwrap()).into_owned())
        .collect();
    assert!(["receipt/1/3", "receipt/1/4"].iter().all(|key| receipts.iter().any(|found| found == key)), "{receipts:?}");

    let other = open(kafka, &name, 2, "b").await;
    assert_eq!(other.dead_letters(None, 10).await.unwrap(), letters[..2]);
    let mut consumer = other.consumer(Window::default()).await.unwrap();
    assert_eq!(assigned(consumer.as_mut(), 2).await[&1], (Some(position(9)), None));
    let found = read(&other, consumer.as_mut()).await;
    assert!(found[&1][0].0 >= 9 && found[&0][0].0 == 0);
    // A redelivery that is accepted removes the dead letter.
    consumer.saver().save(1, save(0, 20, vec![letter(2, Some(Vec::new()))])).await.unwrap();
    assert_eq!(other.dead_letters(None, 10).await.unwrap(), letters[1..2]);
    assert_eq!(other.hosts().await.unwrap(), BTreeMap::from([(1, "b".to_owned())]));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_offset_that_a_person_moved_is_told_and_one_that_expired_changes_nothing() {
    let Some(kafka) = kafka::shared() else { return };
    let name = fresh("moved");
    let (data, topic) = (format!("{name}.data"), open(kafka, &name, 1, "a").await);
    publish(&topic, 0..50).await;
    let mut consumer = topic.consumer(Window::default()).await.unwrap();
    assigned(consumer.as_mut(), 1).await;
    consumer.saver().save(0, save(0, 20, Vec::new())).await.unwrap();
    consumer.close().await;
    for (arguments, expected) in
        [(["--reset-offsets", "--to-offset", "7", "--execute"].as_slice(), Some(7)), (["--delete-offsets"].as_slice(), None)]
    {
        let mut all = vec!["--group", &name, "--topic", &data];
        all.extend(arguments);
        println!("{}", kafka.consumer_groups(&all));
        let mut consumer = topic.consumer(Window::default()).await.unwrap();
        assert_eq!(assigned(consumer.as_mut(), 1).await[&0], (Some(position(20)), expected));
        let first = loop {
            if let Event::Batch(batch) = next(consumer.as_mut()).await.unwrap() {
                break batch.offsets()[0];
            }
        };
        assert_eq!(first, expected.unwrap_or(20));
        consumer.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_retention_took_stops_its_partition_and_no_other() {
    let Some(kafka) = kafka::shared() else { return };
    let name = fresh("retention");
    let (data, topic) = (format!("{name}.data"), open(kafka, &name, 2, "a").await);
    publish(&topic, 0..200).await;
    let mut consumer = topic.consumer(Window::default()).await.unwrap();
    assigned(consumer.as_mut(), 2).await;
    consumer.saver().save(0, save(0, 5, Vec::new())).await.unwrap();
    consumer.close().await;
    tokio::task::block_in_place(|| kafka.delete_records(&data, &[(0, 10)]));
    let mut consumer = topic.consumer(Window::default()).await.unwrap();
    let (mut gone, mut others) = (None, 0);
    while gone.is_none() || others == 0 {
        match next(consumer.as_mut()).await {
            Err(Error::OutOfRange { partition, wanted, first, .. }) => gone = Some((partition, wanted, first)),
            Ok(Event::Batch(batch)) => {
                assert_eq!(batch.partition(), 1, "never a jump");
                others += batch.rows();
            }
            Ok(_) => {}
            Err(error) => panic!("{error}"),
        }
    }
    assert_eq!(gone, Some((0, 5, 10)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_was_made_again_is_another_though_it_holds_as_much() {
    let Some(kafka) = kafka::shared() else { return };
    let name = fresh("replaced");
    let (data, topic) = (format!("{name}.data"), open(kafka, &name, 1, "a").await);
    publish(&topic, 0..50).await;
    let mut consumer = topic.consumer(Window::default()).await.unwrap();
    assigned(consumer.as_mut(), 1).await;
    let saver = consumer.saver();
    saver.save(0, save(0, 20, Vec::new())).await.unwrap();
    tokio::task::block_in_place(|| {
        kafka.delete_topic(&data);
        kafka.create_topic(&data, 1, &[]);
        kafka.publish(&data, (0..100).map(|_| Publish::default()));
    });
    loop {
        match next(consumer.as_mut()).await {
            // Of the new topic not all was there yet.
            Err(Error::Replaced { partition: 0, .. } | Error::OutOfRange { partition: 0, .. }) => break,
            Ok(_) => {}
            Err(error) => panic!("{error}"),
        }
    }
    // What was begun on the one is saved on no other, once that is seen.
    let refused = loop {
        if let Err(error) = saver.save(0, save(20, 20, Vec::new())).await {
            break error;
        }
    };
    assert!(matches!(refused, Error::Fenced), "{refused}");
    consumer.close().await;
    // Nor is it begun on.
    let mut consumer = topic.consumer(Window::default()).await.unwrap();
    let told = next(consumer.as_mut()).await.err();
    assert!(matches!(told, Some(Error::Replaced { partition: 0, wanted: 20 })), "{told:?}");
    assert_eq!(topic.positions().await.unwrap(), [(0, position(20))]);
    consumer.close().await;
    // A person says where to go on, and from then on it is the topic.
    let from_the_first = ["--group", &name, "--topic", &data, "--reset-offsets", "--to-earliest", "--execute"];
    println!("{}", kafka.consumer_groups(&from_the_first));
    let mut consumer = topic.consumer(Window::default()).await.unwrap();
    assert_eq!(assigned(consumer.as_mut(), 1).await[&0], (Some(position(20)), Some(0)));
    consumer.saver().save(0, save(0, 10, Vec::new())).await.unwrap();
    consumer.close().await;
    let mut consumer = topic.consumer(Window::default()).await.unwrap();
    assert_eq!(assigned(consumer.as_mut(), 1).await[&0], (Some(position(10)), None));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_host_gets_partitions_where_the_first_has_saved_and_the_first_saves_them_no_more() {
    let Some(kafka) = kafka::shared() else { return };
    let name = fresh("shared");
    let (first, second) = (open(kafka, &name, 2, "a").await, open(kafka, &name, 2, "b").await);
    publish(&first, 0..100).await;
    let mut here = first.consumer(Window::default()).await.unwrap();
    assigned(here.as_mut(), 2).await;
    let saver = here.saver();
    let mut there = second.consumer(Window::default()).await.unwrap();
    let revoked = async {
        loop {
            if let Event::Revoked { partition, release } = next(here.as_mut()).await.unwrap() {
                // What is in flight is settled and saved before the partition goes.
                saver.save(partition, save(0, 7, Vec::new())).await.unwrap();
                drop(release);
                return partition;
            }
        }
    };
    let (revoked, begun) = tokio::join!(revoked, assigned(there.as_mut(), 1));
    assert_eq!(begun, BTreeMap::from([(revoked, (Some(position(7)), None))]));
    assert!(matches!(saver.save(revoked, save(7, 9, Vec::new())).await, Err(Error::Fenced)));
    assert_eq!(second.positions().await.unwrap(), [(revoked, position(7))]);
    // The other one is still this host's.
    saver.save(1 - revoked, save(0, 3, Vec::new())).await.unwrap();
    // When the first leaves, the second has both, and at once.
    here.close().await;
    assert_eq!(assigned(there.as_mut(), 1).await, BTreeMap::from([(1 - revoked, (Some(position(3)), None))]));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_host_polls_the_source_and_a_fenced_one_publishes_nothing() {
    let Some(kafka) = kafka::shared() else { return };
    use rdkafka::producer::{BaseProducer, Producer};
    let name = fresh("source");
    let (first, second) = (open(kafka, &name, 1, "a").await, open(kafka, &name, 1, "b").await);
    let mut here = first.publisher().await.unwrap();
    here.publish(vec![message(2)], Cursor(json!(1))).await.unwrap();
    let mut waiting = tokio::spawn(async move { second.publisher().await.unwrap() });
    assert!(tokio::time::timeout(std::time::Duration::from_millis(300), &mut waiting).await.is_err(), "one at a time");
    // A successor has begun while this one stood still.
    let successor: BaseProducer = kafka.config().set("transactional.id", &name).create().unwrap();
    successor.init_transactions(PATIENCE).unwrap();
    assert!(matches!(here.publish(vec![message(3)], Cursor(json!(2))).await, Err(Error::Fenced)));
    drop(here);
    let mut there = tokio::time::timeout(PATIENCE, waiting).await.unwrap().unwrap();
    assert_eq!(there.cursor().await.unwrap(), Some(Cursor(json!(1))));
    there.publish(vec![message(4)], Cursor(json!(2))).await.unwrap();
    let values: Vec<_> = kafka.read(&format!("{name}.data")).into_iter().map(|record| record.value).collect();
    assert_eq!(values, [message(2).value, message(4).value]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_publisher_waits_while_as_many_records_wait_for_delivery_as_lag_max_says() {
    let Some(kafka) = kafka::shared() else { return };
    let (name, mut cluster) = (fresh("lag"), KafkaPlan::new(vec![kafka.address()]));
    cluster.lag_max = 50;
    let topic = open_in(cluster, &name, 1, "a").await;
    let mut publisher = topic.publisher().await.unwrap();
    let page = || (0..20).map(message).collect();
    // A page goes beyond it, the next one waits, however quickly it comes.
    for number in 1..=3 {
        publisher.publish(page(), Cursor(json!(number))).await.unwrap();
    }
    let held_back = publisher.held_back();
    assert_eq!(held_back.why(), None);
    let waiting = tokio::spawn(async move { publisher.publish(page(), Cursor(json!(4))).await.unwrap() });
    let why = tokio::task::block_in_place(|| wait_for("it to wait", || held_back.why()));
    assert!(why.ends_with(" records wait for delivery, and `lag-max` is 50"), "{why}");
    // A transaction's marker comes when it likes.
    let pages = async || (topic.ends().await.unwrap()[0].end + 1) / (20 + 1);
    assert_eq!(pages().await, 3);
    let mut consumer = topic.consumer(Window::default()).await.unwrap();
    assigned(consumer.as_mut(), 1).await;
    consumer.saver().save(0, save(0, 14, Vec::new())).await.unwrap();
    tokio::time::timeout(PATIENCE, waiting).await.expect("there is room").unwrap();
    assert_eq!((pages().await, held_back.why()), (4, None));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_generation_has_one_number_on_all_hosts_and_no_two_have_the_same() {
    let Some(kafka) = kafka::shared() else { return };
    let name = fresh("generations");
    let content = |what: &str| GenerationContent { stages: Vec::new(), bindings: json!({ "what": what }) };
    let (first, second) = (open(kafka, &name, 1, "a").await, open(kafka, &name, 1, "b").await);
    let (x, y) = (content("x"), content("y"));
    let (a, b) = tokio::join!(first.claim_generation(&x), second.claim_generation(&y));
    let (a, b) = (a.unwrap(), b.unwrap());
    assert_ne!(a, b);
    let newest = if a > b { &x } else { &y };
    assert_eq!(first.claim_generation(newest).await.unwrap(), a.max(b), "equal content adopts the newest");
    assert_eq!(second.claim_generation(newest).await.unwrap(), a.max(b));
    let known = second.generations().await.unwrap();
    assert_eq!(known, first.generations().await.unwrap());
    assert_eq!(known.iter().map(|(number, _)| *number).collect::<Vec<_>>(), (1..=a.max(b)).collect::<Vec<_>>());
    assert_eq!(known.iter().find(|(number, _)| *number == a).map(|(_, content)| content), Some(&x));
}

#[tokio::test(flavor = "multi_thread")]
async fn topics_are_made_as_they_must_be_and_what_cannot_be_is_refused_with_a_way_out() {
    let Some(kafka) = kafka::shared() else { return };
    let name = fresh("partitions");
    open(kafka, &name, 2, "a").await;
    let mut cluster = KafkaPlan::new(vec![kafka.address()]);
    let plan = |cluster: &KafkaPlan| TopicPlan {
        name: format!("{name}.data"),
        at: TopicAddress::Kafka(cluster.clone()),
        key: None,
        partitions: 1,
        retention: Retention { age: None, bytes: None },
        null_value: NullValue::Reject,
    };
    assert!(Topics::open(&plan(&cluster), &cluster, &name, "a").await.is_ok(), "as many as the topic has");
    cluster.partitions = Some(3);
    let Err(Error::Fatal(reason)) = Topics::open(&plan(&cluster), &cluster, &name, "a").await else { panic!("it is refused") };
    assert!(reason.contains("has 2 partitions") && reason.contains("partitions = 2"), "{reason}");
    // No broker keeps them for good: what stands under a key is replaced.
    tokio::task::block_in_place(|| {
        for side in ["positions", "control", "dead-letters"] {
            let policy = kafka.topic_property(&format!("{name}.{side}"), "cleanup.policy");
            assert_eq!(policy.as_deref(), Some("compact"), "{side}");
        }
    });
    (cluster.partitions, cluster.replication) = (None, Some(2));
    let copied = TopicPlan { name: "copied".to_owned(), ..plan(&cluster) };
    let Err(Error::Fatal(reason)) = Topics::open(&copied, &cluster, &name, "a").await else { panic!("there is one broker") };
    assert!(reason.starts_with("make topic `copied`: ") && reason.ends_with("set [topic] replication"), "{reason}");
    cluster.create = false;
    let other = TopicPlan { name: "absent".to_owned(), ..plan(&cluster) };
    let Err(Error::Fatal(reason)) = Topics::open(&other, &cluster, &name, "a").await else { panic!("it is refused") };
    assert!(reason.contains("`absent` does not exist") && reason.contains("create = true"), "{reason}");
    // What others publish without a key or value is a record like any other.
    kafka.publish(&format!("{name}.data"), [Publish::default()]);
}

/// Threads of this process.
fn threads(name: &str) -> BTreeSet<String> {
    let threads = std::fs::read_dir("/proc/self/task").unwrap().map(|thread| thread.unwrap());
    let named =
        |thread: &std::fs::DirEntry| std::fs::read_to_string(thread.path().join("comm")).is_ok_and(|comm| comm.trim() == name);
    threads.filter(named).map(|thread| thread.file_name().into_string().unwrap()).collect()
}

/// librdkafka pauses what a host keeps while other partitions come and go; where it goes on afterwards is not left to it.
#[tokio::test(flavor = "multi_thread")]
async fn a_rebalance_skips_nothing_of_the_partitions_that_stay() {
    const ROUNDS: usize = 8;
    let Some(kafka) = kafka::shared() else { return };
    let name = fresh("stays");
    let topic = open(kafka, &name, 3, "a").await;
    let window = Window { batch_records_max: 4, batches_ahead: 1, ..Window::default() };
    let before = threads("rdk:main");
    let mut consumer = topic.consumer(window).await.unwrap();
    assigned(consumer.as_mut(), 3).await;
    let (held, over) = (Arc::new(AtomicU32::new(3)), Arc::new(AtomicBool::new(false)));
    let publishing: Vec<_> = (0..4)
        .map(|number| {
            let (over, data) = (over.clone(), format!("{name}.data"));
            let producer: BaseProducer = kafka.config().set("transactional.id", format!("{name}-{number}")).create().unwrap();
            std::thread::spawn(move || {
                producer.init_transactions(PATIENCE).unwrap();
                while !over.load(Ordering::SeqCst) {
                    producer.begin_transaction().unwrap();
                    for partition in 0..3 {
                        let record = BaseRecord::<[u8], [u8]>::to(&data).partition(partition).payload(b"value");
                        producer.send(record).map_err(|(error, _)| error).unwrap();
                    }
                    producer.commit_transaction(PATIENCE).unwrap();
                }
            })
        })
        .collect();
    let other = std::thread::spawn({
        let (held, over, mut config, data) = (held.clone(), over.clone(), kafka.config(), format!("{name}.data"));
        config
            .set("group.id", &name)
            .set("partition.assignment.strategy", "cooperative-sticky")
            .set("enable.auto.commit", "false");
        config.set("session.timeout.ms", "3000").set("heartbeat.interval.ms", "100");
        move || {
            for _ in 0..ROUNDS {
                let other: BaseConsumer = config.create().unwrap();
                other.subscribe(&[&data]).unwrap();
                wait_for("a share", || {
                    let _ = other.poll(std::time::Duration::ZERO);
                    (other.assignment().unwrap().count() > 0).then_some(())
                });
                drop(other);
                wait_for("the first to have all", || (held.load(Ordering::SeqCst) == 3).then_some(()));
            }
            over.store(true, Ordering::SeqCst);
        }
    });
    // What else there is to do interrupts the client wherever it is.
    for _ in 0..2 {
        let over = over.clone();
        std::thread::spawn(move || while !over.load(Ordering::SeqCst) {});
    }
    for thread in threads("rdk:main").difference(&before) {
        let done = Command::new("chrt").args(["--idle", "--pid", "0", thread]).output().unwrap();
        assert!(done.status.success(), "{done:?}");
    }
    // What was read of each partition between two changes: from where, and the offsets.
    let mut open: BTreeMap<u32, (i64, Vec<i64>)> = (0..3).map(|partition| (partition, (0, Vec::new()))).collect();
    let mut stretches: Vec<(u32, i64, Vec<i64>)> = Vec::new();
    while !over.load(Ordering::SeqCst) {
        match next(consumer.as_mut()).await.unwrap() {
            Event::Assigned { partition, position, first, .. } => {
                open.insert(partition, (position.map_or(first, |position| position.next), Vec::new()));
                held.fetch_add(1, Ordering::SeqCst);
            }
            Event::Batch(batch) => {
                let (_, offsets) = open.get_mut(&batch.partition()).unwrap();
                offsets.extend_from_slice(batch.offsets());
                consumer.saver().settled(batch.partition(), batch.offsets().last().unwrap() + 1);
            }
            Event::Revoked { partition, release } => {
                let (first, offsets) = open.remove(&partition).unwrap();
                let end = offsets.last().map_or(first, |last| last + 1);
                consumer.saver().save(partition, save(first, end, Vec::new())).await.unwrap();
                stretches.push((partition, first, offsets));
                held.fetch_sub(1, Ordering::SeqCst);
                drop(release);
            }
            Event::End { .. } => {}
        }
    }
    other.join().unwrap();
    publishing.into_iter().for_each(|thread| thread.join().unwrap());
    consumer.close().await;
    stretches.extend(open.into_iter().map(|(partition, (first, offsets))| (partition, first, offsets)));
    let all = tokio::task::block_in_place(|| kafka.read(&format!("{name}.data")));
    let mut lost = 0;
    for (partition, first, offsets) in &stretches {
        let Some(last) = offsets.last() else { continue };
        let here = all.iter().filter(|record| record.partition == *partition && (*first..=*last).contains(&record.offset));
        lost += here.filter(|record| offsets.binary_search(&record.offset).is_err()).count();
    }
    assert_eq!(lost, 0, "of {} records in {} stretches", all.len(), stretches.len());
    assert!(stretches.len() > ROUNDS && all.len() > 100, "{} records in {} stretches", all.len(), stretches.len());
}
