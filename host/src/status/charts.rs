//! The charts of the page: what was counted, summed over partitions, as it is drawn.

use jiff::civil::Date;
use serde::{Deserialize, Serialize};

use crate::topic::figures::{Counts, Number, Tally};

/// One chart. Its counts are those of all partitions, over restarts.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Chart {
    pub title: String,
    pub field: String,
    /// `share`, `top`, `timeline`, `number`, `histogram`.
    pub kind: String,
    /// timeline: `year`, `month`, `day`, `hour`, `minute`, or `value` where it is one of integers.
    pub by: Option<String>,
    /// Rows that had a value, and rows that had none.
    pub counted: u64,
    pub missing: u64,
    /// share, top: the most frequent first. timeline: ascending, without what nothing was counted for.
    pub values: Vec<NamedCount>,
    /// Rows with a value that is not among these.
    pub others: u64,
    /// There were more different values than counters: the counts are "at least".
    pub overflowed: bool,
    /// histogram: ascending, without gaps.
    pub bins: Vec<Bin>,
    pub number: Option<NumberOf>,
    /// Counted from then on, ms since 1970; `null`: nothing was.
    pub since_ms: Option<i64>,
    /// It stands in the file: a public page shows it.
    #[serde(skip)]
    pub asked_for: bool,
    /// Names its tally.
    #[serde(skip)]
    pub key: String,
    #[serde(skip)]
    pub limit: usize,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NamedCount {
    pub name: String,
    pub count: u64,
}

/// Values from `from` up to `to`, which is not among them.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Bin {
    pub from: f64,
    pub to: f64,
    pub count: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct NumberOf {
    pub sum: f64,
    pub min: f64,
    pub max: f64,
    pub mean: f64,
}

impl Chart {
    /// Shows what was counted.
    pub(super) fn show(&mut self, tally: &Tally) {
        self.counted = tally.counted;
        self.missing = tally.missing;
        self.since_ms = Some(tally.since_ms);
        self.others = 0;
        match &tally.of {
            Counts::Names(names) => {
                let mut by_count: Vec<(&String, u64)> = names.counts.iter().map(|(name, count)| (name, *count)).collect();
                by_count.sort_by(|(a, many), (b, few)| few.cmp(many).then(a.cmp(b)));
                self.others = names.others + by_count.iter().skip(self.limit).map(|(_, count)| count).sum::<u64>();
                self.overflowed = names.others > 0;
                by_count.truncate(self.limit);
                self.values = by_count.into_iter().map(|(name, count)| NamedCount { name: name.clone(), count }).collect();
            }
            Counts::Times(times) => {
                let by = self.by.as_deref().unwrap_or_default();
                self.values =
                    times.counts.iter().map(|(step, count)| NamedCount { name: time(*step, by), count: *count }).collect();
                self.others = times.others;
                self.overflowed = times.others > 0;
            }
            Counts::Bins { log2, counts } => {
                let width = f64::from(*log2).exp2();
                let ends = counts.first_key_value().zip(counts.last_key_value());
                let bins = ends.map(|((first, _), (last, _))| *first..=*last).into_iter().flatten();
                let bin = |at: i64| Bin {
                    from: at as f64 * width,
                    to: (at + 1) as f64 * width,
                    count: counts.get(&at).copied().unwrap_or(0),
                };
                self.bins = bins.map(bin).collect();
            }
            Counts::Number(number) => {
                let counted = tally.counted as f64;
                self.number = number.map(|Number { sum, min, max }| NumberOf { sum, min, max, mean: sum / counted });
            }
        }
    }
}

/// What a step of a timeline is called.
fn time(step: i64, by: &str) -> String {
    let date =
        |days: i64| -> Option<Date> { jiff::civil::date(1970, 1, 1).checked_add(jiff::Span::new().try_days(days).ok()?).ok() };
    let within_day = |step: i64, per_day: i64, minutes: i64| {
        let minute = step.rem_euclid(per_day) * minutes;
        date(step.div_euclid(per_day)).map(|date| format!("{date} {:02}:{:02}", minute / 60, minute % 60))
    };
    match by {
        "month" => Some(format!("{:04}-{:02}", step.div_euclid(12), step.rem_euclid(12) + 1)),
        "day" => date(step).map(|date| date.to_string()),
        "hour" => within_day(step, 24, 60),
        "minute" => within_day(step, 24 * 60, 1),
        _ => None,
    }
    .unwrap_or_else(|| step.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topic::figures::Bounded;

    fn shown(kind: &str, by: Option<&str>, of: Counts) -> Chart {
        let mut chart = Chart { kind: kind.to_owned(), by: by.map(str::to_owned), limit: 2, ..Chart::default() };
        chart.show(&Tally { since_ms: 1, counted: 10, missing: 0, of });
        chart
    }

    fn pairs(chart: &Chart) -> Vec<(&str, u64)> {
        chart.values.iter().map(|value| (value.name.as_str(), value.count)).collect()
    }

    #[test]
    fn the_most_frequent_stand_first_and_the_rest_is_counted_together() {
        let counts = [("b", 3), ("a", 3), ("c", 4)].map(|(name, count)| (name.to_owned(), count)).into();
        let chart = shown("top", None, Counts::Names(Bounded { counts, others: 7 }));
        assert_eq!((pairs(&chart), chart.others, chart.overflowed), (vec![("c", 4), ("a", 3)], 10, true));
    }

    #[test]
    fn steps_of_time_read_as_people_write_them() {
        for (step, by, name) in [
            (2011, "value", "2011"),
            (2011, "year", "2011"),
            (2024 * 12 + 4, "month", "2024-05"),
            (-1, "day", "1969-12-31"),
            (-1, "hour", "1969-12-31 23:00"),
            (61, "minute", "1970-01-01 01:01"),
        ] {
            let chart = shown("timeline", Some(by), Counts::Times(Bounded { counts: [(step, 1)].into(), others: 0 }));
            assert_eq!(pairs(&chart), [(name, 1)], "{by}");
        }
    }

    #[test]
    fn bars_have_no_gaps() {
        let chart = shown("histogram", None, Counts::Bins { log2: 1, counts: [(-1, 4), (1, 6)].into() });
        let bars: Vec<_> = chart.bins.iter().map(|bin| (bin.from, bin.to, bin.count)).collect();
        assert_eq!(bars, [(-2.0, 0.0, 4), (0.0, 2.0, 0), (2.0, 4.0, 6)]);
    }
}
