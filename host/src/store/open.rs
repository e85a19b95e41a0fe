//! Opening the file: who may read it, what is set on a connection, and which schema it has.

use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};

use super::Error;

pub(super) const FILE: &str = "store.db";

/// `PRAGMA application_id`: "Tide".
const APPLICATION_ID: i32 = 0x5469_6465;
/// `PRAGMA user_version`. It grows with each change of `schema.sql`.
const SCHEMA_VERSION: i32 = 3;
const SCHEMA: &str = include_str!("schema.sql");

const PAGE_BYTES: u32 = 4096;
/// Pages that the writer keeps in memory. Part of the host's 150 MB.
const WRITER_CACHE_KIB: u32 = 16 * 1024;
const READER_CACHE_KIB: u32 = 2 * 1024;
/// Statements of log, saves and tables that stay prepared.
const STATEMENTS_CACHED: usize = 128;
/// What an emptied write-ahead log may keep on disk.
const WAL_KEPT_BYTES: u32 = 64 << 20;
/// How long to wait for a foreign program that writes.
const BUSY_TIMEOUT: Duration = Duration::from_secs(2);

/// Payloads are people's data: nobody else may look into the folder.
pub(super) fn make_dir(dir: &Path) -> Result<(), Error> {
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true).mode(0o700).create(dir).map_err(|error| Error::io(&format!("make {}", dir.display()), &error))
}

pub(super) fn for_writing(path: &Path) -> Result<Connection, Error> {
    // SQLite gives its -wal and -shm files the mode of the database.
    let mut file = std::fs::OpenOptions::new();
    file.write(true).create(true).truncate(false).mode(0o600);
    drop(file.open(path).map_err(|error| Error::io(&format!("open {}", path.display()), &error))?);
    let connection = connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE, WRITER_CACHE_KIB)?;
    connection
        .execute_batch(&format!("PRAGMA page_size = {PAGE_BYTES}; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;"))?;
    connection.execute_batch(&format!("PRAGMA wal_autocheckpoint = 0; PRAGMA journal_size_limit = {WAL_KEPT_BYTES};"))?;
    migrate(&connection, path)?;
    Ok(connection)
}

pub(super) fn for_checkpoints(path: &Path) -> Result<Connection, Error> {
    let connection = connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE, READER_CACHE_KIB)?;
    // FULL, so that a pass syncs the database before the write-ahead log may be used again.
    connection.execute_batch("PRAGMA synchronous = FULL; PRAGMA wal_autocheckpoint = 0;")?;
    Ok(connection)
}

pub(super) fn for_reading(path: &Path) -> Result<Connection, Error> {
    connect(path, OpenFlags::SQLITE_OPEN_READ_ONLY, READER_CACHE_KIB)
}

fn connect(path: &Path, flags: OpenFlags, cache_kib: u32) -> Result<Connection, Error> {
    let connection = Connection::open_with_flags(path, flags | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS_CACHED);
    connection.execute_batch(&format!("PRAGMA cache_size = -{cache_kib};"))?;
    Ok(connection)
}

fn migrate(connection: &Connection, path: &Path) -> Result<(), Error> {
    let pragma = |name: &str| connection.query_row(&format!("PRAGMA {name}"), [], |row| row.get::<_, i32>(0));
    let (application, version) = (pragma("application_id")?, pragma("user_version")?);
    match (application, version) {
        (APPLICATION_ID, SCHEMA_VERSION) => {
            // Tables that came since it was made.
            let added = SCHEMA.replace("CREATE TABLE ", "CREATE TABLE IF NOT EXISTS ");
            let added = added.replace("CREATE UNIQUE INDEX ", "CREATE UNIQUE INDEX IF NOT EXISTS ");
            Ok(connection.execute_batch(&format!("BEGIN IMMEDIATE; {added} COMMIT;"))?)
        }
        (0, 0) => {
            let stamp = format!("PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {SCHEMA_VERSION};");
            Ok(connection.execute_batch(&format!("BEGIN IMMEDIATE; {SCHEMA} {stamp} COMMIT;"))?)
        }
        (APPLICATION_ID, other) => Err(Error::Sqlite(format!(
            "{} has schema version {other}, this host knows {SCHEMA_VERSION}: use the host that wrote it, or another --data folder",
            path.display()
        ))),
        _ => Err(Error::Sqlite(format!("{} was not made by tidemill: use another --data folder", path.display()))),
    }
}
