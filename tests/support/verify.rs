//! Compares a store, read by [`super::read`], with what an independent native transform makes of every record of its topic:
//! the table's cells and write times, the dead letters with their bytes, positions, figures and boundaries.

use std::collections::{BTreeMap, HashMap};
use std::fmt::{self, Display};
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rusqlite::types::Value as Cell;
use serde_json::{Value, json};

use super::read::{Boundary, DeadLetter, Header, Key, Partition, Place, Record, Store};

/// A row by column, as the table shows it.
pub type Row = BTreeMap<String, Cell>;

/// What must become of a record.
#[derive(Clone, Debug, PartialEq)]
pub enum Decision {
    Rows(Vec<Row>),
    /// Rows that are written (`true`) and rows that go, in order.
    Mixed(Vec<(Row, bool)>),
    Dropped,
    /// The row with this key goes.
    Deleted(Row),
    /// By this stage (`None`: the host), for a reason that contains this text.
    Rejected(Option<&'static str>, String),
}

/// The native side of a comparison.
pub struct Native<'a> {
    pub topic: &'a str,
    /// `keyspace.table`.
    pub table: &'a str,
    pub key: &'a [&'a str],
    /// From a record and the content of the generation that decides it.
    pub decide: &'a dyn Fn(&Record, &Value) -> Decision,
}

/// What was found, each with its place or key.
#[derive(Debug, Default)]
pub struct Findings {
    /// How much was compared, so that nothing is clean because it is empty.
    pub records: usize,
    pub rows: usize,
    pub dead_letters: usize,
    pub missing: Vec<String>,
    pub differing: Vec<String>,
    pub invented: Vec<String>,
    pub duplicate: Vec<String>,
    /// What contradicts itself: gaps in the log, times that go back, positions that are not where they should be.
    pub broken: Vec<String>,
}

impl Findings {
    pub fn is_clean(&self) -> bool {
        [&self.missing, &self.differing, &self.invented, &self.duplicate, &self.broken].iter().all(|found| found.is_empty())
    }

    #[track_caller]
    pub fn assert_clean(&self) {
        assert!(self.is_clean(), "{self}");
    }
}

impl Display for Findings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} records, {} rows, {} dead letters", self.records, self.rows, self.dead_letters)?;
        let kinds = [
            ("missing", &self.missing),
            ("differing", &self.differing),
            ("invented", &self.invented),
            ("duplicate", &self.duplicate),
            ("broken", &self.broken),
        ];
        for (name, found) in kinds {
            writeln!(f, "{name}: {}", found.len())?;
            found.iter().take(5).try_for_each(|what| writeln!(f, "    {what}"))?;
        }
        Ok(())
    }
}

/// What a key must hold in the end: the latest write time and, unless it is deleted, the row.
#[derive(Clone)]
struct Expected {
    write_time: i64,
    place: Place,
    row: Option<Row>,
}

/// Up to where a store is compared.
#[derive(Clone, Copy, PartialEq)]
pub enum Extent {
    /// To the end of the topic: whatever is not settled is missing.
    All,
    /// To the position, as a kill left it.
    Settled,
}

/// What is compared, as a reader that shares no code with the product finds it.
pub trait Evidence {
    fn partitions(&self) -> Vec<Partition>;
    fn generations(&self) -> BTreeMap<u64, Value>;
    fn dead_letters(&self) -> BTreeMap<Place, DeadLetter>;
    fn receipts(&self) -> BTreeMap<Place, Value>;
    /// The live rows of a table.
    fn table(&self, table: &str) -> Vec<Row>;
    /// Write time of each key of a table, and whether the key is deleted.
    fn times(&self, table: &str, key: &[&str]) -> HashMap<Key, (i64, bool)>;
    /// Whether a deleted key stays, hidden, with its time.
    fn keeps_deleted(&self) -> bool;
    /// Whether rows are written before the position that speaks of them is saved: up to its `reach` they may be there or not.
    fn writes_ahead(&self) -> bool;
}

impl Evidence for Store {
    fn partitions(&self) -> Vec<Partition> {
        self.partitions()
    }

    fn generations(&self) -> BTreeMap<u64, Value> {
        self.generations()
    }

