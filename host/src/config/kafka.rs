//! A topic of a Kafka cluster, as planned.

use secrecy::{ExposeSecret, SecretString};

use super::defaults;

/// A topic of a Kafka cluster.
#[derive(Clone, Debug)]
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
    pub properties: Vec<(String, SecretString)>,
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

impl PartialEq for KafkaPlan {
    fn eq(&self, other: &KafkaPlan) -> bool {
        let same_properties = || {
            let pairs = self.properties.iter().zip(&other.properties);
            self.properties.len() == other.properties.len()
                && pairs.into_iter().all(|((a, x), (b, y))| a == b && x.expose_secret() == y.expose_secret())
        };
        (&self.brokers, self.create, self.replication, self.partitions, self.lag_max)
            == (&other.brokers, other.create, other.replication, other.partitions, other.lag_max)
            && same_properties()
    }
}
