//! What people write for times, sizes and shares: `10s`, `64 MiB`, `7d or 1 GiB`, `5% of 200`.

use std::time::Duration;

use super::plan::{Retention, StopWhen};

const DURATION_UNITS: [(&str, u64); 6] =
    [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000), ("w", 604_800_000)];

const SIZE_UNITS: [(&str, u64); 9] = [
    ("B", 1),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
    ("kB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("TB", 1_000_000_000_000),
];

/// `"10s"`, `"1h 30m"`, `"100ms"`. Never a bare number: its unit would be a guess.
pub fn duration(text: &str) -> Result<Duration, String> {
    let mut millis: u64 = 0;
    let mut rest = text.trim();
    if rest.is_empty() {
        return Err("a duration is a number and a unit, as in \"10s\"".to_owned());
    }
    while !rest.is_empty() {
        let (count, unit, behind) = number_and_unit(rest)?;
        let Some(&(_, scale)) = DURATION_UNITS.iter().find(|(name, _)| *name == unit) else {
            return Err(match unit {
                "" => format!("`{}` has no unit: ms, s, m, h, d or w", rest.trim()),
                _ => format!("`{unit}` is no unit of time: ms, s, m, h, d or w"),
            });
        };
        millis = count
            .checked_mul(scale)
            .and_then(|part| millis.checked_add(part))
            .filter(|total| *total <= 100 * 366 * 86_400_000)
            .ok_or("longer than a hundred years")?;
        rest = behind.trim_start();
    }
    Ok(Duration::from_millis(millis))
}

/// `"64 MiB"`, `"1GiB"`, `"500 kB"`, in bytes.
pub fn size(text: &str) -> Result<u64, String> {
    let (count, unit, behind) = number_and_unit(text.trim()).map_err(|_| "a size is a number and a unit, as in \"64 MiB\"")?;
    if !behind.trim().is_empty() {
        return Err(format!("`{}` after the size", behind.trim()));
    }
    let Some(&(_, scale)) = SIZE_UNITS.iter().find(|(name, _)| *name == unit) else {
        return Err(match unit {
            "" => format!("`{}` has no unit: B, KiB, MiB, GiB, TiB (or kB, MB, GB, TB)", text.trim()),
            _ => format!("`{unit}` is no unit of size: B, KiB, MiB, GiB, TiB (or kB, MB, GB, TB)"),
        });
    };
    count.checked_mul(scale).filter(|bytes| *bytes <= i64::MAX as u64).ok_or_else(|| "larger than 8 EiB".to_owned())
}

/// `"7d or 1 GiB"`, or one of the two, or `"for ever"`.
pub fn retention(text: &str) -> Result<Retention, String> {
    let mut retention = Retention { age: None, bytes: None };
    if text.trim() == "for ever" {
        return Ok(retention);
    }
    for part in text.split(" or ") {
        match (duration(part), size(part)) {
            (Ok(_), _) if retention.age.is_some() => return Err("two ages: give one age and one size".to_owned()),
            (_, Ok(_)) if retention.bytes.is_some() => return Err("two sizes: give one age and one size".to_owned()),
            (Ok(age), _) if age.is_zero() => return Err("an age of zero keeps nothing".to_owned()),
            (_, Ok(0)) => return Err("a size of zero keeps nothing".to_owned()),
            (Ok(age), _) => retention.age = Some(age),
            (_, Ok(bytes)) => retention.bytes = Some(bytes),
            _ => return Err(format!("`{}` is neither an age (\"7d\") nor a size (\"1 GiB\")", part.trim())),
        }
    }
    Ok(retention)
}

/// `"5% of 200"`, or `"never"`.
pub fn stop_when(text: &str) -> Result<Option<StopWhen>, String> {
    if text.trim() == "never" {
        return Ok(None);
    }
    let shape = || "a share of the last records, as in \"5% of 200\", or \"never\"".to_owned();
    let (share, of) = text.split_once(" of ").ok_or_else(shape)?;
    let percent: f64 = share.trim().strip_suffix('%').and_then(|number| number.trim().parse().ok()).ok_or_else(shape)?;
    let of: u32 = of.trim().replace('_', "").parse().map_err(|_| shape())?;
    if !(0.0..100.0).contains(&percent) {
        return Err(format!("{percent}% is not from 0% up to, but not including, 100%"));
    }
    if !(1..=100_000).contains(&of) {
        return Err(format!("{of} records are not from 1 to 100,000"));
    }
    Ok(Some(StopWhen { percent, of }))
}

fn number_and_unit(text: &str) -> Result<(u64, &str, &str), String> {
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '_').unwrap_or(text.len());
    let count = text[..digits].replace('_', "").parse().map_err(|_| format!("`{text}` does not start with a whole number"))?;
    let after = text[digits..].trim_start();
    let unit = after.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(after.len());
    Ok((count, &after[..unit], &after[unit..]))
}

/// Times and sizes for a person, exact: the largest unit that divides them.
pub fn duration_text(duration: Duration) -> String {
    let millis = duration.as_millis() as u64;
    let (unit, scale) =
        *DURATION_UNITS.iter().rev().find(|(_, scale)| millis > 0 && millis.is_multiple_of(*scale)).unwrap_or(&("s", 1_000));
    format!("{}{unit}", millis / scale)
}

pub fn size_text(bytes: u64) -> String {
    let (unit, scale) = *SIZE_UNITS[..5].iter().rev().find(|(_, scale)| bytes.is_multiple_of(*scale)).unwrap_or(&("B", 1));
    format!("{} {unit}", bytes / scale)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_people_write() {
        assert_eq!(duration("10s"), Ok(Duration::from_secs(10)));
        assert_eq!(duration("1h 30m"), Ok(Duration::from_secs(5_400)));
        assert_eq!(duration("0s"), Ok(Duration::ZERO));
        assert_eq!(size("64 MiB"), Ok(64 << 20));
        assert_eq!(size("1GiB"), Ok(1 << 30));
        let week_or_gib = Retention { age: Some(Duration::from_secs(7 * 86_400)), bytes: Some(1 << 30) };
        assert_eq!(retention("7d or 1 GiB"), Ok(week_or_gib));
        assert_eq!(retention("1 GiB or 7d"), Ok(week_or_gib));
        assert_eq!(stop_when("5% of 200"), Ok(Some(StopWhen { percent: 5.0, of: 200 })));
        assert_eq!(stop_when("never"), Ok(None));
        assert_eq!(duration_text(Duration::from_secs(90)), "90s");
        assert_eq!(duration_text(Duration::from_secs(120)), "2m");
        assert_eq!(duration_text(Duration::ZERO), "0s");
        assert_eq!(
            (size_text(64 << 10), size_text(4 << 30), size_text(1_000)),
            ("64 KiB".into(), "4 GiB".into(), "1000 B".into())
        );
    }

    #[test]
    fn refuses_what_would_be_a_guess() {
        for wrong in ["", "10", "10 parsecs", "-1s", "1.5s", "99999999999w"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
        for wrong in ["", "64", "64 Mb", "1 MiB 2", "99999999999 TiB"] {
            assert!(size(wrong).is_err(), "{wrong}");
        }
        for wrong in ["7d or 8d", "1 GiB or 2 GiB", "0s", "0 B", "soon"] {
            assert!(retention(wrong).is_err(), "{wrong}");
        }
        for wrong in ["5%", "5 of 200", "100% of 10", "5% of 0", "-1% of 10"] {
            assert!(stop_when(wrong).is_err(), "{wrong}");
        }
    }
}
