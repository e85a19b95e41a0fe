//! The one log: the host's lines and those of files that the pipeline names.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;

use serde_json::Value;

use crate::http::get;
use crate::running::Pipeline;
use crate::support::{PATIENCE, guests, wait_for};

#[test]
fn what_a_plugin_says_and_prints_is_there_without_being_asked_for() {
    let plugin = guests::component("tests/guests/fault");
    let record =
        |what: &str| format!(r#"{{"do":"{what}","login":{{"uuid":"00000000-0000-4000-8000-000000000001"}},"email":"a@b.c"}}"#);
    let stage = format!("[[stage]]\nname = \"told\"\nplugin = \"{}\"\n", plugin.display());
    let pipeline = Pipeline::of_payloads(&[&record("log"), &record("print")]).and(&stage);
    let host = pipeline.run();
    let said = |text: &str| {
        let line = wait_for(text, || {
            get(host.address, &format!("/api/logs?component=plugin&text={text}")).json()["lines"].get(0).cloned()
        });
        (line["level"].as_str().expect("a level").to_owned(), line["text"].as_str().expect("a text").to_owned())
    };
    // Escaped: a plugin cannot forge a second line or talk to the terminal.
    let (level, text) = said("log");
    assert!(level == "info" && text.starts_with(r"told to log\u{1b}[31m\nsecond line"), "{level} {text}");
    let (level, text) = said("print");
    assert!(level == "info" && text.starts_with("told to print") && text.contains("stage=told context=stdout"), "{level} {text}");
}

#[test]
fn files_are_followed_found_streamed_and_downloaded() {
    let pipeline = Pipeline::that_waits().and("[dashboard]\nlogs = [\"broker.log\"]\n");
    let path = pipeline.dir.path().join("broker.log");
    std::fs::write(&path, "[2026-01-01] WARN begun \u{1b}[31m\n").unwrap();
    let host = pipeline.run();
    let at = host.address;
    let found = |query: &str| get(at, &format!("/api/logs?component=file{query}")).json();
    let line = wait_for("the file's first line", || found("&level=warn")["lines"].get(0).cloned());
    assert_eq!((&line["from"], &line["level"]), (&Value::from("broker.log"), &Value::from("warn")));
    assert!(line["text"].as_str().unwrap().ends_with("begun \\u{1b}[31m"), "{line}");

    let mut stream = TcpStream::connect(at).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(stream, "GET /api/logs/stream?component=file&text=Second HTTP/1.1\r\nHost: {at}\r\n\r\n").unwrap();
    let mut lines = BufReader::new(stream).lines();
    let mut file = std::fs::OpenOptions::new().append(true).open(&path).unwrap();
    writeln!(file, "INFO second\nINFO third").unwrap();
    let event = lines.find_map(|line| line.unwrap().strip_prefix("data: ").map(str::to_owned)).expect("an event");
    let event: Value = serde_json::from_str(&event).unwrap();
    assert_eq!((event.as_array().map(Vec::len), &event[0]["text"]), (Some(1), &Value::from("INFO second")));

    let all = wait_for("the third line", || {
        let found = found("");
        found["lines"].as_array().unwrap().iter().any(|line| line["text"] == "INFO third").then_some(found)
    });
    assert!(found(&format!("&from={}", all["next"]))["lines"].as_array().unwrap().is_empty(), "a line came twice");
    assert!(all["components"].as_array().unwrap().contains(&Value::from("file")));
    let download = get(at, "/api/logs/download?component=file&level=info");
    assert_eq!(download.header("content-disposition"), Some("attachment; filename=\"tidemill.log\""));
    let texts: Vec<&str> =
        download.body.lines().filter_map(|line| line.split_once("broker.log: ")).map(|(_, text)| text).collect();
    let expected: Vec<&str> = all["lines"].as_array().unwrap().iter().map(|line| line["text"].as_str().unwrap()).collect();
    assert_eq!(texts, expected);
}
