//! The texts of a message: templates over what there is to tell.
//!
//! Invariant: a template that fails costs its text, never the message: a plain text of ours takes
//! its place, and says why (X20).

use std::sync::Arc;

use base::diagnostic::{Diagnostics, Spanned};
use base::labels::LabelsBuilder;
use tracing::warn;

use super::links::acknowledge;
use super::notifier::Notification;
use crate::alerts::{Alert, Ending};
use crate::template::{
    AlertData, Dialect, Escape, NotificationData, Options, Template, Templates, Time, Value,
};

/// The largest structure that is made of a group, in bytes.
const LARGE: usize = 1 << 20;

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

/// The most of what is said of whether somebody has answered, in characters.
const MOST_NOTE: usize = 400;

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
        Self::of(templates, notification, escape, data(notification))
    }

    /// For texts that tell how many alerts of the group are not in `notification`.
    pub(super) fn with_left_out(
        templates: &'a Arc<Templates>,
        notification: &'a Notification,
        left_out: usize,
    ) -> Self {
        let truncated_alerts = u64::try_from(left_out).unwrap_or(u64::MAX);
        let data = NotificationData { truncated_alerts, ..data(notification) };
        Self::of(templates, notification, Escape::Text, data)
    }

    /// With room for structures that hold every alert of a large group.
    pub(super) fn with_room(mut self) -> Self {
        self.options.limits.output = LARGE;
        self
    }

    fn of(
        templates: &'a Arc<Templates>,
        notification: &'a Notification,
        escape: Escape,
        data: NotificationData,
    ) -> Self {
        let data = data.into_value();
        let options = Options {
            escape,
            external_url: &notification.external_url,
            ..Options::at(notification.at)
        };
        Self { templates, data, options, fallback: fallback(notification) }
    }

    /// The text; where its template fails, the plain one of ours.
    pub(super) fn render(&self, text: &Text) -> String {
        self.render_as(text, self.options.escape)
    }

    /// The text; no other takes its place where its template fails.
    pub(super) fn rendered(&self, text: &Text) -> Result<String, String> {
        let rendered = self.templates.render(&text.template, &self.data, &self.options);
        rendered.map_err(|error| error.to_string())
    }

    /// As [`Self::render`], for a place where other rules hold.
    pub(super) fn render_as(&self, text: &Text, escape: Escape) -> String {
        let options = Options { escape, ..self.options };
        match self.templates.render(&text.template, &self.data, &options) {
            Ok(text) => text,
            Err(error) => {
                warn!(setting = text.name, %error, "a template failed; a plain text is sent instead");
                let plain =
                    format!("{}\n(the template of `{}` failed: {error})", self.fallback, text.name);
                escape.escaped(&plain)
            }
        }
    }

    /// The plain text of ours where `text` is blank: no service takes an empty message.
    pub(super) fn unless_blank(&self, text: String) -> String {
        if text.trim().is_empty() { self.options.escape.escaped(&self.fallback) } else { text }
    }
}

/// What can be said without any template: the state, the names of the first alerts, where they are,
/// and since when.
fn fallback(notification: &Notification) -> String {
    const MOST: usize = 5;
    let mut names: Vec<String> = notification
        .alerts
        .iter()
        .take(MOST)
        .map(|alert| {
            let instance =
                alert.labels.get("instance").map_or(String::new(), |i| format!(" on {i}"));
            one_line(&format!("{}{instance}", alert.name()), 200)
        })
        .collect();
    let more = notification.alerts.len().saturating_sub(MOST);
    if more > 0 {
        names.push(format!("{more} more"));
    }
    let since = notification.alerts.iter().map(|alert| alert.starts_at).min();
    let since = since.map_or(String::new(), |at| {
        format!(", since {}", Time::at(at).format("2006-01-02 15:04 MST"))
    });
    let note = match notification.answer.note.as_str() {
        "" => String::new(),
        note => format!("{}. ", one_line(note, MOST_NOTE)),
    };
    format!("{note}[{}] {}{since}", notification.status().to_uppercase(), names.join(", "))
}

