//! The chain over native doubles: how rows go through stages, and what becomes of each record.

#[path = "chain/blaming.rs"]
mod blaming;
#[path = "chain/write_back.rs"]
mod write_back;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use proptest::prelude::*;
use serde_json::{Value, json};
use tidemill::config::plan::NullValue;
use tidemill::plugin::{CallError, FieldsOutcome, Incoming, MessageOutcome};
use tidemill::record::{Batch, Buffer, Column, Contract, Field, Header, Kind, Message, RecordRef, Rejection, RowOutcome, Values};
use tidemill::transform::{self, Chain, ChainPlan, Error, StageContract, StageFactory, StageInstance, Transformed, blame};

type OnFields = Arc<dyn Fn(u64, u32, &[&Column]) -> Result<FieldsOutcome, CallError> + Send + Sync>;
type OnMessages = Arc<dyn Fn(u64, &[Incoming]) -> Result<Vec<MessageOutcome>, CallError> + Send + Sync>;

/// What a stage does; the first argument counts the calls that its instance has had.
#[derive(Clone)]
enum Does {
    Fields(OnFields),
    Messages(OnMessages),
}

struct Double {
    does: Does,
    calls: u64,
    dead: bool,
    made: Arc<AtomicU64>,
    /// Calls after which it has grown too large.
    grown_after: u64,
}

impl Double {
    fn ended<T>(&mut self, result: Result<T, CallError>) -> Result<T, CallError> {
        self.calls += 1;
        self.made.fetch_add(1, Ordering::Relaxed);
        assert!(!self.dead, "an instance is called after its trap");
        self.dead = !matches!(result, Ok(_) | Err(CallError::Failed(_) | CallError::Retry(_)));
        result
    }
}

impl StageInstance for Double {
    fn process_fields(&mut self, rows: u32, columns: &[&Column]) -> Result<FieldsOutcome, CallError> {
        assert!(columns.iter().all(|column| column.rows() == rows as usize), "every column has all rows");
        let Does::Fields(does) = self.does.clone() else { panic!("a messages stage is given columns") };
        let result = does(self.calls, rows, columns);
        self.ended(result)
    }

    fn process_messages(&mut self, messages: &[Incoming]) -> Result<Vec<MessageOutcome>, CallError> {
        let Does::Messages(does) = self.does.clone() else { panic!("a fields stage is given messages") };
        let result = does(self.calls, messages);
        self.ended(result)
    }

    fn memory_bytes(&self) -> u64 {
        0
    }

    fn wants_recycling(&self) -> bool {
        self.calls >= self.grown_after
    }
}

struct Doubles {
    stages: Vec<(StageContract, Does)>,
    /// Calls of all stages.
    calls: Arc<AtomicU64>,
    instances: Arc<AtomicU64>,
    grown_after: u64,
}

impl Default for Doubles {
    fn default() -> Doubles {
        Doubles { stages: Vec::new(), calls: Arc::default(), instances: Arc::default(), grown_after: u64::MAX }
    }
}

impl StageFactory for Doubles {
    fn instance(&self, stage: usize) -> Result<Box<dyn StageInstance>, String> {
        self.instances.fetch_add(1, Ordering::Relaxed);
        let (does, made, grown_after) = (self.stages[stage].1.clone(), self.calls.clone(), self.grown_after);
        Ok(Box::new(Double { does, calls: 0, dead: false, made, grown_after }))
    }
}

/// `name:kind`, with `?` behind it where it is optional.
fn fields(list: &[&str]) -> Vec<Field> {
    let field = |text: &&str| {
        let (name, kind) = text.rsplit_once(':').unwrap();
        let kind: Kind = serde_json::from_value(json!(kind.trim_end_matches('?'))).unwrap();
        Field { name: name.to_owned(), kind, optional: text.ends_with('?') }
    };
    list.iter().map(field).collect()
}

