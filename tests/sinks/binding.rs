//! What does not fit a column rejects its record, and the reason names column and value; rows of one record with one key are one row.

use tidemill::config::plan::{CqlType, KeyRole};
use tidemill::record::{Buffer, Column, Columns, Values};
use tidemill::sink::bind::rows;
use tidemill::sink::{BindRejection, BoundValues, Emitted, Rows};

use super::{batch, column, columns, text};

fn bind(cql: CqlType, key: Option<KeyRole>, field: Column, deleted: &[u32]) -> Result<Rows, Vec<BindRejection>> {
    let count = field.rows() as u32;
    let batch = batch(0, i64::from(count));
    let origins: Vec<u32> = (0..count).collect();
    let times: Vec<i64> = (0..i64::from(count)).collect();
    let mut columns = Columns::default();
    columns.set("x", field);
    rows(
        &[column("x", cql, key)],
        &Emitted { batch: &batch, origins: &origins, deleted, columns: &columns, write_times: &times, messages: None },
    )
}

fn bytes<const N: usize>(rows: [&[u8]; N]) -> Values {
    let mut buffer = Buffer::default();
    rows.iter().for_each(|row| buffer.push(row));
    Values::Text(buffer)
}

fn json<const N: usize>(rows: [&str; N]) -> Values {
    let Values::Text(buffer) = text(rows) else { panic!("it is text") };
    Values::Json(buffer)
}

/// In each case the first value fits and the second does not.
#[test]
fn a_value_that_does_not_fit_is_named_with_its_column() {
    let int = "is not an int (-2147483648 to 2147483647)";
    let cases = [
        (CqlType::Uuid, text([super::A, "not-a-uuid"]), "`not-a-uuid` is not a uuid"),
        (CqlType::Uuid, text([super::A, ""]), "`` is not a uuid"),
        (CqlType::Int, Values::Ints(vec![2_147_483_647, 2_147_483_648]), &format!("2147483648 {int}")),
        (CqlType::Int, Values::Ints(vec![-2_147_483_648, -2_147_483_649]), &format!("-2147483649 {int}")),
        (CqlType::Float, Values::Floats(vec![3.4e38, 3.5e38]), "is not a finite float"),
        (CqlType::Double, Values::Floats(vec![f64::MAX, f64::INFINITY]), "inf is not a finite double"),
        (CqlType::Double, Values::Floats(vec![0.0, f64::NAN]), "NaN is not a finite double"),
        (CqlType::Date, text(["2024-02-29", "2023-02-29"]), "`2023-02-29` is not a date"),
        (CqlType::Date, text(["2024-02-29T23:59:59Z", "2024-02-29T25:00:00Z"]), "`2024-02-29T25:00:00Z` is not a date"),
        (CqlType::Date, Values::Timestamps(vec![-1, i64::MAX]), "9223372036854775807 ms since 1970 is not a date"),
        (CqlType::Text, bytes([b"\xc3\xa9", b"\xff"]), "is not text in UTF-8"),
        (CqlType::Date, text(["9999-12-31", "-10000-01-01"]), "`-10000-01-01` is not a date"),
        (CqlType::Ascii, text(["a", "é"]), "`é` is not text in ASCII"),
        (CqlType::TimeUuid, text(["6ba7b810-9dad-11d1-80b4-00c04fd430c8", super::A]), "is not a timeuuid"),
        (CqlType::SmallInt, Values::Ints(vec![32_767, 32_768]), "32768 is not a smallint"),
        (CqlType::SmallInt, Values::Ints(vec![-32_768, -32_769]), "-32769 is not a smallint"),
        (CqlType::TinyInt, Values::Ints(vec![127, 128]), "128 is not a tinyint"),
        (CqlType::TinyInt, Values::Ints(vec![-128, -129]), "-129 is not a tinyint"),
        (CqlType::Varint, text(["-0012", "1.0"]), "`1.0` is not a varint"),
        (CqlType::Varint, text(["+1", "+-1"]), "`+-1` is not a varint"),
        (CqlType::Decimal, text(["1E-7", "1."]), "`1.` is not a decimal"),
        (CqlType::Decimal, text(["0.10", ".1"]), "`.1` is not a decimal"),
        (CqlType::Decimal, text(["-1e+3", "1e3.0"]), "`1e3.0` is not a decimal"),
        (CqlType::Decimal, text(["1e2147483647", "1e2147483649"]), "is not a decimal"),
        (CqlType::Decimal, text(["1", &"1".repeat(10_001)]), "is not a decimal (up to 10000 digits)"),
        (CqlType::Decimal, Values::Floats(vec![0.5, f64::INFINITY]), "inf is not a decimal"),
        (CqlType::Time, text(["23:59:59.999999999", "24:00:00"]), "`24:00:00` is not a time"),
        (CqlType::Time, Values::Ints(vec![86_399_999_999_999, 86_400_000_000_000]), "86400000000000 is not a time"),
        (CqlType::Inet, text(["::1", "127.0.0.256"]), "`127.0.0.256` is not an address"),
        (CqlType::List, json(["[\"a\", 1, true]", "[null]"]), "`[null]` is not a list of text"),
        (CqlType::Set, json(["[]", "[[]]"]), "`[[]]` is not a list of text"),
        (CqlType::Map, json(["{\"a\": 1}", "[\"a\"]"]), "is not an object of text"),
        (CqlType::Map, json(["{}", "{\"a\": {}}"]), "is not an object of text"),
        // Whole, the two would be a letter.
        (CqlType::Text, bytes([b"", b"\xc3"]), "is not text in UTF-8"),
    ];
    for (cql, values, says) in cases {
        let refused = bind(cql, None, Column { values: values.clone(), nulls: Vec::new() }, &[]).unwrap_err();
        let [BindRejection { record: 1, reason }] = refused.as_slice() else { panic!("{values:?}: {refused:?}") };
        assert!(reason.starts_with("column `x`: ") && reason.contains(says), "{reason}");
        // A null is no value.
        bind(cql, None, Column { values, nulls: vec![1] }, &[]).unwrap();
    }
}

