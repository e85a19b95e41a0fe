//! What a guest sees: its settings, a log, and a WASI that is empty but for what its stage grants (invariant 7).
//!
//! Everything that toolchains import of WASI as a matter of course is linked, so that plugins instantiate. No directory,
//! argument, variable or address is there without a grant.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};
use secrecy::ExposeSecret;
use wasmtime::component::{Linker, ResourceTable};
use wasmtime::{ResourceLimiter, StoreContextMut};
use wasmtime_wasi::p2::add_to_linker_sync;
use wasmtime_wasi::{FsPerms, WasiCtx, WasiCtxView, WasiView};
use wasmtime_wasi_http::{WasiHttpCtx, WasiHttpCtxView, WasiHttpView};

use super::InstanceConfig;
use super::bindings::v0_1::{CONFIG, ConfigError, LOGGING, LOOKUP, LogLevel, STATE, StateEntry};
use super::http::{self, Hooks};
use super::log::{Log, Stdio};
use super::state::StageState;
use super::wasi_io::{self, CoarseClock, Io};
use crate::config::plan::Limits;
use crate::record::{Column, Field};

/// What a store holds beside the guest.
pub(super) struct Ctx {
    wasi: WasiCtx,
    http: WasiHttpCtx,
    pub(super) hooks: Hooks,
    table: ResourceTable,
    settings: BTreeMap<String, String>,
    /// It may wait for something outside.
    waits: bool,
    pub(super) log: Log,
    pub(super) used: Used,
    pub(super) call: Call,
    /// Lent for a call; of the partition whose records it is given.
    pub(super) state: StageState,
    pub(super) state_bytes_max: u64,
}

impl Ctx {
    /// # Errors
    /// A directory that is granted cannot be opened.
    pub(super) fn new(config: &InstanceConfig) -> Result<Ctx, String> {
        let InstanceConfig { stage, settings, limits, grants } = config;
        let log = Log::new(stage, limits.log_lines);
        let mut wasi = WasiCtx::builder();
        wasi.stdout(Stdio::out(&log))
            .stderr(Stdio::err(&log))
            .wall_clock(CoarseClock)
            .allow_tcp(false)
            .allow_udp(false)
            // Files are there only where they are granted, and then nobody else waits for this thread.
            .allow_blocking_current_thread(true);
        for (name, value) in &grants.grants().env {
            wasi.env(name, value.expose_secret());
        }
        for grant in &grants.grants().read {
            wasi.preopened_dir(&grant.path, &grant.name, FsPerms::ReadOnly)
                .map_err(|error| format!("cannot read `{}`, which it is granted: {error:#}", grant.name))?;
        }
        let mut table = ResourceTable::new();
        table.set_max_capacity(limits.handles as usize);
        Ok(Ctx {
            wasi: wasi.build(),
            http: WasiHttpCtx::new(),
            hooks: Hooks { outbound: grants.outbound(), open: false },
            table,
            settings: settings.clone(),
            waits: grants.grants().wait(),
            log,
            used: Used { limits: *limits, memory_bytes: 0, table_elements: 0 },
            call: Call::default(),
            state: StageState::default(),
            state_bytes_max: limits.state_bytes,
        })
    }

    pub(super) fn io(&mut self) -> Io<'_> {
        Io { table: &mut self.table, waits_until: self.waits.then(|| self.call.ends()) }
    }
}

impl WasiHttpView for Ctx {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        WasiHttpCtxView { hooks: &mut self.hooks, table: &mut self.table, ctx: &mut self.http }
    }
}

impl WasiView for Ctx {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
    }
}

/// The budget of the call that runs.
pub(super) struct Call {
    cpu_start: Duration,
    wall_start: Instant,
    cpu_budget: Duration,
    wall_budget: Duration,
}

impl Default for Call {
    fn default() -> Call {
        Call { cpu_start: Duration::ZERO, wall_start: Instant::now(), cpu_budget: Duration::ZERO, wall_budget: Duration::ZERO }
    }
}

impl Call {
    /// How long a call may take by the clock on the wall, as a multiple of its CPU time, and at least.
    const WALL_FACTOR: u32 = 20;
    const WALL_MIN: Duration = Duration::from_secs(30);

    pub(super) fn start(cpu_budget: Duration) -> Call {
        Call {
            cpu_start: thread_cpu_time(),
            wall_start: Instant::now(),
            cpu_budget,
            wall_budget: (cpu_budget * Call::WALL_FACTOR).max(Call::WALL_MIN),
        }
    }

    /// CPU time of the call so far, on the thread that runs it.
    pub(super) fn cpu(&self) -> Duration {
        thread_cpu_time().saturating_sub(self.cpu_start)
    }

