//! A store belongs to one host. Verbs beside a running host ask that host; when nobody has the store they open it themselves.

use std::future::Future;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::listen::to_open;
use super::{Exit, Failure, OrExit};
use crate::status::token::Token;
use crate::store::Store;

/// What a host may take to answer: a replay runs plugins.
const PATIENCE: Duration = Duration::from_secs(60);

/// A host that owns a store, by its API.
pub struct Owner {
    address: SocketAddr,
    store_dir: PathBuf,
    client: reqwest::Client,
}

/// Who has the store of a pipeline.
pub enum Keeper {
    Host(Owner),
    /// Nobody had it; this process has it now.
    Us(Store),
}

/// Asks who has the store in `store_dir`, and opens it when nobody has.
pub fn keeper(store_dir: &Path) -> Result<Keeper, Failure> {
    if !store_dir.join("store.db").exists() {
        let why =
            format!("there is no store in {} yet: run the pipeline first, or name its folder with --data", store_dir.display());
        return Err(Failure::new(Exit::Environment, why));
    }
    if let Some(owner) = owner(store_dir)? {
        return Ok(Keeper::Host(owner));
    }
    Store::open(store_dir).map(Keeper::Us).or_exit(Exit::Environment)
}

/// The running host that owns the store; `None` when nobody does.
pub fn owner(store_dir: &Path) -> Result<Option<Owner>, Failure> {
    let Some(owner) = Store::owner(store_dir).or_exit(Exit::Environment)? else { return Ok(None) };
    let Some(address) = owner.address.as_deref().and_then(|address| address.parse::<SocketAddr>().ok()) else {
        let why = format!("the store is in use by process {}, which serves no API to ask", owner.pid);
        return Err(Failure::new(Exit::Environment, why));
    };
    let client = reqwest::Client::builder()
        .no_proxy()
        .timeout(PATIENCE)
        .build()
        .context("make an HTTP client")
        .or_exit(Exit::Environment)?;
    Ok(Some(Owner { address: to_open(address), store_dir: store_dir.to_owned(), client }))
}

impl Owner {
    pub fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Failure> {
        self.read(self.client.get(self.url(path)))
    }

    /// What only those who have the token may see.
    pub fn reveal<T: DeserializeOwned>(&self, path: &str) -> Result<T, Failure> {
        self.read(self.client.get(self.url(path)).header("authorization", self.token()?.bearer()))
    }

    fn read<T: DeserializeOwned>(&self, request: reqwest::RequestBuilder) -> Result<T, Failure> {
        serde_json::from_value(self.send(request)?).context("read the host's answer").or_exit(Exit::Failed)
    }

    fn token(&self) -> Result<Token, Failure> {
        match std::env::var("TIDEMILL_TOKEN") {
            Ok(text) => Token::new(&text).or_exit(Exit::Wrong),
            Err(_) => Token::load(&self.store_dir).or_exit(Exit::Environment),
        }
    }

    /// A change, with the token that the host keeps beside its store.
    pub fn post(&self, path: &str, body: &Value) -> Result<Value, Failure> {
        let bearer = self.token()?.bearer();
        let request = self.client.post(self.url(path)).header("authorization", bearer).header("content-type", "application/json");
        self.send(request.body(body.to_string()))
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    fn send(&self, request: reqwest::RequestBuilder) -> Result<Value, Failure> {
        let asked = block_on(async {
            let response = request.send().await?;
            let status = response.status();
            Ok::<_, reqwest::Error>((status, response.bytes().await?))
        })?;
        let (status, body) = asked.with_context(|| format!("ask the host at {}", self.address)).or_exit(Exit::Environment)?;
        let answer: Value = serde_json::from_slice(&body).unwrap_or_default();
        if status.is_success() {
            return Ok(answer);
        }
        let why =
            answer["error"].as_str().map_or_else(|| format!("the host at {} answers {status}", self.address), str::to_owned);
        Err(Failure::new(Exit::Failed, why))
    }
}

/// Runs what is asynchronous in a verb that is not.
pub fn block_on<T>(work: impl Future<Output = T>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    Ok(runtime.context("start a runtime").or_exit(Exit::Environment)?.block_on(work))
}
