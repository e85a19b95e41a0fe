//! What the README shows is what the binary says.

use std::path::Path;
use std::process::Command;

fn readme() -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).expect("the README is there")
}

/// What stands between the first place of `from` and the next of `to`.
fn between<'a>(text: &'a str, from: &str, to: &str) -> &'a str {
    let rest = text.split_once(from).unwrap_or_else(|| panic!("the README has no `{from}`")).1;
    rest.split_once(to).unwrap_or_else(|| panic!("the README has no `{to}`")).0
}

fn tidemill(folder: &str, arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_tidemill"))
        .args(arguments)
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(folder))
        .env("NO_COLOR", "1")
        .output()
        .expect("the binary runs");
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

#[test]
fn every_key_stands_there_as_the_schema_has_it() {
    let readme = readme();
    let section = between(&readme, "<!-- keys:", "<!-- end of keys -->");
    let keys = section.split_once("-->").expect("the comment ends").1;
    let schema = tidemill::config::schema::reference_markdown();
    assert_eq!(keys.trim(), schema.trim(), "put the output of `tidemill schema --markdown` between the two comments");
}

#[test]
fn every_verb_stands_there_and_no_other() {
    let readme = readme();
    let table = between(&readme, "| verb | what it does |", "Every verb takes");
    let mut shown: Vec<&str> = table.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next()).collect();
    let help = tidemill(".", &["--help"]);
    let commands = between(&help, "Commands:\n", "\n\n");
    let mut verbs: Vec<&str> = commands
        .lines()
        .filter(|line| line.starts_with("  ") && !line.starts_with("   "))
        .filter_map(|line| line.split_whitespace().next())
        .collect();
    shown.sort_unstable();
    verbs.retain(|verb| *verb != "help");
    verbs.sort_unstable();
    assert_eq!(shown, verbs);
}

#[test]
fn the_shown_diagnostics_are_what_check_prints() {
    let readme = readme();
    let shown = between(&readme, "<!-- shown: tests/readme/broken.toml -->\n```text\n", "```");
    let printed = tidemill("tests/readme", &["check", "broken.toml"]);
    assert!(printed.contains(shown.trim_end()), "the README shows\n{shown}\nbut check prints\n{printed}");
}
