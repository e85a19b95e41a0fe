//! How long single things take: from a produced record to its row, and from a host's end to the first commit of the next one.

use std::time::{Duration, Instant};

use rdkafka::TopicPartitionList;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rustix::process::Signal;
use scylla::client::session::Session;
use scylla::statement::prepared::PreparedStatement;
use serde::Serialize;
use tokio::sync::mpsc;
use uuid::Uuid;

use super::{Bench, Filled, Host, Into, PATIENCE, RECORDS_PER_SECOND, TABLE, cannot, end, native, produce_paced};
use crate::bench::{Sorted, median};

/// One record of so many is looked for: looking costs Cassandra as much as writing.
const LOOKED_FOR: u64 = 10;
const LOOK_AGAIN: Duration = Duration::from_millis(1);
/// Records before the first one that counts.
const LEAD_IN: u64 = 10 * RECORDS_PER_SECOND;
const ASK_EVERY: Duration = Duration::from_millis(3);

/// How long something that was measured so many times takes.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Latency {
    pub count: usize,
    pub p50_ms: f64,
    pub p99_ms: f64,
    pub max_ms: f64,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Restart {
    /// From the start of the process to its place in the group.
    pub let_in_ms: f64,
    /// From there to the first offset that it commits.
    pub first_commit_ms: f64,
}

impl Bench {
    /// Of the host and of bare clients, which take turns: of each figure the median of the rounds, and the largest of all. The bare clients
    /// begin, since Cassandra still tidies up after the load before.
    pub fn latencies(&self, seconds: u64, rounds: usize) -> Result<(Latency, Latency), String> {
        let mut turns = Vec::with_capacity(rounds);
        for _ in 0..rounds {
            let native = self.latency(false, seconds)?;
            turns.push((self.latency(true, seconds)?, native));
        }
        let (tidemill, native): (Vec<_>, Vec<_>) = turns.into_iter().unzip();
        Ok((Latency::median(&tidemill), Latency::median(&native)))
    }

    /// From the call that produces a record to the moment its row can be read, which is tried again every millisecond; at 1,000 records/s over
    /// one partition, by a plain producer that waits for nothing.
    fn latency(&self, by_host: bool, seconds: u64) -> Result<Latency, String> {
        let records = LEAD_IN + seconds.max(1) * RECORDS_PER_SECOND;
        let topic = Filled { records, ..self.topic(1)? };
        let (name, file) = self.pipeline(&topic, Into::Cassandra)?;
        let host = if by_host { Some(self.start(&file, &self.dir.join(&name), &[])?) } else { None };
        let producer = self.producer("0")?;
        let (sender, mut sent) = mpsc::unbounded_channel();
        let to = topic.name.clone();
        let produce = move || {
            produce_paced(&producer, &to, |number, message, at| {
                if number >= LEAD_IN && number.is_multiple_of(LOOKED_FOR) {
                    let _ = sender.send((message.key.unwrap_or_default(), at));
                }
                number + 1 < records
            })
        };
        let times = self.runtime.block_on(async {
            let session = std::sync::Arc::new(self.session().await?);
            let select = session.prepare(format!("SELECT id FROM {TABLE} WHERE id = ?")).await.map_err(cannot("prepare"))?;
            let native = async { if by_host { Ok(()) } else { native::cassandra(self, &topic, &name).await.map(drop) } };
            let looked = async {
                let producing = tokio::task::spawn_blocking(produce);
                let mut looks = Vec::new();
                while let Some((id, at)) = sent.recv().await {
                    looks.push(tokio::spawn(seen(session.clone(), select.clone(), id, at)));
                }
                producing.await.map_err(cannot("produce"))??;
                let mut times = Vec::with_capacity(looks.len());
                for look in looks {
                    times.push(look.await.map_err(cannot("look for a row"))??.as_secs_f64() * 1e3);
                }
                Ok(times)
            };
            tokio::try_join!(looked, native).map(|(times, ())| times)
        })?;
        host.map_or(Ok(()), |mut host| end(&mut host, Signal::TERM))?;
        self.remove(&name);
        self.forget(topic);
        Ok(Latency::of(times))
    }

