//! What is shown of records: samples of the stages, what a mask hides, and what a public page leaves out.

use serde_json::{Value, json};
use tidemill::status::mask::Mask;
use tidemill::status::view::Showing;

use crate::http::{get, post};
use crate::running::{Pipeline, Running, tidemill};
use crate::support::{guests, root, wait_for};
use crate::{CHANGES, Host, fill};

/// The shipped users, made up, through both plugins.
fn users(more: &str) -> Pipeline {
    for plugin in ["plugins/extract-user", "plugins/enrich-user"] {
        guests::component(plugin);
    }
    let pipeline = Pipeline::that_waits();
    let text = std::fs::read_to_string(root().join("pipelines/users.toml")).unwrap();
    let plugins = root().join("plugins").display().to_string();
    let text = text.replace("\"../plugins", &format!("\"{plugins}")).replace("kind = \"randomuser\"", "kind = \"generator\"");
    let text = text.replace("every = \"10s\"", "every = \"50ms\"");
    std::fs::write(pipeline.file(), text + more).unwrap();
    pipeline
}

#[test]
fn a_stage_shows_records_before_and_after_and_says_how_many_it_did_not_show() {
    let pipeline = users("");
    let host = pipeline.run();
    let at = host.address;
    let sampled = |stage: &str| get(at, &format!("/api/stages/{stage}/samples?limit=2")).json();
    let extract = wait_for("samples", || Some(sampled("extract")).filter(|found| found["samples"].get(1).is_some()));
    let sample = &extract["samples"][0];
    assert_eq!((&sample["outcome"], &sample["before"]["login.uuid"]), (&json!("emitted"), &json!("•••")), "{sample}");
    assert_eq!(sample["before"]["email"], sample["after"]["email"]);
    assert!(sample["after"]["first_name"].is_string() && sample["before"].get("first_name").is_none(), "{sample}");
    assert!(sample["changed"].as_array().unwrap().contains(&json!("first_name")));
    let shown = extract["seen"].as_u64().unwrap() - extract["not-shown"].as_u64().unwrap();
    assert_eq!(shown, 2);
    assert_eq!(get(at, "/api/stages/nobody/samples").status, 404);

    let followed = get(at, "/api/samples?limit=1").json();
    let steps: Vec<&Value> = followed[0]["steps"].as_array().unwrap().iter().map(|step| &step["stage"]).collect();
    assert_eq!(steps, ["extract", "enrich"], "one record through all stages");
    assert_eq!(followed[0]["payload"]["login"]["password"], "•••");

    let stages = get(at, "/api/stages").json();
    let enrich = &stages[1];
    assert_eq!((&enrich["name"], &enrich["world"], &enrich["language"]), (&json!("enrich"), &json!("fields"), &json!("Rust")));
    assert_eq!(enrich["settings"]["age-bands"], "18,30,45,60");
    assert_eq!(enrich["limits"], json!({ "memory-bytes": 64 << 20, "batch-time-ms": 500 }));
    assert!(enrich["size-bytes"].as_u64() > Some(1_000) && enrich["digest"].as_str().map(str::len) == Some(64));
    assert!(enrich["contract"]["writes"].as_array().unwrap().iter().any(|field| field["name"] == "age_band"));

    let tapped = tidemill().args(["tap"]).arg(pipeline.file()).args(["enrich", "--count", "2", "--json"]).output().unwrap();
    let envelope: Value = serde_json::from_slice(&tapped.stdout).expect("an envelope");
    assert_eq!(envelope["result"]["samples"].as_array().map(Vec::len), Some(2), "{envelope}");

    let counted = |sink: &str| {
        let token = std::fs::read_to_string(pipeline.dir.path().join(".tidemill/users/token")).unwrap();
        let headers = [format!("Authorization: Bearer {token}"), "Content-Type: application/json".to_owned()];
        post(at, &format!("/api/sinks/{sink}/count"), &headers, "{}")
    };
    let rows = counted("users").json()["rows"].as_u64().expect("a count");
    let emitted = get(at, "/api/status").json()["totals"]["emitted"].as_u64().unwrap();
    assert!(rows > 0 && rows <= emitted, "{rows} rows of {emitted}");
    assert_eq!(counted("nobody").status, 404);
}

