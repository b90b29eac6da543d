//! What is news to a receiver: what it was last told, compared with what is true now.
//!
//! Invariant: the decision depends on nothing but its arguments, and telling what it says makes the
//! next decision "nothing".

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use base::labels::Labels;
use base::period::Period;
use base::sample::Timestamp;
use foldhash::fast::RandomState;

use crate::alerts::{Alert, Ending};
use crate::outbox::Reason;

/// A set of what is known by labels.
type Set<T> = HashSet<T, RandomState>;

/// What is to be done about a receiver.
#[derive(Clone, Debug, PartialEq)]
pub enum Decision {
    /// It knows what there is to know.
    Nothing,
    /// It is to be told.
    Tell(News),
    /// It does not want to hear of endings; count it as told that these fire.
    CountAsTold(Vec<Arc<Alert>>),
}

/// What a receiver is to be told.
#[derive(Clone, Debug, PartialEq)]
pub struct News {
    /// Why.
    pub reason: Reason,
    /// Of what: what fires, and what it was told of and has ended.
    pub alerts: Vec<Arc<Alert>>,
    /// What it was told of and is held back now: it goes on to know that these fire.
    pub kept: Vec<Arc<Alert>>,
}

/// What a receiver knows.
#[derive(Clone, Copy, Debug)]
pub struct Known<'a> {
    /// The alerts that it was told are firing; those that have ended it was perhaps told of, too.
    pub told: &'a [Arc<Alert>],
    /// When it was last told.
    pub told_at: Option<Timestamp>,
}

/// When a receiver is told again although nothing changed.
#[derive(Clone, Copy, Debug, Default)]
pub struct Again {
    /// After which time since it was last told, if ever.
    pub every: Option<Period>,
    /// Where it was last told before that moment, with why.
    pub since: Option<(Timestamp, Reason)>,
}

impl Again {
    /// Why it is told again at `now`, if it is.
    fn reason(self, told_at: Timestamp, now: Timestamp) -> Option<Reason> {
        let asked = self.since.filter(|(since, _)| told_at < *since).map(|(_, why)| why);
        let is_over = |every: &Period| now.since(told_at) >= every.duration();
        asked.or_else(|| self.every.filter(is_over).map(|_| Reason::Repeat))
    }
}

/// Compares what a receiver knows with `now_alerts`, the alerts of the group as they are, firing
/// and ended. Of those that `is_held` holds back it is told nothing, neither that they fire nor
/// that they have ended.
pub fn decide(
    known: Known<'_>,
    now_alerts: &[Arc<Alert>],
    now: Timestamp,
    again: Again,
    send_resolved: bool,
    is_held: &dyn Fn(&Labels) -> bool,
) -> Decision {
    let tellable = |alert: &&Arc<Alert>| alert.is_firing() && !is_held(&alert.labels);
    let firing: Vec<&Arc<Alert>> = now_alerts.iter().filter(tellable).collect();
    let fires: Set<&Labels> = firing.iter().map(|alert| &alert.labels).collect();
    // What is in doubt is told in any case: that it fires as well as that it has ended.
    let sure = known.told.iter().filter(|alert| alert.is_firing());
    let told: Set<&Labels> = sure.map(|alert| &alert.labels).collect();
    let (held, free): (Vec<&Arc<Alert>>, Vec<&Arc<Alert>>) =
        known.told.iter().partition(|alert| is_held(&alert.labels));
    let gone: Vec<&Arc<Alert>> =
        free.into_iter().filter(|alert| !fires.contains(&alert.labels)).collect();
    let new = firing.iter().any(|alert| !told.contains(&alert.labels));
    let shared = |alerts: &[&Arc<Alert>]| -> Vec<Arc<Alert>> {
        alerts.iter().map(|alert| Arc::clone(alert)).collect()
    };

    let reason = if new && known.told.is_empty() {
        Reason::First
    } else if new {
        Reason::NewAlerts
    } else if !gone.is_empty() {
        if !send_resolved {
            return Decision::CountAsTold([shared(&firing), shared(&held)].concat());
        }
        Reason::Resolved
    } else if !firing.is_empty()
        && let Some(why) = known.told_at.and_then(|at| again.reason(at, now))
    {
        why
    } else {
        return Decision::Nothing;
    };
    let mut alerts = shared(&firing);
    if send_resolved && !gone.is_empty() {
        let known: HashMap<&Labels, &Arc<Alert>, RandomState> =
            now_alerts.iter().map(|alert| (&alert.labels, alert)).collect();
        alerts.extend(gone.iter().map(|told| ended(told, known.get(&told.labels).copied(), now)));
    }
    Decision::Tell(News { reason, alerts, kept: shared(&held) })
}

/// The end of an alert that somebody was told of: as the group knows it, else as of now.
fn ended(told: &Alert, known: Option<&Arc<Alert>>, now: Timestamp) -> Arc<Alert> {
    let ended =
        || Alert { ended: Some((now, Ending::Resolved)), stale_since: None, ..told.clone() };
    known.map_or_else(|| Arc::new(ended()), Arc::clone)
}

