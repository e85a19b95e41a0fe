//! Compiled code is used only when it is provably what this installation wrote: anything else is a miss, and a compilation.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use tempfile::TempDir;
use tidemill::plugin::{Cache, Compiler, Engine, InstanceConfig, Plugin};

use super::wrong::{FIELDS, UNCHANGED, component};

/// A cache of its own with the code of one small plugin in it.
struct Case {
    dir: TempDir,
    component: Vec<u8>,
}

impl Case {
    fn new() -> Case {
        let case = Case { dir: tempfile::tempdir().expect("a folder"), component: component(UNCHANGED, FIELDS) };
        assert!(!case.load().from_cache, "nothing is there at first");
        assert!(case.load().from_cache, "it is there the second time");
        case
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("compiled")
    }

    /// As a host does that starts afresh.
    fn load(&self) -> Plugin {
        let cache = Cache::open(&self.path()).expect("open the cache");
        Engine::new(Some(cache), Compiler::Here).expect("an engine").load(&self.component).expect("a plugin")
    }

    fn entry(&self) -> PathBuf {
        let files = fs::read_dir(self.path()).expect("list the cache").map(|entry| entry.expect("an entry").path());
        let mut codes = files.filter(|path| path.extension().is_some_and(|extension| extension == "code"));
        codes.next().expect("one entry")
    }
}

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).expect("metadata").mode() & 0o777
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("set the mode");
}

#[test]
fn only_this_user_may_enter_or_read() {
    let case = Case::new();
    assert_eq!((mode(&case.path()), mode(&case.path().join("key")), mode(&case.entry())), (0o700, 0o600, 0o600));
    let files = fs::read_dir(case.path()).expect("list the cache").count();
    assert_eq!(files, 2, "the key and the code, nothing half-written");
}

#[test]
fn any_flipped_bit_is_a_miss_and_is_repaired() {
    let case = Case::new();
    let whole = fs::read(case.entry()).expect("read the entry");
    // The whole of the tag, then bits all over the code.
    let bits = (0..256).step_by(17).chain((256..whole.len() * 8).step_by(whole.len() / 8));
    for bit in bits {
        let mut flipped = whole.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        fs::write(case.entry(), &flipped).expect("write the entry");
        assert!(!case.load().from_cache, "bit {bit} of {}", whole.len() * 8);
        assert!(case.load().from_cache, "the entry is repaired");
    }
}

#[test]
fn code_that_is_cut_short_or_longer_is_a_miss() {
    let case = Case::new();
    let whole = fs::read(case.entry()).expect("read the entry");
    for changed in [vec![], whole[..31].to_vec(), whole[..whole.len() - 1].to_vec(), [&whole[..], b"\0"].concat()] {
        fs::write(case.entry(), &changed).expect("write the entry");
        assert!(!case.load().from_cache, "{} of {} bytes", changed.len(), whole.len());
    }
}

#[test]
fn another_installations_code_is_a_miss() {
    let case = Case::new();
    let other = Case::new();
    assert_eq!(case.entry().file_name(), other.entry().file_name(), "the same plugin");
    fs::copy(other.entry(), case.entry()).expect("copy the code");
    assert!(!case.load().from_cache);
    fs::remove_file(case.path().join("key")).expect("remove the key");
    assert!(!case.load().from_cache, "a new key believes nothing that is old");
    assert!(case.load().from_cache);
}

#[test]
fn code_of_another_plugin_under_this_name_is_a_miss() {
    let case = Case::new();
    let mine = case.entry();
    let other = component(UNCHANGED, "export messages;");
    let cache = Cache::open(&case.path()).expect("open the cache");
    Engine::new(Some(cache), Compiler::Here).expect("an engine").load(&other).expect("a plugin");
    let entries: Vec<_> = fs::read_dir(case.path()).expect("list").map(|entry| entry.expect("an entry").path()).collect();
    let other = entries.iter().find(|path| path.extension().is_some() && **path != mine).expect("the other entry");
    fs::copy(other, &mine).expect("copy the code");
    assert!(!case.load().from_cache);
}

