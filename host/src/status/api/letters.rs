//! Dead letters: listed, grouped, shown, replayed, discarded, pinned and downloaded.

#![allow(clippy::result_large_err, reason = "a refusal is an answer, made once per request")]

use axum::body::{Body, Bytes};
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::{Shared, answer, failed};
use crate::record::Place;
use crate::status::dead_letter::{self, Group, ShownLetter, ShownPlace, groups, merged};
use crate::status::guard::{self, problem};
use crate::status::mask::Mask;
use crate::topic::DeadLetter;

/// Letters of one request.
const LETTERS_MAX: usize = 1_000;
/// Letters that are read at once; each may have a megabyte.
const PAGE: usize = 100;
const GROUPS_MAX: usize = 50;

#[derive(Deserialize)]
pub(super) struct Listed {
    limit: Option<usize>,
    after: Option<String>,
    stage: Option<String>,
    reason: Option<String>,
}

fn place(text: &str) -> Option<Place> {
    let (partition, offset) = text.split_once('/')?;
    Some(Place { partition: partition.parse().ok()?, offset: offset.parse().ok()? })
}

fn written(place: Place) -> String {
    format!("{}/{}", place.partition, place.offset)
}

/// Which of them.
#[derive(Default)]
struct Those {
    stage: Option<String>,
    group: Option<String>,
}

impl Those {
    fn take(&self, letter: &DeadLetter, mask: &Mask) -> bool {
        self.stage.as_ref().is_none_or(|stage| letter.stage.as_deref().unwrap_or_default() == stage)
            && self
                .group
                .as_ref()
                .is_none_or(|group| dead_letter::group(&letter.reason) == *group || *group == shown_group(letter, mask))
    }
}

/// The group of a letter, by its reason as it may be seen.
fn shown_group(letter: &DeadLetter, mask: &Mask) -> String {
    dead_letter::group(&mask.reason(&letter.reason, letter.value.as_deref()))
}

/// Calls back with letters by place, until it says false. True: there are no more.
async fn each(
    shared: &Shared,
    mut after: Option<Place>,
    those: &Those,
    mut letter: impl FnMut(&DeadLetter) -> bool,
) -> anyhow::Result<bool> {
    loop {
        let page = shared.control.dead_letters(after, PAGE).await?;
        let Some(last) = page.last().map(|last| last.place) else { return Ok(true) };
        for found in page.iter().filter(|found| those.take(found, &shared.view.showing.mask)) {
            if !letter(found) {
                return Ok(false);
            }
        }
        after = Some(last);
    }
}

pub(super) async fn list(State(shared): State<Shared>, Query(wanted): Query<Listed>) -> Response {
    let after = match wanted.after.as_deref().map(place) {
        Some(None) => return problem(StatusCode::BAD_REQUEST, "a place is partition/offset, such as 0/17"),
        Some(after) => after,
        None => None,
    };
    let limit = wanted.limit.unwrap_or(PAGE).min(LETTERS_MAX);
    let those = Those { stage: wanted.stage, group: wanted.reason };
    let mut letters: Vec<ShownLetter> = Vec::new();
    let all = each(&shared, after, &those, |letter| {
        let room = letters.len() < limit;
        if room {
            letters.push(shared.seen(ShownLetter::brief(letter, &shared.view.showing.mask)));
        }
        room
    });
    match all.await {
        Err(error) => failed(&error),
        Ok(all) => {
            let last = letters.last().map(|last| written(last.place()));
            let next = last.filter(|_| !all);
            let count = shared.view.snapshot().dead_letters;
            axum::Json(json!({ "count": count, "dead-letters": letters, "next": next })).into_response()
        }
    }
}

pub(super) async fn grouped(State(shared): State<Shared>) -> Response {
    let reasons = match shared.control.dead_letter_reasons().await {
        Ok(reasons) => reasons,
        Err(error) => return failed(&error),
    };
    let count: u64 = reasons.iter().map(|reason| reason.count).sum();
    let mut groups = groups(reasons);
    groups.truncate(GROUPS_MAX);
    if let Err(error) = seen(&shared, &mut groups).await {
        return failed(&error);
    }
    let others = count - groups.iter().map(|group| group.count).sum::<u64>();
    if shared.view.showing.is_public() {
        groups.iter_mut().for_each(|group| group.group = "withheld".to_owned());
    }
    axum::Json(json!({ "count": count, "groups": groups, "others": others })).into_response()
}

