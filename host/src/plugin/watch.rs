//! Tells when a file that is in use, or a folder of source, has other content.
//!
//! Editors and Kubernetes put a new file in the place of the old one, so it is the folders that are watched: those of the file and of every
//! link on the way to it. A file that was closed after writing, or renamed into place, is taken at once; without such an event it must have
//! the same content twice, [`STILL`] apart. What counts is the content: a `touch` tells nothing.
//!
//! Events may be lost (a queue that overflows, a network file system, a folder that is made anew), so what is watched is also looked at
//! from time to time.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::ffi::{OsStr, OsString};
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use notify::event::{AccessKind, AccessMode, EventKind, ModifyKind, RenameMode};
use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use sha2::{Digest, Sha256};
use tokio::sync::Notify;

/// How long content must have stood still where nothing says that it is whole.
pub const STILL: Duration = Duration::from_millis(50);
/// How often everything is looked at, whether or not there was an event; more often where there are none.
const LOOK_EVERY: Duration = Duration::from_secs(1);
const LOOK_EVERY_WITHOUT_EVENTS: Duration = Duration::from_millis(250);
/// Links on the way to a file, as the kernel allows.
const LINKS_MAX: usize = 40;
/// Folders and files of one source.
const FOLDERS_MAX: usize = 1_000;
const FILES_MAX: usize = 10_000;
/// What builds make inside a source.
const MADE: [&str; 3] = ["target", "node_modules", "__pycache__"];

/// What is watched, and what of it has changed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Watched {
    File(PathBuf),
    /// A folder with everything below, but for what is built there.
    Source(PathBuf),
}

/// Watches until it is dropped.
pub struct Watch {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    woken: Condvar,
    /// Changes that were not taken yet.
    changed: Mutex<BTreeSet<Watched>>,
    told: Notify,
}

#[derive(Default)]
struct State {
    wanted: BTreeSet<Watched>,
    renew: bool,
    ended: bool,
    /// Entries of folders, and folders of sources, with what depends on them.
    entries: HashMap<PathBuf, BTreeSet<Watched>>,
    folders: HashMap<PathBuf, BTreeSet<Watched>>,
    /// What there was an event about, and whether it said that the file is whole.
    noted: BTreeMap<Watched, bool>,
    rescan: bool,
}

impl Watch {
    pub fn start() -> io::Result<Watch> {
        Watch::with(notifier)
    }

    /// Looks from time to time, as where the system tells no changes.
    pub fn without_events() -> io::Result<Watch> {
        Watch::with(|_| None)
    }

    fn with(notifier: impl FnOnce(&Arc<Shared>) -> Option<RecommendedWatcher>) -> io::Result<Watch> {
        let shared = Arc::new(Shared::default());
        let watching =
            Watching { shared: shared.clone(), notify: notifier(&shared), targets: BTreeMap::new(), watched: HashMap::new() };
        thread::Builder::new().name("watch".to_owned()).spawn(move || watching.run())?;
        Ok(Watch { shared })
    }

    /// Watches these from now on. What is new is told once, as it may have changed before.
    pub fn set(&self, wanted: BTreeSet<Watched>) {
        let mut state = self.shared.state();
        if state.wanted != wanted {
            state.wanted = wanted;
            state.renew = true;
            self.shared.woken.notify_all();
        }
    }

