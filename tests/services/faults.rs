//! Kafka and Cassandra are killed, stopped and paused under a host that runs: it waits, goes on by itself, and nothing is missing, differing
//! or invented.

use std::time::Duration;

use crate::cassandra::Cassandra;
use crate::kafka::Kafka;
use crate::scene::{Scene, assert_nothing_went_back, delivers, emitted};
use crate::support::host::{Host, get};
use crate::support::{jobs, wait_for};

/// Longer than the session of a member of the group, and than the host waits for an answer of Cassandra.
const PAUSE: Duration = Duration::from_secs(7);

fn pause() {
    // Time is the fault.
    std::thread::park_timeout(PAUSE);
}

fn alarms(host: &Host) -> String {
    host.status()["alarms"].to_string()
}

#[test]
fn a_broker_that_is_not_there_at_the_start_is_waited_for() {
    let (Some(mut kafka), Some(cassandra)) = (Kafka::own(&[]), crate::cassandra::shared()) else { return };
    let scene = Scene::new("late", (&kafka, cassandra), jobs::lines(6_000));
    kafka.stop();
    // Whoever does not want to wait any longer says so.
    let mut host = scene.pipeline().start("run", &[]);
    let waits = |host: &Host| wait_for("it to say that it waits", || host.log().contains("trying again: ").then_some(()));
    waits(&host);
    host.terminate();
    let status = host.wait();
    assert!(status.success(), "{status}:\n{}", host.log());

    let mut host = scene.pipeline().start("run", &[]);
    waits(&host);
    assert!(host.has_ended().is_none(), "{}", host.log());
    // The page is there, and says what it waits for.
    let address = host.serves(&scene.store_dir());
    let reason = format!("waiting for the topic, kafka://{}", kafka.address());
    wait_for("the status to say so", || (host.status()["reason"] == reason.as_str()).then_some(()));
    assert_eq!((&host.status()["state"], &host.status()["stages"][0]["name"]), (&"starting".into(), &"triage".into()));
    assert!(alarms(&host).contains("the topic cannot be opened, trying again"), "{}", alarms(&host));
    assert!(host.page().contains(&reason), "{}", host.page());
    assert_eq!(get(&address, "/readyz"), Some((503, "starting\n".to_owned())));
    let (code, body) = get(&address, "/api/dead-letters").expect("an answer");
    assert!(code == 503 && body.contains("has not started yet"), "{code} {body}");
    let top = scene.pipeline().ask(&["top"], &[]).ok();
    assert_eq!(top.result()["reason"], reason.as_str());
    kafka.start();
    assert_eq!(host.ready(&scene.store_dir()), address);
    assert_eq!(get(&address, "/api/dead-letters").map(|(code, _)| code), Some(200));
    delivers(&host);
    assert_eq!((alarms(&host).as_str(), &host.status()["reason"]), ("[]", &serde_json::Value::Null));
    host.terminate();
    assert!(host.wait().success(), "{}", host.log());
    scene.finish((&kafka, cassandra));
}

#[test]
fn a_broker_or_node_that_is_killed_stopped_or_paused_is_waited_for() {
    // What is acknowledged is on the disk: whoever kills Cassandra must not be the one who loses a row.
    let safe = ["commitlog_sync: batch", "commitlog_sync_period: 0ms"];
    let (kafka, cassandra) = std::thread::scope(|scope| {
        let kafka = scope.spawn(|| Kafka::own(&[]));
        let cassandra = Cassandra::own(&safe);
        (kafka.join().expect("start Kafka"), cassandra)
    });
    let (Some(mut kafka), Some(mut cassandra)) = (kafka, cassandra) else { return };
    let scene = Scene::new("faults", (&kafka, &cassandra), jobs::lines(150_000));
    let mut host = scene.start(&scene.pipeline());
    delivers(&host);

    kafka.kill();
    wait_for("an alarm", || alarms(&host).contains("out of reach").then_some(()));
    kafka.start();
    delivers(&host);
    cassandra.kill();
    wait_for("the sink to say that it waits", || alarms(&host).contains("done").then_some(()));
    cassandra.start();
    delivers(&host);
    kafka.pause();
    pause();
    kafka.resume();
    delivers(&host);
    cassandra.pause();
    pause();
    cassandra.resume();
    delivers(&host);
    kafka.stop();
    pause();
    kafka.start();
    delivers(&host);
    let before = scene.snapshot((&kafka, &cassandra));

    // A second host joins while the rows go nowhere; the first is killed, and then the other has all of it.
    cassandra.stop();
    wait_for("the sink to say that it waits", || alarms(&host).contains("done").then_some(()));
    let elsewhere = scene.elsewhere();
    let mut second = elsewhere.start("run", &[]);
    pause();
    assert!(host.has_ended().is_none(), "the host ended by itself:\n{}", host.log());
    host.kill();
    pause();
    assert!(second.has_ended().is_none(), "the second ended by itself:\n{}", second.log());
    cassandra.start();
    second.ready(&elsewhere.store(scene.name));
    wait_for("the second to have all", || {
        let status = second.status();
        let partitions = status["partitions"].as_object().expect("partitions");
        (partitions.len() == 3 && partitions.values().all(|partition| partition["here"] == true)).then_some(())
    });
    delivers(&second);
    assert!(emitted(&second) > 0);
    wait_for("the alarms to go", || (alarms(&second) == "[]").then_some(()));
    second.terminate();
    let status = second.wait();
    assert!(status.success(), "{status}:\n{}", second.log());
    assert_nothing_went_back(&before, &scene.snapshot((&kafka, &cassandra)));
    scene.finish((&kafka, &cassandra));
}
