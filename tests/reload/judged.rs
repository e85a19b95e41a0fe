//! Code that is judged by what it does: beside the stream, by a person, by the breaker; and the way back.

use std::fs;
use std::io::Write;

use serde_json::Value;

use super::scene::Live;
use crate::support::guests;
use crate::support::host::{Host, get};
use crate::support::jobs;
use crate::support::wait_for;

const TABLE: &str = "tests/reload/table";
const PLUGIN: &str = "plugin = \"triage.wasm\"\n";

fn with_swap(swap: &str, records: usize) -> Live {
    Live::with(TABLE, jobs::lines(records), PLUGIN, &format!("{PLUGIN}swap = {{ {swap} }}\n"))
}

#[test]
fn code_that_agrees_on_live_records_comes_into_force_by_itself() {
    let mut live = with_swap("mode = \"shadow\", shadow-records = 300", 20_000);
    let same = live.scene.marks.variant("0000", 1);
    live.save(&same);
    let receipt = live.receipt("shadowing", 0);
    assert_eq!(receipt["pause-ms"], Value::Null);
    let applied = live.receipt("applied", 0);
    assert_eq!((&applied["who"], applied["generation"].as_u64()), (&Value::from("shadow"), Some(live.generation())));
    live.finish();
}

#[test]
fn code_that_differs_waits_for_a_person_and_shows_how() {
    let mut live = with_swap("mode = \"shadow\", shadow-records = 300", 40_000);
    let before = live.digest();
    let other = live.scene.marks.component("best");
    live.save(&other);
    live.receipt("shadowing", 0);
    let shadow = wait_for("records to be compared", || {
        let shadow = live.get("/api/stages/triage/shadow");
        (shadow["records"].as_u64()? >= 300).then_some(shadow)
    });
    assert!(shadow["differing"].as_u64().unwrap() > 200, "{shadow}");
    let fields = shadow["fields"].as_array().unwrap();
    assert!(fields.iter().any(|field| field["field"] == "mark"), "{shadow}");
    assert!(fields.iter().all(|field| ["mark", "@outcome"].contains(&field["field"].as_str().unwrap())), "{shadow}");
    let example = shadow["examples"].as_array().unwrap().iter().find(|example| example["field"] == "mark").unwrap();
    assert_eq!((&example["old"], &example["new"]), (&Value::from("0000"), &Value::from("best")));
    assert!(shadow["examples"].as_array().unwrap().len() <= 10);
    assert!(shadow["old-micros-per-record"].as_f64().unwrap() > 0.0 && shadow["new-micros-per-record"].as_f64().unwrap() > 0.0);
    assert_eq!(live.digest(), before, "the old code serves");
    assert_eq!(live.ask(&["--promote"]).ok().result()["receipt"]["outcome"], "applied");
    live.serves("best");
    let again = live.ask(&["--promote"]);
    assert!(
        again.exit == 1 && again.envelope["error"]["message"].as_str().is_some_and(|why| why.contains("nothing waits")),
        "{again:?}"
    );
    live.finish();
}

