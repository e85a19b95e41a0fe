//! Types the whole chain before the first record: every field that a stage or a sink reads is in the payload or written before
//! it, with a fitting kind, and every column is fed by a field that fits. Pure and offline (invariant 9).

mod charts;
mod sinks;

use serde::Serialize;

use super::code;
use super::diagnostic::{self, Diagnostic, Place};
use super::load::Loaded;
use super::payload::{Payload, Presence};
use super::plan::{ChartPlan, Pipeline, SourceKind, StageContract, StagePlan, TestExpectation};
use super::tree::Places;
use crate::record::{Contract, Field, Kind, OwnField};

/// A chain whose fields fit together.
#[derive(Clone, Debug, Default)]
pub struct Checked {
    /// What sinks with columns read, each field once, with the kind that it has or is read as.
    pub sink_fields: Vec<Field>,
    /// Whether a sink takes whole records.
    pub whole_records: bool,
    /// Which field goes from where to where.
    pub flows: Vec<Flow>,
    /// Those of the file, or else those that the columns suggest.
    pub charts: Vec<ChartPlan>,
}

/// A field on its way from its writer to a reader.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Flow {
    pub field: Field,
    pub from: Station,
    pub to: Station,
}

/// Places of the chain, by number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Station {
    /// The record as it comes out of the topic, or out of the `messages` stage before.
    Topic,
    Stage(usize),
    Sink(usize),
}

/// Checks the chain with the contracts of its stages, in order. What is found comes with its place; the typed chain is there also
/// when something was found, as far as it goes.
pub fn check(loaded: &Loaded, contracts: &[StageContract]) -> (Checked, Vec<Diagnostic>) {
    let mut chain = Chain::new(&loaded.pipeline, &loaded.places);
    chain.topic_key();
    for (index, stage) in loaded.pipeline.stages.iter().enumerate() {
        match contracts.get(index).and_then(|known| known.contract.as_ref()) {
            Some(contract) => chain.fields_stage(index, stage, contract),
            None => chain.messages_stage(index, stage),
        }
    }
    chain.sinks();
    chain.charts(contracts.last().is_some_and(|last| last.contract.is_some()));
    chain.null_value();
    chain.key_follows_the_topic(contracts);
    chain.unread();
    chain.tests(contracts);
    diagnostic::sort(&mut chain.found);
    (chain.checked, chain.found)
}

struct WrittenField {
    field: Field,
    stage: usize,
    read: bool,
}

struct Chain<'a> {
    pipeline: &'a Pipeline,
    places: &'a Places,
    payload: Payload,
    /// What the payload comes out of.
    origin: Station,
    /// What stages of this segment wrote and no later stage has written over.
    written: Vec<WrittenField>,
    checked: Checked,
    /// The first column that reads each of `checked.sink_fields`, in a sentence, and its place.
    sink_readers: Vec<(String, Option<Place>)>,
    found: Vec<Diagnostic>,
}

/// Who asks for a field: its name in a sentence, and where to point.
struct Reader<'a> {
    who: String,
    place: Option<Place>,
    station: Station,
    field: &'a str,
}

/// Where a field comes from.
enum Source {
    Own(Kind),
    Written {
        kind: Kind,
        stage: usize,
    },
    Payload(Presence),
    /// The payload is not known.
    Unknown,
    /// Reported already.
    Wrong,
}

