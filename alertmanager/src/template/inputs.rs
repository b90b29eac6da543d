//! What templates are given: the data of a rule's alert, of a notification, of a query's answer.
//!
//! Invariant: the names are those of Prometheus and Alertmanager, so that templates written for
//! them find what they look for; ours are `Output`, `TruncatedAlerts`, `Note` and `AcknowledgeURL`.

use base::labels::Labels;
use base::sample::Timestamp;

use super::time::Time;
use super::value::{Field, ListKind, Value};

/// The type of a query's samples.
pub(super) const SAMPLE: &str = "*template.sample";
/// The type of a notification's data.
pub(super) const NOTIFICATION: &str = "*template.Data";

/// What the labels and annotations of a rule are rendered with.
#[derive(Clone, Debug, Default)]
pub struct RuleData<'a> {
    /// The labels of the series that the condition holds for: `$labels`.
    pub labels: Labels,
    /// The labels that are added to everything that leaves us: `$externalLabels`.
    pub external_labels: Labels,
    /// Where people reach us: `$externalURL`.
    pub external_url: &'a str,
    /// The value of the expression: `$value`; a text where it is a histogram.
    pub value: Value,
    /// What the check printed: `$output`.
    pub output: &'a str,
}

impl RuleData<'_> {
    /// The value that rule templates take.
    pub fn into_value(self) -> Value {
        let fields = vec![
            Field::new("Labels", "labels", Value::labels(self.labels)),
            Field::new("ExternalLabels", "externalLabels", Value::labels(self.external_labels)),
            Field::new("ExternalURL", "externalURL", self.external_url),
            Field::new("Value", "value", self.value),
            Field::new("Output", "output", self.output),
        ];
        Value::record("template.RuleData", fields)
    }
}

/// A series and its value, as a query found it.
#[derive(Clone, Debug, PartialEq)]
pub struct QuerySample {
    /// The series.
    pub labels: Labels,
    /// Its value.
    pub value: f64,
}

/// The sample as rule templates see it.
pub(super) fn sample(found: QuerySample) -> Value {
    let fields = vec![
        Field::new("Labels", "Labels", Value::labels(found.labels)),
        Field::new("Value", "Value", found.value),
    ];
    Value::record(SAMPLE, fields)
}

/// An alert of a notification.
#[derive(Clone, Debug)]
pub struct AlertData {
    /// Whether it is over.
    pub resolved: bool,
    /// What it is known by.
    pub labels: Labels,
    /// What is said of it.
    pub annotations: Labels,
    /// Since when it fires.
    pub starts_at: Timestamp,
    /// Until when it fired, or will be taken to fire without further news.
    pub ends_at: Option<Timestamp>,
    /// Where its cause can be seen.
    pub generator_url: String,
}

impl AlertData {
    fn status(&self) -> &'static str {
        if self.resolved { "resolved" } else { "firing" }
    }

    pub(super) fn into_value(self) -> Value {
        let fingerprint = format!("{:016x}", self.labels.fingerprint());
        alert(vec![
            Field::new("Status", "status", self.status()),
            Field::new("Labels", "labels", Value::kv(self.labels)),
            Field::new("Annotations", "annotations", Value::kv(self.annotations)),
            Field::new("StartsAt", "startsAt", Value::Time(Time::at(self.starts_at))),
            Field::new(
                "EndsAt",
                "endsAt",
                Value::Time(self.ends_at.map_or_else(Time::zero, Time::at)),
            ),
            Field::new("GeneratorURL", "generatorURL", self.generator_url),
            Field::new("Fingerprint", "fingerprint", fingerprint),
        ])
    }
}

/// An alert with the given fields.
fn alert(fields: Vec<Field>) -> Value {
    Value::record("template.Alert", fields)
}

/// What notification templates are rendered with.
#[derive(Clone, Debug, Default)]
pub struct NotificationData {
    /// Whom it is for.
    pub receiver: String,
    /// Why it is sent now.
    pub reason: String,
    /// What it tells of.
    pub alerts: Vec<AlertData>,
    /// The labels that the alerts were grouped by.
    pub group_labels: Labels,
    /// The labels of the route, which may be templates themselves.
    pub route_labels: Labels,
    /// Where people reach us.
    pub external_url: String,
    /// How many alerts of the group were left out.
    pub truncated_alerts: u64,
    /// What is said of whether somebody has answered: `.Note`.
    pub note: String,
    /// Where one can say that one has it, where that is waited for: `.AcknowledgeURL`.
    pub acknowledge_url: String,
}

impl NotificationData {
    /// The value that notification templates take.
    ///
    /// The status is `firing` if any alert fires. In the receiver's name everything that is special
    /// in a regular expression is escaped, as Alertmanager does it for its links.
    pub fn into_value(self) -> Value {
        let firing = self.alerts.iter().any(|alert| !alert.resolved);
        let common_labels = common(self.alerts.iter().map(|alert| &alert.labels));
        let common_annotations = common(self.alerts.iter().map(|alert| &alert.annotations));
        let alerts = self.alerts.into_iter().map(AlertData::into_value).collect();
        let truncated = i64::try_from(self.truncated_alerts).unwrap_or(i64::MAX);
        let fields = vec![
            Field::new("Receiver", "receiver", quote_meta(&self.receiver)),
            Field::new("Status", "status", if firing { "firing" } else { "resolved" }),
            Field::new("Alerts", "alerts", Value::list_of(ListKind::Alerts, alerts)),
            Field::new("NotificationReason", "notification_reason", self.reason),
            Field::new("GroupLabels", "groupLabels", Value::kv(self.group_labels)),
            Field::new("CommonLabels", "commonLabels", Value::kv(common_labels)),
            Field::new("CommonAnnotations", "commonAnnotations", Value::kv(common_annotations)),
            Field::new("RouteLabels", "routeLabels", Value::kv(self.route_labels)),
            Field::new("ExternalURL", "externalURL", self.external_url),
            Field::new("TruncatedAlerts", "truncatedAlerts", truncated),
            Field::new("Note", "note", self.note),
            Field::new("AcknowledgeURL", "acknowledgeURL", self.acknowledge_url),
        ];
        Value::record(NOTIFICATION, fields)
    }
}

/// What all sets have in common.
fn common<'a>(mut sets: impl Iterator<Item = &'a Labels>) -> Labels {
    let Some(first) = sets.next() else { return Labels::empty() };
    sets.fold(first.clone(), |common, set| {
        Labels::from_sorted(common.iter().filter(|(name, value)| set.get(name) == Some(value)))
    })
}

/// `text` with a backslash before what is special in a regular expression.
fn quote_meta(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if r"\.+*?()|[]{}^$".contains(c) {
            out.push('\\');
        }
        out.push(c);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn common_is_what_all_alerts_have() {
        let set = |pairs: &[(&str, &str)]| Labels::from_pairs(pairs.iter().copied());
        let (a, b) = (set(&[("job", "x"), ("on", "1")]), set(&[("job", "x"), ("on", "2")]));
        assert_eq!(common([&a, &b].into_iter()), set(&[("job", "x")]));
        assert_eq!(common([&a].into_iter()), a);
        assert_eq!(common([].into_iter()), Labels::empty());
    }

    #[test]
    fn names_are_escaped_as_alertmanager_does() {
        assert_eq!(quote_meta("team-a.b (x)"), r"team-a\.b \(x\)");
    }
}