impl Doubles {
    fn fields(
        mut self,
        name: &str,
        reads: &[&str],
        writes: &[&str],
        does: impl Fn(u64, u32, &[&Column]) -> Result<FieldsOutcome, CallError> + Send + Sync + 'static,
    ) -> Doubles {
        let contract = Some(Contract { reads: fields(reads), writes: fields(writes) });
        self.stages.push((StageContract { stage: name.to_owned(), contract }, Does::Fields(Arc::new(does))));
        self
    }

    fn messages(
        mut self,
        name: &str,
        does: impl Fn(u64, &[Incoming]) -> Result<Vec<MessageOutcome>, CallError> + Send + Sync + 'static,
    ) -> Doubles {
        let contract = StageContract { stage: name.to_owned(), contract: None };
        self.stages.push((contract, Does::Messages(Arc::new(does))));
        self
    }

    fn plan(&self, sinks: &[&str], messages: bool, null_value: NullValue) -> Result<ChainPlan, transform::PlanError> {
        let contracts: Vec<StageContract> = self.stages.iter().map(|(contract, _)| contract.clone()).collect();
        ChainPlan::new(&contracts, &fields(sinks), messages, null_value)
    }

    fn chain(self, sinks: &[&str], messages: bool, null_value: NullValue) -> Chain {
        let plan = Arc::new(self.plan(sinks, messages, null_value).unwrap());
        Chain::new(plan, Arc::new(self)).unwrap()
    }
}

fn batch(payloads: &[&str]) -> Batch {
    let payloads: Vec<Option<&[u8]>> = payloads.iter().map(|payload| Some(payload.as_bytes())).collect();
    batch_of(&payloads)
}

/// Records with keys k0, k1, … at offsets 100, 102, …
fn batch_of(payloads: &[Option<&[u8]>]) -> Batch {
    let mut batch = Batch::new(0);
    for (at, value) in payloads.iter().enumerate() {
        let key = format!("k{at}");
        let headers: &[Header] = &[("trace".to_owned(), Some(b"t".to_vec())), ("trace".to_owned(), None)];
        batch.push(RecordRef {
            offset: 100 + 2 * at as i64,
            timestamp: at as i64,
            key: Some(key.as_bytes()),
            value: *value,
            headers,
        });
    }
    batch
}

fn texts(column: &Column) -> Vec<Option<String>> {
    let (Values::Text(buffer) | Values::Json(buffer) | Values::Bytes(buffer)) = &column.values else {
        panic!("a column of text")
    };
    let text = |row| (!column.is_null(row)).then(|| String::from_utf8(buffer.get(row).to_vec()).unwrap());
    (0..buffer.rows()).map(text).collect()
}

fn text_column(values: impl IntoIterator<Item = Option<String>>) -> Column {
    let mut column = Column::empty(Kind::Text);
    for value in values {
        match (value, &mut column.values) {
            (Some(value), Values::Text(buffer)) => buffer.push(value.as_bytes()),
            _ => column.push_null(),
        }
    }
    column
}

/// The column as a sink gets it; null is `-`.
fn sunk(transformed: &Transformed, field: &str) -> Vec<String> {
    let column = transformed.columns.get(field).expect("the sinks read the field");
    texts(column).into_iter().map(|text| text.unwrap_or("-".to_owned())).collect()
}

/// Outcomes in short: `E`, `D`, `X` for deleted, `R <stage>: <reason>`.
fn outcomes(transformed: &Transformed) -> Vec<String> {
    let short = |outcome: &RowOutcome| match outcome {
        RowOutcome::Emitted => "E".to_owned(),
        RowOutcome::Dropped => "D".to_owned(),
        RowOutcome::Deleted => "X".to_owned(),
        RowOutcome::Rejected { stage, reason } => format!("R {}: {reason}", stage.as_deref().unwrap_or("host")),
    };
    transformed.outcomes.iter().map(short).collect()
}

