//! What the page costs, measured: `cargo test --test page figures -- --ignored --nocapture --test-threads 1`, with `--release` for
//! figures that mean something.

use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::cpu::Cpu;
use crate::hosted::Hosted;

/// Users at this pace, without end.
fn users(every: &str, at_once: u32) -> Hosted {
    Hosted::changed(|_, text| {
        let text = text.replace("every = \"0s\"", &format!("every = \"{every}\"")).replace("records = 300\n", "");
        text.replace("records-per-poll = 30", &format!("records-per-poll = {at_once}"))
    })
}

fn sorted(mut values: Vec<f64>) -> Vec<f64> {
    values.sort_by(f64::total_cmp);
    values
}

fn tell(what: &str, values: Vec<f64>) {
    let all = sorted(values);
    let at = |share: f64| all[((all.len() - 1) as f64 * share).round() as usize];
    eprintln!("{what}: p50 {:.0} ms, p99 {:.0} ms, max {:.0} ms, of {}", at(0.5), at(0.99), at(1.0), all.len());
}

#[test]
#[ignore = "measures"]
fn figures_of_the_first_paint() {
    let hosted = users("100ms", 30);
    let Some(mut page) = hosted.open("live") else { return };
    page.call("Network.enable", json!({}));
    page.call("Network.setCacheDisabled", json!({ "cacheDisabled": true }));
    let (mut paints, mut lives, mut weight) = (Vec::new(), Vec::new(), 0);
    for round in 0..20 {
        page.go(&format!("http://{}/?{round}#live", hosted.address));
        page.wait_for(&format!("location.search === '?{round}' && document.body?.dataset.link === 'live'"));
        let told = page.eval(
            "(entries => [entries('paint').find(one => one.name === 'first-contentful-paint').startTime, \
             performance.now(), [...entries('navigation'), ...entries('resource')].reduce((sum, one) => sum + one.transferSize, 0)])\
             (kind => performance.getEntriesByType(kind))",
        );
        paints.push(told[0].as_f64().unwrap());
        lives.push(told[1].as_f64().unwrap());
        weight = told[2].as_u64().unwrap();
    }
    tell("first paint, nothing cached", paints);
    tell("live figures are there", lives);
    eprintln!("sent for it: {weight} bytes");
}

/// Notes when each status has been painted: behind the frame that follows its drawing.
const STOPWATCH: &str = "window.shown = []; const listen = EventSource.prototype.addEventListener; \
    EventSource.prototype.addEventListener = function (name, act) { listen.call(this, name, name !== 'status' ? act : event => { \
    act(event); const at = JSON.parse(event.data)['at-ms']; requestAnimationFrame(() => { const done = new MessageChannel(); \
    done.port1.onmessage = () => shown.push(Date.now() - at); done.port2.postMessage(0); }); }); };";

#[test]
#[ignore = "measures"]
fn figures_from_an_update_to_its_pixels() {
    let hosted = users("50ms", 30);
    let Some(mut page) = hosted.open("live") else { return };
    page.call("Page.addScriptToEvaluateOnNewDocument", json!({ "source": STOPWATCH }));
    for tab in Hosted::tabs(&mut page) {
        page.go(&format!("http://{}/?{tab}#{tab}", hosted.address));
        page.wait_for(&format!("location.search === '?{tab}' && !document.getElementById('{tab}-panel').hidden"));
        page.wait_for("window.shown.length >= 12");
        let shown = page.eval("window.shown.slice(2)");
        tell(&format!("from an update to its pixels, {tab}"), serde_json::from_value(shown).unwrap());
    }
}

/// How long one side of a comparison is watched at a time.
const WINDOW: Duration = Duration::from_secs(4);

struct Watched {
    records_per_second: f64,
    cores: f64,
    api_cores: f64,
}

fn watch(hosted: &Hosted) -> Watched {
    let emitted = || hosted.api("/api/status")["totals"]["emitted"].as_f64().unwrap();
    let (began, cpu_before, before) = (Instant::now(), Cpu::of(hosted.host.pid()), emitted());
    crate::support::wait_for("the end of the window", || (began.elapsed() >= WINDOW).then_some(()));
    let (seconds, used) = (began.elapsed().as_secs_f64(), Cpu::of(hosted.host.pid()).since(cpu_before));
    Watched { records_per_second: (emitted() - before) / seconds, cores: used.all / seconds, api_cores: used.api / seconds }
}

fn mean(watched: &[Watched], of: impl Fn(&Watched) -> f64) -> f64 {
    watched.iter().map(of).sum::<f64>() / watched.len() as f64
}

#[test]
#[ignore = "measures"]
fn figures_of_the_hosts_cpu_for_one_page() {
    let hosted = users("100ms", 1_000);
    let Some(mut page) = hosted.open("live") else { return };
    let (mut with, mut without) = (Vec::new(), Vec::new());
    for round in 0..2 {
        page.go(&format!("http://{}/?{round}#live", hosted.address));
        page.wait_for(&format!("location.search === '?{round}' && document.body?.dataset.link === 'live'"));
        with.push(watch(&hosted));
        page.go("about:blank");
        without.push(watch(&hosted));
    }
    for (what, watched) in [("with", &with), ("without", &without)] {
        eprintln!(
            "{what} a page: {:.0} records/s, host {:.1} % of a core, its page thread {:.2} %",
            mean(watched, |one| one.records_per_second),
            mean(watched, |one| one.cores) * 100.0,
            mean(watched, |one| one.api_cores) * 100.0
        );
    }
    let more = |of: fn(&Watched) -> f64| (mean(&with, of) - mean(&without, of)) * 100.0;
    eprintln!(
        "one page costs {:.2} % of a core (page thread), {:.1} % (all of the host)",
        more(|w| w.api_cores),
        more(|w| w.cores)
    );
}

/// As many idle sockets as this process may have, up to 2,000, and 100 streams that nobody reads.
fn crowd(at: SocketAddr) -> Vec<TcpStream> {
    let stream = |_| {
        let mut stream = TcpStream::connect(at).ok()?;
        write!(stream, "GET /api/events HTTP/1.1\r\nHost: {at}\r\n\r\n").ok()?;
        Some(stream)
    };
    let mut all: Vec<TcpStream> = (0..100).filter_map(stream).collect();
    all.extend((0..2_000).map_while(|_| TcpStream::connect(at).ok()));
    all
}

#[test]
#[ignore = "measures"]
fn figures_of_throughput_beside_a_crowd() {
    let hosted = users("0s", 2_000);
    hosted.until("a warm start", |status| status["totals"]["emitted"].as_u64() > Some(20_000));
    let (mut with, mut without) = (Vec::new(), Vec::new());
    // There and back: a table that grows takes its rows ever more slowly.
    for beside_a_crowd in [false, true, true, false, false, true, true, false] {
        let crowd = beside_a_crowd.then(|| crowd(hosted.address));
        let watched = watch(&hosted);
        eprintln!("{:.0} records/s beside {} sockets", watched.records_per_second, crowd.map_or(0, |crowd| crowd.len()));
        if beside_a_crowd { &mut with } else { &mut without }.push(watched);
    }
    let rate = |watched: &[Watched]| mean(watched, |one| one.records_per_second);
    let (with, without) = (rate(&with), rate(&without));
    eprintln!("{without:.0} records/s alone, {with:.0} beside a crowd: {:.1} %", with / without * 100.0);
}
