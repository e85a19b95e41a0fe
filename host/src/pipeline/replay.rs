//! Replaying a dead letter: through the present generation, at the record's own write time (delivery §7), so that newer rows of its
//! key stay.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow, bail};

use super::crash;
use super::deliver::Deliver;
use super::worker::{self, Decided};
use crate::config::units;
use crate::record::{Batch, Place, RecordRef, RowOutcome};
use crate::topic::{Boundary, DeadLetter, Resolution};

/// `Ok(None)`: it passed; `Ok(Some(reason))`: it was rejected again and stays.
pub async fn replay(deliver: &Deliver, place: Place, force: bool) -> anyhow::Result<Option<String>> {
    let letter = letter(deliver, place).await?;
    let decided = decide(deliver, &letter).await?;
    if let Some(RowOutcome::Rejected { reason, .. }) = decided.outcomes.first() {
        return Ok(Some(reason.clone()));
    }
    if !force {
        let age = Duration::from_micros(u64::try_from(super::now_micros() - letter.write_time).unwrap_or(0));
        for sink in &decided.generation.code.sinks {
            let remembered = sink.remembers_deletes().await;
            let remembered = remembered.with_context(|| format!("ask sink {} how long it remembers deletes", sink.name()))?;
            young_enough(sink.name(), age, remembered)?;
        }
    }
    deliver.topic.begin_replay(place, decided.generation.number).await.context("begin the replay")?;
    crash::point("after-replay-begun");
    finish(deliver, place, decided).await
}

/// Its row is written at its own time: an older one than the sink remembers deletes of could bring a deleted row back.
fn young_enough(sink: &str, age: Duration, remembered: Duration) -> anyhow::Result<()> {
    if age <= remembered {
        return Ok(());
    }
    let whole = |time: Duration| {
        units::duration_text(Duration::from_secs(match time.as_secs() {
            // Beyond two days nobody counts the hours.
            seconds @ ..172_800 => seconds,
            seconds => seconds - seconds % 86_400,
        }))
    };
    bail!(
        "the dead letter is {} old, and sink {sink} remembers deletes for {}: a row of its key that was deleted since may come back, \
         replay it with --force",
        whole(age),
        whole(remembered)
    )
}

/// What a replay would say. Nothing is written; a server that refuses its row is not asked.
pub async fn rehearse(deliver: &Deliver, place: Place) -> anyhow::Result<Option<String>> {
    let decided = decide(deliver, &letter(deliver, place).await?).await?;
    Ok(match decided.outcomes.into_iter().next() {
        Some(RowOutcome::Rejected { reason, .. }) => Some(reason),
        _ => None,
    })
}

async fn letter(deliver: &Deliver, place: Place) -> anyhow::Result<DeadLetter> {
    let letter = deliver.topic.dead_letter(place).await.context("read the dead letter")?;
    letter.with_context(|| format!("there is no dead letter at {}/{}", place.partition, place.offset))
}

async fn decide(deliver: &Deliver, letter: &DeadLetter) -> anyhow::Result<Decided> {
    let place = letter.place;
    let mut batch = Batch::new(place.partition);
    batch.push(RecordRef {
        offset: place.offset,
        timestamp: letter.timestamp,
        key: letter.key.as_deref(),
        value: letter.value.as_deref(),
        headers: &letter.headers,
    });
    // One that has begun is finished under the generation that it began with: its rows may stand in some of the sinks.
    let begun = deliver.topic.replay_generation(place).await.context("read the receipts")?;
    let generation = match begun {
        Some(number) => deliver.generations.get(number).await.map_err(anyhow::Error::msg)?,
        None => deliver.generations.present(),
    };
    let boundary = Boundary { first: place.offset, generation: generation.number, time: letter.write_time };
    let decided = worker::decide_alone(Arc::new(batch), boundary, generation).await;
    decided.map_err(|error| anyhow!("decide the dead letter: {error}"))
}

/// Writes its rows, then removes the letter: in one step where all sinks live in the topic's store.
async fn finish(deliver: &Deliver, place: Place, decided: Decided) -> anyhow::Result<Option<String>> {
    let store = deliver.topic.joins();
    let mut joined = Vec::new();
    for (sink, bound) in decided.generation.code.sinks.iter().zip(decided.bound) {
        if bound.rows() == 0 {
            continue;
        }
        let joins = match &store {
            Some(store) => sink.join(store, bound),
            None => Err(bound),
        };
        match joins {
            Ok(write) => joined.push(write),
            Err(bound) => {
                let refused = sink.write(&bound).await.with_context(|| format!("write to sink {}", sink.name()))?;
                if let Some((_, reason)) = refused.into_iter().next() {
                    return Ok(Some(format!("sink {}: {reason}", sink.name())));
                }
            }
        }
    }
    crash::point("before-letter-removed");
    let how = Resolution::Replayed { generation: decided.generation.number };
    deliver.topic.resolve_dead_letter(place, how, joined).await.context("remove the dead letter")?;
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_older_than_a_delete_is_remembered_is_refused_with_a_way_out() {
        let days = |days: u64| Duration::from_secs(days * 86_400);
        assert!(young_enough("users", days(10), days(10)).is_ok());
        let refused = |age, remembered| young_enough("users", age, remembered).expect_err("it is refused").to_string();
        let reason = refused(days(12) + Duration::from_secs(5), days(10));
        assert!(reason.starts_with("the dead letter is 12d old, and sink users remembers deletes for 10d: "), "{reason}");
        assert!(reason.ends_with("replay it with --force"), "{reason}");
        let reason = refused(Duration::from_secs(90), Duration::ZERO);
        assert!(reason.starts_with("the dead letter is 90s old, and sink users remembers deletes for 0s: "), "{reason}");
    }
}
