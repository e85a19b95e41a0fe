//! Nobody's text runs in the page, and who has no token changes nothing.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};

use serde_json::json;

use crate::hosted::Hosted;

const EVIL: &str = "<img src=x onerror=\"window.owned=1\"><script>window.owned=1</script><svg onload=window.owned=1>";

/// A user whose every free text is an attack.
pub fn user(email: String) -> String {
    // Of their own: what is masked is hidden in reasons too.
    let mallory = format!("mallory {EVIL}");
    json!({
        "gender": EVIL, "email": email, "phone": EVIL, "cell": EVIL, "nat": EVIL,
        "name": { "title": EVIL, "first": EVIL, "last": EVIL },
        "location": {
            "street": { "number": EVIL, "name": EVIL }, "city": EVIL, "state": EVIL, "country": EVIL, "postcode": EVIL,
        },
        "login": { "uuid": "6f0ee4ad-4f61-4d1b-9f63-8b0b6a3b5a10", "username": mallory, "password": mallory },
        "dob": { "date": "1980-02-29T06:30:15.123Z" }, "registered": { "date": "2011-07-04T19:05:44.900Z" },
        "picture": { "medium": "javascript:window.owned=1" },
    })
    .to_string()
}

#[test]
fn nothing_runs_whatever_stands_in_records_names_and_errors() {
    const NAME: &str = "x<img src=x onerror=window.owned=1>";
    let hosted = Hosted::changed(|dir, text| {
        // One that arrives, and one whose address is no address: the reason quotes it.
        fs::write(dir.join(format!("{NAME}.ndjson")), [user(format!("eve@{EVIL}")), user(EVIL.to_owned())].join("\n") + "\n")
            .unwrap();
        fs::write(dir.join("sample.json"), user("eve@example.com".to_owned())).unwrap();
        fs::copy(dir.join("extract.wasm"), dir.join(format!("{NAME}.wasm"))).unwrap();
        let (head, rest) = text.split_once("[source]\n").unwrap();
        let (_, rest) = rest.split_once("\n\n").unwrap();
        let source = format!("[source]\nkind = \"file\"\npath = '{NAME}.ndjson'\nevery = \"0s\"\nsample = \"sample.json\"\n\n");
        format!("{head}{source}{rest}").replace("\"extract.wasm\"", &format!("'{NAME}.wasm'"))
    });
    hosted.until("both users", |status| status["totals"]["emitted"] == 1 && status["dead-letters"] == 1);
    let Some(mut page) = hosted.open("live") else { return };
    page.wait_for("document.querySelector('#latest-body td:nth-child(2)')?.textContent.includes('<img src=x')");
    page.wait_for("document.querySelector('#charts .legend')?.textContent.includes('<img src=x')");
    assert_eq!(page.eval("document.images.length"), 1, "the logo only");
    let tabs = Hosted::tabs(&mut page);
    for tab in &tabs[1..] {
        page.click(&format!("#tab-{tab}"));
        page.wait_for(&format!(
            "!document.getElementById('{tab}-panel').hidden && document.getElementById('{tab}-panel').children.length"
        ));
        match tab.as_str() {
            "pipeline" => page.click("[data-part=\"stage enrich\"].act"),
            "plugins" => page.wait_for("document.querySelector('.plugin')?.textContent.includes('<img src=x')"),
            "dead-letters" => {
                page.wait_for("document.querySelector('.letters tbody')?.textContent.includes('<img src=x')");
                page.click(".letters tbody .go");
                page.wait_for("document.querySelector('.letter pre.code')?.textContent.includes('<script>')");
            }
            "runs" => page.wait_for("document.querySelectorAll('.runs tbody tr').length"),
            "logs" => page.wait_for("document.querySelector('#logs-panel .logbox')"),
            _ => {}
        }
        let foreign =
            "document.querySelectorAll('main img, main script, main [onerror], main [onload], main a[href^=javascript]').length";
        assert_eq!(page.eval(foreign), 0, "{tab}");
    }
    assert_eq!(page.eval("typeof window.owned"), "undefined");
    assert_eq!(page.faults, Vec::<String>::new());

    // The policy is in force: a handler that got into the page would not run either.
    page.eval("document.body.insertAdjacentHTML('beforeend', '<img src=/nothing onerror=\"window.owned=1\">')");
    page.wait_for("document.images[document.images.length - 1].complete");
    assert_eq!(page.eval("typeof window.owned"), "undefined");
    assert_ne!(page.faults, Vec::<String>::new());
}

