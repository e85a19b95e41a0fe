//! `[topic] key`: one field of the payload becomes the record's key, found in one pass over its bytes.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::record::Message;

/// A dotted path to the key field.
pub struct KeyField {
    steps: Vec<String>,
}

impl KeyField {
    pub fn new(path: &str) -> KeyField {
        KeyField { steps: path.split('.').map(str::to_owned).collect() }
    }

    /// Sets the keys of a page. How many records have none: they are published all the same, without a key, as a record must not be
    /// lost for it.
    pub fn set(&self, messages: &mut [Message]) -> usize {
        let mut without = 0;
        for message in messages {
            message.key = message.value.as_deref().and_then(|value| self.of(value));
            without += usize::from(message.key.is_none());
        }
        without
    }

    /// The key of a payload: a text's characters, a number's or boolean's letters. Of a name that stands twice the last one counts.
    pub fn of(&self, payload: &[u8]) -> Option<Vec<u8>> {
        let mut value = std::str::from_utf8(payload).ok()?;
        for step in &self.steps {
            value = member(value, step)?;
        }
        match value.as_bytes().first()? {
            b'"' => Some(serde_json::from_str::<Cow<'_, str>>(value).ok()?.into_owned().into_bytes()),
            b'n' => None,
            _ => Some(value.as_bytes().to_vec()),
        }
    }
}

/// The text of an object's member.
fn member<'a>(object: &'a str, name: &str) -> Option<&'a str> {
    struct Member<'n>(&'n str);

    impl<'de> serde::de::DeserializeSeed<'de> for Member<'_> {
        type Value = Option<&'de RawValue>;

        fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
            deserializer.deserialize_map(self)
        }
    }

    impl<'de> serde::de::Visitor<'de> for Member<'_> {
        type Value = Option<&'de RawValue>;

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("an object")
        }

        fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            #[derive(Deserialize)]
            struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

            let mut found = None;
            while let Some(Name(name)) = map.next_key()? {
                if name == self.0 {
                    found = Some(map.next_value()?);
                } else {
                    map.next_value::<serde::de::IgnoredAny>()?;
                }
            }
            Ok(found)
        }
    }

    let mut deserializer = serde_json::Deserializer::from_str(object);
    serde::de::DeserializeSeed::deserialize(Member(name), &mut deserializer).ok().flatten().map(RawValue::get)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(path: &str, payload: &str) -> Option<String> {
        KeyField::new(path).of(payload.as_bytes()).map(|key| String::from_utf8(key).unwrap())
    }

    #[test]
    fn finds_texts_numbers_and_booleans_at_a_path() {
        let payload = r#" {"a": [{"b": 1}], "login": {"uuid": "x\u00e9\"y", "n": -1.50, "t": true, "z": null}} "#;
        assert_eq!(key("login.uuid", payload).as_deref(), Some("xé\"y"));
        assert_eq!(key("login.n", payload).as_deref(), Some("-1.50"));
        assert_eq!(key("login.t", payload).as_deref(), Some("true"));
        assert_eq!(key("login.z", payload), None);
        assert_eq!(key("login.other", payload), None);
        assert_eq!(key("a.b", payload), None);
    }

    #[test]
    fn what_is_no_object_has_no_key() {
        for payload in ["", "{", "[]", "7", "{\"a\": 1", "{\"a\" 1}"] {
            assert_eq!(key("a", payload), None, "{payload}");
        }
        assert_eq!(KeyField::new("a").of(b"{\"a\": \"\xff\"}"), None);
    }

    #[test]
    fn the_last_of_a_repeated_name_counts() {
        assert_eq!(key("a", r#"{"a": 1, "a": "2"}"#).as_deref(), Some("2"));
    }
}
