//! What a stage keeps by key for one partition (`tidemill:plugin/state`, delivery §9).
//!
//! Three layers: what was kept, what the calls that succeeded in this batch have set, and what the present call sets. Each is merged into
//! the one below when it counts, and thrown away when it does not, so that a call that failed, or one that only looked for a record to
//! blame, changes nothing.

use std::collections::BTreeMap;

/// Values by key; `None` removes the key.
pub type Entries = BTreeMap<Vec<u8>, Option<Vec<u8>>>;

/// The states of a partition's stages, by name.
pub type States = BTreeMap<String, StageState>;

/// What each entry counts beside its key and value: the host keeps it in memory.
const ENTRY_BYTES: u64 = 32;
/// Key and value of one entry: it must fit into a record of a topic.
const ENTRY_BYTES_MAX: usize = 256 << 10;

#[derive(Clone, Debug, Default, PartialEq)]
pub struct StageState {
    kept: BTreeMap<Vec<u8>, Vec<u8>>,
    batch: Layer,
    call: Layer,
    asked: bool,
}

/// Changes above what lies below, and how many bytes the whole has with them.
#[derive(Clone, Debug, Default, PartialEq)]
struct Layer {
    entries: Entries,
    bytes: u64,
}

fn size(key: &[u8], value: Option<&[u8]>) -> u64 {
    value.map_or(0, |value| (key.len() + value.len()) as u64 + ENTRY_BYTES)
}

impl StageState {
    /// From what was saved.
    pub fn new(kept: BTreeMap<Vec<u8>, Vec<u8>>) -> StageState {
        let bytes = kept.iter().map(|(key, value)| size(key, Some(value))).sum();
        let layer = || Layer { entries: Entries::new(), bytes };
        StageState { batch: layer(), call: layer(), kept, asked: false }
    }

    pub fn get(&self, key: &[u8]) -> Option<&[u8]> {
        let changed = self.call.entries.get(key).or_else(|| self.batch.entries.get(key));
        changed.map_or_else(|| self.kept.get(key), Option::as_ref).map(Vec::as_slice)
    }

    /// Bytes of all entries, those of the present call included.
    pub fn bytes(&self) -> u64 {
        self.call.bytes
    }

    /// As a guest reads.
    pub(super) fn read(&mut self, keys: &[Vec<u8>]) -> Vec<Option<Vec<u8>>> {
        self.asked = true;
        keys.iter().map(|key| self.get(key).map(<[u8]>::to_vec)).collect()
    }

    /// As a guest sets; the last entry of a key counts. The error says what is too large, and nothing was set.
    pub(super) fn set(&mut self, entries: Vec<(Vec<u8>, Option<Vec<u8>>)>, limit: u64) -> Result<(), String> {
        self.asked = true;
        let entries: Entries = entries.into_iter().collect();
        let large = entries.iter().find(|(key, value)| key.len() + value.as_ref().map_or(0, Vec::len) > ENTRY_BYTES_MAX);
        if let Some((key, value)) = large {
            let bytes = key.len() + value.as_ref().map_or(0, Vec::len);
            return Err(format!("state: an entry of {bytes} bytes; the most is {ENTRY_BYTES_MAX}"));
        }
        let bytes = self.with(&entries);
        if bytes > limit && bytes > self.call.bytes {
            return Err(format!(
                "state: {} entries would make it {bytes} bytes in this partition, and the stage's limit is {limit}: \
                 keep less, or raise `limits.state` of the stage",
                entries.len()
            ));
        }
        self.call.bytes = bytes;
        self.call.entries.extend(entries);
        Ok(())
    }

    /// Bytes of all with these entries set.
    fn with(&self, entries: &Entries) -> u64 {
        entries.iter().fold(self.call.bytes, |bytes, (key, value)| bytes + size(key, value.as_deref()) - size(key, self.get(key)))
    }

