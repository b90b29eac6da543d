//! `/api/v2/alerts/groups`: alerts as they are told together.
//!
//! Invariant: an alert is in every group in which somebody is told of it.

use std::collections::HashMap;
use std::sync::Arc;

use axum::extract::{RawQuery, State};
use axum::http::HeaderMap;
use axum::response::Response;
use base::labels::Labels;
use base::sample::Timestamp;

use super::super::Shown;
use super::{Failure, Wanted, answer_text, off_the_runtime};
use crate::alerts::Alert;
use crate::dispatch::Route;
use crate::json;

/// `GET`
pub(in super::super) async fn list(
    State(shown): State<Shown>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let wanted = Wanted::read(query, Timestamp::now())?;
    let body = off_the_runtime(move || write(&shown, &wanted)).await?;
    Ok(answer_text(&headers, body))
}

fn write(shown: &Shown, wanted: &Wanted) -> Vec<u8> {
    let routing = shown.config.routing();
    let mut groups: HashMap<(usize, Labels), (&Route, Vec<Arc<Alert>>)> = HashMap::new();
    let mut count = 0;
    for alert in shown.alerts.unsorted() {
        if !alert.is_firing() || !wanted.matches(&alert.labels) {
            continue;
        }
        for route in routing.route.matching(&alert.labels) {
            if wanted.is_for(&route.receiver) {
                let labels = route.group_by.group_labels(&alert.labels);
                let group = groups.entry((route.place, labels));
                group.or_insert_with(|| (route, Vec::new())).1.push(Arc::clone(&alert));
                count += 1;
            }
        }
    }
    let mut groups: Vec<_> = groups.into_iter().collect();
    groups.sort_by(|((_, a), (one, _)), ((_, b), (other, _))| {
        a.cmp(b).then_with(|| (&one.receiver, &one.key).cmp(&(&other.receiver, &other.key)))
    });
    // About as much as an alert takes.
    let mut body = Vec::with_capacity(count * 640 + 64);
    body.push(b'[');
    for ((_, labels), (route, mut alerts)) in groups {
        let start = body.len();
        body.extend_from_slice(b"{\"alerts\":[");
        let empty = body.len();
        alerts.sort_by(|a, b| a.labels.cmp(&b.labels));
        for alert in &alerts {
            let routes = routing.route.matching(&alert.labels);
            wanted.show(&mut body, shown, alert, &routes, &[route]);
        }
        if body.len() == empty {
            body.truncate(start);
            continue;
        }
        json::end_list(&mut body);
        body.extend_from_slice(b",\"labels\":");
        json::labels(&mut body, &labels);
        body.extend_from_slice(b",\"receiver\":{\"name\":");
        json::text(&mut body, &route.receiver);
        body.extend_from_slice(b"}},");
    }
    json::end_list(&mut body);
    body
}
