//! From a component's bytes to a plugin that can be instantiated: compiled, its exports checked against the contract, linked.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};
use wasmtime::component::types::ComponentItem;
use wasmtime::component::{Component, ComponentExportIndex, ComponentNamedList, InstancePre, Lift, Linker, Lower};

use super::World;
use super::bindings::v0_1::{self, BatchRef, Failure, IncomingRef, Outcome};
use super::cache::Cache;
use super::origin;
use super::sandbox::Ctx;
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
    /// How long it took to compile, or to read from the cache.
    pub compile_time: Duration,
    /// Whether the compiled code came from the cache.
    pub from_cache: bool,
    pub(super) pre: InstancePre<Ctx>,
    pub(super) start: ComponentExportIndex,
    pub(super) process: ComponentExportIndex,
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

pub(super) fn load(
    engine: &wasmtime::Engine,
    linker: &Linker<Ctx>,
    cache: Option<&Cache>,
    bytes: &[u8],
) -> Result<Plugin, LoadError> {
    refuse_other_formats(bytes)?;
    let started = Instant::now();
    let digest = hex(&Sha256::digest(bytes));
    let cached = cache.and_then(|cache| cache.get(engine, &digest));
    let from_cache = cached.is_some();
    let component = match cached {
        Some(component) => component,
        None => {
            let component = compile(engine, bytes)?;
            if let Some(cache) = cache {
                cache.put(engine, &digest, &component);
            }
            component
        }
    };
    let compile_time = started.elapsed();

    let world = world(engine, &component)?;
    let mut imports: Vec<String> = component.component_type().imports(engine).map(|(name, _)| name.to_owned()).collect();
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
    Ok(Plugin { digest, world, language, size_bytes: bytes.len() as u64, imports, compile_time, from_cache, pre, start, process })
}

/// The compiler has panicked on valid components before (cross-component adapters, with multi-memory off): that is the plugin's
/// failure, not the host's.
fn compile(engine: &wasmtime::Engine, bytes: &[u8]) -> Result<Component, LoadError> {
    // An engine has no state that a compilation cut short would leave half-done: code is registered when it is complete.
    let compilation = std::panic::AssertUnwindSafe(|| Component::from_binary(engine, bytes));
    match std::panic::catch_unwind(compilation) {
        Ok(Ok(component)) => Ok(component),
        Ok(Err(error)) => Err(LoadError::Invalid(format!("{error:#}"))),
        Err(_) => Err(LoadError::Invalid("the compiler gave up on it".to_owned())),
    }
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

/// Other exports are normal: some toolchains add their own.
fn world(engine: &wasmtime::Engine, component: &Component) -> Result<World, LoadError> {
    let ours = |name| component.get_export_index(None, name).is_some();
    match (ours(v0_1::FIELDS), ours(v0_1::MESSAGES)) {
        (true, false) => return Ok(World::Fields),
        (false, true) => return Ok(World::Messages),
        (true, true) => return Err(LoadError::BothWorlds),
        (false, false) => {}
    }
    let names: Vec<String> = component.component_type().exports(engine).map(|(name, _)| name.to_owned()).collect();
    let of_ours = |name: &&String| {
        let rest = name.strip_prefix(v0_1::PACKAGE);
        rest.is_some_and(|rest| rest.starts_with("/fields@") || rest.starts_with("/messages@"))
    };
    if let Some(found) = names.iter().find(of_ours) {
        return Err(LoadError::OtherVersion { found: found.clone() });
    }
    let found = match names.as_slice() {
        [] => "nothing".to_owned(),
        names => names.iter().take(8).map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", "),
    };
    Err(LoadError::NoWorld { found })
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
