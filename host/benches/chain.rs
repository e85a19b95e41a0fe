//! `cargo bench --bench chain`: the contenders of `tidemill bench chain`, by criterion. Needs the plugins built.

use std::hint::black_box;
use std::path::Path;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use tidemill::bench::{chain, native};
use tidemill::plugin::{Compiler, Engine};
use tidemill::transform::Input;

fn contenders(criterion: &mut Criterion) {
    let engine = Engine::new(None, Compiler::Here).expect("the machine runs WebAssembly");
    let plugins = Path::new(env!("CARGO_MANIFEST_DIR")).join("plugins");
    let stages = match chain::stages(&engine, &plugins) {
        Ok(stages) => stages,
        Err(reason) => {
            eprintln!("SKIPPED: {reason}");
            return;
        }
    };
    let projection = chain::projection(&stages);
    for records in chain::BATCH_RECORDS {
        let batch = chain::users(records);
        let mut group = criterion.benchmark_group("chain");
        group.throughput(Throughput::Elements(records as u64));
        let mut chain = chain::chain(&stages).expect("the stages fit together");
        group.bench_function(BenchmarkId::new("project + extract-user + enrich-user", records), |bencher| {
            bencher.iter(|| chain.process(&batch).expect("no user is refused"));
        });
        group.bench_function(BenchmarkId::new("project", records), |bencher| {
            bencher.iter(|| projection.project(&Input::Batch(&batch), 0..records as u32));
        });
        let mut json = Vec::new();
        group.bench_function(BenchmarkId::new("native, JSON again", records), |bencher| {
            bencher.iter(|| {
                json.clear();
                native::to_json(&batch, &mut json).expect("no user is refused");
                black_box(json.len())
            });
        });
        group.bench_function(BenchmarkId::new("native, columns", records), |bencher| {
            bencher.iter(|| native::to_columns(&batch).expect("no user is refused"));
        });
        group.finish();
    }
}

criterion_group!(benches, contenders);
criterion_main!(benches);
