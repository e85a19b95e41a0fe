//! The page for people: the numbers of the moment written into the HTML, so that it tells the truth without JavaScript too.
//! Everything that comes from a record, a plugin or a file is escaped on its way into the HTML. What draws it are `assets`.

mod assets;

use std::fmt::Write;

use axum::http::header;
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;
use serde_json::Value;

pub use self::assets::asset;
use super::Snapshot;

const HTML: &str = include_str!("page/index.html");

pub fn home(snapshot: &Snapshot) -> Response {
    ([(header::CONTENT_TYPE, "text/html; charset=utf-8")], fill(HTML, snapshot)).into_response()
}

/// Replaces each `{{name}}` of the template, once, so that no value can be taken for a name.
fn fill(template: &str, snapshot: &Snapshot) -> String {
    let mut html = String::with_capacity(template.len() + (16 << 10));
    let mut rest = template;
    while let Some((before, after)) = rest.split_once("{{") {
        let Some((name, after)) = after.split_once("}}") else { break };
        html.push_str(before);
        html.push_str(&value(name, snapshot));
        rest = after;
    }
    html.push_str(rest);
    html
}

fn value(name: &str, snapshot: &Snapshot) -> String {
    let stand_in = snapshot.source.as_ref().and_then(|source| source.stand_in_for.as_deref());
    let hidden = |hidden: bool| if hidden { " hidden" } else { "" }.to_owned();
    let totals = &snapshot.totals;
    match name {
        "pipeline" => escape(&snapshot.pipeline),
        "started" => time(snapshot.started_ms),
        "at" => time(snapshot.at_ms),
        "state" => escape(&snapshot.state),
        "reason" => escape(snapshot.reason.as_deref().unwrap_or_default()),
        "reason-hidden" => hidden(snapshot.reason.is_none()),
        "stand-in" => stand_in
            .map(|why| {
                format!("Stand-in data: these users are made up by the generator, because the host could not {}", escape(why))
            })
            .unwrap_or_default(),
        "stand-in-hidden" => hidden(stand_in.is_none()),
        "alarms" => snapshot.alarms.iter().fold(String::new(), |list, alarm| list + "<li>" + &escape(alarm) + "</li>"),
        "alarms-hidden" => hidden(snapshot.alarms.is_empty()),
        "total" => grouped(totals.emitted),
        "total-aside" => {
            let [dropped, deleted, rejected] = [totals.dropped, totals.deleted, totals.rejected].map(grouped);
            format!("{dropped} dropped · {deleted} deleted · {rejected} rejected")
        }
        "rate" => rate(snapshot.records_per_second),
        "lag" => grouped(lag(snapshot)),
        "lag-aside" => match snapshot.partitions.len() {
            1 => "1 partition".to_owned(),
            n => format!("{n} partitions"),
        },
        "dead" => grouped(snapshot.dead_letters),
        "memory" => bytes(snapshot.rss_bytes),
        "flow" => flow(snapshot),
        "latest-count" => match snapshot.latest.len() {
            0 => "none yet".to_owned(),
            n => format!("the newest {n}"),
        },
        "latest-head" => latest_head(snapshot),
        "latest-body" => latest_body(snapshot),
        "version" => env!("CARGO_PKG_VERSION").to_owned(),
        _ => String::new(),
    }
}

fn lag(snapshot: &Snapshot) -> u64 {
    snapshot.partitions.values().map(|partition| partition.lag.max(0) as u64).sum()
}

/// The same cards as the script draws, with fewer figures.
fn flow(snapshot: &Snapshot) -> String {
    let mut cards = Vec::new();
    match &snapshot.source {
        Some(source) => cards.push(card("source", &source.kind, &source.state, "records", source.records)),
        None => cards.push(card("source", "fed by others", "records come into the topic from outside", "records", 0)),
    }
    cards.push(card("topic", &snapshot.topic.name, &snapshot.topic.at, "waiting", lag(snapshot)));
    for stage in &snapshot.stages {
        cards.push(card("stage", &stage.name, &format!("generation {}", stage.generation), "rows", stage.rows));
    }
    cards.push(snapshot.sinks.iter().map(|sink| card("sink", &sink.name, &sink.at, "rows", sink.rows)).collect());
    cards.iter().fold(String::new(), |html, card| html + "<li><div class=\"stack\">" + card + "</div></li>")
}

