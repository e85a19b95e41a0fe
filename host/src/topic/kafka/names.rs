//! What a pipeline's topics, groups and transactions are called in the cluster, and the keys of its own records.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::record::Place;

/// Topics in which a pipeline keeps its own records; all are compacted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Side {
    /// Partition p holds the position of the topic's partition p.
    Positions,
    /// One partition: cursor, generations, boundaries, receipts.
    Control,
    /// Partition p holds the dead letters of the topic's partition p.
    Letters,
}

impl Side {
    pub(super) const ALL: [Side; 3] = [Side::Positions, Side::Control, Side::Letters];
}

#[derive(Clone, Debug)]
pub(super) struct Names {
    pub(super) pipeline: String,
    /// Id of this host.
    pub(super) host: String,
    pub(super) topic: String,
}

impl Names {
    pub(super) fn side(&self, side: Side) -> String {
        let suffix = match side {
            Side::Positions => "positions",
            Side::Control => "control",
            Side::Letters => "dead-letters",
        };
        format!("{}.{suffix}", self.pipeline)
    }

    /// The group that delivers.
    pub(super) fn group(&self) -> &str {
        &self.pipeline
    }

    /// The group whose member with the control topic's partition polls the source.
    pub(super) fn source_group(&self) -> String {
        format!("{}.source", self.pipeline)
    }

    /// Those that a host saves under, the same over restarts, so that a restart ends its own open transactions at once.
    pub(super) fn savers(&self, host: &str) -> [String; 2] {
        let one = format!("{}-{host}", self.pipeline);
        let other = format!("{one}-2");
        [one, other]
    }

    /// Whoever begins with it fences the one that polled before.
    pub(super) fn publisher(&self) -> &str {
        &self.pipeline
    }
}

pub(super) const POSITION: &str = "position";
pub(super) const CURSOR: &str = "cursor";

/// What a stage keeps under a key, beside the position of its partition.
pub(super) fn state(stage: &str, key: &[u8]) -> String {
    format!("state/{stage}/{}", STANDARD.encode(key))
}

/// Stage and key of [`state`], read.
pub(super) fn state_key(key: &str) -> Option<(String, Vec<u8>)> {
    let (stage, key) = key.strip_prefix("state/")?.split_once('/')?;
    Some((stage.to_owned(), STANDARD.decode(key).ok()?))
}

pub(super) fn generation(number: u64, host: &str) -> String {
    format!("generation/{number}/{host}")
}

pub(super) fn boundary(partition: u32, first: i64) -> String {
    format!("boundary/{partition}/{first}")
}

pub(super) fn receipt(place: Place) -> String {
    format!("receipt/{}/{}", place.partition, place.offset)
}

/// Key of a dead letter; those of its further parts are `<partition>/<offset>/<part>`.
pub(super) fn letter(place: Place) -> String {
    format!("{}/{}", place.partition, place.offset)
}

/// A key of the control topic, read.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum ControlKey {
    Cursor,
    Generation { number: u64, host: String },
    Boundary { partition: u32, first: i64 },
    Receipt(Place),
}

impl ControlKey {
    /// `None`: not one of ours.
    pub(super) fn parse(key: &str) -> Option<ControlKey> {
        let mut parts = key.split('/');
        let parsed = match (parts.next()?, parts.next(), parts.next()) {
            (CURSOR, None, None) => ControlKey::Cursor,
            ("generation", Some(number), Some(host)) => {
                ControlKey::Generation { number: number.parse().ok()?, host: host.to_owned() }
            }
            ("boundary", Some(partition), Some(first)) => {
                ControlKey::Boundary { partition: partition.parse().ok()?, first: first.parse().ok()? }
            }
            ("receipt", Some(partition), Some(offset)) => {
                ControlKey::Receipt(Place { partition: partition.parse().ok()?, offset: offset.parse().ok()? })
            }
            _ => return None,
        };
        parts.next().is_none().then_some(parsed)
    }
}

/// A key of the dead letters topic, read: the place, and which part of the letter.
pub(super) fn letter_key(key: &str) -> Option<(Place, u32)> {
    let mut parts = key.split('/');
    let (partition, offset) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
    let part = parts.next().map_or(Some(0), |part| part.parse().ok())?;
    parts.next().is_none().then_some((Place { partition, offset }, part))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_read_as_they_are_written() {
        let place = Place { partition: 3, offset: 17 };
        let read = |key: &str| ControlKey::parse(key);
        assert_eq!(read(CURSOR), Some(ControlKey::Cursor));
        let host = "a1".to_owned();
        assert_eq!(read(&generation(7, "a1")), Some(ControlKey::Generation { number: 7, host }));
        assert_eq!(read(&boundary(3, 5)), Some(ControlKey::Boundary { partition: 3, first: 5 }));
        assert_eq!(read(&receipt(place)), Some(ControlKey::Receipt(place)));
        assert_eq!(state_key(&state("count", b"a/\0")), Some(("count".to_owned(), b"a/\0".to_vec())));
        assert_eq!(letter_key(&letter(place)), Some((place, 0)));
        assert_eq!(letter_key("3/17/2"), Some((place, 2)));
        for other in ["", "cursor/1", "generation/x/a", "boundary/1", "receipt/1/2/3", "1", "1/x", "1/2/3/4"] {
            assert_eq!((read(other), letter_key(other)), (None, None), "{other}");
        }
    }
}
