//! The command line's conventions: one envelope, four exit codes, help with examples, colour, closed pipes; and verbs beside a host.

#[path = "support/http.rs"]
#[allow(dead_code, reason = "each class of test uses a part of it")]
mod http;
#[path = "support/running.rs"]
mod running;
mod support;

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Command, Output, Stdio};

use serde_json::Value;

use running::{Pipeline, tidemill};
use support::{skip_or_panic, wait_for};

/// Every verb, `dead-letters list` and its like as two words.
fn verbs() -> Vec<Vec<String>> {
    let mut verbs = Vec::new();
    for verb in tidemill::cli::command().get_subcommands() {
        verbs.push(vec![verb.get_name().to_owned()]);
        verbs.extend(verb.get_subcommands().map(|second| vec![verb.get_name().to_owned(), second.get_name().to_owned()]));
    }
    assert!(verbs.len() > 12);
    verbs
}

fn ran(args: &[&str]) -> Output {
    tidemill().args(args).output().expect("start tidemill")
}

/// The one envelope that stdout must be.
fn envelope(output: &Output) -> Value {
    let text = String::from_utf8_lossy(&output.stdout);
    let envelope: Value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("no envelope ({error}): {text}"));
    let keys: Vec<&String> = envelope.as_object().expect("an object").keys().collect();
    assert_eq!(keys, ["command", "ok", "summary", "result", "error"]);
    assert_eq!(envelope["ok"] == true, output.status.success(), "{envelope}");
    assert_eq!(envelope["ok"] == true, envelope["error"].is_null(), "{envelope}");
    envelope
}

#[test]
fn every_verb_shows_an_example_in_its_help() {
    for verb in verbs() {
        let help = tidemill().args(&verb).arg("--help").output().unwrap();
        let text = String::from_utf8_lossy(&help.stdout);
        assert!(help.status.success(), "{verb:?}");
        assert!(
            text.contains("Example") && text.contains(&format!("tidemill {}", verb.join(" "))),
            "{verb:?} shows no example:\n{text}"
        );
    }
}

#[test]
fn a_wrong_usage_is_exit_2_and_an_envelope_where_json_is_asked_for() {
    for verb in verbs() {
        let plain = tidemill().args(&verb).arg("--no-such-flag").output().unwrap();
        assert_eq!(plain.status.code(), Some(2), "{verb:?}");
        assert!(plain.stdout.is_empty() && !plain.stderr.is_empty());
        let json = tidemill().args(&verb).args(["--no-such-flag", "--json"]).output().unwrap();
        assert_eq!(json.status.code(), Some(2), "{verb:?}");
        let envelope = envelope(&json);
        assert_eq!(envelope["command"], verb[0]);
        assert!(envelope["error"]["message"].as_str().unwrap().contains("--no-such-flag"), "{envelope}");
    }
    for args in [&[][..], &["frobnicate"], &["runs", "x.toml", "-q", "-v"], &["runs", "x.toml", "--pause", "--poll"]] {
        assert_eq!(ran(args).status.code(), Some(2), "{args:?}");
    }
    assert_eq!(ran(&["--version"]).status.code(), Some(0));
}

#[test]
fn every_verb_that_takes_a_pipeline_says_exit_2_when_it_is_wrong() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("wrong.toml");
    std::fs::write(&file, "nane = \"users\"\n").unwrap();
    let mut tried = 0;
    for verb in tidemill::cli::command().get_subcommands() {
        let takes_a_pipeline =
            verb.get_positionals().next().is_some_and(|first| first.get_id() == "file" && first.is_required_set());
        if !takes_a_pipeline {
            continue;
        }
        tried += 1;
        let others = verb.get_positionals().skip(1).filter(|other| other.is_required_set()).map(|_| "other");
        let output = tidemill().args([verb.get_name(), "--json"]).arg(&file).args(others).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{}: {}", verb.get_name(), String::from_utf8_lossy(&output.stderr));
        let diagnostics = envelope(&output)["result"]["diagnostics"].clone();
        assert!(
            diagnostics.as_array().is_some_and(|all| !all.is_empty() && all[0]["code"].is_string()),
            "{}: {diagnostics}",
            verb.get_name()
        );
    }
    assert!(tried >= 4, "only {tried} verbs were tried");
}

