//! One user as JSON, the shape of randomuser.me's API 1.4, drawn from a seed and a number.
//!
//! Record n of a seed is the same on every machine and in every release of one contract version: nothing here looks at a clock, so
//! ages are counted from the first day of [`AGES_COUNTED_IN`].

use super::nations::{ADJECTIVES, ANIMALS, NATIONS, Nation, PASSWORDS, PROVIDERS, TIMEZONES};

/// The year on whose first day the ages of generated users are counted.
pub const AGES_COUNTED_IN: i64 = 2026;

/// Which users a [`Seed`] draws from.
#[derive(Clone, Debug)]
pub struct Seed {
    hash: u64,
    /// Indices into [`NATIONS`]; never empty.
    nations: Vec<u8>,
    gender: Option<Gender>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gender {
    Female,
    Male,
}

impl Seed {
    pub fn new(seed: &str) -> Seed {
        Seed { hash: hash(seed), nations: (0..NATIONS.len() as u8).collect(), gender: None }
    }

    /// Only users of these nationalities. A code that is unknown, also one among several, lets all come, as the API does.
    pub fn of_nations<'a>(mut self, codes: impl IntoIterator<Item = &'a str>) -> Seed {
        let known: Option<Vec<u8>> = codes.into_iter().map(nation_index).collect();
        if let Some(known) = known.filter(|known| !known.is_empty()) {
            self.nations = known;
        }
        self
    }

    pub fn of_gender(mut self, gender: Gender) -> Seed {
        self.gender = Some(gender);
        self
    }

    /// Appends user `number` as one JSON object, about 1.1 KB, without a line end.
    pub fn write_user(&self, number: u64, out: &mut Vec<u8>) {
        let mut random = Random(mix(self.hash ^ mix(number.wrapping_add(0x632b_e59b_d9b4_e019))));
        let nation = &NATIONS[self.nations[random.below(self.nations.len())] as usize];
        let drawn = if random.below(2) == 0 { Gender::Female } else { Gender::Male };
        let gender = self.gender.unwrap_or(drawn);
        write(self.hash, number, nation, gender, &mut random, out);
    }
}

/// The codes of all nationalities.
pub fn nation_codes() -> impl Iterator<Item = &'static str> {
    NATIONS.iter().map(|nation| nation.code)
}

fn nation_index(code: &str) -> Option<u8> {
    NATIONS.iter().position(|nation| nation.code.eq_ignore_ascii_case(code)).map(|index| index as u8)
}

