//! What byte sinks write: one JSON text per line, of the declared columns, or of whole records when none are declared.

use super::{BindRejection, Bound, Emitted, bind, json};
use crate::config::plan::SinkColumn;

/// What becomes of a delete.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Deletes {
    /// There is nothing in a file that it could remove.
    LeftOut,
    /// The record's key without a value; without a key it means nothing, and is left out.
    AsTombstones,
}

pub(super) fn bind(columns: &[SinkColumn], emitted: &Emitted<'_>) -> Result<Bound, Vec<BindRejection>> {
    if columns.is_empty() { messages(emitted, Deletes::LeftOut) } else { bind::rows(columns, emitted).map(Bound::Rows) }
}

/// Whole records, one per row.
pub(super) fn messages(emitted: &Emitted<'_>, deletes: Deletes) -> Result<Bound, Vec<BindRejection>> {
    let Some(messages) = emitted.messages.filter(|messages| messages.len() == emitted.origins.len()) else {
        let reason = "whole records are wanted and were not made".to_owned();
        return Err(emitted.origins.iter().map(|record| BindRejection { record: *record, reason: reason.clone() }).collect());
    };
    let mut rows = Vec::with_capacity(messages.len());
    for ((row, message), record) in (0u32..).zip(messages).zip(emitted.origins) {
        let mut message = message.clone();
        if emitted.deleted.binary_search(&row).is_ok() {
            if deletes == Deletes::LeftOut || message.key.is_none() {
                continue;
            }
            message.value = None;
        }
        rows.push((emitted.batch.place(*record as usize), message));
    }
    Ok(Bound::Messages(rows))
}

/// The lines of what was bound. A payload with line ends in it is written without them: they are white space in JSON.
pub(super) fn of(columns: &[SinkColumn], bound: &Bound) -> Vec<u8> {
    let mut text = Vec::new();
    match bound {
        Bound::Rows(rows) => {
            for row in (0..rows.len()).filter(|row| rows.deleted.binary_search(&(*row as u32)).is_err()) {
                // Writing to memory, and no value of ours is refused.
                let _ = serde_json::to_writer(&mut text, &json::object(columns, rows, row));
                text.push(b'\n');
            }
        }
        Bound::Messages(messages) => {
            for (_, message) in messages {
                let value = message.value.as_deref().unwrap_or(b"null");
                text.extend(value.iter().map(|byte| if matches!(byte, b'\n' | b'\r') { b' ' } else { *byte }));
                text.push(b'\n');
            }
        }
        Bound::Nothing { .. } => {}
    }
    text
}
