//! Checks the tree against the schema of the file: unknown keys, missing keys, wrong types, words, numbers, times and sizes; and
//! puts variables in. Every finding is reported, and what is wrong is taken out of the tree, so that the rest can be read.

use std::borrow::Cow;
use std::collections::HashSet;
use std::ops::Range;

use serde_json::Value;
use toml::Spanned;
use toml::de::{DeArray, DeValue};

use super::code;
use super::diagnostic::{Diagnostic, Texts, nearest};
use super::schema::{choices, properties, words};
use super::tree::{Tree, article, name_of};
use super::variables::{self, Lookup};
use super::written::{check_format, format_example};

pub struct Shape<'t> {
    pub texts: &'t Texts,
    /// `None` leaves strings with variables alone: a profile that was not chosen is checked for its keys only.
    pub lookup: Option<Lookup<'t>>,
    pub found: Vec<Diagnostic>,
    /// Paths of what was taken out, so that nobody reports it as missing: `sink.0.table`.
    pub removed: HashSet<String>,
}

impl<'t> Shape<'t> {
    pub fn new(texts: &'t Texts, lookup: Option<Lookup<'t>>) -> Shape<'t> {
        Shape { texts, lookup, found: Vec::new(), removed: HashSet::new() }
    }

    /// `title`: what the table is called in a sentence (`[source]`). `span`: where it starts.
    pub fn table(&mut self, table: &mut Tree<'_>, schema: &Value, path: &str, title: &str, span: Range<usize>) {
        let known = properties(schema);
        let rest = schema.get("additionalProperties").filter(|rest| !matches!(rest, Value::Bool(_)));
        let closed = schema.get("additionalProperties") == Some(&Value::Bool(false));
        for required in schema.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str) {
            // A key that is misspelt is reported once, where it stands.
            if !table.contains_key(required) && !is_misspelt(table, required, known) {
                let written = known.and_then(|known| known.get(required)).map(example_of).unwrap_or_default();
                let way = match required {
                    "sink" => "add a table: [[sink]]".to_owned(),
                    _ => format!("add it: {required} = {written}"),
                };
                let missing = Diagnostic::error(code::MISSING_KEY, format!("missing key `{required}` in {title}"));
                self.found.push(missing.at(self.texts.place(span.clone())).help(way));
            }
        }
        let keys: Vec<String> = table.keys().map(|key| key.get_ref().to_string()).collect();
        for key in keys {
            let here = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
            let inner = match (known.and_then(|known| known.get(&key)), rest) {
                (Some(inner), _) => inner,
                (None, Some(rest)) => rest,
                (None, None) if closed => {
                    if let Some((written, _)) = table.remove_entry(key.as_str()) {
                        let names = known.into_iter().flatten().map(|(name, _)| name.as_str());
                        let place = self.texts.place(written.span());
                        self.found.push(
                            Diagnostic::error(code::UNKNOWN_KEY, format!("unknown key `{key}` in {title}"))
                                .at(place)
                                .did_you_mean(&key, names),
                        );
                    }
                    continue;
                }
                (None, None) => continue,
            };
            let Some(node) = table.get_mut(key.as_str()) else { continue };
            let inner_title = if path.is_empty() { format!("[{key}]") } else { format!("`{key}` of {title}") };
            if !self.value(node, inner, &here, &inner_title) {
                table.remove(key.as_str());
                self.removed.insert(here);
            }
        }
    }

    /// False when the value cannot be read and must go.
    fn value(&mut self, node: &mut Spanned<DeValue<'_>>, schema: &Value, path: &str, title: &str) -> bool {
        let span = node.span();
        let name = path.rsplit('.').next().unwrap_or(path).to_owned();
        let options = choices(schema);
        let fitting = options.iter().find(|option| fits(node.get_ref(), option)).copied();
        let Some(fitting) = fitting else {
            let message = format!("`{name}` wants {}, not {}", wanted(schema), article(node.get_ref()));
            let of_tables = schema.get("items").is_some_and(|items| properties(items).is_some());
            let way = match node.get_ref() {
                DeValue::Table(_) if of_tables => format!("write it with two brackets: [[{name}]]"),
                _ => format!("as in: {name} = {}", example_of(schema)),
            };
            self.found.push(Diagnostic::error(code::WRONG_TYPE, message).at(self.texts.place(span)).help(way));
            return false;
        };
        match node.get_mut() {
            DeValue::Table(table) => {
                self.table(table, fitting, path, title, span);
                true
            }
            DeValue::Array(list) => {
                let Some(items) = fitting.get("items") else { return true };
                let old = std::mem::replace(list, DeArray::new());
                for (index, mut entry) in old.into_iter().enumerate() {
                    let title = match (entry.get_ref(), name_of(entry.get_ref())) {
                        (DeValue::Table(_), Some(name)) => format!("{path} `{name}`"),
                        (DeValue::Table(_), None) => format!("[[{path}]]"),
                        _ => title.to_owned(),
                    };
                    let here = format!("{path}.{index}");
                    if self.value(&mut entry, items, &here, &title) {
                        list.push(entry);
                    } else {
                        self.removed.insert(here);
                    }
                }
                true
            }
            DeValue::String(text) => self.text(text, schema, fitting, &name, path, span),
            DeValue::Integer(number) => {
                let value = i128::from_str_radix(number.as_str(), number.radix()).ok();
                self.range(value, number.to_string(), fitting, &name, span)
            }
            _ => true,
        }
    }

    fn text(
        &mut self,
        text: &mut Cow<'_, str>,
        schema: &Value,
        fitting: &Value,
        name: &str,
        path: &str,
        span: Range<usize>,
    ) -> bool {
        // A payload of a test may well hold `${`.
        if text.contains("${") && !path.starts_with("test.") {
            let Some(lookup) = self.lookup else { return true };
            match variables::expand(text, lookup) {
                Ok(expanded) => *text = Cow::Owned(expanded),
                Err(variables::Error::Unset { name: variable, message }) => {
                    let mut message = message.unwrap_or_default();
                    if !message.is_empty() {
                        message.insert_str(0, ": ");
                    }
                    self.found.push(
                        Diagnostic::error(code::UNRESOLVED_VARIABLE, format!("the environment has no `{variable}`{message}"))
                            .at(self.texts.place(span))
                            .help(format!("set {variable}, or give a default: ${{{variable}:-…}}")),
                    );
                    return false;
                }
                Err(variables::Error::Malformed(reason)) => {
                    self.found.push(
                        Diagnostic::error(code::BAD_VARIABLE, format!("`{name}`: {reason}"))
                            .at(self.texts.place(span))
                            .help("write ${NAME}, ${NAME:-default} or ${NAME:?message}; $${ stands for ${ itself"),
                    );
                    return false;
                }
            }
        }
        if let Some(words) = words(schema).or_else(|| words(fitting)) {
            if !words.contains(&&**text) {
                self.found.push(
                    Diagnostic::error(code::UNKNOWN_VALUE, format!("`{name}` cannot be `{text}`"))
                        .at(self.texts.place(span))
                        .did_you_mean(text, words),
                );
                return false;
            }
            return true;
        }
        let Some(format) = fitting.get("format").and_then(Value::as_str) else { return true };
        let Err(reason) = check_format(format, text) else { return true };
        let mut bad = Diagnostic::error(code::BAD_FORMAT, format!("`{name}`: {reason}")).at(self.texts.place(span));
        if let Some(example) = format_example(format) {
            bad = bad.help(format!("as in: {name} = \"{example}\""));
        }
        self.found.push(bad);
        false
    }

    fn range(&mut self, value: Option<i128>, written: String, schema: &Value, name: &str, span: Range<usize>) -> bool {
        let bound =
            |key: &str| schema.get(key).and_then(|bound| bound.as_i64().map(i128::from).or(bound.as_u64().map(i128::from)));
        let min = bound("minimum").unwrap_or(i128::from(i64::MIN));
        let max = bound("maximum").unwrap_or(i128::from(i64::MAX));
        if value.is_some_and(|value| (min..=max).contains(&value)) {
            return true;
        }
        let range = format!("`{name}` is from {} to {}, not {written}", grouped(min), grouped(max));
        let near = schema.get("default").and_then(Value::as_i64).map_or(min, i128::from);
        let way = format!("as in: {name} = {near}");
        self.found.push(Diagnostic::error(code::OUT_OF_RANGE, range).at(self.texts.place(span)).help(way));
        false
    }
}

