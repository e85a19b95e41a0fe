//! A dead letter as the API and the command line show it.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt::Write;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use super::mask::Mask;
use crate::record::{Place, escape};
use crate::topic::{DeadLetter, ReasonCount};

/// A place as it stands in a path.
#[derive(Clone, Copy, Debug, Deserialize)]
pub struct ShownPlace {
    partition: u32,
    offset: i64,
}

impl From<ShownPlace> for Place {
    fn from(place: ShownPlace) -> Place {
        Place { partition: place.partition, offset: place.offset }
    }
}

/// Bytes of a record, as text where they are UTF-8, and as a hex dump.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShownBytes {
    /// Control characters are escaped.
    pub text: Option<String>,
    /// Where they are no text.
    pub base64: Option<String>,
    /// 16 bytes a line, of the first 4 KiB.
    pub hex: String,
    pub bytes: usize,
}

const HEX_BYTES_MAX: usize = 4 << 10;

impl From<&[u8]> for ShownBytes {
    fn from(bytes: &[u8]) -> ShownBytes {
        let text = std::str::from_utf8(bytes).ok().map(|text| escape(text).into_owned());
        let base64 = text.is_none().then(|| STANDARD.encode(bytes));
        ShownBytes { text, base64, hex: hex(&bytes[..bytes.len().min(HEX_BYTES_MAX)]), bytes: bytes.len() }
    }
}

/// `00000010  7b 22 61 22 …  |{"a"…|`
fn hex(bytes: &[u8]) -> String {
    let mut dump = String::with_capacity(bytes.len() * 5);
    for (at, line) in bytes.chunks(16).enumerate() {
        let _ = write!(dump, "{:08x} ", at * 16);
        for byte in 0..16 {
            let _ = match line.get(byte) {
                Some(value) => write!(dump, " {value:02x}"),
                None => write!(dump, "   "),
            };
        }
        let shown = |byte: &u8| if byte.is_ascii_graphic() || *byte == b' ' { char::from(*byte) } else { '.' };
        let _ = writeln!(dump, "  |{}|", line.iter().map(shown).collect::<String>());
    }
    dump
}

/// `field `x`: is no integer: 7a`, as the host writes it: the field, and where the value begins that stands last.
pub fn quoted_value(reason: &str) -> Option<(&str, usize)> {
    let (field, _) = reason.strip_prefix("field `")?.split_once('`')?;
    Some((field, reason.match_indices(": ").nth(1)?.0 + 2))
}

/// What stands in backticks behind one of these is a name; else it is a value.
const NAMED: [&str; 4] = ["field ", "column ", "stage ", "setting "];

/// Reasons that differ in their values only: what stands in quotes, numbers, and the value that the host quotes at the end.
pub fn group(reason: &str) -> String {
    if let Some((_, value)) = quoted_value(reason) {
        // What stands before it are the host's own words.
        return format!("{}…", &reason[..value]);
    }
    let mut grouped = String::with_capacity(reason.len());
    let mut letters = reason.chars().peekable();
    while let Some(c) = letters.next() {
        let within = grouped.ends_with(|before: char| before.is_alphanumeric());
        match c {
            '`' if NAMED.iter().any(|word| grouped.ends_with(word)) => {
                grouped.push(c);
                grouped.extend(letters.by_ref().take_while(|next| *next != '`'));
                grouped.push(c);
            }
            '"' | '`' | '\'' if !(within && c == '\'') => {
                // To the next that is not escaped.
                let mut before = c;
                for next in letters.by_ref() {
                    if next == c && before != '\\' {
                        break;
                    }
                    before = next;
                }
                grouped.push('…');
            }
            c if c.is_ascii_digit() && !within => {
                while letters.next_if(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-')).is_some() {}
                grouped.push('…');
            }
            c => grouped.push(c),
        }
    }
    grouped
}

/// Dead letters with the same cause.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Group {
    pub group: String,
    pub stage: Option<String>,
    pub count: u64,
    /// The oldest and the newest that made one.
    pub generations: [u64; 2],
    /// The lowest place.
    pub first: Place,
    pub last_write_time_us: i64,
}

/// Reasons that differ in values only become one, the most frequent first.
pub fn groups(reasons: Vec<ReasonCount>) -> Vec<Group> {
    let group = |ReasonCount { stage, reason, count, generations, first, last_write_time }| Group {
        group: group(&reason),
        stage,
        count,
        generations,
        first,
        last_write_time_us: last_write_time,
    };
    merged(reasons.into_iter().map(group))
}

