//! Compiled code between starts, trusted only when it is provably ours.
//!
//! Compiled code is machine code that runs with the host's rights: deserialising a changed file is as good as running it.
//! So entries carry an HMAC under a key that only this installation has, in a folder that only its user may enter. Whatever does
//! not fit is a miss, and the plugin is compiled afresh; no failure of the cache is a failure of the host.
//!
//! With each entry that is written, those go that nobody has used for 30 days, and beyond 1 GiB those that were used longest ago. What a
//! plugin of this process was loaded from stays: its next start, or an older generation, should not wait for a compiler.

use std::collections::HashSet;
use std::fs::{self, File, OpenOptions};
use std::hash::{Hash, Hasher};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, SystemTime};

use hmac::{Hmac, KeyInit, Mac};
use rustix::fs::OFlags;
use sha2::{Digest, Sha256};
use wasmtime::component::Component;

use super::compile::CODE_BYTES_MAX;
use super::load::hex;

/// The key's file inside the folder, and lengths in bytes.
const KEY_FILE: &str = "key";
const KEY_BYTES: usize = 32;
const TAG_BYTES: usize = 32;
/// Bounds what a planted file makes us read.
const ENTRY_BYTES_MAX: u64 = CODE_BYTES_MAX + TAG_BYTES as u64;
/// What all entries together may have, and how long one stays unused.
const BYTES_MAX: u64 = 1 << 30;
const UNUSED_MAX: Duration = Duration::from_secs(30 * 24 * 3600);
/// A file that is being written for longer belongs to nobody any more.
const WRITING_MAX: Duration = Duration::from_secs(3600);
const WRITING: &str = ".writing-";

/// A folder of compiled plugins.
pub struct Cache {
    dir: PathBuf,
    key: [u8; KEY_BYTES],
    /// Entries of plugins that this process may still have.
    held: Mutex<Vec<(PathBuf, Weak<()>)>>,
}

/// Keeps an entry in the cache for as long as there is one of it.
pub(super) type Hold = Arc<()>;

