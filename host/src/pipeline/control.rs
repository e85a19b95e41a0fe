//! What a person may ask of a running pipeline.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock, PoisonError, RwLock};

use anyhow::Context;
use async_trait::async_trait;
use tokio::sync::{broadcast, mpsc, oneshot};

use super::breaker::Breaker;
use super::candidate::Present;
use super::deliver::Deliver;
use super::describe;
use super::details;
use super::ingest;
use super::pin::{self, PipelineFile};
use super::prepare::PreparedStage;
use super::reload::Order;
use super::replay;
use crate::record::Place;
use crate::status::samples::{Followed, StageDetail};
use crate::status::swap::{KnownGeneration, KnownStage, Receipt, Refusal, Shadow, Swaps, Wish};
use crate::status::{Control, Pinned, Reporter, Run};
use crate::store::{Store, runs, swaps};
use crate::topic::{DeadLetter, GenerationStage, ReasonCount, Resolution};

pub struct Shared {
    /// Replaced when a pipeline is restarted in place.
    legs: RwLock<Held>,
    pub store: Store,
    pub reporter: Reporter,
    pub breaker: Arc<Breaker>,
    pub receipts: broadcast::Sender<Receipt>,
    /// A person, or a signal, has asked for the end.
    ending: AtomicBool,
    orders: OnceLock<mpsc::Sender<Order>>,
}

/// What a person may ask of the legs that run.
#[derive(Clone)]
pub struct Held {
    pub deliver: Arc<Deliver>,
    /// `None`: the topic is fed by others.
    pub source: Option<ingest::Handle>,
    pub file: PipelineFile,
    /// What does not move.
    pub stages: Vec<StageDetail>,
}

/// Receipts that whoever tells them may be behind.
const RECEIPTS_WAITING_MAX: usize = 256;

impl Shared {
    pub fn new(legs: Held, store: Store, reporter: Reporter, breaker: Arc<Breaker>) -> Shared {
        let receipts = broadcast::Sender::new(RECEIPTS_WAITING_MAX);
        let (legs, ending, orders) = (RwLock::new(legs), AtomicBool::new(false), OnceLock::new());
        Shared { legs, store, reporter, breaker, receipts, ending, orders }
    }

    fn legs(&self) -> Held {
        self.legs.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub fn deliver(&self) -> Arc<Deliver> {
        self.legs().deliver
    }

    pub fn replace(&self, legs: Held) {
        *self.legs.write().unwrap_or_else(PoisonError::into_inner) = legs;
    }

    pub(super) fn take_orders(&self, orders: mpsc::Sender<Order>) {
        let _ = self.orders.set(orders);
    }

    /// Looks at the files now; there is nobody to tell.
    pub fn reload(&self, who: &'static str) {
        if let Some(orders) = self.orders.get() {
            let order = Order { stage: None, wish: Wish::Reload { force: false }, who, reply: None };
            if orders.try_send(order).is_err() {
                tracing::warn!("too many orders wait: this one is dropped");
            }
        }
    }

    pub fn begin_drain(&self) {
        self.ending.store(true, Ordering::SeqCst);
        self.state("draining");
        self.deliver().drain.begin();
    }

    pub fn is_ending(&self) -> bool {
        self.ending.load(Ordering::SeqCst)
    }

    fn source(&self) -> anyhow::Result<ingest::Handle> {
        self.legs().source.context("this pipeline has no source: its topic is fed by others")
    }

    fn state(&self, state: &str) {
        if !self.deliver().drain.has_begun() {
            self.reporter.update(|snapshot| state.clone_into(&mut snapshot.state));
        }
    }

    /// Shows what runs in the stages now; what was counted goes on.
    pub(super) fn describe_stages(&self, present: &Present, generation: u64) {
        self.replace(Held { stages: details::all(&present.plan, &present.stages), ..self.legs() });
        self.reporter.update(|snapshot| {
            let before = std::mem::take(&mut snapshot.stages);
            let status = |stage: &PreparedStage| {
                let known = before.iter().find(|known| known.name == stage.name());
                describe::stage(stage, generation, known.cloned().unwrap_or_default())
            };
            snapshot.stages = present.stages.iter().map(status).collect();
        });
    }
}

#[async_trait]
impl Control for Shared {
    async fn pause(&self) -> anyhow::Result<()> {
        self.source()?.pause().await?;
        self.state("paused");
        Ok(())
    }