    /// Waits for changes and takes them. Cancel-safe.
    pub async fn changed(&self) -> BTreeSet<Watched> {
        loop {
            let told = self.shared.told.notified();
            let changed = std::mem::take(&mut *lock(&self.shared.changed));
            if !changed.is_empty() {
                return changed;
            }
            told.await;
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.shared.state().ended = true;
        self.shared.woken.notify_all();
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    /// Takes an event down; called by the thread that reads them, so that their queue is emptied fast.
    fn note(&self, event: notify::Result<notify::Event>) {
        let mut state = self.state();
        match event {
            Ok(event) if !event.need_rescan() => {
                let whole = matches!(
                    event.kind,
                    EventKind::Access(AccessKind::Close(AccessMode::Write))
                        | EventKind::Modify(ModifyKind::Name(RenameMode::To | RenameMode::Both))
                );
                if matches!(event.kind, EventKind::Access(_)) && !whole {
                    return;
                }
                let State { entries, folders, noted, .. } = &mut *state;
                for path in &event.paths {
                    let of_folder = path.parent().filter(|_| !is_made(path)).and_then(|folder| folders.get(folder));
                    for watched in entries.get(path).into_iter().chain(of_folder).flatten() {
                        *noted.entry(watched.clone()).or_default() |= whole;
                    }
                }
                if noted.is_empty() {
                    return;
                }
            }
            _ => state.rescan = true,
        }
        self.woken.notify_all();
    }
}

fn notifier(shared: &Arc<Shared>) -> Option<RecommendedWatcher> {
    let noting = shared.clone();
    match notify::recommended_watcher(move |event| noting.note(event)) {
        Ok(notify) => Some(notify),
        Err(error) => {
            tracing::warn!(
                "files are looked at {LOOK_EVERY_WITHOUT_EVENTS:?} after each other, since the system tells no changes: {error}"
            );
            None
        }
    }
}

/// The watching thread.
struct Watching {
    shared: Arc<Shared>,
    notify: Option<RecommendedWatcher>,
    targets: BTreeMap<Watched, Target>,
    /// Folders that events come from, by device and number: one that was made anew must be watched anew.
    watched: HashMap<PathBuf, (u64, u64)>,
}

type Hash = [u8; 32];

#[derive(Default)]
struct Target {
    /// What was told last.
    told: Option<Hash>,
    /// When to look again, and what was there at the last look.
    pending: Option<(Instant, Option<Hash>)>,
    /// Of the metadata at the last look.
    signature: Option<Hash>,
    without_events: bool,
}

impl Watching {
    fn run(mut self) {
        let mut look_at = Instant::now();
        loop {
            let due = self.targets.values().filter_map(|target| Some(target.pending.as_ref()?.0)).min();
            let (noted, renew, rescan) = {
                let mut state = self.shared.state();
                let until = due.map_or(look_at, |due| due.min(look_at));
                while !state.ended && !state.renew && !state.rescan && state.noted.is_empty() {
                    let left = until.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        break;
                    }
                    state = self.shared.woken.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
                }
                if state.ended {
                    return;
                }
                (std::mem::take(&mut state.noted), std::mem::take(&mut state.renew), std::mem::take(&mut state.rescan))
            };
            if renew {
                self.renew();
            }
            for (watched, whole) in noted {
                self.seen(&watched, whole);
            }
            if rescan || Instant::now() >= look_at {
                self.look_at_all(rescan);
                let without = self.notify.is_none() || self.targets.values().any(|target| target.without_events);
                look_at = Instant::now() + if without { LOOK_EVERY_WITHOUT_EVENTS } else { LOOK_EVERY };
            }
            self.settle();
        }
    }

    fn renew(&mut self) {
        let wanted = self.shared.state().wanted.clone();
        self.targets.retain(|watched, _| wanted.contains(watched));
        let new: Vec<Watched> = wanted.into_iter().filter(|watched| !self.targets.contains_key(watched)).collect();
        for watched in new {
            let target = Target { without_events: is_remote(watched.path()), ..Target::default() };
            self.targets.insert(watched.clone(), target);
            self.seen(&watched, true);
        }
        self.watch_folders();
        // Between the first look and the first watch something may have changed.
        self.look_at_all(false);
    }

    /// Sees that events come from every folder that matters, as the links lead now.
    fn watch_folders(&mut self) {
        let mut entries: HashMap<PathBuf, BTreeSet<Watched>> = HashMap::new();
        let mut folders: HashMap<PathBuf, BTreeSet<Watched>> = HashMap::new();
        for watched in self.targets.keys() {
            for entry in entries_of(watched.path()) {
                entries.entry(entry).or_default().insert(watched.clone());
            }
            if let Watched::Source(folder) = watched {
                for folder in folders_below(folder) {
                    folders.entry(folder).or_default().insert(watched.clone());
                }
            }
        }
        let wanted: HashSet<PathBuf> =
            entries.keys().filter_map(|entry| entry.parent()).map(Path::to_owned).chain(folders.keys().cloned()).collect();
        {
            let mut state = self.shared.state();
            (state.entries, state.folders) = (entries, folders);
        }
        // Without the lock: the thread that reads events may wait for it, and answers us.
        let Some(notify) = &mut self.notify else { return };
        self.watched.retain(|folder, number| {
            let stays = wanted.contains(folder) && identity(folder) == Some(*number);
            if !stays {
                let _ = notify.unwatch(folder);
            }
            stays
        });
        for folder in wanted {
            let Some(number) = identity(&folder).filter(|_| !self.watched.contains_key(&folder)) else { continue };
            match notify.watch(&folder, RecursiveMode::NonRecursive) {
                Ok(()) => {
                    self.watched.insert(folder, number);
                }
                Err(error) => {
                    tracing::warn!("{} is looked at from time to time, since it cannot be watched: {error}", folder.display());
                    self.targets.values_mut().for_each(|target| target.without_events = true);
                }
            }
        }
    }

    /// Something happened to it.
    fn seen(&mut self, watched: &Watched, whole: bool) {
        let Some(target) = self.targets.get_mut(watched) else { return };
        let content = watched.content();
        if whole && matches!(watched, Watched::File(_)) {
            target.pending = None;
            target.take(watched, content, &self.shared);
        } else {
            target.pending = Some((Instant::now() + STILL, content));
        }
        self.watch_folders();
    }

    fn look_at_all(&mut self, thoroughly: bool) {
        for (watched, target) in &mut self.targets {
            let signature = watched.signature();
            if (signature != target.signature || thoroughly) && target.pending.is_none() {
                target.pending = Some((Instant::now() + STILL, watched.content()));
            }
            target.signature = signature;
        }
        self.watch_folders();
    }

    /// Tells what stood still.
    fn settle(&mut self) {
        for (watched, target) in &mut self.targets {
            let Some((due, before)) = target.pending else { continue };
            if due > Instant::now() {
                continue;
            }
            let content = watched.content();
            if content == before {
                target.pending = None;
                target.take(watched, content, &self.shared);
            } else {
                target.pending = Some((Instant::now() + STILL, content));
            }
        }
    }
}

impl Target {
    /// Tells content that is new. What is not there now may come back unchanged.
    fn take(&mut self, watched: &Watched, content: Option<Hash>, shared: &Shared) {
        if content.is_some() && content != self.told {
            self.told = content;
            lock(&shared.changed).insert(watched.clone());
            shared.told.notify_one();
        }
    }
}

impl Watched {
    pub fn path(&self) -> &Path {
        match self {
            Watched::File(path) | Watched::Source(path) => path,
        }
    }

