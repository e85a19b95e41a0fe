//! What the status tells of a stage that does not move: its component, contract, settings, limits and grants.

use super::PreparedStage;
use crate::config::plan::{Pipeline, StagePlan};
use crate::plugin::World;
use crate::status::mask;
use crate::status::samples::{StageDetail, StageGrants, StageLimits};

/// Of all stages, as they run.
pub fn all(plan: &Pipeline, stages: &[PreparedStage]) -> Vec<StageDetail> {
    let planned = |stage: &PreparedStage| plan.stages.iter().find(|planned| planned.name == stage.name());
    stages.iter().filter_map(|stage| Some(of(stage, planned(stage)?))).collect()
}

fn of(stage: &PreparedStage, plan: &StagePlan) -> StageDetail {
    let (plugin, config) = (&stage.stage.plugin, &stage.stage.config);
    let grants = plan.grants.names();
    StageDetail {
        name: plan.name.clone(),
        plugin: stage.path.display().to_string(),
        digest: plugin.digest.clone(),
        size_bytes: plugin.size_bytes,
        language: plugin.language.clone(),
        world: match plugin.world {
            World::Fields => "fields".to_owned(),
            World::Messages => "messages".to_owned(),
        },
        generation: 0,
        contract: stage.contract.contract.clone(),
        settings: mask::settings(&config.settings),
        limits: StageLimits {
            memory_bytes: config.limits.memory_bytes,
            batch_time_ms: config.limits.batch_time.as_millis() as u64,
        },
        grants: StageGrants { http: grants.http, env: grants.env, read: grants.read },
        imports: plugin.imports.clone(),
    }
}
