//! What is wrong with us, as alerts.
//!
//! Invariant: a function of what the stages show and of the time; texts hold no secret, since those
//! of the stages do not.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use base::labels::{ALERT_NAME, Labels};
use base::period::Period;
use base::sample::Timestamp;

use crate::disk::DiskFault;
use crate::dispatch::{FAILED_LANE, FAILED_RECEIVER, NOTIFICATION_FAILED};
use crate::notify::LaneState;
use crate::outbox::{MOST_WAITING, Waiting};
use crate::rules::GroupView;
use crate::safe_mode::SafeMode;

/// How long a lane may fail before people hear of it: two minutes after its first failure at the
/// latest they have (G1).
pub(super) const PATIENCE: Duration = Duration::from_secs(60);
/// How long people hear of a message that was taken in its minimal form only.
const SHORTENED_FOR: Duration = Duration::from_secs(15 * 60);
/// The alert that says so of safe mode.
pub(super) const SAFE_MODE: &str = "SafeMode";
/// How many intervals a group of rules may be late, if that is longer than its patience.
const LATE_INTERVALS: u32 = 3;

/// Something that is wrong with us.
#[derive(Clone, Debug, PartialEq)]
pub struct Fault {
    /// The labels of its alert.
    pub labels: Labels,
    /// The texts of its alert.
    pub annotations: BTreeMap<String, String>,
    /// Since when.
    pub since: Timestamp,
}

impl Fault {
    pub(super) fn new(
        name: &str,
        severity: &str,
        labels: &[(&str, &str)],
        texts: [String; 2],
        since: Timestamp,
    ) -> Self {
        let own = [(ALERT_NAME, name), ("severity", severity), ("job", "veilleur")];
        let [summary, description] = texts;
        let texts = [("summary", summary), ("description", description)];
        Self {
            labels: Labels::from_pairs(own.into_iter().chain(labels.iter().copied())),
            annotations: texts.map(|(name, text)| (name.to_owned(), text)).into(),
            since,
        }
    }
}

/// What is wrong with a lane that may fail for `patience`, and for which `waiting` waits.
pub(super) fn of_lane(
    lane: &str,
    state: &LaneState,
    waiting: Waiting,
    patience: Duration,
    now: Timestamp,
) -> Vec<Fault> {
    let mut parts = lane.split('/');
    let (receiver, integration) = (parts.next().unwrap_or(lane), parts.next().unwrap_or(""));
    let labels = [(FAILED_RECEIVER, receiver), ("integration", integration), (FAILED_LANE, lane)];
    let mut faults = Vec::new();
    let long = |since: &Timestamp| state.refused_now || now.since(*since) >= patience;
    let refused = waiting.oldest.filter(|_| waiting.refused > 0);
    if let Some(since) = state.failing_since.filter(long).or(refused) {
        let is_refused = state.refused_now || waiting.refused > 0;
        let what = if is_refused { "refuses messages" } else { "does not take messages" };
        let summary = format!("`{receiver}` {what} by {integration}: somebody is not told");
        let texts = [summary, state.last_error.clone()];
        faults.push(Fault::new(NOTIFICATION_FAILED, "critical", &labels, texts, since));
    }
    let shortened = state.shortened_at.filter(|at| now.since(*at) < SHORTENED_FOR);
    if let Some(at) = shortened {
        let summary =
            format!("`{receiver}` took a message by {integration} in its short form only");
        let text = "the service refused the whole message; its answer stands in the history";
        let texts = [summary, text.to_owned()];
        faults.push(Fault::new("NotificationShortened", "warning", &labels, texts, at));
    }
    if waiting.intents >= MOST_WAITING / 5 * 4 {
        let summary = format!("the queue of `{receiver}` by {integration} is nearly full");
        let text = format!("more than {} messages wait of {MOST_WAITING}", MOST_WAITING / 5 * 4);
        let since = waiting.oldest.unwrap_or(now);
        faults.push(Fault::new("OutboxNearlyFull", "warning", &labels, [summary, text], since));
    }
    faults
}

