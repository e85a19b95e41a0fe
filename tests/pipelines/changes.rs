//! Ends and new starts: another plugin, SIGTERM under load, a second host.

use crate::support::host::Host;
use crate::support::jobs::{self, Scene};
use crate::support::verify::Extent;
use crate::support::wait_for;

#[test]
fn after_a_clean_end_a_changed_plugin_begins_at_the_next_record() {
    let mut scene = Scene::new("tests/pipelines/jobs", jobs::lines(4_000));
    scene.pipeline.clone().set("source.records=1500").run_until_idle().ok();
    let before: Vec<i64> = scene.store().partitions().iter().map(|partition| partition.next).collect();
    assert_eq!(before.iter().sum::<i64>(), 1_500);
    scene.swap("0001");
    scene.pipeline.run_until_idle().ok();
    scene.verify_all().assert_clean();
    for (partition, before) in scene.store().partitions().iter().zip(before) {
        let boundaries: Vec<(i64, u64)> = partition.boundaries.iter().map(|b| (b.first, b.generation)).collect();
        assert_eq!(boundaries, [(0, 1), (before, 2)], "partition {}", partition.number);
    }
}

#[test]
fn after_an_unclean_end_a_changed_plugin_begins_at_reach() {
    let mut scene = Scene::new("tests/crash/table-and-file", jobs::lines(60_000));
    let fast = |scene: &Scene| {
        scene.pipeline.clone().set("source.every=0s").set("source.records-per-poll=1000").set("topic.partitions=1")
    };
    let mut host = fast(&scene).env("TIDEMILL_CRASH_AT", "after-sink-write:1").start("run", &[]);
    assert!(Host::was_killed(host.wait()), "{}", host.log());
    let position = scene.store().partitions()[0].position.clone().expect("a position");
    assert!(position.reach > position.next, "rows may have been written up to {}", position.reach);
    scene.swap("0001");
    fast(&scene).run_until_idle().ok();
    scene.verify_all().assert_clean();
    let boundaries: Vec<(i64, u64)> = scene.store().partitions()[0].boundaries.iter().map(|b| (b.first, b.generation)).collect();
    assert_eq!(boundaries, [(0, 1), (position.reach, 2)]);
}

#[test]
fn sigterm_under_load_drains_and_the_next_start_goes_on() {
    let scene = Scene::new("tests/pipelines/jobs", jobs::lines(60_000));
    let paced = scene.pipeline.clone().set("source.every=5ms").set("source.records-per-poll=200");
    for _ in 0..3 {
        let mut host = paced.start("run", &[]);
        host.ready(&scene.store_dir());
        let figure = |host: &Host| host.status()["totals"]["emitted"].as_u64();
        let before = figure(&host).unwrap_or_default();
        wait_for("records to flow", || (figure(&host)? > before + 200).then_some(()));
        host.terminate();
        assert!(host.wait().success(), "{}", host.log());
        for partition in scene.store().partitions() {
            let position = partition.position.expect("a position");
            assert_eq!(position.reach, position.next, "a clean end leaves nothing in doubt");
        }
        scene.verify(Extent::Settled).assert_clean();
    }
    let before = scene.store().records().len();
    assert!(before < scene.lines.len(), "the source lasted longer than the hosts");
    let answer = scene.pipeline.run_until_idle().ok();
    assert_eq!(answer.count("ingested"), (scene.lines.len() - before) as u64);
    scene.verify_all().assert_clean();
}

#[test]
fn a_second_host_on_the_same_store_is_refused_and_the_first_goes_on() {
    let scene = Scene::new("tests/pipelines/jobs", jobs::lines(2_000));
    let mut first = scene.pipeline.start("run", &[]);
    let address = first.ready(&scene.store_dir());
    let second = scene.pipeline.run_until_idle();
    assert_eq!(second.exit, 3, "{}", second.envelope);
    let message = second.envelope["error"]["message"].as_str().unwrap_or_default();
    assert!(message.contains("another host") && message.contains(&address), "{message}");
    assert!(first.has_ended().is_none(), "{}", first.log());
    first.terminate();
    assert!(first.wait().success(), "{}", first.log());
    scene.pipeline.run_until_idle().ok();
    scene.verify_all().assert_clean();
}
