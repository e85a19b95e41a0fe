//! Counting for the charts (delivery §13): on the worker, a batch at a time, over columns that are there anyway. What a batch counted is
//! added to its position when that is saved.

use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasher, Hash, Hasher, RandomState};

use crate::config::plan::{ChartKind, ChartPlan, TimeStep};
use crate::record::{Column, Columns, Values};
use crate::topic::figures::{BINS_MAX, Bounded, Counts, Number, Tallies, Tally, coarser_by};

/// Values of one batch that are counted by name; what comes beyond is counted together.
const NAMES_MAX: usize = 1_024;
/// A longer value has no name.
const NAME_BYTES_MAX: usize = 100;
const DAY_MS: i64 = 86_400_000;
/// Bars of floats are no finer than this power of two.
const FINEST_LOG2: i32 = -20;

/// Counts the rows of a batch, but for `skip` (deleted or refused, ascending).
pub fn count(charts: &[ChartPlan], columns: &Columns, rows: usize, skip: &[u32], now_ms: i64) -> Tallies {
    let mut tallies = Tallies::default();
    for chart in charts {
        let key = chart.key();
        if tallies.get(&key).is_none() {
            let mut live = Live { rows, skip, nulls: &[], counted: 0, missing: 0 };
            let of = match columns.get(&chart.field.name) {
                Some(column) => {
                    live.nulls = &column.nulls;
                    counts(chart, column, &mut live)
                }
                None => {
                    // An older generation, which does not know the field.
                    live.missing = (rows - skip.len()) as u64;
                    empty(chart.kind)
                }
            };
            tallies.insert(&key, Tally { since_ms: now_ms, counted: live.counted, missing: live.missing, of });
        }
    }
    tallies
}

/// What a chart shows before anything was counted.
pub fn empty(kind: ChartKind) -> Counts {
    match kind {
        ChartKind::Share | ChartKind::Top => Counts::Names(Bounded::default()),
        ChartKind::Timeline => Counts::Times(Bounded::default()),
        ChartKind::Number => Counts::Number(None),
        ChartKind::Histogram => Counts::Bins { log2: 0, counts: BTreeMap::new() },
    }
}

/// The rows that count, and how many of them had a value.
struct Live<'a> {
    rows: usize,
    skip: &'a [u32],
    nulls: &'a [u32],
    counted: u64,
    missing: u64,
}

impl Live<'_> {
    /// Calls back for each row with a value; false says that it has none after all.
    fn each(&mut self, mut row: impl FnMut(usize) -> bool) {
        let (mut skip, mut nulls) = (self.skip, self.nulls);
        for at in 0..self.rows {
            let is_next = |of: &[u32]| of.first().is_some_and(|next| *next as usize == at);
            let null = is_next(nulls);
            if null {
                nulls = &nulls[1..];
            }
            if is_next(skip) {
                skip = &skip[1..];
            } else if !null && row(at) {
                self.counted += 1;
            } else {
                self.missing += 1;
            }
        }
    }
}

fn counts(chart: &ChartPlan, column: &Column, live: &mut Live<'_>) -> Counts {
    match chart.kind {
        ChartKind::Share | ChartKind::Top => Counts::Names(names(&column.values, live)),
        ChartKind::Timeline => Counts::Times(times(&column.values, chart.by, live)),
        ChartKind::Number => Counts::Number(number(&column.values, live)),
        ChartKind::Histogram => bins(&column.values, live),
    }
}

// ---- by name

fn names(values: &Values, live: &mut Live<'_>) -> Bounded<String> {
    let text = |name: &[u8]| String::from_utf8_lossy(name).into_owned();
    match values {
        Values::Text(buffer) => tally(live, |row| Some(buffer.get(row)).filter(|name| name.len() <= NAME_BYTES_MAX), text),
        Values::Json(buffer) => {
            // Lists and objects have no name.
            let name = |row| {
                Some(buffer.get(row))
                    .filter(|json| json.len() <= NAME_BYTES_MAX && !json.starts_with(b"[") && !json.starts_with(b"{"))
            };
            tally(live, name, |json| serde_json::from_slice(json).unwrap_or_else(|_| text(json)))
        }
        Values::Booleans(values) => tally(live, |row| Some(values[row]), |value| value.to_string()),
        Values::Ints(values) => tally(live, |row| Some(values[row]), |value| value.to_string()),
        Values::Floats(values) => tally(live, |row| Some(values[row].to_bits()), |bits| f64::from_bits(bits).to_string()),
        Values::Timestamps(values) => {
            let rfc3339 = |ms| jiff::Timestamp::from_millisecond(ms).map_or_else(|_| ms.to_string(), |at| at.to_string());
            tally(live, |row| Some(values[row]), rfc3339)
        }
        Values::Bytes(_) => tally(live, |_| None::<u8>, |_| String::new()),
    }
}

