//! Saves that must change nothing.

use std::fs;

use serde_json::Value;

use super::scene::{Live, settled};
use crate::support::jobs::{self, Scene};
use crate::support::wait_for;
use crate::zoo::Guest;

#[test]
fn a_broken_save_changes_nothing_and_is_told_once() {
    let mut live = Live::start("tests/reload/table", 40_000);
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

/// The zoo's guests that are refused before a record is read, saved over a plugin that runs.
#[test]
fn what_is_hostile_changes_nothing_and_holds_nothing_up() {
    let plugin = "plugin = \"triage.wasm\"\n";
    let slowly = "limits = { memory = \"16 MiB\" }\n";
    let scene = Scene::new("tests/reload/table", jobs::lines(30_000));
    let text = fs::read_to_string(&scene.pipeline.file).unwrap().replace(plugin, &format!("{plugin}{slowly}"));
    // Some of them take seconds to be found out.
    let text = text.replace("\"20ms\"", "\"50ms\"").replace("records-per-poll = 60", "records-per-poll = 10");
    fs::write(&scene.pipeline.file, &text).unwrap();
    let mut live = Live::of(scene);
    let (before, first) = ((live.generation(), live.digest()), live.scene.marks.component("0000"));
    // The sink writes it as a number.
    let other = ";; verdict: refused `number`\n(data (i32.const 24) \"number\")\n\n(data (i32.const 52) \"\\06\")\n";
    let other = Guest { name: "other_contract".to_owned(), source: other.to_owned() };
    // Not those that need a limit which what runs would not keep.
    let over_another = |guest: &Guest| guest.directives("limits").all(|limit| limit.starts_with("compile-"));
    let guests: Vec<Guest> =
        Guest::all().into_iter().chain([other]).filter(|guest| guest.verdict().0 == "refused" && over_another(guest)).collect();
    assert!(guests.len() > 15, "the zoo is somewhere else now");
    for guest in &guests {
        let name = &guest.name;
        let outcome = if name.starts_with("asks_for_") { "parked" } else { "refused" };
        let known = live.count(outcome);
        let limits: String = guest.directives("limits").flat_map(str::split_whitespace).fold(String::new(), |all, limit| {
            let (key, value) = limit.split_once('=').expect("a limit");
            format!("{all}, {key} = \"{value}\"")
        });
        if !limits.is_empty() {
            live.edit("16 MiB\" }", &format!("16 MiB\"{limits} }}"));
        }
        live.save(&guest.component());
        if name == "compile_bomb" {
            let compiles = |status: &Value| status["stages"][0]["candidate"]["state"] == "compiling";
            let from = wait_for("it to be compiled", || Some(live.status()).filter(compiles).map(|status| settled(&status)));
            wait_for("records to flow beside it", || {
                let status = live.status();
                assert!(compiles(&status), "it was compiled before a record came: {status}");
                (settled(&status) > from).then_some(())
            });
        }
        let receipt = live.receipt(outcome, known);
        let reason = receipt["reason"].as_str().unwrap();
        let why = guest.verdict().1;
        assert!(reason.contains(why) && !reason.contains(char::is_control), "{name}, {why}: {reason}");
        assert!(receipt["changes"][0]["to"] != receipt["changes"][0]["from"], "{name}: {receipt}");
        assert_eq!((live.generation(), live.digest()), before, "{name}: the old code goes on");
        live.flows(10);
        if !limits.is_empty() {
            // Or the bomb would be tried again with more.
            live.save(&first);
            wait_for("what runs to lie there", || (live.status()["stages"][0]["candidate"] == Value::Null).then_some(()));
            live.edit(&limits, "");
        }
    }
    assert!(!live.host.log().contains(|character: char| character.is_control() && character != '\n'), "{}", live.host.log());
    live.swap("good");
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
