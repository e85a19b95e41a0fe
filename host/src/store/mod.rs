//! The one SQLite file that a host keeps for a pipeline: log, cursors, positions, result tables, dead letters, runs, components.
//!
//! One thread writes. It takes every write that waits, runs each in a savepoint of one transaction, commits durably, and answers all
//! (group commit). Others read on connections of their own.

use std::sync::Arc;

use rusqlite::Connection;

#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// The disk is full: the write waits and is tried again; nothing is lost.
    #[error("the disk is full: {0}")]
    Full(String),
    #[error("{0}")]
    Sqlite(String),
    /// Another host owns the store; its address, if it serves one.
    #[error("the store is in use by another host{}", .0.as_deref().map(|at| format!(" at {at}")).unwrap_or_default())]
    Owned(Option<String>),
    #[error("{0}")]
    Io(String),
}

/// A write that can be run again: after a full disk the whole transaction is repeated.
pub type Write = Arc<dyn Fn(&Connection) -> Result<(), Error> + Send + Sync>;

/// Handle to an open store; cheap to clone.
#[derive(Clone)]
pub struct Store {}
