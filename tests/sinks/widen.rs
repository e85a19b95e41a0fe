//! A table that is there already: columns may come and go, what rows are kept by may not.

use rusqlite::Connection;
use tidemill::config::plan::{CqlType, KeyRole, SinkColumn};
use tidemill::record::Values;
use tidemill::sink::{self, Emitted};
use tidemill::store::Store;

use super::{batch, column, columns, text, users};

fn key(cql: CqlType) -> SinkColumn {
    column("id", cql, Some(KeyRole::Partition))
}

/// Writes one row of these columns: a text and numbers.
async fn write(store: &Store, declared: Vec<SinkColumn>, id: &str, n: i64) {
    let sink = sink::open(&users(declared), store).await.unwrap();
    let batch = batch(n, 1);
    let columns = columns([("id", text([id])), ("a", Values::Ints(vec![n])), ("b", Values::Ints(vec![n * 10]))]);
    let emitted = Emitted { batch: &batch, origins: &[0], deleted: &[], columns: &columns, write_times: &[n], messages: None };
    let bound = sink.bind(&emitted).unwrap();
    sink.write(&bound).await.unwrap();
}

type Shown = Vec<(String, Vec<Option<i64>>)>;

fn shown(store: &Store) -> (Vec<String>, Shown) {
    let tool = Connection::open(store.dir().join("store.db")).unwrap();
    let mut statement = tool.prepare(r#"SELECT * FROM "spark_streams.created_users" ORDER BY id"#).unwrap();
    let names: Vec<String> = statement.column_names().map(str::to_owned).collect();
    let rows =
        statement.query_map([], |row| Ok((row.get(0)?, (1..names.len()).map(|at| row.get(at)).collect::<Result<_, _>>()?)));
    (names.clone(), rows.unwrap().map(Result::unwrap).collect())
}

#[tokio::test]
async fn an_added_column_is_null_in_old_rows_and_a_removed_one_leaves_the_view() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let (id, a, b) = (key(CqlType::Text), column("a", CqlType::BigInt, None), column("b", CqlType::BigInt, None));
    write(&store, vec![id.clone(), a.clone()], "x", 1).await;
    write(&store, vec![id.clone(), a.clone(), b.clone()], "y", 2).await;
    let row = |id: &str, values: &[Option<i64>]| (id.to_owned(), values.to_vec());
    assert_eq!(shown(&store).1, [row("x", &[Some(1), None]), row("y", &[Some(2), Some(20)])]);
    write(&store, vec![id.clone(), b.clone()], "x", 3).await;
    assert_eq!(shown(&store), (vec!["id".into(), "b".into()], vec![row("x", &[Some(30)]), row("y", &[Some(20)])]));
    // Back again: a row written meanwhile has no old cell in it.
    write(&store, vec![id, a, b], "z", 4).await;
    let expected = [row("x", &[None, Some(30)]), row("y", &[Some(2), Some(20)]), row("z", &[Some(4), Some(40)])];
    assert_eq!(shown(&store).1, expected);
}

#[tokio::test]
async fn a_changed_type_or_key_is_refused_with_a_way_out_and_harms_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let (id, a) = (key(CqlType::Text), column("a", CqlType::BigInt, None));
    write(&store, vec![id.clone(), a.clone()], "x", 1).await;
    let before = shown(&store);
    let cases = [
        (
            vec![id.clone(), column("a", CqlType::Text, None)],
            "column `a` of table `spark_streams.created_users` is bigint in the store and text",
        ),
        (vec![key(CqlType::Uuid), a.clone()], "column `id`"),
        (vec![id.clone(), column("a", CqlType::BigInt, Some(KeyRole::Clustering))], "has the key (id) in the store and (id, a)"),
        (vec![id, a], ""),
    ];
    for (declared, says) in cases {
        match sink::open(&users(declared), &store).await {
            Ok(_) => assert_eq!(says, ""),
            Err(error) => {
                let error = error.to_string();
                assert!(!says.is_empty() && error.contains(says) && error.contains("use another table name"), "{error}");
            }
        }
        assert_eq!(shown(&store), before);
    }
}

#[tokio::test]
async fn a_table_is_not_made_unless_it_may_be() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let mut plan = users(vec![key(CqlType::Text)]);
    plan.create = false;
    let refused = sink::open(&plan, &store).await.err().unwrap().to_string();
    assert!(refused.contains("does not exist in the store: set create = true"), "{refused}");
}
