//! Dead letters are replayed into Cassandra after the plugin was mended, by the verb alone and by the API of a host that runs.

use serde_json::{Value, json};

use crate::scene::{Scene, end};

#[test]
fn a_replay_keeps_the_write_time_and_newer_rows_and_deletes_stay() {
    let Some(services) = crate::both() else { return };
    let (_, cassandra) = services;
    let told =
        [("a", "fix"), ("b", "fix"), ("b", "keep"), ("c", "reject"), ("d", "keep"), ("e", "fix"), ("e", "delete"), ("f", "fix")];
    let line = |(number, (name, what)): (usize, &(&str, &str))| json!({ "number": number, "name": name, "do": what }).to_string();
    let mut scene = Scene::new("replayed_rows", services, told.iter().enumerate().map(line).map(String::into_bytes).collect());
    scene.jobs.pipeline = scene.jobs.pipeline.set("topic.partitions=1");
    scene.settle(told.len());
    let settled = scene.verify_all(services, &scene.pipeline());
    settled.assert_clean();
    assert_eq!((settled.rows, settled.dead_letters), (2, 5), "{settled}");
    let before = scene.snapshot(services);

    // The jobs are as many records in one partition, with nothing between them.
    let pipeline = scene.pipeline();
    let replay = |place: &str| pipeline.ask(&["dead-letters", "replay"], &[place]);
    let letter = pipeline.ask(&["dead-letters", "show"], &["0/0"]).ok();
    let write_time = letter.result()["write-time-us"].as_i64().unwrap_or_else(|| panic!("{:#}", letter.envelope));
    assert_eq!(replay("0/0").exit, 1, "the mistake is still there");
    scene.jobs.swap("0001");
    replay("0/0").ok();
    let host = scene.start(&scene.pipeline());
    replay("0/1").ok();
    replay("0/5").ok();
    let again = replay("0/3");
    assert_eq!((again.exit, &again.result()["replayed"][0]["passed"]), (1, &json!(false)), "{}", again.envelope);
    // A table that forgets at once what was deleted: nothing older than that is written unless a person wants it.
    let table = scene.table();
    cassandra.execute(&format!("ALTER TABLE {table} WITH gc_grace_seconds = 0"));
    let refused = replay("0/7");
    let said = format!("{} {}", refused.envelope, refused.stderr);
    assert!(refused.exit == 1 && said.contains("remembers deletes for 0s") && said.contains("--force"), "{said}");
    cassandra.execute(&format!("ALTER TABLE {table} WITH gc_grace_seconds = 864000"));
    replay("0/7").ok();
    end(host);

    let after = scene.snapshot(services);
    let names: Vec<Value> = after.values().map(|(_, row)| name(row)).collect();
    assert_eq!(names, ["a", "b", "d", "f"].map(Value::from), "`e` was deleted later, and stays so");
    let [(at, a), (b, _), ..] = &after.values().collect::<Vec<_>>()[..] else { panic!("{after:?}") };
    assert_eq!((*at, a["mark"].as_ref().and_then(|mark| mark.as_text()).map(String::as_str)), (write_time, Some("0001")));
    let newer = before.values().map(|(time, _)| *time).min();
    assert_eq!(Some(*b), newer, "the newer row of `b` stays as it was");
    scene.assert_nothing_went_back(&before, &after);
    let found = scene.verify_all(services, &scene.pipeline());
    found.assert_clean();
    assert_eq!((found.rows, found.dead_letters), (4, 1), "{found}");
}

fn name(row: &std::collections::BTreeMap<String, Option<scylla::value::CqlValue>>) -> Value {
    row["id"].as_ref().and_then(|id| id.as_text()).map_or(Value::Null, |id| id.as_str().into())
}
