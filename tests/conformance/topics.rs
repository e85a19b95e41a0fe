//! What pipeline and source rely on in a topic.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde_json::json;
use tidemill::record::{Message, Place};
use tidemill::topic::{
    Boundary, Consumer, Cursor, DeadLetter, Error, Event, Figures, Position, Published, Publisher, Save, Saver, StateChanges,
    StoredState, Topic, Window,
};

/// A reader that waits so long for the next batch settles one of those that it has.
const SILENCE: Duration = Duration::from_millis(30);

type Checked = Result<(), String>;
/// Doubles stand between the check and a real topic.
type Flaw = fn(Arc<dyn Topic>) -> Subject;

/// The parts of a topic that the list exercises.
struct Subject {
    topic: Arc<dyn Topic>,
    loses_cursor: bool,
    loses_position: bool,
    keeps_accepted: bool,
    takes_late_saves: bool,
    settles_what_it_reads: bool,
}

fn sound(topic: Arc<dyn Topic>) -> Subject {
    Subject {
        topic,
        loses_cursor: false,
        loses_position: false,
        keeps_accepted: false,
        takes_late_saves: false,
        settles_what_it_reads: false,
    }
}

impl Subject {
    async fn publisher(&self) -> Box<dyn Publisher> {
        let publisher = self.topic.publisher().await.unwrap();
        if self.loses_cursor { Box::new(LosesCursor(publisher)) } else { publisher }
    }

    /// A consumer that holds the topic's one partition.
    async fn consumer(&self) -> Box<dyn Consumer> {
        self.consumer_within(Window::default()).await
    }

    async fn consumer_within(&self, window: Window) -> Box<dyn Consumer> {
        let mut consumer = self.topic.consumer(window).await.unwrap();
        match consumer.next().await.unwrap() {
            Event::Assigned { partition: 0, .. } if self.settles_what_it_reads => Box::new(SettlesWhatItReads(consumer)),
            Event::Assigned { partition: 0, .. } => consumer,
            _ => panic!("an assignment comes first"),
        }
    }

    fn saver(&self, consumer: &dyn Consumer) -> Arc<dyn Saver> {
        let saver = consumer.saver();
        Arc::new(Flawed {
            saver,
            loses_position: self.loses_position,
            keeps_accepted: self.keeps_accepted,
            takes_late_saves: self.takes_late_saves,
        })
    }
}

struct LosesCursor(Box<dyn Publisher>);

#[async_trait]
impl Publisher for LosesCursor {
    async fn cursor(&mut self) -> Result<Option<Cursor>, Error> {
        Ok(None)
    }

    async fn publish(&mut self, page: Vec<Message>, cursor: Cursor) -> Result<Published, Error> {
        self.0.publish(page, cursor).await
    }
}

struct SettlesWhatItReads(Box<dyn Consumer>);

#[async_trait]
impl Consumer for SettlesWhatItReads {
    async fn next(&mut self) -> Result<Event, Error> {
        let event = self.0.next().await?;
        if let Event::Batch(batch) = &event {
            let next = batch.offsets().last().unwrap() + 1;
            self.0.saver().save(0, save(next, next..next, Vec::new())).await?;
        }
        Ok(event)
    }

    fn saver(&self) -> Arc<dyn Saver> {
        self.0.saver()
    }

    async fn close(&mut self) {
        self.0.close().await;
    }
}

struct Flawed {
    saver: Arc<dyn Saver>,
    loses_position: bool,
    keeps_accepted: bool,
    takes_late_saves: bool,
}

#[async_trait]
impl Saver for Flawed {
    async fn save(&self, partition: u32, mut save: Save) -> Result<(), Error> {
        if self.loses_position {
            return Ok(());
        }
        if self.keeps_accepted {
            save.settled = save.settled.start..save.settled.start;
        }
        let saved = self.saver.save(partition, save).await;
        if self.takes_late_saves { Ok(()) } else { saved }
    }

    async fn state(&self, partition: u32) -> Result<StoredState, Error> {
        self.saver.state(partition).await
    }
}

fn save(next: i64, settled: std::ops::Range<i64>, dead_letters: Vec<DeadLetter>) -> Save {
    let boundaries = vec![Boundary { first: 0, generation: 1, time: 1 }];
    Save {
        position: Position { next, reach: next, boundaries, figures: Figures::default() },
        settled,
        dead_letters,
        state: StateChanges::from([("s".to_owned(), [(b"k".to_vec(), Some(next.to_string().into_bytes()))].into())]),
        with: Vec::new(),
    }
}

fn letter(offset: i64) -> DeadLetter {
    DeadLetter {
        place: Place { partition: 0, offset },
        key: None,
        value: Some(b"{".to_vec()),
        headers: vec![("h".to_owned(), Some(vec![0, 255])), ("none".to_owned(), None)],
        timestamp: 5,
        reason: "no JSON".to_owned(),
        stage: None,
        digest: None,
        generation: 1,
        write_time: 7,
        host: "here".to_owned(),
    }
}

async fn publish_three(subject: &Subject) {
    let page = (0..3).map(|n| Message { value: Some(vec![n]), ..Message::default() }).collect();
    subject.publisher().await.publish(page, Cursor(json!(2))).await.unwrap();
}

async fn first_offset_of(consumer: &mut dyn Consumer) -> i64 {
    loop {
        match consumer.next().await.unwrap() {
            Event::Batch(batch) => return batch.offsets()[0],
            Event::End { next, .. } => return next,
            _ => {}
        }
    }
}

