//! `[topic] key`: one field of the payload becomes the record's key.

use crate::record::Message;
use crate::transform::KeyPath;

/// Sets the keys of a page. How many records have none: they are published all the same, without a key, as a record must not be lost
/// for it.
pub fn set(field: &KeyPath, messages: &mut [Message]) -> usize {
    let mut without = 0;
    for message in messages {
        message.key = message.value.as_deref().and_then(|value| field.read(value).ok().flatten());
        without += usize::from(message.key.is_none());
    }
    without
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(path: &str, payload: &[u8]) -> Option<Vec<u8>> {
        let mut page = [Message { value: Some(payload.to_vec()), key: Some(b"old".to_vec()), ..Message::default() }];
        assert_eq!(set(&KeyPath::new(path), &mut page), usize::from(page[0].key.is_none()));
        page[0].key.take()
    }

    fn key(path: &str, payload: &str) -> Option<String> {
        of(path, payload.as_bytes()).map(|key| String::from_utf8(key).unwrap())
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
        assert_eq!(of("a", b"{\"a\": \"\xff\"}"), None);
    }

    #[test]
    fn an_object_or_list_is_no_key() {
        for payload in [r#"{"a": {"b": 1}}"#, r#"{"a": []}"#, r#"{"a": null}"#] {
            assert_eq!(key("a", payload), None, "{payload}");
        }
    }

    #[test]
    fn the_last_of_a_repeated_name_counts() {
        assert_eq!(key("a", r#"{"a": 1, "a": "2"}"#).as_deref(), Some("2"));
        assert_eq!(key("a.b", r#"{"a": {"b": 1}, "a": {"c": 2}}"#), None);
    }
}
