//! The records that a stretch of `fields` stages starts from: those of the topic, or what a `messages` stage emitted.

use crate::record::{Batch, Header, Message, Place};

pub enum Input<'a> {
    Batch(&'a Batch),
    Messages {
        batch: &'a Batch,
        messages: &'a [Message],
        /// Message → record of the batch, ascending.
        origins: &'a [u32],
    },
}

impl<'a> Input<'a> {
    pub fn rows(&self) -> usize {
        match self {
            Input::Batch(batch) => batch.rows(),
            Input::Messages { messages, .. } => messages.len(),
        }
    }

    /// The record of the batch that a row comes from.
    pub fn origin(&self, row: u32) -> u32 {
        match self {
            Input::Batch(_) => row,
            Input::Messages { origins, .. } => origins[row as usize],
        }
    }

    #[inline]
    pub fn value(&self, row: u32) -> Option<&'a [u8]> {
        match self {
            Input::Batch(batch) => batch.value(row as usize),
            Input::Messages { messages, .. } => messages[row as usize].value.as_deref(),
        }
    }

    pub fn key(&self, row: u32) -> Option<&'a [u8]> {
        match self {
            Input::Batch(batch) => batch.key(row as usize),
            Input::Messages { messages, .. } => messages[row as usize].key.as_deref(),
        }
    }

    pub fn timestamp(&self, row: u32) -> i64 {
        match self {
            Input::Batch(batch) => batch.timestamps()[row as usize],
            Input::Messages { messages, .. } => messages[row as usize].timestamp,
        }
    }

    pub fn headers(&self, row: u32) -> &'a [Header] {
        match self {
            Input::Batch(batch) => batch.headers(row as usize),
            Input::Messages { messages, .. } => &messages[row as usize].headers,
        }
    }

    /// The value of the last header of that name.
    pub fn header(&self, row: u32, name: &str) -> Option<&'a [u8]> {
        self.headers(row).iter().rev().find(|(key, _)| key == name).and_then(|(_, value)| value.as_deref())
    }

    /// The place of the record that a row comes from.
    pub fn place(&self, row: u32) -> Place {
        match self {
            Input::Batch(batch) | Input::Messages { batch, .. } => batch.place(self.origin(row) as usize),
        }
    }
}
