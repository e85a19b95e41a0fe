//! Logs: the lines are the API's, filters narrow them, and a download is the log.

use std::fs;

use serde_json::Value;

use crate::hosted::Hosted;
use crate::support::wait_for;

/// A line as a file has it behind the time.
fn plain(line: &Value) -> String {
    let text = |name: &str| line[name].as_str().unwrap().to_owned();
    format!("{:>5} {} {}: {}", text("level"), text("component"), text("from"), text("text"))
}

#[test]
fn lines_are_shown_filtered_and_downloaded() {
    // A source that nobody answers for backs off and says so.
    let hosted = Hosted::changed(|dir, text| {
        fs::write(dir.join("sample.json"), crate::safety::user("eve@example.com".to_owned())).unwrap();
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
    // What the link gives is the log, line by line.
    let folder = tempfile::tempdir().unwrap();
    page.keep_downloads(folder.path());
    page.click("#logs-panel a.do");
    let downloaded = wait_for("the downloaded file", || fs::read_to_string(folder.path().join("tidemill.log")).ok());
    let written = hosted.api("/api/logs?limit=5000")["lines"].clone();
    let written: Vec<String> = written.as_array().unwrap().iter().map(plain).collect();
    let downloaded: Vec<&str> = downloaded.lines().map(|line| line.split_once(' ').unwrap().1).collect();
    assert!(downloaded.len() >= all.len(), "{} lines of {}", downloaded.len(), all.len());
    // It may have grown since.
    assert_eq!(downloaded, written[..downloaded.len()]);

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
