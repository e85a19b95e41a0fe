//! What a stage is given, limits and grants, changes while records flow, and what has changed holds: at once, and over a kill for the
//! records that were decided by it.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};
use std::thread;

use rustix::process::Signal;
use serde_json::{Value, json};

use super::scene::Live;
use crate::support::host::Host;
use crate::support::jobs::Scene;
use crate::support::{guests, wait_for};

/// A stage behind `triage` that does what the field `how` says.
const SECOND: &str = "[[stage]]\nname = \"second\"\nplugin = \"second.wasm\"\nsettings = { names = \"do=how\" }\n\
                      swap = { roll-back-when = \"never\", times-slower = 1000 }\n";
const SMALL: &str = "limits = { stack = \"64 KiB\" }\n";
const SINK: &str = "[[sink]]\nname = \"done\"";

#[test]
fn another_stack_holds_at_once_and_for_its_records_over_a_kill() {
    const BEFORE: usize = 600;
    let how = |number: usize| if number.is_multiple_of(10) { "deep" } else { "ok" };
    let line =
        |number| format!(r#"{{"number":{number},"name":"job-{number}","do":"keep","how":"{}"}}"#, how(number)).into_bytes();
    let scene = Scene::new("tests/reload/table-and-file", (0..40_000).map(line).collect());
    fs::copy(guests::component("tests/guests/fault"), scene.dir.path().join("second.wasm")).unwrap();
    let text = fs::read_to_string(&scene.pipeline.file).unwrap();
    fs::write(&scene.pipeline.file, text.replacen(SINK, &format!("{SECOND}\n{SINK}"), 1)).unwrap();
    let source = scene.dir.path().join("jobs.ndjson");
    let (first, later) = scene.lines.split_at(BEFORE);
    fs::write(&source, [&first.join(&b'\n')[..], b"\n"].concat()).unwrap();
    let later = later.join(&b'\n');
    let mut live = Live::of(scene);
    wait_for("what there is to be settled", || (live.settled() == BEFORE as u64).then_some(()));
    assert_eq!(live.status()["totals"]["rejected"], 0, "1 MiB is enough");

    live.edit(SECOND, &format!("{SECOND}{SMALL}"));
    let refused = live.receipt("refused", 0);
    let reason = refused["reason"].as_str().unwrap_or_default();
    assert!(reason.contains("tried with ") && reason.contains("call stack exhausted"), "{reason}");
    // A host that has seen no record has none to try it with.
    live.edit(SMALL, "");
    live.restart(&["--watch"]);
    live.edit(SECOND, &format!("{SECOND}{SMALL}"));
    let applied = live.receipt("applied", 0);
    assert_eq!(applied["changes"][0]["what"], json!(["limits"]), "{applied}");
    fs::OpenOptions::new().append(true).open(&source).unwrap().write_all(&later).unwrap();
    let generation = applied["generation"].as_u64().unwrap();
    let rejected = |live: &Live| live.status()["totals"]["rejected"].as_u64().unwrap();
    wait_for("deep records to be rejected", || (rejected(&live) > 20).then_some(()));

    live.host.signal(Signal::KILL);
    assert!(Host::was_killed(live.host.wait()));
    let of_it = |live: &Live| {
        let letters = live.scene.store().dead_letters();
        assert!(letters.values().all(|letter| letter.reason.contains("call stack exhausted")), "{letters:?}");
        assert!(letters.values().all(|letter| letter.generation == generation), "{letters:?}");
        letters.len()
    };
    let before = of_it(&live);
    let positions = live.scene.store().partitions().into_iter().filter_map(|partition| partition.position);
    let ahead: i64 = positions.map(|at| at.reach - at.next).sum();
    assert!(ahead > 100, "records that may have been written have to be decided as they were");
    live.edit(SMALL, "");
    live.host = live.scene.pipeline.start("run", &["--watch"]);
    live.address = live.host.ready(&live.scene.store_dir());
    wait_for("the generation before to decide what it may have decided", || (of_it(&live) > before).then_some(()));
    live.host.terminate();
    assert!(live.host.wait().success(), "{}", live.host.log());
    of_it(&live);
    assert_eq!(live.scene.pipeline.verify(), Vec::<String>::new());
}

const ERRANDS: &str = r#"
name = "jobs"

[source]
kind = "file"
path = "jobs.ndjson"
every = "20ms"
records-per-poll = 2

[[stage]]
name = "triage"
plugin = "triage.wasm"

[[sink]]
name = "lines"
at = "file:lines.ndjson"

[dead-letters]
stop-when = "never"
"#;
const PLUGIN: &str = "plugin = \"triage.wasm\"\n";

/// Heads of the requests that came; each is answered with `hello`.
fn server() -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let origin = format!("http://{}", listener.local_addr().expect("an address"));
    let asked = Arc::new(Mutex::new(Vec::new()));
    let known = asked.clone();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.expect("a connection");
            let (mut head, mut piece) = (Vec::new(), [0; 4096]);
            while !head.ends_with(b"\r\n\r\n") {
                match stream.read(&mut piece) {
                    Ok(bytes) if bytes > 0 => head.extend_from_slice(&piece[..bytes]),
                    _ => break,
                }
            }
            known.lock().unwrap().push(String::from_utf8_lossy(&head).to_lowercase());
            // The host may have ended meanwhile.
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\nconnection: close\r\n\r\nhello");
        }
    });
    (origin, asked)
}

