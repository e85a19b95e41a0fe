//! How the pipeline is, in one word for each of its parts and one for all, with the reason.

use serde::{Deserialize, Serialize};

use super::Snapshot;

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    /// `ok`, `in trouble`, `backing off`, or the state where that is not simply `running`.
    pub word: String,
    pub parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// `source`, `topic`, `stages`, `sinks`, `dead-letters`.
    pub part: String,
    pub word: String,
    pub reason: Option<String>,
}

fn part(part: &str, trouble: Option<(&str, Option<String>)>) -> Part {
    let (word, reason) = trouble.unwrap_or(("ok", None));
    Part { part: part.to_owned(), word: word.to_owned(), reason }
}

pub fn of(snapshot: &Snapshot) -> Health {
    let source = snapshot.source.as_ref().and_then(|source| match source.state.as_str() {
        state @ ("backing off" | "held back" | "failed" | "paused") => Some((state, source.last_error.clone())),
        _ => None,
    });
    let named = |number: &u32, error: &Option<String>| error.as_ref().map(|error| format!("partition {number}: {error}"));
    let topic = snapshot.partitions.iter().find(|(_, partition)| partition.state == "stopped");
    let topic = topic.map(|(number, partition)| ("stopped", named(number, &partition.last_error)));
    let stages = snapshot.partitions.iter().find(|(_, partition)| partition.state == "backing off");
    let stages = stages.map(|(number, partition)| ("backing off", named(number, &partition.last_error)));
    let sinks = snapshot.sinks.iter().find(|sink| sink.state == "backing off");
    let sinks = sinks.map(|sink| ("backing off", sink.last_error.as_ref().map(|error| format!("{}: {error}", sink.name))));
    let letters =
        (snapshot.dead_letters > 0).then(|| ("waiting", Some(format!("{} wait for replay or discard", snapshot.dead_letters))));
    let parts = vec![
        part("source", source),
        part("topic", topic),
        part("stages", stages),
        part("sinks", sinks),
        part("dead-letters", letters),
    ];
    let has = |word: &str| parts.iter().any(|part| part.word == word);
    let word = match snapshot.state.as_str() {
        "running" if !snapshot.alarms.is_empty() || has("stopped") || has("failed") => "in trouble",
        "running" if has("backing off") => "backing off",
        "running" => "ok",
        state => state,
    };
    Health { word: word.to_owned(), parts }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::{SinkStatus, SourceStatus};

    #[test]
    fn one_word_says_how_it_is_and_its_part_says_why() {
        let mut snapshot = Snapshot { state: "running".to_owned(), ..Snapshot::default() };
        assert_eq!(of(&snapshot).word, "ok");
        let (state, last_error) = ("backing off".to_owned(), Some("503".to_owned()));
        snapshot.source = Some(SourceStatus { state: state.clone(), last_error: last_error.clone(), ..SourceStatus::default() });
        snapshot.sinks = vec![SinkStatus { name: "users".to_owned(), state, last_error, ..SinkStatus::default() }];
        let health = of(&snapshot);
        assert_eq!(health.word, "backing off");
        let reasons: Vec<_> =
            health.parts.iter().filter_map(|part| Some((part.part.as_str(), part.reason.as_deref()?))).collect();
        assert_eq!(reasons, [("source", "503"), ("sinks", "users: 503")]);
        snapshot.alarms = vec!["the disk is full".to_owned()];
        assert_eq!(of(&snapshot).word, "in trouble");
        snapshot.state = "draining".to_owned();
        assert_eq!(of(&snapshot).word, "draining");
    }
}