/// What is wrong with a group of rules: it is late by more than `patience`, or none of its rules can
/// be evaluated.
pub(super) fn of_group(
    group: &GroupView,
    patience: Duration,
    started: Timestamp,
    now: Timestamp,
) -> Option<Fault> {
    let labels = [("group", group.name.as_str()), ("file", group.file.as_str())];
    let name = "RulesNotEvaluated";
    let evaluated_at = group.evaluated_at.unwrap_or(started).max(started);
    let late = group.interval.duration().saturating_mul(LATE_INTERVALS).max(patience);
    if now.since(evaluated_at) > late {
        let summary = format!("the rules of the group `{}` are not evaluated", group.name);
        let text = format!("their interval is {}", group.interval);
        return Some(Fault::new(name, "critical", &labels, [summary, text], evaluated_at));
    }
    let mut errors = group.rules.iter().map(|rule| rule.error.as_deref());
    let first = errors.next()??;
    errors.all(|error| error.is_some()).then(|| {
        let summary = format!("no rule of the group `{}` can be evaluated", group.name);
        Fault::new(name, "critical", &labels, [summary, first.to_owned()], evaluated_at)
    })
}

/// That the data folder is gone, or takes nothing.
pub(super) fn of_disk(fault: DiskFault) -> Fault {
    let summary = "the data folder fails: what happens now is forgotten at the next start";
    let texts = [summary.to_owned(), fault.why];
    Fault::new("DataFolderFailing", "critical", &[], texts, fault.since)
}

/// That nothing is judged.
pub(super) fn of_safe_mode(safe: &SafeMode) -> Fault {
    Fault::new(SAFE_MODE, "critical", &[], [safe.summary(), safe.advice()], safe.since)
}

/// The rules of a group that have a selector which finds nothing, so that they stay silent. One
/// alert for all of them: where a whole set of rules has no use, that is one thing to know.
pub(super) fn dead_rules(group: &GroupView) -> Option<Fault> {
    const LISTED: usize = 5;
    let all = group.rules.iter().flat_map(|rule| rule.dead.iter().map(move |dead| (rule, dead)));
    let since = all.clone().map(|(_, dead)| dead.since).min()?;
    let mut lines: Vec<String> = all
        .clone()
        .take(LISTED)
        .map(|(rule, dead)| match &dead.last {
            Some(last) => format!("`{}` of `{}`; {last} had it last", dead.selector, rule.name),
            None => format!("`{}` of `{}`", dead.selector, rule.name),
        })
        .collect();
    let count = all.count();
    if count > LISTED {
        lines.push(format!("and {} more", count - LISTED));
    }
    let labels = [("group", group.name.as_str()), ("file", group.file.as_str())];
    let summary = format!("rules of the group `{}` find nothing, and stay silent", group.name);
    Some(Fault::new("RuleFindsNothing", "info", &labels, [summary, lines.join("; ")], since))
}

