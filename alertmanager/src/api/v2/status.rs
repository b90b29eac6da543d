//! `/api/v2/status` and `/api/v2/receivers`.
//!
//! The version is that of the API; `branch` and `revision` say whose it is and which of ours.
//!
//! Invariant: the configuration is shown as it was prepared for that when it was read, without
//! secrets.

use std::collections::BTreeMap;

use axum::extract::{RawQuery, State};
use axum::http::HeaderMap;
use axum::response::Response;
use base::labels::Labels;
use serde_json::{Value, json};

use super::super::Shown;
use super::{ALERTMANAGER, Failure, Parameters, answer, time};

/// `GET /status`
pub(in super::super) async fn status(State(shown): State<Shown>, headers: HeaderMap) -> Response {
    let routing = shown.config.routing();
    let status = json!({
        "cluster": {"name": "", "peers": [], "status": "disabled"},
        "config": {"original": routing.shown.alertmanager},
        "uptime": time(shown.started),
        "versionInfo": {
            "branch": "veilleur", "buildDate": "", "buildUser": "", "goVersion": "",
            "revision": env!("CARGO_PKG_VERSION"), "version": ALERTMANAGER,
        },
    });
    answer(&headers, &status)
}

/// `GET /receivers`
pub(in super::super) async fn receivers(
    State(shown): State<Shown>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let matchers = Parameters::read(query)?.matchers("receiver_matchers")?;
    let routing = shown.config.routing();
    let wanted = |labels: &Labels| matchers.iter().all(|matcher| matcher.matches_labels(labels));
    let receivers: Value = routing
        .receiver_labels
        .iter()
        .filter(|(_, labels)| wanted(labels))
        .map(|(name, labels)| {
            json!({"labels": labels.iter().collect::<BTreeMap<_, _>>(), "name": name})
        })
        .collect();
    Ok(answer(&headers, &receivers))
}
