//! The consumer of a host: a member of the pipeline's group, whose reading thread hands out batches (see [`super::reading`]).

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::{mpsc, oneshot};

use super::assignment::Assignment;
use super::reading::Reading;
use super::saver::{self, KafkaSaver, Request};
use super::turns::Turns;
use super::{Inner, blocking};
use crate::topic::{Consumer, Error, Event, Saver, Window};

/// Leaving a group takes one answer of the broker; without it the others wait for this host's session to end.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(3);

/// What the reading thread hands over: an assignment comes with its epoch.
pub(super) type Handed = (Result<Event, Error>, Option<u64>);

pub(super) struct KafkaConsumer {
    inner: Arc<Inner>,
    events: mpsc::Receiver<Handed>,
    assignment: Arc<Assignment>,
    requests: mpsc::Sender<Request>,
    epochs: HashMap<u32, u64>,
    /// Closes when the reading thread has left the group.
    ended: oneshot::Receiver<()>,
}

impl KafkaConsumer {
    pub(super) async fn new(inner: &Arc<Inner>, window: Window) -> Result<KafkaConsumer, Error> {
        let assignment = Arc::new(Assignment::new());
        // One host has one consumer: an earlier one of this topic leaves the group first.
        let earlier = inner.replace_consumer(&assignment);
        if let Some(earlier) = earlier {
            earlier.close();
        }
        let (begun_in, given_up) = (inner.clone(), assignment.clone());
        let producers = blocking(move || Turns::begin(&begun_in, &begun_in.names.host, &given_up.closed)).await?;
        let requests = saver::start(inner.clone(), assignment.clone(), producers)?;
        // What is in flight is bounded by the window of each partition; events about them are few.
        let (sender, events) = mpsc::channel(inner.partitions as usize * (window.batches_ahead + 3) + 16);
        let (ending, ended) = oneshot::channel();
        let reading = Reading::new(inner.clone(), assignment.clone(), requests.clone(), sender, window)?;
        let run = move || {
            reading.run();
            drop::<oneshot::Sender<()>>(ending);
        };
        std::thread::Builder::new()
            .name("kafka-reader".to_owned())
            .spawn(run)
            .map_err(|error| Error::Fatal(format!("start the thread that reads the topic: {error}")))?;
        Ok(KafkaConsumer { inner: inner.clone(), events, assignment, requests, epochs: HashMap::new(), ended })
    }
}

impl Drop for KafkaConsumer {
    fn drop(&mut self) {
        self.assignment.close();
    }
}

#[async_trait]
impl Consumer for KafkaConsumer {
    async fn next(&mut self) -> Result<Event, Error> {
        let Some((event, epoch)) = self.events.recv().await else {
            return Err(Error::Fatal("the thread that reads the topic has ended".to_owned()));
        };
        if let (Ok(Event::Assigned { partition, .. }), Some(epoch)) = (&event, epoch) {
            self.epochs.insert(*partition, epoch);
        }
        event
    }

    fn saver(&self) -> Arc<dyn Saver> {
        let (assignment, requests) = (self.assignment.clone(), self.requests.clone());
        Arc::new(KafkaSaver { inner: self.inner.clone(), assignment, requests, epochs: self.epochs.clone() })
    }

    async fn close(&mut self) {
        self.assignment.close();
        let _ = tokio::time::timeout(CLOSE_TIMEOUT, &mut self.ended).await;
    }
}
