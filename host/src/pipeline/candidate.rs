//! From the files as they are now to code that may come into force: what is new is compiled and started, and the whole chain is checked.

use std::sync::Arc;
use std::time::Duration;

use sha2::{Digest, Sha256};

use super::code::{self, Bindings, Code};
use super::prepare::{Prepared, PreparedStage, fit, prepare_stage, read_stage, start_stage};
use crate::config::check::Checked;
use crate::config::code as codes;
use crate::config::diagnostic::Diagnostic;
use crate::config::plan::{Pipeline, StagePlan};
use crate::config::{Loaded, Places};
use crate::plugin::{Engine, Plugin};
use crate::sink::Sink;
use crate::status::swap::Change;
use crate::topic::GenerationStage;
use crate::transform::Stages;

/// What runs.
#[derive(Clone)]
pub(super) struct Present {
    pub plan: Pipeline,
    pub places: Places,
    pub stages: Vec<PreparedStage>,
}

impl Present {
    pub fn of(prepared: &Prepared) -> Present {
        Present { plan: prepared.plan.clone(), places: prepared.places.clone(), stages: prepared.stages.clone() }
    }

    pub fn stage(&self, name: &str) -> Option<&PreparedStage> {
        self.stages.iter().find(|known| known.name() == name)
    }

    pub fn loaded(&self) -> Loaded {
        Loaded { pipeline: self.plan.clone(), places: self.places.clone(), warnings: Vec::new() }
    }
}

impl PreparedStage {
    pub fn name(&self) -> &str {
        &self.stage.config.stage
    }

    /// As it stands in the content of a generation.
    pub fn kept(&self) -> GenerationStage {
        code::stage_content(&self.stage)
    }
}

/// What the files have for a stage.
pub(super) enum Found {
    /// What runs.
    Same(PreparedStage),
    New(PreparedStage),
    /// It was taken back or discarded, this digest: the present code goes on.
    Held(PreparedStage, String),
    /// And the digest of what cannot be used, where it could be read.
    Wrong(Diagnostic, Option<String>),
}

/// Where the stages of a file are looked for.
pub(super) struct Search {
    pub present: Present,
    pub held: Vec<GenerationStage>,
    /// Compiled for an earlier attempt, or for what waits.
    pub known: Vec<Arc<Plugin>>,
    pub engine: Engine,
}

/// All stages of a file, in its order, and how long it took to compile what is new.
pub(super) struct Findings {
    pub stages: Vec<(String, Found)>,
    pub compiled: Duration,
}

impl Search {
    /// Reads, compiles and starts. Blocks; `compiling` is told stage and digest beforehand.
    pub fn run(&self, loaded: &Loaded, compiling: &dyn Fn(&str, &str)) -> Findings {
        let mut findings = Findings { stages: Vec::new(), compiled: Duration::ZERO };
        for stage in &loaded.pipeline.stages {
            let found = self.stage(loaded, stage, compiling, &mut findings.compiled);
            findings.stages.push((stage.name.clone(), found));
        }
        findings
    }

    fn stage(&self, loaded: &Loaded, stage: &StagePlan, compiling: &dyn Fn(&str, &str), compiled: &mut Duration) -> Found {
        let present = self.present.stage(&stage.name);
        let (path, bytes) = match (read_stage(loaded, stage), present) {
            (Ok((path, bytes)), _) => (path, bytes),
            // Gone for a moment, or for good: what runs is kept in the store.
            (Err(_), Some(present)) => (present.path.clone(), present.bytes.to_vec()),
            (Err(missing), None) => return Found::Wrong(missing, None),
        };
        let digest = digest(&bytes);
        if let Some(present) = present {
            let wanted = GenerationStage {
                name: stage.name.clone(),
                digest: digest.clone(),
                settings: stage.settings.clone(),
                limits: stage.limits,
                grants: stage.grants.names(),
            };
            if present.kept() == wanted {
                return Found::Same(present.clone());
            }
            if self.held.contains(&wanted) {
                return Found::Held(present.clone(), digest);
            }
        }
        let known = present.map(|present| &present.stage.plugin).into_iter().chain(&self.known);
        let prepared = match known.into_iter().find(|plugin| plugin.digest == digest) {
            Some(plugin) => start_stage(loaded, stage, plugin.clone(), path, bytes.into()),
            None => {
                compiling(&stage.name, &digest);
                let prepared = prepare_stage(loaded, stage, path, bytes, &self.engine);
                *compiled += prepared.as_ref().map_or(Duration::ZERO, |prepared| prepared.stage.plugin.compile_time);
                prepared
            }
        };
        prepared.map_or_else(|wrong| Found::Wrong(wrong, Some(digest)), Found::New)
    }
}

