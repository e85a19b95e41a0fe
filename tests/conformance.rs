//! One list of what every topic must do, and one of what every table must do. Each check has a double that fails it.

#[path = "conformance/tables.rs"]
mod tables;
#[path = "conformance/topics.rs"]
mod topics;

use std::sync::Arc;

use serde_json::{Value, json};
use tables::{CHECKS, Flaw, Step};
use tidemill::config::plan::{NullValue, Retention, SinkAddress, TopicAddress, TopicPlan};
use tidemill::sink;
use tidemill::store::Store;
use tidemill::topic::Topic;
use tidemill::topic::embedded::Embedded;

async fn value_after(at: SinkAddress, steps: &[Step], flaw: Flaw) -> Option<Value> {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let plan = tables::plan(at.clone());
    let sink = sink::open(&plan, &store).await.unwrap();
    tables::apply(sink.as_ref(), steps, flaw).await;
    let rows = match &at {
        SinkAddress::Memory { name } => sink::memory::kept(name).rows(),
        _ => sink::embedded::latest(&store, "k.t", &plan.columns, 20).await.unwrap(),
    };
    assert!(rows.len() <= 1, "one key, one row");
    rows.first().map(|row| row["v"].clone())
}

#[tokio::test]
async fn every_table_passes_each_check_and_a_double_fails_it() {
    for (n, (name, steps, wanted, flaw)) in CHECKS.into_iter().enumerate() {
        let wanted = wanted.map(|value| json!(value));
        let embedded = || SinkAddress::Embedded { table: "k.t".to_owned() };
        let memory = SinkAddress::Memory { name: format!("conformance {n}") };
        assert_eq!(value_after(embedded(), steps, Flaw::None).await, wanted, "embedded: {name}");
        assert_eq!(value_after(memory, steps, Flaw::None).await, wanted, "memory: {name}");
        assert_ne!(value_after(embedded(), steps, flaw).await, wanted, "the double passes: {name}");
    }
}

#[tokio::test]
async fn the_embedded_topic_passes_each_check_and_a_double_fails_it() {
    let mut stores = Vec::new();
    topics::list(|| {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        stores.push(dir);
        async move {
            let plan = TopicPlan {
                name: "t".to_owned(),
                at: TopicAddress::Embedded,
                key: None,
                partitions: 1,
                retention: Retention { age: None, bytes: None },
                null_value: NullValue::Reject,
            };
            Arc::new(Embedded::open(&store, &plan).await.unwrap()) as Arc<dyn Topic>
        }
    })
    .await;
}
