//! A real Cassandra, and a reader of its tables that shares no code with the product.

use std::collections::BTreeMap;
use std::fs;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use futures_util::TryStreamExt;
use rustix::process::Signal;
use scylla::client::session_builder::SessionBuilder;
use scylla::value::{CqlValue, Row};
use tempfile::TempDir;

use super::jars;
use super::process::{Port, Process};
use crate::support::wait_for;

const POM: &str = include_str!("cassandra/pom.xml");
const SETTINGS: &str = include_str!("cassandra/cassandra.yaml");
const LOGGING: &str = include_str!("cassandra/logback.xml");

/// What Cassandra's own start script opens of Java's modules.
const EXPORTS: &str = "java.base/jdk.internal.misc java.base/java.lang.ref java.management.rmi/com.sun.jmx.remote.internal.rmi \
    java.rmi/sun.rmi.registry java.rmi/sun.rmi.server java.sql/java.sql jdk.unsupported/sun.misc \
    jdk.compiler/com.sun.tools.javac.file jdk.attach/sun.tools.attach";
const OPENS: &str = "java.base/java.lang java.base/java.lang.module java.base/java.lang.reflect java.base/java.util java.base/java.io \
    java.base/java.nio java.base/sun.nio.ch java.base/jdk.internal.loader java.base/jdk.internal.ref java.base/jdk.internal.reflect \
    java.base/jdk.internal.math java.base/jdk.internal.module java.base/jdk.internal.util.jar \
    jdk.management/com.sun.management.internal jdk.compiler/com.sun.tools.javac";
const FLAGS: &str = "-XX:TieredStopAtLevel=1 -Xss256k -Xms512m -Xmx768m -XX:MaxDirectMemorySize=256m -XX:+UseG1GC \
    -XX:MaxGCPauseMillis=300 -XX:+PerfDisableSharedMem -XX:+ExitOnOutOfMemoryError -Djava.net.preferIPv4Stack=true \
    -Djdk.attach.allowAttachSelf=true -Dio.netty.tryReflectionSetAccessible=true -Dio.netty.allocator.useCacheForAllThreads=true \
    -Dio.netty.allocator.maxOrder=11 -Dcassandra-foreground=yes -Dcassandra.skip_wait_for_gossip_to_settle=0 \
    -Dcassandra.ring_delay_ms=100";

pub struct Cassandra {
    process: Option<Process>,
    command: Command,
    client: Port,
    _storage: Port,
    dir: TempDir,
}

/// The Cassandra that the cases share, started by the first that asks. A case must not harm it.
pub fn shared() -> Option<&'static Cassandra> {
    static SHARED: OnceLock<Option<Cassandra>> = OnceLock::new();
    SHARED.get_or_init(|| Cassandra::own(&[])).as_ref()
}

impl Cassandra {
    /// One for this case alone, with further top-level settings, such as `read_request_timeout: 1s`; ended when dropped.
    #[track_caller]
    pub fn own(settings: &[&str]) -> Option<Cassandra> {
        let jars = jars::resolve("cassandra-5.0.8", POM, |_| {})?;
        let (client, storage) = (Port::choose(), Port::choose());
        let dir = tempfile::tempdir().expect("a folder for Cassandra");
        let data = dir.path().join("data");
        let text = SETTINGS
            .replace("{client}", &client.number().to_string())
            .replace("{storage}", &storage.number().to_string())
            .replace("{data}", &data.display().to_string());
        let key = |line: &str| line.split_once(':').map(|(key, _)| key.to_owned());
        let kept = text.lines().filter(|line| settings.iter().all(|setting| key(setting) != key(line)));
        let text = kept.chain(settings.iter().copied()).collect::<Vec<_>>().join("\n");
        fs::write(dir.path().join("cassandra.yaml"), text).expect("write the settings");
        fs::write(dir.path().join("logback.xml"), LOGGING).expect("write the settings");
        let command = java(&jars, dir.path(), &data);
        let mut cassandra = Cassandra { process: None, command, client, _storage: storage, dir };
        cassandra.start();
        Some(cassandra)
    }

