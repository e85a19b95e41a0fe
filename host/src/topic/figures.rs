//! What is counted of a partition, once per offset, and saved with its position (delivery §13), so that no redelivery or restart
//! changes it.
//!
//! Outcomes are four counters. A [`Tally`] counts the values of one field for one chart; it is bounded, since a position is written at
//! each commit, and says when it had to forget.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Counters of one tally. What comes beyond makes the less frequent half go.
pub const COUNTERS_MAX: usize = 256;
/// Bars of a histogram.
pub const BINS_MAX: i64 = 64;

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Figures {
    pub emitted: u64,
    pub dropped: u64,
    pub deleted: u64,
    pub rejected: u64,
    /// Of all of these, the records that were decided a second time: the code of the first time was not there, or a person wished so.
    #[serde(default, skip_serializing_if = "is_none")]
    pub re_decided: u64,
    /// Records below it are counted, though the position lies there: a person moved it back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub counted_below: Option<i64>,
    #[serde(default, skip_serializing_if = "Tallies::is_empty")]
    pub tallies: Tallies,
}

impl Figures {
    /// Records counted.
    pub fn decided(&self) -> u64 {
        self.emitted + self.dropped + self.deleted + self.rejected
    }

    /// The outcomes alone.
    pub fn outcomes(&self) -> Figures {
        Figures { tallies: Tallies::default(), ..self.clone() }
    }
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde hands out references")]
fn is_none(count: &u64) -> bool {
    *count == 0
}

impl std::ops::AddAssign<&Figures> for Figures {
    fn add_assign(&mut self, more: &Figures) {
        self.emitted += more.emitted;
        self.dropped += more.dropped;
        self.deleted += more.deleted;
        self.rejected += more.rejected;
        self.re_decided += more.re_decided;
        self.tallies.add(&more.tallies);
    }
}

/// Tallies by the key of their chart. Cheap to clone: positions are, for every save.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tallies(Arc<BTreeMap<String, Tally>>);

impl Tallies {
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn get(&self, key: &str) -> Option<&Tally> {
        self.0.get(key)
    }

    pub fn insert(&mut self, key: &str, tally: Tally) {
        Arc::make_mut(&mut self.0).insert(key.to_owned(), tally);
    }

    /// Forgets the tallies of charts that are no more.
    pub fn retain(&mut self, kept: impl Fn(&str) -> bool) {
        if self.0.keys().any(|key| !kept(key)) {
            Arc::make_mut(&mut self.0).retain(|key, _| kept(key));
        }
    }

    pub fn add(&mut self, more: &Tallies) {
        if more.is_empty() {
            return;
        }
        let tallies = Arc::make_mut(&mut self.0);
        for (key, tally) in more.0.iter() {
            match tallies.get_mut(key) {
                Some(known) => known.add(tally),
                None => {
                    tallies.insert(key.clone(), tally.clone());
                }
            }
        }
    }
}

impl Serialize for Tallies {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.as_ref().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Tallies {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        BTreeMap::deserialize(deserializer).map(|tallies| Tallies(Arc::new(tallies)))
    }
}

/// The values of one field, counted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Tally {
    /// When counting began, ms since 1970.
    pub since_ms: i64,
    /// Rows that had a value, and rows that had none.
    pub counted: u64,
    pub missing: u64,
    pub of: Counts,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Counts {
    /// By value; the less frequent go first.
    Names(Bounded<String>),
    /// By the number of the year, month, … of a time, or by an integer; the earliest go first.
    Times(Bounded<i64>),
    /// Bar `n` counts values from `n · 2^log2` up to the next; `log2` grows when the bars become too many.
    Bins {
        log2: i32,
        counts: BTreeMap<i64, u64>,
    },
    Number(Option<Number>),
}

/// Counters of which there are never more than [`COUNTERS_MAX`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Bounded<K: Ord> {
    pub counts: BTreeMap<K, u64>,
    /// What was counted under keys that were forgotten. Above 0, the other counts are "at least".
    pub others: u64,
}

