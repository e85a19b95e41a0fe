//! Tidemill: an embedded host for stream pipelines whose transforms are WebAssembly plugins.
//!
//! Modules stand in the order in which a record meets them; `host/README.md` is the map.

pub mod bench;
pub mod cli;
pub mod config;
pub mod crash;
pub mod kafka;
pub mod pipeline;
pub mod plugin;
pub mod record;
pub mod schedule;
pub mod sink;
pub mod source;
pub mod stand_in;
pub mod status;
pub mod store;
pub mod topic;
pub mod transform;
pub mod verify;
