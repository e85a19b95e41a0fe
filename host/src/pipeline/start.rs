//! Starting a pipeline and waiting for its end.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde::Serialize;
use tokio::task::JoinHandle;

use super::code::{self, Bindings};
use super::control::Shared;
use super::dead_letter::Threshold;
use super::deliver::{Deliver, Progress};
use super::details;
use super::drain::Drain;
use super::generation::Generations;
use super::ingest::{self, Ingest};
use super::pin::PipelineFile;
use super::prepare::Prepared;
use super::recall::Kept;
use super::report::Report;
use super::worker::Workers;
use crate::config::plan::{ChartKind, ChartPlan, Pipeline, SinkAddress, TopicAddress};
use crate::record::Kind;
use crate::sink::{self, Sink};
use crate::source;
use crate::status::charts::Chart;
use crate::status::{Reporter, SinkStatus, Snapshot, SourceStatus, StageStatus, TopicStatus};
use crate::store::{self, Store, components};
use crate::topic::{self, Figures, Topic, Window};
use crate::transform::{Stage, Stages};

/// How long what is in flight may take after SIGTERM.
const DRAIN_DEADLINE: Duration = Duration::from_secs(10);
/// How often the status is told what only the topic knows: ends and dead letters.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How often a position is saved that is not saved with the rows: a transaction of the cluster takes some ten milliseconds.
const SAVE_EVERY: Duration = Duration::from_secs(1);

#[derive(Clone, Debug)]
pub struct Options {
    /// End once the source is exhausted, or its `for` or `records` is reached, and the topic is settled.
    pub until_idle: bool,
    /// Why the generator stands in for the source, where it does.
    pub stand_in_for: Option<String>,
    pub drain_deadline: Duration,
}

impl Default for Options {
    fn default() -> Options {
        Options { until_idle: false, stand_in_for: None, drain_deadline: DRAIN_DEADLINE }
    }
}

