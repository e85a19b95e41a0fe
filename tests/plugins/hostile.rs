//! Guests that trap, spin, allocate, wait and lie: none hurts the host, and a fresh instance takes over (invariant 7).

use std::time::{Duration, Instant};

use tidemill::config::plan::Limits;
use tidemill::plugin::{CallError, FieldsOutcome, Instance, InstanceConfig, StartError};
use tidemill::record::{Kind, Rejection, Values};

use super::rows;
use crate::support::guests;

const FAULT: &str = "tests/guests/fault";

fn config(settings: &[(&str, &str)]) -> InstanceConfig {
    InstanceConfig {
        stage: "fault".to_owned(),
        settings: settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
        limits: Limits { memory_bytes: 32 << 20, batch_time: Duration::from_millis(200), ..Limits::default() },
        ..InstanceConfig::default()
    }
}

fn instance() -> Instance {
    guests::plugin(FAULT).instantiate(&config(&[])).expect("the guest starts")
}

/// Tells the guest what to do with each record.
fn tell(instance: &mut Instance, what: &[&str]) -> Result<FieldsOutcome, CallError> {
    let key = rows::nothing(Kind::Bytes, what.len());
    let payload = rows::nothing(Kind::Text, what.len());
    instance.process_fields(what.len() as u32, &[&rows::text(what), &key, &payload])
}

#[test]
fn outcomes_are_kept_apart_by_row() {
    let mut instance = instance();
    let outcome = tell(&mut instance, &["ok", "drop", "reject", "delete", "ok", "reject"]).expect("an outcome");
    assert_eq!(outcome.dropped, [1]);
    assert_eq!(outcome.deleted, [3]);
    let rejection = |row| Rejection { row, reason: "told to reject".to_owned() };
    assert_eq!(outcome.rejected, [rejection(2), rejection(5)]);
    let Values::Text(did) = &outcome.columns[0].values else { panic!("`did` is text") };
    assert_eq!((did.get(0), did.get(3), did.get(4)), (&b"ok"[..], &b"delete"[..], &b"ok"[..]));
}

#[test]
fn a_batch_may_be_empty() {
    let outcome = tell(&mut instance(), &[]).expect("an outcome");
    assert!(outcome.columns.iter().all(|column| column.rows() == 0));
}

#[test]
fn a_required_field_that_is_left_empty_rejects_its_row_only() {
    let outcome = tell(&mut instance(), &["ok", "null", "reject", "ok"]).expect("an outcome");
    let reasons: Vec<_> = outcome.rejected.iter().map(|rejection| (rejection.row, rejection.reason.as_str())).collect();
    assert_eq!(reasons, [(1, "the plugin left `did` empty"), (2, "told to reject")]);
}

#[test]
fn retry_and_failed_leave_the_instance_alive() {
    let mut instance = instance();
    assert_eq!(tell(&mut instance, &["ok", "retry"]), Err(CallError::Retry("told to retry".to_owned())));
    assert_eq!(tell(&mut instance, &["fail"]), Err(CallError::Failed("told to fail".to_owned())));
    assert!(tell(&mut instance, &["ok"]).is_ok());
}

#[test]
fn a_trap_tells_the_guests_last_words_and_kills_the_instance() {
    let mut instance = instance();
    let Err(CallError::Trap(reason)) = tell(&mut instance, &["ok", "trap"]) else { panic!("a trap") };
    assert!(reason.contains("told to trap") && reason.contains("lib.rs"), "{reason}");
    assert!(matches!(tell(&mut instance, &["ok"]), Err(CallError::Trap(reason)) if reason.contains("dead")));
    assert!(tell(&mut self::instance(), &["ok"]).is_ok(), "a fresh instance takes over");
}

#[test]
fn a_guest_that_spins_is_ended_by_its_cpu_time() {
    let started = Instant::now();
    assert_eq!(tell(&mut instance(), &["spin"]), Err(CallError::OutOfTime(Duration::from_millis(200))));
    assert!(started.elapsed() >= Duration::from_millis(200));
}

