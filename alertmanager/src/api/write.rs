//! `/api/v1/write`: samples that an agent or another Prometheus pushes (remote write 1.0 and 2.0).
//!
//! Invariant: 2xx means stored; 4xx that the same would never be stored; 5xx that it may be sent again.

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use base::remote_write::{Version, WRITTEN_HEADERS, decode};
use base::sample::Timestamp;

use super::Shown;
use super::reply::{Failure, PATIENCE, whole};

/// The most that a body may have, as it comes and when decompressed.
const MAX_BODY: usize = 16 << 20;
const MAX_MESSAGE: usize = 64 << 20;

/// Takes a message.
pub(super) async fn write(State(shown): State<Shown>, headers: HeaderMap, body: Body) -> Response {
    if !shown.enabled.remote_write {
        let why = "remote write receiver needs to be enabled with \
                   --web.enable-remote-write-receiver\n";
        return (StatusCode::NOT_FOUND, why).into_response();
    }
    let text = |name| headers.get(name).and_then(|value: &header::HeaderValue| value.to_str().ok());
    let Some(version) = text(header::CONTENT_TYPE).and_then(Version::of_content_type) else {
        return unsupported("the content type is not one of remote write 1.0 or 2.0");
    };
    if !text(header::CONTENT_ENCODING).unwrap_or("snappy").eq_ignore_ascii_case("snappy") {
        return unsupported("the content encoding is not snappy");
    }
    // Taken before the body, so that those who wait cost no memory.
    let Ok(_turn) = shown.writes.acquire().await else {
        return Failure::unavailable("Veilleur is stopping").into_response();
    };
    let body = match whole(body, MAX_BODY, PATIENCE).await {
        Ok(body) => body,
        Err(why) => return Failure::from(why).into_response(),
    };
    let (ingest, now) = (shown.ingest.clone(), Timestamp::now());
    let written = tokio::task::spawn_blocking(move || {
        decode(&body, version, MAX_MESSAGE).map(|received| ingest.write(&received, now))
    });
    let written = match written.await {
        Ok(Ok(Ok(written))) => written,
        Ok(Ok(Err(error))) => return Failure::internal(error.to_string()).into_response(),
        Ok(Err(error)) => return Failure::bad_data(error.to_string()).into_response(),
        Err(panic) => return Failure::internal(panic.to_string()).into_response(),
    };
    let counts =
        WRITTEN_HEADERS.into_iter().zip([written.samples, written.histograms, written.exemplars]);
    let counts = counts.map(|(name, count)| (name, count.to_string()));
    let counts: Vec<_> = if version == Version::V2 { counts.collect() } else { Vec::new() };
    let mut response = match written.refused.is_empty() {
        true => StatusCode::NO_CONTENT.into_response(),
        false => Failure::bad_data(written.refused.join("; ")).into_response(),
    };
    for (name, count) in counts {
        if let Ok(count) = count.parse() {
            response.headers_mut().insert(name, count);
        }
    }
    response
}

fn unsupported(why: &str) -> Response {
    (StatusCode::UNSUPPORTED_MEDIA_TYPE, format!("{why}\n")).into_response()
}
