//! Hosts are killed with SIGKILL on Kafka and Cassandra, at random under load and at every named point, and others go on. In the end every
//! cell, write time and dead letter is what an independent native computation makes of the topic, and the topic holds what the source has.
//!
//! `TIDEMILL_CRASH_SEED=<number>` repeats a run, `TIDEMILL_CRASH_KILLS=<number>` lasts as long as one likes (see `tests/soak`).

use std::collections::BTreeMap;
use std::time::Duration;

use tidemill::crash;

use crate::scene::{Scene, Snapshot, delivers};
use crate::support::host::Host;
use crate::support::jobs;
use crate::support::random::Random;
use crate::support::verify::Extent;

const KILLS_AT_RANDOM: u64 = 30;

#[test]
fn nothing_is_missing_differing_or_invented_after_kills_at_random() {
    let Some(services) = crate::both() else { return };
    let kills = std::env::var("TIDEMILL_CRASH_KILLS").map_or(KILLS_AT_RANDOM, |kills| kills.parse().expect("a number of kills"));
    let mut random = Random::new();
    let scene = Scene::new("kills_at_random", services, jobs::lines(2_500 * kills as usize));
    let mut before = Snapshot::new();
    for _ in 0..kills {
        let mut host = scene.jobs.pipeline.start("run", &[]);
        if random.below(6) > 0 {
            host.ready(&scene.store_dir());
            delivers(&host);
        }
        // The moment is the point: no condition may choose it.
        std::thread::park_timeout(Duration::from_micros(random.below(1_300_000)));
        assert!(host.has_ended().is_none(), "the host ended by itself:\n{}", host.log());
        host.kill();
        // One that was killed before it made the table has left nothing.
        if services.1.has_table(&scene.table()) {
            let after = scene.snapshot(services);
            scene.assert_nothing_went_back(&before, &after);
            before = after;
        }
    }
    scene.finish(services);
    scene.assert_nothing_went_back(&before, &scene.snapshot(services));
}

#[test]
fn nothing_is_missing_differing_or_invented_after_a_kill_at_every_named_point() {
    let Some(services) = crate::both() else { return };
    let scene = Scene::new("named_points", services, jobs::lines(60_000));
    // A boundary is saved at the very start, and then not until what the killed host may have written is behind.
    let (boundaries, others): (Vec<&str>, Vec<&str>) = crash::POINTS.iter().partition(|point| point.ends_with("-boundary"));
    let mut before = Snapshot::new();
    for (at, point) in boundaries
        .into_iter()
        .chain(others)
        .chain(crash::KAFKA_POINTS.iter().copied())
        .chain(crash::CASSANDRA_POINTS.iter().copied())
        .enumerate()
    {
        let nth = match point {
            _ if point.ends_with("-boundary") || point.starts_with("in-") => 1,
            // In the midst of a batch.
            _ if crash::CASSANDRA_POINTS.contains(&point) => 37,
            _ => 1 + at % 3,
        };
        let mut host = scene.pipeline().env("TIDEMILL_CRASH_AT", &format!("{point}:{nth}")).start("run", &[]);
        let mut second = None;
        match point {
            "in-drain" => {
                host.ready(&scene.store_dir());
                host.terminate();
            }
            // Who joins takes partitions away.
            "in-revoke" => {
                host.ready(&scene.store_dir());
                delivers(&host);
                second = Some(scene.elsewhere().start("run", &[]));
            }
            _ => {}
        }
        let status = host.wait();
        assert!(Host::was_killed(status), "at {point} the host ended with {status}:\n{}", host.log());
        if let Some(mut second) = second {
            second.ready(&scene.elsewhere().store(scene.name));
            delivers(&second);
            second.terminate();
            assert!(second.wait().success(), "{}", second.log());
        }
        let after = scene.snapshot(services);
        scene.assert_nothing_went_back(&before, &after);
        before = after;
        if at % 5 == 4 {
            scene.compare(services, Extent::Settled).assert_clean();
        }
    }
    scene.finish(services);
    let after = scene.snapshot(services);
    scene.assert_nothing_went_back(&before, &after);
    // Once more changes nothing, to the cell and its write time.
    let published = scene.cluster(services).records().len();
    assert_eq!(scene.settle(published), 0);
    assert_eq!(scene.snapshot(services), after);

    // A person delivers all of it again, and then the end of it: every value is as it was.
    let values = |snapshot: Snapshot| -> BTreeMap<_, _> { snapshot.into_iter().map(|(key, (_, row))| (key, row)).collect() };
    let right = values(after);
    for to in [&["--to-earliest"][..], &["--shift-by", "-700"]] {
        scene.move_group(services, to);
        assert_eq!(scene.settle(published), 0);
        assert_eq!(values(scene.snapshot(services)), right, "after {to:?}");
        scene.verify_all(services, &scene.pipeline()).assert_clean();
    }
    let answer = scene.jobs.pipeline.ask(&["verify"], &[]).ok();
    let decided_again = answer.count("re-decided");
    assert!(decided_again >= published as u64, "{:#}", answer.envelope);
    // The group's offsets expire: a host goes on where it was, and decides nothing again.
    let before = scene.snapshot(services);
    scene.expire_group(services);
    assert_eq!(scene.settle(published), 0);
    assert_eq!(scene.snapshot(services), before);
    assert_eq!(scene.settle(published + 200), 200);
    scene.verify_all(services, &scene.pipeline()).assert_clean();
    let answer = scene.jobs.pipeline.ask(&["verify"], &[]).ok();
    assert_eq!(answer.count("re-decided"), decided_again, "{:#}", answer.envelope);
}
