//! The one engine of a host: what WebAssembly may use, and the clock that interrupts it.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use wasmtime::component::Linker;
use wasmtime::{Config, OptLevel};

use super::cache::Cache;
use super::load::{self, LoadError, Plugin};
use super::sandbox::{self, Ctx};

/// How often the epoch ends, which is how exactly a call's budget is kept.
pub const TICK: Duration = Duration::from_millis(5);

/// Stack of a guest, bytes: recursion beyond it is a trap.
const WASM_STACK_BYTES: usize = 1 << 20;

/// Compiles plugins and links them. Cheap to clone; the last clone ends its clock.
#[derive(Clone)]
pub struct Engine {
    inner: Arc<Inner>,
}

struct Inner {
    engine: wasmtime::Engine,
    linker: Linker<Ctx>,
    cache: Option<Cache>,
}

/// Why no engine could be made: the machine cannot run WebAssembly as this host wants it.
#[derive(Debug, thiserror::Error)]
#[error("set up the WebAssembly engine: {0}")]
pub struct EngineError(String);

impl Engine {
    /// `cache` holds compiled code between starts; without one, every plugin is compiled each time.
    pub fn new(cache: Option<Cache>) -> Result<Engine, EngineError> {
        let error = |error: wasmtime::Error| EngineError(format!("{error:#}"));
        let engine = wasmtime::Engine::new(&config()).map_err(error)?;
        let linker = sandbox::linker(&engine).map_err(error)?;
        let weak = engine.weak();
        std::thread::Builder::new()
            .name("epoch".to_owned())
            .spawn(move || {
                while let Some(engine) = weak.upgrade() {
                    engine.increment_epoch();
                    drop(engine);
                    std::thread::sleep(TICK);
                }
            })
            .map_err(|error| EngineError(format!("start the epoch clock: {error}")))?;
        Ok(Engine { inner: Arc::new(Inner { engine, linker, cache }) })
    }

    /// Compiles a component, or takes its code from the cache, and checks it against the contract.
    pub fn load(&self, bytes: &[u8]) -> Result<Plugin, LoadError> {
        load::load(&self.inner.engine, &self.inner.linker, self.inner.cache.as_ref(), bytes)
    }

    /// [`Engine::load`] of a whole file.
    pub fn load_file(&self, path: &Path) -> Result<Plugin, LoadError> {
        let bytes =
            std::fs::read(path).map_err(|error| LoadError::Unreadable { path: path.to_owned(), reason: error.to_string() })?;
        self.load(&bytes)
    }
}

fn config() -> Config {
    let mut config = Config::new();
    config
        .cranelift_opt_level(OptLevel::Speed)
        .epoch_interruption(true)
        .consume_fuel(false)
        .max_wasm_stack(WASM_STACK_BYTES)
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
