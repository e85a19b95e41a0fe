//! Which fields' values are not shown: `email`, all that lies in one (`login.*`), or all (`*`).

use serde_json::{Map, Value};

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
    fn settings_named_like_secrets_are_not_told() {
        let all = [("age-bands", "1"), ("API_KEY", "k"), ("http-token", "t"), ("key", "k"), ("monkey", "m")];
        let told = settings(&all.map(|(name, value)| (name.to_owned(), value.to_owned())).into());
        let shown: Vec<_> = told.values().filter(|value| *value != HIDDEN).collect();
        assert_eq!(shown, ["1", "m"]);
    }
}
