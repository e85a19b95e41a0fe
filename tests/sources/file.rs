//! Newline-delimited JSON: every line once, whatever ends it, also when the file grows or is replaced.

use std::io::Write;
use std::path::Path;
use std::time::Duration;

use tempfile::TempDir;
use tidemill::config::plan::{FilePlan, SourceKind, SourcePlan, Trigger};
use tidemill::pipeline::ingest::Ended;
use tidemill::source::{self, Error, Page};
use tidemill::topic::Cursor;

use crate::support;
use crate::world::{World, plan};

fn file(path: &Path) -> SourcePlan {
    plan(SourceKind::File(FilePlan { path: path.to_owned() }), 2)
}

fn followed(path: &Path) -> SourcePlan {
    let mut plan = file(path);
    plan.schedule.trigger = Trigger::Every(Duration::from_millis(1));
    plan
}

fn written(content: impl AsRef<[u8]>) -> (TempDir, std::path::PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("records.ndjson");
    std::fs::write(&path, content).unwrap();
    (dir, path)
}

async fn fetch(plan: &SourcePlan, cursor: Option<&Cursor>) -> Page {
    source::open(plan).unwrap().fetch(cursor, plan.records_per_poll).await.unwrap()
}

fn texts(page: &Page) -> Vec<String> {
    page.messages.iter().map(|message| String::from_utf8_lossy(message.value.as_ref().unwrap()).into_owned()).collect()
}

async fn all(plan: &SourcePlan) -> Vec<String> {
    let mut page = fetch(plan, None).await;
    let mut found = texts(&page);
    while !page.exhausted {
        page = fetch(plan, Some(&page.next)).await;
        found.extend(texts(&page));
    }
    found
}

#[tokio::test]
async fn lines_end_as_they_like() {
    let (_dir, path) = written("\u{feff}{\"a\":1}\r\n\n  \r\n{\"a\":2}\n{\"a\":3 }");
    assert_eq!(all(&file(&path)).await, ["{\"a\":1}", "{\"a\":2}", "{\"a\":3 }"]);
    let (_dir, path) = written("");
    assert_eq!(all(&file(&path)).await, [""; 0]);
    let (_dir, path) = written("\n\n");
    assert_eq!(all(&file(&path)).await, [""; 0]);
}

#[tokio::test]
async fn a_line_that_is_no_json_is_carried_as_it_stands() {
    let (_dir, path) = written(b"{\n\xff\xfe\n\0\nnot json");
    let plan = file(&path);
    let world = World::new().await;
    assert_eq!(world.run(&plan).await, Ended::Exhausted);
    assert_eq!(world.values().await, [b"{".to_vec(), b"\xff\xfe".to_vec(), b"\0".to_vec(), b"not json".to_vec()]);
    assert!(world.messages().await.iter().all(|message| message.key.is_none()));
}

#[tokio::test]
async fn a_line_beyond_the_limit_stops_with_its_number() {
    let (_dir, path) = written(format!("{{}}\n{{}}\n{{}}\n\"{}\"\n{{}}\n", "x".repeat(100)));
    let mut plan = file(&path);
    plan.response_bytes_max = 101;
    let world = World::new().await;
    let error = world.start(&plan).ended().await.unwrap_err();
    assert!(error.to_string().contains("line 4 is longer than 101 bytes"), "{error}");
    assert_eq!(world.values().await.len(), 2, "the page before it");
    // Raised, it goes on with nothing lost.
    plan.response_bytes_max = 103;
    assert_eq!(world.run(&plan).await, Ended::Exhausted);
    assert_eq!(world.values().await.len(), 5);
}

#[tokio::test]
async fn a_file_that_is_not_there_is_an_error() {
    let mut source = source::open(&file(Path::new("/nowhere/records.ndjson"))).unwrap();
    assert!(matches!(source.fetch(None, 1).await, Err(Error::Fatal(_))));
    assert!(source.reachable().await.is_err());
}

#[tokio::test]
async fn appended_lines_are_read_when_they_are_whole() {
    let (_dir, path) = written("{\"n\":1}\n{\"n\":2");
    let world = World::new().await;
    let leg = world.start(&followed(&path));
    let status = leg.until("its end", |status| status.state == "exhausted").await;
    assert_eq!(status.records, 1);
    let mut append = std::fs::OpenOptions::new().append(true).open(&path).unwrap();
    append.write_all(b"2}\n{\"n\":3}").unwrap();
    leg.until("both", |status| status.records == 3).await;
    assert_eq!(world.values().await, [b"{\"n\":1}".to_vec(), b"{\"n\":22}".to_vec(), b"{\"n\":3}".to_vec()]);
    leg.drain.begin();
    assert_eq!(leg.ended().await.unwrap(), Ended::Drained);
}

#[tokio::test]
async fn until_idle_ends_at_the_end_of_a_followed_file() {
    let (_dir, path) = written("{\"n\":1}\n{\"n\":2}\n{\"n\":3}\n");
    let world = World::new().await;
    let plan = followed(&path);
    let leg = world.start_with(&plan, source::open(&plan).unwrap(), std::sync::Arc::new(world.topic.clone()), true);
    assert_eq!(leg.ended().await.unwrap(), Ended::Exhausted);
    assert_eq!(world.values().await.len(), 3);
}

#[tokio::test]
async fn a_file_that_was_replaced_is_read_from_its_start() {
    let (_dir, path) = written("{\"n\":1}\n{\"n\":2}\n{\"n\":3}\n");
    let plan = file(&path);
    let page = fetch(&plan, None).await;
    // Rewritten with the same beginning, as editors do: the same file.
    std::fs::remove_file(&path).unwrap();
    std::fs::write(&path, "{\"n\":1}\n{\"n\":2}\n{\"n\":4}\n").unwrap();
    let same = fetch(&plan, Some(&page.next)).await;
    assert_eq!((texts(&same), same.notes.len()), (vec!["{\"n\":4}".to_owned()], 0));
    for other in ["{\"n\":7}\n{\"n\":8}\n{\"n\":9}\n", "{\"n\":7}\n"] {
        std::fs::write(&path, other).unwrap();
        let replaced = fetch(&plan, Some(&page.next)).await;
        assert_eq!(texts(&replaced)[0], "{\"n\":7}");
        assert!(replaced.notes[0].contains("was replaced"), "{:?}", replaced.notes);
    }
}

#[tokio::test]
async fn a_thousand_users_arrive_with_their_keys() {
    let data = support::root().join("../shared/data/randomuser-1000.json");
    let Ok(text) = std::fs::read(&data) else {
        return support::skip_or_panic("users of the real API are not here (../shared/data/randomuser-1000.json)");
    };
    let users: serde_json::Value = serde_json::from_slice(&text).unwrap();
    let lines: Vec<String> = users["results"].as_array().unwrap().iter().map(|user| user.to_string()).collect();
    let (_dir, path) = written(lines.join("\n"));
    let mut plan = file(&path);
    plan.records_per_poll = 300;
    let world = World::new().await;
    assert_eq!(world.run(&plan).await, Ended::Exhausted);
    let messages = world.messages().await;
    assert_eq!(messages.len(), 1_000);
    for (message, line) in messages.iter().zip(&lines) {
        assert_eq!(message.value.as_deref(), Some(line.as_bytes()));
        let user: serde_json::Value = serde_json::from_str(line).unwrap();
        assert_eq!(message.key.as_deref(), user["login"]["uuid"].as_str().map(str::as_bytes));
    }
    // A restart finds nothing new.
    assert_eq!(world.run(&plan).await, Ended::Exhausted);
    assert_eq!(world.messages().await.len(), 1_000);
}