/// Why we are not well, if we are not: a lane has failed for longer than `patience`, or a group of
/// rules is not evaluated. For whoever watches us from outside.
pub fn why_not_well(
    lanes: impl IntoIterator<Item = (String, LaneState)>,
    groups: &[Arc<GroupView>],
    patience: Duration,
    now: Timestamp,
) -> Option<String> {
    for (lane, state) in lanes {
        if let Some(since) = state.failing_since.filter(|since| now.since(*since) > patience) {
            let age = Period::from_secs(now.since(since).as_secs());
            return Some(format!("{lane} has failed for {age}: {}", state.last_error));
        }
    }
    let fault = groups.iter().find_map(|group| {
        // What was never evaluated has just been configured: its turn comes.
        let evaluated_at = group.evaluated_at?;
        of_group(group, patience, evaluated_at, now)
    })?;
    fault.annotations.get("summary").cloned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::{DeadSelector, RuleKind, RuleView};

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(seconds * 1000)
    }

    fn names(faults: &[Fault]) -> String {
        let shown = |fault: &Fault| fault.labels.get(ALERT_NAME).unwrap_or("").to_owned();
        faults.iter().map(shown).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn what_is_wrong_with_a_lane_f11_f60() {
        let well = LaneState::default();
        let failing = LaneState { failing_since: Some(at(0)), ..well.clone() };
        let refused = LaneState { refused_now: true, ..failing.clone() };
        let short = LaneState { shortened_at: Some(at(0)), ..well.clone() };
        let none = Waiting::default();
        let some = |intents, refused| Waiting { intents, refused, oldest: Some(at(0)) };
        let cases = [
            (&well, none, 100, ""),
            (&failing, none, 59, ""),
            (&failing, none, 60, "NotificationFailed"),
            (&refused, none, 0, "NotificationFailed"),
            (&well, some(1, 1), 0, "NotificationFailed"),
            (&short, none, 899, "NotificationShortened"),
            (&short, none, 900, ""),
            (&well, some(79_999, 0), 0, ""),
            (&well, some(80_000, 0), 0, "OutboxNearlyFull"),
        ];
        for (state, waiting, now, expected) in cases {
            let found = of_lane("ops/email/1", state, waiting, PATIENCE, at(now));
            assert_eq!(names(&found), expected, "{state:?} {waiting:?} {now}");
            for fault in found {
                let label = |name| fault.labels.get(name);
                assert_eq!(label("receiver"), Some("ops"));
                assert_eq!(label("integration"), Some("email"));
                assert_eq!(label("lane"), Some("ops/email/1"));
            }
        }
    }

    fn group(evaluated_at: Option<i64>, errors: &[bool]) -> GroupView {
        let rule = |fails: &bool| RuleView {
            name: "r".to_owned(),
            query: String::new(),
            error: fails.then(|| "no".to_owned()),
            duration: Duration::ZERO,
            evaluated_at: None,
            dead: Vec::new(),
            kind: RuleKind::Recording { labels: BTreeMap::new() },
        };
        GroupView {
            name: "g".to_owned(),
            file: "f".to_owned(),
            interval: Period::from_secs(15),
            limit: 0,
            evaluated_at: evaluated_at.map(at),
            duration: Duration::ZERO,
            rules: errors.iter().map(rule).collect(),
        }
    }

    #[test]
    fn what_is_wrong_with_rules_f60() {
        let cases = [
            (Some(100), &[false][..], 160, false),
            (Some(100), &[false], 161, true),
            (None, &[false], 60, false),
            (None, &[false], 61, true),
            (Some(100), &[true, false], 101, false),
            (Some(100), &[false, true], 101, false),
            (Some(100), &[true, true], 101, true),
            (Some(100), &[], 101, false),
        ];
        for (evaluated_at, errors, now, expected) in cases {
            let group = group(evaluated_at, errors);
            let found = of_group(&group, PATIENCE, at(0), at(now));
            assert_eq!(found.is_some(), expected, "{evaluated_at:?} {errors:?} {now}");
        }
    }

    #[test]
    fn rules_that_find_nothing_are_one_alert_for_their_group() {
        let mut group = group(Some(100), &[false, false]);
        assert_eq!(dead_rules(&group), None);
        let dead = |selector: &str, since, last| DeadSelector {
            selector: selector.to_owned(),
            since: at(since),
            last,
        };
        let target = Labels::from_pairs([("job", "j")]);
        group.rules[1].dead = vec![dead("x", 50, None), dead("y", 40, Some(target))];
        let fault = dead_rules(&group).unwrap();
        assert_eq!(fault.since, at(40));
        let text = "`x` of `r`; `y` of `r`; {job=\"j\"} had it last";
        assert_eq!(fault.annotations["description"], text);
        group.rules[0].dead = (0..9).map(|n| dead(&n.to_string(), 60, None)).collect();
        assert!(dead_rules(&group).unwrap().annotations["description"].ends_with("; and 6 more"));
    }

    #[test]
    fn says_to_the_outside_why_we_are_not_well() {
        let lane = |since: Option<i64>| {
            let state = LaneState { failing_since: since.map(at), ..LaneState::default() };
            [("ops/email/0".to_owned(), state)]
        };
        let patience = Duration::from_secs(20);
        let check = |since, group: GroupView, expected: &str| {
            let said = why_not_well(lane(since), &[Arc::new(group)], patience, at(100))
                .unwrap_or_default();
            assert!(said.contains(expected) && said.is_empty() == expected.is_empty(), "{said}");
        };
        check(None, group(Some(90), &[false]), "");
        check(Some(80), group(Some(90), &[false]), "");
        check(Some(79), group(Some(90), &[false]), "ops/email/0 has failed for 21s");
        check(None, group(Some(54), &[false]), "are not evaluated");
        check(None, group(None, &[false]), "");
        check(None, group(Some(99), &[true]), "no rule");
    }
}
