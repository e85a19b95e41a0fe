//! The pipeline as planned: every value resolved, no `Option` that means "not checked yet".

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use super::cql::CqlType;
pub use super::grants::{GrantNames, Grants, HttpGrant, ReadGrant};
pub use super::kafka::KafkaPlan;
pub use super::secret::Secret;
use super::{defaults, units};
use crate::record::{Contract, Field, Kind};

/// A whole pipeline file, resolved with profile, `--set` and environment.
#[derive(Clone, Debug)]
pub struct Pipeline {
    pub name: String,
    /// The file it was read from; relative paths in it are resolved against its folder already.
    pub file: PathBuf,
    pub profile: Option<String>,
    /// `None`: the topic is fed by others.
    pub source: Option<SourcePlan>,
    pub topic: TopicPlan,
    pub stages: Vec<StagePlan>,
    pub sinks: Vec<SinkPlan>,
    pub dead_letters: DeadLettersPlan,
    pub dashboard: DashboardPlan,
    pub tests: Vec<TestPlan>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct SourcePlan {
    pub kind: SourceKind,
    pub schedule: Schedule,
    /// Records of one poll, which are one page and one publish.
    pub records_per_poll: u32,
    /// Stop after so many records, counted over restarts; `None` goes on for ever.
    pub records: Option<u64>,
    /// What a payload looks like, for `check`: JSON text.
    pub sample: Option<String>,
    /// The longest a response may take, and its largest size in bytes.
    pub timeout: Duration,
    pub response_bytes_max: u64,
}

#[derive(Clone, Debug, PartialEq)]
pub enum SourceKind {
    RandomUser(RandomUserPlan),
    Http(HttpPlan),
    File(FilePlan),
    Generator(GeneratorPlan),
}

impl SourceKind {
    pub fn name(&self) -> &'static str {
        match self {
            SourceKind::RandomUser(_) => "randomuser",
            SourceKind::Http(_) => "http",
            SourceKind::File(_) => "file",
            SourceKind::Generator(_) => "generator",
        }
    }
}

#[derive(Clone, Debug, PartialEq)]
pub struct RandomUserPlan {
    pub url: url::Url,
    pub seed: String,
    pub nat: Vec<String>,
    /// The API ignores `gender` when a seed is given, so the source filters after the fetch.
    pub gender: Option<String>,
    pub inc: Vec<String>,
    pub exc: Vec<String>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct HttpPlan {
    pub url: url::Url,
    pub method: String,
    /// Values may be secrets.
    pub headers: Vec<(String, Secret)>,
    pub query: Vec<(String, Secret)>,
    pub body: Option<String>,
    /// Dotted path to the list of records in the response; empty: the response itself is the list (or one record).
    pub records_at: String,
    pub next: NextPage,
}

/// How the next page is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NextPage {
    /// The same request at each poll.
    Same,
    /// A query parameter counts pages from `first`.
    Page { parameter: String, first: u64 },
    /// A query parameter counts records.
    Offset { parameter: String },
    /// A value in the response (dotted path) goes into a query parameter.
    Token { parameter: String, at: String },
    /// A URL in the response (dotted path), on the same host.
    Link { at: String },
}

#[derive(Clone, Debug, PartialEq)]
pub struct FilePlan {
    /// Newline-delimited JSON.
    pub path: PathBuf,
}

#[derive(Clone, Debug, PartialEq)]
pub struct GeneratorPlan {
    pub seed: String,
}

/// When the source is polled.
#[derive(Clone, Debug, PartialEq)]
pub struct Schedule {
    pub trigger: Trigger,
    /// How long one run polls; `None`: without end.
    pub run_for: Option<Duration>,
    /// Up to so much is added to each wait, at random.
    pub jitter: Duration,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Trigger {
    /// Poll, wait, poll. Zero polls without a pause.
    Every(Duration),
    /// Start a run at these times; within a run, poll every `every`.
    Cron { pattern: String, every: Duration },
}

#[derive(Clone, Debug, PartialEq)]
pub struct TopicPlan {
    pub name: String,
    pub at: TopicAddress,
    /// Payload field that becomes the record's key.
    pub key: Option<String>,
    pub partitions: u32,
    pub retention: Retention,
    pub null_value: NullValue,
}

#[derive(Clone, Debug, PartialEq)]
pub enum TopicAddress {
    Embedded,
    Kafka(KafkaPlan),
}

/// What the topic may keep of what the position has passed, whichever is reached first. By default all of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Retention {
    pub age: Option<Duration>,
    pub bytes: Option<u64>,
}

/// What a record without a value means.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum NullValue {
    #[default]
    Reject,
    Drop,
    Delete,
}

#[derive(Clone, Debug)]
pub struct StagePlan {
    pub name: String,
    pub plugin: PluginPath,
    pub settings: BTreeMap<String, String>,
    pub limits: Limits,
    pub grants: Grants,
    pub swap: SwapPlan,
    /// What follows this `messages` stage looks like, for `check`: JSON text.
    pub sample: Option<String>,
}

