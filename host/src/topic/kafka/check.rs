//! What a cluster says to the plan of a topic, for `check --connect`. It changes nothing. Everything here blocks.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use super::create;
use super::lookups::Lookups;
use super::names::{Names, Side};
use crate::config::plan::KafkaPlan;
use crate::config::{code, defaults};
use crate::kafka;
use crate::topic::Error;

/// A person waits for it.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// What stands in the way, the key of `[topic]` that it is about, and the way out.
pub struct Obstacle {
    pub code: &'static str,
    pub key: &'static str,
    pub message: String,
    pub help: String,
}

/// Keeps why the client does not get on.
#[derive(Default)]
struct Heard(Mutex<Vec<(Option<RDKafkaErrorCode>, String)>>);

impl ClientContext for Heard {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        kafka::log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push((kafka::code(&error), reason.to_owned()));
    }
}

impl ConsumerContext for Heard {}

pub(super) fn look(cluster: &KafkaPlan, names: &Names) -> Vec<Obstacle> {
    if let Some(obstacle) = reach(cluster, names) {
        return vec![obstacle];
    }
    let lookups = match Lookups::new(cluster, names) {
        Ok(lookups) => lookups,
        Err(error) => return vec![unreachable(cluster, &error.to_string())],
    };
    let has = match lookups.partitions(&names.topic) {
        Ok(Some(has)) => has,
        Ok(None) if cluster.create => return Vec::new(),
        Ok(None) => {
            let partitions = cluster.partitions.unwrap_or(defaults::PARTITIONS);
            let help = format!(
                "create = true, or: kafka-topics.sh --bootstrap-server {} --create --topic {} --partitions {partitions}",
                cluster.brokers[0], names.topic
            );
            return vec![Obstacle { code: code::TOPIC_MISSING, key: "name", message: create::absent(&names.topic), help }];
        }
        Err(error @ Error::Fatal(_)) => {
            let help = format!("let the user of this pipeline describe, read and write topic `{}`", names.topic);
            return vec![Obstacle { code: code::BROKER_REFUSES, key: "name", message: error.to_string(), help }];
        }
        Err(error) => return vec![unreachable(cluster, &error.to_string())],
    };
    let mut found = Vec::new();
    if let Some(wants) = cluster.partitions.filter(|wants| *wants != has) {
        let help = format!("partitions = {has}: with another number keys would be in other partitions");
        let message = create::other_partitions(&names.topic, has, wants);
        found.push(Obstacle { code: code::TOPIC_DIFFERS, key: "partitions", message, help });
    }
    for side in [Side::Positions, Side::Letters] {
        let topic = names.side(side);
        if let Ok(Some(had)) = lookups.partitions(&topic)
            && had != has
        {
            let message = format!("topic `{}` has {has} partitions, and had {had} when `{topic}` was made", names.topic);
            let help = "deliver what is there with the old count, or start afresh with another pipeline name".to_owned();
            found.push(Obstacle { code: code::TOPIC_DIFFERS, key: "name", message, help });
        }
    }
    found
}

/// Why no broker answers, if none does.
fn reach(cluster: &KafkaPlan, names: &Names) -> Option<Obstacle> {
    let client = kafka::consumer(cluster, names.group()).create_with_context(Heard::default());
    let client: BaseConsumer<Heard> = match client {
        Ok(client) => client,
        Err(error) => return Some(unreachable(cluster, &error.to_string())),
    };
    let error = client.fetch_metadata(Some(&names.topic), ANSWER_WITHIN).err()?;
    for _ in 0..100 {
        let _ = client.poll(Duration::ZERO);
    }
    let heard = std::mem::take(&mut *client.context().0.lock().unwrap_or_else(PoisonError::into_inner));
    let refused = |code: &Option<RDKafkaErrorCode>| {
        matches!(
            code,
            Some(RDKafkaErrorCode::Authentication | RDKafkaErrorCode::SaslAuthenticationFailed | RDKafkaErrorCode::SSL)
        )
    };
    if let Some((_, reason)) = heard.iter().find(|(code, _)| refused(code)) {
        let message = format!("the cluster refuses this client: {reason}");
        let help = "look at [topic.properties]: \"security.protocol\", \"sasl.mechanism\", \"sasl.username\", \"sasl.password\", \"ssl.ca.location\"";
        return Some(Obstacle { code: code::BROKER_REFUSES, key: "at", message, help: help.to_owned() });
    }
    let reason = heard.into_iter().next().map_or_else(|| kafka::reason(&error), |(_, reason)| reason);
    Some(unreachable(cluster, &reason))
}

fn unreachable(cluster: &KafkaPlan, reason: &str) -> Obstacle {
    let message = format!("no broker answers at {}: {reason}", cluster.brokers.join(", "));
    let help = "is the broker up, and is this its listener for clients? One that wants TLS or SASL answers nobody without: \
                [topic.properties] \"security.protocol\" = \"SASL_SSL\"";
    Obstacle { code: code::BROKER_UNREACHABLE, key: "at", message, help: help.to_owned() }
}