/// Whether two lists have the same alerts in the same states.
pub(super) fn says_the_same(a: &[Arc<Alert>], b: &[Arc<Alert>]) -> bool {
    let states = |alerts: &[Arc<Alert>]| -> Set<(Labels, bool)> {
        alerts.iter().map(|alert| (alert.labels.clone(), alert.is_firing())).collect()
    };
    a.len() == b.len() && states(a) == states(b)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(seconds * 1000)
    }

    /// An alert by its letter: a lower case one fires, an upper case one has ended. Those of `h` are
    /// held back.
    fn alert(letter: char) -> Arc<Alert> {
        Arc::new(Alert {
            labels: Labels::from_pairs([("alertname", letter.to_ascii_lowercase().to_string())]),
            annotations: BTreeMap::new(),
            starts_at: at(0),
            ended: letter.is_ascii_uppercase().then(|| (at(50), Ending::Resolved)),
            stale_since: None,
            generator_url: String::new(),
        })
    }

    fn letters(alerts: &[Arc<Alert>]) -> String {
        let letter = |a: &Arc<Alert>| {
            if a.is_firing() { a.name().to_owned() } else { a.name().to_uppercase() }
        };
        alerts.iter().map(letter).collect()
    }

    /// Told at 0 s, asked at `seconds`, repeated after 100 s.
    #[track_caller]
    fn check(told: &str, group: &str, seconds: i64, expected: &str) {
        for send_resolved in [true, false] {
            let told: Vec<_> = told.chars().map(alert).collect();
            let group: Vec<_> = group.chars().map(alert).collect();
            let known = Known { told: &told, told_at: (!told.is_empty()).then(|| at(0)) };
            let again = Again { every: Some(Period::from_secs(100)), since: None };
            let held = |labels: &Labels| labels.get("alertname") == Some("h");
            let got = match decide(known, &group, at(seconds), again, send_resolved, &held) {
                Decision::Nothing => "nothing".to_owned(),
                Decision::Tell(News { reason, alerts, kept }) => {
                    let kept = letters(&kept).replace('h', "+h");
                    format!("{} {}{kept}", reason.as_str(), letters(&alerts))
                }
                Decision::CountAsTold(alerts) => format!("count {}", letters(&alerts)),
            };
            let mut expected = expected.split(" / ");
            let with = expected.next().unwrap();
            let without = expected.next().unwrap_or(with);
            let expected = if send_resolved { with } else { without };
            assert_eq!(got, expected, "send_resolved: {send_resolved}");
        }
    }

    #[test]
    fn tells_the_difference_between_told_and_true() {
        check("", "a", 10, "first a");
        check("", "A", 10, "nothing");
        check("a", "a", 10, "nothing");
        check("a", "ab", 10, "new alerts ab");
        check("ab", "aB", 10, "resolved aB / count a");
        check("a", "A", 10, "resolved A / count ");
        // In doubt: perhaps it was told to have ended.
        check("A", "a", 10, "new alerts a");
        check("A", "A", 10, "resolved A / count ");
        // It ended while nobody watched: a restart, a rule that is gone.
        check("a", "", 10, "resolved A / count ");
        check("ab", "cA", 10, "new alerts cAB / new alerts c");
        check("a", "a", 99, "nothing");
        check("a", "a", 100, "repeat a");
        check("a", "A", 100, "resolved A / count ");
        check("", "", 500, "nothing");
    }

    #[test]
    fn what_is_held_back_is_neither_told_nor_forgotten_f05_f06_f07() {
        check("", "h", 10, "nothing");
        check("", "ah", 10, "first a");
        check("h", "h", 100, "nothing");
        check("h", "H", 10, "nothing");
        check("h", "", 10, "nothing");
        check("ah", "ah", 10, "nothing");
        check("ah", "ah", 100, "repeat a+h");
        check("ah", "AH", 10, "resolved A+h / count h");
        check("ah", "abh", 10, "new alerts ab+h");
    }

    #[test]
    fn who_was_told_before_a_moment_is_told_again_once() {
        let told = [alert('a')];
        let check = |group: &str, every: Option<u64>, since: i64, seconds, expected: &str| {
            let group: Vec<_> = group.chars().map(alert).collect();
            let known = Known { told: &told, told_at: Some(at(10)) };
            let since = Some((at(since), Reason::Acknowledged));
            let again = Again { every: every.map(Period::from_secs), since };
            let got = match decide(known, &group, at(seconds), again, true, &|_| false) {
                Decision::Tell(News { reason, .. }) => reason.as_str(),
                _ => "nothing",
            };
            assert_eq!(got, expected);
        };
        check("a", None, 11, 12, "acknowledged");
        check("a", None, 10, 12, "nothing");
        check("a", None, 10, 99_999, "nothing");
        check("a", Some(100), 10, 110, "repeat");
        // What else is news comes first.
        check("ab", None, 11, 12, "new alerts");
        check("A", None, 11, 12, "resolved");
    }

    #[test]
    fn the_same_message_is_the_same_in_any_order() {
        let of = |text: &str| text.chars().map(alert).collect::<Vec<_>>();
        assert!(says_the_same(&of("aB"), &of("Ba")));
        assert!(!says_the_same(&of("aB"), &of("ab")));
        assert!(!says_the_same(&of("a"), &of("ab")));
    }
}
