//! From a plan to code that can run: components are read, compiled (or taken from the cache) and started once for their contracts,
//! and the chain is checked against them. Invariant 9: no socket is opened and nothing is changed.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::config::check::{Checked, check};
use crate::config::diagnostic::{self, Diagnostic};
use crate::config::plan::{Pipeline, PluginPath, StageContract, StagePlan};
use crate::config::{Loaded, code};
use crate::plugin::grants::missing;
use crate::plugin::{Engine, InstanceConfig, World, component_path};
use crate::transform::Stage;

/// How often somebody who waits hears that it still compiles.
const COMPILING_EVERY_SECONDS: u64 = 5;

/// A pipeline that may be started.
pub struct Prepared {
    pub plan: Pipeline,
    pub stages: Vec<PreparedStage>,
    /// What the sinks with columns read, and which field goes where.
    pub checked: Checked,
    /// By stage, in order.
    pub contracts: Vec<StageContract>,
    pub warnings: Vec<Diagnostic>,
    pub engine: Engine,
}

pub struct PreparedStage {
    pub stage: Stage,
    /// Where the component was read from.
    pub path: PathBuf,
    pub bytes: Vec<u8>,
}

/// Loads every stage's component and checks the chain; all that is wrong, not the first. Blocks while it compiles.
pub fn prepare(loaded: Loaded, engine: &Engine) -> Result<Prepared, Vec<Diagnostic>> {
    let mut found = loaded.warnings.clone();
    let mut stages = Vec::with_capacity(loaded.pipeline.stages.len());
    let mut contracts = Vec::with_capacity(loaded.pipeline.stages.len());
    for stage in &loaded.pipeline.stages {
        match prepare_stage(&loaded, stage, engine) {
            Ok((prepared, contract)) => {
                stages.push(prepared);
                contracts.push(contract);
            }
            Err(diagnostic) => {
                found.push(diagnostic);
                // Nothing is known of what comes out of it, as of a `messages` plugin; the stages before it are checked.
                contracts.push(StageContract { stage: stage.name.clone(), contract: None });
            }
        }
    }
    let (checked, wrong) = check(&loaded, &contracts);
    found.extend(wrong);
    diagnostic::sort(&mut found);
    if found.iter().any(Diagnostic::is_error) {
        return Err(found);
    }
    Ok(Prepared { plan: loaded.pipeline, stages, checked, contracts, warnings: found, engine: engine.clone() })
}

fn prepare_stage(loaded: &Loaded, stage: &StagePlan, engine: &Engine) -> Result<(PreparedStage, StageContract), Diagnostic> {
    let place = |key: &str| loaded.places.value(&format!("stage.{}.{key}", stage.name));
    let path = component(stage, &loaded.pipeline.file).map_err(|diagnostic| diagnostic.at(place("plugin")))?;
    let bytes = std::fs::read(&path).map_err(|error| {
        let message = format!("read the plugin of stage `{}`, {}: {error}", stage.name, path.display());
        Diagnostic::error(code::PLUGIN_MISSING, message).at(place("plugin"))
    })?;
    let telling = |elapsed: Duration| {
        if elapsed.as_secs().is_multiple_of(COMPILING_EVERY_SECONDS) {
            tracing::info!(stage = %stage.name, "compiling, {} s", elapsed.as_secs());
        }
    };
    let plugin = engine.load_stage(&bytes, &stage.limits, &telling).map_err(|error| {
        let message = format!("the plugin of stage `{}`, {}, cannot be used: {error}", stage.name, path.display());
        Diagnostic::error(code::PLUGIN_INVALID, message).at(place("plugin"))
    })?;
    if let Some(wish) = missing(&plugin.wishes, &stage.grants).first() {
        let message =
            format!("the plugin of stage `{}`, {}, asks for {wish}, which it is not granted", stage.name, path.display());
        return Err(Diagnostic::error(code::PLUGIN_NOT_GRANTED, message).at(place("grants")).help(wish.way_out()));
    }
    let config = InstanceConfig::new(stage);
    let instance = plugin.instantiate(&config).map_err(|error| {
        let message = format!("the plugin of stage `{}` {error}", stage.name);
        Diagnostic::error(code::PLUGIN_START, message).at(place("settings"))
    })?;
    let contract = match plugin.world {
        World::Fields => Some(instance.contract().clone()),
        World::Messages => None,
    };
    let contract = StageContract { stage: stage.name.clone(), contract };
    Ok((PreparedStage { stage: Stage { plugin: Arc::new(plugin), config }, path, bytes }, contract))
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
