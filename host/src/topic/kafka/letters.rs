//! Dead letters as records (delivery §7): value and headers as they were, and why they are here in headers of ours behind them. One
//! that the topic would not take as one record is in several, so that no letter is too large to be kept (invariant 4).

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use super::names;
use crate::record::{Header, Place};
use crate::topic::{DeadLetter, Error};

/// The first of our headers; what stands before the last one of this name is the record's own.
const REASON: &str = "tidemill.reason";
const STAGE: &str = "tidemill.stage";
const DIGEST: &str = "tidemill.digest";
const GENERATION: &str = "tidemill.generation";
const WRITE_TIME: &str = "tidemill.write-time";
const TIMESTAMP: &str = "tidemill.timestamp";
const HOST: &str = "tidemill.host";
const KEY: &str = "tidemill.key";
/// The record had no value: without this, its letter would be a tombstone.
const NO_VALUE: &str = "tidemill.no-value";
/// In how many records the letter is; the values together are the letter as JSON.
const PARTS: &str = "tidemill.parts";

/// What a record of this many bytes takes beside key, value and headers, generously.
const OVERHEAD_BYTES: usize = 1_024;
const HEADER_OVERHEAD_BYTES: usize = 16;
/// Of a reason, so much stands in the headers of a letter in parts; all of it is in the letter.
const REASON_BYTES_MAX: usize = 1_024;

/// A record of the dead letters topic.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Written {
    pub(super) key: String,
    pub(super) value: Vec<u8>,
    pub(super) headers: Vec<Header>,
}

/// The whole letter, where it is in parts.
#[derive(Serialize, Deserialize)]
struct Whole {
    key: Option<String>,
    value: Option<String>,
    headers: Vec<(String, Option<String>)>,
    reason: String,
}

/// The records of a letter, none larger than `bytes_max` as the topic counts.
pub(super) fn write(letter: &DeadLetter, bytes_max: usize) -> Vec<Written> {
    let key = names::letter(letter.place);
    let mut headers = letter.headers.clone();
    headers.extend(ours(letter, &letter.reason));
    headers.extend(letter.key.clone().map(|key| (KEY.to_owned(), Some(key))));
    if letter.value.is_none() {
        headers.push((NO_VALUE.to_owned(), None));
    }
    let header_bytes = |(name, value): &Header| name.len() + value.as_ref().map_or(0, Vec::len) + HEADER_OVERHEAD_BYTES;
    let bytes =
        OVERHEAD_BYTES + key.len() + letter.value.as_ref().map_or(0, Vec::len) + headers.iter().map(header_bytes).sum::<usize>();
    if bytes <= bytes_max {
        return vec![Written { key, value: letter.value.clone().unwrap_or_default(), headers }];
    }
    let part_bytes = bytes_max.saturating_sub(OVERHEAD_BYTES + REASON_BYTES_MAX + 512).max(1_024);
    let whole = whole(letter);
    let parts: Vec<&[u8]> = whole.chunks(part_bytes).collect();
    let written = (0..).zip(&parts).map(|(part, value)| {
        let headers = match part {
            0 => {
                let mut headers: Vec<Header> = ours(letter, cut(&letter.reason)).collect();
                headers.push((PARTS.to_owned(), Some(parts.len().to_string().into_bytes())));
                headers
            }
            _ => Vec::new(),
        };
        Written { key: part_key(letter.place, part), value: value.to_vec(), headers }
    });
    written.collect()
}

/// The keys that a letter of so many parts is under.
pub(super) fn keys(place: Place, parts: u32) -> impl Iterator<Item = String> {
    (0..parts.max(1)).map(move |part| part_key(place, part))
}

fn part_key(place: Place, part: u32) -> String {
    let key = names::letter(place);
    if part == 0 { key } else { format!("{key}/{part}") }
}

fn ours<'a>(letter: &'a DeadLetter, reason: &'a str) -> impl Iterator<Item = Header> {
    let text = |text: String| Some(text.into_bytes());
    let always = [
        (REASON, text(reason.to_owned())),
        (GENERATION, text(letter.generation.to_string())),
        (WRITE_TIME, text(letter.write_time.to_string())),
        (TIMESTAMP, text(letter.timestamp.to_string())),
        (HOST, text(letter.host.clone())),
    ];
    let stage = letter.stage.clone().map(|stage| (STAGE, text(stage)));
    let digest = letter.digest.clone().map(|digest| (DIGEST, text(digest)));
    always.into_iter().chain(stage).chain(digest).map(|(name, value)| (name.to_owned(), value))
}

fn cut(reason: &str) -> &str {
    let mut end = reason.len().min(REASON_BYTES_MAX);
    while !reason.is_char_boundary(end) {
        end -= 1;
    }
    &reason[..end]
}

