//! A topic whose publisher fails as it is told, and otherwise is the embedded one.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use tidemill::record::{Message, Place};
use tidemill::store;
use tidemill::topic::embedded::Embedded;
use tidemill::topic::{
    Consumer, Cursor, DeadLetter, Ends, Error, GenerationContent, Position, Published, Publisher, Resolution, Topic, Window,
};

#[derive(Clone)]
pub struct Flaky {
    inner: Embedded,
    /// Given out by the next publishes, one each.
    errors: Arc<Mutex<VecDeque<Error>>>,
    publishers: Arc<Mutex<u32>>,
}

impl Flaky {
    pub fn new(inner: &Embedded, errors: impl IntoIterator<Item = Error>) -> Flaky {
        Flaky { inner: inner.clone(), errors: Arc::new(Mutex::new(errors.into_iter().collect())), publishers: Arc::default() }
    }

    /// How many publishers were asked for.
    pub fn publishers(&self) -> u32 {
        *self.publishers.lock().unwrap()
    }
}

struct FlakyPublisher(Box<dyn Publisher>, Flaky);

#[async_trait]
impl Publisher for FlakyPublisher {
    async fn cursor(&mut self) -> Result<Option<Cursor>, Error> {
        self.0.cursor().await
    }

    async fn publish(&mut self, page: Vec<Message>, cursor: Cursor) -> Result<Published, Error> {
        let error = self.1.errors.lock().unwrap().pop_front();
        match error {
            Some(error) => Err(error),
            None => self.0.publish(page, cursor).await,
        }
    }
}

#[async_trait]
impl Topic for Flaky {
    async fn publisher(&self) -> Result<Box<dyn Publisher>, Error> {
        *self.publishers.lock().unwrap() += 1;
        Ok(Box::new(FlakyPublisher(self.inner.publisher().await?, self.clone())))
    }

    async fn consumer(&self, window: Window) -> Result<Box<dyn Consumer>, Error> {
        self.inner.consumer(window).await
    }

    fn joins(&self) -> Option<store::Store> {
        self.inner.joins()
    }

    async fn ends(&self) -> Result<Vec<Ends>, Error> {
        self.inner.ends().await
    }

    async fn positions(&self) -> Result<Vec<(u32, Position)>, Error> {
        self.inner.positions().await
    }

    async fn hosts(&self) -> Result<BTreeMap<u32, String>, Error> {
        self.inner.hosts().await
    }

    async fn generations(&self) -> Result<Vec<(u64, GenerationContent)>, Error> {
        self.inner.generations().await
    }

    async fn claim_generation(&self, content: &GenerationContent) -> Result<u64, Error> {
        self.inner.claim_generation(content).await
    }

    async fn dead_letters(&self, after: Option<Place>, limit: usize) -> Result<Vec<DeadLetter>, Error> {
        self.inner.dead_letters(after, limit).await
    }

    async fn dead_letter(&self, place: Place) -> Result<Option<DeadLetter>, Error> {
        self.inner.dead_letter(place).await
    }

    async fn dead_letter_count(&self) -> Result<u64, Error> {
        self.inner.dead_letter_count().await
    }

    async fn resolve_dead_letter(&self, place: Place, how: Resolution, with: Vec<store::Write>) -> Result<bool, Error> {
        self.inner.resolve_dead_letter(place, how, with).await
    }

    async fn replay_generation(&self, place: Place) -> Result<Option<u64>, Error> {
        self.inner.replay_generation(place).await
    }

    async fn begin_replay(&self, place: Place, generation: u64) -> Result<(), Error> {
        self.inner.begin_replay(place, generation).await
    }
}
