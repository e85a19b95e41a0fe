//! The file as a tree of values with their places: parsed, changed by a profile, changed by `--set`.

use std::borrow::Cow;
use std::collections::HashMap;
use std::ops::Range;

use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue};

use super::code;
use super::diagnostic::{self, Diagnostic, Place, Texts};

pub type Tree<'a> = DeTable<'a>;
pub type Node<'a> = Spanned<DeValue<'a>>;

/// Every syntax error, or the tree.
pub fn parse<'a>(text: &'a str, texts: &Texts) -> Result<Tree<'a>, Vec<Diagnostic>> {
    let (root, errors) = DeTable::parse_recoverable(text);
    if errors.is_empty() {
        return Ok(root.into_inner());
    }
    let diagnostic = |error: toml::de::Error| {
        let place = error.span().and_then(|span| texts.place(span));
        let message = error.message().trim().replace('\n', ", ");
        let way = match message.as_str() {
            text if text.contains("must be quoted") => "text, times and sizes stand in quotes: every = \"10s\"",
            text if text.contains("duplicate key") => "keep one of them",
            text if text.contains("basic string") => "close the text with a quote on its line",
            text if text.contains("unclosed") => "close the bracket on its line",
            _ => "https://toml.io shows TOML on one page",
        };
        Diagnostic::error(code::SYNTAX, format!("not TOML: {message}")).at(place).help(way)
    };
    let mut found: Vec<Diagnostic> = errors.into_iter().map(diagnostic).collect();
    diagnostic::sort(&mut found);
    Err(found)
}

/// Lays the tables of a profile over the tree. Where the tree has a list of named tables (stages, sinks), a name chooses one.
pub fn overlay<'a>(tree: &mut Tree<'a>, profile: &Tree<'a>, path: &str, texts: &Texts, found: &mut Vec<Diagnostic>) {
    for (key, node) in profile {
        let name: &str = key.get_ref();
        let here = if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
        match (tree.get_mut(name).map(Spanned::get_mut), node.get_ref()) {
            (Some(DeValue::Table(old)), DeValue::Table(new)) => overlay(old, new, &here, texts, found),
            (Some(DeValue::Array(list)), DeValue::Table(new)) if is_list_of_tables(list) => {
                for (chosen, changes) in new {
                    let place = texts.place(chosen.span());
                    match (pick(list, chosen.get_ref()), changes.get_ref()) {
                        (Some(old), DeValue::Table(changes)) => {
                            overlay(old, changes, &format!("{here}.{}", chosen.get_ref()), texts, found);
                        }
                        (Some(_), other) => found.push(
                            Diagnostic::error(
                                code::WRONG_TYPE,
                                format!("`{here}.{}` is a table, not {}", chosen.get_ref(), article(other)),
                            )
                            .at(place)
                            .help(format!("write the key that changes: {here}.{}.<key> = …", chosen.get_ref())),
                        ),
                        (None, _) => found.push(no_such_name(&here, chosen.get_ref(), list, place)),
                    }
                }
            }
            _ => {
                tree.remove(name);
                tree.insert(key.clone(), node.clone());
            }
        }
    }
}

/// One `--set key=value`, laid out so that the spans of its value come out in the numbering of [`Texts`].
pub struct SetArgument {
    argument: String,
    start: usize,
    /// `v=<value>` behind as many blanks as put the value at `value_at`.
    value: Option<String>,
    value_at: usize,
}

impl SetArgument {
    pub fn new(argument: &str, texts: &mut Texts) -> SetArgument {
        let prefix = "--set ";
        let start = texts.add("command line", format!("{prefix}{argument}")) + prefix.len();
        let (path, text) = match argument.split_once('=') {
            Some((path, text)) => (path, Some(text)),
            None => (argument, None),
        };
        let value_at = start + path.len() + 1;
        let value = text.map(|text| format!("{}v={text}", " ".repeat(value_at - 2)));
        SetArgument { argument: argument.to_owned(), start, value, value_at }
    }
}

