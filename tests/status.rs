//! The status API: who is answered, what may be changed by whom, and what is told.

#[path = "status/connections.rs"]
mod connections;
#[path = "support/cpu.rs"]
mod cpu;
#[path = "status/figures.rs"]
mod figures;
#[path = "support/http.rs"]
mod http;
#[path = "status/late.rs"]
mod late;
#[path = "status/letters.rs"]
mod letters;
#[path = "status/lines.rs"]
mod lines;
#[path = "support/running.rs"]
#[allow(dead_code, reason = "each class of test uses a part of it")]
mod running;
#[path = "status/shown.rs"]
mod shown;
mod support;
#[path = "status/swapped.rs"]
mod swapped;

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use tidemill::record::Place;
use tidemill::status::api::{self, Listen, Server};
use tidemill::status::metrics::METRICS;
use tidemill::status::samples::{Followed, StageDetail};
use tidemill::status::swap::Swaps;
use tidemill::status::token::Token;
use tidemill::status::view::Showing;
use tidemill::status::{Control, PartitionStatus, Pinned, Reporter, Run, SinkStatus, SourceStatus, StageStatus, WriteTimes};
use tidemill::topic::{DeadLetter, Figures, ReasonCount};

use http::{Answer, get, post, raw};
use support::{PATIENCE, root, wait_for};

const READS: [&str; 20] = [
    "/",
    "/page/style.css",
    "/page/app.js",
    "/page/icon.svg",
    "/livez",
    "/readyz",
    "/metrics",
    "/api/status",
    "/api/runs",
    "/api/dead-letters",
    "/api/logs",
    "/api/logs/download",
    "/api/rates",
    "/api/stages",
    "/api/samples",
    "/api/dead-letters/groups",
    "/api/dead-letters/download",
    "/api/receipts",
    "/api/generations",
    "/api/stages/extract/shadow",
];
const CHANGES: [&str; 10] = [
    "/api/source/pause",
    "/api/source/resume",
    "/api/source/poll",
    "/api/drain",
    "/api/dead-letters/0/7/replay",
    "/api/dead-letters/0/7/discard",
    "/api/sinks/users/count",
    "/api/stages/extract/reload",
    "/api/stages/extract/promote",
    "/api/stages/extract/discard",
];

/// Remembers what it was asked for; has one dead letter, at 0/7.
#[derive(Default)]
struct Pipeline(Mutex<Vec<String>>);

impl Pipeline {
    fn note(&self, what: impl Into<String>) {
        self.0.lock().unwrap().push(what.into());
    }
}

fn letter() -> DeadLetter {
    DeadLetter {
        place: Place { partition: 0, offset: 7 },
        key: Some(b"k".to_vec()),
        value: Some(b"\xff{".to_vec()),
        headers: vec![("trace".to_owned(), None)],
        timestamp: 1_700_000_000_000,
        reason: "no e-mail".to_owned(),
        stage: Some("extract".to_owned()),
        digest: Some("ab".repeat(32)),
        generation: 2,
        write_time: 1_700_000_000_000_000,
        host: "here".to_owned(),
    }
}

#[async_trait::async_trait]
impl Control for Pipeline {
    async fn pause(&self) -> anyhow::Result<()> {
        self.note("pause");
        Ok(())
    }
    async fn resume(&self) -> anyhow::Result<()> {
        self.note("resume");
        Ok(())
    }
    async fn poll_now(&self) -> anyhow::Result<()> {
        self.note("poll");
        Ok(())
    }
    async fn drain(&self) -> anyhow::Result<()> {
        self.note("drain");
        Ok(())
    }
    async fn runs(&self, limit: usize) -> anyhow::Result<Vec<Run>> {
        Ok(vec![Run { id: 3, what: "page 3".to_owned(), records: limit as u64, ..Run::default() }])
    }
    async fn dead_letters(&self, after: Option<Place>, _: usize) -> anyhow::Result<Vec<DeadLetter>> {
        Ok(Vec::from_iter(Some(letter()).filter(|letter| after.is_none_or(|after| after < letter.place))))
    }
    async fn dead_letter_reasons(&self) -> anyhow::Result<Vec<ReasonCount>> {
        let DeadLetter { stage, reason, generation, place, write_time, .. } = letter();
        let generations = [generation; 2];
        Ok(vec![ReasonCount { stage, reason, count: 1, generations, first: place, last_write_time: write_time }])
    }
    async fn rehearse(&self, place: Place) -> anyhow::Result<Option<String>> {
        self.note(format!("rehearse {}/{}", place.partition, place.offset));
        Ok(None)
    }
    async fn pin(&self, _: Place, _: Option<String>, write: bool) -> anyhow::Result<Pinned> {
        self.note(format!("pin, written {write}"));
        anyhow::bail!("the payload is no text")
    }
    async fn count_rows(&self, sink: &str) -> anyhow::Result<Option<u64>> {
        Ok((sink == "users").then_some(7))
    }
    async fn stages(&self) -> anyhow::Result<Vec<StageDetail>> {
        Ok(vec![StageDetail { name: "extract".to_owned(), plugin: "/a/path".to_owned(), ..StageDetail::default() }])
    }
    fn samples(&self) -> Followed {
        Followed::default()
    }
    async fn dead_letter(&self, place: Place) -> anyhow::Result<Option<DeadLetter>> {
        Ok(Some(letter()).filter(|letter| letter.place == place))
    }
    async fn replay(&self, place: Place, force: bool) -> anyhow::Result<Option<String>> {
        self.note(format!("replay {}/{} force {force}", place.partition, place.offset));
        Ok(Some("still no e-mail".to_owned()))
    }
    async fn discard(&self, place: Place) -> anyhow::Result<bool> {
        self.note(format!("discard {}/{}", place.partition, place.offset));
        Ok(place == letter().place)
    }
    fn swaps(&self) -> Option<&dyn Swaps> {
        Some(self)
    }
}