fn card(what: &str, name: &str, sub: &str, figure: &str, count: u64) -> String {
    let (name, sub, count) = (escape(name), escape(sub), grouped(count));
    format!(
        "<div class=\"node\"><p class=\"what\">{what}</p><h3>{name}</h3><p class=\"sub\">{sub}</p>\
         <ul><li><span>{figure}</span><b>{count}</b></li></ul></div>"
    )
}

/// Every column of the latest rows, in the order of their first appearance.
fn columns(snapshot: &Snapshot) -> Vec<&str> {
    let mut columns: Vec<&str> = Vec::new();
    for name in snapshot.latest.iter().flat_map(|row| row.keys()) {
        if !columns.contains(&name.as_str()) {
            columns.push(name);
        }
    }
    columns
}

fn latest_head(snapshot: &Snapshot) -> String {
    let cells =
        columns(snapshot).iter().fold(String::new(), |cells, name| cells + "<th scope=\"col\">" + &escape(name) + "</th>");
    format!("<tr>{cells}</tr>")
}

fn latest_body(snapshot: &Snapshot) -> String {
    let columns = columns(snapshot);
    let mut html = String::new();
    for row in &snapshot.latest {
        html.push_str("<tr>");
        for column in &columns {
            match row.get(*column) {
                None | Some(Value::Null) => html.push_str("<td class=\"none\">null</td>"),
                Some(Value::String(text)) => html.extend(["<td>", &escape(text), "</td>"]),
                Some(value) => html.extend(["<td>", &escape(&value.to_string()), "</td>"]),
            }
        }
        html.push_str("</tr>");
    }
    html
}

fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            c => escaped.push(c),
        }
    }
    escaped
}

/// `2026-01-31 08:15:30 UTC`.
fn time(ms: i64) -> String {
    Timestamp::from_millisecond(ms).map(|at| at.strftime("%F %T UTC").to_string()).unwrap_or_default()
}

/// `1,234,567`.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

fn rate(rate: f64) -> String {
    if rate >= 100.0 { grouped(rate.round() as u64) } else { format!("{}", (rate * 10.0).round() / 10.0) }
}

fn bytes(bytes: u64) -> String {
    let mut text = String::new();
    let _ = match bytes {
        0..1024 => write!(text, "{bytes} B"),
        1024..1_048_576 => write!(text, "{:.1} KiB", bytes as f64 / 1024.0),
        _ => write!(text, "{:.1} MiB", bytes as f64 / 1_048_576.0),
    };
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_cannot_write_html_or_name_a_placeholder() {
        let row = serde_json::json!({ "name": "<script>alert('&\"')</script>{{memory}}" });
        let snapshot = Snapshot {
            pipeline: "</title>".to_owned(),
            latest: vec![row.as_object().expect("an object").clone()],
            ..Snapshot::default()
        };
        let html = fill(HTML, &snapshot);
        assert!(html.contains("<td>&lt;script&gt;alert(&#39;&amp;&quot;&#39;)&lt;/script&gt;{{memory}}</td>"));
        assert!(html.contains("<title>&lt;/title&gt; · Tidemill</title>"));
        assert_eq!(html.matches("{{").count(), 1, "a placeholder of the template was not filled");
    }

    #[test]
    fn numbers_read_as_the_script_writes_them() {
        assert_eq!([0, 999, 1_000, 1_234_567].map(grouped), ["0", "999", "1,000", "1,234,567"]);
        assert_eq!([0.0, 9.96, 99.94, 1234.5].map(rate), ["0", "10", "99.9", "1,235"]);
    }
}
