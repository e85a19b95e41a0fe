//! Starting a pipeline and waiting for its end.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde::Serialize;
use tokio::sync::{broadcast, mpsc};
use tokio::task::JoinHandle;

use super::breaker::Breaker;
use super::candidate::Present;
use super::code::{self, Bindings};
use super::control::{Held, Shared};
use super::dead_letter::Threshold;
use super::deliver::{Deliver, Progress};
use super::describe;
use super::details;
use super::drain::{BackOff, Drain};
use super::generation::{Generation, Generations};
use super::ingest::{self, Ingest};
use super::pin::PipelineFile;
use super::prepare::Prepared;
use super::quarantine::{self, Quarantine};
use super::recall::Kept;
use super::recent::Recent;
use super::reload::{self, Live, Reloader, Restart};
use super::report::Report;
use super::shadow::Beside;
use super::watched;
use super::worker::Workers;
use crate::sink::{self, Sink};
use crate::source;
use crate::status::Reporter;
use crate::status::late::Late;
use crate::status::mask::Mask;
use crate::status::swap::Receipt;
use crate::store::{self, Store, components};
use crate::topic::{self, Figures, Topic, Window};
use crate::transform::{Stage, Stages};

/// Between two attempts to start where the topic's cluster does not answer.
const WAIT: Duration = Duration::from_millis(200);
const WAIT_MAX: Duration = Duration::from_secs(5);
/// How long what is in flight may take after SIGTERM.
const DRAIN_DEADLINE: Duration = Duration::from_secs(10);
/// How often the status is told what only the topic knows: ends and dead letters.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How often a position is saved that is not saved with the rows: a transaction of the cluster takes some ten milliseconds.
const SAVE_EVERY: Duration = Duration::from_secs(1);
/// There a batch is no commit: more than so much at once only takes memory, and falls out of the processor's cache.
const ROW_BY_ROW: Window =
    Window { batch_records_max: 2_000, batch_bytes_max: 2 << 20, batches_ahead: 2, linger: Duration::ZERO };

#[derive(Clone)]
pub struct Options {
    /// End once the source is exhausted, or its `for` or `records` is reached, and the topic is settled.
    pub until_idle: bool,
    /// Why the generator stands in for the source, where it does.
    pub stand_in_for: Option<String>,
    pub drain_deadline: Duration,
    /// `None`: nothing is ever swapped.
    pub live: Option<Arc<Live>>,
    /// Where whoever serves the page finds the pipeline, from its start on.
    pub control: Late,
}

