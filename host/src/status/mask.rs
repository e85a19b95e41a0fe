//! Which fields' values are not shown: `email`, all that lies in one (`login.*`), or all (`*`).

use serde_json::{Map, Value};

use super::dead_letter;
use crate::record::{QUOTED_CHARACTERS, escape, quote};

/// What stands for a value that is not shown.
pub const HIDDEN: &str = "•••";

#[derive(Clone, Debug, Default)]
pub struct Mask(Vec<String>);

impl Mask {
    pub fn new(rules: Vec<String>) -> Mask {
        Mask(rules)
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether nothing of the field may be shown: it is named, or lies in one that is.
    pub fn hides(&self, field: &str) -> bool {
        self.0.iter().any(|rule| match rule.strip_suffix(".*") {
            Some(above) => field.strip_prefix(above).is_some_and(|rest| rest.starts_with('.')),
            None => rule == "*" || field.strip_prefix(rule.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('.')),
        })
    }

    /// Hides fields of a payload, lists included, and names those that it had.
    pub fn apply(&self, payload: &mut Value) -> Vec<String> {
        let mut hidden = Vec::new();
        self.within(payload, "", &mut hidden);
        hidden.sort();
        hidden.dedup();
        hidden
    }

    /// As [`Mask::apply`], for fields by name: a name may be a path.
    pub fn fields(&self, fields: &mut Map<String, Value>) {
        for (name, value) in fields {
            self.at(name, value, &mut Vec::new());
        }
    }

    /// Hides in a text, such as the reason for a rejection, what the payload has in hidden fields. Of a payload that is no JSON
    /// nobody knows what is what: all values are left out then.
    pub fn text(&self, text: &str, payload: Option<&Value>) -> String {
        if self.is_empty() {
            return text.to_owned();
        }
        let Some(payload) = payload else { return dead_letter::group(text) };
        let mut shown = text.to_owned();
        if let Some((field, value)) = dead_letter::quoted_value(text)
            && self.hides(field)
        {
            shown.replace_range(value.., HIDDEN);
        }
        let mut hidden = Vec::new();
        self.values(payload, "", false, &mut hidden);
        // The longest first: one may be a part of another.
        hidden.sort_by_key(|value| std::cmp::Reverse(value.len()));
        for value in hidden {
            let shortened = value.chars().nth(QUOTED_CHARACTERS).map(|_| quote(value.as_bytes()));
            for form in [Some(escape(&value).into_owned()), shortened, Some(value)].into_iter().flatten() {
                // A short one would be found in every word; in quotes it is the value.
                match form.chars().count() {
                    0 => {}
                    1..4 => ['"', '`', '\''].iter().for_each(|quote| {
                        shown = shown.replace(&format!("{quote}{form}{quote}"), &format!("{quote}{HIDDEN}{quote}"));
                    }),
                    _ => shown = shown.replace(&form, HIDDEN),
                }
            }
        }
        shown
    }

    /// [`Mask::text`], for a payload as bytes.
    pub fn reason(&self, reason: &str, payload: Option<&[u8]>) -> String {
        match self.is_empty() {
            true => reason.to_owned(),
            false => self.text(reason, payload.and_then(|payload| serde_json::from_slice(payload).ok()).as_ref()),
        }
    }

    /// Texts and numbers that lie in hidden fields.
    fn values(&self, value: &Value, path: &str, hidden: bool, into: &mut Vec<String>) {
        match value {
            Value::Object(members) => {
                for (name, value) in members {
                    let here = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                    self.values(value, &here, hidden || self.hides(&here), into);
                }
            }
            Value::Array(items) => items.iter().for_each(|item| self.values(item, path, hidden, into)),
            Value::String(text) if hidden => into.push(text.clone()),
            Value::Number(number) if hidden => into.push(number.to_string()),
            _ => {}
        }
    }

    fn within(&self, value: &mut Value, path: &str, hidden: &mut Vec<String>) {
        match value {
            Value::Object(members) => {
                for (name, value) in members {
                    let here = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                    self.at(&here, value, hidden);
                }
            }
            Value::Array(items) => items.iter_mut().for_each(|item| self.within(item, path, hidden)),
            _ => {}
        }
    }

    fn at(&self, path: &str, value: &mut Value, hidden: &mut Vec<String>) {
        if self.hides(path) && !value.is_null() {
            *value = Value::from(HIDDEN);
            hidden.push(path.to_owned());
        } else {
            self.within(value, path, hidden);
        }
    }
}

/// Settings as they may be told: what is named like a secret is not.
pub fn settings(settings: &std::collections::BTreeMap<String, String>) -> std::collections::BTreeMap<String, String> {
    const SECRETS: [&str; 7] = ["secret", "password", "passwd", "token", "credential", "api-key", "private"];
    let told = |(name, value): (&String, &String)| {
        let plain = name.to_ascii_lowercase().replace('_', "-");
        let secret = plain == "key" || plain.ends_with("apikey") || SECRETS.iter().any(|word| plain.contains(word));
        (name.clone(), if secret { HIDDEN.to_owned() } else { value.clone() })
    };
    settings.iter().map(told).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn fields_are_hidden_wherever_they_lie() {
        let mask = Mask::new(vec!["login.*".to_owned(), "card".to_owned()]);
        let mut payload = json!({ "login": { "password": "p", "deep": { "er": 1 }, "none": null }, "logins": "x", "people": [{ "a": 1 }],
            "card": { "number": 4 }, "cards": [1] });
        let hidden = mask.apply(&mut payload);
        assert_eq!(hidden, ["card", "login.deep", "login.password"]);
        assert_eq!(payload["login"], json!({ "password": HIDDEN, "deep": HIDDEN, "none": null }));
        assert_eq!((&payload["logins"], &payload["card"], &payload["cards"]), (&json!("x"), &json!(HIDDEN), &json!([1])));
        let mut fields = json!({ "login.uuid": "u", "login": { "salt": "s" }, "id": "u" }).as_object().unwrap().clone();
        mask.fields(&mut fields);
        assert_eq!(Value::Object(fields), json!({ "login.uuid": HIDDEN, "login": { "salt": HIDDEN }, "id": "u" }));
        assert!(Mask::new(vec!["*".to_owned()]).hides("anything.at.all") && !Mask::default().hides("login.password"));
    }

    #[test]
    fn a_reason_does_not_tell_what_is_hidden() {
        let mask = Mask::new(vec!["login.*".to_owned()]);
        let long = "x".repeat(QUOTED_CHARACTERS + 40);
        let payload =
            json!({ "email": "eve@example.com", "login": { "uuid": "no 17", "pin": 7, "salt": long, "tag": "a\u{1b}bcd" } });
        let told = |reason: &str| mask.text(reason, Some(&payload));
        assert_eq!(told("sink users: column `id`: `no 17` is not a uuid"), "sink users: column `id`: `•••` is not a uuid");
        assert_eq!(told("field `login.age`: is no integer: 7a"), "field `login.age`: is no integer: •••");
        assert_eq!(told("field `email`: is no integer: eve@example.com"), "field `email`: is no integer: eve@example.com");
        assert_eq!(told("job 7: the pin is `7`"), "job 7: the pin is `•••`", "a short value is one in quotes only");
        assert_eq!(told(&format!("salt {}… is bad", &long[..QUOTED_CHARACTERS])), "salt ••• is bad");
        assert_eq!(told("tag a\\u{1b}bcd"), "tag •••");
        assert_eq!(mask.reason("no user \"eve\" in v2", Some(b"\xff")), "no user … in v2");
        assert_eq!(Mask::default().reason("no user \"eve\"", None), "no user \"eve\"");
    }

    #[test]
    fn settings_named_like_secrets_are_not_told() {
        let all = [("age-bands", "1"), ("API_KEY", "k"), ("http-token", "t"), ("key", "k"), ("monkey", "m")];
        let told = settings(&all.map(|(name, value)| (name.to_owned(), value.to_owned())).into());
        let shown: Vec<_> = told.values().filter(|value| *value != HIDDEN).collect();
        assert_eq!(shown, ["1", "m"]);
    }
}
