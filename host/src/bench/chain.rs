//! Projection and two Rust stages, over generated users of about 1.1 KB, beside native programs that do the same work.

use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::Serialize;

use super::{median, native, thread_time};
use crate::config::plan::NullValue;
use crate::plugin::{Engine, InstanceConfig, component_path};
use crate::record::{Batch, RecordRef};
use crate::source::generator::Seed;
use crate::transform::{Chain, ChainPlan, Input, Need, Projection, Stage, Stages};

/// The batches that are measured: the contract promises its figures from 100 records on.
pub const BATCH_RECORDS: [usize; 3] = [100, 500, 2_000];

/// Records per round; every contender does the same ones.
const ROUND_RECORDS: usize = 4_000;

/// What was measured with batches of one size. Times are µs of CPU per record, the median of the rounds.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Measured {
    pub batch_records: usize,
    pub rounds: usize,
    pub payload_bytes: f64,
    /// Project, `extract-user`, `enrich-user`: from payloads to the columns of a sink.
    pub chain: f64,
    /// Of it: the projection alone.
    pub project: f64,
    /// Of it: each stage with its boundary, as the host counts it (wall clock).
    pub extract_user: f64,
    pub enrich_user: f64,
    /// The same by typed serde, writing JSON again.
    pub native_json: f64,
    /// The same by typed serde, filling the same columns.
    pub native_columns: f64,
    /// `chain / native_json`; target 1.0.
    pub to_native_json: f64,
    /// `chain / native_columns`; target 1.25.
    pub to_native_columns: f64,
}

/// A batch of generated users.
pub fn users(records: usize) -> Batch {
    let seed = Seed::new("bench");
    let mut batch = Batch::with_capacity(0, records, records * 1_200);
    let mut payload = Vec::new();
    for number in 0..records as u64 {
        payload.clear();
        seed.write_user(number, &mut payload);
        let offset = number as i64;
        batch.push(RecordRef { offset, timestamp: 1_750_000_000_000, key: None, value: Some(&payload), headers: &[] });
    }
    batch
}

/// The stages `extract-user` and `enrich-user` from a folder of plugins, which must be built.
pub fn stages(engine: &Engine, plugins: &Path) -> Result<Stages, String> {
    let mut stages = Vec::new();
    for name in ["extract-user", "enrich-user"] {
        let path = component_path(&plugins.join(name));
        let plugin = engine.load_file(&path).map_err(|error| error.to_string())?;
        let config = InstanceConfig { stage: name.to_owned(), ..InstanceConfig::default() };
        stages.push(Stage { plugin: Arc::new(plugin), config });
    }
    Stages::start(stages)
}

/// A chain of these stages whose sink reads all that they write.
pub fn chain(stages: &Stages) -> Result<Chain, String> {
    let sinks: Vec<_> = stages
        .contracts()
        .iter()
        .filter_map(|stage| stage.contract.as_ref())
        .flat_map(|contract| contract.writes.clone())
        .collect();
    let plan = ChainPlan::new(stages.contracts(), &sinks, false, NullValue::Reject).map_err(|error| error.to_string())?;
    Chain::new(Arc::new(plan), Arc::new(stages.clone())).map_err(|error| error.to_string())
}

/// The projection of the first stage alone.
pub fn projection(stages: &Stages) -> Projection {
    let mut projection = Projection::default();
    for field in
        stages.contracts().iter().take(1).filter_map(|stage| stage.contract.as_ref()).flat_map(|contract| &contract.reads)
    {
        projection.want(&field.name, field.kind, if field.optional { Need::Optional } else { Need::Required });
    }
    projection
}

/// Measures with one size of batch for about `time`; first makes sure that all contenders make the same columns.
pub fn measure(stages: &Stages, batch_records: usize, time: Duration) -> Result<Measured, String> {
    let batch = users(batch_records);
    let repeats = (ROUND_RECORDS / batch_records).max(1);
    let records = (batch_records * repeats) as f64;
    let mut chain = chain(stages)?;
    let projection = projection(stages);
    agree(&mut chain, &batch)?;

    let micros = |spent: Duration| spent.as_secs_f64() * 1e6 / records;
    let mut times: [Vec<f64>; 6] = Default::default();
    let mut json = Vec::new();
    let started = Instant::now();
    // Contenders take turns, so that a slow moment of the machine meets them all.
    while started.elapsed() < time || times[0].len() < 3 {
        let begun = thread_time();
        let (mut extract, mut enrich) = (0, 0);
        for _ in 0..repeats {
            let done = chain.process(&batch).map_err(|error| error.to_string())?;
            extract += done.stages[0].nanos;
            enrich += done.stages[1].nanos;
            black_box(&done);
        }
        times[0].push(micros(thread_time() - begun));
        times[1].push(micros(Duration::from_nanos(extract)));
        times[2].push(micros(Duration::from_nanos(enrich)));

        let begun = thread_time();
        for _ in 0..repeats {
            black_box(projection.project(&Input::Batch(&batch), 0..batch_records as u32));
        }
        times[3].push(micros(thread_time() - begun));

        let begun = thread_time();
        for _ in 0..repeats {
            json.clear();
            native::to_json(&batch, &mut json)?;
            black_box(&json);
        }
        times[4].push(micros(thread_time() - begun));

        let begun = thread_time();
        for _ in 0..repeats {
            black_box(native::to_columns(&batch)?);
        }
        times[5].push(micros(thread_time() - begun));
    }
    let rounds = times[0].len();
    let [chain, extract_user, enrich_user, project, native_json, native_columns] = times.map(|mut times| median(&mut times));
    Ok(Measured {
        batch_records,
        rounds,
        payload_bytes: batch.bytes() as f64 / batch_records as f64,
        chain,
        project,
        extract_user,
        enrich_user,
        native_json,
        native_columns,
        to_native_json: chain / native_json,
        to_native_columns: chain / native_columns,
    })
}

/// A measurement of contenders that do different work would be worth nothing.
fn agree(chain: &mut Chain, batch: &Batch) -> Result<(), String> {
    let done = chain.process(batch).map_err(|error| error.to_string())?;
    let native = native::to_columns(batch)?;
    for (name, column) in native.iter() {
        if done.columns.get(name) != Some(column) {
            return Err(format!("the stages and the native program differ in `{name}`"));
        }
    }
    Ok(())
}
