//! The texts of a message: templates over what there is to tell.
//!
//! Invariant: a template that fails costs its text, never the message: a plain text of ours takes
//! its place, and says why (X20).

use std::sync::Arc;

use base::diagnostic::{Diagnostics, Spanned};
use base::labels::LabelsBuilder;
use tracing::warn;

use super::notifier::Notification;
use crate::alerts::{Alert, Ending};
use crate::template::{
    AlertData, Dialect, Escape, NotificationData, Options, Template, Templates, Value,
};

/// A setting that is a template, parsed when the configuration is read.
#[derive(Clone, Debug)]
pub(super) struct Text {
    name: &'static str,
    template: Template,
}

impl Text {
    /// The setting as written, else `default`; what is wrong with it is reported.
    pub(super) fn build(
        name: &'static str,
        written: Option<&Spanned<String>>,
        default: &str,
        diagnostics: &mut Diagnostics,
    ) -> Option<Self> {
        let text = written.map_or(default, |written| written.value.as_str());
        match Template::parse(Dialect::Notification, name, text) {
            Ok(template) => Some(Self { name, template }),
            Err(error) => {
                diagnostics.report(
                    written.map(|written| written.place).unwrap_or_default(),
                    error.to_string(),
                );
                None
            }
        }
    }
}

/// Renders the texts of one message.
pub(super) struct Renderer<'a> {
    templates: &'a Templates,
    data: Value,
    options: Options<'a>,
    fallback: String,
}

impl<'a> Renderer<'a> {
    pub(super) fn new(
        templates: &'a Arc<Templates>,
        notification: &'a Notification,
        escape: Escape,
    ) -> Self {
        let data = data(notification).into_value();
        let options = Options {
            escape,
            external_url: &notification.external_url,
            ..Options::at(notification.at)
        };
        Self { templates, data, options, fallback: fallback(notification) }
    }

    /// The text; where its template fails, the plain one of ours.
    pub(super) fn render(&self, text: &Text) -> String {
        match self.templates.render(&text.template, &self.data, &self.options) {
            Ok(text) => text,
            Err(error) => {
                warn!(setting = text.name, %error, "a template failed; a plain text is sent instead");
                format!("{}\n(the template of `{}` failed: {error})", self.fallback, text.name)
            }
        }
    }
}

/// What can be said without any template: the state and the names of the first alerts.
fn fallback(notification: &Notification) -> String {
    const MOST: usize = 5;
    let mut names: Vec<String> = notification
        .alerts
        .iter()
        .take(MOST)
        .map(|alert| {
            let instance =
                alert.labels.get("instance").map_or(String::new(), |i| format!(" on {i}"));
            format!("{}{instance}", alert.name())
        })
        .collect();
    let more = notification.alerts.len().saturating_sub(MOST);
    if more > 0 {
        names.push(format!("{more} more"));
    }
    format!("[{}] {}", notification.status().to_uppercase(), names.join(", "))
}

fn data(notification: &Notification) -> NotificationData {
    NotificationData {
        receiver: notification.receiver.clone(),
        reason: notification.reason.as_str().to_owned(),
        alerts: notification.alerts.iter().map(alert).collect(),
        group_labels: notification.group_labels.clone(),
        route_labels: notification.route_labels.clone(),
        external_url: notification.external_url.clone(),
        truncated_alerts: 0,
    }
}

fn alert(alert: &Alert) -> AlertData {
    let mut annotations = LabelsBuilder::default();
    for (name, text) in &alert.annotations {
        annotations.set(name, text);
    }
    // What no template of Alertmanager's knows of stands among the texts (F42).
    match alert.ended {
        Some((_, ending)) if ending != Ending::Resolved => {
            annotations.set("ending", ending.as_str());
        }
        None if alert.stale_since.is_some() => {
            annotations.set("stale", "its data are missing; nobody knows whether it still holds");
        }
        _ => {}
    }
    AlertData {
        resolved: !alert.is_firing(),
        labels: alert.labels.clone(),
        annotations: annotations.build(),
        starts_at: alert.starts_at,
        ends_at: alert.ended.map(|(at, _)| at),
        generator_url: alert.generator_url.clone(),
    }
}

