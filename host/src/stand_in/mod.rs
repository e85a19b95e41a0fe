//! `tidemill stand-in`: a server that answers like randomuser.me, and goes wrong on demand.
//!
//! It speaks just enough HTTP/1.1 by itself, one request per connection: an answer that is cut short, dripped, or never given is
//! written byte by byte here, where a server library would rather not.

mod api;
mod fault;

use std::collections::{HashMap, VecDeque};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio::time::Instant;

pub use api::VERSION;
pub use fault::{Fault, Switch};

const HEAD_BYTES_MAX: usize = 16 << 10;
const HEAD_WITHIN: Duration = Duration::from_secs(10);
const CONNECTIONS_MAX: usize = 256;
/// Of the requests so many are remembered, the latest.
const ASKED_MAX: usize = 10_000;
/// A dripping answer gives so much at a time.
const DRIP_BYTES: usize = 1;
const DRIP_EVERY: Duration = Duration::from_millis(50);

#[derive(Clone, Debug)]
pub struct Options {
    pub faults: Vec<Switch>,
    /// Users that one client address may ask for in one window.
    pub users_max: u64,
    pub window: Duration,
}

impl Default for Options {
    /// The service's own limits.
    fn default() -> Options {
        Options { faults: Vec::new(), users_max: 20_000, window: Duration::from_secs(300) }
    }
}

/// A running stand-in; it stops when this is dropped.
pub struct Handle {
    address: SocketAddr,
    state: Arc<State>,
    accepting: JoinHandle<()>,
}

struct State {
    options: Options,
    shared: Mutex<Shared>,
    connections: Arc<Semaphore>,
}

#[derive(Default)]
struct Shared {
    faults: Vec<Switch>,
    /// Requests for users, in order, as path and query.
    asked: VecDeque<String>,
    windows: HashMap<IpAddr, (Instant, u64)>,
}

/// An answer, and how it goes out.
struct Answer {
    status: u16,
    headers: Vec<(&'static str, String)>,
    body: Vec<u8>,
    way: Way,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Whole,
    /// A few bytes at a time.
    Dripped,
    /// Half of what was announced, then the connection ends.
    Cut,
    /// Nothing, the connection stays open.
    Silence,
    /// Nothing, the connection ends.
    Dropped,
}

impl Answer {
    fn json(status: u16, body: Vec<u8>) -> Answer {
        let headers =
            vec![("content-type", "application/json; charset=utf-8".to_owned()), ("cache-control", "no-cache".to_owned())];
        Answer { status, headers, body, way: Way::Whole }
    }

    fn bare(status: u16) -> Answer {
        Answer { status, headers: Vec::new(), body: Vec::new(), way: Way::Whole }
    }
}

/// Serves on a listener until the handle is dropped.
pub fn serve(listener: TcpListener, options: Options) -> io::Result<Handle> {
    let address = listener.local_addr()?;
    let shared = Mutex::new(Shared { faults: options.faults.clone(), ..Shared::default() });
    let state = Arc::new(State { options, shared, connections: Arc::new(Semaphore::new(CONNECTIONS_MAX)) });
    let accepting = tokio::spawn(accept(listener, state.clone()));
    Ok(Handle { address, state, accepting })
}

impl Handle {
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The address of the API.
    pub fn url(&self) -> String {
        format!("http://{}/api/", self.address)
    }

    /// From now on, one fault after the other, each as often as it says; then all is well again.
    pub fn set_faults(&self, faults: impl IntoIterator<Item = Switch>) {
        self.state.lock().faults = faults.into_iter().collect();
    }

