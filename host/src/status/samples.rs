//! Records on their way: what each stage was given and what it gave, and what the stages are.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::view::Showing;
use crate::record::{Contract, Place, Sample, Step};

/// What sampling has seen.
#[derive(Clone, Debug, Default)]
pub struct Followed {
    /// Newest first.
    pub samples: Vec<Sample>,
    /// Rows that each stage was given since sampling began.
    pub seen: BTreeMap<String, u64>,
}

/// Hides what may not be seen.
pub(super) fn shown(mut sample: Sample, showing: &Showing) -> Sample {
    let public = showing.is_public();
    for step in &mut sample.steps {
        step.reason = step.reason.take().filter(|_| !public).map(|reason| showing.mask.text(&reason, Some(&sample.payload)));
    }
    match public {
        true => sample.payload = Value::Null,
        false => drop(showing.mask.apply(&mut sample.payload)),
    }
    for step in &mut sample.steps {
        for fields in [Some(&mut step.before), step.after.as_mut()].into_iter().flatten() {
            for whole in ["payload", "messages"] {
                if let Some(payload) = fields.get_mut(whole) {
                    showing.mask.apply(payload);
                }
            }
            showing.mask.fields(fields);
            fields.retain(|field, _| showing.shows(field));
        }
        step.changed.retain(|field| showing.shows(field));
    }
    sample
}

/// A sample as one stage sees it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct StageSample {
    #[serde(flatten)]
    pub place: Place,
    pub at_ms: i64,
    pub generation: u64,
    #[serde(flatten)]
    pub step: Step,
}

/// The samples of one stage.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct StageSamples {
    pub stage: String,
    /// Rows that it was given since sampling began, and those of them that are not shown.
    pub seen: u64,
    pub not_shown: u64,
    /// Newest first.
    pub samples: Vec<StageSample>,
}

impl Followed {
    /// What one stage made of the samples.
    pub fn of_stage(self, stage: &str, limit: usize, showing: &Showing) -> StageSamples {
        let seen = self.seen.get(stage).copied().unwrap_or(0);
        let own = |sample: Sample| {
            let Sample { place, at_ms, generation, steps, .. } = shown(sample, showing);
            let step = steps.into_iter().find(|step| step.stage == stage)?;
            Some(StageSample { place, at_ms, generation, step })
        };
        let samples: Vec<StageSample> = self.samples.into_iter().filter_map(own).take(limit).collect();
        StageSamples { stage: stage.to_owned(), seen, not_shown: seen.saturating_sub(samples.len() as u64), samples }
    }
}

/// A stage: what does not change twice a second.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct StageDetail {
    pub name: String,
    pub plugin: String,
    /// SHA-256 of the component, hex.
    pub digest: String,
    pub size_bytes: u64,
    pub language: String,
    /// `fields` or `messages`.
    pub world: String,
    pub generation: u64,
    /// `null`: a `messages` plugin.
    pub contract: Option<Contract>,
    /// Secrets are not told.
    pub settings: BTreeMap<String, String>,
    pub limits: StageLimits,
    pub grants: StageGrants,
    /// What the component asks its host for.
    pub imports: Vec<String>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct StageLimits {
    pub memory_bytes: u64,
    pub batch_time_ms: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StageGrants {
    pub http: Vec<String>,
    pub env: Vec<String>,
    pub read: Vec<String>,
}
