//! The pipeline file is live too, and files are followed without being watched where somebody asks.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use rusqlite::types::Value as Cell;
use rustix::process::Signal;
use serde_json::Value;

use super::scene::Live;
use crate::support::guests;
use crate::support::host::Host;
use crate::support::jobs::{self, Scene};
use crate::support::wait_for;

const TABLE: &str = "tests/reload/table";
const PLUGIN: &str = "plugin = \"triage.wasm\"\n";

#[test]
fn limits_and_stages_change_while_records_flow() {
    let live = Live::start(TABLE, 20_000);
    let (digest, before) = (live.digest(), live.generation());
    live.edit(PLUGIN, &format!("{PLUGIN}limits = {{ memory = \"32 MiB\" }}\n"));
    let applied = live.receipt("applied", 0);
    assert_eq!((&applied["changes"][0]["what"], applied["compile-ms"].as_f64()), (&serde_json::json!(["limits"]), Some(0.0)));
    assert_eq!((live.digest(), live.generation()), (digest, before + 1));
    fs::copy(guests::component("tests/guests/fault"), live.scene.dir.path().join("second.wasm")).unwrap();
    let second = "[[stage]]\nname = \"second\"\nplugin = \"second.wasm\"\nsettings = { names = \"do=nothing\" }\n\n";
    live.edit("[[stage]]\nname = \"triage\"", &format!("{second}[[stage]]\nname = \"triage\""));
    let added = live.receipt("applied", 1);
    assert_eq!(added["changes"][0]["stage"], "second", "{added}");
    live.flows(100);
    // What it reads is text, and the stage after it writes it as an int: the order matters now.
    live.edit("do=nothing", "do=twice");
    live.receipt("applied", 2);
    let text = fs::read_to_string(&live.scene.pipeline.file).unwrap();
    let moved = text.replace(&second.replace("nothing", "twice"), "");
    let moved =
        moved.replace("[[sink]]\nname = \"done\"", &format!("{}[[sink]]\nname = \"done\"", second.replace("nothing", "twice")));
    live.write(&moved);
    let refused = live.receipt("refused", 0);
    assert_eq!(refused["diagnostics"][0]["code"], "TM051", "{refused}");
    live.flows(100);
    live.write(&moved.replace("do=twice", "do=nothing"));
    let applied = live.receipt("applied", 3);
    assert!(
        applied["changes"].as_array().unwrap().iter().all(|change| change["what"].as_array().unwrap().contains(&"moved".into())),
        "{applied}"
    );
    live.write(&moved.replace(&second.replace("nothing", "twice"), ""));
    let removed = live.receipt("applied", 4);
    assert_eq!(removed["changes"][0]["what"], serde_json::json!(["removed"]), "{removed}");
    live.flows(100);
    live.finish();
}

#[test]
fn a_broken_file_changes_nothing_and_its_diagnostics_are_told() {
    let live = Live::start(TABLE, 20_000);
    let before = live.generation();
    live.edit("partitions = 3", "partitions = ");
    let refused = live.receipt("refused", 0);
    assert_eq!(
        (&refused["diagnostics"][0]["code"], &refused["diagnostics"][0]["line"]),
        (&Value::from("TM002"), &Value::from(11))
    );
    assert_eq!(live.status()["file"]["diagnostics"][0]["code"], "TM002");
    live.edit("partitions = ", "partitions = 5");
    let refused = live.receipt("refused", 1);
    assert!(refused["reason"].as_str().is_some_and(|why| why.contains("partitions = 3")), "{refused}");
    live.edit("name = \"jobs\"", "name = \"others\"");
    let refused = live.receipt("refused", 2);
    assert!(refused["reason"].as_str().is_some_and(|why| why.contains("`others`")), "{refused}");
    live.edit("partitions = 5", "partitions = 3");
    live.edit("name = \"others\"", "name = \"jobs\"");
    wait_for("the file to be fine", || (live.status()["file"]["diagnostics"] == serde_json::json!([])).then_some(()));
    assert_eq!(live.generation(), before);
    live.flows(100);
    live.finish();
}

