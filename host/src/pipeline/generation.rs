//! Generations as deliver needs them: what decides under a number, ready to be given to a worker.

use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::Mutex;

use crate::config::plan::ChartPlan;
use crate::sink::Sink;
use crate::topic::GenerationContent;
use crate::transform::{Chain, ChainPlan, Error, StageFactory};

pub struct Generation {
    pub number: u64,
    pub content: GenerationContent,
    pub plan: Arc<ChainPlan>,
    pub stages: Arc<dyn StageFactory>,
    /// The sinks as they bind under this generation.
    pub sinks: Vec<Arc<dyn Sink>>,
    /// What is counted of the rows.
    pub charts: Arc<Vec<ChartPlan>>,
}

impl Generation {
    /// A chain with plugin instances of its own, for the thread that asks.
    pub fn chain(&self) -> Result<Chain, Error> {
        Chain::new(self.plan.clone(), self.stages.clone())
    }

    /// Whether a stage may wait for something outside, as it is granted.
    pub fn waits(&self) -> bool {
        self.content.stages.iter().any(|stage| !stage.grants.http.is_empty() || !stage.grants.read.is_empty())
    }

    /// Digest of a stage's component, for dead letters.
    pub fn digest(&self, stage: &str) -> Option<String> {
        self.content.stages.iter().find(|known| known.name == stage).map(|known| known.digest.clone())
    }
}

/// Gets an older generation back from what the store keeps of it.
#[async_trait]
pub trait Recall: Send + Sync {
    async fn recall(&self, number: u64) -> Result<Generation, String>;

    /// Whether all of its code is here: another host may have decided with code that this one never had.
    async fn has(&self, number: u64) -> Result<bool, String>;
}

/// The present generation, and those whose records are still in flight or come again after a crash.
pub struct Generations {
    present: Arc<Generation>,
    older: Mutex<HashMap<u64, Arc<Generation>>>,
    recall: Box<dyn Recall>,
}

impl Generations {
    pub fn new(present: Generation, recall: Box<dyn Recall>) -> Generations {
        Generations { present: Arc::new(present), older: Mutex::new(HashMap::new()), recall }
    }

    pub fn present(&self) -> &Arc<Generation> {
        &self.present
    }

    /// Whether [`Generations::get`] can give it.
    pub async fn has(&self, number: u64) -> Result<bool, String> {
        if number == self.present.number || self.older.lock().await.contains_key(&number) {
            return Ok(true);
        }
        self.recall.has(number).await
    }

    pub async fn get(&self, number: u64) -> Result<Arc<Generation>, String> {
        if number == self.present.number {
            return Ok(self.present.clone());
        }
        let mut older = self.older.lock().await;
        if let Some(known) = older.get(&number) {
            return Ok(known.clone());
        }
        let recalled = self.recall.recall(number).await.map_err(|reason| format!("load generation {number}: {reason}"))?;
        let recalled = Arc::new(recalled);
        older.insert(number, recalled.clone());
        Ok(recalled)
    }
}
