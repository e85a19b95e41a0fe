//! From the file as written to the plan: every value resolved, and every rule that needs more than one key.

use std::collections::HashSet;
use std::ops::Range;
use std::path::{Path, PathBuf};

use super::address::{self, SinkAt};
use super::code;
use super::defaults;
use super::diagnostic::{Diagnostic, Texts};
use super::file::*;
use super::plan::*;
use super::units;
use super::variables::Lookup;
use super::written::Written;
use crate::record::{GENERATION, OwnField};

/// What `receipts` of a sink adds.
const RECEIPTS_COLUMN: &str = "generation";

/// Resolves a file whose shape was checked; what is wrong is added to `found`.
pub struct Resolver<'t> {
    pub texts: &'t Texts,
    pub lookup: Lookup<'t>,
    /// The folder of the pipeline file.
    pub folder: &'t Path,
    /// What the shape has reported already.
    pub removed: &'t HashSet<String>,
    pub found: Vec<Diagnostic>,
}

impl Resolver<'_> {
    pub fn pipeline(&mut self, file: PipelineFile, path: &Path, profile: Option<&str>) -> Option<Pipeline> {
        let name = self.name(file.name.as_ref(), "pipeline", 100);
        let source = file.source.and_then(|source| self.source(source.value, source.span));
        let topic = self.topic(file.topic.map(|topic| topic.value).unwrap_or_default(), &name);
        let stages = file.stage.unwrap_or_default();
        self.unique("stage", stages.iter().map(|stage| stage.value.name.as_ref()));
        let stages = stages.into_iter().map(|stage| self.stage(stage.value)).collect();
        let sinks = file.sink.unwrap_or_default();
        self.unique("sink", sinks.iter().map(|sink| sink.value.name.as_ref()));
        let sinks = sinks.into_iter().enumerate().map(|(index, sink)| self.sink(sink, index, &topic)).collect();
        let tests = file.test.unwrap_or_default();
        self.unique("test", tests.iter().map(|test| test.value.name.as_ref()));
        let tests = tests.into_iter().filter_map(|test| self.test(test.value, test.span)).collect();
        let dead_letters = self.dead_letters(file.dead_letters.map(|written| written.value));
        let dashboard = self.dashboard(file.dashboard.map(|written| written.value));
        if self.found.iter().any(Diagnostic::is_error) {
            return None;
        }
        Some(Pipeline {
            name,
            file: path.to_owned(),
            profile: profile.map(str::to_owned),
            source,
            topic,
            stages,
            sinks,
            dead_letters,
            dashboard,
            tests,
        })
    }

    pub(super) fn error(&mut self, code: &'static str, message: impl Into<String>, span: &Range<usize>, help: impl Into<String>) {
        self.found.push(Diagnostic::error(code, message).at(self.texts.place(span.clone())).help(help));
    }

    pub(super) fn warn(&mut self, code: &'static str, message: impl Into<String>, span: &Range<usize>, help: impl Into<String>) {
        self.found.push(Diagnostic::warning(code, message).at(self.texts.place(span.clone())).help(help));
    }

    /// A name that can stand in a path of keys, a file name and a metric.
    fn name(&mut self, name: Option<&Written<String>>, of: &str, longest: usize) -> String {
        let Some(name) = name else { return String::new() };
        let valid = name.value.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_'))
            && name.value.starts_with(|c: char| c.is_ascii_alphanumeric())
            && name.value.len() <= longest;
        if !valid {
            let way = format!("lower-case letters, digits, `-` and `_`, the first a letter or digit, at most {longest} of them");
            self.error(code::BAD_NAME, format!("`{}` is no name of a {of}", name.value), &name.span, way);
        }
        name.value.clone()
    }

    fn unique<'n>(&mut self, of: &str, names: impl Iterator<Item = Option<&'n Written<String>>>) {
        let mut seen = HashSet::new();
        for name in names.flatten() {
            if !seen.insert(name.value.as_str()) {
                let message = format!("a second {of} is named `{}`", name.value);
                self.error(code::DUPLICATE_NAME, message, &name.span, format!("each {of} has a name of its own"));
            }
        }
    }

    fn stage(&mut self, stage: StageFile) -> StagePlan {
        let name = self.name(stage.name.as_ref(), "stage", 60);
        let plugin = stage.plugin.as_ref().map_or(PluginPath::Directory(PathBuf::new()), |written| self.plugin(written));
        StagePlan {
            name,
            plugin,
            settings: stage.settings.unwrap_or_default().0.into_iter().map(|(key, value)| (key.value, value.value.0)).collect(),
            limits: stage.limits.map(|written| self.limits(written.value)).unwrap_or_default(),
            grants: stage.grants.map(|written| self.grants(written.value)).unwrap_or_default(),
            swap: swap(stage.swap.map(|written| written.value)),
            sample: stage.sample.and_then(|written| self.sample(&written)),
        }
    }

    fn plugin(&mut self, written: &Written<String>) -> PluginPath {
        let path = self.folder.join(&written.value);
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("wasm") => return PluginPath::Component(path),
            Some("cwasm") => {
                let way = "name the .wasm it was compiled from: the host compiles it and keeps the result";
                self.error(code::BAD_PLUGIN_PATH, "compiled code is not taken from a file", &written.span, way);
            }
            Some("wat") => {
                let way = "name the .wasm, or the directory with its source";
                self.error(code::BAD_PLUGIN_PATH, "a plugin is a directory or a .wasm component", &written.span, way);
            }
            Some(extension @ ("py" | "js" | "ts")) => {
                let message = format!("plugins that are one .{extension} file are not supported yet");
                self.error(code::NOT_YET, message, &written.span, "build it to a .wasm component and name that");
            }
            _ if written.value.is_empty() => {
                self.error(
                    code::BAD_PLUGIN_PATH,
                    "an empty path is no plugin",
                    &written.span,
                    "name a directory, or a .wasm component",
                );
            }
            _ => {}
        }
        PluginPath::Directory(path)
    }

    fn sink(&mut self, sink: Written<SinkFile>, index: usize, topic: &TopicPlan) -> SinkPlan {
        let Written { value: sink, span } = sink;
        let name = self.name(sink.name.as_ref(), "sink", 60);
        let at = match &sink.at {
            None => Some(SinkAt::Embedded),
            Some(at) => match address::sink(&at.value) {
                Ok(address) => Some(address),
                Err((message, way)) => {
                    self.error(code::BAD_ADDRESS, message, &at.span, way);
                    None
                }
            },
        };
        let is_table = matches!(at, Some(SinkAt::Embedded | SinkAt::Cassandra(_)));
        let takes_columns = is_table || matches!(at, Some(SinkAt::Memory(_)) | None);
        let mut table = String::new();
        match &sink.table {
            Some(written) => {
                table = written.value.clone();
                if let Err(reason) = table_name(&table) {
                    self.error(
                        code::BAD_TABLE,
                        format!("`{table}` is no table: {reason}"),
                        &written.span,
                        "write `keyspace.table`, lower-case",
                    );
                } else if !takes_columns {
                    self.warn(
                        code::KEY_NOT_USED,
                        "`table` is not used by a sink that writes whole records",
                        &written.span,
                        "remove it",
                    );
                }
            }
            None if is_table && !self.removed.contains(&format!("sink.{index}.table")) => {
                let message = format!("missing key `table` in sink `{name}`, which writes rows");
                self.error(code::MISSING_KEY, message, &span, "add it: table = \"keyspace.table\"");
            }
            None => {}
        }
        if !is_table && at.is_some() {
            self.only_for_tables(&sink);
        }
        if !matches!(&at, Some(SinkAt::Topic(_)) | None)
            && let Some(retention) = &sink.retention
        {
            self.warn(code::KEY_NOT_USED, "`retention` is not used by a sink that is no topic", &retention.span, "remove it");
        }
        let ttl = self.ttl(sink.ttl.as_ref());
        let cluster = self.cluster(&sink);
        let columns_span = sink.columns.as_ref().map_or(span.clone(), |columns| columns.span.clone());
        let mut columns = sink.columns.map(|columns| self.columns(columns.value.0)).unwrap_or_default();
        let columns_known = !self.removed.iter().any(|path| path.starts_with(&format!("sink.{index}.columns")));
        if !takes_columns && !columns.is_empty() {
            let message = "`columns` are not used by a sink that writes whole records";
            self.warn(code::KEY_NOT_USED, message, &columns_span, "remove them, or let the sink be at \"embedded\"");
        } else if is_table && columns_known && columns.is_empty() {
            self.error(
                code::NO_COLUMNS,
                format!("sink `{name}` writes rows and has no columns"),
                &columns_span,
                "add a table: [sink.columns]",
            );
        } else if takes_columns
            && columns_known
            && !columns.is_empty()
            && !columns.iter().any(|column| column.key == Some(KeyRole::Partition))
        {
            let first = &columns[0];
            let way = format!(
                "as in: {} = {{ field = \"{}\", type = \"{}\", key = \"partition\" }}",
                first.column,
                first.field,
                first.cql.name()
            );
            self.error(code::NO_PARTITION_KEY, format!("no column of sink `{name}` is the partition key"), &columns_span, way);
        }
        if let Some(receipts) = sink.receipts.filter(|receipts| receipts.value && is_table && !columns.is_empty()) {
            if columns.iter().any(|column| column.column == RECEIPTS_COLUMN) {
                let message = format!("sink `{name}` has a column `{RECEIPTS_COLUMN}`, which `receipts` adds");
                self.error(code::KEYS_CONFLICT, message, &receipts.span, "give the column another name, or remove `receipts`");
            }
            let (column, field) = (RECEIPTS_COLUMN.to_owned(), GENERATION.to_owned());
            columns.push(SinkColumn { column, field, cql: CqlType::BigInt, key: None });
        }
        let at = match at {
            Some(SinkAt::Embedded) | None => SinkAddress::Embedded { table },
            Some(SinkAt::Cassandra(hosts)) => SinkAddress::Cassandra { hosts, table },
            Some(SinkAt::File(path)) => SinkAddress::File { path: self.folder.join(path) },
            Some(SinkAt::Stdout) => SinkAddress::Stdout,
            Some(SinkAt::Topic(to)) => {
                if to == topic.name {
                    let at = sink.at.as_ref().map_or(span, |at| at.span.clone());
                    let way = "name another topic, or its records come back to the pipeline for ever";
                    self.error(
                        code::KEYS_CONFLICT,
                        format!("sink `{name}` writes to the topic that the pipeline reads"),
                        &at,
                        way,
                    );
                }
                match &topic.at {
                    TopicAddress::Embedded => {
                        let retention = sink.retention.map(|written| written.value.0).unwrap_or_default();
                        SinkAddress::Topic { name: to, retention }
                    }
                    TopicAddress::Kafka(cluster) => {
                        self.retention_of_kafka(sink.retention.as_ref());
                        SinkAddress::KafkaTopic { name: to, cluster: cluster.clone() }
                    }
                }
            }
            Some(SinkAt::Null) => SinkAddress::Null,
            Some(SinkAt::Memory(name)) => SinkAddress::Memory { name },
        };
        SinkPlan { name, at, create: sink.create.map_or(defaults::CREATE, |create| create.value), ttl, columns, cluster }
    }

    fn columns(&mut self, columns: Vec<(Written<String>, Written<ColumnFile>)>) -> Vec<SinkColumn> {
        let mut planned = Vec::new();
        for (name, column) in columns {
            if let Err(reason) = identifier(&name.value) {
                let plain: String =
                    name.value.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '_' }).collect();
                let way = match identifier(&plain) {
                    Ok(()) => format!("call it {plain}"),
                    Err(_) => "lower-case letters, digits and `_`, the first a letter, at most 48 of them".to_owned(),
                };
                self.error(code::BAD_COLUMN_NAME, format!("`{}` is no name of a column: {reason}", name.value), &name.span, way);
            }
            let full = match column.value {
                ColumnFile::Field(field) => {
                    FullColumnFile { field: Some(Written { value: field, span: column.span }), cql: None, key: None }
                }
                ColumnFile::Full(full) => full,
            };
            let field = full.field.unwrap_or_else(|| name.clone());
            self.field(&field);
            let cql = full.cql.map_or(CqlType::Text, |cql| cql.value);
            if let (Some(key), false) = (&full.key, cql.may_be_key()) {
                let message = format!("column `{}` is {}, which cannot be part of a key", name.value, cql.name());
                self.error(code::BAD_KEY_TYPE, message, &key.span, "let it be no key, or text");
            }
            planned.push(SinkColumn { column: name.value, field: field.value, cql, key: full.key.map(|key| key.value) });
        }
        planned
    }

    /// A field of the payload, or one of the record's own.
    pub(super) fn field(&mut self, field: &Written<String>) {
        if field.value.starts_with('@') {
            if OwnField::parse(&field.value).is_none() {
                let known = ["@key", "@timestamp", "@partition", "@offset", "@header.<name>"];
                let unknown = Diagnostic::error(code::BAD_FIELD_NAME, format!("a record has no `{}`", field.value));
                self.found.push(unknown.at(self.texts.place(field.span.clone())).did_you_mean(&field.value, known));
            }
        } else {
            self.payload_field(field);
        }
    }

    pub(super) fn payload_field(&mut self, field: &Written<String>) {
        if field.value.starts_with('@') {
            let way = "name a field of the payload, as in \"login.uuid\"";
            self.error(code::BAD_FIELD_NAME, format!("`{}` is not in the payload", field.value), &field.span, way);
        } else if field.value.split('.').any(|part| part.is_empty() || part.trim() != part) {
            let way = "a field is a dotted path, as in \"name.first\"";
            self.error(code::BAD_FIELD_NAME, format!("`{}` is no name of a field", field.value), &field.span, way);
        }
    }

    pub(super) fn sample(&mut self, written: &Written<String>) -> Option<String> {
        let path = self.folder.join(&written.value);
        let wrong = match std::fs::read_to_string(&path) {
            Ok(text) => match serde_json::from_str::<serde_json::Value>(&text) {
                Ok(_) => return Some(text),
                Err(error) => format!("sample `{}` is not JSON: {error}", written.value),
            },
            Err(error) => format!("read sample `{}`: {}", written.value, plain(&error)),
        };
        self.error(
            code::UNREADABLE_SAMPLE,
            wrong,
            &written.span,
            "a sample is a file with one record as JSON, relative to the pipeline file",
        );
        None
    }

    fn dead_letters(&mut self, written: Option<DeadLettersFile>) -> DeadLettersPlan {
        let stop_when = written.and_then(|written| written.stop_when).map(|share| share.value.0);
        DeadLettersPlan { stop_when: stop_when.unwrap_or_else(|| default(units::stop_when(defaults::STOP_WHEN))) }
    }

    fn test(&mut self, test: TestFile, span: Range<usize>) -> Option<TestPlan> {
        let name = test.name?.value;
        let payload = match (test.input, test.payload) {
            (Some(input), None) => json(input.value).to_string(),
            (None, Some(payload)) => payload.value,
            (None, None) => {
                let way = "add it: input = { … }, or payload = \"…\"";
                self.error(code::MISSING_KEY, format!("missing key `input` in test `{name}`"), &span, way);
                return None;
            }
            (Some(_), Some(payload)) => {
                let message = "`input` and `payload` are two ways to say the same";
                self.error(code::KEYS_CONFLICT, message, &payload.span, "keep one of them");
                return None;
            }
        };
        let expect = test.expect?;
        let expectation = match expect.value {
            ExpectFile::Fields(fields) => {
                let fields = fields.into_iter().map(|(name, value)| (name, json(value))).collect();
                TestExpectation::Fields(fields)
            }
            ExpectFile::Word(word) => {
                match word.split_once(':').map_or((word.trim(), ""), |(head, rest)| (head.trim(), rest.trim())) {
                    ("dropped", "") => TestExpectation::Dropped,
                    ("deleted", "") => TestExpectation::Deleted,
                    ("rejected", reason) => TestExpectation::Rejected(reason.to_owned()),
                    _ => {
                        let way = "fields and values: expect = { email = \"a@example.com\" }, or \"dropped\", \"deleted\", \"rejected: part of the reason\"";
                        self.error(code::BAD_TEST, format!("a test cannot expect `{word}`"), &expect.span, way);
                        return None;
                    }
                }
            }
        };
        Some(TestPlan { name, payload, key: test.key.map(|key| key.value), expect: expectation })
    }
}