#[test]
fn what_asks_for_more_is_parked_until_it_is_granted_and_another_value_of_a_grant_holds_too() {
    let (origin, asked) = server();
    let line = |number: usize| format!(r#"{{"number":{number},"do":"get","what":"{origin}/{number}"}}"#).into_bytes();
    let scene = Scene::new("tests/reload/table", (0..20_000).map(line).collect());
    fs::write(&scene.pipeline.file, ERRANDS).unwrap();
    // It knows no `get`, and rejects each record.
    fs::copy(guests::component("tests/guests/fault"), scene.dir.path().join("triage.wasm")).unwrap();
    let live = Live::of(scene);
    let before = (live.digest(), live.generation());
    live.flows(10);

    live.save(&fs::read(guests::component("tests/guests/outward")).unwrap());
    let parked = live.receipt("parked", 0);
    let reason = parked["reason"].as_str().unwrap();
    for part in [
        "asks for outgoing HTTP (`wasi:http`)",
        "; what runs does not import ",
        "wasi:http/outgoing-handler@",
        "grants = { http = ",
    ] {
        assert!(reason.contains(part), "{part}: {reason}");
    }
    let gained = parked["changes"][0]["gained"].as_array().unwrap();
    assert!(gained.iter().any(|import| import.as_str().is_some_and(|name| name.starts_with("wasi:http/types@"))), "{parked}");
    assert!(gained.iter().all(|import| reason.contains(import.as_str().unwrap())), "{parked}");
    assert_eq!(parked["diagnostics"][0]["code"], "TM073", "{parked}");
    assert_eq!(live.status()["stages"][0]["candidate"]["state"], "parked");
    live.flows(10);
    assert_eq!((live.digest(), live.generation()), before, "the old code goes on");
    assert!(asked.lock().unwrap().is_empty());

    let grant = |key: &str| format!("grants = {{ http = [{{ url = \"{origin}\", headers = {{ x-key = \"{key}\" }} }}] }}\n");
    live.edit(PLUGIN, &format!("{PLUGIN}{}", grant("hush-one")));
    let applied = live.receipt("applied", 0);
    assert_eq!(applied["changes"][0]["what"], json!(["code", "grants"]), "{applied}");
    assert_eq!(applied["changes"][0]["gained"], parked["changes"][0]["gained"]);
    assert_eq!((live.generation(), &live.status()["stages"][0]["candidate"]), (before.1 + 1, &Value::Null));
    let seen = |key: &str| asked.lock().unwrap().iter().any(|head| head.contains(&format!("x-key: {key}\r\n")));
    wait_for("it to ask", || seen("hush-one").then_some(()));
    wait_for("an answer to be a row", || live.status()["totals"]["emitted"].as_u64().filter(|emitted| *emitted > 0));

    // A generation knows grants by name: with another value it is drained, and goes on.
    live.edit("hush-one", "hush-two");
    let restarted = live.receipt("restarted", 0);
    assert!(restarted["reason"].as_str().is_some_and(|why| why.starts_with("values of grants changed")), "{restarted}");
    assert_eq!(restarted["changes"][0]["what"], json!(["grants"]), "{restarted}");
    wait_for("it to ask with the new value", || seen("hush-two").then_some(()));
    let last = asked.lock().unwrap().last().cloned().unwrap();
    assert!(!last.contains("hush-one"), "{last}");
    assert_eq!(live.generation(), before.1 + 1);
    live.edit("x-key = \"hush-two\" }", "x-key = \"hush-two\" }, timeout = \"7s\"");
    live.receipt("restarted", 1);
    live.flows(10);
    assert!(!live.get("/api/receipts?limit=1000").to_string().contains("hush") && !live.host.log().contains("hush"));
    let mut host = live.host;
    host.terminate();
    assert!(host.wait().success(), "{}", host.log());
}
