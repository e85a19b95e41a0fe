//! Sessions with clusters. Sinks in one keyspace of one cluster share one.

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::sync::{Arc, LazyLock, Mutex, PoisonError, Weak};
use std::time::Duration;

use scylla::client::PoolSize;
use scylla::client::execution_profile::ExecutionProfile;
use scylla::client::session::Session;
use scylla::client::session_builder::SessionBuilder;
use scylla::policies::retry::FallthroughRetryPolicy;
use secrecy::ExposeSecret;
use sha2::{Digest, Sha256};
use tokio::runtime;

use super::fault::{self, Fault};
use crate::config::plan::ClusterPlan;

/// How long one request may take before it counts as unanswered.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a session may take to be there, all hosts tried.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Requests are spread over so many connections to each node.
const CONNECTIONS_PER_HOST: NonZeroUsize = NonZeroUsize::new(2).expect("two");

/// A session lives on one runtime. Hosts, keyspace, data centre, and the user with the digest of the password.
type Key = (runtime::Id, Vec<String>, String, Option<String>, Option<(String, [u8; 32])>);

/// Held while it connects, so that sinks which start together share what comes of it.
type Slot = Arc<tokio::sync::Mutex<Weak<Session>>>;

static SESSIONS: LazyLock<Mutex<HashMap<Key, Slot>>> = LazyLock::new(Mutex::default);

/// The session of these sinks, once one of the hosts has answered.
pub(super) async fn session(plan: &ClusterPlan, hosts: &[String], keyspace: &str) -> Result<Arc<Session>, Fault> {
    let credentials = plan.credentials.as_ref();
    let credentials =
        credentials.map(|(user, password)| (user.expose_secret().to_owned(), Sha256::digest(password.expose_secret()).into()));
    let runtime = runtime::Handle::current().id();
    let key = (runtime, hosts.to_vec(), keyspace.to_owned(), plan.datacenter.clone(), credentials);
    let slot = SESSIONS.lock().unwrap_or_else(PoisonError::into_inner).entry(key).or_default().clone();
    let mut slot = slot.lock().await;
    if let Some(session) = slot.upgrade() {
        return Ok(session);
    }
    let connected = tokio::time::timeout(CONNECT_TIMEOUT, connect(plan, hosts, keyspace)).await;
    let session = connected.map_err(|_| Fault::Transient(format!("no host answered within {CONNECT_TIMEOUT:?}")))??;
    let session = Arc::new(session);
    *slot = Arc::downgrade(&session);
    Ok(session)
}

async fn connect(plan: &ClusterPlan, hosts: &[String], keyspace: &str) -> Result<Session, Fault> {
    // Every retry is the sink's own, so that it is counted and bounded.
    let profile = ExecutionProfile::builder()
        .retry_policy(Arc::new(FallthroughRetryPolicy::new()))
        .request_timeout(Some(REQUEST_TIMEOUT))
        .build();
    let mut builder = SessionBuilder::new()
        .known_nodes(hosts)
        .pool_size(PoolSize::PerHost(CONNECTIONS_PER_HOST))
        .default_execution_profile_handle(profile.into_handle())
        .keyspaces_to_fetch([keyspace])
        .fetch_full_schema_metadata(false);
    if let Some((user, password)) = &plan.credentials {
        builder = builder.user(user.expose_secret(), password.expose_secret());
    }
    if let Some(datacenter) = &plan.datacenter {
        builder = builder.prefer_datacenter(datacenter.clone());
    }
    let session = builder.build().await.map_err(|error| fault::of_connecting(&error))?;
    if let Some(wanted) = &plan.datacenter {
        let state = session.get_cluster_state();
        let known = |node: &Arc<scylla::cluster::Node>| node.datacenter.as_ref() == Some(wanted);
        if !state.get_nodes_info().iter().any(known) {
            let mut there: Vec<&str> = state.get_nodes_info().iter().filter_map(|node| node.datacenter.as_deref()).collect();
            there.sort_unstable();
            there.dedup();
            let reason = format!("no node is in data centre `{wanted}`; there is: {}", there.join(", "));
            return Err(Fault::Elsewhere(reason));
        }
    }
    Ok(session)
}
