//! list, set and map of text, from JSON: as CQL's native protocol writes them, a count and then each element behind its length, both
//! in four bytes.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::value::RawValue;

/// What stands in a cell's path: elements of a set, keys of a map.
const PATH_BYTES_MAX: usize = 65_535;

pub(super) fn list(json: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let texts = texts(json)?;
    write(texts.len(), texts.iter(), out)
}

/// In the order in which Cassandra keeps them, each once.
pub(super) fn set(json: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let texts: BTreeSet<String> = texts(json)?.into_iter().collect();
    fits_path(texts.iter())?;
    write(texts.len(), texts.iter(), out)
}

/// Of a key that stands twice the last one counts, as elsewhere in JSON.
pub(super) fn map(json: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let entries: BTreeMap<String, &RawValue> = serde_json::from_slice(json).ok()?;
    fits_path(entries.keys())?;
    let entries = entries.iter().map(|(key, value)| Some((key, text(value)?))).collect::<Option<Vec<_>>>()?;
    write(entries.len(), entries.iter().flat_map(|(key, value)| [*key, value]), out)
}

pub(super) fn is_empty(bytes: &[u8]) -> bool {
    bytes.starts_with(&[0; 4])
}

fn texts(json: &[u8]) -> Option<Vec<String>> {
    let values: Vec<&RawValue> = serde_json::from_slice(json).ok()?;
    values.into_iter().map(text).collect()
}

/// As JSON becomes text everywhere: a string, a number's own digits, true and false as words.
fn text(value: &RawValue) -> Option<String> {
    match value.get().as_bytes().first()? {
        b'"' => serde_json::from_str(value.get()).ok(),
        b'n' | b'[' | b'{' => None,
        _ => Some(value.get().to_owned()),
    }
}

fn fits_path<'a>(mut texts: impl Iterator<Item = &'a String>) -> Option<()> {
    texts.all(|text| text.len() <= PATH_BYTES_MAX).then_some(())
}

fn write<'a>(count: usize, texts: impl Iterator<Item = &'a String>, out: &mut Vec<u8>) -> Option<()> {
    out.extend_from_slice(&i32::try_from(count).ok()?.to_be_bytes());
    for text in texts {
        out.extend_from_slice(&i32::try_from(text.len()).ok()?.to_be_bytes());
        out.extend_from_slice(text.as_bytes());
    }
    Some(())
}

/// The texts of a collection in their order; keys and values of a map in turn.
pub(in crate::sink) fn elements(bytes: &[u8]) -> impl Iterator<Item = &str> {
    let mut rest = bytes.get(4..).unwrap_or_default();
    std::iter::from_fn(move || {
        let (len, after) = rest.split_first_chunk::<4>()?;
        let (text, after) = after.split_at_checked(u32::from_be_bytes(*len) as usize)?;
        rest = after;
        std::str::from_utf8(text).ok()
    })
}
