//! A `[[test]]` case as a person would write it, and a pipeline file with one more of them; all that stands in the file stays as it is.

use serde_json::{Map, Value};

/// A record and what it becomes.
#[derive(Clone, Debug)]
pub struct Case {
    pub name: String,
    pub payload: String,
    /// Where the topic's key is not read from the payload.
    pub key: Option<String>,
    /// A word (`dropped`, `rejected: …`), or fields and their values.
    pub expect: Value,
}

impl Case {
    /// The case as it stands in a file.
    pub fn text(&self) -> String {
        let mut test = toml::Table::new();
        // A name is never looked at for variables.
        test.insert("name".to_owned(), toml::Value::String(self.name.clone()));
        if let Some(key) = &self.key {
            test.insert("key".to_owned(), escaped(key));
        }
        let payload: Option<Value> = serde_json::from_str(&self.payload).ok();
        // TOML has no null and no number beyond its own: such a payload is written as the text that it is.
        let input =
            payload.as_ref().filter(|payload| payload.is_object()).and_then(toml_of).filter(|input| json_of(input) == payload);
        match input {
            Some(input) => test.insert("input".to_owned(), input),
            None => test.insert("payload".to_owned(), escaped(&self.payload)),
        };
        let expect = match &self.expect {
            Value::Object(fields) => {
                let fields = fields.iter().filter_map(|(name, value)| Some((name.clone(), toml_of(value)?)));
                toml::Value::Table(fields.collect())
            }
            word => escaped(word.as_str().unwrap_or_default()),
        };
        test.insert("expect".to_owned(), expect);
        let mut file = toml::Table::new();
        file.insert("test".to_owned(), toml::Value::Array(vec![toml::Value::Table(test)]));
        toml::to_string(&file).unwrap_or_default()
    }

    /// The file with the case at its end, and the line at which that begins; an error says why it cannot be added.
    pub fn append_to(&self, file: &str) -> Result<(String, usize), String> {
        let mut appended = file.trim_end().to_owned() + "\n\n";
        let line = appended.lines().count() + 1;
        appended += &self.text();
        let tests = |text: &str| -> Result<usize, String> {
            let table: toml::Table = text.parse().map_err(|error: toml::de::Error| error.message().to_owned())?;
            Ok(table.get("test").and_then(toml::Value::as_array).map_or(0, Vec::len))
        };
        let before = tests(file)?;
        match tests(&appended) {
            Ok(after) if after == before + 1 => Ok((appended, line)),
            _ => Err("its tests are no [[test]] tables, so that no other can be added at its end".to_owned()),
        }
    }
}

/// A text of the file, in which `${` would be a variable.
fn escaped(text: &str) -> toml::Value {
    toml::Value::String(text.replace("${", "$${"))
}

fn toml_of(value: &Value) -> Option<toml::Value> {
    Some(match value {
        Value::Null => return None,
        Value::Bool(value) => toml::Value::Boolean(*value),
        Value::Number(number) => match number.as_i64() {
            Some(number) => toml::Value::Integer(number),
            None => toml::Value::Float(number.as_f64().filter(|_| number.is_f64())?),
        },
        Value::String(text) => toml::Value::String(text.clone()),
        Value::Array(items) => toml::Value::Array(items.iter().map(toml_of).collect::<Option<_>>()?),
        Value::Object(members) => {
            let members = members.iter().map(|(name, value)| Some((name.clone(), toml_of(value)?)));
            toml::Value::Table(members.collect::<Option<_>>()?)
        }
    })
}

fn json_of(value: &toml::Value) -> Option<Value> {
    Some(match value {
        toml::Value::String(text) => text.clone().into(),
        toml::Value::Integer(number) => (*number).into(),
        toml::Value::Float(number) => (*number).into(),
        toml::Value::Boolean(value) => (*value).into(),
        toml::Value::Datetime(_) => return None,
        toml::Value::Array(items) => Value::Array(items.iter().map(json_of).collect::<Option<_>>()?),
        toml::Value::Table(table) => {
            let members = table.iter().map(|(name, value)| Some((name.clone(), json_of(value)?)));
            Value::Object(members.collect::<Option<Map<_, _>>>()?)
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn case(payload: &str, expect: Value) -> Case {
        Case { name: "dead letter 0/7".to_owned(), payload: payload.to_owned(), key: None, expect }
    }

    #[test]
    fn a_case_is_written_as_a_person_would_and_the_file_stays_as_it_is() {
        let file = "# mine\nname = \"p\" # here\n\n[[test]]\nname = \"a\"\n\n\n";
        let case = case(r#"{"a": {"b": 1.5, "c": [1, 2]}, "d": "x"}"#, json!("rejected: no ${x}"));
        let (text, line) = case.append_to(file).unwrap();
        assert!(text.starts_with(file.trim_end()), "{text}");
        assert_eq!(text.lines().nth(line - 1), Some("[[test]]"), "{text}");
        let table: toml::Table = text.parse().unwrap();
        let added = &table["test"][1];
        assert_eq!(added["expect"].as_str(), Some("rejected: no $${x}"));
        assert_eq!(json_of(&added["input"]), Some(json!({ "a": { "b": 1.5, "c": [1, 2] }, "d": "x" })));
    }

    #[test]
    fn what_toml_cannot_say_is_kept_as_the_text_that_it_is() {
        for payload in [r#"{"a": null}"#, "{", "7", r#"{"n": 18446744073709551615}"#, "a \u{1b} b\n'''\"", "[1]"] {
            let (text, _) = case(payload, json!({ "a": 1 })).append_to("name = \"p\"\n").unwrap();
            let table: toml::Table = text.parse().unwrap();
            assert_eq!(table["test"][0]["payload"].as_str(), Some(payload));
        }
    }

    #[test]
    fn a_list_of_tests_in_one_line_is_left_alone() {
        assert!(case("{}", json!("dropped")).append_to("test = []\nname = \"p\"\n").is_err());
    }
}
