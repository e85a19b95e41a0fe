//! Logs: the lines are the API's, filters narrow them, and a download is the log.

use crate::hosted::Hosted;

#[test]
fn lines_are_shown_filtered_and_downloaded() {
    // A source that nobody answers for backs off and says so.
    let hosted = Hosted::changed(|dir, text| {
        std::fs::write(dir.join("sample.json"), crate::safety::user("eve@example.com".to_owned())).unwrap();
        let (head, rest) = text.split_once("[source]\n").unwrap();
        let (_, rest) = rest.split_once("\n\n").unwrap();
        format!("{head}[source]\nkind = \"http\"\nurl = \"http://127.0.0.1:1/\"\nsample = \"sample.json\"\n\n{rest}")
    });
    let Some(mut page) = hosted.open("logs") else { return };
    page.wait_for("document.querySelectorAll('.log li').length > 0");
    let lines = hosted.api("/api/logs")["lines"].clone();
    let all = lines.as_array().unwrap();
    assert!(!all.is_empty());
    page.wait_for(&format!("document.querySelectorAll('.log li').length >= {}", all.len()));
    for line in all {
        let shown = page.text(&format!(".log li[data-number=\"{}\"] .text", line["number"]));
        assert_eq!(shown, line["text"].as_str().unwrap().trim());
    }
    let downloaded = page.eval("fetch(document.querySelector('#logs-panel a.do').href).then(answer => answer.text())");
    let downloaded = downloaded.as_str().unwrap();
    assert!(downloaded.lines().count() >= all.len(), "{downloaded}");
    for line in all {
        assert!(downloaded.contains(line["text"].as_str().unwrap()), "{line}");
    }

    // A text that one line has.
    let wanted = all[0]["text"].as_str().unwrap();
    page.click("#logs-panel input[type=search]");
    page.write(wanted);
    page.wait_for(&format!(
        "[...document.querySelectorAll('.log .text')].every(one => one.textContent.includes({}))",
        all[0]["text"]
    ));
    page.write(" which nobody said");
    page.wait_for("document.querySelectorAll('.log li').length === 0");
    assert!(page.eval("document.querySelector('#logs-panel a.do').href").as_str().unwrap().contains("nobody"));
}