    /// Path and query of the latest requests for users, those that went wrong included.
    pub fn asked(&self) -> Vec<String> {
        self.state.lock().asked.iter().cloned().collect()
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl Shared {
    fn remember(&mut self, target: &str) {
        if self.asked.len() == ASKED_MAX {
            self.asked.pop_front();
        }
        self.asked.push_back(target.to_owned());
    }
}

impl State {
    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Whether these users are still within the client's window. The request that crosses the limit still is.
    fn allows(&self, client: IpAddr, users: u64) -> bool {
        let now = Instant::now();
        let mut shared = self.lock();
        shared.windows.retain(|_, (began, _)| now.duration_since(*began) < self.options.window);
        let (_, asked) = shared.windows.entry(client).or_insert((now, 0));
        let allowed = *asked < self.options.users_max;
        if allowed {
            *asked += users;
        }
        allowed
    }

    fn next_fault(&self) -> Option<Fault> {
        let mut shared = self.lock();
        let first = shared.faults.first_mut()?;
        let fault = first.fault;
        if let Some(times) = &mut first.times {
            *times = times.saturating_sub(1);
            if *times == 0 {
                shared.faults.remove(0);
            }
        }
        Some(fault)
    }
}

async fn accept(listener: TcpListener, state: Arc<State>) {
    loop {
        let Ok(permit) = state.connections.clone().acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, client)) => {
                let state = state.clone();
                tokio::spawn(async move {
                    let _permit = permit;
                    // A client that went away is no concern of the next one.
                    let _ = converse(stream, client.ip(), &state).await;
                });
            }
            // Too many open files and the like pass.
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}

async fn converse(mut stream: TcpStream, client: IpAddr, state: &State) -> io::Result<()> {
    let Ok(head) = tokio::time::timeout(HEAD_WITHIN, read_head(&mut stream)).await else { return Ok(()) };
    let Some((method, target)) = head? else { return Ok(()) };
    let answer = answer(&method, &target, client, state);
    send(&mut stream, answer, method == "HEAD").await
}

/// Method and target of a request; `None` where it is none.
async fn read_head(stream: &mut TcpStream) -> io::Result<Option<(String, String)>> {
    let mut head = Vec::new();
    while !head.windows(4).any(|four| four == b"\r\n\r\n") {
        let mut chunk = [0; 2048];
        let read = stream.read(&mut chunk).await?;
        if read == 0 || head.len() + read > HEAD_BYTES_MAX {
            return Ok(None);
        }
        head.extend_from_slice(&chunk[..read]);
    }
    let head = String::from_utf8_lossy(&head);
    let mut words = head.lines().next().unwrap_or_default().split(' ');
    let (Some(method), Some(target)) = (words.next(), words.next()) else { return Ok(None) };
    Ok(Some((method.to_owned(), target.to_owned())))
}

fn answer(method: &str, target: &str, client: IpAddr, state: &State) -> Answer {
    let Ok(url) = url::Url::parse("http://stand-in/").and_then(|base| base.join(target)) else { return Answer::bare(400) };
    if url.path() == fault::PATH {
        return switch(method, &url, state);
    }
    if !matches!(method, "GET" | "HEAD") {
        return Answer::bare(405);
    }
    if url.path().starts_with(fault::LOOP_PATH) {
        return fault::redirect(&url[url::Position::BeforePath..]);
    }
    let Some(request) = api::Request::of(&url) else { return Answer::bare(404) };
    if method == "HEAD" {
        // Whoever only looks whether anybody is there sees the faults of the line, and uses up none.
        return match state.lock().faults.first().map(|switch| switch.fault) {
            Some(fault @ (Fault::Refuse | Fault::Timeout)) => fault.instead(&url).unwrap_or_else(|| Answer::bare(200)),
            _ => Answer::json(200, Vec::new()),
        };
    }
    state.lock().remember(target);
    let named = url.query_pairs().filter(|(name, _)| name == "fault").last().and_then(|(_, name)| name.parse::<Switch>().ok());
    let fault = named.map(|switch| switch.fault).or_else(|| state.next_fault());
    if let Some(answer) = fault.and_then(|fault| fault.instead(&url)) {
        return answer;
    }
    if !state.allows(client, request.results as u64) {
        return Answer::json(429, br#"{"error": "too many users were asked for in a short time, wait a little"}"#.to_vec());
    }
    match fault {
        None => Answer::json(200, request.body()),
        Some(fault) => fault.spoil(request),
    }
}

/// `POST /stand-in/faults?set=NAME:times&set=…` switches faults on, without `set` all off; `GET` shows them.
fn switch(method: &str, url: &url::Url, state: &State) -> Answer {
    if method == "POST" {
        let names = url.query_pairs().filter(|(name, _)| name == "set").map(|(_, name)| name.parse());
        match names.collect::<Result<Vec<Switch>, String>>() {
            Ok(faults) => state.lock().faults = faults,
            Err(error) => return Answer::json(400, serde_json::json!({ "error": error }).to_string().into_bytes()),
        }
    }
    let on: Vec<String> = state.lock().faults.iter().map(Switch::to_string).collect();
    Answer::json(200, serde_json::json!({ "faults": on }).to_string().into_bytes())
}

async fn send(stream: &mut TcpStream, answer: Answer, head_only: bool) -> io::Result<()> {
    let Answer { status, headers, body, way } = answer;
    match way {
        Way::Dropped => return Ok(()),
        Way::Silence => {
            // Until the client has enough of it.
            let mut rest = [0; 64];
            while stream.read(&mut rest).await? > 0 {}
            return Ok(());
        }
        Way::Whole | Way::Dripped | Way::Cut => {}
    }
    let reason = reqwest::StatusCode::from_u16(status).ok().and_then(|status| status.canonical_reason()).unwrap_or("Unknown");
    let mut head = format!("HTTP/1.1 {status} {reason}\r\ncontent-length: {}\r\nconnection: close\r\n", body.len());
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str("\r\n");
    stream.write_all(head.as_bytes()).await?;
    if !head_only {
        match way {
            Way::Dripped => {
                for drop in body.chunks(DRIP_BYTES) {
                    stream.write_all(drop).await?;
                    stream.flush().await?;
                    tokio::time::sleep(DRIP_EVERY).await;
                }
            }
            Way::Cut => stream.write_all(&body[..body.len() / 2]).await?,
            Way::Whole | Way::Silence | Way::Dropped => stream.write_all(&body).await?,
        }
    }
    stream.shutdown().await
}
