//! Other code while records flow: how soon after a save the first record by it can be read, how long a partition decides nothing for it, and
//! what is left of the throughput while two builds alternate.
//!
//! Both builds are compiled beforehand, so that what is measured is reload and not the compiler.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde::Serialize;
use tokio::sync::watch;

use super::builds::{self, Builds};
use super::pipeline::{Bench, LATENCY_RECORDS_PER_SECOND, NAME, TABLE, append_paced, cannot, fill, users};
use super::{Sorted, median};
use crate::config::{self, LoadOptions};
use crate::pipeline::{self, Live, Options, Watching, prepare};
use crate::plugin::Engine;
use crate::status::Reporter;
use crate::status::swap::{Outcome, Receipt};
use crate::store::{Store, swaps};

/// Between a swap and the next save.
const PAUSE: Duration = Duration::from_millis(20);
/// Swaps that are not counted.
const WARM_UP: usize = 10;
/// Of the baseline.
const RESTARTS: usize = 20;
const ALTERNATE_EVERY: Duration = Duration::from_secs(1);
/// Pairs of runs, with swaps and without.
const ROUNDS: usize = 3;
const SWAP_WITHIN: Duration = Duration::from_secs(10);

/// At 1,000 records/s, one partition.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Swaps {
    pub swaps: usize,
    /// From the rename to the first row by the new code, durable and read on another connection; without the time to read the compiled
    /// code from the cache.
    pub first_record_p50_ms: f64,
    pub first_record_p99_ms: f64,
    pub first_record_max_ms: f64,
    /// What was taken off.
    pub cache_p50_ms: f64,
    /// How long the partition decided nothing for it.
    pub pause_p50_ms: f64,
    pub pause_p99_ms: f64,
    /// Baseline: the same change by ending the pipeline and starting it again, in the same process and with the code in the cache.
    pub restart_p50_ms: f64,
    pub restart_max_ms: f64,
}

/// From a filled topic to the table, two partitions.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Alternating {
    /// Medians of [`ROUNDS`] runs each.
    pub records_per_second: f64,
    pub records_per_second_without: f64,
    pub to_without: f64,
    /// In all runs that had any.
    pub swaps: usize,
}

impl Bench {
    /// The usual pipeline, with a component that is replaced and rows that name their generation.
    fn reload_file(&self, name: &str, partitions: u32) -> Result<PathBuf, String> {
        let text =
            builds::replaced(&self.pipeline_text("", partitions)?)?.replace("[sink.columns]", "receipts = true\n[sink.columns]");
        let path = self.dir.join(format!("{name}.toml"));
        std::fs::write(&path, text).map_err(cannot("write a pipeline file"))?;
        Ok(path)
    }

    /// Saves so many times, each after the last one is in force.
    pub fn swaps(&self, engine: &Engine, count: usize) -> Result<Swaps, String> {
        let mut builds = Builds::new(&self.plugins, &self.dir, engine)?;
        let file = self.reload_file("swaps", 1)?;
        let read = move || config::load(&file, &LoadOptions::new(&config::process_env));
        let prepared = || {
            let wrong =
                |found: Vec<config::diagnostic::Diagnostic>| format!("{} errors in the pipeline of the bench", found.len());
            prepare(read().map_err(wrong)?, engine).map_err(wrong)
        };
        let store = Store::open(&self.dir.join("swaps")).map_err(|error| error.to_string())?;
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        let live = Live { read: Box::new(read.clone()), watching: Watching::Files };
        let options = Options { live: Some(Arc::new(live)), ..Options::default() };
        runtime.map_err(cannot("start a runtime"))?.block_on(async {
            let start = async |options| {
                let running = pipeline::start(prepared()?, store.clone(), Reporter::default(), options).await;
                running.map_err(|error| error.to_string())
            };
            let mut running = start(options).await?;
            let mut receipts = running.receipts();
            let mut seen = generations(&store)?;
            // A second for each swap is plenty.
            let records = (count + WARM_UP + RESTARTS) as u64 * LATENCY_RECORDS_PER_SECOND;
            let appending = tokio::spawn({
                let store = store.clone();
                async move { append_paced(&store, 1, records, Instant::now(), users()).await }
            });
            let mut measured = Vec::with_capacity(count);
            for swap in 0..count + WARM_UP {
                tokio::time::sleep(PAUSE).await;
                let before = seen.borrow_and_update().0;
                let saved = builds.save()?;
                let one = async {
                    let first = seen.wait_for(|seen| seen.0 > before).await.map_err(|_| "the reader of the table has ended")?.1;
                    let receipt: Receipt = receipts.recv().await.map_err(|error| error.to_string())?;
                    match receipt.outcome {
                        Outcome::Applied => Ok((first.duration_since(saved), receipt)),
                        outcome => Err(format!("{}: {}", outcome.name(), receipt.reason.unwrap_or_default())),
                    }
                };
                let one =
                    tokio::time::timeout(SWAP_WITHIN, one).await.map_err(|_| format!("no swap within {SWAP_WITHIN:?}"))??;
                if swap >= WARM_UP {
                    measured.push(one);
                }
            }
            let mut restarts = Vec::with_capacity(RESTARTS);
            for _ in 0..RESTARTS {
                let before = seen.borrow_and_update().0;
                let began = Instant::now();
                running.drain();
                running.ended().await?;
                builds.save()?;
                running = start(Options::default()).await?;
                let first = tokio::time::timeout(SWAP_WITHIN, seen.wait_for(|seen| seen.0 > before)).await;
                let first = first.map_err(|_| format!("no record within {SWAP_WITHIN:?} of a restart"))?;
                restarts.push(first.map_err(|_| "the reader of the table has ended")?.1.duration_since(began));
                tokio::time::sleep(PAUSE).await;
            }
            appending.abort();
            running.drain();
            running.ended().await?;
            Ok(Swaps::of(&measured, &restarts))
        })
    }

