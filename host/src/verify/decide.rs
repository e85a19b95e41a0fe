//! Decides records again, under the generation that decided them: its components by digest, its settings, its columns.

use std::collections::{BTreeMap, VecDeque};
use std::path::Path;
use std::sync::Arc;

use super::evidence::{Error, Topic};
use crate::config::plan::{PluginPath, SinkAddress, SinkPlan, StagePlan};
use crate::pipeline::Bindings;
use crate::pipeline::code::stamp;
use crate::plugin::{Engine, InstanceConfig, States, component_path};
use crate::record::{Batch, RowOutcome};
use crate::sink::{Emitted, Rows, bind};
use crate::topic::{Boundary, GenerationContent};
use crate::transform::{self, Chain, ChainPlan, Stage, Stages, Transformed, blame_with};

/// Generations that are kept ready.
const READY_MAX: usize = 3;

/// What became of a batch, by our own account.
pub struct Decided {
    /// One per record, in order.
    pub outcomes: Vec<RowOutcome>,
    /// For each table of the pipeline that the generation wrote to.
    pub tables: Vec<TableRows>,
}

pub struct TableRows {
    /// Place of the sink in the plan.
    pub sink: usize,
    pub columns: Vec<crate::config::plan::SinkColumn>,
    pub rows: Rows,
}

/// A generation, ready to decide.
pub struct Code {
    pub content: Arc<GenerationContent>,
    chain: Chain,
    bindings: Bindings,
}

/// Generations by number; why one cannot be had, where it cannot.
pub struct Decider {
    engine: Engine,
    sinks: Vec<SinkPlan>,
    stages: Vec<StagePlan>,
    ready: VecDeque<(u64, Result<Code, String>)>,
}

impl Decider {
    pub fn new(engine: Engine, sinks: &[SinkPlan], stages: &[StagePlan]) -> Decider {
        Decider { engine, sinks: sinks.to_vec(), stages: stages.to_vec(), ready: VecDeque::new() }
    }

    /// A generation's content and code; the inner error says why there is none.
    pub fn code(&mut self, topic: &mut dyn Topic, number: u64) -> Result<&mut Result<Code, String>, Error> {
        if let Some(at) = self.ready.iter().position(|(known, _)| *known == number) {
            return Ok(&mut self.ready[at].1);
        }
        let code = match topic.generation(number)? {
            None => Err(format!("generation {number} is not known any more")),
            Some(content) => self.make(topic, content)?.map_err(|why| format!("generation {number}: {why}")),
        };
        if self.ready.len() >= READY_MAX {
            self.ready.pop_front();
        }
        self.ready.push_back((number, code));
        let last = self.ready.len() - 1;
        Ok(&mut self.ready[last].1)
    }

    fn make(&self, topic: &mut dyn Topic, content: GenerationContent) -> Result<Result<Code, String>, Error> {
        let mut stages = Vec::with_capacity(content.stages.len());
        for stage in &content.stages {
            if !stage.grants.is_empty() {
                return Ok(Err(format!(
                    "stage `{}` reaches outside, as it is granted: what it was told cannot be asked again",
                    stage.name
                )));
            }
            let Some(bytes) = topic.component(&stage.digest)?.or_else(|| self.at_hand(&stage.digest)) else {
                return Ok(Err(format!("the component {} of stage `{}` is gone", stage.digest, stage.name)));
            };
            let (name, settings) = (stage.name.clone(), stage.settings.clone());
            let plan = self.stages.iter().find(|plan| plan.name == stage.name);
            let limits = plan.map_or(stage.limits, |plan| stage.limits.compiled_within(&plan.limits));
            let config = InstanceConfig { stage: name, settings, limits, ..InstanceConfig::default() };
            match self.engine.load_stage(&bytes, &limits, &|_| {}) {
                Ok(plugin) => stages.push(Stage { plugin: Arc::new(plugin), config }),
                Err(error) => return Ok(Err(format!("stage `{}` cannot be loaded: {error}", stage.name))),
            }
        }
        Ok(self.chain(content, stages))
    }