fn whole(letter: &DeadLetter) -> Vec<u8> {
    let text = |bytes: &Vec<u8>| STANDARD.encode(bytes);
    let whole = Whole {
        key: letter.key.as_ref().map(text),
        value: letter.value.as_ref().map(text),
        headers: letter.headers.iter().map(|(name, value)| (name.clone(), value.as_ref().map(text))).collect(),
        reason: letter.reason.clone(),
    };
    serde_json::to_vec(&whole).expect("text keys and plain values")
}

/// In how many records a letter is, by the headers of its first one.
pub(super) fn parts(headers: &[Header]) -> u32 {
    header(headers, PARTS).and_then(|parts| parts.parse().ok()).unwrap_or(1)
}

fn header(headers: &[Header], name: &str) -> Option<String> {
    let value = headers.iter().rev().find(|(known, _)| known == name)?.1.as_ref()?;
    Some(String::from_utf8_lossy(value).into_owned())
}

/// A letter of its first record and the values of all its parts.
pub(super) fn read(place: Place, headers: &[Header], values: Vec<Vec<u8>>) -> Result<DeadLetter, Error> {
    let broken = |what: &str| Error::Fatal(format!("the dead letter {}/{} has {what}", place.partition, place.offset));
    let begin = headers.iter().rposition(|(name, _)| name == REASON).ok_or_else(|| broken("no reason"))?;
    let (own, ours) = headers.split_at(begin);
    let text = |name: &str| header(ours, name);
    let number = |name: &str| text(name).and_then(|text| text.parse::<i64>().ok()).ok_or_else(|| broken(&format!("no {name}")));
    let mut letter = DeadLetter {
        place,
        key: ours.iter().find(|(name, _)| name == KEY).map(|(_, value)| value.clone().unwrap_or_default()),
        value: None,
        headers: own.to_vec(),
        timestamp: number(TIMESTAMP)?,
        reason: text(REASON).unwrap_or_default(),
        stage: text(STAGE),
        digest: text(DIGEST),
        generation: number(GENERATION)? as u64,
        write_time: number(WRITE_TIME)?,
        host: text(HOST).unwrap_or_default(),
    };
    if text(PARTS).is_none() {
        let has_value = ours.iter().all(|(name, _)| name != NO_VALUE);
        letter.value = values.into_iter().next().filter(|_| has_value);
        return Ok(letter);
    }
    let whole: Whole = serde_json::from_slice(&values.concat()).map_err(|_| broken("parts that do not fit together"))?;
    let bytes = |text: String| STANDARD.decode(text).map_err(|_| broken("bytes that are not base64"));
    letter.key = whole.key.map(bytes).transpose()?;
    letter.value = whole.value.map(bytes).transpose()?;
    let headers = whole.headers.into_iter().map(|(name, value)| Ok((name, value.map(bytes).transpose()?)));
    letter.headers = headers.collect::<Result<_, Error>>()?;
    letter.reason = whole.reason;
    Ok(letter)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn letter(value: Option<Vec<u8>>, headers: Vec<Header>) -> DeadLetter {
        DeadLetter {
            place: Place { partition: 2, offset: 9 },
            key: Some(vec![0, 255]),
            value,
            headers,
            timestamp: 5,
            reason: "why".repeat(700),
            stage: Some("extract".to_owned()),
            digest: None,
            generation: 3,
            write_time: 7,
            host: "here".to_owned(),
        }
    }

    fn again(letter: &DeadLetter, bytes_max: usize) -> (usize, DeadLetter) {
        let written = write(letter, bytes_max);
        let headers = written[0].headers.clone();
        assert_eq!(parts(&headers) as usize, written.len());
        let expected: Vec<String> = keys(letter.place, written.len() as u32).collect();
        assert_eq!(written.iter().map(|written| written.key.clone()).collect::<Vec<_>>(), expected);
        for written in &written {
            let headers: usize =
                written.headers.iter().map(|(name, value)| name.len() + value.as_ref().map_or(0, Vec::len)).sum();
            assert!(written.key.len() + written.value.len() + headers < bytes_max, "each fits");
        }
        (written.len(), read(letter.place, &headers, written.into_iter().map(|written| written.value).collect()).unwrap())
    }

    #[test]
    fn a_letter_is_read_as_it_was_written() {
        let headers = vec![("h".to_owned(), Some(vec![0])), (REASON.to_owned(), None), ("h".to_owned(), Some(vec![1]))];
        for value in [None, Some(Vec::new()), Some(b"{".to_vec())] {
            let letter = letter(value, headers.clone());
            assert_eq!(again(&letter, 1 << 20), (1, letter.clone()));
        }
    }

    #[test]
    fn what_is_too_large_for_one_record_is_in_several() {
        let headers = vec![("large".to_owned(), Some(vec![7; 5_000])), ("none".to_owned(), None)];
        for value in [None, Some(Vec::new()), Some((0..20_000).map(|n| n as u8).collect())] {
            let letter = letter(value, headers.clone());
            let (parts, read) = again(&letter, 6_000);
            assert!(parts > 1 && read == letter);
        }
    }
}
