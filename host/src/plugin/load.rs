//! From a component's bytes to a plugin that can be instantiated: compiled, its exports checked against the contract, linked.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};
use wasmtime::component::types::ComponentItem;
use wasmtime::component::{Component, ComponentExportIndex, ComponentNamedList, InstancePre, Lift, Lower};

use super::World;
use super::bindings::v0_1::{self, BatchRef, Failure, IncomingRef, Outcome};
use super::cache::{Cache, Hold};
use super::engine::{self, Bounds, Linking};
use super::grants::{self, Wish};
use super::origin;
use super::outline::Outline;
use super::sandbox::Ctx;
use crate::config::plan::Limits;
use crate::plugin::FieldsOutcome;
use crate::record::Contract;

/// A component, compiled, checked and linked. Instances of it are made by [`Plugin::instantiate`].
pub struct Plugin {
    /// SHA-256 of the component, in hex.
    pub digest: String,
    pub world: World,
    /// What it was written in, as far as the component tells: `Rust`, `Python`, `JavaScript`, …, or `unknown`.
    pub language: String,
    /// Size of the component in bytes.
    pub size_bytes: u64,
    /// The interfaces that it imports, with their versions, sorted.
    pub imports: Vec<String>,
    /// What it asks for beyond what its language always imports.
    pub wishes: Vec<Wish>,
    /// How long it took to compile, or to read from the cache.
    pub compile_time: Duration,
    /// Whether the compiled code came from the cache.
    pub from_cache: bool,
    /// Its compiled code stays in the cache.
    _hold: Option<Hold>,
    pub(super) bounds: Bounds,
    /// Of the engine that it is linked in.
    stack_bytes: u64,
    pub(super) pre: InstancePre<Ctx>,
    pub(super) start: ComponentExportIndex,
    pub(super) process: ComponentExportIndex,
}

impl Plugin {
    /// Whether it is what a component with this digest is under these limits: a stack's size is a matter of the engine.
    pub fn is(&self, digest: &str, limits: &Limits) -> bool {
        self.digest == digest && self.stack_bytes == engine::sized_as(limits)
    }
}

impl std::fmt::Debug for Plugin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Plugin").field("digest", &self.digest).field("world", &self.world).finish_non_exhaustive()
    }
}

/// Why bytes are not a plugin of this host.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LoadError {
    #[error("read plugin {}: {reason}", path.display())]
    Unreadable { path: PathBuf, reason: String },
    #[error("the file is empty")]
    Empty,
    #[error("not a WebAssembly component: it does not start with `\\0asm`")]
    NotWasm,
    #[error(
        "a core module, not a component: build it for `wasm32-wasip2`, or make a component of it with `wasm-tools component new`"
    )]
    CoreModule,
    #[error("not a valid component: {0}")]
    Invalid(String),
    #[error("the file is cut short: a section at byte {at} has {wanted} bytes, and {there} are there")]
    CutShort { at: u64, wanted: u64, there: u64 },
    #[error("takes more than {} s of CPU time to compile; `limits.compile-time` of its stage gives it more", .0.as_secs())]
    CompileTime(Duration),
    #[error("takes more than {} MiB of memory to compile; `limits.compile-memory` of its stage gives it more", .0 >> 20)]
    CompileMemory(u64),
    /// Nothing is known of the component.
    #[error("it could not be compiled: {0}")]
    Compiler(String),
    #[error("exports neither `{fields}` nor `{messages}`, but {found}", fields = v0_1::FIELDS, messages = v0_1::MESSAGES)]
    NoWorld {
        /// What it exports, for a person to read.
        found: String,
    },
    #[error("exports both `fields` and `messages`: a plugin is one of them")]
    BothWorlds,
    #[error("speaks `{found}`, this host speaks `{package}@{version}`: rebuild it against `wit/v0.1`", package = v0_1::PACKAGE, version = v0_1::VERSION)]
    OtherVersion {
        /// The export's full name.
        found: String,
    },
    #[error("exports `{export}` with another type than `wit/v0.1` says: {reason}")]
    WrongType { export: String, reason: String },
    #[error("imports what this host does not have: {0}")]
    MissingImport(String),
}

