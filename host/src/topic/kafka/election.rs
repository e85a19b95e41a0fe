//! Who polls the source: the member of group `<pipeline>.source` that holds the control topic's one partition.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rdkafka::TopicPartitionList;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaRespErr;
use tokio::sync::watch;

use super::names::Side;
use super::{Inner, fatal};
use crate::kafka;
use crate::topic::Error;

/// So often the candidate looks whether it is to end.
const LOOK_EVERY: Duration = Duration::from_millis(100);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// Another host polls.
    Waiting,
    Ours,
    /// It was ours, and is no more.
    Over,
}

/// A candidate; it leaves the group when dropped.
pub(super) struct Election {
    turn: watch::Receiver<Turn>,
    /// Also ends what is being published.
    pub(super) ended: Arc<AtomicBool>,
}

struct Context {
    turn: watch::Sender<Turn>,
    ended: Arc<AtomicBool>,
}

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        kafka::log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(target: "kafka", "{error}: {reason}");
    }
}

impl ConsumerContext for Context {
    fn rebalance(&self, consumer: &BaseConsumer<Context>, what: RDKafkaRespErr, list: &mut TopicPartitionList) {
        // Answered also when the turn has ended: a rebalance without an answer would hold up the client's end, and the next turn with it.
        if what == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS {
            // The partition is a token: nothing is read from it here.
            let _ = consumer.incremental_assign(list);
            let _ = consumer.pause(list);
            if list.count() > 0 && !self.ended.load(Ordering::SeqCst) {
                self.turn.send_replace(Turn::Ours);
            }
        } else {
            if list.count() > 0 {
                self.turn.send_replace(Turn::Over);
            }
            let _ = consumer.incremental_unassign(list);
        }
    }
}

impl Election {
    pub(super) fn stand(inner: &Inner) -> Result<Election, Error> {
        let (sender, turn) = watch::channel(Turn::Waiting);
        let ended = Arc::new(AtomicBool::new(false));
        let mut config = kafka::consumer(&inner.plan, &inner.names.source_group());
        config.set("auto.offset.reset", "latest").set("enable.partition.eof", "false");
        let context = Context { turn: sender, ended: ended.clone() };
        let consumer: BaseConsumer<Context> =
            config.create_with_context(context).map_err(|error| fatal("make a Kafka client", &error))?;
        consumer.subscribe(&[&inner.names.side(Side::Control)]).map_err(|error| fatal("stand for polling the source", &error))?;
        let until = ended.clone();
        let stand = move || {
            while !until.load(Ordering::SeqCst) {
                if let Some(Err(error)) = consumer.poll(LOOK_EVERY) {
                    tracing::debug!(target: "kafka", "{}", kafka::reason(&error));
                    if matches!(error, KafkaError::MessageConsumptionFatal(_)) {
                        return;
                    }
                }
            }
            // Dropping it leaves the group.
        };
        std::thread::Builder::new()
            .name("kafka-election".to_owned())
            .spawn(stand)
            .map_err(|error| Error::Fatal(format!("start a thread: {error}")))?;
        Ok(Election { turn, ended })
    }

    /// Waits until it is this host's turn.
    pub(super) async fn won(&mut self) -> Result<(), Error> {
        let won = self.turn.wait_for(|turn| *turn == Turn::Ours).await;
        won.map(drop).map_err(|_| Error::Transient("the client that stands for polling the source has ended".to_owned()))
    }

    pub(super) fn is_ours(&self) -> bool {
        self.turn.has_changed().is_ok() && *self.turn.borrow() == Turn::Ours
    }
}

impl Drop for Election {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::SeqCst);
    }
}
