//! `tidemill inspect` tells what a language imports out of habit from what a plugin asks for.

use std::process::Command;

use serde_json::{Value, json};

use super::cases::PYTHON;
use crate::support::guests;

fn tidemill(plugin: &str, more: &[&str]) -> String {
    let path = guests::component(plugin);
    let output = Command::new(env!("CARGO_BIN_EXE_tidemill"))
        .arg("inspect")
        .arg(path)
        .args(more)
        .env("XDG_CACHE_HOME", concat!(env!("CARGO_TARGET_TMPDIR"), "/cache"))
        .output()
        .expect("start tidemill");
    assert!(output.status.success(), "{plugin}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

/// The line about an import, version left out.
fn import<'a>(text: &'a str, name: &str) -> &'a str {
    text.lines().find(|line| line.contains(name)).unwrap_or_else(|| panic!("no line about {name}:\n{text}"))
}

#[test]
fn a_wish_is_told_with_its_way_out() {
    let text = tidemill("tests/guests/outward", &[]);
    let http = import(&text, "wasi:http/outgoing-handler");
    assert!(http.contains("asks for ") && http.contains("grants"), "{http}");
    assert!(import(&text, "wasi:cli/environment").contains("as every Rust plugin does; does nothing without a grant"), "{text}");

    let told: Value = serde_json::from_str(&tidemill("tests/guests/outward", &["--json"])).expect("an envelope");
    assert_eq!(told["result"]["wishes"], json!(["http"]));
    let reads: Vec<&str> = told["result"]["contract"]["reads"]
        .as_array()
        .expect("fields")
        .iter()
        .filter_map(|field| field["name"].as_str())
        .collect();
    assert_eq!(reads, ["what", "do"]);
}

#[test]
fn a_plugin_that_asks_for_nothing_has_no_wish() {
    let told: Value = serde_json::from_str(&tidemill("plugins/extract-user", &["--json"])).expect("an envelope");
    assert_eq!((&told["result"]["wishes"], &told["result"]["language"]), (&json!([]), &json!("Rust")));
}

#[test]
fn sockets_are_a_habit_of_python_and_no_wish() {
    if !guests::has_tool(PYTHON.0, PYTHON.1) {
        return;
    }
    let text = tidemill("plugins/enrich-user-python", &[]);
    assert!(import(&text, "wasi:sockets/tcp").contains("as every Python plugin does"), "{text}");
    assert!(!text.contains("asks for"), "{text}");
}
