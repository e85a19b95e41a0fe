//! Pipeline: the graph is the topology that runs, and a stage shows records before and after it.

use serde_json::json;

use crate::hosted::{Hosted, grouped};

#[test]
fn the_graph_has_the_parts_that_run_with_their_figures() {
    let hosted = Hosted::users();
    let status = hosted.until("all users", |status| status["totals"]["emitted"] == 300);
    let Some(mut page) = hosted.open("pipeline") else { return };
    page.wait_for("document.querySelectorAll('.graph .node').length === 6");
    let parts = page.eval("[...document.querySelectorAll('.graph .node')].map(one => one.dataset.part)");
    assert_eq!(parts, json!(["source", "topic", "stage extract", "stage enrich", "sink users", "dead-letters"]));
    let mut value = |part: &str, label: &str| {
        page.eval(&format!(
            "(rows => rows[rows.findIndex(one => one.textContent === '{label}') + 1].textContent)([...document.querySelectorAll('[data-part=\"{part}\"] text')])"
        ))
    };
    assert_eq!(value("source", "records"), "300");
    assert_eq!(value("topic", "end"), "300");
    assert_eq!(value("topic", "waiting"), "0");
    assert_eq!(value("stage enrich", "rejected"), "0");
    assert_eq!(value("sink users", "rows"), grouped(&status["sinks"][0]["rows"]));
    // From each part a way leads to the next, and from each stage one to the dead letters.
    assert_eq!(page.eval("document.querySelectorAll('.edges .still, .edges .moving').length"), 4);
    assert_eq!(page.eval("document.querySelectorAll('.edges .fall').length"), 2);
}
