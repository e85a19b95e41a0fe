//! `docker-compose.yml` against the schema of compose files, and against what the `cluster` profile of the flagship expects.
//!
//! `compose/` holds the schema of <https://github.com/compose-spec/compose-go> (v2.4.1, Apache-2.0).

use std::collections::BTreeSet;
use std::fs;

use boon::{Compiler, Schemas};
use serde_json::{Value, json};

use crate::support::root;

fn compose() -> Value {
    let text = fs::read_to_string(root().join("docker-compose.yml")).expect("docker-compose.yml");
    serde_yaml_ng::from_str(&text).expect("it is YAML")
}

/// What the schema says against a file.
fn faults(compose: &Value) -> Option<String> {
    let schema = serde_json::from_str(include_str!("compose/compose-spec.json")).expect("the schema is JSON");
    let (mut schemas, mut compiler) = (Schemas::new(), Compiler::new());
    compiler.add_resource("compose-spec.json", schema).expect("take the schema in");
    let schema = compiler.compile("compose-spec.json", &mut schemas).expect("compile the schema");
    schemas.validate(compose, schema).err().map(|faults| format!("{faults:#}"))
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("{value} is no text"))
}

fn texts(value: &Value) -> BTreeSet<&str> {
    value.as_array().unwrap_or_else(|| panic!("{value} is no list")).iter().map(text).collect()
}

#[test]
fn the_compose_file_is_one_and_a_mistake_in_it_would_be_seen() {
    assert_eq!(faults(&compose()), None);
    let breaks: [fn(&mut Value); 3] = [
        |compose| compose["services"]["kafka"]["port"] = json!(["9092:9092"]),
        |compose| compose["services"]["cassandra"]["healthcheck"]["retries"] = json!([12]),
        |compose| compose["services"]["host"]["depends_on"]["kafka"]["condition"] = json!("service_ready"),
    ];
    for mistake in breaks {
        let mut compose = compose();
        mistake(&mut compose);
        assert!(faults(&compose).is_some(), "{compose}");
    }
}

#[test]
fn its_services_are_where_the_cluster_profile_looks_for_them() {
    let compose = compose();
    let services = &compose["services"];
    let pipeline: Value = toml::from_str(&fs::read_to_string(root().join("pipelines/users.toml")).expect("the flagship"))
        .expect("the flagship is TOML");
    let profile = &pipeline["profile"]["cluster"];
    let reached = [
        ("kafka", "KAFKA", text(&profile["topic"]["at"]), "kafka"),
        ("cassandra", "CASSANDRA", text(&profile["sink"]["users"]["at"]), "cassandra"),
    ];
    for (service, variable, at, scheme) in reached {
        // `scheme://${NAME:-localhost:port}`: what is used where nothing is set.
        let port = at
            .strip_prefix(&format!("{scheme}://${{{variable}:-localhost:"))
            .and_then(|rest| rest.strip_suffix('}'))
            .unwrap_or_else(|| panic!("{at} does not look at localhost"));
        // Published on this machine alone: neither asks who it is.
        assert_eq!(texts(&services[service]["ports"]), BTreeSet::from([format!("127.0.0.1:{port}:{port}").as_str()]));
        let name = text(&services["host"]["environment"][variable]).split_once(':').expect("a host and a port");
        assert_eq!(name.0, service, "the host in a container reaches the service by its name");
    }
    // Kafka tells a client where to go on: what each of them is told must be what it can reach.
    let environment = &services["kafka"]["environment"];
    let advertised: BTreeSet<&str> = text(&environment["KAFKA_ADVERTISED_LISTENERS"]).split(',').collect();
    let inside = format!("INSIDE://{}", text(&services["host"]["environment"]["KAFKA"]));
    assert_eq!(advertised, BTreeSet::from(["OUTSIDE://localhost:9092", inside.as_str()]));
    assert!(text(&environment["KAFKA_PROCESS_ROLES"]).contains("controller"), "KRaft");
}

#[test]
fn its_services_are_the_versions_that_are_tested_and_keep_what_they_are_given() {
    let compose = compose();
    let tested = |pom: &str, artifact: &str| {
        let after = pom.split(&format!("<artifactId>{artifact}</artifactId><version>")).nth(1).expect("the artifact");
        after.split('<').next().expect("its version").to_owned()
    };
    let kafka = tested(include_str!("kafka/pom.xml"), "kafka_2.13");
    let cassandra = tested(include_str!("cassandra/pom.xml"), "cassandra-all");
    assert_eq!(compose["services"]["kafka"]["image"], format!("apache/kafka:{kafka}"));
    let image = text(&compose["services"]["cassandra"]["image"]).strip_prefix("cassandra:").expect("the image");
    assert!(cassandra.starts_with(&format!("{image}.")), "{image} is not {cassandra}");
    for (name, service) in compose["services"].as_object().expect("services") {
        assert_eq!(service["profiles"] == json!(["host"]), name == "host", "only the host is left out unless asked for");
        assert!(name == "host" || service["healthcheck"]["test"][0] == "CMD", "{name} says when it is ready");
        for volume in texts(&service["volumes"]) {
            let volume = volume.split(':').next().unwrap_or_default();
            assert!(compose["volumes"].get(volume).is_some(), "{name}: volume {volume} is declared");
        }
    }
}

#[test]
fn the_host_in_a_container_is_built_with_the_toolchain_and_the_plugins_of_this_project() {
    let host = compose()["services"]["host"].take();
    let dockerfile = text(&host["build"]["dockerfile_inline"]);
    let manifest: Value = toml::from_str(include_str!("../../Cargo.toml")).expect("the manifest is TOML");
    let rust = text(&manifest["package"]["rust-version"]);
    assert!(dockerfile.starts_with(&format!("FROM rust:{rust}-")), "{dockerfile}");
    let flagship = "pipelines/users.toml";
    let command: Vec<&str> = host["command"].as_array().expect("a command").iter().map(text).collect();
    assert_eq!(command[..4], ["run", flagship, "--profile", "cluster"]);
    assert!(dockerfile.contains(&format!("target/release/tidemill build {flagship}\n")), "{dockerfile}");
    let pipeline: Value =
        toml::from_str(&fs::read_to_string(root().join(flagship)).expect("the flagship")).expect("the flagship is TOML");
    for stage in pipeline["stage"].as_array().expect("stages") {
        let built = format!("{}/target/", text(&stage["plugin"]).trim_start_matches("../"));
        assert!(
            dockerfile.contains(&format!("COPY --from=build /tidemill/{built}plugin.wasm /tidemill/{built}\n")),
            "{dockerfile}"
        );
    }
}
