//! The ingest leg over a real store: a page and its cursor are one, whatever happens in between.

use std::sync::Arc;
use std::time::Duration;

use tidemill::config::plan::{GeneratorPlan, Retention, SourceKind, SourcePlan, Trigger};
use tidemill::pipeline::ingest::{Ended, Error};
use tidemill::source;
use tidemill::source::generator::Seed;
use tidemill::stand_in::{Fault, Options};
use tidemill::topic::{self, Topic};

use crate::flaky::Flaky;
use crate::world::{World, parsed, plan, randomuser, stand_in, users};

fn generator(records_per_poll: u32, records: Option<u64>) -> SourcePlan {
    let plan = plan(SourceKind::Generator(GeneratorPlan { seed: "tidemill".to_owned() }), records_per_poll);
    SourcePlan { records, ..plan }
}

fn every(plan: SourcePlan, pause: Duration) -> SourcePlan {
    let mut plan = plan;
    plan.schedule.trigger = Trigger::Every(pause);
    plan
}

/// The first users of the generator.
fn generated(count: u64) -> Vec<Vec<u8>> {
    let seed = Seed::new("tidemill");
    let user = |number| {
        let mut text = Vec::new();
        seed.write_user(number, &mut text);
        text
    };
    (0..count).map(user).collect()
}

#[tokio::test]
async fn records_are_counted_over_restarts() {
    let world = World::new().await;
    assert_eq!(world.run(&generator(10, Some(25))).await, Ended::Reached);
    assert_eq!(world.values().await, generated(25), "a page is cut at the bound");
    assert_eq!(world.run(&generator(10, Some(25))).await, Ended::Reached);
    assert_eq!(world.values().await.len(), 25, "a restart adds none");
    assert_eq!(world.run(&generator(7, Some(60))).await, Ended::Reached);
    assert_eq!(world.values().await, generated(60), "raised, it goes on where it was");
}

#[tokio::test]
async fn a_page_cut_by_records_goes_on_in_its_middle() {
    let server = stand_in(Options::default()).await;
    let world = World::new().await;
    let mut plan = randomuser(&server.url(), 10);
    for (records, pages) in [(3, 1), (7, 1), (25, 3), (40, 4)] {
        plan.records = Some(records);
        assert_eq!(world.run(&plan).await, Ended::Reached);
        let expected = users(&server, 1..=pages, 10).await;
        assert_eq!(parsed(&world.values().await), expected[..records as usize]);
    }
    // Of another stream nothing was taken yet.
    let mut other = randomuser(&server.url(), 5);
    other.records = Some(43);
    plan.records = Some(42);
    assert_eq!(world.run(&plan).await, Ended::Reached);
    assert_eq!(world.run(&other).await, Ended::Reached);
    assert_eq!(parsed(&world.values().await)[42..], users(&server, 1..=1, 5).await[..1]);
}

#[tokio::test]
async fn every_record_has_its_key() {
    let world = World::new().await;
    world.run(&generator(50, Some(200))).await;
    for message in world.messages().await {
        let user: serde_json::Value = serde_json::from_slice(message.value.as_deref().unwrap()).unwrap();
        assert_eq!(message.key.as_deref(), user["login"]["uuid"].as_str().map(str::as_bytes));
    }
}

#[tokio::test]
async fn records_without_their_key_field_are_published_and_told() {
    let server = stand_in(Options::default()).await;
    let world = World::new().await;
    let mut plan = randomuser(&server.url(), 10);
    plan.records = Some(10);
    if let SourceKind::RandomUser(kind) = &mut plan.kind {
        kind.exc = vec!["login".to_owned()];
    }
    let leg = world.start(&plan);
    let reporter = leg.reporter.clone();
    assert_eq!(leg.ended().await.unwrap(), Ended::Reached);
    assert!(world.messages().await.iter().all(|message| message.key.is_none()));
    let notes = reporter.snapshot().source.unwrap().notes;
    assert_eq!(notes, ["10 of 10 records have no `login.uuid` and are published without a key"]);
}

#[tokio::test]
async fn trouble_of_the_topic_is_waited_out() {
    let world = World::new().await;
    let errors = [
        topic::Error::Transient("busy".to_owned()),
        topic::Error::Full("the disk is full".to_owned()),
        topic::Error::Transient("busy".to_owned()),
    ];
    let topic = Flaky::new(&world.topic, errors);
    let plan = generator(10, Some(50));
    let leg = world.start_with(&plan, source::open(&plan).unwrap(), Arc::new(topic), false);
    assert_eq!(leg.ended().await.unwrap(), Ended::Reached);
    assert_eq!(world.values().await, generated(50));
}