/// Groups named as they may be seen: what a plugin wrote into its reasons may be a masked field's value.
async fn seen(shared: &Shared, groups: &mut Vec<Group>) -> anyhow::Result<()> {
    let mask = &shared.view.showing.mask;
    for group in groups.iter_mut().filter(|group| group.stage.is_some() && !mask.is_empty()) {
        if let Some(letter) = shared.control.dead_letter(group.first).await? {
            group.group = shown_group(&letter, mask);
        }
    }
    // Those that differed in what is masked only are one now.
    *groups = merged(std::mem::take(groups));
    Ok(())
}

#[derive(Deserialize)]
pub(super) struct Reveal {
    #[serde(default)]
    reveal: bool,
}

impl Reveal {
    /// How letters are shown: as they are to whoever has the token, else without what is masked.
    fn show(&self, shared: &Shared, headers: &HeaderMap) -> Result<impl Fn(&DeadLetter) -> ShownLetter + use<>, Response> {
        if shared.view.showing.is_public() {
            return Err(problem(StatusCode::FORBIDDEN, "a public page shows no records"));
        }
        if self.reveal && !shared.guard.is_authorised(headers) {
            return Err(guard::unauthorised("the record as it was is for those who have the token"));
        }
        let (reveal, showing) = (self.reveal, shared.view.showing.clone());
        Ok(move |letter: &DeadLetter| match reveal {
            true => ShownLetter::whole(letter),
            false => ShownLetter::masked(letter, &showing.mask),
        })
    }
}

pub(super) async fn show(
    State(shared): State<Shared>,
    Path(place): Path<ShownPlace>,
    Query(reveal): Query<Reveal>,
    headers: HeaderMap,
) -> Response {
    let show = match reveal.show(&shared, &headers) {
        Ok(show) => show,
        Err(refusal) => return refusal,
    };
    match shared.control.dead_letter(place.into()).await {
        Ok(None) => missing(),
        found => answer(found.map(|letter| letter.as_ref().map(&show))),
    }
}

pub(super) async fn download(State(shared): State<Shared>, Query(reveal): Query<Reveal>, headers: HeaderMap) -> Response {
    let show = match reveal.show(&shared, &headers) {
        Ok(show) => show,
        Err(refusal) => return refusal,
    };
    let lines = stream::unfold((shared, None, show), |(shared, after, show)| async move {
        let page = match shared.control.dead_letters(after, PAGE).await {
            Ok(page) => page,
            Err(error) => return Some((Err(std::io::Error::other(format!("{error:#}"))), (shared, after, show))),
        };
        let after = Some(page.last()?.place);
        let mut lines = String::new();
        for letter in &page {
            lines += &serde_json::to_string(&show(letter)).unwrap_or_default();
            lines.push('\n');
        }
        Some((Ok(Bytes::from(lines)), (shared, after, show)))
    });
    let headers = [
        (header::CONTENT_TYPE, "application/x-ndjson"),
        (header::CONTENT_DISPOSITION, "attachment; filename=\"dead-letters.ndjson\""),
    ];
    (headers, Body::from_stream(lines)).into_response()
}

// ---- changes

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
struct Replay {
    force: bool,
    dry_run: bool,
}

async fn read<T: DeserializeOwned>(body: Body) -> Result<T, Response> {
    let body = guard::body_of(body).await?;
    serde_json::from_value(body).map_err(|error| problem(StatusCode::BAD_REQUEST, &format!("read the body: {error}")))
}

async fn exists(shared: &Shared, place: Place) -> Result<(), Response> {
    match shared.control.dead_letter(place).await {
        Ok(Some(_)) => Ok(()),
        Ok(None) => Err(missing()),
        Err(error) => Err(failed(&error)),
    }
}

async fn replay_one(shared: &Shared, place: Place, wanted: &Replay) -> anyhow::Result<Option<String>> {
    match wanted.dry_run {
        true => shared.control.rehearse(place).await,
        false => shared.control.replay(place, wanted.force).await,
    }
}

pub(super) async fn replay(State(shared): State<Shared>, Path(place): Path<ShownPlace>, body: Body) -> Response {
    let done = async {
        let wanted: Replay = read(body).await?;
        let place = Place::from(place);
        exists(&shared, place).await?;
        match replay_one(&shared, place, &wanted).await {
            Ok(rejected) => Ok(axum::Json(json!({ "passed": rejected.is_none(), "reason": rejected })).into_response()),
            Err(error) => Err(problem(StatusCode::CONFLICT, &format!("{error:#}"))),
        }
    };
    done.await.unwrap_or_else(|refusal: Response| refusal)
}

