//! Streams, polling and clocks of WASI. Its own synchronous glue would park the worker on a runtime of its own; here each host call is polled
//! once, and what is not ready then is a trap. Only a stage that is granted something to wait for waits, and no longer than its call may last.

use std::time::{Duration, Instant};

use futures_util::FutureExt;
use rustix::time::{ClockId, clock_gettime};
use wasmtime::component::{HasData, Linker, Resource, ResourceTable};
use wasmtime_wasi::HostWallClock;
use wasmtime_wasi::p2::bindings::clocks::monotonic_clock;
use wasmtime_wasi::p2::bindings::io::{poll as async_poll, streams as async_streams};
use wasmtime_wasi::p2::bindings::sync::io::{poll, streams};
use wasmtime_wasi::p2::{DynInputStream, DynOutputStream, DynPollable, Pollable, StreamError, StreamResult, subscribe};
use wasmtime_wasi::runtime::in_tokio;

use super::sandbox::{Ctx, Interrupted};

/// Clocks are coarse: no guest needs more, and finer ones measure the host.
const CLOCK_STEP: Duration = Duration::from_millis(1);

/// Puts these in the place of WASI's own.
pub(super) fn add_to_linker(linker: &mut Linker<Ctx>) -> wasmtime::Result<()> {
    linker.allow_shadowing(true);
    poll::add_to_linker::<Ctx, HasIo>(linker, Ctx::io)?;
    streams::add_to_linker::<Ctx, HasIo>(linker, Ctx::io)?;
    monotonic_clock::add_to_linker::<Ctx, HasIo>(linker, Ctx::io)?;
    linker.allow_shadowing(false);
    Ok(())
}

struct HasIo;

impl HasData for HasIo {
    type Data<'a> = Io<'a>;
}

pub(super) struct Io<'a> {
    pub table: &'a mut ResourceTable,
    /// `None`: this stage is granted nothing that one could wait for.
    pub waits_until: Option<Instant>,
}

/// Polls once, or waits as long as the call may last.
fn settle<T>(waits_until: Option<Instant>, call: impl Future<Output = T>) -> Result<T, Interrupted> {
    let Some(until) = waits_until else { return call.now_or_never().ok_or(Interrupted::Waits) };
    in_tokio(async { tokio::time::timeout_at(until.into(), call).await }).map_err(|_| Interrupted::Waited)
}

fn settle_stream<T>(waits_until: Option<Instant>, call: impl Future<Output = StreamResult<T>>) -> StreamResult<T> {
    settle(waits_until, call).map_err(|interrupted| StreamError::Trap(interrupted.into()))?
}

type Trapping<T> = wasmtime::Result<T>;

impl poll::Host for Io<'_> {
    fn poll(&mut self, pollables: Vec<Resource<DynPollable>>) -> Trapping<Vec<u32>> {
        settle(self.waits_until, async_poll::Host::poll(self.table, pollables))?
    }
}

impl poll::HostPollable for Io<'_> {
    fn ready(&mut self, pollable: Resource<DynPollable>) -> Trapping<bool> {
        settle(self.waits_until, async_poll::HostPollable::ready(self.table, pollable))?
    }

    fn block(&mut self, pollable: Resource<DynPollable>) -> Trapping<()> {
        settle(self.waits_until, async_poll::HostPollable::block(self.table, pollable))?
    }

    fn drop(&mut self, pollable: Resource<DynPollable>) -> Trapping<()> {
        async_poll::HostPollable::drop(self.table, pollable)
    }
}

impl streams::Host for Io<'_> {
    fn convert_stream_error(&mut self, error: StreamError) -> Trapping<streams::StreamError> {
        streams::Host::convert_stream_error(self.table, error)
    }
}

