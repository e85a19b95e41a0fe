//! The house rules that a compiler does not know.

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use support::root;

/// Lines of a source file, its unit tests not counted; and of a class of tests.
const LINES_MAX: usize = 600;
const TEST_LINES_MAX: usize = 800;

/// Which modules a module may name. Records know nobody; whoever comes later in the way of a record may know what came before.
const IMPORTS: [(&str, &[&str]); 17] = [
    ("record", &[]),
    ("config", &["record"]),
    ("schedule", &["config"]),
    ("store", &["record", "config", "status"]),
    ("crash", &[]),
    ("kafka", &["config"]),
    ("topic", &["record", "config", "store", "kafka", "crash"]),
    ("source", &["record", "config", "topic"]),
    ("stand_in", &["record", "config", "schedule", "source"]),
    ("plugin", &["record", "config"]),
    ("transform", &["record", "config", "plugin"]),
    ("sink", &["record", "config", "store", "kafka", "crash"]),
    ("status", &["record", "topic"]),
    ("pipeline", &["record", "config", "schedule", "store", "topic", "source", "plugin", "transform", "sink", "status", "crash"]),
    ("verify", &["record", "config", "kafka", "topic", "plugin", "transform", "sink", "pipeline"]),
    ("bench", &["record", "config", "store", "topic", "source", "plugin", "transform", "sink", "status", "pipeline"]),
    (
        "cli",
        &[
            "record",
            "config",
            "schedule",
            "store",
            "topic",
            "source",
            "stand_in",
            "plugin",
            "transform",
            "sink",
            "status",
            "pipeline",
            "verify",
            "bench",
        ],
    ),
];

/// Files with one of these endings below a folder, without what was built.
fn files(below: &str, endings: &[&str]) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    let mut folders = vec![root().join(below)];
    while let Some(folder) = folders.pop() {
        let Ok(entries) = fs::read_dir(&folder) else { continue };
        for path in entries.map(|entry| entry.expect("an entry").path()) {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if path.is_dir() {
                if !["target", "__pycache__", "node_modules", ".git", ".tidemill"].contains(&name.as_str()) {
                    folders.push(path);
                }
            } else if endings.iter().any(|ending| name.ends_with(ending)) {
                let text = String::from_utf8_lossy(&fs::read(&path).expect("read a file")).into_owned();
                found.push((path.strip_prefix(root()).expect("below the root").to_owned(), text));
            }
        }
    }
    assert!(!found.is_empty() || below == "README.md", "no {endings:?} below {below}: this test looks at nothing");
    found
}

/// All of what people wrote.
fn texts() -> Vec<(PathBuf, String)> {
    let folders = ["host", "tests", "plugins", "pipelines", "wit"];
    let mut texts: Vec<_> = folders
        .iter()
        .flat_map(|folder| files(folder, &[".rs", ".md", ".toml", ".py", ".js", ".css", ".html", ".wit", ".sql", ".json"]))
        .collect();
    for name in ["Cargo.toml", "README.md", ".ci/run", "rust-toolchain.toml"] {
        texts.extend(fs::read_to_string(root().join(name)).ok().map(|text| (PathBuf::from(name), text)));
    }
    texts
}

fn none(what: &str, found: Vec<String>) {
    assert!(found.is_empty(), "{what}:\n  {}", found.join("\n  "));
}

/// Lines that contain a word, as `file:line`.
fn lines_with(texts: &[(PathBuf, String)], words: &[String]) -> Vec<String> {
    let mut found = Vec::new();
    for (path, text) in texts {
        for (number, line) in (1..).zip(text.lines()) {
            if words.iter().any(|word| line.contains(word.as_str())) {
                found.push(format!("{}:{number}: {}", path.display(), line.trim()));
            }
        }
    }
    found
}

/// The words are put together here, so that this file does not hold them.
fn words(parts: &[(&str, &str)]) -> Vec<String> {
    parts.iter().map(|(a, b)| format!("{a}{b}")).collect()
}