#[test]
fn a_letter_cut_in_two_rows_is_text_in_neither() {
    let refused = bind(CqlType::Text, None, Column { values: bytes([b"\xc3", b"\xa9"]), nulls: Vec::new() }, &[]).unwrap_err();
    assert_eq!(refused.iter().map(|refusal| refusal.record).collect::<Vec<_>>(), [0, 1]);
}

#[test]
fn a_long_value_is_not_shown_whole() {
    let long = "x".repeat(10_000);
    let refused = bind(CqlType::Uuid, None, Column { values: text([long.as_str()]), nulls: Vec::new() }, &[]).unwrap_err();
    assert!(refused[0].reason.len() < 200 && refused[0].reason.contains("x…`"), "{}", refused[0].reason);
}

#[test]
fn a_key_must_not_be_null_and_of_a_delete_nothing_else_counts() {
    let field = |nulls| Column { values: text(["", super::A]), nulls };
    let refused = bind(CqlType::Uuid, Some(KeyRole::Partition), field(vec![0]), &[]).unwrap_err();
    let reason = "column `x`: it is part of the key and must not be null".to_owned();
    assert_eq!(refused, [BindRejection { record: 0, reason }]);
    bind(CqlType::Uuid, None, field(vec![]), &[0]).unwrap();
    bind(CqlType::Uuid, Some(KeyRole::Partition), field(vec![]), &[0]).unwrap_err();
}

#[test]
fn rows_of_one_record_with_one_key_are_merged_and_the_last_wins() {
    let declared = [column("k", CqlType::Text, Some(KeyRole::Partition)), column("n", CqlType::BigInt, None)];
    let batch = batch(0, 2);
    let columns = columns([("k", text(["a", "b", "a", "a", "a"])), ("n", Values::Ints(vec![1, 2, 3, 4, 5]))]);
    let emitted = |deleted| Emitted {
        batch: &batch,
        origins: &[0, 0, 0, 1, 1],
        deleted,
        columns: &columns,
        write_times: &[10, 10, 10, 11, 11],
        messages: None,
    };
    let merged = rows(&declared, &emitted(&[])).unwrap();
    assert_eq!(merged.columns[1].values, BoundValues::Integers(vec![2, 3, 5]));
    assert_eq!((merged.write_times, merged.places.iter().map(|place| place.offset).collect()), (vec![10, 10, 11], vec![0, 0, 1]));
    // The last of the second record deletes; of the first one, a row that another replaced did.
    let merged = rows(&declared, &emitted(&[0, 4])).unwrap();
    assert_eq!((merged.columns[1].values.clone(), merged.deleted), (BoundValues::Integers(vec![2, 3, 5]), vec![2]));
}
