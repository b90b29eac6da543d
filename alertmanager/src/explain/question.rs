//! What is asked, and which alerts it is about.
//!
//! Invariant: an alert that is not there is told as not there, never left out.

use std::sync::Arc;
use std::time::Duration;

use base::labels::{ALERT_NAME, Labels};
use base::matcher::{MatchOp, Matcher};
use base::period::Period;
use base::sample::Timestamp;

use super::judged::StoredState;
use crate::alerts::Alert;
use crate::matchers;
use crate::time::print_time;

/// What is asked.
#[derive(Clone, Debug)]
pub struct Question {
    /// Which alerts.
    pub alert: Vec<Matcher>,
    /// As of when; of now where nothing is said.
    pub at: Option<Timestamp>,
}

impl Question {
    /// Reads the name of an alert, or matchers of its labels: `{alertname="Down", host="a"}`.
    ///
    /// # Errors
    ///
    /// What is wrong with it.
    pub fn read(alert: &str, at: Option<Timestamp>) -> Result<Self, String> {
        let text = alert.trim();
        if text.is_empty() {
            return Err("name an alert, or labels such as `{alertname=\"Down\"}`".to_owned());
        }
        let alert = match text.contains(['=', '{', '~']) {
            true => matchers::parse(text).map_err(|error| error.to_string())?,
            false => vec![Matcher::equal(ALERT_NAME, text)],
        };
        Ok(Self { alert, at })
    }

    pub(super) fn is_about(&self, labels: &Labels) -> bool {
        self.alert.iter().all(|matcher| matcher.matches_labels(labels))
    }

    /// The labels that it names: what is known of an alert that is not there.
    pub(super) fn named(&self) -> Labels {
        let plain = self.alert.iter().filter(|matcher| matcher.op() == MatchOp::Equal);
        Labels::from_pairs(plain.map(|matcher| (matcher.name(), matcher.value())))
    }
}

/// An alert that is asked about.
#[derive(Clone, Debug)]
pub struct Subject {
    /// What it is known by, or what was said of it.
    pub labels: Labels,
    /// How far it is.
    pub state: Standing,
}

/// How far an alert is, by whoever knows.
#[derive(Clone, Debug)]
pub enum Standing {
    /// It fires, or has just ended.
    Known(Arc<Alert>),
    /// Its condition holds, not for long enough yet.
    Pending {
        /// Since when.
        since: Timestamp,
        /// How long it must.
        hold: Duration,
    },
    /// How far it was, by what was stored.
    Then(StoredState),
    /// There is, or was, no such alert.
    Absent,
}

impl Standing {
    /// How far it is at `at`, and the answer where nobody is told because of that.
    pub(super) fn tell(&self, at: Timestamp, hold: Option<Duration>) -> (String, Option<String>) {
        let pending = |since: Timestamp, hold: Duration| {
            let (fires, for_) = (print_time(since + hold), Period::from(hold));
            let text = format!(
                "pending since {}, fires at {fires} if it holds for {for_}",
                print_time(since)
            );
            (text, Some(format!("nobody is told before it has held for {for_}")))
        };
        match self {
            Self::Known(alert) => match (alert.ended, alert.stale_since) {
                (Some((end, why)), _) => {
                    let (start, end) = (print_time(alert.starts_at), print_time(end));
                    (format!("fired from {start} to {end}: {}", why.as_str()), None)
                }
                (None, Some(since)) => {
                    let (start, since) = (print_time(alert.starts_at), print_time(since));
                    (format!("fires since {start}; its data are missing since {since}"), None)
                }
                (None, None) => (format!("fires since {}", print_time(alert.starts_at)), None),
            },
            Self::Pending { since, hold } => pending(*since, *hold),
            Self::Then(then) if then.is_pushed => {
                let since = then.active_at.map_or(String::new(), print_time);
                (format!("fired since {since}"), None)
            }
            Self::Then(then) if then.is_firing => {
                let since = then.active_at.map_or(String::new(), |active| {
                    format!("; its condition held since {}", print_time(active))
                });
                (format!("fired{since}"), None)
            }
            Self::Then(then) => pending(then.active_at.unwrap_or(at), hold.unwrap_or_default()),
            Self::Absent => (
                "there is no such alert, neither pending nor firing".to_owned(),
                Some("nobody is told: no such alert fires".to_owned()),
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_is_a_name_or_labels() {
        let read = |text: &str| match Question::read(text, None) {
            Ok(question) => matchers::print_all(&question.alert),
            Err(error) => error,
        };
        assert_eq!(read("Down"), r#"{alertname="Down"}"#);
        assert_eq!(read("{host=a, x=~\"b.*\"}"), r#"{host="a",x=~"b.*"}"#);
        assert_eq!(read("host=a"), r#"{host="a"}"#);
        assert!(read(" ").starts_with("name an alert"));
        let named = Question::read("{host=a, x=~\"b.*\"}", None).unwrap().named();
        assert_eq!(named.to_string(), r#"{host="a"}"#);
    }
}