#[test]
fn code_that_traps_or_comes_to_no_end_beside_the_stream_harms_nobody() {
    let lines = (0..20_000).map(|number| format!(r#"{{"number":{number},"name":"job-{number}","do":"fix"}}"#).into_bytes());
    let shadow =
        format!("{PLUGIN}limits = {{ batch-time = \"200ms\" }}\nswap = {{ mode = \"shadow\", shadow-records = 1000000 }}\n");
    let mut scene = jobs::Scene::new(TABLE, lines.collect());
    scene.swap("good");
    let text = fs::read_to_string(&scene.pipeline.file).unwrap().replace("\"20ms\"", "\"50ms\"");
    fs::write(&scene.pipeline.file, text.replace(PLUGIN, &shadow)).unwrap();
    let mut live = Live::of(scene);
    live.flows(100);
    let before = (live.digest(), live.generation());
    let compared = |live: &Live| live.get("/api/stages/triage/shadow");

    let traps = live.scene.marks.component("trap");
    live.save(&traps);
    live.receipt("shadowing", 0);
    let shadow = wait_for("its traps to be compared", || Some(compared(&live)).filter(|shadow| shadow["differing"] != 0));
    let example = &shadow["examples"][0];
    assert_eq!((&example["field"], &example["old"]), (&Value::from("@outcome"), &Value::from("emitted")), "{shadow}");
    assert!(example["new"].as_str().is_some_and(|new| new.starts_with("rejected: ") && new.contains("trap: ")), "{shadow}");
    live.flows(100);

    let spins = live.scene.marks.component("spin");
    live.save(&spins);
    live.receipt("shadowing", 1);
    wait_for("records to go by while it is busy", || compared(&live)["skipped"].as_u64().filter(|skipped| *skipped > 0));
    live.flows(200);
    let totals = live.status()["totals"].clone();
    assert_eq!((&totals["rejected"], live.digest(), live.generation()), (&Value::from(0), before.0, before.1), "{totals}");
    live.ask(&["--discard"]).ok();
    live.finish();
}

#[test]
fn what_runs_beside_is_forgotten_when_its_file_is_put_back_or_broken() {
    let mut live = with_swap("mode = \"shadow\", shadow-records = 1000000", 20_000);
    let (first, other) = (live.scene.marks.component("0000"), live.scene.marks.component("best"));
    for (known, instead) in [(0, &first[..]), (1, &b"no plugin"[..])] {
        live.save(&other);
        live.receipt("shadowing", known);
        live.save(instead);
        let forgotten = live.receipt("discarded", known);
        assert!(forgotten["reason"].as_str().is_some_and(|why| why.contains("lies there no more")), "{forgotten}");
        assert_eq!(get(&live.address, "/api/stages/triage/shadow").map(|(status, _)| status), Some(404));
    }
    assert!(live.ask(&["--promote"]).exit == 1);
    live.serves("0000");
    live.save(&first);
    live.finish();
}

#[test]
fn what_a_person_must_promote_waits_and_what_was_discarded_stays_away_until_it_changes() {
    let mut live = with_swap("mode = \"manual\"", 20_000);
    let before = live.digest();
    let first = live.scene.marks.component("aaaa");
    live.save(&first);
    live.receipt("waiting", 0);
    assert_eq!(live.status()["stages"][0]["candidate"]["state"], "waiting");
    live.ask(&["--discard"]).ok();
    let same = live.scene.marks.variant("0000", 7);
    live.save(&same);
    live.receipt("waiting", 1);
    live.save(&first);
    wait_for("it to be known", || (live.status()["stages"][0]["candidate"]["state"] == "quarantined").then_some(()));
    assert_eq!(live.digest(), before);
    let second = live.scene.marks.component("bbbb");
    live.save(&second);
    live.receipt("waiting", 2);
    live.ask(&["--promote"]).ok();
    live.serves("bbbb");
    live.finish();
}

#[test]
fn a_swap_that_makes_things_worse_undoes_itself() {
    // Under the mark 0000 each of these is rejected.
    let lines = (0..8_000).map(|number| format!(r#"{{"number":{number},"name":"job-{number}","do":"fix"}}"#).into_bytes());
    let mut scene = jobs::Scene::new(TABLE, lines.collect());
    scene.swap("good");
    let mut live = Live::of(scene);
    live.flows(600);
    let good = live.generation();
    let bad = live.scene.marks.component("0000");
    live.save(&bad);
    let back = live.receipt("rolled-back", 0);
    assert_eq!(back["who"], "breaker");
    let reason = back["reason"].as_str().unwrap_or_default();
    assert!(reason.contains("it rejected") && reason.contains("meets a mistake of 0000"), "{reason}");
    assert_eq!(live.generation(), good + 2, "a roll-back is a generation of its own");
    live.serves("good");
    let rejected = live.status()["totals"]["rejected"].as_u64().unwrap();
    assert!(rejected < 200, "{rejected} records were rejected before it was stopped");
    wait_for("it to be told", || (live.status()["stages"][0]["candidate"]["state"] == "quarantined").then_some(()));
    // The same bytes again are not tried; others are.
    live.save(&bad);
    live.flows(100);
    live.swap("next");
    live.receipt("applied", 1);
    assert_eq!(live.count("rolled-back"), 1);
    live.finish();
}

#[test]
fn what_was_taken_back_stays_away_over_a_restart_though_its_file_lies_there() {
    let lines = (0..8_000).map(|number| format!(r#"{{"number":{number},"name":"job-{number}","do":"fix"}}"#).into_bytes());
    let mut scene = jobs::Scene::new(TABLE, lines.collect());
    scene.swap("good");
    let mut live = Live::of(scene);
    live.flows(600);
    let bad = live.scene.marks.component("0000");
    live.save(&bad);
    live.receipt("rolled-back", 0);
    let generation = live.generation();
    live.restart(&[]);
    live.serves("good");
    assert_eq!(live.generation(), generation, "nothing was claimed anew");
    wait_for("it to be told", || (live.status()["stages"][0]["candidate"]["state"] == "quarantined").then_some(()));
    live.flows(100);
    // The same after a start that watches; and what has other bytes is tried as ever.
    live.restart(&["--watch"]);
    live.serves("good");
    live.flows(100);
    live.swap("next");
    live.restart(&["--watch"]);
    live.serves("next");
    live.finish();
}

const GOOD: usize = 1_000;

/// Code with a mark comes into force before a record shows that it is bad, then this happens, and then so many records come.
#[track_caller]
fn watched_on(bad: &str, later: usize, why: &[&str], happens: impl FnOnce(&mut Live)) {
    let what = |number: usize| if number < GOOD { "keep" } else { "fix" };
    let line = |number| format!(r#"{{"number":{number},"name":"job-{number}","do":"{}"}}"#, what(number)).into_bytes();
    let mut scene = jobs::Scene::new(TABLE, (0..GOOD + later).map(line).collect());
    let source = scene.dir.path().join("jobs.ndjson");
    let (known, later) = scene.lines.split_at(GOOD);
    fs::write(&source, [&known.join(&b'\n')[..], b"\n"].concat()).unwrap();
    let later = later.join(&b'\n');
    scene.swap("good");
    let mut live = Live::of(scene);
    wait_for("what there is to be settled", || (live.settled() == GOOD as u64).then_some(()));
    let bad = live.scene.marks.component(bad);
    live.save(&bad);
    live.receipt("applied", 0);
    let generation = live.generation();
    happens(&mut live);
    assert_eq!(live.generation(), generation, "it goes on with what it had");
    fs::OpenOptions::new().append(true).open(&source).unwrap().write_all(&later).unwrap();
    let back = live.receipt("rolled-back", 0);
    assert!(back["who"] == "breaker" && back["from-generation"] == generation, "{back}");
    let reason = back["reason"].as_str().unwrap_or_default();
    assert!(why.iter().all(|why| reason.contains(why)), "{reason}");
    live.serves("good");
    wait_for("it to be told", || (live.status()["stages"][0]["candidate"]["state"] == "quarantined").then_some(()));
    live.restart(&["--watch"]);
    live.serves("good");
    live.finish();
}

const REJECTS_MORE: &[&str] = &["it rejected ", "the code before 0 of 1000; as in: job 1"];

#[test]
fn code_that_traps_is_taken_back() {
    watched_on("trap", 2 * GOOD, &["it rejected ", "the code before 0 of 1000; as in: ", "trap: "], |_| {});
}

/// Few records: what waits is one batch, which may not take longer than a call.
#[test]
fn code_that_takes_longer_is_taken_back() {
    watched_on("slow", 400, &["it takes ", " µs for a record, the code before took "], |_| {});
}

#[test]
fn code_that_fails_on_records_already_seen_never_comes_into_force() {
    let lines = (0..8_000).map(|number| format!(r#"{{"number":{number},"name":"job-{number}","do":"fix"}}"#).into_bytes());
    let mut scene = jobs::Scene::new(TABLE, lines.collect());
    scene.swap("good");
    let mut live = Live::of(scene);
    live.flows(300);
    let before = (live.digest(), live.generation());
    let bad = live.scene.marks.component("trap");
    live.save(&bad);
    let refused = live.receipt("refused", 0);
    let reason = refused["reason"].as_str().unwrap_or_default();
    assert!(reason.contains("tried with ") && reason.contains(" recent records, stage triage failed: "), "{reason}");
    assert!(reason.contains("trap: "), "{reason}");
    live.flows(100);
    assert_eq!((live.digest(), live.generation(), live.count("applied")), (before.0, before.1, 0));
    let same = live.scene.marks.variant("good", 1);
    live.save(&same);
    let applied = live.receipt("applied", 0);
    assert!(applied["probed"].as_u64().is_some_and(|probed| probed > 0), "{applied}");
    let scene = live.finish();
    assert!(scene.store().dead_letters().is_empty());
}

#[test]
fn a_swap_that_was_watched_when_the_host_was_killed_is_watched_on_by_the_next_one() {
    watched_on("0000", 2 * GOOD, REJECTS_MORE, |live| {
        live.host.signal(rustix::process::Signal::KILL);
        assert!(Host::was_killed(live.host.wait()));
        live.host = live.scene.pipeline.start("run", &["--watch"]);
        live.address = live.host.ready(&live.scene.store_dir());
    });
}

#[test]
fn a_swap_is_watched_on_where_the_source_changes_meanwhile() {
    watched_on("0000", 2 * GOOD, REJECTS_MORE, |live| {
        live.edit("records-per-poll = 60", "records-per-poll = 59");
        live.receipt("restarted", 0);
    });
}

/// Rejects what comes after a stage that leaves a mark, and nothing where it stands before it.
const GUARD: &str = "[[stage]]\nname = \"guard\"\nplugin = \"guard.wasm\"\nsettings = { names = \"do=mark\" }\n\n";
const TRIAGE: &str = "[[stage]]\nname = \"triage\"";
const SINK: &str = "[[sink]]\nname = \"done\"";

fn guarded(from: &str) -> Live {
    let scene = jobs::Scene::new(TABLE, jobs::lines(20_000));
    fs::copy(guests::component("tests/guests/fault"), scene.dir.path().join("guard.wasm")).unwrap();
    let text = fs::read_to_string(&scene.pipeline.file).unwrap();
    fs::write(&scene.pipeline.file, text.replace(from, &format!("{GUARD}{from}"))).unwrap();
    Live::of(scene)
}

fn stages(live: &Live) -> Vec<String> {
    let status = live.status();
    let name = |stage: &Value| stage["name"].as_str().expect("a name").to_owned();
    status["stages"].as_array().expect("stages").iter().map(name).collect()
}

/// The shipped verifier knows chains of any stages.
fn end(live: Live) {
    live.host.terminate();
    let Live { scene, mut host, .. } = live;
    assert!(host.wait().success(), "{}", host.log());
    scene.pipeline.clone().set("source.every=0s").set("source.records-per-poll=1000").run_until_idle().ok();
    assert_eq!(scene.pipeline.verify(), Vec::<String>::new());
}

#[test]
fn an_order_of_stages_that_was_taken_back_stays_away_over_a_restart_though_the_file_has_it() {
    let mut live = guarded(TRIAGE);
    live.flows(600);
    let text = fs::read_to_string(&live.scene.pipeline.file).unwrap();
    let moved = text.replace(GUARD, "").replace(SINK, &format!("{GUARD}{SINK}"));
    live.write(&moved);
    let back = live.receipt("rolled-back", 0);
    assert!(back["who"] == "breaker" && back["changes"][0]["what"] == serde_json::json!(["moved"]), "{back}");
    let generation = live.generation();
    for arguments in [&[][..], &["--watch"]] {
        live.restart(arguments);
        live.flows(100);
        assert_eq!((stages(&live), live.generation()), (vec!["guard".to_owned(), "triage".to_owned()], generation));
    }
    // With another stage in it, it is another chain, and tried as ever.
    live.write(&moved.replace(PLUGIN, &format!("{PLUGIN}limits = {{ memory = \"32 MiB\" }}\n")));
    live.receipt("rolled-back", 1);
    // What is by somebody's wish in force again stays away no more.
    live.write(&text);
    live.flows(100);
    live.restart(&["--watch"]);
    assert_eq!(stages(&live), ["guard", "triage"]);
    end(live);
}

#[test]
fn a_stage_that_was_added_and_taken_back_stays_away_over_a_restart() {
    let mut live = Live::start(TABLE, 20_000);
    fs::copy(guests::component("tests/guests/fault"), live.scene.dir.path().join("guard.wasm")).unwrap();
    live.flows(600);
    live.edit(SINK, &format!("{GUARD}{SINK}"));
    let back = live.receipt("rolled-back", 0);
    assert_eq!(back["who"], "breaker", "{back}");
    let generation = live.generation();
    live.restart(&["--watch"]);
    live.flows(100);
    assert_eq!((stages(&live), live.generation()), (vec!["triage".to_owned()], generation));
    // Where it does no harm it is let in.
    let text = fs::read_to_string(&live.scene.pipeline.file).unwrap();
    live.write(&text.replace(GUARD, "").replace(TRIAGE, &format!("{GUARD}{TRIAGE}")));
    live.receipt("applied", 1);
    live.restart(&["--watch"]);
    live.flows(100);
    assert_eq!(stages(&live), ["guard", "triage"]);
    end(live);
}

#[test]
fn what_a_person_went_back_to_stays_over_a_restart_and_so_does_the_way_forward() {
    let mut live = Live::start(TABLE, 20_000);
    live.swap("aaaa");
    let first = live.generation();
    live.swap("bbbb");
    let second = live.generation();
    live.ask(&["--roll-back", &first.to_string()]).ok();
    live.restart(&["--watch"]);
    live.serves("aaaa");
    live.ask(&["--roll-back", &second.to_string()]).ok();
    live.restart(&["--watch"]);
    live.serves("bbbb");
    live.flows(50);
    live.finish();
}

#[test]
fn a_person_may_go_back_to_any_generation_and_the_file_stays_as_it_is() {
    let mut live = Live::start(TABLE, 20_000);
    let mut numbers = Vec::new();
    for mark in ["aaaa", "bbbb", "cccc"] {
        live.swap(mark);
        numbers.push(live.generation());
        live.flows(50);
    }
    let answer = live.ask(&["--roll-back", &numbers[0].to_string()]).ok();
    assert_eq!(answer.result()["receipt"]["outcome"], "rolled-back");
    live.serves("aaaa");
    assert_eq!(live.generation(), numbers[2] + 1);
    let known = live.get("/api/generations");
    assert_eq!(known[0]["generation"], live.generation());
    assert_eq!(known[0]["stages"][0]["digest"], live.digest());
    // Another look at the files finds the same file, which was gone back from.
    live.ask(&["--reload"]).ok();
    live.serves("aaaa");
    let same = live.ask(&["--roll-back", &numbers[0].to_string()]);
    assert!(same.exit == 1, "{same:?}");
    let unknown = live.ask(&["--roll-back", "4711"]);
    assert!(
        unknown.exit == 1 && unknown.envelope["error"]["message"].as_str().is_some_and(|why| why.contains("4711")),
        "{unknown:?}"
    );
    live.swap("dddd");
    live.finish();
}