/// Why a pipeline did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("{0}")]
    Store(#[from] store::Error),
    #[error("open the topic: {0}")]
    Topic(#[from] topic::Error),
    #[error("open a sink: {0}")]
    Sink(#[from] sink::Error),
    #[error("open the source: {0}")]
    Source(#[from] source::Error),
    #[error("start the workers: {0}")]
    Workers(#[from] std::io::Error),
    #[error("put the chain together: {0}")]
    Chain(String),
}

/// What a pipeline did from its start to its end.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Ended {
    /// Records published by the source.
    pub ingested: u64,
    /// Records whose rows were written or removed.
    pub delivered: u64,
    pub dropped: u64,
    pub rejected: u64,
    pub duration_ms: u64,
}

/// A pipeline under way.
pub struct Running {
    shared: Arc<Shared>,
    ended: Mutex<Option<JoinHandle<Result<(), String>>>>,
    before: Figures,
    began: Instant,
}

impl Running {
    /// What the API asks of it.
    pub fn control(&self) -> Arc<dyn crate::status::Control> {
        self.shared.clone()
    }

    pub fn reporter(&self) -> &Reporter {
        self.shared.deliver.report.reporter()
    }

    /// Takes nothing new and settles what is in flight.
    pub fn drain(&self) {
        self.shared.begin_drain();
    }

    /// Waits for the end, once. `Err` says what stopped the pipeline; what was settled until then is kept either way.
    pub async fn ended(&self) -> Result<Ended, String> {
        let legs = self.ended.lock().unwrap_or_else(PoisonError::into_inner).take();
        let legs = legs.ok_or("the end was waited for already")?;
        let ended = legs.await.unwrap_or_else(|error| Err(format!("run the pipeline: {error}")));
        let snapshot = self.shared.deliver.report.reporter().snapshot();
        ended?;
        let done = |now: u64, before: u64| now.saturating_sub(before);
        let (now, before) = (snapshot.totals, &self.before);
        Ok(Ended {
            ingested: snapshot.source.map_or(0, |source| source.records),
            delivered: done(now.emitted + now.deleted, before.emitted + before.deleted),
            dropped: done(now.dropped, before.dropped),
            rejected: done(now.rejected, before.rejected),
            duration_ms: self.began.elapsed().as_millis() as u64,
        })
    }
}

/// Starts both legs on the present runtime. The store is the pipeline's own.
pub async fn start(prepared: Prepared, store: Store, reporter: Reporter, options: Options) -> Result<Running, StartError> {
    let began = Instant::now();
    let until_idle = options.until_idle;
    let Assembled { shared, ingest, before } = assemble(prepared, store, reporter.clone(), options).await?;
    let legs = Legs { shared: shared.clone(), ingest, until_idle };
    reporter.update(|snapshot| "running".clone_into(&mut snapshot.state));
    Ok(Running { shared, ended: Mutex::new(Some(tokio::spawn(legs.run()))), before, began })
}

/// A pipeline that is put together and does nothing by itself: what a person asks of it is done by the very code that runs it.
pub async fn at_rest(prepared: Prepared, store: Store) -> Result<Arc<dyn crate::status::Control>, StartError> {
    Ok(assemble(prepared, store, Reporter::default(), Options::default()).await?.shared)
}

struct Assembled {
    shared: Arc<Shared>,
    ingest: Option<(Ingest, ingest::Commands)>,
    before: Figures,
}

async fn assemble(prepared: Prepared, store: Store, reporter: Reporter, options: Options) -> Result<Assembled, StartError> {
    let Prepared { plan, stages, checked, engine, contracts, .. } = prepared;
    let topic = topic::open(&plan.topic, &plan.name, &store).await?;
    let mut sinks: Vec<Arc<dyn Sink>> = Vec::with_capacity(plan.sinks.len());
    for plan in &plan.sinks {
        sinks.push(sink::open(plan, &store).await?.into());
    }
    // Kept before the number is claimed: whoever finds the number finds its code (delivery §3).
    for stage in &stages {
        components::keep(&store, &stage.stage.plugin.digest, &stage.bytes).await?;
    }
    describe(&reporter, &plan, &stages, &checked.charts, &options);
    let details = stages.iter().zip(&plan.stages).map(|(stage, plan)| details::of(stage, plan, &contracts)).collect();
    let stages: Vec<Stage> = stages.into_iter().map(|stage| stage.stage).collect();
    let columns = plan.sinks.iter().map(|sink| (sink.name.clone(), sink.columns.clone())).collect();
    let charts = Arc::new(checked.charts);
    let null_value = plan.topic.null_value;
    let bindings = Bindings { null_value, fields: checked.sink_fields, sinks: columns, charts: charts.clone() };
    let content = code::content(&stages, &bindings);
    let number = topic.claim_generation(&content).await?;
    // A guest that is granted files waits for them, which no thread of the runtime may.
    let started = tokio::task::spawn_blocking(|| Stages::start(stages)).await;
    let stages = started.map_err(|error| StartError::Chain(error.to_string()))?.map_err(StartError::Chain)?;
    let present = code::assemble(number, content, stages, &bindings, sinks).map_err(StartError::Chain)?;
    reporter.update(|snapshot| snapshot.stages.iter_mut().for_each(|stage| stage.generation = number));
    let grants = plan.stages.iter().map(|stage| (stage.name.clone(), stage.grants.clone())).collect();
    let kept = Kept { engine, store: store.clone(), topic: topic.clone(), sinks: plan.sinks.clone(), charts, grants };

    let mut before = Figures::default();
    for (number, position) in topic.positions().await? {
        before += &position.figures.outcomes();
        reporter.counted(number, &position.figures);
    }

    let partitions = topic.ends().await?.len() as u32;
    let drain = Drain::default();
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let columns = plan.sinks.iter().map(|sink| sink.columns.clone()).collect();
    let deliver = Arc::new(Deliver {
        topic: topic.clone(),
        generations: Generations::new(present, Box::new(kept)),
        workers: Workers::start(cores, partitions)?,
        window: Window::default(),
        host: host_name(),
        threshold: plan.dead_letters.stop_when.map(|stop_when| Mutex::new(Threshold::new(stop_when))),
        report: Report::new(reporter.clone(), columns),
        progress: Progress::default(),
        drain: drain.clone(),
        drain_deadline: options.drain_deadline,
        save_every: if topic.joins().is_some() { Duration::ZERO } else { SAVE_EVERY },
    });
    let (handle, commands) = ingest::control();
    let ingest = match plan.source {
        None => None,
        Some(source_plan) => Some(Ingest {
            source: source::open(&source_plan)?,
            plan: source_plan,
            key: plan.topic.key.clone(),
            topic: topic.clone(),
            store: store.clone(),
            reporter: reporter.clone(),
            drain: drain.clone(),
            pace: ingest::Pace::default(),
            until_idle: options.until_idle,
        }),
    };
    let source = ingest.is_some().then_some(handle);
    let file = PipelineFile { path: plan.file, profile: plan.profile, key: plan.topic.key };
    let shared = Arc::new(Shared { deliver, store, source, file, stages: details });
    Ok(Assembled { shared, ingest: ingest.map(|ingest| (ingest, commands)), before })
}

/// What the status says of the pipeline before anything has happened.
fn describe(reporter: &Reporter, plan: &Pipeline, stages: &[super::PreparedStage], charts: &[ChartPlan], options: &Options) {
    let status = |stage: &super::PreparedStage| StageStatus {
        name: stage.stage.config.stage.clone(),
        plugin: stage.path.display().to_string(),
        digest: stage.stage.plugin.digest.clone(),
        world: match stage.stage.plugin.world {
            crate::plugin::World::Fields => "fields".to_owned(),
            crate::plugin::World::Messages => "messages".to_owned(),
        },
        language: stage.stage.plugin.language.clone(),
        size_bytes: stage.stage.plugin.size_bytes,
        memory_limit_bytes: stage.stage.config.limits.memory_bytes,
        table_limit_elements: stage.stage.config.limits.table_elements,
        call_limit_ms: stage.stage.config.limits.batch_time.as_secs_f64() * 1e3,
        ..StageStatus::default()
    };
    let sinks = plan.sinks.iter().map(|sink| SinkStatus {
        name: sink.name.clone(),
        at: address(&sink.at),
        state: "idle".to_owned(),
        ..SinkStatus::default()
    });
    let source = plan.source.as_ref().map(|source| SourceStatus {
        kind: source.kind.name().to_owned(),
        stand_in_for: options.stand_in_for.clone(),
        state: "waiting".to_owned(),
        ..SourceStatus::default()
    });
    let at = match &plan.topic.at {
        TopicAddress::Embedded => "embedded".to_owned(),
        TopicAddress::Kafka(cluster) => format!("kafka://{}", cluster.brokers.join(",")),
    };
    let described = Snapshot {
        pipeline: plan.name.clone(),
        state: "starting".to_owned(),
        started_ms: jiff::Timestamp::now().as_millisecond(),
        source,
        topic: TopicStatus { name: plan.topic.name.clone(), at },
        stages: stages.iter().map(status).collect(),
        sinks: sinks.collect(),
        charts: charts.iter().map(|charted| Chart { asked_for: plan.dashboard.charts.is_some(), ..chart(charted) }).collect(),
        ..Snapshot::default()
    };
    reporter.update(|snapshot| *snapshot = described);
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

/// Where a dead letter says that it was made.
fn host_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    if name.trim().is_empty() { "localhost".to_owned() } else { name.trim().to_owned() }
}

fn address(at: &SinkAddress) -> String {
    match at {
        SinkAddress::Embedded { table } => format!("embedded table {table}"),
        SinkAddress::Cassandra { hosts, table } => format!("cassandra://{} table {table}", hosts.join(",")),
        SinkAddress::File { path } => format!("file {}", path.display()),
        SinkAddress::Stdout => "stdout".to_owned(),
        SinkAddress::Topic { name } | SinkAddress::KafkaTopic { name, .. } => format!("topic {name}"),
        SinkAddress::Null => "null".to_owned(),
        SinkAddress::Memory { name } => format!("memory {name}"),
    }
}

/// Both legs, from the start to the end of the last one.
struct Legs {
    shared: Arc<Shared>,
    ingest: Option<(Ingest, ingest::Commands)>,
    until_idle: bool,
}

impl Legs {
    async fn run(self) -> Result<(), String> {
        let Legs { shared, ingest, until_idle } = self;
        let looking = tokio::spawn(look(shared.clone()));
        let drain = shared.deliver.drain.clone();
        let ingested = async {
            let ended = match ingest {
                Some((ingest, commands)) => ingest::run(ingest, commands).await.map(|_| ()).map_err(|error| error.to_string()),
                None => Ok(()),
            };
            match &ended {
                Err(_) => drain.begin(),
                Ok(()) if until_idle => {
                    // Whatever the source published is in the topic: wait until it is settled.
                    if let Some(Err(error)) = drain.or(settled(&shared.deliver)).await {
                        return Err(error);
                    }
                    drain.begin();
                }
                Ok(()) => {}
            }
            ended
        };
        let delivered = async {
            let ended = shared.deliver.clone().run().await;
            drain.begin();
            ended
        };
        let (ingested, delivered) = tokio::join!(ingested, delivered);
        looking.abort();
        let ended = delivered.and(ingested);
        shared.deliver.report.reporter().update(|snapshot| {
            let state = if ended.is_ok() { "stopped" } else { "failed" };
            state.clone_into(&mut snapshot.state);
            snapshot.reason = ended.as_ref().err().cloned();
        });
        ended
    }
}

/// Waits until everything in the topic is settled.
async fn settled(deliver: &Deliver) -> Result<(), String> {
    let ends = deliver.topic.ends().await.map_err(|error| format!("read the ends of the topic: {error}"))?;
    deliver.progress.reaches(&ends).await;
    Ok(())
}

/// Tells the status what only topic and store know, until it is stopped.
async fn look(shared: Arc<Shared>) {
    let report = &shared.deliver.report;
    loop {
        let reached = look_at(&*shared.deliver.topic, report).await;
        report.alarm("topic reach", reached.err().map(|error| format!("the topic is out of reach: {error}")));
        for (at, sink) in shared.deliver.generations.present().sinks.iter().enumerate() {
            if let Some(figures) = sink.figures() {
                report.sink_figures(at, figures);
            }
        }
        let alarms = shared.store.health().alarms();
        report.alarm("store", (!alarms.is_empty()).then(|| alarms.join("; ")));
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Dead letters, ends, and the partitions that other hosts deliver.
async fn look_at(topic: &dyn Topic, report: &Report) -> Result<(), topic::Error> {
    let ends = topic.ends().await?;
    if topic.joins().is_none() {
        let positions = topic.positions().await?;
        let hosts = topic.hosts().await?;
        for (partition, position) in &positions {
            report.held(*partition, position, hosts.get(partition).map_or("", String::as_str));
        }
    }
    for end in ends {
        report.partition(end.partition, |partition| {
            partition.end = partition.end.max(end.end);
            partition.lag = partition.end - partition.next.max(end.first);
        });
    }
    let count = topic.dead_letter_count().await?;
    report.reporter().update(|snapshot| snapshot.dead_letters = count);
    Ok(())
}
