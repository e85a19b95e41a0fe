//! The table changes under a host that runs, and the topic takes no more of what the source has.

use crate::scene::{Scene, delivers};
use crate::support::host::Host;
use crate::support::jobs;

#[track_caller]
fn stops(host: &mut Host, says: &[&str]) {
    let status = host.wait();
    assert_eq!(status.code(), Some(1), "{status}:\n{}", host.log());
    for part in says {
        assert!(host.log().contains(part), "{part} is not said:\n{}", host.log());
    }
}

#[test]
fn a_column_that_is_added_changes_nothing_and_one_that_is_dropped_stops_the_host_until_it_is_back() {
    let Some(services) = crate::both() else { return };
    let (_, cassandra) = services;
    let scene = Scene::new("altered_live", services, jobs::lines(60_000));
    let table = scene.table();
    let mut host = scene.start(&scene.pipeline());
    delivers(&host);
    cassandra.execute(&format!("ALTER TABLE {table} ADD extra int"));
    delivers(&host);
    delivers(&host);
    cassandra.execute(&format!("ALTER TABLE {table} DROP extra"));
    delivers(&host);
    cassandra.execute(&format!("ALTER TABLE {table} DROP shout"));
    let statement = r#"ALTER TABLE "altered_live"."done" ADD "shout" text;"#;
    let said = [&format!("table `{table}` has no column `shout`"), statement];
    stops(&mut host, &said);
    // Nor does another one begin.
    let mut again = scene.pipeline().start("run", &[]);
    stops(&mut again, &said);
    cassandra.execute(statement);
    delivers(&scene.start(&scene.pipeline()));
    let published = scene.cluster(services).records().len();
    scene.settle(published);
    // What the column held went with it, and comes back when all is delivered again.
    scene.move_group(services, &["--to-earliest"]);
    scene.finish(services);
}

#[test]
fn a_record_that_is_larger_than_the_topic_takes_stops_the_source_before_its_page_until_the_topic_takes_it() {
    const PAGE: usize = 1_000;
    const AT: usize = 3_210;
    let Some(services) = crate::both() else { return };
    let (kafka, _) = services;
    let mut lines = jobs::lines(8_000);
    let number = AT;
    lines[AT] =
        format!(r#"{{"number":{number},"name":"once-{number}","do":"keep","note":"{}"}}"#, "long ".repeat(6_000)).into_bytes();
    let scene = Scene::new("oversize", services, lines);
    // A page is larger too: its records go as many batches.
    kafka.create_topic(scene.name, 3, &[("max.message.bytes", "20000")]);
    let pipeline = scene.pipeline().set(&format!("source.records-per-poll={PAGE}"));
    for _ in 0..2 {
        let mut host = pipeline.start("run", &[]);
        stops(&mut host, &["publish: ", "the largest record of the page has 30", "raise max.message.bytes of topic `oversize`"]);
        assert_eq!(scene.cluster(services).records().len(), AT - AT % PAGE, "nothing of its page is there");
    }
    kafka.configure_topic(scene.name, "max.message.bytes=1000000");
    delivers(&scene.start(&scene.pipeline()));
    scene.finish(services);
}
