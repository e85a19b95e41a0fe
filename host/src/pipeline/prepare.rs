//! From a plan to code that can run: components are read, compiled (or taken from the cache) and started once for their contracts,
//! and the chain is checked against them. Invariant 9: no socket is opened and nothing is changed.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::config::check::{Checked, check};
use crate::config::diagnostic::{self, Diagnostic};
use crate::config::plan::{Pipeline, PluginPath, StageContract, StagePlan};
use crate::config::{Loaded, Places, code};
use crate::plugin::grants::missing;
use crate::plugin::{Engine, InstanceConfig, Plugin, World, component_path};
use crate::topic::GenerationStage;
use crate::transform::Stage;

/// How often somebody who waits hears that it still compiles.
const COMPILING_EVERY_SECONDS: u64 = 5;

/// A pipeline that may be started.
#[derive(Clone)]
pub struct Prepared {
    pub plan: Pipeline,
    /// Where everything was written.
    pub places: Places,
    pub stages: Vec<PreparedStage>,
    /// What the sinks with columns read, and which field goes where.
    pub checked: Checked,
    pub warnings: Vec<Diagnostic>,
    pub engine: Engine,
}

/// A stage's code: compiled, and started once for its contract.
#[derive(Clone)]
pub struct PreparedStage {
    pub stage: Stage,
    pub contract: StageContract,
    /// Where the component was read from.
    pub path: PathBuf,
    pub bytes: Bytes,
}

/// Loads every stage's component and checks the chain; all that is wrong, not the first. Blocks while it compiles.
pub fn prepare(loaded: Loaded, engine: &Engine) -> Result<Prepared, Vec<Diagnostic>> {
    let mut found = Vec::new();
    let mut stages = Vec::with_capacity(loaded.pipeline.stages.len());
    let mut contracts = Vec::with_capacity(loaded.pipeline.stages.len());
    for stage in &loaded.pipeline.stages {
        match read_stage(&loaded, stage).and_then(|(path, bytes)| prepare_stage(&loaded, stage, path, bytes.into(), engine)) {
            Ok(prepared) => {
                contracts.push(prepared.contract.clone());
                stages.push(prepared);
            }
            Err(diagnostic) => {
                found.push(diagnostic);
                // Nothing is known of what comes out of it, as of a `messages` plugin; the stages before it are checked.
                contracts.push(StageContract { stage: stage.name.clone(), contract: None });
            }
        }
    }
    let (checked, wrong) = fit(&loaded, &contracts);
    found.extend(wrong);
    diagnostic::sort(&mut found);
    if found.iter().any(Diagnostic::is_error) {
        return Err(found);
    }
    let Loaded { pipeline: plan, places, .. } = loaded;
    Ok(Prepared { plan, places, stages, checked, warnings: found, engine: engine.clone() })
}

/// Checks the chain; what was found in the file comes with it.
pub(super) fn fit(loaded: &Loaded, contracts: &[StageContract]) -> (Checked, Vec<Diagnostic>) {
    let (checked, wrong) = check(loaded, contracts);
    let mut found = loaded.warnings.clone();
    found.extend(wrong);
    diagnostic::sort(&mut found);
    (checked, found)
}

/// Finds and reads the component of a stage.
pub(super) fn read_stage(loaded: &Loaded, stage: &StagePlan) -> Result<(PathBuf, Vec<u8>), Diagnostic> {
    let place = loaded.places.value(&format!("stage.{}.plugin", stage.name));
    let path = component(stage, &loaded.pipeline.file).map_err(|diagnostic| diagnostic.at(place.clone()))?;
    match std::fs::read(&path) {
        Ok(bytes) => Ok((path, bytes)),
        Err(error) => {
            let message = format!("read the plugin of stage `{}`, {}: {error}", stage.name, path.display());
            Err(Diagnostic::error(code::PLUGIN_MISSING, message).at(place))
        }
    }
}