#[test]
fn sinks_and_source_are_restarted_in_place() {
    let mut live = Live::start(TABLE, 40_000);
    let process = live.host.pid();
    live.edit("mark = \"mark\"\n", "mark = \"mark\"\nwhat = \"do\"\n");
    let restarted = live.receipt("restarted", 0);
    assert!(restarted["reason"].as_str().is_some_and(|why| why.starts_with("sinks changed")), "{restarted}");
    live.flows(200);
    live.edit("records-per-poll = 60", "records-per-poll = 90");
    live.receipt("restarted", 1);
    live.flows(200);
    let generation = live.generation();
    live.edit("partitions = 3", "partitions = 3\nretention = \"30d\"");
    let restarted = live.receipt("restarted", 2);
    assert!(restarted["reason"].as_str().is_some_and(|why| why.starts_with("topic changed")), "{restarted}");
    assert_eq!(live.generation(), generation, "it is the same code");
    live.flows(200);
    // What cannot be opened changes nothing, and nothing is drained for it.
    let folder = live.scene.dir.path().join("folder");
    fs::create_dir(&folder).unwrap();
    let other = format!("[[sink]]\nname = \"other\"\nat = \"file:{}\"\n\n[dead-letters]", folder.display());
    live.edit("[dead-letters]", &other);
    let refused = live.receipt("refused", 0);
    assert!(refused["reason"].as_str().is_some_and(|why| why.starts_with("sinks changed: open a sink: ")), "{refused}");
    live.flows(200);
    assert_eq!((live.count("restarted"), live.status()["sinks"].as_array().map(Vec::len)), (3, Some(1)));
    live.edit(&other, "[dead-letters]");
    // Stages are swapped live after it as before.
    live.swap("next");
    live.flows(200);
    assert_eq!((live.host.pid(), live.status()["state"].clone()), (process, Value::from("running")));
    let rows = live.scene.store().rows("SELECT what FROM \"jobs.done\" ORDER BY number DESC LIMIT 1");
    assert_eq!(rows[0]["what"], Cell::Text("keep".to_owned()));
    live.edit("mark = \"mark\"\nwhat = \"do\"\n", "mark = \"mark\"\n");
    live.receipt("restarted", 3);
    live.finish();
}

#[test]
fn a_sink_with_receipts_names_the_generation_of_every_row() {
    let table = "table = \"jobs.done\"\n";
    let mut live = Live::with(TABLE, jobs::lines(40_000), table, &format!("{table}receipts = true\n"));
    for mark in ["aaaa", "bbbb", "cccc"] {
        live.flows(200);
        live.swap(mark);
    }
    live.flows(200);
    let Live { scene, mut host, .. } = live;
    host.terminate();
    assert!(host.wait().success());
    scene.pipeline.clone().set("source.every=0s").set("source.records-per-poll=1000").run_until_idle().ok();
    assert_eq!(scene.pipeline.verify(), Vec::<String>::new());
    let store = scene.store();
    let marks: BTreeMap<u64, String> = store
        .generations()
        .into_iter()
        .map(|(number, content)| (number, scene.marks.name(content["stages"][0]["digest"].as_str().unwrap()).to_owned()))
        .collect();
    let mut seen = BTreeSet::new();
    for row in store.rows("SELECT mark, generation FROM \"jobs.done\"") {
        let (Cell::Text(mark), Cell::Integer(generation)) = (&row["mark"], &row["generation"]) else { panic!("{row:?}") };
        assert_eq!(marks.get(&(*generation as u64)), Some(mark), "generation {generation}");
        seen.insert(*generation);
    }
    assert!(seen.len() >= 4, "rows of each generation: {seen:?}");
}

#[test]
fn what_is_not_watched_is_taken_when_somebody_asks() {
    let scene = Scene::new(TABLE, jobs::lines(20_000));
    let mut host = scene.pipeline.start("run", &[]);
    let address = host.ready(&scene.store_dir());
    let mut live = Live { scene, host, address };
    assert_eq!(live.status()["file"]["watched"], false);
    live.scene.swap("aaaa");
    live.flows(100);
    assert_eq!(live.receipts().len(), 0);
    live.host.signal(Signal::HUP);
    let applied = live.receipt("applied", 0);
    assert_eq!(applied["who"], "signal");
    live.serves("aaaa");
    live.scene.swap("bbbb");
    let answer = live.ask(&["--reload"]).ok();
    assert_eq!(
        (&answer.result()["receipt"]["outcome"], &answer.result()["receipt"]["who"]),
        (&Value::from("applied"), &Value::from("api"))
    );
    live.serves("bbbb");
    let unknown = live.scene.pipeline.ask(&["receipts"], &["--stage", "nobody", "--reload"]);
    assert!(
        unknown.exit == 1 && unknown.envelope["error"]["message"].as_str().is_some_and(|why| why.contains("nobody")),
        "{unknown:?}"
    );
    let scene = live.finish();
    let kept = scene.pipeline.ask(&["receipts"], &[]).ok();
    assert_eq!(kept.result()["receipts"].as_array().map(Vec::len), Some(2), "they are in the store");
}

/// What its stage is built with.
const BUILD: &str = "cp source.bin target/made.wasm\n";

