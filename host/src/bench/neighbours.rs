//! What a stage in trouble costs the partitions beside it: a whole pipeline, from the append to the visible row.

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use super::pipeline::{Latency, NAME, Paced, TABLE, cannot};
use super::sandbox::STOPPED_AFTER;
use crate::plugin::Engine;
use crate::record::Message;
use crate::store::log::partition_of;

const PARTITIONS: u32 = 2;
/// Partition 0 has one record for so many of partition 1, each 100 ms: its loop and the search for it take about as long.
const EVERY: u64 = 100;

/// Due → visible of partition 1 while the records of partition 0 are dropped, and while each is a loop that is stopped.
pub(super) fn neighbours(engine: &Engine, guest: &Path, time: Duration) -> Result<(Latency, Latency), String> {
    let dir = tempfile::tempdir().map_err(cannot("make a folder"))?;
    let guest = guest.canonicalize().map_err(|error| format!("find {}: {error}", guest.display()))?;
    let text = format!(
        "name = \"{NAME}\"\n[topic]\npartitions = {PARTITIONS}\nretention = \"for ever\"\n[dead-letters]\nstop-when = \"never\"\n\
         [[stage]]\nname = \"told\"\nplugin = {}\nlimits = {{ batch-time = \"{}ms\" }}\n\
         [[sink]]\nname = \"told\"\ntable = \"{TABLE}\"\n\
         [sink.columns]\nid = {{ field = \"payload\", type = \"text\", key = \"partition\" }}\n",
        Value::from(guest.display().to_string()),
        STOPPED_AFTER.as_millis(),
    );
    let beside = |task: &str| {
        let paced = Paced { text: text.clone(), dir: dir.path().join(task), partitions: PARTITIONS, seconds: time.as_secs() };
        paced.latency(engine, |number| {
            let mut page = vec![told(1, "ok", number)];
            if number % EVERY == 0 {
                page.push(told(0, task, number));
            }
            page
        })
    };
    Ok((beside("drop")?, beside("spin")?))
}

/// A record of a partition.
fn told(partition: u32, task: &str, number: u64) -> Message {
    let key = (0_u32..).map(|key| key.to_string().into_bytes()).find(|key| partition_of(key, PARTITIONS) == partition);
    let value = json!({ "do": task, "payload": number.to_string() });
    Message {
        key,
        value: Some(value.to_string().into_bytes()),
        timestamp: jiff::Timestamp::now().as_millisecond(),
        headers: Vec::new(),
    }
}
