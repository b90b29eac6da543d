//! `/api/v2/alerts/groups`: alerts as they are told together.
//!
//! Invariant: an alert is in every group in which somebody is told of it.

use std::collections::HashMap;
use std::sync::Arc;

use axum::extract::{RawQuery, State};
use axum::http::HeaderMap;
use axum::response::Response;
use base::labels::Labels;

use super::super::{Routing, Shown};
use super::pieces::{Pieces, answer};
use super::{Failure, Wanted, off_the_runtime};
use crate::alerts::Alert;
use crate::json;

/// `GET`
pub(in super::super) async fn list(
    State(shown): State<Shown>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let wanted = Wanted::read(query, shown.clock.believed())?;
    let groups = off_the_runtime(move || Groups::find(shown, wanted)).await?;
    Ok(answer(&headers, groups))
}

/// A group: the place of its route, its labels, its alerts.
type Group = (usize, Labels, Vec<Arc<Alert>>);

/// The groups that are still to be written.
struct Groups {
    shown: Shown,
    wanted: Wanted,
    routing: Arc<Routing>,
    left: std::vec::IntoIter<Group>,
}

impl Groups {
    fn find(shown: Shown, wanted: Wanted) -> Self {
        let routing = shown.config.routing();
        let mut groups: HashMap<(usize, Labels), Vec<Arc<Alert>>> = HashMap::new();
        for alert in shown.alerts.unsorted() {
            if !alert.is_firing() || !wanted.matches(&alert.labels) {
                continue;
            }
            for route in routing.route.matching(&alert.labels) {
                if wanted.is_for(&route.receiver, &routing) {
                    let labels = route.group_by.group_labels(&alert.labels);
                    groups.entry((route.place, labels)).or_default().push(Arc::clone(&alert));
                }
            }
        }
        let routes = routing.route.all();
        let name = |place: usize| routes.get(place).map(|route| (&route.receiver, &route.key));
        let mut left: Vec<Group> =
            groups.into_iter().map(|((place, labels), alerts)| (place, labels, alerts)).collect();
        left.sort_by(|(a, one, _), (b, other, _)| {
            one.cmp(other).then_with(|| name(*a).cmp(&name(*b)))
        });
        Self { shown, wanted, routing, left: left.into_iter() }
    }
}

impl Pieces for Groups {
    fn next(&mut self, to: &mut Vec<u8>) -> bool {
        let Some((place, labels, mut alerts)) = self.left.next() else { return false };
        let Some(route) = self.routing.route.at(place) else { return true };
        let start = to.len();
        to.extend_from_slice(b"{\"alerts\":[");
        let empty = to.len();
        alerts.sort_by(|a, b| a.labels.cmp(&b.labels));
        for alert in &alerts {
            let routes = self.routing.route.matching(&alert.labels);
            self.wanted.show(to, &self.shown, alert, &routes, &[route]);
        }
        if to.len() == empty {
            to.truncate(start);
            return true;
        }
        json::end_list(to);
        to.extend_from_slice(b",\"labels\":");
        json::labels(to, &labels);
        to.extend_from_slice(b",\"receiver\":{\"name\":");
        json::text(to, &route.receiver);
        to.extend_from_slice(b"},\"routeLabels\":");
        json::labels(to, &route.labels);
        to.extend_from_slice(b"},");
        true
    }
}
