//! Guide: its numbers are the host's, and the record that it follows came through.

use crate::hosted::{Hosted, grouped};

#[test]
fn the_guide_shows_this_hosts_numbers_and_follows_a_real_record() {
    let hosted = Hosted::changed(|_, text| text.replace("every = \"0s\"", "every = \"200ms\"").replace("records = 300\n", ""));
    let Some(mut page) = hosted.open("guide") else { return };
    page.wait_for("document.querySelectorAll('.steps > li').length === 5");
    hosted.change("/api/source/pause");
    let status = hosted.until("the end of what was fetched", |status| {
        status["source"]["state"] == "paused" && status["totals"]["emitted"] == status["source"]["records"]
    });
    let all = grouped(&status["source"]["records"]);
    page.wait_for(&format!("document.querySelector('[data-part=sinks] b').textContent === '{all}'"));
    assert_eq!(page.text("[data-part=source] b"), all);
    assert_eq!(page.text("[data-part=stages] b"), "2");
    assert_eq!(page.eval("document.querySelectorAll('.shop svg').length"), 5);
    // The one that is followed stands in the table with what its last step shows.
    let step = |name: &str| {
        format!("[...document.querySelectorAll('.wrote dt')].find(one => one.textContent === '{name}').nextSibling.textContent")
    };
    let (id, name) = (page.eval(&step("id")), page.eval(&step("full_name")));
    let query = format!("SELECT full_name, 1 FROM \"shop.users\" WHERE id = '{}'", id.as_str().unwrap());
    assert_eq!(hosted.sql(&query), [(name.as_str().unwrap().to_owned(), 1)]);
    assert_eq!(page.faults, Vec::<String>::new());
}
