//! `/api/v1/status/buildinfo`: who we are, as Prometheus tells it.
//!
//! Invariant: the fields and their names are Prometheus's.

use axum::http::HeaderMap;
use axum::response::Response;
use serde_json::json;

use super::reply::success;

/// `/api/v1/status/buildinfo`
pub(super) async fn build(headers: HeaderMap) -> Response {
    let data = json!({
        "version": env!("CARGO_PKG_VERSION"),
        "revision": "",
        "branch": "",
        "buildUser": "",
        "buildDate": "",
        "goVersion": "",
    });
    success(&headers, &data)
}
