//! The topics of a pipeline: made where absent, and looked at before anything relies on them.

use std::time::{Duration, Instant};

use rdkafka::admin::{AdminOptions, NewTopic, TopicReplication};
use rdkafka::error::RDKafkaErrorCode;

use super::lookups::Lookups;
use super::names::Side;
use super::{Names, fatal};
use crate::config::defaults;
use crate::config::plan::KafkaPlan;
use crate::kafka::{self, ASK_TIMEOUT};
use crate::topic::Error;

/// How long a topic that was made may take to be seen.
const MADE_WITHIN: Duration = Duration::from_secs(30);
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// Side topics are compacted soon: each save writes a key that was there before.
const COMPACTED: [(&str, &str); 5] = [
    ("cleanup.policy", "compact"),
    ("segment.ms", "600000"),
    ("segment.bytes", "16777216"),
    ("min.cleanable.dirty.ratio", "0.1"),
    ("compression.type", "producer"),
];

/// Makes what is absent and returns how many partitions the topic has. Blocks.
pub(super) fn topics(plan: &KafkaPlan, names: &Names, lookups: &Lookups) -> Result<u32, Error> {
    let partitions = match lookups.partitions(&names.topic)? {
        Some(has) => has,
        None if plan.create => {
            let partitions = plan.partitions.unwrap_or(defaults::PARTITIONS);
            make(plan, lookups, &names.topic, partitions, &[])?;
            partitions
        }
        None => return Err(Error::Fatal(absent(&names.topic))),
    };
    if let Some(wrong) = plan.partitions.filter(|wants| *wants != partitions) {
        return Err(Error::Fatal(other_partitions(&names.topic, partitions, wrong)));
    }
    for side in Side::ALL {
        let (topic, wants) = (names.side(side), if side == Side::Control { 1 } else { partitions });
        match lookups.partitions(&topic)? {
            None => make(plan, lookups, &topic, wants, &COMPACTED)?,
            Some(has) if has != wants => {
                return Err(Error::Fatal(format!(
                    "topic `{}` has {wants} partitions, and had {has} when `{topic}` was made: keys are in other partitions now. \
                     deliver what is there with the old count, or start afresh with another pipeline name",
                    names.topic
                )));
            }
            Some(_) => {}
        }
    }
    Ok(partitions)
}

pub(super) fn absent(topic: &str) -> String {
    format!("topic `{topic}` does not exist; let it be made with [topic] create = true, or make it with Kafka's own tool")
}

pub(super) fn other_partitions(topic: &str, has: u32, wants: u32) -> String {
    format!(
        "topic `{topic}` has {has} partitions, the pipeline file says {wants}: go on with partitions = {has}, or leave the key out"
    )
}

fn make(plan: &KafkaPlan, lookups: &Lookups, topic: &str, partitions: u32, settings: &[(&str, &str)]) -> Result<(), Error> {
    // -1: the cluster's default.
    let replication = TopicReplication::Fixed(plan.replication.map_or(-1, i32::from));
    let new = NewTopic::new(topic, partitions as i32, replication);
    let new = settings.iter().fold(new, |new, (name, value)| new.set(name, value));
    let options = AdminOptions::new().request_timeout(Some(ASK_TIMEOUT)).operation_timeout(Some(ASK_TIMEOUT));
    let admin = kafka::admin(plan).map_err(|error| fatal("make a Kafka client", &error))?;
    let made = kafka::answer(admin.create_topics([&new], &options));
    let made = made.map_err(|error| Error::Transient(format!("make topic `{topic}`: {}", kafka::reason(&error))))?;
    match made.into_iter().next() {
        // Another host was faster.
        Some(Ok(_) | Err((_, RDKafkaErrorCode::TopicAlreadyExists))) | None => {}
        Some(Err((_, RDKafkaErrorCode::InvalidReplicationFactor))) => {
            return Err(Error::Fatal(format!(
                "make topic `{topic}`: the cluster has fewer brokers than replicas were asked for; set [topic] replication"
            )));
        }
        Some(Err((_, error @ (RDKafkaErrorCode::RequestTimedOut | RDKafkaErrorCode::NotController)))) => {
            return Err(Error::Transient(format!("make topic `{topic}`: {error}")));
        }
        Some(Err((_, error))) => return Err(Error::Fatal(format!("make topic `{topic}`: {error}"))),
    }
    tracing::info!(target: "kafka", topic, partitions, "topic made");
    let until = Instant::now() + MADE_WITHIN;
    while lookups.partitions(topic).ok().flatten() != Some(partitions) {
        if Instant::now() > until {
            return Err(Error::Transient(format!("topic `{topic}` was made, and is not seen yet")));
        }
        std::thread::sleep(LOOK_AGAIN);
    }
    Ok(())
}
