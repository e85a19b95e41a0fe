//! The examples on their own samples, and one plugin in three languages: same cases, same outcomes.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use tidemill::plugin::{Incoming, Instance, InstanceConfig, MessageOutcome, Plugin, StageState, World};
use tidemill::record::{Message, Place};

use super::rows;
use crate::support::{guests, root, skip_or_panic};

pub const PYTHON: (&str, &str) = ("TIDEMILL_COMPONENTIZE_PY", "componentize-py");
const JAVASCRIPT: (&str, &str) = ("TIDEMILL_COMPONENTIZE_QJS", "componentize-qjs");

#[test]
fn extract_user_keeps_its_samples() {
    assert_samples("plugins/extract-user", 3);
}

#[test]
fn enrich_user_keeps_its_samples() {
    assert_samples("plugins/enrich-user", 6);
}

#[test]
fn count_providers_keeps_its_samples() {
    assert_samples("plugins/count-providers", 2);
}

#[test]
fn count_providers_in_python_keeps_the_same_samples() {
    if guests::has_tool(PYTHON.0, PYTHON.1) {
        assert_samples("plugins/count-providers-python", 2);
    }
}

#[test]
fn count_providers_in_javascript_keeps_the_same_samples() {
    if guests::has_tool(JAVASCRIPT.0, JAVASCRIPT.1) {
        assert_samples("plugins/count-providers-js", 2);
    }
}

/// One call with these addresses; of each row what was written, or why it was rejected.
fn count(dir: &str, config: &InstanceConfig, state: &mut StageState, emails: &[&str]) -> Vec<Value> {
    let mut instance = guests::plugin(dir).instantiate(config).unwrap_or_else(|error| panic!("{dir}: {error}"));
    let users: Vec<Value> = emails.iter().map(|email| json!({ "email": email })).collect();
    instance.swap_state(state);
    let outcome = process(&mut instance, &users, 0);
    instance.swap_state(state);
    let row = |row: usize| match outcome.rejected.iter().find(|rejection| rejection.row == row as u32) {
        Some(rejection) => json!(rejection.reason),
        None => {
            let written = rows::written(instance.contract(), &outcome.columns, row);
            json!([written["email_provider"], written["provider_count"]])
        }
    };
    (0..emails.len()).map(row).collect()
}

#[test]
fn what_a_plugin_keeps_another_language_goes_on_with() {
    let mut state = StageState::default();
    for (turn, dir) in in_all_languages("plugins/count-providers").into_iter().enumerate() {
        let counted = count(&dir, &config(&json!({})), &mut state, &["a@x.example", "b@ü.example", "nobody", "c@x.example"]);
        let expected = json!([
            ["x.example", 2 * turn + 1],
            ["ü.example", turn + 1],
            "`nobody` is not an e-mail address",
            ["x.example", 2 * turn + 2]
        ]);
        assert_eq!(Value::Array(counted), expected, "{dir}");
        let call = state.take_call();
        assert_eq!(call.len(), 2, "{dir}");
        state.keep_call(call);
        // A call that does not count, and another that begins where it began.
        count(&dir, &config(&json!({})), &mut state, &["d@x.example"]);
        assert_eq!(state.take_call().len(), 1, "{dir}");
    }
}

#[test]
fn what_is_beyond_the_limit_of_state_rejects_its_row_in_all_languages() {
    let mut config = config(&json!({}));
    // An entry counts its key, its value and 32 bytes: two of these fit.
    config.limits.state_bytes = 2 * (1 + 8 + 32);
    for dir in in_all_languages("plugins/count-providers") {
        let counted = count(&dir, &config, &mut StageState::default(), &["a@x", "b@y", "c@z", "d@x"]);
        assert_eq!([&counted[0], &counted[1], &counted[3]], [&json!(["x", 1]), &json!(["y", 1]), &json!(["x", 2])], "{dir}");
        assert!(counted[2].as_str().is_some_and(|why| why.contains("`limits.state`")), "{dir}: {counted:?}");
    }
}

#[test]
fn split_results_keeps_its_samples() {
    assert_samples("plugins/split-results", 3);
}

#[test]
fn enrich_user_in_python_keeps_the_same_samples() {
    if guests::has_tool(PYTHON.0, PYTHON.1) {
        assert_samples("plugins/enrich-user-python", 6);
    }
}

#[test]
fn enrich_user_in_javascript_keeps_the_same_samples() {
    if guests::has_tool(JAVASCRIPT.0, JAVASCRIPT.1) {
        assert_samples("plugins/enrich-user-js", 6);
    }
}

