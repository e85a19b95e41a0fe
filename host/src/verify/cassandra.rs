//! A table of a Cassandra cluster, read page by page with a session of its own: cells, and when each was written.

use std::time::Duration;

use futures_util::TryStreamExt;
use scylla::client::session::Session;
use scylla::client::session_builder::SessionBuilder;
use scylla::statement::Statement;
use scylla::value::{CqlDate, CqlTime, CqlTimestamp, CqlTimeuuid, CqlValue, Row as CqlRow};
use secrecy::ExposeSecret;
use serde_json::{Map, Value};
use tokio::runtime::Runtime;

use super::cells::{Cell, Key, Row, collection};
use super::evidence::{Deletes, Error, Found, Table};
use crate::config::plan::{Consistency, CqlType, SinkColumn, SinkPlan};
use crate::sink::json;

const PAGE_ROWS: i32 = 2_000;
/// How long the cluster may take to be there.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(20);

pub struct CassandraTable {
    runtime: Runtime,
    session: Session,
    /// `keyspace.table`.
    name: String,
    columns: Vec<SinkColumn>,
    /// Columns of which the server tells when they were written, by place in `columns`.
    timed: Vec<usize>,
    consistency: scylla::statement::Consistency,
}

impl CassandraTable {
    /// `None`: there is no such table.
    pub fn open(plan: &SinkPlan, hosts: &[String], name: &str) -> Result<Option<CassandraTable>, Error> {
        let about =
            |error: &dyn std::fmt::Display| Error::of(&format!("sink `{}`: reach {}", plan.name, hosts.join(", ")), error);
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.map_err(|error| about(&error))?;
        let mut builder = SessionBuilder::new().known_nodes(hosts);
        if let Some((user, password)) = &plan.cluster.credentials {
            builder = builder.user(user.expose_secret(), password.expose_secret());
        }
        if let Some(datacenter) = &plan.cluster.datacenter {
            builder = builder.prefer_datacenter(datacenter.clone());
        }
        let connecting = async { tokio::time::timeout(CONNECT_TIMEOUT, builder.build()).await };
        let session = runtime.block_on(connecting).map_err(|error| about(&error))?.map_err(|error| about(&error))?;
        let (keyspace, table) = name.split_once('.').unwrap_or(("", name));
        let there = runtime.block_on(async {
            let select = "SELECT column_name FROM system_schema.columns WHERE keyspace_name = ? AND table_name = ?";
            let pager = session.query_iter(select, (keyspace, table)).await.map_err(|error| about(&error))?;
            let rows = pager.rows_stream::<(String,)>().map_err(|error| about(&error))?;
            rows.try_collect::<Vec<_>>().await.map_err(|error| about(&error))
        })?;
        if there.is_empty() {
            return Ok(None);
        }
        let known = |column: &&SinkColumn| there.iter().any(|(name,)| *name == column.column);
        let columns: Vec<SinkColumn> = plan.columns.iter().filter(known).cloned().collect();
        let timed = (0..columns.len()).filter(|at| columns[*at].key.is_none() && !is_collection(columns[*at].cql)).collect();
        let consistency = consistency(plan.cluster.consistency);
        Ok(Some(CassandraTable { runtime, session, name: name.to_owned(), columns, timed, consistency }))
    }

    fn select(&self, which: &str) -> Statement {
        let mut list: Vec<String> = self.columns.iter().map(|column| quoted(&column.column)).collect();
        list.extend(self.timed.iter().map(|at| format!("WRITETIME({})", quoted(&self.columns[*at].column))));
        let (keyspace, table) = self.name.split_once('.').unwrap_or(("", &self.name));
        let mut statement =
            Statement::new(format!("SELECT {} FROM {}.{}{which}", list.join(", "), quoted(keyspace), quoted(table)));
        statement.set_page_size(PAGE_ROWS);
        statement.set_consistency(self.consistency);
        statement
    }

