//! The control of a pipeline that waits for its start: until it is there, nothing can be asked of it but to end.

use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use tokio::sync::Notify;

use super::samples::{Followed, StageDetail};
use super::swap::Swaps;
use super::{Control, Pinned, Run};
use crate::record::Place;
use crate::topic::{DeadLetter, ReasonCount};

/// The API answers it with 503.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the pipeline has not started yet; /api/status says what it waits for")]
pub struct NotYet;

/// Filled in once; cheap to clone.
#[derive(Clone, Default)]
pub struct Late(Arc<Waiting>);

#[derive(Default)]
struct Waiting {
    control: OnceLock<Arc<dyn Control>>,
    ends: Notify,
}

impl Late {
    pub fn is(&self, control: Arc<dyn Control>) {
        // Whoever is first is the pipeline.
        let _ = self.0.control.set(control);
    }

    /// Until a person asks for the end of what has not started.
    pub async fn told_to_end(&self) {
        self.0.ends.notified().await;
    }

    fn there(&self) -> anyhow::Result<&dyn Control> {
        Ok(&**self.0.control.get().ok_or(NotYet)?)
    }
}

#[async_trait]
impl Control for Late {
    async fn pause(&self) -> anyhow::Result<()> {
        self.there()?.pause().await
    }

    async fn resume(&self) -> anyhow::Result<()> {
        self.there()?.resume().await
    }

    async fn poll_now(&self) -> anyhow::Result<()> {
        self.there()?.poll_now().await
    }

    async fn drain(&self) -> anyhow::Result<()> {
        match self.there() {
            Ok(control) => control.drain().await,
            Err(_) => {
                self.0.ends.notify_one();
                Ok(())
            }
        }
    }

    async fn runs(&self, limit: usize) -> anyhow::Result<Vec<Run>> {
        self.there()?.runs(limit).await
    }

    async fn dead_letters(&self, after: Option<Place>, limit: usize) -> anyhow::Result<Vec<DeadLetter>> {
        self.there()?.dead_letters(after, limit).await
    }

    async fn dead_letter(&self, place: Place) -> anyhow::Result<Option<DeadLetter>> {
        self.there()?.dead_letter(place).await
    }

    async fn dead_letter_reasons(&self) -> anyhow::Result<Vec<ReasonCount>> {
        self.there()?.dead_letter_reasons().await
    }

    async fn replay(&self, place: Place, force: bool) -> anyhow::Result<Option<String>> {
        self.there()?.replay(place, force).await
    }

    async fn rehearse(&self, place: Place) -> anyhow::Result<Option<String>> {
        self.there()?.rehearse(place).await
    }

    async fn discard(&self, place: Place) -> anyhow::Result<bool> {
        self.there()?.discard(place).await
    }

    async fn pin(&self, place: Place, name: Option<String>, write: bool) -> anyhow::Result<Pinned> {
        self.there()?.pin(place, name, write).await
    }

    async fn count_rows(&self, sink: &str) -> anyhow::Result<Option<u64>> {
        self.there()?.count_rows(sink).await
    }

    async fn stages(&self) -> anyhow::Result<Vec<StageDetail>> {
        self.there()?.stages().await
    }

    fn samples(&self) -> Followed {
        self.there().map(|control| control.samples()).unwrap_or_default()
    }

    fn swaps(&self) -> Option<&dyn Swaps> {
        self.there().ok()?.swaps()
    }
}