#[test]
fn modules_name_only_what_stands_before_them() {
    let mut wrong = Vec::new();
    for (module, allowed) in IMPORTS {
        for (path, text) in files("host/src", &[".rs"]) {
            let inside = path.strip_prefix("host/src").expect("below host/src");
            if !(inside.starts_with(module) || inside == Path::new(&format!("{module}.rs"))) {
                continue;
            }
            // Unit tests may use whatever shows the point.
            let code = text.split("#[cfg(test)]").next().unwrap_or_default();
            for (number, line) in (1..).zip(code.lines()).filter(|(_, line)| !line.trim_start().starts_with("//")) {
                for named in line.split("crate::").skip(1) {
                    let named = named.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').next().unwrap_or_default();
                    if named != module && !allowed.contains(&named) && IMPORTS.iter().any(|(known, _)| *known == named) {
                        wrong.push(format!("{}:{number}: `{module}` names `{named}`", path.display()));
                    }
                }
            }
        }
    }
    none("imports against the direction", wrong);
    let modules = fs::read_to_string(root().join("host/src/lib.rs")).expect("lib.rs");
    let modules: BTreeSet<&str> = modules.lines().filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';')).collect();
    assert_eq!(modules, IMPORTS.iter().map(|(module, _)| *module).collect(), "a module without a rule for its imports");
}

#[test]
fn a_file_holds_one_idea() {
    let long = |folder: &str, most: usize| {
        let lines = |text: &str| text.split("#[cfg(test)]").next().unwrap_or_default().lines().count();
        let files = files(folder, &[".rs"]).into_iter().map(move |(path, text)| (path, lines(&text)));
        files
            .filter(|(_, lines)| *lines > most)
            .map(|(path, lines)| format!("{}: {lines} lines", path.display()))
            .collect::<Vec<_>>()
    };
    none(
        "files that are too long",
        [long("host", LINES_MAX), long("plugins", LINES_MAX), long("tests", TEST_LINES_MAX)].concat(),
    );
}

#[test]
fn nothing_is_left_for_later() {
    let words = words(&[("TO", "DO"), ("FIX", "ME"), ("todo", "!("), ("unimplemented", "!("), ("dbg", "!(")]);
    none("left for later", lines_with(&texts(), &words));
}

#[test]
fn no_module_is_a_drawer() {
    let drawers = ["util", "utils", "common", "helpers", "misc"];
    let is_drawer = |path: &PathBuf| {
        path.components().any(|part| drawers.contains(&part.as_os_str().to_string_lossy().trim_end_matches(".rs")))
    };
    let found = files("host", &[".rs"]).into_iter().chain(files("tests", &[".rs"])).map(|(path, _)| path).filter(is_drawer);
    none("modules without a noun", found.map(|path| path.display().to_string()).collect());
}

#[test]
fn tests_wait_on_conditions_only() {
    let mut tests = files("tests", &[".rs"]);
    // The two places that wait (the second in asynchronous tests); and guests, which are what a test waits for.
    let waits = ["tests/support/mod.rs", "tests/sources/world.rs"];
    tests.retain(|(path, _)| !waits.iter().any(|known| path == Path::new(known)) && !path.starts_with("tests/guests"));
    none("sleeps", lines_with(&tests, &words(&[("thread::", "sleep"), ("time::", "sleep(")])));
}

#[test]
fn no_machine_is_named() {
    none("paths of a machine", lines_with(&texts(), &words(&[("/wo", "rk/"), ("/ro", "ot/"), ("/ho", "me/"), ("/Use", "rs/")])));
}

#[test]
fn stdout_and_stderr_belong_to_the_output() {
    let words = words(&[("println", "!("), ("print", "!("), ("eprint", "!(")]);
    // A closed pipe makes them panic.
    none("prints", lines_with(&files("host/src", &[".rs"]), &words));
}

#[test]
fn every_code_is_explained() {
    let codes = fs::read_to_string(root().join("host/src/config/code.rs")).expect("the codes");
    let codes: Vec<&str> =
        codes.lines().filter_map(|line| line.split('"').nth(1)).filter(|code| code.starts_with("TM")).collect();
    assert!(codes.len() > 20, "the codes are somewhere else now");
    assert_eq!(codes.len(), codes.iter().collect::<BTreeSet<_>>().len(), "a code is used twice");
    let text = fs::read_to_string(root().join("host/src/config/codes.md")).expect("the explanations");
    let explained = |code: &str| text.lines().any(|line| line.starts_with('#') && line.contains(code));
    none("codes that are not explained", codes.into_iter().filter(|code| !explained(code)).map(str::to_owned).collect());
}

#[test]
fn the_readme_names_every_verb() {
    let readme = fs::read_to_string(root().join("README.md")).expect("README.md");
    let named = |verb: &&clap::Command| {
        !readme.contains(&format!("`{}`", verb.get_name())) && !readme.contains(&format!("tidemill {}", verb.get_name()))
    };
    none(
        "verbs that README.md does not name",
        tidemill::cli::command().get_subcommands().filter(named).map(|verb| verb.get_name().to_owned()).collect(),
    );
}
