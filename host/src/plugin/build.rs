//! Makes the component of a plugin that is a directory: for `dev`, `build` and tests. `run` never builds.
//!
//! A directory with a `plugin.toml` says itself how it is built; else it is a Cargo package, built for `wasm32-wasip2`. Either way
//! the component ends up at [`component_path`].
//!
//! What builds is a process group of its own, so that all of it can be ended with the host that waits for it: a compiler has children.

use std::ffi::OsStr;
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::process::{Pid, Signal, kill_process_group};
use serde::Deserialize;

const TARGET: &str = "wasm32-wasip2";
/// The recipe's name in a plugin's directory.
const RECIPE: &str = "plugin.toml";

/// Where the component of a plugin's directory is, once it has been built.
pub fn component_path(dir: &Path) -> PathBuf {
    dir.join("target").join("plugin.wasm")
}

/// Why no component was made.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    #[error("{} is neither a Cargo package nor has a `plugin.toml`", .0.display())]
    NoRecipe(PathBuf),
    #[error("{}: {reason}", path.display())]
    Recipe { path: PathBuf, reason: String },
    #[error("start `{program}`: {reason}")]
    Start { program: String, reason: String },
    /// The output holds the compiler's errors with file and line.
    #[error("`{command}` failed:\n{output}")]
    Failed { command: String, output: String },
    #[error("the build of {} made no component: {reason}", dir.display())]
    NoComponent { dir: PathBuf, reason: String },
    #[error("write {}: {reason}", path.display())]
    Write { path: PathBuf, reason: String },
    #[error("the process that waited for it ends")]
    Ended,
}

/// Of this process: what builds now, and whether nothing may any more.
struct Builds {
    groups: Vec<Pid>,
    ended: bool,
}

static BUILDS: Mutex<Builds> = Mutex::new(Builds { groups: Vec::new(), ended: false });

fn builds() -> MutexGuard<'static, Builds> {
    BUILDS.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Builds {
    fn end(&mut self) {
        self.ended = true;
        for group in self.groups.drain(..) {
            // It may have ended by itself just now.
            let _ = kill_process_group(group, Signal::TERM);
        }
    }
}

/// Ends all builds of this process, compilers and their children; those that come later are [`BuildError::Ended`] too.
pub fn end_builds() {
    builds().end();
}

/// [`end_builds`], and this process: nobody hears that a build has failed.
pub fn exit_with_builds(code: i32) -> ! {
    let mut builds = builds();
    builds.end();
    std::process::exit(code)
}

/// `plugin.toml`: how a plugin that is no Cargo package is built.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Recipe {
    /// Program and arguments, run in the plugin's directory. `${NAME:-default}` is taken from the environment.
    build: Vec<String>,
    /// The component that this makes, relative to the directory.
    component: PathBuf,
}

/// Builds a plugin's directory and returns [`component_path`]. The file is only touched when its content changes.
///
/// # Errors
/// No recipe, a tool that is missing, or what the compiler says.
pub fn build_directory(dir: &Path) -> Result<PathBuf, BuildError> {
    let recipe = dir.join(RECIPE);
    let made = if recipe.is_file() {
        build_by_recipe(dir, &recipe)?
    } else if dir.join("Cargo.toml").is_file() {
        build_by_cargo(dir)?
    } else {
        return Err(BuildError::NoRecipe(dir.to_owned()));
    };
    let path = component_path(dir);
    if made != path {
        publish(&made, &path)?;
    }
    Ok(path)
}

/// Copies through a temporary file, so that nobody reads half a component.
fn publish(made: &Path, path: &Path) -> Result<(), BuildError> {
    let write = |error: std::io::Error| BuildError::Write { path: path.to_owned(), reason: error.to_string() };
    let bytes = std::fs::read(made).map_err(write)?;
    if std::fs::read(path).is_ok_and(|old| old == bytes) {
        return Ok(());
    }
    let folder = path.parent().expect("a component is in a folder");
    std::fs::create_dir_all(folder).map_err(write)?;
    let mut file = tempfile::Builder::new().prefix(".plugin-").permissions(readable()).tempfile_in(folder).map_err(write)?;
    file.write_all(&bytes).map_err(write)?;
    file.persist(path).map_err(|error| write(error.error))?;
    Ok(())
}

/// A component is no secret; a temporary file would be one by default.
fn readable() -> std::fs::Permissions {
    std::os::unix::fs::PermissionsExt::from_mode(0o644)
}

fn build_by_recipe(dir: &Path, path: &Path) -> Result<PathBuf, BuildError> {
    let wrong = |reason: String| BuildError::Recipe { path: path.to_owned(), reason };
    let text = std::fs::read_to_string(path).map_err(|error| wrong(error.to_string()))?;
    let recipe: Recipe = toml::from_str(&text).map_err(|error| wrong(error.to_string()))?;
    let words = recipe.build.iter().map(|word| expand(word).map_err(&wrong)).collect::<Result<Vec<_>, _>>()?;
    let [program, arguments @ ..] = words.as_slice() else {
        return Err(wrong("`build` names no program".to_owned()));
    };
    let made = dir.join(&recipe.component);
    if let Some(folder) = made.parent() {
        std::fs::create_dir_all(folder)
            .map_err(|error| BuildError::Write { path: folder.to_owned(), reason: error.to_string() })?;
    }
    run(Command::new(program).args(arguments).current_dir(dir))?;
    if !made.is_file() {
        let reason = format!("`{}` is not there", recipe.component.display());
        return Err(BuildError::NoComponent { dir: dir.to_owned(), reason });
    }
    Ok(made)
}