    fn dead_letters(&self) -> BTreeMap<Place, DeadLetter> {
        self.dead_letters()
    }

    fn receipts(&self) -> BTreeMap<Place, Value> {
        self.receipts()
    }

    fn table(&self, table: &str) -> Vec<Row> {
        self.rows(&format!("SELECT * FROM \"{table}\""))
    }

    fn times(&self, table: &str, key: &[&str]) -> HashMap<Key, (i64, bool)> {
        self.times(table, key)
    }

    fn keeps_deleted(&self) -> bool {
        true
    }

    fn writes_ahead(&self) -> bool {
        false
    }
}

/// Compares everything in a store.
pub fn verify(dir: &Path, native: &Native<'_>, extent: Extent) -> Findings {
    compare(&Store::open(dir, native.topic), native, extent)
}

/// Compares everything, wherever it is.
pub fn compare(store: &dyn Evidence, native: &Native<'_>, extent: Extent) -> Findings {
    let mut findings = Findings::default();
    let generations = store.generations();
    let letters = store.dead_letters();
    let receipts = store.receipts();
    let mut expected: HashMap<Key, Expected> = HashMap::new();
    let mut ahead: HashMap<Key, Vec<Expected>> = HashMap::new();
    let mut expected_letters: BTreeMap<Place, ()> = BTreeMap::new();
    for partition in store.partitions() {
        check_partition(&partition, &generations, &mut findings);
        let next = partition.position.as_ref().map_or(0, |position| position.next);
        if extent == Extent::All && next != partition.next {
            let what = format!("partition {}: settled up to {next}, the topic ends at {}", partition.number, partition.next);
            findings.missing.push(what);
        }
        let mut counts = [0u64; 4];
        let reach = partition.position.as_ref().filter(|_| extent == Extent::Settled && store.writes_ahead());
        let reach = reach.map_or(next, |position| position.reach);
        for record in partition.records.iter().filter(|record| record.offset < reach) {
            let is_ahead = record.offset >= next;
            findings.records += usize::from(!is_ahead);
            let place = format!("{}/{}", record.partition, record.offset);
            let Some(boundary) = boundary_of(&partition.boundaries, record.offset) else {
                assert!(!is_ahead, "{place} lies below reach, and no boundary says who decides it");
                findings.missing.push(format!("{place}: no boundary says who decides it"));
                continue;
            };
            let write_time = boundary.time + (record.offset - boundary.first);
            let content = generations.get(&boundary.generation).unwrap_or(&Value::Null);
            let mut decision = (native.decide)(record, content);
            counts[match decision {
                Decision::Rows(_) | Decision::Mixed(_) => 0,
                Decision::Dropped => 1,
                Decision::Deleted(_) => 2,
                Decision::Rejected(..) => 3,
            }] += u64::from(!is_ahead);
            if is_ahead && matches!(decision, Decision::Rejected(..)) {
                continue;
            }
            if let Decision::Rejected(stage, reason) = &decision {
                match receipts.get(&record.place()) {
                    None => {
                        expected_letters.insert(record.place(), ());
                        let by = Rejected { stage: *stage, reason, boundary, write_time, content };
                        compare_letter(record, &by, letters.get(&record.place()), &mut findings);
                        continue;
                    }
                    Some(receipt) if receipt["how"] == "discarded" => continue,
                    // Decided anew, at its own write time.
                    Some(receipt) => {
                        let number = receipt["generation"].as_u64().unwrap_or_default();
                        decision = (native.decide)(record, generations.get(&number).unwrap_or(&Value::Null));
                    }
                }
            }
            let rows: Vec<(Row, bool)> = match decision {
                Decision::Rows(rows) => rows.into_iter().map(|row| (row, true)).collect(),
                Decision::Mixed(rows) => rows,
                Decision::Deleted(row) => vec![(row, false)],
                Decision::Dropped | Decision::Rejected(..) => continue,
            };
            for (row, live) in rows {
                let wins = |known: &Expected| known.write_time <= write_time;
                let key = key_of(&row, native.key);
                if is_ahead {
                    let one = Expected { write_time, place: record.place(), row: live.then_some(row) };
                    ahead.entry(key).or_default().push(one);
                    continue;
                }
                if expected.get(&key).is_none_or(wins) {
                    expected.insert(key, Expected { write_time, place: record.place(), row: live.then_some(row) });
                }
            }
        }
        check_figures(&partition, counts, &mut findings);
    }
    findings.dead_letters = letters.len();
    for (partition, offset) in letters.keys().filter(|place| !expected_letters.contains_key(place)) {
        findings.invented.push(format!("dead letter {partition}/{offset}"));
    }
    compare_table(store, native, (expected, ahead), &mut findings);
    findings
}

