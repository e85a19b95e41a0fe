//! What a verification found.

use serde::Serialize;
use serde_json::Value;

use std::collections::BTreeMap;

use crate::record::Place;

/// Findings of a kind that are told; the others are counted.
pub const TOLD_MAX: usize = 10;

/// Everything that was compared, and what was wrong with it.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Report {
    pub pipeline: String,
    /// Records that were decided again and compared.
    pub records: u64,
    /// Rows that were compared, over all tables.
    pub rows: u64,
    /// Dead letters that were compared.
    pub dead_letters: u64,
    /// What should be there and is not.
    pub missing: Findings,
    /// What is there and is not as it should be.
    pub differing: Findings,
    /// What is there and should not be.
    pub invented: Findings,
    /// Dead letters of records that are settled otherwise as well.
    pub duplicate: Findings,
    /// What contradicts itself: gaps in the log, write times that go back, positions that are not where they should be.
    pub contradictory: Findings,
    /// Records that were decided by a second generation, because the code of the first was gone.
    pub re_decided: u64,
    /// Records and rows of which nothing can be said, by reason. Never counted as good.
    pub unverifiable: BTreeMap<String, u64>,
    /// Records that a server refused for their own sake: dead letters whose other rows stand.
    pub refused: u64,
    /// Rows that were written while they were compared, by records beyond the positions; compared with what those lead to.
    pub moved: u64,
    /// Records of the topic that are not settled yet.
    pub waiting: u64,
    pub partitions: Vec<Looked>,
    /// Sinks that are no tables.
    pub not_compared: Vec<String>,
}

/// The part of a partition that was compared.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Looked {
    pub partition: u32,
    pub first: i64,
    pub next: i64,
}

#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Findings {
    pub count: u64,
    /// The first ones.
    pub first: Vec<Finding>,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Finding {
    /// `row id = "a" of shop.orders`, `dead letter 0/17`.
    pub what: String,
    /// The record that it comes of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub record: Option<Place>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub differs: Vec<Difference>,
}

/// One thing that is other than it should be.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Difference {
    pub what: String,
    pub expected: Value,
    pub found: Value,
}

impl Difference {
    pub fn new(what: impl Into<String>, expected: impl Into<Value>, found: impl Into<Value>) -> Difference {
        Difference { what: what.into(), expected: expected.into(), found: found.into() }
    }
}

impl Finding {
    pub fn new(what: impl Into<String>) -> Finding {
        Finding { what: what.into(), record: None, differs: Vec::new() }
    }

    pub fn of(mut self, record: Place) -> Finding {
        self.record = Some(record);
        self
    }

    pub fn differing(mut self, differs: Vec<Difference>) -> Finding {
        self.differs = differs;
        self
    }
}

impl Findings {
    /// Counts one; it is made only where it will be told.
    pub fn add(&mut self, finding: impl FnOnce() -> Finding) {
        self.count += 1;
        if self.first.len() < TOLD_MAX {
            self.first.push(finding());
        }
    }
}

impl Report {
    pub(super) fn cannot_judge(&mut self, why: &str, count: u64) {
        *self.unverifiable.entry(why.to_owned()).or_default() += count;
    }

    /// By name, the gravest first.
    pub fn findings(&self) -> [(&'static str, &Findings); 5] {
        [
            ("missing", &self.missing),
            ("differing", &self.differing),
            ("invented", &self.invented),
            ("duplicate", &self.duplicate),
            ("contradictory", &self.contradictory),
        ]
    }

    /// Nothing wrong was found. What is unverifiable is neither right nor wrong.
    pub fn is_clean(&self) -> bool {
        self.findings().iter().all(|(_, findings)| findings.count == 0)
    }

    pub fn unverifiable(&self) -> u64 {
        self.unverifiable.values().sum()
    }
}