impl<K: Ord> Default for Bounded<K> {
    fn default() -> Self {
        Bounded { counts: BTreeMap::new(), others: 0 }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Number {
    #[serde(with = "exact")]
    pub sum: f64,
    #[serde(with = "exact")]
    pub min: f64,
    #[serde(with = "exact")]
    pub max: f64,
}

impl Tally {
    /// Adds what was counted elsewhere. A tally of another shape replaces nothing: the chart's key names its shape.
    pub fn add(&mut self, more: &Tally) {
        self.since_ms = self.since_ms.min(more.since_ms);
        self.counted += more.counted;
        self.missing += more.missing;
        match (&mut self.of, &more.of) {
            (Counts::Names(names), Counts::Names(more)) => {
                names.add(more);
                names.forget(|counts| {
                    let mut by_count: Vec<(&String, u64)> = counts.iter().map(|(name, count)| (name, *count)).collect();
                    by_count.sort_by(|(a, many), (b, few)| few.cmp(many).then(a.cmp(b)));
                    by_count.into_iter().skip(COUNTERS_MAX / 2).map(|(name, _)| name.clone()).collect()
                });
            }
            (Counts::Times(times), Counts::Times(more)) => {
                times.add(more);
                times.forget(|counts| counts.keys().take(counts.len() - COUNTERS_MAX).copied().collect());
            }
            (Counts::Bins { log2, counts }, Counts::Bins { log2: other, counts: more }) => add_bins(log2, counts, *other, more),
            (Counts::Number(number), Counts::Number(more)) => {
                *number = match (*number, *more) {
                    (Some(a), Some(b)) => Some(Number { sum: a.sum + b.sum, min: a.min.min(b.min), max: a.max.max(b.max) }),
                    (a, b) => a.or(b),
                };
            }
            _ => {}
        }
    }
}

impl<K: Ord + Clone> Bounded<K> {
    fn add(&mut self, more: &Bounded<K>) {
        self.others += more.others;
        for (key, count) in &more.counts {
            match self.counts.get_mut(key) {
                Some(known) => *known += count,
                None => {
                    self.counts.insert(key.clone(), *count);
                }
            }
        }
    }

    fn forget(&mut self, which: impl FnOnce(&BTreeMap<K, u64>) -> Vec<K>) {
        if self.counts.len() > COUNTERS_MAX {
            for key in which(&self.counts) {
                self.others += self.counts.remove(&key).unwrap_or(0);
            }
        }
    }
}

fn add_bins(log2: &mut i32, counts: &mut BTreeMap<i64, u64>, other: i32, more: &BTreeMap<i64, u64>) {
    let (finer, coarser) = (*log2, other);
    *log2 = finer.max(coarser);
    coarsen(counts, *log2 - finer);
    for (bin, count) in more {
        *counts.entry(shifted(*bin, *log2 - other)).or_default() += count;
    }
    if let (Some((first, _)), Some((last, _))) = (counts.first_key_value(), counts.last_key_value()) {
        let by = coarser_by(*first, *last);
        coarsen(counts, by);
        *log2 += by;
    }
}

fn coarsen(counts: &mut BTreeMap<i64, u64>, by: i32) {
    if by > 0 {
        for (bin, count) in std::mem::take(counts) {
            *counts.entry(shifted(bin, by)).or_default() += count;
        }
    }
}

fn shifted(bin: i64, by: i32) -> i64 {
    bin >> by.clamp(0, 63)
}

/// By how many doublings bars must widen so that there are no more than [`BINS_MAX`] from the first to the last.
pub fn coarser_by(first: i64, last: i64) -> i32 {
    (0..64).find(|by| shifted(last, *by).saturating_sub(shifted(first, *by)) < BINS_MAX).unwrap_or(63)
}

/// A float as its shortest text, which is read back as the very same number.
mod exact {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub fn serialize<S: Serializer>(value: &f64, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(value)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(counts: impl IntoIterator<Item = (String, u64)>) -> Tally {
        let counts: BTreeMap<String, u64> = counts.into_iter().collect();
        let counted = counts.values().sum();
        Tally { since_ms: 7, counted, missing: 0, of: Counts::Names(Bounded { counts, others: 0 }) }
    }

    #[test]
    fn more_names_than_counters_are_forgotten_from_the_least_on_and_still_counted() {
        let mut tally = names((0..COUNTERS_MAX).map(|at| (format!("common {at}"), 5)));
        tally.add(&names([("rare".to_owned(), 1), ("frequent".to_owned(), 90)]));
        let Counts::Names(bounded) = &tally.of else { panic!() };
        assert_eq!(bounded.counts.len(), COUNTERS_MAX / 2);
        assert_eq!(bounded.counts.get("frequent"), Some(&90));
        assert_eq!(bounded.counts.values().sum::<u64>() + bounded.others, tally.counted);
    }

    #[test]
    fn the_earliest_times_are_forgotten() {
        let times = |from: i64, to: i64| Tally {
            since_ms: 0,
            counted: (to - from) as u64,
            missing: 0,
            of: Counts::Times(Bounded { counts: (from..to).map(|at| (at, 1)).collect(), others: 0 }),
        };
        let mut tally = times(0, COUNTERS_MAX as i64);
        tally.add(&times(COUNTERS_MAX as i64, COUNTERS_MAX as i64 + 3));
        let Counts::Times(bounded) = &tally.of else { panic!() };
        assert_eq!((bounded.counts.len(), bounded.counts.first_key_value(), bounded.others), (COUNTERS_MAX, Some((&3, &1)), 3));
    }

    #[test]
    fn bars_widen_by_doubling_and_lose_nothing() {
        let bins = |log2, bars: &[(i64, u64)]| Counts::Bins { log2, counts: bars.iter().copied().collect() };
        let tally = |of| Tally { since_ms: 0, counted: 1, missing: 0, of };
        let mut a = tally(bins(0, &[(-1, 2), (0, 1), (63, 4)]));
        a.add(&tally(bins(1, &[(-1, 1), (40, 8)])));
        assert_eq!(a.of, bins(1, &[(-1, 3), (0, 1), (31, 4), (40, 8)]));
        a.add(&tally(bins(0, &[(1_000, 1)])));
        let Counts::Bins { log2: 4, counts } = &a.of else { panic!("{a:?}") };
        assert_eq!(counts.values().sum::<u64>(), 17);
        assert_eq!(counts.get(&-1), Some(&3), "what is below 0 stays below 0");
    }

    #[test]
    fn what_is_saved_is_read_back_as_it_was() {
        let number = Counts::Number(Some(Number { sum: 0.1 + 0.2, min: -0.0, max: f64::MAX }));
        for of in [number, Counts::Number(None), Counts::Times(Bounded { counts: [(-3, 1)].into(), others: 2 })] {
            let mut tallies = Tallies::default();
            tallies.insert("a", Tally { since_ms: 1, counted: 2, missing: 3, of });
            let figures = Figures { emitted: 5, tallies, ..Figures::default() };
            let text = serde_json::to_string(&figures).unwrap();
            assert_eq!(serde_json::from_str::<Figures>(&text).unwrap(), figures, "{text}");
        }
        let plain = Figures { emitted: 1, ..Figures::default() };
        assert_eq!(serde_json::to_string(&plain).unwrap(), r#"{"emitted":1,"dropped":0,"deleted":0,"rejected":0}"#);
    }
}
