//! The CQL types that a column may have.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::record::Kind;

/// A CQL type that a field kind can become.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum CqlType {
    Text,
    Ascii,
    Uuid,
    TimeUuid,
    Int,
    BigInt,
    SmallInt,
    TinyInt,
    Varint,
    Float,
    Double,
    Decimal,
    Boolean,
    Timestamp,
    Date,
    Time,
    Blob,
    Inet,
    #[serde(rename = "list<text>")]
    List,
    #[serde(rename = "set<text>")]
    Set,
    #[serde(rename = "map<text, text>")]
    Map,
}

impl CqlType {
    pub const ALL: [CqlType; 21] = [
        CqlType::Text,
        CqlType::Ascii,
        CqlType::Uuid,
        CqlType::TimeUuid,
        CqlType::Int,
        CqlType::BigInt,
        CqlType::SmallInt,
        CqlType::TinyInt,
        CqlType::Varint,
        CqlType::Float,
        CqlType::Double,
        CqlType::Decimal,
        CqlType::Boolean,
        CqlType::Timestamp,
        CqlType::Date,
        CqlType::Time,
        CqlType::Blob,
        CqlType::Inet,
        CqlType::List,
        CqlType::Set,
        CqlType::Map,
    ];

    /// As it is written in CQL and in the pipeline file.
    pub fn name(self) -> &'static str {
        match self {
            CqlType::Text => "text",
            CqlType::Ascii => "ascii",
            CqlType::Uuid => "uuid",
            CqlType::TimeUuid => "timeuuid",
            CqlType::Int => "int",
            CqlType::BigInt => "bigint",
            CqlType::SmallInt => "smallint",
            CqlType::TinyInt => "tinyint",
            CqlType::Varint => "varint",
            CqlType::Float => "float",
            CqlType::Double => "double",
            CqlType::Decimal => "decimal",
            CqlType::Boolean => "boolean",
            CqlType::Timestamp => "timestamp",
            CqlType::Date => "date",
            CqlType::Time => "time",
            CqlType::Blob => "blob",
            CqlType::Inet => "inet",
            CqlType::List => "list<text>",
            CqlType::Set => "set<text>",
            CqlType::Map => "map<text, text>",
        }
    }

    /// The kinds that can feed a column of this type, first the one that a payload field is read as when only the sink asks for it.
    /// Values may still be refused row by row (a text that is no uuid). A decimal is read as text, since that is a number's own digits.
    pub fn kinds(self) -> &'static [Kind] {
        match self {
            CqlType::Text | CqlType::Ascii => &[Kind::Text, Kind::Json],
            CqlType::Uuid | CqlType::TimeUuid | CqlType::Inet => &[Kind::Text, Kind::Bytes],
            CqlType::Int | CqlType::BigInt | CqlType::SmallInt | CqlType::TinyInt => &[Kind::Int],
            CqlType::Varint => &[Kind::Text, Kind::Int],
            CqlType::Float | CqlType::Double => &[Kind::Float, Kind::Int],
            CqlType::Decimal => &[Kind::Text, Kind::Int, Kind::Float],
            CqlType::Boolean => &[Kind::Boolean],
            CqlType::Timestamp => &[Kind::Timestamp],
            CqlType::Date => &[Kind::Timestamp, Kind::Text],
            CqlType::Time => &[Kind::Text, Kind::Int, Kind::Timestamp],
            CqlType::Blob => &[Kind::Bytes, Kind::Text, Kind::Json],
            CqlType::List | CqlType::Set | CqlType::Map => &[Kind::Json],
        }
    }

    pub fn accepts(self, kind: Kind) -> bool {
        self.kinds().contains(&kind)
    }

    pub fn natural_kind(self) -> Kind {
        self.kinds()[0]
    }

    /// Whether a column of this type may be part of a key.
    pub fn may_be_key(self) -> bool {
        !matches!(self, CqlType::List | CqlType::Set | CqlType::Map)
    }
}
