//! What payloads look like, as far as it is known before the first record: from a sample, or from the source's own shape.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::plan::{SourceKind, SourcePlan};
use crate::record::Kind;

/// Two users of the API's shape that differ where users differ: a postcode is a number or text, an id may be null.
const USERS: &str = include_str!("user.sample.json");

/// Samples of a payload; none: it is not known, and everything is possible.
#[derive(Clone, Debug, Default)]
pub struct Payload {
    samples: Vec<Value>,
}

/// What is known of a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presence {
    Always,
    /// Absent or null in some samples.
    Sometimes,
    Never,
}

impl Payload {
    /// The payload that a source publishes.
    pub fn of_source(source: &SourcePlan) -> Payload {
        let (inc, exc): (&[String], &[String]) = match &source.kind {
            SourceKind::RandomUser(kind) => (&kind.inc, &kind.exc),
            SourceKind::Generator(_) => (&[], &[]),
            SourceKind::Http(_) | SourceKind::File(_) => {
                return source.sample.as_deref().map(Payload::of_sample).unwrap_or_default();
            }
        };
        let mut payload = Payload::of_sample(source.sample.as_deref().unwrap_or(USERS));
        for user in payload.samples.iter_mut().filter_map(Value::as_object_mut) {
            user.retain(|name, _| {
                (inc.is_empty() || inc.iter().any(|kept| kept == name)) && !exc.iter().any(|left| left == name)
            });
        }
        payload
    }

    /// JSON text of one record, or of a list of records.
    pub fn of_sample(text: &str) -> Payload {
        match serde_json::from_str(text) {
            Ok(Value::Array(samples)) => Payload { samples },
            Ok(sample) => Payload { samples: vec![sample] },
            Err(_) => Payload::default(),
        }
    }

    pub fn is_known(&self) -> bool {
        !self.samples.is_empty()
    }

    fn values<'a>(&'a self, path: &'a str) -> impl Iterator<Item = &'a Value> {
        self.samples.iter().filter_map(move |sample| at(sample, path)).filter(|value| !value.is_null())
    }

    pub fn presence(&self, path: &str) -> Presence {
        match self.values(path).count() {
            0 => Presence::Never,
            there if there < self.samples.len() => Presence::Sometimes,
            _ => Presence::Always,
        }
    }

    /// Whether every value of the samples can be read as this kind.
    pub fn fits(&self, path: &str, kind: Kind) -> bool {
        self.values(path).all(|value| fits(value, kind))
    }

    /// The kinds that every value of the samples can be read as, the most telling first; `json` always.
    pub fn kinds(&self, path: &str) -> impl Iterator<Item = Kind> {
        let kinds = [Kind::Boolean, Kind::Int, Kind::Float, Kind::Timestamp, Kind::Text, Kind::Json];
        kinds.into_iter().filter(move |kind| self.fits(path, *kind))
    }

    /// What stands at a path, for a sentence: `a number, as in 8000`.
    pub fn describe(&self, path: &str) -> String {
        let Some(value) = self.values(path).next() else { return "nothing".to_owned() };
        let what = match value {
            Value::String(_) => "text",
            Value::Number(_) => "a number",
            Value::Bool(_) => "true or false",
            Value::Array(_) => return "a list".to_owned(),
            Value::Object(_) => return "an object".to_owned(),
            Value::Null => return "null".to_owned(),
        };
        let mut example = value.to_string();
        if example.chars().count() > 40 {
            example = example.chars().take(40).chain("…".chars()).collect();
        }
        format!("{what}, as in {example}")
    }

    /// Every path to a value, and to the objects on the way, in order.
    pub fn paths(&self) -> Vec<String> {
        let mut paths = Vec::new();
        for sample in &self.samples {
            collect(sample, "", &mut paths);
        }
        paths
    }
}

fn at<'a>(value: &'a Value, path: &str) -> Option<&'a Value> {
    path.split('.').try_fold(value, |value, step| value.as_object()?.get(step))
}

fn collect(value: &Value, prefix: &str, paths: &mut Vec<String>) {
    let Some(object) = value.as_object() else { return };
    for (name, inner) in object {
        let path = if prefix.is_empty() { name.clone() } else { format!("{prefix}.{name}") };
        if !paths.contains(&path) {
            paths.push(path.clone());
        }
        collect(inner, &path, paths);
    }
}

/// The table of the contract (`wit/v0.1`), for a value that is not null.
fn fits(value: &Value, kind: Kind) -> bool {
    match (kind, value) {
        (Kind::Json, _) => true,
        (Kind::Text, Value::String(_) | Value::Number(_) | Value::Bool(_)) => true,
        (Kind::Boolean, Value::Bool(_)) => true,
        (Kind::Int, Value::Number(number)) => number.as_i64().is_some(),
        (Kind::Float, Value::Number(number)) => number.as_f64().is_some_and(f64::is_finite),
        (Kind::Timestamp, Value::Number(number)) => number.as_i64().is_some(),
        (Kind::Timestamp, Value::String(text)) => text.parse::<jiff::Timestamp>().is_ok(),
        (Kind::Bytes, Value::String(text)) => STANDARD.decode(text).is_ok(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_built_in_users_have_all_fields_that_inc_and_exc_choose_from() {
        let users = Payload::of_sample(USERS);
        let top: Vec<String> = users.paths().into_iter().filter(|path| !path.contains('.')).collect();
        assert_eq!(top.len(), crate::config::USER_FIELDS.len());
        assert!(crate::config::USER_FIELDS.iter().all(|name| users.presence(name) == Presence::Always));
        assert_eq!(users.presence("id.value"), Presence::Sometimes);
        assert!(users.fits("location.postcode", Kind::Text) && !users.fits("location.postcode", Kind::Int));
        assert!(users.fits("dob.date", Kind::Timestamp) && users.fits("dob.age", Kind::Int));
    }
}
