//! `POST /api/v1/in/NAME`: messages of the sources that are configured.
//!
//! Invariant: who is not let in learns nothing but that; 2xx means that all is on the disk.

use std::time::Duration;

use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use super::Shown;
use super::reply::{Failure, NoBody, success, whole};
use crate::intake::IntakeError;

/// The most that a message may have.
const MAX_BODY: usize = 1 << 20;
/// How long it may take to come.
const PATIENCE: Duration = Duration::from_secs(15);

/// Takes a message.
pub(super) async fn take(
    State(shown): State<Shown>,
    Path(name): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Failure> {
    let Ok(_turn) = shown.writes.acquire().await else {
        return Err(Failure::unavailable("Veilleur is stopping"));
    };
    let body = whole(body, MAX_BODY, PATIENCE).await.map_err(|why| match why {
        NoBody::Broken(_) => {
            let message = format!("the message is not complete, or has more than {MAX_BODY} bytes");
            Failure::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", message)
        }
        NoBody::Late => {
            let message = "the message did not arrive in time";
            Failure::new(StatusCode::REQUEST_TIMEOUT, "timeout", message)
        }
    })?;
    let taken = shown.intake.take(&name, &headers, &body, shown.clock.believed()).await;
    let taken = taken.map_err(|error| {
        let (status, kind) = match error {
            IntakeError::NotFound => (StatusCode::NOT_FOUND, "not_found"),
            IntakeError::Unproven(_) => (StatusCode::UNAUTHORIZED, "unauthorized"),
            IntakeError::Malformed(_) => (StatusCode::BAD_REQUEST, "bad_data"),
            IntakeError::TooMany(_) => (StatusCode::TOO_MANY_REQUESTS, "too_many"),
            IntakeError::Unavailable(_) => (StatusCode::SERVICE_UNAVAILABLE, "unavailable"),
        };
        Failure::new(status, kind, error.to_string())
    })?;
    let data = json!({
        "firing": taken.firing,
        "resolved": taken.resolved,
        "ignored": taken.ignored,
        "replayed": taken.replayed,
    });
    Ok(success(&headers, &data).into_response())
}
