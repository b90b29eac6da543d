//! `/api/v1/read`: samples for another Prometheus (remote read, sampled and streamed).
//!
//! Invariant: an answer is whole before it is begun, so that nobody takes a part of it for all.

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::Shown;
use super::reply::{Failure, PATIENCE, whole};
use crate::remote_read::{Question, ReadError};

/// The most that a body may have as it comes.
const MAX_BODY: usize = 1 << 20;

/// Answers a question.
pub(super) async fn read(
    State(shown): State<Shown>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Failure> {
    let encoding = headers.get(header::CONTENT_ENCODING).and_then(|value| value.to_str().ok());
    if !encoding.unwrap_or("snappy").eq_ignore_ascii_case("snappy") {
        let why = "the content encoding is not snappy\n";
        return Ok((StatusCode::UNSUPPORTED_MEDIA_TYPE, why).into_response());
    }
    let body = whole(body, MAX_BODY, PATIENCE).await?;
    let external = shown.config.routing().external_labels.clone();
    let question = Question::read(&body, &external).map_err(Failure::bad_data)?;
    // It reads as much as a query does.
    let turn = std::sync::Arc::clone(&shown.queries).acquire_owned().await;
    let turn = turn.map_err(|_| Failure::unavailable("Veilleur is stopping"))?;
    let storage = std::sync::Arc::clone(&shown.storage);
    let answered = tokio::task::spawn_blocking(move || {
        let _turn = turn;
        question.answer(&storage, &external)
    });
    let answer = match answered.await.map_err(|error| Failure::internal(error.to_string()))? {
        Ok(answer) => answer,
        Err(error @ ReadError::TooManySamples(_)) => {
            return Err(Failure::bad_data(error.to_string()));
        }
        Err(ReadError::Storage(error)) => return Err(Failure::internal(error.to_string())),
    };
    let mut response = answer.body.into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(answer.content_type));
    if let Some(encoding) = answer.encoding {
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static(encoding));
    }
    Ok(response)
}
