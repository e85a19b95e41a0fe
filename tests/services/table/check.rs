//! `check --connect` against tables that are not what the file says: a folder per case, with the statements that make them.

use std::path::Path;
use std::process::Command;

use crate::cassandra;
use crate::process::Port;
use crate::support::root;

/// What the verb says, with the address that only this run has left out.
pub fn said(case: &Path, address: &str, verb: &[&str]) -> (i32, String) {
    let file = case.strip_prefix(root()).unwrap_or(case).join("pipeline.toml");
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidemill"));
    command.current_dir(root()).args(verb).arg(file).env("CASSANDRA", address).env("NO_COLOR", "1");
    let output = command.output().expect("start tidemill");
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8(text).expect("text").replace(address, "ADDRESS");
    (output.status.code().expect("it ends by itself"), text)
}

#[test]
fn every_difference_between_file_and_table_is_told_with_its_place_and_a_way_out() {
    let Some(cassandra) = cassandra::shared() else { return };
    let bless = std::env::var_os("BLESS").is_some();
    let cases = root().join("tests/services/table/check");
    let mut cases: Vec<_> = std::fs::read_dir(cases).expect("the cases").map(|case| case.expect("a case").path()).collect();
    cases.sort();
    assert!(cases.len() >= 5);
    for case in cases {
        let schema = std::fs::read_to_string(case.join("schema.cql")).unwrap_or_default();
        for statement in schema.split(';').map(str::trim).filter(|statement| !statement.is_empty()) {
            cassandra.execute(statement);
        }
        let (exit, text) = said(&case, &cassandra.address(), &["check", "--connect"]);
        let expected = case.join("expected.txt");
        if bless {
            std::fs::write(&expected, &text).expect("write what is expected");
        }
        assert_eq!(text, std::fs::read_to_string(&expected).unwrap_or_default(), "{}", case.display());
        let differs = text.contains("error[");
        assert_eq!(exit, if differs { 2 } else { 0 }, "{text}");
        // The doctor says the same.
        let (_, text) = said(&case, &cassandra.address(), &["doctor"]);
        assert_eq!((text.contains("✗ connections "), text.contains("✓ connections ")), (differs, !differs), "{text}");
        // Without asking, nothing of it is known.
        assert_eq!(said(&case, &cassandra.address(), &["check"]).0, 0, "{}", case.display());
    }
}

#[test]
fn a_host_that_does_not_answer_is_told_by_check_and_doctor() {
    // Bound and not listening: nobody answers there.
    let port = Port::choose();
    let address = format!("127.0.0.1:{}", port.number());
    let case = root().join("tests/services/table/check/fits");
    let (exit, text) = said(&case, &address, &["check", "--connect"]);
    assert_eq!(exit, 3, "{text}");
    assert!(text.contains("error[TM080]: no host of sink `users` answers: ") && text.contains("pipeline.toml:11:6"), "{text}");
    let (exit, text) = said(&case, &address, &["doctor"]);
    assert_eq!(exit, 3, "{text}");
    assert!(text.contains("✗ connections    ") && text.contains("no host of sink `users` answers"), "{text}");
}
