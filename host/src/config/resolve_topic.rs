//! `[topic]`: where the log is, and what of a Kafka cluster's many properties a person may set.

use rdkafka::ClientConfig;
use rdkafka::error::KafkaError;
use secrecy::ExposeSecret;

use super::file::*;
use super::plan::*;
use super::resolve::{Resolver, default};
use super::written::{HumanRetention, Named, Written};
use super::{address, code, defaults, units};

/// Properties that delivery rests on: the host sets them, and says why a file may not.
const OWNED: [(&str, &str); 22] = [
    ("bootstrap.servers", "the brokers are in `at`"),
    ("metadata.broker.list", "the brokers are in `at`"),
    ("group.id", "the group is the pipeline's name"),
    ("group.instance.id", "a host that leaves gives its partitions back at once"),
    ("group.protocol", "the host answers the classic protocol's rebalances itself"),
    ("partition.assignment.strategy", "partitions move one by one: cooperative-sticky"),
    ("enable.auto.commit", "offsets are committed with the position, in its transaction"),
    ("auto.commit.enable", "offsets are committed with the position, in its transaction"),
    ("enable.auto.offset.store", "offsets are committed with the position, in its transaction"),
    ("isolation.level", "records of a transaction that was aborted must not be delivered"),
    ("auto.offset.reset", "a position that the topic no longer holds is an alarm, never a jump"),
    ("enable.partition.eof", "the end of a partition is how the host knows that it is idle"),
    ("transactional.id", "it is made of the pipeline's name and the host"),
    ("enable.idempotence", "a page is published once"),
    ("acks", "a record counts as published when all replicas in sync have it"),
    ("request.required.acks", "a record counts as published when all replicas in sync have it"),
    ("partitioner", "keys go where the Java clients put them: murmur2_random"),
    ("transaction.timeout.ms", "readers wait so long behind a host that died"),
    ("max.in.flight", "more than the broker remembers would lose the order"),
    ("max.in.flight.requests.per.connection", "more than the broker remembers would lose the order"),
    ("message.max.bytes", "the topic's own max.message.bytes decides"),
    ("plugin.library.paths", "code is not loaded from a pipeline file"),
];

