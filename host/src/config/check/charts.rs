//! What the charts count: a field that is there at the end of the chain, of a kind that the chart can draw. Where none is asked for,
//! some are chosen by the columns of the tables.

use super::{Chain, Reader, Source, Station};
use crate::config::code;
use crate::config::plan::{ChartKind, ChartPlan, SinkColumn, TimeStep};
use crate::config::resolve_dashboard::{limit, title};
use crate::record::{Field, Kind};

impl Chain<'_> {
    pub(super) fn charts(&mut self, last_stage_writes: bool) {
        let Some(wished) = self.pipeline.dashboard.charts.clone() else {
            return self.choose_charts();
        };
        // A chart must not make the host parse payloads that nobody else reads: what is no JSON would be rejected for it.
        let parsed = last_stage_writes || !self.checked.sink_fields.is_empty();
        for (index, mut chart) in wished.into_iter().enumerate() {
            let place = self.places.value(&format!("dashboard.chart.{index}.field"));
            let who = format!("chart `{}`", chart.title);
            if !parsed {
                let message =
                    format!("{who} counts `{}`, but nothing after the last `messages` stage reads fields", chart.field.name);
                self.error(
                    code::BAD_CHART,
                    message,
                    &place,
                    "chart a field of a table, or of a pipeline whose last stage is a `fields` one",
                );
                continue;
            }
            let reader = Reader { who: who.clone(), place: place.clone(), station: Station::Topic, field: &chart.field.name };
            let bound = self.checked.sink_fields.iter().find(|known| known.name == chart.field.name).map(|known| known.kind);
            let kind = match self.find(&reader, false) {
                Source::Wrong => continue,
                Source::Own(kind) | Source::Written { kind, .. } => kind,
                // Whatever else it is read as, a chart never rejects a record.
                Source::Payload(_) | Source::Unknown => bound.unwrap_or(Kind::Json),
            };
            let kind = bound.unwrap_or(kind);
            if !draws(chart.kind, kind) {
                let message = format!("{who} is a {}, but `{}` is {kind}", chart.kind.name(), chart.field.name);
                let place = self.places.value(&format!("dashboard.chart.{index}.kind"));
                self.error(code::BAD_CHART, message, &place, way(chart.kind));
                continue;
            }
            chart.field.kind = kind;
            self.checked.charts.push(chart);
        }
    }

    /// At most one of each kind, the first column that seems made for it.
    fn choose_charts(&mut self) {
        for kind in [ChartKind::Share, ChartKind::Top, ChartKind::Timeline, ChartKind::Histogram] {
            let columns = self.pipeline.sinks.iter().flat_map(|sink| &sink.columns);
            let fitting = columns.filter_map(|column| {
                let field = self.checked.sink_fields.iter().find(|field| field.name == column.field)?;
                let charted = self.checked.charts.iter().any(|chart| chart.field.name == field.name);
                (!charted && suits(kind, column, field.kind)).then_some(field)
            });
            let Some(field) = fitting.into_iter().next() else { continue };
            let chart = ChartPlan {
                title: title(&field.name),
                field: Field { optional: true, ..field.clone() },
                kind,
                by: TimeStep::Day,
                limit: limit(kind),
            };
            self.checked.charts.push(chart);
        }
    }
}

fn draws(chart: ChartKind, kind: Kind) -> bool {
    match chart {
        ChartKind::Share | ChartKind::Top => kind != Kind::Bytes,
        ChartKind::Timeline => matches!(kind, Kind::Timestamp | Kind::Int | Kind::Json),
        ChartKind::Number | ChartKind::Histogram => matches!(kind, Kind::Int | Kind::Float | Kind::Json),
    }
}

fn way(chart: ChartKind) -> &'static str {
    match chart {
        ChartKind::Share | ChartKind::Top => "it counts text, numbers, times and true or false",
        ChartKind::Timeline => "it counts a timestamp, or an integer such as a year",
        ChartKind::Number | ChartKind::Histogram => "it counts an int or a float",
    }
}

/// By name and kind: what has few values is a share, what names where something is from is a top, a year or a time is a timeline.
fn suits(chart: ChartKind, column: &SinkColumn, kind: Kind) -> bool {
    let any = |words: &[&str]| column.column.split('_').any(|part| words.contains(&part));
    match chart {
        _ if column.key.is_some() => false,
        ChartKind::Share => {
            matches!(kind, Kind::Boolean)
                || (kind == Kind::Text
                    && any(&[
                        "gender", "sex", "status", "state", "kind", "type", "category", "level", "plan", "currency", "language",
                    ]))
        }
        ChartKind::Top => {
            kind == Kind::Text
                && any(&["provider", "domain", "host", "country", "city", "product", "category", "tag", "source", "nat"])
        }
        ChartKind::Timeline => match kind {
            Kind::Int => any(&["year"]),
            Kind::Timestamp => any(&["at", "date", "time", "timestamp", "created", "registered"]),
            _ => false,
        },
        ChartKind::Histogram => {
            matches!(kind, Kind::Int | Kind::Float)
                && any(&["age", "amount", "price", "total", "size", "count", "score", "duration"])
        }
        ChartKind::Number => false,
    }
}
