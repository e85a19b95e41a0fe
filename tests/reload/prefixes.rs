//! A component that is not all there, put under the watcher of a running host: whatever length it has, the old code goes on.
//! What is cut within the names at the end is whole as a plugin, and no part of this.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

use serde_json::Value;
use tempfile::TempDir;

use crate::cuts::{boundaries, lengths, some};
use crate::support::host::{Host, Pipeline};
use crate::support::{guests, wait_for};

const FILE: &str = r#"
name = "prefixes"

[source]
kind = "generator"
every = "20ms"
records-per-poll = 10

[topic]
key = "login.uuid"

[[stage]]
name = "extract"
plugin = "extract.wasm"

[[stage]]
name = "enrich"
plugin = "enrich.wasm"

[[sink]]
name = "none"
at = "null"
"#;

fn replace(path: &Path, bytes: &[u8]) {
    let fresh = path.with_extension("fresh");
    fs::write(&fresh, bytes).expect("write a component");
    fs::rename(fresh, path).expect("replace the component");
}

fn refused(host: &Host) -> u64 {
    host.status()["swaps"]["refused"].as_u64().expect("a count")
}

/// Every length is looked at by itself: the file grows in place, as a slow writer has it, when the last one has been refused.
#[track_caller]
fn none_is_swapped_in(plugin: &str, choose: impl FnOnce(&[u8], &BTreeSet<usize>) -> BTreeSet<usize>) {
    let dir = TempDir::new().expect("make a folder");
    let component = fs::read(guests::component(plugin)).expect("read the component");
    let path = dir.path().join("enrich.wasm");
    fs::copy(guests::component("plugins/extract-user"), dir.path().join("extract.wasm")).expect("copy a component");
    fs::write(&path, &component).expect("write a component");
    fs::write(dir.path().join("pipeline.toml"), FILE).expect("write the pipeline");
    let pipeline = Pipeline::new(dir.path().join("pipeline.toml"), dir.path().join("data"));
    let mut host = pipeline.start("run", &["--watch"]);
    host.ready(&pipeline.store("prefixes"));
    let (boundaries, complete_from) = boundaries(&component);
    let mut lengths = choose(&component, &boundaries);
    lengths.retain(|length| (1..complete_from).contains(length));
    replace(&path, b"");
    wait_for("an empty file to be refused", || (refused(&host) > 0).then_some(()));
    let mut written = 0;
    for (known, length) in (1..).zip(&lengths) {
        let mut file = File::options().append(true).open(&path).expect("open the component");
        file.write_all(&component[written..*length]).expect("write more of the component");
        drop(file);
        written = *length;
        let refused = || (refused(&host) > known).then_some(());
        wait_for(&format!("the first {length} bytes of {plugin} to be refused"), refused);
    }
    let status = host.status();
    let stage = &status["stages"][1];
    assert_eq!((&status["swaps"]["applied"], &stage["generation"]), (&Value::from(0), &Value::from(1)), "{plugin}");
    // The whole of it is what runs.
    let settled = |host: &Host| host.status()["totals"]["emitted"].as_u64().expect("a count");
    replace(&path, &component);
    wait_for("what runs to lie there again", || (host.status()["stages"][1]["candidate"] == Value::Null).then_some(()));
    let before = settled(&host);
    wait_for("records to flow", || (settled(&host) > before).then_some(()));
    host.terminate();
    assert!(host.wait().success());
    println!("{plugin}: {} prefixes of {} bytes under the watcher", lengths.len(), component.len());
    assert!(lengths.len() > 100, "this test looks at nothing");
}

const RANDOM: u64 = 2_000;

#[test]
fn of_a_rust_component() {
    none_is_swapped_in("plugins/enrich-user", |component, boundaries| lengths(component, boundaries, RANDOM));
}

#[test]
fn of_a_javascript_component() {
    if guests::has_tool("TIDEMILL_COMPONENTIZE_QJS", "componentize-qjs") {
        none_is_swapped_in("plugins/enrich-user-js", |component, boundaries| lengths(component, boundaries, RANDOM));
    }
}

#[test]
fn of_a_python_component() {
    if guests::has_tool("TIDEMILL_COMPONENTIZE_PY", "componentize-py") {
        none_is_swapped_in("plugins/enrich-user-python", |component, boundaries| some(component, boundaries, RANDOM));
    }
}
