//! Decodes the chunks of the embedded log, written from the description of the format and not from the code that writes it.
//!
//! A chunk: `1`, base timestamp, then per record its timestamp less the base, key, value, number of headers, and name and value of
//! each. Numbers are LEB128, signed ones zigzag; bytes have their length before them, those that may be absent their length plus one.

use std::ops::Range;

use crate::record::{Batch, Header, RecordRef};

/// Adds the records of a chunk that lie in `range` to the batch; `None` when the chunk is damaged.
pub fn decode(body: &[u8], base: i64, count: i64, range: &Range<i64>, batch: &mut Batch) -> Option<()> {
    let mut at = Cursor { body, at: 0 };
    if at.bytes(1)? != [1] {
        return None;
    }
    let base_timestamp = at.signed()?;
    let mut headers: Vec<Header> = Vec::new();
    for offset in base..base + count {
        let timestamp = base_timestamp.wrapping_add(at.signed()?);
        let (key, value) = (at.optional()?, at.optional()?);
        headers.clear();
        for _ in 0..at.unsigned()? {
            let length = at.unsigned()?;
            let name = std::str::from_utf8(at.bytes(length)?).ok()?;
            headers.push((name.to_owned(), at.optional()?.map(<[u8]>::to_vec)));
        }
        if range.contains(&offset) {
            batch.push(RecordRef { offset, timestamp, key, value, headers: &headers });
        }
    }
    (at.at == body.len()).then_some(())
}

struct Cursor<'a> {
    body: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    fn bytes(&mut self, length: u64) -> Option<&'a [u8]> {
        let end = self.at.checked_add(usize::try_from(length).ok()?)?;
        let bytes = self.body.get(self.at..end)?;
        self.at = end;
        Some(bytes)
    }

    fn unsigned(&mut self) -> Option<u64> {
        let mut value = 0u64;
        let mut shift = 0;
        loop {
            let byte = self.bytes(1)?[0];
            value |= u64::from(byte % 128).checked_shl(shift)?;
            if byte < 128 {
                return Some(value);
            }
            shift += 7;
        }
    }

    fn signed(&mut self) -> Option<i64> {
        let value = self.unsigned()?;
        Some(if value % 2 == 0 { (value / 2) as i64 } else { !((value / 2) as i64) })
    }

    /// `Some(None)`: absent.
    fn optional(&mut self) -> Option<Option<&'a [u8]>> {
        match self.unsigned()? {
            0 => Some(None),
            more => Some(Some(self.bytes(more - 1)?)),
        }
    }
}
