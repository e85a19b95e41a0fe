//! A guest's log lines: `wasi:logging`, standard output and standard error, bounded per call and safe to print.

use std::sync::{Arc, Mutex, MutexGuard};

use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamResult};

use super::bindings::v0_1::LogLevel;

/// Bytes of one line that are passed on.
const LINE_BYTES: usize = 4096;
/// Bytes of standard error that are kept to explain a trap.
const LAST_WORDS_BYTES: usize = 2048;

/// What one write to standard output or error may hold.
const WRITE_BYTES: usize = 64 << 10;

/// Shared by all ways in which a guest says something.
#[derive(Clone)]
pub(super) struct Log(Arc<Mutex<Shared>>);

struct Shared {
    stage: String,
    /// Lines of this call, and how many of them are passed on; the rest is counted.
    lines: u32,
    lines_max: u32,
    out: Vec<u8>,
    err: Vec<u8>,
    last_words: String,
}

impl Log {
    pub(super) fn new(stage: &str, lines_max: u32) -> Log {
        Log(Arc::new(Mutex::new(Shared {
            stage: stage.to_owned(),
            lines: 0,
            lines_max,
            out: Vec::new(),
            err: Vec::new(),
            last_words: String::new(),
        })))
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    pub(super) fn start_call(&self) {
        let mut shared = self.lock();
        shared.lines = 0;
        shared.last_words.clear();
    }

    /// Passes on unfinished lines and says how many were left out.
    pub(super) fn end_call(&self) {
        let mut shared = self.lock();
        for stream in [Stream::Out, Stream::Err] {
            shared.end_line(stream);
        }
        if let Some(more) = shared.lines.checked_sub(shared.lines_max).filter(|more| *more > 0) {
            tracing::warn!(target: "plugin", stage = %shared.stage, "{more} more lines of this call are not shown");
        }
    }

    pub(super) fn message(&self, level: LogLevel, context: &str, message: &str) {
        let mut shared = self.lock();
        if !shared.may_log() {
            return;
        }
        let context = printable(context);
        let message = printable(message);
        let stage = &shared.stage;
        match level {
            LogLevel::Trace => tracing::trace!(target: "plugin", %stage, %context, "{message}"),
            LogLevel::Debug => tracing::debug!(target: "plugin", %stage, %context, "{message}"),
            LogLevel::Info => tracing::info!(target: "plugin", %stage, %context, "{message}"),
            LogLevel::Warn => tracing::warn!(target: "plugin", %stage, %context, "{message}"),
            LogLevel::Error | LogLevel::Critical => tracing::error!(target: "plugin", %stage, %context, "{message}"),
        }
    }

    /// What the guest wrote to standard error in this call, for the reason of a trap.
    pub(super) fn last_words(&self) -> String {
        self.lock().last_words.trim().to_owned()
    }
}

impl Shared {
    fn may_log(&mut self) -> bool {
        self.lines = self.lines.saturating_add(1);
        self.lines <= self.lines_max
    }

    fn write(&mut self, stream: Stream, bytes: &[u8]) {
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            let line = self.line(stream);
            let room = LINE_BYTES - line.len();
            line.extend_from_slice(&piece[..piece.len().min(room)]);
            if piece.ends_with(b"\n") {
                self.end_line(stream);
            }
        }
    }

    fn line(&mut self, stream: Stream) -> &mut Vec<u8> {
        match stream {
            Stream::Out => &mut self.out,
            Stream::Err => &mut self.err,
        }
    }

    fn end_line(&mut self, stream: Stream) {
        let line = std::mem::take(self.line(stream));
        if line.is_empty() {
            return;
        }
        let text = printable(String::from_utf8_lossy(&line).trim_end());
        if stream == Stream::Err && self.last_words.len() + text.len() < LAST_WORDS_BYTES {
            self.last_words.push_str(&text);
            self.last_words.push(' ');
        }
        if self.may_log() {
            let stage = &self.stage;
            match stream {
                Stream::Out => tracing::info!(target: "plugin", %stage, context = "stdout", "{text}"),
                Stream::Err => tracing::warn!(target: "plugin", %stage, context = "stderr", "{text}"),
            }
        }
    }
}

/// Control characters are escaped, so that a plugin cannot forge lines or talk to a terminal.
pub(super) fn printable(text: &str) -> String {
    let mut out = String::with_capacity(text.len().min(LINE_BYTES));
    for character in text.chars() {
        if out.len() >= LINE_BYTES {
            out.push('…');
            break;
        }
        match character {
            '\t' => out.push(' '),
            character if character.is_control() => out.extend(character.escape_default()),
            character => out.push(character),
        }
    }
    out
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stream {
    Out,
    Err,
}

/// Standard output or error of a guest.
#[derive(Clone)]
pub(super) struct Stdio {
    log: Log,
    stream: Stream,
}

impl Stdio {
    pub(super) fn out(log: &Log) -> Stdio {
        Stdio { log: log.clone(), stream: Stream::Out }
    }

    pub(super) fn err(log: &Log) -> Stdio {
        Stdio { log: log.clone(), stream: Stream::Err }
    }
}

impl IsTerminal for Stdio {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for Stdio {
    fn async_stream(&self) -> Box<dyn tokio::io::AsyncWrite + Send + Sync> {
        // Only asked for by WASI 0.3, which is not linked.
        Box::new(tokio::io::sink())
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }
}

#[wasmtime_wasi::async_trait]
impl Pollable for Stdio {
    async fn ready(&mut self) {}
}

impl OutputStream for Stdio {
    fn write(&mut self, bytes: bytes::Bytes) -> StreamResult<()> {
        self.log.lock().write(self.stream, &bytes);
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(WRITE_BYTES)
    }

    /// WASI's default makes a buffer of whatever length the guest names.
    fn write_zeroes(&mut self, length: usize) -> StreamResult<()> {
        self.write(vec![0; length.min(WRITE_BYTES)].into())
    }
}
