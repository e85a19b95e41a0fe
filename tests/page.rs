//! The page in a real Chromium, over a pipeline that runs.

#[path = "support/browser.rs"]
mod browser;
#[path = "support/http.rs"]
#[allow(dead_code, reason = "each class of test uses a part of it")]
mod http;
#[path = "support/running.rs"]
#[allow(dead_code, reason = "each class of test uses a part of it")]
mod running;
mod support;

use browser::Browser;
use running::{Pipeline, Running};
use support::{skip_or_panic, wait_for};

#[test]
fn the_page_shows_what_the_api_says_and_follows_it() {
    let pipeline = Pipeline::of_users(40);
    let host = pipeline.run();
    let Some(mut page) = Browser::open(&format!("http://{}/", host.address), 1280, 900) else {
        return skip_or_panic("no Chromium is installed: the page was not opened");
    };
    let status = wait_for("all users to be delivered", || {
        Some(http::get(host.address, "/api/status").json()).filter(|status| status["totals"]["emitted"] == 40)
    });
    page.wait_for("document.getElementById('link').dataset.link === 'live'");
    page.wait_for("document.getElementById('total').textContent === '40'");
    assert_eq!(page.eval("document.querySelectorAll('#latest-body tr').length"), status["latest"].as_array().unwrap().len());
    assert_eq!(page.eval("document.getElementById('pipeline').textContent"), "plain");
    assert_eq!(page.eval("document.querySelectorAll('#flow > li').length"), 3, "source, topic, sink");
    // What is wider than the window on a small telephone.
    page.call(
        "Emulation.setDeviceMetricsOverride",
        serde_json::json!({ "width": 360, "height": 740, "deviceScaleFactor": 1, "mobile": true }),
    );
    page.wait_for("innerWidth === 360");
    assert_eq!(page.eval("document.documentElement.scrollWidth <= 360"), true);

    let address = host.address;
    assert!(host.terminate().success());
    page.wait_for("document.getElementById('link').dataset.link === 'lost'");
    let again = Running::start(&pipeline.file(), &["--port", &address.port().to_string()]);
    assert_eq!(again.address, address);
    page.wait_for("document.getElementById('link').dataset.link === 'live'");
}

#[test]
fn a_record_cannot_run_code_in_the_page() {
    let id = "6f0ee4ad-4f61-4d1b-9f63-8b0b6a3b5a10";
    let payload = format!(
        r#"{{"login":{{"uuid":"{id}"}},"email":"<img src=x onerror=\"document.title='owned'\"><script>document.title='owned'</script>"}}"#
    );
    let pipeline = Pipeline::of_payloads(&[&payload]);
    let host = pipeline.run();
    wait_for("the row", || Some(()).filter(|()| http::get(host.address, "/api/status").json()["latest"][0]["id"] == id));
    let Some(mut page) = Browser::open(&format!("http://{}/", host.address), 1280, 900) else {
        return skip_or_panic("no Chromium is installed: the page was not opened");
    };
    page.wait_for("document.getElementById('link').dataset.link === 'live' && document.querySelector('#latest-body td:nth-child(2)').title !== ''");
    assert_eq!(page.eval("document.querySelectorAll('#latest img, #latest script').length"), 0);
    assert_eq!(page.eval("document.title.includes('owned')"), false);
    assert_eq!(page.eval("document.querySelector('#latest-body td:nth-child(2)').textContent.startsWith('<img src=x')"), true);
    // The policy is in force: an inline handler that got into the page would not run either.
    page.eval("document.body.insertAdjacentHTML('beforeend', '<img src=/nothing onerror=\"document.title=\\'owned\\'\">')");
    page.wait_for("document.images[document.images.length - 1].complete");
    assert_eq!(page.eval("document.title.includes('owned')"), false);
}
