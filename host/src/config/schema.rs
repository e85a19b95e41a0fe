//! The JSON Schema of the pipeline file, and the reference made of it.

use std::sync::LazyLock;

use schemars::generate::SchemaSettings;
use serde_json::{Map, Value};

use super::file::PipelineFile;

static SCHEMA: LazyLock<Value> = LazyLock::new(|| {
    let settings = SchemaSettings::draft2020_12().with(|settings| settings.inline_subschemas = true);
    let mut schema = settings.into_generator().into_root_schema_for::<PipelineFile>().to_value();
    without_null(&mut schema);
    if let Some(root) = schema.as_object_mut() {
        root.insert("title".to_owned(), Value::from("Tidemill pipeline"));
    }
    schema
});

/// The schema of the whole file, without references.
pub fn schema() -> &'static Value {
    &SCHEMA
}

/// TOML has no null: a key is there or it is not.
fn without_null(schema: &mut Value) {
    match schema {
        Value::Object(object) => {
            if let Some(Value::Array(types)) = object.get_mut("type") {
                types.retain(|name| name != "null");
                if let [only] = types.as_slice() {
                    let only = only.clone();
                    object.insert("type".to_owned(), only);
                }
            }
            if let Some(Value::Array(values)) = object.get_mut("enum") {
                values.retain(|value| !value.is_null());
            }
            if let Some(Value::Array(choices)) = object.get_mut("anyOf") {
                choices.retain(|choice| choice.get("type").is_none_or(|name| name != "null"));
                if choices.len() == 1 {
                    let only = choices.remove(0);
                    object.remove("anyOf");
                    if let Value::Object(only) = only {
                        for (key, value) in only {
                            object.entry(key).or_insert(value);
                        }
                    }
                }
            }
            // For an editor, names beyond the standard's say nothing; ours are for the check.
            object.values_mut().for_each(without_null);
        }
        Value::Array(list) => list.iter_mut().for_each(without_null),
        _ => {}
    }
}

/// The choices of a schema: itself, or its `anyOf` / `oneOf`.
pub fn choices(schema: &Value) -> Vec<&Value> {
    for key in ["anyOf", "oneOf"] {
        if let Some(list) = schema.get(key).and_then(Value::as_array) {
            return list.iter().collect();
        }
    }
    vec![schema]
}

/// The words that a schema allows, where it is an enumeration of words.
pub fn words(schema: &Value) -> Option<Vec<&str>> {
    if let Some(values) = schema.get("enum").and_then(Value::as_array) {
        return Some(values.iter().filter_map(Value::as_str).collect());
    }
    let consts: Vec<&str> = choices(schema).iter().filter_map(|choice| choice.get("const").and_then(Value::as_str)).collect();
    (!consts.is_empty()).then_some(consts)
}

pub fn properties(schema: &Value) -> Option<&Map<String, Value>> {
    schema.get("properties").and_then(Value::as_object)
}

/// Every key of the file with its type, default and meaning, as Markdown tables: one for each table of the file.
pub fn reference_markdown() -> String {
    let mut out = String::new();
    section(&mut out, "The file itself", schema(), "");
    out.truncate(out.trim_end().len());
    out.push('\n');
    out
}

fn section(out: &mut String, title: &str, schema: &Value, prefix: &str) {
    let Some(keys) = properties(schema) else { return };
    let required: Vec<&str> =
        schema.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect();
    out.push_str(&format!("#### {title}\n\n| key | value | default | meaning |\n|---|---|---|---|\n"));
    let mut tables = Vec::new();
    rows(out, schema, "", &required);
    for (name, inner) in keys {
        let path = if prefix.is_empty() { name.clone() } else { format!("{prefix}.{name}") };
        if prefix.is_empty() && properties(inner).is_some() {
            tables.push((format!("`[{path}]`"), inner, path));
        } else if let Some(items) = inner.get("items").filter(|items| properties(items).is_some()) {
            tables.push((format!("`[[{path}]]`"), items, path));
        }
    }
    out.push('\n');
    for (title, inner, path) in tables {
        section(out, &title, inner, &path);
    }
}

fn rows(out: &mut String, schema: &Value, prefix: &str, required: &[&str]) {
    for (name, inner) in properties(schema).into_iter().flatten() {
        let default = match inner.get("default") {
            Some(default) => format!("`{default}`"),
            None if required.contains(&name.as_str()) => "required".to_owned(),
            None => String::new(),
        };
        let meaning = inner.get("description").and_then(Value::as_str).unwrap_or_default();
        let meaning = meaning.split_whitespace().collect::<Vec<_>>().join(" ").replace('|', "\\|");
        out.push_str(&format!("| `{prefix}{name}` | {} | {default} | {meaning} |\n", kind(inner)));
        // Small tables within a table are shown with it, by their dotted keys.
        let of_columns = inner.get("additionalProperties").map(choices).unwrap_or_default();
        if !prefix.is_empty() || schema.get("title").is_some_and(|title| title == "Tidemill pipeline") {
            continue;
        }
        if properties(inner).is_some() {
            rows(out, inner, &format!("{name}."), &[]);
        } else if let (Some(full), true) = (of_columns.iter().find(|choice| properties(choice).is_some()), name == "columns") {
            rows(out, full, &format!("{name}.<column>."), &[]);
        }
    }
}

fn kind(schema: &Value) -> String {
    if let Some(words) = words(schema) {
        return words.iter().map(|word| format!("`\"{word}\"`")).collect::<Vec<_>>().join(" ");
    }
    let mut names: Vec<String> = Vec::new();
    for choice in choices(schema) {
        let name = match choice.get("type").and_then(Value::as_str) {
            Some("string") => match choice.get("format").and_then(Value::as_str) {
                Some(format) => format.to_owned(),
                None => "text".to_owned(),
            },
            Some("integer") => {
                match (choice.get("minimum").and_then(Value::as_u64), choice.get("maximum").and_then(Value::as_u64)) {
                    (Some(min), Some(max)) if max < 1 << 32 => format!("{min} to {max}"),
                    _ => "integer".to_owned(),
                }
            }
            Some("boolean") => "true or false".to_owned(),
            Some("array") => match choice.get("items") {
                Some(items) if properties(items).is_some() => "tables".to_owned(),
                _ => "list of text".to_owned(),
            },
            Some("object") => "table".to_owned(),
            Some(other) => other.to_owned(),
            None => "any".to_owned(),
        };
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names.join(" or ")
}
