//! The page in a real Chromium, over pipelines that run: what it shows is what the API and the store say, what it does is done,
//! and nobody's text runs in it.

#[path = "support/browser.rs"]
mod browser;
#[path = "support/cpu.rs"]
mod cpu;
#[path = "support/http.rs"]
#[allow(dead_code, reason = "each class of test uses a part of it")]
mod http;
mod support;

#[path = "page/access.rs"]
mod access;
#[path = "page/figures.rs"]
mod figures;
#[path = "page/guide.rs"]
mod guide;
#[path = "page/hosted.rs"]
mod hosted;
#[path = "page/letters.rs"]
mod letters;
#[path = "page/live.rs"]
mod live;
#[path = "page/logs.rs"]
mod logs;
#[path = "page/looks.rs"]
mod looks;
#[path = "page/pipeline.rs"]
mod pipeline;
#[path = "page/plugins.rs"]
mod plugins;
#[path = "page/runs.rs"]
mod runs;
#[path = "page/safety.rs"]
mod safety;
#[path = "page/soak.rs"]
mod soak;
#[path = "page/swapped.rs"]
mod swapped;
