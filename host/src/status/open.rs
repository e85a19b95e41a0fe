//! Which connections are open and what each of them does, so that there is always room for one more: clients that say nothing must not
//! keep out one that asks.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::http::header;
use axum::response::Response;
use bytes::Bytes;
use hyper::body::{Frame, SizeHint};
use tokio::sync::Notify;
use tokio::task::AbortHandle;

/// Open at once. One more makes the one go that has been idle longest; where none is idle, it waits.
pub const CONNECTIONS_MAX: usize = 64;
/// An answer that takes longer, but for a stream, goes when there is no room for others.
const ANSWER_PATIENCE: Duration = Duration::from_secs(10);
/// How often those that wait for room look at how long answers take.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

#[derive(Clone, Default)]
pub struct Open(Arc<Shared>);

#[derive(Default)]
struct Shared {
    table: Mutex<Table>,
    left: Notify,
}

#[derive(Default)]
struct Table {
    next: u64,
    places: BTreeMap<u64, Entry>,
}

struct Entry {
    doing: Doing,
    since: Instant,
    abort: Option<AbortHandle>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Doing {
    /// For the next request to be complete.
    Waiting,
    Answering,
    /// How many there are is bounded by whoever streams.
    Streaming,
}

impl Open {
    fn table(&self) -> MutexGuard<'_, Table> {
        self.0.table.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Waits until there is room for one more, and makes some where it may.
    pub async fn room(&self) {
        while !self.make_room() {
            let _ = tokio::time::timeout(LOOK_AGAIN, self.0.left.notified()).await;
        }
    }

    fn make_room(&self) -> bool {
        let mut table = self.table();
        if table.places.len() < CONNECTIONS_MAX {
            return true;
        }
        let oldest = |doing: Doing, at_least: Duration| {
            let those = table.places.iter().filter(|(_, entry)| entry.doing == doing && entry.since.elapsed() >= at_least);
            those.min_by_key(|(_, entry)| entry.since).map(|(number, _)| *number)
        };
        let Some(number) = oldest(Doing::Waiting, Duration::ZERO).or_else(|| oldest(Doing::Answering, ANSWER_PATIENCE)) else {
            return false;
        };
        if let Some(abort) = table.places.remove(&number).and_then(|entry| entry.abort) {
            abort.abort();
        }
        true
    }

    /// Counts a connection until its place is dropped.
    pub fn enter(&self) -> Arc<Place> {
        let mut table = self.table();
        table.next += 1;
        let number = table.next;
        table.places.insert(number, Entry { doing: Doing::Waiting, since: Instant::now(), abort: None });
        Arc::new(Place { open: self.clone(), number })
    }
}

/// One connection's.
pub struct Place {
    open: Open,
    number: u64,
}

impl Place {
    /// The task that serves the connection, which may have to go.
    pub fn is(&self, task: AbortHandle) {
        if let Some(entry) = self.open.table().places.get_mut(&self.number) {
            entry.abort = Some(task);
        }
    }

    fn does(&self, doing: Doing) {
        if let Some(entry) = self.open.table().places.get_mut(&self.number) {
            (entry.doing, entry.since) = (doing, Instant::now());
        }
    }

    /// A request has come.
    pub fn asked(&self) {
        self.does(Doing::Answering);
    }

    /// The answer begins; the connection is idle again once all of it was taken.
    pub fn answers(self: &Arc<Place>, response: Response) -> hyper::Response<Answering> {
        let kind = response.headers().get(header::CONTENT_TYPE);
        if kind.is_some_and(|kind| kind.as_bytes().starts_with(b"text/event-stream")) {
            self.does(Doing::Streaming);
        }
        response.map(|body| Answering { body, place: self.clone() })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.open.table().places.remove(&self.number);
        self.open.0.left.notify_one();
    }
}

/// The body of an answer.
pub struct Answering {
    body: Body,
    place: Arc<Place>,
}

impl Drop for Answering {
    fn drop(&mut self) {
        self.place.does(Doing::Waiting);
    }
}

impl hyper::body::Body for Answering {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        hyper::body::Body::size_hint(&self.body)
    }
}
