//! The API and the page of a running host: `/`, `/api/…`, `/metrics`, `/livez`, `/readyz`.
//!
//! It has a thread and a runtime of its own, so that no client can slow the stream; what it shows are snapshots, and what it
//! changes goes through [`Control`]. The page uses nothing but this API.

mod letters;
mod lines;

use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Instant;

use anyhow::{Context, ensure};
use axum::Router;
use axum::extract::{Path, Query, State};
use axum::http::{StatusCode, header};
use axum::middleware;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde::Deserialize;
use serde_json::json;
use tokio::sync::{Mutex, oneshot};

use super::dead_letter::ShownLetter;
use super::events::Events;
use super::follow;
use super::guard::{self, Guard, problem};
use super::late::NotYet;
use super::logs::Logs;
use super::samples::{StageDetail, shown};
use super::token::Token;
use super::view::{Showing, View};
use super::{Control, Reporter, connection, metrics, page, swaps};

/// Where to listen and whom to answer.
pub struct Listen {
    /// Port 0 lets the system choose.
    pub address: SocketAddr,
    /// Names besides `localhost`, `127.0.0.1` and `[::1]` that a client may use for this host.
    pub names: Vec<String>,
    /// Chosen by a person; without one, the token beside the store.
    pub token: Option<Token>,
    pub showing: Showing,
}

/// A running API. Ends when dropped.
pub struct Server {
    pub address: SocketAddr,
    _following: Option<follow::Following>,
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
        listen.address.ip().is_loopback() || listen.token.is_some() || listen.showing.is_public(),
        "listen at {}: an address beyond this machine needs a token of your own choice in TIDEMILL_TOKEN, or `public` in [dashboard]",
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
    let following = follow::follow(&listen.showing.logs, &logs).context("follow the log files")?;
    let guard = Arc::new(Guard::new(address, &listen.names, token, listen.showing.is_public()));
    let view = View { reporter, showing: Arc::new(listen.showing) };
    let events = Events::new(view.clone());
    let shared = Shared { view, control, logs, events: events.clone(), guard: guard.clone(), counting: Arc::default() };
    let router = routes(shared, guard);
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
    Ok(Server { address, _following: following, end: Some(end), thread: Some(thread) })
}

#[derive(Clone)]
pub(super) struct Shared {
    pub(super) view: View,
    pub(super) control: Arc<dyn Control>,
    logs: Logs,
    events: Events,
    guard: Arc<Guard>,
    /// A count reads a whole table: one at a time.
    counting: Arc<Mutex<()>>,
}

impl Shared {
    /// A letter of a list as it may be seen.
    fn seen(&self, mut letter: ShownLetter) -> ShownLetter {
        if self.view.showing.is_public() {
            letter.reason = "withheld".to_owned();
            letter.group = letter.reason.clone();
            letter.host.clear();
        }
        letter
    }
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
        .route("/api/logs", get(lines::list))
        .route("/api/logs/stream", get(lines::follow))
        .route("/api/logs/download", get(lines::download))
        .route("/api/stages", get(stages))
        .route("/api/stages/{name}/samples", get(stage_samples))
        .route("/api/samples", get(samples))
        .route("/api/sinks/{name}/count", post(count))
        .route("/api/rates", get(rates))
        .route("/api/runs", get(runs))
        .route("/api/dead-letters", get(letters::list))
        .route("/api/dead-letters/groups", get(letters::grouped))
        .route("/api/dead-letters/download", get(letters::download))
        .route("/api/dead-letters/replay", post(letters::replay_many))
        .route("/api/dead-letters/discard", post(letters::discard_many))
        .route("/api/dead-letters/{partition}/{offset}", get(letters::show))
        .route("/api/dead-letters/{partition}/{offset}/replay", post(letters::replay))
        .route("/api/dead-letters/{partition}/{offset}/discard", post(letters::discard))
        .route("/api/dead-letters/{partition}/{offset}/pin", post(letters::pin))
        .route("/api/source/pause", post(|State(shared): State<Shared>| async move { told(shared.control.pause().await) }))
        .route("/api/source/resume", post(|State(shared): State<Shared>| async move { told(shared.control.resume().await) }))
        .route("/api/source/poll", post(|State(shared): State<Shared>| async move { told(shared.control.poll_now().await) }))
        .route("/api/drain", post(|State(shared): State<Shared>| async move { told(shared.control.drain().await) }))
        .merge(swaps::routes())
        .fallback(|| async { problem(StatusCode::NOT_FOUND, "no such route") })
        .with_state(shared);
    // The guard is outside of all routes, so that none can be added without it.
    Router::new().fallback_service(api).layer(middleware::from_fn_with_state(guard, guard::stand))
}

