//! What may be seen: all of it, or, of a public page, what names nobody.

use serde_json::{Value, json};

use super::mask::{HIDDEN, Mask};
use super::swap::{Receipt, Shadow};
use super::{Reporter, Snapshot};

/// What a person wants to be shown.
#[derive(Clone, Debug, Default)]
pub struct Showing {
    pub mask: Mask,
    /// Log files to follow.
    pub logs: Vec<std::path::PathBuf>,
    /// Nothing can be changed, and of records only these fields are shown.
    pub public: Option<Vec<String>>,
}

impl Showing {
    pub fn is_public(&self) -> bool {
        self.public.is_some()
    }

    /// Whether a public page shows the field; any other page shows all.
    pub fn shows(&self, field: &str) -> bool {
        self.public.as_ref().is_none_or(|fields| fields.iter().any(|shown| shown == field))
    }

    /// A receipt as it may be seen: reasons may name values of records, diagnostics quote the pipeline file.
    pub fn receipt(&self, receipt: Receipt) -> Receipt {
        if !self.is_public() {
            return receipt;
        }
        let reason = receipt.reason.map(|_| HIDDEN.to_owned());
        Receipt { reason, diagnostics: bare(&receipt.diagnostics), ..receipt }
    }

    /// What runs beside a stage as it may be seen.
    pub fn shadow(&self, mut shadow: Shadow) -> Shadow {
        shadow.examples.retain(|example| self.shows(&example.field));
        for example in &mut shadow.examples {
            let hidden = if example.field == "@message" { !self.mask.is_empty() } else { self.mask.hides(&example.field) };
            if hidden {
                (example.old, example.new) = (HIDDEN.into(), HIDDEN.into());
            }
        }
        shadow
    }
}

/// Snapshots as they may be seen.
#[derive(Clone)]
pub struct View {
    pub reporter: Reporter,
    pub showing: std::sync::Arc<Showing>,
}

impl View {
    pub fn snapshot(&self) -> Snapshot {
        self.seen(self.reporter.snapshot())
    }

    pub fn sample(&self) -> Snapshot {
        self.seen(self.reporter.sample())
    }

    fn seen(&self, mut snapshot: Snapshot) -> Snapshot {
        let Showing { mask, public, .. } = &*self.showing;
        for row in &mut snapshot.latest {
            mask.fields(row);
        }
        if public.is_some() {
            snapshot.public = true;
            self.withhold(&mut snapshot);
        }
        snapshot
    }

    /// Takes out what may hold values of records, or tells of the machine.
    fn withhold(&self, snapshot: &mut Snapshot) {
        for row in &mut snapshot.latest {
            row.retain(|column, _| self.showing.shows(column));
        }
        snapshot.charts.retain(|chart| chart.asked_for || self.showing.shows(&chart.field));
        snapshot.reason = snapshot.reason.take().map(|_| HIDDEN.to_owned());
        snapshot.alarms.iter_mut().for_each(|alarm| HIDDEN.clone_into(alarm));
        snapshot.health.parts.iter_mut().for_each(|part| part.reason = None);
        if let Some(source) = &mut snapshot.source {
            source.last_error = None;
            source.notes.clear();
            source.stand_in_for = source.stand_in_for.take().map(|_| HIDDEN.to_owned());
        }
        snapshot.partitions.values_mut().for_each(|partition| partition.last_error = None);
        for stage in &mut snapshot.stages {
            stage.last_error = None;
            stage.plugin.clear();
            if let Some(candidate) = &mut stage.candidate {
                candidate.reason = candidate.reason.take().map(|_| HIDDEN.to_owned());
            }
        }
        snapshot.file.path.clear();
        snapshot.file.diagnostics = bare(&snapshot.file.diagnostics);
        for sink in &mut snapshot.sinks {
            sink.last_error = None;
            sink.at = sink.at.split([' ', ':']).next().unwrap_or_default().to_owned();
        }
        snapshot.topic.at = snapshot.topic.at.split(':').next().unwrap_or_default().to_owned();
    }
}

/// Diagnostics without what they say of the pipeline file.
fn bare(diagnostics: &[Value]) -> Vec<Value> {
    diagnostics.iter().map(|found| json!({ "code": found["code"], "severity": found["severity"], "message": HIDDEN })).collect()
}
