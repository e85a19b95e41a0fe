//! A topic of a Kafka cluster, as planned.

use super::defaults;
use super::secret::Secret;

/// A topic of a Kafka cluster.
#[derive(Clone, Debug, PartialEq)]
pub struct KafkaPlan {
    /// `host:port`.
    pub brokers: Vec<String>,
    /// Make the topic where absent.
    pub create: bool,
    /// Of the topics that are made; `None`: the cluster's default.
    pub replication: Option<u16>,
    /// As the file says; `None`: as many as the topic has.
    pub partitions: Option<u32>,
    /// Records that may wait for delivery before the source waits.
    pub lag_max: u64,
    /// Further properties of librdkafka; values may be secrets.
    pub properties: Vec<(String, Secret)>,
}

impl KafkaPlan {
    /// A cluster with every default.
    pub fn new(brokers: Vec<String>) -> KafkaPlan {
        KafkaPlan {
            brokers,
            create: defaults::CREATE,
            replication: None,
            partitions: None,
            lag_max: defaults::LAG_MAX,
            properties: Vec::new(),
        }
    }
}
