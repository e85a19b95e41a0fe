//! Plugins: the engine and its limits, the cache of compiled code, what is not a plugin, and every language on the same cases.

#[path = "support/cuts.rs"]
mod cuts;
mod plugins {
    pub mod build;
    pub mod cache;
    pub mod cases;
    pub mod compile;
    pub mod grants;
    pub mod hostile;
    pub mod inspect;
    pub mod prefixes;
    pub mod rows;
    pub mod wrong;
}
mod support;
