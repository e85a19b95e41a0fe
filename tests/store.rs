//! The store: one owner, a full disk that is waited for, writes that are whole or nothing, and a log that is copied back.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rusqlite::Connection;
use tidemill::store::{self, Error, Store, components, runs};

fn insert(n: i64) -> store::Write {
    Arc::new(move |connection| {
        connection.execute("INSERT INTO counters (name, last) VALUES (?1, ?1)", [n])?;
        Ok(())
    })
}

async fn count(store: &Store) -> i64 {
    store.read(|connection| Ok(connection.query_row("SELECT count(*) FROM counters", [], |row| row.get(0))?)).await.unwrap()
}

#[tokio::test]
async fn a_second_host_is_refused_and_told_where_the_first_is() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(Store::owner(dir.path()).unwrap(), None);
    let store = Store::open(dir.path()).unwrap();
    store.set_address("127.0.0.1:4242").unwrap();
    let refused = Store::open(dir.path()).err().unwrap();
    assert_eq!(refused, Error::Owned(Some("127.0.0.1:4242".to_owned())));
    assert_eq!(refused.to_string(), "the store is in use by another host at 127.0.0.1:4242");
    let owner = Store::owner(dir.path()).unwrap().unwrap();
    assert_eq!((owner.pid, owner.address.as_deref()), (std::process::id(), Some("127.0.0.1:4242")));
    drop(store);
    assert_eq!(Store::owner(dir.path()).unwrap(), None);
    Store::open(dir.path()).unwrap();
}

#[tokio::test]
async fn nobody_else_may_read_the_store() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().join("users");
    let store = Store::open(&dir).unwrap();
    store.write(insert(1)).await.unwrap();
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&dir), 0o700);
    for file in std::fs::read_dir(&dir).unwrap() {
        let path = file.unwrap().path();
        assert_eq!(mode(&path), 0o600, "{}", path.display());
    }
}

#[tokio::test]
async fn a_write_that_fails_leaves_nothing_and_harms_no_other() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let half: store::Write = Arc::new(|connection: &Connection| {
        connection.execute("INSERT INTO counters (name, last) VALUES ('half', 1)", [])?;
        Err(Error::Sqlite("no".to_owned()))
    });
    let (first, failed, last) = tokio::join!(store.write(insert(1)), store.write(half), store.write(insert(2)));
    assert_eq!((first, failed, last), (Ok(()), Err(Error::Sqlite("no".to_owned())), Ok(())));
    assert_eq!(count(&store).await, 2);
}

/// The file may not grow for the first attempts: each runs into SQLITE_FULL, and the next one is given room.
#[tokio::test]
async fn a_full_disk_is_an_alarm_and_loses_nothing() {
    const ATTEMPTS: usize = 3;
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    store.write(insert(1)).await.unwrap();
    let attempts = Arc::new(AtomicUsize::new(0));
    let counted = attempts.clone();
    let large: store::Write = Arc::new(move |connection: &Connection| {
        let pages = if counted.fetch_add(1, Ordering::SeqCst) < ATTEMPTS { 1 } else { 1 << 30 };
        // SQLite never goes below what the file has.
        connection.query_row(&format!("PRAGMA max_page_count = {pages}"), [], |_| Ok(()))?;
        connection.execute("INSERT INTO components (digest, bytes) VALUES ('large', zeroblob(1000000))", [])?;
        Ok(())
    });
    let mut health = store.watch_health();
    let (written, alarm) =
        tokio::join!(store.write(large), async { health.wait_for(|health| health.stuck.is_some()).await.unwrap().clone() });
    written.unwrap();
    assert!(alarm.alarms()[0].contains("full"), "{alarm:?}");
    assert_eq!(attempts.load(Ordering::SeqCst), ATTEMPTS + 1);
    assert_eq!(store.health(), store::Health::default());
    let large = components::load(&store, "large").await.unwrap().unwrap();
    assert_eq!((count(&store).await, large.len()), (1, 1_000_000));
}

#[tokio::test]
async fn a_store_of_another_schema_or_another_program_is_refused() {
    for (pragma, says) in [("user_version = 999", "schema version 999"), ("application_id = 7", "not made by tidemill")] {
        let dir = tempfile::tempdir().unwrap();
        drop(Store::open(dir.path()).unwrap());
        let tool = Connection::open(dir.path().join("store.db")).unwrap();
        tool.execute_batch(&format!("PRAGMA {pragma}")).unwrap();
        drop(tool);
        let refused = Store::open(dir.path()).err().unwrap().to_string();
        assert!(refused.contains(says), "{refused}");
    }
}

#[tokio::test]
async fn runs_have_numbers_that_are_never_given_twice() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let run = tidemill::status::Run { what: "page".to_owned(), records: 3, ..Default::default() };
    assert_eq!(runs::keep(&store, &run).await.unwrap(), 1);
    store.write(Arc::new(|connection| Ok(connection.execute_batch("DELETE FROM runs")?))).await.unwrap();
    drop(store);
    let store = Store::open(dir.path()).unwrap();
    assert_eq!(runs::keep(&store, &run).await.unwrap(), 2);
    let ids: Vec<i64> = runs::latest(&store, 10).await.unwrap().iter().map(|run| run.id).collect();
    assert_eq!(ids, [2]);
}

/// A busy writer's log is copied back and used afresh: at some point more was written than the file ever held.
#[tokio::test]
async fn the_write_ahead_log_of_a_busy_writer_does_not_grow_for_ever() {
    const WRITE_BYTES: u64 = 1_000_000;
    const WRITES_MAX: u64 = 3_000;
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let mut longest = 0;
    for written in 1..=WRITES_MAX {
        let replace = "INSERT OR REPLACE INTO components (digest, bytes) VALUES ('x', zeroblob(1000000))";
        store.write(Arc::new(|connection| Ok(connection.execute_batch(replace)?))).await.unwrap();
        longest = longest.max(std::fs::metadata(dir.path().join("store.db-wal")).unwrap().len());
        if written * WRITE_BYTES > longest + 8 * WRITE_BYTES {
            return;
        }
    }
    panic!("the log grew to {longest} bytes");
}
