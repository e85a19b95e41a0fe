//! Days of the calendar, for timestamps in milliseconds. By Howard Hinnant's `chrono`-compatible algorithms
//! (<https://howardhinnant.github.io/date_algorithms.html>).

use std::str::FromStr;

const DAY_MS: i64 = 86_400_000;

/// A day, in UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Date {
    pub year: i64,
    pub month: u8,
    pub day: u8,
}

impl Date {
    /// The day of a timestamp.
    #[inline]
    pub fn of_timestamp(ms: i64) -> Date {
        let days = ms.div_euclid(DAY_MS) + 719_468;
        let era = days.div_euclid(146_097);
        let day_of_era = (days - era * 146_097) as u32;
        let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let month = (5 * day_of_year + 2) / 153;
        let day = (day_of_year - (153 * month + 2) / 5 + 1) as u8;
        let month = if month < 10 { month + 3 } else { month - 9 } as u8;
        let year = i64::from(year_of_era) + era * 400 + i64::from(month <= 2);
        Date { year, month, day }
    }

    /// Whole years from `birth` to this day; negative before it.
    #[inline]
    pub fn years_since(self, birth: Date) -> i64 {
        self.year - birth.year - i64::from((self.month, self.day) < (birth.month, birth.day))
    }
}

/// `YYYY-MM-DD`.
impl FromStr for Date {
    type Err = String;

    fn from_str(text: &str) -> Result<Date, String> {
        let parts: Vec<&str> = text.split('-').collect();
        let [year, month, day] = parts[..] else { return Err(format!("`{text}` is not a date such as 2026-01-31")) };
        match (year.parse(), month.parse(), day.parse()) {
            (Ok(year), Ok(month @ 1..=12), Ok(day @ 1..=31)) => Ok(Date { year, month, day }),
            _ => Err(format!("`{text}` is not a date such as 2026-01-31")),
        }
    }
}

impl<'de> serde::Deserialize<'de> for Date {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Date, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::Date;

    #[test]
    fn days_before_and_after_1970() {
        assert_eq!(Date::of_timestamp(0), Date { year: 1970, month: 1, day: 1 });
        assert_eq!(Date::of_timestamp(-1), Date { year: 1969, month: 12, day: 31 });
        assert_eq!(Date::of_timestamp(951_782_400_000), Date { year: 2000, month: 2, day: 29 });
    }

    #[test]
    fn a_birthday_counts_on_its_day() {
        let birth = Date { year: 1980, month: 2, day: 29 };
        assert_eq!("2026-02-28".parse::<Date>().unwrap().years_since(birth), 45);
        assert_eq!("2026-03-01".parse::<Date>().unwrap().years_since(birth), 46);
    }
}