    fn content(&self) -> Option<Hash> {
        match self {
            Watched::File(path) => Some(Sha256::digest(fs::read(path).ok()?).into()),
            Watched::Source(folder) => hash_files(folder, |sha, path, _| {
                // A file that goes while it is read is seen to be gone at the next look.
                sha.update(fs::read(path).unwrap_or_default());
            }),
        }
    }

    /// Changes with the content, as a rule, and costs no reading.
    fn signature(&self) -> Option<Hash> {
        let stamp = |sha: &mut Sha256, meta: &Metadata| {
            for number in [
                meta.dev() as i64,
                meta.ino() as i64,
                meta.size() as i64,
                meta.mtime(),
                meta.mtime_nsec(),
                meta.ctime(),
                meta.ctime_nsec(),
            ] {
                sha.update(number.to_le_bytes());
            }
        };
        match self {
            Watched::File(path) => {
                let mut sha = Sha256::new();
                stamp(&mut sha, &fs::metadata(path).ok()?);
                Some(sha.finalize().into())
            }
            Watched::Source(folder) => hash_files(folder, |sha, _, meta| stamp(sha, meta)),
        }
    }
}

fn hash_files(folder: &Path, mut add: impl FnMut(&mut Sha256, &Path, &Metadata)) -> Option<Hash> {
    let mut files = Vec::new();
    for folder in folders_below(folder) {
        let entries = fs::read_dir(folder).ok()?.flatten().map(|entry| entry.path()).filter(|path| !is_made(path));
        files.extend(entries.filter_map(|path| Some((fs::metadata(&path).ok().filter(Metadata::is_file)?, path))));
        if files.len() > FILES_MAX {
            break;
        }
    }
    files.sort_by(|(_, a), (_, b)| a.cmp(b));
    let mut sha = Sha256::new();
    for (meta, path) in &files {
        sha.update(path.as_os_str().as_encoded_bytes());
        sha.update([0]);
        add(&mut sha, path, meta);
    }
    Some(sha.finalize().into())
}

/// What builds and editors make: nothing of it is source.
fn is_made(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    name.starts_with(['.', '#']) || name.ends_with('~') || name == "4913" || MADE.contains(&name.as_ref())
}

fn folders_below(folder: &Path) -> Vec<PathBuf> {
    let mut found = vec![folder.to_owned()];
    let mut at = 0;
    while let Some(folder) = found.get(at).filter(|_| found.len() < FOLDERS_MAX) {
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        let folders = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())).map(|entry| entry.path());
        let folders: Vec<PathBuf> = folders.filter(|path| !is_made(path)).collect();
        found.extend(folders);
        at += 1;
    }
    found
}

