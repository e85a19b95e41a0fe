//! The one SQLite file that a host keeps for a pipeline: log, cursors, positions, result tables, dead letters, runs, components.
//!
//! One thread writes. It takes every write that waits, runs each in a savepoint of one transaction, commits durably, and answers all
//! (group commit). Others read on connections of their own, and hold a snapshot for at most a second, so that the write-ahead log can
//! be emptied. A second connection copies the write-ahead log back in passive passes, see [`checkpoint`].
//!
//! Any SQLite tool can open the file while a host runs, as long as it does not hold a transaction open.

mod checkpoint;
pub mod components;
mod error;
pub mod host;
pub mod keys;
mod lock;
pub mod log;
mod open;
mod readers;
pub mod runs;
mod signal;
pub mod swaps;
mod writer;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot, watch};

pub use error::Error;
pub use lock::Owner;
pub use signal::Signal;

/// A write that can be run again: after a full disk the whole transaction is repeated.
pub type Write = Arc<dyn Fn(&Connection) -> Result<(), Error> + Send + Sync>;

/// Writes that may wait for the writer; whoever brings one more waits himself (invariant 8).
const WRITES_WAITING_MAX: usize = 256;

/// What may be wrong with the store while it goes on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Health {
    /// Why nothing can be written at present; the writer tries again by itself.
    pub stuck: Option<String>,
    /// The write-ahead log is longer than [`checkpoint::WAL_BYTES_MAX`]: somebody holds a snapshot. The source waits.
    pub wal_over: bool,
}

impl Health {
    /// Alarms for the status, each with its way out.
    pub fn alarms(&self) -> Vec<String> {
        let wal =
            "the write-ahead log is over 1 GiB and the source waits: end the program that holds a transaction on store.db open";
        self.stuck.iter().cloned().chain(self.wal_over.then(|| wal.to_owned())).collect()
    }
}

/// Handle to an open store; cheap to clone. When the last one is dropped, waiting writes are committed and the lock is given back.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

struct Inner {
    dir: PathBuf,
    lock: lock::Lock,
    /// `None` once the store closes.
    writes: Option<mpsc::Sender<writer::Request>>,
    readers: Arc<readers::Readers>,
    health: watch::Receiver<Health>,
    checkpoints: Arc<checkpoint::Checkpoints>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    appended: Arc<Signal>,
    saved: watch::Sender<u64>,
    /// By table.
    keys: Mutex<HashMap<String, Arc<keys::Keys>>>,
}

impl Store {
    /// Opens the store in `dir`, makes it where absent, and owns it until the last handle is dropped.
    ///
    /// [`Error::Owned`] when another host has it.
    pub fn open(dir: &Path) -> Result<Store, Error> {
        open::make_dir(dir)?;
        let lock = lock::Lock::take(dir)?;
        let path = dir.join(open::FILE);
        let connection = open::for_writing(&path)?;
        let (writes, requests) = mpsc::channel(WRITES_WAITING_MAX);
        let (health_sender, health) = watch::channel(Health::default());
        let checkpoints = Arc::new(checkpoint::Checkpoints::default());
        let second = open::for_checkpoints(&path)?;
        let writer = writer::Writer::new(connection, health_sender, checkpoints.clone());
        let threads = vec![
            spawn("store-writer", move || writer.run(requests))?,
            spawn("store-checkpoint", {
                let checkpoints = checkpoints.clone();
                move || checkpoints.run(&second)
            })?,
        ];
        Ok(Store {
            inner: Arc::new(Inner {
                dir: dir.to_owned(),
                lock,
                writes: Some(writes),
                readers: Arc::new(readers::Readers::new(path)),
                health,
                checkpoints,
                threads: Mutex::new(threads),
                appended: Arc::new(Signal::default()),
                saved: watch::Sender::new(0),
                keys: Mutex::default(),
            }),
        })
    }

    /// Who owns the store in `dir`; `None` when nobody does.
    pub fn owner(dir: &Path) -> Result<Option<Owner>, Error> {
        lock::owner(dir)
    }

    /// Writes for others where this host's API is.
    pub fn set_address(&self, address: &str) -> Result<(), Error> {
        self.inner.lock.set_address(address)
    }

    /// The folder of `store.db`.
    pub fn dir(&self) -> &Path {
        &self.inner.dir
    }

    /// Whether both are handles to one open store.
    pub fn is(&self, other: &Store) -> bool {
        Arc::ptr_eq(&self.inner, &other.inner)
    }

    /// Runs the write in the next transaction; it is durable when this returns `Ok`, and nothing of it has happened when it returns `Err`.
    ///
    /// On a full disk it waits until there is room. A caller that goes away earlier does not undo it.
    pub async fn write(&self, write: Write) -> Result<(), Error> {
        let (answer, answered) = oneshot::channel();
        let writes = self.inner.writes.as_ref().ok_or_else(Error::closed)?;
        writes.send(writer::Request { write, answer }).await.map_err(|_| Error::closed())?;
        answered.await.map_err(|_| Error::closed())?
    }

    /// A write that answers something.
    pub async fn write_returning<T, F>(&self, write: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: Fn(&Connection) -> Result<T, Error> + Send + Sync + 'static,
    {
        let slot = Arc::new(Mutex::new(None));
        let filled = slot.clone();
        let write = move |connection: &Connection| {
            let value = write(connection)?;
            *filled.lock().unwrap_or_else(|poisoned| poisoned.into_inner()) = Some(value);
            Ok(())
        };
        self.write(Arc::new(write)).await?;
        let value = slot.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).take();
        value.ok_or_else(Error::closed)
    }

    /// Reads in one snapshot on a blocking thread. A read of more than a second is broken off with an error.
    pub async fn read<T, F>(&self, read: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, Error> + Send + 'static,
    {
        self.inner.readers.clone().read(read).await
    }

    /// A read-only connection for a thread that reads again and again; it must not hold a transaction open.
    pub fn reader(&self) -> Result<Connection, Error> {
        open::for_reading(&self.inner.dir.join(open::FILE))
    }

    pub fn health(&self) -> Health {
        self.inner.health.borrow().clone()
    }

    /// Changes of [`Store::health`].
    pub fn watch_health(&self) -> watch::Receiver<Health> {
        self.inner.health.clone()
    }

    /// Raised by whoever appended to a log of this store.
    pub fn appended(&self) -> Arc<Signal> {
        self.inner.appended.clone()
    }

    /// The keys of a table: `rows` is the stored table with its column `row`, and `columns` its key, all quoted.
    pub fn keys(&self, table: &str, rows: &str, row: &str, columns: &[String]) -> Arc<keys::Keys> {
        let mut known = self.inner.keys.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        known.entry(table.to_owned()).or_insert_with(|| Arc::new(keys::Keys::new(table, rows, row, columns))).clone()
    }

    /// Raised by whoever saved a position: there may be room in a log again.
    pub fn saved(&self) -> &watch::Sender<u64> {
        &self.inner.saved
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.writes = None;
        self.checkpoints.close();
        let threads = std::mem::take(&mut *self.threads.lock().unwrap_or_else(|poisoned| poisoned.into_inner()));
        for thread in threads {
            // The last handle may be dropped by the writer itself, inside a write that held one.
            if thread.thread().id() != std::thread::current().id() {
                let _ = thread.join();
            }
        }
    }
}

fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, Error> {
    std::thread::Builder::new().name(name.to_owned()).spawn(run).map_err(|error| Error::io("start a thread of the store", &error))
}
