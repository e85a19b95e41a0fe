//! Guests for tests: built from source when they are not fresh, once however many tests and processes ask.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::SystemTime;

use tidemill::plugin::{Cache, Compiler, Engine, Plugin, build_directory, component_path};

/// A plugin by its directory below the repository, such as `plugins/extract-user`.
///
/// # Panics
/// It cannot be built.
pub fn component(dir: &str) -> PathBuf {
    static BUILDS: Mutex<()> = Mutex::new(());
    let _one_at_a_time = BUILDS.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let dir = super::root().join(dir);
    std::fs::create_dir_all(dir.join("target")).expect("make the target folder");
    // Other test processes build the same guests.
    let lock = File::create(dir.join("target/build.lock")).expect("make the lock file");
    lock.lock().expect("lock the guest");
    // Cargo knows by itself what is fresh.
    if dir.join("Cargo.toml").is_file() || !is_fresh(&dir) {
        build_directory(&dir).unwrap_or_else(|error| panic!("build {}: {error}", dir.display()));
        File::create(stamp(&dir)).expect("stamp the guest");
    }
    component_path(&dir)
}

fn stamp(dir: &Path) -> PathBuf {
    dir.join("target/built")
}

fn is_fresh(dir: &Path) -> bool {
    let Some(built) = modified(&stamp(dir)) else { return false };
    let sources = [dir.to_owned(), super::root().join("wit/v0.1"), super::root().join("plugins/sdk")];
    component_path(dir).is_file() && sources.iter().all(|source| newest(source) < built)
}

fn newest(dir: &Path) -> SystemTime {
    let mut newest = SystemTime::UNIX_EPOCH;
    for entry in std::fs::read_dir(dir).expect("list the guest's folder").flatten() {
        if ["target", "node_modules"].iter().any(|made| entry.file_name() == *made) {
            continue;
        }
        let path = entry.path();
        let time = if path.is_dir() { self::newest(&path) } else { modified(&path).unwrap_or(newest) };
        newest = newest.max(time);
    }
    newest
}

fn modified(path: &Path) -> Option<SystemTime> {
    path.metadata().and_then(|meta| meta.modified()).ok()
}

/// One engine for all tests of a process, with compiled code kept between runs: a Python guest compiles for 10 s.
pub fn engine() -> &'static Engine {
    static ENGINE: OnceLock<Engine> = OnceLock::new();
    ENGINE.get_or_init(|| {
        let cache = Cache::open(&cache_dir()).expect("open the cache of compiled code");
        Engine::new(Some(cache), compiler()).expect("set up the engine")
    })
}

/// Children of the host that these tests are about.
pub fn compiler() -> Compiler {
    Compiler::Child(env!("CARGO_BIN_EXE_tidemill").into())
}

/// Where the tests' host processes should keep compiled code too.
pub fn cache_dir() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("compiled")
}

/// A built and compiled plugin, compiled once per process and, by the cache, once per change.
pub fn plugin(dir: &str) -> Arc<Plugin> {
    static PLUGINS: Mutex<BTreeMap<String, Arc<Plugin>>> = Mutex::new(BTreeMap::new());
    let mut plugins = PLUGINS.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    if let Some(plugin) = plugins.get(dir) {
        return plugin.clone();
    }
    let path = component(dir);
    let plugin = engine().load_file(&path).unwrap_or_else(|error| panic!("load {}: {error}", path.display()));
    plugins.entry(dir.to_owned()).or_insert(Arc::new(plugin)).clone()
}

/// Whether a tool that only some guests need can be started; says loudly when not.
pub fn has_tool(variable: &str, program: &str) -> bool {
    let program = std::env::var(variable).unwrap_or_else(|_| program.to_owned());
    if Command::new(&program).arg("--help").output().is_ok_and(|output| output.status.success()) {
        return true;
    }
    super::skip_or_panic(&format!("`{program}` cannot be started (set {variable} or PATH)"));
    false
}
