//! A lane: the queue of some partitions and the thread that works it off; a second thread takes over for as long as the first is stuck.
//!
//! A guest cannot be moved to another thread, so what waits behind it is. Without this, one slow batch would hold up every partition of its
//! lane for as long as a call may take. A lane that is merely busy has one thread: batches that are decided in time gain nothing from more.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot};

/// A batch takes a few milliseconds; whoever takes longer is in trouble, or waits for something.
const STUCK_AFTER: Duration = Duration::from_millis(20);
/// After trouble, threads beyond the first are kept for so long.
const SPARE_FOR: Duration = Duration::from_secs(10);

/// Something that a lane's threads do; each thread makes its own.
pub(super) trait Work<J>: Send + 'static {
    fn run(&mut self, job: J);
}

/// Cheap to clone; the threads end with the last clone.
pub(super) struct Lane<J, W> {
    queue: mpsc::Sender<(J, oneshot::Sender<()>)>,
    shared: Arc<Shared<J, W>>,
}

impl<J, W> Clone for Lane<J, W> {
    fn clone(&self) -> Self {
        Lane { queue: self.queue.clone(), shared: self.shared.clone() }
    }
}

struct Shared<J, W> {
    name: String,
    jobs: Mutex<mpsc::Receiver<(J, oneshot::Sender<()>)>>,
    make: fn() -> W,
    threads_max: usize,
    state: Mutex<State>,
}

struct State {
    threads: usize,
    /// Those that wait for a job.
    idle: usize,
    /// When each of the jobs that run began.
    running: Vec<Instant>,
    spare_until: Instant,
}

impl<J: Send + 'static, W: Work<J>> Lane<J, W> {
    /// Starts one thread; `jobs_max` bounds the queue, and the threads that may be stuck at once (invariant 8).
    pub(super) fn start(name: String, jobs_max: usize, make: fn() -> W) -> std::io::Result<Lane<J, W>> {
        let (queue, jobs) = mpsc::channel(jobs_max);
        let state = State { threads: 0, idle: 0, running: Vec::new(), spare_until: Instant::now() };
        let shared = Shared { name, jobs: Mutex::new(jobs), make, threads_max: jobs_max, state: Mutex::new(state) };
        let lane = Lane { queue, shared: Arc::new(shared) };
        lane.add_thread()?;
        Ok(lane)
    }

    /// Hands a job over and returns when a thread has begun it. `waits`: the job may wait for something outside, so that a thread of its
    /// own is started for it at once where none is free.
    ///
    /// # Errors
    /// The lane has ended, or the system starts no thread.
    pub(super) async fn hand_over(&self, job: J, waits: bool) -> Result<(), String> {
        let (sender, mut begun) = oneshot::channel();
        if waits && self.shared.state().idle == 0 {
            self.add_thread().map_err(|error| format!("start a thread: {error}"))?;
        }
        self.queue.send((job, sender)).await.map_err(|_| "a worker ended unexpectedly".to_owned())?;
        loop {
            let Some(relief) = self.shared.relief_in() else {
                // Nothing may be added: wait for those that are there.
                return begun.await.map_err(|_| "a worker ended unexpectedly".to_owned());
            };
            match tokio::time::timeout(relief, &mut begun).await {
                Ok(begun) => return begun.map_err(|_| "a worker ended unexpectedly".to_owned()),
                Err(_) if self.shared.relief_in() == Some(Duration::ZERO) => {
                    self.add_thread().map_err(|error| format!("start a thread: {error}"))?;
                }
                Err(_) => {}
            }
        }
    }

    fn add_thread(&self) -> std::io::Result<()> {
        let mut state = self.shared.state();
        if state.threads >= self.shared.threads_max {
            return Ok(());
        }
        let shared = self.shared.clone();
        thread::Builder::new().name(self.shared.name.clone()).spawn(move || shared.work())?;
        if state.threads > 0 {
            state.spare_until = Instant::now() + SPARE_FOR;
        }
        state.threads += 1;
        // It counts from now on, so that nobody starts one more for the same job.
        state.idle += 1;
        Ok(())
    }
}

impl<J, W: Work<J>> Shared<J, W> {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// When another thread should help, if nobody has taken the job by then; `None`: there are as many as there may be.
    fn relief_in(&self) -> Option<Duration> {
        let state = self.state();
        if state.threads >= self.threads_max {
            return None;
        }
        let latest = state.running.iter().max().copied();
        // Somebody is about to take it.
        let since = if state.idle > 0 { None } else { latest };
        Some(since.map_or(STUCK_AFTER, |since| STUCK_AFTER.saturating_sub(since.elapsed())))
    }

    fn work(&self) {
        let mut work = (self.make)();
        loop {
            let next = self.jobs.lock().unwrap_or_else(PoisonError::into_inner).blocking_recv();
            let Some((job, taken)) = next else { return };
            let began = Instant::now();
            let mut state = self.state();
            state.idle -= 1;
            state.running.push(began);
            drop(state);
            // Nobody waits any more when the host gave up while draining.
            let _ = taken.send(());
            work.run(job);
            let mut state = self.state();
            if let Some(at) = state.running.iter().position(|running| *running == began) {
                state.running.swap_remove(at);
            }
            let wanted = if Instant::now() < state.spare_until { self.threads_max } else { 1 };
            if state.idle >= wanted {
                state.threads -= 1;
                return;
            }
            state.idle += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc as blocking;

    enum Job {
        Stuck(blocking::Receiver<()>),
        Quick(oneshot::Sender<()>),
    }

    struct Worker;

    impl Work<Job> for Worker {
        fn run(&mut self, job: Job) {
            match job {
                Job::Stuck(until) => drop(until.recv()),
                Job::Quick(done) => drop(done.send(())),
            }
        }
    }

    #[tokio::test]
    async fn what_waits_behind_a_stuck_job_is_taken_over_and_threads_are_bounded() {
        let lane = Lane::start("test".to_owned(), 3, || Worker).expect("a lane");
        let (release, stuck): (Vec<_>, Vec<_>) = (0..2).map(|_| blocking::channel()).unzip();
        for until in stuck {
            lane.hand_over(Job::Stuck(until), false).await.expect("a thread takes it");
        }
        for _ in 0..50 {
            let (done, was_done) = oneshot::channel();
            lane.hand_over(Job::Quick(done), false).await.expect("a thread takes it");
            was_done.await.expect("it is done although two are stuck");
        }
        assert_eq!(lane.shared.state().threads, 3);
        drop(release);
    }

    #[tokio::test]
    async fn a_lane_that_is_merely_busy_has_one_thread() {
        let lane = Lane::start("test".to_owned(), 8, || Worker).expect("a lane");
        for _ in 0..200 {
            let (done, was_done) = oneshot::channel();
            lane.hand_over(Job::Quick(done), false).await.expect("a thread takes it");
            was_done.await.expect("it is done");
        }
        assert_eq!(lane.shared.state().threads, 1);
    }
}