impl streams::HostInputStream for Io<'_> {
    fn read(&mut self, stream: Resource<DynInputStream>, len: u64) -> StreamResult<Vec<u8>> {
        async_streams::HostInputStream::read(self.table, stream, len)
    }

    fn blocking_read(&mut self, stream: Resource<DynInputStream>, len: u64) -> StreamResult<Vec<u8>> {
        settle_stream(self.waits_until, async_streams::HostInputStream::blocking_read(self.table, stream, len))
    }

    fn skip(&mut self, stream: Resource<DynInputStream>, len: u64) -> StreamResult<u64> {
        async_streams::HostInputStream::skip(self.table, stream, len)
    }

    fn blocking_skip(&mut self, stream: Resource<DynInputStream>, len: u64) -> StreamResult<u64> {
        settle_stream(self.waits_until, async_streams::HostInputStream::blocking_skip(self.table, stream, len))
    }

    fn subscribe(&mut self, stream: Resource<DynInputStream>) -> Trapping<Resource<DynPollable>> {
        async_streams::HostInputStream::subscribe(self.table, stream)
    }

    fn drop(&mut self, stream: Resource<DynInputStream>) -> Trapping<()> {
        settle(self.waits_until, async_streams::HostInputStream::drop(self.table, stream))?
    }
}

impl streams::HostOutputStream for Io<'_> {
    fn check_write(&mut self, stream: Resource<DynOutputStream>) -> StreamResult<u64> {
        async_streams::HostOutputStream::check_write(self.table, stream)
    }

    fn write(&mut self, stream: Resource<DynOutputStream>, contents: Vec<u8>) -> StreamResult<()> {
        async_streams::HostOutputStream::write(self.table, stream, contents)
    }

    fn blocking_write_and_flush(&mut self, stream: Resource<DynOutputStream>, contents: Vec<u8>) -> StreamResult<()> {
        settle_stream(self.waits_until, async_streams::HostOutputStream::blocking_write_and_flush(self.table, stream, contents))
    }

    fn flush(&mut self, stream: Resource<DynOutputStream>) -> StreamResult<()> {
        async_streams::HostOutputStream::flush(self.table, stream)
    }

    fn blocking_flush(&mut self, stream: Resource<DynOutputStream>) -> StreamResult<()> {
        settle_stream(self.waits_until, async_streams::HostOutputStream::blocking_flush(self.table, stream))
    }

    fn subscribe(&mut self, stream: Resource<DynOutputStream>) -> Trapping<Resource<DynPollable>> {
        async_streams::HostOutputStream::subscribe(self.table, stream)
    }

    fn write_zeroes(&mut self, stream: Resource<DynOutputStream>, len: u64) -> StreamResult<()> {
        async_streams::HostOutputStream::write_zeroes(self.table, stream, len)
    }

    fn blocking_write_zeroes_and_flush(&mut self, stream: Resource<DynOutputStream>, len: u64) -> StreamResult<()> {
        settle_stream(self.waits_until, async_streams::HostOutputStream::blocking_write_zeroes_and_flush(self.table, stream, len))
    }

    fn splice(&mut self, target: Resource<DynOutputStream>, source: Resource<DynInputStream>, len: u64) -> StreamResult<u64> {
        async_streams::HostOutputStream::splice(self.table, target, source, len)
    }

    fn blocking_splice(
        &mut self,
        target: Resource<DynOutputStream>,
        source: Resource<DynInputStream>,
        len: u64,
    ) -> StreamResult<u64> {
        settle_stream(self.waits_until, async_streams::HostOutputStream::blocking_splice(self.table, target, source, len))
    }

    fn drop(&mut self, stream: Resource<DynOutputStream>) -> Trapping<()> {
        settle(self.waits_until, async_streams::HostOutputStream::drop(self.table, stream))?
    }
}

pub(super) struct CoarseClock;

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
        let deadline = self.table.push(Deadline { at: Duration::from_nanos(when), waits: self.waits_until.is_some() })?;
        subscribe(self.table, deadline)
    }

    fn subscribe_duration(&mut self, duration: u64) -> Trapping<Resource<DynPollable>> {
        let now = monotonic_clock::Host::now(self)?;
        self.subscribe_instant(now.saturating_add(duration))
    }
}

/// A moment of the monotonic clock: ready once it has passed, and a reason to wake up only for a stage that may wait.
struct Deadline {
    at: Duration,
    waits: bool,
}

#[wasmtime_wasi::async_trait]
impl Pollable for Deadline {
    async fn ready(&mut self) {
        loop {
            let left = self.at.saturating_sub(coarse(ClockId::Monotonic));
            match (left.is_zero(), self.waits) {
                (true, _) => return,
                (false, true) => tokio::time::sleep(left).await,
                (false, false) => std::future::pending::<()>().await,
            }
        }
    }
}