/// Compiles the component of a stage, or takes it from the cache, and starts it for its contract.
pub(super) fn prepare_stage(
    loaded: &Loaded,
    stage: &StagePlan,
    path: PathBuf,
    bytes: Bytes,
    engine: &Engine,
) -> Result<PreparedStage, Diagnostic> {
    let telling = |elapsed: Duration| {
        if elapsed.as_secs().is_multiple_of(COMPILING_EVERY_SECONDS) {
            tracing::info!(stage = %stage.name, "compiling, {} s", elapsed.as_secs());
        }
    };
    let plugin = engine.load_stage(&bytes, &stage.limits, &telling).map_err(|error| {
        let message = format!("the plugin of stage `{}`, {}, cannot be used: {error}", stage.name, path.display());
        let place = loaded.places.value(&format!("stage.{}.plugin", stage.name));
        Diagnostic::error(code::PLUGIN_INVALID, message).at(place)
    })?;
    start_stage(loaded, stage, Arc::new(plugin), path, bytes)
}

/// Starts a plugin with the settings of a stage.
pub(super) fn start_stage(
    loaded: &Loaded,
    stage: &StagePlan,
    plugin: Arc<Plugin>,
    path: PathBuf,
    bytes: Bytes,
) -> Result<PreparedStage, Diagnostic> {
    let missing = missing(&plugin.wishes, &stage.grants);
    if !missing.is_empty() {
        let wishes = missing.iter().map(ToString::to_string).collect::<Vec<_>>().join(" and ");
        let message =
            format!("the plugin of stage `{}`, {}, asks for {wishes}, which it is not granted", stage.name, path.display());
        let place = loaded.places.value(&format!("stage.{}.grants", stage.name));
        let refusal = Diagnostic::error(code::PLUGIN_NOT_GRANTED, message).at(place);
        return Err(missing.iter().fold(refusal, |refusal, wish| refusal.help(wish.way_out())));
    }
    let config = InstanceConfig::new(stage);
    let instance = plugin.instantiate(&config).map_err(|error| {
        let message = format!("the plugin of stage `{}` {error}", stage.name);
        Diagnostic::error(code::PLUGIN_START, message).at(loaded.places.value(&format!("stage.{}.settings", stage.name)))
    })?;
    let contract = match plugin.world {
        World::Fields => Some(instance.contract().clone()),
        World::Messages => None,
    };
    let contract = StageContract { stage: stage.name.clone(), contract };
    Ok(PreparedStage { stage: Stage { plugin, config }, contract, path, bytes })
}

/// Starts a stage as it stands in a generation, from the bytes that the store keeps. Blocks while it compiles.
pub(super) fn recall_stage(
    loaded: &Loaded,
    kept: GenerationStage,
    bytes: Vec<u8>,
    path: PathBuf,
    engine: &Engine,
) -> Result<PreparedStage, String> {
    let plan = loaded.pipeline.stages.iter().find(|stage| stage.name == kept.name);
    let plan = plan.ok_or_else(|| "it is not in the pipeline file".to_owned())?;
    let limits = kept.limits.compiled_within(&plan.limits);
    let plan = StagePlan { settings: kept.settings, limits, ..plan.clone() };
    let plugin = engine.load_stage(&bytes, &plan.limits, &|_| {}).map_err(|error| error.to_string())?;
    start_stage(loaded, &plan, Arc::new(plugin), path, bytes.into()).map_err(|diagnostic| diagnostic.message)
}

/// The component of a stage; that of a directory must have been built.
fn component(stage: &StagePlan, file: &Path) -> Result<PathBuf, Diagnostic> {
    match &stage.plugin {
        PluginPath::Component(path) => Ok(path.clone()),
        PluginPath::Directory(dir) => {
            let path = component_path(dir);
            if path.is_file() {
                return Ok(path);
            }
            let message = format!("the plugin of stage `{}` is not built: {}", stage.name, dir.display());
            Err(Diagnostic::error(code::PLUGIN_MISSING, message).help(format!("tidemill build {}", file.display())))
        }
    }
}
