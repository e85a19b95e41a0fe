//! Dead letters through the API: grouped, chosen, rehearsed, replayed and pinned, over a pipeline that runs.

use serde_json::{Value, json};

use crate::http::{self, get, post};
use crate::running::{Pipeline, Running};
use crate::support::wait_for;

const GOOD: &str = "6f0ee4ad-4f61-4d1b-9f63-8b0b6a3b5a1";

/// Users of which some have no id, or one that is no uuid.
fn payloads() -> Vec<String> {
    let user = |number: usize, id: &str| {
        format!(r#"{{"login":{{"uuid":"{id}","password":"secret {number}"}},"email":"u{number}@example.com"}}"#)
    };
    vec![
        user(0, &format!("{GOOD}0")),
        user(1, "no 17"),
        user(2, "no 4"),
        r#"{"email": null, "login": {}}"#.to_owned(),
        user(4, "nö"),
    ]
}

struct Scene {
    pipeline: Pipeline,
    host: Running,
}

impl Scene {
    fn start() -> Scene {
        let payloads = payloads();
        let pipeline = Pipeline::of_payloads(&payloads.iter().map(String::as_str).collect::<Vec<_>>());
        let host = Running::start(&pipeline.file(), &["--port", "0", "--set", "dead-letters.stop-when=never"]);
        wait_for("the dead letters", || {
            let status = get(host.address, "/api/status").json();
            (status["dead-letters"] == 4 && status["totals"]["emitted"] == 1).then_some(())
        });
        Scene { pipeline, host }
    }

    fn authorization(&self) -> String {
        let token = std::fs::read_to_string(self.pipeline.dir.path().join(".tidemill/plain/token")).expect("read the token");
        format!("Authorization: Bearer {token}")
    }

    fn change(&self, path: &str, body: Value) -> Value {
        let headers = [self.authorization(), "Content-Type: application/json".to_owned()];
        let answer = post(self.host.address, path, &headers, &body.to_string());
        assert_eq!(answer.status, 200, "{path} {body}: {}", answer.body);
        answer.json()
    }

    fn reveal(&self, path: &str) -> http::Answer {
        let (at, token) = (self.host.address, self.authorization());
        http::raw(at, format!("GET {path} HTTP/1.1\r\nHost: {at}\r\nConnection: close\r\n{token}\r\n\r\n").as_bytes())
    }
}

#[test]
fn reasons_are_grouped_and_a_group_is_listed_rehearsed_and_discarded() {
    let scene = Scene::start();
    let groups = get(scene.host.address, "/api/dead-letters/groups").json();
    assert_eq!((&groups["count"], &groups["others"]), (&json!(4), &json!(0)));
    let first = &groups["groups"][0];
    assert_eq!((&first["count"], &first["stage"], &first["first"]["offset"]), (&json!(3), &json!(null), &json!(1)), "{groups}");
    let group = first["group"].as_str().expect("a group");
    assert!(group.contains("`id`") && !group.contains("17"), "{group}");

    let rehearsed = scene.change("/api/dead-letters/replay", json!({ "group": group, "dry-run": true }));
    assert_eq!((&rehearsed["tried"], &rehearsed["passed"], &rehearsed["more"]), (&json!(3), &json!(0), &json!(false)));
    assert!(rehearsed["results"][0]["reason"].as_str().unwrap().contains("no 17"), "{rehearsed}");
    let discarded = scene.change("/api/dead-letters/discard", json!({ "group": group }));
    assert_eq!(discarded["discarded"], 3);
    let left = get(scene.host.address, "/api/dead-letters").json();
    assert_eq!(left["dead-letters"].as_array().map(Vec::len), Some(1), "{left}");
    assert_eq!(left["dead-letters"][0]["offset"], 3);
}

#[test]
fn letters_are_listed_page_by_page() {
    let scene = Scene::start();
    let (mut offsets, mut after) = (Vec::new(), String::new());
    loop {
        let page = get(scene.host.address, &format!("/api/dead-letters?limit=3{after}")).json();
        offsets.extend(page["dead-letters"].as_array().unwrap().iter().map(|letter| letter["offset"].as_i64().unwrap()));
        match page["next"].as_str() {
            Some(next) => after = format!("&after={next}"),
            None => break,
        }
    }
    assert_eq!(offsets, [1, 2, 3, 4]);
}

#[test]
fn masked_fields_are_for_those_who_have_the_token() {
    let scene = Scene::start();
    let shown = get(scene.host.address, "/api/dead-letters/0/1").json();
    let text = shown["record"]["value"]["text"].as_str().expect("a text");
    assert!(!text.contains("secret") && text.contains("u1@example.com"), "{shown}");
    assert_eq!(shown["masked"], json!(["login.password", "login.uuid"]));
    assert!(!shown["record"]["value"]["hex"].as_str().unwrap().contains("|secret"));
    assert_eq!(get(scene.host.address, "/api/dead-letters/0/1?reveal=true").status, 401);
    let revealed = scene.reveal("/api/dead-letters/0/1?reveal=true").json();
    assert_eq!(revealed["record"]["value"]["text"], payloads()[1]);

    // What a reason quotes is no way around.
    let listed = get(scene.host.address, "/api/dead-letters").json();
    assert_eq!(listed["dead-letters"][0]["reason"], "sink users: column `id`: `•••` is not a uuid", "{listed}");
    let status = get(scene.host.address, "/api/status").json();
    assert!(
        ["no 17", "nö"].iter().all(|id| !status.to_string().contains(id)) && status["partitions"]["0"]["last-error"].is_string(),
        "{status}"
    );
    assert!(revealed["reason"].as_str().unwrap().contains("no 17"), "{revealed}");

    let lines = |body: &str| body.lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect::<Vec<Value>>();
    let download = get(scene.host.address, "/api/dead-letters/download");
    assert_eq!(download.header("content-disposition"), Some("attachment; filename=\"dead-letters.ndjson\""));
    assert!(!download.body.contains("secret"));
    // Chunked: the body's lines begin with those of JSON.
    let whole = scene.reveal("/api/dead-letters/download?reveal=true").body;
    let whole: String = whole.lines().filter(|line| line.starts_with('{')).map(|line| line.to_owned() + "\n").collect();
    let values: Vec<Value> = lines(&whole).iter().map(|letter| letter["record"]["value"]["text"].clone()).collect();
    assert_eq!(values, payloads()[1..]);
}

#[test]
fn a_pinned_letter_is_a_test_that_passes() {
    let scene = Scene::start();
    let before = std::fs::read_to_string(scene.pipeline.file()).unwrap();
    let shown = scene.change("/api/dead-letters/0/1/pin", json!({ "dry-run": true }));
    assert_eq!(shown["written"], false);
    assert_eq!(std::fs::read_to_string(scene.pipeline.file()).unwrap(), before, "a dry run has written");
    for (place, name) in [("0/1", json!(null)), ("0/1", json!(null)), ("0/3", json!("nothing but ${HOME}")), ("0/4", json!(null))]
    {
        let pinned = scene.change(&format!("/api/dead-letters/{place}/pin"), json!({ "name": name }));
        assert_eq!(pinned["written"], true, "{pinned}");
        let text = std::fs::read_to_string(scene.pipeline.file()).unwrap();
        assert!(text.starts_with(before.trim_end()), "what stood in the file is other");
        let line = pinned["line"].as_u64().unwrap() as usize;
        assert_eq!(text.lines().nth(line - 1), Some("[[test]]"));
    }
    let tested = scene.pipeline.verb(&["test"], &["--json"]);
    let envelope: Value = serde_json::from_slice(&tested.stdout).expect("an envelope");
    assert_eq!((tested.status.code(), &envelope["result"]["passed"]), (Some(0), &json!(4)), "{envelope}");
    let names: Vec<&Value> = envelope["result"]["cases"].as_array().unwrap().iter().map(|case| &case["name"]).collect();
    assert_eq!(names, ["dead letter 0/1", "dead letter 0/1 (2)", "nothing but ${HOME}", "dead letter 0/4"]);
}

#[test]
fn the_verbs_rehearse_and_pin_too() {
    let scene = Scene::start();
    let rehearsed = scene.pipeline.verb(&["dead-letters", "replay"], &["--all", "--dry-run", "--json"]);
    let envelope: Value = serde_json::from_slice(&rehearsed.stdout).expect("an envelope");
    assert_eq!(envelope["summary"], "0 of 4 now pass", "{envelope}");
    let pinned = scene.pipeline.verb(&["dead-letters", "pin"], &["0/2", "--name", "no uuid"]);
    assert!(pinned.status.success() && String::from_utf8_lossy(&pinned.stdout).contains("name = \"no uuid\""));
    let shown = scene.pipeline.verb(&["dead-letters", "show"], &["0/2"]);
    assert!(String::from_utf8_lossy(&shown.stdout).contains("secret 2"), "whoever has the token sees the record as it was");
    assert!(scene.host.terminate().success());
    // The file has one test more, which at rest passes as well.
    assert!(scene.pipeline.verb(&["test"], &[]).status.success());
}
