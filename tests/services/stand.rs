//! The services themselves: they keep what they were given over every kind of end, and none outlives its test.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use scylla::value::CqlValue;

use crate::cassandra::{self, Cassandra};
use crate::kafka::{self, Kafka, Publish};
use crate::process::Process;
use crate::support::wait_for;

#[test]
fn kafka_keeps_records_over_every_kind_of_end() {
    let Some(mut kafka) = Kafka::own(&[]) else { return };
    kafka.create_topic("kept", 2, &[]);
    let publish = |kafka: &Kafka, value: &[u8]| {
        let headers: &[(&str, Option<&[u8]>)] = &[("trace", Some(b"1")), ("none", None)];
        let publish = Publish { partition: Some(1), key: Some(b"k"), value: Some(value), headers, timestamp: Some(7) };
        kafka.publish("kept", [publish]);
    };
    publish(&kafka, b"one");
    kafka.stop();
    kafka.start();
    publish(&kafka, b"two");
    kafka.kill();
    kafka.start();
    kafka.pause();
    kafka.resume();
    publish(&kafka, b"three");
    let records = kafka.read("kept");
    let values: Vec<&[u8]> = records.iter().filter_map(|record| record.value.as_deref()).collect();
    assert_eq!(values, [&b"one"[..], b"two", b"three"]);
    assert_eq!((records[0].place(), records[0].timestamp), ((1, 0), 7));
    assert_eq!(records[0].headers, [("trace".to_owned(), Some(b"1".to_vec())), ("none".to_owned(), None)]);
    assert_eq!(kafka.ends("kept")[&1], (0, 3));
}

#[test]
fn cassandra_keeps_rows_over_every_kind_of_end() {
    let Some(mut cassandra) = Cassandra::own(&["commitlog_sync_period: 10ms"]) else { return };
    cassandra.create_keyspace("kept");
    cassandra.execute("CREATE TABLE kept.rows (id int PRIMARY KEY, text text)");
    cassandra.execute("INSERT INTO kept.rows (id, text) VALUES (1, 'one') USING TIMESTAMP 5");
    cassandra.stop();
    assert!(cassandra.try_rows("SELECT * FROM kept.rows").is_err());
    cassandra.start();
    let row = &cassandra.rows("SELECT text, WRITETIME(text) AS at FROM kept.rows")[0];
    assert_eq!((&row["text"], &row["at"]), (&Some(CqlValue::Text("one".to_owned())), &Some(CqlValue::BigInt(5))));
}

#[test]
fn a_service_ends_with_the_process_that_started_it_also_when_that_is_killed() {
    const ROLE: &str = "TIDEMILL_TEST_HOLDS_A_SERVICE";
    if std::env::var(ROLE).is_ok() {
        let dir = tempfile::tempdir().expect("a folder");
        let mut service = Command::new("sh");
        service.args(["-c", "echo ready; exec cat /dev/zero >/dev/null"]);
        let _process = Process::start(&service, dir.path(), "ready");
        println!("holding {}", dir.path().display());
        loop {
            std::thread::park();
        }
    }
    let mut holder = Command::new(std::env::current_exe().expect("this test"));
    holder.args(["--exact", "--nocapture", "stand::a_service_ends_with_the_process_that_started_it_also_when_that_is_killed"]);
    let mut holder = holder.env(ROLE, "1").stdout(Stdio::piped()).spawn().expect("start the holder");
    let lines = BufReader::new(holder.stdout.take().expect("stdout is piped")).lines();
    let dir = lines.map_while(Result::ok).find_map(|line| line.split_once("holding ").map(|(_, dir)| dir.to_owned()));
    let dir = std::path::PathBuf::from(dir.expect("the holder tells the folder"));
    assert!(dir.join("log").is_file());
    holder.kill().expect("kill the holder");
    holder.wait().expect("wait for the holder");
    // The guardian removes it once the service has ended.
    wait_for("the service's folder to go", || (!dir.exists()).then_some(()));
}

#[test]
fn kafkas_own_tools_and_both_services_can_be_used_by_all_cases() {
    let Some((kafka, cassandra)) = crate::both() else { return };
    assert!(std::ptr::eq(kafka, kafka::shared().expect("Kafka runs")));
    assert!(std::ptr::eq(cassandra, cassandra::shared().expect("Cassandra runs")));
    kafka.create_topic("stand", 1, &[("compression.type", "producer")]);
    kafka.publish("stand", (0..5).map(|_| Publish { key: Some(b"k"), value: Some(b"v"), ..Publish::default() }));
    let arguments = ["--group", "stand", "--topic", "stand", "--reset-offsets", "--to-offset", "3", "--execute"];
    assert!(kafka.consumer_groups(&arguments).contains('3'));
    assert!(kafka.consumer_groups(&["--group", "stand", "--describe"]).contains("stand"));
    kafka.delete_records("stand", &[(0, 2)]);
    assert_eq!(kafka.ends("stand")[&0], (2, 5));
    assert_eq!(kafka.read("stand").len(), 3);
    kafka.delete_topic("stand");
    assert_eq!(cassandra.rows("SELECT release_version FROM system.local").len(), 1);
}
