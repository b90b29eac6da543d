//! How alerts look in the database.
//!
//! Invariant: what was written by an earlier version can be read; a field that is missing has the
//! value that it had when it did not exist.

use std::collections::BTreeMap;

use base::labels::Labels;
use base::sample::Timestamp;
use serde_json::{Value, json};

use crate::alerts::{Alert, Ending};

/// An alert as JSON.
pub fn alert_to_json(alert: &Alert) -> Value {
    json!({
        "labels": labels_to_json(&alert.labels),
        "annotations": alert.annotations,
        "startsAt": alert.starts_at.millis(),
        "endsAt": alert.ended.map(|(at, _)| at.millis()),
        "ending": alert.ended.map(|(_, why)| ending_name(why)),
        "staleSince": alert.stale_since.map(Timestamp::millis),
        "generatorURL": alert.generator_url,
    })
}

/// The alert that [`alert_to_json`] wrote; `None` where it is none.
pub fn alert_from_json(value: &Value) -> Option<Alert> {
    let time = |name: &str| value[name].as_i64().map(Timestamp::from_millis);
    let ending = value["ending"].as_str().map_or(Ending::Resolved, ending_named);
    Some(Alert {
        labels: labels_from_json(&value["labels"])?,
        annotations: texts(&value["annotations"])?,
        starts_at: time("startsAt")?,
        ended: time("endsAt").map(|at| (at, ending)),
        stale_since: time("staleSince"),
        generator_url: value["generatorURL"].as_str().unwrap_or("").to_owned(),
    })
}

fn ending_name(ending: Ending) -> &'static str {
    match ending {
        Ending::Resolved => "resolved",
        Ending::TargetRemoved => "target-removed",
        Ending::RuleRemoved => "rule-removed",
    }
}

fn ending_named(name: &str) -> Ending {
    match name {
        "target-removed" => Ending::TargetRemoved,
        "rule-removed" => Ending::RuleRemoved,
        _ => Ending::Resolved,
    }
}

/// Labels as a JSON object.
pub(super) fn labels_to_json(labels: &Labels) -> Value {
    labels.iter().map(|(name, value)| (name.to_owned(), json!(value))).collect()
}

pub(super) fn labels_from_json(value: &Value) -> Option<Labels> {
    Some(Labels::from_pairs(texts(value)?))
}

pub(super) fn texts(value: &Value) -> Option<BTreeMap<String, String>> {
    let pairs = value.as_object()?;
    pairs.iter().map(|(n, v)| Some((n.clone(), v.as_str()?.to_owned()))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_it_wrote() {
        let at = Timestamp::from_millis;
        let mut alert = Alert {
            labels: Labels::from_pairs([("alertname", "a"), ("é", "\"\n")]),
            annotations: BTreeMap::from([("summary".to_owned(), "x".to_owned())]),
            starts_at: at(1),
            ended: None,
            stale_since: Some(at(3)),
            generator_url: "http://x/".to_owned(),
        };
        assert_eq!(alert_from_json(&alert_to_json(&alert)), Some(alert.clone()));
        for ending in [Ending::Resolved, Ending::TargetRemoved, Ending::RuleRemoved] {
            alert.ended = Some((at(2), ending));
            assert_eq!(alert_from_json(&alert_to_json(&alert)), Some(alert.clone()));
        }
        assert_eq!(alert_from_json(&json!({"labels": 5})), None);
    }
}
