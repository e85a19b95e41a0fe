//! What a pipeline has left in Kafka and Cassandra, read with plain clients from the description of the formats in `host/README.md`, for the
//! same comparison that the embedded path has to pass.

use std::collections::{BTreeMap, HashMap};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rusqlite::types::Value as Cell;
use scylla::value::CqlValue;
use serde_json::Value;

use crate::cassandra::Cassandra;
use crate::kafka::Kafka;
use crate::support::read::{Boundary, DeadLetter, Key, Partition, Place, Record, read_position};
use crate::support::verify::{self, Evidence, Row};

pub struct Cluster<'a> {
    pub kafka: &'a Kafka,
    pub cassandra: &'a Cassandra,
    pub pipeline: &'a str,
    pub topic: &'a str,
}

impl Cluster<'_> {
    /// The latest records of a compacted topic by partition and key, without tombstones.
    fn latest(&self, side: &str) -> BTreeMap<(u32, String), Record> {
        let mut latest = BTreeMap::new();
        for record in self.kafka.read(&format!("{}.{side}", self.pipeline)) {
            let key = String::from_utf8(record.key.clone().expect("a key")).expect("a key is text");
            match record.value {
                Some(_) => latest.insert((record.partition, key), record),
                None => latest.remove(&(record.partition, key)),
            };
        }
        latest
    }

    /// What the control topic holds under `<what>/<partition>/<offset>`.
    fn control(&self, what: &str) -> BTreeMap<Place, Value> {
        let entries = self.latest("control").into_iter();
        entries
            .filter_map(|((_, key), record)| {
                let (partition, offset) = key.strip_prefix(what)?.strip_prefix('/')?.split_once('/')?;
                Some(((partition.parse().ok()?, offset.parse().ok()?), json(&record)))
            })
            .collect()
    }

    pub fn records(&self) -> Vec<Record> {
        self.kafka.read(self.topic)
    }
}

impl Evidence for Cluster<'_> {
    fn partitions(&self) -> Vec<Partition> {
        let positions = self.latest("positions");
        let boundaries = self.control("boundary");
        let records = self.records();
        let partition = |(number, (first, end)): (i32, (i64, i64))| {
            let number = number as u32;
            let saved = positions.get(&(number, "position".to_owned()));
            let position = saved.map(|saved| read_position(&json(saved)["position"].to_string()));
            let records: Vec<Record> = records.iter().filter(|record| record.partition == number).cloned().collect();
            // Behind the last record there may be markers of transactions, which a position passes or not.
            let after = records.last().map_or(first, |record| record.offset + 1);
            let next = position.as_ref().map_or(after, |position| position.next.clamp(after, end.max(after)));
            let boundaries = boundaries.iter().filter(|((partition, _), _)| *partition == number);
            let boundaries = boundaries.map(|(_, boundary)| Boundary {
                first: boundary["first"].as_i64().expect("first"),
                generation: boundary["generation"].as_u64().expect("generation"),
                time: boundary["time"].as_i64().expect("time"),
            });
            Partition { number, first, next, position, boundaries: boundaries.collect(), records, faults: Vec::new() }
        };
        self.kafka.ends(self.topic).into_iter().map(partition).collect()
    }

    fn generations(&self) -> BTreeMap<u64, Value> {
        let mut claims: Vec<_> =
            self.latest("control").into_iter().filter(|((_, key), _)| key.starts_with("generation/")).collect();
        claims.sort_by_key(|(_, record)| record.offset);
        let mut generations = BTreeMap::new();
        for ((_, key), record) in claims {
            let number = key.split('/').nth(1).and_then(|number| number.parse().ok()).expect("a generation's number");
            // Of several claims the first one counts.
            generations.entry(number).or_insert_with(|| json(&record));
        }
        generations
    }

    fn dead_letters(&self) -> BTreeMap<Place, DeadLetter> {
        let place = |key: &str| {
            let (partition, offset) = key.split_once('/')?;
            Some((partition.parse().ok()?, offset.parse().ok()?))
        };
        let records = self.latest("dead-letters");
        let read = |((partition, key), record): (&(u32, String), &Record)| {
            let at = place(key)?;
            // One that is too large for a record is in several.
            let further = (1..).map_while(|part| records.get(&(*partition, format!("{key}/{part}"))));
            let values = std::iter::once(record).chain(further).filter_map(|record| record.value.clone());
            Some((at, letter(record.clone(), values.collect())))
        };
        records.iter().filter_map(read).collect()
    }

    fn receipts(&self) -> BTreeMap<Place, Value> {
        self.control("receipt")
    }

    fn table(&self, table: &str) -> Vec<Row> {
        let rows = self.cassandra.rows(&format!("SELECT * FROM {table}")).into_iter();
        rows.map(|row| row.into_iter().map(|(name, value)| (name, value.map_or(Cell::Null, shown))).collect()).collect()
    }

    fn times(&self, table: &str, key: &[&str]) -> HashMap<Key, (i64, bool)> {
        let (keyspace, name) = table.split_once('.').expect("keyspace.table");
        let columns = "SELECT column_name, kind, type FROM system_schema.columns WHERE keyspace_name";
        let columns = self.cassandra.rows(&format!("{columns} = '{keyspace}' AND table_name = '{name}'"));
        let regular = columns.iter().filter(|column| column["kind"] == Some(CqlValue::Text("regular".to_owned())));
        let names = regular.map(|column| match &column["column_name"] {
            Some(CqlValue::Text(name)) => name.clone(),
            other => panic!("a column is called {other:?}"),
        });
        let times: Vec<String> = names.map(|name| format!("WRITETIME(\"{name}\") AS \"@{name}\"")).collect();
        let rows = self.cassandra.rows(&format!("SELECT {}, {} FROM {table}", key.join(", "), times.join(", ")));
        let time = |row: &BTreeMap<String, Option<CqlValue>>| {
            let mut times = row.iter().filter(|(name, _)| name.starts_with('@')).filter_map(|(_, time)| match time {
                Some(CqlValue::BigInt(time)) => Some(*time),
                _ => None,
            });
            let first = times.next().expect("a cell that is not null");
            // A row is never a mix: one record wrote all of it.
            if times.all(|time| time == first) { first } else { i64::MIN }
        };
        let cell = |row: &BTreeMap<String, Option<CqlValue>>, name: &str| row[name].clone().map_or(Cell::Null, shown);
        let of = |row: &BTreeMap<String, Option<CqlValue>>| key.iter().map(|name| format!("{:?}", cell(row, name))).collect();
        rows.iter().map(|row| (of(row), (time(row), false))).collect()
    }

    fn keeps_deleted(&self) -> bool {
        false
    }

    fn writes_ahead(&self) -> bool {
        true
    }
}

