//! Dead letters through the verbs: listed, shown, replayed after the plugin was mended, discarded; and when there are too many.

use rusqlite::types::Value as Cell;
use serde_json::json;
use tidemill::crash;

use crate::support::host::Host;
use crate::support::jobs::Scene;
use crate::support::verify::Extent;

fn lines(jobs: &[(&str, &str)]) -> Vec<Vec<u8>> {
    let line = |(number, (name, what)): (usize, &(&str, &str))| json!({ "number": number, "name": name, "do": what }).to_string();
    jobs.iter().enumerate().map(line).map(String::into_bytes).collect()
}

/// The numbers of the jobs that stand in the table, by name.
fn table(scene: &Scene) -> Vec<(String, i64)> {
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

    // Without a host the verbs open the store themselves.
    let listed = scene.pipeline.ask(&["dead-letters", "list"], &[]).ok();
    let letters = listed.result()["dead-letters"].as_array().cloned().unwrap_or_else(|| panic!("{}", listed.envelope));
    let offsets: Vec<i64> = letters.iter().filter_map(|letter| letter["offset"].as_i64()).collect();
    assert_eq!(offsets, [0, 1, 3, 5]);
    let shown = scene.pipeline.ask(&["dead-letters", "show"], &["0/0"]).ok();
    assert_eq!(shown.result()["reason"], "job 0 meets a mistake of 0000");
    assert_eq!(shown.result()["stage"], "triage");
    assert!(shown.result()["record"]["value"].to_string().contains("fix"), "the record as it was: {}", shown.envelope);
    assert_eq!(scene.pipeline.ask(&["dead-letters", "show"], &["0/2"]).exit, 1, "what was not rejected is no dead letter");
    assert_eq!(scene.pipeline.ask(&["dead-letters", "replay"], &["0/0"]).exit, 1, "the mistake is still there");

    scene.swap("0001");
    scene.pipeline.ask(&["dead-letters", "replay"], &["0/0"]).ok();
    let mut host = scene.pipeline.start("run", &[]);
    host.ready(&scene.store_dir());
    let replay = |place: &str| scene.pipeline.ask(&["dead-letters", "replay"], &[place]);
    replay("0/1").ok();
    replay("0/5").ok();
    let again = replay("0/3");
    assert_eq!((again.exit, &again.result()["replayed"][0]["passed"]), (1, &json!(false)), "{}", again.envelope);
    assert_eq!(again.result()["replayed"][0]["reason"], "job 3 is refused by 0001");
    assert_eq!(replay("0/0").exit, 1, "it is no dead letter any more");
    scene.pipeline.ask(&["dead-letters", "discard"], &["0/3"]).ok();
    let left = scene.pipeline.ask(&["dead-letters", "list"], &[]).ok();
    assert_eq!(left.result()["dead-letters"], json!([]));
    host.terminate();
    assert!(host.wait().success(), "{}", host.log());

    // `a` came late; the newer row of `b` stayed, and so did the delete of `e`.
    assert_eq!(table(&scene), [("a".to_owned(), 0), ("b".to_owned(), 2), ("d".to_owned(), 4)]);
    scene.verify_all().assert_clean();
    assert_eq!(scene.store().receipts().len(), 4);
}

/// Its rows may stand in some of the sinks: nothing of what decides it may change any more.
#[test]
fn a_replay_that_was_killed_is_finished_by_the_code_that_began_it() {
    for point in crash::REPLAY_POINTS {
        let jobs = lines(&[("a", "fix"), ("b", "keep")]);
        let mut scene = Scene::new("tests/crash/table-and-file", jobs);
        scene.pipeline = scene.pipeline.set("topic.partitions=1");
        scene.pipeline.run_until_idle().ok();
        scene.swap("0001");
        let mut killed = scene.pipeline.clone().env("TIDEMILL_CRASH_AT", point).command(&["dead-letters", "replay"]);
        let status = killed.arg("0/0").status().expect("start tidemill");
        assert!(Host::was_killed(status), "at {point} it ended with {status}");
        assert_eq!(table(&scene), [("b".to_owned(), 1)], "{point}");
        scene.verify_all().assert_clean();

        scene.swap("0002");
        scene.pipeline.ask(&["dead-letters", "replay"], &["0/0"]).ok();
        let rows = scene.store().rows(r#"SELECT id, mark FROM "jobs.done" ORDER BY id"#);
        let marks: Vec<_> = rows.into_iter().map(|row| row["mark"].clone()).collect();
        assert_eq!(marks, ["0001", "0000"].map(|mark| Cell::Text(mark.to_owned())), "{point}");
        let written = std::fs::read_to_string(scene.dir.path().join("lines.ndjson")).expect("the lines");
        let again = if *point == "before-letter-removed" { 2 } else { 1 };
        assert_eq!((written.matches("0001").count(), written.matches("0002").count()), (again, 0), "{point}: {written}");
        scene.verify_all().assert_clean();
    }
}

#[test]
fn too_many_rejections_stop_the_pipeline_and_lose_nothing() {
    let jobs: Vec<(String, &str)> =
        (0..1_000).map(|at| (format!("n{at}"), if at % 3 == 0 { "reject" } else { "keep" })).collect();
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