    /// The component of a stage as the pipeline file names it, if it is this one.
    fn at_hand(&self, digest: &str) -> Option<Vec<u8>> {
        let read = |path: &Path| std::fs::read(path).ok().filter(|bytes| super::sha256(bytes) == digest);
        self.stages.iter().find_map(|stage| match &stage.plugin {
            PluginPath::Component(path) => read(path),
            PluginPath::Directory(dir) => read(&component_path(dir)),
        })
    }

    fn chain(&self, content: GenerationContent, stages: Vec<Stage>) -> Result<Code, String> {
        let bindings: Bindings =
            serde_json::from_value(content.bindings.clone()).map_err(|error| format!("its bindings cannot be read: {error}"))?;
        let stages = Stages::start(stages)?;
        let whole = |sink: &SinkPlan| bindings.sinks.get(&sink.name).is_some_and(|columns| sink.at.takes_records(columns));
        let messages = self.sinks.iter().any(whole);
        let plan = ChainPlan::new(stages.contracts(), &bindings.fields, messages, bindings.null_value);
        let plan = plan.map_err(|error| error.to_string())?;
        let chain = Chain::new(Arc::new(plan), Arc::new(stages)).map_err(|error| error.to_string())?;
        Ok(Code { content: Arc::new(content), chain, bindings })
    }

    /// Decides a batch that lies under one boundary; the inner error says why that cannot be done.
    pub fn decide(
        &mut self,
        topic: &mut dyn Topic,
        boundary: &Boundary,
        batch: &Batch,
    ) -> Result<Result<Decided, String>, Error> {
        let sinks = std::mem::take(&mut self.sinks);
        let decided = self.code(topic, boundary.generation).map(|code| match code {
            Ok(code) => code.decide(&sinks, boundary, batch),
            Err(why) => Err(why.clone()),
        });
        self.sinks = sinks;
        decided
    }
}

impl Code {
    fn decide(&mut self, sinks: &[SinkPlan], boundary: &Boundary, batch: &Batch) -> Result<Decided, String> {
        let mut states = States::default();
        let processed = match self.chain.process_with(&mut states, batch) {
            Err(failed @ transform::Error::Blame { .. }) => blame_with(&mut self.chain, &mut states, batch, Some(&failed)),
            other => other,
        };
        if let Some((stage, _)) = states.iter().find(|(_, state)| state.was_asked()) {
            return Err(format!("stage `{stage}` keeps state, and what it held then is not known"));
        }
        let transformed = processed.map_err(|error| error.to_string())?;
        self.bind(transformed, sinks, boundary, batch)
    }

    /// Binds as the host does: a record that one sink cannot take is rejected whole.
    fn bind(
        &self,
        mut transformed: Transformed,
        sinks: &[SinkPlan],
        boundary: &Boundary,
        batch: &Batch,
    ) -> Result<Decided, String> {
        if self.bindings.name_generation() {
            stamp(&mut transformed, boundary.generation);
        }
        loop {
            let write_times: Vec<i64> =
                transformed.origins.iter().map(|record| boundary.write_time(batch.offsets()[*record as usize])).collect();
            let emitted = Emitted {
                batch,
                origins: &transformed.origins,
                deleted: &transformed.deleted,
                columns: &transformed.columns,
                write_times: &write_times,
                messages: transformed.messages.as_deref(),
            };
            let mut tables = Vec::new();
            let mut refused = BTreeMap::new();
            for (at, sink) in sinks.iter().enumerate() {
                let Some(columns) = self.bindings.sinks.get(&sink.name).filter(|columns| !columns.is_empty()) else { continue };
                if matches!(sink.at, SinkAddress::Null | SinkAddress::Topic { .. }) {
                    continue;
                }
                match bind::rows(columns, &emitted) {
                    Ok(rows) => tables.push(TableRows { sink: at, columns: columns.clone(), rows }),
                    Err(rejections) => {
                        for rejection in rejections {
                            let reason = format!("sink {}: {}", sink.name, rejection.reason);
                            refused.entry(rejection.record).or_insert(reason);
                        }
                    }
                }
            }
            if refused.is_empty() {
                tables.retain(|table| sinks[table.sink].at.table().is_some());
                return Ok(Decided { outcomes: transformed.outcomes, tables });
            }
            let rows = transformed.origins.len();
            transformed.reject(&refused);
            if transformed.origins.len() == rows {
                return Err("a sink refuses rows of no record".to_owned());
            }
        }
    }
}