    /// Works through filled topics, with a swap each second and without, in turns.
    pub fn alternating(&self, engine: &Engine, records: u64) -> Result<Alternating, String> {
        let mut builds = Builds::new(&self.plugins, &self.dir, engine)?;
        let file = self.reload_file("alternating", 2)?;
        let (mut with, mut without, mut swapped) = (Vec::new(), Vec::new(), 0);
        for round in 0..ROUNDS {
            for swapping in [false, true] {
                let data = self.dir.join(format!("alternating-{round}-{swapping}"));
                fill(&data.join(NAME), records)?;
                let ended = AtomicBool::new(false);
                let measured = std::thread::scope(|scope| {
                    let saving = scope.spawn(|| {
                        while swapping && !ended.load(Ordering::Relaxed) {
                            std::thread::sleep(ALTERNATE_EVERY);
                            builds.save()?;
                        }
                        Ok::<_, String>(())
                    });
                    let measured = self.until_idle(&file, &data, &["--watch"]);
                    ended.store(true, Ordering::Relaxed);
                    saving.join().unwrap_or_else(|_| Err("the thread that saves has ended".to_owned()))?;
                    measured
                })?;
                if swapping {
                    swapped += applied(&data.join(NAME))?;
                }
                let into = if swapping { &mut with } else { &mut without };
                into.push(measured.records_per_second);
                std::fs::remove_dir_all(&data).map_err(cannot("remove a store"))?;
            }
        }
        let (records_per_second, records_per_second_without) = (median(&mut with), median(&mut without));
        let to_without = records_per_second / records_per_second_without;
        Ok(Alternating { records_per_second, records_per_second_without, to_without, swaps: swapped })
    }
}

impl Swaps {
    fn of(measured: &[(Duration, Receipt)], restarts: &[Duration]) -> Swaps {
        let ms = |time: &Duration| time.as_secs_f64() * 1e3;
        let first = Sorted::of(measured.iter().map(|(first, receipt)| (ms(first) - receipt.compile_ms).max(0.0)));
        let cache = Sorted::of(measured.iter().map(|(_, receipt)| receipt.compile_ms));
        let pauses = Sorted::of(measured.iter().filter_map(|(_, receipt)| receipt.pause_ms));
        let restarts = Sorted::of(restarts.iter().map(ms));
        Swaps {
            swaps: measured.len(),
            first_record_p50_ms: first.at(0.5),
            first_record_p99_ms: first.at(0.99),
            first_record_max_ms: first.at(1.0),
            cache_p50_ms: cache.at(0.5),
            pause_p50_ms: pauses.at(0.5),
            pause_p99_ms: pauses.at(0.99),
            restart_p50_ms: restarts.at(0.5),
            restart_max_ms: restarts.at(1.0),
        }
    }
}

fn applied(store: &Path) -> Result<usize, String> {
    let store = Store::open(store).map_err(|error| error.to_string())?;
    let runtime = tokio::runtime::Builder::new_current_thread().build().map_err(cannot("start a runtime"))?;
    let receipts = runtime.block_on(swaps::latest(&store, 1_000)).map_err(|error| error.to_string())?;
    Ok(receipts.iter().filter(|receipt| receipt.outcome == Outcome::Applied).count())
}

/// The generation of the newest row and when it could be read, looked at after each save on a connection like anybody's.
fn generations(store: &Store) -> Result<watch::Receiver<(u64, Instant)>, String> {
    let connection = store.reader().map_err(|error| error.to_string())?;
    let mut saved = store.saved().subscribe();
    let runtime = tokio::runtime::Handle::current();
    let (sender, receiver) = watch::channel((0, Instant::now()));
    let look = move || {
        let select = format!("SELECT generation FROM \"{TABLE}:rows\" ORDER BY \"@row\" DESC LIMIT 1");
        while !sender.is_closed() && runtime.block_on(saved.changed()).is_ok() {
            let newest =
                connection.prepare_cached(&select).and_then(|mut select| select.query_row([], |row| row.get::<_, i64>(0)));
            // No row yet.
            let Ok(generation) = newest.map(|generation| generation as u64) else { continue };
            sender.send_if_modified(|seen| {
                let newer = generation > seen.0;
                if newer {
                    *seen = (generation, Instant::now());
                }
                newer
            });
        }
    };
    std::thread::Builder::new().name("bench-reader".to_owned()).spawn(look).map_err(cannot("start a thread"))?;
    Ok(receiver)
}