/// Counts by key. `None` and keys beyond the bound are counted together.
fn tally<K: Hash + Eq + Copy, N: Ord>(
    live: &mut Live<'_>,
    key: impl Fn(usize) -> Option<K>,
    name: impl Fn(K) -> N,
) -> Bounded<N> {
    let mut counts: HashMap<K, u64, Seeded> = HashMap::with_hasher(Seeded::default());
    let mut others = 0;
    // Neighbours are often equal, and few values are many rows: the last one is not looked up again.
    let mut last: Option<(K, u64)> = None;
    let mut put = |counts: &mut HashMap<K, u64, Seeded>, (key, count): (K, u64)| {
        let full = counts.len() >= NAMES_MAX;
        match counts.get_mut(&key) {
            Some(known) => *known += count,
            None if full => others += count,
            None => {
                counts.insert(key, count);
            }
        }
    };
    let mut nameless = 0;
    live.each(|row| {
        match (key(row), &mut last) {
            (None, _) => nameless += 1,
            (Some(key), Some((known, count))) if *known == key => *count += 1,
            (Some(key), last) => {
                if let Some(before) = last.replace((key, 1)) {
                    put(&mut counts, before);
                }
            }
        }
        true
    });
    if let Some(last) = last {
        put(&mut counts, last);
    }
    let mut named = Bounded { counts: BTreeMap::new(), others: others + nameless };
    for (key, count) in counts {
        *named.counts.entry(name(key)).or_default() += count;
    }
    named
}

/// Keys come out of records: a seed of this process keeps anybody from choosing colliding ones. Faster for short keys than the standard
/// hasher, which would be a twentieth of the whole chain.
#[derive(Clone)]
struct Seeded(u64);

impl Default for Seeded {
    fn default() -> Seeded {
        static SEED: std::sync::LazyLock<u64> = std::sync::LazyLock::new(|| RandomState::new().hash_one(0));
        Seeded(*SEED)
    }
}

impl BuildHasher for Seeded {
    type Hasher = Folded;

    fn build_hasher(&self) -> Folded {
        Folded { state: self.0, seed: self.0 | 1 }
    }
}

struct Folded {
    state: u64,
    seed: u64,
}

impl Folded {
    fn mix(&mut self, word: u64) {
        let wide = u128::from(self.state ^ word) * u128::from(self.seed ^ 0x9e37_79b9_7f4a_7c15);
        self.state = (wide as u64) ^ ((wide >> 64) as u64);
    }
}

impl Hasher for Folded {
    fn write(&mut self, bytes: &[u8]) {
        let (words, rest) = bytes.as_chunks::<8>();
        words.iter().for_each(|word| self.mix(u64::from_le_bytes(*word)));
        let mut last = [0; 8];
        last[..rest.len()].copy_from_slice(rest);
        self.mix(u64::from_le_bytes(last) ^ (bytes.len() as u64) << 56);
    }

    fn write_u64(&mut self, word: u64) {
        self.mix(word);
    }

    fn write_i64(&mut self, word: i64) {
        self.mix(word as u64);
    }

    fn finish(&self) -> u64 {
        self.state
    }
}

// ---- by time

fn times(values: &Values, by: TimeStep, live: &mut Live<'_>) -> Bounded<i64> {
    match values {
        Values::Ints(values) => tally(live, |row| Some(values[row]), |value| value),
        Values::Timestamps(values) => tally(live, |row| Some(step(values[row], by)), |step| step),
        Values::Json(buffer) => {
            let parsed = |row: usize| match serde_json::from_slice(buffer.get(row)).ok()? {
                serde_json::Value::String(text) => text.parse::<jiff::Timestamp>().ok().map(|at| at.as_millisecond()),
                serde_json::Value::Number(ms) => ms.as_i64(),
                _ => None,
            };
            tally(live, |row| parsed(row).map(|ms| step(ms, by)), |step| step)
        }
        _ => Bounded::default(),
    }
}

