//! What the sinks read: every column is fed by a field that fits its type, and keys are those of the topic.

use super::{Chain, Presence, Reader, Source, Station, inside, reads_own};
use crate::config::code;
use crate::config::diagnostic::Diagnostic;
use crate::config::plan::{CqlType, KeyRole, NullValue, SinkAddress, SinkColumn, SinkPlan, StageContract, TopicAddress};
use crate::record::{Field, GENERATION, Kind};

impl Chain<'_> {
    pub(super) fn sinks(&mut self) {
        for (index, sink) in self.pipeline.sinks.iter().enumerate() {
            if sink.columns.is_empty() {
                if !matches!(sink.at, SinkAddress::Null) {
                    self.checked.whole_records = true;
                }
                continue;
            }
            for column in sink.columns.iter().filter(|column| column.field != GENERATION) {
                self.column(index, sink, column);
            }
        }
    }

    fn column(&mut self, index: usize, sink: &SinkPlan, column: &SinkColumn) {
        let path = format!("sink.{}.columns.{}", sink.name, column.column);
        let reader = Reader {
            who: format!("column `{}`", column.column),
            place: self.places.value(&format!("{path}.field")),
            station: Station::Sink(index),
            field: &column.field,
        };
        let optional = column.key.is_none();
        let natural = column.cql.natural_kind();
        let (kind, from) = match self.find(&reader, false) {
            Source::Wrong => return,
            Source::Unknown => (natural, self.origin),
            Source::Own(own) => {
                match [natural, own].into_iter().find(|kind| reads_own(*kind, own) && column.cql.accepts(*kind)) {
                    Some(kind) => (kind, Station::Topic),
                    None => return self.misfit(column, &path, &format!("`{}` is {own}", column.field), own),
                }
            }
            Source::Written { kind, stage } if column.cql.accepts(kind) => (kind, Station::Stage(stage)),
            Source::Written { kind, stage } => {
                let why = format!("stage `{}` writes `{}` as {kind}", self.pipeline.stages[stage].name, column.field);
                return self.misfit(column, &path, &why, kind);
            }
            Source::Payload(presence) => {
                match column.cql.kinds().iter().copied().find(|kind| self.payload.fits(&column.field, *kind)) {
                    Some(kind) => {
                        if presence == Presence::Sometimes && !optional {
                            let message = format!(
                                "some payloads have no `{}`, which feeds a key column: they would be rejected",
                                column.field
                            );
                            self.warn(
                                code::FIELD_SOMETIMES_ABSENT,
                                message,
                                &reader.place,
                                "feed the key with a field that every record has",
                            );
                        }
                        (kind, self.origin)
                    }
                    None => {
                        let why = format!("the payload's `{}` is {}", column.field, self.payload.describe(&column.field));
                        let seen = self.payload.kinds(&column.field).next().unwrap_or(Kind::Json);
                        return self.misfit(column, &path, &why, seen);
                    }
                }
            }
        };
        self.flow(&column.field, kind, optional, from, reader.station);
        let who = format!("column `{}` of sink `{}`", column.column, sink.name);
        match self.checked.sink_fields.iter().position(|known| known.name == column.field) {
            Some(at) if self.checked.sink_fields[at].kind != kind => {
                let (other, other_place) = &self.sink_readers[at];
                let there = other_place.as_ref().map(|place| format!(", {}:{}:{}", place.file, place.line, place.column));
                let message =
                    format!("{who} reads `{}` as {kind}, {other} as {}", column.field, self.checked.sink_fields[at].kind);
                let diagnostic = Diagnostic::error(code::FIELD_IN_TWO_KINDS, message).at(reader.place);
                let diagnostic = diagnostic.help(format!("the other one is {other}{}", there.unwrap_or_default()));
                self.found.push(diagnostic.help("give both one type, or let a stage write the field under a second name"));
            }
            Some(at) => self.checked.sink_fields[at].optional &= optional,
            None => {
                self.checked.sink_fields.push(Field { name: column.field.clone(), kind, optional });
                self.sink_readers.push((who, reader.place));
            }
        }
    }

    fn misfit(&mut self, column: &SinkColumn, path: &str, why: &str, kind: Kind) {
        let place = self.places.value(&format!("{path}.type"));
        let message = format!("column `{}` is {}, but {why}", column.column, column.cql.name());
        let fitting: Vec<&str> = CqlType::ALL.iter().filter(|cql| cql.accepts(kind)).map(|cql| cql.name()).collect();
        self.error(code::COLUMN_OF_OTHER_TYPE, message, &place, format!("{kind} fits: {}", fitting.join(", ")));
    }

    pub(super) fn null_value(&mut self) {
        if self.pipeline.topic.null_value != NullValue::Delete {
            return;
        }
        let place = self.places.value("topic.null-value");
        for sink in &self.pipeline.sinks {
            for column in sink.columns.iter().filter(|column| column.key.is_some() && column.field != "@key") {
                let message = format!(
                    "a record without a value cannot delete a row of sink `{}`: key column `{}` is fed by `{}`, which it does not have",
                    sink.name, column.column, column.field
                );
                self.error(code::DELETE_WITHOUT_KEY, message, &place, "feed the key with the record's own: field = \"@key\"");
            }
        }
    }

    /// Delivery §4: rows of one key meet in order only when that key also chose the partition. Warns only where it is certain.
    pub(super) fn key_follows_the_topic(&mut self, contracts: &[StageContract]) {
        let topic = &self.pipeline.topic;
        let one_partition = topic.at == TopicAddress::Embedded && topic.partitions == 1;
        if one_partition || self.pipeline.source.is_none() || contracts.iter().any(|stage| stage.contract.is_none()) {
            return;
        }
        for sink in &self.pipeline.sinks {
            let keys: Vec<&SinkColumn> = sink.columns.iter().filter(|column| column.key == Some(KeyRole::Partition)).collect();
            if keys.is_empty()
                || keys.iter().any(|column| topic.key.as_deref().is_some_and(|key| self.follows(&column.field, key, contracts)))
            {
                continue;
            }
            let place = self.places.value(&format!("sink.{}.columns.{}", sink.name, keys[0].column));
            let message = match &topic.key {
                Some(key) => {
                    format!("the rows of sink `{}` are not keyed by `{key}`, which chooses a record's partition", sink.name)
                }
                None => format!("the topic has no key: records of one row of sink `{}` may be in several partitions", sink.name),
            };
            let way = "of two records for one row the later one must win, which holds within a partition: [topic] key = \"…\"";
            self.warn(code::KEYS_DISAGREE, message, &place, way);
        }
    }

    /// Whether a field may come of the topic's key: it is the key, or a stage that wrote it has read what comes of the key.
    fn follows(&self, field: &str, key: &str, contracts: &[StageContract]) -> bool {
        let mut of_key: Vec<&str> = vec![key, "@key"];
        for contract in contracts.iter().filter_map(|stage| stage.contract.as_ref()) {
            let reads_it =
                contract.reads.iter().any(|read| of_key.iter().any(|known| *known == read.name || inside(known, &read.name)));
            of_key.retain(|known| !contract.writes.iter().any(|write| write.name == *known));
            if reads_it {
                of_key.extend(contract.writes.iter().map(|write| write.name.as_str()));
            }
        }
        of_key.iter().any(|known| *known == field || inside(known, field))
    }
}