async fn home(State(shared): State<Shared>) -> Response {
    page::home(&shared.view.snapshot())
}

async fn status(State(shared): State<Shared>) -> Response {
    axum::Json(shared.view.snapshot()).into_response()
}

async fn measured(State(shared): State<Shared>) -> Response {
    let text = metrics::text(&shared.view.snapshot());
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response()
}

async fn ready(State(shared): State<Shared>) -> Response {
    let state = shared.view.snapshot().state;
    let ready = matches!(state.as_str(), "running" | "paused" | "waiting");
    let code = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (code, format!("{state}\n")).into_response()
}

#[derive(Deserialize)]
pub(super) struct Page {
    limit: Option<usize>,
}

impl Page {
    /// Entries of one answer: 100 unless asked otherwise, never more than 1,000.
    pub(super) fn limit(&self) -> usize {
        self.limit.unwrap_or(100).min(1_000)
    }
}

#[derive(Deserialize)]
struct Seconds {
    seconds: Option<usize>,
}

async fn rates(State(shared): State<Shared>, Query(wanted): Query<Seconds>) -> Response {
    axum::Json(shared.view.reporter.rates(wanted.seconds.unwrap_or(600))).into_response()
}

async fn runs(State(shared): State<Shared>, Query(page): Query<Page>) -> Response {
    answer(shared.control.runs(page.limit()).await)
}

async fn stages(State(shared): State<Shared>) -> Response {
    let public = shared.view.showing.is_public();
    let seen = |stage: StageDetail| match public {
        true => StageDetail { settings: Default::default(), plugin: String::new(), grants: Default::default(), ..stage },
        false => stage,
    };
    answer(shared.control.stages().await.map(|stages| stages.into_iter().map(seen).collect::<Vec<_>>()))
}

async fn stage_samples(State(shared): State<Shared>, Path(stage): Path<String>, Query(page): Query<Page>) -> Response {
    if !shared.view.reporter.snapshot().stages.iter().any(|known| known.name == stage) {
        return problem(StatusCode::NOT_FOUND, "no such stage");
    }
    let samples = shared.control.samples().of_stage(&stage, page.limit(), &shared.view.showing);
    axum::Json(samples).into_response()
}

async fn samples(State(shared): State<Shared>, Query(page): Query<Page>) -> Response {
    let samples = shared.control.samples().samples.into_iter().take(page.limit());
    axum::Json(samples.map(|sample| shown(sample, &shared.view.showing)).collect::<Vec<_>>()).into_response()
}

async fn count(State(shared): State<Shared>, Path(sink): Path<String>) -> Response {
    let _one = shared.counting.lock().await;
    let began = Instant::now();
    match shared.control.count_rows(&sink).await {
        Ok(Some(rows)) => {
            let at_ms = jiff::Timestamp::now().as_millisecond();
            let took_ms = began.elapsed().as_secs_f64() * 1e3;
            axum::Json(json!({ "sink": sink, "rows": rows, "took-ms": took_ms, "at-ms": at_ms })).into_response()
        }
        Ok(None) => problem(StatusCode::NOT_FOUND, "no such sink"),
        Err(error) => problem(StatusCode::CONFLICT, &format!("{error:#}")),
    }
}

fn failed(error: &anyhow::Error) -> Response {
    let code = if error.is::<NotYet>() { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::INTERNAL_SERVER_ERROR };
    problem(code, &format!("{error:#}"))
}

fn told(done: anyhow::Result<()>) -> Response {
    answer(done.map(|()| json!({ "ok": true })))
}

pub(super) fn answer(found: anyhow::Result<impl serde::Serialize>) -> Response {
    match found {
        Ok(found) => axum::Json(found).into_response(),
        Err(error) => failed(&error),
    }
}