/// `compile` gives a component's code, serialised.
pub(super) fn load(
    linking: &Linking,
    cache: Option<&Cache>,
    bytes: &[u8],
    compile: &dyn Fn(&wasmtime::Engine) -> Result<Vec<u8>, LoadError>,
) -> Result<Plugin, LoadError> {
    let Linking { engine, linker, bounds, stack_bytes } = linking;
    refuse_other_formats(bytes)?;
    // Nobody waits for a compiler to learn that a file is not all there, or is no plugin.
    let outline = Outline::read(bytes)?;
    world(outline.exports.iter().map(String::as_str))?;
    let started = Instant::now();
    let digest = hex(&Sha256::digest(bytes));
    let hold = cache.map(|cache| cache.hold(engine, &digest));
    let cached = cache.and_then(|cache| cache.get(engine, &digest));
    let from_cache = cached.is_some();
    let component = match cached {
        Some(component) => component,
        None => {
            let code = compile(engine)?;
            if let Some(cache) = cache {
                cache.put(engine, &digest, &code);
            }
            // SAFETY: these bytes were made just now from this component, by this program with these settings.
            unsafe { Component::deserialize(engine, &code) }
                .map_err(|error| LoadError::Compiler(format!("take over its code: {error:#}")))?
        }
    };
    let compile_time = started.elapsed();

    let kind = component.component_type();
    let exports: Vec<String> = kind.exports(engine).map(|(name, _)| name.to_owned()).collect();
    let world = world(exports.iter().map(String::as_str))?;
    let mut imports: Vec<String> = kind.imports(engine).map(|(name, _)| name.to_owned()).collect();
    imports.sort();
    let pre = linker.instantiate_pre(&component).map_err(|error| LoadError::MissingImport(format!("{error:#}")))?;
    let (start, process) = match world {
        World::Fields => (
            export::<(), (Result<Contract, String>,)>(&pre, v0_1::FIELDS, "start")?,
            export::<(BatchRef<'_>,), (Result<FieldsOutcome, Failure>,)>(&pre, v0_1::FIELDS, "process")?,
        ),
        World::Messages => (
            export::<(), (Result<(), String>,)>(&pre, v0_1::MESSAGES, "start")?,
            export::<(&[IncomingRef<'_>],), (Result<Vec<Outcome>, Failure>,)>(&pre, v0_1::MESSAGES, "process")?,
        ),
    };
    let language = origin::language(bytes);
    Ok(Plugin {
        digest,
        world,
        wishes: grants::wishes(&imports, &language),
        language,
        size_bytes: bytes.len() as u64,
        imports,
        compile_time,
        from_cache,
        _hold: hold,
        bounds: *bounds,
        stack_bytes: *stack_bytes,
        pre,
        start,
        process,
    })
}

/// Tells people what they have instead of what the parser says about it.
fn refuse_other_formats(bytes: &[u8]) -> Result<(), LoadError> {
    if bytes.is_empty() {
        return Err(LoadError::Empty);
    }
    let Some(rest) = bytes.strip_prefix(b"\0asm") else { return Err(LoadError::NotWasm) };
    match rest.get(..4) {
        Some([_, _, 1, 0]) => Ok(()),
        Some([1, 0, 0, 0]) => Err(LoadError::CoreModule),
        _ => Err(LoadError::Invalid("unknown version of the binary format".to_owned())),
    }
}

/// Other exports are normal: some toolchains add their own. Names match by semver, as they do when they are looked up.
fn world<'a>(exports: impl Iterator<Item = &'a str> + Clone) -> Result<World, LoadError> {
    let ours = |name: &str| exports.clone().any(|export| matches(export, name));
    match (ours(v0_1::FIELDS), ours(v0_1::MESSAGES)) {
        (true, false) => return Ok(World::Fields),
        (false, true) => return Ok(World::Messages),
        (true, true) => return Err(LoadError::BothWorlds),
        (false, false) => {}
    }
    let of_ours = |name: &&str| {
        let rest = name.strip_prefix(v0_1::PACKAGE);
        rest.is_some_and(|rest| rest.starts_with("/fields@") || rest.starts_with("/messages@"))
    };
    if let Some(found) = exports.clone().find(of_ours) {
        return Err(LoadError::OtherVersion { found: super::log::printable(found) });
    }
    let found = exports.take(8).map(|name| format!("`{}`", super::log::printable(name))).collect::<Vec<_>>().join(", ");
    Err(LoadError::NoWorld { found: if found.is_empty() { "nothing".to_owned() } else { found } })
}

/// Whether an export is the interface `name`, in the same version or another patch of it.
fn matches(export: &str, name: &str) -> bool {
    let track = name.rsplit_once('.').map_or(name, |(track, _)| track);
    let patch = export.strip_prefix(track).and_then(|rest| rest.strip_prefix('.'));
    patch.is_some_and(|patch| !patch.is_empty() && patch.bytes().all(|byte| byte.is_ascii_digit()))
}

/// Finds an export and checks its whole type: a name alone says nothing of what a call would do.
fn export<Params, Return>(pre: &InstancePre<Ctx>, interface: &str, name: &str) -> Result<ComponentExportIndex, LoadError>
where
    Params: ComponentNamedList + Lower,
    Return: ComponentNamedList + Lift,
{
    let component = pre.component();
    let wrong = |reason: String| LoadError::WrongType { export: format!("{interface}#{name}"), reason };
    let instance = component.get_export_index(None, interface).ok_or_else(|| wrong("it is no interface".to_owned()))?;
    let (item, index) = component.get_export(Some(&instance), name).ok_or_else(|| wrong("it is not there".to_owned()))?;
    let ComponentItem::ComponentFunc(func) = item else { return Err(wrong("it is no function".to_owned())) };
    if func.async_() {
        return Err(wrong("it is asynchronous".to_owned()));
    }
    func.typecheck::<Params, Return>(&pre.instance_type()).map_err(|error| wrong(format!("{error:#}")))?;
    Ok(index)
}

pub(super) fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        text.push(char::from_digit(u32::from(byte >> 4), 16).expect("four bits are a digit"));
        text.push(char::from_digit(u32::from(byte & 15), 16).expect("four bits are a digit"));
    }
    text
}
