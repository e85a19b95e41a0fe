//! Sources and the ingest leg: what they bring, and what they do when it goes wrong on the way.

mod support;

#[path = "sources/canned.rs"]
mod canned;
#[path = "sources/conformance.rs"]
mod conformance;
#[path = "sources/faults.rs"]
mod faults;
#[path = "sources/file.rs"]
mod file;
#[path = "sources/flaky.rs"]
mod flaky;
#[path = "sources/generator.rs"]
mod generator;
#[path = "sources/http.rs"]
mod http;
#[path = "sources/ingest.rs"]
mod ingest;
#[path = "sources/randomuser.rs"]
mod randomuser;
#[path = "sources/schedule.rs"]
mod schedule;
#[path = "sources/stand_in.rs"]
mod stand_in;
#[path = "sources/world.rs"]
mod world;
