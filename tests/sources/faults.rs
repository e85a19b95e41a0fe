//! Every fault of a service: the leg backs off and says why, the cursor stays with the records, and when the fault is over every record
//! is there exactly once.

use std::time::Duration;

use tidemill::pipeline::ingest::Ended;
use tidemill::source::{Error, Source};
use tidemill::stand_in::{Fault, Options};

use crate::world::{World, parsed, randomuser, stand_in, users};

const PAGE: u32 = 10;

/// One page without trouble, then the fault until it was met twice, then two more pages.
async fn survives(fault: Fault, reason: &str) {
    let server = stand_in(Options::default()).await;
    let world = World::new().await;
    let mut plan = randomuser(&server.url(), PAGE);
    plan.records = Some(10);
    assert_eq!(world.run(&plan).await, Ended::Reached);
    let (before, cursor) = (world.values().await, world.cursor().await);
    assert_eq!(before.len(), 10);

    if matches!(fault, Fault::Timeout | Fault::Drip) {
        plan.timeout = Duration::from_millis(60);
    }
    plan.records = Some(30);
    server.set_faults([fault.always()]);
    let leg = world.start(&plan);
    let met = leg.until("two attempts", |status| {
        // Whoever is asked to wait for longer is not tried again by itself.
        status.retries >= if matches!(fault, Fault::TooManyRetryAfter | Fault::TooManyRetryDate) { 1 } else { 2 }
    });
    let met = met.await;
    let error = met.last_error.expect("the status says why");
    assert!(error.contains(reason), "{fault:?}: {error}");
    assert_eq!(world.values().await, before, "{fault:?}: nothing is published");
    assert_eq!(world.cursor().await, cursor, "{fault:?}: the cursor stays");

    server.set_faults([]);
    // The time limit was short for the fault's sake.
    if plan.timeout < Duration::from_secs(1) {
        leg.drain.begin();
        assert_eq!(leg.ended().await.unwrap(), Ended::Drained);
        plan.timeout = Duration::from_secs(20);
        assert_eq!(world.run(&plan).await, Ended::Reached);
    } else {
        assert_eq!(leg.hurried().await.unwrap(), Ended::Reached);
    }
    assert_eq!(parsed(&world.values().await), users(&server, 1..=3, PAGE).await, "{fault:?}: every record once, in order");
    let runs = world.runs().await;
    assert_eq!(runs.iter().map(|run| run.records).sum::<u64>(), 30, "{fault:?}");
    assert!(runs.iter().any(|run| run.retries > 0), "{fault:?}: {runs:?}");
}

macro_rules! survives {
    ($($name:ident: $fault:ident, $reason:literal;)*) => {$(
        #[tokio::test]
        async fn $name() {
            survives(Fault::$fault, $reason).await;
        }
    )*};
}

survives! {
    too_many_requests: TooMany, "429 Too Many Requests (the stand-in was told to fail)";
    too_many_requests_with_retry_after: TooManyRetryAfter, "429 Too Many Requests";
    too_many_requests_until_a_date: TooManyRetryDate, "429 Too Many Requests";
    a_broken_server: Broken, "answered 500 Internal Server Error";
    an_unavailable_server: Unavailable, "answered 503 Service Unavailable";
    a_missing_secret: Unauthorized, "look at the secrets";
    a_wrong_address: NotFound, "look at [source] url";
    a_connection_that_ends_before_an_answer: Refuse, "ask http://127.0.0.1:";
    no_answer: Timeout, "no answer from";
    a_slow_drip: Drip, "was not complete within 60ms";
    a_body_cut_short: Cut, "is cut short after";
    a_page_for_browsers: Html, "a page for browsers instead of JSON";
    a_gzip_bomb: GzipBomb, "inflates to more than 4194304 bytes";
    an_error_with_status_200: Error200, "says: the stand-in was told to fail";
    no_users: Empty, "0 users came instead of 10";
    a_redirect_loop: RedirectLoop, "redirects in a loop";
    a_redirect_to_another_host: RedirectAway, "redirects to another host, http://elsewhere.invalid/api/";
    broken_json: BadJson, "is not the JSON it should be";
    text_that_is_not_utf_8: NotUtf8, "is not the JSON it should be";
    another_page_than_was_asked_for: WrongPage, "page 3 instead of seed tidemill, page 2";
    a_list_that_holds_more_than_objects: NotObjects, "results[5] of";
}

#[tokio::test]
async fn a_refused_connection_backs_off_until_somebody_listens() {
    let server = stand_in(Options::default()).await;
    let (address, url) = (server.address(), server.url());
    drop(server);
    let world = World::new().await;
    let mut plan = randomuser(&url, PAGE);
    plan.records = Some(20);
    let leg = world.start(&plan);
    let met = leg.until("two attempts", |status| status.retries >= 2).await;
    assert_eq!(met.state, "backing off");
    assert!(met.last_error.unwrap().contains("refused"));
    assert!(met.next_poll_ms.is_some());
    assert_eq!(world.cursor().await, None);

    let listener = crate::world::until("the port to be free again", || std::net::TcpListener::bind(address).ok()).await;
    listener.set_nonblocking(true).unwrap();
    let server = tidemill::stand_in::serve(tokio::net::TcpListener::from_std(listener).unwrap(), Options::default()).unwrap();
    assert_eq!(leg.hurried().await.unwrap(), Ended::Reached);
    assert_eq!(parsed(&world.values().await), users(&server, 1..=2, PAGE).await);
}

