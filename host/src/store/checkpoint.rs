//! Copies the write-ahead log back into the database while the writer goes on.
//!
//! With SQLite's default, the commit that crosses a threshold copies everything and its caller waits. Here a second connection makes
//! passive passes, each copying what was written during the one before. But a pass beside a busy writer never reaches the end of the
//! log, and only then can the log be used afresh: so the writer takes the last, small pass between two commits.

use std::sync::{Condvar, Mutex, MutexGuard};
use std::time::Duration;

use rusqlite::Connection;
use rusqlite::wal::CheckpointMode;

use super::Error;

/// Frames in the log before passes begin: 16 MB.
const FRAMES_BEFORE_PASSES: u64 = 4_000;
/// A remainder that the writer copies itself between two commits: 1 MB, below a millisecond and a sync.
const FRAMES_FOR_WRITER: u64 = 256;
/// Passes do not keep up with the writer, which then waits for them: 256 MB.
const FRAMES_NOT_KEPT_UP: u64 = 64_000;
/// It never waits longer for passes that make progress.
const WRITER_WAITS: Duration = Duration::from_secs(5);
/// How long the writer may take to end its commit and copy the remainder.
const WRITER_TAKES: Duration = Duration::from_millis(500);
/// Beyond it the source waits (delivery.md §12).
pub const WAL_BYTES_MAX: u64 = 1 << 30;
const FRAME_BYTES: u64 = 4096 + 24;
/// After a pass that a reader held up.
const PAUSE: Duration = Duration::from_millis(20);

#[derive(Default)]
pub(super) struct Checkpoints {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    log: Frames,
    /// The checkpoint thread makes passes.
    passing: bool,
    /// The writer is asked for the last pass.
    asked: bool,
    closing: bool,
}

/// How long the log is, and how much of it has been copied.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Frames {
    total: u64,
    copied: u64,
}

impl Frames {
    fn left(self) -> u64 {
        self.total.saturating_sub(self.copied)
    }
}

impl Checkpoints {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    pub(super) fn close(&self) {
        self.state().closing = true;
        self.changed.notify_all();
    }

    /// Called by the writer after each commit. Whether the log is too long.
    pub(super) fn after_commit(&self, writer: &Connection) -> Result<bool, Error> {
        let mut log = pass(writer, CheckpointMode::NOOP)?;
        let mut state = self.state();
        if state.asked {
            // The other thread waits for `asked` to fall, so the two never meet.
            log = pass(writer, CheckpointMode::PASSIVE)?;
            state.asked = false;
            self.changed.notify_all();
        }
        state.log = log;
        if log.left() > FRAMES_BEFORE_PASSES && !state.passing {
            self.changed.notify_all();
        }
        if log.left() > FRAMES_NOT_KEPT_UP && state.passing {
            let behind = |state: &mut State| state.passing && !state.asked && state.log.left() > FRAMES_NOT_KEPT_UP / 2;
            drop(self.changed.wait_timeout_while(state, WRITER_WAITS, behind));
        }
        Ok(log.left() > 0 && log.total * FRAME_BYTES > WAL_BYTES_MAX)
    }

    pub(super) fn run(&self, second: &Connection) {
        loop {
            let mut state = self.state();
            while !state.closing && state.log.left() <= FRAMES_BEFORE_PASSES {
                state = self.changed.wait(state).unwrap_or_else(|poisoned| poisoned.into_inner());
            }
            if state.closing {
                return;
            }
            state.passing = true;
            drop(state);
            self.empty_log(second);
            self.state().passing = false;
            self.changed.notify_all();
        }
    }

    /// Passes until the log is copied to its end, or somebody holds it up.
    fn empty_log(&self, second: &Connection) {
        let mut before: Option<Frames> = None;
        loop {
            let mut log = match pass(second, CheckpointMode::PASSIVE) {
                Ok(log) => log,
                Err(error) => {
                    // A full disk: the writer meets it as well, and says so.
                    tracing::debug!(%error, "copy the write-ahead log");
                    return self.pause();
                }
            };
            let mut state = self.state();
            // A pass knows the log's end only as it was when it began.
            log.total = log.total.max(state.log.total);
            state.log = log;
            self.changed.notify_all();
            if log.left() == 0 || state.closing {
                return;
            }
            if before.is_some_and(|before| log.copied == before.copied && log.total >= before.total) {
                drop(state);
                return self.pause();
            }
            // A pass leaves what is written while it lasts: at some point that gets no smaller.
            if log.left() <= FRAMES_FOR_WRITER || before.is_some_and(|before| log.left() > before.left() / 2) {
                state.asked = true;
                let (mut state, _) = self
                    .changed
                    .wait_timeout_while(state, WRITER_TAKES, |state| state.asked && !state.closing)
                    .unwrap_or_else(|poisoned| poisoned.into_inner());
                state.asked = false;
                if state.log.left() == 0 {
                    return;
                }
            }
            before = Some(log);
        }
    }

    fn pause(&self) {
        let state = self.state();
        drop(self.changed.wait_timeout_while(state, PAUSE, |state| !state.closing));
    }
}

fn pass(connection: &Connection, mode: CheckpointMode) -> Result<Frames, Error> {
    let (total, copied) = connection.wal_checkpoint_v2(None::<&str>, mode)?;
    Ok(Frames { total: u64::try_from(total).unwrap_or(0), copied: u64::try_from(copied).unwrap_or(0) })
}
