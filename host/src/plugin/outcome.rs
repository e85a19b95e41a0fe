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
    let text =
        simdutf8::compat::from_utf8(&buffer.data).map_err(|error| format!("is not UTF-8 at byte {}", error.valid_up_to()))?;
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Kind;

    fn contract(kind: Kind) -> Contract {
        let field = Field { name: "x".to_owned(), kind, optional: false };
        Contract { reads: Vec::new(), writes: vec![field] }
    }

    fn buffer(data: &[u8], ends: &[u32]) -> Buffer {
        Buffer { data: data.to_vec(), ends: ends.to_vec() }
    }

    fn outcome(values: Values, nulls: &[u32]) -> FieldsOutcome {
        FieldsOutcome { columns: vec![Column { values, nulls: nulls.to_vec() }], ..FieldsOutcome::default() }
    }

    #[track_caller]
    fn refused(kind: Kind, values: Values, nulls: &[u32], told: &str) {
        let reason = check_fields(&contract(kind), 2, outcome(values, nulls)).expect_err("it breaks the contract");
        assert!(reason.contains(told), "{reason}");
    }

    #[test]
    fn each_lie_about_a_column_is_found() {
        refused(Kind::Int, Values::Timestamps(vec![1, 2]), &[], "is timestamp, not int");
        refused(Kind::Int, Values::Ints(vec![1]), &[], "has 1 rows, not 2");
        refused(Kind::Int, Values::Ints(vec![1, 2]), &[1, 1], "do not ascend");
        refused(Kind::Int, Values::Ints(vec![1, 2]), &[2], "name row 2 of 2");
        refused(Kind::Bytes, Values::Bytes(buffer(b"abc", &[3, 2])), &[], "do not ascend");
        refused(Kind::Bytes, Values::Bytes(buffer(b"abc", &[1, 2])), &[], "ends at byte 2 of 3");
        refused(Kind::Bytes, Values::Bytes(buffer(b"abc", &[1, 4])), &[], "ends at byte 4 of 3");
        refused(Kind::Text, Values::Text(buffer(b"a\xff", &[1, 2])), &[], "is not UTF-8 at byte 1");
        refused(Kind::Text, Values::Text(buffer("ü".as_bytes(), &[1, 2])), &[], "cuts a character at the end of row 0");
        refused(Kind::Json, Values::Json(buffer(b"1{", &[1, 2])), &[], "is not JSON in row 1");
        let none = check_fields(&contract(Kind::Int), 2, FieldsOutcome::default()).expect_err("no column");
        assert!(none.contains("0 columns for 1 fields"), "{none}");
    }

    #[test]
    fn each_lie_about_rows_is_found() {
        let rejection = |row| Rejection { row, reason: String::new() };
        let good = || outcome(Values::Ints(vec![1, 2]), &[]);
        for (outcome, told) in [
            (FieldsOutcome { dropped: vec![1, 0], ..good() }, "dropped rows do not ascend"),
            (FieldsOutcome { deleted: vec![2], ..good() }, "deleted rows name row 2 of 2"),
            (FieldsOutcome { rejected: vec![rejection(1), rejection(1)], ..good() }, "rejected rows do not ascend"),
            (FieldsOutcome { dropped: vec![1], rejected: vec![rejection(1)], ..good() }, "row 1 has two outcomes"),
        ] {
            let reason = check_fields(&contract(Kind::Int), 2, outcome).expect_err(told);
            assert!(reason.contains(told), "{reason}");
        }
    }

    #[test]
    fn rows_that_do_not_go_on_may_hold_anything() {
        let mut void = outcome(Values::Json(buffer(b"1{", &[1, 2])), &[]);
        void.dropped = vec![1];
        assert!(check_fields(&contract(Kind::Json), 2, void).is_ok());
        let mut deleted = outcome(Values::Ints(vec![1, 0]), &[1]);
        deleted.deleted = vec![1];
        assert!(check_fields(&contract(Kind::Int), 2, deleted).expect("an outcome").rejected.is_empty());
    }

    #[test]
    fn a_reason_is_shortened_and_safe_to_print() {
        let mut long = outcome(Values::Ints(vec![1, 2]), &[]);
        long.rejected = vec![Rejection { row: 0, reason: format!("\u{1b}[31m{}", "ü".repeat(REASON_BYTES)) }];
        let checked = check_fields(&contract(Kind::Int), 2, long).expect("an outcome");
        let reason = &checked.rejected[0].reason;
        assert!(reason.len() < REASON_BYTES + 16 && reason.starts_with("\\u{1b}[31m"), "{} bytes", reason.len());
    }
}