#[test]
fn completions_exist_for_every_shell() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let output = ran(&["completions", shell]);
        assert!(output.status.success());
        assert!(String::from_utf8_lossy(&output.stdout).contains("dead-letters"), "{shell}");
    }
    assert!(envelope(&ran(&["completions", "bash", "--json"]))["result"]["script"].is_string());
}

#[test]
fn a_closed_pipe_is_no_panic() {
    for args in [&["completions", "zsh"][..], &["completions", "zsh", "--json"], &["--help"], &["completions", "--json"]] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = tidemill().args(args).stdout(writer).stderr(Stdio::piped()).spawn().unwrap().wait_with_output().unwrap();
        assert!(output.status.code().is_some_and(|code| code < 3), "{args:?}: {:?}", output.status);
        assert!(!String::from_utf8_lossy(&output.stderr).contains("panicked"), "{args:?}");
    }
}

#[test]
fn colour_is_for_terminals_that_want_it() {
    assert!(!ran(&["doctor"]).stdout.contains(&0x1b), "colour in a pipe");
    let on_terminal = |env: &str| {
        let command = format!("{env} {} doctor", env!("CARGO_BIN_EXE_tidemill"));
        Command::new("script")
            .args(["-qec", &command, "/dev/null"])
            .env("TERM", "xterm")
            .env_remove("NO_COLOR")
            .stdin(Stdio::null())
            .output()
    };
    let Ok(coloured) = on_terminal("") else {
        return skip_or_panic("script (util-linux) is not installed: no terminal to try colours on");
    };
    assert!(coloured.stdout.contains(&0x1b), "no colour on a terminal");
    assert!(!on_terminal("NO_COLOR=1").unwrap().stdout.contains(&0x1b), "colour in spite of NO_COLOR");
    assert!(!on_terminal("TERM=dumb").unwrap().stdout.contains(&0x1b), "colour on a dumb terminal");
}

#[test]
fn verbs_read_the_store_when_no_host_has_it() {
    let pipeline = Pipeline::of_users(30);
    let missing = pipeline.verb(&["runs"], &["--json"]);
    assert_eq!(missing.status.code(), Some(3), "there is no store yet");
    envelope(&missing);

    let run = pipeline.verb(&["run"], &["--until-idle", "--json", "--port", "0"]);
    let ran = envelope(&run);
    assert_eq!((ran["result"]["ingested"].as_u64(), ran["result"]["delivered"].as_u64()), (Some(30), Some(30)), "{ran}");

    let runs = envelope(&pipeline.verb(&["runs"], &["--json"]));
    let records = |run: &Value| run["records"].as_u64().unwrap();
    assert_eq!(runs["result"]["runs"].as_array().unwrap().iter().map(records).sum::<u64>(), 30, "{runs}");
    assert_eq!(envelope(&pipeline.verb(&["dead-letters", "list"], &["--json"]))["result"]["dead-letters"], serde_json::json!([]));
    let code = |verb: &[&str], more: &[&str]| {
        let output = pipeline.verb(verb, more);
        envelope(&output);
        output.status.code()
    };
    assert_eq!(code(&["dead-letters", "show"], &["0/99", "--json"]), Some(1));
    assert_eq!(code(&["dead-letters", "show"], &["first", "--json"]), Some(2));
    assert_eq!(code(&["dead-letters", "replay"], &["0/99", "--json"]), Some(1), "there is none to replay");
    assert_eq!(code(&["runs"], &["--pause", "--json"]), Some(3), "no host is there to pause");
}

#[test]
fn a_port_that_is_taken_is_told_and_is_the_environments_fault() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let run = Pipeline::of_users(10).verb(&["run"], &["--until-idle", "--json", "--port", &port]);
    let told = envelope(&run);
    assert_eq!(run.status.code(), Some(3), "{told}");
    let message = told["error"]["message"].as_str().unwrap();
    assert!(message.starts_with(&format!("listen at 127.0.0.1:{port}: ")) && message.contains("--port"), "{told}");
}

