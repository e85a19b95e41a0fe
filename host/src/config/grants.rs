//! What a stage's plugin may reach beyond its sandbox, as planned.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::secret::Secret;

/// What a plugin may reach. Nothing unless named.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Grants {
    pub http: Vec<HttpGrant>,
    pub env: Vec<(String, Secret)>,
    pub read: Vec<ReadGrant>,
}

/// An origin that a plugin may ask over HTTP.
#[derive(Clone, Debug, PartialEq)]
pub struct HttpGrant {
    /// Scheme, host and port; no path.
    pub origin: url::Url,
    /// Put into each request by the host: the plugin never sees them.
    pub headers: Vec<(String, Secret)>,
    /// The longest that one request may take, to the last byte of its response.
    pub timeout: Duration,
    pub response_bytes_max: u64,
}

impl HttpGrant {
    fn name(&self) -> String {
        let headers: String = self.headers.iter().map(|(name, _)| format!(" + {name}")).collect();
        format!("{}{headers}", self.origin.origin().ascii_serialization())
    }
}

/// A directory that a plugin may read.
#[derive(Clone, Debug, PartialEq)]
pub struct ReadGrant {
    pub path: PathBuf,
    /// What it is called in the plugin: as it is written in the pipeline file.
    pub name: String,
}

/// Grants without what is secret in them: for generations, receipts and people.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct GrantNames {
    pub http: Vec<String>,
    pub env: Vec<String>,
    pub read: Vec<String>,
}

impl Grants {
    pub fn names(&self) -> GrantNames {
        GrantNames {
            http: self.http.iter().map(HttpGrant::name).collect(),
            env: self.env.iter().map(|(name, _)| name.clone()).collect(),
            read: self.read.iter().map(|grant| grant.name.clone()).collect(),
        }
    }

    /// Those of these that have such names.
    pub fn only(&self, names: &GrantNames) -> Grants {
        Grants {
            http: self.http.iter().filter(|grant| names.http.contains(&grant.name())).cloned().collect(),
            env: self.env.iter().filter(|(name, _)| names.env.contains(name)).cloned().collect(),
            read: self.read.iter().filter(|grant| names.read.contains(&grant.name)).cloned().collect(),
        }
    }

    /// Whether a plugin with these may wait for something outside: it runs where nobody else has to wait for it.
    pub fn wait(&self) -> bool {
        !self.http.is_empty() || !self.read.is_empty()
    }
}

impl GrantNames {
    pub fn is_empty(&self) -> bool {
        self.http.is_empty() && self.env.is_empty() && self.read.is_empty()
    }
}
