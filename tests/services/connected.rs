//! `check --connect` and `doctor` against a real Kafka: what is told of the topic, with its place and a way out.

use crate::kafka::Kafka;
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
    let fits = format!("✓ connections    topic `connected` at {}; table `connected.done` at ", kafka.address());
    assert_said(&pipeline, &["doctor"], 0, &[&fits]);
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

#[test]
fn a_broker_that_wants_a_user_is_told_by_check_and_doctor_and_takes_the_one_it_knows_without_tls() {
    let users =
        r#"org.apache.kafka.common.security.plain.PlainLoginModule required username="mill" password="grist" user_mill="grist";"#;
    let own = [
        "listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:SASL_PLAINTEXT",
        "inter.broker.listener.name=PLAINTEXT",
        "sasl.enabled.mechanisms=PLAIN",
        "sasl.mechanism.inter.broker.protocol=PLAIN",
        &format!("listener.name.plaintext.plain.sasl.jaas.config={users}"),
    ];
    let (Some(kafka), Some(cassandra)) = (Kafka::own(&own), crate::cassandra::shared()) else { return };
    let scene = Scene::new("guarded_topic", (&kafka, cassandra), jobs::lines(500));
    let as_user = |password: &str| {
        let file = scene.jobs.pipeline.file.with_file_name(format!("{password}.toml"));
        let text = std::fs::read_to_string(&scene.jobs.pipeline.file).expect("the pipeline");
        let user = "[topic.properties]\n\"security.protocol\" = \"sasl_plaintext\"\n\"sasl.mechanism\" = \"PLAIN\"\n\
             \"sasl.username\" = \"mill\"\n\"sasl.password\" = { env = \"PASSWORD\" }\n";
        std::fs::write(&file, text.replace("[topic.properties]", user)).expect("write the pipeline");
        Pipeline { file, ..scene.pipeline().env("PASSWORD", password) }
    };
    let wrong = as_user("chaff");
    assert_said(&wrong, &["check", "--connect"], 3, &["error[TM093]", "chaff.toml:10:6", "\"sasl.password\""]);
    assert_said(&wrong, &["doctor"], 3, &["✗ connections    ", "the cluster refuses this client"]);
    // Nobody answers to a client that says nothing of a user, not even that one is wanted.
    assert_said(&scene.pipeline(), &["check", "--connect"], 3, &["error[TM092]", "wants TLS or SASL"]);
    let known = as_user("grist");
    assert_said(&known, &["check", "--connect"], 0, &[]);
    assert_said(&known, &["doctor"], 0, &["✓ connections "]);
    let answer = known.set("source.every=0s").run_until_idle().ok();
    assert!(answer.count("delivered") > 0, "{}", answer.envelope);
}
