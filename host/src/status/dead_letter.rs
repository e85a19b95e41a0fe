//! A dead letter as the API and the command line show it.

use std::collections::BTreeMap;
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

/// Reasons that differ in their values only: what stands in quotes, numbers, and the value that the host quotes at the end.
pub fn group(reason: &str) -> String {
    // `field `x`: is no integer: 7a`, as the host writes it: the value stands last.
    let value = reason.starts_with("field `").then(|| reason.match_indices(": ").nth(1)).flatten().map(|(at, _)| at + 2);
    // `sink users: column `id`: `7a` is not a uuid`: it stands in backticks behind the column.
    let column = reason.find("column `").and_then(|at| Some(at + reason[at..].find("`: ")? + 3)).unwrap_or(usize::MAX);
    let head = &reason[..value.unwrap_or(reason.len())];
    let mut grouped = String::with_capacity(head.len());
    let mut letters = head.char_indices().peekable();
    let mut name = false;
    while let Some((at, c)) = letters.next() {
        match c {
            '`' if at < column || name => {
                name = !name;
                grouped.push(c);
            }
            '"' | '`' if !name => {
                // To the next that is not escaped.
                let mut before = c;
                for (_, next) in letters.by_ref() {
                    if next == c && before != '\\' {
                        break;
                    }
                    before = next;
                }
                grouped.push('…');
            }
            c if c.is_ascii_digit() && !name && !grouped.ends_with(|before: char| before.is_alphanumeric()) => {
                while letters.next_if(|(_, c)| c.is_ascii_alphanumeric() || matches!(c, '.' | '-')).is_some() {}
                grouped.push('…');
            }
            c => grouped.push(c),
        }
    }
    if value.is_some() {
        grouped.push('…');
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
    let mut groups: BTreeMap<(Option<String>, String), Group> = BTreeMap::new();
    for ReasonCount { stage, reason, count, generations, first, last_write_time } in reasons {
        let name = group(&reason);
        match groups.get_mut(&(stage.clone(), name.clone())) {
            Some(known) => {
                known.count += count;
                known.generations = [known.generations[0].min(generations[0]), known.generations[1].max(generations[1])];
                known.first = known.first.min(first);
                known.last_write_time_us = known.last_write_time_us.max(last_write_time);
            }
            None => {
                let new = Group {
                    group: name.clone(),
                    stage: stage.clone(),
                    count,
                    generations,
                    first,
                    last_write_time_us: last_write_time,
                };
                groups.insert((stage, name), new);
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
    pub fn brief(letter: &DeadLetter) -> ShownLetter {
        ShownLetter {
            partition: letter.place.partition,
            offset: letter.place.offset,
            reason: letter.reason.clone(),
            group: group(&letter.reason),
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
        ShownLetter { record: Some(record), ..ShownLetter::brief(letter) }
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
