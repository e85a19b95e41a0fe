//! What a guest sees: an empty WASI, its settings, a log, and nothing that waits (invariant 7).
//!
//! Everything that toolchains import of WASI as a matter of course is linked, so that plugins instantiate. No directory,
//! argument, variable or address is granted. WASI's own synchronous glue would park the worker on a runtime of its
//! own; here each host call is polled once, and what is not ready then is a trap.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use rustix::time::{ClockId, clock_gettime};
use wasmtime::component::{HasData, Linker, Resource, ResourceTable};
use wasmtime::{ResourceLimiter, StoreContextMut};
use wasmtime_wasi::p2::bindings::clocks::monotonic_clock;
use wasmtime_wasi::p2::bindings::io::{poll as async_poll, streams as async_streams};
use wasmtime_wasi::p2::bindings::sync::io::{poll, streams};
use wasmtime_wasi::p2::{
    DynInputStream, DynOutputStream, DynPollable, Pollable, StreamError, StreamResult, add_to_linker_sync, subscribe,
};
use wasmtime_wasi::{HostWallClock, WasiCtx, WasiCtxView, WasiView};

use super::bindings::v0_1::{CONFIG, ConfigError, LOGGING, LOOKUP, LogLevel, STATE, StateEntry};
use super::log::{Log, Stdio};
use crate::record::{Column, Field};

/// Clocks are coarse: no guest needs more, and finer ones measure the host.
const CLOCK_STEP: Duration = Duration::from_millis(1);

/// What a store holds beside the guest.
pub(super) struct Ctx {
    wasi: WasiCtx,
    table: ResourceTable,
    settings: BTreeMap<String, String>,
    pub(super) log: Log,
    pub(super) memory: MemoryLimit,
    pub(super) call: Call,
}

impl Ctx {
    pub(super) fn new(stage: &str, settings: BTreeMap<String, String>, memory_bytes: u64) -> Ctx {
        let log = Log::new(stage);
        let wasi = WasiCtx::builder()
            .stdout(Stdio::out(&log))
            .stderr(Stdio::err(&log))
            .wall_clock(CoarseClock)
            .allow_tcp(false)
            .allow_udp(false)
            .allow_blocking_current_thread(false)
            .build();
        let memory = MemoryLimit { limit: memory_bytes, used: 0 };
        Ctx { wasi, table: ResourceTable::new(), settings, log, memory, call: Call::default() }
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

    /// CPU time of this thread decides, so that a pause of the machine blames nobody.
    pub(super) fn check(&self) -> Result<(), Interrupted> {
        if thread_cpu_time().saturating_sub(self.cpu_start) > self.cpu_budget {
            return Err(Interrupted::Cpu(self.cpu_budget));
        }
        if self.wall_start.elapsed() > self.wall_budget {
            return Err(Interrupted::Wall(self.wall_budget));
        }
        Ok(())
    }
}

fn thread_cpu_time() -> Duration {
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
    #[error("waits for something, which no stage is granted")]
    Waits,
}

/// Counts all linear memories of an instance together. A refused growth ends the call: most guests would abort on it anyway.
pub(super) struct MemoryLimit {
    limit: u64,
    pub(super) used: u64,
}

/// Far above what toolchains make, far below what would hurt.
const TABLE_ELEMENTS_MAX: usize = 1 << 20;
const INSTANCES_MAX: usize = 256;

impl ResourceLimiter for MemoryLimit {
    fn memory_growing(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> wasmtime::Result<bool> {
        if maximum.is_some_and(|maximum| desired > maximum) {
            return Ok(false);
        }
        let used = self.used + desired.saturating_sub(current) as u64;
        if used > self.limit {
            return Err(Interrupted::Memory(self.limit).into());
        }
        self.used = used;
        Ok(true)
    }

    fn table_growing(&mut self, _current: usize, desired: usize, maximum: Option<usize>) -> wasmtime::Result<bool> {
        Ok(desired <= TABLE_ELEMENTS_MAX && maximum.is_none_or(|maximum| desired <= maximum))
    }

    fn instances(&self) -> usize {
        INSTANCES_MAX
    }

    fn tables(&self) -> usize {
        INSTANCES_MAX
    }

    fn memories(&self) -> usize {
        INSTANCES_MAX
    }
}

pub(super) fn linker(engine: &wasmtime::Engine) -> wasmtime::Result<Linker<Ctx>> {
    let mut linker = Linker::new(engine);
    add_to_linker_sync(&mut linker)?;
    linker.allow_shadowing(true);
    poll::add_to_linker::<Ctx, HasIo>(&mut linker, |ctx| Io(&mut ctx.table))?;
    streams::add_to_linker::<Ctx, HasIo>(&mut linker, |ctx| Io(&mut ctx.table))?;
    monotonic_clock::add_to_linker::<Ctx, HasIo>(&mut linker, |ctx| Io(&mut ctx.table))?;
    linker.allow_shadowing(false);

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

    let absent = |what: &str| format!("{what} is not available in this version of the host");
    let mut state = linker.instance(STATE)?;
    state.func_wrap("get", move |_: StoreContextMut<'_, Ctx>, (_,): (Vec<Vec<u8>>,)| {
        Ok((Err::<Vec<Option<Vec<u8>>>, _>(absent("state")),))
    })?;
    state.func_wrap("set", move |_: StoreContextMut<'_, Ctx>, (_,): (Vec<StateEntry>,)| Ok((Err::<(), _>(absent("state")),)))?;
    linker.instance(LOOKUP)?.func_wrap("get", move |_: StoreContextMut<'_, Ctx>, _: (String, Vec<String>, Vec<Field>)| {
        Ok((Err::<Vec<Column>, _>(absent("lookup")),))
    })?;
    Ok(linker)
}

/// Polls once. What is not ready then would wait, which nobody is granted.
fn at_once<T>(call: impl Future<Output = T>) -> Result<T, Interrupted> {
    call.now_or_never().ok_or(Interrupted::Waits)
}

fn stream_at_once<T>(call: impl Future<Output = StreamResult<T>>) -> StreamResult<T> {
    at_once(call).map_err(|waits| StreamError::Trap(waits.into()))?
}

struct HasIo;

impl HasData for HasIo {
    type Data<'a> = Io<'a>;
}

struct Io<'a>(&'a mut ResourceTable);

