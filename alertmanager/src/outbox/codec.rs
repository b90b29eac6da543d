//! How intents, and what was told, look in the database.
//!
//! Invariant: what was written by an earlier version can be read; a field that is missing has the
//! value that it had when it did not exist.

use base::labels::Labels;
use serde_json::{Value, json};

use super::{Flush, LaneGroup, LastTold, Reason};
use crate::alerts::Alert;
use crate::state::{Told, alert_from_json, alert_to_json};

pub(super) fn flush_to_json(flush: &Flush) -> String {
    json!({
        "receiver": flush.receiver,
        "groupLabels": flush.group_labels.as_encoded(),
        "routeLabels": flush.route_labels.as_encoded(),
        "reason": flush.reason.as_str(),
        "alerts": flush.alerts.iter().map(alert_to_json).collect::<Vec<_>>(),
        "kept": flush.kept.iter().map(alert_to_json).collect::<Vec<_>>(),
    })
    .to_string()
}

pub(super) fn flush_from_json(text: &str) -> Option<Flush> {
    let value: Value = serde_json::from_str(text).ok()?;
    Some(Flush {
        receiver: value["receiver"].as_str()?.to_owned(),
        group_labels: Labels::from_encoded(value["groupLabels"].as_str()?)?,
        // An earlier version had none.
        route_labels: value["routeLabels"]
            .as_str()
            .and_then(Labels::from_encoded)
            .unwrap_or_else(Labels::empty),
        reason: Reason::named(value["reason"].as_str()?),
        alerts: alerts(&value["alerts"])?,
        // An earlier version held nothing back.
        kept: alerts(&value["kept"]).unwrap_or_default(),
    })
}

/// A list of alerts.
pub(super) fn alerts_to_json(alerts: &[Alert]) -> String {
    Value::from(alerts.iter().map(alert_to_json).collect::<Vec<_>>()).to_string()
}

/// What [`alerts_to_json`] wrote.
pub(super) fn alerts_from_json(text: &str) -> Option<Vec<Alert>> {
    alerts(&serde_json::from_str(text).ok()?)
}

fn alerts(value: &Value) -> Option<Vec<Alert>> {
    value.as_array()?.iter().map(alert_from_json).collect()
}

pub(super) fn told_to_row(key: &LaneGroup, last: &LastTold) -> Told {
    let alerts = json!({
        "receiver": last.receiver,
        "groupLabels": last.group_labels.as_encoded(),
        "reference": last.reference,
        "firing": last.firing.iter().map(alert_to_json).collect::<Vec<_>>(),
    });
    Told {
        lane: key.lane.clone(),
        group_key: key.group_key.clone(),
        thread: last.thread.clone(),
        told_at: last.at,
        alerts: alerts.to_string(),
    }
}

pub(super) fn told_from_row(told: &Told) -> Option<LastTold> {
    let value: Value = serde_json::from_str(&told.alerts).ok()?;
    Some(LastTold {
        thread: told.thread.clone(),
        reference: value["reference"].as_str().map(str::to_owned),
        at: told.told_at,
        receiver: value["receiver"].as_str()?.to_owned(),
        group_labels: Labels::from_encoded(value["groupLabels"].as_str()?)?,
        firing: alerts(&value["firing"])?,
    })
}
