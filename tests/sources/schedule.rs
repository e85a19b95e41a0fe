//! When polls happen, without a clock.

use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use tidemill::config::plan::{Schedule, Trigger};
use tidemill::schedule::{Clock, Next, Timetable};

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn timetable(trigger: Trigger, run_for: Option<Duration>, jitter: Duration, start: &str) -> Timetable {
    Timetable::new(&Schedule { trigger, run_for, jitter }, TimeZone::get("Europe/Berlin").unwrap(), at(start)).unwrap()
}

fn cron(pattern: &str, every: u64) -> Trigger {
    Trigger::Cron { pattern: pattern.to_owned(), every: seconds(every) }
}

#[test]
fn every_polls_at_once_and_then_keeps_its_rate() {
    let mut table = timetable(Trigger::Every(seconds(10)), None, Duration::ZERO, "2026-01-01T00:00:00Z");
    assert_eq!(table.next(at("2026-01-01T00:00:00Z"), 0.9), Next::At(at("2026-01-01T00:00:00Z")));
    table.polled(at("2026-01-01T00:00:00Z"));
    assert_eq!(table.next(at("2026-01-01T00:00:03Z"), 0.9), Next::At(at("2026-01-01T00:00:10Z")));
    // Woken a little late: the next one is not later for it.
    table.polled(at("2026-01-01T00:00:10.25Z"));
    assert_eq!(table.next(at("2026-01-01T00:00:11Z"), 0.9), Next::At(at("2026-01-01T00:00:20Z")));
}

#[test]
fn what_fell_due_while_a_poll_was_running_is_one_poll_at_once() {
    let mut table = timetable(Trigger::Every(seconds(10)), None, Duration::ZERO, "2026-01-01T00:00:00Z");
    table.polled(at("2026-01-01T00:00:00Z"));
    assert_eq!(table.next(at("2026-01-01T00:01:05Z"), 0.0), Next::At(at("2026-01-01T00:01:05Z")));
    table.polled(at("2026-01-01T00:01:05Z"));
    assert_eq!(table.next(at("2026-01-01T00:01:06Z"), 0.0), Next::At(at("2026-01-01T00:01:15Z")));
}

#[test]
fn asking_changes_nothing() {
    let table = timetable(Trigger::Every(seconds(10)), Some(seconds(60)), seconds(5), "2026-01-01T00:00:00Z");
    let now = at("2026-01-01T00:00:00Z");
    assert_eq!(table.next(now, 0.5), table.next(now, 0.5));
}

#[test]
fn jitter_is_added_to_each_wait() {
    let mut table = timetable(Trigger::Every(seconds(10)), None, seconds(4), "2026-01-01T00:00:00Z");
    table.polled(at("2026-01-01T00:00:00Z"));
    let now = at("2026-01-01T00:00:01Z");
    assert_eq!(table.next(now, 0.0), Next::At(at("2026-01-01T00:00:10Z")));
    assert_eq!(table.next(now, 0.5), Next::At(at("2026-01-01T00:00:12Z")));
    assert_eq!(table.next(now, 1.0), Next::At(at("2026-01-01T00:00:14Z")));
}

#[test]
fn a_run_of_every_ends_after_its_time() {
    let mut table = timetable(Trigger::Every(seconds(10)), Some(seconds(25)), Duration::ZERO, "2026-01-01T00:00:00Z");
    table.polled(at("2026-01-01T00:00:00Z"));
    table.polled(at("2026-01-01T00:00:10Z"));
    assert_eq!(table.next(at("2026-01-01T00:00:11Z"), 0.0), Next::At(at("2026-01-01T00:00:20Z")));
    table.polled(at("2026-01-01T00:00:20Z"));
    assert_eq!(table.next(at("2026-01-01T00:00:21Z"), 0.0), Next::Ended);
}