fn fits(value: &DeValue<'_>, schema: &Value) -> bool {
    let Some(kind) = schema.get("type").and_then(Value::as_str) else {
        // A word of an enumeration has no type of its own; anything else takes any value.
        return words(schema).is_none() || value.is_str();
    };
    match value {
        DeValue::String(_) => kind == "string",
        DeValue::Integer(_) => kind == "integer" || kind == "number",
        DeValue::Float(_) => kind == "number",
        DeValue::Boolean(_) => kind == "boolean",
        DeValue::Datetime(_) => false,
        DeValue::Array(_) => kind == "array",
        DeValue::Table(_) => kind == "object",
    }
}

fn wanted(schema: &Value) -> String {
    let mut names: Vec<String> = Vec::new();
    for option in choices(schema) {
        let name = match option.get("type").and_then(Value::as_str) {
            Some("string") => option.get("format").and_then(Value::as_str).map_or("text", |format| match format {
                "duration" => "a duration",
                "size" => "a size",
                "retention" => "an age or a size",
                _ => "text",
            }),
            Some("integer") => "an integer",
            Some("number") => "a number",
            Some("boolean") => "true or false",
            Some("array") => "a list",
            Some("object") => "a table",
            _ => "text",
        };
        if !names.iter().any(|known| known == name) {
            names.push(name.to_owned());
        }
    }
    match names.split_last() {
        Some((last, before)) if !before.is_empty() => format!("{} or {last}", before.join(", ")),
        _ => names.concat(),
    }
}