impl Resolver<'_> {
    pub(super) fn topic(&mut self, topic: TopicFile, pipeline: &str) -> TopicPlan {
        let name = topic.name.as_ref().map_or_else(|| pipeline.to_owned(), |name| name.value.clone());
        if let Some(written) = &topic.name
            && !address::is_topic_name(&written.value)
        {
            self.error(code::BAD_NAME, format!("`{name}` is no name of a topic"), &written.span, address::TOPIC_NAME);
        }
        if let Some(key) = &topic.key {
            self.payload_field(key);
        }
        let at = match &topic.at {
            None => TopicAddress::Embedded,
            Some(at) => address::topic(&at.value).unwrap_or_else(|(message, way)| {
                self.error(code::BAD_ADDRESS, message, &at.span, way);
                TopicAddress::Embedded
            }),
        };
        let partitions = topic.partitions.as_ref().map(|written| written.value);
        let at = match at {
            TopicAddress::Embedded => {
                self.keys_of_kafka(&topic);
                TopicAddress::Embedded
            }
            TopicAddress::Kafka(cluster) => {
                self.retention_of_kafka(topic.retention.as_ref());
                self.side_topics_have_names_of_their_own(&topic, &name, pipeline);
                TopicAddress::Kafka(KafkaPlan {
                    create: topic.create.map_or(cluster.create, |written| written.value),
                    replication: topic.replication.map(|written| written.value),
                    partitions,
                    lag_max: topic.lag_max.map_or(cluster.lag_max, |written| written.value),
                    properties: topic.properties.map(|written| self.properties(written.value)).unwrap_or_default(),
                    ..cluster
                })
            }
        };
        TopicPlan {
            name,
            at,
            key: topic.key.map(|key| key.value),
            partitions: partitions.unwrap_or(defaults::PARTITIONS),
            retention: topic.retention.map_or_else(|| default(units::retention(defaults::RETENTION)), |written| written.value.0),
            null_value: topic.null_value.map_or(NullValue::Reject, |written| written.value),
        }
    }

    pub(super) fn retention_of_kafka(&mut self, written: Option<&Written<HumanRetention>>) {
        if let Some(retention) = written {
            let way = "remove it, and set retention.ms on the topic in Kafka";
            self.warn(code::KEY_NOT_USED, "`retention` is the broker's where the topic is Kafka's", &retention.span, way);
        }
    }

    /// They do nothing to the embedded topic, but may stand there for a profile that moves it.
    fn keys_of_kafka(&mut self, topic: &TopicFile) {
        let keys = [
            ("create", topic.create.as_ref().map(|written| &written.span)),
            ("replication", topic.replication.as_ref().map(|written| &written.span)),
            ("lag-max", topic.lag_max.as_ref().map(|written| &written.span)),
            ("properties", topic.properties.as_ref().map(|written| &written.span)),
        ];
        for (key, span) in keys {
            if let Some(span) = span {
                let way = "move it to the profile that has at = \"kafka://…\"";
                self.warn(code::KEY_NOT_USED, format!("`{key}` is not used by the embedded topic"), span, way);
            }
        }
    }

    fn side_topics_have_names_of_their_own(&mut self, topic: &TopicFile, name: &str, pipeline: &str) {
        let Some(written) = &topic.name else { return };
        if ["positions", "control", "dead-letters"].iter().any(|side| name == format!("{pipeline}.{side}")) {
            let message = format!("`{name}` is the topic in which this pipeline keeps its own records");
            self.error(code::KEYS_CONFLICT, message, &written.span, "name another topic, or the pipeline otherwise");
        }
    }

    fn properties(&mut self, properties: Named<Written<TextOrSecret>>) -> Vec<(String, Secret)> {
        let places = properties.0.iter().map(|(name, value)| (name.clone(), value.span.clone())).collect::<Vec<_>>();
        let values = self.secrets(properties);
        for (name, span) in places {
            if let Some((_, why)) = OWNED.iter().find(|(owned, _)| *owned == name.value) {
                let message = format!("the host sets `{}` itself", name.value);
                self.error(code::PROPERTY_OF_THE_HOST, message, &name.span, format!("remove it: {why}"));
                continue;
            }
            let Some((_, value)) = values.iter().find(|(known, _)| *known == name.value) else { continue };
            if let Err(refused) = accepts(&name.value, value.expose_secret()) {
                let (span, way) = match refused {
                    Refused::Name => {
                        (&name.span, "https://github.com/confluentinc/librdkafka/blob/v2.12.1/CONFIGURATION.md names all of them")
                    }
                    Refused::NotBuilt => (&name.span, "build tidemill with it: cargo build --release --features kafka-tls"),
                    Refused::Value => {
                        (&span, "https://github.com/confluentinc/librdkafka/blob/v2.12.1/CONFIGURATION.md tells what it takes")
                    }
                };
                let message = match refused {
                    Refused::Name => format!("librdkafka has no property `{}`", name.value),
                    Refused::NotBuilt => format!("`{}` needs TLS or SASL, which this host is built without", name.value),
                    // Not what librdkafka says, which repeats the value: it may be a secret.
                    Refused::Value => format!("librdkafka does not take this value for `{}`", name.value),
                };
                self.error(code::BAD_PROPERTY, message, span, way);
            }
        }
        values
    }
}

enum Refused {
    Name,
    NotBuilt,
    Value,
}

/// Asks the library itself; no client is made.
fn accepts(name: &str, value: &str) -> Result<(), Refused> {
    if value.contains('\0') || name.contains('\0') {
        return Err(Refused::Value);
    }
    match ClientConfig::new().set(name, value).create_native_config() {
        Ok(_) => Ok(()),
        Err(KafkaError::ClientConfig(_, reason, ..)) if lacks_tls(&reason) => Err(Refused::NotBuilt),
        Err(KafkaError::ClientConfig(_, reason, ..)) if reason.contains("No such configuration property") => Err(Refused::Name),
        Err(_) => Err(Refused::Value),
    }
}

/// By its words for a property or a value that only a library gives which it was built without.
fn lacks_tls(reason: &str) -> bool {
    reason.ends_with("at build time") && ["OpenSSL", "libsasl2"].iter().any(|library| reason.contains(library))
}

#[cfg(test)]
mod tests {
    use super::OWNED;

    #[test]
    fn the_readme_names_every_property_that_a_file_may_not_set() {
        let readme = include_str!("../../../README.md");
        for (name, _) in OWNED {
            assert!(readme.contains(&format!("`{name}`")), "{name}");
        }
    }
}
