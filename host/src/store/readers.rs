//! Read-only connections, a few, used in turn.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rusqlite::Connection;
use tokio::sync::Semaphore;

use super::{Error, open};

const READERS_MAX: usize = 4;
/// As long as a snapshot is held, the write-ahead log cannot be emptied.
const SNAPSHOT_MAX: Duration = Duration::from_secs(1);
/// Instructions of SQLite's machine between two looks at the clock.
const STEPS_BETWEEN_LOOKS: i32 = 10_000;

pub(super) struct Readers {
    path: PathBuf,
    idle: Mutex<Vec<Connection>>,
    permits: Arc<Semaphore>,
}

impl Readers {
    pub(super) fn new(path: PathBuf) -> Readers {
        Readers { path, idle: Mutex::new(Vec::new()), permits: Arc::new(Semaphore::new(READERS_MAX)) }
    }

    pub(super) async fn read<T, F>(self: Arc<Self>, read: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, Error> + Send + 'static,
    {
        let permit = self.permits.clone().acquire_owned().await.map_err(|_| Error::closed())?;
        let blocking = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            let mut connection = self.take()?;
            let since = Instant::now();
            connection.progress_handler(STEPS_BETWEEN_LOOKS, Some(move || since.elapsed() > SNAPSHOT_MAX))?;
            connection.execute_batch("BEGIN")?;
            let value = read(&connection);
            connection.execute_batch("ROLLBACK")?;
            self.idle.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).push(connection);
            value
        });
        blocking.await.map_err(|error| Error::Sqlite(format!("read the store: {error}")))?
    }

    fn take(&self) -> Result<Connection, Error> {
        let idle = self.idle.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).pop();
        idle.map_or_else(|| open::for_reading(&self.path), Ok)
    }
}
