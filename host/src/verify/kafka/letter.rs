//! Dead letters as records of Kafka, read from the description of their form: the record's value and headers as they were, and behind those
//! headers called `tidemill.…`; a letter that was too large for one record is JSON in several.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use crate::record::Header;
use crate::verify::evidence::{Error, Letter};

#[derive(Deserialize)]
struct Whole {
    key: Option<String>,
    value: Option<String>,
    headers: Vec<(String, Option<String>)>,
    reason: String,
}

/// Partition, offset, and the part of the letter, from a key such as `0/17` or `0/17/1`.
pub fn place(key: &[u8]) -> Option<((u32, i64), u32)> {
    let parts: Vec<&str> = std::str::from_utf8(key).ok()?.split('/').collect();
    match parts.as_slice() {
        [partition, offset] => Some(((partition.parse().ok()?, offset.parse().ok()?), 0)),
        [partition, offset, part] => Some(((partition.parse().ok()?, offset.parse().ok()?), part.parse().ok()?)),
        _ => None,
    }
}

/// Headers as JSON, for a while.
pub fn encode(headers: &[Header]) -> String {
    let pairs: Vec<_> = headers.iter().map(|(name, value)| (name, value.as_ref().map(|value| STANDARD.encode(value)))).collect();
    serde_json::to_string(&pairs).unwrap_or_default()
}

fn decode(text: Option<String>) -> Option<Vec<u8>> {
    STANDARD.decode(text?).ok()
}

/// A letter of its records: the headers of the first, and the values of all.
pub fn read((partition, offset): (u32, i64), headers: &str, values: Vec<Vec<u8>>) -> Result<Letter, Error> {
    let broken = |what: &str| Error(format!("the dead letter {partition}/{offset} cannot be read: {what}"));
    let headers: Vec<(String, Option<String>)> = serde_json::from_str(headers).map_err(|_| broken("its headers"))?;
    let mut headers: Vec<Header> = headers.into_iter().map(|(name, value)| (name, decode(value))).collect();
    // A record's own headers may be called anything; ours begin at the last of this name.
    let begin = headers.iter().rposition(|(name, _)| name == "tidemill.reason").ok_or_else(|| broken("it has no reason"))?;
    let ours = headers.split_off(begin);
    let bytes =
        |name: &str| ours.iter().rev().find(|(known, _)| known == name).map(|(_, value)| value.clone().unwrap_or_default());
    let text = |name: &str| bytes(name).map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    let number = |name: &str| text(name).and_then(|text| text.parse::<i64>().ok()).ok_or_else(|| broken(name));
    let mut letter = Letter {
        key: bytes("tidemill.key"),
        value: None,
        headers,
        timestamp: number("tidemill.timestamp")?,
        reason: text("tidemill.reason").unwrap_or_default(),
        stage: text("tidemill.stage"),
        digest: text("tidemill.digest"),
        generation: number("tidemill.generation")? as u64,
        write_time: number("tidemill.write-time")?,
    };
    if bytes("tidemill.parts").is_none() {
        letter.value = values.into_iter().next().filter(|_| bytes("tidemill.no-value").is_none());
        return Ok(letter);
    }
    let whole: Whole = serde_json::from_slice(&values.concat()).map_err(|_| broken("its parts do not fit together"))?;
    letter.key = decode(whole.key);
    letter.value = decode(whole.value);
    letter.headers = whole.headers.into_iter().map(|(name, value)| (name, decode(value))).collect();
    letter.reason = whole.reason;
    Ok(letter)
}
