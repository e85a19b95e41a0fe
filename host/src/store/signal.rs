//! A counter that threads wait on: something was appended.

use std::sync::{Condvar, Mutex};
use std::time::Duration;

#[derive(Debug, Default)]
pub struct Signal {
    count: Mutex<u64>,
    raised: Condvar,
}

impl Signal {
    pub fn raise(&self) {
        *self.count.lock().unwrap_or_else(|poisoned| poisoned.into_inner()) += 1;
        self.raised.notify_all();
    }

    /// Look at it before looking for work, and [`Signal::wait`] for a change of it when there was none.
    pub fn count(&self) -> u64 {
        *self.count.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Blocks the thread until the count is no longer `seen`, or until `timeout`.
    pub fn wait(&self, seen: u64, timeout: Option<Duration>) {
        let count = self.count.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        match timeout {
            None => drop(self.raised.wait_while(count, |count| *count == seen)),
            Some(timeout) => drop(self.raised.wait_timeout_while(count, timeout, |count| *count == seen)),
        }
    }
}
