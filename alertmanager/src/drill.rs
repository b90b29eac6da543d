//! Drills: alerts that try the whole way to the receivers, and that nobody can take for real ones.
//!
//! A drill is an alert with a label of its own. By that label dispatch keeps it out of the groups of
//! others, inhibition does not take it for a cause, and every message says what it is.
//!
//! Invariant: whoever reads a message about a drill reads `DRILL` first, whatever its template is.

use std::collections::BTreeMap;

use base::labels::{ALERT_NAME, Labels};

use crate::alerts::Alert;

/// The label that makes an alert a drill; its value is the id of the drill.
pub const DRILL: &str = "veilleur_drill";
/// The receiver that a drill goes to without asking the routes.
pub const DRILL_RECEIVER: &str = "veilleur_drill_receiver";

/// What every text of a drill begins with.
const MARK: &str = "DRILL";
const EXPLAINED: &str = "DRILL: nothing is wrong, somebody tries whether messages arrive";

/// The id of the drill that an alert with these labels is, if it is one.
pub fn id_of(labels: &Labels) -> Option<&str> {
    labels.get(DRILL)
}

/// The labels of the group of a drill: in no group are drills with anything else.
pub fn group_labels(group: Labels, alert: &Labels) -> Labels {
    match id_of(alert) {
        Some(id) => group.with(DRILL, id),
        None => group,
    }
}

/// The alert as it is told of: a drill says so in its name and in all of its texts.
pub fn marked(alert: Alert) -> Alert {
    if id_of(&alert.labels).is_none() {
        return alert;
    }
    let mut annotations: BTreeMap<String, String> = BTreeMap::new();
    for (name, text) in &alert.annotations {
        let text = if is_link(text) { text.clone() } else { format!("{MARK}: {text}") };
        annotations.insert(name.clone(), text);
    }
    for name in ["summary", "description"] {
        annotations.entry(name.to_owned()).or_insert_with(|| EXPLAINED.to_owned());
    }
    Alert { labels: marked_labels(alert.labels), annotations, ..alert }
}

/// The labels of a group as they are told of.
pub fn marked_labels(labels: Labels) -> Labels {
    match (id_of(&labels), labels.get(ALERT_NAME)) {
        (Some(_), Some(name)) => labels.with(ALERT_NAME, &format!("{MARK} {name}")),
        _ => labels,
    }
}

/// A link that is changed leads nowhere.
fn is_link(text: &str) -> bool {
    text.starts_with("http://") || text.starts_with("https://")
}

#[cfg(test)]
mod tests {
    use base::sample::Timestamp;

    use super::*;

    fn alert(labels: &[(&str, &str)], annotations: &[(&str, &str)]) -> Alert {
        let own = |(name, text): &(&str, &str)| ((*name).to_owned(), (*text).to_owned());
        Alert {
            labels: Labels::from_pairs(labels.iter().copied()),
            annotations: annotations.iter().map(own).collect(),
            starts_at: Timestamp::default(),
            ended: None,
            stale_since: None,
            generator_url: String::new(),
        }
    }

    #[test]
    fn a_drill_says_so_in_its_name_and_texts() {
        let drill = alert(
            &[("alertname", "Down"), (DRILL, "7")],
            &[("description", "web1 is down"), ("runbook_url", "https://example.org/x")],
        );
        let told = marked(drill);
        assert_eq!(told.labels.to_string(), r#"{alertname="DRILL Down", veilleur_drill="7"}"#);
        assert_eq!(told.annotations["description"], "DRILL: web1 is down");
        assert_eq!(told.annotations["runbook_url"], "https://example.org/x");
        assert_eq!(told.annotations["summary"], EXPLAINED);
    }

    #[test]
    fn what_is_no_drill_is_as_it_was() {
        let real = alert(&[("alertname", "Down")], &[("summary", "x")]);
        assert_eq!(marked(real.clone()), real);
        let group = Labels::from_pairs([("alertname", "Down")]);
        assert_eq!(group_labels(group.clone(), &real.labels), group);
        let drill = real.labels.with(DRILL, "7");
        assert_eq!(group_labels(group, &drill).get(DRILL), Some("7"));
    }
}
