//! Reads a store as a stranger would: with SQLite, and with a decoder written from the description of the log's format.
//! No code of the product is used, so that a mistake in it cannot hide itself.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use rusqlite::{Connection, params, types::Value as Cell};
use serde_json::Value;

/// Partition and offset.
pub type Place = (u32, i64);
/// A row's key cells, as text that tells their types apart.
pub type Key = Vec<String>;
pub type Header = (String, Option<Vec<u8>>);

#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    pub partition: u32,
    pub offset: i64,
    pub timestamp: i64,
    pub key: Option<Vec<u8>>,
    pub value: Option<Vec<u8>>,
    pub headers: Vec<Header>,
}

impl Record {
    pub fn place(&self) -> Place {
        (self.partition, self.offset)
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Boundary {
    pub first: i64,
    pub generation: u64,
    pub time: i64,
}

#[derive(Clone, Debug)]
pub struct Position {
    pub next: i64,
    pub reach: i64,
    pub boundaries: Vec<Boundary>,
    pub emitted: u64,
    pub dropped: u64,
    pub deleted: u64,
    pub rejected: u64,
}

#[derive(Clone, Debug)]
pub struct Partition {
    pub number: u32,
    /// First offset held, and one past the last, as the store counts them.
    pub first: i64,
    pub next: i64,
    pub position: Option<Position>,
    /// Every boundary that decided a record still held, ascending.
    pub boundaries: Vec<Boundary>,
    /// In offset order.
    pub records: Vec<Record>,
    /// Chunks that do not follow one another, or cannot be read.
    pub faults: Vec<String>,
}

#[derive(Clone, Debug)]
pub struct DeadLetter {
    pub key: Option<Vec<u8>>,
    pub value: Option<Vec<u8>>,
    pub headers: String,
    pub timestamp: i64,
    pub reason: String,
    pub stage: Option<String>,
    pub digest: Option<String>,
    pub generation: u64,
    pub write_time: i64,
}

/// The store of one topic.
pub struct Store {
    pub connection: Connection,
    topic: i64,
}

impl Store {
    #[track_caller]
    pub fn open(dir: &Path, topic: &str) -> Store {
        let connection = Connection::open(dir.join("store.db")).expect("open the store");
        let topic = connection
            .query_row("SELECT id FROM topics WHERE name = ?1", [topic], |row| row.get(0))
            .unwrap_or_else(|error| panic!("topic {topic} in {}: {error}", dir.display()));
        Store { connection, topic }
    }

    pub fn partitions(&self) -> Vec<Partition> {
        let mut statement = self
            .connection
            .prepare("SELECT id, partition, first, next, position FROM partitions WHERE topic = ?1 ORDER BY partition")
            .expect("read partitions");
        let rows = statement.query_map([self.topic], |row| {
            let position: Option<String> = row.get(4)?;
            let partition = Partition {
                number: row.get(1)?,
                first: row.get(2)?,
                next: row.get(3)?,
                position: position.map(|text| read_position(&text)),
                boundaries: Vec::new(),
                records: Vec::new(),
                faults: Vec::new(),
            };
            Ok((row.get(0)?, partition))
        });
        let rows: Vec<(i64, Partition)> = rows.expect("read partitions").collect::<Result<_, _>>().expect("read partitions");
        rows.into_iter()
            .map(|(id, mut partition)| {
                partition.boundaries = self.boundaries(id);
                self.read_log(id, &mut partition);
                partition
            })
            .collect()
    }

    /// All records of all partitions, in the order of their partitions and offsets.
    pub fn records(&self) -> Vec<Record> {
        self.partitions().into_iter().flat_map(|partition| partition.records).collect()
    }

    fn boundaries(&self, partition: i64) -> Vec<Boundary> {
        let select = "SELECT first, generation, time FROM boundaries WHERE partition = ?1 ORDER BY first";
        let mut statement = self.connection.prepare(select).expect("read boundaries");
        let boundaries = statement.query_map([partition], |row| {
            Ok(Boundary { first: row.get(0)?, generation: row.get::<_, i64>(1)? as u64, time: row.get(2)? })
        });
        boundaries.expect("read boundaries").collect::<Result<_, _>>().expect("read boundaries")
    }

    fn read_log(&self, id: i64, partition: &mut Partition) {
        let select = "SELECT base, count, body FROM chunks WHERE partition = ?1 ORDER BY base";
        let mut statement = self.connection.prepare(select).expect("read the log");
        let mut chunks = statement.query(params![id]).expect("read the log");
        let mut expected = partition.first;
        while let Some(chunk) = chunks.next().expect("read the log") {
            let (base, count): (i64, i64) = (chunk.get(0).expect("base"), chunk.get(1).expect("count"));
            let body: Vec<u8> = chunk.get(2).expect("body");
            if base != expected {
                partition.faults.push(format!("the log goes on at {base}, not at {expected}"));
            }
            expected = base + count;
            match decode(&body, partition.number, base, count) {
                Some(records) => partition.records.extend(records),
                None => partition.faults.push(format!("the chunk at {base} cannot be read")),
            }
        }
        if expected != partition.next {
            partition.faults.push(format!("the log ends at {expected}, but the next offset is {}", partition.next));
        }
    }

    pub fn generations(&self) -> BTreeMap<u64, Value> {
        let mut statement =
            self.connection.prepare("SELECT number, content FROM generations WHERE topic = ?1").expect("read generations");
        let rows = statement.query_map([self.topic], |row| Ok((row.get::<_, i64>(0)? as u64, row.get::<_, String>(1)?)));
        let read = |row: rusqlite::Result<(u64, String)>| {
            let (number, content) = row.expect("read generations");
            (number, serde_json::from_str(&content).expect("a generation's content is JSON"))
        };
        rows.expect("read generations").map(read).collect()
    }

    pub fn dead_letters(&self) -> BTreeMap<Place, DeadLetter> {
        let select = r#"SELECT partition, "offset", "key", value, headers, timestamp, reason, stage, digest, generation, write_time
            FROM dead_letters WHERE topic = ?1"#;
        let mut statement = self.connection.prepare(select).expect("read dead letters");
        let rows = statement.query_map([self.topic], |row| {
            let letter = DeadLetter {
                key: row.get(2)?,
                value: row.get(3)?,
                headers: row.get(4)?,
                timestamp: row.get(5)?,
                reason: row.get(6)?,
                stage: row.get(7)?,
                digest: row.get(8)?,
                generation: row.get::<_, i64>(9)? as u64,
                write_time: row.get(10)?,
            };
            Ok(((row.get(0)?, row.get(1)?), letter))
        });
        rows.expect("read dead letters").collect::<Result<_, _>>().expect("read dead letters")
    }

    /// What was done by wish with dead letters; a replay that has begun and not ended is none.
    pub fn receipts(&self) -> BTreeMap<Place, Value> {
        let select = r#"SELECT partition, "offset", resolution FROM receipts
            WHERE topic = ?1 AND resolution ->> '$.how' <> 'replaying'"#;
        let mut statement = self.connection.prepare(select).expect("read receipts");
        let rows = statement.query_map([self.topic], |row| {
            let resolution: String = row.get(2)?;
            Ok(((row.get(0)?, row.get(1)?), serde_json::from_str(&resolution).expect("a receipt is JSON")))
        });
        rows.expect("read receipts").collect::<Result<_, _>>().expect("read receipts")
    }

    /// Write time of each key of a table, and whether the key is deleted: kept, hidden, beside the view of the live rows.
    pub fn times(&self, table: &str, key: &[&str]) -> HashMap<Key, (i64, bool)> {
        let columns: String = key.iter().map(|column| format!(", \"{column}\"")).collect();
        let select = format!("SELECT \"@time\", \"@deleted\"{columns} FROM \"{table}:rows\"");
        let mut statement = self.connection.prepare(&select).unwrap_or_else(|error| panic!("{select}: {error}"));
        let rows = statement.query_map([], |row| {
            let key = (0..key.len()).map(|at| Ok(format!("{:?}", shown(row.get(2 + at)?)))).collect::<rusqlite::Result<_>>()?;
            Ok((key, (row.get(0)?, row.get(1)?)))
        });
        rows.expect(&select).collect::<Result<_, _>>().expect(&select)
    }

    /// The rows of a query, by column.
    pub fn rows(&self, query: &str) -> Vec<BTreeMap<String, Cell>> {
        let mut statement = self.connection.prepare(query).unwrap_or_else(|error| panic!("{query}: {error}"));
        let names: Vec<String> = statement.column_names().map(str::to_owned).collect();
        let rows = statement.query_map([], |row| {
            names.iter().enumerate().map(|(at, name)| Ok((name.clone(), row.get::<_, Cell>(at)?))).collect()
        });
        rows.expect(query).collect::<Result<_, _>>().expect(query)
    }
}

/// A position as it is saved, in a store or in a cluster.
pub fn read_position(text: &str) -> Position {
    let position: Value = serde_json::from_str(text).expect("a position is JSON");
    let number = |value: &Value| value.as_i64().unwrap_or_else(|| panic!("a number is missing in {text}"));
    let figures = &position["figures"];
    let boundaries = position["boundaries"].as_array().expect("boundaries").iter();
    Position {
        next: number(&position["next"]),
        reach: number(&position["reach"]),
        boundaries: boundaries
            .map(|b| Boundary {
                first: number(&b["first"]),
                generation: number(&b["generation"]) as u64,
                time: number(&b["time"]),
            })
            .collect(),
        emitted: number(&figures["emitted"]) as u64,
        dropped: number(&figures["dropped"]) as u64,
        deleted: number(&figures["deleted"]) as u64,
        rejected: number(&figures["rejected"]) as u64,
    }
}

/// A key's cell as the view shows it: a uuid is stored as its bytes.
fn shown(cell: Cell) -> Cell {
    let Cell::Blob(bytes) = &cell else { return cell };
    if bytes.len() != 16 {
        return cell;
    }
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    Cell::Text([&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-"))
}

/// A chunk: `1`, base timestamp, then per record its timestamp less the base, key, value, number of headers, and name and value of
/// each. Numbers are LEB128, signed ones zigzag; bytes have their length before them, those that may be absent their length plus one.
fn decode(body: &[u8], partition: u32, base: i64, count: i64) -> Option<Vec<Record>> {
    let mut at = Cursor { body, at: 0 };
    if at.bytes(1)? != [1] {
        return None;
    }
    let base_timestamp = at.signed()?;
    let records = (base..base + count).map(|offset| {
        let timestamp = base_timestamp.wrapping_add(at.signed()?);
        let (key, value) = (at.optional()?, at.optional()?);
        let headers = (0..at.unsigned()?).map(|_| {
            let length = at.unsigned()?;
            let name = String::from_utf8(at.bytes(length)?.to_vec()).ok()?;
            Some((name, at.optional()?))
        });
        let headers = headers.collect::<Option<_>>()?;
        Some(Record { partition, offset, timestamp, key, value, headers })
    });
    let records = records.collect::<Option<_>>()?;
    (at.at == body.len()).then_some(records)
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
    fn optional(&mut self) -> Option<Option<Vec<u8>>> {
        match self.unsigned()? {
            0 => Some(None),
            more => Some(Some(self.bytes(more - 1)?.to_vec())),
        }
    }
}