fn swap(swap: Option<SwapFile>) -> SwapPlan {
    let SwapFile { mode, shadow_records, roll_back_when, times_slower } = swap.unwrap_or_default();
    SwapPlan {
        mode: mode.map_or(SwapMode::Direct, |written| written.value),
        shadow_records: shadow_records.map_or(defaults::SHADOW_RECORDS, |written| written.value),
        breaker: BreakerRule {
            rejects: roll_back_when
                .map_or_else(|| default(units::stop_when(defaults::ROLL_BACK_WHEN)), |written| written.value.0),
            times_slower: times_slower.map_or(defaults::TIMES_SLOWER, |written| written.value).into(),
        },
    }
}

/// The default of a key, which is of the form that the key has.
pub(super) fn default<T>(parsed: Result<T, String>) -> T {
    parsed.expect("the defaults are checked by a test")
}

/// What the system says of a file, without its number.
pub(super) fn plain(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::NotFound => "no such file".to_owned(),
        std::io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
        std::io::ErrorKind::IsADirectory => "it is a directory".to_owned(),
        std::io::ErrorKind::InvalidData => "not UTF-8".to_owned(),
        _ => error.to_string(),
    }
}

fn json(value: toml::Value) -> serde_json::Value {
    match value {
        toml::Value::String(text) => text.into(),
        toml::Value::Integer(number) => number.into(),
        toml::Value::Float(number) => number.into(),
        toml::Value::Boolean(value) => value.into(),
        toml::Value::Datetime(value) => value.to_string().into(),
        toml::Value::Array(list) => list.into_iter().map(json).collect(),
        toml::Value::Table(table) => {
            serde_json::Value::Object(table.into_iter().map(|(key, value)| (key, json(value))).collect())
        }
    }
}

fn table_name(name: &str) -> Result<(), String> {
    let (keyspace, table) = name.split_once('.').ok_or("it has no keyspace")?;
    identifier(keyspace)?;
    identifier(table)
}

/// Cassandra's rule for names without quotes, which are folded to lower case there.
fn identifier(name: &str) -> Result<(), String> {
    if name.is_empty() || name.len() > 48 {
        return Err("a name has 1 to 48 characters".to_owned());
    }
    match name.chars().find(|c| !(c.is_ascii_lowercase() || c.is_ascii_digit() || *c == '_')) {
        Some(c) if c.is_ascii_uppercase() => Err(format!("`{c}` is upper-case, which Cassandra folds to lower case")),
        Some(c) => Err(format!("`{c}` is not a lower-case letter, digit or `_`")),
        None if name.starts_with(|c: char| c.is_ascii_lowercase()) => Ok(()),
        None => Err("it does not start with a letter".to_owned()),
    }
}
