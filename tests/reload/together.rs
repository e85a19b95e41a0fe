//! Several files change: what fits together comes into force together.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use serde_json::{Value, json};

use super::scene::Live;
use crate::support::jobs::Scene;
use crate::support::{guests, wait_for};
use crate::zoo::Guest;

/// Hands on one field under another name.
fn hands_on(from: &str, to: &str, kind: &str) -> Vec<u8> {
    let kind = match kind {
        "text" => 0,
        "int" => 3,
        other => panic!("no {other} here"),
    };
    // Two names of at most seven bytes, and the fields of the contract. An int's column has no ends to look for a row in.
    let name = |at: usize, length: usize| {
        format!(
            "(data (i32.const {at}) \"\\{:02x}\\00\\00\\00\\{length:02x}\\00\\00\\00\\{kind:02x}\\00\\00\\00\")",
            if at == 32 { 16 } else { 24 }
        )
    };
    let source = format!(
        ";; verdict: harmless \n(data (i32.const 16) \"{from}\")\n\n(data (i32.const 24) \"{to}\")\n\n{}\n\n{}\n\n\
         (func $end (param $columns i32) (param $row i32) (result i32)\n(i32.const 0))\n",
        name(32, from.len()),
        name(48, to.len())
    );
    Guest { name: format!("{from} to {to}"), source }.component()
}

const CHAIN: &str = r#"
name = "jobs"

[source]
kind = "file"
path = "jobs.ndjson"
every = "20ms"
records-per-poll = 20

[[stage]]
name = "first"
plugin = "now/first.wasm"

[[stage]]
name = "second"
plugin = "now/second.wasm"

[[sink]]
name = "lines"
at = "file:lines.ndjson"
"#;

fn save(path: &Path, bytes: &[u8]) {
    fs::write(path.with_extension("fresh"), bytes).unwrap();
    fs::rename(path.with_extension("fresh"), path).unwrap();
}

/// `word` goes through both stages.
fn chain() -> Live {
    let line = |number: usize| format!(r#"{{"number":{number},"word":"word-{number}"}}"#).into_bytes();
    let scene = Scene::new("tests/reload/table", (0..20_000).map(line).collect());
    fs::write(&scene.pipeline.file, CHAIN).unwrap();
    let dir = scene.dir.path();
    fs::create_dir(dir.join("one")).unwrap();
    fs::write(dir.join("one/first.wasm"), hands_on("word", "between", "text")).unwrap();
    fs::write(dir.join("one/second.wasm"), hands_on("between", "out", "text")).unwrap();
    symlink("one", dir.join("now")).unwrap();
    Live::of(scene)
}

/// What the last record became.
fn last(live: &Live) -> Value {
    let text = fs::read_to_string(live.scene.dir.path().join("lines.ndjson")).unwrap_or_default();
    let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
    serde_json::from_str(whole.rsplit('\n').next().unwrap_or_default()).unwrap_or_default()
}

#[track_caller]
fn end(live: Live) {
    let mut host = live.host;
    host.terminate();
    assert!(host.wait().success(), "{}", host.log());
}

fn changed(receipt: &Value) -> Vec<&str> {
    receipt["changes"].as_array().unwrap().iter().filter_map(|change| change["stage"].as_str()).collect()
}

/// Both components are in force, in one generation; so many receipts tell of the way there.
#[track_caller]
fn both_end_as_one_generation(live: Live, before: u64, receipts: usize) {
    let applied = live.receipt("applied", 0);
    assert_eq!((changed(&applied), applied["generation"].as_u64()), (vec!["first", "second"], Some(before + 1)), "{applied}");
    wait_for("a record of the new chain", || last(&live)["out"].as_i64());
    assert_eq!((live.receipts().len(), live.generation()), (receipts, before + 1));
    end(live);
}

#[test]
fn components_that_are_replaced_at_once_end_as_one_generation() {
    let live = chain();
    live.flows(40);
    let before = live.generation();
    // Another folder in the place of the one before: neither goes with the other's predecessor.
    let dir = live.scene.dir.path();
    fs::create_dir(dir.join("two")).unwrap();
    fs::write(dir.join("two/first.wasm"), hands_on("number", "between", "int")).unwrap();
    fs::write(dir.join("two/second.wasm"), hands_on("between", "out", "int")).unwrap();
    symlink("two", dir.join("fresh")).unwrap();
    fs::rename(dir.join("fresh"), dir.join("now")).unwrap();
    both_end_as_one_generation(live, before, 1);
}

#[test]
fn components_that_only_fit_together_and_are_saved_one_after_the_other_end_as_one_generation() {
    let live = chain();
    live.flows(40);
    let before = live.generation();
    let dir = live.scene.dir.path().join("now");
    save(&dir.join("first.wasm"), &hands_on("number", "between", "int"));
    let refused = live.receipt("refused", 0);
    assert_eq!((changed(&refused), &refused["diagnostics"][0]["code"]), (vec!["first"], &json!("TM051")), "{refused}");
    live.flows(40);
    assert!(last(&live)["out"].is_string() && live.generation() == before);
    save(&dir.join("second.wasm"), &hands_on("between", "out", "int"));
    both_end_as_one_generation(live, before, 2);
}

#[test]
fn a_file_and_the_component_that_it_names_end_as_one_swap() {
    let mut live = Live::start("tests/reload/table", 20_000);
    let before = live.generation();
    let text = fs::read_to_string(&live.scene.pipeline.file).unwrap();
    let fault = guests::component("tests/guests/fault");
    let second = live.scene.dir.path().join("second.wasm");
    let stage = "[[stage]]\nname = \"second\"\nplugin = \"second.wasm\"\nsettings = { names = \"do=nothing\" }\n\n[[sink]]\nname = \"done\"";
    live.write(&text.replace("[[sink]]\nname = \"done\"", stage));
    let refused = live.receipt("refused", 0);
    assert!(refused["reason"].as_str().is_some_and(|why| why.contains("second.wasm")), "{refused}");
    assert_eq!(live.status()["file"]["diagnostics"][0]["code"], "TM070");
    fs::write(second.with_extension("fresh"), "no component yet").unwrap();
    fs::rename(second.with_extension("fresh"), &second).unwrap();
    live.receipt("refused", 1);
    fs::copy(fault, second.with_extension("fresh")).unwrap();
    fs::rename(second.with_extension("fresh"), &second).unwrap();
    let applied = live.receipt("applied", 0);
    assert_eq!(applied["generation"], before + 1, "{applied}");
    assert_eq!(applied["changes"][0]["what"][0], "added", "{applied}");
    wait_for("the status to show both stages", || (live.status()["stages"].as_array()?.len() == 2).then_some(()));
    assert!(live.status()["file"]["diagnostics"].as_array().unwrap().iter().all(|found| found["severity"] != "error"));
    live.host.terminate();
    assert!(live.host.wait().success());
}