/// A scene whose plugin is a folder with source.
fn of_source() -> (Scene, PathBuf) {
    let mut scene = Scene::new(TABLE, jobs::lines(20_000));
    let folder = scene.dir.path().join("triage");
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("plugin.toml"), "build = [\"sh\", \"build.sh\"]\ncomponent = \"target/made.wasm\"\n").unwrap();
    fs::write(folder.join("build.sh"), BUILD).unwrap();
    fs::write(folder.join("source.bin"), scene.marks.component("0000")).unwrap();
    let text = fs::read_to_string(&scene.pipeline.file).unwrap();
    fs::write(&scene.pipeline.file, text.replace("triage.wasm", "triage")).unwrap();
    (scene, folder)
}

/// A build that never ends, with a child as compilers have them; tells the ids of both.
const ENDLESS: &str = "tail -f /dev/null &\necho $$ $! >target/ids.fresh\nmv target/ids.fresh target/ids\nwait\n";

#[track_caller]
fn builders(folder: &Path) -> Vec<String> {
    let ids = wait_for("a build to begin", || fs::read_to_string(folder.join("target/ids")).ok());
    fs::remove_file(folder.join("target/ids")).unwrap();
    ids.split_whitespace().map(str::to_owned).collect()
}

/// Gone, or as good as gone: nobody may have asked for its end.
fn have_ended(ids: &[String]) -> Option<()> {
    let state = |id: &String| fs::read_to_string(format!("/proc/{id}/stat")).ok()?.rsplit(") ").next()?.chars().next();
    ids.iter().all(|id| state(id).is_none_or(|state| matches!(state, 'Z' | 'X'))).then_some(())
}

#[test]
fn what_builds_ends_with_the_process_that_waits_for_it() {
    let (scene, folder) = of_source();
    fs::write(folder.join("build.sh"), ENDLESS).unwrap();
    for (verb, signal) in [("dev", Signal::TERM), ("dev", Signal::INT), ("build", Signal::TERM)] {
        let mut host = match verb {
            "dev" => scene.pipeline.start(verb, &[]),
            _ => Host::spawn(scene.pipeline.command(&[verb])),
        };
        let ids = builders(&folder);
        assert!(ids.len() == 2 && have_ended(&ids).is_none(), "{ids:?} run");
        host.signal(signal);
        assert_eq!(host.wait().code(), Some(128 + signal.as_raw()), "{verb}:\n{}", host.log());
        wait_for("what built to end", || have_ended(&ids));
    }
    // While the pipeline runs, by a drain that somebody asks for.
    fs::write(folder.join("build.sh"), BUILD).unwrap();
    for signal in [Signal::TERM, Signal::INT] {
        let mut host = scene.pipeline.start("dev", &[]);
        host.ready(&scene.store_dir());
        fs::write(folder.join("build.sh"), ENDLESS).unwrap();
        let ids = builders(&folder);
        host.signal(signal);
        assert!(host.wait().success(), "{}", host.log());
        wait_for("what built to end", || have_ended(&ids));
        fs::write(folder.join("build.sh"), BUILD).unwrap();
    }
    let told = scene.pipeline.ask(&["receipts"], &[]).ok();
    assert_eq!(told.result()["receipts"], serde_json::json!([]), "nobody has tried a build that was ended");
}

#[test]
fn a_plugin_that_is_source_is_built_when_it_is_saved() {
    let (scene, folder) = of_source();
    let mut host = scene.pipeline.start("dev", &[]);
    let address = host.ready(&scene.store_dir());
    let mut live = Live { scene, host, address };
    fs::write(folder.join("source.bin"), live.scene.marks.component("aaaa")).unwrap();
    live.receipt("applied", 0);
    live.serves("aaaa");
    fs::write(folder.join("build.sh"), "echo 'error: expected `;`\n --> src/lib.rs:3:5' >&2; exit 1\n").unwrap();
    let refused = live.receipt("refused", 0);
    assert!(refused["reason"].as_str().is_some_and(|why| why.contains("src/lib.rs:3:5")), "{refused}");
    assert_eq!(live.status()["stages"][0]["candidate"]["state"], "refused");
    live.serves("aaaa");
    fs::write(folder.join("source.bin"), live.scene.marks.component("bbbb")).unwrap();
    fs::write(folder.join("build.sh"), BUILD).unwrap();
    live.serves("bbbb");
    live.receipt("applied", 1);
    let log = wait_for(&format!("the lines of dev:\n{}", live.host.log()), || {
        let log = live.host.log();
        (log.matches(": swapped in ").count() >= 2).then_some(log)
    });
    assert!(log.contains("✓ triage generation 2: swapped in ") && log.contains(" records in flight"), "{log}");
    assert!(log.contains("✗ triage kept generation 2: build ") && log.contains(" --> src/lib.rs:3:5"), "{log}");
    live.finish();
}
