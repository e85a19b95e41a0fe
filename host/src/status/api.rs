//! The API and the page of a running host: `/`, `/api/…`, `/metrics`, `/livez`, `/readyz`.
//!
//! It has a thread and a runtime of its own, so that no client can slow the stream; what it shows are snapshots, and what it
//! changes goes through [`Control`]. The page uses nothing but this API.

use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;

use anyhow::{Context, ensure};
use axum::Router;
use axum::body::Body;
use axum::extract::{Path, Query, State};
use axum::http::{StatusCode, header};
use axum::middleware;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde::Deserialize;
use serde_json::json;
use tokio::sync::oneshot;

use super::dead_letter::{ShownLetter, ShownPlace};
use super::events::Events;
use super::guard::{self, Guard, problem};
use super::logs::Logs;
use super::token::Token;
use super::{Control, Reporter, connection, metrics, page};
use crate::record::Place;

/// Where to listen and whom to answer.
pub struct Listen {
    /// Port 0 lets the system choose.
    pub address: SocketAddr,
    /// Names besides `localhost`, `127.0.0.1` and `[::1]` that a client may use for this host.
    pub names: Vec<String>,
    /// Chosen by a person; without one, the token beside the store.
    pub token: Option<Token>,
}

/// A running API. Ends when dropped.
pub struct Server {
    pub address: SocketAddr,
    end: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.end.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Starts the API; `store_dir` holds its token.
///
/// # Errors
/// The address cannot be bound; it lies beyond this machine and no token was chosen; the token cannot be kept.
pub fn start(
    listen: Listen,
    store_dir: &std::path::Path,
    reporter: Reporter,
    control: Arc<dyn Control>,
    logs: Logs,
) -> anyhow::Result<Server> {
    ensure!(
        listen.address.ip().is_loopback() || listen.token.is_some(),
        "listen at {}: an address beyond this machine needs a token of your own choice in TIDEMILL_TOKEN",
        listen.address
    );
    let token = match listen.token {
        Some(token) => token,
        None => Token::load_or_make(store_dir)?,
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("start the API's runtime")?;
    let listener = {
        let _context = runtime.enter();
        connection::listen(listen.address).and_then(|listener| Ok((listener.local_addr()?, listener)))
    };
    let (address, listener) = match listener {
        Ok(listener) => listener,
        Err(error) => {
            // Callers are in a runtime of their own, where to drop another one the usual way is a panic.
            runtime.shutdown_background();
            return Err(error).with_context(|| format!("listen at {}", listen.address));
        }
    };
    let guard = Arc::new(Guard::new(address, &listen.names, token));
    let events = Events::new(reporter.clone());
    let router = routes(Shared { reporter, control, logs, events: events.clone() }, guard);
    let (end, ended) = oneshot::channel();
    let serve = move || {
        runtime.block_on(async {
            tokio::select! {
                _ = ended => {}
                () = events.tick() => {}
                () = connection::serve(listener, router) => {}
            }
        });
        // Requests in flight get no further; a handler that blocks would otherwise hold the process.
        runtime.shutdown_background();
    };
    let thread = std::thread::Builder::new().name("api".to_owned()).spawn(serve).context("start the API's thread")?;
    Ok(Server { address, end: Some(end), thread: Some(thread) })
}

#[derive(Clone)]
struct Shared {
    reporter: Reporter,
    control: Arc<dyn Control>,
    logs: Logs,
    events: Events,
}

fn routes(shared: Shared, guard: Arc<Guard>) -> Router {
    let api = Router::new()
        .route("/", get(home))
        .route("/page/{name}", get(page::asset))
        .route("/livez", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .route("/metrics", get(measured))
        .route("/api/status", get(status))
        .route("/api/events", get(|State(shared): State<Shared>| async move { shared.events.stream() }))
        .route("/api/logs", get(logs))
        .route("/api/rates", get(rates))
        .route("/api/runs", get(runs))
        .route("/api/dead-letters", get(dead_letters))
        .route("/api/dead-letters/{partition}/{offset}", get(dead_letter))
        .route("/api/dead-letters/{partition}/{offset}/replay", post(replay))
        .route("/api/dead-letters/{partition}/{offset}/discard", post(discard))
        .route("/api/source/pause", post(|State(shared): State<Shared>| async move { told(shared.control.pause().await) }))
        .route("/api/source/resume", post(|State(shared): State<Shared>| async move { told(shared.control.resume().await) }))
        .route("/api/source/poll", post(|State(shared): State<Shared>| async move { told(shared.control.poll_now().await) }))
        .route("/api/drain", post(|State(shared): State<Shared>| async move { told(shared.control.drain().await) }))
        .fallback(|| async { problem(StatusCode::NOT_FOUND, "no such route") })
        .with_state(shared);
    // The guard is outside of all routes, so that none can be added without it.
    Router::new().fallback_service(api).layer(middleware::from_fn_with_state(guard, guard::stand))
}

async fn home(State(shared): State<Shared>) -> Response {
    page::home(&shared.reporter.snapshot())
}

async fn status(State(shared): State<Shared>) -> Response {
    axum::Json(shared.reporter.snapshot()).into_response()
}

async fn measured(State(shared): State<Shared>) -> Response {
    let text = metrics::text(&shared.reporter.snapshot());
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response()
}

async fn ready(State(shared): State<Shared>) -> Response {
    let state = shared.reporter.snapshot().state;
    let ready = matches!(state.as_str(), "running" | "paused" | "waiting");
    let code = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (code, format!("{state}\n")).into_response()
}

#[derive(Deserialize)]
struct Page {
    limit: Option<usize>,
}

impl Page {
    /// Entries of one answer: 100 unless asked otherwise, never more than 1,000.
    fn limit(&self) -> usize {
        self.limit.unwrap_or(100).min(1_000)
    }
}

#[derive(Deserialize)]
struct From {
    #[serde(default)]
    from: u64,
}

async fn logs(State(shared): State<Shared>, Query(wanted): Query<From>) -> Response {
    axum::Json(shared.logs.since(wanted.from)).into_response()
}

#[derive(Deserialize)]
struct Seconds {
    seconds: Option<usize>,
}

async fn rates(State(shared): State<Shared>, Query(wanted): Query<Seconds>) -> Response {
    axum::Json(shared.reporter.rates(wanted.seconds.unwrap_or(600))).into_response()
}

async fn runs(State(shared): State<Shared>, Query(page): Query<Page>) -> Response {
    answer(shared.control.runs(page.limit()).await)
}

async fn dead_letters(State(shared): State<Shared>, Query(page): Query<Page>) -> Response {
    let letters = shared.control.dead_letters(page.limit()).await;
    answer(letters.map(|letters| letters.iter().map(ShownLetter::brief).collect::<Vec<_>>()))
}

async fn dead_letter(State(shared): State<Shared>, Path(place): Path<ShownPlace>) -> Response {
    match shared.control.dead_letter(place.into()).await {
        Ok(None) => missing(),
        found => answer(found.map(|letter| letter.as_ref().map(ShownLetter::whole))),
    }
}

/// What `POST …/replay` may say.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Replay {
    #[serde(default)]
    force: bool,
}

async fn replay(State(shared): State<Shared>, Path(place): Path<ShownPlace>, body: Body) -> Response {
    let body = match guard::body_of(body).await {
        Ok(body) => body,
        Err(refusal) => return refusal,
    };
    let wanted: Replay = match serde_json::from_value(body) {
        Ok(wanted) => wanted,
        Err(error) => return problem(StatusCode::BAD_REQUEST, &format!("read the body: {error}")),
    };
    let place = Place::from(place);
    match shared.control.dead_letter(place).await {
        Ok(Some(_)) => {}
        Ok(None) => return missing(),
        Err(error) => return failed(&error),
    }
    match shared.control.replay(place, wanted.force).await {
        Ok(rejected) => axum::Json(json!({ "passed": rejected.is_none(), "reason": rejected })).into_response(),
        Err(error) => problem(StatusCode::CONFLICT, &format!("{error:#}")),
    }
}

async fn discard(State(shared): State<Shared>, Path(place): Path<ShownPlace>) -> Response {
    match shared.control.discard(place.into()).await {
        Ok(true) => axum::Json(json!({ "discarded": true })).into_response(),
        Ok(false) => missing(),
        Err(error) => failed(&error),
    }
}

fn missing() -> Response {
    problem(StatusCode::NOT_FOUND, "no such dead letter")
}

fn failed(error: &anyhow::Error) -> Response {
    problem(StatusCode::INTERNAL_SERVER_ERROR, &format!("{error:#}"))
}

fn told(done: anyhow::Result<()>) -> Response {
    answer(done.map(|()| json!({ "ok": true })))
}

fn answer(found: anyhow::Result<impl serde::Serialize>) -> Response {
    match found {
        Ok(found) => axum::Json(found).into_response(),
        Err(error) => failed(&error),
    }
}