struct Host {
    server: Server,
    reporter: Reporter,
    pipeline: Arc<Pipeline>,
    dir: tempfile::TempDir,
}

impl Host {
    fn start() -> Host {
        Host::showing(Showing::default())
    }

    fn showing(showing: Showing) -> Host {
        let (reporter, pipeline, dir) = (Reporter::default(), Arc::new(Pipeline::default()), tempfile::tempdir().unwrap());
        let listen =
            Listen { address: "127.0.0.1:0".parse().unwrap(), names: vec!["mill.example".to_owned()], token: None, showing };
        let server = api::start(listen, dir.path(), reporter.clone(), pipeline.clone(), Default::default()).unwrap();
        Host { server, reporter, pipeline, dir }
    }

    fn at(&self) -> SocketAddr {
        self.server.address
    }

    fn authorization(&self) -> String {
        format!("Authorization: {}", Token::load(self.dir.path()).unwrap().bearer())
    }

    /// A change as it should be sent.
    fn change(&self, path: &str, body: &str) -> Answer {
        post(self.at(), path, &[self.authorization(), "Content-Type: application/json".to_owned()], body)
    }

    fn asked_for(&self) -> Vec<String> {
        self.pipeline.0.lock().unwrap().clone()
    }
}

fn with_host(at: SocketAddr, path: &str, hosts: &[&str]) -> u16 {
    let hosts: String = hosts.iter().map(|host| format!("Host: {host}\r\n")).collect();
    raw(at, format!("GET {path} HTTP/1.1\r\n{hosts}Connection: close\r\n\r\n").as_bytes()).status
}

#[test]
fn every_route_answers_to_this_hosts_names_only() {
    let host = Host::start();
    let port = host.at().port();
    for path in READS.iter().chain(&CHANGES).chain(&["/api/events", "/api/logs/stream", "/no/such/route"]) {
        for foreign in [
            "evil.example",
            &format!("evil.example:{port}"),
            "localhost",
            &format!("localhost:{}", port ^ 1),
            "",
            "localhost@evil",
        ] {
            assert_eq!(with_host(host.at(), path, &[foreign]), 421, "{path} answered to Host: {foreign}");
        }
        let own = format!("127.0.0.1:{port}");
        assert_eq!(with_host(host.at(), path, &[]), 421, "{path} answered without a Host");
        assert!(matches!(with_host(host.at(), path, &[&own, "evil.example"]), 400 | 421), "{path} answered to two hosts");
        let absolute = format!("GET http://evil.example{path} HTTP/1.1\r\nHost: {own}\r\nConnection: close\r\n\r\n");
        assert_eq!(raw(host.at(), absolute.as_bytes()).status, 421, "{path} answered to a foreign request line");
    }
    for name in ["localhost", "LOCALHOST", "127.0.0.1", "[::1]", "mill.example"] {
        assert_eq!(with_host(host.at(), "/livez", &[&format!("{name}:{port}")]), 200, "{name}");
    }
}