fn write(seed: u64, number: u64, nation: &Nation, gender: Gender, random: &mut Random, out: &mut Vec<u8>) {
    let (word, title, firsts, portraits) = match gender {
        Gender::Female => ("female", random.pick(&["Ms", "Mrs", "Miss"]), nation.women, "women"),
        Gender::Male => ("male", "Mr", nation.men, "men"),
    };
    let (first, first_plain) = parts(random.pick(firsts));
    let (last, last_plain) = parts(random.pick(nation.last));
    put(out, r#"{"gender":""#);
    put(out, word);
    put(out, r#"","name":{"title":""#);
    put(out, title);
    put(out, r#"","first":""#);
    put(out, first);
    put(out, r#"","last":""#);
    put(out, last);
    put(out, r#""},"location":{"street":{"number":"#);
    integer(out, 1 + random.below(9_999) as u64);
    put(out, r#","name":""#);
    put(out, random.pick(nation.streets));
    put(out, r#""},"city":""#);
    put(out, random.pick(nation.cities));
    put(out, r#"","state":""#);
    put(out, random.pick(nation.states));
    put(out, r#"","country":""#);
    put(out, nation.country);
    put(out, r#"","postcode":"#);
    let quote = if nation.postcode_is_text() { "\"" } else { "" };
    put(out, quote);
    pattern(out, nation.postcode, random);
    put(out, quote);
    put(out, r#","coordinates":{"latitude":""#);
    coordinate(out, 90, random);
    put(out, r#"","longitude":""#);
    coordinate(out, 180, random);
    let (offset, description) = random.pick(&TIMEZONES);
    put(out, r#""},"timezone":{"offset":""#);
    put(out, offset);
    put(out, r#"","description":""#);
    put(out, description);
    put(out, r#""}},"email":""#);
    lower(out, first_plain);
    out.push(b'.');
    lower(out, last_plain);
    if random.below(3) == 0 {
        integer(out, random.below(100) as u64);
    }
    out.push(b'@');
    let provider = random.below(PROVIDERS.len()).min(random.below(PROVIDERS.len()));
    put(out, PROVIDERS[provider]);
    put(out, r#"","login":{"uuid":""#);
    uuid(out, mix(seed ^ number), random.next());
    put(out, r#"","username":""#);
    put(out, random.pick(&ADJECTIVES));
    put(out, random.pick(&ANIMALS));
    integer(out, 100 + random.below(900) as u64);
    put(out, r#"","password":""#);
    put(out, random.pick(&PASSWORDS));
    put(out, r#"","salt":""#);
    salt(out, random);
    put(out, r#"","md5":""#);
    hex(out, 16, random);
    put(out, r#"","sha1":""#);
    hex(out, 20, random);
    put(out, r#"","sha256":""#);
    hex(out, 32, random);
    put(out, r#""},"dob":"#);
    date(out, 1944, 60, random);
    put(out, r#","registered":"#);
    date(out, 2002, 24, random);
    put(out, r#","phone":""#);
    pattern(out, nation.phone, random);
    put(out, r#"","cell":""#);
    pattern(out, nation.cell, random);
    put(out, r#"","id":{"name":""#);
    put(out, nation.id_name);
    put(out, r#"","value":"#);
    if nation.id_name.is_empty() {
        put(out, "null");
    } else {
        out.push(b'"');
        pattern(out, nation.id, random);
        out.push(b'"');
    }
    put(out, r#"},"picture":{"#);
    let portrait = random.below(100) as u64;
    for (name, folder) in [("large", ""), ("medium", "med/"), ("thumbnail", "thumb/")] {
        if !folder.is_empty() {
            out.push(b',');
        }
        out.push(b'"');
        put(out, name);
        put(out, r#"":"https://randomuser.me/api/portraits/"#);
        put(out, folder);
        put(out, portraits);
        out.push(b'/');
        integer(out, portrait);
        put(out, r#".jpg""#);
    }
    put(out, r#"},"nat":""#);
    put(out, nation.code);
    put(out, r#""}"#);
}

#[inline]
fn put(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(text.as_bytes());
}

/// The name, and what of it goes into an address.
fn parts(name: &'static str) -> (&'static str, &'static str) {
    name.split_once('|').unwrap_or((name, name))
}

fn lower(out: &mut Vec<u8>, plain: &str) {
    out.extend(plain.bytes().filter(u8::is_ascii_alphabetic).map(|byte| byte.to_ascii_lowercase()));
}

fn integer(out: &mut Vec<u8>, value: u64) {
    put(out, itoa::Buffer::new().format(value));
}

/// `value` in at least `width` digits.
fn padded(out: &mut Vec<u8>, value: u64, width: usize) {
    let mut digits = itoa::Buffer::new();
    let digits = digits.format(value);
    for _ in digits.len()..width {
        out.push(b'0');
    }
    put(out, digits);
}

fn pattern(out: &mut Vec<u8>, pattern: &str, random: &mut Random) {
    let mut bits = random.next();
    for byte in pattern.bytes() {
        // Eight draws of 7 bits each from one word; a bias of 1 % in a phone number's digits does no harm.
        if bits < 1 << 8 {
            bits = random.next();
        }
        let draw = (bits & 0x7f) as u8;
        out.push(match byte {
            b'#' => b'0' + draw % 10,
            b'%' => b'1' + draw % 9,
            b'@' => b'A' + draw % 26,
            other => {
                out.push(other);
                continue;
            }
        });
        bits >>= 7;
    }
}

/// Text with four decimals, between -`bound` and `bound`.
fn coordinate(out: &mut Vec<u8>, bound: u64, random: &mut Random) {
    let value = random.below((bound * 20_000) as usize) as i64 - (bound * 10_000) as i64;
    if value < 0 {
        out.push(b'-');
    }
    integer(out, value.unsigned_abs() / 10_000);
    out.push(b'.');
    padded(out, value.unsigned_abs() % 10_000, 4);
}

fn hex(out: &mut Vec<u8>, bytes: usize, random: &mut Random) {
    let mut left = bytes;
    while left > 0 {
        let word = random.next().to_le_bytes();
        let take = left.min(8);
        for byte in &word[..take] {
            out.extend_from_slice(&HEX[*byte as usize]);
        }
        left -= take;
    }
}

/// Version 4. The first half is a bijection of the record's number but for four bits, so that two records of a seed can meet only
/// where those four and all of the second half do.
fn uuid(out: &mut Vec<u8>, high: u64, low: u64) {
    let high = (high & 0xffff_ffff_ffff_0fff) | 0x4000;
    let low = (low & 0x3fff_ffff_ffff_ffff) | 0x8000_0000_0000_0000;
    for (index, byte) in high.to_be_bytes().into_iter().chain(low.to_be_bytes()).enumerate() {
        if matches!(index, 4 | 6 | 8 | 10) {
            out.push(b'-');
        }
        out.extend_from_slice(&HEX[byte as usize]);
    }
}

fn salt(out: &mut Vec<u8>, random: &mut Random) {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789AZ";
    let bits = random.next();
    out.extend((0..8).map(|index| LETTERS[(bits >> (index * 6)) as usize & 63]));
}

/// `{"date":"1967-03-01T04:05:06.789Z","age":58}`, within `years` years from the start of `from` on.
fn date(out: &mut Vec<u8>, from: i64, years: i64, random: &mut Random) {
    const DAY_MS: u64 = 86_400_000;
    let days_before = days_from_civil(from);
    let day = days_before + random.below((days_from_civil(from + years) - days_before) as usize) as i64;
    let ms = random.below(DAY_MS as usize) as u64;
    let (year, month, day) = civil_from_days(day);
    put(out, r#"{"date":""#);
    integer(out, year as u64);
    out.push(b'-');
    padded(out, month, 2);
    out.push(b'-');
    padded(out, day, 2);
    out.push(b'T');
    padded(out, ms / 3_600_000, 2);
    out.push(b':');
    padded(out, ms / 60_000 % 60, 2);
    out.push(b':');
    padded(out, ms / 1_000 % 60, 2);
    out.push(b'.');
    padded(out, ms % 1_000, 3);
    put(out, r#"Z","age":"#);
    // On the first of January only those born on one have had their birthday.
    let had_birthday = month == 1 && day == 1;
    integer(out, (AGES_COUNTED_IN - year - i64::from(!had_birthday)).max(0) as u64);
    out.push(b'}');
}

/// Days since 1970-01-01 of the first of January. Howard Hinnant, "chrono-compatible low-level date algorithms".
fn days_from_civil(year: i64) -> i64 {
    // January belongs to the year that began in March before.
    let shifted = year - 1;
    let era = shifted.div_euclid(400);
    let year_of_era = shifted.rem_euclid(400);
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + 306 - 719_468
}

/// Year, month and day of a day since 1970-01-01; the same source.
fn civil_from_days(days: i64) -> (i64, u64, u64) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month as u64, day as u64)
}

const HEX: [[u8; 2]; 256] = {
    let digits = b"0123456789abcdef";
    let mut table = [[0; 2]; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = [digits[byte >> 4], digits[byte & 15]];
        byte += 1;
    }
    table
};

/// SplitMix64 (Steele, Lea, Flood 2014): one addition and one [`mix`] a draw.
struct Random(u64);

impl Random {
    #[inline]
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0)
    }

    #[inline]
    fn below(&mut self, bound: usize) -> usize {
        ((u128::from(self.next()) * bound as u128) >> 64) as usize
    }

    #[inline]
    fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())]
    }
}

/// SplitMix64's finaliser, a bijection.
#[inline]
fn mix(mut word: u64) -> u64 {
    word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}

/// FNV-1a, then mixed: seeds are short texts.
fn hash(text: &str) -> u64 {
    mix(text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_and_dates_agree_with_jiff() {
        for days in (-40_000..40_000).step_by(7) {
            let (year, month, day) = civil_from_days(days);
            let expected = jiff::civil::date(1970, 1, 1) + jiff::Span::new().days(days);
            assert_eq!((year, month, day), (expected.year().into(), expected.month() as u64, expected.day() as u64));
        }
        assert_eq!(days_from_civil(1970), 0);
        assert_eq!(days_from_civil(2000), 10_957);
        assert_eq!(days_from_civil(1944), -9_497);
    }

    #[test]
    fn names_that_are_not_ascii_have_a_transliteration() {
        for nation in &NATIONS {
            for name in nation.women.iter().chain(nation.men).chain(nation.last) {
                let (_, plain) = parts(name);
                assert!(plain.bytes().any(|byte| byte.is_ascii_alphabetic()), "{name}");
                assert!(name.is_ascii() || name.contains('|'), "{name}");
            }
        }
    }
}
