//! Runs: the polls are those of the API, and the brake works.

use crate::hosted::{Hosted, grouped};

#[test]
fn polls_are_listed_and_the_source_can_be_held() {
    let hosted = Hosted::changed(|_, text| text.replace("every = \"0s\"", "every = \"1h\""));
    hosted.until("the first poll", |status| status["totals"]["emitted"] == 30);
    let Some(mut page) = hosted.open("runs") else { return };
    page.wait_for("document.querySelectorAll('.runs tbody tr').length === 1");
    let run = &hosted.api("/api/runs")[0];
    let cells = page.eval("[...document.querySelectorAll('.runs tbody td')].map(one => one.textContent)");
    assert_eq!(cells[1], run["what"]);
    assert_eq!(cells[2], grouped(&run["records"]));
    assert_eq!(cells[7], "ok");

    page.click_text("#runs-panel button", "Poll now");
    page.wait_for("document.querySelectorAll('.runs tbody tr').length === 2");
    page.click_text("#runs-panel button", "Pause");
    page.wait_for("document.querySelector('.schedule .word').textContent === 'paused'");
    assert_eq!(hosted.api("/api/status")["source"]["state"], "paused");
    page.click_text("#runs-panel button", "Resume");
    page.wait_for("document.querySelector('.schedule .word').textContent !== 'paused'");
    assert_eq!(page.faults, Vec::<String>::new());
}