type Trapping<T> = wasmtime::Result<T>;

impl poll::Host for Io<'_> {
    fn poll(&mut self, pollables: Vec<Resource<DynPollable>>) -> Trapping<Vec<u32>> {
        at_once(async_poll::Host::poll(self.0, pollables))?
    }
}

impl poll::HostPollable for Io<'_> {
    fn ready(&mut self, pollable: Resource<DynPollable>) -> Trapping<bool> {
        at_once(async_poll::HostPollable::ready(self.0, pollable))?
    }

    fn block(&mut self, pollable: Resource<DynPollable>) -> Trapping<()> {
        at_once(async_poll::HostPollable::block(self.0, pollable))?
    }

    fn drop(&mut self, pollable: Resource<DynPollable>) -> Trapping<()> {
        async_poll::HostPollable::drop(self.0, pollable)
    }
}

impl streams::Host for Io<'_> {
    fn convert_stream_error(&mut self, error: StreamError) -> Trapping<streams::StreamError> {
        streams::Host::convert_stream_error(self.0, error)
    }
}

impl streams::HostInputStream for Io<'_> {
    fn read(&mut self, stream: Resource<DynInputStream>, len: u64) -> StreamResult<Vec<u8>> {
        async_streams::HostInputStream::read(self.0, stream, len)
    }

    fn blocking_read(&mut self, stream: Resource<DynInputStream>, len: u64) -> StreamResult<Vec<u8>> {
        stream_at_once(async_streams::HostInputStream::blocking_read(self.0, stream, len))
    }

    fn skip(&mut self, stream: Resource<DynInputStream>, len: u64) -> StreamResult<u64> {
        async_streams::HostInputStream::skip(self.0, stream, len)
    }

    fn blocking_skip(&mut self, stream: Resource<DynInputStream>, len: u64) -> StreamResult<u64> {
        stream_at_once(async_streams::HostInputStream::blocking_skip(self.0, stream, len))
    }

    fn subscribe(&mut self, stream: Resource<DynInputStream>) -> Trapping<Resource<DynPollable>> {
        async_streams::HostInputStream::subscribe(self.0, stream)
    }

    fn drop(&mut self, stream: Resource<DynInputStream>) -> Trapping<()> {
        at_once(async_streams::HostInputStream::drop(self.0, stream))?
    }
}

