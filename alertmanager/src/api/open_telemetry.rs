//! `/api/v1/otlp/v1/metrics`: metrics that a program or a collector of OpenTelemetry pushes.
//!
//! Invariant: 200 means stored, but for what the answer says was left out; 4xx that the same would never be
//! stored; 5xx that it may be sent again.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use base::http::Gunzip;
use base::sample::Timestamp;

use super::Shown;
use super::reply::{Failure, PATIENCE, whole};
use crate::otlp::{Form, answer, read};

/// The most that a body may have, as it comes and when decompressed (X21).
const MAX_BODY: usize = 16 << 20;

/// Takes a message.
pub(super) async fn metrics(
    State(shown): State<Shown>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Failure> {
    if !shown.enabled.otlp {
        let why = "otlp write receiver needs to be enabled with --web.enable-otlp-receiver\n";
        return Ok((StatusCode::NOT_FOUND, why).into_response());
    }
    let text = |name| headers.get(name).and_then(|value: &header::HeaderValue| value.to_str().ok());
    let form = text(header::CONTENT_TYPE).and_then(Form::of_content_type);
    let Some(form) = form else {
        return Ok(unsupported("send `application/x-protobuf` or `application/json`"));
    };
    let is_gzip = match text(header::CONTENT_ENCODING).unwrap_or("identity") {
        "identity" | "" => false,
        "gzip" => true,
        _ => return Ok(unsupported("the content encoding is not gzip")),
    };
    // Taken before the body, so that those who wait cost no memory.
    let stopping = |_| Failure::unavailable("Veilleur is stopping");
    let turn = Arc::clone(&shown.writes).acquire_owned().await.map_err(stopping)?;
    let body = whole(body, MAX_BODY, PATIENCE).await?;
    let (ingest, now) = (shown.ingest.clone(), Timestamp::now());
    let options = Arc::clone(&shown.config.routing().otlp);
    let work = move || {
        // Until this ends, also where nobody waits for it any more.
        let _turn = turn;
        let body = if is_gzip { unpacked(&body)? } else { body.to_vec() };
        let translated =
            read(&body, form, &options).map_err(|e| Failure::bad_data(e.to_string()))?;
        drop(body);
        let written = ingest.write(&translated.received, now);
        let written = written.map_err(|error| Failure::internal(error.to_string()))?;
        let mut reasons = translated.reasons;
        reasons.extend(written.refused);
        if translated.points == 0 && translated.rejected > 0 {
            return Err(Failure::bad_data(reasons.join("; ")));
        }
        Ok((translated.rejected, reasons.join("; ")))
    };
    let done = tokio::task::spawn_blocking(work).await;
    let (rejected, why) = done.map_err(|panic| Failure::internal(panic.to_string()))??;
    let kind = [(header::CONTENT_TYPE, form.content_type())];
    Ok((StatusCode::OK, kind, answer(form, rejected, &why)).into_response())
}

fn unpacked(body: &[u8]) -> Result<Vec<u8>, Failure> {
    let mut out = Vec::new();
    let mut gunzip = Gunzip::new(|piece: &[u8]| {
        if out.len() + piece.len() > MAX_BODY {
            return Err(format!("it is more than {MAX_BODY} bytes when unpacked"));
        }
        out.extend_from_slice(piece);
        Ok(())
    });
    let done = gunzip.feed(body).and_then(|()| gunzip.finish());
    done.map_err(|why| Failure::bad_data(format!("the body: {why}")))?;
    Ok(out)
}

fn unsupported(why: &str) -> Response {
    (StatusCode::UNSUPPORTED_MEDIA_TYPE, format!("{why}\n")).into_response()
}
