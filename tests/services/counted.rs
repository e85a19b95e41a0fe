//! What a plugin keeps by key is in the positions topic, saved with the position: `count-providers` over hosts that are killed at random, each
//! time another one going on, counted natively from the topic. Nothing is counted twice, and nothing is forgotten.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::time::Duration;

use scylla::value::CqlValue;
use serde::Deserialize;
use tempfile::TempDir;

use crate::cassandra::Cassandra;
use crate::kafka::Kafka;
use crate::scene::delivers;
use crate::support::host::Pipeline;
use crate::support::random::Random;
use crate::support::{guests, root};

const KILLS: u64 = 12;

#[derive(Deserialize)]
struct User {
    name: String,
    email: String,
}

/// Users of a few providers; every fiftieth has no address, and counts for nobody.
fn line(number: usize) -> String {
    let mix = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40;
    let at = if number.is_multiple_of(50) { " at " } else { "@" };
    format!(r#"{{"name":"u{number}","email":"u{number}{at}provider-{}.example"}}"#, mix % 17)
}

/// Of each user the provider, and how many of it there were in its partition up to this one; and how many users were rejected.
fn count(kafka: &Kafka) -> (BTreeMap<String, (String, i64)>, usize) {
    let (mut counts, mut expected, mut rejected): (HashMap<(u32, String), i64>, _, _) = (HashMap::new(), BTreeMap::new(), 0);
    for record in kafka.read("counted") {
        let user: User = serde_json::from_slice(record.value.as_deref().expect("a value")).expect("a user");
        let Some((_, provider)) = user.email.split_once('@') else {
            rejected += 1;
            continue;
        };
        let count = counts.entry((record.partition, provider.to_owned())).or_default();
        *count += 1;
        expected.insert(user.name, (provider.to_owned(), *count));
    }
    (expected, rejected)
}

fn rows(cassandra: &Cassandra) -> BTreeMap<String, (String, i64)> {
    let text = |value: &Option<CqlValue>| value.as_ref().and_then(CqlValue::as_text).expect("text").clone();
    let rows = cassandra.rows("SELECT name, provider, count FROM counted.counts");
    let row = |row: &BTreeMap<String, Option<CqlValue>>| {
        let count = row["count"].as_ref().and_then(CqlValue::as_bigint).expect("a count");
        (text(&row["name"]), (text(&row["provider"]), count))
    };
    rows.iter().map(row).collect()
}

#[test]
fn what_a_plugin_counts_over_kills_and_hosts_is_counted_once() {
    let Some((kafka, cassandra)) = crate::both() else { return };
    let dir = TempDir::new().expect("make a folder");
    fs::copy(root().join("tests/services/counted/pipeline.toml"), dir.path().join("pipeline.toml")).expect("copy the pipeline");
    fs::copy(guests::component("plugins/count-providers"), dir.path().join("count.wasm")).expect("copy the plugin");
    let lines: Vec<String> = (0..60_000).map(line).collect();
    fs::write(dir.path().join("users.ndjson"), lines.join("\n")).expect("write the source");
    let machine = |name: &str| {
        let pipeline = Pipeline::new(dir.path().join("pipeline.toml"), dir.path().join(name));
        pipeline.env("KAFKA", &kafka.address()).env("CASSANDRA", &cassandra.address())
    };
    let machines = [machine("here"), machine("there")];
    let mut random = Random::new();
    for kill in 0..KILLS {
        let pipeline = &machines[kill as usize % 2];
        let mut host = pipeline.start("run", &[]);
        if random.below(6) > 0 {
            host.ready(&pipeline.store("counted"));
            delivers(&host);
        }
        // The moment is the point: no condition may choose it.
        std::thread::park_timeout(Duration::from_micros(random.below(1_300_000)));
        assert!(host.has_ended().is_none(), "the host ended by itself:\n{}", host.log());
        host.kill();
    }
    let before = kafka.read("counted").len();
    let more = machines[0].clone().set("source.every=0s").set("source.records-per-poll=500");
    more.set(&format!("source.records={}", before + 1_000)).run_until_idle().ok();
    let (expected, rejected) = count(kafka);
    assert!(before > 1_000 && before + 1_000 == expected.len() + rejected, "{before} before the end, {} after", expected.len());
    assert_eq!(rows(cassandra), expected);

    // What state led to cannot be decided again: it is said, and nothing is called wrong.
    let answer = machines[0].ask(&["verify"], &[]).ok();
    let reasons = answer.result()["unverifiable"].as_object().expect("reasons");
    let told: u64 = reasons.iter().filter(|(why, _)| why.contains("keeps state")).filter_map(|(_, count)| count.as_u64()).sum();
    assert!(told >= (before + 1_000) as u64, "{:#}", answer.envelope);
}
