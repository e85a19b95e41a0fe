//! The table as it is stored: made, checked against what is declared, and widened.

use rusqlite::{Connection, OptionalExtension, params};

use crate::config::plan::{CqlType, SinkColumn};
use crate::store::Error;

/// Names of ours in the stored table. No CQL name holds an `@`.
pub(super) const ROW: &str = "\"@row\"";
pub(super) const TIME: &str = "\"@time\"";
pub(super) const DELETED: &str = "\"@deleted\"";

pub(super) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// The stored table behind the view `table`, quoted.
pub(super) fn stored_name(table: &str) -> String {
    quoted(&format!("{table}:rows"))
}

/// Opens, makes or widens the table. Returns all its columns, also those that are declared no longer; the inner `Err` says why it cannot be
/// used as declared.
pub(super) fn open(
    connection: &Connection,
    table: &str,
    declared: &[SinkColumn],
    create: bool,
) -> Result<Result<Vec<SinkColumn>, String>, Error> {
    if !declared.iter().any(|column| column.key.is_some()) {
        return Ok(Err(format!("table `{table}` has no key: give a column key = \"partition\"")));
    }
    let known = "SELECT columns FROM tables WHERE name = ?1";
    let known: Option<String> = connection.query_row(known, [table], |row| row.get(0)).optional()?;
    let mut stored: Vec<SinkColumn> = match &known {
        Some(text) => {
            serde_json::from_str(text).map_err(|error| Error::Sqlite(format!("read the columns of a table: {error}")))?
        }
        None if create => {
            make(connection, table, declared)?;
            declared.to_vec()
        }
        None => return Ok(Err(format!("table `{table}` does not exist in the store: set create = true to make it"))),
    };
    if known.is_some() {
        if let Some(reason) = differs(table, &stored, declared) {
            return Ok(Err(reason));
        }
        for column in declared.iter().filter(|column| find(&stored, column).is_none()).cloned().collect::<Vec<_>>() {
            let add =
                format!("ALTER TABLE {} ADD COLUMN {} {}", stored_name(table), quoted(&column.column), affinity(column.cql));
            connection.execute_batch(&add)?;
            stored.push(column);
        }
    }
    let text = serde_json::to_string(&stored).map_err(|error| Error::Sqlite(format!("write the columns of a table: {error}")))?;
    connection.execute("INSERT OR REPLACE INTO tables (name, columns) VALUES (?1, ?2)", params![table, text])?;
    make_view(connection, table, declared)?;
    Ok(Ok(stored))
}

fn find<'a>(stored: &'a [SinkColumn], column: &SinkColumn) -> Option<&'a SinkColumn> {
    stored.iter().find(|other| other.column.eq_ignore_ascii_case(&column.column))
}

/// Types and key cannot change under rows that are there.
fn differs(table: &str, stored: &[SinkColumn], declared: &[SinkColumn]) -> Option<String> {
    let way_out = "use another table name or another --data folder";
    let key = |columns: &[SinkColumn]| -> Vec<String> {
        columns.iter().filter(|column| column.key.is_some()).map(|column| column.column.to_ascii_lowercase()).collect()
    };
    if key(stored) != key(declared) {
        let (has, wants) = (key(stored).join(", "), key(declared).join(", "));
        return Some(format!("table `{table}` has the key ({has}) in the store and ({wants}) in the pipeline file: {way_out}"));
    }
    declared.iter().find_map(|column| {
        let other = find(stored, column)?;
        (other.cql != column.cql).then(|| {
            let (has, wants) = (other.cql.name(), column.cql.name());
            format!(
                "column `{}` of table `{table}` is {has} in the store and {wants} in the pipeline file: {way_out}",
                column.column
            )
        })
    })
}

fn make(connection: &Connection, table: &str, columns: &[SinkColumn]) -> Result<(), Error> {
    let stored = stored_name(table);
    let declared: Vec<String> = columns
        .iter()
        .map(|column| {
            let not_null = if column.key.is_some() { " NOT NULL" } else { "" };
            format!("{} {}{not_null}", quoted(&column.column), affinity(column.cql))
        })
        .collect();
    let key: Vec<String> = columns.iter().filter(|column| column.key.is_some()).map(|column| quoted(&column.column)).collect();
    connection.execute_batch(&format!(
        "CREATE TABLE {stored} ({ROW} INTEGER PRIMARY KEY, {TIME} INTEGER NOT NULL, {DELETED} INTEGER NOT NULL, {});
         CREATE UNIQUE INDEX {} ON {stored} ({});
         CREATE INDEX {} ON {stored} ({TIME}) WHERE {DELETED};",
        declared.join(", "),
        quoted(&format!("{table}:key")),
        key.join(", "),
        quoted(&format!("{table}:deleted")),
    ))?;
    Ok(())
}

fn make_view(connection: &Connection, table: &str, columns: &[SinkColumn]) -> Result<(), Error> {
    let shown: Vec<String> = columns.iter().map(|column| format!("{} AS {}", shown(column), quoted(&column.column))).collect();
    connection.execute_batch(&format!(
        "DROP VIEW IF EXISTS {view}; CREATE VIEW {view} AS SELECT {} FROM {} WHERE NOT {DELETED};",
        shown.join(", "),
        stored_name(table),
        view = quoted(table),
    ))?;
    Ok(())
}

/// A stored value as the view shows it. A uuid is stored as its 16 bytes: its index is less than half as large.
pub(super) fn shown(column: &SinkColumn) -> String {
    let name = quoted(&column.column);
    match column.cql {
        CqlType::Uuid => {
            let part = |from, len| format!("substr(hex({name}), {from}, {len})");
            let parts = [part(1, 8), part(9, 4), part(13, 4), part(17, 4), part(21, 12)].join(" || '-' || ");
            format!("CASE WHEN {name} IS NOT NULL THEN lower({parts}) END")
        }
        _ => name,
    }
}

fn affinity(cql: CqlType) -> &'static str {
    match cql {
        CqlType::Text | CqlType::Date => "TEXT",
        CqlType::Uuid | CqlType::Blob => "BLOB",
        CqlType::Int | CqlType::BigInt | CqlType::Timestamp | CqlType::Boolean => "INTEGER",
        CqlType::Float | CqlType::Double => "REAL",
    }
}
