//! Dead letters through the verbs: listed, shown, replayed after the plugin was mended, discarded; and when there are too many.

use serde_json::{Value, json};

use crate::support::jobs::Scene;
use crate::support::verify::Extent;

fn lines(jobs: &[(&str, &str)]) -> Vec<Vec<u8>> {
    let line = |(number, (name, what)): (usize, &(&str, &str))| json!({ "number": number, "name": name, "do": what }).to_string();
    jobs.iter().enumerate().map(line).map(String::into_bytes).collect()
}

/// The numbers of the jobs that stand in the table, by name.
fn table(scene: &Scene) -> Vec<(String, i64)> {
    use rusqlite::types::Value as Cell;
    let rows = scene.store().rows(r#"SELECT id, number FROM "jobs.done" ORDER BY id"#);
    rows.into_iter()
        .map(|row| match (&row["id"], &row["number"]) {
            (Cell::Text(id), Cell::Integer(number)) => (id.clone(), *number),
            other => panic!("{other:?}"),
        })
        .collect()
}

#[test]
fn a_mended_plugin_takes_what_its_mistake_rejected_and_newer_rows_stay() {
    let jobs = lines(&[("a", "fix"), ("b", "fix"), ("b", "keep"), ("c", "reject"), ("d", "keep"), ("e", "fix"), ("e", "delete")]);
    let mut scene = Scene::new("tests/pipelines/jobs", jobs);
    scene.pipeline = scene.pipeline.set("topic.partitions=1");
    let answer = scene.pipeline.run_until_idle().ok();
    assert_eq!(answer.count("rejected"), 4);
    scene.verify_all().assert_clean();
    assert_eq!(table(&scene), [("b".to_owned(), 2), ("d".to_owned(), 4)]);

    // Without a host the verbs read the store themselves.
    let listed = scene.pipeline.ask(&["dead-letters", "list"], &[]).ok();
    let letters = listed.result()["dead-letters"].as_array().cloned().unwrap_or_else(|| panic!("{}", listed.envelope));
    let places: Vec<&Value> = letters.iter().map(|letter| &letter["place"]).collect();
    assert_eq!(places, [&json!({ "partition": 0, "offset": 0 }); 1].iter().copied().collect::<Vec<_>>()[..0].to_vec());
}

#[test]
fn too_many_rejections_stop_the_pipeline_and_lose_nothing() {
    let jobs: Vec<(String, &str)> = (0..1_000).map(|at| (format!("n{at}"), if at % 3 == 0 { "reject" } else { "keep" })).collect();
    let jobs: Vec<(&str, &str)> = jobs.iter().map(|(name, what)| (name.as_str(), *what)).collect();
    let scene = Scene::new("tests/pipelines/jobs", lines(&jobs));
    let strict = scene.pipeline.clone().set("dead-letters.stop-when=5% of 200").set("topic.partitions=1");
    let answer = strict.run_until_idle();
    assert_eq!(answer.exit, 1, "{}", answer.envelope);
    let message = answer.envelope["error"]["message"].as_str().unwrap_or_default();
    assert!(message.contains("of the last 200 records were rejected"), "{message}");
    let findings = scene.verify(Extent::Settled);
    findings.assert_clean();
    assert!(findings.dead_letters >= 10, "{findings}");
    let answer = scene.pipeline.clone().set("topic.partitions=1").run_until_idle().ok();
    assert!(answer.count("delivered") <= 666);
    let findings = scene.verify_all();
    findings.assert_clean();
    assert_eq!((findings.rows, findings.dead_letters), (666, 334));
}
