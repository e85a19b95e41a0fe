//! The pipeline file: what is read, what is refused, and how it is said.

use std::path::Path;

use tidemill::config::plan::{SinkAddress, TopicAddress, Trigger};
use tidemill::config::{LoadOptions, Loaded, diagnostic, load};

fn flagship(profile: Option<&str>, sets: &[&str]) -> Loaded {
    let sets: Vec<String> = sets.iter().map(|set| (*set).to_owned()).collect();
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("pipelines/users.toml");
    let loaded = load(&file, &LoadOptions { profile, sets: &sets, env: &|_| None });
    loaded.unwrap_or_else(|found| panic!("{}", diagnostic::render_all(&found, false)))
}

#[test]
fn the_flagship_is_embedded_and_a_profile_moves_it() {
    let here = flagship(None, &[]);
    assert_eq!(here.pipeline.topic.at, TopicAddress::Embedded);
    assert!(here.warnings.is_empty() && here.unsupported().is_empty());
    let there = flagship(Some("cluster"), &[]);
    assert_eq!(there.pipeline.topic.at, TopicAddress::Kafka { brokers: vec!["localhost:9092".to_owned()] });
    assert!(matches!(&there.pipeline.sinks[0].at, SinkAddress::Cassandra { hosts, .. } if hosts == &["localhost:9042"]));
    assert_eq!(there.unsupported().len(), 2);
}

#[test]
fn set_reaches_any_key() {
    let set = flagship(
        None,
        &["stage.enrich.limits.memory=16 MiB", "source.every=0s", "sink.users.at=memory:rows", "topic.partitions=4"],
    );
    assert_eq!(set.pipeline.stages[1].limits.memory_bytes, 16 << 20);
    assert!(matches!(set.pipeline.source.map(|source| source.schedule.trigger), Some(Trigger::Every(wait)) if wait.is_zero()));
    assert_eq!(set.pipeline.sinks[0].at, SinkAddress::Memory { name: "rows".to_owned() });
    assert_eq!(set.pipeline.topic.partitions, 4);
}
