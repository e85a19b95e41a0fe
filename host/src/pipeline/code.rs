//! The code of a generation: its plugins as stages of a chain, and what binds their results to the sinks.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::generation::Generation;
use crate::config::plan::{ChartPlan, NullValue, SinkColumn};
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
    /// What is counted of the rows. It decides nothing, so it is no part of a generation's content.
    #[serde(skip)]
    pub charts: Arc<Vec<ChartPlan>>,
}

/// What a generation consists of (delivery §3): equal content is one generation.
pub fn content(stages: &[Stage], bindings: &Bindings) -> GenerationContent {
    let stages = stages.iter().map(|Stage { plugin, config }| GenerationStage {
        name: config.stage.clone(),
        digest: plugin.digest.clone(),
        settings: config.settings.clone(),
        limits: config.limits,
        grants: config.grants.grants().names(),
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
    let plan = |fields: &[Field]| ChainPlan::new(stages.contracts(), fields, messages, bindings.null_value);
    let charted = bindings.charts.iter().map(|chart| &chart.field);
    // An older generation may not know a chart's field, or know it as another kind: it is run as it was, and counts none.
    let plan = plan(&bindings.fields.iter().chain(charted).cloned().collect::<Vec<_>>()).or_else(|_| plan(&bindings.fields));
    let plan = Arc::new(plan.map_err(|error| error.to_string())?);
    Ok(Generation { number, content, plan, stages: Arc::new(stages), sinks, charts: bindings.charts.clone() })
}
