//! The baselines: what a person writes by hand with the bare clients, typed serde and nothing between.

use std::hint::black_box;
use std::time::{Duration, Instant};

use futures_util::{StreamExt, TryStreamExt};
use rdkafka::Message;
use rdkafka::consumer::{BaseConsumer, Consumer, StreamConsumer};
use scylla::serialize::SerializationError;
use scylla::serialize::row::{RowSerializationContext, SerializeRow};
use scylla::serialize::writers::RowWriter;

use super::{Bench, Filled, IN_FLIGHT, PATIENCE, TABLE, Through};
use crate::bench::native::{Row, row};
use crate::bench::pipeline::{COLUMNS, cannot};
use crate::bench::process_time;

impl Bench {
    pub(super) fn consumer(&self, group: &str) -> rdkafka::ClientConfig {
        let mut config = self.client();
        config
            .set("group.id", group)
            .set("auto.offset.reset", "earliest")
            .set("partition.assignment.strategy", "cooperative-sticky");
        // Without it, it stalls for a second each time that its queue is full.
        config.set("fetch.queue.backoff.ms", "2");
        config
    }
}

/// Reads the whole topic, computes each row and drops it.
pub(super) fn null(bench: &Bench, topic: &Filled, group: &str) -> Result<Through, String> {
    let cpu = process_time();
    let consumer: BaseConsumer = bench.consumer(group).create().map_err(cannot("make a consumer"))?;
    consumer.subscribe(&[&topic.name]).map_err(cannot("subscribe"))?;
    let (mut rows, mut began) = (0, Instant::now());
    while rows < topic.records {
        // Nothing is also what it says of a rebalance.
        let Some(record) = consumer.poll(PATIENCE) else { continue };
        let record = record.map_err(cannot("read a record"))?;
        black_box(of(&record)?);
        if rows == 0 {
            began = Instant::now();
        }
        rows += 1;
    }
    Ok(Through::of(rows, began.elapsed(), process_time() - cpu))
}

/// Reads the whole topic, computes each row and inserts it, with so many in flight.
pub(super) async fn cassandra(bench: &Bench, topic: &Filled, group: &str) -> Result<Through, String> {
    let cpu = process_time();
    let consumer: StreamConsumer = bench.consumer(group).create().map_err(cannot("make a consumer"))?;
    consumer.subscribe(&[&topic.name]).map_err(cannot("subscribe"))?;
    let session = bench.session().await?;
    let names: String = COLUMNS.iter().map(|(name, _)| format!(", {name}")).collect();
    let insert = format!("INSERT INTO {TABLE} (id{names}) VALUES (?{}) USING TIMESTAMP ?", ", ?".repeat(COLUMNS.len()));
    let mut insert = session.prepare(insert).await.map_err(cannot("prepare"))?;
    insert.set_is_idempotent(true);
    let time = jiff::Timestamp::now().as_microsecond();
    let (session, insert) = (&session, &insert);
    let written = consumer.stream().take(topic.records as usize).map(|record| async move {
        let record = record.map_err(cannot("read a record"))?;
        let values = Values { row: of(&record)?, time: time + record.offset() };
        session.execute_unpaged(insert, values).await.map(drop).map_err(cannot("insert a row"))
    });
    let mut written = std::pin::pin!(written.buffer_unordered(IN_FLIGHT));
    let first = tokio::time::timeout(PATIENCE, written.try_next()).await.map_err(|_| "no record came")?;
    first?;
    let began = Instant::now();
    while written.try_next().await?.is_some() {}
    Ok(Through::of(topic.records, began.elapsed(), process_time() - cpu))
}

fn of<'a>(record: &'a impl Message) -> Result<Row<'a>, String> {
    row(record.payload().unwrap_or_default(), record.timestamp().to_millis().unwrap_or(0))
}

impl Through {
    fn of(rows: u64, took: Duration, cpu_seconds: f64) -> Through {
        Through {
            records_per_second: (rows - 1) as f64 / took.as_secs_f64(),
            cpu_seconds_per_million: cpu_seconds * 1e6 / rows as f64,
            ..Through::default()
        }
    }
}

struct Values<'a> {
    row: Row<'a>,
    /// µs.
    time: i64,
}

impl SerializeRow for Values<'_> {
    fn serialize(&self, _: &RowSerializationContext<'_>, writer: &mut RowWriter<'_>) -> Result<(), SerializationError> {
        let row = &self.row;
        let mut cell = |value: Option<&[u8]>| {
            let cell = writer.make_cell_writer();
            match value {
                Some(value) => cell.set_value(value).map(drop).map_err(SerializationError::new),
                None => {
                    cell.set_null();
                    Ok(())
                }
            }
        };
        cell(Some(uuid::Uuid::parse_str(&row.id).map_err(SerializationError::new)?.as_bytes()))?;
        let texts = [&row.first_name, &row.last_name, &row.gender];
        texts.into_iter().try_for_each(|text| cell(Some(text.as_bytes())))?;
        cell(Some(row.address.as_bytes()))?;
        cell(row.post_code.as_ref().map(|code| code.0.as_bytes()))?;
        cell(Some(row.email.as_bytes()))?;
        cell(Some(row.username.as_bytes()))?;
        cell(Some(&row.registered_date.as_millisecond().to_be_bytes()))?;
        cell(Some(row.phone.as_bytes()))?;
        cell(Some(row.picture.as_bytes()))?;
        cell(Some(&row.dob.as_millisecond().to_be_bytes()))?;
        cell(Some(row.full_name.as_bytes()))?;
        cell(Some(row.email_provider.as_bytes()))?;
        cell(Some(row.age_band.as_bytes()))?;
        cell(Some(&i32::from(row.registration_year).to_be_bytes()))?;
        cell(Some(&self.time.to_be_bytes()))
    }

    fn is_empty(&self) -> bool {
        false
    }
}
