//! Dead letters, one by one, against what their records were decided.

use serde_json::{Value, json};

use super::evidence::Letter;
use super::report::Difference;
use crate::record::{RecordRef, RowOutcome};
use crate::sink::json::blob;
use crate::topic::{Boundary, GenerationContent};

/// What is wrong with a letter of a record that was rejected so.
pub fn differences(
    record: RecordRef<'_>,
    (stage, reason): (Option<&str>, &str),
    boundary: &Boundary,
    content: &GenerationContent,
    letter: &Letter,
) -> Vec<Difference> {
    let digest =
        stage.and_then(|stage| content.stages.iter().find(|known| known.name == stage)).map(|stage| stage.digest.as_str());
    let write_time = boundary.write_time(record.offset);
    let mut found = Vec::new();
    let mut compare = |what: &str, same: bool, expected: Value, found_there: Value| {
        if !same {
            found.push(Difference::new(what, expected, found_there));
        }
    };
    compare("key", letter.key.as_deref() == record.key, bytes(record.key), bytes(letter.key.as_deref()));
    compare("value", letter.value.as_deref() == record.value, bytes(record.value), bytes(letter.value.as_deref()));
    compare("headers", letter.headers == record.headers, headers(record.headers), headers(&letter.headers));
    compare("timestamp", letter.timestamp == record.timestamp, json!(record.timestamp), json!(letter.timestamp));
    compare("stage", letter.stage.as_deref() == stage, json!(stage), json!(letter.stage));
    compare("digest", letter.digest.as_deref() == digest, json!(digest), json!(letter.digest));
    compare("reason", letter.reason == reason, json!(reason), json!(letter.reason));
    compare("generation", letter.generation == boundary.generation, json!(boundary.generation), json!(letter.generation));
    compare("write time", letter.write_time == write_time, json!(write_time), json!(letter.write_time));
    found
}

fn bytes(bytes: Option<&[u8]>) -> Value {
    bytes.map_or(Value::Null, |bytes| std::str::from_utf8(bytes).map_or_else(|_| blob(bytes), Value::from))
}

fn headers(headers: &[crate::record::Header]) -> Value {
    headers.iter().map(|(name, value)| json!([name, bytes(value.as_deref())])).collect()
}

/// Whether a reason depends on the machine that the record was decided on: another one may decide otherwise.
pub fn depends_on_the_machine(reason: &str) -> bool {
    reason.starts_with("ran for more than ") || reason.contains("did not return within ")
}

/// Whether a server refused a row later, for its own sake: the record's other rows stand.
pub fn is_refusal(letter: &Letter, servers: &[&str]) -> bool {
    let sink = letter.reason.strip_prefix("sink ").and_then(|rest| rest.split_once(": ")).map(|(sink, _)| sink);
    letter.stage.is_none() && sink.is_some_and(|sink| servers.contains(&sink))
}

/// What became of a record, in a few words.
pub fn words(outcome: &RowOutcome) -> String {
    match outcome {
        RowOutcome::Emitted => "it is emitted".to_owned(),
        RowOutcome::Dropped => "it is dropped".to_owned(),
        RowOutcome::Deleted => "its row is deleted".to_owned(),
        RowOutcome::Rejected { stage: None, reason } => format!("it is rejected: {reason}"),
        RowOutcome::Rejected { stage: Some(stage), reason } => format!("stage `{stage}` rejects it: {reason}"),
    }
}
