//! A dead letter as the API and the command line show it.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use crate::record::Place;
use crate::topic::DeadLetter;

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

/// Bytes that are text where they can be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ShownBytes {
    Text(String),
    Base64(String),
}

impl From<&[u8]> for ShownBytes {
    fn from(bytes: &[u8]) -> ShownBytes {
        match std::str::from_utf8(bytes) {
            Ok(text) => ShownBytes::Text(text.to_owned()),
            Err(_) => ShownBytes::Base64(STANDARD.encode(bytes)),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct ShownLetter {
    pub partition: u32,
    pub offset: i64,
    pub reason: String,
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
            stage: letter.stage.clone(),
            digest: letter.digest.clone(),
            generation: letter.generation,
            timestamp_ms: letter.timestamp,
            write_time_us: letter.write_time,
            host: letter.host.clone(),
            value_bytes: letter.value.as_ref().map(Vec::len),
            record: None,
        }
    }

    pub fn whole(letter: &DeadLetter) -> ShownLetter {
        let bytes = |bytes: &Option<Vec<u8>>| bytes.as_deref().map(ShownBytes::from);
        let headers = letter.headers.iter().map(|(name, value)| (name.clone(), bytes(value))).collect();
        let record = ShownRecord { key: bytes(&letter.key), value: bytes(&letter.value), headers };
        ShownLetter { record: Some(record), ..ShownLetter::brief(letter) }
    }
}
