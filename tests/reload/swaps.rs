//! Many swaps: under load, and with an eye on memory.

use std::time::Instant;

use super::scene::Live;
use crate::support::{jobs, wait_for};

/// Builds that follow each other; each comes again and again, as a generation of its own.
const MARKS: [&str; 8] = ["aaaa", "bbbb", "cccc", "dddd", "eeee", "ffff", "gggg", "hhhh"];

/// 1,000 unless `TIDEMILL_SWAPS` says otherwise (`tests/reload/many-swaps.sh` does 100,000).
fn swaps() -> usize {
    std::env::var("TIDEMILL_SWAPS").map_or(1_000, |count| count.parse().expect("TIDEMILL_SWAPS is a number"))
}

fn records() -> usize {
    std::env::var("TIDEMILL_RECORDS").map_or(150_000, |count| count.parse().expect("TIDEMILL_RECORDS is a number"))
}

#[test]
fn nothing_is_lost_or_torn_over_a_thousand_swaps_under_load() {
    // At a pace that lasts for the swaps on a slow machine too; the rest comes in the end.
    let (from, to) = ("records-per-poll = 60", "records-per-poll = 15");
    let mut live = Live::with("tests/reload/table", jobs::lines(records()), from, to);
    let begun = Instant::now();
    let mut under_load = 0;
    for swap in 0..swaps() {
        live.swap(MARKS[swap % MARKS.len()]);
        let settled = live.settled();
        under_load += usize::from(settled < records() as u64);
        // Swaps can be faster than records come.
        wait_for("the new code to be given records", || {
            let now = live.settled();
            (now > settled || now >= records() as u64).then_some(())
        });
    }
    let took = begun.elapsed();
    let status = live.status();
    let swapped = status["swaps"]["applied"].as_u64().expect("a count") as usize;
    assert_eq!(swapped, swaps(), "each is a generation of its own:\n{}", live.host.log());
    let mut pauses: Vec<f64> = live.receipts().iter().filter_map(|receipt| receipt["pause-ms"].as_f64()).collect();
    assert!(pauses.len() >= swaps().min(1_000));
    let scene = live.finish();
    let boundaries: usize = scene.store().partitions().iter().map(|partition| partition.boundaries.len()).sum();
    pauses.sort_by(f64::total_cmp);
    println!(
        "{swapped} swaps in {took:.1?}, {under_load} while records came, {boundaries} boundaries; pause p50 {:.3}, p99 {:.3} ms",
        pauses[pauses.len() / 2],
        pauses[pauses.len() * 99 / 100]
    );
    assert!(under_load > swaps() / 4, "the stream lasted for {under_load} swaps only");
    assert!(boundaries > under_load, "{boundaries} boundaries of {under_load} swaps");
}

#[test]
fn memory_does_not_grow_with_the_swaps() {
    let mut live = Live::start("tests/reload/table", 2_000);
    live.flows(1_000);
    let rss = |live: &Live| live.status()["rss-bytes"].as_u64().expect("the memory");
    for swap in 0..swaps() / 5 {
        live.swap(MARKS[swap % MARKS.len()]);
    }
    let before = rss(&live);
    for swap in 0..swaps() {
        live.swap(MARKS[swap % MARKS.len()]);
    }
    let grown = rss(&live).saturating_sub(before);
    println!("{} swaps: {} KiB more, of {} KiB", swaps(), grown >> 10, before >> 10);
    assert!(grown <= 5 << 20, "{} KiB more after {} swaps", grown >> 10, swaps());
    live.finish();
}
