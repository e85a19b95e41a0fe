//! The client that reads is of no use any more. A real one is made so: to a member of a fixed name, the group prefers whoever joins by that
//! name later, and fences the one before for good. A pipeline file cannot give such a name; it is how one comes by a fatal error.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer as _};
use tidemill::config::plan::KafkaPlan;
use tidemill::topic::{Error, Event, Topic as _, Window};

use crate::kafka;
use crate::support::PATIENCE;
use crate::topic::{assigned, fresh, open_in, position, publish, read, save};

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_is_broken_for_good_is_made_anew_and_nothing_is_lost() {
    let Some(kafka) = kafka::shared() else { return };
    let (name, mut cluster) = (fresh("broken"), KafkaPlan::new(vec![kafka.address()]));
    cluster.properties.push(("group.instance.id".to_owned(), "one".to_owned().into()));
    let topic = open_in(cluster, &name, 2, "a").await;
    publish(&topic, 0..100).await;
    let mut consumer = topic.consumer(Window { batch_records_max: 10, ..Window::default() }).await.unwrap();
    assigned(consumer.as_mut(), 2).await;
    let saver = consumer.saver();
    saver.save(0, save(0, 7, Vec::new())).await.unwrap();

    let mut config = kafka.config();
    config.set("group.id", &name).set("group.instance.id", "one").set("partition.assignment.strategy", "cooperative-sticky");
    config.set("session.timeout.ms", "3000").set("heartbeat.interval.ms", "50").set("enable.auto.commit", "false");
    let over = AtomicBool::new(false);
    let (told, revoked) = std::thread::scope(|scope| {
        let other: BaseConsumer = config.create().unwrap();
        other.subscribe(&[&format!("{name}.data")]).unwrap();
        let over = &over;
        scope.spawn(move || {
            // Until it is fenced in its turn.
            while !over.load(Ordering::SeqCst) && other.client().fatal_error().is_none() {
                let _ = other.poll(Duration::from_millis(10));
            }
        });
        let told = tokio::task::block_in_place(|| {
            tokio::runtime::Handle::current().block_on(async {
                let mut revoked = Vec::new();
                let told = async {
                    loop {
                        match consumer.next().await {
                            Err(Error::Transient(reason)) if reason.contains("made anew") => return reason,
                            Err(Error::Transient(_)) => {}
                            Ok(Event::Revoked { partition, release }) => {
                                revoked.push(partition);
                                drop(release);
                            }
                            Ok(_) => {}
                            Err(error) => panic!("{error}"),
                        }
                    }
                };
                (tokio::time::timeout(PATIENCE, told).await, revoked)
            })
        });
        over.store(true, Ordering::SeqCst);
        told
    });
    let told = told.expect("the client is made anew");
    println!("{told}");
    assert!(told.contains("fenced"), "{told}");
    assert_eq!(revoked, [0, 1], "they are given up first");
    assert!(matches!(saver.save(0, save(7, 9, Vec::new())).await, Err(Error::Fenced)), "and saved no more");

    publish(&topic, 100..150).await;
    let again = assigned(consumer.as_mut(), 2).await;
    assert_eq!((&again[&0], &again[&1]), (&(Some(position(7)), None), &(None, None)));
    let found = read(&topic, consumer.as_mut()).await;
    let all = tokio::task::block_in_place(|| kafka.read(&format!("{name}.data")));
    assert_eq!(all.len(), 150);
    for (partition, from) in [(0, 7), (1, 0)] {
        let there = all.iter().filter(|record| record.partition == partition && record.offset >= from);
        let read: Vec<i64> = found[&partition].iter().map(|(offset, _)| *offset).collect();
        assert_eq!(read, there.map(|record| record.offset).collect::<Vec<_>>(), "of partition {partition}");
    }
    consumer.saver().save(0, save(7, 20, Vec::new())).await.unwrap();
}
