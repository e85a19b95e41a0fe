//! Where a partition stands when this host gets it (delivery §1, take-over).
//!
//! The end of the positions is asked of a client that reads uncommitted, and read up to; only then is the committed offset asked for. A
//! save produces the position before it sends the offset, so whoever sees the offset sees the position that it belongs to, and one that
//! differs was moved by a person.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use super::Inner;
use super::names::Side;
use super::turns::Turns;
use crate::topic::{Boundary, Error, Position};

/// A save takes much less.
const OPEN_TRANSACTION: Duration = Duration::from_secs(2);

pub(super) struct Start {
    pub(super) partition: u32,
    pub(super) position: Option<Position>,
    pub(super) next: i64,
    pub(super) first: i64,
    /// A person has moved the committed offset there.
    pub(super) moved: Option<i64>,
    /// The topic does not hold what comes next, or is another one: never a jump.
    pub(super) gone: Option<Error>,
    /// Of the topic, where the cluster gives ids.
    pub(super) topic_id: Option<String>,
    pub(super) letters: BTreeMap<i64, u32>,
    pub(super) boundaries: Vec<Boundary>,
}

/// Blocks until all of it is known.
pub(super) fn starts(inner: &Inner, partitions: &[u32], given_up: &AtomicBool) -> Result<Vec<Start>, Error> {
    // A group that is still moving partitions tells some members that nothing is new for them: that too wants an answer.
    if partitions.is_empty() {
        return Ok(Vec::new());
    }
    catch_up(inner, partitions, given_up)?;
    inner.view.catch_up(&inner.lookups, Side::Letters, partitions)?;
    inner.view.catch_up(&inner.lookups, Side::Control, &[0])?;
    let topic_id = inner.lookups.topic_id()?;
    let committed = inner.lookups.committed(partitions)?;
    let extents = inner.lookups.extents(partitions)?;
    let start = |((partition, committed), (first, end)): ((&u32, Option<i64>), (i64, i64))| {
        let partition = *partition;
        let held = inner.view.position(partition);
        let of_another = held.as_ref().is_some_and(|held| is_another(held.topic_id.as_deref(), topic_id.as_deref()));
        let position = held.map(|held| held.position);
        let (next, moved) = place(position.as_ref(), committed, first);
        let gone = if of_another && moved.is_none() && next > first {
            Some(Error::Replaced { partition, wanted: next })
        } else {
            (next < first || next > end).then_some(Error::OutOfRange { partition, wanted: next, first, end })
        };
        let topic_id = topic_id.clone();
        let (letters, boundaries) = (inner.view.letters_of(partition), inner.view.boundaries(partition));
        Start { partition, position, next, first, moved, gone, topic_id, letters, boundaries }
    };
    Ok(partitions.iter().zip(committed).zip(extents).map(start).collect())
}

/// Reads the positions up to their end. A host that died while it saved has left a transaction open, which would stand in the way until the
/// cluster gives it up. Whoever saved these partitions last has lost them, so it is ended in its name; if it lives, it begins anew.
fn catch_up(inner: &Inner, partitions: &[u32], given_up: &AtomicBool) -> Result<(), Error> {
    let within = inner.view.catch_up_within(OPEN_TRANSACTION, &inner.lookups, Side::Positions, partitions);
    if within.is_ok() {
        return within;
    }
    let held = inner.view.positions();
    let others = partitions.iter().filter_map(|partition| held.get(partition)).map(|held| held.host.as_str());
    for host in others.filter(|host| *host != inner.names.host).collect::<BTreeSet<_>>() {
        tracing::info!(target: "kafka", "host {host} saved partitions {partitions:?} last: a transaction that it left open is ended");
        if let Err(error) = Turns::begin(inner, host, given_up) {
            tracing::debug!(target: "kafka", "{error}");
        }
    }
    inner.view.catch_up(&inner.lookups, Side::Positions, partitions)
}

/// Whether two ids are of two topics; a cluster that gives none tells nothing.
pub(super) fn is_another(one: Option<&str>, other: Option<&str>) -> bool {
    one.is_some() && other.is_some() && one != other
}

/// The offset to start at, and where a person has moved it. A committed offset that has expired changes nothing.
fn place(position: Option<&Position>, committed: Option<i64>, first: i64) -> (i64, Option<i64>) {
    match (position, committed) {
        (Some(position), None) => (position.next, None),
        (Some(position), Some(committed)) if committed == position.next => (committed, None),
        (_, Some(committed)) => (committed, Some(committed)),
        (None, None) => (first, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topic::Figures;

    #[test]
    fn the_position_is_the_truth_unless_a_person_has_moved_the_offset() {
        let at = |next| Position { next, reach: next, boundaries: Vec::new(), figures: Figures::default() };
        assert_eq!(place(None, None, 3), (3, None));
        assert_eq!(place(Some(&at(9)), None, 3), (9, None));
        assert_eq!(place(Some(&at(9)), Some(9), 3), (9, None));
        assert_eq!(place(Some(&at(9)), Some(4), 3), (4, Some(4)));
        assert_eq!(place(None, Some(4), 3), (4, Some(4)));
    }
}
