//! The one engine of a host: what WebAssembly may use, and the clock that interrupts it.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use wasmtime::component::Linker;
use wasmtime::{Config, OptLevel};

use super::cache::Cache;
use super::compile::Compiler;
use super::load::{self, LoadError, Plugin};
use super::sandbox::{self, Ctx};
use crate::config::plan::Limits;

/// How often the epoch ends, which is how exactly a call's budget is kept.
pub const TICK: Duration = Duration::from_millis(5);

/// The largest stack of a guest, bytes: every thread has room for it and for the host below it.
pub const STACK_BYTES_MAX: u64 = 1 << 20;

/// Compiles plugins and links them. Cheap to clone; its clocks end with the last clone and the last plugin.
#[derive(Clone)]
pub struct Engine {
    shared: Arc<Shared>,
}

struct Shared {
    cache: Option<Cache>,
    compiler: Compiler,
    bounds: Bounds,
    /// By stack of a guest, which is a matter of the whole engine; code compiled for one runs in all.
    sized: Mutex<BTreeMap<u64, Arc<Linking>>>,
}

/// An engine for guests with one size of stack.
pub(super) struct Linking {
    pub engine: wasmtime::Engine,
    pub linker: Linker<Ctx>,
    pub bounds: Bounds,
    pub stack_bytes: u64,
}

/// Whether guests are held to their limits.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Bounds {
    Kept,
    /// For measuring what they cost.
    Off,
}

/// Why no engine could be made: the machine cannot run WebAssembly as this host wants it.
#[derive(Debug, thiserror::Error)]
#[error("set up the WebAssembly engine: {0}")]
pub struct EngineError(String);

impl Engine {
    /// `cache` holds compiled code between starts; without one, every plugin is compiled each time.
    pub fn new(cache: Option<Cache>, compiler: Compiler) -> Result<Engine, EngineError> {
        Engine::with(cache, compiler, Bounds::Kept)
    }

    /// For measuring what limits cost: its guests can be neither interrupted nor bounded. They are compiled in this process.
    pub fn unbounded() -> Result<Engine, EngineError> {
        Engine::with(None, Compiler::Here, Bounds::Off)
    }

    fn with(cache: Option<Cache>, compiler: Compiler, bounds: Bounds) -> Result<Engine, EngineError> {
        let engine = Engine { shared: Arc::new(Shared { cache, compiler, bounds, sized: Mutex::default() }) };
        engine.sized(STACK_BYTES_MAX)?;
        Ok(engine)
    }

    /// Compiles a component, or takes its code from the cache, and checks it against the contract; with the default limits.
    /// Blocks for as long as it compiles.
    pub fn load(&self, bytes: &[u8]) -> Result<Plugin, LoadError> {
        self.load_stage(bytes, &Limits::default(), &|_| {})
    }

    /// [`Engine::load`] with a stage's own limits; `progress` is told about once a second for how long it has been compiling.
    pub fn load_stage(&self, bytes: &[u8], limits: &Limits, progress: &dyn Fn(Duration)) -> Result<Plugin, LoadError> {
        let sized = self.sized(sized_as(limits)).map_err(|error| LoadError::Compiler(error.to_string()))?;
        let Shared { cache, compiler, .. } = &*self.shared;
        load::load(&sized, cache.as_ref(), bytes, &|engine| compiler.compile(engine, bytes, limits, progress))
    }

    /// [`Engine::load`] of a whole file.
    pub fn load_file(&self, path: &Path) -> Result<Plugin, LoadError> {
        let bytes =
            std::fs::read(path).map_err(|error| LoadError::Unreadable { path: path.to_owned(), reason: error.to_string() })?;
        self.load(&bytes)
    }

    fn sized(&self, stack_bytes: u64) -> Result<Arc<Linking>, EngineError> {
        let mut sized = self.shared.sized.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = sized.get(&stack_bytes) {
            return Ok(known.clone());
        }
        let error = |error: wasmtime::Error| EngineError(format!("{error:#}"));
        let bounds = self.shared.bounds;
        let mut config = config(stack_bytes);
        config.epoch_interruption(bounds == Bounds::Kept);
        let engine = wasmtime::Engine::new(&config).map_err(error)?;
        let linker = sandbox::linker(&engine).map_err(error)?;
        start_clock(&engine)?;
        let new = Arc::new(Linking { engine, linker, bounds, stack_bytes });
        sized.insert(stack_bytes, new.clone());
        Ok(new)
    }
}

/// The stack that a stage's guests have.
pub(super) fn sized_as(limits: &Limits) -> u64 {
    limits.stack_bytes.min(STACK_BYTES_MAX)
}

fn start_clock(engine: &wasmtime::Engine) -> Result<(), EngineError> {
    let weak = engine.weak();
    let clock = move || {
        while let Some(engine) = weak.upgrade() {
            engine.increment_epoch();
            drop(engine);
            std::thread::sleep(TICK);
        }
    };
    let started = std::thread::Builder::new().name("epoch".to_owned()).spawn(clock);
    started.map(drop).map_err(|error| EngineError(format!("start the epoch clock: {error}")))
}

pub(super) fn config(stack_bytes: u64) -> Config {
    let mut config = Config::new();
    config
        .cranelift_opt_level(OptLevel::Speed)
        .epoch_interruption(true)
        .consume_fuel(false)
        .max_wasm_stack(stack_bytes as usize)
        .wasm_component_model(true)
        .wasm_memory64(false)
        // Where components are composed (QuickJS plugins are), wasmtime's own adapters copy between two memories.
        .wasm_multi_memory(true)
        .wasm_relaxed_simd(false)
        .wasm_tail_call(false)
        .wasm_custom_page_sizes(false)
        .wasm_stack_switching(false)
        .concurrency_support(false)
        .gc_support(false);
    config
}
