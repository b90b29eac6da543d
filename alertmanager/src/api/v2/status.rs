//! `/api/v2/status` and `/api/v2/receivers`.
//!
//! Invariant: the configuration is shown as it was prepared for that when it was read, without
//! secrets.

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use serde_json::{Value, json};

use super::super::Shown;
use super::{answer, time};

/// `GET /status`
pub(in super::super) async fn status(State(shown): State<Shown>, headers: HeaderMap) -> Response {
    let routing = shown.config.routing();
    let version = env!("CARGO_PKG_VERSION");
    let status = json!({
        "cluster": {"name": "", "peers": [], "status": "disabled"},
        "config": {"original": routing.shown},
        "uptime": time(shown.started),
        "versionInfo": {
            "branch": "", "buildDate": "", "buildUser": "", "goVersion": "", "revision": "",
            "version": version,
        },
    });
    answer(&headers, &status)
}

/// `GET /receivers`
pub(in super::super) async fn receivers(
    State(shown): State<Shown>,
    headers: HeaderMap,
) -> Response {
    let routing = shown.config.routing();
    let names: Value = routing.receivers.iter().map(|name| json!({"name": name})).collect();
    answer(&headers, &names)
}