/// Writes its first read, made upper case, and drops, deletes, rejects rows by what it says: `drop…`, `delete…`, `reject…`.
fn shout(_: u64, _: u32, columns: &[&Column]) -> Result<FieldsOutcome, CallError> {
    let texts = texts(columns[0]);
    let rows_with = |what: &str| -> Vec<u32> {
        (0u32..)
            .zip(&texts)
            .filter(|(_, text)| text.as_ref().is_some_and(|text| text.starts_with(what)))
            .map(|(row, _)| row)
            .collect()
    };
    let rejected = rows_with("reject").into_iter().map(|row| Rejection { row, reason: "as asked".to_owned() }).collect();
    Ok(FieldsOutcome {
        dropped: rows_with("drop"),
        deleted: rows_with("delete"),
        rejected,
        columns: vec![text_column(texts.iter().map(|text| text.as_ref().map(|text| text.to_uppercase())))],
    })
}

fn copy(_: u64, _: u32, columns: &[&Column]) -> Result<FieldsOutcome, CallError> {
    Ok(FieldsOutcome { columns: columns.iter().map(|column| (*column).clone()).collect(), ..FieldsOutcome::default() })
}

#[test]
fn an_instance_that_has_grown_is_called_no_more_and_another_takes_its_place() {
    let counts = |call: u64, _: u32, columns: &[&Column]| {
        let rows = texts(columns[0]).into_iter().map(|_| Some(call.to_string()));
        Ok(FieldsOutcome { columns: vec![text_column(rows)], ..FieldsOutcome::default() })
    };
    let doubles = Doubles { grown_after: 2, ..Doubles::default() }.fields("counts", &["a:text"], &["call:text"], counts);
    let (calls, instances) = (doubles.calls.clone(), doubles.instances.clone());
    let mut chain = doubles.chain(&["call:text"], false, NullValue::Reject);
    let called: Vec<Vec<String>> = (0..6).map(|_| sunk(&chain.process(&batch(&[r#"{"a":"x"}"#])).unwrap(), "call")).collect();
    assert_eq!(called.concat(), ["0", "1", "0", "1", "0", "1"]);
    assert_eq!((calls.load(Ordering::Relaxed), instances.load(Ordering::Relaxed)), (6, 3));
}

#[test]
fn written_fields_shadow_the_payload_and_reach_later_stages_and_sinks() {
    let doubles = Doubles::default().fields("shout", &["name.first:text"], &["name:text"], shout).fields(
        "copy",
        &["name:text", "@key:bytes"],
        &["copied:text", "@header.k:bytes"],
        copy,
    );
    let mut chain = doubles.chain(&["name:text", "copied:text", "city:text?", "@header.k:bytes"], false, NullValue::Reject);
    let done = chain.process(&batch(&[r#"{"name":{"first":"ann"},"city":"Oslo"}"#, r#"{"name":{"first":"bo"}}"#])).unwrap();
    assert_eq!(outcomes(&done), ["E", "E"]);
    assert_eq!(sunk(&done, "name"), ["ANN", "BO"]);
    assert_eq!(sunk(&done, "copied"), ["ANN", "BO"]);
    assert_eq!(sunk(&done, "city"), ["Oslo", "-"]);
    assert_eq!(sunk(&done, "@header.k"), ["k0", "k1"]);
    assert_eq!(done.origins, [0, 1]);
    assert_eq!(done.messages, None);
}

#[test]
fn rows_that_are_done_with_are_not_shown_to_later_stages() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let log = seen.clone();
    let doubles = Doubles::default().fields("first", &["a:text"], &["b:text"], shout).fields(
        "second",
        &["b:text", "n:int"],
        &["c:text"],
        move |call, rows, columns| {
            log.lock().unwrap().extend(texts(columns[0]));
            copy(call, rows, &columns[..1])
        },
    );
    let mut chain = doubles.chain(&["b:text", "c:text", "a:text", "@key:bytes"], false, NullValue::Reject);
    let payload = |a: &str| format!(r#"{{"a":"{a}","n":1}}"#);
    let payloads = ["one", "drop", "two", "delete me", "reject", "three"].map(payload);
    let payloads: Vec<&str> = payloads.iter().map(String::as_str).collect();
    let done = chain.process(&batch(&payloads)).unwrap();
    assert_eq!(outcomes(&done), ["E", "D", "E", "X", "R first: as asked", "E"]);
    assert_eq!(*seen.lock().unwrap(), ["ONE", "TWO", "THREE"].map(|text| Some(text.to_owned())));
    assert_eq!(done.origins, [0, 2, 3, 5]);
    assert_eq!(done.deleted, [2]);
    // What the deleting stage wrote stays with the row, what comes later is null.
    assert_eq!(sunk(&done, "b"), ["ONE", "TWO", "DELETE ME", "THREE"]);
    assert_eq!(sunk(&done, "c"), ["ONE", "TWO", "-", "THREE"]);
    assert_eq!(sunk(&done, "a"), ["one", "two", "delete me", "three"]);
    assert_eq!(sunk(&done, "@key"), ["k0", "k2", "k3", "k5"]);
    let figures = &done.stages[0];
    assert_eq!((figures.rows, figures.dropped, figures.rejected, figures.calls, figures.traps), (6, 1, 1, 1, 0));
    assert_eq!(done.stages[1].rows, 3);
}

#[test]
fn a_field_counts_when_the_first_stage_that_reads_it_gets_the_row() {
    let doubles = Doubles::default().fields("first", &["a:text"], &["b:text"], shout).fields(
        "late",
        &["n:int", "m:int?"],
        &["x:int", "y:int?"],
        copy,
    );
    let mut chain = doubles.chain(&["x:int", "y:int?", "z:boolean?"], false, NullValue::Reject);
    let done = chain
        .process(&batch(&[
            r#"{"a":"drop","n":"no int"}"#,
            r#"{"a":"drop"}"#,
            r#"{"a":"reject","m":[]}"#,
            r#"{"a":"ok","n":1,"m":null}"#,
            r#"{"a":"ok","n":"no int"}"#,
            r#"{"a":"ok","n":1,"m":"no int"}"#,
            r#"{"a":"ok"}"#,
            r#"{"a":"ok","n":1,"z":1}"#,
            r#"{"a":[]}"#,
        ]))
        .unwrap();
    assert_eq!(
        outcomes(&done),
        [
            "D",
            "D",
            "R first: as asked",
            "E",
            "R host: field `n`: is no integer: \"no int\"",
            "R host: field `m`: is no integer: \"no int\"",
            "R host: field `n`: is required, and the record has none",
            "R host: field `z`: is neither true nor false: 1",
            "R host: field `a`: is no text: []",
        ]
    );
    assert_eq!(done.origins, [3]);
}

#[test]
fn a_required_field_that_a_stage_left_null_rejects_the_record() {
    let doubles =
        Doubles::default().fields("first", &["a:text?"], &["b:text?"], copy).fields("second", &["b:text"], &["c:text"], copy);
    let mut chain = doubles.chain(&["c:text"], false, NullValue::Reject);
    let done = chain.process(&batch(&[r#"{"a":"x"}"#, "{}"])).unwrap();
    assert_eq!(outcomes(&done), ["E", "R host: field `b`: is required, and stage `first` left it null"]);
    assert_eq!(sunk(&done, "c"), ["x"]);
}

#[test]
fn a_record_without_a_value_is_what_the_topic_says() {
    let values: &[Option<&[u8]>] = &[Some(br#"{"a":"x"}"#), None, Some(br#"{"a":"y"}"#)];
    let run = |null_value| {
        let doubles = Doubles::default().fields("shout", &["a:text"], &["b:text"], shout);
        doubles.chain(&["@key:text", "b:text"], true, null_value).process(&batch_of(values)).unwrap()
    };
    assert_eq!(outcomes(&run(NullValue::Reject)), ["E", "R host: the record has no value", "E"]);
    assert_eq!(outcomes(&run(NullValue::Drop)), ["E", "D", "E"]);
    let done = run(NullValue::Delete);
    assert_eq!(outcomes(&done), ["E", "X", "E"]);
    assert_eq!((done.origins.as_slice(), done.deleted.as_slice()), ([0, 1, 2].as_slice(), [1].as_slice()));
    assert_eq!(sunk(&done, "@key"), ["k0", "k1", "k2"]);
    assert_eq!(sunk(&done, "b"), ["X", "-", "Y"]);
    let values: Vec<bool> = done.messages.unwrap().iter().map(|message| message.value.is_some()).collect();
    assert_eq!(values, [true, false, true]);
    // A byte sink alone mirrors what the topic holds.
    let done = Doubles::default().chain(&[], true, NullValue::Reject).process(&batch_of(values_of_a_mirror())).unwrap();
    assert_eq!(outcomes(&done), ["E", "E"]);
    assert_eq!(done.messages.unwrap()[1].value, None);
}

fn values_of_a_mirror() -> &'static [Option<&'static [u8]>] {
    &[Some(b"\xff not JSON"), None]
}

/// Emits one message for each element of the payload's list; `"reject"` as payload is rejected, `"drop"` dropped.
fn split(_: u64, messages: &[Incoming]) -> Result<Vec<MessageOutcome>, CallError> {
    let outcome = |incoming: &Incoming| {
        let payload: Value = serde_json::from_slice(incoming.message.value.as_ref().unwrap()).unwrap();
        match payload {
            Value::Array(items) => {
                let message = |item: &Value| Message { value: Some(item.to_string().into_bytes()), ..incoming.message.clone() };
                MessageOutcome::EmitMany(items.iter().map(message).collect())
            }
            Value::String(text) if text == "reject" => MessageOutcome::Reject("no list".to_owned()),
            Value::String(text) if text == "drop" => MessageOutcome::Drop,
            _ => MessageOutcome::Unchanged,
        }
    };
    Ok(messages.iter().map(outcome).collect())
}

#[test]
fn a_record_that_becomes_several_has_one_outcome() {
    let doubles = Doubles::default().messages("split", split).fields("shout", &["a:text"], &["b:text"], shout);
    let mut chain = doubles.chain(&["b:text", "@offset:int"], true, NullValue::Reject);
    let done = chain
        .process(&batch(&[
            r#"[{"a":"one"},{"a":"delete"},{"a":"two"}]"#,
            r#"[{"a":"three"},{"a":"delete"},{"a":"reject"}]"#,
            r#""reject""#,
            r#"[{"a":"four"},{"a":"drop"},{}]"#,
            r#"{"a":"five"}"#,
            r#"[{"a":"drop"},{"a":"delete"}]"#,
            r#"[{"a":"drop"}]"#,
            "[]",
            r#""drop""#,
        ]))
        .unwrap();
    assert_eq!(
        outcomes(&done),
        [
            "E",
            "R shout: as asked",
            "R split: no list",
            "R host: field `a`: is required, and the record has none",
            "E",
            "X",
            "D",
            "D",
            "D"
        ]
    );
    assert_eq!(sunk(&done, "b"), ["ONE", "DELETE", "TWO", "FIVE", "DELETE"]);
    assert_eq!((done.origins.as_slice(), done.deleted.as_slice()), ([0, 0, 0, 4, 5].as_slice(), [1, 4].as_slice()));
    assert_eq!(done.columns.get("@offset").unwrap().values, Values::Ints(vec![100, 100, 100, 108, 110]));
    let values: Vec<Option<Value>> =
        done.messages.unwrap().iter().map(|message| message.value.as_ref().map(|v| serde_json::from_slice(v).unwrap())).collect();
    let expected = ["one", "", "two", "five", ""].map(|a| (!a.is_empty()).then(|| json!({"a": a, "b": a.to_uppercase()})));
    assert_eq!(values, expected);
}

#[test]
fn rows_deleted_before_a_split_keep_their_place() {
    let doubles = Doubles::default()
        .fields("first", &["a:text"], &["b:text"], shout)
        .messages("twice", |_, messages| {
            Ok(messages.iter().map(|m| MessageOutcome::EmitMany(vec![m.message.clone(), m.message.clone()])).collect())
        })
        .fields("second", &["c:text?"], &["d:text?"], shout);
    let mut chain = doubles.chain(&["b:text?", "@key:bytes", "d:text?"], false, NullValue::Reject);
    let done = chain
        .process(&batch(&[
            r#"{"a":"delete 0"}"#,
            r#"{"a":"1","c":"c"}"#,
            r#"{"a":"delete 2"}"#,
            r#"{"a":"3","c":"delete"}"#,
            r#"{"a":"delete 4"}"#,
        ]))
        .unwrap();
    assert_eq!(done.origins, [0, 1, 1, 2, 3, 3, 4]);
    assert_eq!(done.deleted, [0, 3, 4, 5, 6]);
    assert_eq!(sunk(&done, "b"), ["DELETE 0", "1", "1", "DELETE 2", "3", "3", "DELETE 4"].map(|b| b.to_uppercase()));
    assert_eq!(sunk(&done, "@key"), ["k0", "k1", "k1", "k2", "k3", "k3", "k4"]);
    assert_eq!(sunk(&done, "d"), ["-", "C", "C", "-", "DELETE", "DELETE", "-"]);
}

#[test]
fn stages_that_do_not_fit_together_make_no_plan() {
    let two = |first_writes: &[&str], second_reads: &[&str], sinks: &[&str]| {
        let doubles = Doubles::default().fields("one", &[], first_writes, copy).fields("two", second_reads, &[], copy);
        doubles.plan(sinks, false, NullValue::Reject).map(|_| ()).map_err(|error| error.to_string())
    };
    assert_eq!(two(&["a:text"], &["a:text", "b.c:int"], &["a:text"]), Ok(()));
    let cases: BTreeMap<&str, Result<(), String>> = BTreeMap::from([
        ("stage `two` reads `a` as int, but stage `one` writes it as text", two(&["a:text"], &["a:int"], &[])),
        ("stage `two` reads `a.b` inside `a`, which stage `one` writes", two(&["a:json"], &["a.b:text"], &[])),
        ("stage `two` reads `a`, in which stage `one` writes `a.b`", two(&["a.b:text"], &["a:json"], &[])),
        ("a sink reads `a` as int, but stage `one` writes it as text", two(&["a:text"], &[], &["a:int"])),
        ("sinks read `a` both as int and as text", two(&[], &[], &["a:int", "a:text"])),
        ("stage `one` writes `a.b` inside `a`, which it writes too", two(&["a:json", "a.b:text"], &[], &[])),
        ("stage `one` writes `a` twice", two(&["a:json", "a:text"], &[], &[])),
        ("stage `one` writes `@offset`, which cannot be written", two(&["@offset:int"], &[], &[])),
        ("stage `one` writes `@key` as text, but it is of kind bytes", two(&["@key:text"], &[], &[])),
        ("stage `two` reads `@offset` as text, but it is of kind int", two(&[], &["@offset:text"], &[])),
        ("stage `two` names `@ofset`, which no record has", two(&[], &["@ofset:int"], &[])),
        ("a sink names `a..b`, which is no path", two(&[], &[], &["a..b:int"])),
    ]);
    for (reason, found) in cases {
        assert_eq!(found, Err(reason.to_owned()));
    }
}
