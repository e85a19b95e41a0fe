//! Newline-delimited JSON. The cursor is a byte offset, with a fingerprint of the file's beginning, so that a file that was
//! replaced is told from one that was appended to.

use std::fs;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::PathBuf;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{Error, Page, Source, now_ms, read_cursor, write_cursor};
use crate::config::plan::{FilePlan, SourcePlan, Trigger};
use crate::record::Message;
use crate::topic::Cursor;

const FINGERPRINT_BYTES_MAX: u64 = 4 << 10;
/// A page ends here even if it holds fewer records than asked.
const PAGE_BYTES_MAX: u64 = 4 << 20;

pub struct File {
    path: PathBuf,
    line_bytes_max: u64,
    /// Whether it is polled on for lines that are appended; else an unfinished last line is all that will ever come.
    follow: bool,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Place {
    /// Bytes read, always up to the end of a line.
    offset: u64,
    /// Lines read, for messages.
    line: u64,
    /// SHA-256 of the first `fingerprinted` bytes, hex.
    fingerprint: String,
    fingerprinted: u64,
}

impl File {
    pub fn new(plan: &SourcePlan, kind: &FilePlan) -> File {
        File {
            path: kind.path.clone(),
            line_bytes_max: plan.response_bytes_max,
            follow: !matches!(plan.schedule.trigger, Trigger::Every(pause) if pause.is_zero()),
        }
    }
}

#[async_trait]
impl Source for File {
    async fn fetch(&mut self, cursor: Option<&Cursor>, records: u32) -> Result<Page, Error> {
        let at: Place = read_cursor(cursor).unwrap_or_default();
        let (path, line_bytes_max, follow) = (self.path.clone(), self.line_bytes_max, self.follow);
        tokio::task::spawn_blocking(move || Reader { path, line_bytes_max, follow }.page(at, records))
            .await
            .map_err(|_| Error::retry("the reader of the file was interrupted"))?
    }

    async fn reachable(&mut self) -> Result<(), Error> {
        fs::File::open(&self.path).map(drop).map_err(|error| self.cannot_open(&error))
    }
}

impl File {
    fn cannot_open(&self, error: &io::Error) -> Error {
        cannot("open", &self.path, error)
    }
}

/// A file that is not there is a mistake in the pipeline file; other trouble (too many open files, a network disk) may pass.
fn cannot(verb: &str, path: &std::path::Path, error: &io::Error) -> Error {
    let reason = format!("{verb} {}: {error}", path.display());
    match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied | io::ErrorKind::IsADirectory => Error::Fatal(reason),
        _ => Error::retry(reason),
    }
}

struct Reader {
    path: PathBuf,
    line_bytes_max: u64,
    follow: bool,
}

impl Reader {
    fn page(self, mut at: Place, records: u32) -> Result<Page, Error> {
        let mut file = fs::File::open(&self.path).map_err(|error| cannot("open", &self.path, &error))?;
        let mut notes = Vec::new();
        let trouble = |error: io::Error| cannot("read", &self.path, &error);
        if at.offset > 0
            && fingerprint(&mut file, at.fingerprinted).map_err(trouble)? != (at.fingerprinted, at.fingerprint.clone())
            || at.offset > file.metadata().map_err(trouble)?.len()
        {
            notes.push("the file was replaced since it was read last: it is read from its start".to_owned());
            at = Place::default();
        }
        let start = at.clone();
        file.seek(SeekFrom::Start(at.offset)).map_err(trouble)?;
        let mut lines = BufReader::with_capacity(256 << 10, &mut file);
        let mut messages = Vec::new();
        let mut exhausted = false;
        let timestamp = now_ms();
        while messages.len() < records as usize && at.offset - start.offset < PAGE_BYTES_MAX {
            let mut line = Vec::new();
            let read = (&mut lines).take(self.line_bytes_max + 1).read_until(b'\n', &mut line).map_err(trouble)? as u64;
            let ended = line.last() == Some(&b'\n');
            if read > self.line_bytes_max && !ended {
                // Taking a part of it would alter the record; leaving it out would lose it.
                return Err(Error::Fatal(format!(
                    "{}: line {} is longer than {} bytes: split it, or shorten it",
                    self.path.display(),
                    at.line + 1,
                    self.line_bytes_max
                )));
            }
            if read == 0 {
                exhausted = true;
                break;
            }
            if !ended && self.follow && !is_whole(&line) {
                notes.push(format!("line {} has no end yet and is read when it has", at.line + 1));
                exhausted = true;
                break;
            }
            let mut record = line.as_slice();
            if at.offset == 0 {
                record = record.strip_prefix(b"\xef\xbb\xbf").unwrap_or(record);
            }
            record = record.strip_suffix(b"\n").unwrap_or(record);
            record = record.strip_suffix(b"\r").unwrap_or(record);
            // Whatever else stands there is a record as it stands: what cannot be read becomes a dead letter, not a gap.
            if !record.trim_ascii().is_empty() {
                messages.push(Message { key: None, value: Some(record.to_vec()), timestamp, headers: Vec::new() });
            }
            at.offset += read;
            at.line += 1;
        }
        drop(lines);
        if at.fingerprinted < FINGERPRINT_BYTES_MAX {
            (at.fingerprinted, at.fingerprint) = fingerprint(&mut file, at.offset.min(FINGERPRINT_BYTES_MAX)).map_err(trouble)?;
        }
        Ok(Page {
            messages,
            bytes: at.offset - start.offset,
            what: format!("lines {} to {}", start.line + 1, at.line.max(start.line + 1)),
            next: write_cursor(&at),
            notes,
            exhausted,
        })
    }
}

/// Whether a line without an end is a whole object or list: another writer may be in the middle of it.
fn is_whole(line: &[u8]) -> bool {
    matches!(line.trim_ascii().first(), Some(b'{' | b'['))
        && serde_json::from_slice::<serde::de::IgnoredAny>(line.trim_ascii()).is_ok()
}

/// Of the first `bytes` bytes, or of as many as there are.
fn fingerprint(file: &mut fs::File, bytes: u64) -> io::Result<(u64, String)> {
    let mut start = Vec::new();
    file.seek(SeekFrom::Start(0))?;
    file.take(bytes).read_to_end(&mut start)?;
    let digest = Sha256::digest(&start);
    Ok((start.len() as u64, digest.iter().map(|byte| format!("{byte:02x}")).collect()))
}
