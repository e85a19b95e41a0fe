//! What a person may ask of a running pipeline.

use std::sync::Arc;

use anyhow::Context;
use async_trait::async_trait;

use super::deliver::Deliver;
use super::ingest;
use super::pin::{self, PipelineFile};
use super::replay;
use crate::record::Place;
use crate::status::samples::{Followed, StageDetail};
use crate::status::{Control, Pinned, Run};
use crate::store::{Store, runs};
use crate::topic::{DeadLetter, ReasonCount, Resolution};

pub struct Shared {
    pub deliver: Arc<Deliver>,
    pub store: Store,
    /// `None`: the topic is fed by others.
    pub source: Option<ingest::Handle>,
    pub file: PipelineFile,
    /// What does not move.
    pub stages: Vec<StageDetail>,
}

impl Shared {
    pub fn begin_drain(&self) {
        self.state("draining");
        self.deliver.drain.begin();
    }

    fn source(&self) -> anyhow::Result<&ingest::Handle> {
        self.source.as_ref().context("this pipeline has no source: its topic is fed by others")
    }

    fn state(&self, state: &str) {
        if !self.deliver.drain.has_begun() {
            self.deliver.report.reporter().update(|snapshot| state.clone_into(&mut snapshot.state));
        }
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
        self.deliver.topic.dead_letters(after, limit).await.context("read the dead letters")
    }

    async fn dead_letter(&self, place: Place) -> anyhow::Result<Option<DeadLetter>> {
        self.deliver.topic.dead_letter(place).await.context("read the dead letter")
    }

    async fn dead_letter_reasons(&self) -> anyhow::Result<Vec<ReasonCount>> {
        self.deliver.topic.dead_letter_reasons().await.context("read the dead letters")
    }

    async fn replay(&self, place: Place, force: bool) -> anyhow::Result<Option<String>> {
        replay::replay(&self.deliver, place, force).await
    }

    async fn rehearse(&self, place: Place) -> anyhow::Result<Option<String>> {
        replay::rehearse(&self.deliver, place).await
    }

    async fn pin(&self, place: Place, name: Option<String>, write: bool) -> anyhow::Result<Pinned> {
        pin::pin(&self.deliver, &self.file, place, name, write).await
    }

    async fn count_rows(&self, sink: &str) -> anyhow::Result<Option<u64>> {
        let generation = self.deliver.generations.present().clone();
        let Some(sink) = generation.sinks.iter().find(|known| known.name() == sink) else { return Ok(None) };
        let rows = sink.count().await.with_context(|| format!("count the rows of sink {}", sink.name()))?;
        Ok(Some(rows.with_context(|| format!("sink {} has no table whose rows could be counted", sink.name()))?))
    }

    async fn stages(&self) -> anyhow::Result<Vec<StageDetail>> {
        let generation = self.deliver.generations.present().number;
        Ok(self.stages.iter().map(|stage| StageDetail { generation, ..stage.clone() }).collect())
    }

    fn samples(&self) -> Followed {
        let (samples, seen) = self.deliver.workers.sampling().look();
        Followed { samples, seen }
    }

    async fn discard(&self, place: Place) -> anyhow::Result<bool> {
        self.deliver.topic.resolve_dead_letter(place, Resolution::Discarded, Vec::new()).await.context("discard the dead letter")
    }
}
