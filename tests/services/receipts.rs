//! What became of dead letters by wish, as the control topic keeps it.

use std::collections::BTreeMap;

use tidemill::record::Place;
use tidemill::topic::{DeadLetter, Resolution, Topic, Window};

use crate::kafka;
use crate::topic::{assigned, fresh, letter, open, publish, save};

#[tokio::test(flavor = "multi_thread")]
async fn a_receipt_stays_as_long_as_its_record_and_that_of_a_replay_until_it_ends() {
    let Some(kafka) = kafka::shared() else { return };
    let name = fresh("receipts");
    let topic = open(kafka, &name, 1, "a").await;
    publish(&topic, 0..40).await;
    let mut consumer = topic.consumer(Window::default()).await.unwrap();
    assigned(consumer.as_mut(), 1).await;
    let place = |offset| Place { partition: 0, offset };
    let letters = [3, 5, 12, 14].map(|offset| DeadLetter { place: place(offset), ..letter(offset, None) });
    consumer.saver().save(0, save(0, 20, letters.to_vec())).await.unwrap();
    for (offset, how) in [(3, Resolution::Discarded), (12, Resolution::Replayed { generation: 1 }), (14, Resolution::Discarded)] {
        assert!(topic.resolve_dead_letter(place(offset), how, Vec::new()).await.unwrap());
    }
    topic.begin_replay(place(5), 1).await.unwrap();
    tokio::task::block_in_place(|| kafka.delete_records(&format!("{name}.data"), &[(0, 13)]));
    // The host knows what the topic holds, and what the control topic says.
    assert_eq!(topic.ends().await.unwrap()[0].first, 13);
    assert_eq!(topic.replay_generation(place(5)).await.unwrap(), Some(1));
    consumer.saver().save(0, save(20, 21, Vec::new())).await.unwrap();
    let control = tokio::task::block_in_place(|| kafka.read(&format!("{name}.control")));
    let newest: BTreeMap<String, bool> = control
        .into_iter()
        .filter_map(|record| Some((String::from_utf8(record.key?).ok()?, record.value.is_some())))
        .filter(|(key, _)| key.starts_with("receipt/"))
        .collect();
    let expected = [("receipt/0/12", false), ("receipt/0/14", true), ("receipt/0/3", false), ("receipt/0/5", true)];
    assert_eq!(newest, expected.map(|(key, kept)| (key.to_owned(), kept)).into());
    // It is finished under the generation that it began with.
    assert!(topic.resolve_dead_letter(place(5), Resolution::Replayed { generation: 1 }, Vec::new()).await.unwrap());
    assert_eq!(topic.replay_generation(place(5)).await.unwrap(), None);
}