#[test]
fn verbs_find_what_was_made_up_where_nothing_else_has_run() {
    let pipeline = Pipeline::of_users(30);
    assert!(pipeline.verb(&["run"], &["--until-idle", "--port", "0"]).status.success());
    let stores = pipeline.dir.path().join(".tidemill");
    std::fs::rename(stores.join("plain"), stores.join("plain.stand-in")).unwrap();
    let runs = pipeline.verb(&["runs"], &["--json"]);
    assert!(!envelope(&runs)["result"]["runs"].as_array().unwrap().is_empty());
    assert!(String::from_utf8_lossy(&runs.stderr).contains("stand-in data"), "made-up users without a label");
}

#[test]
fn verbs_beside_a_running_host_ask_it() {
    let good = r#"{"login":{"uuid":"6f0ee4ad-4f61-4d1b-9f63-8b0b6a3b5a10"},"email":"a@example.com"}"#;
    let poison = "{\"login\":{\"uuid\":\"no uuid \u{202e}\"},\"email\":\"\\u001b[31m\"}";
    let pipeline = Pipeline::of_payloads(&[good, poison, good]);
    let host = pipeline.run();
    let status = || http::get(host.address, "/api/status").json();
    wait_for("the poison to be a dead letter", || Some(()).filter(|()| status()["dead-letters"] == 1));
    assert_eq!(http::get(host.address, "/api/dead-letters").json()["dead-letters"][0]["offset"], 1);

    let list = envelope(&pipeline.verb(&["dead-letters", "list"], &["--json"]));
    assert_eq!(list["result"]["dead-letters"][0]["offset"], 1, "{list}");
    let show = pipeline.verb(&["dead-letters", "show"], &["0/1"]);
    let text = String::from_utf8_lossy(&show.stdout).into_owned();
    assert!(text.contains("\\u{202e}") && !text.contains('\u{202e}') && !text.contains('\u{1b}'), "{text}");

    let replay = pipeline.verb(&["dead-letters", "replay"], &["0/1", "--json"]);
    assert_eq!(replay.status.code(), Some(1), "a record that is rejected again");
    assert_eq!(envelope(&replay)["result"]["replayed"][0]["passed"], false);
    let second = pipeline.verb(&["run"], &["--json", "--port", "0"]);
    assert_eq!(second.status.code(), Some(3), "a second host took the store");
    envelope(&second);
    let discard = pipeline.verb(&["dead-letters", "discard"], &["--all", "--json"]);
    assert_eq!(envelope(&discard)["result"]["discarded"], serde_json::json!(["0/1"]));
    assert_eq!(http::get(host.address, "/api/dead-letters").json()["dead-letters"], serde_json::json!([]));

    assert!(host.terminate().success(), "SIGTERM drains and exits 0");
}

#[test]
fn a_person_may_pause_the_source_and_ask_for_a_poll() {
    let pipeline = Pipeline::that_waits();
    let host = pipeline.run();
    let status = || http::get(host.address, "/api/status").json();
    let order = |order: &str| assert!(pipeline.verb(&["runs"], &[order]).status.success(), "{order}");
    wait_for("the first poll", || Some(()).filter(|()| status()["totals"]["emitted"] == 10));
    order("--pause");
    assert_eq!(status()["state"], "paused");
    order("--poll");
    wait_for("a poll in spite of the pause", || Some(()).filter(|()| status()["totals"]["emitted"] == 20));
    order("--resume");
    assert_eq!(status()["state"], "running");
}