/// Applies one `--set`. The value is TOML where it can be read as such, else text.
pub fn set<'a>(tree: &mut Tree<'a>, set: &'a SetArgument, texts: &Texts, found: &mut Vec<Diagnostic>) {
    let SetArgument { argument, start, value_at, .. } = set;
    let start = *start;
    let Some(padded) = &set.value else {
        let place = texts.place(start..start + argument.len());
        found.push(
            Diagnostic::error(code::BAD_SET, "no `=` in what is to be set").at(place).help("write it as --set source.every=5s"),
        );
        return;
    };
    let path = &argument[..value_at - start - 1];
    let value = DeTable::parse(padded)
        .ok()
        .map(Spanned::into_inner)
        .filter(|table| table.len() == 1)
        .and_then(|mut table| table.remove("v"))
        .unwrap_or_else(|| Spanned::new(*value_at..padded.len(), DeValue::String(Cow::Borrowed(&padded[*value_at..]))));

    let mut at = start;
    let mut table = tree;
    let mut walked = String::new();
    let mut parts = path.split('.').peekable();
    while let Some(part) = parts.next() {
        let span = at..at + part.len();
        at = span.end + 1;
        if part.trim() != part || part.is_empty() {
            let place = texts.place(span);
            found.push(
                Diagnostic::error(code::BAD_SET, format!("`{path}` is not a key"))
                    .at(place)
                    .help("write it as --set source.every=5s"),
            );
            return;
        }
        let key = Spanned::new(span.clone(), Cow::Borrowed(part));
        if parts.peek().is_none() {
            table.remove(part);
            table.insert(key, value);
            return;
        }
        walked = if walked.is_empty() { part.to_owned() } else { format!("{walked}.{part}") };
        if !matches!(table.get(part).map(Spanned::get_ref), Some(DeValue::Table(_) | DeValue::Array(_))) {
            table.remove(part);
            table.insert(key, Spanned::new(span.clone(), DeValue::Table(DeTable::new())));
        }
        table = match table.get_mut(part).map(Spanned::get_mut) {
            Some(DeValue::Table(inner)) => inner,
            Some(DeValue::Array(list)) => {
                let Some(name) = parts.next() else { return };
                let span = at..at + name.len();
                at = span.end + 1;
                let place = texts.place(span);
                if parts.peek().is_none() {
                    let way = format!("write it as --set {walked}.{name}.<key>=…");
                    found.push(
                        Diagnostic::error(code::BAD_SET, format!("`{walked}.{name}` is not one key but a table"))
                            .at(place)
                            .help(way),
                    );
                    return;
                }
                if pick(list, name).is_none() {
                    found.push(no_such_name(&walked, name, list, place));
                    return;
                }
                walked = format!("{walked}.{name}");
                match pick(list, name) {
                    Some(inner) => inner,
                    None => return,
                }
            }
            _ => return,
        };
    }
}

fn no_such_name(list_path: &str, name: &str, list: &DeArray<'_>, place: Option<Place>) -> Diagnostic {
    let names: Vec<&str> = list.iter().filter_map(|entry| name_of(entry.get_ref())).collect();
    Diagnostic::error(code::UNKNOWN_NAME_IN_PROFILE, format!("there is no {list_path} named `{name}`"))
        .at(place)
        .did_you_mean(name, names)
}

fn is_list_of_tables(list: &DeArray<'_>) -> bool {
    !list.is_empty() && list.iter().all(|entry| entry.get_ref().is_table())
}

pub fn name_of<'v>(value: &'v DeValue<'_>) -> Option<&'v str> {
    value.as_table()?.get("name")?.get_ref().as_str()
}

fn pick<'l, 'a>(list: &'l mut DeArray<'a>, name: &str) -> Option<&'l mut Tree<'a>> {
    list.iter_mut().map(Spanned::get_mut).find(|entry| name_of(entry) == Some(name)).and_then(|entry| match entry {
        DeValue::Table(table) => Some(table),
        _ => None,
    })
}

/// `a table`, `an integer`: what a value is, for a sentence.
pub fn article(value: &DeValue<'_>) -> String {
    match value.type_str() {
        "array" => "a list".to_owned(),
        "integer" => "an integer".to_owned(),
        kind => format!("a {kind}"),
    }
}

/// Where each key and value of the final tree was written, by path; stages and sinks by name: `sink.users.columns.id`.
#[derive(Clone, Debug, Default)]
pub struct Places {
    keys: HashMap<String, Range<usize>>,
    values: HashMap<String, Range<usize>>,
    texts: Texts,
}

impl Places {
    pub fn new(tree: &Tree<'_>, texts: &Texts) -> Places {
        let mut places = Places { texts: texts.clone(), ..Places::default() };
        places.table(tree, "");
        places
    }

    fn table(&mut self, table: &Tree<'_>, path: &str) {
        for (key, node) in table {
            let here = if path.is_empty() { key.get_ref().to_string() } else { format!("{path}.{}", key.get_ref()) };
            self.keys.insert(here.clone(), key.span());
            self.node(node, here);
        }
    }

    fn node(&mut self, node: &Node<'_>, here: String) {
        match node.get_ref() {
            DeValue::Table(table) => self.table(table, &here),
            DeValue::Array(list) => {
                for (index, entry) in list.iter().enumerate() {
                    let name = name_of(entry.get_ref()).map_or_else(|| index.to_string(), str::to_owned);
                    self.node(entry, format!("{here}.{name}"));
                }
            }
            _ => {}
        }
        self.values.insert(here, node.span());
    }

    /// The place of the value at a path, or of the nearest table around it.
    pub fn value(&self, path: &str) -> Option<Place> {
        self.find(&self.values, path)
    }

    /// The place of the key at a path, or of the nearest table around it.
    pub fn key(&self, path: &str) -> Option<Place> {
        self.find(&self.keys, path)
    }

    pub fn texts(&self) -> &Texts {
        &self.texts
    }

    fn find(&self, spans: &HashMap<String, Range<usize>>, path: &str) -> Option<Place> {
        let mut path = path;
        loop {
            if let Some(span) = spans.get(path).or_else(|| self.values.get(path)) {
                return self.texts.place(span.clone());
            }
            path = &path[..path.rfind('.')?];
        }
    }
}
