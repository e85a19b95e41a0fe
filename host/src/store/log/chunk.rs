//! The body of a chunk: records one behind the other, each as
//! `timestamp − base timestamp` (zigzag), key, value, number of headers, then name and value of each header.
//!
//! Numbers are LEB128. Bytes that may be absent have their length plus one before them, zero when absent. The body starts with the
//! format's number and the base timestamp. Offsets are not in it: a body can be appended again elsewhere when its transaction was undone.

use crate::record::{Batch, Header, Message, RecordRef};
use crate::store::Error;

const FORMAT: u8 = 1;
/// A chunk is ended beyond it, so that a reader that wants less need not load much more.
pub const CHUNK_BYTES: usize = 256 << 10;

/// Records ready to be appended to one partition.
#[derive(Debug, Default)]
pub struct Chunk {
    pub count: u32,
    /// ms.
    pub newest: i64,
    base_timestamp: i64,
    pub body: Vec<u8>,
}

impl Chunk {
    pub fn push(&mut self, message: &Message) {
        if self.count == 0 {
            self.base_timestamp = message.timestamp;
            self.newest = message.timestamp;
            self.body.push(FORMAT);
            number(&mut self.body, zigzag(message.timestamp));
        }
        self.count += 1;
        self.newest = self.newest.max(message.timestamp);
        number(&mut self.body, zigzag(message.timestamp.wrapping_sub(self.base_timestamp)));
        optional(&mut self.body, message.key.as_deref());
        optional(&mut self.body, message.value.as_deref());
        number(&mut self.body, message.headers.len() as u64);
        for (name, value) in &message.headers {
            number(&mut self.body, name.len() as u64);
            self.body.extend_from_slice(name.as_bytes());
            optional(&mut self.body, value.as_deref());
        }
    }

    pub fn is_full(&self) -> bool {
        self.body.len() >= CHUNK_BYTES
    }
}

/// Adds records of the chunk from offset `from` on to the batch, as long as `fits` says yes to their size. Returns the next offset.
pub fn decode(
    body: &[u8],
    base: i64,
    count: u32,
    from: i64,
    batch: &mut Batch,
    fits: impl Fn(&Batch, usize) -> bool,
) -> Result<i64, Error> {
    let mut rest = Reader(body);
    if rest.byte()? != FORMAT {
        return Err(damaged());
    }
    let base_timestamp = unzigzag(rest.number()?);
    let mut headers: Vec<Header> = Vec::new();
    for offset in base..base + i64::from(count) {
        let timestamp = base_timestamp.wrapping_add(unzigzag(rest.number()?));
        let (key, value) = (rest.optional()?, rest.optional()?);
        headers.clear();
        for _ in 0..rest.number()? {
            let len = rest.len()?;
            let name = std::str::from_utf8(rest.take(len)?).map_err(|_| damaged())?;
            headers.push((name.to_owned(), rest.optional()?.map(<[u8]>::to_vec)));
        }
        if offset < from {
            continue;
        }
        if !fits(batch, key.map_or(0, <[u8]>::len) + value.map_or(0, <[u8]>::len)) {
            return Ok(offset);
        }
        batch.push(RecordRef { offset, timestamp, key, value, headers: &headers });
    }
    Ok(base + i64::from(count))
}

fn number(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn optional(out: &mut Vec<u8>, bytes: Option<&[u8]>) {
    match bytes {
        None => out.push(0),
        Some(bytes) => {
            number(out, bytes.len() as u64 + 1);
            out.extend_from_slice(bytes);
        }
    }
}

fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)) as u64
}

fn unzigzag(value: u64) -> i64 {
    (value >> 1) as i64 ^ -((value & 1) as i64)
}

fn damaged() -> Error {
    Error::Sqlite("a chunk of the log is damaged".to_owned())
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn byte(&mut self) -> Result<u8, Error> {
        let (byte, rest) = self.0.split_first().ok_or_else(damaged)?;
        self.0 = rest;
        Ok(*byte)
    }

    fn number(&mut self) -> Result<u64, Error> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(damaged())
    }

    fn len(&mut self) -> Result<usize, Error> {
        usize::try_from(self.number()?).map_err(|_| damaged())
    }

    fn take(&mut self, len: usize) -> Result<&'a [u8], Error> {
        let (bytes, rest) = self.0.split_at_checked(len).ok_or_else(damaged)?;
        self.0 = rest;
        Ok(bytes)
    }

    fn optional(&mut self) -> Result<Option<&'a [u8]>, Error> {
        match self.len()? {
            0 => Ok(None),
            len => self.take(len - 1).map(Some),
        }
    }
}
