//! Reads a pipeline file: parse, profile, `--set`, shape, plan. Every error is reported, not the first.

use std::path::Path;

use serde::Deserialize;
use toml::Spanned;
use toml::de::DeValue;

use super::code;
use super::diagnostic::{self, Diagnostic, Texts};
use super::file::PipelineFile;
use super::plan::Pipeline;
use super::resolve::{Resolver, plain};
use super::schema::schema;
use super::shape::Shape;
use super::tree::{self, Places, SetArgument, Tree};
use super::variables::Lookup;

/// What a file is read with.
pub struct LoadOptions<'a> {
    pub profile: Option<&'a str>,
    /// `key=value`, in the order of the command line.
    pub sets: &'a [String],
    /// The environment; a parameter so that reading is a function of what it is given.
    pub env: Lookup<'a>,
}

impl<'a> LoadOptions<'a> {
    pub fn new(env: Lookup<'a>) -> LoadOptions<'a> {
        LoadOptions { profile: None, sets: &[], env }
    }
}

/// The environment of this process.
pub fn process_env(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// A file that was read without an error.
#[derive(Clone, Debug)]
pub struct Loaded {
    pub pipeline: Pipeline,
    /// Where everything was written, for diagnostics that come later.
    pub places: Places,
    pub warnings: Vec<Diagnostic>,
}

/// Reads the file at `path` and the samples and secrets that it names. Errors come with all warnings, in the file's order.
pub fn load(path: &Path, options: &LoadOptions<'_>) -> Result<Loaded, Vec<Diagnostic>> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) => {
            let message = format!("read pipeline file `{}`: {}", path.display(), plain(&error));
            return Err(vec![Diagnostic::error(code::UNREADABLE_FILE, message)]);
        }
    };
    read(path, &text, options)
}

/// As [`load`], for a text that was read already.
pub fn read(path: &Path, text: &str, options: &LoadOptions<'_>) -> Result<Loaded, Vec<Diagnostic>> {
    let mut texts = Texts::default();
    texts.add(path.display().to_string(), text);
    let sets: Vec<SetArgument> = options.sets.iter().map(|argument| SetArgument::new(argument, &mut texts)).collect();

    let mut tree = tree::parse(text, &texts)?;
    let mut found = Vec::new();
    let profiles = take_profiles(&mut tree, &texts, &mut found);
    let written = tree.clone();
    if let Some(name) = options.profile {
        match profiles.iter().find(|(key, _)| key.get_ref() == name) {
            Some((_, profile)) => tree::overlay(&mut tree, profile, "", &texts, &mut found),
            None => {
                let names = profiles.iter().map(|(key, _)| &**key.get_ref());
                let unknown =
                    Diagnostic::error(code::UNKNOWN_PROFILE, format!("there is no profile `{name}` in {}", texts.file()));
                found.push(match profiles.is_empty() {
                    true => unknown.help("a profile is a table of the file: [profile.<name>]"),
                    false => unknown.did_you_mean(name, names),
                });
            }
        }
    }
    for set in &sets {
        tree::set(&mut tree, set, &texts, &mut found);
    }
    for (key, profile) in &profiles {
        if options.profile != Some(key.get_ref()) {
            check_profile(written.clone(), profile, &texts, &mut found);
        }
    }

    let mut shape = Shape::new(&texts, Some(options.env));
    shape.table(&mut tree, schema(), "", "the pipeline file", 0..0);
    let Shape { found: shape_found, removed, .. } = shape;
    found.extend(shape_found);
    let places = Places::new(&tree, &texts);

    let folder = path.parent().unwrap_or(Path::new(""));
    let root = Spanned::new(0..text.len(), tree);
    let pipeline = match PipelineFile::deserialize(toml::de::Deserializer::from(root)) {
        Ok(file) => {
            let mut resolver = Resolver { texts: &texts, lookup: options.env, folder, removed: &removed, found: Vec::new() };
            let pipeline = resolver.pipeline(file, path, options.profile);
            found.extend(resolver.found);
            pipeline
        }
        // The shape lets nothing through that the types refuse; should it, the file is still refused with a place.
        Err(error) => {
            let place = error.span().and_then(|span| texts.place(span));
            found.push(Diagnostic::error(code::WRONG_TYPE, error.message().replace('\n', ", ")).at(place));
            None
        }
    };
    diagnostic::sort(&mut found);
    match pipeline {
        Some(pipeline) if !found.iter().any(Diagnostic::is_error) => Ok(Loaded { pipeline, places, warnings: found }),
        _ => Err(found),
    }
}

type Profiles<'a> = Vec<(Spanned<std::borrow::Cow<'a, str>>, Tree<'a>)>;

fn take_profiles<'a>(tree: &mut Tree<'a>, texts: &Texts, found: &mut Vec<Diagnostic>) -> Profiles<'a> {
    let Some((key, node)) = tree.remove_entry("profile") else { return Vec::new() };
    let not_a_table = |span, name: &str| {
        Diagnostic::error(code::WRONG_TYPE, format!("`{name}` is a table"))
            .at(texts.place(span))
            .help("write a table for each profile: [profile.cluster]")
    };
    let DeValue::Table(table) = node.into_inner() else {
        found.push(not_a_table(key.span(), "profile"));
        return Vec::new();
    };
    let mut profiles = Vec::new();
    for (name, node) in table {
        match node.into_inner() {
            DeValue::Table(profile) => profiles.push((name, profile)),
            _ => found.push(not_a_table(name.span(), &format!("profile.{}", name.get_ref()))),
        }
    }
    profiles
}

/// A profile that was not chosen: its names, keys and values must be right all the same, but variables may be unset.
fn check_profile<'a>(mut tree: Tree<'a>, profile: &Tree<'a>, texts: &Texts, found: &mut Vec<Diagnostic>) {
    tree::overlay(&mut tree, profile, "", texts, found);
    let mut spans = Vec::new();
    collect_spans(profile, &mut spans);
    let mut shape = Shape::new(texts, None);
    shape.table(&mut tree, schema(), "", "the pipeline file", 0..0);
    let own = |found: &Diagnostic| found.place.as_ref().is_some_and(|place| spans.contains(&place.span));
    found.extend(shape.found.into_iter().filter(own));
}

fn collect_spans(table: &Tree<'_>, spans: &mut Vec<std::ops::Range<usize>>) {
    for (key, node) in table {
        spans.push(key.span());
        spans.push(node.span());
        match node.get_ref() {
            DeValue::Table(inner) => collect_spans(inner, spans),
            DeValue::Array(list) => {
                for entry in list.iter() {
                    spans.push(entry.span());
                    if let DeValue::Table(inner) = entry.get_ref() {
                        collect_spans(inner, spans);
                    }
                }
            }
            _ => {}
        }
    }
}
