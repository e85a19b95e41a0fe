//! Saves that must change nothing, and files that only fit together.

use std::fs;

use super::scene::Live;
use crate::support::wait_for;

#[test]
fn a_broken_save_changes_nothing_and_is_told_once() {
    let mut live = Live::start("tests/reload/table", 20_000);
    let good = live.scene.marks.component("good");
    let saves: Vec<(&str, Vec<u8>)> = vec![
        ("not a WebAssembly component", b"fn main() {}".to_vec()),
        ("the file is empty", Vec::new()),
        ("a core module, not a component", b"\0asm\x01\0\0\0".to_vec()),
        ("the file is cut short", good[..good.len() / 2].to_vec()),
        ("the file is cut short", good[..good.len() - 1].to_vec()),
    ];
    let before = (live.generation(), live.digest());
    for (known, (reason, bytes)) in saves.into_iter().enumerate() {
        let fresh = live.component().with_extension("fresh");
        fs::write(&fresh, bytes).unwrap();
        fs::rename(fresh, live.component()).unwrap();
        let receipt = live.receipt("refused", known);
        assert!(receipt["reason"].as_str().is_some_and(|told| told.contains(reason)), "{reason}: {receipt}");
        assert_eq!(receipt["changes"][0]["stage"], "triage");
        assert_eq!(receipt["diagnostics"][0]["line"], 15, "{receipt}");
        let candidate = &live.status()["stages"][0]["candidate"];
        assert_eq!(candidate["state"], "refused", "{candidate}");
        live.flows(10);
    }
    assert_eq!((live.generation(), live.digest()), before, "the old code went on");
    live.swap("good");
    live.receipt("applied", 0);
    assert_eq!(live.status()["stages"][0]["candidate"], serde_json::Value::Null);
    assert_eq!((live.count("refused"), live.count("applied")), (5, 1));
    live.finish();
}

#[test]
fn no_prefix_of_a_component_is_ever_swapped_in() {
    let mut live = Live::start("tests/reload/table", 2_000);
    let good = live.scene.marks.component("good");
    let before = live.generation();
    // Written in place, as a slow copy would: every 1/64 of it is there for a moment.
    for part in 0..64 {
        fs::write(live.component(), &good[..good.len() * part / 64]).unwrap();
    }
    fs::write(live.component(), &good).unwrap();
    live.serves("good");
    assert_eq!(live.generation(), before + 1, "{}", live.host.log());
    live.finish();
}

#[test]
fn two_files_that_only_fit_together_end_as_one_swap() {
    let mut live = Live::start("tests/reload/table", 20_000);
    let before = live.generation();
    let text = fs::read_to_string(&live.scene.pipeline.file).unwrap();
    let fault = crate::support::guests::component("tests/guests/fault");
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