/// Those of one stage and name become one, the most frequent first.
pub fn merged(all: impl IntoIterator<Item = Group>) -> Vec<Group> {
    let mut groups: BTreeMap<(Option<String>, String), Group> = BTreeMap::new();
    for new in all {
        match groups.entry((new.stage.clone(), new.group.clone())) {
            Entry::Vacant(place) => drop(place.insert(new)),
            Entry::Occupied(mut known) => {
                let known = known.get_mut();
                known.count += new.count;
                known.generations = [known.generations[0].min(new.generations[0]), known.generations[1].max(new.generations[1])];
                known.first = known.first.min(new.first);
                known.last_write_time_us = known.last_write_time_us.max(new.last_write_time_us);
            }
        }
    }
    let mut groups: Vec<Group> = groups.into_values().collect();
    groups.sort_by(|a, b| b.count.cmp(&a.count).then_with(|| a.group.cmp(&b.group)));
    groups
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct ShownLetter {
    pub partition: u32,
    pub offset: i64,
    pub reason: String,
    /// The reason without its values.
    #[serde(default)]
    pub group: String,
    /// `null`: the host rejected it before or after the stages.
    pub stage: Option<String>,
    pub digest: Option<String>,
    pub generation: u64,
    /// The record's own time, ms since 1970.
    pub timestamp_ms: i64,
    pub write_time_us: i64,
    pub host: String,
    /// `null`: a record without a value.
    pub value_bytes: Option<usize>,
    /// The record as it was; lists leave it out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub record: Option<ShownRecord>,
    /// Fields of the payload that are not shown.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub masked: Vec<String>,
    /// Why the payload is not shown at all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub withheld: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShownRecord {
    pub key: Option<ShownBytes>,
    pub value: Option<ShownBytes>,
    pub headers: Vec<(String, Option<ShownBytes>)>,
}

impl ShownLetter {
    /// Without the record: a list of a thousand letters must not be a thousand records of a megabyte.
    pub fn brief(letter: &DeadLetter, mask: &Mask) -> ShownLetter {
        let reason = mask.reason(&letter.reason, letter.value.as_deref());
        ShownLetter {
            partition: letter.place.partition,
            offset: letter.place.offset,
            group: group(&reason),
            reason,
            stage: letter.stage.clone(),
            digest: letter.digest.clone(),
            generation: letter.generation,
            timestamp_ms: letter.timestamp,
            write_time_us: letter.write_time,
            host: letter.host.clone(),
            value_bytes: letter.value.as_ref().map(Vec::len),
            record: None,
            masked: Vec::new(),
            withheld: None,
        }
    }

    pub fn place(&self) -> Place {
        Place { partition: self.partition, offset: self.offset }
    }

    /// With its record, but for what a mask hides.
    pub fn masked(letter: &DeadLetter, mask: &Mask) -> ShownLetter {
        if mask.is_empty() {
            return ShownLetter::whole(letter);
        }
        let payload = letter.value.as_deref().map(serde_json::from_slice::<serde_json::Value>);
        let mut letter = letter.clone();
        letter.reason = mask.reason(&letter.reason, letter.value.as_deref());
        let (mut masked, mut withheld) = (Vec::new(), None);
        match payload {
            None => {}
            Some(Ok(mut payload)) => {
                masked = mask.apply(&mut payload);
                if !masked.is_empty() {
                    letter.value = Some(payload.to_string().into_bytes());
                }
            }
            Some(Err(_)) => {
                letter.value = None;
                withheld = Some("the payload is no JSON, so what is masked cannot be told from the rest".to_owned());
            }
        }
        ShownLetter { masked, withheld, ..ShownLetter::whole(&letter) }
    }

    pub fn whole(letter: &DeadLetter) -> ShownLetter {
        let bytes = |bytes: &Option<Vec<u8>>| bytes.as_deref().map(ShownBytes::from);
        let headers = letter.headers.iter().map(|(name, value)| (name.clone(), bytes(value))).collect();
        let record = ShownRecord { key: bytes(&letter.key), value: bytes(&letter.value), headers };
        ShownLetter { record: Some(record), ..ShownLetter::brief(letter, &Mask::default()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_that_differ_in_their_values_are_one_group() {
        for (reason, grouped) in [
            ("field `dob.age2`: is no integer: \"7a\"", "field `dob.age2`: is no integer: …"),
            ("field `email`: is required", "field `email`: is required"),
            ("field `dob.date`: is no RFC 3339 time: \"now\"", "field `dob.date`: is no RFC 3339 time: …"),
            ("`not an address 7` is not an e-mail address", "… is not an e-mail address"),
            ("it isn't a user: 'a b'", "it isn't a user: …"),
            ("the age 17 is below 18", "the age … is below …"),
            ("no user \"a \\\" 1\" in v2", "no user … in v2"),
            ("sink users: column `id`: `no 17` is not a uuid", "sink users: column `id`: … is not a uuid"),
            ("payload is not JSON: expected a value at byte 120", "payload is not JSON: expected a value at byte …"),
        ] {
            assert_eq!(group(reason), grouped);
        }
    }

    #[test]
    fn groups_are_summed_and_the_most_frequent_stands_first() {
        let reason = |reason: &str, count, generation, offset| ReasonCount {
            stage: None,
            reason: reason.to_owned(),
            count,
            generations: [generation, generation],
            first: Place { partition: 0, offset },
            last_write_time: offset,
        };
        let groups = groups(vec![reason("age 1", 2, 3, 9), reason("rare", 3, 1, 1), reason("age 2", 2, 2, 4)]);
        assert_eq!((groups[0].group.as_str(), groups[0].count, groups[0].generations), ("age …", 4, [2, 3]));
        assert_eq!((groups[0].first.offset, groups[0].last_write_time_us, groups.len()), (4, 9, 2));
    }

    #[test]
    fn bytes_are_shown_as_text_and_as_hex() {
        let shown = ShownBytes::from(&b"{\"a\":1}\n"[..]);
        assert_eq!(shown.text.as_deref(), Some("{\"a\":1}\\n"));
        assert_eq!(shown.hex, "00000000  7b 22 61 22 3a 31 7d 0a                          |{\"a\":1}.|\n");
        let other = ShownBytes::from(&[0xff; 5_000][..]);
        assert_eq!((other.text, other.bytes, other.hex.lines().count()), (None, 5_000, 256));
    }
}