/// A stage's plugin as `check` and the chain see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StageContract {
    pub stage: String,
    /// `None` for a `messages` plugin.
    pub contract: Option<Contract>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PluginPath {
    /// A directory that is built from source by `dev` and `build`.
    Directory(PathBuf),
    /// A component, ready to run.
    Component(PathBuf),
}

/// What a stage's plugin may use. All but the last two hold for each instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Limits {
    /// Linear memories together, bytes.
    pub memory_bytes: u64,
    /// Elements of all tables together.
    pub table_elements: u64,
    /// Core instances that a component may consist of.
    pub instances: u32,
    /// Stack of a call, bytes.
    pub stack_bytes: u64,
    /// CPU time of one call.
    pub batch_time: Duration,
    /// What the stage may keep by key in each partition, bytes.
    pub state_bytes: u64,
    /// Host memory that the results of one call, or the arguments of one host call, may take, bytes.
    pub output_bytes: u64,
    /// Lines that one call may log.
    pub log_lines: u32,
    /// Handles to resources that may be held at once: streams, requests, responses, its own.
    pub handles: u32,
    /// CPU time and memory of the compiler. They decide nothing about a record, so they are no part of a generation.
    #[serde(skip)]
    pub compile_time: Duration,
    #[serde(skip)]
    pub compile_memory_bytes: u64,
}

impl Limits {
    /// These, and what the compiler may take of others: a generation says nothing of it.
    pub fn compiled_within(self, others: &Limits) -> Limits {
        Limits { compile_time: others.compile_time, compile_memory_bytes: others.compile_memory_bytes, ..self }
    }
}

impl Default for Limits {
    fn default() -> Limits {
        let size = |text| units::size(text).expect("the defaults are checked by a test");
        let time = |text| units::duration(text).expect("the defaults are checked by a test");
        Limits {
            memory_bytes: size(defaults::MEMORY),
            table_elements: defaults::TABLE_ELEMENTS,
            instances: defaults::INSTANCES,
            stack_bytes: size(defaults::STACK),
            batch_time: time(defaults::BATCH_TIME),
            state_bytes: size(defaults::STATE),
            output_bytes: size(defaults::OUTPUT),
            log_lines: defaults::LOG_LINES,
            handles: defaults::HANDLES,
            compile_time: time(defaults::COMPILE_TIME),
            compile_memory_bytes: size(defaults::COMPILE_MEMORY),
        }
    }
}

/// How another build, or other settings, of a stage come into force.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SwapPlan {
    pub mode: SwapMode,
    /// Records on which old and new code must agree in `shadow`.
    pub shadow_records: u32,
    pub breaker: BreakerRule,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum SwapMode {
    /// At once, when it has passed every check.
    #[default]
    Direct,
    /// When it agreed with the present code on live records, or a person says so.
    Shadow,
    /// When a person says so.
    Manual,
}

/// When a swap is taken back.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct BreakerRule {
    /// A larger share of the last records is rejected than the code before rejected; `None` never.
    pub rejects: Option<StopWhen>,
    /// A record takes so many times longer than with the code before.
    pub times_slower: f64,
}

#[derive(Clone, Debug, PartialEq)]
pub struct SinkPlan {
    pub name: String,
    pub at: SinkAddress,
    /// Make keyspace and table where absent.
    pub create: bool,
    /// A row is gone so long after its record's time; `None`: it stays.
    pub ttl: Option<Duration>,
    /// Columns in file order; empty for a byte sink that writes whole records.
    pub columns: Vec<SinkColumn>,
    pub cluster: ClusterPlan,
}

impl SinkPlan {
    /// With the default of every key.
    pub fn new(name: &str, at: SinkAddress, columns: Vec<SinkColumn>) -> SinkPlan {
        SinkPlan { name: name.to_owned(), at, create: defaults::CREATE, ttl: None, columns, cluster: ClusterPlan::default() }
    }
}

/// How a sink at a Cassandra cluster uses it.
#[derive(Clone, Debug, PartialEq)]
pub struct ClusterPlan {
    /// User and password.
    pub credentials: Option<(Secret, Secret)>,
    pub consistency: Consistency,
    /// Requests go to the nodes of this data centre only.
    pub datacenter: Option<String>,
    /// Rows that are written at the same time.
    pub in_flight: u32,
    /// Copies of each row by data centre, for a keyspace that is made; `replication_factor` stands for every data centre.
    pub replication: Vec<(String, u32)>,
}

impl Default for ClusterPlan {
    fn default() -> ClusterPlan {
        ClusterPlan {
            credentials: None,
            consistency: Consistency::default(),
            datacenter: None,
            in_flight: defaults::IN_FLIGHT,
            replication: vec![("replication_factor".to_owned(), defaults::REPLICATION)],
        }
    }
}

