//! The files that draw the page, packed once.

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::LazyLock;

use axum::extract::Path;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use flate2::Compression;
use flate2::write::GzEncoder;

use crate::status::guard::problem;

const SCRIPT: &str = "text/javascript; charset=utf-8";
const STYLE: &str = "text/css; charset=utf-8";

macro_rules! files {
    ($($kind:expr => $($name:literal)+;)+) => { [$($(($name, $kind, include_bytes!($name))),+),+] };
}

/// Name, media type and bytes.
const FILES: &[(&str, &str, &[u8])] = &files! {
    "image/svg+xml" => "icon.svg";
    STYLE => "style.css" "tabs.css";
    SCRIPT => "app.js" "act.js" "chart.js" "dom.js" "format.js" "graph.js" "guide.js" "host.js" "letters.js" "live.js" "logs.js" "partitions.js" "pictures.js" "pipeline.js" "plugins.js" "runs.js";
};

struct Asset {
    kind: &'static str,
    plain: &'static [u8],
    packed: Vec<u8>,
}

static ASSETS: LazyLock<BTreeMap<&'static str, Asset>> = LazyLock::new(|| {
    let pack = |plain: &[u8]| {
        let mut packer = GzEncoder::new(Vec::new(), Compression::best());
        packer.write_all(plain).and_then(|()| packer.finish()).expect("memory takes all that is written")
    };
    FILES.iter().map(|(name, kind, plain)| (*name, Asset { kind, plain, packed: pack(plain) })).collect()
});

/// `GET /page/{name}`
pub async fn asset(Path(name): Path<String>, headers: HeaderMap) -> Response {
    let Some(asset) = ASSETS.get(name.as_str()) else { return problem(StatusCode::NOT_FOUND, "no such route") };
    let accepted = headers.get(header::ACCEPT_ENCODING).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let kind = [(header::CONTENT_TYPE, asset.kind)];
    if accepted.split(',').any(|coding| coding.trim().split(';').next() == Some("gzip")) {
        (kind, [(header::CONTENT_ENCODING, "gzip"), (header::VARY, "accept-encoding")], asset.packed.as_slice()).into_response()
    } else {
        (kind, [(header::VARY, "accept-encoding")], asset.plain).into_response()
    }
}
