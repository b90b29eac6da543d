//! `/api/v1/admin/tsdb/...`: deleting series, and copies of the samples, for those who were started so
//! that they may.
//!
//! Invariant: without `--web.enable-admin-api` each of them is refused before anything is read.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;
use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use base::sample::Timestamp;
use serde_json::json;

use super::Shown;
use super::labels::selectors;
use super::query::Parameters;
use super::reply::{Failure, success};
use super::time::print_time;

/// Where copies are made, if they may be.
fn allowed(shown: &Shown) -> Result<&PathBuf, Failure> {
    let status = StatusCode::INTERNAL_SERVER_ERROR;
    let refused = || Failure::new(status, "unavailable", "admin APIs disabled");
    shown.snapshots.as_ref().ok_or_else(refused)
}

/// `POST /api/v1/admin/tsdb/delete_series`: as `veilleur storage delete`, while we run.
pub(super) async fn delete(
    State(shown): State<Shown>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Failure> {
    allowed(&shown)?;
    let parameters = Parameters::read(query, &headers, &body)?;
    let selectors = selectors(&parameters)?;
    if selectors.is_empty() {
        return Err(Failure::bad_data("no match[] parameter provided"));
    }
    let from = parameters.time("start", Timestamp::MIN)?;
    let to = parameters.time("end", Timestamp::MAX)?;
    let storage = Arc::clone(&shown.storage);
    let work = tokio::task::spawn_blocking(move || {
        for matchers in &selectors {
            let deleted = storage.delete(matchers, from, to).map_err(|error| error.to_string())?;
            tracing::warn!(series = deleted, "samples were deleted because somebody asked for it");
        }
        Ok::<(), String>(())
    });
    let done = work.await.map_err(|panic| Failure::internal(panic.to_string()))?;
    done.map_err(Failure::internal)?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// `POST /api/v1/admin/tsdb/clean_tombstones`: what is deleted is gone at once, so nothing is left to do.
pub(super) async fn clean(State(shown): State<Shown>) -> Result<Response, Failure> {
    allowed(&shown)?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// `POST /api/v1/admin/tsdb/snapshot`: a copy in the data folder, which `--data` reads.
pub(super) async fn snapshot(
    State(shown): State<Shown>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Failure> {
    let folder = allowed(&shown)?.clone();
    let parameters = Parameters::read(query, &headers, &body)?;
    match parameters.get("skip_head") {
        None | Some("false" | "0" | "f" | "F" | "FALSE" | "False") => {}
        Some(_) => {
            return Err(Failure::parameter("skip_head", "a copy always has all samples here"));
        }
    }
    let storage = Arc::clone(&shown.storage);
    let name = print_time(Timestamp::now()).replace(['-', ':', '.'], "");
    let shown_name = name.clone();
    let work = tokio::task::spawn_blocking(move || {
        let own = folder.join(&name);
        DirBuilder::new().recursive(true).mode(0o700).create(&own)?;
        storage.sync()?;
        storage.snapshot(&own.join("samples"))
    });
    let done = work.await.map_err(|panic| Failure::internal(panic.to_string()))?;
    done.map_err(|error| Failure::internal(format!("the copy cannot be made: {error}")))?;
    Ok(success(&headers, &json!({"name": shown_name})))
}
