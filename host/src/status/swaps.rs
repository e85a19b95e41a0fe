//! The API's routes about swaps: receipts, generations, what runs beside a stage, and what a person may ask.
#![allow(clippy::result_large_err, reason = "a refusal is an answer, made once per request")]

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::api::{Page, Shared, answer};
use super::guard::{self, problem};
use super::swap::{Receipt, Refusal, Swaps, Wish};

pub(super) fn routes() -> Router<Shared> {
    Router::new()
        .route("/api/receipts", get(receipts))
        .route("/api/generations", get(generations))
        .route("/api/stages/{stage}/shadow", get(shadow))
        .route("/api/stages/{stage}/reload", post(reload))
        .route("/api/stages/{stage}/promote", post(|state, stage| wish(state, stage, Wish::Promote)))
        .route("/api/stages/{stage}/discard", post(|state, stage| wish(state, stage, Wish::Discard)))
        .route("/api/stages/{stage}/rollback", post(roll_back))
}

fn swaps(shared: &Shared) -> Result<&dyn Swaps, Response> {
    shared.control.swaps().ok_or_else(|| problem(StatusCode::CONFLICT, "nothing is swapped in this host"))
}

async fn receipts(State(shared): State<Shared>, Query(page): Query<Page>) -> Response {
    match swaps(&shared) {
        Ok(swaps) => {
            let showing = &shared.view.showing;
            let seen = |receipts: Vec<Receipt>| receipts.into_iter().map(|receipt| showing.receipt(receipt)).collect::<Vec<_>>();
            answer(swaps.receipts(page.limit()).await.map(seen))
        }
        Err(refusal) => refusal,
    }
}

async fn generations(State(shared): State<Shared>) -> Response {
    match swaps(&shared) {
        Ok(swaps) => answer(swaps.generations().await),
        Err(refusal) => refusal,
    }
}

async fn shadow(State(shared): State<Shared>, Path(stage): Path<String>) -> Response {
    match swaps(&shared).map(|swaps| swaps.shadow(&stage)) {
        Ok(Some(shadow)) => axum::Json(shared.view.showing.shadow(shadow)).into_response(),
        Ok(None) => problem(StatusCode::NOT_FOUND, "nothing runs beside this stage"),
        Err(refusal) => refusal,
    }
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Reload {
    #[serde(default)]
    force: bool,
}

async fn reload(state: State<Shared>, stage: Path<String>, body: Body) -> Response {
    match read::<Reload>(body).await {
        Ok(Reload { force }) => wish(state, stage, Wish::Reload { force }).await,
        Err(refusal) => refusal,
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RollBack {
    generation: u64,
}

async fn roll_back(state: State<Shared>, stage: Path<String>, body: Body) -> Response {
    match read::<RollBack>(body).await {
        Ok(RollBack { generation }) => wish(state, stage, Wish::RollBack { generation }).await,
        Err(refusal) => refusal,
    }
}

async fn read<T: DeserializeOwned>(body: Body) -> Result<T, Response> {
    let body = guard::body_of(body).await?;
    serde_json::from_value(body).map_err(|error| problem(StatusCode::BAD_REQUEST, &format!("read the body: {error}")))
}

/// The receipt also where the attempt was refused: it was made.
async fn wish(State(shared): State<Shared>, Path(stage): Path<String>, wish: Wish) -> Response {
    let swaps = match swaps(&shared) {
        Ok(swaps) => swaps,
        Err(refusal) => return refusal,
    };
    match swaps.wish(&stage, wish).await {
        Ok(receipt) => axum::Json(receipt).into_response(),
        Err(refusal @ Refusal::NoStage(_)) => problem(StatusCode::NOT_FOUND, &refusal.to_string()),
        Err(refusal @ Refusal::Conflict(_)) => problem(StatusCode::CONFLICT, &refusal.to_string()),
    }
}
