//! The thread that writes: group commit, and patience with a full disk.

use std::sync::Arc;
use std::time::Duration;

use rusqlite::Connection;
use rusqlite::wal::CheckpointMode;
use tokio::sync::{mpsc, oneshot, watch};

use super::checkpoint::Checkpoints;
use super::{Error, Health, Write};

/// Writes of one transaction.
const GROUP_MAX: usize = 64;
const BACKOFF_MIN: Duration = Duration::from_millis(20);
const BACKOFF_MAX: Duration = Duration::from_secs(1);

pub(super) struct Request {
    pub(super) write: Write,
    pub(super) answer: oneshot::Sender<Result<(), Error>>,
}

pub(super) struct Writer {
    connection: Connection,
    health: watch::Sender<Health>,
    checkpoints: Arc<Checkpoints>,
}

impl Writer {
    pub(super) fn new(connection: Connection, health: watch::Sender<Health>, checkpoints: Arc<Checkpoints>) -> Writer {
        Writer { connection, health, checkpoints }
    }

    /// Until all handles are gone and every write that waits is answered.
    pub(super) fn run(self, mut requests: mpsc::Receiver<Request>) {
        let mut group = Vec::with_capacity(GROUP_MAX);
        while requests.blocking_recv_many(&mut group, GROUP_MAX) > 0 {
            let answers = self.commit_or_wait(&group, &requests);
            for (request, answer) in group.drain(..).zip(answers) {
                // A caller that has gone away does not need the answer.
                let _ = request.answer.send(answer);
            }
            match self.checkpoints.after_commit(&self.connection) {
                Ok(wal_over) => self.set_health(|health| health.wal_over = wal_over),
                Err(error) => tracing::debug!(%error, "copy the write-ahead log"),
            }
        }
    }

    /// Commits all of the group, again and again while the cause may pass. Once the store closes, a last failure is the answer.
    fn commit_or_wait(&self, group: &[Request], requests: &mpsc::Receiver<Request>) -> Vec<Result<(), Error>> {
        let mut backoff = BACKOFF_MIN;
        loop {
            let error = match self.commit(group) {
                Ok(answers) => {
                    self.set_health(|health| health.stuck = None);
                    return answers;
                }
                Err(error) => error,
            };
            if !error.passes() || requests.is_closed() {
                return group.iter().map(|_| Err(error.clone())).collect();
            }
            self.set_health(|health| {
                health.stuck = Some(format!("nothing can be stored: {error}; it goes on when there is room"))
            });
            // What is in the write-ahead log may be all that fills the disk.
            let _ = self.connection.wal_checkpoint_v2(None::<&str>, CheckpointMode::PASSIVE);
            std::thread::sleep(backoff);
            backoff = (backoff * 2).min(BACKOFF_MAX);
        }
    }

    /// One transaction. `Err`: nothing of it has happened, for no write of the group.
    fn commit(&self, group: &[Request]) -> Result<Vec<Result<(), Error>>, Error> {
        let connection = &self.connection;
        let run = |sql: &str| connection.prepare_cached(sql).and_then(|mut statement| statement.execute([]));
        run("BEGIN IMMEDIATE")?;
        let mut answers = Vec::with_capacity(group.len());
        let written = (|| {
            for request in group {
                run("SAVEPOINT one")?;
                let answer = (request.write)(connection);
                match &answer {
                    Ok(()) => run("RELEASE one")?,
                    // Some failures end the whole transaction.
                    Err(error) if error.passes() || connection.is_autocommit() => return Err(error.clone()),
                    Err(_) => run("ROLLBACK TO one").and_then(|_| run("RELEASE one"))?,
                };
                answers.push(answer);
            }
            run("COMMIT")?;
            Ok(answers)
        })();
        if written.is_err() && !connection.is_autocommit() {
            let _ = run("ROLLBACK");
        }
        written
    }

    fn set_health(&self, change: impl FnOnce(&mut Health)) {
        self.health.send_if_modified(|health| {
            let before = health.clone();
            change(health);
            *health != before
        });
    }
}
