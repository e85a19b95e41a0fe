//! `check --connect` and `doctor` against a real Kafka: what is told of the topic, with its place and a way out.

use crate::process::Port;
use crate::scene::Scene;
use crate::support::host::Pipeline;
use crate::support::jobs;

/// Exit code, and all that was said.
fn said(pipeline: &Pipeline, verb: &[&str]) -> (i32, String) {
    let output = pipeline.command(verb).output().expect("start tidemill");
    let text = [output.stdout, output.stderr].concat();
    (output.status.code().expect("it ends by itself"), String::from_utf8(text).expect("text"))
}

#[track_caller]
fn assert_said(pipeline: &Pipeline, verb: &[&str], exit: i32, parts: &[&str]) {
    let (code, text) = said(pipeline, verb);
    assert_eq!(code, exit, "{text}");
    for part in parts {
        assert!(text.contains(part), "{part} is not said: {text}");
    }
}

#[test]
fn what_differs_between_file_and_topic_is_told_with_its_place_and_a_way_out() {
    let Some(services) = crate::both() else { return };
    let (kafka, _) = services;
    let scene = Scene::new("connected", services, jobs::lines(10));
    let pipeline = scene.pipeline();
    let check = ["check", "--connect"];
    // It would be made.
    assert_said(&pipeline, &check, 0, &[]);
    let made_by_others = pipeline.clone().set("topic.create=false");
    let command = format!("kafka-topics.sh --bootstrap-server {} --create --topic connected --partitions 3", kafka.address());
    assert_said(&made_by_others, &check, 2, &["error[TM094]", "connected", &command]);
    kafka.create_topic("connected", 2, &[]);
    assert_said(&pipeline, &check, 2, &["error[TM095]", "pipeline.toml:12", "partitions = 2"]);
    let two = pipeline.clone().set("topic.partitions=2");
    assert_said(&two, &check, 0, &[]);
    // Made when the topic had one.
    kafka.create_topic("connected.positions", 1, &[]);
    assert_said(&two, &check, 2, &["error[TM095]", "had 1 when `connected.positions` was made"]);
    // Without asking, nothing of it is known.
    assert_said(&pipeline, &["check"], 0, &[]);
}

#[test]
fn a_broker_that_does_not_answer_is_told_by_check_and_doctor() {
    let Some(services) = crate::both() else { return };
    // Bound and not listening: nobody answers there.
    let port = Port::choose();
    let scene = Scene::new("unanswered", services, jobs::lines(10));
    let address = format!("127.0.0.1:{}", port.number());
    let pipeline = scene.pipeline().env("KAFKA", &address);
    let said = format!("no broker answers at {address}");
    assert_said(&pipeline, &["check", "--connect"], 3, &["error[TM092]", &said, "pipeline.toml:10"]);
    assert_said(&pipeline, &["doctor"], 3, &["✗ connections", &said]);
    assert_said(&pipeline, &["verify"], 3, &["read topic `unanswered`"]);
}
