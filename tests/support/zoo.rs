//! The zoo: guests in text, each with its verdict, made into components. What the directives mean stands in `hostile.rs`.

use std::fs;

use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

use crate::support::root;

/// A guest of `tests/hostile/`.
pub struct Guest {
    pub name: String,
    pub source: String,
}

impl Guest {
    pub fn all() -> Vec<Guest> {
        let mut guests: Vec<Guest> = fs::read_dir(root().join("tests/hostile"))
            .expect("list the zoo")
            .map(|entry| entry.expect("an entry").path())
            .filter(|path| path.extension().is_some_and(|extension| extension == "wat") && !path.ends_with("prelude.wat"))
            .map(|path| {
                let name = path.file_stem().expect("a name").to_string_lossy().into_owned();
                Guest { name, source: fs::read_to_string(&path).expect("read a guest") }
            })
            .collect();
        guests.sort_by(|a, b| a.name.cmp(&b.name));
        guests
    }

    pub fn directives<'g>(&'g self, name: &'g str) -> impl Iterator<Item = &'g str> {
        let lines = self.source.lines().filter_map(|line| line.strip_prefix(";; "));
        lines.filter_map(move |line| line.strip_prefix(name)?.strip_prefix(": ").map(str::trim))
    }

    /// First word and rest.
    pub fn verdict(&self) -> (&str, &str) {
        let verdict = self.directives("verdict").next().unwrap_or_else(|| panic!("{} has no verdict", self.name));
        verdict.split_once(' ').unwrap_or((verdict, ""))
    }

    /// The guest's own text around the prelude, without the paragraphs that it says anew.
    fn module(&self) -> String {
        let prelude = fs::read_to_string(root().join("tests/hostile/prelude.wat")).expect("read the prelude");
        let own: String = self.source.lines().map(repeated).collect();
        let (imports, own): (Vec<&str>, Vec<&str>) = own.lines().partition(|line| line.starts_with("(import "));
        let says = |paragraph: &str| {
            let defined = paragraph.lines().find_map(defined);
            defined.is_some() && own.iter().any(|line| self::defined(line) == defined)
        };
        let honest: Vec<&str> = prelude.split("\n\n").filter(|paragraph| !says(paragraph)).collect();
        format!("(module\n{}\n{}\n{}\n)", imports.join("\n"), honest.join("\n\n"), own.join("\n"))
    }

    pub fn component(&self) -> Vec<u8> {
        let form = self.directives("form").next().unwrap_or("component");
        let module = self.module();
        let mut module = wat::parse_str(&module).unwrap_or_else(|error| panic!("{}: {error}\n{}", self.name, head(&module)));
        match form {
            "empty" => return Vec::new(),
            "module" => return module,
            _ => {}
        }
        let mut exports: String = self.directives("exports").collect();
        if exports.is_empty() {
            exports = "export tidemill:plugin/fields@0.1.0;".to_owned();
        }
        let imports: String = self.directives("world").collect();
        let wasi = fs::read_to_string(root().join("tests/hostile/wasi.wit")).expect("read the interfaces");
        let contract = fs::read_to_string(root().join("wit/v0.1/plugin.wit")).expect("read the contract");
        let (interfaces, _) = contract.split_once("\nworld ").expect("the worlds come last");
        let (_, interfaces) = interfaces.split_once("package tidemill:plugin@0.1.0;").expect("the package's name");
        let interfaces: String =
            interfaces.lines().filter(|line| !line.trim_start().starts_with("///")).fold(String::new(), |mut all, line| {
                all.push_str(line);
                all.push('\n');
                all
            });
        let text = format!(
            "package test:zoo;\ninterface extra {{ f: func(); }}\nworld guest {{ {imports} {exports} }}\n\
             package tidemill:plugin@0.1.0 {{\n{interfaces}\n}}\n{wasi}"
        );
        let mut resolve = Resolve::default();
        let package = resolve.push_str("zoo.wit", &text).unwrap_or_else(|error| panic!("{}: {error:#}", self.name));
        let world = resolve.select_world(&[package], Some("guest")).expect("the world");
        embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8).expect("metadata");
        let encoder = ComponentEncoder::default().module(&module);
        let component = encoder.and_then(|mut encoder| encoder.encode());
        let mut component = component.unwrap_or_else(|error| panic!("{}: {error:#}", self.name));
        if form == "cut" {
            component.truncate(component.len() - 100);
        }
        component
    }
}

/// The name that a line begins to define.
fn defined(line: &str) -> Option<&str> {
    line.strip_prefix('(')?.split([' ', ')']).nth(1).filter(|name| name.starts_with('$'))
}

/// `;; repeat 3: x` as three lines of `x`.
fn repeated(line: &str) -> String {
    let parts = line.strip_prefix(";; repeat ").and_then(|rest| rest.split_once(": "));
    match parts {
        Some((count, text)) => format!("{text}\n").repeat(count.parse().expect("a number")),
        None => format!("{line}\n"),
    }
}

fn head(text: &str) -> &str {
    &text[..text.floor_char_boundary(4_000)]
}
