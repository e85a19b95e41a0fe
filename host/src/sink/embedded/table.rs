//! The table as it is stored: made, checked against what is declared, and widened.

use rusqlite::{Connection, OptionalExtension, params};

use crate::config::plan::{CqlType, SinkColumn, SinkPlan};
use crate::store::Error;

/// Names of ours in the stored table. No CQL name holds an `@`.
pub(super) const ROW: &str = "\"@row\"";
pub(super) const TIME: &str = "\"@time\"";
pub(super) const DELETED: &str = "\"@deleted\"";
/// ms since 1970; null: the row stays. Only tables that have had a `ttl` have it.
pub(super) const ENDS: &str = "\"@ends\"";

/// The table as it is in the store.
pub(super) struct Stored {
    /// All its columns, also those that are declared no longer.
    pub columns: Vec<SinkColumn>,
    pub ends: bool,
}

/// What is true of the rows that are shown.
pub(super) fn live(ends: bool) -> String {
    match ends {
        true => format!("NOT {DELETED} AND ({ENDS} IS NULL OR {ENDS} > unixepoch('subsec') * 1000)"),
        false => format!("NOT {DELETED}"),
    }
}

/// Whether the table has ends; it keeps them when `ttl` is taken out of the file.
pub(super) fn has_ends(connection: &Connection, table: &str) -> Result<bool, Error> {
    let known = "SELECT count(*) FROM pragma_table_info(?1) WHERE name = '@ends'";
    Ok(connection.query_row(known, [format!("{table}:rows")], |row| row.get::<_, i64>(0))? > 0)
}

pub(super) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// The stored table behind the view `table`, quoted.
pub(super) fn stored_name(table: &str) -> String {
    quoted(&format!("{table}:rows"))
}

/// Opens, makes or widens the table; the inner `Err` says why it cannot be used as declared.
pub(super) fn open(connection: &Connection, table: &str, plan: &SinkPlan) -> Result<Result<Stored, String>, Error> {
    let declared = plan.columns.as_slice();
    if !declared.iter().any(|column| column.key.is_some()) {
        return Ok(Err(format!("table `{table}` has no key: give a column key = \"partition\"")));
    }
    let known = "SELECT columns FROM tables WHERE name = ?1";
    let known: Option<String> = connection.query_row(known, [table], |row| row.get(0)).optional()?;
    let mut stored: Vec<SinkColumn> = match &known {
        Some(text) => {
            serde_json::from_str(text).map_err(|error| Error::Sqlite(format!("read the columns of a table: {error}")))?
        }
        None if plan.create => {
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
    let keep = "INSERT INTO tables (name, columns) VALUES (?1, ?2) ON CONFLICT DO UPDATE SET columns = excluded.columns";
    connection.execute(keep, params![table, text])?;
    let mut ends = has_ends(connection, table)?;
    if plan.ttl.is_some() && !ends {
        connection.execute_batch(&format!("ALTER TABLE {} ADD COLUMN {ENDS} INTEGER", stored_name(table)))?;
        ends = true;
    }
    make_view(connection, table, declared, ends)?;
    Ok(Ok(Stored { columns: stored, ends }))
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
    connection.execute_batch(&format!(
        "CREATE TABLE {stored} ({ROW} INTEGER PRIMARY KEY, {TIME} INTEGER NOT NULL, {DELETED} INTEGER NOT NULL, {});
         CREATE INDEX {} ON {stored} ({TIME}) WHERE {DELETED};",
        declared.join(", "),
        quoted(&format!("{table}:deleted")),
    ))?;
    Ok(())
}

fn make_view(connection: &Connection, table: &str, columns: &[SinkColumn], ends: bool) -> Result<(), Error> {
    let shown: Vec<String> = columns.iter().map(|column| format!("{} AS {}", shown(column), quoted(&column.column))).collect();
    connection.execute_batch(&format!(
        "DROP VIEW IF EXISTS {view}; CREATE VIEW {view} AS SELECT {} FROM {} WHERE {};",
        shown.join(", "),
        stored_name(table),
        live(ends),
        view = quoted(table),
    ))?;
    Ok(())
}

/// A stored value as the view shows it. A uuid is stored as its 16 bytes: its index is less than half as large.
pub(super) fn shown(column: &SinkColumn) -> String {
    let name = quoted(&column.column);
    match column.cql {
        CqlType::Uuid | CqlType::TimeUuid => {
            let part = |from, len| format!("substr(hex({name}), {from}, {len})");
            let parts = [part(1, 8), part(9, 4), part(13, 4), part(17, 4), part(21, 12)].join(" || '-' || ");
            format!("CASE WHEN {name} IS NOT NULL THEN lower({parts}) END")
        }
        _ => name,
    }
}

fn affinity(cql: CqlType) -> &'static str {
    match cql {
        CqlType::Text | CqlType::Ascii | CqlType::Date | CqlType::Time | CqlType::Varint | CqlType::Decimal | CqlType::Inet => {
            "TEXT"
        }
        CqlType::List | CqlType::Set | CqlType::Map => "TEXT",
        CqlType::Uuid | CqlType::TimeUuid | CqlType::Blob => "BLOB",
        CqlType::Int | CqlType::BigInt | CqlType::SmallInt | CqlType::TinyInt | CqlType::Timestamp | CqlType::Boolean => {
            "INTEGER"
        }
        CqlType::Float | CqlType::Double => "REAL",
    }
}
