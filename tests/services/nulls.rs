//! Records without a value, in a Kafka topic that others feed: they delete rows in Cassandra, or are dropped or rejected, as the file says.

use scylla::value::CqlValue;

use crate::kafka::Publish;
use crate::support::host::Pipeline;

const RECORDS: [(Option<&str>, Option<&str>); 6] = [
    (Some("a"), Some(r#"{"payload":"first"}"#)),
    (Some("b"), Some(r#"{"payload":"stays"}"#)),
    (Some("a"), None),
    (None, None),
    (Some("c"), None),
    (Some("c"), Some(r#"{"payload":"after its tombstone"}"#)),
];

#[test]
fn a_tombstone_is_rejected_dropped_or_deletes_the_row_of_its_key() {
    let Some((kafka, cassandra)) = crate::both() else { return };
    let first_and_others: &[_] = &[("a", "first"), ("b", "stays"), ("c", "after its tombstone")];
    for (null_value, rows, rejected) in
        [("reject", first_and_others, 3), ("drop", first_and_others, 0), ("delete", &first_and_others[1..], 1)]
    {
        let name = format!("null_{null_value}");
        kafka.create_topic(&name, 1, &[]);
        kafka.publish(
            &name,
            RECORDS.iter().map(|(key, value)| Publish {
                key: key.map(str::as_bytes),
                value: value.map(str::as_bytes),
                ..Publish::default()
            }),
        );
        let dir = tempfile::tempdir().expect("a folder");
        let text = format!(
            r#"name = "{name}"
[topic]
at = "kafka://{}"
null-value = "{null_value}"
[[sink]]
name = "rows"
at = "cassandra://{}"
table = "{name}.rows"
[sink.columns]
id = {{ field = "@key", type = "blob", key = "partition" }}
payload = "payload"
[dead-letters]
stop-when = "never"
"#,
            kafka.address(),
            cassandra.address()
        );
        std::fs::write(dir.path().join("pipeline.toml"), text).expect("write the pipeline");
        let pipeline = Pipeline::new(dir.path().join("pipeline.toml"), dir.path().join("data"));
        let answer = pipeline.run_until_idle().ok();
        assert_eq!(answer.count("rejected"), rejected, "{null_value}: {}", answer.envelope);
        let mut found: Vec<(String, String)> = cassandra
            .rows(&format!("SELECT id, payload FROM {name}.rows"))
            .iter()
            .map(|row| {
                let id = row["id"].as_ref().and_then(CqlValue::as_blob).expect("a key");
                let payload = row["payload"].as_ref().and_then(CqlValue::as_text).expect("a payload");
                (String::from_utf8(id.clone()).expect("text"), payload.clone())
            })
            .collect();
        found.sort();
        let expected: Vec<(String, String)> = rows.iter().map(|(id, payload)| (id.to_string(), payload.to_string())).collect();
        assert_eq!(found, expected, "{null_value}");
        assert_eq!(pipeline.verify(), Vec::<String>::new(), "{null_value}");
    }
}