pub(super) async fn discard(State(shared): State<Shared>, Path(place): Path<ShownPlace>) -> Response {
    match shared.control.discard(place.into()).await {
        Ok(true) => axum::Json(json!({ "discarded": true })).into_response(),
        Ok(false) => missing(),
        Err(error) => failed(&error),
    }
}

/// Which letters a change is for.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
struct Selection {
    places: Vec<String>,
    all: bool,
    group: Option<String>,
    stage: Option<String>,
    /// From behind this place on: where the last answer said that there is more.
    after: Option<String>,
    force: bool,
    dry_run: bool,
}

impl Selection {
    /// The places, at most [`LETTERS_MAX`], and whether there are more.
    async fn choose(&self, shared: &Shared) -> Result<(Vec<Place>, bool), Response> {
        let wrong = |why: &str| problem(StatusCode::BAD_REQUEST, why);
        let several = usize::from(!self.places.is_empty()) + usize::from(self.all) + usize::from(self.group.is_some());
        if several != 1 {
            return Err(wrong("say which: places, all or group"));
        }
        let parse = |text: &String| place(text).ok_or_else(|| wrong("a place is partition/offset, such as 0/17"));
        if !self.places.is_empty() {
            if self.places.len() > LETTERS_MAX {
                return Err(wrong("at most 1,000 places are taken at once"));
            }
            return Ok((self.places.iter().map(parse).collect::<Result<_, _>>()?, false));
        }
        let after = self.after.as_ref().map(parse).transpose()?;
        // A group without a stage is that of the host itself.
        let stage = if self.group.is_some() { Some(self.stage.clone().unwrap_or_default()) } else { self.stage.clone() };
        let those = Those { stage, group: self.group.clone() };
        let mut places = Vec::new();
        let all = each(shared, after, &those, |letter| {
            let room = places.len() < LETTERS_MAX;
            if room {
                places.push(letter.place);
            }
            room
        });
        let all = all.await.map_err(|error| failed(&error))?;
        Ok((places, !all))
    }
}

pub(super) async fn replay_many(State(shared): State<Shared>, body: Body) -> Response {
    let done = async {
        let selection: Selection = read(body).await?;
        let (places, more) = selection.choose(&shared).await?;
        let wanted = Replay { force: selection.force, dry_run: selection.dry_run };
        let mut results: Vec<Value> = Vec::with_capacity(places.len());
        let (mut passed, mut rejected) = (0, 0);
        let next = places.last().filter(|_| more).map(|last| written(*last));
        for place in places {
            let (ok, reason, error) = match replay_one(&shared, place, &wanted).await {
                Ok(None) => (true, None, None),
                Ok(reason) => (false, reason, None),
                Err(error) => (false, None, Some(format!("{error:#}"))),
            };
            passed += u64::from(ok);
            rejected += u64::from(reason.is_some());
            let Place { partition, offset } = place;
            results.push(json!({ "partition": partition, "offset": offset, "passed": ok, "reason": reason, "error": error }));
        }
        let tried = results.len();
        Ok(axum::Json(json!({
            "dry-run": wanted.dry_run, "tried": tried, "passed": passed, "rejected": rejected, "results": results,
            "more": more, "next": next,
        }))
        .into_response())
    };
    done.await.unwrap_or_else(|refusal: Response| refusal)
}

pub(super) async fn discard_many(State(shared): State<Shared>, body: Body) -> Response {
    let done = async {
        let selection: Selection = read(body).await?;
        let (places, more) = selection.choose(&shared).await?;
        let mut discarded = 0;
        for place in places {
            discarded += u64::from(shared.control.discard(place).await.map_err(|error| failed(&error))?);
        }
        Ok(axum::Json(json!({ "discarded": discarded, "more": more })).into_response())
    };
    done.await.unwrap_or_else(|refusal: Response| refusal)
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
struct Pin {
    name: Option<String>,
    dry_run: bool,
}

pub(super) async fn pin(State(shared): State<Shared>, Path(place): Path<ShownPlace>, body: Body) -> Response {
    let done = async {
        let wanted: Pin = read(body).await?;
        let place = Place::from(place);
        exists(&shared, place).await?;
        let pinned = shared.control.pin(place, wanted.name, !wanted.dry_run).await;
        pinned
            .map(|pinned| axum::Json(pinned).into_response())
            .map_err(|error| problem(StatusCode::CONFLICT, &format!("{error:#}")))
    };
    done.await.unwrap_or_else(|refusal: Response| refusal)
}

fn missing() -> Response {
    problem(StatusCode::NOT_FOUND, "no such dead letter")
}
