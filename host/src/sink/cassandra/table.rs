//! The table as it is in the cluster, beside the table as the plan wants it; and the statements that would make it so.

use std::time::Duration;

use scylla::client::session::Session;
use scylla::errors::IntoRowsResultError;

use super::fault::{self, Fault};
use crate::config::code;
use crate::config::plan::{CqlType, KeyRole, SinkColumn, SinkPlan};

/// `keyspace.table` of a plan, which has been checked to be lower-case names.
#[derive(Clone, Debug)]
pub(super) struct Name {
    pub keyspace: String,
    pub table: String,
}

impl Name {
    pub(super) fn new(table: &str) -> Name {
        let (keyspace, table) = table.split_once('.').unwrap_or(("", table));
        Name { keyspace: keyspace.to_owned(), table: table.to_owned() }
    }

    /// Quoted, since it may be a word of CQL.
    pub(super) fn cql(&self) -> String {
        format!("{}.{}", quoted(&self.keyspace), quoted(&self.table))
    }
}

/// A name as CQL takes it whatever it is.
pub(super) fn quoted(name: &str) -> String {
    format!("\"{name}\"")
}

/// A column as Cassandra's own tables describe it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Column {
    pub name: String,
    /// As in CQL; `frozen<…>` is left out, which does not change how a value is written.
    pub cql: String,
    pub role: Option<KeyRole>,
}

/// What is there. No columns: no table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Actual {
    pub keyspace: bool,
    pub columns: Vec<Column>,
}

pub(super) async fn read(session: &Session, name: &Name) -> Result<Actual, Fault> {
    let keyspaces = "SELECT keyspace_name FROM system_schema.keyspaces WHERE keyspace_name = ?";
    let keyspaces = session.query_unpaged(keyspaces, (&name.keyspace,)).await.map_err(|error| fault::of_request(&error))?;
    let columns = "SELECT column_name, type, kind FROM system_schema.columns WHERE keyspace_name = ? AND table_name = ?";
    let columns =
        session.query_unpaged(columns, (&name.keyspace, &name.table)).await.map_err(|error| fault::of_request(&error))?;
    let unread = |error: IntoRowsResultError| Fault::Transient(format!("read the cluster's schema: {error}"));
    let (keyspaces, columns) = (keyspaces.into_rows_result().map_err(unread)?, columns.into_rows_result().map_err(unread)?);
    let odd = |error: &dyn std::fmt::Display| Fault::Transient(format!("read the cluster's schema: {error}"));
    let mut actual = Actual { keyspace: keyspaces.rows_num() > 0, columns: Vec::new() };
    for row in columns.rows::<(String, String, String)>().map_err(|error| odd(&error))? {
        let (name, cql, kind) = row.map_err(|error| odd(&error))?;
        let role = match kind.as_str() {
            "partition_key" => Some(KeyRole::Partition),
            "clustering" => Some(KeyRole::Clustering),
            _ => None,
        };
        let cql = cql.strip_prefix("frozen<").and_then(|rest| rest.strip_suffix('>')).unwrap_or(&cql).to_owned();
        actual.columns.push(Column { name, cql, role });
    }
    Ok(actual)
}

/// How long the table remembers what was deleted; `None`: there is no such table.
pub(super) async fn gc_grace(session: &Session, name: &Name) -> Result<Option<Duration>, Fault> {
    let asked = "SELECT gc_grace_seconds FROM system_schema.tables WHERE keyspace_name = ? AND table_name = ?";
    let answer = session.query_unpaged(asked, (&name.keyspace, &name.table)).await.map_err(|error| fault::of_request(&error))?;
    let odd = |error: &dyn std::fmt::Display| Fault::Transient(format!("read the cluster's schema: {error}"));
    let rows = answer.into_rows_result().map_err(|error| odd(&error))?;
    let seconds = rows.maybe_first_row::<(i32,)>().map_err(|error| odd(&error))?;
    Ok(seconds.map(|(seconds,)| Duration::from_secs(seconds.max(0) as u64)))
}

/// How the table is not what the plan wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Difference {
    pub code: &'static str,
    /// Where in the sink of the pipeline file: `table`, `columns.id.type`.
    pub key: String,
    pub message: String,
    pub help: String,
}

impl std::fmt::Display for Difference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.message, self.help)
    }
}

