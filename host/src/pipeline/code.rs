//! The code of a generation: its plugins as stages of a chain, and what binds their results to the sinks.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::generation::Generation;
use crate::config::plan::{NullValue, SinkColumn};
use crate::record::Field;
use crate::sink::Sink;
use crate::topic::{GenerationContent, GenerationStage};
use crate::transform::{ChainPlan, Stage, Stages};

/// What else than code decides a row, as it stands in a generation's content.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Bindings {
    pub null_value: NullValue,
    /// What the sinks with columns read.
    pub fields: Vec<Field>,
    /// Columns by sink; none for sinks that take whole records.
    pub sinks: BTreeMap<String, Vec<SinkColumn>>,
}

/// What a generation consists of (delivery §3): equal content is one generation.
pub fn content(stages: &[Stage], bindings: &Bindings) -> GenerationContent {
    let stages = stages.iter().map(|Stage { plugin, config }| GenerationStage {
        name: config.stage.clone(),
        digest: plugin.digest.clone(),
        settings: config.settings.clone(),
        limits: config.limits,
    });
    let bindings = serde_json::to_value(bindings).expect("bindings have text keys and plain values");
    GenerationContent { stages: stages.collect(), bindings }
}

/// Puts a generation together.
pub fn assemble(
    number: u64,
    content: GenerationContent,
    stages: Stages,
    bindings: &Bindings,
    sinks: Vec<Arc<dyn Sink>>,
) -> Result<Generation, String> {
    let messages = sinks.iter().any(|sink| sink.wants_messages());
    let plan = ChainPlan::new(stages.contracts(), &bindings.fields, messages, bindings.null_value);
    let plan = plan.map_err(|error| error.to_string())?;
    Ok(Generation { number, content, plan: Arc::new(plan), stages: Arc::new(stages), sinks })
}