impl Cache {
    /// Opens the cache in `dir`, making it (0700) and its key (0600) where absent.
    ///
    /// # Errors
    /// The folder cannot be made, belongs to another user, can be entered by others, or is a link.
    pub fn open(dir: &Path) -> io::Result<Cache> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
        let meta = fs::symlink_metadata(dir)?;
        let refuse = |why: &str| io::Error::new(io::ErrorKind::PermissionDenied, format!("{} {why}", dir.display()));
        if !meta.is_dir() {
            return Err(refuse("is not a folder"));
        }
        if meta.uid() != rustix::process::geteuid().as_raw() {
            return Err(refuse("belongs to another user"));
        }
        if meta.mode() & 0o077 != 0 {
            return Err(refuse("can be entered by others: its mode must be 0700"));
        }
        let key = read_or_make_key(dir)?;
        Ok(Cache { dir: dir.to_owned(), key, held: Mutex::default() })
    }

    /// Where caches are by default: `tidemill` in `$XDG_CACHE_HOME`, else in `~/.cache`. `None`: there is no home.
    pub fn default_dir() -> Option<PathBuf> {
        let absolute = |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
        let base = absolute("XDG_CACHE_HOME").or_else(|| absolute("HOME").map(|home| home.join(".cache")))?;
        Some(base.join("tidemill"))
    }

    /// Where the code of a component is kept, whether or not it is there.
    pub fn path(&self, engine: &wasmtime::Engine, digest: &str) -> PathBuf {
        self.dir.join(format!("{}.code", entry_name(engine, digest)))
    }

    pub(super) fn get(&self, engine: &wasmtime::Engine, digest: &str) -> Option<Component> {
        let entry = self.read(engine, digest)?;
        // SAFETY: the tag proves that these very bytes, now in our memory, were serialised by this installation for this
        // wasmtime, these engine settings and this component.
        let component = unsafe { Component::deserialize(engine, entry.get(TAG_BYTES..)?) }.ok()?;
        used_now(&self.path(engine, digest));
        Some(component)
    }

    /// Keeps the entry of a component for as long as what this returns.
    pub(super) fn hold(&self, engine: &wasmtime::Engine, digest: &str) -> Hold {
        let hold = Hold::default();
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.retain(|(_, hold)| hold.strong_count() > 0);
        held.push((self.path(engine, digest), Arc::downgrade(&hold)));
        hold
    }

    /// An entry that is provably ours, tag and code.
    fn read(&self, engine: &wasmtime::Engine, digest: &str) -> Option<Vec<u8>> {
        let path = self.path(engine, digest);
        let entry = match read_private(&path, ENTRY_BYTES_MAX) {
            Ok(entry) => entry,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
            Err(error) => {
                tracing::warn!(path = %path.display(), "compiled code is not used: {error}");
                return None;
            }
        };
        let proven = entry
            .split_first_chunk::<TAG_BYTES>()
            .is_some_and(|(tag, code)| self.mac(&entry_name(engine, digest), code).verify_slice(tag).is_ok());
        if !proven {
            tracing::warn!(path = %path.display(), "compiled code is not used: it is not what this installation wrote");
        }
        proven.then_some(entry)
    }

    /// `code` is a component's, serialised.
    pub(super) fn put(&self, engine: &wasmtime::Engine, digest: &str, code: &[u8]) {
        if let Err(error) = self.try_put(engine, digest, code) {
            tracing::warn!(path = %self.dir.display(), "compiled code is not kept: {error}");
        }
        if let Err(error) = self.drop_unused() {
            tracing::warn!(path = %self.dir.display(), "old compiled code is not removed: {error}");
        }
    }

    fn try_put(&self, engine: &wasmtime::Engine, digest: &str, code: &[u8]) -> io::Result<()> {
        let tag = self.mac(&entry_name(engine, digest), code).finalize().into_bytes();
        let mut file = tempfile::Builder::new().prefix(WRITING).tempfile_in(&self.dir)?;
        file.write_all(&tag)?;
        file.write_all(code)?;
        // Without a sync: a file cut short by a crash has a wrong tag, and is a miss.
        file.persist(self.path(engine, digest)).map_err(|error| error.error)?;
        Ok(())
    }

    fn drop_unused(&self) -> io::Result<()> {
        let held: HashSet<PathBuf> = {
            let held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
            held.iter().filter(|(_, hold)| hold.strong_count() > 0).map(|(path, _)| path.clone()).collect()
        };
        // Other hosts that share the folder should see that they are in use.
        held.iter().for_each(|path| used_now(path));
        let now = SystemTime::now();
        let mut entries = Vec::new();
        for entry in fs::read_dir(&self.dir)? {
            // Another host may remove it at the same time.
            let Ok((path, Ok(meta))) = entry.map(|entry| (entry.path(), entry.metadata())) else { continue };
            let unused = meta.modified().map_or(Duration::ZERO, |used| now.duration_since(used).unwrap_or_default());
            let is_writing = path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(WRITING.as_bytes()));
            if is_writing && unused > WRITING_MAX {
                let _ = fs::remove_file(path);
            } else if meta.is_file() && path.extension().is_some_and(|extension| extension == "code") {
                entries.push((unused, meta.len(), path));
            }
        }
        entries.sort_unstable();
        let mut bytes = 0;
        for (unused, len, path) in entries {
            bytes += len;
            if (unused > UNUSED_MAX || bytes > BYTES_MAX) && !held.contains(&path) {
                bytes -= len;
                let _ = fs::remove_file(path);
            }
        }
        Ok(())
    }

    fn mac(&self, name: &str, code: &[u8]) -> Hmac<Sha256> {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.key).expect("HMAC takes a key of any length");
        mac.update(name.as_bytes());
        mac.update(code);
        mac
    }
}

fn used_now(path: &Path) {
    // One that is gone, or is written anew, is as good as another.
    let _ = File::open(path).and_then(|file| file.set_modified(SystemTime::now()));
}

/// Of fixed length, and different for each component, version of wasmtime (its hash holds it) and engine setting.
fn entry_name(engine: &wasmtime::Engine, digest: &str) -> String {
    struct Sha(Sha256);
    impl Hasher for Sha {
        fn write(&mut self, bytes: &[u8]) {
            self.0.update(bytes);
        }
        fn finish(&self) -> u64 {
            0
        }
    }
    let mut sha = Sha(Sha256::new());
    env!("CARGO_PKG_VERSION").hash(&mut sha);
    engine.precompile_compatibility_hash().hash(&mut sha);
    digest.hash(&mut sha);
    hex(&sha.0.finalize())
}

