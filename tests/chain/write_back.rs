//! What stages wrote goes back into the payload, by the rule that serde_json states.

use super::*;

fn one_of(kind: Kind, value: Option<&Value>) -> Column {
    let mut column = Column::empty(kind);
    match (value, &mut column.values) {
        (Some(Value::String(value)), Values::Text(buffer)) => buffer.push(value.as_bytes()),
        (Some(value), Values::Json(buffer)) => buffer.push(value.to_string().as_bytes()),
        (Some(Value::Bool(value)), Values::Booleans(values)) => values.push(*value),
        (Some(value), Values::Ints(values)) => values.push(value.as_i64().unwrap()),
        (Some(value), Values::Floats(values)) => values.push(value.as_f64().unwrap()),
        _ => column.push_null(),
    }
    column
}

fn json_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            1 => proptest::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
            4 => proptest::collection::btree_map("[abc\"\\\\é]{1,2}", inner, 0..5).prop_map(|map| map.into_iter().collect()),
        ]
    })
}

/// The rule of writing back, by serde_json.
fn set(document: &mut Value, path: &str, value: Value) {
    let mut here = document;
    for step in path.split('.') {
        if !here.is_object() {
            *here = json!({});
        }
        here = here.as_object_mut().unwrap().entry(step).or_insert(Value::Null);
    }
    *here = value;
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_record_behind_a_stage_is_its_payload_with_the_written_fields_set(
        payload in json_value(),
        values in (any::<String>(), json_value(), any::<bool>(), any::<i64>(), any::<i32>().prop_map(|eighths| f64::from(eighths) / 8.0)),
        null in any::<bool>(),
    ) {
        let (text, json, boolean, int, float) = values;
        let float = (!null).then(|| Value::from(float));
        let writes = [
            ("a", Kind::Text, Some(Value::from(text))),
            ("b.a", Kind::Json, Some(json)),
            ("b.c", Kind::Boolean, Some(Value::from(boolean))),
            ("c.a.b", Kind::Int, Some(Value::from(int))),
            ("c.b", Kind::Float, float),
        ];
        let mut expected = payload.clone();
        for (path, _, value) in &writes {
            set(&mut expected, path, value.clone().unwrap_or(Value::Null));
        }
        let names: Vec<String> = writes.iter().map(|(path, kind, _)| format!("{path}:{kind}?")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let columns: Vec<Column> = writes.iter().map(|(_, kind, value)| one_of(*kind, value.as_ref())).collect();
        let doubles = Doubles::default().fields("write", &[], &names, move |_, _, _| {
            Ok(FieldsOutcome { columns: columns.clone(), ..FieldsOutcome::default() })
        });
        let text = serde_json::to_string_pretty(&payload).unwrap();
        let done = doubles.chain(&[], true, NullValue::Reject).process(&batch(&[&text])).unwrap();
        let written = done.messages.unwrap().remove(0).value.unwrap();
        prop_assert_eq!(serde_json::from_slice::<Value>(&written).unwrap(), expected, "{}", String::from_utf8_lossy(&written));
    }
}

#[test]
fn what_cannot_be_written_back_rejects_its_record() {
    let doubles = Doubles::default().fields("odd", &["a:text"], &["f:float", "j:json"], |_, _, columns| {
        let texts = texts(columns[0]);
        let mut json = Buffer::default();
        let floats = texts.iter().map(|text| text.as_deref().unwrap().parse().unwrap_or(0.5)).collect();
        texts.iter().for_each(|text| json.push(text.as_deref().unwrap().as_bytes()));
        let columns = [Values::Floats(floats), Values::Json(json)].map(|values| Column { values, nulls: Vec::new() });
        Ok(FieldsOutcome { columns: columns.into(), ..FieldsOutcome::default() })
    });
    let payloads = [r#"{"a":"1e3"}"#, r#"{"a":"inf"}"#, r#"{"a":"{"}"#, r#"{"a":"[1]"}"#];
    let done = doubles.chain(&["f:float"], true, NullValue::Reject).process(&batch(&payloads)).unwrap();
    assert_eq!(
        outcomes(&done),
        [
            "E",
            "R odd: field `f`: what stage `odd` wrote is not finite",
            "R odd: field `j`: what stage `odd` wrote is not JSON",
            "E"
        ]
    );
    let values: Vec<String> = done.messages.unwrap().into_iter().map(|m| String::from_utf8(m.value.unwrap()).unwrap()).collect();
    assert_eq!(values, [r#"{"a":"1e3","f":1000.0,"j":1e3}"#, r#"{"a":"[1]","f":0.5,"j":[1]}"#]);
    assert_eq!(done.columns.get("f").unwrap().values, Values::Floats(vec![1000.0, 0.5]));
}

#[test]
fn writing_back_leaves_the_rest_as_it_stood() {
    let doubles = Doubles::default().fields(
        "write",
        &["at:timestamp", "raw:bytes"],
        &["t.at:timestamp", "t.raw:bytes", "@key:bytes", "@header.trace:bytes?"],
        |_, rows, columns| {
            let columns = [columns[0].clone(), columns[1].clone(), columns[1].clone(), Column::nulls(Kind::Bytes, rows as usize)];
            Ok(FieldsOutcome { columns: columns.into(), ..FieldsOutcome::default() })
        },
    );
    let payload =
        "{ \"n\" : 1.500e0, \"\\u0074\":{\"x\": [ 1 ] ,\"at\":0}, \"at\":\"1970-01-01T01:00:00.25+01:00\",\"raw\":\"aGk\" }";
    let done = doubles.chain(&["@key:bytes"], true, NullValue::Reject).process(&batch(&[payload])).unwrap();
    let message = done.messages.as_ref().unwrap()[0].clone();
    let expected = r#"{"n" : 1.500e0,"at":"1970-01-01T01:00:00.25+01:00","raw":"aGk","t":{"x": [ 1 ],"at":"1970-01-01T00:00:00.250Z","raw":"aGk="}}"#;
    assert_eq!(String::from_utf8(message.value.unwrap()).unwrap(), expected);
    assert_eq!((message.key, message.headers), (Some(b"hi".to_vec()), Vec::new()));
    assert_eq!(sunk(&done, "@key"), ["hi"]);
}