fn expect<T: PartialEq + std::fmt::Debug>(what: &str, found: T, wanted: T) -> Checked {
    if found == wanted { Ok(()) } else { Err(format!("{what}: {found:?}, not {wanted:?}")) }
}

async fn cursor_is_published_with_its_page(subject: Subject) -> Checked {
    publish_three(&subject).await;
    let mut publisher = subject.publisher().await;
    expect("cursor", publisher.cursor().await.unwrap(), Some(Cursor(json!(2))))
}

async fn a_new_consumer_starts_at_the_saved_position(subject: Subject) -> Checked {
    publish_three(&subject).await;
    let consumer = subject.consumer().await;
    subject.saver(consumer.as_ref()).save(0, save(2, 0..2, Vec::new())).await.unwrap();
    drop(consumer);
    let mut consumer = subject.consumer().await;
    expect("first offset", first_offset_of(consumer.as_mut()).await, 2)?;
    let kept = StoredState::from([("s".to_owned(), [(b"k".to_vec(), b"2".to_vec())].into())]);
    expect("state", consumer.saver().state(0).await.unwrap(), kept)
}

async fn an_accepted_redelivery_removes_the_dead_letter(subject: Subject) -> Checked {
    publish_three(&subject).await;
    let consumer = subject.consumer().await;
    let saver = subject.saver(consumer.as_ref());
    saver.save(0, save(2, 0..2, vec![letter(1)])).await.unwrap();
    expect("dead letters", subject.topic.dead_letters(None, 10).await.unwrap(), vec![letter(1)])?;
    saver.save(0, save(2, 0..2, Vec::new())).await.unwrap();
    expect("dead letters", subject.topic.dead_letter_count().await.unwrap(), 0)
}

async fn a_save_of_an_earlier_assignment_is_refused(subject: Subject) -> Checked {
    publish_three(&subject).await;
    let earlier = subject.consumer().await;
    let _later = subject.consumer().await;
    match subject.saver(earlier.as_ref()).save(0, save(3, 0..3, Vec::new())).await {
        Err(Error::Fenced) => expect("positions", subject.topic.positions().await.unwrap(), Vec::new()),
        other => Err(format!("the save was answered with {other:?}")),
    }
}

/// Invariant 8, at each moment of the way through a topic that holds far more.
async fn no_more_than_the_window_is_handed_out_before_it_is_settled(subject: Subject) -> Checked {
    const RECORDS: usize = 80;
    let window = Window { batch_records_max: 2, batches_ahead: 1, ..Window::default() };
    let page = (0..RECORDS).map(|n| Message { value: Some(vec![n as u8]), ..Message::default() }).collect();
    subject.publisher().await.publish(page, Cursor(json!(RECORDS))).await.unwrap();
    let mut consumer = subject.consumer_within(window).await;
    let saver = consumer.saver();
    // Rows and the offset behind the last one, of batches that are not settled.
    let mut open: VecDeque<(usize, i64)> = VecDeque::new();
    let mut settled = 0;
    while settled < RECORDS {
        // As long as nothing comes unless something is settled, that is what a topic does which keeps to its window.
        match tokio::time::timeout(SILENCE, consumer.next()).await {
            Ok(Ok(Event::Batch(batch))) => open.push_back((batch.rows(), batch.offsets().last().unwrap() + 1)),
            Ok(Ok(_)) => {}
            Ok(Err(error)) => return Err(error.to_string()),
            Err(_) => {
                if let Some((rows, next)) = open.pop_front() {
                    saver.save(0, save(next, next..next, Vec::new())).await.unwrap();
                    settled += rows;
                }
            }
        }
        let out: usize = open.iter().map(|(rows, _)| rows).sum();
        if open.len() > window.batches_ahead + 1 || out > window.batch_records_max * (window.batches_ahead + 1) {
            return Err(format!("{out} records in {} batches are handed out", open.len()));
        }
    }
    Ok(())
}

type Check = fn(Subject) -> Pin<Box<dyn Future<Output = Checked>>>;

/// Checks topics that are made by `fresh`, empty and of one partition, one for each check and double.
pub async fn list<Made: Future<Output = Arc<dyn Topic>>>(mut fresh: impl FnMut() -> Made) {
    let list: [(&str, Check, Flaw); 5] = [
        ("cursor", |s| Box::pin(cursor_is_published_with_its_page(s)), |topic| Subject { loses_cursor: true, ..sound(topic) }),
        (
            "position",
            |s| Box::pin(a_new_consumer_starts_at_the_saved_position(s)),
            |topic| Subject { loses_position: true, ..sound(topic) },
        ),
        (
            "accepted",
            |s| Box::pin(an_accepted_redelivery_removes_the_dead_letter(s)),
            |topic| Subject { keeps_accepted: true, ..sound(topic) },
        ),
        (
            "fenced",
            |s| Box::pin(a_save_of_an_earlier_assignment_is_refused(s)),
            |topic| Subject { takes_late_saves: true, ..sound(topic) },
        ),
        (
            "window",
            |s| Box::pin(no_more_than_the_window_is_handed_out_before_it_is_settled(s)),
            |topic| Subject { settles_what_it_reads: true, ..sound(topic) },
        ),
    ];
    for (name, check, flaw) in list {
        assert_eq!(check(sound(fresh().await)).await, Ok(()), "{name}");
        assert!(check(flaw(fresh().await)).await.is_err(), "the double passes {name}");
    }
}