fn data(notification: &Notification) -> NotificationData {
    // So that a check that says a whole log leaves room for the others, and for the rest.
    let most = (32_000 / notification.alerts.len().max(1)).clamp(500, 4000);
    NotificationData {
        receiver: notification.receiver.clone(),
        reason: notification.reason.as_str().to_owned(),
        alerts: notification.alerts.iter().map(|one| alert(one, most)).collect(),
        group_labels: notification.group_labels.clone(),
        route_labels: notification.route_labels.clone(),
        external_url: notification.external_url.clone(),
        note: one_line(&notification.answer.note, MOST_NOTE),
        acknowledge_url: acknowledge(notification).unwrap_or_default(),
        truncated_alerts: 0,
    }
}

/// The alert with texts of at most `most` characters.
fn alert(alert: &Alert, most: usize) -> AlertData {
    let mut annotations = LabelsBuilder::default();
    for (name, text) in &alert.annotations {
        annotations.set(name, &shortened(text, most));
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

/// The text, at most `most` characters long. What was escaped as one is not cut in two.
pub(super) fn shortened(text: &str, most: usize) -> String {
    if text.char_indices().nth(most).is_none() {
        return text.to_owned();
    }
    let end = text.char_indices().nth(most.saturating_sub(1)).map_or(0, |(at, _)| at);
    format!("{}…", whole(&text[..end]))
}

/// The text, at most `most` bytes of UTF-8 long.
pub(super) fn shortened_bytes(text: &str, most: usize) -> String {
    if text.len() <= most {
        return text.to_owned();
    }
    let end = text.floor_char_boundary(most.saturating_sub('…'.len_utf8()));
    format!("{}…", whole(&text[..end]))
}

/// The text, cut to `most` by `cut` where it is longer; its last line, which counts what is left out
/// or leads on from it, is kept where that is a short one.
pub(super) fn but_last_line(
    text: &str,
    most: usize,
    cut: impl Fn(&str, usize) -> String,
) -> String {
    let text = text.trim();
    let whole = cut(text, most);
    match text.rsplit_once('\n') {
        Some((before, last)) if whole != text && last.len() <= most / 4 && !last.contains('<') => {
            format!("{}\n{last}", cut(before.trim_end(), most - last.len() - 1))
        }
        _ => whole,
    }
}

/// The text without a backslash or a reference that was begun at its end.
fn whole(text: &str) -> &str {
    let slashes = text.len() - text.trim_end_matches('\\').len();
    let text = if slashes % 2 == 1 { &text[..text.len() - 1] } else { text };
    let begun = |at: &usize| {
        let name = &text[at + 1..];
        name.len() < 8 && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '#')
    };
    match text.rfind('&').filter(begun) {
        Some(at) => &text[..at],
        None => text,
    }
}

/// The text without control characters but line feeds and tabs, and without those that turn the
/// direction of writing.
pub(super) fn printable(text: &str) -> String {
    let odd = |c: char| {
        (c.is_control() && c != '\n' && c != '\t')
            || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    text.chars().filter(|c| !odd(*c)).collect()
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
            answer: Default::default(),
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
            got.starts_with("[FIRING] CheckFailed on web:1, CheckFailed on db:1, since 2023-11-14 22:13 UTC\n(the template"),
            "{got}"
        );
    }

    #[test]
    fn texts_are_cut_between_characters() {
        assert_eq!(shortened("äöü", 3), "äöü");
        assert_eq!(shortened("äöüß", 3), "äö…");
        assert_eq!(shortened_bytes("äöü", 6), "äöü");
        assert_eq!(shortened_bytes("äöüß", 7), "äö…");
        assert_eq!(one_line("a\r\nBcc: x", 100), "a  Bcc: x");
        assert_eq!(shortened("a&amp;b", 4), "a…");
        assert_eq!(shortened("a&amp;b", 7), "a&amp;b");
        assert_eq!(shortened(r"a\\\*b", 5), r"a\\…");
        assert_eq!(shortened(r"a\\\*b", 4), r"a\\…");
        assert_eq!(but_last_line(" ab\ncd ", 10, shortened), "ab\ncd");
        assert_eq!(but_last_line("abcdefghijkl\nend", 12, shortened), "abcdefg…\nend");
        assert_eq!(but_last_line("abc\nabcdefghijkl", 12, shortened), "abc\nabcdefg…");
        assert_eq!(but_last_line("abcdefghijkl\n<b>", 12, shortened), "abcdefghijk…");
        assert_eq!(printable("a\r\n\tb\u{202e}c\u{7}"), "a\n\tbc");
    }
}