#[test]
fn a_change_needs_the_token_and_json() {
    let host = Host::start();
    let json = "Content-Type: application/json".to_owned();
    for path in CHANGES {
        for (headers, status) in [
            (vec![json.clone()], 401),
            (vec![json.clone(), "Authorization: Bearer".to_owned()], 401),
            (vec![json.clone(), format!("Authorization: Bearer {}", "0".repeat(64))], 401),
            (vec![json.clone(), host.authorization().replace("Bearer", "Basic")], 401),
            (vec![host.authorization()], 415),
            (vec![host.authorization(), "Content-Type: text/plain".to_owned()], 415),
            (vec![host.authorization(), "Content-Type: application/x-www-form-urlencoded".to_owned()], 415),
        ] {
            let answer = post(host.at(), path, &headers, "{}");
            assert_eq!(answer.status, status, "{path} with {headers:?}");
            assert_eq!(answer.header("www-authenticate").is_some(), status == 401);
        }
        assert_eq!(get(host.at(), path).status, 405, "{path} by GET");
    }
    assert_eq!(host.asked_for(), [""; 0], "something was changed without token or JSON");

    for path in CHANGES {
        assert_eq!(host.change(path, "{}").status, 200, "{path}");
    }
    let asked = [
        "pause",
        "resume",
        "poll",
        "drain",
        "replay 0/7 force false",
        "discard 0/7",
        "Reload { force: false }",
        "Promote",
        "Discard",
    ];
    assert_eq!(host.asked_for(), asked);
}

#[test]
fn other_methods_are_refused_and_nobody_is_invited_from_another_origin() {
    let host = Host::start();
    for method in ["PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"] {
        let (at, token) = (host.at(), host.authorization());
        let request = format!(
            "{method} /api/drain HTTP/1.1\r\nHost: {at}\r\n{token}\r\nContent-Type: application/json\r\nOrigin: http://evil.example\r\n\
             Access-Control-Request-Method: POST\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
        );
        let answer = raw(at, request.as_bytes());
        assert_eq!(answer.status, 405, "{method}");
        assert!(!answer.head.to_ascii_lowercase().contains("access-control"), "{method} is invited by {}", answer.head);
    }
    assert_eq!(host.asked_for(), [""; 0]);
}

#[test]
fn every_answer_carries_the_headers_that_keep_a_page_safe() {
    let host = Host::start();
    let refused = raw(host.at(), b"GET / HTTP/1.1\r\nHost: evil\r\nConnection: close\r\n\r\n");
    let answers =
        READS.iter().chain(&["/nothing"]).map(|path| get(host.at(), path)).chain([refused, host.change(CHANGES[0], "")]);
    for answer in answers {
        let policy = answer.header("content-security-policy").expect("a content security policy");
        assert!(policy.contains("default-src 'none'") && policy.contains("frame-ancestors 'none'"), "{policy}");
        assert!(!policy.contains("unsafe"), "{policy}");
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
        assert_eq!(answer.header("referrer-policy"), Some("no-referrer"));
        let head = answer.head.to_ascii_lowercase();
        assert!(!head.contains("set-cookie") && !head.contains("access-control"), "{head}");
    }
}

#[test]
fn what_a_client_may_send_is_bounded() {
    let host = Host::start();
    assert_eq!(host.change("/api/dead-letters/0/7/replay", &" ".repeat(100 << 10)).status, 413);
    assert_eq!(host.change("/api/dead-letters/0/7/replay", "{\"force\":").status, 400);
    assert_eq!(host.change("/api/dead-letters/0/7/replay", "{\"forse\": true}").status, 400);
    let long = format!("GET /livez HTTP/1.1\r\nHost: {}\r\nX: {}\r\n\r\n", host.at(), "x".repeat(64 << 10));
    assert_eq!(raw(host.at(), long.as_bytes()).status, 431);
    let many: String = (0..200).map(|number| format!("X-{number}: x\r\n")).collect();
    assert_eq!(raw(host.at(), format!("GET /livez HTTP/1.1\r\nHost: {}\r\n{many}\r\n", host.at()).as_bytes()).status, 431);
    assert_eq!(host.asked_for(), [""; 0]);
}

#[test]
fn a_bind_beyond_this_machine_needs_a_token_of_ones_own() {
    let dir = tempfile::tempdir().unwrap();
    let start = |token| {
        let listen = Listen { address: "0.0.0.0:0".parse().unwrap(), names: Vec::new(), token, showing: Showing::default() };
        api::start(listen, dir.path(), Reporter::default(), Arc::new(Pipeline::default()), Default::default())
    };
    let refused = start(None).err().expect("it was bound without a token");
    assert!(refused.to_string().contains("TIDEMILL_TOKEN"), "{refused}");
    let server =
        start(Some(Token::new("a token of some length").unwrap_or_else(|_| Token::new("a-token-of-some-length").unwrap())));
    assert!(server.is_ok());
    assert!(Token::new("short").is_err(), "a token that can be guessed was taken");
}

