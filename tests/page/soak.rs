//! A page that stays open needs no more memory as time goes by. `TIDEMILL_SOAK_MINUTES` says for how long it is watched.

use std::time::{Duration, Instant};

use crate::hosted::Hosted;

/// The heap may breathe; what is kept of each update would be more than that.
const HEAP_GROWTH_MAX: u64 = 1 << 20;
const NODES_GROWTH_MAX: u64 = 500;

#[test]
fn memory_stays_flat_while_updates_come() {
    let hosted = Hosted::changed(|_, text| text.replace("every = \"0s\"", "every = \"50ms\"").replace("records = 300\n", ""));
    let minutes = std::env::var("TIDEMILL_SOAK_MINUTES").ok().map(|text| text.parse::<f64>().expect("a number of minutes"));
    let watched = Duration::from_secs_f64(minutes.unwrap_or(1.0) * 60.0);
    let Some(mut page) = hosted.open("live") else { return };
    page.eval("window.updates = 0; new MutationObserver(() => window.updates++).observe(document.querySelector('title'), { childList: true })");
    let tabs = Hosted::tabs(&mut page);
    let updates = |page: &mut crate::browser::Browser, more: u64| {
        let from = page.eval("window.updates").as_u64().unwrap();
        page.wait_for(&format!("window.updates >= {}", from + more));
    };
    let all_tabs = |page: &mut crate::browser::Browser| {
        for tab in &tabs {
            page.eval(&format!("document.getElementById('tab-{tab}').click()"));
            if tab == "pipeline" {
                page.wait_for("document.querySelector('[data-part=\"stage enrich\"].act')");
                page.eval("document.querySelector('[data-part=\"stage enrich\"]').dispatchEvent(new MouseEvent('click'))");
            }
            updates(page, 4);
        }
    };
    // Lists grow to what they show at most.
    hosted.until("as many polls as are shown", |status| status["source"]["polls"].as_u64() > Some(200));
    for _ in 0..3 {
        all_tabs(&mut page);
    }
    let (heap, nodes) = page.memory();
    let (began, before) = (Instant::now(), page.eval("window.updates").as_u64().unwrap());
    while began.elapsed() < watched {
        all_tabs(&mut page);
    }
    let (heap_after, nodes_after) = page.memory();
    let seen = page.eval("window.updates").as_u64().unwrap() - before;
    eprintln!("{seen} updates in {:?}: heap {heap} → {heap_after} bytes, nodes {nodes} → {nodes_after}", began.elapsed());
    assert!(heap_after < heap + HEAP_GROWTH_MAX, "the heap grew from {heap} to {heap_after} bytes over {seen} updates");
    assert!(nodes_after < nodes + NODES_GROWTH_MAX, "the nodes grew from {nodes} to {nodes_after} over {seen} updates");
    assert_eq!(page.faults, Vec::<String>::new());
}
