//! A receipt says what happened, the same wherever it is asked for.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::scene::Live;
use crate::support::host::get;

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("{value} is a number"))
}

#[test]
fn a_receipt_says_what_the_store_knows_and_every_way_to_ask_says_the_same() {
    let mut live = Live::start("tests/reload/table", 20_000);
    live.flows(600);
    let before = (live.digest(), live.generation());
    live.swap("next");
    let receipt = live.receipt("applied", 0);
    let digest = live.scene.marks.digest("next");
    assert_eq!(
        receipt["changes"],
        json!([{ "stage": "triage", "from": before.0, "to": digest, "what": ["code"], "gained": [] }])
    );
    assert_eq!((&receipt["who"], &receipt["reason"], &receipt["diagnostics"]), (&json!("watch"), &Value::Null, &json!([])));
    assert_eq!((&receipt["from-generation"], &receipt["generation"]), (&json!(before.1), &json!(before.1 + 1)));
    let (took, compile, pause) = (number(&receipt["took-ms"]), number(&receipt["compile-ms"]), number(&receipt["pause-ms"]));
    assert!(compile > 0.0 && took > compile && pause < took, "{receipt}");
    assert!(receipt["probed"].as_u64().is_some_and(|probed| probed > 0), "{receipt}");
    let partitions = receipt["partitions"].as_array().unwrap();
    let longest = partitions.iter().map(|partition| number(&partition["pause-ms"])).fold(0.0, f64::max);
    assert_eq!(pause, longest);

    // As metrics, in seconds.
    let (status, metrics) = get(&live.address, "/metrics").expect("an answer");
    assert_eq!(status, 200);
    let metric = |name: &str, labels: &[&str]| {
        let line = metrics.lines().find(|line| line.starts_with(name) && labels.iter().all(|label| line.contains(label)));
        let value = line.and_then(|line| line.rsplit(' ').next()).unwrap_or_else(|| panic!("{name} {labels:?} in:\n{metrics}"));
        value.parse::<f64>().expect("a number")
    };
    assert_eq!(metric("tidemill_swaps_total", &["outcome=\"applied\""]), 1.0);
    for (part, ms) in [("whole", took), ("compile", compile), ("pause", pause)] {
        let seconds = metric("tidemill_swap_seconds", &[&format!("part=\"{part}\"")]);
        assert!((seconds - ms / 1e3).abs() < 1e-6, "{part}: {seconds} s, {ms} ms");
    }

    // In the log, and for people.
    let log = live.host.log();
    let line = log.lines().find(|line| line.contains(" applied ")).unwrap_or_else(|| panic!("no line in:\n{log}"));
    for part in ["who=watch", "stages=triage", &format!("generation={}", before.1 + 1)] {
        assert!(line.contains(part), "{part}: {line}");
    }
    let told = live.scene.pipeline.command(&["receipts"]).output().expect("start tidemill");
    let told = String::from_utf8_lossy(&told.stdout).into_owned();
    let in_flight: i64 = partitions.iter().map(|partition| partition["in-flight"].as_i64().unwrap()).sum();
    let row = told.lines().find(|line| line.contains("applied")).unwrap_or_else(|| panic!("no row in:\n{told}"));
    let firsts: Vec<String> = partitions.iter().map(|at| format!("{}/{}", at["partition"], at["first"])).collect();
    let change = format!("triage {} → {} (code)", &before.0[..8], &digest[..8]);
    for part in ["watch", &firsts.join(" "), &format!("  {in_flight}  "), &change] {
        assert!(row.contains(part), "{part}: {row}");
    }
    assert!(told.lines().next().is_some_and(|headings| headings.contains("in flight")), "{told}");

    live.flows(600);
    let generation = before.1 + 1;
    let scene = live.finish();
    // Without a host the store says it.
    assert_eq!(scene.pipeline.ask(&["receipts"], &[]).ok().result()["receipts"], json!([receipt]));
    let begun: BTreeMap<u64, i64> = scene
        .store()
        .partitions()
        .iter()
        .filter_map(|partition| {
            let boundary = partition.boundaries.iter().find(|boundary| boundary.generation == generation)?;
            Some((u64::from(partition.number), boundary.first))
        })
        .collect();
    assert_eq!(begun.len(), 3, "every partition has records of the new code");
    let told = partitions.iter().map(|at| (at["partition"].as_u64().unwrap(), at["first"].as_i64().unwrap())).collect();
    assert_eq!(begun, told);
    for at in partitions {
        let (first, in_flight) = (at["first"].as_i64().unwrap(), at["in-flight"].as_i64().unwrap());
        assert!((0..=first).contains(&in_flight), "{at}");
    }
}
