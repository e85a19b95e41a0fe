//! What is told of swaps, and what of it a public page and a mask leave out.

use async_trait::async_trait;
use serde_json::{Value, json};
use tidemill::status::mask::Mask;
use tidemill::status::swap::{Candidate, KnownGeneration, Outcome, Receipt, Refusal, Shadow, ShadowExample, Swaps, Wish};
use tidemill::status::view::Showing;

use super::http::get;
use super::{Host, Pipeline, fill};

fn diagnostic() -> Value {
    json!({ "code": "TM070", "severity": "error", "message": "secret", "file": "/secret", "help": ["secret"] })
}

fn receipt() -> Receipt {
    let (reason, diagnostics) = (Some("secret".to_owned()), vec![diagnostic()]);
    Receipt { id: 1, outcome: Outcome::Refused, reason, diagnostics, ..Receipt::default() }
}

#[async_trait]
impl Swaps for Pipeline {
    async fn receipts(&self, limit: usize) -> anyhow::Result<Vec<Receipt>> {
        Ok(vec![receipt(); limit.min(2)])
    }
    async fn generations(&self) -> anyhow::Result<Vec<KnownGeneration>> {
        Ok(vec![KnownGeneration { generation: 2, ..KnownGeneration::default() }])
    }
    fn shadow(&self, stage: &str) -> Option<Shadow> {
        let example = |field: &str| ShadowExample {
            field: field.to_owned(),
            old: "secret".into(),
            new: "another secret".into(),
            ..ShadowExample::default()
        };
        let examples = ["age", "email", "@message", "@outcome"].map(example).into();
        (stage == "extract").then(|| Shadow { stage: stage.to_owned(), differing: 7, examples, ..Shadow::default() })
    }
    async fn wish(&self, stage: &str, wish: Wish) -> Result<Receipt, Refusal> {
        if stage != "extract" {
            return Err(Refusal::NoStage(stage.to_owned()));
        }
        self.note(format!("{wish:?}"));
        if wish == (Wish::RollBack { generation: 4711 }) {
            return Err(Refusal::Conflict("it is not known".to_owned()));
        }
        Ok(receipt())
    }
}

#[test]
fn a_wish_is_passed_on_and_its_receipt_or_its_refusal_comes_back() {
    let host = Host::start();
    let at = |order: &str| format!("/api/stages/extract/{order}");
    assert_eq!(host.change(&at("reload"), "{\"force\": true}").json()["outcome"], "refused");
    assert_eq!(host.change(&at("rollback"), "{\"generation\": 3}").status, 200);
    assert_eq!(host.change(&at("rollback"), "{\"generation\": 4711}").status, 409);
    assert_eq!(host.asked_for(), ["Reload { force: true }", "RollBack { generation: 3 }", "RollBack { generation: 4711 }"]);
    for (order, body, status) in [("rollback", "{}", 400), ("reload", "{\"forse\": true}", 400)] {
        assert_eq!(host.change(&at(order), body).status, status, "{order} {body}");
    }
    assert_eq!(host.change("/api/stages/nobody/promote", "{}").status, 404);
    assert_eq!(get(host.at(), "/api/stages/nobody/shadow").status, 404);
    assert_eq!(get(host.at(), "/api/receipts?limit=1").json().as_array().map(Vec::len), Some(1));
    assert_eq!(get(host.at(), "/api/receipts").json()[0]["reason"], "secret", "whoever may see it is told");
}

#[test]
fn what_swaps_tell_of_records_and_files_is_withheld_from_a_public_page() {
    let host = Host::showing(Showing { mask: Mask::default(), logs: Vec::new(), public: Some(vec!["age".to_owned()]) });
    fill(&host.reporter, 3);
    host.reporter.update(|snapshot| {
        let reason = Some("secret".to_owned());
        snapshot.stages[0].candidate = Some(Candidate { state: "refused".to_owned(), reason, ..Candidate::default() });
        snapshot.file.path = "/secret".to_owned();
        snapshot.file.diagnostics = vec![diagnostic()];
    });
    for path in ["/api/status", "/api/receipts", "/api/generations", "/"] {
        let body = get(host.at(), path).body;
        assert!(!body.contains("secret"), "{path}: {body}");
    }
    let status = get(host.at(), "/api/status").json();
    assert_eq!(status["file"]["diagnostics"], json!([{ "code": "TM070", "severity": "error", "message": "•••" }]));
    assert_eq!(
        (&status["stages"][0]["candidate"]["state"], &status["stages"][0]["candidate"]["reason"]),
        (&json!("refused"), &json!("•••"))
    );
    let receipt = &get(host.at(), "/api/receipts").json()[0];
    assert_eq!((&receipt["outcome"], &receipt["reason"]), (&json!("refused"), &json!("•••")));
    let shadow = get(host.at(), "/api/stages/extract/shadow").json();
    let shown: Vec<&Value> = shadow["examples"].as_array().unwrap().iter().map(|example| &example["field"]).collect();
    assert_eq!((&shadow["differing"], shown), (&json!(7), vec![&json!("age")]));
}

#[test]
fn examples_of_masked_fields_are_masked() {
    let host = Host::showing(Showing { mask: Mask::new(vec!["email".to_owned()]), ..Showing::default() });
    let examples = get(host.at(), "/api/stages/extract/shadow").json()["examples"].clone();
    let old: Vec<&Value> = examples.as_array().unwrap().iter().map(|example| &example["old"]).collect();
    assert_eq!(old, ["secret", "•••", "•••", "secret"]);
}
