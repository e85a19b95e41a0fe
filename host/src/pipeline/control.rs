//! What a person may ask of a running pipeline.

use std::sync::Arc;

use anyhow::Context;
use async_trait::async_trait;

use super::deliver::Deliver;
use super::ingest;
use super::replay;
use crate::record::Place;
use crate::status::{Control, Run};
use crate::store::{Store, runs};
use crate::topic::{DeadLetter, Resolution};

pub struct Shared {
    pub deliver: Arc<Deliver>,
    pub store: Store,
    /// `None`: the topic is fed by others.
    pub source: Option<ingest::Handle>,
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

    async fn dead_letters(&self, limit: usize) -> anyhow::Result<Vec<DeadLetter>> {
        self.deliver.topic.dead_letters(None, limit).await.context("read the dead letters")
    }

    async fn dead_letter(&self, place: Place) -> anyhow::Result<Option<DeadLetter>> {
        self.deliver.topic.dead_letter(place).await.context("read the dead letter")
    }

    async fn replay(&self, place: Place, force: bool) -> anyhow::Result<Option<String>> {
        replay::replay(&self.deliver, place, force).await
    }

    async fn discard(&self, place: Place) -> anyhow::Result<bool> {
        self.deliver.topic.resolve_dead_letter(place, Resolution::Discarded, Vec::new()).await.context("discard the dead letter")
    }
}
