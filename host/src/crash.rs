//! Named points at which tests kill the host, as a power cut would: `TIDEMILL_CRASH_AT=after-chain:3` at the third passing.
//!
//! Nothing of it is in a release build.

/// Every point that a record meets, in that order.
pub const POINTS: &[&str] = &[
    "after-fetch",
    "before-publish",
    "after-publish",
    "after-poll",
    "before-boundary",
    "after-boundary",
    "after-chain",
    "before-sink-write",
    "after-sink-write",
    "before-dead-letter",
    "before-save",
    "after-save",
    "after-dead-letter",
    "in-drain",
];

/// Further points, which only a topic in a cluster passes: around the commit of a save and of a page, and when a partition is given back.
pub const KAFKA_POINTS: &[&str] = &["before-commit", "after-commit", "before-page-commit", "after-page-commit", "in-revoke"];
/// Around Cassandra's acknowledgement of each row: others of its batch are written, are on their way, or have not begun.
pub const CASSANDRA_POINTS: &[&str] = &["before-row", "row-acknowledged"];
/// Those of a dead letter that is replayed.
pub const REPLAY_POINTS: &[&str] = &["after-replay-begun", "before-letter-removed"];
/// Those of a swap.
pub const SWAP_POINTS: &[&str] = &["before-claim", "after-claim", "after-swap"];

#[cfg(debug_assertions)]
pub fn point(name: &str) {
    use std::sync::LazyLock;
    use std::sync::atomic::{AtomicU64, Ordering};

    static ARMED: LazyLock<Option<(String, AtomicU64)>> = LazyLock::new(|| {
        let at = std::env::var("TIDEMILL_CRASH_AT").ok()?;
        let (name, nth) = at.split_once(':').unwrap_or((&at, "1"));
        Some((name.to_owned(), AtomicU64::new(nth.parse().ok()?)))
    });
    debug_assert!(
        [POINTS, KAFKA_POINTS, CASSANDRA_POINTS, REPLAY_POINTS, SWAP_POINTS].iter().any(|points| points.contains(&name)),
        "crash point {name} is listed"
    );
    let Some((armed, left)) = &*ARMED else { return };
    if armed == name && left.fetch_sub(1, Ordering::Relaxed) == 1 {
        // SIGKILL runs no handler and flushes nothing.
        let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
    }
}

#[cfg(not(debug_assertions))]
pub fn point(_name: &str) {}
