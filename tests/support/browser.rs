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
        let mut browser = Browser { process, to, from, session: None, calls: 0, _profile: profile };
        let target = browser.call("Target.createTarget", json!({ "url": "about:blank" }));
        let attached = browser.call("Target.attachToTarget", json!({ "targetId": target["targetId"], "flatten": true }));
        browser.session = attached["sessionId"].as_str().map(str::to_owned);
        let size = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": false });
        browser.call("Emulation.setDeviceMetricsOverride", size);
        browser.call("Page.enable", json!({}));
        browser.call("Page.navigate", json!({ "url": url }));
        Some(browser)
    }

    /// One call; answers come in order, events between them are passed over.
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
        }
    }

    /// The value of an expression in the page.
    pub fn eval(&mut self, expression: &str) -> Value {
        self.call("Runtime.evaluate", json!({ "expression": expression, "returnByValue": true }))["result"]["value"].clone()
    }

    /// Waits until an expression is true in the page.
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
                panic!("the page never came to {expression}; it shows:\n{}", text.as_str().unwrap_or_default());
            }
        }
    }

    /// PNG bytes of what is visible.
    #[allow(dead_code, reason = "only where a person looks at the page")]
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