/// The entries of folders that decide what `path` is: itself, each link on the way, what the links lead to; or the first that is missing.
fn entries_of(path: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut at = PathBuf::new();
    let parts = |path: &Path| path.components().map(|part| part.as_os_str().to_owned()).collect::<Vec<OsString>>();
    let mut left: VecDeque<OsString> = parts(&std::path::absolute(path).unwrap_or_else(|_| path.to_owned())).into();
    let mut links = 0;
    while let Some(part) = left.pop_front() {
        match Path::new(&part).components().next() {
            Some(Component::ParentDir) => {
                at.pop();
            }
            Some(Component::Normal(name)) => {
                let entry = at.join(name);
                match fs::symlink_metadata(&entry) {
                    Ok(meta) if meta.is_symlink() && links < LINKS_MAX => {
                        links += 1;
                        let target = fs::read_link(&entry).unwrap_or_default();
                        parts(&target).into_iter().rev().for_each(|part| left.push_front(part));
                        found.push(entry);
                    }
                    Ok(_) => {
                        if left.is_empty() {
                            found.push(entry.clone());
                        }
                        at = entry;
                    }
                    Err(_) => {
                        found.push(entry);
                        break;
                    }
                }
            }
            Some(Component::RootDir) => at = PathBuf::from(OsStr::new("/")),
            _ => {}
        }
    }
    found
}

fn identity(folder: &Path) -> Option<(u64, u64)> {
    fs::metadata(folder).ok().filter(Metadata::is_dir).map(|meta| (meta.dev(), meta.ino()))
}

/// Whether others may change it without this system telling: network file systems, and those of containers' hosts.
fn is_remote(path: &Path) -> bool {
    const REMOTE: [u64; 8] = [0x6969, 0x517b, 0xff53_4d42, 0xfe53_4d42, 0x6573_5546, 0x0102_1997, 0x00c3_6400, 0x786f_4256];
    let existing = path.ancestors().find(|path| path.exists());
    existing.and_then(|path| rustix::fs::statfs(path).ok()).is_some_and(|fs| REMOTE.contains(&(fs.f_type as u64 & 0xffff_ffff)))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use notify::event::{CreateKind, Flag};

    use super::*;

    #[test]
    fn events_that_were_lost_lead_to_a_look_at_everything() {
        let looks = |event: notify::Result<notify::Event>| {
            let shared = Shared::default();
            shared.note(event);
            let state = shared.state();
            assert!(state.noted.is_empty());
            state.rescan
        };
        let event = |kind| notify::Event::new(kind).add_path("elsewhere".into());
        // As the queue of the kernel says that it was full: without a path.
        assert!(looks(Ok(notify::Event::new(EventKind::Other).set_flag(Flag::Rescan))));
        assert!(looks(Err(notify::Error::generic("broken"))));
        assert!(!looks(Ok(event(EventKind::Create(CreateKind::File)))));
        assert!(!looks(Ok(event(EventKind::Access(AccessKind::Close(AccessMode::Write))))));
    }
}