/// The text on one line, without control characters, at most `most` characters long.
pub(super) fn one_line(text: &str, most: usize) -> String {
    let clean: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    shortened(clean.trim(), most)
}

/// The text, at most `most` characters long.
pub(super) fn shortened(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        Some(_) => text.chars().take(most.saturating_sub(1)).chain(['…']).collect(),
        None => text.to_owned(),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::collections::BTreeMap;

    use base::labels::Labels;
    use base::sample::Timestamp;

    use super::*;
    use crate::outbox::Reason;

    /// A message about two alerts, one of which has ended.
    pub(crate) fn notification() -> Notification {
        let alert = |instance: &str, ended: Option<Ending>| Alert {
            labels: Labels::from_pairs([("alertname", "CheckFailed"), ("instance", instance)]),
            annotations: BTreeMap::from([("summary".into(), "queue <b>full</b> & more".into())]),
            starts_at: Timestamp::from_millis(1_700_000_000_000),
            ended: ended.map(|why| (Timestamp::from_millis(1_700_000_060_000), why)),
            stale_since: None,
            generator_url: "http://v/#a".into(),
        };
        Notification {
            id: "id2".into(),
            thread: "id1".into(),
            reference: None,
            receiver: "ops".into(),
            group_key: "{}:{alertname=\"CheckFailed\"}".into(),
            group_labels: Labels::from_pairs([("alertname", "CheckFailed")]),
            route_labels: Labels::empty(),
            reason: Reason::NewAlerts,
            alerts: vec![alert("web:1", None), alert("db:1", Some(Ending::TargetRemoved))],
            at: Timestamp::from_millis(1_700_000_100_000),
            external_url: "http://v".into(),
        }
    }

    fn text(template: &str) -> Text {
        let written = Spanned { value: template.to_owned(), ..Spanned::default() };
        Text::build("text", Some(&written), "", &mut Diagnostics::new("")).unwrap()
    }

    #[test]
    fn renders_over_what_there_is_to_tell() {
        let templates = Arc::new(Templates::defaults());
        let notification = notification();
        let check = |escape, template: &str, expected: &str| {
            let renderer = Renderer::new(&templates, &notification, escape);
            assert_eq!(renderer.render(&text(template)), expected, "{template}");
        };
        check(
            Escape::Text,
            "{{ .Status }} {{ len .Alerts.Firing }} {{ .CommonLabels.alertname }}",
            "firing 1 CheckFailed",
        );
        check(
            Escape::Text,
            "{{ (index .Alerts 1).Annotations.ending }}",
            "expired: target removed",
        );
        check(
            Escape::Entities,
            "<{{ .CommonAnnotations.summary }}>",
            "<queue &lt;b&gt;full&lt;/b&gt; &amp; more>",
        );
        check(Escape::Text, "{{ template \"__subject\" . }}", "[FIRING:1] CheckFailed");
    }

    #[test]
    fn a_template_that_fails_costs_its_text_only() {
        let templates = Arc::new(Templates::defaults());
        let notification = notification();
        let renderer = Renderer::new(&templates, &notification, Escape::Text);
        let got = renderer.render(&text("{{ template \"none\" . }}"));
        assert!(
            got.starts_with("[FIRING] CheckFailed on web:1, CheckFailed on db:1\n(the template"),
            "{got}"
        );
    }

    #[test]
    fn texts_are_cut_between_characters() {
        assert_eq!(shortened("äöü", 3), "äöü");
        assert_eq!(shortened("äöüß", 3), "äö…");
        assert_eq!(one_line("a\r\nBcc: x", 100), "a  Bcc: x");
    }
}
