//! What test classes share. Each class takes in what it needs of it.
#![allow(dead_code, reason = "each class of test is a crate of its own and uses a part of this")]

pub mod guests;
pub mod host;
pub mod jobs;
pub mod random;
pub mod read;
pub mod users;
pub mod verify;

use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Longest that a condition may take on a busy machine; nothing waits longer than it must.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// The root of the repository.
pub fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Says loudly that a test is not run. With `TIDEMILL_REQUIRE=all`, as in CI, that is a failure.
pub fn skip_or_panic(reason: &str) {
    assert!(std::env::var("TIDEMILL_REQUIRE").as_deref() != Ok("all"), "SKIPPED although TIDEMILL_REQUIRE=all: {reason}");
    eprintln!("SKIPPED: {reason}");
}

/// Looks again and again until there is something, or panics after [`PATIENCE`].
#[track_caller]
pub fn wait_for<T>(what: &str, look: impl FnMut() -> Option<T>) -> T {
    wait_within(PATIENCE, what, look)
}

/// [`wait_for`] what may take longer. The one place in which tests wait.
#[track_caller]
pub fn wait_within<T>(patience: Duration, what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let until = Instant::now() + patience;
    // Whoever asks all the time keeps a host from what he waits for.
    let mut pause = Duration::from_millis(1);
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < until, "waited {patience:?} for {what}");
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(8));
    }
}
