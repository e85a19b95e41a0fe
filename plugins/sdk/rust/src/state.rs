//! Small values by key that the host keeps for the stage, for each partition on its own: they survive restarts and other builds of the
//! plugin. What a call sets counts only if the call succeeds, and is undone if its records are delivered again.
//!
//! An error says what is beyond the stage's limit; nothing was set then. As `?` in a row it rejects the row, in a batch it is
//! `Failure::Failed`. Ask once for a whole batch where you can: each call leaves the sandbox.

use crate::fields_world::tidemill::plugin::state::{self, Entry};

/// The value of a key.
pub fn get(key: &[u8]) -> Result<Option<Vec<u8>>, String> {
    Ok(get_all(&[key])?.pop().flatten())
}

/// The values of several keys, in their order.
pub fn get_all<K: AsRef<[u8]>>(keys: &[K]) -> Result<Vec<Option<Vec<u8>>>, String> {
    let keys: Vec<Vec<u8>> = keys.iter().map(|key| key.as_ref().to_vec()).collect();
    state::get(&keys)
}

pub fn set(key: &[u8], value: &[u8]) -> Result<(), String> {
    set_all([(key, Some(value.to_vec()))])
}

pub fn remove(key: &[u8]) -> Result<(), String> {
    set_all([(key, None)])
}

/// Sets several keys, and removes those with `None`: all of them or, with an error, none.
pub fn set_all<K: AsRef<[u8]>>(entries: impl IntoIterator<Item = (K, Option<Vec<u8>>)>) -> Result<(), String> {
    let entry = |(key, value): (K, Option<Vec<u8>>)| Entry { key: key.as_ref().to_vec(), value };
    state::set(&entries.into_iter().map(entry).collect::<Vec<_>>())
}
