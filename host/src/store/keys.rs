//! Which row of a table holds a key: the newest keys in memory, all others in a b-tree.
//!
//! A b-tree that gets random keys commit by commit writes about a page (4 KiB) for each of them. Here new keys stay in memory until they
//! take [`RECENT_BYTES`]; then they are merged in their order, a slice with each write, so that one page is written for many keys. Nothing is
//! lost with the memory: keys lie in their rows too, and those that are not merged yet are read back from there. The idea is the
//! log-structured merge-tree (O'Neil, Cheng, Gawlick, O'Neil 1996), with two components, and a Bloom filter in front of the larger one: a new
//! key would cost the read of a page to find that it is not there.

use std::hash::{BuildHasher, RandomState};
use std::sync::{Mutex, MutexGuard, PoisonError};

use fastbloom::BloomFilter;
use hashbrown::HashTable;
use rusqlite::types::ValueRef;
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::Error;

/// What keys may take in memory before they are merged, and as much again while they are: some 380,000 uuids.
const RECENT_BYTES: usize = 12 << 20;
/// What a key takes beside its own bytes.
const ENTRY_BYTES: usize = 17;
/// Keys merged with a write that brings none.
const SLICE_MIN: usize = 500;
/// 8 MiB for each table that has more keys than fit into memory: of 12 million keys it takes one in ten for known that is not, of 50 million
/// most.
const FILTER_BITS: usize = 64 << 20;
const FILTER_HASHES: u32 = 4;
/// Keys of the b-tree taken into the filter for each that comes in, after a start.
const SCANNED_PER_KEY: usize = 8;

/// The keys of one table. All handles to it must be this one, see [`super::Store::keys`].
pub struct Keys {
    /// Name of the table in `tables`.
    table: String,
    /// Makes the b-tree.
    create: String,
    /// `@row` and key of the rows above a row, ascending.
    unmerged: String,
    last: String,
    find: String,
    put: String,
    remove: String,
    scan: String,
    recent_bytes: usize,
    slice_min: usize,
    state: Mutex<State>,
}

/// What is in memory. It holds as long as the store counts as many writes.
#[derive(Default)]
struct State {
    writes: Option<i64>,
    /// The last row that was given. None is given twice, also when the last ones were removed: what lies at or below a merged row is merged.
    last: i64,
    recent: Tier,
    merging: Option<Merging>,
    filter: Filter,
}

/// Which keys the b-tree may hold.
#[derive(Default)]
struct Filter {
    /// Made for the first key.
    bits: Option<BloomFilter<RandomState>>,
    /// All of the tree up to here is in it.
    scanned: Vec<u8>,
    /// All of the tree is in it.
    complete: bool,
}

struct Merging {
    tier: Tier,
    /// Entries of the tier, ascending by key.
    order: Vec<u32>,
    /// How many of them are merged.
    merged: usize,
    /// The last row of the tier.
    upto: i64,
}

/// Keys of a table during one write. Everything it does is part of the transaction.
pub struct Writing<'a> {
    keys: &'a Keys,
    connection: &'a Connection,
    state: MutexGuard<'a, State>,
    inserted: usize,
}

impl Keys {
    /// `rows` is the stored table and `columns` its key, all quoted.
    pub(super) fn new(table: &str, rows: &str, row: &str, columns: &[String]) -> Keys {
        let tree = format!("\"{}:keys\"", table.replace('"', "\"\""));
        Keys {
            table: table.to_owned(),
            create: format!("CREATE TABLE IF NOT EXISTS {tree} (key BLOB PRIMARY KEY, row INTEGER NOT NULL) WITHOUT ROWID"),
            unmerged: format!("SELECT {row}, {} FROM {rows} WHERE {row} > ?1 ORDER BY {row}", columns.join(", ")),
            last: format!("SELECT coalesce(max({row}), 0) FROM {rows}"),
            find: format!("SELECT row FROM {tree} WHERE key = ?1"),
            put: format!("INSERT OR REPLACE INTO {tree} (key, row) VALUES (?1, ?2)"),
            remove: format!("DELETE FROM {tree} WHERE key = ?1"),
            scan: format!("SELECT key FROM {tree} WHERE key >= ?1 ORDER BY key LIMIT ?2"),
            recent_bytes: RECENT_BYTES,
            slice_min: SLICE_MIN,
            state: Mutex::default(),
        }
    }

