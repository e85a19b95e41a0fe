//! What the sandbox costs and how soon it holds: each figure beside its baseline, measured in one run.

use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::Serialize;

use super::neighbours::neighbours;
use super::pipeline::Latency;
use super::{Sorted, chain, median, thread_time};
use crate::config::plan::{Limits, NullValue};
use crate::plugin::{Engine, InstanceConfig, Plugin, build_directory};
use crate::record::{Batch, RecordRef};
use crate::transform::{Chain, ChainPlan, Stage, Stages, blame};

/// Rounds of what takes microseconds, and of what takes as long as its limit.
const ROUNDS: usize = 3_000;
const STOPS: usize = 40;
/// What the guests that are stopped may take.
pub(super) const STOPPED_AFTER: Duration = Duration::from_millis(50);
/// A batch with one record that traps.
const BLAME_RECORDS: usize = 500;
/// Memory that a guest fills in one piece.
const FILL_MEMORY_BYTES: u64 = 256 << 20;

/// Times by the wall clock.
#[derive(Clone, Copy, Debug, Default, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Spread {
    pub p50_us: f64,
    pub p99_us: f64,
}

impl Spread {
    fn of(times: Vec<f64>) -> Spread {
        let times = Sorted::of(times);
        Spread { p50_us: times.at(0.5), p99_us: times.at(0.99) }
    }
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Measured {
    /// From the return of a call that trapped to the return of the next good one, in a fresh instance; target 50 µs.
    pub trap_to_good_call: Spread,
    /// Baseline: a good call in an instance that is there.
    pub good_call: Spread,
    /// How long after its CPU time a loop is stopped; target p99 20 ms.
    pub loop_stopped: Spread,
    /// The same of a guest that fills 200 MiB of memory in one instruction, again and again.
    pub fill_stopped: Spread,
    /// Baseline: how late a sleep of that length ends on this machine.
    pub sleep_late: Spread,
    /// Due → visible in the table at 1,000 records/s of one partition, while another one is in a loop all the time; target twice the calm one.
    pub neighbour_in_trouble: Latency,
    /// Baseline: the same while the records of that other partition are dropped at once.
    pub neighbour_calm: Latency,
    /// Calls for a batch of 500 with one record that traps; target 12.
    pub blame_calls: u64,
    /// Baseline: one by one.
    pub blame_calls_singly: u64,
    /// CPU time of the two stages per record, µs, with interruption and limits and without; target 1.05.
    pub bounded_us: f64,
    pub unbounded_us: f64,
    pub bounded_to_unbounded: f64,
}

/// `plugins` holds extract-user and enrich-user, built; `guest` is the source of a guest that does as it is told.
pub fn measure(engine: &Engine, plugins: &Path, guest: &Path, time: Duration) -> Result<Measured, String> {
    let component = build_directory(guest).map_err(|error| error.to_string())?;
    let plugin = Arc::new(engine.load_file(&component).map_err(|error| error.to_string())?);
    let (trap_to_good_call, good_call) = traps(&plugin)?;
    let (neighbour_calm, neighbour_in_trouble) = neighbours(engine, guest, time)?;
    let (bounded_us, unbounded_us) = cost_of_limits(engine, plugins, time)?;
    Ok(Measured {
        trap_to_good_call,
        good_call,
        loop_stopped: stopped(&plugin, "spin")?,
        fill_stopped: stopped(&plugin, "fill")?,
        sleep_late: sleeps(),
        neighbour_in_trouble,
        neighbour_calm,
        blame_calls: blame_calls(&plugin)?,
        blame_calls_singly: BLAME_RECORDS as u64,
        bounded_us,
        unbounded_us,
        bounded_to_unbounded: bounded_us / unbounded_us,
    })
}

/// A chain of one stage that does what each record says.
fn told(plugin: &Arc<Plugin>, limits: Limits) -> Result<Chain, String> {
    let config = InstanceConfig { stage: "told".to_owned(), limits, ..InstanceConfig::default() };
    let stages = Stages::start(vec![Stage { plugin: plugin.clone(), config }])?;
    let plan = ChainPlan::new(stages.contracts(), &[], false, NullValue::Reject).map_err(|error| error.to_string())?;
    Chain::new(Arc::new(plan), Arc::new(stages)).map_err(|error| error.to_string())
}

fn batch(tasks: &[&str]) -> Batch {
    let mut batch = Batch::new(0);
    for (offset, task) in (0..).zip(tasks) {
        let value = format!(r#"{{"do":"{task}","payload":"p"}}"#);
        batch.push(RecordRef { offset, timestamp: 0, key: None, value: Some(value.as_bytes()), headers: &[] });
    }
    batch
}

fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

fn good(chain: &mut Chain, batch: &Batch) -> Result<(), String> {
    chain.process(batch).map(|done| drop(black_box(done))).map_err(|error| error.to_string())
}

fn traps(plugin: &Arc<Plugin>) -> Result<(Spread, Spread), String> {
    let mut chain = told(plugin, Limits::default())?;
    let (trap, ok) = (batch(&["trap"]), batch(&["ok"]));
    let (mut recovered, mut calls) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        if chain.process(&trap).is_ok() {
            return Err("the guest did not trap".to_owned());
        }
        let begun = Instant::now();
        good(&mut chain, &ok)?;
        recovered.push(micros(begun.elapsed()));
        let begun = Instant::now();
        good(&mut chain, &ok)?;
        calls.push(micros(begun.elapsed()));
        // As a worker does once it has answered.
        chain.restock();
    }
    Ok((Spread::of(recovered), Spread::of(calls)))
}

fn stopped(plugin: &Arc<Plugin>, task: &str) -> Result<Spread, String> {
    let limits = Limits { batch_time: STOPPED_AFTER, memory_bytes: FILL_MEMORY_BYTES, ..Limits::default() };
    let mut chain = told(plugin, limits)?;
    let (endless, ok) = (batch(&[task]), batch(&["ok"]));
    let mut late = Vec::new();
    for _ in 0..STOPS {
        good(&mut chain, &ok)?;
        let begun = Instant::now();
        if chain.process(&endless).is_ok() {
            return Err(format!("`{task}` came back"));
        }
        late.push(micros(begun.elapsed().saturating_sub(STOPPED_AFTER)));
    }
    Ok(Spread::of(late))
}

fn sleeps() -> Spread {
    let late = (0..STOPS).map(|_| {
        let begun = Instant::now();
        std::thread::sleep(STOPPED_AFTER);
        micros(begun.elapsed() - STOPPED_AFTER)
    });
    Spread::of(late.collect())
}

fn blame_calls(plugin: &Arc<Plugin>) -> Result<u64, String> {
    let mut tasks = vec!["ok"; BLAME_RECORDS];
    tasks[BLAME_RECORDS / 3] = "trap";
    let batch = batch(&tasks);
    let mut chain = told(plugin, Limits::default())?;
    let Err(failed) = chain.process(&batch) else { return Err("the guest did not trap".to_owned()) };
    let searched = blame(&mut chain, &batch, Some(&failed)).map_err(|error| error.to_string())?;
    // The one that failed, on the worker.
    Ok(searched.stages[0].calls + 1)
}

/// Both do the same batches in turns, so that a slow moment of the machine meets both.
fn cost_of_limits(engine: &Engine, plugins: &Path, time: Duration) -> Result<(f64, f64), String> {
    const RECORDS: usize = 500;
    const REPEATS: usize = 20;
    let unbounded = Engine::unbounded().map_err(|error| error.to_string())?;
    let mut contenders = Vec::new();
    for engine in [engine, &unbounded] {
        contenders.push((chain::chain(&chain::stages(engine, plugins)?)?, Vec::new()));
    }
    let users = chain::users(RECORDS);
    let began = Instant::now();
    while began.elapsed() < time || contenders[0].1.len() < 3 {
        for (chain, times) in &mut contenders {
            let begun = thread_time();
            for _ in 0..REPEATS {
                good(chain, &users)?;
            }
            times.push(micros(thread_time() - begun) / (RECORDS * REPEATS) as f64);
        }
    }
    let mut medians = contenders.iter_mut().map(|(_, times)| median(times));
    Ok((medians.next().unwrap_or_default(), medians.next().unwrap_or_default()))
}