pub(super) fn digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Code that fits together.
pub(super) struct Candidate {
    pub present: Present,
    pub code: Code,
    pub warnings: Vec<Diagnostic>,
}

impl Candidate {
    /// Checks the chain of these stages against the file.
    pub fn new(loaded: &Loaded, stages: Vec<PreparedStage>, sinks: Vec<Arc<dyn Sink>>) -> Result<Candidate, Vec<Diagnostic>> {
        let contracts: Vec<_> = stages.iter().map(|stage| stage.contract.clone()).collect();
        let (checked, found) = fit(loaded, &contracts);
        if found.iter().any(Diagnostic::is_error) {
            return Err(found);
        }
        let code = Candidate::code(&loaded.pipeline, &checked, &stages, sinks)
            .map_err(|reason| vec![Diagnostic::error(codes::PLUGIN_INVALID, reason)])?;
        let present = Present { plan: loaded.pipeline.clone(), places: loaded.places.clone(), stages };
        Ok(Candidate { present, code, warnings: found })
    }

    fn code(plan: &Pipeline, checked: &Checked, stages: &[PreparedStage], sinks: Vec<Arc<dyn Sink>>) -> Result<Code, String> {
        let bindings = Bindings::of(plan, checked);
        let (stages, contracts): (Vec<_>, Vec<_>) =
            stages.iter().map(|stage| (stage.stage.clone(), stage.contract.clone())).unzip();
        let content = code::content(&stages, &bindings);
        code::assemble(content, Stages::known(stages, contracts), &bindings, sinks)
    }
}

/// What is different from what runs, by stage.
pub(super) fn changes(present: &Present, wanted: &[PreparedStage]) -> Vec<Change> {
    let mut changes = Vec::new();
    let order = |stages: &[PreparedStage], others: &[PreparedStage]| -> Vec<String> {
        let both = stages.iter().filter(|stage| others.iter().any(|other| other.name() == stage.name()));
        both.map(|stage| stage.name().to_owned()).collect()
    };
    let moved = order(&present.stages, wanted) != order(wanted, &present.stages);
    for stage in wanted {
        let to = Some(stage.stage.plugin.digest.clone());
        let Some(before) = present.stage(stage.name()) else {
            changes.push(Change { stage: stage.name().to_owned(), from: None, to, what: vec!["added".to_owned()] });
            continue;
        };
        let mut what = Vec::new();
        let differs = [
            ("code", before.stage.plugin.digest != stage.stage.plugin.digest),
            ("settings", before.stage.config.settings != stage.stage.config.settings),
            ("limits", before.stage.config.limits != stage.stage.config.limits),
            ("grants", before.kept().grants != stage.kept().grants),
            ("moved", moved),
        ];
        what.extend(differs.into_iter().filter(|(_, differs)| *differs).map(|(what, _)| what.to_owned()));
        if !what.is_empty() {
            changes.push(Change { stage: stage.name().to_owned(), from: Some(before.stage.plugin.digest.clone()), to, what });
        }
    }
    for before in present.stages.iter().filter(|before| !wanted.iter().any(|stage| stage.name() == before.name())) {
        let from = Some(before.stage.plugin.digest.clone());
        changes.push(Change { stage: before.name().to_owned(), from, to: None, what: vec!["removed".to_owned()] });
    }
    changes
}

/// A stage whose code could not even be read or built.
pub(super) fn unknown_change(present: &Present, stage: &str, to: Option<String>) -> Change {
    let from = present.stage(stage).map(|stage| stage.stage.plugin.digest.clone());
    Change { stage: stage.to_owned(), from, to, what: vec!["code".to_owned()] }
}

/// The first error in a line, and how many others there are.
pub(super) fn summary(found: &[Diagnostic]) -> String {
    let errors: Vec<&Diagnostic> = found.iter().filter(|diagnostic| diagnostic.is_error()).collect();
    let Some(first) = errors.first() else { return "the pipeline file cannot be used".to_owned() };
    let place = first.place.as_ref().map(|place| format!("{}:{}:{}: ", place.file, place.line, place.column)).unwrap_or_default();
    let help = first.help.first().map(|help| format!(" ({help})")).unwrap_or_default();
    let more = match errors.len() {
        1 => String::new(),
        count => format!("; and {} more", count - 1),
    };
    format!("{place}{}{help}{more}", first.message)
}
