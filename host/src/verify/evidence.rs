//! What a verifier looks at: a topic with what is kept beside it, and tables. Readers of their own give it, so that a mistake of
//! the code that writes cannot hide itself.

use std::collections::BTreeMap;
use std::ops::Range;

use super::cells::{Key, Row};
use crate::record::{Batch, Header};
use crate::topic::{Boundary, GenerationContent, Position, Resolution};

/// Evidence that cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Error(pub String);

impl Error {
    pub fn of(what: &str, error: impl std::fmt::Display) -> Error {
        Error(format!("{what}: {error}"))
    }
}

/// Where one partition stands at the moment of a look.
#[derive(Clone, Debug)]
pub struct Partition {
    pub number: u32,
    /// The first offset held, and one past the last.
    pub first: i64,
    pub end: i64,
    /// `None`: nothing was ever delivered.
    pub position: Option<Position>,
    /// Every boundary that is known, ascending.
    pub boundaries: Vec<Boundary>,
}

impl Partition {
    /// All below it is settled.
    pub fn settled(&self) -> i64 {
        self.position.as_ref().map_or(self.first, |position| position.next)
    }

    /// The boundaries that are kept, and those that only the position names.
    pub fn course(&self) -> Vec<Boundary> {
        let mut course = self.boundaries.clone();
        let named = self.position.iter().flat_map(|position| &position.boundaries);
        course.extend(named.filter(|boundary| self.boundaries.iter().all(|known| known.first != boundary.first)));
        course.sort_by_key(|boundary| boundary.first);
        course
    }

    /// Write times below it may belong to records that the topic holds no longer.
    pub fn forgotten_before(&self) -> Option<i64> {
        let boundary = boundary_of(&self.boundaries, self.first).filter(|_| self.first > 0)?;
        Some(boundary.write_time(self.first))
    }
}

/// The boundary that decides an offset; boundaries ascend.
pub fn boundary_of(boundaries: &[Boundary], offset: i64) -> Option<Boundary> {
    boundaries[..boundaries.partition_point(|boundary| boundary.first <= offset)].last().copied()
}

/// A dead letter as it is kept.
#[derive(Clone, Debug)]
pub struct Letter {
    pub key: Option<Vec<u8>>,
    pub value: Option<Vec<u8>>,
    pub headers: Vec<Header>,
    /// ms.
    pub timestamp: i64,
    pub reason: String,
    pub stage: Option<String>,
    pub digest: Option<String>,
    pub generation: u64,
    /// µs.
    pub write_time: i64,
}

/// Dead letters of some offsets of a partition, and what was done with others by wish, as of one moment.
#[derive(Debug, Default)]
pub struct Letters {
    pub kept: BTreeMap<i64, Letter>,
    pub resolved: BTreeMap<i64, Resolution>,
    /// By which generation a replay has begun that has not ended.
    pub replaying: BTreeMap<i64, u64>,
}

/// A piece of the log.
#[derive(Debug)]
pub struct Piece {
    pub batch: Batch,
    /// Offsets behind the batch whose records cannot be read any more.
    pub damaged: Option<Range<i64>>,
}

/// The topic's side.
pub trait Topic {
    /// Whether offsets follow one another without a gap.
    fn is_gapless(&self) -> bool;

    /// The first offset that a partition holds now.
    fn first(&mut self, partition: u32) -> Result<i64, Error>;

    /// Where each partition stands now.
    fn partitions(&mut self) -> Result<Vec<Partition>, Error>;

    /// Records of a range, from its start on, as many as make a good batch. Nothing: there are none left in it.
    fn records(&mut self, partition: u32, range: Range<i64>) -> Result<Piece, Error>;

    fn generation(&mut self, number: u64) -> Result<Option<GenerationContent>, Error>;

    /// A component by its digest.
    fn component(&mut self, digest: &str) -> Result<Option<Vec<u8>>, Error>;

    fn letters(&mut self, partition: u32, range: Range<i64>) -> Result<Letters, Error>;

    /// Places of dead letters that lie in none of these ranges.
    fn strays(&mut self, ranges: &BTreeMap<u32, Range<i64>>) -> Result<Vec<(u32, i64)>, Error>;
}

/// A row as it stands in a table.
#[derive(Clone, Debug)]
pub struct Found {
    pub key: Key,
    /// When it was written, µs; `None` where the table cannot tell.
    pub written: Option<i64>,
    /// Cells of one row that were written at different times.
    pub torn: bool,
    /// `None`: a deleted row of which the key is kept.
    pub row: Option<Row>,
    /// Where it is, to be looked at again.
    pub at: i64,
}

/// A table's side.
pub trait Table {
    /// How many rows there are about, where that is known.
    fn rows_expected(&mut self) -> Option<u64>;

    /// Every row, once.
    fn scan(&mut self, each: &mut dyn FnMut(Found) -> Result<(), Error>) -> Result<(), Error>;

    /// A row that was found, as it is now.
    fn row(&mut self, key: &Key, at: i64) -> Result<Option<Found>, Error>;

    /// How a delete shows.
    fn deletes(&self) -> Deletes;

    /// Whether a column's cells belong to the rows that are read.
    fn compares(&self, column: &str) -> bool;
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deletes {
    /// The key stays, hidden, with its write time, for so many µs.
    Hidden { micros: i64 },
    /// Nothing is left to be read.
    Gone,
}