fn boundary_of(boundaries: &[Boundary], offset: i64) -> Option<&Boundary> {
    boundaries.iter().rev().find(|boundary| boundary.first <= offset)
}

fn key_of(row: &Row, key: &[&str]) -> Key {
    key.iter().map(|column| format!("{:?}", row.get(*column).unwrap_or(&Cell::Null))).collect()
}

fn check_partition(partition: &Partition, generations: &BTreeMap<u64, Value>, findings: &mut Findings) {
    let about = |what: String| format!("partition {}: {what}", partition.number);
    findings.broken.extend(partition.faults.iter().cloned().map(about));
    for pair in partition.boundaries.windows(2) {
        if pair[1].time < pair[0].time + (pair[1].first - pair[0].first) {
            findings.broken.push(about(format!("write times go back from {:?} to {:?}", pair[0], pair[1])));
        }
    }
    for unknown in partition.boundaries.iter().filter(|boundary| !generations.contains_key(&boundary.generation)) {
        findings.broken.push(about(format!("{unknown:?} is of no known generation")));
    }
    match &partition.position {
        None => {}
        Some(position) => {
            if position.next > partition.next {
                findings.broken.push(about(format!("settled up to {}, the topic ends at {}", position.next, partition.next)));
            }
            if position.reach < position.next {
                findings.broken.push(about(format!("reach {} lies below next {}", position.reach, position.next)));
            }
            for boundary in &position.boundaries {
                if boundary.first < position.next && !partition.boundaries.contains(boundary) {
                    findings.broken.push(about(format!("{boundary:?} of the position is not among the boundaries")));
                }
            }
        }
    }
}

/// Counted once per offset, however often it was delivered. Retention must not have taken anything.
fn check_figures(partition: &Partition, counts: [u64; 4], findings: &mut Findings) {
    let Some(position) = &partition.position else { return };
    let saved = [position.emitted, position.dropped, position.deleted, position.rejected];
    if partition.first == 0 && saved != counts {
        let what = "[emitted, dropped, deleted, rejected]";
        findings.differing.push(format!("partition {}: {what} are {saved:?}, not {counts:?}", partition.number));
    }
}

/// How a record must have been rejected.
struct Rejected<'a> {
    stage: Option<&'a str>,
    reason: &'a str,
    boundary: &'a Boundary,
    write_time: i64,
    content: &'a Value,
}

fn compare_letter(record: &Record, by: &Rejected<'_>, letter: Option<&DeadLetter>, findings: &mut Findings) {
    let place = format!("dead letter {}/{}", record.partition, record.offset);
    let Some(letter) = letter else {
        findings.missing.push(place);
        return;
    };
    let digest = by.stage.and_then(|stage| digest_of(by.content, stage));
    let headers: Value = serde_json::from_str(&letter.headers).unwrap_or_default();
    let differs = [
        ("key", letter.key != record.key),
        ("value", letter.value != record.value),
        ("headers", headers != headers_of(&record.headers)),
        ("timestamp", letter.timestamp != record.timestamp),
        ("stage", letter.stage.as_deref() != by.stage),
        ("digest", letter.digest.as_deref() != digest),
        ("reason", !letter.reason.contains(by.reason)),
        ("generation", letter.generation != by.boundary.generation),
        ("write time", letter.write_time != by.write_time),
    ];
    for (what, _) in differs.iter().filter(|(_, differs)| *differs) {
        findings.differing.push(format!("{place}: its {what}: {letter:?}, expected {:?} by {:?}", by.reason, by.stage));
    }
}

