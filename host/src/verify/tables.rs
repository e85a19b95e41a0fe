//! Tables against the books: each key once, with the last record that leads to it.

use serde_json::Value;

use super::evidence::{Deletes, Error, Found, Partition};
use super::ledger::{Account, Entry, Held, When};
use super::records::PAST_RETENTION;
use super::report::{Difference, Finding, Findings};
use super::{Verification, cells};
use crate::config::plan::SinkColumn;
use crate::record::Place;

const EXPIRED: &str = "the row has expired (ttl)";

/// What is wrong with one key.
#[derive(Clone, Debug)]
enum Wrong {
    /// The row of this record is not there.
    Missing(Entry),
    /// It is not as this record leads to.
    Differing(Entry, Held),
    /// Nobody leads to it; or this record deletes it.
    Invented(Option<Entry>, Held),
}

/// What one key came to.
enum Verdict {
    Good,
    /// Compared with a record that was not settled when the tables were read.
    Moved,
    Unknown(String),
    Wrong(Wrong),
    /// It says nothing.
    Nothing,
}

impl Verification<'_> {
    /// Compares every key of every table.
    pub fn tables(&mut self, partitions: &[Partition]) -> Result<(), Error> {
        let ledger = self.ledger.clone();
        ledger.settle(|account| {
            self.progress.add(1);
            match self.verdict(&account, partitions)? {
                Verdict::Good => self.report.rows += 1,
                Verdict::Moved => {
                    self.report.rows += 1;
                    self.report.moved += 1;
                }
                Verdict::Nothing => {}
                Verdict::Unknown(why) => self.report.cannot_judge(&why, 1),
                Verdict::Wrong(wrong) => self.wrong(&account, wrong)?,
            }
            Ok(())
        })
    }

    fn verdict(&self, account: &Account, partitions: &[Partition]) -> Result<Verdict, Error> {
        let settled = account.expected.iter().rfind(|entry| entry.when == When::Settled);
        let Some(held) = account.found.last() else {
            return self.absent(account, settled, self.deletes(account.sink));
        };
        if account.found.len() > 1 {
            return Ok(Verdict::Wrong(Wrong::Invented(None, held.clone())));
        }
        let candidates =
            account.expected.iter().filter(|entry| entry.when == When::Later || Some(entry.time) == settled.map(|s| s.time));
        let by_time: Vec<&Entry> =
            candidates.clone().filter(|entry| held.written.is_none_or(|time| time == entry.time)).collect();
        if !held.torn
            && let Some(entry) = by_time.iter().find(|entry| entry.digest == held.digest)
        {
            return Ok(match (entry.when, held.digest) {
                (_, None) => Verdict::Nothing,
                (When::Settled, _) => Verdict::Good,
                (When::Later, _) => Verdict::Moved,
            });
        }
        if let Some(entry) = by_time.last() {
            return Ok(Verdict::Wrong(match (entry.digest, held.digest) {
                (None, Some(_)) => Wrong::Invented(Some((*entry).clone()), held.clone()),
                (Some(_), None) => Wrong::Missing((*entry).clone()),
                _ => Wrong::Differing((*entry).clone(), held.clone()),
            }));
        }
        if let Some(why) = self.excuse(held, settled, partitions)? {
            return Ok(Verdict::Unknown(why));
        }
        Ok(Verdict::Wrong(match settled.or(account.expected.last()) {
            Some(entry) if settled.is_some() || held.digest.is_some() => Wrong::Differing(entry.clone(), held.clone()),
            _ if held.digest.is_none() => return Ok(Verdict::Unknown(PAST_RETENTION.to_owned())),
            _ => Wrong::Invented(None, held.clone()),
        }))
    }

    fn absent(&self, account: &Account, settled: Option<&Entry>, deletes: Deletes) -> Result<Verdict, Error> {
        let Some(entry) = settled else { return Ok(Verdict::Nothing) };
        if entry.digest.is_none() {
            return Ok(match deletes {
                Deletes::Gone => Verdict::Nothing,
                Deletes::Hidden { micros } if self.now_micros - entry.time > micros => Verdict::Nothing,
                Deletes::Hidden { .. } => Verdict::Wrong(Wrong::Missing(entry.clone())),
            });
        }
        if deletes == Deletes::Gone {
            if account.expected.iter().any(|later| later.when == When::Later && later.digest.is_none()) {
                return Ok(Verdict::Nothing);
            }
            if entry.ends.is_some_and(|ends| ends <= self.now_micros / 1_000) {
                return Ok(Verdict::Unknown(EXPIRED.to_owned()));
            }
            if let Some(why) = self.ledger.is_any_unknown_from(entry.place)? {
                return Ok(Verdict::Unknown(why));
            }
        }
        Ok(Verdict::Wrong(Wrong::Missing(entry.clone())))
    }

    /// Why a row that no known record leads to may be right.
    fn excuse(&self, held: &Held, settled: Option<&Entry>, partitions: &[Partition]) -> Result<Option<String>, Error> {
        let Some(written) = held.written else { return Ok(None) };
        for partition in partitions {
            let course = self.courses.get(&partition.number).map_or(&[][..], Vec::as_slice);
            if let Some(boundary) = course.iter().rev().find(|boundary| boundary.time <= written) {
                let place = Place { partition: partition.number, offset: boundary.first + (written - boundary.time) };
                if let Some(why) = self.ledger.is_unknown(place)? {
                    return Ok(Some(why));
                }
            }
        }
        let newer = settled.is_none_or(|entry| written > entry.time);
        let forgotten = partitions.iter().any(|partition| partition.forgotten_before().is_some_and(|time| written < time));
        Ok((newer && forgotten).then(|| PAST_RETENTION.to_owned()))
    }

    fn wrong(&mut self, account: &Account, wrong: Wrong) -> Result<(), Error> {
        let sink = &self.plan.sinks[account.sink];
        let table = sink.at.table().unwrap_or(&sink.name).to_owned();
        let columns = sink.columns.clone();
        let row = format!("row {} of {table}", account.key.show(&columns));
        let told = |findings: &Findings| findings.count < super::report::TOLD_MAX as u64;
        match wrong {
            Wrong::Missing(entry) => {
                let what = if entry.digest.is_none() { format!("delete of {row}") } else { row };
                self.report.missing.add(|| Finding::new(what).of(entry.place));
            }
            Wrong::Invented(entry, held) => {
                let differs = match &entry {
                    Some(_) => vec![Difference::new("row", "deleted", "there")],
                    None => vec![Difference::new("written", Value::Null, held.written)],
                };
                let finding = Finding { what: row, record: entry.map(|entry| entry.place), differs };
                self.report.invented.add(|| finding);
            }
            Wrong::Differing(entry, held) => {
                let differs = match told(&self.report.differing) {
                    true => self.cells(account, &entry, &held, &columns)?,
                    false => Vec::new(),
                };
                self.report.differing.add(|| Finding::new(row).of(entry.place).differing(differs));
            }
        }
        Ok(())
    }

    /// What differs between a row and what its record leads to: the record is decided once more, the row is read once more.
    fn cells(&mut self, account: &Account, entry: &Entry, held: &Held, columns: &[SinkColumn]) -> Result<Vec<Difference>, Error> {
        let mut differs = Vec::new();
        if held.written.is_some_and(|written| written != entry.time) {
            differs.push(Difference::new("written", entry.time, held.written));
        }
        if held.torn {
            differs.push(Difference::new("written", "in one step", "cells of several write times"));
        }
        let expected = self.expected_row(account, entry)?;
        let found = match self.table(account.sink) {
            Some(table) => table.row(&account.key, held.at)?,
            None => None,
        };
        let Some(Found { row: found, written, .. }) = found.filter(|found| found.written == held.written) else {
            differs.push(Difference::new("row", "as it was read", "it has changed since"));
            return Ok(differs);
        };
        match (expected, found) {
            (Some(expected), Some(found)) => {
                let cql =
                    |name: &str| columns.iter().find(|column| column.column.eq_ignore_ascii_case(name)).map(|column| column.cql);
                let mut names: Vec<&String> = expected.keys().chain(found.keys()).collect();
                names.sort();
                names.dedup();
                for name in names {
                    let (wanted, there) = (expected.get(name), found.get(name));
                    if wanted != there {
                        let json = |cell: Option<&cells::Cell>| cell.map_or(Value::Null, |cell| cell.json(cql(name)));
                        differs.push(Difference::new(format!("column `{name}`"), json(wanted), json(there)));
                    }
                }
            }
            (None, Some(_)) => differs.push(Difference::new("row", "deleted", "there")),
            (Some(_), None) => differs.push(Difference::new("row", "there", "deleted")),
            (None, None) if written == Some(entry.time) => {}
            (None, None) => {}
        }
        Ok(differs)
    }

    /// The row that a record leads to; `None`: it deletes it.
    fn expected_row(&mut self, account: &Account, entry: &Entry) -> Result<Option<cells::Row>, Error> {
        let Place { partition, offset } = entry.place;
        let batch = self.topic.records(partition, offset..offset + 1)?.batch;
        // A replayed record was decided by another generation, at the same write time.
        let mut letters = self.topic.letters(partition, offset..offset + 1)?;
        let replayed = match letters.resolved.remove(&offset) {
            Some(crate::topic::Resolution::Replayed { generation }) => Some(generation),
            _ => letters.replaying.remove(&offset),
        };
        let Some(boundary) = self.boundary_of(entry.place) else { return Ok(None) };
        let boundary = match replayed {
            Some(generation) => crate::topic::Boundary { first: offset, generation, time: entry.time },
            None => boundary,
        };
        let Ok(decided) = self.decider.decide(&mut *self.topic, &boundary, &batch)? else { return Ok(None) };
        for table in decided.tables.iter().filter(|table| table.sink == account.sink) {
            for row in (0..table.rows.len()).filter(|row| table.rows.deleted.binary_search(&(*row as u32)).is_err()) {
                if cells::key_of(&table.columns, &table.rows, row) == account.key {
                    return Ok(Some(self.row_of(table, row)));
                }
            }
        }
        Ok(None)
    }
}
