//! Live: every figure is the API's and the store's, and follows them.

use serde_json::json;

use crate::hosted::{Hosted, grouped};

/// Names and values as the chart of a field has drawn them.
fn drawn(page: &mut crate::browser::Browser, field: &str, marks: &str, name: &str) -> Vec<(String, i64)> {
    let read = format!(
        "[...document.querySelectorAll('#charts [data-field=\"{field}\"] {marks}')].map(one => [one.dataset.{name}, Number(one.dataset.value)])"
    );
    let mut pairs: Vec<(String, i64)> = serde_json::from_value(page.eval(&read)).expect("pairs");
    pairs.sort();
    pairs
}

#[test]
fn figures_charts_and_rows_are_those_of_the_store() {
    let hosted = Hosted::users();
    let status = hosted.until("all users", |status| status["totals"]["emitted"] == 300);
    let Some(mut page) = hosted.open("live") else { return };
    page.wait_for("document.getElementById('total').textContent === '300'");
    assert_eq!(page.text("#dead"), "0");
    assert_eq!(page.text("#lag"), "0");
    assert_eq!(hosted.sql("SELECT 'all', count(*) FROM \"shop.users\""), [("all".to_owned(), 300)]);

    page.wait_for("document.querySelectorAll('#charts > section').length >= 3");
    // A line is drawn once it has a size.
    page.wait_for("document.querySelector('#charts [data-field=registration_year] .dots circle')");
    let store = |query: &str| hosted.sql(query);
    let by = |field: &str| format!("SELECT {field}, count(*) FROM \"shop.users\" GROUP BY 1 ORDER BY 1");
    assert_eq!(drawn(&mut page, "gender", ".ring circle", "name"), store(&by("gender")));
    assert_eq!(
        drawn(&mut page, "registration_year", ".dots circle:not([data-value=\"0\"])", "x"),
        store(&by("registration_year"))
    );
    let mut top = store("SELECT email_provider, count(*) FROM \"shop.users\" GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT 5");
    let shown = drawn(&mut page, "email_provider", ".bars li", "name");
    top.sort();
    let counts = |pairs: &[(String, i64)]| {
        let mut counts: Vec<i64> = pairs.iter().map(|pair| pair.1).collect();
        counts.sort();
        counts
    };
    // Equal counts may stand in either order, so that the last of five may be another name.
    assert_eq!(counts(&shown), counts(&top));
    // Drawn in proportion: the longest bar fills its track.
    let widths =
        page.eval("[...document.querySelectorAll('#charts .bars .track > span')].map(one => parseFloat(one.style.width))");
    assert_eq!(widths[0], 100.0, "{widths}");

    assert_eq!(page.text("#person h4"), status["latest"][0]["full_name"].as_str().unwrap());
    assert_eq!(page.eval("document.querySelectorAll('#latest-body tr').length"), 20);
    let columns = page.eval("[...document.querySelectorAll('#latest-head th')].map(one => one.textContent)");
    let first = page.eval("[...document.querySelectorAll('#latest-body tr:first-child td')].map(one => one.textContent)");
    for (column, cell) in columns.as_array().unwrap().iter().zip(first.as_array().unwrap()) {
        let expected = &status["latest"][0][column.as_str().unwrap()];
        let expected = expected.as_str().map_or_else(|| expected.to_string(), str::to_owned);
        assert_eq!(cell, &json!(expected), "{column}");
    }
    assert_eq!(page.text("#health-word").to_lowercase(), "all well");
    assert_eq!(page.eval("document.querySelectorAll('#parts > li').length"), 5);

    page.click_text("#counts button", "Count the table");
    page.wait_for("document.querySelector('[data-counted=users]').textContent.startsWith('300 rows in users')");
    assert_eq!(page.faults, Vec::<String>::new());
}

#[test]
fn figures_move_by_themselves() {
    let hosted = Hosted::changed(|_, text| text.replace("every = \"0s\"", "every = \"200ms\"").replace("records = 300\n", ""));
    let Some(mut page) = hosted.open("live") else { return };
    let total = "Number(document.getElementById('total').textContent.replaceAll(',', ''))";
    let before = page.eval(total).as_i64().unwrap();
    page.wait_for(&format!("{total} > {}", before + 100));
    page.wait_for("document.querySelector('#rates .line').getAttribute('d')?.split('L').length > 2");
    let row = page.eval("document.querySelector('#latest-body tr').textContent");
    page.wait_for(&format!("document.querySelector('#latest-body tr').textContent !== {row}"));
}

#[test]
fn a_host_that_was_started_again_is_found_again() {
    let mut hosted = Hosted::users();
    hosted.until("all users", |status| status["totals"]["emitted"] == 300);
    let Some(mut page) = hosted.open("live") else { return };
    page.wait_for("document.getElementById('total').textContent === '300'");
    hosted.host.terminate();
    hosted.host.wait();
    page.wait_for("document.body.dataset.link === 'lost' && !document.getElementById('lost').hidden");
    assert!(page.text("#lost").starts_with("Connection lost."), "{}", page.text("#lost"));
    let port = hosted.address.port().to_string();
    let mut command = hosted.pipeline.command(&["run"]);
    command.args(["--port", &port]);
    let _again = crate::support::host::Host::spawn(command);
    page.wait_for("document.body.dataset.link === 'live' && document.getElementById('lost').hidden");
    page.wait_for("document.getElementById('toasts').innerText.includes('started again')");
    page.wait_for("document.getElementById('total').textContent === '300'");
}

#[test]
fn without_javascript_it_shows_how_things_stand() {
    let hosted = Hosted::users();
    let status = hosted.until("all users", |status| status["totals"]["emitted"] == 300);
    let Some(mut page) = crate::browser::Browser::open("about:blank", 900, 900) else {
        return crate::support::skip_or_panic("no Chromium is installed: the page was not opened");
    };
    page.call("Emulation.setScriptExecutionDisabled", json!({ "value": true }));
    page.go(&format!("http://{}/", hosted.address));
    // Without scripts nothing in the page can wait.
    crate::support::wait_for("the page", || Some(()).filter(|()| page.eval("Boolean(document.querySelector('.flow'))") == true));
    assert_eq!(page.text("#total"), grouped(&status["totals"]["emitted"]));
    assert_eq!(page.eval("document.querySelectorAll('.flow .node').length"), 5);
    assert_eq!(page.eval("document.getElementById('tabs').hidden"), true);
    assert_eq!(page.eval("document.querySelectorAll('#latest-body tr').length"), 20);
}
