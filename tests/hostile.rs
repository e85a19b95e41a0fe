//! A zoo of hostile guests (invariant 7): each is a small file in `hostile/` with its verdict beside it, added to the honest guest in
//! `hostile/prelude.wat`. The host lives, the right record becomes the dead letter, and nobody else notices.
//!
//! Verdicts: `refused <why>` before a record is read; `blamed <why>` is the fate of the evil records; `harmless` of none, `all <why>` of every
//! one; `either` where chance decides which evil record it is. Other directives: `logged <least> <most>
//! <text>`, how many lines of the log hold a text; `limits`, `world` (what it imports), `exports`, `form`; a line
//! `;; repeat <n>: <text>` stands for n of them.

mod support;
#[path = "support/zoo.rs"]
mod zoo;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::fs;
use std::path::Path;

use support::host::{Answer, Pipeline};
use support::read::Store;
use support::root;
use tempfile::TempDir;
use zoo::Guest;

/// Runs the guest in a pipeline of its own, through the real binary; says what is other than its verdict.
fn run(guest: &Guest) -> Result<(), String> {
    let dir = TempDir::new().expect("make a folder");
    let plugin = dir.path().join("guest.wasm");
    fs::write(&plugin, guest.component()).expect("write the guest");
    let source = dir.path().join("records.ndjson");
    fs::write(&source, lines()).expect("write the records");
    let mut pipeline = Pipeline::new(root().join("tests/hostile/pipeline.toml"), dir.path().join("data"))
        .set(&format!("stage.guest.plugin={}", plugin.display()))
        .set(&format!("source.path={}", source.display()))
        .env("XDG_CACHE_HOME", &dir.path().join("cache").display().to_string())
        .env("SECRET_OF_THE_HOST", "hush");
    for limit in guest.directives("limits").flat_map(str::split_whitespace) {
        pipeline = pipeline.set(&format!("stage.guest.limits.{limit}"));
    }
    let (verdict, why) = guest.verdict();
    let answer = pipeline.run_until_idle();
    safe_to_print(&answer)?;
    for said in guest.directives("logged") {
        let mut parts = said.splitn(3, ' ');
        let mut bound = || parts.next().and_then(|bound| bound.parse::<usize>().ok()).expect("two bounds and a text");
        let (least, most) = (bound(), bound());
        let text = parts.next().expect("a text");
        let lines = answer.stderr.lines().filter(|line| line.contains(text)).count();
        if !(least..=most).contains(&lines) {
            return Err(format!("{lines} lines say {text:?}:\n{}", answer.stderr));
        }
    }
    if answer.exit == 2 && matches!(verdict, "refused" | "either") {
        let told = answer.envelope["result"].to_string();
        return match told.contains(&why.escape_default().to_string()) || told.contains(why) {
            true => Ok(()),
            false => Err(format!("refused for another reason: {told}")),
        };
    }
    if answer.exit != 0 {
        return Err(format!("exit {}: {}\n{}", answer.exit, answer.envelope, answer.stderr));
    }
    compare(&Store::open(&pipeline.store("zoo"), "zoo"), verdict, why)
}

const RECORDS: usize = 60;
const EVIL: [usize; 2] = [17, 41];