/// The number of the step that a time lies in: years since 0, months since year 0, days, hours, minutes since 1970.
fn step(ms: i64, by: TimeStep) -> i64 {
    match by {
        TimeStep::Year => month(ms).div_euclid(12),
        TimeStep::Month => month(ms),
        TimeStep::Day => ms.div_euclid(DAY_MS),
        TimeStep::Hour => ms.div_euclid(3_600_000),
        TimeStep::Minute => ms.div_euclid(60_000),
    }
}

/// Months since January of year 0, from days since 1970: https://howardhinnant.github.io/date_algorithms.html#civil_from_days
fn month(ms: i64) -> i64 {
    let days = ms.div_euclid(DAY_MS) + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    (era * 400 + year_of_era) * 12 + month_from_march + 2
}

// ---- numbers

fn float_at(values: &Values, row: usize) -> Option<f64> {
    match values {
        Values::Ints(values) => Some(values[row] as f64),
        Values::Floats(values) => Some(values[row]),
        Values::Json(buffer) => std::str::from_utf8(buffer.get(row)).ok()?.parse().ok(),
        _ => None,
    }
    .filter(|value| value.is_finite())
}

fn number(values: &Values, live: &mut Live<'_>) -> Option<Number> {
    let mut number: Option<Number> = None;
    live.each(|row| {
        let Some(value) = float_at(values, row) else { return false };
        let Number { sum, min, max } = number.unwrap_or(Number { sum: 0.0, min: value, max: value });
        number = Some(Number { sum: sum + value, min: min.min(value), max: max.max(value) });
        true
    });
    number
}