/// An API whose every answer is an error that says this.
pub fn refusing(says: &str) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("listen");
    let at = listener.local_addr().expect("an address");
    let body = json!({ "error": says }).to_string();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let _ = stream.read(&mut [0; 4096]);
            let head = format!("HTTP/1.1 500 no\r\nContent-Type: application/json\r\nContent-Length: {}\r\n", body.len());
            let _ = write!(stream, "{head}Connection: close\r\n\r\n{body}");
        }
    });
    at
}

#[test]
fn nothing_runs_whatever_stands_in_log_lines() {
    const NAME: &str = "<img src=x onerror=window.owned=1>.log";
    const DRIVEN: &str = "\u{1b}[31m\u{202e}";
    let at = refusing(&format!("{EVIL}{DRIVEN}"));
    let hosted = Hosted::changed(|dir, text| {
        fs::write(dir.join(NAME), format!("WARN {EVIL}{DRIVEN}\n")).unwrap();
        fs::write(dir.join("sample.json"), user("eve@example.com".to_owned())).unwrap();
        let (head, rest) = text.split_once("[source]\n").unwrap();
        let (_, rest) = rest.split_once("\n\n").unwrap();
        let source = format!("[source]\nkind = \"http\"\nurl = \"http://{at}/\"\nsample = \"sample.json\"\n\n");
        format!("{head}{source}{rest}\n[dashboard]\nlogs = ['{NAME}']\n")
    });
    let Some(mut page) = hosted.open("logs") else { return };
    for (component, from) in [("file", NAME), ("source", "source")] {
        page.wait_for(&format!(
            "[...document.querySelectorAll('.log li')].some(one => {{ \
             const [from, text] = ['.from', '.text'].map(part => one.querySelector(part).textContent); \
             return from.startsWith('{component}') && from.includes({}) && text.includes('<script>window.owned=1</script>') \
             && text.includes('\\\\u{{1b}}[31m\\\\u{{202e}}'); }})",
            json!(if component == "file" { from } else { "" })
        ));
    }
    let written = page.text(".log");
    assert!(!written.contains('\u{1b}') && !written.contains('\u{202e}'), "{written}");
    // The source's error stands in other tabs as well.
    for (tab, place) in [("live", "#parts"), ("pipeline", ".graph"), ("runs", "#runs-panel .note")] {
        page.click(&format!("#tab-{tab}"));
        page.wait_for(&format!("document.querySelector('{place}')?.textContent.includes('<img src=x')"));
    }
    let foreign =
        "document.querySelectorAll('main img, main script, main [onerror], main [onload], main a[href^=javascript]').length";
    assert_eq!(page.eval(foreign), 0);
    assert_eq!(page.eval("typeof window.owned"), "undefined");
    assert_eq!(page.faults, Vec::<String>::new());
}

#[test]
fn without_the_token_a_change_is_explained_and_not_made() {
    let hosted = Hosted::changed(|_, text| text.replace("every = \"0s\"", "every = \"1h\""));
    let Some(mut page) = hosted.open("runs") else { return };
    assert!(!page.eval("location.href").as_str().unwrap().contains("token"), "the token stays in the address");
    page.eval("sessionStorage.clear()");
    page.go(&format!("http://{}/?again#runs", hosted.address));
    page.wait_for("document.body.dataset.link === 'live' && document.body.dataset.token === 'false'");
    page.click_text("#runs-panel button", "Pause");
    page.wait_for("document.querySelector('dialog')?.innerText.includes('token')");
    assert_ne!(hosted.api("/api/status")["source"]["state"], "paused");
    // A wrong one is asked for again; the right one does it.
    page.click("dialog input");
    page.write("0000");
    page.click_text("dialog button", "Use it");
    page.wait_for("document.body.dataset.token === 'false' && document.querySelector('dialog input')?.value === ''");
    page.click("dialog input");
    page.write(&hosted.token());
    page.click_text("dialog button", "Use it");
    page.wait_for("document.querySelector('.schedule .word').textContent === 'paused'");
    assert_eq!(page.faults, Vec::<String>::new());
}