/// How many replicas must have a row before it counts as written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Consistency {
    One,
    Two,
    Three,
    Quorum,
    All,
    LocalOne,
    #[default]
    LocalQuorum,
    EachQuorum,
}

#[derive(Clone, Debug, PartialEq)]
pub enum SinkAddress {
    /// `<keyspace>.<table>` in the store.
    Embedded {
        table: String,
    },
    Cassandra {
        hosts: Vec<String>,
        table: String,
    },
    File {
        path: PathBuf,
    },
    Stdout,
    /// Another topic in the store.
    Topic {
        name: String,
        retention: Retention,
    },
    /// Another topic of the cluster that the pipeline's topic is in.
    KafkaTopic {
        name: String,
        cluster: KafkaPlan,
    },
    Null,
    /// For tests: rows are kept in this process.
    Memory {
        name: String,
    },
}

impl SinkAddress {
    /// `<keyspace>.<table>`, where rows are kept by key.
    pub fn table(&self) -> Option<&str> {
        match self {
            SinkAddress::Embedded { table } | SinkAddress::Cassandra { table, .. } => Some(table),
            _ => None,
        }
    }

    /// Whether it is given whole records when it has these columns.
    pub fn takes_records(&self, columns: &[SinkColumn]) -> bool {
        match self {
            SinkAddress::Topic { .. } | SinkAddress::KafkaTopic { .. } => true,
            SinkAddress::File { .. } | SinkAddress::Stdout | SinkAddress::Memory { .. } => columns.is_empty(),
            SinkAddress::Embedded { .. } | SinkAddress::Cassandra { .. } | SinkAddress::Null => false,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SinkColumn {
    pub column: String,
    /// The field that feeds it.
    pub field: String,
    pub cql: CqlType,
    pub key: Option<KeyRole>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum KeyRole {
    Partition,
    Clustering,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DeadLettersPlan {
    /// More than `percent` of the last `of` decided records stops the pipeline; `None` never does.
    pub stop_when: Option<StopWhen>,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct StopWhen {
    pub percent: f64,
    pub of: u32,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct DashboardPlan {
    /// Fields whose values are not shown; `login.*` is all that lies in `login`.
    pub mask: Vec<String>,
    /// Log files to follow.
    pub logs: Vec<PathBuf>,
    /// Nothing can be changed through the API, and of records only `fields` are shown.
    pub public: bool,
    pub fields: Vec<String>,
    /// As asked for. `None`: chosen by the columns, see [`super::check::Checked::charts`].
    pub charts: Option<Vec<ChartPlan>>,
}

/// One chart: the values of a field, counted once per offset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChartPlan {
    pub title: String,
    /// Its kind is known once the chain is checked; until then `json`.
    pub field: Field,
    pub kind: ChartKind,
    /// timeline of a timestamp.
    pub by: TimeStep,
    /// Values that are shown by name.
    pub limit: u32,
}

impl ChartPlan {
    /// Names what is counted: two charts of one key share their counters.
    pub fn key(&self) -> String {
        let by = match (self.kind, self.field.kind) {
            (ChartKind::Timeline, Kind::Int) => "value",
            (ChartKind::Timeline, _) => self.by.name(),
            _ => "",
        };
        format!("{}:{by}:{}", self.kind.counts(), self.field.name)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ChartKind {
    Share,
    Top,
    Timeline,
    Number,
    Histogram,
}

impl ChartKind {
    pub fn name(self) -> &'static str {
        match self {
            ChartKind::Share => "share",
            ChartKind::Top => "top",
            ChartKind::Timeline => "timeline",
            ChartKind::Number => "number",
            ChartKind::Histogram => "histogram",
        }
    }

    /// What is counted for it.
    fn counts(self) -> &'static str {
        match self {
            ChartKind::Share | ChartKind::Top => "names",
            ChartKind::Timeline => "times",
            ChartKind::Number => "number",
            ChartKind::Histogram => "bins",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum TimeStep {
    Year,
    Month,
    Day,
    Hour,
    Minute,
}

impl TimeStep {
    pub fn name(self) -> &'static str {
        match self {
            TimeStep::Year => "year",
            TimeStep::Month => "month",
            TimeStep::Day => "day",
            TimeStep::Hour => "hour",
            TimeStep::Minute => "minute",
        }
    }
}

/// A `[[test]]` case of the file: one payload in, what must come of it.
#[derive(Clone, Debug)]
pub struct TestPlan {
    pub name: String,
    pub payload: String,
    /// Where the topic's key is not read from the payload.
    pub key: Option<String>,
    pub expect: TestExpectation,
}

#[derive(Clone, Debug)]
pub enum TestExpectation {
    /// These fields have these values at the end of the chain.
    Fields(serde_json::Map<String, serde_json::Value>),
    Dropped,
    Deleted,
    /// Rejected with a reason that contains this text.
    Rejected(String),
}