#[tokio::test]
async fn fewer_users_than_asked_are_asked_for_again() {
    let server = stand_in(Options { faults: vec![Fault::Fewer.times(2)], ..Options::default() }).await;
    let world = World::new().await;
    let mut plan = randomuser(&server.url(), PAGE);
    plan.records = Some(20);
    assert_eq!(world.start(&plan).hurried().await.unwrap(), Ended::Reached);
    assert_eq!(parsed(&world.values().await), users(&server, 1..=2, PAGE).await, "no user of the page is lost");
    assert_eq!(world.runs().await[0].retries, 2);
}

#[tokio::test]
async fn fewer_users_again_and_again_are_taken_with_a_note() {
    let server = stand_in(Options { faults: vec![Fault::Fewer.times(4)], ..Options::default() }).await;
    let world = World::new().await;
    let mut plan = randomuser(&server.url(), PAGE);
    plan.records = Some(5);
    let leg = world.start(&plan);
    let reporter = leg.reporter.clone();
    assert_eq!(leg.hurried().await.unwrap(), Ended::Reached);
    assert_eq!(parsed(&world.values().await), users(&server, 1..=1, PAGE).await[..5]);
    let notes = reporter.snapshot().source.unwrap().notes;
    assert!(notes.iter().any(|note| note == "5 users came instead of 10, 4 times over: taken as the page"), "{notes:?}");
}

#[tokio::test]
async fn repeated_ids_are_carried_and_told() {
    let server = stand_in(Options { faults: vec![Fault::Duplicates.times(1)], ..Options::default() }).await;
    let world = World::new().await;
    let mut plan = randomuser(&server.url(), PAGE);
    plan.records = Some(10);
    let leg = world.start(&plan);
    let reporter = leg.reporter.clone();
    assert_eq!(leg.ended().await.unwrap(), Ended::Reached);
    assert_eq!(world.values().await.len(), 10);
    let notes = reporter.snapshot().source.unwrap().notes;
    assert_eq!(notes, ["5 users of one page have the login.uuid of another"]);
}

#[tokio::test]
async fn an_answer_that_comes_compressed_all_the_same_is_inflated() {
    let server = stand_in(Options { faults: vec![Fault::Gzip.always()], ..Options::default() }).await;
    let world = World::new().await;
    let mut plan = randomuser(&server.url(), PAGE);
    plan.records = Some(10);
    assert_eq!(world.run(&plan).await, Ended::Reached);
    server.set_faults([]);
    assert_eq!(parsed(&world.values().await), users(&server, 1..=1, PAGE).await);
}

#[tokio::test]
async fn an_answer_beyond_the_limit_is_not_read_to_its_end() {
    let server = stand_in(Options::default()).await;
    let mut plan = randomuser(&server.url(), 100);
    plan.response_bytes_max = 20_000;
    let mut source = tidemill::source::open(&plan).unwrap();
    let error = source.fetch(None, 100).await.unwrap_err();
    assert!(error.to_string().ends_with("is larger than 20000 bytes"), "{error}");
}

#[tokio::test]
async fn past_the_services_rate_limit_it_waits_for_the_next_window() {
    let options = Options { users_max: 25, window: Duration::from_millis(150), ..Options::default() };
    let server = stand_in(options).await;
    let world = World::new().await;
    let mut plan = randomuser(&server.url(), PAGE);
    plan.records = Some(60);
    assert_eq!(world.start(&plan).ended().await.unwrap(), Ended::Reached);
    let runs = world.runs().await;
    assert_eq!(runs.len(), 6);
    assert!(runs.iter().any(|run| run.retries > 0), "the limit was met: {runs:?}");
    assert!(runs.iter().all(|run| run.result == "ok"));
    let clean = stand_in(Options::default()).await;
    assert_eq!(parsed(&world.values().await), users(&clean, 1..=6, PAGE).await);
}

#[tokio::test]
async fn the_wish_of_retry_after_is_honoured() {
    let server = stand_in(Options { faults: vec![Fault::TooManyRetryAfter.always()], ..Options::default() }).await;
    let mut source = tidemill::source::open(&randomuser(&server.url(), PAGE)).unwrap();
    let Err(Error::Retry { after, .. }) = source.fetch(None, PAGE).await else { panic!("no page") };
    assert_eq!(after, Some(Duration::from_secs(1)));
    server.set_faults([Fault::TooManyRetryDate.always()]);
    let Err(Error::Retry { after: Some(after), .. }) = source.fetch(None, PAGE).await else { panic!("no page") };
    assert!(after <= Duration::from_secs(2) && after > Duration::from_millis(500), "{after:?}");
    server.set_faults([Fault::TooMany.always()]);
    assert!(matches!(source.fetch(None, PAGE).await, Err(Error::Retry { after: None, .. })));

    server.set_faults([Fault::TooManyRetryAfter.always()]);
    let world = World::new().await;
    let asked = jiff::Timestamp::now().as_millisecond();
    let leg = world.start(&randomuser(&server.url(), PAGE));
    let status = leg.until("a back-off", |status| status.state == "backing off").await;
    assert!(status.next_poll_ms.unwrap() >= asked + 1_000);
    leg.drain.begin();
    assert_eq!(leg.ended().await.unwrap(), Ended::Drained);
    let runs = world.runs().await;
    assert!(runs[0].result.contains("429"), "a poll that was given up is told: {runs:?}");
}

#[tokio::test]
async fn whether_it_can_be_reached_is_known_in_time() {
    let server = stand_in(Options::default()).await;
    let mut plan = randomuser(&server.url(), PAGE);
    plan.timeout = Duration::from_millis(100);
    let mut source: Box<dyn Source> = tidemill::source::open(&plan).unwrap();
    source.reachable().await.unwrap();
    server.set_faults([Fault::Timeout.always()]);
    assert!(source.reachable().await.unwrap_err().to_string().contains("no answer within"));
    server.set_faults([Fault::Refuse.always()]);
    assert!(source.reachable().await.is_err());
    assert!(server.asked().is_empty(), "no user was asked for");
}