impl<'a> Chain<'a> {
    fn new(pipeline: &'a Pipeline, places: &'a Places) -> Chain<'a> {
        let payload = pipeline.source.as_ref().map(Payload::of_source).unwrap_or_default();
        Chain {
            pipeline,
            places,
            payload,
            origin: Station::Topic,
            written: Vec::new(),
            checked: Checked::default(),
            sink_readers: Vec::new(),
            found: Vec::new(),
        }
    }

    fn error(&mut self, code: &'static str, message: String, place: &Option<Place>, help: impl Into<String>) {
        self.found.push(Diagnostic::error(code, message).at(place.clone()).help(help));
    }

    fn warn(&mut self, code: &'static str, message: String, place: &Option<Place>, help: impl Into<String>) {
        self.found.push(Diagnostic::warning(code, message).at(place.clone()).help(help));
    }

    fn topic_key(&mut self) {
        let Some(key) = &self.pipeline.topic.key else { return };
        let place = self.places.value("topic.key");
        match self.payload.presence(key) {
            _ if !self.payload.is_known() => {}
            Presence::Never => {
                let message = format!("the topic's key `{key}` is not in the payload");
                let diagnostic = self.not_there(code::KEY_NOT_IN_PAYLOAD, message, key, place);
                self.found.push(diagnostic);
            }
            _ if !self.payload.fits(key, Kind::Text) => {
                let message = format!("the topic's key `{key}` is {}", self.payload.describe(key));
                self.error(code::KEY_NOT_IN_PAYLOAD, message, &place, "a key is text, a number, true or false");
            }
            Presence::Sometimes => {
                let message = format!("some payloads have no `{key}`, the topic's key");
                self.warn(
                    code::FIELD_SOMETIMES_ABSENT,
                    message,
                    &place,
                    "records without a key are spread over the partitions, in no order among them",
                );
            }
            Presence::Always => {}
        }
    }

    fn not_there(&self, code: &'static str, message: String, field: &str, place: Option<Place>) -> Diagnostic {
        let mut diagnostic = Diagnostic::error(code, message).at(place);
        let head = field.split('.').next().unwrap_or(field);
        let left_out =
            self.origin == Station::Topic && self.payload.presence(head) == Presence::Never && super::USER_FIELDS.contains(&head);
        if let (true, Some(SourceKind::RandomUser(kind))) = (left_out, self.pipeline.source.as_ref().map(|source| &source.kind)) {
            let by = if kind.inc.is_empty() { "exc" } else { "inc" };
            return diagnostic.help(format!("`{head}` is left out by `{by}` in [source]"));
        }
        let written: Vec<&str> = self.written.iter().map(|written| written.field.name.as_str()).collect();
        let paths = self.payload.paths();
        let leaf = field.rsplit('.').next().unwrap_or(field);
        // After a typing mistake the most common one: the right name at the wrong depth.
        let deeper = paths.iter().find(|path| path.rsplit('.').next() == Some(leaf));
        let near = diagnostic::nearest(field, &written)
            .or_else(|| diagnostic::nearest(field, &paths.iter().map(String::as_str).collect::<Vec<_>>()))
            .or_else(|| deeper.map(String::as_str));
        match near {
            Some(near) => diagnostic = diagnostic.help(format!("did you mean `{near}`?")),
            None => {
                let tops = paths.iter().map(String::as_str).filter(|path| !path.contains('.'));
                let all: Vec<&str> = written.into_iter().chain(tops).collect();
                diagnostic = diagnostic.did_you_mean("", all);
            }
        }
        diagnostic
    }

    /// Finds the field; reports it when it is nowhere, or inside one that was written.
    fn find(&mut self, reader: &Reader<'_>, optional: bool) -> Source {
        let name = reader.field;
        if name.starts_with('@') {
            if let Some(index) = self.written.iter().position(|written| written.field.name == name) {
                self.written[index].read = true;
                return Source::Written { kind: self.written[index].field.kind, stage: self.written[index].stage };
            }
            return match OwnField::parse(name) {
                Some(own) => Source::Own(own.kind()),
                None => {
                    let known = ["@key", "@timestamp", "@partition", "@offset", "@header.<name>"];
                    let message = format!("{} reads `{name}`, which no record has", reader.who);
                    self.found.push(
                        Diagnostic::error(code::BAD_FIELD_NAME, message).at(reader.place.clone()).did_you_mean(name, known),
                    );
                    Source::Wrong
                }
            };
        }
        let mut around = None;
        for written in &mut self.written {
            let other = written.field.name.as_str();
            if other == name {
                written.read = true;
                return Source::Written { kind: written.field.kind, stage: written.stage };
            }
            if inside(name, other) || inside(other, name) {
                written.read = true;
                around = Some((other.to_owned(), written.stage, inside(name, other)));
            }
        }
        if let Some((other, stage, is_inside)) = around {
            let writer = &self.pipeline.stages[stage].name;
            let message = match is_inside {
                true => format!("{} reads `{name}` inside `{other}`, which stage `{writer}` writes as a whole", reader.who),
                false => format!("{} reads `{name}`, in which stage `{writer}` writes `{other}`", reader.who),
            };
            self.error(code::FIELD_INSIDE_WRITTEN, message, &reader.place, format!("read `{other}`"));
            return Source::Wrong;
        }
        if !self.payload.is_known() {
            return Source::Unknown;
        }
        match self.payload.presence(name) {
            Presence::Never if optional => Source::Payload(Presence::Never),
            Presence::Never => {
                let message = format!("{} reads `{name}`, which nothing writes and the payload does not have", reader.who);
                let diagnostic = self.not_there(code::FIELD_NOT_THERE, message, name, reader.place.clone());
                self.found.push(diagnostic);
                Source::Wrong
            }
            presence => Source::Payload(presence),
        }
    }

    fn flow(&mut self, name: &str, kind: Kind, optional: bool, from: Station, to: Station) {
        self.checked.flows.push(Flow { field: Field { name: name.to_owned(), kind, optional }, from, to });
    }

    fn fields_stage(&mut self, index: usize, stage: &StagePlan, contract: &Contract) {
        let place = self.places.value(&format!("stage.{}.plugin", stage.name));
        if stage.sample.is_some() {
            let at = self.places.value(&format!("stage.{}.sample", stage.name));
            let message = format!("stage `{}` writes fields, which its contract names: `sample` is not used", stage.name);
            self.warn(code::SAMPLE_NOT_USED, message, &at, "remove it; it is for `messages` plugins");
        }
        for field in &contract.reads {
            let reader = Reader {
                who: format!("stage `{}`", stage.name),
                place: place.clone(),
                station: Station::Stage(index),
                field: &field.name,
            };
            self.stage_read(&reader, field);
        }
        for field in &contract.writes {
            self.stage_write(index, stage, field, contract, &place);
        }
        for field in &contract.writes {
            self.written.push(WrittenField { field: field.clone(), stage: index, read: false });
        }
    }

    fn stage_read(&mut self, reader: &Reader<'_>, field: &Field) {
        let from = match self.find(reader, field.optional) {
            Source::Wrong => return,
            Source::Own(own) => {
                if !reads_own(field.kind, own) {
                    let message = format!("{} reads `{}` as {}, but it is {own}", reader.who, field.name, field.kind);
                    self.error(code::FIELD_OF_OTHER_KIND, message, &reader.place, format!("let the plugin read it as {own}"));
                }
                Station::Topic
            }
            Source::Written { kind, stage } => {
                if kind != field.kind {
                    let writer = &self.pipeline.stages[stage].name;
                    let message = format!(
                        "{} reads `{}` as {}, but stage `{writer}` writes it as {kind}",
                        reader.who, field.name, field.kind
                    );
                    let way = "let one of the two plugins use the other's kind";
                    self.error(code::FIELD_OF_OTHER_KIND, message, &reader.place, way);
                }
                Station::Stage(stage)
            }
            Source::Unknown => self.origin,
            Source::Payload(presence) => {
                if !self.payload.fits(&field.name, field.kind) {
                    let seen = self.payload.describe(&field.name);
                    let message = format!("{} reads `{}` as {}, but the payload has {seen}", reader.who, field.name, field.kind);
                    let kinds: Vec<String> = self.payload.kinds(&field.name).map(|kind| kind.to_string()).collect();
                    let way = format!("let the plugin read it as {}", kinds.join(" or "));
                    self.error(code::FIELD_OF_OTHER_KIND, message, &reader.place, way);
                } else if presence == Presence::Sometimes && !field.optional {
                    let message =
                        format!("some payloads have no `{}`, which {} needs: they would be rejected", field.name, reader.who);
                    self.warn(code::FIELD_SOMETIMES_ABSENT, message, &reader.place, "let the plugin read it as optional");
                }
                self.origin
            }
        };
        self.flow(&field.name, field.kind, field.optional, from, reader.station);
    }

    fn stage_write(&mut self, index: usize, stage: &StagePlan, field: &Field, contract: &Contract, place: &Option<Place>) {
        let name = field.name.as_str();
        let who = format!("stage `{}`", stage.name);
        if name.starts_with('@') {
            let wrong = match OwnField::parse(name) {
                None => Some(format!("{who} writes `{name}`, which no record has")),
                Some(own) if !own.may_be_written() => Some(format!("{who} writes `{name}`, which belongs to the topic")),
                Some(own) if own.kind() != field.kind => {
                    Some(format!("{who} writes `{name}` as {}, but it is {}", field.kind, own.kind()))
                }
                Some(_) => None,
            };
            if let Some(message) = wrong {
                self.error(code::BAD_WRITE, message, place, "@key and @header.<name> may be written, as bytes");
            }
        }
        if let Some(other) = contract.writes.iter().find(|other| inside(name, &other.name)) {
            let message = format!("{who} writes `{name}` inside `{}`, which it writes too", other.name);
            self.error(code::BAD_WRITE, message, place, "let the plugin write one of the two");
        }
        if let Some(above) = self.written.iter().find(|written| written.stage != index && inside(name, &written.field.name)) {
            let (above, writer) = (above.field.name.clone(), &self.pipeline.stages[above.stage].name);
            let message = format!("{who} writes `{name}` inside `{above}`, which stage `{writer}` writes as a whole");
            self.error(code::FIELD_INSIDE_WRITTEN, message, place, format!("let it write the whole of `{above}`, or elsewhere"));
        }
        // A written field shadows what was written before at its path and below.
        let mut lost = Vec::new();
        self.written.retain(|written| {
            let shadowed = written.stage != index && (written.field.name == name || inside(&written.field.name, name));
            if shadowed && !written.read {
                lost.push((written.field.name.clone(), written.stage));
            }
            !shadowed
        });
        for (lost, writer) in lost {
            let writer = &self.pipeline.stages[writer].name;
            let message = format!("{who} writes `{lost}`, which stage `{writer}` has written and nobody has read");
            self.warn(code::WRITTEN_TWICE, message, place, "let one of the two write it, or under another name");
        }
    }

    /// Whole records go in, so everything is read; what comes out is known from the stage's sample only.
    fn messages_stage(&mut self, index: usize, stage: &StagePlan) {
        let written = std::mem::take(&mut self.written);
        for written in written {
            self.flow(
                &written.field.name,
                written.field.kind,
                written.field.optional,
                Station::Stage(written.stage),
                Station::Stage(index),
            );
        }
        self.payload = stage.sample.as_deref().map(Payload::of_sample).unwrap_or_default();
        self.origin = Station::Stage(index);
    }

    fn unread(&mut self) {
        let sinks = &self.pipeline.sinks;
        // Beside an error it would be its echo: the column that should read the field names another.
        let wrong = self.found.iter().any(Diagnostic::is_error);
        if wrong || self.checked.whole_records || sinks.iter().any(|sink| sink.columns.is_empty()) {
            return;
        }
        let unread: Vec<(String, usize)> = self
            .written
            .iter()
            .filter(|written| !written.read && !written.field.name.starts_with('@'))
            .map(|written| (written.field.name.clone(), written.stage))
            .collect();
        for (index, stage) in self.pipeline.stages.iter().enumerate() {
            let names: Vec<String> =
                unread.iter().filter(|(_, writer)| *writer == index).map(|(name, _)| format!("`{name}`")).collect();
            if names.is_empty() {
                continue;
            }
            let message = format!("stage `{}` writes {}, which nobody reads", stage.name, names.join(", "));
            let place = self.places.value(&format!("stage.{}.plugin", stage.name));
            self.warn(code::WRITTEN_UNREAD, message, &place, "add a column for it to a sink, or let the plugin leave it out");
        }
    }

    /// A field that a test expects must be written by someone or be in the test's own input.
    fn tests(&mut self, contracts: &[StageContract]) {
        if contracts.len() < self.pipeline.stages.len() || contracts.iter().any(|stage| stage.contract.is_none()) {
            return;
        }
        let written: Vec<&str> = contracts
            .iter()
            .filter_map(|stage| stage.contract.as_ref())
            .flat_map(|contract| &contract.writes)
            .map(|field| field.name.as_str())
            .collect();
        for test in &self.pipeline.tests {
            let TestExpectation::Fields(fields) = &test.expect else { continue };
            let input = Payload::of_sample(&format!("[{}]", test.payload));
            for name in fields.keys() {
                let known = written.contains(&name.as_str())
                    || name.starts_with('@')
                    || !input.is_known()
                    || input.presence(name) != Presence::Never;
                if !known {
                    let place = self.places.key(&format!("test.{}.expect.{name}", test.name));
                    let message = format!("the test expects `{name}`, which no stage writes and its input does not have");
                    let diagnostic = Diagnostic::error(code::BAD_TEST, message).at(place);
                    self.found.push(diagnostic.did_you_mean(name, written.iter().copied()));
                }
            }
        }
    }
}

/// Whether `path` lies below `above`. Names of headers are no paths.
fn inside(path: &str, above: &str) -> bool {
    !path.starts_with('@') && path.strip_prefix(above).is_some_and(|rest| rest.starts_with('.'))
}

/// Bytes of the record's own may be asked for as text: keys often are.
fn reads_own(kind: Kind, own: Kind) -> bool {
    kind == own || (own == Kind::Bytes && kind == Kind::Text)
}
