//! When a source is polled: pure arithmetic over a plan's schedule, and the clock that it is compared with.

use std::time::Duration;

use croner::Cron;
use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::config::plan::{Schedule, Trigger};

/// A clock that was set, or a machine that slept, is noticed within this time.
const LOOK_AT_CLOCK: Duration = Duration::from_secs(30);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    At(Timestamp),
    /// The schedule's time is up.
    Ended,
}

/// The polls of one source, one after the other. Polls never overlap: what fell due while one was running is one poll, at once.
pub struct Timetable {
    trigger: Compiled,
    run_for: Option<Duration>,
    jitter: Duration,
    /// When the present run started, and when its last poll was due.
    run: Option<(Timestamp, Timestamp)>,
    made: Timestamp,
}

enum Compiled {
    Every(Duration),
    Cron { cron: Box<Cron>, zone: TimeZone, every: Duration },
}

impl Trigger {
    pub fn every(&self) -> Duration {
        match self {
            Trigger::Every(every) | Trigger::Cron { every, .. } => *every,
        }
    }

    pub fn cron(&self) -> Option<&str> {
        match self {
            Trigger::Every(_) => None,
            Trigger::Cron { pattern, .. } => Some(pattern),
        }
    }
}

impl Timetable {
    /// `now` is when the host starts; cron patterns are read in `zone`.
    ///
    /// # Errors
    /// A cron pattern that cannot be read, with the reason.
    pub fn new(schedule: &Schedule, zone: TimeZone, now: Timestamp) -> Result<Timetable, String> {
        let trigger = match &schedule.trigger {
            Trigger::Every(every) => Compiled::Every(*every),
            Trigger::Cron { pattern, every } => Compiled::Cron { cron: Box::new(parse(pattern)?), zone, every: *every },
        };
        Ok(Timetable { trigger, run_for: schedule.run_for, jitter: schedule.jitter, run: None, made: now })
    }

    /// When the next poll is due, `chance` (0 to 1) choosing the jitter. Asking changes nothing.
    pub fn next(&self, now: Timestamp, chance: f64) -> Next {
        let jitter = self.jitter.mul_f64(chance.clamp(0.0, 1.0));
        match (self.due(now), &self.trigger) {
            (Some(due), _) => Next::At(later(due.max(now), jitter)),
            (None, Compiled::Every(_)) => Next::Ended,
            (None, Compiled::Cron { cron, zone, .. }) => {
                let after = self.run.map_or(self.made, |(started, _)| started.max(now));
                match cron.find_next_occurrence(&after.to_zoned(zone.clone()), false) {
                    Ok(fire) => Next::At(later(fire.timestamp(), jitter)),
                    Err(_) => Next::Ended,
                }
            }
        }
    }

    /// A poll begins.
    pub fn polled(&mut self, now: Timestamp) {
        self.run = Some(match (self.run, self.due(now)) {
            // Counted from when it was due, so that a rate holds; from now on where that is long past or a person asked.
            (Some((started, _)), Some(due)) if due <= now && later(due, self.every().max(self.jitter)) >= now => (started, due),
            (Some((started, _)), Some(_)) => (started, now),
            _ => (now, now),
        });
    }

    fn every(&self) -> Duration {
        match &self.trigger {
            Compiled::Every(every) | Compiled::Cron { every, .. } => *every,
        }
    }

    /// When the present run polls next; `None`: there is no run, or it is over. The first run of `every` starts at once.
    fn due(&self, now: Timestamp) -> Option<Timestamp> {
        let Some((started, last)) = self.run else {
            return matches!(self.trigger, Compiled::Every(_)).then_some(now);
        };
        let due = later(last, self.every());
        match (self.run_for, &self.trigger) {
            (Some(run_for), _) => (due.max(now) < later(started, run_for)).then_some(due),
            (None, Compiled::Every(_)) => Some(due),
            // A run without a length is one poll.
            (None, Compiled::Cron { .. }) => None,
        }
    }
}

/// A cron pattern of five fields, six with seconds, or a nickname such as `@daily`.
pub fn parse(pattern: &str) -> Result<Cron, String> {
    pattern.parse::<Cron>().map_err(|error| error.to_string())
}

fn later(at: Timestamp, by: Duration) -> Timestamp {
    at.checked_add(by).unwrap_or(Timestamp::MAX)
}

/// The wall clock, or in tests one that starts where it is told.
#[derive(Clone, Default)]
pub struct Clock(Option<(Timestamp, tokio::time::Instant)>);

impl Clock {
    pub fn starting_at(start: Timestamp) -> Clock {
        Clock(Some((start, tokio::time::Instant::now())))
    }

    pub fn now(&self) -> Timestamp {
        match self.0 {
            None => Timestamp::now(),
            Some((start, since)) => later(start, since.elapsed()),
        }
    }

    /// Cancel-safe.
    pub async fn sleep_until(&self, at: Timestamp) {
        loop {
            let left = at.duration_since(self.now());
            match Duration::try_from(left) {
                Ok(left) if !left.is_zero() => tokio::time::sleep(left.min(LOOK_AT_CLOCK)).await,
                _ => return,
            }
        }
    }
}

/// A number from 0 to below 1 for jitter; nothing secret hangs on it.
pub fn chance() -> f64 {
    use std::hash::{BuildHasher, Hasher, RandomState};
    // Each state has keys of its own, made from the system's randomness.
    (RandomState::new().build_hasher().finish() >> 11) as f64 / (1u64 << 53) as f64
}
