//! A pipeline that runs, and the page over it.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::browser::Browser;
use crate::http;
use crate::support::host::{Host, Pipeline};
use crate::support::jobs::Scene;
use crate::support::{guests, root, skip_or_panic, wait_for};

pub struct Hosted {
    /// Where the pipeline file and its plugins lie.
    pub _dir: TempDir,
    pub pipeline: Pipeline,
    pub store: PathBuf,
    pub host: Host,
    pub address: SocketAddr,
}

impl Hosted {
    /// 300 made-up users through both example plugins.
    pub fn users() -> Hosted {
        Hosted::changed(|_, text| text)
    }

    /// The same with another pipeline file: given the folder and the text as it would be.
    pub fn changed(change: impl FnOnce(&Path, String) -> String) -> Hosted {
        let dir = TempDir::new().expect("make a folder");
        for name in ["extract", "enrich"] {
            let component = guests::component(&format!("plugins/{name}-user"));
            fs::copy(component, dir.path().join(format!("{name}.wasm"))).expect("copy a plugin");
        }
        let text = fs::read_to_string(root().join("tests/page/users/pipeline.toml")).expect("read the pipeline");
        fs::write(dir.path().join("pipeline.toml"), change(dir.path(), text)).expect("write the pipeline");
        let pipeline = Pipeline::new(dir.path().join("pipeline.toml"), dir.path().join("data"));
        Hosted::start(dir, pipeline, "users")
    }

    pub fn start(dir: TempDir, pipeline: Pipeline, name: &str) -> Hosted {
        let store = pipeline.store(name);
        let mut host = pipeline.start("run", &[]);
        let address = host.ready(&store).parse().expect("an address");
        Hosted { _dir: dir, pipeline, store, host, address }
    }

    pub fn api(&self, path: &str) -> Value {
        let answer = http::get(self.address, path);
        assert_eq!(answer.status, 200, "{path}: {}", answer.body);
        answer.json()
    }

    #[track_caller]
    pub fn until(&self, what: &str, is: impl Fn(&Value) -> bool) -> Value {
        wait_for(what, || Some(self.api("/api/status")).filter(|status| is(status)))
    }

    pub fn token(&self) -> String {
        fs::read_to_string(self.store.join("token")).expect("read the token").trim().to_owned()
    }

    /// A POST with the token.
    pub fn change(&self, path: &str) {
        let headers = ["Content-Type: application/json".to_owned(), format!("Authorization: Bearer {}", self.token())];
        let answer = http::post(self.address, path, &headers, "{}");
        assert_eq!(answer.status, 200, "{path}: {}", answer.body);
    }

    /// A wide window on a tab, opened with the link that carries the token. `None`, said loudly, where no Chromium is.
    pub fn open(&self, tab: &str) -> Option<Browser> {
        let link = format!("http://{}/#{tab}&token={}", self.address, self.token());
        let Some(mut page) = Browser::open(&link, 1360, 900) else {
            skip_or_panic("no Chromium is installed: the page was not opened");
            return None;
        };
        page.wait_for("document.body.dataset.link === 'live'");
        page.wait_for(&format!("!document.getElementById('{tab}-panel').hidden"));
        Some(page)
    }

    /// The tabs that the page offers, once it has asked what its host answers.
    pub fn tabs(page: &mut Browser) -> Vec<String> {
        page.wait_for("document.getElementById('tabs').dataset.offered !== undefined");
        let tabs = page.eval("[...document.querySelectorAll('#tabs button:not([hidden])')].map(one => one.id.slice(4))");
        serde_json::from_value(tabs).expect("names of tabs")
    }

    /// Rows of the first column of a query on the store.
    pub fn sql(&self, query: &str) -> Vec<(String, i64)> {
        let connection = rusqlite::Connection::open(self.store.join("store.db")).expect("open the store");
        let mut statement = connection.prepare(query).expect("prepare a query");
        let rows = statement.query_map([], |row| {
            let name: rusqlite::types::Value = row.get(0)?;
            let name = match name {
                rusqlite::types::Value::Text(text) => text,
                rusqlite::types::Value::Integer(number) => number.to_string(),
                other => panic!("{other:?}"),
            };
            Ok((name, row.get(1)?))
        });
        rows.expect("ask the store").map(|row| row.expect("read a row")).collect()
    }
}

/// A host over the guest `triage`, with these jobs; its folder lives as long as the scene.
pub fn jobs(jobs: &[(&str, &str)]) -> (Scene, Hosted) {
    let line = |(number, (name, what)): (usize, &(&str, &str))| {
        json!({ "number": number, "name": name, "do": what, "login": { "password": "hunter2" } }).to_string()
    };
    let lines = jobs.iter().enumerate().map(line).map(String::into_bytes).collect();
    let mut scene = Scene::new("tests/pipelines/jobs", lines);
    scene.pipeline = scene.pipeline.set("topic.partitions=1");
    let store = scene.store_dir();
    let mut host: Host = scene.pipeline.start("run", &[]);
    let address = host.ready(&store).parse().expect("an address");
    let hosted = Hosted { _dir: TempDir::new().expect("make a folder"), pipeline: scene.pipeline.clone(), store, host, address };
    let all = jobs.len() as u64;
    hosted.until("all jobs", |status| {
        let totals = &status["totals"];
        ["emitted", "dropped", "deleted", "rejected"].iter().filter_map(|name| totals[name].as_u64()).sum::<u64>() == all
    });
    (scene, hosted)
}

/// `1,234`.
pub fn grouped(number: &Value) -> String {
    let digits = number.as_u64().unwrap_or_else(|| panic!("{number} is no count")).to_string();
    let groups: Vec<&str> = digits.as_bytes().rchunks(3).rev().map(|group| std::str::from_utf8(group).expect("digits")).collect();
    groups.join(",")
}
