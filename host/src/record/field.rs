//! Fields: named, typed values of a record, and the contract in which a plugin says which it reads and writes.

use std::fmt;

use serde::{Deserialize, Serialize};
use wasmtime::component::{ComponentType, Lift, Lower};

/// What the values of a field are. How JSON becomes a kind is written in `wit/v0.1/kinds.md`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ComponentType, Lift, Lower)]
#[component(enum)]
#[serde(rename_all = "lowercase")]
#[repr(u8)]
pub enum Kind {
    #[component(name = "text")]
    Text,
    #[component(name = "bytes")]
    Bytes,
    #[component(name = "boolean")]
    Boolean,
    #[component(name = "int")]
    Int,
    #[component(name = "float")]
    Float,
    /// Milliseconds since 1970-01-01T00:00:00Z.
    #[component(name = "timestamp")]
    Timestamp,
    /// JSON text of any value, as it stood in the payload.
    #[component(name = "json")]
    Json,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Kind::Text => "text",
            Kind::Bytes => "bytes",
            Kind::Boolean => "boolean",
            Kind::Int => "int",
            Kind::Float => "float",
            Kind::Timestamp => "timestamp",
            Kind::Json => "json",
        })
    }
}

/// A named, typed value of a record.
///
/// The name is a dotted path into the payload (`name.first`), or one of the record's own, see [`OwnField`].
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ComponentType, Lift, Lower)]
#[component(record)]
pub struct Field {
    #[component(name = "name")]
    pub name: String,
    #[component(name = "kind")]
    pub kind: Kind,
    /// In `reads`: a record without it comes all the same, as null. In `writes`: it may be left null.
    #[component(name = "optional")]
    #[serde(default)]
    pub optional: bool,
}

/// What a plugin reads and writes with the settings it has.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ComponentType, Lift, Lower)]
#[component(record)]
pub struct Contract {
    #[component(name = "reads")]
    pub reads: Vec<Field>,
    #[component(name = "writes")]
    pub writes: Vec<Field>,
}

/// Feeds the column of a sink that has `receipts = true`: the generation that decided the row. No stage can read it.
pub const GENERATION: &str = "@generation";

/// The fields that belong to the record and not to its payload.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum OwnField {
    /// `@key`, bytes, may be written.
    Key,
    /// `@header.<name>`, bytes, may be written.
    Header(String),
    /// `@timestamp`, timestamp.
    Timestamp,
    /// `@partition`, int.
    Partition,
    /// `@offset`, int.
    Offset,
}

impl OwnField {
    /// The own field that a name starting with `@` means; `None` for a payload path and for an unknown `@` name.
    pub fn parse(name: &str) -> Option<OwnField> {
        match name {
            "@key" => Some(OwnField::Key),
            "@timestamp" => Some(OwnField::Timestamp),
            "@partition" => Some(OwnField::Partition),
            "@offset" => Some(OwnField::Offset),
            _ => match name.strip_prefix("@header.") {
                Some(header) if !header.is_empty() => Some(OwnField::Header(header.to_owned())),
                _ => None,
            },
        }
    }

    pub fn kind(&self) -> Kind {
        match self {
            OwnField::Key | OwnField::Header(_) => Kind::Bytes,
            OwnField::Timestamp => Kind::Timestamp,
            OwnField::Partition | OwnField::Offset => Kind::Int,
        }
    }

    pub fn may_be_written(&self) -> bool {
        matches!(self, OwnField::Key | OwnField::Header(_))
    }
}