    /// Hands on the rows that a statement gives.
    fn read(
        &self,
        statement: Statement,
        values: Vec<CqlValue>,
        each: &mut dyn FnMut(Found) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let about = |error: &dyn std::fmt::Display| Error::of(&format!("read table `{}`", self.name), error);
        self.runtime.block_on(async {
            let pager = self.session.query_iter(statement, values).await.map_err(|error| about(&error))?;
            let mut rows = pager.rows_stream::<CqlRow>().map_err(|error| about(&error))?;
            while let Some(row) = rows.try_next().await.map_err(|error| about(&error))? {
                each(self.found(row))?;
            }
            Ok(())
        })
    }

    fn found(&self, row: CqlRow) -> Found {
        let (mut key, mut cells) = (Vec::new(), Row::new());
        let mut values = row.columns.into_iter();
        for (column, value) in self.columns.iter().zip(&mut values) {
            let cell = value.map_or(Cell::Null, |value| cell(value, column.cql));
            match column.key {
                Some(_) => key.push(cell),
                None if cell == Cell::Null => {}
                None => {
                    cells.insert(column.column.to_ascii_lowercase(), cell);
                }
            }
        }
        let times: Vec<i64> = values.filter_map(|time| time?.as_bigint()).collect();
        let written = times.iter().copied().max();
        Found { key: Key(key), written, torn: times.iter().any(|time| Some(*time) != written), row: Some(cells), at: 0 }
    }
}

impl Table for CassandraTable {
    fn rows_expected(&mut self) -> Option<u64> {
        None
    }

    fn scan(&mut self, each: &mut dyn FnMut(Found) -> Result<(), Error>) -> Result<(), Error> {
        self.read(self.select(""), Vec::new(), each)
    }

    fn row(&mut self, key: &Key, _: i64) -> Result<Option<Found>, Error> {
        let keys: Vec<&SinkColumn> = self.columns.iter().filter(|column| column.key.is_some()).collect();
        let which: Vec<String> = keys.iter().map(|column| format!("{} = ?", quoted(&column.column))).collect();
        let values = keys.iter().zip(&key.0).map(|(column, cell)| value(cell, column.cql));
        let Some(values) = values.collect::<Option<Vec<CqlValue>>>() else { return Ok(None) };
        let mut found = None;
        self.read(self.select(&format!(" WHERE {}", which.join(" AND "))), values, &mut |row| {
            found = Some(row);
            Ok(())
        })?;
        Ok(found)
    }

    fn deletes(&self) -> Deletes {
        Deletes::Gone
    }

