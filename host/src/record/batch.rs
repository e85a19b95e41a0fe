//! Batches: records of one partition, in offset order, in one buffer.

use serde::{Deserialize, Serialize};

/// A header of a record. `None` is a header without a value, as Kafka allows.
pub type Header = (String, Option<Vec<u8>>);

/// A record that is not in a topic yet, or the bytes that a `messages` stage emits.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Message {
    pub key: Option<Vec<u8>>,
    /// `None` is a tombstone.
    pub value: Option<Vec<u8>>,
    /// Milliseconds since 1970-01-01T00:00:00Z.
    pub timestamp: i64,
    pub headers: Vec<Header>,
}

/// Where a record stands in its topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Place {
    pub partition: u32,
    pub offset: i64,
}

/// One record of a batch, borrowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordRef<'a> {
    pub offset: i64,
    pub timestamp: i64,
    pub key: Option<&'a [u8]>,
    pub value: Option<&'a [u8]>,
    pub headers: &'a [Header],
}

impl RecordRef<'_> {
    pub fn to_message(&self) -> Message {
        Message {
            key: self.key.map(<[u8]>::to_vec),
            value: self.value.map(<[u8]>::to_vec),
            timestamp: self.timestamp,
            headers: self.headers.to_vec(),
        }
    }
}

#[derive(Clone, Copy, Debug)]
struct Span {
    start: u32,
    len: u32,
}

/// The length that stands for "no value": a batch is bounded far below it.
const ABSENT: u32 = u32::MAX;

/// Records of one partition in ascending offset order, gaps allowed. Keys and values lie in one buffer.
#[derive(Clone, Debug)]
pub struct Batch {
    partition: u32,
    offsets: Vec<i64>,
    timestamps: Vec<i64>,
    keys: Vec<Span>,
    values: Vec<Span>,
    bytes: Vec<u8>,
    /// Row and its headers, ascending; rows without headers are not listed.
    headers: Vec<(u32, Vec<Header>)>,
}

impl Batch {
    pub fn new(partition: u32) -> Batch {
        Batch::with_capacity(partition, 0, 0)
    }

    pub fn with_capacity(partition: u32, rows: usize, bytes: usize) -> Batch {
        Batch {
            partition,
            offsets: Vec::with_capacity(rows),
            timestamps: Vec::with_capacity(rows),
            keys: Vec::with_capacity(rows),
            values: Vec::with_capacity(rows),
            bytes: Vec::with_capacity(bytes),
            headers: Vec::new(),
        }
    }

    pub fn push(&mut self, record: RecordRef<'_>) {
        debug_assert!(self.offsets.last().is_none_or(|last| *last < record.offset), "offsets ascend");
        let row = self.offsets.len();
        let key = self.store(record.key);
        let value = self.store(record.value);
        self.offsets.push(record.offset);
        self.timestamps.push(record.timestamp);
        self.keys.push(key);
        self.values.push(value);
        if !record.headers.is_empty() {
            self.headers.push((row as u32, record.headers.to_vec()));
        }
    }

    fn store(&mut self, bytes: Option<&[u8]>) -> Span {
        let start = u32::try_from(self.bytes.len()).expect("a batch is bounded far below 4 GiB");
        match bytes {
            None => Span { start, len: ABSENT },
            Some(bytes) => {
                self.bytes.extend_from_slice(bytes);
                Span { start, len: bytes.len() as u32 }
            }
        }
    }

    fn load(&self, span: Span) -> Option<&[u8]> {
        (span.len != ABSENT).then(|| &self.bytes[span.start as usize..(span.start + span.len) as usize])
    }

    pub fn partition(&self) -> u32 {
        self.partition
    }

    pub fn rows(&self) -> usize {
        self.offsets.len()
    }

    pub fn is_empty(&self) -> bool {
        self.offsets.is_empty()
    }

    /// Bytes of keys and values.
    pub fn bytes(&self) -> usize {
        self.bytes.len()
    }

    pub fn offsets(&self) -> &[i64] {
        &self.offsets
    }

    pub fn timestamps(&self) -> &[i64] {
        &self.timestamps
    }

    pub fn key(&self, row: usize) -> Option<&[u8]> {
        self.load(self.keys[row])
    }

    pub fn value(&self, row: usize) -> Option<&[u8]> {
        self.load(self.values[row])
    }

    pub fn headers(&self, row: usize) -> &[Header] {
        match self.headers.binary_search_by_key(&(row as u32), |(row, _)| *row) {
            Ok(at) => &self.headers[at].1,
            Err(_) => &[],
        }
    }

    pub fn get(&self, row: usize) -> RecordRef<'_> {
        RecordRef {
            offset: self.offsets[row],
            timestamp: self.timestamps[row],
            key: self.key(row),
            value: self.value(row),
            headers: self.headers(row),
        }
    }

    pub fn place(&self, row: usize) -> Place {
        Place { partition: self.partition, offset: self.offsets[row] }
    }

    pub fn iter(&self) -> impl Iterator<Item = RecordRef<'_>> {
        (0..self.rows()).map(|row| self.get(row))
    }

    /// Splits so that `self` keeps the records below `offset` and the rest is returned.
    pub fn split_off(&mut self, offset: i64) -> Batch {
        let cut = self.offsets.partition_point(|o| *o < offset);
        let mut rest = Batch::with_capacity(self.partition, self.rows() - cut, 0);
        for row in cut..self.rows() {
            rest.push(self.get(row));
        }
        self.offsets.truncate(cut);
        self.timestamps.truncate(cut);
        self.keys.truncate(cut);
        self.values.truncate(cut);
        self.headers.retain(|(row, _)| (*row as usize) < cut);
        rest
    }
}
