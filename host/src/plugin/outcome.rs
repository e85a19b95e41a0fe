//! Checks what a `fields` plugin returns, so that nobody behind it has to (invariant 7).

use super::FieldsOutcome;
use crate::record::{Buffer, Column, Contract, Field, Rejection, Values};

/// Rejections keep so many bytes of their reason.
const REASON_BYTES: usize = 4096;

/// The outcome, with each row that lacks a required field rejected.
///
/// # Errors
/// What is wrong with it, for a person to read: the whole call is void then.
pub(super) fn check_fields(contract: &Contract, rows: u32, mut outcome: FieldsOutcome) -> Result<FieldsOutcome, String> {
    if outcome.columns.len() != contract.writes.len() {
        return Err(format!("{} columns for {} fields", outcome.columns.len(), contract.writes.len()));
    }
    let decided = Decided::new(rows, &outcome)?;
    for (field, column) in contract.writes.iter().zip(&outcome.columns) {
        check_column(field, column, rows, &decided).map_err(|reason| format!("column `{}` {reason}", field.name))?;
    }
    for rejection in &mut outcome.rejected {
        rejection.reason = super::log::printable(shorten(&rejection.reason));
    }
    reject_missing(contract, &decided, &mut outcome);
    Ok(outcome)
}

/// Rows that do not go on as they are. Empty for most batches.
struct Decided {
    /// Dropped or rejected: their values are not looked at.
    void: Vec<u32>,
    deleted: Vec<u32>,
}

impl Decided {
    fn new(rows: u32, outcome: &FieldsOutcome) -> Result<Decided, String> {
        let rejected: Vec<u32> = outcome.rejected.iter().map(|rejection| rejection.row).collect();
        for (what, list) in [("dropped", &outcome.dropped), ("deleted", &outcome.deleted), ("rejected", &rejected)] {
            check_rows(list, rows).map_err(|reason| format!("{what} rows {reason}"))?;
        }
        let mut all = [&outcome.dropped[..], &rejected, &outcome.deleted].concat();
        all.sort_unstable();
        if let Some(twice) = all.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(format!("row {} has two outcomes", twice[0]));
        }
        let mut void = [&outcome.dropped[..], &rejected].concat();
        void.sort_unstable();
        Ok(Decided { void, deleted: outcome.deleted.clone() })
    }

    fn is_void(&self, row: u32) -> bool {
        !self.void.is_empty() && self.void.binary_search(&row).is_ok()
    }

    fn is_deleted(&self, row: u32) -> bool {
        !self.deleted.is_empty() && self.deleted.binary_search(&row).is_ok()
    }
}

fn check_rows(list: &[u32], rows: u32) -> Result<(), String> {
    if list.windows(2).any(|pair| pair[0] >= pair[1]) {
        return Err("do not ascend".to_owned());
    }
    match list.last() {
        Some(last) if *last >= rows => Err(format!("name row {last} of {rows}")),
        _ => Ok(()),
    }
}

fn check_column(field: &Field, column: &Column, rows: u32, decided: &Decided) -> Result<(), String> {
    if column.kind() != field.kind {
        return Err(format!("is {}, not {}", column.kind(), field.kind));
    }
    if column.rows() != rows as usize {
        return Err(format!("has {} rows, not {rows}", column.rows()));
    }
    check_rows(&column.nulls, rows).map_err(|reason| format!("has nulls that {reason}"))?;
    match &column.values {
        Values::Text(buffer) => check_text(buffer),
        Values::Bytes(buffer) => check_ends(buffer),
        Values::Json(buffer) => {
            check_text(buffer)?;
            check_json(buffer, column, decided)
        }
        Values::Booleans(_) | Values::Ints(_) | Values::Floats(_) | Values::Timestamps(_) => Ok(()),
    }
}

fn check_ends(buffer: &Buffer) -> Result<(), String> {
    let mut last = 0;
    for end in &buffer.ends {
        if *end < last {
            return Err("has ends that do not ascend".to_owned());
        }
        last = *end;
    }
    if last as usize != buffer.data.len() {
        return Err(format!("ends at byte {last} of {}", buffer.data.len()));
    }
    Ok(())
}

/// One look at the whole buffer, then at the cuts: both are much faster than a look at each row. ASCII, the most common, has no cut to look at.
fn check_text(buffer: &Buffer) -> Result<(), String> {
    check_ends(buffer)?;
    if buffer.data.is_ascii() {
        return Ok(());
    }
    let text = std::str::from_utf8(&buffer.data).map_err(|error| format!("is not UTF-8 at byte {}", error.valid_up_to()))?;
    match buffer.ends.iter().position(|end| !text.is_char_boundary(*end as usize)) {
        Some(row) => Err(format!("cuts a character at the end of row {row}")),
        None => Ok(()),
    }
}

fn check_json(buffer: &Buffer, column: &Column, decided: &Decided) -> Result<(), String> {
    for (row, text) in buffer.iter().enumerate() {
        if column.is_null(row) || decided.is_void(row as u32) {
            continue;
        }
        if let Err(error) = serde_json::from_slice::<serde::de::IgnoredAny>(text) {
            return Err(format!("is not JSON in row {row}: {error}"));
        }
    }
    Ok(())
}

/// A field that is not optional must be there, but for rows that are to be deleted: of those the table's key is enough.
fn reject_missing(contract: &Contract, decided: &Decided, outcome: &mut FieldsOutcome) {
    let before = outcome.rejected.len();
    for (field, column) in contract.writes.iter().zip(&outcome.columns) {
        if field.optional {
            continue;
        }
        for row in column.nulls.iter().copied() {
            if decided.is_void(row) || decided.is_deleted(row) || outcome.rejected[before..].iter().any(|r| r.row == row) {
                continue;
            }
            outcome.rejected.push(Rejection { row, reason: format!("the plugin left `{}` empty", field.name) });
        }
    }
    if outcome.rejected.len() > before {
        outcome.rejected.sort_by_key(|rejection| rejection.row);
    }
}

fn shorten(reason: &str) -> &str {
    &reason[..reason.floor_char_boundary(REASON_BYTES)]
}
