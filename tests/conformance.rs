//! One list of what every topic must do, and one of what every table must do. Each check has a double that fails it.

#[path = "conformance/tables.rs"]
mod tables;
#[path = "conformance/topics.rs"]
mod topics;