#[test]
fn dead_letters_and_runs_are_told_and_replayed() {
    let host = Host::start();
    let list = get(host.at(), "/api/dead-letters").json();
    assert_eq!(list["next"], json!(null));
    let list = &list["dead-letters"];
    assert_eq!(list[0]["reason"], "no e-mail");
    assert_eq!(list[0]["value-bytes"], 2);
    assert!(list[0].get("record").is_none(), "a list carries whole records");
    let whole = get(host.at(), "/api/dead-letters/0/7").json();
    let record = &whole["record"];
    assert_eq!((&record["key"]["text"], &record["value"]["base64"]), (&json!("k"), &json!("/3s=")));
    assert_eq!(record["headers"], json!([["trace", null]]));
    assert!(record["value"]["hex"].as_str().unwrap().starts_with("00000000  ff 7b "), "{record}");
    assert_eq!(get(host.at(), "/api/dead-letters/0/8").status, 404);
    assert_eq!(get(host.at(), "/api/dead-letters/0/x").status, 400);
    let replayed = host.change("/api/dead-letters/0/7/replay", "{\"force\": true}").json();
    assert_eq!(replayed, json!({ "passed": false, "reason": "still no e-mail" }));
    assert_eq!(host.change("/api/dead-letters/0/8/replay", "").status, 404);
    assert_eq!(host.change("/api/dead-letters/0/8/discard", "").status, 404);
    assert_eq!(host.asked_for(), ["replay 0/7 force true", "discard 0/8"]);
    assert_eq!(get(host.at(), "/api/runs?limit=5").json()[0]["records"], 5);
    assert_eq!(get(host.at(), "/api/runs?limit=99999").json()[0]["records"], 1_000, "the answer is not bounded");
}

#[test]
fn readiness_follows_the_state() {
    let host = Host::start();
    for (state, ready) in
        [("starting", 503), ("running", 200), ("paused", 200), ("waiting", 200), ("draining", 503), ("failed", 503)]
    {
        host.reporter.update(|snapshot| snapshot.state = state.to_owned());
        assert_eq!(get(host.at(), "/readyz").status, ready, "{state}");
        assert_eq!(get(host.at(), "/livez").status, 200);
    }
}

/// Something of everything that can be measured.
fn fill(reporter: &Reporter, emitted: u64) {
    reporter.update(|snapshot| {
        snapshot.pipeline = "us\"ers".to_owned();
        snapshot.state = "running".to_owned();
        snapshot.source = Some(SourceStatus { kind: "generator".to_owned(), ..SourceStatus::default() });
        snapshot.stages =
            vec![StageStatus { name: "extract".to_owned(), rows: emitted, micros_per_record: 2.0, ..StageStatus::default() }];
        let sink = |name: &str, last_write_ms| SinkStatus { name: name.to_owned(), last_write_ms, ..SinkStatus::default() };
        let write_ms = Some(WriteTimes { p50: 1.0, p95: 2.0, p99: 3.0, max: 4.0, of: 7 });
        let row_by_row = SinkStatus { write_ms, unanswered: Some(5), breaker: Some("open".to_owned()), ..sink("rows", 0.0) };
        snapshot.sinks = vec![sink("users", 0.0), sink("lines", 2.5), row_by_row];
        snapshot.swaps.last_took_ms = 12.0;
        snapshot.totals = Figures { emitted, ..Figures::default() };
        snapshot.partitions.insert(0, PartitionStatus { figures: snapshot.totals.clone(), ..PartitionStatus::default() });
    });
}

#[test]
fn every_metric_is_documented_and_every_documented_metric_is_there() {
    let host = Host::start();
    fill(&host.reporter, 41);
    let text = get(host.at(), "/metrics").body;
    let samples = text.lines().filter(|line| !line.starts_with('#'));
    let served: BTreeSet<&str> = samples.map(|line| line.split(['{', ' ']).next().unwrap()).collect();
    let readme = std::fs::read_to_string(root().join("host/README.md")).unwrap();
    let rows = readme.lines().filter_map(|line| line.strip_prefix("| `tidemill_")?.split_once('`'));
    let documented: BTreeSet<String> = rows.clone().map(|(name, _)| format!("tidemill_{name}")).collect();
    assert_eq!(served, documented.iter().map(String::as_str).collect(), "the table in host/README.md is another");
    for metric in METRICS {
        let (_, row) = rows.clone().find(|(name, _)| metric.name.strip_prefix("tidemill_") == Some(name)).unwrap();
        let labels = metric.labels.iter().map(|label| format!("`{label}`")).collect::<Vec<_>>().join(", ");
        assert_eq!(row, format!(" | {} | {labels} | {} |", metric.kind, metric.help), "the row of {}", metric.name);
    }
    assert!(text.contains("tidemill_records_total{pipeline=\"us\\\"ers\",outcome=\"emitted\"} 41\n"), "{text}");
    let timed: Vec<&str> = text.lines().filter(|line| line.starts_with("tidemill_sink_last_write_seconds")).collect();
    assert_eq!(timed, ["tidemill_sink_last_write_seconds{pipeline=\"us\\\"ers\",sink=\"lines\"} 0.0025"], "a time nobody took");
}

