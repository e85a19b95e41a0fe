//! From the files as they are now to code that may come into force: what is new is compiled and started, and the whole chain is checked.

use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use sha2::{Digest, Sha256};

use super::code::{self, Bindings, Code};
use super::prepare::{Prepared, PreparedStage, fit, prepare_stage, read_stage, start_stage};
use crate::config::check::Checked;
use crate::config::code as codes;
use crate::config::diagnostic::Diagnostic;
use crate::config::plan::{Grants, Pipeline, StagePlan};
use crate::config::{Loaded, Places};
use crate::plugin::{Engine, Granted, Plugin, grants};
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

    pub fn grants(&self) -> &Grants {
        self.stage.config.grants.grants()
    }

    /// The same with these values of what it is granted already.
    pub fn granted(&self, grants: &Grants) -> PreparedStage {
        let mut stage = self.clone();
        if grants != self.grants() && grants.names() == self.grants().names() {
            stage.stage.config.grants = Granted::new(grants.clone());
        }
        stage
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
    Wrong(Unusable),
}

/// What lies there and cannot be used.
pub(super) struct Unusable {
    pub why: Diagnostic,
    /// Where it could be read.
    pub digest: Option<String>,
    /// Interfaces that it imports and the present code does not, of what asks for more than it is granted.
    pub gained: Vec<String>,
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
            (Err(missing), None) => return Found::Wrong(Unusable { why: missing, digest: None, gained: Vec::new() }),
        };
        let digest = digest(&bytes);
        if let Some(present) = present {
            let wanted = code::planned_content(digest.clone(), &stage.name, &stage.settings, &stage.limits, &stage.grants);
            if present.kept() == wanted && present.grants() == &stage.grants {
                return Found::Same(present.clone());
            }
            if self.held.contains(&wanted) {
                return Found::Held(present.granted(&stage.grants), digest);
            }
        }
        let bytes = Bytes::from(bytes);
        let known = present.map(|present| &present.stage.plugin).into_iter().chain(&self.known);
        let prepared = match known.into_iter().find(|plugin| plugin.is(&digest, &stage.limits)) {
            Some(plugin) => start_stage(loaded, stage, plugin.clone(), path, bytes.clone()),
            None => {
                compiling(&stage.name, &digest);
                let prepared = prepare_stage(loaded, stage, path, bytes.clone(), &self.engine);
                *compiled += prepared.as_ref().map_or(Duration::ZERO, |prepared| prepared.stage.plugin.compile_time);
                prepared
            }
        };
        prepared.map_or_else(|why| Found::Wrong(Unusable::new(why, digest, &bytes, present)), Found::New)
    }
}

impl Unusable {
    fn new(mut why: Diagnostic, digest: String, component: &[u8], present: Option<&PreparedStage>) -> Unusable {
        let mut gained = Vec::new();
        // What asks for too much was linked: it imports nothing but what this host has.
        if let Some(present) = present
            && why.code == codes::PLUGIN_NOT_GRANTED
        {
            gained = grants::gained(component, &present.stage.plugin);
            if !gained.is_empty() {
                write!(why.message, "; what runs does not import {}", gained.join(", ")).expect("text is written to text");
            }
        }
        Unusable { why, digest: Some(digest), gained }
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
            let what = vec!["added".to_owned()];
            changes.push(Change { stage: stage.name().to_owned(), from: None, to, what, gained: Vec::new() });
            continue;
        };
        let mut what = Vec::new();
        let differs = [
            ("code", before.stage.plugin.digest != stage.stage.plugin.digest),
            ("settings", before.stage.config.settings != stage.stage.config.settings),
            ("limits", before.kept().limits != stage.kept().limits),
            ("grants", before.grants() != stage.grants()),
            ("moved", moved),
        ];
        what.extend(differs.into_iter().filter(|(_, differs)| *differs).map(|(what, _)| what.to_owned()));
        if !what.is_empty() {
            let gained = grants::gained(&stage.bytes, &before.stage.plugin);
            let from = Some(before.stage.plugin.digest.clone());
            changes.push(Change { stage: stage.name().to_owned(), from, to, what, gained });
        }
    }
    for before in present.stages.iter().filter(|before| !wanted.iter().any(|stage| stage.name() == before.name())) {
        let from = Some(before.stage.plugin.digest.clone());
        let what = vec!["removed".to_owned()];
        changes.push(Change { stage: before.name().to_owned(), from, to: None, what, gained: Vec::new() });
    }
    changes
}

/// A stage whose code could not even be read or built.
pub(super) fn unknown_change(present: &Present, stage: &str, to: Option<String>) -> Change {
    let from = present.stage(stage).map(|stage| stage.stage.plugin.digest.clone());
    Change { stage: stage.to_owned(), from, to, what: vec!["code".to_owned()], gained: Vec::new() }
}

/// The first error in a line, and how many others there are.
pub(super) fn summary(found: &[Diagnostic]) -> String {
    let errors: Vec<&Diagnostic> = found.iter().filter(|diagnostic| diagnostic.is_error()).collect();
    let Some(first) = errors.first() else { return "the pipeline file cannot be used".to_owned() };
    let place = first.place.as_ref().map(|place| format!("{}:{}:{}: ", place.file, place.line, place.column)).unwrap_or_default();
    let help = if first.help.is_empty() { String::new() } else { format!(" ({})", first.help.join("; ")) };
    let more = match errors.len() {
        1 => String::new(),
        count => format!("; and {} more", count - 1),
    };
    format!("{place}{}{help}{more}", first.message)
}