/// Reads a file that must be ours alone. The whole file is in memory before anything of it is believed.
fn read_private(path: &Path, bytes_max: u64) -> io::Result<Vec<u8>> {
    let file = OpenOptions::new().read(true).custom_flags(OFlags::NOFOLLOW.bits() as i32).open(path)?;
    let meta = file.metadata()?;
    let refuse = |why: &str| Err(io::Error::new(io::ErrorKind::PermissionDenied, why.to_owned()));
    if !meta.is_file() {
        return refuse("it is not a plain file");
    }
    if meta.uid() != rustix::process::geteuid().as_raw() {
        return refuse("it belongs to another user");
    }
    if meta.mode() & 0o077 != 0 {
        return refuse("others may read or write it");
    }
    if meta.len() > bytes_max {
        return refuse("it is too large");
    }
    let mut bytes = Vec::with_capacity(meta.len() as usize);
    file.take(bytes_max).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn read_or_make_key(dir: &Path) -> io::Result<[u8; KEY_BYTES]> {
    let path = dir.join(KEY_FILE);
    match read_private(&path, KEY_BYTES as u64) {
        Ok(bytes) if bytes.len() == KEY_BYTES => return Ok(bytes.try_into().expect("the length is right")),
        Ok(_) => fs::remove_file(&path)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let mut key = [0; KEY_BYTES];
    File::open("/dev/urandom")?.read_exact(&mut key)?;
    let mut file = tempfile::Builder::new().prefix(WRITING).permissions(fs::Permissions::from_mode(0o600)).tempfile_in(dir)?;
    file.write_all(&key)?;
    file.as_file().sync_all()?;
    match file.persist_noclobber(&path) {
        Ok(_) => Ok(key),
        // Another host made one in the meantime: that one counts.
        Err(error) if error.error.kind() == io::ErrorKind::AlreadyExists => {
            let bytes = read_private(&path, KEY_BYTES as u64)?;
            bytes.try_into().map_err(|_| io::Error::other("the key of the cache has a wrong length"))
        }
        Err(error) => Err(error.error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plugin::engine;

    /// Single bits at random all over an entry; the seed is printed when it fails.
    #[test]
    fn no_flipped_bit_reaches_the_loader() {
        const FLIPS: usize = 3_000;
        let dir = tempfile::tempdir().expect("a folder");
        let cache = Cache::open(&dir.path().join("compiled")).expect("a cache");
        let engine = wasmtime::Engine::new(&engine::config(engine::STACK_BYTES_MAX)).expect("an engine");
        let component =
            "(component (core module (func (export \"f\") (param i32) (result i32) (i32.mul (local.get 0) (local.get 0)))))";
        let code = engine.precompile_component(component.as_bytes()).expect("code");
        cache.put(&engine, "digest", &code);
        let path = cache.path(&engine, "digest");
        let mut entry = fs::read(&path).expect("the entry");
        let given = std::env::var("TIDEMILL_FLIP_SEED").ok().map(|seed| seed.parse().expect("TIDEMILL_FLIP_SEED is a number"));
        let seed: u64 = given.unwrap_or_else(|| jiff::Timestamp::now().as_nanosecond() as u64);
        let mut random = seed;
        for flip in 0..FLIPS {
            // Knuth's MMIX generator; its upper bits are good enough for places.
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            // The whole of the tag first.
            let bit = if flip < 8 * TAG_BYTES { flip } else { (random >> 24) as usize % (8 * entry.len()) };
            entry[bit / 8] ^= 1 << (bit % 8);
            fs::write(&path, &entry).expect("write the entry");
            assert!(cache.read(&engine, "digest").is_none(), "bit {bit} of {}, TIDEMILL_FLIP_SEED={seed}", 8 * entry.len());
            entry[bit / 8] ^= 1 << (bit % 8);
        }
        fs::write(&path, &entry).expect("write the entry");
        assert!(cache.get(&engine, "digest").is_some(), "the entry as it was is ours");
        cache.put(&engine, "other", &code);
        fs::copy(cache.path(&engine, "other"), &path).expect("swap the entries");
        assert!(cache.read(&engine, "digest").is_none(), "the same code under another name");
    }
}
