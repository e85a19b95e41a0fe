//! Runs: the polls are those of the API, and the brake works.

use crate::hosted::{Hosted, grouped};

#[test]
fn a_cron_schedule_tells_its_next_fire_and_a_refused_poll_its_status() {
    let at = crate::safety::refusing("not today");
    let hosted = Hosted::changed(|dir, text| {
        std::fs::write(dir.join("sample.json"), crate::safety::user("eve@example.com".to_owned())).unwrap();
        let (head, rest) = text.split_once("[source]\n").unwrap();
        let (_, rest) = rest.split_once("\n\n").unwrap();
        let source = format!(
            "[source]\nkind = \"http\"\nurl = \"http://{at}/\"\nsample = \"sample.json\"\ncron = \"30 4 1 1 *\"\nevery = \"10s\"\nfor = \"5m\"\n\n"
        );
        format!("{head}{source}{rest}")
    });
    let Some(mut page) = hosted.open("runs") else { return };
    page.wait_for("document.querySelector('.schedule').innerText.includes('04:30:00')");
    let schedule = page.text(".schedule");
    assert!(schedule.contains("1 Jan") && schedule.contains("30 4 1 1 *, for 5 min: every 10 s"), "{schedule}");
    // A poll that is given up was answered, and says how.
    page.click_text("#runs-panel button", "Poll now");
    page.wait_for("document.querySelector('.schedule .word').textContent === 'backing off'");
    page.click_text("#runs-panel button", "Pause");
    page.wait_for("document.querySelectorAll('.runs tbody tr.bad').length === 1");
    assert_eq!(page.text(".runs tbody td:nth-child(5)"), "500");
    assert!(page.text(".runs tbody td:nth-child(8)").contains("not today"));
}

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
    let schedule = page.text(".schedule");
    // Rounded: an hour less what has passed since the poll.
    let next = schedule.contains("in 1 h") || schedule.contains("in 59 min");
    assert!(schedule.contains("every 1 h") && next, "{schedule}");

    page.click_text("#runs-panel button", "Poll now");
    page.wait_for("document.querySelectorAll('.runs tbody tr').length === 2");
    page.click_text("#runs-panel button", "Pause");
    page.wait_for("document.querySelector('.schedule .word').textContent === 'paused'");
    assert_eq!(hosted.api("/api/status")["source"]["state"], "paused");
    page.click_text("#runs-panel button", "Resume");
    page.wait_for("document.querySelector('.schedule .word').textContent !== 'paused'");
    assert_eq!(page.faults, Vec::<String>::new());
}