#[tokio::test]
async fn a_fenced_publisher_is_not_used_again() {
    let world = World::new().await;
    let topic = Flaky::new(&world.topic, [topic::Error::Transient("busy".to_owned()), topic::Error::Fenced]);
    let plan = generator(10, Some(50));
    let leg = world.start_with(&plan, source::open(&plan).unwrap(), Arc::new(topic.clone()), false);
    assert_eq!(leg.ended().await.unwrap(), Ended::Reached);
    assert_eq!(world.values().await, generated(50), "the page is fetched again from the cursor that was saved");
    assert_eq!(topic.publishers(), 2);
}

#[tokio::test]
async fn a_publisher_that_takes_over_goes_on_behind_the_last_page() {
    let world = World::new().await;
    let plan = every(generator(10, Some(30)), Duration::from_secs(3_600));
    let leg = world.start(&plan);
    leg.until("the first page", |status| status.polls == 1).await;
    // Another host's: the leg's publish is refused, so it asks again what is published.
    let mut other = world.topic.publisher().await.unwrap();
    let cursor = other.cursor().await.unwrap().unwrap();
    other.publish(Vec::new(), cursor).await.unwrap();
    assert_eq!(leg.hurried().await.unwrap(), Ended::Reached);
    assert_eq!(world.values().await, generated(30));
}

#[tokio::test]
async fn what_cannot_pass_ends_the_leg() {
    let world = World::new().await;
    let topic = Flaky::new(&world.topic, [topic::Error::Fatal("no such table".to_owned())]);
    let plan = generator(10, Some(50));
    let leg = world.start_with(&plan, source::open(&plan).unwrap(), Arc::new(topic), false);
    let reporter = leg.reporter.clone();
    assert!(matches!(leg.ended().await, Err(Error::Topic(topic::Error::Fatal(_)))));
    let status = reporter.snapshot().source.unwrap();
    assert_eq!((status.state.as_str(), status.last_error.as_deref()), ("failed", Some("publish: no such table")));
    assert!(world.values().await.is_empty());
}

#[tokio::test]
async fn pause_resume_and_poll_now() {
    let world = World::new().await;
    let plan = every(generator(10, None), Duration::from_secs(3_600));
    let leg = world.start(&plan);
    let waiting = leg.until("the first poll", |status| status.polls == 1 && status.state == "waiting").await;
    assert!(waiting.next_poll_ms.is_some());
    leg.handle.poll_now().await.unwrap();
    leg.until("a poll that was asked for", |status| status.polls == 2).await;
    leg.handle.pause().await.unwrap();
    let paused = leg.until("the pause", |status| status.state == "paused").await;
    assert_eq!(paused.next_poll_ms, None);
    leg.handle.poll_now().await.unwrap();
    leg.until("one poll in the pause, and the pause again", |status| status.polls == 3 && status.state == "paused").await;
    leg.handle.resume().await.unwrap();
    leg.until("to wait for the schedule", |status| status.state == "waiting").await;
    leg.drain.begin();
    let handle = leg.handle.clone();
    assert_eq!(leg.ended().await.unwrap(), Ended::Drained);
    assert_eq!(world.values().await, generated(30));
    assert!(handle.pause().await.is_err(), "nobody is there any more");
}

#[tokio::test]
async fn a_pause_holds_a_source_that_never_waits() {
    let world = World::new().await;
    let leg = world.start(&generator(10, None));
    leg.until("a few polls", |status| status.polls > 3).await;
    leg.handle.pause().await.unwrap();
    let polls = leg.until("the pause", |status| status.state == "paused").await.polls;
    assert_eq!(world.values().await, generated(polls * 10));
    leg.handle.resume().await.unwrap();
    leg.until("more polls", |status| status.polls > polls).await;
    leg.drain.begin();
    assert_eq!(leg.ended().await.unwrap(), Ended::Drained);
    let values = world.values().await;
    assert_eq!(values, generated(values.len() as u64));
}

