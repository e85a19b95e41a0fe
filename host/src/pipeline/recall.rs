//! Older generations, from what the store keeps of them: contents by number, components by digest (delivery §3).

use std::sync::Arc;

use async_trait::async_trait;

use super::code::{self, Bindings};
use super::generation::{Generation, Recall};
use crate::config::plan::{ChartPlan, SinkPlan, StagePlan};
use crate::plugin::{Engine, Granted, InstanceConfig};
use crate::sink::{self, Sink};
use crate::store::{Store, components};
use crate::topic::Topic;
use crate::transform::{Stage, Stages};

/// What older generations are made of again.
pub struct Kept {
    pub engine: Engine,
    pub store: Store,
    pub topic: Arc<dyn Topic>,
    /// The present ones: an older generation writes to those that it knew, with the columns it had.
    pub sinks: Vec<SinkPlan>,
    pub charts: Arc<Vec<ChartPlan>>,
    /// The present ones: an older generation is granted again what it had, as far as that is still granted.
    pub stages: Vec<StagePlan>,
}

#[async_trait]
impl Recall for Kept {
    async fn has(&self, number: u64) -> Result<bool, String> {
        let content = self.topic.generation(number).await.map_err(|error| error.to_string())?;
        let Some(content) = content else { return Ok(false) };
        for stage in &content.stages {
            if components::load(&self.store, &stage.digest).await.map_err(|error| error.to_string())?.is_none() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    async fn recall(&self, number: u64) -> Result<Generation, String> {
        let content = self.topic.generation(number).await.map_err(|error| error.to_string())?;
        let content = content.ok_or("the store does not know it")?;
        let mut sources = Vec::with_capacity(content.stages.len());
        for stage in &content.stages {
            let bytes = components::load(&self.store, &stage.digest).await.map_err(|error| error.to_string())?;
            let bytes = bytes.ok_or_else(|| format!("the store has no component {} of stage {}", stage.digest, stage.name))?;
            let plan = self.stages.iter().find(|plan| plan.name == stage.name);
            let grants = plan.map(|plan| plan.grants.only(&stage.grants)).unwrap_or_default();
            let config = InstanceConfig {
                stage: stage.name.clone(),
                settings: stage.settings.clone(),
                limits: plan.map_or(stage.limits, |plan| stage.limits.compiled_within(&plan.limits)),
                grants: Granted::new(grants),
            };
            sources.push((config, bytes));
        }
        let bindings: Bindings =
            serde_json::from_value(content.bindings.clone()).map_err(|error| format!("read its bindings: {error}"))?;
        let bindings = Bindings { charts: self.charts.clone(), ..bindings };
        let mut sinks: Vec<Arc<dyn Sink>> = Vec::with_capacity(self.sinks.len());
        for plan in &self.sinks {
            if let Some(columns) = bindings.sinks.get(&plan.name) {
                let plan = SinkPlan { columns: columns.clone(), ..plan.clone() };
                sinks.push(sink::open(&plan, &self.store).await.map_err(|error| error.to_string())?.into());
            }
        }
        let engine = self.engine.clone();
        let compiled = tokio::task::spawn_blocking(move || compile(&engine, sources));
        let stages = compiled.await.map_err(|error| error.to_string())??;
        Ok(Generation::new(number, code::assemble(content, stages, &bindings, sinks)?))
    }
}

fn compile(engine: &Engine, sources: Vec<(InstanceConfig, Vec<u8>)>) -> Result<Stages, String> {
    let compile = |(config, bytes): (InstanceConfig, Vec<u8>)| {
        let plugin = engine.load_stage(&bytes, &config.limits, &|_| {});
        let plugin = plugin.map_err(|error| format!("stage {}: {error}", config.stage))?;
        Ok(Stage { plugin: Arc::new(plugin), config })
    };
    Stages::start(sources.into_iter().map(compile).collect::<Result<_, String>>()?)
}
