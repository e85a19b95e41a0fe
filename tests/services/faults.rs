//! Kafka and Cassandra are killed, stopped and paused under a host that runs: it waits, goes on by itself, and nothing is missing, differing
//! or invented.

use std::time::{Duration, Instant};

use crate::cassandra::Cassandra;
use crate::kafka::Kafka;
use crate::scene::{Scene, Services, Snapshot, delivers, end, held, ingested};
use crate::support::host::{Host, get};
use crate::support::verify::Extent;
use crate::support::{jobs, wait_for};

/// Longer than the session of a member of the group, and than the host waits for an answer of Cassandra.
const PAUSE: Duration = Duration::from_secs(7);
/// Longer than a transaction may stand open.
const LONG: Duration = Duration::from_secs(30);

/// Time is the fault.
fn pause(time: Duration) {
    let until = Instant::now() + time;
    while let Some(left) = until.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) {
        std::thread::park_timeout(left);
    }
}

/// The source says that its pages find no way into the topic.
fn source_waits(host: &Host) -> bool {
    let status = host.status();
    ["backing off", "held back"].iter().any(|state| status["source"]["state"] == *state)
}

/// Records come in and go out.
#[track_caller]
fn flows(host: &Host) {
    delivers(host);
    let polled = ingested(host);
    wait_for("the host to ingest", || (ingested(host) > polled).then_some(()));
}

/// The host goes on by itself. Then it ends in order, both verifiers compare what it has settled, nothing has gone back, and the next host
/// goes on from there.
#[track_caller]
fn is_over(scene: &Scene, services: Services<'_>, host: Host, before: &mut Snapshot) -> Host {
    flows(&host);
    wait_for("the alarms to go", || (alarms(&host) == "[]").then_some(()));
    end(host);
    scene.compare(services, Extent::Settled).assert_clean();
    assert_eq!(scene.pipeline().verify(), Vec::<String>::new());
    let after = scene.snapshot(services);
    scene.assert_nothing_went_back(before, &after);
    *before = after;
    let next = scene.start(&scene.pipeline());
    flows(&next);
    next
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
    let mut scene = Scene::new("faults", (&kafka, &cassandra), jobs::lines(100_000));
    // All that came is compared after each of the faults.
    scene.jobs.pipeline = scene.jobs.pipeline.set("source.every=100ms");
    let (mut host, mut before) = (scene.start(&scene.pipeline()), Snapshot::new());
    flows(&host);

    kafka.kill();
    wait_for("an alarm", || alarms(&host).contains("out of reach").then_some(()));
    kafka.start();
    host = is_over(&scene, (&kafka, &cassandra), host, &mut before);
    cassandra.kill();
    wait_for("the sink to say that it waits", || alarms(&host).contains("done").then_some(()));
    cassandra.start();
    host = is_over(&scene, (&kafka, &cassandra), host, &mut before);
    kafka.pause();
    pause(PAUSE);
    kafka.resume();
    host = is_over(&scene, (&kafka, &cassandra), host, &mut before);
    cassandra.pause();
    pause(PAUSE);
    cassandra.resume();
    host = is_over(&scene, (&kafka, &cassandra), host, &mut before);
    kafka.stop();
    wait_for("the source to say that it waits", || source_waits(&host).then_some(()));
    pause(LONG);
    assert!(host.has_ended().is_none(), "the host ended by itself:\n{}", host.log());
    assert!(source_waits(&host) && alarms(&host).contains("out of reach"), "{}", host.status());
    kafka.start();
    host = is_over(&scene, (&kafka, &cassandra), host, &mut before);

    // A second host joins while the rows go nowhere; the first is killed, and then the other has all of it.
    cassandra.stop();
    wait_for("the sink to say that it waits", || alarms(&host).contains("done").then_some(()));
    let elsewhere = scene.elsewhere();
    let mut second = elsewhere.start("run", &[]);
    second.serves(&elsewhere.store(scene.name));
    wait_for("both to have a share", || (held(&host) > 0 && held(&second) > 0).then_some(()));
    wait_for("both to say that they wait", || [&host, &second].iter().all(|host| alarms(host).contains("done")).then_some(()));
    assert!(host.has_ended().is_none(), "the host ended by itself:\n{}", host.log());
    host.kill();
    wait_for("the second to have all", || (held(&second) == 3).then_some(()));
    assert!(second.has_ended().is_none(), "the second ended by itself:\n{}", second.log());
    cassandra.start();
    delivers(&second);
    wait_for("the alarms to go", || (alarms(&second) == "[]").then_some(()));
    end(second);
    scene.assert_nothing_went_back(&before, &scene.snapshot((&kafka, &cassandra)));
    scene.finish((&kafka, &cassandra));
}
