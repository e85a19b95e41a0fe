//! The topic lacks what comes next, since retention passed the position of a host that was down, or somebody deleted the topic: that is an
//! alarm, and nothing is jumped over, until a person says where to go on.

use crate::scene::{Scene, delivers};
use crate::support::host::Host;
use crate::support::verify::Extent;
use crate::support::{jobs, wait_for};

#[test]
fn what_retention_took_before_it_was_delivered_is_told_and_a_person_says_where_to_go_on() {
    let Some(services) = crate::both() else { return };
    let scene = Scene::new("passed", services, jobs::lines(3_000));
    let one = scene.pipeline().set("topic.partitions=1");
    one.clone().set("source.records=1000").run_until_idle().ok();
    let mut host = one.clone().env("TIDEMILL_CRASH_AT", "after-poll:1").start("run", &[]);
    assert!(Host::was_killed(host.wait()), "{}", host.log());
    let before = scene.snapshot(services);
    let settled = wait_for("a position", || {
        let held = services.0.read(&format!("{}.positions", scene.name)).pop()?.value?;
        serde_json::from_slice::<serde_json::Value>(&held).ok()?["position"]["next"].as_i64()
    });
    let waiting = scene.cluster(services).records().into_iter().filter(|record| record.offset >= settled).count();
    assert!(waiting > 20, "{waiting} records wait at {settled}");
    services.0.delete_records(scene.name, &[(0, settled + 10)]);

    let mut host = scene.start(&one.clone().set("source.records=1000"));
    wait_for("an alarm", || {
        let alarms = host.status()["alarms"].to_string();
        (alarms.contains(&format!("offset {settled} is asked for")) && alarms.contains("a person")).then_some(())
    });
    assert!(host.has_ended().is_none(), "{}", host.log());
    assert_eq!(host.status()["partitions"]["0"]["state"], "stopped");
    host.terminate();
    assert!(host.wait().success(), "{}", host.log());
    assert_eq!(scene.snapshot(services), before, "nothing was delivered");

    scene.move_group(services, &["--to-earliest"]);
    one.set("source.every=0s").set("source.records=2000").run_until_idle().ok();
    let after = scene.snapshot(services);
    scene.assert_nothing_went_back(&before, &after);
    assert!(after.len() > before.len());
    // What the topic holds is right, and what it does not hold is not judged.
    let answer = scene.pipeline().ask(&["verify"], &[]).ok();
    let reason = "the topic holds its record no longer (retention)";
    assert!(
        answer.count("records") > 20 && answer.result()["unverifiable"][reason].as_u64() > Some(100),
        "{:#}",
        answer.envelope
    );
}

#[test]
fn a_topic_that_is_deleted_under_a_host_is_an_alarm_and_nothing_begins_again() {
    let Some(services) = crate::both() else { return };
    let (kafka, _) = services;
    let scene = Scene::new("deleted", services, jobs::lines(60_000));
    let mut host = scene.start(&scene.pipeline());
    delivers(&host);
    kafka.delete_topic(scene.name);
    let alarms = || host.status()["alarms"].to_string();
    wait_for("an alarm", || alarms().contains("topic `deleted`").then_some(()));
    println!("{}", alarms());
    // Also when a topic of that name is there again, which holds other records.
    kafka.create_topic(scene.name, 3, &[]);
    let stopped = |host: &Host| {
        let status = host.status();
        let partitions = status["partitions"].as_object().expect("partitions");
        (partitions.len() == 3 && partitions.values().all(|partition| partition["state"] == "stopped")).then_some(())
    };
    wait_for("each partition to stand still", || stopped(&host));
    // And more of them than were delivered of the first one.
    wait_for("a longer topic", || {
        let status = host.status();
        let partition =
            |(number, (_, end)): (i32, (i64, i64))| Some(end > status["partitions"][number.to_string()]["next"].as_i64()?);
        kafka.ends(scene.name).into_iter().all(|found| partition(found) == Some(true)).then_some(())
    });
    assert!(host.has_ended().is_none(), "{}", host.log());
    host.terminate();
    assert!(host.wait().success(), "{}", host.log());
    let before = scene.snapshot(services);
    let mut host = scene.start(&scene.pipeline());
    wait_for("each partition to stand still", || stopped(&host));
    let alarms = host.status()["alarms"].to_string();
    assert_eq!(alarms.matches("the topic was deleted and made again since").count(), 3, "{alarms}");
    host.terminate();
    assert!(host.wait().success(), "{}", host.log());
    assert_eq!(scene.snapshot(services), before, "nothing was delivered");

    scene.move_group(services, &["--to-earliest"]);
    scene.pipeline().set("source.records=1").run_until_idle().ok();
    let after = scene.snapshot(services);
    scene.assert_nothing_went_back(&before, &after);
    assert!(after.len() > before.len());
    let findings = scene.compare(services, Extent::All);
    // Each offset is counted once, also where there were two records of it.
    let differing = findings.differing.iter().filter(|what| !what.contains("[emitted, dropped, deleted, rejected]")).count();
    assert!(findings.missing.is_empty() && differing == 0, "{findings}");
}
