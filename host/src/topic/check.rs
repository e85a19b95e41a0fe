//! What can only be known by asking the cluster that a pipeline's topic is in.

use super::kafka;
use crate::config::Places;
use crate::config::diagnostic::Diagnostic;
use crate::config::plan::{Pipeline, TopicAddress};

/// All that differs from the plan, each with its place in the file and what to do. Nothing is changed.
pub async fn check(pipeline: &Pipeline, places: &Places) -> Vec<Diagnostic> {
    let TopicAddress::Kafka(cluster) = &pipeline.topic.at else { return Vec::new() };
    let found = kafka::check(&pipeline.topic, cluster, &pipeline.name).await;
    let place = |key: &str| places.value(&format!("topic.{key}")).or_else(|| places.value("topic.at"));
    let diagnostic = |obstacle: kafka::Obstacle| {
        Diagnostic::error(obstacle.code, obstacle.message).at(place(obstacle.key)).help(obstacle.help)
    };
    found.into_iter().map(diagnostic).collect()
}