#[test]
fn each_language_is_recognised() {
    assert_eq!(guests::plugin("plugins/enrich-user").language, "Rust");
    if guests::has_tool(PYTHON.0, PYTHON.1) {
        assert_eq!(guests::plugin("plugins/enrich-user-python").language, "Python");
    }
    if guests::has_tool(JAVASCRIPT.0, JAVASCRIPT.1) {
        assert_eq!(guests::plugin("plugins/enrich-user-js").language, "JavaScript");
    }
}

#[test]
fn all_languages_refuse_what_is_no_setting() {
    let config = config(&json!({ "settings": { "age-band": "18" } }));
    for dir in in_all_languages("plugins/enrich-user") {
        let error = guests::plugin(&dir).instantiate(&config).map(drop).expect_err("`age-band` is no setting");
        assert!(error.to_string().contains("age-band"), "{dir}: {error}");
    }
}

/// The real users: what a native computation makes of them.
#[test]
fn extract_user_takes_each_real_user_as_a_native_program_would() {
    let Some(users) = real_users() else { return };
    let mut instance = start("plugins/extract-user", &json!({}));
    let outcome = process(&mut instance, &users, 0);
    for (row, user) in users.iter().enumerate() {
        assert_eq!(Value::Object(rows::written(instance.contract(), &outcome.columns, row)), extracted(user), "user {row}");
    }
    assert!(outcome.rejected.is_empty() && outcome.dropped.is_empty());
}

#[test]
fn enrich_user_says_the_same_of_each_real_user_in_every_language() {
    let Some(users) = real_users() else { return };
    let users: Vec<Value> = users.iter().map(extracted).collect();
    let settings = json!({ "settings": { "domain-allow-list": "example.com" } });
    let outcomes = in_all_languages("plugins/enrich-user").into_iter().map(|dir| {
        let mut instance = start(&dir, &settings);
        (dir, process(&mut instance, &users, 1_780_000_000_000))
    });
    let outcomes: Vec<_> = outcomes.collect();
    let (_, rust) = &outcomes[0];
    assert!(rust.rejected.is_empty() && rust.columns[0].rows() == users.len());
    for (dir, outcome) in &outcomes[1..] {
        assert!(outcome == rust, "{dir} differs from Rust");
    }
}

/// A plugin in Rust, and in the other languages that can be built here.
fn in_all_languages(rust: &str) -> Vec<String> {
    let mut dirs = vec![rust.to_owned()];
    dirs.extend(guests::has_tool(PYTHON.0, PYTHON.1).then(|| format!("{rust}-python")));
    dirs.extend(guests::has_tool(JAVASCRIPT.0, JAVASCRIPT.1).then(|| format!("{rust}-js")));
    dirs
}

fn real_users() -> Option<Vec<Value>> {
    let path = root().join("../shared/data/randomuser-1000.json");
    let Ok(text) = std::fs::read_to_string(&path) else {
        skip_or_panic("the 1,000 real users (../shared/data/randomuser-1000.json) are not there");
        return None;
    };
    let page: Value = serde_json::from_str(&text).expect("a page of users");
    page["results"].as_array().cloned()
}

