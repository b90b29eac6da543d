//! `/api/v2/alerts/groups`: alerts as they are told together.
//!
//! Invariant: an alert is in every group in which somebody is told of it.

use std::collections::BTreeMap;

use axum::extract::{RawQuery, State};
use axum::http::HeaderMap;
use axum::response::Response;
use base::labels::Labels;
use base::sample::Timestamp;
use serde_json::{Value, json};

use super::super::{Shown, object};
use super::{Failure, Wanted, answer};

/// `GET`
pub(in super::super) async fn list(
    State(shown): State<Shown>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let wanted = Wanted::read(query, Timestamp::now())?;
    let routing = shown.config.routing();
    let mut groups: BTreeMap<(Labels, String, String), Vec<Value>> = BTreeMap::new();
    for alert in shown.alerts.all() {
        if !alert.is_firing() || !wanted.matches(&alert.labels) {
            continue;
        }
        for route in routing.route.matching(&alert.labels) {
            if !wanted.is_for(&route.receiver) {
                continue;
            }
            let labels = route.group_by.group_labels(&alert.labels);
            let key = (labels, route.receiver.clone(), route.key.clone());
            let value = wanted.show(&shown, &alert, &[route]);
            if let Some(value) = value {
                groups.entry(key).or_default().push(value);
            }
        }
    }
    let group = |((labels, receiver, _), alerts): ((Labels, String, String), Vec<Value>)| json!({"labels": object(&labels), "receiver": {"name": receiver}, "alerts": alerts});
    Ok(answer(&headers, &groups.into_iter().map(group).collect()))
}