/// As a dead letter tells them: name and value in base64, if there is one.
pub fn headers_of(headers: &[Header]) -> Value {
    headers.iter().map(|(name, value)| json!([name, value.as_ref().map(|value| STANDARD.encode(value))])).collect()
}

/// Digest of a stage's component in a generation's content.
pub fn digest_of<'a>(content: &'a Value, stage: &str) -> Option<&'a str> {
    content["stages"].as_array()?.iter().find(|known| known["name"] == stage)?["digest"].as_str()
}

type Wanted = (HashMap<Key, Expected>, HashMap<Key, Vec<Expected>>);

fn compare_table(store: &dyn Evidence, native: &Native<'_>, (mut expected, ahead): Wanted, findings: &mut Findings) {
    let times = store.times(native.table, native.key);
    for mut row in store.table(native.table) {
        findings.rows += 1;
        let key = key_of(&row, native.key);
        let settled = expected.remove(&key);
        let written = times.get(&key).map(|(time, _)| *time);
        // Of records that may have been written ahead, the one of that time.
        let candidate = ahead.get(&key).into_iter().flatten().find(|ahead| Some(ahead.write_time) == written).cloned();
        let Some(wanted) = candidate.or(settled) else {
            findings.invented.push(format!("row {key:?}"));
            continue;
        };
        let Some(cells) = wanted.row else {
            findings.invented.push(format!("row {key:?}, which {:?} deletes", wanted.place));
            continue;
        };
        if times.get(&key) != Some(&(wanted.write_time, false)) {
            let found = times.get(&key);
            findings
                .differing
                .push(format!("row {key:?}: written at {found:?}, not {}, by {:?}", wanted.write_time, wanted.place));
        }
        for (column, cell) in cells {
            let found = row.remove(&column);
            if found.as_ref() != Some(&cell) {
                findings.differing.push(format!("row {key:?}, {column}: {found:?}, not {cell:?}, by {:?}", wanted.place));
            }
        }
        // A column that the native side does not know would never be compared.
        findings.invented.extend(row.keys().map(|column| format!("row {key:?}: column {column}")));
    }
    for (key, wanted) in expected {
        if ahead.get(&key).into_iter().flatten().any(|ahead| ahead.row.is_none()) {
            continue;
        }
        match (wanted.row, times.get(&key)) {
            (Some(_), _) => findings.missing.push(format!("row {key:?} of {:?}", wanted.place)),
            // A deleted key stays, hidden, or an older record that comes again would bring the row back.
            (None, None) if !store.keeps_deleted() => {}
            (None, None) => findings.missing.push(format!("delete of {key:?} by {:?}", wanted.place)),
            (None, Some(found)) if *found != (wanted.write_time, true) => {
                let what = format!("delete of {key:?} at {found:?}, not {}, by {:?}", wanted.write_time, wanted.place);
                findings.differing.push(what);
            }
            (None, Some(_)) => {}
        }
    }
}

/// The topic must hold what the source has, each record once, in the source's order within a partition.
pub fn compare_source<'a>(source: impl IntoIterator<Item = &'a [u8]>, records: &[Record], findings: &mut Findings) {
    let mut places: HashMap<&[u8], usize> = HashMap::new();
    for (at, value) in source.into_iter().enumerate() {
        assert!(places.insert(value, at).is_none(), "the values of the source are distinct");
    }
    let mut last: BTreeMap<u32, usize> = BTreeMap::new();
    for record in records {
        let place = format!("record {}/{}", record.partition, record.offset);
        match record.value.as_deref().and_then(|value| places.get_mut(value)) {
            None => findings.invented.push(place),
            Some(&mut usize::MAX) => findings.duplicate.push(place),
            Some(at) => {
                let at = std::mem::replace(at, usize::MAX);
                if last.insert(record.partition, at).is_some_and(|before| before > at) {
                    findings.broken.push(format!("{place} comes after a later one of the source"));
                }
            }
        }
    }
    let missing = places.into_iter().filter(|(_, at)| *at != usize::MAX);
    findings.missing.extend(missing.map(|(value, at)| format!("record {at} of the source: {}", String::from_utf8_lossy(value))));
}