fn json(record: &Record) -> Value {
    serde_json::from_slice(record.value.as_deref().expect("a value")).expect("it is JSON")
}

/// Value and headers as they were, then headers of the host's from `tidemill.reason` on. With `tidemill.parts`, the values of all parts are JSON.
fn letter(record: Record, values: Vec<Vec<u8>>) -> DeadLetter {
    let begin = record.headers.iter().rposition(|(name, _)| name == "tidemill.reason").expect("a reason");
    let (own, host) = record.headers.split_at(begin);
    let bytes = |name: &str| host.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone().unwrap_or_default());
    let text = |name: &str| bytes(name).map(|value| String::from_utf8(value).expect("it is text"));
    let number = |name: &str| text(name).and_then(|text| text.parse::<i64>().ok()).unwrap_or_else(|| panic!("no number {name}"));
    let mut found = DeadLetter {
        key: bytes("tidemill.key"),
        value: record.value.clone().filter(|_| bytes("tidemill.no-value").is_none()),
        headers: verify::headers_of(own).to_string(),
        timestamp: number("tidemill.timestamp"),
        reason: text("tidemill.reason").expect("a reason"),
        stage: text("tidemill.stage"),
        digest: text("tidemill.digest"),
        generation: number("tidemill.generation") as u64,
        write_time: number("tidemill.write-time"),
    };
    if let Some(parts) = text("tidemill.parts") {
        assert_eq!(parts, values.len().to_string(), "as many parts as it says");
        let whole: Value = serde_json::from_slice(&values.concat()).expect("JSON in parts");
        let bytes = |value: &Value| value.as_str().map(|text| STANDARD.decode(text).expect("base64"));
        (found.key, found.value) = (bytes(&whole["key"]), bytes(&whole["value"]));
        found.headers = whole["headers"].to_string();
        found.reason = whole["reason"].as_str().expect("a reason").to_owned();
    }
    found
}

/// A value as the embedded table shows it.
fn shown(value: CqlValue) -> Cell {
    match value {
        CqlValue::Text(text) | CqlValue::Ascii(text) => Cell::Text(text),
        CqlValue::Uuid(uuid) => Cell::Text(uuid.to_string()),
        CqlValue::Timestamp(at) => Cell::Integer(at.0),
        CqlValue::BigInt(number) => Cell::Integer(number),
        CqlValue::Int(number) => Cell::Integer(number.into()),
        CqlValue::Boolean(is) => Cell::Integer(is.into()),
        CqlValue::Double(number) => Cell::Real(number),
        CqlValue::Blob(bytes) => Cell::Blob(bytes),
        other => panic!("{other:?} is of a type that no case has"),
    }
}