/// 200 MiB at once, of the 256 that a stage has that sets no limit.
#[test]
fn one_instruction_over_much_memory_outlasts_its_time_by_little() {
    let limits = Limits { batch_time: Duration::from_millis(200), ..Limits::default() };
    let config = InstanceConfig { limits, ..config(&[]) };
    // Time of the processor, the shortest of three: who else uses the machine's memory makes it longer.
    let over = (0..3).map(|_| {
        let mut instance = guests::plugin(FAULT).instantiate(&config).expect("the guest starts");
        assert_eq!(tell(&mut instance, &["fill"]), Err(CallError::OutOfTime(limits.batch_time)));
        instance.call_time() - limits.batch_time
    });
    let over = over.min().expect("three");
    assert!(over < Duration::from_millis(50), "{over:?}");
}

#[test]
fn a_guest_that_waits_traps_at_once() {
    let Err(CallError::Trap(reason)) = tell(&mut instance(), &["wait"]) else { panic!("a trap") };
    assert!(reason.contains("waits"), "{reason}");
}

#[test]
fn a_guest_that_hoards_memory_is_ended_at_its_limit() {
    assert_eq!(tell(&mut instance(), &["alloc"]), Err(CallError::OutOfMemory(32 << 20)));
}

#[test]
fn an_instance_asks_to_be_recycled_when_it_has_grown() {
    let mut instance = instance();
    assert!(!instance.wants_recycling());
    let before = instance.memory_bytes();
    let calls = (0..30).take_while(|_| !instance.wants_recycling() && tell(&mut instance, &["leak"]).is_ok()).count();
    assert!(instance.wants_recycling(), "after {calls} calls and {} bytes", instance.memory_bytes());
    assert!(instance.memory_bytes() > before && instance.memory_bytes() <= 32 << 20);
}

#[test]
fn an_outcome_that_breaks_the_contract_is_refused_whole() {
    let mut instance = instance();
    let Err(CallError::Malformed(reason)) = tell(&mut instance, &["ok", "malformed", "ok"]) else { panic!("malformed") };
    assert!(reason.contains("rows"), "{reason}");
    assert!(tell(&mut instance, &["ok"]).is_err(), "the instance is dead");
}

#[test]
fn a_guest_cannot_exit_the_host() {
    let Err(CallError::Trap(reason)) = tell(&mut instance(), &["exit"]) else { panic!("a trap") };
    assert!(reason.contains("xit"), "{reason}");
}

#[test]
fn what_a_guest_says_needs_no_runtime_around_it() {
    assert!(tell(&mut instance(), &["log", "print"]).is_ok());
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    assert!(runtime.block_on(async { tell(&mut instance(), &["log", "print"]).is_ok() }));
}

#[test]
fn settings_can_be_refused() {
    let plugin = guests::plugin(FAULT);
    let start = |name, value| plugin.instantiate(&config(&[(name, value)])).map(drop);
    assert_eq!(start("start", "refuse"), Err(StartError::Refused("told to refuse".to_owned())));
    assert!(matches!(start("once", "perhaps"), Err(StartError::Refused(reason)) if reason.contains("once")));
    assert!(matches!(start("strat", "x"), Err(StartError::Refused(reason)) if reason.contains("strat")));
}

#[test]
fn start_is_bounded_too() {
    let plugin = guests::plugin(FAULT);
    let start = |value| plugin.instantiate(&config(&[("start", value)])).map(drop);
    assert!(
        matches!(start("trap"), Err(StartError::Failed(CallError::Trap(reason))) if reason.contains("told to trap in start"))
    );
    assert!(matches!(start("wait"), Err(StartError::Failed(CallError::Trap(reason))) if reason.contains("waits")));
    assert!(matches!(start("spin"), Err(StartError::Failed(CallError::OutOfTime(_)))));
    let mut tight = config(&[]);
    tight.limits.memory_bytes = 64 << 10;
    assert!(matches!(plugin.instantiate(&tight).map(drop), Err(StartError::Failed(CallError::OutOfMemory(_)))));
}
