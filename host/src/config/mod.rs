//! The pipeline file: as written (`file`), as planned (`plan`), and what can be wrong with it (`diagnostic`).
//!
//! A file goes through `tree` (parse, profile, `--set`), `shape` (every key and value against the schema), `file` (typed),
//! `resolve` (every rule, the plan). [`load`] is all of that; no step stops at its first error.

mod address;
pub mod check;
pub mod code;
mod cql;
pub mod defaults;
pub mod diagnostic;
pub mod diff;
pub mod explain;
pub mod file;
mod grants;
pub mod graph;
mod kafka;
mod load;
mod payload;
pub mod pinned;
pub mod plan;
mod resolve;
mod resolve_cluster;
mod resolve_dashboard;
mod resolve_http;
mod resolve_source;
mod resolve_stage;
mod resolve_topic;
pub mod schema;
mod secret;
mod shape;
mod tree;
pub mod units;
mod variables;
pub mod written;

pub use load::{LoadOptions, Loaded, load, process_env, read};
pub use resolve_source::{NATIONALITIES, RANDOMUSER_RESULTS_MAX, USER_FIELDS};
pub use tree::Places;