fn lines() -> String {
    (0..RECORDS).fold(String::new(), |mut lines, at| {
        let what = if EVIL.contains(&at) { "evil".to_owned() } else { format!("good {at}") };
        writeln!(lines, r#"{{"id":"{at}","do":"{what}"}}"#).expect("text");
        lines
    })
}

/// Every record is a row with what an honest guest writes, or a dead letter, by the verdict.
fn compare(store: &Store, verdict: &str, why: &str) -> Result<(), String> {
    let rows: BTreeMap<usize, String> = store
        .rows(r#"SELECT id, did FROM "zoo.rows""#)
        .iter()
        .map(|row| {
            let text = |name: &str| match &row[name] {
                rusqlite::types::Value::Text(text) => text.clone(),
                other => format!("{other:?}"),
            };
            (text("id").parse().expect("an id"), text("did"))
        })
        .collect();
    let letters: BTreeMap<usize, String> = store
        .dead_letters()
        .into_values()
        .map(|letter| {
            let record: serde_json::Value = serde_json::from_slice(letter.value.as_deref().unwrap_or_default()).expect("JSON");
            (record["id"].as_str().and_then(|id| id.parse().ok()).expect("an id"), letter.reason)
        })
        .collect();
    let blamed: BTreeSet<usize> = letters.keys().copied().collect();
    let evil = BTreeSet::from(EVIL);
    let expected = match verdict {
        "blamed" => blamed == evil,
        "harmless" => blamed.is_empty(),
        "all" => blamed.len() == RECORDS,
        "either" => blamed.is_subset(&evil) || blamed.len() == RECORDS,
        other => return Err(format!("it ran, and should have been {other}")),
    };
    if !expected {
        return Err(format!("the dead letters are {letters:?}"));
    }
    if let Some((at, reason)) = letters.iter().find(|(_, reason)| !reason.contains(why) || reason.chars().any(char::is_control)) {
        return Err(format!("record {at} was rejected for: {reason:?}"));
    }
    for at in (0..RECORDS).filter(|at| !blamed.contains(at)) {
        let honest = if evil.contains(&at) { "evil".to_owned() } else { format!("good {at}") };
        // Whoever lets two things lie in one place spoils its own records, and nobody else's.
        if rows.get(&at) != Some(&honest) && verdict != "either" {
            return Err(format!("record {at} became {:?}", rows.get(&at)));
        }
    }
    match rows.len() + letters.len() {
        RECORDS => Ok(()),
        all => Err(format!("{all} records of {RECORDS} came to an end")),
    }
}

/// Nothing that a guest says reaches a terminal as more than text, and nothing of the host reaches a guest.
fn safe_to_print(answer: &Answer) -> Result<(), String> {
    let said = format!("{}{}", answer.stderr, answer.envelope);
    match said.chars().find(|character| character.is_control() && *character != '\n') {
        Some(character) => Err(format!("{character:?} reaches the terminal: {said}")),
        None => Ok(()),
    }
}

/// Every fourth guest, so that they share the cores.
#[track_caller]
fn judge(quarter: usize) {
    let guests = Guest::all();
    assert!(guests.len() >= 50, "the zoo is somewhere else now");
    let only = std::env::var("TIDEMILL_GUEST").ok();
    let chosen = guests.iter().skip(quarter).step_by(4).filter(|guest| only.as_ref().is_none_or(|only| guest.name == *only));
    let escaped: Vec<String> =
        chosen.filter_map(|guest| run(guest).err().map(|why| format!("{} ({}): {why}", guest.name, guest.verdict().0))).collect();
    assert!(escaped.is_empty(), "{} guests did other than their verdict:\n{}", escaped.len(), escaped.join("\n\n"));
}

#[test]
fn first_quarter_of_the_zoo() {
    judge(0);
}

#[test]
fn second_quarter_of_the_zoo() {
    judge(1);
}

#[test]
fn third_quarter_of_the_zoo() {
    judge(2);
}

#[test]
fn last_quarter_of_the_zoo() {
    judge(3);
}

/// The zoo would pass if nothing were compared: an honest guest does not earn the verdicts of the others.
#[test]
fn an_honest_guest_fails_every_verdict_but_its_own() {
    let honest = |verdict: &str| Guest { name: "honest".to_owned(), source: format!(";; Honest.\n;; verdict: {verdict}\n") };
    assert_eq!(run(&honest("harmless")), Ok(()));
    for verdict in ["refused x", "blamed x", "all x"] {
        assert!(run(&honest(verdict)).is_err(), "{verdict}");
    }
    assert!(!Path::new(&root().join("tests/hostile/honest.wat")).exists());
}
