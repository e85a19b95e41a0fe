//! Widths and themes; what the page weighs; pictures of every tab for people to look at.

use std::fs;

use crate::hosted::Hosted;
use crate::http::raw;
use crate::support::root;

#[test]
fn every_tab_fits_a_telephone_and_a_wide_screen_and_is_pictured() {
    let hosted = Hosted::changed(|_, text| text.replace("records = 300\n", "").replace("every = \"0s\"", "every = \"500ms\""));
    let Some(mut page) = hosted.open("live") else { return };
    hosted.until("some users", |status| status["totals"]["emitted"].as_u64() > Some(200));
    let folder = root().join("target/screenshots");
    fs::create_dir_all(&folder).expect("make the folder for pictures");
    let tabs = Hosted::tabs(&mut page);
    for (name, width, height, dark) in [("wide", 1360, 900, false), ("narrow", 360, 740, false), ("dark", 1360, 900, true)] {
        page.size(width, height);
        page.dark(dark);
        page.wait_for(&format!("innerWidth === {width}"));
        for tab in &tabs {
            page.eval(&format!("document.getElementById('tab-{tab}').click()"));
            page.wait_for(match tab.as_str() {
                "live" => "document.querySelectorAll('#charts > section').length > 2",
                "pipeline" => "(document.querySelector('[aria-label=\"Before and after\"]').hidden && document.querySelector('[data-part=\"stage enrich\"]').dispatchEvent(new MouseEvent('click')), document.querySelectorAll('.places li').length > 2)",
                "plugins" => "document.querySelectorAll('.plugin .facts h4').length >= 10",
                "dead-letters" => "[...document.querySelectorAll('#dead-letters-panel .empty')].some(one => one.getClientRects().length)",
                "runs" => "document.querySelectorAll('.runs tbody tr').length > 3",
                "logs" => "document.querySelector('#logs-panel .logbox')",
                _ => "document.querySelectorAll('.steps > li').length === 5",
            });
            let overflow = page.eval("document.documentElement.scrollWidth - innerWidth");
            assert!(overflow.as_i64() <= Some(0), "{tab} is {overflow} too wide at {width}");
            page.eval("scrollTo(0, 0)");
            fs::write(folder.join(format!("{tab}-{name}.png")), page.screenshot()).expect("keep a picture");
        }
    }
    let light = "getComputedStyle(document.body).backgroundColor";
    let dark = page.eval(light);
    page.dark(false);
    page.wait_for(&format!("{light} !== {dark}"));
    assert_eq!(page.faults, Vec::<String>::new());
}

#[test]
fn all_of_the_page_is_less_than_400_kb() {
    let hosted = Hosted::users();
    let files =
        fs::read_dir(root().join("host/src/status/page")).unwrap().map(|file| file.unwrap().file_name().into_string().unwrap());
    let served: Vec<String> = files.filter(|name| [".js", ".css", ".svg"].iter().any(|ending| name.ends_with(ending))).collect();
    assert!(served.len() > 14, "{served:?}");
    let weigh = |path: &str| {
        let address = hosted.address;
        let answer = raw(
            address,
            format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nAccept-Encoding: gzip\r\nConnection: close\r\n\r\n").as_bytes(),
        );
        assert_eq!(answer.status, 200, "{path}");
        answer.header("content-length").and_then(|length| length.parse::<u64>().ok()).expect("a length")
    };
    let files: u64 = served.iter().map(|name| weigh(&format!("/page/{name}"))).sum();
    let all = files + weigh("/");
    eprintln!("the page weighs {all} bytes, packed");
    assert!(all < 400_000, "{all} bytes");
}