    fn ends(&self) -> Instant {
        self.wall_start + self.wall_budget
    }

    /// CPU time of this thread decides, so that a pause of the machine blames nobody.
    pub(super) fn check(&self) -> Result<(), Interrupted> {
        if self.cpu() > self.cpu_budget {
            return Err(Interrupted::Cpu(self.cpu_budget));
        }
        if self.wall_start.elapsed() > self.wall_budget {
            return Err(Interrupted::Wall(self.wall_budget));
        }
        Ok(())
    }
}

/// CPU time of this thread: what others do on the machine does not count.
pub fn thread_cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.max(0) as u64, time.tv_nsec as u32)
}

/// Why the host ended a call. Kept apart from other errors to be found again in what a call returns.
#[derive(Clone, Copy, Debug, thiserror::Error)]
pub(super) enum Interrupted {
    #[error("ran for more than {} ms of CPU time", .0.as_millis())]
    Cpu(Duration),
    #[error("did not return within {} s", .0.as_secs())]
    Wall(Duration),
    #[error("asked for more than {} MiB of memory", .0 >> 20)]
    Memory(u64),
    #[error("waits for something, which its stage is not granted")]
    Waits,
    #[error("waited for something for longer than a call may take")]
    Waited,
}

/// What an instance has taken of its limits. A refused growth of memory ends the call: most guests would abort on it anyway.
pub(super) struct Used {
    pub(super) limits: Limits,
    /// Of all linear memories, and of all tables.
    pub(super) memory_bytes: u64,
    pub(super) table_elements: u64,
}

/// Each memory takes address space, however small it is.
const MEMORIES_MAX: usize = 64;

impl ResourceLimiter for Used {
    fn memory_growing(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> wasmtime::Result<bool> {
        if maximum.is_some_and(|maximum| desired > maximum) {
            return Ok(false);
        }
        let used = self.memory_bytes + desired.saturating_sub(current) as u64;
        if used > self.limits.memory_bytes {
            return Err(Interrupted::Memory(self.limits.memory_bytes).into());
        }
        self.memory_bytes = used;
        Ok(true)
    }

    fn table_growing(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> wasmtime::Result<bool> {
        let used = self.table_elements + desired.saturating_sub(current) as u64;
        if maximum.is_some_and(|maximum| desired > maximum) || used > self.limits.table_elements {
            return Ok(false);
        }
        self.table_elements = used;
        Ok(true)
    }

    fn instances(&self) -> usize {
        self.limits.instances as usize
    }

    fn tables(&self) -> usize {
        self.limits.instances as usize
    }

    fn memories(&self) -> usize {
        MEMORIES_MAX
    }
}

pub(super) fn linker(engine: &wasmtime::Engine) -> wasmtime::Result<Linker<Ctx>> {
    let mut linker = Linker::new(engine);
    add_to_linker_sync(&mut linker)?;
    http::add_to_linker(&mut linker)?;
    wasi_io::add_to_linker(&mut linker)?;

    let mut config = linker.instance(CONFIG)?;
    config.func_wrap("get", |store: StoreContextMut<'_, Ctx>, (key,): (String,)| {
        Ok((Ok::<_, ConfigError>(store.data().settings.get(&key).cloned()),))
    })?;
    config.func_wrap("get-all", |store: StoreContextMut<'_, Ctx>, (): ()| {
        Ok((Ok::<_, ConfigError>(store.data().settings.clone().into_iter().collect::<Vec<_>>()),))
    })?;
    linker.instance(LOGGING)?.func_wrap(
        "log",
        |store: StoreContextMut<'_, Ctx>, (level, context, message): (LogLevel, String, String)| {
            store.data().log.message(level, &context, &message);
            Ok(())
        },
    )?;

    let mut state = linker.instance(STATE)?;
    state.func_wrap("get", |mut store: StoreContextMut<'_, Ctx>, (keys,): (Vec<Vec<u8>>,)| {
        Ok((Ok::<_, String>(store.data_mut().state.read(&keys)),))
    })?;
    state.func_wrap("set", |mut store: StoreContextMut<'_, Ctx>, (entries,): (Vec<StateEntry>,)| {
        let entries = entries.into_iter().map(|entry| (entry.key, entry.value)).collect();
        let ctx = store.data_mut();
        Ok((ctx.state.set(entries, ctx.state_bytes_max),))
    })?;
    linker.instance(LOOKUP)?.func_wrap("get", |_: StoreContextMut<'_, Ctx>, _: (String, Vec<String>, Vec<Field>)| {
        Ok((Err::<Vec<Column>, _>("lookup is not available in this version of the host".to_owned()),))
    })?;
    Ok(linker)
}