    /// Takes what the last call has set, to be given to [`StageState::keep_call`] if it counts.
    pub fn take_call(&mut self) -> Entries {
        self.call.bytes = self.batch.bytes;
        std::mem::take(&mut self.call.entries)
    }

    /// A call counts: later ones see what it set.
    pub fn keep_call(&mut self, entries: Entries) {
        self.take_call();
        self.call.bytes = self.with(&entries);
        self.batch.bytes = self.call.bytes;
        self.batch.entries.extend(entries);
    }

    /// Whether a call of the present batch read or set anything.
    pub fn was_asked(&self) -> bool {
        self.asked
    }

    /// A batch counts: what its calls have set, to be saved with the position.
    pub fn keep_batch(&mut self) -> Entries {
        self.take_call();
        let entries = std::mem::take(&mut self.batch.entries);
        for (key, value) in &entries {
            match value {
                Some(value) => self.kept.insert(key.clone(), value.clone()),
                None => self.kept.remove(key),
            };
        }
        self.asked = false;
        entries
    }

    /// A batch does not count.
    pub fn drop_batch(&mut self) {
        let kept = self.batch.entries.keys().map(|key| {
            let below = size(key, self.kept.get(key).map(Vec::as_slice));
            (below, size(key, self.batch.entries[key].as_deref()))
        });
        self.batch.bytes = kept.fold(self.batch.bytes, |bytes, (below, above)| bytes + below - above);
        self.batch.entries.clear();
        self.asked = false;
        self.take_call();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(key: &str, value: Option<&str>) -> (Vec<u8>, Option<Vec<u8>>) {
        (key.as_bytes().to_vec(), value.map(|value| value.as_bytes().to_vec()))
    }

    const LIMIT: u64 = 100;

    fn state() -> StageState {
        StageState::new([(b"a".to_vec(), b"1".to_vec())].into())
    }

    #[test]
    fn a_call_that_does_not_count_changes_nothing() {
        let mut state = state();
        state.set(vec![entry("a", Some("2")), entry("b", Some("1"))], LIMIT).expect("it fits");
        assert_eq!((state.get(b"a"), state.bytes()), (Some(&b"2"[..]), 68));
        let tried = state.take_call();
        assert_eq!((state.get(b"a"), state.get(b"b"), state.bytes()), (Some(&b"1"[..]), None, 34));
        state.keep_call(tried);
        assert_eq!((state.get(b"a"), state.get(b"b"), state.bytes()), (Some(&b"2"[..]), Some(&b"1"[..]), 68));
        state.drop_batch();
        assert_eq!(state, self::state());
    }

    #[test]
    fn a_batch_that_counts_gives_what_is_to_be_saved() {
        let mut state = state();
        assert!(state.keep_batch().is_empty() && !state.was_asked());
        state.set(vec![entry("a", None), entry("b", Some("1")), entry("b", Some("2"))], LIMIT).expect("it fits");
        let call = state.take_call();
        state.keep_call(call);
        assert!(state.was_asked());
        assert_eq!(state.keep_batch(), [entry("a", None), entry("b", Some("2"))].into());
        assert_eq!(state, StageState::new([(b"b".to_vec(), b"2".to_vec())].into()));
    }

    #[test]
    fn beyond_the_limit_nothing_is_set_but_what_makes_it_smaller() {
        let mut state = state();
        let refused = state.set(vec![entry("b", Some(&"x".repeat(60)))], LIMIT).expect_err("it is too much");
        assert!(refused.contains("`limits.state`") && refused.contains("127 bytes"), "{refused}");
        assert_eq!(state.bytes(), 34);
        state.set(vec![entry("a", Some(""))], 10).expect("it is smaller than it was");
        let huge = state.set(vec![entry("h", Some(&"x".repeat(300 << 10)))], u64::MAX).expect_err("one entry is too large");
        assert!(huge.contains("an entry of"), "{huge}");
    }
}
