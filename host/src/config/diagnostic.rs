//! What is wrong with a pipeline, where, and the way out; printed as rustc prints it.

use std::fmt::Write as _;
use std::ops::Range;

use serde::Serialize;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    Error,
    Warning,
}

impl Severity {
    pub fn name(self) -> &'static str {
        match self {
            Severity::Error => "error",
            Severity::Warning => "warning",
        }
    }
}

/// One finding. Its text is whatever the file held; [`Diagnostic::render`] shows control characters instead of obeying them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// Stable: `TM…`, one of [`super::code`].
    pub code: &'static str,
    pub severity: Severity,
    pub message: String,
    pub place: Option<Box<Place>>,
    /// The ways out, most likely first.
    pub help: Vec<String>,
}

/// Where in the pipeline file, or on the command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    pub file: String,
    /// From 1.
    pub line: usize,
    /// In characters, from 1.
    pub column: usize,
    /// The line itself.
    pub text: String,
    /// Characters to underline, at least one.
    pub width: usize,
    /// Bytes of [`Texts`]; orders diagnostics.
    pub span: Range<usize>,
}

/// The stable form for `--json`.
#[derive(Debug, Serialize)]
pub struct DiagnosticJson<'a> {
    pub code: &'a str,
    pub severity: Severity,
    pub message: &'a str,
    pub file: Option<&'a str>,
    pub line: Option<usize>,
    pub column: Option<usize>,
    pub help: &'a [String],
}

impl Diagnostic {
    pub fn error(code: &'static str, message: impl Into<String>) -> Diagnostic {
        Diagnostic { code, severity: Severity::Error, message: message.into(), place: None, help: Vec::new() }
    }

    pub fn warning(code: &'static str, message: impl Into<String>) -> Diagnostic {
        Diagnostic { severity: Severity::Warning, ..Diagnostic::error(code, message) }
    }

    /// What is underlined is not shown: it holds a secret.
    pub fn hide(mut self) -> Diagnostic {
        if let Some(place) = &mut self.place {
            let underlined = place.column - 1..place.column - 1 + place.width;
            let hide = |(at, c)| if underlined.contains(&at) { '*' } else { c };
            place.text = place.text.chars().enumerate().map(hide).collect();
        }
        self
    }

    pub fn at(mut self, place: impl Into<Option<Place>>) -> Diagnostic {
        self.place = place.into().map(Box::new);
        self
    }

    pub fn help(mut self, help: impl Into<String>) -> Diagnostic {
        self.help.push(help.into());
        self
    }

    /// Adds `did you mean …?` when a candidate is near, else the list of what there is.
    pub fn did_you_mean<'a>(self, written: &str, candidates: impl IntoIterator<Item = &'a str>) -> Diagnostic {
        let candidates: Vec<&str> = candidates.into_iter().collect();
        match nearest(written, &candidates) {
            Some(near) => self.help(format!("did you mean `{near}`?")),
            None if candidates.is_empty() => self,
            None if candidates.len() <= 24 => self.help(format!("there is: {}", candidates.join(", "))),
            None => self.help(format!("there is: {}, and {} more", candidates[..24].join(", "), candidates.len() - 24)),
        }
    }

    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }

    /// Text with a trailing newline, the same on every machine. `colour` adds ANSI colours, for a terminal.
    pub fn render(&self, colour: bool) -> String {
        let paint = |style: &'static str, text: String| if colour { format!("\x1b[{style}m{text}\x1b[0m") } else { text };
        let tint = match self.severity {
            Severity::Error => "1;31",
            Severity::Warning => "1;33",
        };
        let mut out = paint(tint, format!("{}[{}]", self.severity.name(), self.code));
        out += &paint("1", format!(": {}", visible(&self.message)));
        out.push('\n');
        let mut margin = 1;
        if let Some(place) = &self.place {
            margin = place.line.to_string().len();
            let bar = paint("34", "|".to_owned());
            let blank = " ".repeat(margin);
            let arrow = paint("34", "-->".to_owned());
            let _ = writeln!(out, "{blank}{arrow} {}:{}:{}", visible(&place.file), place.line, place.column);
            let before: String = place.text.chars().take(place.column - 1).collect();
            let under: String = place.text.chars().skip(place.column - 1).take(place.width).collect();
            let width = visible(&under).chars().count().max(1);
            let _ = writeln!(out, "{blank} {bar}");
            let shown = visible(place.text.trim_end());
            let space = if shown.is_empty() { "" } else { " " };
            let _ = writeln!(out, "{} {bar}{space}{shown}", paint("34", place.line.to_string()));
            let _ =
                writeln!(out, "{blank} {bar} {}{}", " ".repeat(visible(&before).chars().count()), paint(tint, "^".repeat(width)));
        }
        for help in &self.help {
            let _ = writeln!(out, "{} {} {}", " ".repeat(margin), paint("36", "= help:".to_owned()), visible(help));
        }
        out
    }

    pub fn json(&self) -> DiagnosticJson<'_> {
        DiagnosticJson {
            code: self.code,
            severity: self.severity,
            message: &self.message,
            file: self.place.as_ref().map(|place| place.file.as_str()),
            line: self.place.as_ref().map(|place| place.line),
            column: self.place.as_ref().map(|place| place.column),
            help: &self.help,
        }
    }
}

