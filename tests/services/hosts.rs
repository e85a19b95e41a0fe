//! Several hosts of one pipeline on Kafka and Cassandra: they come and go, stand still and come back, die while they publish.

use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value;

use crate::scene::{Delivered, Scene, Services, delivers, end, held, ingested};
use crate::support::host::{Host, Pipeline};
use crate::support::{jobs, wait_for, wait_within};

#[test]
fn hosts_that_come_and_go_every_few_seconds_leave_nothing_missing_differing_or_invented() {
    let Some(services) = crate::both() else { return };
    let scene = Scene::new("come_and_go", services, jobs::lines(150_000)).with_session("4000");
    let first = scene.start(&scene.pipeline());
    let elsewhere = scene.elsewhere();
    for round in 0..5 {
        let second = scene.start(&elsewhere);
        wait_for("both to have a share", || (held(&first) > 0 && held(&second) > 0).then_some(()));
        delivers(&second);
        // One leaves in order, the next without a word.
        if round % 2 == 0 {
            end(second)
        } else {
            second.kill()
        }
        wait_for("the first to have all", || (held(&first) == 3).then_some(()));
        delivers(&first);
    }
    end(first);
    scene.finish(services);
}

/// A host stands still until its partitions are another's, and comes back with what it had in flight.
fn comes_back(scene: &Scene, services: Services<'_>, other: &Pipeline) {
    let mut zombie = scene.start(&scene.pipeline());
    for _ in 0..2 {
        delivers(&zombie);
        zombie.signal(Signal::STOP);
        let second = scene.start(other);
        wait_for("the other to have all", || (held(&second) == 3).then_some(()));
        delivers(&second);
        wait_for("the other to poll the source", || (ingested(&second) > 100).then_some(()));
        let before = scene.snapshot(services);
        zombie.signal(Signal::CONT);
        wait_for("both to have a share", || (held(&zombie) > 0 && held(&second) > 0).then_some(()));
        delivers(&second);
        scene.assert_nothing_went_back(&before, &scene.snapshot(services));
        end(second);
        wait_for("the one that came back to have all", || (held(&zombie) == 3).then_some(()));
        assert!(zombie.has_ended().is_none(), "{}", zombie.log());
    }
    end(zombie);
}

#[test]
fn a_host_that_stood_still_while_its_partitions_moved_harms_nothing_when_it_comes_back() {
    let Some(services) = crate::both() else { return };
    let scene = Scene::new("zombie", services, jobs::lines(150_000)).with_session("4000");
    comes_back(&scene, services, &scene.elsewhere());
    scene.finish(services);
}

#[test]
fn the_same_where_the_other_host_has_other_code() {
    let Some(services) = crate::both() else { return };
    let mut scene = Scene::new("zombie_of_old", services, jobs::lines(150_000)).with_session("4000");
    scene.jobs.marks.install(&scene.jobs.dir.path().join("other.wasm"), "0001");
    let other = scene.elsewhere().set("stage.triage.plugin=other.wasm");
    comes_back(&scene, services, &other);
    // Components are kept where they ran: the other one is read from its file.
    scene.finish_seen_by(services, &scene.pipeline().set("stage.triage.plugin=other.wasm"));
    let generations: Vec<Value> = services.0.read(&format!("{}.control", scene.name)).iter().filter_map(generation).collect();
    assert!(generations.len() > 1, "{generations:?}");
}

fn generation(record: &crate::support::read::Record) -> Option<Value> {
    record.key.as_deref()?.starts_with(b"generation/").then(|| serde_json::from_slice(record.value.as_deref()?).ok())?
}

#[test]
fn when_the_polling_host_dies_in_a_transaction_the_next_goes_on_at_once() {
    let Some(services) = crate::both() else { return };
    let scene = Scene::new("mid_page", services, jobs::lines(60_000));
    for (round, point) in ["before-page-commit:40", "after-page-commit:40"].into_iter().enumerate() {
        // Who polls dies; who waits has none of its partitions yet.
        let mut polling = scene.pipeline().env("TIDEMILL_CRASH_AT", point).start("run", &[]);
        polling.ready(&scene.store_dir());
        let waiting = scene.start(&scene.elsewhere());
        let status = polling.wait();
        let died = Instant::now();
        assert!(Host::was_killed(status), "at {point} the host ended with {status}:\n{}", polling.log());
        assert_eq!(ingested(&waiting), 0, "one host polls at a time");
        let (mut delivered, mut more) = (Delivered::by(&waiting), false);
        let on = || {
            more |= delivered.grows(&waiting);
            (more && ingested(&waiting) > 0 && held(&waiting) == 3).then_some(())
        };
        // An open transaction would hold readers up for longer.
        wait_within(Duration::from_secs(15), "the next to poll, and its records to be read", on);
        println!("round {round}: after {:?}", died.elapsed());
        end(waiting);
    }
    scene.finish(services);
}
