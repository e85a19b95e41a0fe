//! One host per store: `owner.lock` is locked by its owner, and tells others where its API is.

use std::fs::{File, OpenOptions};
use std::io::Read;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};

use super::Error;

const FILE: &str = "owner.lock";

/// A verb that looks who the owner is holds the lock for some microseconds; a starting host waits that long.
const PATIENCE: Duration = Duration::from_millis(300);

/// The host that has a store open.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    pub pid: u32,
    /// Where its API is, as `127.0.0.1:4242`; `None` while it serves none.
    pub address: Option<String>,
}

/// Held as long as the store is open; the system gives it back when the process dies.
pub(super) struct Lock(File);

impl Lock {
    pub(super) fn take(dir: &Path) -> Result<Lock, Error> {
        let path = dir.join(FILE);
        let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(&path);
        let file = file.as_mut().map_err(|error| Error::io(&format!("open {}", path.display()), error))?;
        let until = Instant::now() + PATIENCE;
        while let Err(error) = flock(&*file, FlockOperation::NonBlockingLockExclusive) {
            if error != rustix::io::Errno::WOULDBLOCK {
                return Err(Error::io(&format!("lock {}", path.display()), &error.into()));
            }
            if Instant::now() > until {
                return Err(Error::Owned(read(file).and_then(|owner| owner.address)));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        let lock = Lock(file.try_clone().map_err(|error| Error::io("hold the lock of the store", &error))?);
        lock.write(None)?;
        Ok(lock)
    }

    pub(super) fn set_address(&self, address: &str) -> Result<(), Error> {
        self.write(Some(address.to_owned()))
    }

    fn write(&self, address: Option<String>) -> Result<(), Error> {
        let text = serde_json::to_vec(&Owner { pid: std::process::id(), address }).unwrap_or_default();
        let written = self.0.write_all_at(&text, 0).and_then(|()| self.0.set_len(text.len() as u64));
        written.map_err(|error| Error::io("write the address into the lock file", &error))
    }
}

/// Who holds the lock of `dir`.
pub(super) fn owner(dir: &Path) -> Result<Option<Owner>, Error> {
    let mut file = match File::open(dir.join(FILE)) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Error::io(&format!("open {}", dir.join(FILE).display()), &error)),
    };
    match flock(&file, FlockOperation::NonBlockingLockShared) {
        Ok(()) => Ok(None),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(Some(read(&mut file).unwrap_or(Owner { pid: 0, address: None }))),
        Err(error) => Err(Error::io("ask for the lock of the store", &error.into())),
    }
}

fn read(file: &mut File) -> Option<Owner> {
    let mut text = String::new();
    file.read_to_string(&mut text).ok()?;
    serde_json::from_str(&text).ok()
}
