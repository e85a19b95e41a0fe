//! The signal to finish: take nothing new, settle what is in flight, stop. It is given once and cannot be taken back.

use std::sync::Arc;

use tokio::sync::watch;

/// Cheap to clone; every loop of a pipeline holds one.
#[derive(Clone)]
pub struct Drain {
    begun: watch::Receiver<bool>,
    begin: Arc<watch::Sender<bool>>,
}

impl Default for Drain {
    fn default() -> Drain {
        let (begin, begun) = watch::channel(false);
        Drain { begun, begin: Arc::new(begin) }
    }
}

impl Drain {
    pub fn begin(&self) {
        self.begin.send_replace(true);
    }

    pub fn has_begun(&self) -> bool {
        *self.begun.borrow()
    }

    /// Returns once draining has begun. Cancel-safe.
    pub async fn begun(&self) {
        // The sender lives as long as this value, so waiting cannot fail.
        let _ = self.begun.clone().wait_for(|begun| *begun).await;
    }

    /// Waits for `work` unless draining begins first. What is given up must be harmless when it is done again.
    pub async fn or<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            biased;
            () = self.begun() => None,
            done = work => Some(done),
        }
    }
}

/// A growing pause between attempts.
pub struct BackOff {
    next: std::time::Duration,
    max: std::time::Duration,
}

impl BackOff {
    pub fn new(first: std::time::Duration, max: std::time::Duration) -> BackOff {
        BackOff { next: first, max }
    }

    /// The pause before the next attempt; the one after it is twice as long.
    pub fn pause(&mut self) -> std::time::Duration {
        let pause = self.next;
        self.next = (self.next * 2).min(self.max);
        pause
    }
}