    async fn resume(&self) -> anyhow::Result<()> {
        self.source()?.resume().await?;
        self.state("running");
        Ok(())
    }

    async fn poll_now(&self) -> anyhow::Result<()> {
        self.source()?.poll_now().await
    }

    async fn drain(&self) -> anyhow::Result<()> {
        self.begin_drain();
        Ok(())
    }

    async fn runs(&self, limit: usize) -> anyhow::Result<Vec<Run>> {
        runs::latest(&self.store, limit).await.context("read the runs")
    }

    async fn dead_letters(&self, after: Option<Place>, limit: usize) -> anyhow::Result<Vec<DeadLetter>> {
        self.deliver().topic.dead_letters(after, limit).await.context("read the dead letters")
    }

    async fn dead_letter(&self, place: Place) -> anyhow::Result<Option<DeadLetter>> {
        self.deliver().topic.dead_letter(place).await.context("read the dead letter")
    }

    async fn dead_letter_reasons(&self) -> anyhow::Result<Vec<ReasonCount>> {
        self.deliver().topic.dead_letter_reasons().await.context("read the dead letters")
    }

    async fn replay(&self, place: Place, force: bool) -> anyhow::Result<Option<String>> {
        replay::replay(&self.deliver(), place, force).await
    }

    async fn rehearse(&self, place: Place) -> anyhow::Result<Option<String>> {
        replay::rehearse(&self.deliver(), place).await
    }

    async fn pin(&self, place: Place, name: Option<String>, write: bool) -> anyhow::Result<Pinned> {
        pin::pin(&self.deliver(), &self.legs().file, place, name, write).await
    }

    async fn count_rows(&self, sink: &str) -> anyhow::Result<Option<u64>> {
        let generation = self.deliver().generations.present();
        let Some(sink) = generation.code.sinks.iter().find(|known| known.name() == sink) else { return Ok(None) };
        let rows = sink.count().await.with_context(|| format!("count the rows of sink {}", sink.name()))?;
        Ok(Some(rows.with_context(|| format!("sink {} has no table whose rows could be counted", sink.name()))?))
    }

    async fn stages(&self) -> anyhow::Result<Vec<StageDetail>> {
        let legs = self.legs();
        let generation = legs.deliver.generations.present().number;
        Ok(legs.stages.iter().map(|stage| StageDetail { generation, ..stage.clone() }).collect())
    }

    fn samples(&self) -> Followed {
        let (samples, seen) = self.deliver().workers.sampling().look();
        Followed { samples, seen }
    }

    async fn discard(&self, place: Place) -> anyhow::Result<bool> {
        self.deliver()
            .topic
            .resolve_dead_letter(place, Resolution::Discarded, Vec::new())
            .await
            .context("discard the dead letter")
    }

    fn swaps(&self) -> Option<&dyn Swaps> {
        Some(self)
    }
}

#[async_trait]
impl Swaps for Shared {
    async fn receipts(&self, limit: usize) -> anyhow::Result<Vec<Receipt>> {
        swaps::latest(&self.store, limit).await.context("read the receipts")
    }

    async fn generations(&self) -> anyhow::Result<Vec<KnownGeneration>> {
        let known = self.deliver().topic.generations().await.context("read the generations")?;
        let stage = |stage: GenerationStage| KnownStage { name: stage.name, digest: stage.digest };
        let shown = known
            .into_iter()
            .rev()
            .map(|(generation, content)| KnownGeneration { generation, stages: content.stages.into_iter().map(stage).collect() });
        Ok(shown.collect())
    }

    fn shadow(&self, stage: &str) -> Option<Shadow> {
        self.deliver().beside.report().filter(|shadow| shadow.stage == stage)
    }

    async fn wish(&self, stage: &str, wish: Wish) -> Result<Receipt, Refusal> {
        let nobody = || Refusal::Conflict("this host does not swap: it only looks into the store".to_owned());
        let (reply, answer) = oneshot::channel();
        let order = Order { stage: Some(stage.to_owned()), wish, who: "api", reply: Some(reply) };
        self.orders.get().ok_or_else(nobody)?.send(order).await.map_err(|_| nobody())?;
        answer.await.unwrap_or_else(|_| Err(Refusal::Conflict("the pipeline has ended".to_owned())))
    }
}