    /// Within a transaction of the writer, once for each write of rows.
    pub fn writing<'a>(&'a self, connection: &'a Connection) -> Result<Writing<'a>, Error> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let counted = "SELECT writes, merged FROM tables WHERE name = ?1";
        let (writes, merged): (i64, i64) =
            connection.prepare_cached(counted)?.query_row([&self.table], |row| Ok((row.get(0)?, row.get(1)?)))?;
        // Another count: the store was just opened, or a transaction with our changes was undone.
        if state.writes != Some(writes) {
            // What was removed and came back is not in the filter, if that had passed its place meanwhile.
            let filter = Filter { bits: state.filter.bits.take(), ..Filter::default() };
            *state = self.load(connection, merged, filter)?;
        }
        // Until it has ended well, what is in memory may be ahead of the store.
        state.writes = None;
        Ok(Writing { keys: self, connection, state, inserted: 0 })
    }

    fn load(&self, connection: &Connection, merged: i64, filter: Filter) -> Result<State, Error> {
        connection.execute(&self.create, [])?;
        let mut recent = Tier::default();
        let mut unmerged = connection.prepare_cached(&self.unmerged)?;
        let mut rows = unmerged.query([merged])?;
        let mut key = Vec::new();
        while let Some(row) = rows.next()? {
            read(row, 1, &mut key)?;
            recent.insert(&key, row.get(0)?);
        }
        let last: i64 = connection.query_row(&self.last, [], |row| row.get(0))?;
        Ok(State { writes: None, last: last.max(merged), recent, merging: None, filter })
    }
}

impl Writing<'_> {
    pub fn find(&self, key: &[u8]) -> Result<Option<i64>, Error> {
        if let Some(row) = self.state.recent.find(key) {
            return Ok(Some(row));
        }
        if let Some(row) = self.state.merging.as_ref().and_then(|merging| merging.tier.find(key)) {
            return Ok(Some(row));
        }
        if !self.state.filter.may_hold(key) {
            return Ok(None);
        }
        Ok(self.connection.prepare_cached(&self.keys.find)?.query_row([key], |row| row.get(0)).optional()?)
    }

    /// Takes in a key that was not there, and says which row is its.
    pub fn insert(&mut self, key: &[u8]) -> i64 {
        self.inserted += 1;
        let state = &mut *self.state;
        state.last += 1;
        state.recent.insert(key, state.last);
        state.last
    }

    /// The key's row is gone.
    pub fn remove(&mut self, key: &[u8]) -> Result<(), Error> {
        self.state.recent.remove(key);
        if let Some(merging) = &mut self.state.merging {
            merging.tier.remove(key);
        }
        self.connection.prepare_cached(&self.keys.remove)?.execute([key])?;
        Ok(())
    }

    /// Merges a slice, and counts the write.
    pub fn end(mut self) -> Result<(), Error> {
        let state = &mut *self.state;
        if !state.filter.complete {
            let slice = (SCANNED_PER_KEY * self.inserted).max(self.keys.slice_min);
            state.filter.scan(self.connection, &self.keys.scan, slice)?;
        }
        if state.merging.is_none() && state.recent.size() >= self.keys.recent_bytes {
            state.merging = Some(Merging::of(std::mem::take(&mut state.recent), state.last));
        }
        let mut merged = None;
        if let Some(merging) = &mut state.merging {
            // Twice as many as come in: it ends before memory is full again.
            let slice = (2 * self.inserted).max(self.keys.slice_min);
            let mut put = self.connection.prepare_cached(&self.keys.put)?;
            for entry in merging.order.iter().skip(merging.merged).take(slice) {
                if let Some((key, row)) = merging.tier.get(*entry) {
                    state.filter.add(key);
                    put.execute(params![key, row])?;
                }
            }
            merging.merged += slice;
            if merging.merged >= merging.order.len() {
                merged = Some(merging.upto);
            }
        }
        if merged.is_some() {
            state.merging = None;
        }
        let count = "UPDATE tables SET writes = writes + 1, merged = coalesce(?2, merged) WHERE name = ?1 RETURNING writes";
        let writes = self.connection.prepare_cached(count)?.query_row(params![self.keys.table, merged], |row| row.get(0))?;
        state.writes = Some(writes);
        Ok(())
    }
}

impl Filter {
    fn may_hold(&self, key: &[u8]) -> bool {
        !self.complete || self.bits.as_ref().is_some_and(|bits| bits.contains(key))
    }

