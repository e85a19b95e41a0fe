//! Where an assignment of a partition begins: as its position says, or afresh where a person moved the offset or the code is not here
//! that may have decided what comes next (delivery §3).

use super::boundary::Course;
use super::deliver::Deliver;
use super::drain::BackOff;
use super::partition::{PAUSE_MAX, PAUSE_MIN, Partition, Stop};
use crate::topic::{Figures, Position};

/// Where and how an assignment begins.
pub(super) struct Begun {
    pub(super) course: Course,
    pub(super) position: Position,
    /// Records below it were decided before, and are decided again.
    pub(super) again_below: i64,
    /// Begun afresh: that is saved before anything else.
    pub(super) afresh: bool,
}

impl Partition {
    pub(super) async fn begin(&self) -> Result<Begun, Stop> {
        let (number, present) = (self.number, self.deliver.generations.present().number);
        let why = match (&self.position, self.moved) {
            (_, Some(moved)) => Some(format!("a person has moved its offset to {moved}")),
            (Some(position), None) => self.lacks(position).await?,
            (None, None) => None,
        };
        let next = self.moved.or(self.position.as_ref().map(|position| position.next)).unwrap_or(self.first);
        let mut figures = self.position.as_ref().map_or_else(Figures::default, |position| position.figures.clone());
        let settled = self.position.as_ref().map_or(next, |position| position.next);
        if next < settled {
            figures.counted_below = Some(figures.counted_below.map_or(settled, |known| known.max(settled)));
        }
        let fresh = Position { next, reach: next, boundaries: Vec::new(), figures };
        let Some(why) = why else {
            let course = Course::resume(self.position.as_ref(), present);
            let position = self.position.clone().unwrap_or(fresh);
            return Ok(Begun { course, position, again_below: i64::MIN, afresh: false });
        };
        // Beyond it nobody has written anything, not even a host that does not know yet that it lost the partition.
        let end = self.end().await?;
        let course = Course::anew(self.position.as_ref(), present, next, end, super::now_micros());
        let again_below = self.position.as_ref().map_or(i64::MIN, |position| position.reach.max(position.next));
        tracing::warn!(
            partition = number,
            "{why}: it goes on at offset {next} under generation {present}, later than anything that was written before; \
             what lies below {again_below} is decided again, and counted as re-decided"
        );
        Ok(Begun { course, position: fresh, again_below, afresh: true })
    }

    /// Whether a predecessor may have written rows with code that is not here.
    async fn lacks(&self, position: &Position) -> Result<Option<String>, Stop> {
        for boundary in Course::binding(position) {
            let about = format!("partition {}: code", self.number);
            let has = patiently(&self.deliver, &about, || self.deliver.generations.has(boundary.generation)).await?;
            if !has {
                return Ok(Some(format!("the code of generation {}, which another host ran, is not here", boundary.generation)));
            }
        }
        Ok(None)
    }

    async fn end(&self) -> Result<i64, Stop> {
        let ends = patiently(&self.deliver, &format!("partition {}: end", self.number), || self.deliver.topic.ends()).await?;
        Ok(ends.into_iter().find(|end| end.partition == self.number).map_or(self.first, |end| end.end))
    }
}

/// Asks until there is an answer, or the host drains.
async fn patiently<T, E: std::fmt::Display, F: Future<Output = Result<T, E>>>(
    deliver: &Deliver,
    about: &str,
    mut ask: impl FnMut() -> F,
) -> Result<T, Stop> {
    let mut back_off = BackOff::new(PAUSE_MIN, PAUSE_MAX);
    loop {
        match ask().await {
            Ok(answer) => {
                deliver.report.alarm(about, None);
                return Ok(answer);
            }
            Err(error) => {
                deliver.report.alarm(about, Some(format!("{about}: {error}")));
                deliver.drain.or(tokio::time::sleep(back_off.pause())).await.ok_or(Stop::GivenUp)?;
            }
        }
    }
}
