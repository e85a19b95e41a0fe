//! Other code while records flow from Kafka into Cassandra: many swaps under load, each a generation that decides records of its own. In the end
//! every cell, write time and dead letter is what an independent native computation makes of its generation, and `tidemill verify` says the same.

use std::collections::BTreeSet;
use std::time::Instant;

use tidemill::crash;

use crate::scene::{Scene, Services, delivers};
use crate::support::host::Host;
use crate::support::jobs;
use crate::support::verify::{Evidence, Extent};
use crate::support::wait_for;

/// Builds that follow each other; each comes again and again, as a generation of its own.
const MARKS: [&str; 8] = ["aaaa", "bbbb", "cccc", "dddd", "eeee", "ffff", "gggg", "hhhh"];

/// Records of each poll, up to 40 times a second.
const POLL: u64 = 40;

/// 200 unless `TIDEMILL_SWAPS` says otherwise.
fn swaps() -> usize {
    std::env::var("TIDEMILL_SWAPS").map_or(200, |count| count.parse().expect("TIDEMILL_SWAPS is a number"))
}

/// The stage's generation, and how many rows it has been given.
fn at(host: &Host) -> (u64, u64) {
    let stage = host.status()["stages"][0].take();
    let number = |name: &str| stage[name].as_u64().unwrap_or_else(|| panic!("no {name} in {stage}"));
    (number("generation"), number("rows"))
}

#[test]
fn nothing_is_lost_or_torn_over_two_hundred_swaps_under_load() {
    let Some(services) = crate::both() else { return };
    let mut scene = Scene::new("swapped", services, jobs::lines(1_000 * swaps()));
    let pipeline = scene.pipeline().set(&format!("source.records-per-poll={POLL}"));
    let mut host = pipeline.start("run", &["--watch"]);
    host.ready(&scene.store_dir());
    let begun = Instant::now();
    let mut memory = Vec::with_capacity(swaps());
    for swap in 1..=swaps() {
        let (before, _) = at(&host);
        scene.jobs.swap(MARKS[swap % MARKS.len()]);
        let (_, rows) =
            wait_for(&format!("swap {swap} to serve:\n{}", host.log()), || Some(at(&host)).filter(|now| now.0 > before));
        wait_for("the new code to be given records", || (at(&host).1 > rows).then_some(()));
        memory.push(host.status()["rss-bytes"].as_u64().expect("the memory"));
    }
    let took = begun.elapsed();
    let status = host.status();
    assert_eq!(status["swaps"]["applied"], swaps(), "each is a generation of its own:\n{}", host.log());
    let receipts = scene.jobs.pipeline.ask(&["receipts"], &["--limit", "1000"]).ok();
    host.terminate();
    let end = host.wait();
    assert!(end.success(), "{end}:\n{}", host.log());

    // What the host left, before a later one makes up for anything.
    scene.compare(services, Extent::Settled).assert_clean();
    // Killed within a swap, and gone on with other files in place than those that were on their way in. A release build has no such points.
    let points = if cfg!(debug_assertions) { crash::SWAP_POINTS } else { &[] };
    for (number, point) in points.iter().enumerate() {
        let mut host = pipeline.clone().env("TIDEMILL_CRASH_AT", point).start("run", &["--watch"]);
        host.ready(&scene.store_dir());
        delivers(&host);
        scene.jobs.swap(&format!("in-{number}"));
        let end = host.wait();
        assert!(Host::was_killed(end), "at {point} the host ended with {end}:\n{}", host.log());
        scene.jobs.swap(&format!("at-{number}"));
    }
    scene.finish(services);
    let deciding = deciding(&scene, services);
    let spread = |name: &str, mut times: Vec<f64>| {
        times.sort_by(f64::total_cmp);
        format!("{name} p50 {:.2}, p99 {:.2}", times[times.len() / 2], times[times.len() * 99 / 100])
    };
    let times = ["took-ms", "compile-ms", "pause-ms"].map(|name| {
        let receipts = receipts.result()["receipts"].as_array().expect("receipts");
        spread(name, receipts.iter().filter_map(|receipt| receipt[name].as_f64()).collect())
    });
    // From when each build has served a few times, and each time as the middle of some: what is in flight comes and goes.
    let middle = |swaps: &[u64]| {
        let mut sorted = swaps.to_vec();
        sorted.sort_unstable();
        sorted[sorted.len() / 2]
    };
    let tenth = swaps() / 10;
    let (early, late) = (middle(&memory[tenth..3 * tenth]), middle(&memory[memory.len() - tenth..]));
    let grown = late.saturating_sub(early);
    println!("{} KiB more, of {} KiB", grown >> 10, early >> 10);
    println!("{} swaps in {took:.1?}; {} generations decided records; {}", swaps(), deciding.len(), times.join("; "));
    assert!(grown <= 5 << 20, "{} KiB more after {} swaps", grown >> 10, swaps());
    assert!(deciding.len() > swaps() * 9 / 10, "only {} generations decided a record: {deciding:?}", deciding.len());
}

/// Generations that a record of the topic was decided by.
fn deciding(scene: &Scene, services: Services<'_>) -> BTreeSet<u64> {
    let mut deciding = BTreeSet::new();
    for partition in scene.cluster(services).partitions() {
        for record in partition.records {
            let boundary = partition.boundaries.iter().rev().find(|boundary| boundary.first <= record.offset);
            deciding.extend(boundary.map(|boundary| boundary.generation));
        }
    }
    deciding
}