#[test]
fn dry_run_shows_before_and_after_and_keeps_nothing() {
    let pipeline = Pipeline::of_payloads(&[r#"{"login":{"uuid":"6f0ee4ad-4f61-4d1b-9f63-8b0b6a3b5a10"}}"#, r#"{"login":{}}"#]);
    let output = envelope(&pipeline.verb(&["dry-run"], &["--json"]));
    let records = output["result"]["records"].as_array().unwrap();
    assert_eq!(records[0]["after"]["users"][0]["id"], "6f0ee4ad-4f61-4d1b-9f63-8b0b6a3b5a10");
    assert_eq!(records[1]["after"]["users"], serde_json::json!([]));
    assert!(records[1]["outcome"].as_str().unwrap().starts_with("rejected by the host"), "{output}");
    assert!(!pipeline.dir.path().join(".tidemill").exists(), "a store was made");
}

#[test]
fn test_says_which_field_differs() {
    let pipeline = Pipeline::of_users(1);
    let id = "6f0ee4ad-4f61-4d1b-9f63-8b0b6a3b5a10";
    let mut text = std::fs::read_to_string(pipeline.file()).unwrap();
    let input = format!("input = {{ email = \"a@example.com\", login = {{ uuid = \"{id}\" }} }}");
    text += &format!("[[test]]\nname = \"good\"\n{input}\nexpect = {{ email = \"a@example.com\", \"login.uuid\" = \"{id}\" }}\n");
    text += &format!("[[test]]\nname = \"bad\"\n{input}\nexpect = {{ email = \"b@example.com\" }}\n");
    text += "[[test]]\nname = \"poison\"\ninput = { login = { uuid = \"x\" } }\nexpect = \"rejected: not a uuid\"\n";
    std::fs::write(pipeline.file(), text).unwrap();
    let output = pipeline.verb(&["test"], &["--json"]);
    assert_eq!(output.status.code(), Some(1));
    let result = envelope(&output)["result"].clone();
    assert_eq!((result["passed"].as_u64(), result["failed"].as_u64()), (Some(2), Some(1)), "{result}");
    assert_eq!(result["cases"][1]["differences"][0], "email: expected \"b@example.com\", found \"a@example.com\"");
    let none = Pipeline::of_users(1).verb(&["test"], &["--json"]);
    assert_eq!(none.status.code(), Some(2), "a file without cases passed");
}

/// A pipeline without plugin from this source to this sink.
fn plain(dir: &tempfile::TempDir, source: &str, sink: &str) -> Command {
    let file = dir.path().join("plain.toml");
    std::fs::write(&file, format!("name = \"plain\"\n[source]\n{source}\n[[sink]]\nname = \"out\"\nat = \"{sink}\"\n")).unwrap();
    let mut command = tidemill();
    command.arg("run").arg(file).args(["--until-idle", "--port", "0", "--data"]).arg(dir.path().join("data"));
    command
}

#[test]
fn records_on_stdout_are_alone_there() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("in.ndjson"), "{\"n\": 1}\n{\"n\": 2}\n").unwrap();
    let source = "kind = \"file\"\npath = \"in.ndjson\"\nevery = \"0s\"";
    let output = plain(&dir, source, "stdout").output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "{\"n\": 1}\n{\"n\": 2}\n");
    assert!(said.contains("2 ingested, 2 delivered"), "{said}");
    let again = plain(&dir, source, "stdout").arg("--json").output().unwrap();
    assert_eq!(again.stdout, b"", "they were delivered before");
    assert!(String::from_utf8_lossy(&again.stderr).contains("\"ok\":true"));
}

/// It may be a deployment under way, so it goes on asking; a person is told what is wrong.
#[test]
fn a_source_that_answers_no_for_ever_is_told_on_the_terminal() {
    for (status, advice) in [("401 Unauthorized", "look at the secrets"), ("404 Not Found", "answered 404")] {
        let dir = tempfile::tempdir().unwrap();
        let server = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/users", server.local_addr().unwrap());
        std::thread::spawn(move || {
            for mut client in server.incoming().flatten() {
                let _ = client.read(&mut [0; 4096]);
                let _ = write!(client, "HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
            }
        });
        let mut command = plain(&dir, &format!("kind = \"http\"\nurl = \"{url}\"\nevery = \"1s\""), "null");
        let mut host = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(host.stderr.take().unwrap()).lines().map_while(Result::ok);
        let told = lines.find(|line| line.contains("source backs off"));
        let goes_on = host.try_wait().unwrap().is_none();
        host.kill().unwrap();
        host.wait().unwrap();
        assert!(goes_on && told.as_ref().is_some_and(|told| told.contains(advice)), "{status}: {told:?}");
    }
}
