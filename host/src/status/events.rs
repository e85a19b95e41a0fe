//! Snapshots as server-sent events.
//!
//! A snapshot is written as JSON once for all clients, and a client that is behind gets the newest one only: nothing queues
//! up for it here, and `connection` drops it when it takes nothing at all.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::http::StatusCode;
use axum::response::sse::{Event, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use super::guard::problem;
use super::view::View;

/// Pages that may watch at once.
const CLIENTS_MAX: usize = 16;
/// How often a page is told.
const EVERY: Duration = Duration::from_millis(250);

#[derive(Clone)]
pub struct Events {
    view: View,
    latest: Arc<watch::Sender<Arc<str>>>,
    clients: Arc<Semaphore>,
}

impl Events {
    pub fn new(view: View) -> Events {
        Events { view, latest: Arc::new(watch::Sender::new(Arc::from(""))), clients: Arc::new(Semaphore::new(CLIENTS_MAX)) }
    }

    /// Takes a sample and tells whoever watches, for ever.
    pub async fn tick(&self) {
        let mut ticks = tokio::time::interval(EVERY);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let snapshot = self.view.sample();
            if self.latest.receiver_count() > 0 {
                // Strings, numbers and maps with text keys: it cannot fail, and if it did the page would wait for the next one.
                let Ok(json) = serde_json::to_string(&snapshot) else { continue };
                self.latest.send_replace(Arc::from(json));
            }
        }
    }

    /// A place among those that stream, which is left when it is dropped; `None`: there is none.
    pub fn place(&self) -> Option<OwnedSemaphorePermit> {
        self.clients.clone().try_acquire_owned().ok()
    }

    /// The stream of one client.
    pub fn stream(&self) -> Response {
        let Some(place) = self.place() else { return full() };
        let watching = self.latest.subscribe();
        let events = stream::unfold((watching, place), |(mut watching, place)| async move {
            watching.changed().await.ok()?;
            let json = watching.borrow_and_update().clone();
            let event = Event::default().event("status").retry(Duration::from_secs(1)).data(&*json);
            Some((Ok::<Event, Infallible>(event), (watching, place)))
        });
        Sse::new(events).into_response()
    }
}

/// There is no room for another stream.
pub fn full() -> Response {
    problem(StatusCode::SERVICE_UNAVAILABLE, "too many pages are watching; close one")
}
