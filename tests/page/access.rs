//! By keyboard and for screen readers.

use std::path::PathBuf;
use std::process::Command;

use serde_json::{Value, json};

use crate::hosted::{Hosted, jobs};
use crate::support::skip_or_panic;

#[test]
fn tabs_and_dialogs_are_worked_by_keyboard() {
    let hosted = Hosted::users();
    let Some(mut page) = hosted.open("live") else { return };
    let tabs = Hosted::tabs(&mut page);
    page.press("Tab");
    assert_eq!(page.eval("document.activeElement.className"), "skip", "the first stop leads past the top");
    page.eval("document.getElementById('tab-live').focus()");
    for tab in &tabs[1..] {
        page.press("ArrowRight");
        page.wait_for(&format!("document.activeElement.id === 'tab-{tab}' && !document.getElementById('{tab}-panel').hidden"));
    }
    page.press("ArrowRight");
    page.wait_for("document.activeElement.id === 'tab-live'");
    page.press("End");
    page.wait_for("document.activeElement.id === 'tab-guide'");
    page.press("Home");
    page.wait_for("document.activeElement.id === 'tab-live'");
    // One stop for all tabs.
    assert_eq!(page.eval("document.querySelectorAll('#tabs [tabindex=\"0\"]').length"), 1);
    let ring = "getComputedStyle(document.activeElement).outlineStyle";
    assert_eq!(page.eval(ring), "solid", "what has the focus shows it");

    page.eval("document.querySelector('#tools button').focus()");
    page.press("Enter");
    page.wait_for("document.querySelector('dialog[open]')");
    page.press("Escape");
    page.wait_for("!document.querySelector('dialog')");
    assert_eq!(page.eval("document.activeElement === document.querySelector('#tools button')"), true, "the focus returns");
}

/// The checker's source, fetched by npm as a tool of this test. `None`: it cannot be had here.
fn axe() -> Option<String> {
    let dir = PathBuf::from(concat!(env!("CARGO_TARGET_TMPDIR"), "/axe"));
    let file = dir.join("node_modules/axe-core/axe.min.js");
    if !file.is_file() {
        std::fs::create_dir_all(&dir).ok()?;
        let install = ["install", "--no-save", "--ignore-scripts", "--no-audit", "--no-fund", "axe-core@4.14.1"];
        let _ = Command::new("npm").args(install).current_dir(&dir).output();
    }
    std::fs::read_to_string(file).ok()
}

#[test]
fn no_tab_has_a_serious_obstacle() {
    let Some(axe) = axe() else { return skip_or_panic("axe-core could not be had from npm: the page was not checked by it") };
    let (_scene, hosted) = jobs(&[("a", "keep"), ("b", "reject"), ("c", "fix"), ("d", "keep")]);
    let Some(mut page) = hosted.open("live") else { return };
    page.eval(&format!("{{ {axe} }}; 0"));
    let tabs = Hosted::tabs(&mut page);
    let mut found = Vec::new();
    for dark in [false, true] {
        page.dark(dark);
        for tab in &tabs {
            page.click(&format!("#tab-{tab}"));
            match tab.as_str() {
                "pipeline" => {
                    page.wait_for("document.querySelector('[data-part=\"stage triage\"].act')");
                    page.eval("document.querySelector('[aria-label=\"Before and after\"]').hidden && document.querySelector('[data-part=\"stage triage\"]')?.dispatchEvent(new MouseEvent('click'))")
                }
                "dead-letters" => {
                    page.click(".letters tbody .go");
                    page.wait_for("document.querySelector('.letter pre.code')?.textContent");
                    Value::Null
                }
                "plugins" => {
                    page.wait_for("document.querySelector('.plugin .facts h4')");
                    Value::Null
                }
                _ => Value::Null,
            };
            // What fades in is measured when it has.
            page.wait_for("document.getAnimations().every(one => one.playState !== 'running' || one.effect.getTiming().iterations === Infinity)");
            let violations = page.eval("axe.run({ resultTypes: ['violations'] }).then(told => told.violations.filter(one => ['serious', 'critical'].includes(one.impact)).map(one => ({ id: one.id, help: one.help, nodes: one.nodes.slice(0, 5).map(node => node.html.slice(0, 200) + ' ' + (node.any[0]?.message || '')) })))");
            if violations != json!([]) {
                found.push(json!({ "tab": tab, "dark": dark, "violations": violations }));
            }
        }
    }
    assert!(found.is_empty(), "{}", serde_json::to_string_pretty(&found).unwrap());
}
