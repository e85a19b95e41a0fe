//! Other code while records flow: through the real binary, files changed as people and tools change them, everything compared in the end.

#[path = "reload/broken.rs"]
mod broken;
#[path = "support/cuts.rs"]
mod cuts;
#[path = "reload/file.rs"]
mod file;
#[path = "reload/given.rs"]
mod given;
#[path = "reload/judged.rs"]
mod judged;
#[path = "reload/prefixes.rs"]
mod prefixes;
#[path = "reload/property.rs"]
mod property;
#[path = "reload/receipts.rs"]
mod receipts;
#[path = "reload/remote.rs"]
mod remote;
#[path = "reload/scene.rs"]
mod scene;
mod support;
#[path = "reload/swaps.rs"]
mod swaps;
#[path = "reload/together.rs"]
mod together;
#[path = "reload/watching.rs"]
mod watching;
#[path = "support/zoo.rs"]
mod zoo;