#[test]
fn links_and_files_that_others_could_change_are_misses() {
    let case = Case::new();
    let elsewhere = case.dir.path().join("elsewhere");
    let entry = case.entry();
    fs::rename(&entry, &elsewhere).expect("move the entry");
    symlink(&elsewhere, &entry).expect("make a link");
    assert!(!case.load().from_cache, "a link");
    assert!(fs::symlink_metadata(&entry).expect("metadata").is_file(), "the link is replaced, not followed");

    set_mode(&entry, 0o644);
    assert!(!case.load().from_cache, "readable by others");
    fs::remove_file(&entry).expect("remove the entry");
    fs::create_dir(&entry).expect("make a folder of its name");
    assert!(!case.load().from_cache, "a folder");
    assert!(case.load().instantiate(&InstanceConfig::default()).is_err(), "it was compiled all the same");
}

/// A file with so much in it, most of it a hole, that was used so many days ago.
fn used(path: &Path, len: u64, days: u64) {
    let file = fs::File::options().create(true).append(true).open(path).expect("open an entry");
    file.set_len(len).expect("set its length");
    file.set_modified(SystemTime::now() - Duration::from_secs(days * 24 * 3600)).expect("set its time");
}

#[test]
fn what_nobody_uses_goes_when_something_is_added_and_what_a_plugin_here_came_from_stays() {
    let case = Case::new();
    let other = component(UNCHANGED, "export messages;");
    let at = |name: &str| case.path().join(name);
    let (code_len, mine) = (fs::metadata(case.entry()).expect("the entry").len(), case.entry());
    let cache = || Cache::open(&case.path()).expect("open the cache");
    let names = || {
        let files = fs::read_dir(case.path()).expect("list the cache").map(|entry| entry.expect("an entry").file_name());
        files.filter_map(|name| name.into_string().ok()).filter(|name| name.len() < 32).collect::<BTreeSet<_>>()
    };
    used(&at("month.code"), 1, 31);
    used(&at("weeks.code"), 600 << 20, 20);
    used(&at("week.code"), 500 << 20, 7);
    used(&at("day.code"), 500 << 20, 1);
    used(&at(".writing-left"), 1, 1);
    used(&at(".writing-now"), 1, 0);
    used(&at("notes.txt"), 2 << 30, 60);
    used(&mine, code_len, 60);

    // What is read from the cache is in use, and nothing is removed for it.
    let engine = Engine::new(Some(cache()), Compiler::Here).expect("an engine");
    let plugin = engine.load(&case.component).expect("a plugin");
    assert!(plugin.from_cache && names().len() == 8, "{:?}", names());
    assert!(
        fs::metadata(&mine).and_then(|meta| meta.modified()).expect("its time").elapsed().expect("in the past").as_secs() < 3600
    );

    // The plugin still has its entry, whatever others think of it.
    used(&mine, code_len, 60);
    assert!(!engine.load(&other).expect("another").from_cache);
    let kept = ["key", "week.code", "day.code", ".writing-now", "notes.txt"].map(str::to_owned);
    assert_eq!(names(), kept.into(), "a month unused, and beyond a GiB the oldest");
    assert!(case.load().from_cache, "a plugin here came from it");

    drop(plugin);
    used(&mine, code_len, 60);
    fs::remove_file(second(&case, &mine)).expect("remove the other entry");
    assert!(!engine.load(&other).expect("another").from_cache);
    assert!(!mine.exists(), "no plugin came from it any more");
    assert!(!case.load().from_cache, "it is compiled again");
}

/// The entry that is not this one.
fn second(case: &Case, mine: &Path) -> PathBuf {
    let files = fs::read_dir(case.path()).expect("list the cache").map(|entry| entry.expect("an entry").path());
    let long = |path: &PathBuf| path.file_name().is_some_and(|name| name.len() > 32);
    files.filter(long).find(|path| path != mine).expect("the other entry")
}

#[test]
fn code_that_belongs_to_another_user_is_a_miss() {
    let case = Case::new();
    // Only root can give a file away.
    if std::os::unix::fs::chown(case.entry(), Some(65_534), None).is_err() {
        return crate::support::skip_or_panic("a file can be given to another user by root only");
    }
    assert!(!case.load().from_cache);
    assert!(case.load().from_cache, "the entry is repaired");
}

#[test]
fn a_folder_that_others_can_enter_is_no_cache() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("compiled");
    Cache::open(&path).expect("a new cache");
    set_mode(&path, 0o755);
    assert!(Cache::open(&path).is_err(), "others may enter");
    set_mode(&path, 0o700);
    assert!(Cache::open(&path).is_ok());
    set_mode(&path.join("key"), 0o640);
    assert!(Cache::open(&path).is_err(), "others may read the key");
    let link = dir.path().join("link");
    symlink(&path, &link).expect("make a link");
    assert!(Cache::open(&link).is_err(), "a link");
}