    fn add(&mut self, key: &[u8]) {
        let make = || BloomFilter::with_num_bits(FILTER_BITS).hasher(RandomState::new()).hashes(FILTER_HASHES);
        self.bits.get_or_insert_with(make).insert(key);
    }

    /// Takes in the next keys of the tree.
    fn scan(&mut self, connection: &Connection, select: &str, keys: usize) -> Result<(), Error> {
        let mut select = connection.prepare_cached(select)?;
        let mut rows = select.query(params![self.scanned, keys])?;
        let mut scanned = 0;
        while let Some(row) = rows.next()? {
            let key = row.get_ref(0)?.as_blob().map_err(rusqlite::Error::from)?;
            self.add(key);
            // The next slice begins with the last key of this one.
            key.clone_into(&mut self.scanned);
            scanned += 1;
        }
        self.complete = scanned < keys;
        Ok(())
    }
}

impl Merging {
    fn of(tier: Tier, upto: i64) -> Merging {
        // Most keys differ in their first bytes, which lie together here.
        let mut order: Vec<(u64, u32)> = (0..tier.ends.len() as u32).map(|entry| (prefix(tier.key(entry)), entry)).collect();
        order.sort_unstable_by(|(a, at), (b, other)| a.cmp(b).then_with(|| tier.key(*at).cmp(tier.key(*other))));
        Merging { order: order.into_iter().map(|(_, entry)| entry).collect(), tier, merged: 0, upto }
    }
}

fn prefix(key: &[u8]) -> u64 {
    let mut first = [0; 8];
    let len = key.len().min(8);
    first[..len].copy_from_slice(&key[..len]);
    u64::from_be_bytes(first)
}

/// Keys in one buffer, their rows, and a table that finds them.
#[derive(Default)]
struct Tier {
    bytes: Vec<u8>,
    ends: Vec<u32>,
    /// [`GONE`] where the key was removed.
    rows: Vec<i64>,
    entries: HashTable<u32>,
    hasher: RandomState,
}

const GONE: i64 = -1;

impl Tier {
    fn size(&self) -> usize {
        self.bytes.len() + self.ends.len() * ENTRY_BYTES
    }

    fn key(&self, entry: u32) -> &[u8] {
        key_of(&self.bytes, &self.ends, entry)
    }

    fn get(&self, entry: u32) -> Option<(&[u8], i64)> {
        let row = self.rows[entry as usize];
        (row != GONE).then(|| (self.key(entry), row))
    }

    fn find(&self, key: &[u8]) -> Option<i64> {
        let found = self.entries.find(self.hasher.hash_one(key), |entry| self.key(*entry) == key)?;
        Some(self.rows[*found as usize])
    }

    fn insert(&mut self, key: &[u8], row: i64) {
        let entry = self.ends.len() as u32;
        self.bytes.extend_from_slice(key);
        self.ends.push(self.bytes.len() as u32);
        self.rows.push(row);
        let (bytes, ends, hasher) = (&self.bytes, &self.ends, &self.hasher);
        let hash = |entry: &u32| hasher.hash_one(key_of(bytes, ends, *entry));
        self.entries.insert_unique(hasher.hash_one(key), entry, hash);
    }

    fn remove(&mut self, key: &[u8]) {
        let hash = self.hasher.hash_one(key);
        let (bytes, ends) = (&self.bytes, &self.ends);
        if let Ok(found) = self.entries.find_entry(hash, |entry| key_of(bytes, ends, *entry) == key) {
            let (entry, _) = found.remove();
            self.rows[entry as usize] = GONE;
        }
    }
}

fn key_of<'a>(bytes: &'a [u8], ends: &[u32], entry: u32) -> &'a [u8] {
    let at = entry as usize;
    let start = if at == 0 { 0 } else { ends[at - 1] };
    &bytes[start as usize..ends[at] as usize]
}

/// The key in the columns of a row from `first` on.
pub fn read(row: &Row<'_>, first: usize, key: &mut Vec<u8>) -> Result<(), Error> {
    let columns = row.as_ref().column_count();
    key.clear();
    for at in first..columns {
        push(key, row.get_ref(at)?, columns == first + 1);
    }
    Ok(())
}

