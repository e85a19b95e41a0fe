//! The flagship with its `cluster` profile: what holds with everything embedded holds here, compared by the same assertions.

use tempfile::TempDir;

use crate::cluster::Cluster;
use crate::support::host::Pipeline;
use crate::support::read::Record;
use crate::support::verify::{self, Extent, Native};
use crate::support::{guests, root, users};

#[test]
fn five_thousand_users_arrive_through_kafka_in_cassandra_with_every_column_as_computed_natively() {
    let Some((kafka, cassandra)) = crate::both() else { return };
    guests::component("plugins/extract-user");
    guests::component("plugins/enrich-user");
    let dir = TempDir::new().expect("make a folder");
    let mut pipeline = Pipeline::new(root().join("pipelines/users.toml"), dir.path().join("data"))
        .env("KAFKA", &kafka.address())
        .env("CASSANDRA", &cassandra.address());
    pipeline.arguments.extend(["--profile".into(), "cluster".into()]);
    users::five_thousand_arrive(&pipeline, &|| {
        let cluster = Cluster { kafka, cassandra, pipeline: "users", topic: "users_data" };
        let decide = |record: &Record, _: &serde_json::Value| users::decide(record);
        verify::compare(
            &cluster,
            &Native { topic: "users_data", table: users::TABLE, key: &["id"], decide: &decide },
            Extent::All,
        )
    });
}