/// What could be written for a key, as TOML.
fn example_of(schema: &Value) -> String {
    let schema = choices(schema)[0];
    if let Some(default) = schema.get("default") {
        return default.to_string();
    }
    if let Some(format) = schema.get("format").and_then(Value::as_str).and_then(format_example) {
        return format!("\"{format}\"");
    }
    if let Some(word) = words(schema).and_then(|words| words.first().copied()) {
        return format!("\"{word}\"");
    }
    match schema.get("type").and_then(Value::as_str) {
        Some("string") => "\"…\"".to_owned(),
        Some("array") => match schema.pointer("/items/type").and_then(Value::as_str) {
            Some("string") => "[\"…\"]".to_owned(),
            _ => "[]".to_owned(),
        },
        Some("object") => "{ … }".to_owned(),
        Some("boolean") => "true".to_owned(),
        Some("integer" | "number") => schema.get("minimum").map_or("1".to_owned(), Value::to_string),
        _ => "…".to_owned(),
    }
}

/// Whether a key of the table is not known and looks like the missing one.
fn is_misspelt(table: &Tree<'_>, missing: &str, known: Option<&serde_json::Map<String, Value>>) -> bool {
    let is_known = |key: &str| known.is_some_and(|known| known.contains_key(key));
    table.keys().map(|key| &**key.get_ref()).any(|key| !is_known(key) && nearest(key, &[missing]).is_some())
}

fn grouped(number: i128) -> String {
    let digits = number.unsigned_abs().to_string();
    let mut out = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    if number < 0 { format!("-{out}") } else { out }
}