/// Adds a column to a key. Types do not change under a table, so equal keys are equal bytes and others are not. `alone`: it is the only one.
pub fn push(key: &mut Vec<u8>, value: ValueRef<'_>, alone: bool) {
    match value {
        ValueRef::Null => {}
        ValueRef::Integer(value) => key.extend_from_slice(&value.to_be_bytes()),
        ValueRef::Real(value) => key.extend_from_slice(&value.to_bits().to_be_bytes()),
        ValueRef::Text(bytes) | ValueRef::Blob(bytes) => {
            if !alone {
                key.extend_from_slice(&(bytes.len() as u64).to_be_bytes());
            }
            key.extend_from_slice(bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Debug)]
    enum Step {
        /// Keys of one write; it is undone in the end, or it stays.
        Write {
            keys: Vec<u16>,
            undone: bool,
        },
        Remove {
            key: u16,
            undone: bool,
        },
        /// The process ends.
        Restart,
    }

    fn step() -> impl Strategy<Value = Step> {
        let keys = prop::collection::vec(0..400_u16, 1..40);
        prop_oneof![
            8 => (keys, prop::bool::weighted(0.2)).prop_map(|(keys, undone)| Step::Write { keys, undone }),
            2 => (0..400_u16, prop::bool::weighted(0.3)).prop_map(|(key, undone)| Step::Remove { key, undone }),
            1 => Just(Step::Restart),
        ]
    }

    fn keys() -> Keys {
        Keys { recent_bytes: 50 * (8 + ENTRY_BYTES), slice_min: 5, ..Keys::new("t", "rows", "\"@row\"", &["k".to_owned()]) }
    }

    /// Upserts keys as a table does, and tells which row each has.
    fn write(keys: &Keys, connection: &Connection, of: &[u16]) -> Vec<(u16, i64)> {
        let mut writing = keys.writing(connection).expect("the table is there");
        let mut rows = Vec::new();
        for key in of {
            let bytes = i64::from(*key).to_be_bytes();
            let row = writing.find(&bytes).expect("find a key").unwrap_or_else(|| {
                let row = writing.insert(&bytes);
                connection.execute("INSERT INTO rows VALUES (?1, ?2)", params![row, key]).expect("insert a row");
                row
            });
            rows.push((*key, row));
        }
        writing.end().expect("end a write");
        rows
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn a_key_keeps_its_row_whatever_is_merged_undone_removed_or_forgotten(steps in prop::collection::vec(step(), 1..80)) {
            let connection = Connection::open_in_memory().expect("a database in memory");
            let schema = "CREATE TABLE tables (name TEXT PRIMARY KEY, writes INTEGER NOT NULL, merged INTEGER NOT NULL);
                INSERT INTO tables VALUES ('t', 0, 0); CREATE TABLE rows (\"@row\" INTEGER PRIMARY KEY, k INTEGER)";
            connection.execute_batch(schema).expect("a schema");
            let (mut keys_of, mut known) = (keys(), HashMap::new());
            for step in steps {
                match step {
                    Step::Write { keys, undone } => {
                        connection.execute_batch("BEGIN").expect("begin");
                        let rows = write(&keys_of, &connection, &keys);
                        connection.execute_batch(if undone { "ROLLBACK" } else { "COMMIT" }).expect("end");
                        if !undone {
                            known.extend(rows);
                        }
                    }
                    Step::Remove { key, undone } => {
                        connection.execute_batch("BEGIN").expect("begin");
                        let mut writing = keys_of.writing(&connection).expect("the table is there");
                        connection.execute("DELETE FROM rows WHERE k = ?1", [key]).expect("delete a row");
                        writing.remove(&i64::from(key).to_be_bytes()).expect("remove a key");
                        writing.end().expect("end a write");
                        connection.execute_batch(if undone { "ROLLBACK" } else { "COMMIT" }).expect("end");
                        if !undone {
                            known.remove(&key);
                        }
                    }
                    Step::Restart => keys_of = keys(),
                }
                let writing = keys_of.writing(&connection).expect("the table is there");
                for key in 0..400_u16 {
                    let row = writing.find(&i64::from(key).to_be_bytes()).expect("find a key");
                    prop_assert_eq!(row, known.get(&key).copied(), "key {}", key);
                }
                writing.end().expect("end a write");
                let mut select = connection.prepare_cached("SELECT k, \"@row\" FROM rows").expect("the table is there");
                let stored = select.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).expect("read rows");
                let stored: HashMap<u16, i64> = stored.collect::<Result<_, _>>().expect("read rows");
                prop_assert_eq!(&stored, &known);
            }
        }
    }
}