    fn compares(&self, column: &str) -> bool {
        self.columns.iter().any(|known| known.column.eq_ignore_ascii_case(column))
    }
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

fn is_collection(cql: CqlType) -> bool {
    matches!(cql, CqlType::List | CqlType::Set | CqlType::Map)
}

fn consistency(written: Consistency) -> scylla::statement::Consistency {
    use scylla::statement::Consistency as Cql;
    match written {
        Consistency::One => Cql::One,
        Consistency::Two => Cql::Two,
        Consistency::Three => Cql::Three,
        Consistency::Quorum | Consistency::EachQuorum => Cql::Quorum,
        Consistency::All => Cql::All,
        Consistency::LocalOne => Cql::LocalOne,
        Consistency::LocalQuorum => Cql::LocalQuorum,
    }
}

fn cell(value: CqlValue, cql: CqlType) -> Cell {
    let text = |text: String| Cell::Text(text.into_bytes());
    match value {
        CqlValue::Text(value) | CqlValue::Ascii(value) => text(value),
        CqlValue::Blob(bytes) => Cell::Blob(bytes),
        CqlValue::Uuid(uuid) => Cell::Blob(uuid.as_bytes().to_vec()),
        CqlValue::Timeuuid(uuid) => Cell::Blob(uuid.as_bytes().to_vec()),
        CqlValue::Boolean(value) => Cell::Integer(value.into()),
        CqlValue::TinyInt(value) => Cell::Integer(value.into()),
        CqlValue::SmallInt(value) => Cell::Integer(value.into()),
        CqlValue::Int(value) => Cell::Integer(value.into()),
        CqlValue::BigInt(value) | CqlValue::Timestamp(CqlTimestamp(value)) => Cell::Integer(value),
        // Days are counted from 2^31 days before 1970.
        CqlValue::Date(CqlDate(days)) => Cell::Integer(i64::from(days) - (1 << 31)),
        CqlValue::Time(CqlTime(nanos)) => text(json::time(nanos).to_string()),
        CqlValue::Float(value) => Cell::Real(value.into()),
        CqlValue::Double(value) => Cell::Real(value),
        CqlValue::Inet(address) => text(address.to_string()),
        CqlValue::Varint(value) => text(json::text(value.as_signed_bytes_be_slice(), CqlType::Varint)),
        CqlValue::Decimal(value) => {
            let (digits, exponent) = value.as_signed_be_bytes_slice_and_exponent();
            text(json::text(&[&exponent.to_be_bytes(), digits].concat(), CqlType::Decimal))
        }
        CqlValue::List(values) | CqlValue::Set(values) => collection(values.into_iter().map(element).collect(), cql),
        CqlValue::Map(pairs) => {
            let pair =
                |(key, value): (CqlValue, CqlValue)| (element(key).as_str().unwrap_or_default().to_owned(), element(value));
            collection(Value::Object(pairs.into_iter().map(pair).collect::<Map<_, _>>()), cql)
        }
        other => text(format!("{other:?}")),
    }
}

fn element(value: CqlValue) -> Value {
    match value {
        CqlValue::Text(text) => text.into(),
        other => format!("{other:?}").into(),
    }
}

/// A key's cell as the server takes it; `None`: it cannot be asked for.
fn value(cell: &Cell, cql: CqlType) -> Option<CqlValue> {
    Some(match (cell, cql) {
        (Cell::Text(text), CqlType::Text) => CqlValue::Text(String::from_utf8(text.clone()).ok()?),
        (Cell::Text(text), CqlType::Ascii) => CqlValue::Ascii(String::from_utf8(text.clone()).ok()?),
        (Cell::Text(text), CqlType::Inet) => CqlValue::Inet(std::str::from_utf8(text).ok()?.parse().ok()?),
        (Cell::Blob(bytes), CqlType::Blob) => CqlValue::Blob(bytes.clone()),
        (Cell::Blob(bytes), CqlType::Uuid) => CqlValue::Uuid(uuid::Uuid::from_slice(bytes).ok()?),
        (Cell::Blob(bytes), CqlType::TimeUuid) => CqlValue::Timeuuid(CqlTimeuuid::from(uuid::Uuid::from_slice(bytes).ok()?)),
        (Cell::Integer(value), CqlType::TinyInt) => CqlValue::TinyInt(i8::try_from(*value).ok()?),
        (Cell::Integer(value), CqlType::SmallInt) => CqlValue::SmallInt(i16::try_from(*value).ok()?),
        (Cell::Integer(value), CqlType::Int) => CqlValue::Int(i32::try_from(*value).ok()?),
        (Cell::Integer(value), CqlType::BigInt) => CqlValue::BigInt(*value),
        (Cell::Integer(value), CqlType::Timestamp) => CqlValue::Timestamp(CqlTimestamp(*value)),
        (Cell::Integer(days), CqlType::Date) => CqlValue::Date(CqlDate(u32::try_from(days + (1 << 31)).ok()?)),
        (Cell::Integer(value), CqlType::Boolean) => CqlValue::Boolean(*value != 0),
        (Cell::Real(value), CqlType::Float) => CqlValue::Float(*value as f32),
        (Cell::Real(value), CqlType::Double) => CqlValue::Double(*value),
        _ => return None,
    })
}
