//! Dead letters: grouped, shown with their bytes, replayed into the table, pinned, discarded.

use std::fs;
use std::process::Command;

use serde_json::json;

use crate::hosted::jobs;
use crate::support::host::Host;

#[test]
fn a_replay_moves_what_now_passes_into_the_table() {
    let (mut scene, mut hosted) = jobs(&[("a", "fix"), ("b", "keep"), ("c", "reject"), ("d", "fix"), ("e", "fix")]);
    let Some(mut page) = hosted.open("dead-letters") else { return };
    page.wait_for("document.querySelectorAll('.letters tbody tr').length === 4");
    // The badge comes with the status, the rows with an answer of their own.
    page.wait_for("document.querySelector('#tab-dead-letters .badge').textContent === '4'");
    let groups = hosted.api("/api/dead-letters/groups");
    let shown = page.eval("[...document.querySelectorAll('.groups b')].map(one => Number(one.textContent))");
    let counts: Vec<_> = groups["groups"].as_array().unwrap().iter().map(|group| group["count"].clone()).collect();
    assert_eq!(shown, json!(counts));
    assert_eq!(shown, json!([3, 1]));
    // One group: its own records only.
    page.click(".groups button");
    page.wait_for("document.querySelectorAll('.letters tbody tr').length === 3");
    page.click(".groups button[aria-pressed=true]");
    page.wait_for("document.querySelectorAll('.letters tbody tr').length === 4");

    // With its bytes, as text and as hex; what is sensitive only on demand.
    page.click(".letters tr[data-place=\"0/2\"] .go");
    page.wait_for("document.querySelector('.letter pre.code')?.textContent.includes('reject')");
    assert!(page.text(".letter").contains("job 2 is refused by 0000"));
    assert!(!page.text(".letter pre.code").contains("hunter2"));
    page.click_text(".letter button", "Show the original");
    page.wait_for("document.querySelector('.letter pre.code').textContent.includes('hunter2')");
    page.click_text(".letter button", "hex");
    page.wait_for("document.querySelector('.letter pre.code').textContent.startsWith('00000000  7b 22')");

    // Pinned, the case is in the file, and it holds.
    page.click_text(".letter button", "Pin as test");
    page.wait_for("document.querySelector('dialog pre')?.textContent.includes('[[test]]')");
    page.click_text("dialog button", "Write it");
    page.wait_for("document.getElementById('toasts').innerText.includes('Written to')");
    assert!(fs::read_to_string(&scene.pipeline.file).unwrap().contains("[[test]]"));
    let tested =
        Command::new(env!("CARGO_BIN_EXE_tidemill")).arg("test").arg(&scene.pipeline.file).output().expect("start tidemill");
    assert!(tested.status.success(), "{}", String::from_utf8_lossy(&tested.stdout));

    // A mended plugin, after a restart.
    hosted.host.terminate();
    hosted.host.wait();
    scene.swap("0001");
    let port = hosted.address.port().to_string();
    let mut command = scene.pipeline.command(&["run"]);
    command.args(["--port", &port]);
    hosted.host = Host::spawn(command);
    page.wait_for("document.getElementById('toasts').innerText.includes('started again')");
    page.eval("document.getElementById('toasts').replaceChildren()");
    page.click_text(".tools-row button", "Replay");
    page.wait_for("document.querySelector('dialog h2')?.textContent === '3 of 4 now pass'");
    assert!(page.text("dialog .fails").contains("job 2 is refused by 0001"), "{}", page.text("dialog"));
    assert_eq!(hosted.sql("SELECT id, number FROM \"jobs.done\" ORDER BY id"), [("b".to_owned(), 1)], "a dry run writes nothing");
    page.click_text("dialog button", "Replay 3 records");
    page.wait_for("document.querySelectorAll('.letters tbody tr').length === 1");
    let rows = hosted.sql("SELECT id, number FROM \"jobs.done\" ORDER BY id");
    assert_eq!(rows, [("a", 0), ("b", 1), ("d", 3), ("e", 4)].map(|(id, number)| (id.to_owned(), number)));

    // A selection; then nothing is left.
    page.click(".letters tr[data-place=\"0/2\"] input");
    page.wait_for("document.querySelector('.tools-row').innerText.includes('1 selected record')");
    page.click_text(".tools-row button", "Discard");
    page.click_text("dialog button", "Discard");
    page.wait_for("[...document.querySelectorAll('#dead-letters-panel .empty')].some(one => one.getClientRects().length)");
    assert_eq!(hosted.api("/api/dead-letters/groups")["count"], 0);
    assert_eq!(page.faults, Vec::<String>::new());
}

#[test]
fn what_is_downloaded_is_what_waits() {
    let (_scene, hosted) = jobs(&[("a", "reject"), ("b", "reject"), ("c", "keep")]);
    let Some(mut page) = hosted.open("dead-letters") else { return };
    page.wait_for("document.querySelectorAll('.letters tbody tr').length === 2");
    let text = page.eval("fetch(document.querySelector('.tools-row a').href).then(answer => answer.text())");
    let lines: Vec<serde_json::Value> = text.as_str().unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.iter().map(|line| line["offset"].as_i64()).collect::<Vec<_>>(), [Some(0), Some(1)]);
}
