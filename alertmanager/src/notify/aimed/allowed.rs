//! Whom an alert may choose as the recipient of its message.
//!
//! Invariant: what a pattern leaves open is letters, digits and `_.+-`: nothing that begins another
//! recipient, another address or a mention.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use base::diagnostic::{Diagnostics, Spanned};
use base::http::client::Origin;
use base::labels::Labels;
use base::matcher::anchored;
use lettre::message::Mailboxes;
use regex::Regex;

use super::super::notifier::Notification;
use super::fields::Aim;
use crate::alerts::Alert;

/// The longest recipient.
const MOST: usize = 2000;

/// The values of labels that the routes name, by label: `team="db"`, `team=~"db|web"`.
#[derive(Clone, Debug, Default)]
pub struct Named(pub BTreeMap<String, BTreeSet<String>>);

/// Whom the alerts of a receiver may choose.
#[derive(Clone, Debug, Default)]
pub struct Allowed {
    patterns: Arc<[Regex]>,
    is_listed: bool,
    named: Arc<Named>,
    /// Whether the file is Alertmanager's, which knows no list.
    is_lenient: bool,
}

impl Allowed {
    /// What `patterns` allow; where there are none, what `named` leads to. `is_lenient` says whether
    /// templates without a list are noted only.
    pub fn new(patterns: &[Spanned<String>], named: Arc<Named>, is_lenient: bool) -> Self {
        let is_listed = !patterns.is_empty();
        let patterns = patterns.iter().filter_map(|written| pattern(&written.value)).collect();
        Self { patterns, is_listed, named, is_lenient }
    }

    pub(super) fn is_listed(&self) -> bool {
        self.is_listed
    }

    /// Why a recipient is refused.
    pub(super) fn why_not(&self) -> &'static str {
        match self.is_listed() {
            true => "which is not among `allowed_recipients` of the receiver",
            false => {
                "which no route names: list it under `allowed_recipients` of the receiver, or make a \
                 receiver for it"
            }
        }
    }

    /// Reports, or notes, a template without a list. Alertmanager's own default templates are none:
    /// they are empty unless somebody has defined them.
    pub(super) fn check(
        &self,
        name: &str,
        written: &Spanned<String>,
        diagnostics: &mut Diagnostics,
    ) {
        let is_default = written.value.starts_with("{{ template \"")
            && written.value.ends_with("\" . }}")
            && written.value.contains(".default.")
            && written.value.matches("{{").count() == 1;
        if self.is_listed() || is_default {
            return;
        }
        if self.is_lenient {
            let message = format!(
                "`{name}` comes from alerts: only values of labels that routes name are used; list \
                 others under `allowed_recipients` of the receiver"
            );
            diagnostics.note(written, message);
        } else {
            diagnostics.report_with_help(
                written,
                format!("`{name}` cannot come from an alert"),
                "list what it may become under `allowed_recipients` of the receiver, like \
                 `'#team-*'`, or make a receiver for each and route to it",
            );
        }
    }

    /// Whether `text` is on the list; nothing is always.
    pub(super) fn has(&self, kind: Aim, text: &str) -> bool {
        if text.is_empty() {
            return true;
        }
        if text.len() > MOST || text.chars().any(char::is_control) {
            return false;
        }
        let listed = |text: &str| self.patterns.iter().any(|pattern| pattern.is_match(text));
        match kind {
            Aim::Name => listed(text),
            Aim::Mail => text.parse::<Mailboxes>().is_ok_and(|list| {
                list.iter().all(|one| listed(&one.email.to_string().to_ascii_lowercase()))
            }),
            Aim::Url => {
                let origin = text.parse().ok().and_then(|uri| Origin::of(&uri).ok());
                origin.is_some_and(|origin| listed(&origin.host.to_ascii_lowercase()))
            }
        }
    }

    /// The message with nothing in it that an alert has chosen, but labels whose values routes name.
    pub(super) fn known_only(&self, notification: &Notification) -> Notification {
        let Named(named) = &*self.named;
        let known = |name: &str, value: &str| named.get(name).is_some_and(|v| v.contains(value));
        let labels =
            |labels: &Labels| Labels::from_pairs(labels.iter().filter(|(n, v)| known(n, v)));
        let alert = |alert: &Alert| Alert {
            labels: labels(&alert.labels),
            annotations: BTreeMap::new(),
            starts_at: notification.at,
            ended: alert.ended.map(|(_, ending)| (notification.at, ending)),
            stale_since: alert.stale_since.map(|_| notification.at),
            generator_url: String::new(),
        };
        Notification {
            group_labels: labels(&notification.group_labels),
            group_key: String::new(),
            alerts: notification.alerts.iter().map(alert).collect(),
            ..notification.clone()
        }
    }
}

/// `written` as a regular expression: `*` stands for letters, digits and `_.+-`, or for nothing. One
/// that is too large is none, and allows nothing.
fn pattern(written: &str) -> Option<Regex> {
    let parts: Vec<String> = written.split('*').map(regex::escape).collect();
    anchored(&parts.join(r"[\p{L}\p{N}_.+-]*")).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_listed_is_chosen_by_an_alert_x18() {
        let check = |kind, patterns: &[&str], text: &str, expected: bool| {
            let of = |text: &&str| Spanned { value: (*text).to_owned(), ..Spanned::default() };
            let patterns: Vec<_> = patterns.iter().map(of).collect();
            let allowed = Allowed::new(&patterns, Arc::default(), false);
            assert_eq!(allowed.has(kind, text), expected, "{patterns:?} {text}");
        };
        check(Aim::Name, &["#team-*"], "#team-db", true);
        check(Aim::Name, &["#team-*"], "#team-", true);
        check(Aim::Name, &["#team-*"], "#general", false);
        check(Aim::Name, &["#team-*"], "#team-a,#general", false);
        check(Aim::Name, &["team-*"], "team-a|@all", false);
        check(Aim::Name, &["#team-*"], "x#team-a", false);
        check(Aim::Name, &["#team-*"], "#team-a\n", false);
        check(Aim::Name, &["#a", "#b"], "#b", true);
        check(Aim::Name, &["*-*-x"], "a-b-c-x", true);
        check(Aim::Name, &["*"], "", true);
        check(Aim::Name, &[], "a", false);
        check(Aim::Mail, &["*@example.org"], "A.b+c@Example.org", true);
        check(Aim::Mail, &["*@example.org"], "a@example.org, b@example.org", true);
        check(Aim::Mail, &["*@example.org"], "a@example.org, victim@evil.example", false);
        check(Aim::Mail, &["*@example.org"], "a@example.org.evil.example", false);
        check(Aim::Mail, &["*@example.org"], "a@sub.example.org", false);
        check(Aim::Mail, &["*@example.org"], "example.org", false);
        check(Aim::Mail, &["*@example.org"], "a@example.org\r\nBcc: x@evil.example", false);
        check(Aim::Url, &["hooks.example.org"], "https://hooks.example.org/x?y", true);
        check(Aim::Url, &["*.example.org"], "https://a.example.org:8443/", true);
        check(Aim::Url, &["*.example.org"], "https://evil.example/.example.org", false);
        check(Aim::Url, &["hooks.example.org"], "https://hooks.example.org@evil.example/", false);
        check(Aim::Url, &["hooks.example.org"], "ftp://hooks.example.org/", false);
        check(Aim::Url, &["hooks.example.org"], "https://HOOKS.example.org.evil.example/", false);
        check(Aim::Url, &["*"], "http://[::1]/", false);
    }
}
