//! The pipeline file as a person writes it.
//!
//! These types are the one definition of its keys: they give the JSON Schema, and with it the check of every key and value
//! ([`super::shape`]), the reference in the README, and the reading itself. Nothing here is required by serde: what is missing or
//! wrong has been reported, with its place, before a file is read into them.

use schemars::JsonSchema;
use serde::Deserialize;
use serde::de::{self, Deserializer, MapAccess, Visitor};

use super::defaults;
use super::plan::{ChartKind, Consistency, CqlType, KeyRole, NullValue, SwapMode, TimeStep};
use super::written::{HumanDuration, HumanRetention, HumanShare, HumanSize, Named, Written};

/// A pipeline: a source, a topic, stages and sinks.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct PipelineFile {
    /// The pipeline's name: lower-case letters, digits, `-` and `_`. Its store, its dead letters and its Kafka group are called so.
    #[schemars(required)]
    pub name: Option<Written<String>>,
    /// Where records come from. Without it, the topic is fed by others.
    pub source: Option<Written<SourceFile>>,
    /// The log between source and stages.
    pub topic: Option<Written<TopicFile>>,
    /// The steps that a record goes through, in this order.
    pub stage: Option<Vec<Written<StageFile>>>,
    /// Where results go. As many as needed.
    #[schemars(required)]
    pub sink: Option<Vec<Written<SinkFile>>>,
    /// What happens with records that are rejected.
    pub dead_letters: Option<Written<DeadLettersFile>>,
    /// What the page shows.
    pub dashboard: Option<Written<DashboardFile>>,
    /// Cases for `tidemill test`: one payload in, what must come of it.
    pub test: Option<Vec<Written<TestFile>>>,
    /// Changes to this file, by name of the profile, applied with `--profile`. Stages and sinks are named: `sink.users.at = "…"`.
    #[schemars(with = "Option<Named<Named<serde_json::Value>>>")]
    pub profile: Option<de::IgnoredAny>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct SourceFile {
    /// What the source is: `randomuser` (the API of randomuser.me), `http` (any JSON API), `file` (newline-delimited JSON),
    /// `generator` (made-up users, for demos and load) or `none` (the topic is fed by others).
    #[schemars(required)]
    pub kind: Option<Written<SourceKindFile>>,
    /// How long to wait between two polls; `"0s"` polls without a pause. The generator's default is `"1s"`, a file's `"0s"`.
    #[schemars(extend("default" = defaults::EVERY))]
    pub every: Option<Written<HumanDuration>>,
    /// When to start a run, as five cron fields or `@daily`; within a run `every` holds. Wants `for`.
    pub cron: Option<Written<String>>,
    /// How long a run polls. Without it, for ever.
    #[serde(rename = "for")]
    pub run_for: Option<Written<HumanDuration>>,
    /// Up to so much is added to each wait, at random.
    #[schemars(extend("default" = defaults::JITTER))]
    pub jitter: Option<Written<HumanDuration>>,
    /// Records of one poll, which are one page and one publish: at most 5,000 for randomuser. A file's default is 1,000.
    #[schemars(range(min = 1, max = 100_000), extend("default" = defaults::RECORDS_PER_POLL))]
    pub records_per_poll: Option<Written<u32>>,
    /// Stop after so many records, counted over restarts. Without it, never.
    #[schemars(range(min = 1, max = 9_007_199_254_740_991u64))]
    pub records: Option<Written<u64>>,
    /// A file with one payload as JSON: what records look like, for `check`. randomuser and generator know their own.
    pub sample: Option<Written<String>>,
    /// randomuser: the API's address. http: the address to ask. The default is that of randomuser.
    #[schemars(extend("default" = defaults::RANDOMUSER_URL))]
    pub url: Option<Written<String>>,
    /// randomuser, generator: the same seed gives the same users. It should not end in a digit nor be 18 characters long.
    #[schemars(extend("default" = defaults::SEED))]
    pub seed: Option<Written<String>>,
    /// randomuser: nationalities. Default: all.
    pub nat: Option<Written<Vec<Written<String>>>>,
    /// randomuser: only users of this gender. The API ignores it beside a seed, so they are filtered after the fetch.
    pub gender: Option<Written<Gender>>,
    /// randomuser: only these top-level fields of a user.
    pub inc: Option<Written<Vec<Written<String>>>>,
    /// randomuser: without these top-level fields of a user.
    pub exc: Option<Written<Vec<Written<String>>>>,
    /// http: the request's method.
    #[schemars(extend("default" = defaults::METHOD))]
    pub method: Option<Written<Method>>,
    /// http: headers of the request. A secret is `{ env = "NAME" }` or `{ file = "path" }`.
    pub headers: Option<Written<Named<Written<TextOrSecret>>>>,
    /// http: query parameters of the request. A secret is `{ env = "NAME" }` or `{ file = "path" }`.
    pub query: Option<Written<Named<Written<TextOrSecret>>>>,
    /// http: the request's body.
    pub body: Option<Written<String>>,
    /// http: dotted path to the list of records in the response. Default: the response is the list, or one record.
    pub records_at: Option<Written<String>>,
    /// http: how the next page is asked for: `{ page = "parameter", first = 1 }`, `{ offset = "parameter" }`,
    /// `{ token = "parameter", at = "path.in.response" }` or `{ link = "path.in.response" }`. Default: the same request again.
    pub next: Option<Written<NextFile>>,
    /// file: newline-delimited JSON, relative to the pipeline file.
    pub path: Option<Written<String>>,
    /// randomuser, http: the longest that one response may take.
    #[schemars(extend("default" = defaults::TIMEOUT))]
    pub timeout: Option<Written<HumanDuration>>,
    /// randomuser, http: the largest response, unpacked.
    #[schemars(extend("default" = defaults::RESPONSE_LIMIT))]
    pub response_limit: Option<Written<HumanSize>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum SourceKindFile {
    RandomUser,
    Http,
    File,
    Generator,
    None,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Gender {
    Female,
    Male,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum Method {
    Get,
    Post,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct NextFile {
    /// A query parameter that counts pages.
    pub page: Option<Written<String>>,
    /// With `page`: the number of the first page.
    #[schemars(extend("default" = defaults::FIRST_PAGE))]
    pub first: Option<Written<u64>>,
    /// A query parameter that counts records.
    pub offset: Option<Written<String>>,
    /// A query parameter that takes a value out of the response before.
    pub token: Option<Written<String>>,
    /// With `token`: dotted path to that value.
    pub at: Option<Written<String>>,
    /// Dotted path to a URL in the response, on the same host.
    pub link: Option<Written<String>>,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct TopicFile {
    /// The topic's name. Default: the pipeline's.
    pub name: Option<Written<String>>,
    /// `embedded` (in the store), or `kafka://host1:9092,host2:9092`.
    #[schemars(extend("default" = defaults::AT))]
    pub at: Option<Written<String>>,
    /// Payload field that becomes the record's key: all records of one key are in one partition, in order.
    pub key: Option<Written<String>>,
    /// How many partitions: each is worked on in order, several side by side. Kafka: without it, as many as the topic has.
    #[schemars(range(min = 1, max = 1_024), extend("default" = defaults::PARTITIONS))]
    pub partitions: Option<Written<u32>>,
    /// embedded: what is kept of records that are done with, by age and size, whichever is reached first; or `"for ever"`.
    #[schemars(extend("default" = defaults::RETENTION))]
    pub retention: Option<Written<HumanRetention>>,
    /// What a record without a value means: it is rejected, dropped, or deletes the row of its key.
    #[schemars(extend("default" = defaults::NULL_VALUE))]
    pub null_value: Option<Written<NullValue>>,
    /// Kafka: the topic is made where absent. Topics for positions, control and dead letters are always made.
    #[schemars(extend("default" = defaults::CREATE))]
    pub create: Option<Written<bool>>,
    /// Kafka: on how many brokers the topics that are made are kept. Default: the cluster's.
    #[schemars(range(min = 1, max = 32_767))]
    pub replication: Option<Written<u16>>,
    /// Kafka: the source waits while so many records wait for delivery.
    #[schemars(range(min = 1, max = 9_007_199_254_740_991u64), extend("default" = defaults::LAG_MAX))]
    pub lag_max: Option<Written<u64>>,
    /// Kafka: any property of librdkafka, such as `"security.protocol" = "SASL_SSL"`. A secret is `{ env = "NAME" }` or
    /// `{ file = "path" }`.
    pub properties: Option<Written<Named<Written<TextOrSecret>>>>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct StageFile {
    /// The stage's name, for profiles, `--set`, figures and logs.
    #[schemars(required)]
    pub name: Option<Written<String>>,
    /// The plugin: a directory with its source, which `build` and `dev` build, or a `.wasm` component. Relative to the pipeline file.
    #[schemars(required)]
    pub plugin: Option<Written<String>>,
    /// What the plugin is told at its start. It sees every value as text.
    pub settings: Option<Named<Written<Setting>>>,
    /// What the plugin may use.
    pub limits: Option<Written<LimitsFile>>,
    /// What the plugin may reach. Nothing unless named.
    pub grants: Option<Written<GrantsFile>>,
    /// How another build or other settings of this stage come into force while records flow.
    pub swap: Option<Written<SwapFile>>,
    /// A file with one record as JSON: what comes out of this stage, for `check`; for `messages` plugins.
    pub sample: Option<Written<String>>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct LimitsFile {
    /// Memory of each instance of the plugin, 64 KiB to 4 GiB.
    #[schemars(extend("default" = defaults::MEMORY))]
    pub memory: Option<Written<HumanSize>>,
    /// Elements of all of an instance's tables together.
    #[schemars(range(min = 1, max = 100_000_000), extend("default" = defaults::TABLE_ELEMENTS))]
    pub table_elements: Option<Written<u64>>,
    /// Modules that the plugin may consist of, as instances.
    #[schemars(range(min = 1, max = 10_000), extend("default" = defaults::INSTANCES))]
    pub instances: Option<Written<u32>>,
    /// Stack of a call, 16 KiB to 1 MiB: deeper recursion ends it.
    #[schemars(extend("default" = defaults::STACK))]
    pub stack: Option<Written<HumanSize>>,
    /// CPU time of one call, 1ms to 10m.
    #[schemars(extend("default" = defaults::BATCH_TIME))]
    pub batch_time: Option<Written<HumanDuration>>,
    /// What the plugin may keep by key in each partition, 1 KiB to 64 MiB: keys, values and 32 bytes for each entry.
    #[schemars(extend("default" = defaults::STATE))]
    pub state: Option<Written<HumanSize>>,
    /// What one call may return, or hand to the host in one piece, 64 KiB to 1 GiB.
    #[schemars(extend("default" = defaults::OUTPUT))]
    pub output: Option<Written<HumanSize>>,
    /// Lines that one call may log, each of at most 4 KiB; the rest is counted.
    #[schemars(range(min = 0, max = 10_000), extend("default" = defaults::LOG_LINES))]
    pub log_lines: Option<Written<u32>>,
    /// Handles to resources that an instance may hold at once.
    #[schemars(range(min = 16, max = 1_000_000), extend("default" = defaults::HANDLES))]
    pub handles: Option<Written<u32>>,
    /// CPU time of compiling the plugin, 1s to 1h.
    #[schemars(extend("default" = defaults::COMPILE_TIME))]
    pub compile_time: Option<Written<HumanDuration>>,
    /// Memory of compiling the plugin, 64 MiB to 64 GiB.
    #[schemars(extend("default" = defaults::COMPILE_MEMORY))]
    pub compile_memory: Option<Written<HumanSize>>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct GrantsFile {
    /// Origins that it may ask over HTTP: `"https://api.example.com"`, or `{ url = …, headers = … }`. A host that is named may not
    /// lead to a private address; an address that is named may be any.
    pub http: Option<Vec<Written<HttpGrantFile>>>,
    /// Environment variables that it may see.
    pub env: Option<Vec<Written<String>>>,
    /// Directories that it may read, relative to the pipeline file; the plugin finds them under the names that are written here.
    pub read: Option<Vec<Written<String>>>,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct SwapFile {
    /// `direct`: at once, when it has passed every check. `shadow`: it first runs beside the present code on live records, and comes into
    /// force when both agree, or when a person promotes it. `manual`: when a person promotes it.
    #[schemars(extend("default" = defaults::SWAP_MODE))]
    pub mode: Option<Written<SwapMode>>,
    /// shadow: on so many records old and new code must agree.
    #[schemars(range(min = 1, max = 1_000_000), extend("default" = defaults::SHADOW_RECORDS))]
    pub shadow_records: Option<Written<u32>>,
    /// The swap is taken back when this share more of the last records is rejected than before it; `"never"` leaves it.
    #[schemars(extend("default" = defaults::ROLL_BACK_WHEN))]
    pub roll_back_when: Option<Written<HumanShare>>,
    /// The swap is taken back when a record takes so many times longer than before it, and more than 100 µs.
    #[schemars(range(min = 2, max = 1_000_000), extend("default" = defaults::TIMES_SLOWER))]
    pub times_slower: Option<Written<u32>>,
}

/// `"https://api.example.com"`, or an origin with what the host adds and bounds.
#[derive(Clone, Debug)]
pub enum HttpGrantFile {
    Origin(String),
    Full(FullHttpGrantFile),
}

#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct FullHttpGrantFile {
    /// The origin: scheme, host and port.
    #[schemars(required)]
    pub url: Option<Written<String>>,
    /// Headers that the host puts into each request and the plugin never sees. A secret is `{ env = "NAME" }` or `{ file = "path" }`.
    pub headers: Option<Written<Named<Written<TextOrSecret>>>>,
    /// The longest that one request may take.
    #[schemars(extend("default" = defaults::GRANT_TIMEOUT))]
    pub timeout: Option<Written<HumanDuration>>,
    /// The largest response.
    #[schemars(extend("default" = defaults::GRANT_RESPONSE_LIMIT))]
    pub response_limit: Option<Written<HumanSize>>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct SinkFile {
    /// The sink's name, for profiles, `--set`, figures and logs.
    #[schemars(required)]
    pub name: Option<Written<String>>,
    /// Tables: `embedded` (in the store) or `cassandra://host1:9042,host2`. Whole records as JSON: `file:path`, `stdout`,
    /// `topic:name` (a topic beside the pipeline's own). Nothing: `null`. For tests: `memory:name`.
    #[schemars(extend("default" = defaults::AT))]
    pub at: Option<Written<String>>,
    /// Tables: `keyspace.table`.
    pub table: Option<Written<String>>,
    /// Tables: keyspace and table are made from the columns where absent.
    #[schemars(extend("default" = defaults::CREATE))]
    pub create: Option<Written<bool>>,
    /// Tables: a row is gone so long after its record's time; what remains of it is written, and a record that is older is dropped.
    pub ttl: Option<Written<HumanDuration>>,
    /// Tables: a further column, `generation` (bigint), names the generation that decided the row, as the receipts of swaps do.
    #[schemars(extend("default" = defaults::RECEIPTS))]
    pub receipts: Option<Written<bool>>,
    /// A topic in the store: what is kept of it, by age and size, whichever is reached first. Default: all of it.
    pub retention: Option<Written<HumanRetention>>,
    /// Cassandra: the user. A secret is `{ env = "NAME" }` or `{ file = "path" }`.
    pub username: Option<Written<TextOrSecret>>,
    /// Cassandra: the password. A secret is `{ env = "NAME" }` or `{ file = "path" }`.
    pub password: Option<Written<TextOrSecret>>,
    /// Cassandra: how many replicas must have a row before it counts as written.
    #[schemars(extend("default" = defaults::CONSISTENCY))]
    pub consistency: Option<Written<Consistency>>,
    /// Cassandra: the data centre whose nodes are asked. Default: all nodes.
    pub datacenter: Option<Written<String>>,
    /// Cassandra: how many rows are written at the same time.
    #[schemars(range(min = 1, max = 16_384), extend("default" = defaults::IN_FLIGHT))]
    pub in_flight: Option<Written<u32>>,
    /// Cassandra, with `create`: copies of each row, `{ dc1 = 3, dc2 = 2 }` by data centre, or `{ replication_factor = 3 }` in each
    /// of them. Default: one in each.
    pub replication: Option<Written<Named<Written<u32>>>>,
    /// Tables: each column is fed by a field; `column = "field"` is short for a text column.
    pub columns: Option<Written<Named<Written<ColumnFile>>>>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct DeadLettersFile {
    /// Where rejected records go: `topic` is `<pipeline>.dead-letters`, beside the pipeline's topic.
    #[schemars(extend("default" = defaults::DEAD_LETTERS_TO))]
    pub to: Option<Written<DeadLettersTo>>,
    /// The pipeline stops when more than this share of the last records was rejected; `"never"` goes on.
    #[schemars(extend("default" = defaults::STOP_WHEN))]
    pub stop_when: Option<Written<HumanShare>>,
}

#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum DeadLettersTo {
    Topic,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct DashboardFile {
    /// Fields whose values are not shown: `login.*` is all that lies in `login`. Whoever has the token may see them.
    #[schemars(extend("default" = defaults::MASK))]
    pub mask: Option<Written<Vec<Written<String>>>>,
    /// Log files that are shown beside the host's own lines, relative to the pipeline file: a broker's, a database's. They are followed.
    pub logs: Option<Written<Vec<Written<String>>>>,
    /// A page for everybody: nothing can be changed through it, and of records only `fields` are shown. It may listen beyond this
    /// machine without a token.
    #[schemars(extend("default" = defaults::PUBLIC))]
    pub public: Option<Written<bool>>,
    /// What a public page shows of a record, by the name of the field or column.
    pub fields: Option<Written<Vec<Written<String>>>>,
    /// Charts of what was delivered. Without any, the page chooses some by the columns of the tables.
    pub chart: Option<Vec<Written<ChartFile>>>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct ChartFile {
    /// The field whose values are counted, as it is after the last stage.
    #[schemars(required)]
    pub field: Option<Written<String>>,
    /// How it is drawn: `share` (parts of a whole), `top` (the most frequent), `timeline` (by year, month, … of a timestamp, or by an
    /// integer), `number` (sum, least, greatest, mean) or `histogram`.
    #[schemars(required)]
    pub kind: Option<Written<ChartKind>>,
    /// What stands above it. Default: made of the field's name.
    pub title: Option<Written<String>>,
    /// share, top: how many values are shown by name; the rest is counted together. A top's default is 5.
    #[schemars(range(min = 1, max = 50), extend("default" = defaults::CHART_LIMIT))]
    pub limit: Option<Written<u32>>,
    /// timeline: the step in which timestamps are counted, in UTC.
    #[schemars(extend("default" = defaults::CHART_BY))]
    pub by: Option<Written<TimeStep>>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct TestFile {
    /// What the case shows, in a sentence.
    #[schemars(required)]
    pub name: Option<Written<String>>,
    /// The payload of the one record that goes in, as TOML.
    #[schemars(with = "Option<serde_json::Value>")]
    pub input: Option<Written<toml::Value>>,
    /// Instead of `input`: the payload as the text that it is, for one that TOML cannot say.
    pub payload: Option<Written<String>>,
    /// The record's key. Default: what `[topic] key` reads of the payload.
    pub key: Option<Written<String>>,
    /// Fields and their values at the end of the chain, or `"dropped"`, `"deleted"`, `"rejected"` or `"rejected: part of the reason"`.
    #[schemars(required)]
    pub expect: Option<Written<ExpectFile>>,
}

/// `"text"`, or a secret that stands elsewhere.
#[derive(Clone, Debug)]
pub enum TextOrSecret {
    Text(String),
    Secret(SecretFile),
}

#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct SecretFile {
    /// The environment variable that holds it.
    pub env: Option<Written<String>>,
    /// The file that holds it, relative to the pipeline file; a line break at its end is left out.
    pub file: Option<Written<String>>,
}

/// `"field"`, or the field with its column's type and place in the key.
#[derive(Clone, Debug)]
pub enum ColumnFile {
    Field(String),
    Full(FullColumnFile),
}

#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct FullColumnFile {
    /// The field that feeds the column. Default: the column's name.
    pub field: Option<Written<String>>,
    /// The column's CQL type.
    #[serde(rename = "type")]
    #[schemars(extend("default" = defaults::COLUMN_TYPE))]
    pub cql: Option<Written<CqlType>>,
    /// Part of the table's key: `partition` (at least one column) or `clustering`.
    pub key: Option<Written<KeyRole>>,
}

/// A value of `settings`; plugins see text.
#[derive(Clone, Debug)]
pub struct Setting(pub String);

#[derive(Debug)]
pub enum ExpectFile {
    Word(String),
    Fields(toml::Table),
}

/// Text, or a table: read without buffering, so that places survive.
macro_rules! text_or_table {
    ($name:ident, $text:path, $table:ident, $inner:ty, $expecting:literal) => {
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct TextOrTable;
                impl<'de> Visitor<'de> for TextOrTable {
                    type Value = $name;

                    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        f.write_str($expecting)
                    }

                    fn visit_str<E: de::Error>(self, text: &str) -> Result<$name, E> {
                        Ok($text(text.to_owned()))
                    }

                    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<$name, A::Error> {
                        <$inner>::deserialize(de::value::MapAccessDeserializer::new(map)).map($name::$table)
                    }
                }
                deserializer.deserialize_any(TextOrTable)
            }
        }

        impl JsonSchema for $name {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }

            fn inline_schema() -> bool {
                true
            }

            fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!({ "anyOf": [{ "type": "string" }, generator.subschema_for::<$inner>()] })
            }
        }
    };
}

text_or_table!(TextOrSecret, TextOrSecret::Text, Secret, SecretFile, "text, or `{ env = … }` or `{ file = … }`");
text_or_table!(HttpGrantFile, HttpGrantFile::Origin, Full, FullHttpGrantFile, "an origin, or `{ url = …, headers = … }`");
text_or_table!(ColumnFile, ColumnFile::Field, Full, FullColumnFile, "a field, or `{ field = …, type = …, key = … }`");

impl<'de> Deserialize<'de> for ExpectFile {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match toml::Value::deserialize(deserializer)? {
            toml::Value::String(word) => Ok(ExpectFile::Word(word)),
            toml::Value::Table(fields) => Ok(ExpectFile::Fields(fields)),
            other => Err(de::Error::custom(format!("a table of fields or a word, not {}", other.type_str()))),
        }
    }
}

impl JsonSchema for ExpectFile {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "ExpectFile".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "anyOf": [{ "type": "string" }, { "type": "object" }] })
    }
}

impl<'de> Deserialize<'de> for Setting {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Setting(match toml::Value::deserialize(deserializer)? {
            toml::Value::String(text) => text,
            toml::Value::Integer(number) => number.to_string(),
            toml::Value::Float(number) => number.to_string(),
            toml::Value::Boolean(value) => value.to_string(),
            other => return Err(de::Error::custom(format!("text, a number or true or false, not {}", other.type_str()))),
        }))
    }
}

impl JsonSchema for Setting {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Setting".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "anyOf": [{ "type": "string" }, { "type": "number" }, { "type": "boolean" }] })
    }
}