impl streams::HostOutputStream for Io<'_> {
    fn check_write(&mut self, stream: Resource<DynOutputStream>) -> StreamResult<u64> {
        async_streams::HostOutputStream::check_write(self.0, stream)
    }

    fn write(&mut self, stream: Resource<DynOutputStream>, contents: Vec<u8>) -> StreamResult<()> {
        async_streams::HostOutputStream::write(self.0, stream, contents)
    }

    fn blocking_write_and_flush(&mut self, stream: Resource<DynOutputStream>, contents: Vec<u8>) -> StreamResult<()> {
        stream_at_once(async_streams::HostOutputStream::blocking_write_and_flush(self.0, stream, contents))
    }

    fn flush(&mut self, stream: Resource<DynOutputStream>) -> StreamResult<()> {
        async_streams::HostOutputStream::flush(self.0, stream)
    }

    fn blocking_flush(&mut self, stream: Resource<DynOutputStream>) -> StreamResult<()> {
        stream_at_once(async_streams::HostOutputStream::blocking_flush(self.0, stream))
    }

    fn subscribe(&mut self, stream: Resource<DynOutputStream>) -> Trapping<Resource<DynPollable>> {
        async_streams::HostOutputStream::subscribe(self.0, stream)
    }

    fn write_zeroes(&mut self, stream: Resource<DynOutputStream>, len: u64) -> StreamResult<()> {
        async_streams::HostOutputStream::write_zeroes(self.0, stream, len)
    }

    fn blocking_write_zeroes_and_flush(&mut self, stream: Resource<DynOutputStream>, len: u64) -> StreamResult<()> {
        stream_at_once(async_streams::HostOutputStream::blocking_write_zeroes_and_flush(self.0, stream, len))
    }

    fn splice(&mut self, target: Resource<DynOutputStream>, source: Resource<DynInputStream>, len: u64) -> StreamResult<u64> {
        async_streams::HostOutputStream::splice(self.0, target, source, len)
    }

    fn blocking_splice(
        &mut self,
        target: Resource<DynOutputStream>,
        source: Resource<DynInputStream>,
        len: u64,
    ) -> StreamResult<u64> {
        stream_at_once(async_streams::HostOutputStream::blocking_splice(self.0, target, source, len))
    }

    fn drop(&mut self, stream: Resource<DynOutputStream>) -> Trapping<()> {
        at_once(async_streams::HostOutputStream::drop(self.0, stream))?
    }
}

struct CoarseClock;

impl HostWallClock for CoarseClock {
    fn resolution(&self) -> Duration {
        CLOCK_STEP
    }

    fn now(&self) -> Duration {
        coarse(ClockId::Realtime)
    }
}

fn coarse(clock: ClockId) -> Duration {
    let time = clock_gettime(clock);
    Duration::from_millis(time.tv_sec.max(0) as u64 * 1000 + time.tv_nsec as u64 / 1_000_000)
}

impl monotonic_clock::Host for Io<'_> {
    fn now(&mut self) -> Trapping<u64> {
        Ok(coarse(ClockId::Monotonic).as_nanos() as u64)
    }

    fn resolution(&mut self) -> Trapping<u64> {
        Ok(CLOCK_STEP.as_nanos() as u64)
    }

    fn subscribe_instant(&mut self, when: u64) -> Trapping<Resource<DynPollable>> {
        let deadline = self.0.push(Deadline(Duration::from_nanos(when)))?;
        subscribe(self.0, deadline)
    }

    fn subscribe_duration(&mut self, duration: u64) -> Trapping<Resource<DynPollable>> {
        let now = monotonic_clock::Host::now(self)?;
        self.subscribe_instant(now.saturating_add(duration))
    }
}

/// A moment of the monotonic clock: ready once it has passed, and never a reason to wake up.
struct Deadline(Duration);

#[wasmtime_wasi::async_trait]
impl Pollable for Deadline {
    async fn ready(&mut self) {
        if coarse(ClockId::Monotonic) < self.0 {
            std::future::pending::<()>().await;
        }
    }
}
