//! Other code while records flow: how long a partition's rows wait until the boundary of a swap is saved.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::{Offset, TopicPartitionList};
use rustix::process::Signal;
use serde::Serialize;
use serde_json::Value;

use super::{Bench, Into, LOOK_EVERY, Latency, PATIENCE, cannot, end, produce_paced, status};
use crate::bench::builds::{self, Builds};
use crate::plugin::Engine;

/// Swaps that are not counted.
const WARM_UP: usize = 20;
/// Between a swap and the transaction of the baseline, and between that and the next swap; about, so that the moments at which positions
/// are saved anyway, once a second, are met by chance.
const PAUSE: Duration = Duration::from_millis(500);
/// About as large as a position.
const POSITION_BYTES: usize = 600;

/// A swap about each second at 1,000 records/s.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Boundaries {
    pub partitions: u32,
    pub swaps: usize,
    /// How long the rows of each partition waited; 0 where they came later.
    pub waited: Latency,
    /// Baseline, between the swaps: one transaction of a bare client over two topics and the offset of a group.
    pub transaction: Latency,
}

impl Bench {
    pub fn boundaries(&self, engine: &Engine, into: Into, partitions: u32, swaps: usize) -> Result<Boundaries, String> {
        let topic = self.topic(partitions)?;
        let mut builds = Builds::new(&self.plugins, &self.dir, engine)?;
        let (name, file) = self.pipeline(&topic, into)?;
        let text = std::fs::read_to_string(&file).map_err(cannot("read a pipeline file"))?;
        std::fs::write(&file, builds::replaced(&text)?).map_err(cannot("write a pipeline file"))?;
        let data = self.dir.join(&name);
        let mut host = self.start(&file, &data, &["--watch"])?;
        let address = host.ready(&data.join(&name))?;
        let bare = Bare::new(self)?;
        let (producer, ended) = (self.producer("0")?, AtomicBool::new(false));
        let measured = thread::scope(|scope| {
            let (to, stop) = (&topic.name, &ended);
            let producing = scope.spawn(move || produce_paced(&producer, to, |_, _, _| !stop.load(Ordering::Relaxed)));
            let measured = (|| {
                let (mut waited, mut transactions) = (Vec::new(), Vec::new());
                for swap in 0..WARM_UP + swaps {
                    // Any phase of a save, in an order that never repeats.
                    thread::sleep(PAUSE.mul_f64(0.75 + (swap as f64 * 0.618).fract() / 2.0));
                    let took = bare.transaction()?;
                    thread::sleep(PAUSE);
                    let before = boundaries(&address)?;
                    builds.save()?;
                    let begun = Instant::now();
                    let newer = |after: &[(u64, f64)]| before.iter().zip(after).all(|(before, after)| before.0 < after.0);
                    while before.len() < partitions as usize || !newer(&boundaries(&address)?) {
                        if begun.elapsed() > PATIENCE {
                            return Err("a swap was not taken up by each partition".to_owned());
                        }
                        thread::sleep(LOOK_EVERY);
                    }
                    // Rows that waited have come by now.
                    thread::sleep(LOOK_EVERY);
                    if swap >= WARM_UP {
                        waited.extend(boundaries(&address)?.into_iter().map(|(_, waited)| waited));
                        transactions.push(took);
                    }
                }
                Ok((waited, transactions))
            })();
            ended.store(true, Ordering::Relaxed);
            producing.join().unwrap_or_else(|_| Err("the thread that produces has ended".to_owned()))?;
            measured
        });
        let (waited, transactions) = measured?;
        end(&mut host, Signal::TERM)?;
        self.remove(&name);
        self.forget(topic);
        bare.names.iter().for_each(|name| self.remove(name));
        Ok(Boundaries { partitions, swaps, waited: Latency::of(waited), transaction: Latency::of(transactions) })
    }
}

/// Of each partition the generation of the latest boundary that is saved, and how long its rows waited for it, ms.
fn boundaries(address: &str) -> Result<Vec<(u64, f64)>, String> {
    let status = status(address)?;
    let partitions = status["partitions"].as_object().ok_or("no partitions in the host's status")?;
    let of = |partition: &Value| Some((partition["generation"].as_u64()?, partition["boundary-ms"].as_f64()?));
    Ok(partitions.values().filter_map(of).collect())
}

/// Bare clients.
struct Bare {
    producer: BaseProducer,
    consumer: BaseConsumer,
    /// Of two topics; the first is also that of a group.
    names: [String; 2],
}

impl Bare {
    fn new(bench: &Bench) -> Result<Bare, String> {
        let names = [bench.topic(1)?.name, bench.topic(1)?.name];
        let consumer: BaseConsumer = bench.consumer(&names[0]).create().map_err(cannot("make a consumer"))?;
        let mut config = bench.client();
        config.set("linger.ms", "0").set("transactional.id", &names[0]);
        let producer: BaseProducer = config.create().map_err(cannot("make a producer"))?;
        producer.init_transactions(PATIENCE).map_err(cannot("begin transactions"))?;
        Ok(Bare { producer, consumer, names })
    }

    /// How long it takes, ms.
    fn transaction(&self) -> Result<f64, String> {
        let group = self.consumer.group_metadata().ok_or("no group")?;
        let mut offsets = TopicPartitionList::new();
        offsets.add_partition_offset(&self.names[0], 0, Offset::Offset(1)).map_err(cannot("say an offset"))?;
        let begun = Instant::now();
        self.producer.begin_transaction().map_err(cannot("begin a transaction"))?;
        for name in &self.names {
            let record = BaseRecord::to(name).partition(0).key("k").payload(&[b'p'; POSITION_BYTES]);
            self.producer.send(record).map_err(|(error, _)| format!("produce: {error}"))?;
        }
        // The commit would wait for answers that nobody takes.
        while self.producer.in_flight_count() > 0 {
            self.producer.poll(Duration::from_millis(1));
        }
        self.producer.send_offsets_to_transaction(&offsets, &group, PATIENCE).map_err(cannot("send offsets"))?;
        self.producer.commit_transaction(PATIENCE).map_err(cannot("commit a transaction"))?;
        Ok(begun.elapsed().as_secs_f64() * 1e3)
    }
}
