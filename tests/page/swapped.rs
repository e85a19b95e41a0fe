//! Other code through the page: looked for, refused, let in by a person, gone back from, tried again.

use std::fs;

use crate::browser::Browser;
use crate::hosted::jobs;
use crate::support::wait_for;

/// Waits until the stage's card shows this generation, and nothing that is on its way into it.
fn shows(page: &mut Browser, generation: u64) {
    page.wait_for(&format!(
        "document.querySelector('.plugin .pill.accent')?.textContent === 'generation {generation}' && document.querySelector('.plugin .candidate').hidden"
    ));
}

fn state(page: &mut Browser, state: &str) {
    page.wait_for(&format!("document.querySelector('.plugin h3 + .pill, .plugin h3 .pill')?.textContent === '{state}'"));
}

#[test]
fn a_broken_build_shows_its_error_and_a_good_one_goes_live() {
    let (mut scene, hosted) = jobs(&[("a", "keep"), ("b", "fix")]);
    let Some(mut page) = hosted.open("plugins") else { return };
    fs::write(scene.dir.path().join("triage.wasm"), b"this is no component").unwrap();
    page.click_text(".plugin .actions button", "Reload");
    page.wait_for("document.querySelector('.receipts > li[data-tone=bad]')");
    let receipt = &hosted.api("/api/receipts")[0];
    assert_eq!(receipt["outcome"], "refused");
    assert!(page.text(".receipts > li").contains(receipt["reason"].as_str().unwrap()), "{}", page.text(".receipts"));
    state(&mut page, "refused");
    assert!(page.text(".plugin .candidate").contains("generation 1 goes on"));

    scene.swap("0001");
    page.click_text(".plugin .actions button", "Reload");
    shows(&mut page, 2);
    wait_for("the new code", || Some(()).filter(|()| hosted.api("/api/stages")[0]["generation"] == 2));

    page.click_text(".plugin .actions button", "Roll back");
    page.click_text("dialog button", "Generation 1");
    page.wait_for("document.querySelector('.plugin .pill.accent')?.textContent === 'generation 3'");
    let generations = hosted.api("/api/generations");
    assert_eq!(generations[0]["stages"][0]["digest"], generations[2]["stages"][0]["digest"]);
    // What was gone back from lies there: it is kept away until somebody wants it again.
    state(&mut page, "quarantined");
    page.click_text(".plugin .candidate button", "Try it again");
    shows(&mut page, 4);
    assert_eq!(page.faults, Vec::<String>::new());
}

#[test]
fn what_waits_is_promoted_or_discarded_by_a_person() {
    let (mut scene, hosted) = jobs(&[("a", "keep")]);
    let text = fs::read_to_string(&scene.pipeline.file).unwrap();
    let plugin = "plugin = \"triage.wasm\"\n";
    fs::write(&scene.pipeline.file, text.replace(plugin, &format!("{plugin}swap = {{ mode = \"manual\" }}\n"))).unwrap();
    let Some(mut page) = hosted.open("plugins") else { return };
    let wait = |page: &mut Browser| {
        page.click_text(".plugin .actions button", "Reload");
        state(page, "waiting");
    };
    scene.swap("0001");
    wait(&mut page);
    page.click_text(".plugin .candidate button", "Discard");
    state(&mut page, "quarantined");
    assert_eq!(hosted.api("/api/stages")[0]["generation"], 1);
    scene.swap("0002");
    wait(&mut page);
    page.click_text(".plugin .candidate button", "Promote");
    shows(&mut page, 2);
    let outcomes: Vec<String> =
        hosted.api("/api/receipts").as_array().unwrap().iter().map(|receipt| receipt["outcome"].to_string()).collect();
    assert_eq!(outcomes, ["\"applied\"", "\"waiting\"", "\"discarded\"", "\"waiting\""]);
    assert_eq!(page.faults, Vec::<String>::new());
}