#[test]
fn top_and_tap_are_plain_text_where_no_terminal_is() {
    let pipeline = users("");
    let host = pipeline.run();
    wait_for("a minute's worth", || {
        (get(host.address, "/api/status").json()["totals"]["emitted"].as_u64() > Some(50)).then_some(())
    });
    let told = |verb: &str, more: &[&str]| {
        let output = tidemill().arg(verb).arg(pipeline.file()).args(more).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let before = get(host.address, "/api/status").json()["totals"]["emitted"].as_u64().unwrap();
    let top = told("top", &[]);
    let after = get(host.address, "/api/status").json()["totals"]["emitted"].as_u64().unwrap();
    let delivered = top.lines().find_map(|line| line.split_once(" delivered")).expect("a total").0.replace(',', "");
    assert!((before..=after).contains(&delivered.trim().parse().unwrap()), "{top}");
    for shown in ["users  ok", "records/s over the last 10 s", "extract", "enrich", "embedded table", "partition"] {
        assert!(top.contains(shown), "{shown}:\n{top}");
    }
    let tap = told("tap", &["enrich", "--count", "2"]);
    let records: Vec<&str> = tap.lines().filter(|line| line.contains(" generation 1 emitted")).collect();
    assert_eq!(records.len(), 2, "{tap}");
    assert_eq!(tap.lines().filter(|line| line.starts_with("  + full_name: \"")).count(), 2, "{tap}");
    assert!(tap.lines().last().unwrap().starts_with("2 records shown, "), "{tap}");
    for text in [top, tap] {
        assert!(!text.contains('\u{1b}') && !text.contains("quits"), "{text}");
    }
}

#[test]
fn a_public_page_shows_what_is_named_and_changes_nothing() {
    let pipeline = users("[dashboard]\npublic = true\nfields = [\"gender\", \"age_band\"]\n");
    let host = Running::start(&pipeline.file(), &["--port", "0", "--listen", "0.0.0.0"]);
    let at = host.address;
    let status = wait_for("rows", || Some(get(at, "/api/status").json()).filter(|status| status["latest"].get(0).is_some()));
    assert_eq!(status["public"], true);
    for row in status["latest"].as_array().unwrap() {
        let columns: Vec<&String> = row.as_object().unwrap().keys().collect();
        assert_eq!(columns, ["gender", "age_band"]);
    }
    let charts: Vec<&Value> = status["charts"].as_array().unwrap().iter().map(|chart| &chart["field"]).collect();
    assert_eq!(charts, ["gender"], "the other charts name values of fields that are not");
    let token = std::fs::read_to_string(pipeline.dir.path().join(".tidemill/users/token")).unwrap();
    let headers = [format!("Authorization: Bearer {token}"), "Content-Type: application/json".to_owned()];
    for path in CHANGES {
        assert_eq!(post(at, path, &headers, "{}").status, 403, "{path}");
    }
    for path in ["/api/logs", "/api/logs/stream", "/api/logs/download", "/api/dead-letters/download", "/api/dead-letters/0/0"] {
        assert_eq!(get(at, path).status, 403, "{path}");
    }
    let sample = wait_for("a sample", || get(at, "/api/stages/enrich/samples").json()["samples"].get(0).cloned());
    let shown: Vec<&String> = sample["after"].as_object().unwrap().keys().collect();
    assert!(shown.iter().all(|field| ["gender", "age_band"].contains(&field.as_str())), "{sample}");
    let page = get(at, "/").body + &get(at, "/api/samples").body + &get(at, "/api/stages").body;
    assert!(!page.contains("@example") && !page.contains("password"), "{page}");
}

#[test]
fn errors_and_alarms_are_withheld_from_a_public_page() {
    let host = Host::showing(Showing { mask: Mask::default(), logs: Vec::new(), public: Some(Vec::new()) });
    fill(&host.reporter, 3);
    host.reporter.update(|snapshot| {
        snapshot.alarms = vec!["secret".to_owned()];
        snapshot.reason = Some("secret".to_owned());
        snapshot.stages[0].last_error = Some("secret".to_owned());
        snapshot.stages[0].plugin = "/secret".to_owned();
        snapshot.sinks[0].last_error = Some("secret".to_owned());
        snapshot.source.as_mut().unwrap().last_error = Some("secret".to_owned());
        snapshot.partitions.get_mut(&0).unwrap().last_error = Some("secret".to_owned());
        snapshot.latest = vec![json!({ "email": "secret" }).as_object().unwrap().clone()];
    });
    for path in ["/api/status", "/", "/metrics", "/api/stages"] {
        let body = get(host.at(), path).body;
        assert!(!body.contains("secret") && !body.contains("/a/path"), "{path}: {body}");
    }
    assert_eq!(get(host.at(), "/api/status").json()["alarms"], json!(["•••"]));
    let list = get(host.at(), "/api/dead-letters").json();
    assert_eq!((&list["dead-letters"][0]["reason"], &list["dead-letters"][0]["stage"]), (&json!("withheld"), &json!("extract")));
    let groups = get(host.at(), "/api/dead-letters/groups").json();
    assert_eq!(groups["groups"][0]["group"], "withheld");
}
