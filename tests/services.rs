//! Against a real Kafka 4.1 and a real Cassandra 5.0: Java processes, resolved with Maven, started by the first case that needs them and
//! shared by all; they end with this process, however it ends. Cases that harm a service start one of their own.

mod support;

#[path = "services/altered.rs"]
mod altered;
#[path = "services/broken.rs"]
mod broken;
#[path = "services/cassandra.rs"]
mod cassandra;
#[path = "services/cluster.rs"]
mod cluster;
#[path = "services/compose.rs"]
mod compose;
#[path = "conformance/topics.rs"]
mod conformance;
#[path = "services/connected.rs"]
mod connected;
#[path = "services/counted.rs"]
mod counted;
#[path = "services/crash.rs"]
mod crash;
#[path = "services/delivery.rs"]
mod delivery;
#[path = "services/faults.rs"]
mod faults;
#[path = "services/hosts.rs"]
mod hosts;
#[path = "services/jars.rs"]
mod jars;
#[path = "services/kafka.rs"]
mod kafka;
#[path = "services/nulls.rs"]
mod nulls;
#[path = "services/passed.rs"]
mod passed;
#[path = "services/process.rs"]
mod process;
#[path = "services/receipts.rs"]
mod receipts;
#[path = "services/replayed.rs"]
mod replayed;
#[path = "services/scene.rs"]
mod scene;
#[path = "services/stand.rs"]
mod stand;
#[path = "services/swapped.rs"]
mod swapped;
#[path = "services/table.rs"]
mod table;
#[path = "services/topic.rs"]
mod topic;
#[path = "services/users.rs"]
mod users;
#[path = "services/verified.rs"]
mod verified;

use cassandra::Cassandra;
use kafka::Kafka;

/// Both services that the cases share; they start side by side.
pub fn both() -> Option<(&'static Kafka, &'static Cassandra)> {
    std::thread::scope(|scope| {
        let kafka = scope.spawn(kafka::shared);
        let cassandra = cassandra::shared();
        Some((kafka.join().expect("start Kafka")?, cassandra?))
    })
}
