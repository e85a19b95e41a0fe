//! Dead letters with their bodies: the view knows where they are, and a client of its own reads them there.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::{Offset, TopicPartitionList};

use super::names::{self, Side};
use super::queue::{Enough, Queue, What};
use super::view::Body;
use super::{Inner, fatal, letters};
use crate::kafka::{self, Logs};
use crate::record::{Header, Place};
use crate::store::Signal;
use crate::topic::{DeadLetter, Error};

const PATIENCE: Duration = Duration::from_secs(30);

struct Open {
    body: Body,
    headers: Vec<Header>,
    values: BTreeMap<u32, Vec<u8>>,
}

impl Open {
    fn is_whole(&self) -> bool {
        self.values.len() as u32 == self.body.parts
    }
}

/// Those that are still there, in the order asked for. Blocks.
pub(super) fn read(inner: &Inner, wanted: &[(Place, Body)]) -> Result<Vec<DeadLetter>, Error> {
    let mut partitions: BTreeMap<u32, BTreeMap<Place, Open>> = BTreeMap::new();
    for (place, body) in wanted {
        let open = Open { body: *body, headers: Vec::new(), values: BTreeMap::new() };
        partitions.entry(place.partition).or_default().insert(*place, open);
    }
    if partitions.is_empty() {
        return Ok(Vec::new());
    }
    let topic = inner.names.side(Side::Letters);
    let mut client: BaseConsumer<Logs> = kafka::consumer(&inner.plan, inner.names.group())
        .create_with_context(Logs)
        .map_err(|error| fatal("make a Kafka client", &error))?;
    let signal = Arc::new(Signal::default());
    let raised = signal.clone();
    client.set_nonempty_callback(move || raised.raise());
    let client = Arc::new(client);
    let mut assignment = TopicPartitionList::new();
    let mut queues = Vec::new();
    for (partition, letters) in &partitions {
        let first = letters.values().map(|open| open.body.offset).min().unwrap_or(0);
        let _ = assignment.add_partition_offset(&topic, *partition as i32, Offset::Offset(first));
        queues.extend(Queue::split(&client, &topic, *partition, signal.clone()).map(|queue| (*partition, queue)));
    }
    client.assign(&assignment).map_err(|error| fatal("read dead letters", &error))?;
    let until = Instant::now() + PATIENCE;
    while !queues.is_empty() {
        let seen = signal.count();
        queues.retain_mut(|(partition, queue)| {
            let letters = partitions.get_mut(partition).expect("one queue for each");
            !serve(queue, letters)
        });
        if Instant::now() > until {
            return Err(Error::Transient("dead letters cannot be read at present".to_owned()));
        }
        if !queues.is_empty() {
            signal.wait(seen, Some(Duration::from_millis(200)));
            let _ = client.poll(Duration::ZERO);
        }
    }
    let mut found: BTreeMap<Place, Open> = partitions.into_values().flatten().collect();
    let open = |(place, _): &(Place, Body)| found.remove(place).filter(Open::is_whole).map(|open| (*place, open));
    wanted
        .iter()
        .filter_map(open)
        .map(|(place, open)| letters::read(place, &open.headers, open.values.into_values().collect()))
        .collect()
}

/// Whether all of the partition's were found, or it has no more.
fn serve(queue: &mut Queue<Logs>, letters: &mut BTreeMap<Place, Open>) -> bool {
    let mut ended = false;
    queue.serve(|fetched| {
        match fetched.what() {
            What::Record => {
                let key = fetched.key().and_then(|key| std::str::from_utf8(key).ok()).and_then(names::letter_key);
                if let (Some((place, part)), Some(value)) = (key, fetched.value())
                    && let Some(open) = letters.get_mut(&place)
                    && (fetched.offset() == open.body.offset || (part > 0 && part < open.body.parts && !open.headers.is_empty()))
                {
                    if part == 0 {
                        open.headers = fetched.headers();
                    }
                    open.values.entry(part).or_insert_with(|| value.to_vec());
                }
            }
            What::End => ended = true,
            What::Failed(_) => {}
        }
        if ended { Enough::Yes } else { Enough::No }
    });
    ended || letters.values().all(Open::is_whole)
}