    /// Ends a host at work with a signal and starts it again. After a kill the group lets it in when the dead one's session ends.
    pub fn restart(&self, topic: &Filled, signal: Signal) -> Result<Restart, String> {
        let (name, file) = self.pipeline(topic, Into::Cassandra)?;
        let data = self.dir.join(&name);
        let asking: BaseConsumer = self.client().set("group.id", &name).create().map_err(cannot("make a consumer"))?;
        let mut host = self.start(&file, &data, &[])?;
        until(&mut host, || Ok(self.committed(&asking, topic)? > 0))?;
        let before = members(&asking, &name)?;
        end(&mut host, signal)?;
        let committed = self.committed(&asking, topic)?;
        let began = Instant::now();
        let mut host = self.start(&file, &data, &[])?;
        until(&mut host, || Ok(members(&asking, &name)?.iter().any(|member| !before.contains(member))))?;
        let let_in = began.elapsed();
        until(&mut host, || Ok(self.committed(&asking, topic)? > committed))?;
        let first_commit = began.elapsed() - let_in;
        end(&mut host, Signal::TERM)?;
        self.remove(&name);
        Ok(Restart { let_in_ms: let_in.as_secs_f64() * 1e3, first_commit_ms: first_commit.as_secs_f64() * 1e3 })
    }

    /// Records of all partitions that the consumer's group has committed.
    fn committed(&self, asking: &BaseConsumer, topic: &Filled) -> Result<i64, String> {
        let mut partitions = TopicPartitionList::new();
        partitions.add_partition_range(&topic.name, 0, topic.partitions as i32 - 1);
        let offsets = asking.committed_offsets(partitions, PATIENCE).map_err(cannot("ask for offsets"))?;
        Ok(offsets.elements().iter().filter_map(|partition| partition.offset().to_raw()).filter(|offset| *offset > 0).sum())
    }
}

impl Latency {
    /// `times` in ms.
    pub(super) fn of(times: Vec<f64>) -> Latency {
        let (count, times) = (times.len(), Sorted::of(times));
        Latency { count, p50_ms: times.at(0.5), p99_ms: times.at(0.99), max_ms: times.at(1.0) }
    }

    fn median(of: &[Latency]) -> Latency {
        let middle = |figure: fn(&Latency) -> f64| median(&mut of.iter().map(figure).collect::<Vec<_>>());
        Latency {
            count: of.iter().map(|latency| latency.count).sum(),
            p50_ms: middle(|latency| latency.p50_ms),
            p99_ms: middle(|latency| latency.p99_ms),
            max_ms: of.iter().map(|latency| latency.max_ms).fold(0.0, f64::max),
        }
    }
}

/// Waits for something while a host runs.
fn until(host: &mut Host, mut reached: impl FnMut() -> Result<bool, String>) -> Result<(), String> {
    let end = Instant::now() + PATIENCE;
    while !reached()? {
        if let Some(status) = host.0.try_wait().map_err(cannot("wait for the host"))? {
            return Err(format!("the host ended with {status}"));
        }
        if Instant::now() > end {
            return Err(format!("nothing happened within {PATIENCE:?}"));
        }
        std::thread::sleep(ASK_EVERY);
    }
    Ok(())
}

/// Members of a group that have their partitions.
fn members(asking: &BaseConsumer, group: &str) -> Result<Vec<String>, String> {
    let groups = asking.fetch_group_list(Some(group), PATIENCE).map_err(cannot("ask for the group"))?;
    let stable = groups.groups().iter().filter(|group| group.state() == "Stable");
    let members =
        stable.flat_map(|group| group.members()).filter(|member| member.assignment().is_some_and(|some| !some.is_empty()));
    Ok(members.map(|member| member.id().to_owned()).collect())
}

async fn seen(session: std::sync::Arc<Session>, select: PreparedStatement, id: Vec<u8>, at: Instant) -> Result<Duration, String> {
    let id = Uuid::parse_str(&String::from_utf8_lossy(&id)).map_err(cannot("read a key"))?;
    while at.elapsed() < PATIENCE {
        let found = session.execute_unpaged(&select, (id,)).await.map_err(cannot("look for a row"))?;
        if found.into_rows_result().map_err(cannot("look for a row"))?.rows_num() > 0 {
            return Ok(at.elapsed());
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
    Err("a row did not come".to_owned())
}
