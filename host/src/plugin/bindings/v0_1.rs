//! `wit/v0.1` as Rust types: what crosses the boundary to a guest, and the names under which it is exported and imported.
//!
//! Columns, fields and rejections are the types of [`crate::record`] themselves, so that they cross without a conversion.

use wasmtime::component::{ComponentType, Lift, Lower, TypedFunc};

use crate::plugin::{FieldsOutcome, MessageOutcome};
use crate::record::{Column, Contract, Header, Message};

/// The packages' names without the version, and the version that this host speaks.
pub const PACKAGE: &str = "tidemill:plugin";
pub const VERSION: &str = "0.1.0";
pub const FIELDS: &str = "tidemill:plugin/fields@0.1.0";
pub const MESSAGES: &str = "tidemill:plugin/messages@0.1.0";
pub const STATE: &str = "tidemill:plugin/state@0.1.0";
pub const LOOKUP: &str = "tidemill:plugin/lookup@0.1.0";
pub const CONFIG: &str = "wasi:config/store@0.2.0-rc.1";
pub const LOGGING: &str = "wasi:logging/logging@0.1.0-draft";

pub type FieldsStart = TypedFunc<(), (Result<Contract, String>,)>;
pub type FieldsProcess<'a> = TypedFunc<(BatchRef<'a>,), (Result<FieldsOutcome, Failure>,)>;
pub type MessagesStart = TypedFunc<(), (Result<(), String>,)>;
pub type MessagesProcess<'a> = TypedFunc<(&'a [IncomingRef<'a>],), (Result<Vec<Outcome>, Failure>,)>;

/// `fields.batch`, borrowed.
#[derive(Clone, Copy, ComponentType, Lower)]
#[component(record)]
pub struct BatchRef<'a> {
    #[component(name = "rows")]
    pub rows: u32,
    #[component(name = "columns")]
    pub columns: &'a [&'a Column],
}

/// `types.failure`.
#[derive(Clone, Debug, ComponentType, Lift)]
#[component(variant)]
pub enum Failure {
    #[component(name = "retry")]
    Retry(String),
    #[component(name = "failed")]
    Failed(String),
}

/// `messages.header`, borrowed.
#[derive(Clone, Copy, ComponentType, Lower)]
#[component(record)]
pub struct HeaderRef<'a> {
    #[component(name = "key")]
    pub key: &'a str,
    #[component(name = "value")]
    pub value: Option<&'a [u8]>,
}

/// `messages.message`, borrowed. No headers is `none`: even an empty list costs a call into the guest's allocator.
#[derive(Clone, ComponentType, Lower)]
#[component(record)]
pub struct MessageRef<'a> {
    #[component(name = "key")]
    pub key: Option<&'a [u8]>,
    #[component(name = "value")]
    pub value: Option<&'a [u8]>,
    #[component(name = "timestamp")]
    pub timestamp: i64,
    #[component(name = "headers")]
    pub headers: Option<Vec<HeaderRef<'a>>>,
}

impl<'a> From<&'a Message> for MessageRef<'a> {
    fn from(message: &'a Message) -> Self {
        let header = |(key, value): &'a Header| HeaderRef { key, value: value.as_deref() };
        MessageRef {
            key: message.key.as_deref(),
            value: message.value.as_deref(),
            timestamp: message.timestamp,
            headers: (!message.headers.is_empty()).then(|| message.headers.iter().map(header).collect()),
        }
    }
}

/// `messages.incoming`, borrowed.
#[derive(Clone, ComponentType, Lower)]
#[component(record)]
pub struct IncomingRef<'a> {
    #[component(name = "message")]
    pub message: MessageRef<'a>,
    #[component(name = "partition")]
    pub partition: u32,
    #[component(name = "offset")]
    pub offset: i64,
}

#[derive(ComponentType, Lift)]
#[component(record)]
pub struct HeaderOut {
    #[component(name = "key")]
    key: String,
    #[component(name = "value")]
    value: Option<Vec<u8>>,
}

#[derive(ComponentType, Lift)]
#[component(record)]
pub struct MessageOut {
    #[component(name = "key")]
    key: Option<Vec<u8>>,
    #[component(name = "value")]
    value: Option<Vec<u8>>,
    #[component(name = "timestamp")]
    timestamp: i64,
    #[component(name = "headers")]
    headers: Option<Vec<HeaderOut>>,
}

impl From<MessageOut> for Message {
    fn from(message: MessageOut) -> Self {
        Message {
            key: message.key,
            value: message.value,
            timestamp: message.timestamp,
            headers: message.headers.into_iter().flatten().map(|header| (header.key, header.value)).collect(),
        }
    }
}

/// `messages.outcome`.
#[derive(ComponentType, Lift)]
#[component(variant)]
pub enum Outcome {
    #[component(name = "unchanged")]
    Unchanged,
    #[component(name = "emit")]
    Emit(MessageOut),
    #[component(name = "emit-many")]
    EmitMany(Vec<MessageOut>),
    #[component(name = "drop")]
    Drop,
    #[component(name = "reject")]
    Reject(String),
}

impl From<Outcome> for MessageOutcome {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Unchanged => MessageOutcome::Unchanged,
            Outcome::Emit(message) => MessageOutcome::Emit(message.into()),
            Outcome::EmitMany(messages) => MessageOutcome::EmitMany(messages.into_iter().map(Message::from).collect()),
            Outcome::Drop => MessageOutcome::Drop,
            Outcome::Reject(reason) => MessageOutcome::Reject(reason),
        }
    }
}

/// `state.entry`.
#[derive(ComponentType, Lift)]
#[component(record)]
pub struct StateEntry {
    #[component(name = "key")]
    pub key: Vec<u8>,
    #[component(name = "value")]
    pub value: Option<Vec<u8>>,
}

/// `wasi:config/store.error`.
#[derive(ComponentType, Lower)]
#[component(variant)]
pub enum ConfigError {
    #[component(name = "upstream")]
    Upstream(String),
    #[component(name = "io")]
    Io(String),
}

/// `wasi:logging/logging.level`.
#[derive(Clone, Copy, ComponentType, Lift)]
#[component(enum)]
#[repr(u8)]
pub enum LogLevel {
    #[component(name = "trace")]
    Trace,
    #[component(name = "debug")]
    Debug,
    #[component(name = "info")]
    Info,
    #[component(name = "warn")]
    Warn,
    #[component(name = "error")]
    Error,
    #[component(name = "critical")]
    Critical,
}
