//! Opens the readers that a pipeline's addresses ask for.

use std::collections::BTreeMap;
use std::path::Path;

use super::cassandra::CassandraTable;
use super::embedded::{EmbeddedTable, EmbeddedTopic};
use super::evidence::{Error, Table, Topic};
use super::kafka::KafkaTopic;
use crate::config::plan::{Pipeline, SinkAddress, TopicAddress};

/// All that is looked at.
pub struct Evidence {
    pub topic: Box<dyn Topic>,
    /// By the sink's place in the plan.
    pub tables: BTreeMap<usize, Box<dyn Table>>,
}

/// Opens topic and tables for reading; `store_dir` is the folder of the pipeline's store. `Err` says what is not there.
pub fn open(plan: &Pipeline, store_dir: &Path) -> Result<Evidence, Error> {
    let store = store_dir.join("store.db");
    let topic: Box<dyn Topic> =
        match &plan.topic.at {
            TopicAddress::Embedded => {
                let topic = EmbeddedTopic::open(&store, &plan.topic.name)?;
                Box::new(topic.ok_or_else(|| {
                    Error(format!("{} has no topic `{}`: nothing has run yet", store.display(), plan.topic.name))
                })?)
            }
            TopicAddress::Kafka(cluster) => Box::new(KafkaTopic::open(cluster, &plan.topic.name, &plan.name, &store)?),
        };
    let mut tables: BTreeMap<usize, Box<dyn Table>> = BTreeMap::new();
    for (at, sink) in plan.sinks.iter().enumerate() {
        match &sink.at {
            SinkAddress::Embedded { table } => {
                let found = EmbeddedTable::open(&store, table)?;
                let found = found.ok_or_else(|| {
                    Error(format!("{} has no table `{table}`: sink `{}` never ran", store.display(), sink.name))
                })?;
                tables.insert(at, Box::new(found));
            }
            SinkAddress::Cassandra { hosts, table } => {
                let found = CassandraTable::open(sink, hosts, table)?;
                let found =
                    found.ok_or_else(|| Error(format!("there is no table `{table}` in the cluster of sink `{}`", sink.name)))?;
                tables.insert(at, Box::new(found));
            }
            SinkAddress::File { .. }
            | SinkAddress::Stdout
            | SinkAddress::Topic { .. }
            | SinkAddress::KafkaTopic { .. }
            | SinkAddress::Null
            | SinkAddress::Memory { .. } => {}
        }
    }
    Ok(Evidence { topic, tables })
}
