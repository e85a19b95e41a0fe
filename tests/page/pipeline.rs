//! Pipeline: the graph is the topology that runs, and a stage shows records before and after it.

use serde_json::json;

use crate::hosted::{Hosted, grouped};

#[test]
fn the_graph_has_the_parts_that_run_with_their_figures() {
    let hosted = Hosted::users();
    // How long all of them took is told a moment later.
    let status = hosted.until("all users", |status| status["sinks"][0]["write-ms"]["of"] == 300);
    assert_eq!(status["sinks"][0]["rows"], 300);
    let times = ["p50", "p95", "p99", "max"].map(|name| status["sinks"][0]["write-ms"][name].as_f64().expect("a time"));
    assert!(times[0] > 0.0 && times.is_sorted() && times[3] < 600_000.0, "{times:?} ms");
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
    let shown = value("sink users", "p50 · p99");
    let shown: Vec<f64> = shown.as_str().expect("text").split(" · ").map(milliseconds).collect();
    assert!(
        shown.iter().zip([times[0], times[2]]).all(|(shown, real)| (shown - real).abs() <= 0.06 * real),
        "{shown:?} of {times:?}"
    );
    // From each part a way leads to the next, and from each stage one to the dead letters.
    assert_eq!(page.eval("document.querySelectorAll('.edges .still, .edges .moving').length"), 4);
    assert_eq!(page.eval("document.querySelectorAll('.edges .fall').length"), 2);
}

/// From a time as the page writes it.
fn milliseconds(text: &str) -> f64 {
    let (number, unit) = text.rsplit_once(' ').expect("a number and its unit");
    let unit = match unit {
        "µs" => 1e-3,
        "ms" => 1.0,
        "s" => 1e3,
        other => panic!("{other} is no unit"),
    };
    number.parse::<f64>().expect("a number") * unit
}

#[test]
fn the_topic_shows_its_partitions() {
    let hosted = Hosted::changed(|_, text| text.replace("[topic]\n", "[topic]\npartitions = 3\n"));
    let status = hosted.until("all users", |status| status["totals"]["emitted"] == 300);
    let Some(mut page) = hosted.open("pipeline") else { return };
    page.wait_for("document.querySelector('[data-part=topic].act')");
    page.eval("document.querySelector('[data-part=topic]').focus()");
    page.press("Enter");
    page.wait_for("document.querySelectorAll('.partitions tbody tr').length === 3");
    for (number, partition) in status["partitions"].as_object().unwrap() {
        let cells = page
            .eval(&format!("[...document.querySelectorAll('[data-partition=\"{number}\"] > *')].map(one => one.textContent)"));
        let (next, end) = (grouped(&partition["next"]), grouped(&partition["end"]));
        let delivered = grouped(&partition["figures"]["emitted"]);
        assert_eq!(cells, json!([number, "this host", "idle", next, end, "0", "1", delivered, "0"]));
    }
    page.click("[aria-label='Partitions of the topic'] button");
    page.wait_for("document.querySelector('[aria-label=\"Partitions of the topic\"]').hidden");
}

#[test]
fn a_stage_shows_records_before_and_after_it() {
    let hosted = Hosted::changed(|_, text| text.replace("every = \"0s\"", "every = \"200ms\"").replace("records = 300\n", ""));
    let Some(mut page) = hosted.open("pipeline") else { return };
    page.wait_for("document.querySelector('[data-part=\"stage enrich\"].act')");
    // By keyboard: a part that can be chosen is a button.
    page.eval("document.querySelector('[data-part=\"stage enrich\"]').focus()");
    page.press("Enter");
    page.wait_for("document.querySelectorAll('.places li').length > 3");
    page.wait_for("document.querySelector('.pair tr[data-field=full_name].changed')");
    page.click_text(".samples button", "Freeze");
    page.wait_for("document.querySelector('.samples [aria-pressed=true]')");
    let changed = page.eval("[...document.querySelectorAll('.pair tr.changed')].map(one => one.dataset.field).sort()");
    assert_eq!(changed, json!(["age_band", "email_provider", "full_name", "registration_year"]));
    let mut cells = |field: &str| {
        page.eval(&format!("[...document.querySelectorAll('.pair tr[data-field={field}] td')].map(one => one.textContent)"))
    };
    let (first, last, full) = (cells("first_name"), cells("last_name"), cells("full_name"));
    assert_eq!(full[1], format!("{} {}", first[0].as_str().unwrap(), last[0].as_str().unwrap()));
    assert_eq!(full[0], "");
    let said = page.text("[aria-label='Before and after'] .lede p");
    assert!(said.contains("are not shown"), "{said}");

    // Frozen, nothing moves; a search narrows.
    let list = "[...document.querySelectorAll('.places b')].map(one => one.textContent).join()";
    let before = page.eval(list);
    let emitted = hosted.api("/api/status")["totals"]["emitted"].as_u64().unwrap();
    hosted.until("more users", |status| status["totals"]["emitted"].as_u64() > Some(emitted + 60));
    assert_eq!(page.eval(list), before);
    let place = page.text(".places [aria-pressed=true] b");
    page.click(".samples input[type=search]");
    page.write(full[1].as_str().unwrap());
    page.wait_for(&format!("document.querySelector('.places b').textContent === '{place}'"));
    page.write(" and nobody else");
    page.wait_for("document.querySelectorAll('.places li').length === 0");
    assert_eq!(page.faults, Vec::<String>::new());
}