pub(super) fn differences(plan: &SinkPlan, name: &Name, actual: &Actual) -> Vec<Difference> {
    let difference = |code, key: &str, message: String, help: String| Difference { code, key: key.to_owned(), message, help };
    let whole = format!("{}.{}", name.keyspace, name.table);
    let mut found = Vec::new();
    if !actual.keyspace {
        let message = format!("there is no keyspace `{}`", name.keyspace);
        found.push(difference(code::KEYSPACE_MISSING, "table", message, create_keyspace(plan, name)));
    }
    if actual.columns.is_empty() {
        let message = format!("there is no table `{whole}`");
        found.push(difference(code::TABLE_MISSING, "table", message, create_table(plan, name)));
        return found;
    }
    for declared in &plan.columns {
        let (column, wanted) = (&declared.column, declared.cql.name());
        match actual.columns.iter().find(|there| there.name == *column) {
            None if declared.key.is_some() => {
                let message = format!("table `{whole}` has no column `{column}`, which is part of the key here");
                found.push(difference(code::KEY_DIFFERS, &format!("columns.{column}.key"), message, key_of(actual)));
            }
            None => {
                let message = format!("table `{whole}` has no column `{column}`");
                let help = format!("ALTER TABLE {} ADD {} {wanted};", name.cql(), quoted(column));
                found.push(difference(code::COLUMN_MISSING, &format!("columns.{column}"), message, help));
            }
            Some(there) if there.role != declared.key => {
                let role = |role: Option<KeyRole>| match role {
                    Some(KeyRole::Partition) => "part of the partition key",
                    Some(KeyRole::Clustering) => "a clustering column",
                    None => "no part of the key",
                };
                let message =
                    format!("column `{column}` is {} in table `{whole}`, and {} here", role(there.role), role(declared.key));
                found.push(difference(code::KEY_DIFFERS, &format!("columns.{column}.key"), message, key_of(actual)));
            }
            Some(there) if !same(&there.cql, declared.cql) => {
                let message = format!("column `{column}` is {} in table `{whole}`, and {wanted} here", there.cql);
                let help = match CqlType::ALL.iter().find(|cql| same(&there.cql, **cql)) {
                    Some(cql) => format!("declare it so: type = \"{}\"", cql.name()),
                    None => format!("a column of type {} cannot be written: feed another one", there.cql),
                };
                found.push(difference(code::COLUMN_DIFFERS, &format!("columns.{column}.type"), message, help));
            }
            Some(_) => {}
        }
    }
    let unfed = |there: &&Column| there.role.is_some() && !plan.columns.iter().any(|declared| declared.column == there.name);
    for there in actual.columns.iter().filter(unfed) {
        let role = if there.role == Some(KeyRole::Partition) { "partition" } else { "clustering" };
        let message = format!("nothing feeds `{}`, which is part of the key of table `{whole}`", there.name);
        let help = format!("add {} = {{ field = \"…\", type = \"{}\", key = \"{role}\" }}", there.name, there.cql);
        found.push(difference(code::KEY_DIFFERS, "columns", message, help));
    }
    found
}

fn same(there: &str, cql: CqlType) -> bool {
    there.replace(' ', "") == cql.name().replace(' ', "")
}

fn key_of(actual: &Actual) -> String {
    let of = |role| {
        let names = actual.columns.iter().filter(|column| column.role == Some(role)).map(|column| format!("`{}`", column.name));
        names.collect::<Vec<_>>().join(", ")
    };
    let (partition, clustering) = (of(KeyRole::Partition), of(KeyRole::Clustering));
    match clustering.is_empty() {
        true => format!("the table's partition key is {partition}"),
        false => format!("the table's partition key is {partition}, its clustering columns are {clustering}"),
    }
}

pub(super) fn create_keyspace(plan: &SinkPlan, name: &Name) -> String {
    let copies: String =
        plan.cluster.replication.iter().map(|(datacenter, copies)| format!(", '{datacenter}': {copies}")).collect();
    let keyspace = quoted(&name.keyspace);
    format!("CREATE KEYSPACE IF NOT EXISTS {keyspace} WITH replication = {{'class': 'NetworkTopologyStrategy'{copies}}};")
}

pub(super) fn create_table(plan: &SinkPlan, name: &Name) -> String {
    let columns: String =
        plan.columns.iter().map(|column| format!("{} {}, ", quoted(&column.column), column.cql.name())).collect();
    let of = |role| {
        let of_role = |column: &&SinkColumn| column.key == Some(role);
        plan.columns.iter().filter(of_role).map(|column| quoted(&column.column)).collect::<Vec<_>>().join(", ")
    };
    let clustering = match of(KeyRole::Clustering) {
        none if none.is_empty() => none,
        some => format!(", {some}"),
    };
    let partition = of(KeyRole::Partition);
    format!("CREATE TABLE IF NOT EXISTS {} ({columns}PRIMARY KEY (({partition}){clustering}));", name.cql())
}