/// The data of the next `status` event.
fn next_event(stream: &mut impl BufRead) -> Value {
    let mut line = String::new();
    loop {
        line.clear();
        assert_ne!(stream.read_line(&mut line).expect("read an event"), 0, "the stream has ended");
        if let Some(data) = line.strip_prefix("data: ") {
            return serde_json::from_str(data).unwrap();
        }
    }
}

/// A client that asked for events, and the status of its answer.
fn watch(at: SocketAddr) -> (u16, BufReader<TcpStream>) {
    let mut stream = TcpStream::connect(at).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(stream, "GET /api/events HTTP/1.1\r\nHost: {at}\r\n\r\n").unwrap();
    let mut first = [0; 12];
    stream.read_exact(&mut first).unwrap();
    let status = String::from_utf8_lossy(&first[9..]).parse().unwrap();
    (status, BufReader::new(stream))
}

#[test]
fn events_tell_what_has_changed() {
    let host = Host::start();
    fill(&host.reporter, 1);
    let (status, mut events) = watch(host.at());
    assert_eq!(status, 200);
    assert_eq!(next_event(&mut events)["totals"]["emitted"], 1);
    fill(&host.reporter, 1_001);
    wait_for("an event with the new total", || Some(next_event(&mut events)).filter(|event| event["totals"]["emitted"] == 1_001));
    let told =
        wait_for("an event with a rate", || Some(next_event(&mut events)).filter(|event| event["records-per-second"] != 0.0));
    assert!(told["rss-bytes"].as_u64().unwrap() > 0);
    let status = get(host.at(), "/api/status").json();
    assert_eq!(status["totals"], told["totals"], "/api/status and the events differ");
}

#[test]
fn watching_clients_are_counted_and_those_who_do_not_read_are_dropped() {
    let host = Host::start();
    let row = json!({ "name": "x".repeat(200 << 10) });
    // A few snapshots are more than all buffers between the host and a client hold.
    host.reporter.update(|snapshot| snapshot.latest = vec![row.as_object().unwrap().clone(); 20]);
    let asleep: Vec<_> = (0..16).map(|_| watch(host.at())).collect();
    assert!(asleep.iter().all(|(status, _)| *status == 200));
    assert_eq!(watch(host.at()).0, 503, "a seventeenth page was let in");
    assert_eq!(get(host.at(), "/livez").status, 200, "others wait for those who do not read");
    wait_for("room for another page", || Some(()).filter(|()| watch(host.at()).0 == 200));
    drop(asleep);
}

#[test]
fn the_page_tells_the_truth_without_javascript_and_holds_no_inline_code() {
    let host = Host::start();
    fill(&host.reporter, 1_234_567);
    let row = json!({ "name": "<img src=x onerror=alert(1)>" });
    host.reporter.update(|snapshot| snapshot.latest = vec![row.as_object().unwrap().clone()]);
    let page = get(host.at(), "/").body;
    assert!(page.contains("<dd id=\"total\">1,234,567</dd>"), "{page}");
    assert!(page.contains("&lt;img src=x onerror=alert(1)&gt;") && !page.contains("<img src=x"));
    let inline = ["<style", "style=", "<script>", "javascript:", " onclick", " onload", "http://", "https://"];
    assert_eq!(inline.iter().filter(|text| page.contains(**text)).count(), 0, "{page}");
    let files = fs::read_dir(root().join("host/src/status/page")).unwrap().map(|file| file.unwrap().path());
    let scripts: Vec<_> = files.filter(|file| file.extension().is_some_and(|ending| ending == "js")).collect();
    assert!(scripts.len() > 10);
    for script in scripts {
        let name = script.file_name().unwrap().to_str().unwrap().to_owned();
        let served = get(host.at(), &format!("/page/{name}"));
        assert!(served.status == 200 && served.body == fs::read_to_string(&script).unwrap(), "{name}");
        let writes_html = ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "new Function"];
        assert_eq!(writes_html.iter().find(|way| served.body.contains(**way)), None, "{name}");
    }
}