/// Errors and warnings in the order of the file, each once.
pub fn sort(diagnostics: &mut Vec<Diagnostic>) {
    diagnostics.sort_by_key(|found| found.place.as_ref().map_or(0, |place| place.span.start));
    let mut seen: Vec<Diagnostic> = Vec::new();
    diagnostics.retain(|found| {
        let new = !seen.contains(found);
        if new {
            seen.push(found.clone());
        }
        new
    });
}

/// All of them as text, with a last line that counts.
pub fn render_all(diagnostics: &[Diagnostic], colour: bool) -> String {
    let mut out = String::new();
    for diagnostic in diagnostics {
        out += &diagnostic.render(colour);
        out.push('\n');
    }
    let errors = diagnostics.iter().filter(|found| found.is_error()).count();
    let count = |n: usize, what: &str| format!("{n} {what}{}", if n == 1 { "" } else { "s" });
    match (errors, diagnostics.len() - errors) {
        (0, 0) => {}
        (errors, 0) => out += &format!("{}\n", count(errors, "error")),
        (0, warnings) => out += &format!("{}\n", count(warnings, "warning")),
        (errors, warnings) => out += &format!("{}, {}\n", count(errors, "error"), count(warnings, "warning")),
    }
    out
}

/// Text from a file or a plugin as a terminal may have it: control and direction characters are shown as escapes.
pub fn visible(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\t' => out.push(' '),
            '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}' => {
                out.extend(c.escape_unicode())
            }
            c if c.is_control() => out.extend(c.escape_default()),
            c => out.push(c),
        }
    }
    out
}

/// What people of other systems call things.
const ALIASES: [(&str, &str); 20] = [
    ("address", "at"),
    ("adress", "at"),
    ("brokers", "at"),
    ("bool", "boolean"),
    ("bytes", "blob"),
    ("config", "settings"),
    ("datetime", "timestamp"),
    ("integer", "int"),
    ("interval", "every"),
    ("long", "bigint"),
    ("parameters", "query"),
    ("primary", "partition"),
    ("rate", "every"),
    ("remove", "delete"),
    ("string", "text"),
    ("threshold", "stop-when"),
    ("topic-name", "name"),
    ("type", "kind"),
    ("uk", "gb"),
    ("varchar", "text"),
];

/// The candidate that a typing mistake, or a habit, most likely meant.
pub fn nearest<'a>(written: &str, candidates: &[&'a str]) -> Option<&'a str> {
    let plain = |text: &str| text.to_lowercase().replace(['_', ' '], "-");
    let wanted = plain(written);
    let near = |candidate: &str| {
        let longest = candidate.chars().count().max(wanted.chars().count());
        let distance = strsim::damerau_levenshtein(&wanted, &plain(candidate));
        // Of two letters one may not be wrong: that would be a guess.
        (distance <= 1 + longest / 4 && distance * 2 < longest).then_some(distance)
    };
    candidates
        .iter()
        .filter_map(|candidate| Some((near(candidate)?, *candidate)))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, near)| near)
        .or_else(|| {
            let meant = ALIASES.iter().find(|(alias, _)| *alias == wanted)?.1;
            candidates.iter().find(|candidate| candidate.eq_ignore_ascii_case(meant)).copied()
        })
}

/// The texts that spans point into: the pipeline file, then each `--set`. Spans of all of them are in one numbering.
#[derive(Clone, Debug, Default)]
pub struct Texts {
    texts: Vec<Text>,
}

#[derive(Clone, Debug)]
struct Text {
    name: String,
    text: String,
    start: usize,
}

impl Texts {
    /// Adds a text and returns where its bytes start in the numbering.
    pub fn add(&mut self, name: impl Into<String>, text: impl Into<String>) -> usize {
        let start = self.texts.last().map_or(0, |last| last.start + last.text.len() + 1);
        self.texts.push(Text { name: name.into(), text: text.into(), start });
        start
    }

    /// The name of the pipeline file as it is shown.
    pub fn file(&self) -> &str {
        self.texts.first().map_or("", |text| text.name.as_str())
    }

    pub fn place(&self, span: Range<usize>) -> Option<Place> {
        let text = self.texts.iter().rev().find(|text| text.start <= span.start)?;
        let start = floor(&text.text, span.start - text.start);
        let end = floor(&text.text, span.end.saturating_sub(text.start)).max(start);
        let line_start = text.text[..start].rfind('\n').map_or(0, |newline| newline + 1);
        let line_end = text.text[start..].find('\n').map_or(text.text.len(), |newline| start + newline);
        let line = text.text[..start].matches('\n').count() + 1;
        let column = text.text[line_start..start].chars().count() + 1;
        let width = text.text[start..end.min(line_end).max(start)].chars().count().max(1);
        let shown = text.text[line_start..line_end].trim_end_matches('\r').to_owned();
        Some(Place { file: text.name.clone(), line, column, text: shown, width, span })
    }
}

/// The nearest char boundary at or before `at`.
fn floor(text: &str, at: usize) -> usize {
    let mut at = at.min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}
