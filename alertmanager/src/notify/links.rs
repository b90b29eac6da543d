//! The links of a message: to us, to an answer, to a silence, to the graph, to what is to be done.
//!
//! Invariant: what comes from an alert is a link only if it begins with `http://` or `https://` and
//! has no space or control character in it (X13).

use super::notifier::Notification;
use crate::matchers::{acknowledge_path, silence_path};

/// Where a message leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Links {
    /// All alerts, with a way to silence each.
    pub(super) alerts: Option<String>,
    /// Where one can say that one has it, where that is waited for.
    pub(super) acknowledge: Option<String>,
    /// Where what the alerts have in common can be silenced: one alert, where it is only one.
    pub(super) silence: Option<String>,
    /// Where one can see why the first alert fires.
    pub(super) graph: Option<String>,
    /// What to do about it, where all alerts say the same.
    pub(super) runbook: Option<String>,
}

impl Links {
    pub(super) fn of(notification: &Notification) -> Self {
        let first = notification.alerts.first();
        let runbook = notification.common_annotations().remove("runbook_url");
        let alerts = format!("{}/#/alerts", notification.external_url);
        let common = notification.common_labels();
        let silence = silence_path(common.iter());
        let silence = silence.map(|path| format!("{}/{path}", notification.external_url));
        Self {
            alerts: web(&alerts),
            acknowledge: acknowledge(notification),
            silence: silence.as_deref().and_then(web),
            graph: first.and_then(|alert| web(&alert.generator_url)),
            runbook: runbook.as_deref().and_then(web),
        }
    }

    /// Each with the word that leads there, the most useful one first.
    pub(super) fn named(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let all = [
            ("Acknowledge", &self.acknowledge),
            ("Silence", &self.silence),
            ("Graph", &self.graph),
            ("What to do", &self.runbook),
        ];
        all.into_iter().filter_map(|(name, link)| Some((name, link.as_deref()?)))
    }
}

/// Where one can say that one has the group of a message in hand, where that is waited for: not of what
/// is over.
pub(super) fn acknowledge(notification: &Notification) -> Option<String> {
    let fires = notification.alerts.iter().any(|alert| alert.is_firing());
    let is_wanted = notification.answer.is_wanted && fires;
    let path = acknowledge_path(&notification.group_key).filter(|_| is_wanted);
    web(&format!("{}/{}", notification.external_url, path?))
}

/// `text` where it is the address of a web page.
pub(super) fn web(text: &str) -> Option<String> {
    let scheme = text.starts_with("http://") || text.starts_with("https://");
    let odd = |c: char| c.is_whitespace() || c.is_control() || "<>\"".contains(c);
    (scheme && text.len() <= 2000 && !text.contains(odd)).then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::super::texts::tests::notification;
    use super::*;

    #[test]
    fn only_web_pages_are_links() {
        // X13
        let check = |text: &str, is_link: bool| assert_eq!(web(text).is_some(), is_link, "{text}");
        check("https://wiki/x?y=1#z", true);
        check("http://10.0.0.1:9090/graph", true);
        check("javascript:alert(1)", false);
        check("data:text/html,x", false);
        check("http://a b", false);
        check("http://a\r\nx", false);
        check("http://a\"onclick=", false);
        check("//host/x", false);
        check("", false);
    }

    #[test]
    fn the_runbook_counts_where_all_alerts_have_it() {
        let mut message = notification();
        message.alerts[0].annotations.insert("runbook_url".into(), "https://wiki/1".into());
        assert_eq!(Links::of(&message).runbook, None);
        message.alerts[1].annotations.insert("runbook_url".into(), "https://wiki/1".into());
        let links = Links::of(&message);
        let named: Vec<_> = links.named().collect();
        assert_eq!(
            named,
            [
                ("Silence", "http://v/silences/new?filter=%7Balertname%3D%22CheckFailed%22%7D"),
                ("Graph", "http://v/#a"),
                ("What to do", "https://wiki/1")
            ]
        );
    }

    #[test]
    fn who_is_to_answer_is_led_to_where_one_does() {
        let mut message = notification();
        assert_eq!(Links::of(&message).acknowledge, None);
        message.answer.is_wanted = true;
        let links = Links::of(&message);
        let link = "http://v/acknowledge?group=%7B%7D%3A%7Balertname%3D%22CheckFailed%22%7D";
        assert_eq!(links.named().next(), Some(("Acknowledge", link)));
        message.external_url = "javascript:alert(1)//".into();
        assert_eq!(Links::of(&message).acknowledge, None);
        message.external_url = "http://v".into();
        message.group_key = "x".repeat(2000);
        assert_eq!(Links::of(&message).acknowledge, None);
    }
}
