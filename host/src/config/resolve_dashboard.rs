//! `[dashboard]`: what the page shows.

use super::code;
use super::defaults;
use super::file::{ChartFile, DashboardFile};
use super::plan::{ChartKind, ChartPlan, DashboardPlan, TimeStep};
use super::resolve::Resolver;
use super::written::Written;
use crate::record::{Field, Kind};

impl Resolver<'_> {
    pub(super) fn dashboard(&mut self, written: Option<DashboardFile>) -> DashboardPlan {
        let file = written.unwrap_or(DashboardFile { mask: None, logs: None, public: None, fields: None, chart: None });
        let public = file.public.as_ref().map_or(defaults::PUBLIC, |written| written.value);
        if let (false, Some(fields)) = (public, &file.fields) {
            self.warn(
                code::KEY_NOT_USED,
                "`fields` are those of a public page",
                &fields.span,
                "add public = true, or remove them",
            );
        }
        let mask = match file.mask {
            None => defaults::MASK.map(str::to_owned).to_vec(),
            Some(rules) => rules.value.into_iter().map(|rule| self.mask(rule)).collect(),
        };
        let texts = |list: Option<Written<Vec<Written<String>>>>| {
            list.into_iter().flat_map(|list| list.value).map(|entry| entry.value).collect::<Vec<String>>()
        };
        let logs = texts(file.logs).into_iter().map(|path| self.folder.join(path)).collect();
        let charts = file.chart.map(|charts| charts.into_iter().filter_map(|chart| self.chart(chart.value)).collect());
        DashboardPlan { mask, logs, public, fields: texts(file.fields), charts }
    }

    /// A field, or all that lies in one.
    fn mask(&mut self, rule: Written<String>) -> String {
        let path = rule.value.strip_suffix(".*").unwrap_or(&rule.value);
        if path != "*" && (path.contains('*') || path.split('.').any(|part| part.is_empty() || part.trim() != part)) {
            let way = "a field as in \"email\", all that lies in one as in \"login.*\", or \"*\" for all";
            self.error(code::BAD_FIELD_NAME, format!("`{}` names no fields", rule.value), &rule.span, way);
        }
        rule.value
    }

    fn chart(&mut self, chart: ChartFile) -> Option<ChartPlan> {
        let (field, kind) = (chart.field?, chart.kind?.value);
        self.field(&field);
        if let (Some(by), true) = (&chart.by, kind != ChartKind::Timeline) {
            self.warn(code::KEY_NOT_USED, format!("`by` is not used by a {}", kind.name()), &by.span, "remove it");
        }
        if let (Some(limit), false) = (&chart.limit, matches!(kind, ChartKind::Share | ChartKind::Top)) {
            self.warn(code::KEY_NOT_USED, format!("`limit` is not used by a {}", kind.name()), &limit.span, "remove it");
        }
        Some(ChartPlan {
            title: chart.title.map_or_else(|| title(&field.value), |title| title.value),
            field: Field { name: field.value, kind: Kind::Json, optional: true },
            kind,
            by: chart.by.map_or(TimeStep::Day, |by| by.value),
            limit: chart.limit.map_or_else(|| limit(kind), |limit| limit.value),
        })
    }
}

pub(super) fn limit(kind: ChartKind) -> u32 {
    if kind == ChartKind::Top { defaults::CHART_LIMIT_TOP } else { defaults::CHART_LIMIT }
}

/// `email_provider` → `Email provider`.
pub(super) fn title(field: &str) -> String {
    let words = field.rsplit('.').next().unwrap_or(field).trim_start_matches('@').replace(['_', '-'], " ");
    let mut letters = words.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}