/// Written without a look at the plugin: the same by other means.
fn extracted(user: &Value) -> Value {
    let text = |pointer: &str| user.pointer(pointer).and_then(Value::as_str).expect(pointer).to_owned();
    let digits = |pointer: &str| match user.pointer(pointer).expect(pointer) {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let place = ["city", "state", "country"].map(|part| text(&format!("/location/{part}"))).join(", ");
    json!({
        "id": text("/login/uuid"), "first_name": text("/name/first"), "last_name": text("/name/last"), "gender": text("/gender"),
        "address": format!("{} {}, {place}", digits("/location/street/number"), text("/location/street/name")),
        "post_code": digits("/location/postcode"), "email": text("/email"), "username": text("/login/username"),
        "registered_date": text("/registered/date"), "phone": text("/phone"), "picture": text("/picture/medium"),
        "dob": text("/dob/date"),
    })
}

fn assert_samples(dir: &str, at_least: usize) {
    let plugin = guests::plugin(dir);
    let samples = samples(&root().join(dir).join("samples"));
    assert!(samples.len() >= at_least, "{dir} has {} samples", samples.len());
    for path in samples {
        let sample: Value = serde_json::from_str(&std::fs::read_to_string(&path).expect("read the sample")).expect("JSON");
        let found = run(&plugin, &sample);
        let fits = match (&sample["expect"], &found) {
            (Value::String(expected), Value::String(found)) if expected.starts_with("rejected: ") => {
                found.contains(expected.as_str())
            }
            (expected, found) => expected == found,
        };
        assert!(fits, "{}:\nexpected {:#}\nfound    {found:#}", path.display(), sample["expect"]);
    }
}

fn samples(dir: &Path) -> Vec<PathBuf> {
    let files = std::fs::read_dir(dir).expect("a folder of samples").map(|entry| entry.expect("an entry").path());
    let mut samples: Vec<PathBuf> = files.filter(|path| path.extension().is_some_and(|extension| extension == "json")).collect();
    samples.sort();
    samples
}

fn config(sample: &Value) -> InstanceConfig {
    let settings = sample.get("settings").and_then(Value::as_object).into_iter().flatten();
    let settings: BTreeMap<String, String> =
        settings.map(|(name, value)| (name.clone(), value.as_str().expect("settings are texts").to_owned())).collect();
    InstanceConfig { stage: "sample".to_owned(), settings, ..InstanceConfig::default() }
}

fn start(dir: &str, sample: &Value) -> Instance {
    guests::plugin(dir).instantiate(&config(sample)).unwrap_or_else(|error| panic!("{dir}: {error}"))
}

fn process(instance: &mut Instance, payloads: &[Value], timestamp: i64) -> tidemill::plugin::FieldsOutcome {
    let columns = rows::columns(instance.contract(), payloads, timestamp);
    let columns: Vec<_> = columns.iter().collect();
    instance.process_fields(payloads.len() as u32, &columns).expect("an outcome")
}

/// What a plugin makes of a sample, in the words of `expect`.
fn run(plugin: &Plugin, sample: &Value) -> Value {
    let timestamp = sample.get("timestamp").and_then(Value::as_str).unwrap_or("1970-01-01T00:00:00Z");
    let timestamp = timestamp.parse::<jiff::Timestamp>().expect("RFC 3339").as_millisecond();
    let mut instance = plugin.instantiate(&config(sample)).expect("the plugin starts");
    if plugin.world == World::Messages {
        let message = Message { value: Some(sample["input"].to_string().into_bytes()), timestamp, ..Message::default() };
        let incoming = Incoming { message, place: Place { partition: 0, offset: 7 } };
        let mut outcomes = instance.process_messages(&[incoming]).expect("an outcome");
        return message_outcome(outcomes.remove(0));
    }
    let mut outcome = process(&mut instance, &[sample["input"].clone()], timestamp);
    if let Some(rejection) = outcome.rejected.pop() {
        return json!(format!("rejected: {}", rejection.reason));
    }
    match (outcome.dropped.len(), outcome.deleted.len()) {
        (0, 0) => Value::Object(rows::written(instance.contract(), &outcome.columns, 0)),
        (1, _) => json!("dropped"),
        _ => json!("deleted"),
    }
}

fn message_outcome(outcome: MessageOutcome) -> Value {
    let payload = |message: Message| -> Value { serde_json::from_slice(&message.value.expect("a value")).expect("JSON") };
    match outcome {
        MessageOutcome::Unchanged => json!("unchanged"),
        MessageOutcome::Emit(message) => json!([payload(message)]),
        MessageOutcome::EmitMany(messages) => messages.into_iter().map(payload).collect(),
        MessageOutcome::Drop => json!("dropped"),
        MessageOutcome::Reject(reason) => json!(format!("rejected: {reason}")),
    }
}

#[test]
fn split_results_keeps_each_users_bytes_and_the_pages_own_fields() {
    let mut instance = start("plugins/split-results", &json!({}));
    let value = br#" { "info" : 1, "results" : [ {"n" : 1.50e2, "s":"\u00fc"} , [ ] ] } "#;
    let headers = vec![("trace".to_owned(), Some(b"\xff".to_vec())), ("empty".to_owned(), None)];
    let page = Message { key: Some(b"k".to_vec()), value: Some(value.to_vec()), timestamp: 5, headers };
    let tombstone = Message { value: None, ..page.clone() };
    let place = Place { partition: 3, offset: 9 };
    let incoming = [page.clone(), tombstone].map(|message| Incoming { message, place });
    let outcomes = instance.process_messages(&incoming).expect("outcomes");
    let result = |text: &[u8]| Message { value: Some(text.to_vec()), ..page.clone() };
    let results = vec![result(br#"{"n" : 1.50e2, "s":"\u00fc"}"#), result(b"[ ]")];
    assert_eq!(outcomes, [MessageOutcome::EmitMany(results), MessageOutcome::Unchanged]);
}
