//! A real Chromium, driven by the DevTools protocol over its pipe: JSON messages that end with NUL, no web socket needed.
//! Source: <https://chromedevtools.github.io/devtools-protocol/>.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

pub struct Browser {
    process: Child,
    to: ChildStdin,
    from: BufReader<ChildStdout>,
    session: Option<String>,
    calls: u64,
    /// What went wrong in the page: exceptions nobody caught, and what the content security policy forbade.
    pub faults: Vec<String>,
    _profile: tempfile::TempDir,
}

impl Browser {
    /// `None` where no Chromium is installed.
    pub fn open(url: &str, width: u32, height: u32) -> Option<Browser> {
        let program = ["chromium", "chromium-browser", "google-chrome"].into_iter().find(|program| {
            Command::new(program)
                .arg("--version")
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .status()
                .is_ok_and(|status| status.success())
        })?;
        let profile = tempfile::tempdir().expect("a folder for the browser's profile");
        // The pipe is file descriptors 3 (in) and 4 (out).
        let script = format!(
            "exec {program} --headless=new --no-sandbox --disable-gpu --disable-background-networking --hide-scrollbars --no-first-run \
             --remote-debugging-pipe --user-data-dir=\"$1\" --window-size={width},{height} 3<&0 4>&1 </dev/null >/dev/null 2>&1"
        );
        let mut process = Command::new("sh")
            .args(["-c", &script, "sh"])
            .arg(profile.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("start the browser");
        let to = process.stdin.take().expect("stdin is piped");
        let from = BufReader::new(process.stdout.take().expect("stdout is piped"));
        let mut browser = Browser { process, to, from, session: None, calls: 0, faults: Vec::new(), _profile: profile };
        let target = browser.call("Target.createTarget", json!({ "url": "about:blank" }));
        let attached = browser.call("Target.attachToTarget", json!({ "targetId": target["targetId"], "flatten": true }));
        browser.session = attached["sessionId"].as_str().map(str::to_owned);
        for domain in ["Page", "Runtime", "Log", "Performance"] {
            browser.call(&format!("{domain}.enable"), json!({}));
        }
        browser.size(width, height);
        browser.go(url);
        Some(browser)
    }

    /// One call; answers come in order, and of the events between them only faults are kept.
    pub fn call(&mut self, method: &str, params: Value) -> Value {
        self.calls += 1;
        let mut message = json!({ "id": self.calls, "method": method, "params": params });
        if let Some(session) = &self.session {
            message["sessionId"] = json!(session);
        }
        self.to.write_all(format!("{message}\0").as_bytes()).and_then(|()| self.to.flush()).expect("tell the browser");
        loop {
            let mut answer = Vec::new();
            self.from.read_until(0, &mut answer).expect("hear from the browser");
            assert!(answer.pop().is_some(), "the browser has gone");
            let answer: Value = serde_json::from_slice(&answer).expect("the browser speaks JSON");
            if answer["id"] == self.calls {
                assert!(answer["error"].is_null(), "{method}: {}", answer["error"]);
                return answer["result"].clone();
            }
            let params = &answer["params"];
            match answer["method"].as_str() {
                Some("Runtime.exceptionThrown") => self.faults.push(params["exceptionDetails"].to_string()),
                Some("Log.entryAdded") if params["entry"]["source"] == "security" => {
                    self.faults.push(params["entry"].to_string())
                }
                _ => {}
            }
        }
    }

    pub fn go(&mut self, url: &str) {
        self.call("Page.navigate", json!({ "url": url }));
    }

    pub fn size(&mut self, width: u32, height: u32) {
        let size = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500 });
        self.call("Emulation.setDeviceMetricsOverride", size);
    }

    /// The theme that the system asks for; nothing moves meanwhile.
    pub fn dark(&mut self, dark: bool) {
        let value = if dark { "dark" } else { "light" };
        let features =
            json!([{ "name": "prefers-color-scheme", "value": value }, { "name": "prefers-reduced-motion", "value": "reduce" }]);
        self.call("Emulation.setEmulatedMedia", json!({ "features": features }));
    }

    /// The value of an expression in the page; of a promise, what it comes to.
    pub fn eval(&mut self, expression: &str) -> Value {
        let asked = json!({ "expression": expression, "returnByValue": true, "awaitPromise": true });
        let answer = self.call("Runtime.evaluate", asked);
        assert!(answer["exceptionDetails"].is_null(), "{expression}: {}", answer["exceptionDetails"]);
        answer["result"]["value"].clone()
    }

    /// The text of the first element that fits, as a person reads it.
    pub fn text(&mut self, selector: &str) -> String {
        let text = self.eval(&format!("document.querySelector({})?.innerText", json!(selector)));
        text.as_str().unwrap_or_else(|| panic!("nothing fits {selector}")).trim().to_owned()
    }

    /// Clicks with the mouse on the first visible element that fits, once it stands still.
    pub fn click(&mut self, selector: &str) {
        let find = format!("[...document.querySelectorAll({})].find(one => one.getClientRects().length)", json!(selector));
        self.wait_for(&format!("{find} && !{find}.disabled"));
        let place = self.eval(&format!(
            "new Promise(done => {{ const one = {find}; one.scrollIntoView({{ block: 'center', behavior: 'instant' }}); let last = ''; \
             const look = () => {{ const box = one.getBoundingClientRect(), now = [box.x, box.y].join(); \
             if (now === last) done([box.x + box.width / 2, box.y + box.height / 2]); else {{ last = now; requestAnimationFrame(look); }} }}; look(); }})"
        ));
        for (kind, buttons) in [("mousePressed", 1), ("mouseReleased", 0)] {
            let at = json!({ "type": kind, "x": place[0], "y": place[1], "button": "left", "buttons": buttons, "clickCount": 1 });
            self.call("Input.dispatchMouseEvent", at);
        }
    }

    /// Clicks on what fits and carries this text.
    pub fn click_text(&mut self, selector: &str, text: &str) {
        let mark = format!(
            "document.querySelectorAll('[data-clicked]').forEach(one => one.removeAttribute('data-clicked')), \
             [...document.querySelectorAll({})].find(one => one.getClientRects().length && one.innerText.trim() === {})?.setAttribute('data-clicked', '')",
            json!(selector),
            json!(text)
        );
        self.wait_for(&format!("({mark}, document.querySelector('[data-clicked]'))"));
        self.click("[data-clicked]");
    }

    pub fn press(&mut self, key: &str) {
        let code = match key {
            "Tab" => 9,
            "Enter" => 13,
            "Escape" => 27,
            "End" => 35,
            "Home" => 36,
            "ArrowLeft" => 37,
            "ArrowRight" => 39,
            other => panic!("no code for {other}"),
        };
        let text = if key == "Enter" { "\r" } else { "" };
        let event = |kind: &str| json!({ "type": kind, "key": key, "code": key, "windowsVirtualKeyCode": code, "text": text });
        self.call("Input.dispatchKeyEvent", event("keyDown"));
        self.call("Input.dispatchKeyEvent", event("keyUp"));
    }

    /// Where files go that are downloaded.
    pub fn keep_downloads(&mut self, folder: &std::path::Path) {
        self.call("Page.setDownloadBehavior", json!({ "behavior": "allow", "downloadPath": folder }));
    }

    /// Bytes of JavaScript that are in use, and nodes of all documents, once what nobody holds is gone.
    pub fn memory(&mut self) -> (u64, u64) {
        self.call("HeapProfiler.collectGarbage", json!({}));
        let metrics = self.call("Performance.getMetrics", json!({}));
        let metric = |name: &str| {
            let found = metrics["metrics"].as_array().and_then(|all| all.iter().find(|metric| metric["name"] == name));
            found.and_then(|metric| metric["value"].as_f64()).unwrap_or_else(|| panic!("no {name}")) as u64
        };
        (metric("JSHeapUsedSize"), metric("Nodes"))
    }

    pub fn write(&mut self, text: &str) {
        self.call("Input.insertText", json!({ "text": text }));
    }

    /// Waits until an expression is true in the page.
    #[track_caller]
    pub fn wait_for(&mut self, expression: &str) {
        let deadline = Instant::now() + Duration::from_secs(60);
        let waiting = format!(
            "new Promise(done => {{ const look = () => {{ try {{ if ({expression}) return done(true); }} catch {{}} setTimeout(look, 20); }}; \
             look(); setTimeout(() => done(false), 2000); }})"
        );
        loop {
            let looked =
                self.call("Runtime.evaluate", json!({ "expression": waiting, "awaitPromise": true, "returnByValue": true }));
            if looked["result"]["value"] == true {
                return;
            }
            if Instant::now() > deadline {
                let text = self.eval("document.body.innerText");
                panic!(
                    "the page never came to {expression}; it shows:\n{}\n{:?}",
                    text.as_str().unwrap_or_default(),
                    self.faults
                );
            }
        }
    }

    /// PNG bytes of the whole page.
    pub fn screenshot(&mut self) -> Vec<u8> {
        use base64::Engine;
        let shot = self.call("Page.captureScreenshot", json!({ "format": "png", "captureBeyondViewport": true }));
        base64::engine::general_purpose::STANDARD.decode(shot["data"].as_str().unwrap_or_default()).expect("base64")
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