fn bins(values: &Values, live: &mut Live<'_>) -> Counts {
    let mut counts = BTreeMap::new();
    // The rows are looked at once for the ends, and once for the bars between them.
    let looked = Live { counted: 0, missing: 0, ..*live };
    let Some(Number { min, max, .. }) = number(values, &mut { looked }) else {
        live.each(|_| false);
        return Counts::Bins { log2: 0, counts };
    };
    let finest = match values {
        Values::Ints(_) => 0,
        // So that a bar's number has no more digits than a float can hold.
        _ => (min.abs().max(max.abs()).log2().ceil() as i32).saturating_sub(50).max(FINEST_LOG2),
    };
    let bar = |value: f64, log2: i32| (value * f64::from(-log2).exp2()).floor() as i64;
    let log2 = finest + coarser_by(bar(min, finest), bar(max, finest));
    let first = bar(min, log2);
    let mut bars = vec![0u64; BINS_MAX as usize];
    live.each(|row| {
        let Some(value) = float_at(values, row) else { return false };
        bars[(bar(value, log2) - first).clamp(0, BINS_MAX - 1) as usize] += 1;
        true
    });
    counts.extend((first..).zip(bars).filter(|(_, count)| *count > 0));
    Counts::Bins { log2, counts }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{Buffer, Field, Kind};

    fn chart(kind: ChartKind, field_kind: Kind) -> ChartPlan {
        let field = Field { name: "f".to_owned(), kind: field_kind, optional: true };
        ChartPlan { title: String::new(), field, kind, by: TimeStep::Month, limit: 5 }
    }

    fn counted(kind: ChartKind, values: Values, nulls: &[u32], skip: &[u32]) -> Tally {
        let (field_kind, rows) = (values.kind(), values.rows());
        let mut columns = Columns::default();
        columns.set("f", Column { values, nulls: nulls.to_vec() });
        let chart = chart(kind, field_kind);
        let tallies = count(std::slice::from_ref(&chart), &columns, rows, skip, 5);
        tallies.get(&chart.key()).expect("a tally").clone()
    }

    fn buffer(rows: &[&str]) -> Buffer {
        let mut buffer = Buffer::default();
        rows.iter().for_each(|row| buffer.push(row.as_bytes()));
        buffer
    }

    fn named(pairs: &[(&str, u64)], others: u64) -> Counts {
        Counts::Names(Bounded { counts: pairs.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect(), others })
    }

    #[test]
    fn values_are_counted_by_name_but_for_rows_that_do_not_count() {
        let long = "x".repeat(NAME_BYTES_MAX + 1);
        let text = Values::Text(buffer(&["a", "b", "", "a", "a", &long, "b"]));
        let tally = counted(ChartKind::Share, text, &[2], &[3]);
        assert_eq!((tally.counted, tally.missing, tally.since_ms), (5, 1, 5));
        assert_eq!(tally.of, named(&[("a", 2), ("b", 2)], 1));
        assert_eq!(
            counted(ChartKind::Top, Values::Booleans(vec![true, false, true]), &[], &[]).of,
            named(&[("true", 2), ("false", 1)], 0)
        );
        let json = Values::Json(buffer(&[r#""a""#, r#""\u0061""#, "7", "7.0"]));
        assert_eq!(counted(ChartKind::Top, json, &[], &[]).of, named(&[("a", 2), ("7", 1), ("7.0", 1)], 0));
    }

    #[test]
    fn more_values_than_are_counted_by_name_are_counted_together() {
        let values: Vec<i64> = (0..NAMES_MAX as i64 + 3).collect();
        let Counts::Names(bounded) = counted(ChartKind::Top, Values::Ints(values), &[], &[]).of else { panic!() };
        assert_eq!((bounded.counts.len(), bounded.others), (NAMES_MAX, 3));
    }

    #[test]
    fn times_are_counted_in_steps_of_the_calendar() {
        for text in ["-0044-03-15T10:00:00Z", "1969-12-31T23:59:59Z", "2000-02-29T00:00:00Z", "2024-12-31T23:00:00Z"] {
            let at: jiff::Timestamp = text.replace("-0044", "-000044").parse().unwrap();
            let date = at.to_zoned(jiff::tz::TimeZone::UTC).date();
            let expected = i64::from(date.year()) * 12 + i64::from(date.month()) - 1;
            assert_eq!(month(at.as_millisecond()), expected, "{text}");
        }
        let times = Values::Timestamps(vec![0, DAY_MS, 40 * DAY_MS]);
        let steps = Bounded { counts: [(1970 * 12, 2), (1970 * 12 + 1, 1)].into(), others: 0 };
        assert_eq!(counted(ChartKind::Timeline, times, &[], &[]).of, Counts::Times(steps.clone()));
        let json = Values::Json(buffer(&["0", r#""1970-01-02T00:00:00Z""#, "3456000000"]));
        assert_eq!(counted(ChartKind::Timeline, json, &[], &[]).of, Counts::Times(steps));
        let years = Bounded { counts: [(1999, 2), (2020, 1)].into(), others: 0 };
        assert_eq!(counted(ChartKind::Timeline, Values::Ints(vec![1999, 2020, 1999]), &[], &[]).of, Counts::Times(years));
    }

    #[test]
    fn numbers_are_summed_and_put_into_bars_that_hold_all_of_them() {
        let floats = Values::Floats(vec![1.5, f64::NAN, -2.5, 4.0]);
        let tally = counted(ChartKind::Number, floats.clone(), &[], &[]);
        assert_eq!((tally.counted, tally.missing), (3, 1));
        assert_eq!(tally.of, Counts::Number(Some(Number { sum: 3.0, min: -2.5, max: 4.0 })));
        for values in [
            floats,
            Values::Ints(vec![-5, 3, 1_000_000, 1_000_001]),
            Values::Floats(vec![1e300, -1e300, 1e-300]),
            Values::Ints(vec![7; 5]),
        ] {
            let tally = counted(ChartKind::Histogram, values.clone(), &[], &[]);
            let Counts::Bins { log2, counts } = &tally.of else { panic!() };
            assert_eq!(counts.values().sum::<u64>(), tally.counted, "{values:?}");
            let (first, last) = (counts.first_key_value().unwrap().0, counts.last_key_value().unwrap().0);
            assert!(last - first < BINS_MAX, "{values:?} {log2} {counts:?}");
        }
    }
}