    /// `127.0.0.1:port`; the same over restarts.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.client.number())
    }

    /// Starts it again on the data it had.
    #[track_caller]
    pub fn start(&mut self) {
        assert!(self.process.is_none(), "Cassandra runs");
        self.process = Some(Process::start(&self.command, self.dir.path(), "Starting listening for CQL clients"));
        // It says so a moment before it does.
        wait_for("Cassandra to listen", || TcpStream::connect(self.address()).ok());
    }

    /// SIGTERM, and its end.
    pub fn stop(&mut self) {
        self.end(Signal::TERM);
    }

    /// SIGKILL, and its end. Wait a second after the last write, or what was acknowledged may be lost: the log is synced that often.
    pub fn kill(&mut self) {
        self.end(Signal::KILL);
    }

    fn end(&mut self, signal: Signal) {
        self.process.take().expect("Cassandra runs").end(signal);
    }

    /// SIGSTOP: it keeps its connections and answers nobody.
    pub fn pause(&self) {
        self.process.as_ref().expect("Cassandra runs").signal(Signal::STOP);
    }

    pub fn resume(&self) {
        self.process.as_ref().expect("Cassandra runs").signal(Signal::CONT);
    }

    /// A keyspace of this name, made with one replica.
    #[track_caller]
    pub fn create_keyspace(&self, name: &str) {
        let replication = "{'class': 'SimpleStrategy', 'replication_factor': 1}";
        self.execute(&format!("CREATE KEYSPACE {name} WITH replication = {replication}"));
    }

    /// Whether there is a table `keyspace.table`.
    pub fn has_table(&self, table: &str) -> bool {
        let (keyspace, name) = table.split_once('.').expect("keyspace.table");
        let tables = "SELECT table_name FROM system_schema.tables WHERE keyspace_name";
        !self.rows(&format!("{tables} = '{keyspace}' AND table_name = '{name}'")).is_empty()
    }

    /// Runs a statement that answers no rows.
    #[track_caller]
    pub fn execute(&self, statement: &str) {
        self.rows(statement);
    }

    /// The rows of a query, by column.
    #[track_caller]
    pub fn rows(&self, query: &str) -> Vec<BTreeMap<String, Option<CqlValue>>> {
        self.try_rows(query).unwrap_or_else(|error| panic!("{query}: {error}"))
    }

    /// [`Cassandra::rows`] where it may be down.
    pub fn try_rows(&self, query: &str) -> Result<Vec<BTreeMap<String, Option<CqlValue>>>, String> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("make a runtime");
        let text = |error: &dyn std::fmt::Display| error.to_string();
        runtime.block_on(async {
            let session = SessionBuilder::new().known_node(self.address()).build().await.map_err(|error| text(&error))?;
            let pager = session.query_iter(query, ()).await.map_err(|error| text(&error))?;
            let names: Vec<String> = pager.column_specs().iter().map(|column| column.name().to_owned()).collect();
            if names.is_empty() {
                return Ok(Vec::new());
            }
            let rows = pager.rows_stream::<Row>().map_err(|error| text(&error))?;
            let rows = rows.map_ok(|row| names.iter().cloned().zip(row.columns).collect());
            rows.try_collect().await.map_err(|error| text(&error))
        })
    }
}

fn java(jars: &Path, dir: &Path, data: &Path) -> Command {
    let mut command = Command::new("java");
    command.args(FLAGS.split_whitespace());
    for (flag, packages) in [("--add-exports", EXPORTS), ("--add-opens", OPENS)] {
        for package in packages.split_whitespace() {
            command.args([flag, &format!("{package}=ALL-UNNAMED")]);
        }
    }
    let file = |name: &str| format!("file://{}", dir.join(name).display());
    command.arg(format!("-javaagent:{}", jamm(&jars.join("lib")).display()));
    command.arg(format!("-Dcassandra.config={}", file("cassandra.yaml")));
    command.arg(format!("-Dlogback.configurationFile={}", file("logback.xml")));
    command.arg(format!("-Dcassandra.storagedir={}", data.display())).arg(format!("-Dcassandra.logdir={}", data.display()));
    command.arg("-cp").arg(jars.join("lib/*")).arg("org.apache.cassandra.service.CassandraDaemon");
    command
}

/// The agent by which Cassandra measures its memory.
fn jamm(lib: &Path) -> PathBuf {
    let jars = fs::read_dir(lib).expect("list the jars").flatten().map(|jar| jar.path());
    let is_jamm = |path: &PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("jamm-"));
    jars.into_iter().find(is_jamm).expect("Cassandra depends on jamm")
}