impl Default for Options {
    fn default() -> Options {
        Options { until_idle: false, stand_in_for: None, drain_deadline: DRAIN_DEADLINE, live: None, control: Late::default() }
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
    pub fn reporter(&self) -> &Reporter {
        &self.shared.reporter
    }

    /// Receipts of swaps from now on.
    pub fn receipts(&self) -> broadcast::Receiver<Receipt> {
        self.shared.receipts.subscribe()
    }

    /// Looks at all files now, whether or not they are watched.
    pub fn reload(&self) {
        self.shared.reload("signal");
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
        let snapshot = self.shared.reporter.snapshot();
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

/// Tells the status of a pipeline that is about to start.
pub fn announce(prepared: &Prepared, reporter: &Reporter, options: &Options) {
    describe::pipeline(reporter, &Present::of(prepared), 0, &[], options);
}

/// Starts both legs on the present runtime. The store is the pipeline's own. A cluster that does not answer is waited for: whoever does not
/// want to wait drops this.
pub async fn start(prepared: Prepared, store: Store, reporter: Reporter, options: Options) -> Result<Running, StartError> {
    let began = Instant::now();
    let engine = prepared.engine.clone();
    let breaker = Arc::new(Breaker::default());
    let mut back_off = BackOff::new(WAIT, WAIT_MAX);
    reporter.update(|snapshot| snapshot.reason = Some("opening its topic and its sinks".to_owned()));
    let assembled = loop {
        match assemble(prepared.clone(), &store, &reporter, &breaker, &options).await {
            Err(StartError::Topic(topic::Error::Transient(reason))) => {
                tracing::warn!("the topic cannot be opened, trying again: {reason}");
                reporter.update(|snapshot| {
                    snapshot.reason = Some(format!("waiting for the topic, {}", snapshot.topic.at));
                    snapshot.alarms = vec![format!("the topic cannot be opened, trying again: {reason}")];
                });
                tokio::time::sleep(back_off.pause()).await;
            }
            other => break other?,
        }
    };
    let (before, present) = (assembled.before.clone(), assembled.present.clone());
    let shared = Arc::new(Shared::new(assembled.held.clone(), store, reporter.clone(), breaker));
    assembled.describe(&reporter, &options);
    let (restarts, next) = mpsc::channel(1);
    if let Some(live) = options.live.clone() {
        let (sender, orders) = mpsc::channel(reload::ORDERS_MAX);
        shared.take_orders(sender);
        let held = Quarantine::read(&shared.store).await?;
        let good = watched::resume(&shared, &present, &engine).await?;
        let mut reloader = Reloader::new(shared.clone(), live, engine, options.clone(), present, held, restarts);
        reloader.good = good.unwrap_or(reloader.good);
        tokio::spawn(reloader.run(orders));
    }
    options.control.is(shared.clone());
    let legs = supervise(shared.clone(), assembled, next, options);
    reporter.update(|snapshot| "running".clone_into(&mut snapshot.state));
    Ok(Running { shared, ended: Mutex::new(Some(tokio::spawn(legs))), before, began })
}

/// A pipeline that is put together and does nothing by itself: what a person asks of it is done by the very code that runs it.
pub async fn at_rest(prepared: Prepared, store: Store) -> Result<Arc<dyn crate::status::Control>, StartError> {
    let (reporter, breaker) = (Reporter::default(), Arc::new(Breaker::default()));
    let assembled = assemble(prepared, &store, &reporter, &breaker, &Options::default()).await?;
    Ok(Arc::new(Shared::new(assembled.held, store, reporter, breaker)))
}

/// Legs that are put together and do not run yet.
pub(super) struct Assembled {
    pub held: Held,
    ingest: Option<(Ingest, ingest::Commands)>,
    before: Figures,
    /// Of each partition, as they were saved.
    figures: Vec<(u32, Figures)>,
    present: Present,
    number: u64,
}

impl Assembled {
    fn describe(&self, reporter: &Reporter, options: &Options) {
        let charts = &self.held.deliver.generations.present().code.charts;
        describe::pipeline(reporter, &self.present, self.number, charts, options);
        self.figures.iter().for_each(|(number, figures)| reporter.counted(*number, figures));
    }
}

/// Opens everything; nothing is fetched, delivered or taken away from whoever runs before the legs run.
pub(super) async fn assemble(
    prepared: Prepared,
    store: &Store,
    reporter: &Reporter,
    breaker: &Arc<Breaker>,
    options: &Options,
) -> Result<Assembled, StartError> {
    let topic = topic::open(&prepared.plan.topic, &prepared.plan.name, store).await?;
    let prepared = quarantine::keep_out(prepared, &*topic, store).await?;
    let present = Present::of(&prepared);
    let Prepared { plan, stages, checked, engine, .. } = prepared;
    let mut sinks: Vec<Arc<dyn Sink>> = Vec::with_capacity(plan.sinks.len());
    for plan in &plan.sinks {
        sinks.push(sink::open(plan, store).await?.into());
    }
    // Kept before the number is claimed: whoever finds the number finds its code (delivery §3).
    for stage in &stages {
        components::keep(store, &stage.stage.plugin.digest, &stage.bytes).await?;
    }
    let bindings = Bindings::of(&plan, &checked);
    let (parts, contracts): (Vec<Stage>, Vec<_>) =
        stages.iter().map(|stage| (stage.stage.clone(), stage.contract.clone())).unzip();
    let content = code::content(&parts, &bindings);
    let number = topic.claim_generation(&content).await?;
    let code = code::assemble(content, Stages::known(parts, contracts), &bindings, sinks).map_err(StartError::Chain)?;
    let generation = Generation::new(number, code);
    let charts = bindings.charts.clone();
    let kept = Kept {
        engine,
        store: store.clone(),
        topic: topic.clone(),
        sinks: plan.sinks.clone(),
        charts,
        stages: plan.stages.clone(),
    };

    let figures: Vec<(u32, Figures)> =
        topic.positions().await?.into_iter().map(|(number, position)| (number, position.figures)).collect();
    let mut before = Figures::default();
    figures.iter().for_each(|(_, figures)| before += &figures.outcomes());

    let partitions = topic.ends().await?.len() as u32;
    let drain = Drain::default();
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let columns = plan.sinks.iter().map(|sink| sink.columns.clone()).collect();
    let deliver = Arc::new(Deliver {
        topic: topic.clone(),
        generations: Generations::new(generation, Box::new(kept)),
        workers: Workers::start(cores, partitions)?,
        window: if topic.joins().is_some() { Window::default() } else { ROW_BY_ROW },
        host: host_name(),
        threshold: plan.dead_letters.stop_when.map(|stop_when| Mutex::new(Threshold::new(stop_when))),
        report: Report::new(reporter.clone(), columns, Mask::new(plan.dashboard.mask.clone())),
        progress: Progress::default(),
        breaker: breaker.clone(),
        recent: Recent::default(),
        beside: Beside::default(),
        drain: drain.clone(),
        drain_deadline: options.drain_deadline,
        save_every: if topic.joins().is_some() { Duration::ZERO } else { SAVE_EVERY },
    });
    let (handle, commands) = ingest::control();
    let ingest = match plan.source.clone() {
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
    let file = PipelineFile { path: plan.file.clone(), profile: plan.profile.clone(), key: plan.topic.key.clone() };
    let details = details::all(&plan, &stages);
    let held = Held { deliver, source: ingest.is_some().then_some(handle), file, stages: details };
    let ingest = ingest.map(|ingest| (ingest, commands));
    Ok(Assembled { held, ingest, before, figures, present, number })
}

/// Runs legs until they end, and the next ones in their place where source, topic or sinks have changed.
async fn supervise(
    shared: Arc<Shared>,
    assembled: Assembled,
    mut restarts: mpsc::Receiver<Restart>,
    options: Options,
) -> Result<(), String> {
    let mut assembled = assembled;
    let ended = loop {
        let deliver = assembled.held.deliver.clone();
        let looking = tokio::spawn(look(deliver.clone(), shared.store.clone()));
        let legs = Legs { deliver: deliver.clone(), ingest: assembled.ingest, until_idle: options.until_idle }.run();
        tokio::pin!(legs);
        let restart = tokio::select! {
            ended = &mut legs => Err(ended),
            Some(restart) = restarts.recv() => Ok(restart),
        };
        let restart = match restart {
            Ok(restart) => restart,
            Err(ended) => {
                looking.abort();
                break ended;
            }
        };
        deliver.drain.begin();
        let ended = legs.await;
        looking.abort();
        if ended.is_err() || shared.is_ending() {
            break ended;
        }
        assembled = restart.assembled;
        shared.replace(assembled.held.clone());
        assembled.describe(&shared.reporter, &options);
        shared.reporter.update(|snapshot| "running".clone_into(&mut snapshot.state));
        // The reloader may have ended meanwhile.
        let _ = restart.started.send(());
    };
    shared.reporter.update(|snapshot| {
        let state = if ended.is_ok() { "stopped" } else { "failed" };
        state.clone_into(&mut snapshot.state);
        snapshot.reason = ended.as_ref().err().cloned();
    });
    ended
}

/// Where a dead letter says that it was made.
fn host_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    if name.trim().is_empty() { "localhost".to_owned() } else { name.trim().to_owned() }
}

/// Both legs, from the start to the end of the last one.
struct Legs {
    deliver: Arc<Deliver>,
    ingest: Option<(Ingest, ingest::Commands)>,
    until_idle: bool,
}

impl Legs {
    async fn run(self) -> Result<(), String> {
        let Legs { deliver, ingest, until_idle } = self;
        let drain = deliver.drain.clone();
        let ingested = async {
            let ended = match ingest {
                Some((ingest, commands)) => ingest::run(ingest, commands).await.map(|_| ()).map_err(|error| error.to_string()),
                None => Ok(()),
            };
            match &ended {
                Err(_) => drain.begin(),
                Ok(()) if until_idle => {
                    // Whatever the source published is in the topic: wait until it is settled.
                    if let Some(Err(error)) = drain.or(settled(&deliver)).await {
                        return Err(error);
                    }
                    drain.begin();
                }
                Ok(()) => {}
            }
            ended
        };
        let delivered = async {
            let ended = deliver.clone().run().await;
            drain.begin();
            ended
        };
        let (ingested, delivered) = tokio::join!(ingested, delivered);
        delivered.and(ingested)
    }
}

/// Waits until everything in the topic is settled.
async fn settled(deliver: &Deliver) -> Result<(), String> {
    let ends = deliver.topic.ends().await.map_err(|error| format!("read the ends of the topic: {error}"))?;
    deliver.progress.reaches(&ends).await;
    Ok(())
}

/// Tells the status what only topic and store know, until it is stopped.
async fn look(deliver: Arc<Deliver>, store: Store) {
    let report = &deliver.report;
    loop {
        let reached = look_at(&*deliver.topic, report).await;
        report.alarm("topic reach", reached.err().map(|error| format!("the topic is out of reach: {error}")));
        for (at, sink) in deliver.generations.present().code.sinks.iter().enumerate() {
            if let Some(figures) = sink.figures() {
                report.sink_figures(at, figures);
            }
        }
        report.tell_waits();
        let alarms = store.health().alarms();
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