#[test]
fn no_pause_polls_again_and_again() {
    let mut table = timetable(Trigger::Every(Duration::ZERO), Some(seconds(1)), Duration::ZERO, "2026-01-01T00:00:00Z");
    table.polled(at("2026-01-01T00:00:00Z"));
    assert_eq!(table.next(at("2026-01-01T00:00:00.5Z"), 0.0), Next::At(at("2026-01-01T00:00:00.5Z")));
    table.polled(at("2026-01-01T00:00:00.5Z"));
    assert_eq!(table.next(at("2026-01-01T00:00:01Z"), 0.0), Next::Ended);
}

#[test]
fn cron_starts_runs_and_every_polls_within_them() {
    // 06:00 in Berlin, which is 05:00 UTC in winter.
    let mut table = timetable(cron("0 6 * * *", 60), Some(seconds(150)), Duration::ZERO, "2026-01-01T12:00:00Z");
    assert_eq!(table.next(at("2026-01-01T12:00:00Z"), 0.0), Next::At(at("2026-01-02T05:00:00Z")));
    table.polled(at("2026-01-02T05:00:00Z"));
    assert_eq!(table.next(at("2026-01-02T05:00:01Z"), 0.0), Next::At(at("2026-01-02T05:01:00Z")));
    table.polled(at("2026-01-02T05:01:00Z"));
    table.polled(at("2026-01-02T05:02:00Z"));
    assert_eq!(table.next(at("2026-01-02T05:02:01Z"), 0.0), Next::At(at("2026-01-03T05:00:00Z")));
    table.polled(at("2026-01-03T05:00:00Z"));
    assert_eq!(table.next(at("2026-01-03T05:00:01Z"), 0.0), Next::At(at("2026-01-03T05:01:00Z")));
}

#[test]
fn cron_follows_the_zones_clock_change() {
    // Summer time begins on 2026-03-29.
    let table = timetable(cron("30 8 * * *", 60), Some(seconds(60)), Duration::ZERO, "2026-03-28T12:00:00Z");
    assert_eq!(table.next(at("2026-03-28T12:00:00Z"), 0.0), Next::At(at("2026-03-29T06:30:00Z")));
}

#[test]
fn a_start_that_was_missed_while_a_run_went_on_is_skipped() {
    let mut table = timetable(cron("* * * * *", 10), Some(seconds(90)), Duration::ZERO, "2026-01-01T00:00:30Z");
    assert_eq!(table.next(at("2026-01-01T00:00:30Z"), 0.0), Next::At(at("2026-01-01T00:01:00Z")));
    table.polled(at("2026-01-01T00:01:00Z"));
    // The run lasts until 00:02:30, so 00:02:00 starts none.
    assert_eq!(table.next(at("2026-01-01T00:02:31Z"), 0.0), Next::At(at("2026-01-01T00:03:00Z")));
}

#[test]
fn cron_without_a_length_is_one_poll_a_run() {
    let mut table = timetable(cron("@hourly", 1), None, Duration::ZERO, "2026-01-01T00:30:00Z");
    table.polled(at("2026-01-01T01:00:00Z"));
    assert_eq!(table.next(at("2026-01-01T01:00:00.001Z"), 0.0), Next::At(at("2026-01-01T02:00:00Z")));
}

#[test]
fn a_pattern_that_cannot_be_read_is_an_error() {
    let schedule = Schedule { trigger: cron("every day", 1), run_for: None, jitter: Duration::ZERO };
    assert!(Timetable::new(&schedule, TimeZone::UTC, at("2026-01-01T00:00:00Z")).is_err());
}

#[tokio::test]
async fn a_clock_goes_on_from_where_it_was_started() {
    let clock = Clock::starting_at(at("2026-01-01T00:00:00Z"));
    clock.sleep_until(at("2025-12-31T00:00:00Z")).await;
    clock.sleep_until(at("2026-01-01T00:00:00.005Z")).await;
    let late = clock.now().duration_since(at("2026-01-01T00:00:00.005Z"));
    assert!(!late.is_negative() && late.as_hours() == 0, "{late:?}");
}