#[tokio::test]
async fn a_pause_gives_up_a_poll_that_backs_off() {
    let server = stand_in(Options { faults: vec![Fault::TooManyRetryAfter.always()], ..Options::default() }).await;
    let world = World::new().await;
    let mut plan = randomuser(&server.url(), 10);
    plan.records = Some(10);
    let leg = world.start(&plan);
    leg.until("the back-off", |status| status.state == "backing off").await;
    leg.handle.pause().await.unwrap();
    leg.until("the pause", |status| status.state == "paused").await;
    server.set_faults([]);
    leg.handle.resume().await.unwrap();
    assert_eq!(leg.ended().await.unwrap(), Ended::Reached);
    let runs = world.runs().await;
    assert_eq!(runs.len(), 2);
    assert!(runs[0].result.contains("429") && runs[0].records == 0, "{runs:?}");
    assert_eq!((runs[1].result.as_str(), runs[1].records), ("ok", 10));
}

#[tokio::test]
async fn each_poll_leaves_a_run_record() {
    let server = stand_in(Options { faults: vec![Fault::Unavailable.times(2)], ..Options::default() }).await;
    let world = World::new().await;
    let mut plan = randomuser(&server.url(), 10);
    plan.records = Some(30);
    let before = jiff::Timestamp::now().as_millisecond();
    world.run(&plan).await;
    let runs = world.runs().await;
    let told: Vec<(&str, u64, u64, &str)> =
        runs.iter().map(|run| (run.what.as_str(), run.records, run.retries, run.result.as_str())).collect();
    let page = |number| format!("seed tidemill, page {number}");
    assert_eq!(told, [(&*page(1), 10, 2, "ok"), (&page(2), 10, 0, "ok"), (&page(3), 10, 0, "ok")]);
    assert!(runs.iter().all(|run| run.started_ms >= before && run.bytes > 10_000 && run.duration_ms > 0.0), "{runs:?}");
}

#[tokio::test]
async fn a_topic_without_room_holds_the_source_back_and_a_drain_gives_it_up() {
    // Nobody delivers, so nothing makes room.
    let world = World::with_retention(Retention { age: None, bytes: Some(40_000) }).await;
    let leg = world.start(&generator(10, None));
    let why = "what waits for delivery fills the topic's `retention` of 40000 bytes";
    leg.until("to be held back", |status| status.state == "held back" && status.last_error.as_deref() == Some(why)).await;
    let cursor = world.cursor().await.unwrap();
    leg.drain.begin();
    assert_eq!(leg.ended().await.unwrap(), Ended::Drained);
    let values = world.values().await;
    assert_eq!(values, generated(values.len() as u64));
    assert!(!values.is_empty() && values.len() < 60);
    assert_eq!(world.cursor().await.unwrap(), cursor, "the cursor stands with what is published");
    assert_eq!(cursor["at"]["next"], values.len());
}

#[tokio::test]
async fn a_drain_ends_a_wait_at_once() {
    let world = World::new().await;
    let leg = world.start(&every(generator(10, None), Duration::from_secs(3_600)));
    leg.until("the first page", |status| status.polls == 1).await;
    leg.drain.begin();
    assert_eq!(leg.ended().await.unwrap(), Ended::Drained);
}

#[tokio::test]
async fn the_time_of_the_schedule_ends_it() {
    let world = World::new().await;
    let mut plan = every(generator(10, None), Duration::from_millis(1));
    plan.schedule.run_for = Some(Duration::from_millis(30));
    let leg = world.start(&plan);
    assert_eq!(leg.ended().await.unwrap(), Ended::TimeUp);
    let values = world.values().await;
    assert_eq!(values, generated(values.len() as u64));
    assert!(!values.is_empty());
}

#[tokio::test]
async fn a_cursor_that_cannot_be_read_stops_instead_of_starting_over() {
    let world = World::new().await;
    let mut publisher = world.topic.publisher().await.unwrap();
    publisher.publish(Vec::new(), topic::Cursor(serde_json::json!({ "page": 3 }))).await.unwrap();
    drop(publisher);
    assert!(matches!(world.start(&generator(10, Some(10))).ended().await, Err(Error::Cursor(_))));
}

#[tokio::test]
async fn the_generator_stands_in_with_the_same_schedule() {
    let plan = every(randomuser("http://127.0.0.1:9/api/", 10), Duration::from_secs(7));
    let stand_in = source::stand_in_plan(&plan);
    assert!(matches!(&stand_in.kind, SourceKind::Generator(kind) if kind.seed == "tidemill"));
    assert_eq!(stand_in.records_per_poll, 10);
    assert!(matches!(stand_in.schedule.trigger, Trigger::Every(pause) if pause == Duration::from_secs(7)));
    assert!(source::open(&plan).unwrap().reachable().await.is_err());
}
