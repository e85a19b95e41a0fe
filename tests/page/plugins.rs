//! Plugins: what runs, what it may, and what became of a new build.

use serde_json::json;

use crate::hosted::Hosted;

#[test]
fn a_stage_tells_its_contract_limits_and_settings() {
    let hosted = Hosted::users();
    hosted.until("all users", |status| status["totals"]["emitted"] == 300);
    let Some(mut page) = hosted.open("plugins") else { return };
    page.wait_for(
        "document.querySelectorAll('.plugin').length === 2 && document.querySelectorAll('.plugin .facts h4').length >= 10",
    );
    let stages = hosted.api("/api/stages");
    for stage in stages.as_array().unwrap() {
        let card = format!(".plugin[data-stage={}]", stage["name"].as_str().unwrap());
        let digest = page.eval(&format!("document.querySelector('{card} [title]:is(.mono)').title"));
        assert_eq!(digest, stage["digest"]);
        let mut fields = |at: usize| {
            page.eval(&format!("[...document.querySelectorAll('{card} .contract > div')[{at}].querySelectorAll('li .mono')].map(one => one.textContent)"))
        };
        let names = |fields: &serde_json::Value| {
            json!(fields.as_array().unwrap().iter().map(|field| field["name"].clone()).collect::<Vec<_>>())
        };
        assert_eq!(fields(0), names(&stage["contract"]["reads"]));
        assert_eq!(fields(1), names(&stage["contract"]["writes"]));
        assert!(page.text(&card).contains(stage["language"].as_str().unwrap()));
    }
    let enrich = page.text(".plugin[data-stage=enrich]");
    assert!(
        enrich.contains("of 64 MiB")
            && enrich.contains("CPU of the slowest call")
            && enrich.contains("18,30,45,60")
            && enrich.contains("No network"),
        "{enrich}"
    );
}
