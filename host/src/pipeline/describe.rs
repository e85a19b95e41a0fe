//! What the status says of a pipeline before anything has happened.

use super::candidate::Present;
use super::prepare::PreparedStage;
use super::start::Options;
use crate::config::plan::{ChartKind, ChartPlan, SinkAddress, TopicAddress};
use crate::plugin::World;
use crate::record::Kind;
use crate::status::charts::Chart;
use crate::status::{Reporter, SinkStatus, Snapshot, SourceStatus, StageStatus, TopicStatus};

/// Everything afresh, but for what was counted of parts that are still there.
pub(super) fn pipeline(reporter: &Reporter, present: &Present, generation: u64, charts: &[ChartPlan], options: &Options) {
    let Present { plan, stages, .. } = present;
    reporter.update(|snapshot| {
        let before = std::mem::take(snapshot);
        let known = |name: &str| before.stages.iter().find(|stage| stage.name == name).cloned();
        let sinks = plan.sinks.iter().map(|sink| {
            let known = before.sinks.iter().find(|known| known.name == sink.name).cloned().unwrap_or_default();
            SinkStatus { name: sink.name.clone(), at: address(&sink.at), state: "idle".to_owned(), in_flight: 0, ..known }
        });
        let source = plan.source.as_ref().map(|source| {
            let kind = source.kind.name();
            let known = before.source.filter(|known| known.kind == kind).unwrap_or_default();
            SourceStatus {
                kind: kind.to_owned(),
                stand_in_for: options.stand_in_for.clone(),
                state: "waiting".to_owned(),
                last_error: None,
                ..known
            }
        });
        let partitions = if before.topic.name == plan.topic.name { before.partitions } else { Default::default() };
        let at = match &plan.topic.at {
            TopicAddress::Embedded => "embedded".to_owned(),
            TopicAddress::Kafka(cluster) => format!("kafka://{}", cluster.brokers.join(",")),
        };
        *snapshot = Snapshot {
            pipeline: plan.name.clone(),
            state: "starting".to_owned(),
            started_ms: if before.started_ms == 0 { jiff::Timestamp::now().as_millisecond() } else { before.started_ms },
            source,
            topic: TopicStatus { name: plan.topic.name.clone(), at },
            partitions,
            stages: stages.iter().map(|part| stage(part, generation, known(part.name()).unwrap_or_default())).collect(),
            sinks: sinks.collect(),
            charts: charts.iter().map(|charted| Chart { asked_for: plan.dashboard.charts.is_some(), ..chart(charted) }).collect(),
            latest: before.latest,
            file: before.file,
            swaps: before.swaps,
            dead_letters: before.dead_letters,
            ..Snapshot::default()
        };
    });
}

/// A stage as it runs now, with what was counted of it before.
pub(super) fn stage(stage: &PreparedStage, generation: u64, known: StageStatus) -> StageStatus {
    StageStatus {
        name: stage.name().to_owned(),
        plugin: stage.path.display().to_string(),
        digest: stage.stage.plugin.digest.clone(),
        world: match stage.stage.plugin.world {
            World::Fields => "fields".to_owned(),
            World::Messages => "messages".to_owned(),
        },
        language: stage.stage.plugin.language.clone(),
        generation,
        size_bytes: stage.stage.plugin.size_bytes,
        memory_limit_bytes: stage.stage.config.limits.memory_bytes,
        table_limit_elements: stage.stage.config.limits.table_elements,
        call_limit_ms: stage.stage.config.limits.batch_time.as_secs_f64() * 1e3,
        candidate: None,
        ..known
    }
}

fn address(at: &SinkAddress) -> String {
    match at {
        SinkAddress::Embedded { table } => format!("embedded table {table}"),
        SinkAddress::Cassandra { hosts, table } => format!("cassandra://{} table {table}", hosts.join(",")),
        SinkAddress::File { path } => format!("file {}", path.display()),
        SinkAddress::Stdout => "stdout".to_owned(),
        SinkAddress::Topic { name, .. } | SinkAddress::KafkaTopic { name, .. } => format!("topic {name}"),
        SinkAddress::Null => "null".to_owned(),
        SinkAddress::Memory { name } => format!("memory {name}"),
    }
}

fn chart(plan: &ChartPlan) -> Chart {
    let by = (plan.kind == ChartKind::Timeline).then(|| match plan.field.kind {
        Kind::Int => "value".to_owned(),
        _ => plan.by.name().to_owned(),
    });
    Chart {
        title: plan.title.clone(),
        field: plan.field.name.clone(),
        kind: plan.kind.name().to_owned(),
        by,
        key: plan.key(),
        limit: plan.limit as usize,
        ..Chart::default()
    }
}