/// Replaces `${NAME}` and `${NAME:-default}`.
fn expand(word: &str) -> Result<String, String> {
    let mut out = String::new();
    let mut rest = word;
    while let Some((before, after)) = rest.split_once("${") {
        let (name, behind) = after.split_once('}').ok_or_else(|| format!("`{word}` has `${{` without `}}`"))?;
        let (name, default) = name.split_once(":-").map_or((name, None), |(name, default)| (name, Some(default)));
        let value = std::env::var(name).ok().filter(|value| !value.is_empty());
        out.push_str(before);
        out.push_str(value.as_deref().or(default).ok_or_else(|| format!("`{name}` is not set"))?);
        rest = behind;
    }
    out.push_str(rest);
    Ok(out)
}

/// What cargo tells of a build, one JSON object per line.
#[derive(Deserialize)]
struct CargoMessage {
    reason: String,
    #[serde(default)]
    manifest_path: PathBuf,
    #[serde(default)]
    filenames: Vec<PathBuf>,
}

fn build_by_cargo(dir: &Path) -> Result<PathBuf, BuildError> {
    add_target(dir)?;
    let output =
        run(cargo(dir, "cargo").args(["build", "--release", "--target", TARGET, "--message-format=json-render-diagnostics"]))?;
    let none = |reason: &str| BuildError::NoComponent { dir: dir.to_owned(), reason: reason.to_owned() };
    let manifest = dir.join("Cargo.toml").canonicalize().map_err(|error| none(&error.to_string()))?;
    let messages = output.lines().filter_map(|line| serde_json::from_str::<CargoMessage>(line).ok());
    let artifacts = messages.filter(|message| {
        message.reason == "compiler-artifact" && message.manifest_path.canonicalize().is_ok_and(|path| path == manifest)
    });
    let component = artifacts.flat_map(|message| message.filenames).find(|file| file.extension() == Some(OsStr::new("wasm")));
    component.ok_or_else(|| none("its package has no library with `crate-type = [\"cdylib\"]`"))
}

/// rustup does not add targets by itself everywhere (`RUSTUP_AUTO_INSTALL=0`, a toolchain file without targets).
fn add_target(dir: &Path) -> Result<(), BuildError> {
    let installed = match run(cargo(dir, "rustup").args(["target", "list", "--installed"])) {
        Ok(installed) => installed,
        Err(BuildError::Ended) => return Err(BuildError::Ended),
        // No rustup: the toolchain was installed another way, and cargo says what is missing.
        Err(_) => return Ok(()),
    };
    if installed.lines().any(|line| line.trim() == TARGET) {
        return Ok(());
    }
    tracing::info!("adding the Rust target {TARGET}, which plugins are built for");
    run(cargo(dir, "rustup").args(["target", "add", TARGET])).map(drop)
}

/// A tool of the Rust toolchain in `dir`, without what an outer cargo has put into our environment for its own build.
fn cargo(dir: &Path, program: &str) -> Command {
    let mut command = Command::new(program);
    command.current_dir(dir);
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy();
        let of_a_build = ["CARGO_PKG_", "CARGO_BIN_", "CARGO_BUILD_", "CARGO_ENCODED_", "CARGO_MANIFEST_", "CARGO_PROFILE_"];
        let single =
            ["CARGO", "CARGO_TARGET_DIR", "CARGO_TARGET_TMPDIR", "CARGO_CRATE_NAME", "CARGO_PRIMARY_PACKAGE", "RUSTFLAGS"];
        let wrappers = ["RUSTC", "RUSTC_WRAPPER", "RUSTC_WORKSPACE_WRAPPER", "RUSTDOCFLAGS", "OUT_DIR", "TARGET", "HOST"];
        let toolchain = ["RUSTUP_TOOLCHAIN", "RUST_RECURSION_COUNT", "LD_LIBRARY_PATH"];
        if of_a_build.iter().any(|prefix| name.starts_with(prefix))
            || [&single[..], &wrappers, &toolchain].concat().contains(&name.as_ref())
        {
            command.env_remove(name.as_ref());
        }
    }
    command
}

/// Runs to the end and returns standard output.
fn run(command: &mut Command) -> Result<String, BuildError> {
    let program = command.get_program().to_string_lossy().into_owned();
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let line = words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ");
    let failed = |error: std::io::Error| BuildError::Start { program: program.clone(), reason: error.to_string() };
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
    let mut now = builds();
    if now.ended {
        return Err(BuildError::Ended);
    }
    let child = command.spawn().map_err(failed)?;
    let group = Pid::from_child(&child);
    now.groups.push(group);
    drop(now);
    let output = child.wait_with_output();
    let mut now = builds();
    now.groups.retain(|known| *known != group);
    if now.ended {
        return Err(BuildError::Ended);
    }
    drop(now);
    let output = output.map_err(failed)?;
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() {
        return Ok(stdout);
    }
    let stderr = String::from_utf8_lossy(&output.stderr).trim_end().to_owned();
    let output = if stderr.is_empty() { stdout } else { stderr };
    Err(BuildError::Failed { command: line, output })
}
