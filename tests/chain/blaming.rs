//! Which record of a failed batch is to blame, and what the search costs.

use super::*;

/// A chain whose only stage traps on calls that hold a bad row; its payloads are `{"a":"<row>"}`.
fn for_bad(bad: &BTreeSet<usize>, rows: usize, fields: bool, run: impl FnOnce(&mut Chain, &Batch)) -> (u64, u64) {
    let bad: BTreeSet<String> = bad.iter().map(usize::to_string).collect();
    let boom = || CallError::Trap("boom".to_owned());
    let doubles = match fields {
        true => Doubles::default().fields("stage", &["a:text"], &["copied:text"], move |call, rows, columns| {
            match texts(columns[0]).iter().flatten().any(|text| bad.contains(text)) {
                true => Err(boom()),
                false => copy(call, rows, columns),
            }
        }),
        false => Doubles::default().messages("stage", move |_, messages| {
            let text = |m: &Incoming| {
                let payload: Value = serde_json::from_slice(m.message.value.as_ref().unwrap()).unwrap();
                payload["a"].as_str().unwrap().to_owned()
            };
            let emit = |m: &Incoming| {
                let value = json!({"copied": text(m)}).to_string().into_bytes();
                MessageOutcome::Emit(Message { value: Some(value), ..m.message.clone() })
            };
            match messages.iter().any(|m| bad.contains(&text(m))) {
                true => Err(boom()),
                false => Ok(messages.iter().map(emit).collect()),
            }
        }),
    };
    let (calls, instances) = (doubles.calls.clone(), doubles.instances.clone());
    let payloads: Vec<String> = (0..rows).map(|row| format!(r#"{{"a":"{row}"}}"#)).collect();
    let payloads: Vec<&str> = payloads.iter().map(String::as_str).collect();
    run(&mut doubles.chain(&["copied:text"], false, NullValue::Reject), &batch(&payloads));
    (calls.load(Ordering::Relaxed), instances.load(Ordering::Relaxed))
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_search_rejects_exactly_the_records_that_fail_alone(
        bad in proptest::collection::btree_set(0usize..60, 0..8),
        rows in 1usize..60,
        fields in any::<bool>(),
        known in any::<bool>(),
    ) {
        let mut done = Transformed::default();
        for_bad(&bad, rows, fields, |chain, batch| {
            let failed = chain.process(batch);
            done = match (failed, known) {
                (Ok(done), _) => done,
                (Err(error), true) => blame(chain, batch, Some(&error)).unwrap(),
                (Err(_), false) => blame(chain, batch, None).unwrap(),
            };
        });
        for (row, outcome) in outcomes(&done).iter().enumerate() {
            let expected = if bad.contains(&row) { "R stage: trap: boom" } else { "E" };
            prop_assert_eq!(outcome, expected);
        }
        let good: Vec<u32> = (0..rows as u32).filter(|row| !bad.contains(&(*row as usize))).collect();
        prop_assert_eq!(&done.origins, &good);
        let copied: Vec<String> = good.iter().map(|row| row.to_string()).collect();
        prop_assert_eq!(sunk(&done, "copied"), copied);
    }
}

#[test]
fn one_trapping_record_among_500_costs_at_most_12_calls() {
    for bad in [0, 1, 250, 377, 498, 499] {
        for fields in [true, false] {
            let (calls, _) = for_bad(&BTreeSet::from([bad]), 500, fields, |chain, batch| {
                let error = chain.process(batch).unwrap_err();
                assert!(matches!(&error, Error::Blame { stage, reason } if stage == "stage" && reason == "trap: boom"));
                let done = blame(chain, batch, Some(&error)).unwrap();
                assert_eq!(done.origins.len(), 499);
                assert!(matches!(&done.outcomes[bad], RowOutcome::Rejected { stage: Some(stage), .. } if stage == "stage"));
                assert!(done.stages[0].calls <= 11 && done.stages[0].traps >= 1);
                assert_eq!(done.stages[0].rows, 500);
            });
            assert!(calls <= 12, "{calls} calls, the first one included");
        }
    }
}

#[test]
fn a_record_that_passes_alone_is_not_blamed_and_calls_become_smaller() {
    // More than 7 rows at once fail, whichever they are: as memory or time may have it.
    let sizes = Arc::new(Mutex::new(Vec::new()));
    let log = sizes.clone();
    let doubles = Doubles::default().fields("heavy", &["a:text"], &["b:text"], move |call, rows, columns| {
        log.lock().unwrap().push(rows);
        match rows > 7 {
            true => Err(CallError::OutOfMemory(1 << 20)),
            false => copy(call, rows, columns),
        }
    });
    let payloads: Vec<String> = (0..64).map(|row| format!(r#"{{"a":"{row}"}}"#)).collect();
    let payloads: Vec<&str> = payloads.iter().map(String::as_str).collect();
    let mut chain = doubles.chain(&["b:text"], false, NullValue::Reject);
    let error = chain.process(&batch(&payloads)).unwrap_err();
    assert_eq!(error.to_string(), "stage heavy: asked for more than 1 MiB of memory");
    let done = blame(&mut chain, &batch(&payloads), Some(&error)).unwrap();
    assert_eq!(outcomes(&done), vec!["E"; 64]);
    assert_eq!(sunk(&done, "b"), (0..64).map(|row| row.to_string()).collect::<Vec<_>>());
    assert!(sizes.lock().unwrap().iter().rev().take(3).all(|rows| *rows <= 7), "the last calls are small");
}

#[test]
fn a_record_is_blamed_only_for_what_it_does_in_a_fresh_instance() {
    // The third call of each instance traps, whatever it is given.
    let doubles = Doubles::default().fields("ages", &["a:text"], &["b:text"], |call, rows, columns| match call {
        2.. => Err(CallError::Trap("too old".to_owned())),
        _ => copy(call, rows, columns),
    });
    let instances = doubles.instances.clone();
    let mut chain = doubles.chain(&["b:text"], false, NullValue::Reject);
    let payloads = batch(&[r#"{"a":"0"}"#, r#"{"a":"1"}"#, r#"{"a":"2"}"#]);
    assert!(chain.process(&payloads).is_ok() && chain.process(&payloads).is_ok());
    let error = chain.process(&payloads).unwrap_err();
    assert_eq!(outcomes(&blame(&mut chain, &payloads, Some(&error)).unwrap()), ["E", "E", "E"]);
    assert!(instances.load(Ordering::Relaxed) > 1);
}

#[test]
fn retry_never_blames() {
    let doubles = Doubles::default().fields("asks", &["a:text"], &["b:text"], |call, rows, columns| {
        match rows > 1 && texts(columns[0]).contains(&Some("1".to_owned())) {
            true => Err(CallError::Retry("the lookup is not ready".to_owned())),
            false => copy(call, rows, columns),
        }
    });
    let calls = doubles.calls.clone();
    let mut chain = doubles.chain(&["b:text"], false, NullValue::Reject);
    let payloads = batch(&[r#"{"a":"0"}"#, r#"{"a":"1"}"#, r#"{"a":"2"}"#]);
    let error = chain.process(&payloads).unwrap_err();
    assert!(matches!(&error, Error::Retry { stage, reason } if stage == "asks" && reason == "the lookup is not ready"));
    let before = calls.load(Ordering::Relaxed);
    assert!(matches!(blame(&mut chain, &payloads, None), Err(Error::Retry { .. })));
    assert_eq!(calls.load(Ordering::Relaxed) - before, 1, "the search ends at once");
}

/// Traps on the payload `bad`.
fn trapping() -> Doubles {
    Doubles::default().fields("stage", &["a:text"], &["b:text"], |call, rows, columns| {
        match texts(columns[0])[0].as_deref() == Some("bad") {
            true => Err(CallError::Trap("boom".to_owned())),
            false => copy(call, rows, columns),
        }
    })
}

#[test]
fn a_trap_costs_the_instance_and_no_more() {
    let doubles = trapping();
    let instances = doubles.instances.clone();
    let mut chain = doubles.chain(&["b:text"], false, NullValue::Reject);
    let good = batch(&[r#"{"a":"good"}"#]);
    assert!(chain.process(&good).is_ok());
    assert!(chain.process(&batch(&[r#"{"a":"bad"}"#])).is_err());
    assert!(chain.process(&good).is_ok());
    assert_eq!(instances.load(Ordering::Relaxed), 2);
}

#[test]
fn where_one_has_trapped_the_next_place_is_taken_by_an_instance_that_is_there() {
    let doubles = trapping();
    let instances = doubles.instances.clone();
    let mut chain = doubles.chain(&["b:text"], false, NullValue::Reject);
    let (good, bad) = (batch(&[r#"{"a":"good"}"#]), batch(&[r#"{"a":"bad"}"#]));
    let made = || instances.load(Ordering::Relaxed);
    chain.restock();
    assert_eq!(made(), 1, "who never traps needs none");
    for traps in 1..4 {
        assert!(chain.process(&bad).is_err());
        let before = made();
        assert!(chain.process(&good).is_ok());
        assert_eq!(made() - before, u64::from(traps == 1), "only the first one is waited for");
        chain.restock();
        chain.restock();
        assert_eq!(made() - before, if traps == 1 { 2 } else { 1 }, "one is in reserve");
    }
}
