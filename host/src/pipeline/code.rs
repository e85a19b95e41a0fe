//! The code of a generation: its plugins as stages of a chain, and what binds their results to the sinks.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::config::check::Checked;
use crate::config::plan::{ChartPlan, Grants, Limits, NullValue, Pipeline, SinkColumn};
use crate::record::{Column, Field, GENERATION, Values};
use crate::sink::Sink;
use crate::topic::{GenerationContent, GenerationStage};
use crate::transform::{Chain, ChainPlan, Error, Stage, StageFactory, Stages, Transformed};

/// All that decides a record, but for its number.
#[derive(Clone)]
pub struct Code {
    pub content: GenerationContent,
    pub plan: Arc<ChainPlan>,
    pub stages: Arc<dyn StageFactory>,
    /// The sinks as they bind under it.
    pub sinks: Vec<Arc<dyn Sink>>,
    /// What is counted of the rows.
    pub charts: Arc<Vec<ChartPlan>>,
    /// A sink writes the generation beside each row.
    pub stamped: bool,
}

impl Code {
    /// A chain with plugin instances of its own, for the thread that asks.
    pub fn chain(&self) -> Result<Chain, Error> {
        Chain::new(self.plan.clone(), self.stages.clone())
    }
}

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

impl Bindings {
    pub fn of(plan: &Pipeline, checked: &Checked) -> Bindings {
        let sinks = plan.sinks.iter().map(|sink| (sink.name.clone(), sink.columns.clone())).collect();
        let charts = Arc::new(checked.charts.clone());
        Bindings { null_value: plan.topic.null_value, fields: checked.sink_fields.clone(), sinks, charts }
    }

    /// Whether a sink writes the generation beside each row.
    pub fn name_generation(&self) -> bool {
        self.sinks.values().flatten().any(|column| column.field == GENERATION)
    }
}

/// Puts the generation beside each row, for sinks that write it.
pub fn stamp(transformed: &mut Transformed, generation: u64) {
    let numbers = vec![generation as i64; transformed.origins.len()];
    transformed.columns.set(GENERATION, Column { values: Values::Ints(numbers), nulls: Vec::new() });
}

pub(super) fn stage_content(stage: &Stage) -> GenerationStage {
    let Stage { plugin, config } = stage;
    planned_content(plugin.digest.clone(), &config.stage, &config.settings, &config.limits, config.grants.grants())
}

/// What a component would be in a generation's content, as a stage that is planned so. What the compiler may take is no part of it.
pub(super) fn planned_content(
    digest: String,
    stage: &str,
    settings: &BTreeMap<String, String>,
    limits: &Limits,
    grants: &Grants,
) -> GenerationStage {
    let limits = limits.compiled_within(&Limits::default());
    GenerationStage { name: stage.to_owned(), digest, settings: settings.clone(), limits, grants: grants.names() }
}

/// What a generation consists of (delivery §3): equal content is one generation.
pub fn content(stages: &[Stage], bindings: &Bindings) -> GenerationContent {
    let stages = stages.iter().map(stage_content);
    let bindings = serde_json::to_value(bindings).expect("bindings have text keys and plain values");
    GenerationContent { stages: stages.collect(), bindings }
}

/// Puts it together.
pub fn assemble(
    content: GenerationContent,
    stages: Stages,
    bindings: &Bindings,
    sinks: Vec<Arc<dyn Sink>>,
) -> Result<Code, String> {
    let messages = sinks.iter().any(|sink| sink.wants_messages());
    let plan = |fields: &[Field]| ChainPlan::new(stages.contracts(), fields, messages, bindings.null_value);
    let charted = bindings.charts.iter().map(|chart| &chart.field);
    // An older generation may not know a chart's field, or know it as another kind: it is run as it was, and counts none.
    let plan = plan(&bindings.fields.iter().chain(charted).cloned().collect::<Vec<_>>()).or_else(|_| plan(&bindings.fields));
    let plan = Arc::new(plan.map_err(|error| error.to_string())?);
    let (charts, stamped) = (bindings.charts.clone(), bindings.name_generation());
    Ok(Code { content, plan, stages: Arc::new(stages), sinks, charts, stamped })
}
