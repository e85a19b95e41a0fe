//! Log lines: found, followed and downloaded.

use std::convert::Infallible;

use axum::extract::{Query, State};
use axum::http::{StatusCode, header};
use axum::response::sse::{Event, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::stream;

use super::Shared;
use crate::status::guard::problem;
use crate::status::logs::{Found, Wanted};

/// Lines of one answer or event, unless asked otherwise.
const LINES: usize = 500;

fn withheld(shared: &Shared) -> Option<Response> {
    // Lines may hold anything, values of records too.
    shared.view.showing.is_public().then(|| problem(StatusCode::FORBIDDEN, "a public page shows no logs"))
}

pub(super) async fn list(State(shared): State<Shared>, Query(wanted): Query<Wanted>) -> Response {
    if let Some(refusal) = withheld(&shared) {
        return refusal;
    }
    let limit = Some(wanted.limit.unwrap_or(LINES));
    axum::Json(shared.logs.find(&Wanted { limit, ..wanted })).into_response()
}

pub(super) async fn download(State(shared): State<Shared>, Query(wanted): Query<Wanted>) -> Response {
    if let Some(refusal) = withheld(&shared) {
        return refusal;
    }
    let lines: String = shared.logs.find(&wanted).lines.iter().map(|line| line.plain() + "\n").collect();
    let headers = [
        (header::CONTENT_TYPE, "text/plain; charset=utf-8"),
        (header::CONTENT_DISPOSITION, "attachment; filename=\"tidemill.log\""),
    ];
    (headers, lines).into_response()
}

/// Events `log`: a list of lines; `lost`: how many went before they could be sent.
pub(super) async fn follow(State(shared): State<Shared>, Query(wanted): Query<Wanted>) -> Response {
    if let Some(refusal) = withheld(&shared) {
        return refusal;
    }
    let Some(place) = shared.events.place() else { return crate::status::events::full() };
    let mut grown = shared.logs.watch();
    grown.mark_changed();
    let limit = Some(wanted.limit.unwrap_or(LINES));
    let start = (shared.logs, grown, Wanted { limit, ..wanted }, place);
    let events = stream::unfold(start, |(logs, mut grown, mut wanted, place)| async move {
        loop {
            grown.changed().await.ok()?;
            grown.mark_unchanged();
            let Found { lines, next, lost, .. } = logs.find(&wanted);
            let first = wanted.from == 0;
            wanted.from = next;
            let mut events = Vec::new();
            if lost > 0 && !first {
                events.push(Event::default().event("lost").data(lost.to_string()));
            }
            if !lines.is_empty() {
                events.push(Event::default().event("log").data(serde_json::to_string(&lines).unwrap_or_default()));
            }
            if !events.is_empty() {
                let events = stream::iter(events.into_iter().map(Ok::<Event, Infallible>));
                return Some((events, (logs, grown, wanted, place)));
            }
        }
    });
    Sse::new(futures_util::StreamExt::flatten(events)).into_response()
}
