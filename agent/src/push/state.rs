//! What jobs have pushed: groups of metrics by their labels.
//!
//! Invariant: a group changes as a whole or not at all, and there are at most [`MAX_GROUPS`] groups
//! with [`MAX_SERIES`] series together.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use base::exposition::{Encoding, Escaping, Format, encode, parse_families, parse_protobuf};
use base::family::{FamilySample, MetricFamily};
use base::sample::Timestamp;
use serde_json::{Value, json};

/// The most groups of a check.
const MAX_GROUPS: usize = 100;
/// The most series of all groups of a check.
const MAX_SERIES: usize = 10_000;
/// The most bytes of what is pushed at once, unpacked.
pub(crate) const MAX_BODY: usize = 4 << 20;
/// A time in which nobody judged that is longer than this is one in which nobody received either.
const BLIND: Duration = Duration::from_secs(30);
/// When a group was pushed last, and when that failed, by the names of the Pushgateway.
const PUSHED: &str = "push_time_seconds";
const FAILED: &str = "push_failure_time_seconds";

/// The labels by which a group is known.
pub type GroupLabels = BTreeMap<String, String>;

/// The metrics of one group.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Group {
    /// When it was pushed last; no time where that has never worked.
    pub(super) pushed: Timestamp,
    failed: Option<Timestamp>,
    /// For how long it may be older than otherwise, because we were not there.
    pub(super) credit: Duration,
    families: Vec<MetricFamily>,
}

/// Why something cannot be taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PushError {
    /// It is malformed.
    #[error("{0}")]
    Malformed(String),
    /// There is too much of it.
    #[error("{0}")]
    TooMuch(String),
}

/// Everything that was pushed to a check.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct State {
    groups: BTreeMap<GroupLabels, Group>,
    /// When we were last there.
    pub(crate) alive: Option<Timestamp>,
    /// Counts up with every change of a group.
    pub(crate) changes: u64,
}

/// The body of a push.
#[derive(Clone, Copy, Debug)]
pub enum Pushed<'b> {
    /// Text.
    Text(&'b [u8], Format),
    /// The protobuf form, which Go's and Java's libraries push.
    Protobuf(&'b [u8]),
}

impl State {
    /// Takes what a job pushes at `now` to the group `labels`: in place of all its metrics (PUT), or
    /// only of those with the same names (POST).
    ///
    /// # Errors
    ///
    /// [`PushError`]; nothing has changed then but the time of the failure.
    pub fn push(
        &mut self,
        labels: &GroupLabels,
        pushed: Pushed<'_>,
        replaces_all: bool,
        now: Timestamp,
    ) -> Result<(), PushError> {
        let read = read(labels, pushed).and_then(|mut families| {
            if let Some(before) = self.groups.get(labels).filter(|_| !replaces_all) {
                let is_new =
                    |old: &&MetricFamily| families.iter().all(|family| family.name != old.name);
                let kept: Vec<_> = before.families.iter().filter(is_new).cloned().collect();
                families.extend(kept);
            }
            self.fits(labels, &families).map(|()| families)
        });
        self.changes += 1;
        match read {
            Ok(families) => {
                let failed = self.groups.get(labels).and_then(|group| group.failed);
                let group = Group { pushed: now, failed, credit: Duration::ZERO, families };
                self.groups.insert(labels.clone(), group);
                Ok(())
            }
            Err(error) => {
                if let Some(group) = self.groups.get_mut(labels) {
                    group.failed = Some(now);
                }
                Err(error)
            }
        }
    }

    fn fits(&self, labels: &GroupLabels, families: &[MetricFamily]) -> Result<(), PushError> {
        let series = |families: &[MetricFamily]| -> usize {
            families.iter().map(|family| family.samples.len()).sum()
        };
        let others = self.groups.iter().filter(|(other, _)| *other != labels);
        let others: usize = others.map(|(_, group)| series(&group.families)).sum();
        if others + series(families) > MAX_SERIES {
            return Err(PushError::TooMuch(format!("the check takes at most {MAX_SERIES} series")));
        }
        if !self.groups.contains_key(labels) && self.groups.len() >= MAX_GROUPS {
            return Err(PushError::TooMuch(format!("the check takes at most {MAX_GROUPS} groups")));
        }
        Ok(())
    }

    /// Forgets a group.
    pub fn delete(&mut self, labels: &GroupLabels) {
        self.groups.remove(labels);
        self.changes += 1;
    }

    /// Notes that we are there at `now`; a time in which we were not is credited (A10.5).
    pub fn note_alive(&mut self, now: Timestamp) {
        let gap = self.alive.map_or(Duration::ZERO, |alive| now.since(alive));
        if gap > BLIND {
            self.groups.values_mut().for_each(|group| group.credit += gap);
        }
        self.alive = Some(now);
    }

    /// The group that was pushed the longest time ago.
    pub(super) fn oldest(&self) -> Option<(&GroupLabels, &Group)> {
        self.groups.iter().min_by_key(|(_, group)| group.pushed)
    }

    /// How many groups there are.
    pub fn count(&self) -> usize {
        self.groups.len()
    }

    /// The metrics of all groups, with when each was pushed.
    pub fn families(&self) -> Vec<MetricFamily> {
        let help = "When the group was pushed last.";
        let mut pushed = MetricFamily::gauge(PUSHED, help);
        let help = "When the last push of the group failed; 0 where none has.";
        let mut failed = MetricFamily::gauge(FAILED, help);
        let mut families = Vec::new();
        for (labels, group) in &self.groups {
            let pairs = || labels.iter().map(|(n, v)| (n.clone().into(), v.clone())).collect();
            pushed.add_pairs("", pairs(), group.pushed.seconds());
            failed.add_pairs("", pairs(), group.failed.map_or(0.0, Timestamp::seconds));
            families.extend(group.families.iter().cloned());
        }
        families.extend([pushed, failed]);
        families
    }

    /// As it is kept over a restart, but for when we were last there.
    pub fn to_json(&self) -> Value {
        let groups = self.groups.iter().map(|(labels, group)| {
            let mut text = String::new();
            encode(
                &group.families,
                Encoding { format: Format::Text, names: Escaping::AllowUtf8 },
                &mut text,
            );
            json!({
                "labels": labels,
                "pushed": group.pushed.millis(),
                "failed": group.failed.map(Timestamp::millis),
                "credit": group.credit.as_millis() as u64,
                "text": text,
            })
        });
        let groups: Vec<_> = groups.collect();
        json!({"groups": groups})
    }

    /// What [`State::to_json`] wrote; nothing where it is something else.
    pub fn from_json(value: &Value) -> Option<Self> {
        let time = |value: &Value| value.as_i64().map(Timestamp::from_millis);
        let mut state = Self::default();
        for group in value["groups"].as_array()? {
            let labels = group["labels"].as_object()?.iter();
            let labels =
                labels.map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned())));
            let labels = labels.collect::<Option<GroupLabels>>()?;
            let text = group["text"].as_str()?.as_bytes();
            let families = read(&labels, Pushed::Text(text, Format::Text)).ok()?;
            let group = Group {
                pushed: time(&group["pushed"])?,
                failed: time(&group["failed"]),
                credit: Duration::from_millis(group["credit"].as_u64()?),
                families,
            };
            state.groups.insert(labels, group);
        }
        Some(state)
    }
}

/// The families of a body, each sample with the labels of its group, which go before its own.
fn read(labels: &GroupLabels, pushed: Pushed<'_>) -> Result<Vec<MetricFamily>, PushError> {
    let malformed = |what: String| PushError::Malformed(what);
    let families = match pushed {
        Pushed::Text(text, format) => parse_families(text, format, MAX_BODY),
        Pushed::Protobuf(body) => parse_protobuf(body, MAX_BODY),
    };
    let mut families = families.map_err(|error| malformed(error.to_string()))?;
    families.retain(|family| !family.samples.is_empty());
    let mut seen = HashSet::new();
    for family in &mut families {
        let name = family.name.as_str();
        if name.starts_with("veilleur_") || matches!(name, PUSHED | FAILED) {
            return Err(malformed(format!("the name `{name}` is not yours to push")));
        }
        for sample in &mut family.samples {
            if sample.timestamp.is_some() {
                return Err(malformed(format!(
                    "`{name}` has a timestamp; what is pushed has none"
                )));
            }
            sample.exemplar = None;
            add_labels(sample, labels);
            let mut key: Vec<_> = sample.labels.clone();
            key.sort();
            if !seen.insert((format!("{name}{}", sample.suffix), key)) {
                return Err(malformed(format!("a series of `{name}` comes twice")));
            }
        }
    }
    Ok(families)
}

fn add_labels(sample: &mut FamilySample, labels: &GroupLabels) {
    sample.labels.retain(|(name, _)| !labels.contains_key(name.as_ref()));
    let group = labels.iter().map(|(name, value)| (name.clone().into(), value.clone()));
    // The bounds of a histogram stay where they are, at the end.
    sample.labels.splice(0..0, group);
}

#[cfg(test)]
mod tests {
    use base::diagnostic::{Diagnostics, Spanned};

    use super::*;
    use crate::push::{PushConfig, group_of};

    fn at(minute: i64) -> Timestamp {
        Timestamp::from_millis(1_800_000_000_000 + minute * 60_000)
    }

    fn push(state: &mut State, path: &str, text: &str, replaces: bool, minute: i64) -> String {
        let labels = group_of(path).unwrap();
        let pushed = Pushed::Text(text.as_bytes(), Format::Text);
        let taken = state.push(&labels, pushed, replaces, at(minute));
        taken.map_or_else(|error| error.to_string(), |()| String::new())
    }

    fn text(state: &State) -> String {
        let mut text = String::new();
        let mut families = state.families();
        families.truncate(families.len() - 2);
        encode(
            &families,
            Encoding { format: Format::Text, names: Escaping::Underscores },
            &mut text,
        );
        text.lines().filter(|line| !line.starts_with('#')).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn put_replaces_the_group_and_post_the_names() {
        let mut state = State::default();
        assert_eq!(push(&mut state, "job/a", "x 1\ny 2\n", true, 0), "");
        assert_eq!(push(&mut state, "job/a/instance/i", "x 5\n", true, 0), "");
        assert_eq!(push(&mut state, "job/a", "x{job=\"z\",k=\"v\"} 3\n", false, 1), "");
        assert_eq!(
            text(&state),
            "x{instance=\"i\",job=\"a\"} 5 x{job=\"a\",k=\"v\"} 3 y{job=\"a\"} 2"
        );
        assert_eq!(push(&mut state, "job/a", "z 1\n", true, 2), "");
        assert_eq!(text(&state), "x{instance=\"i\",job=\"a\"} 5 z{job=\"a\"} 1");
        state = State::from_json(&state.to_json()).unwrap();
        assert_eq!(text(&state), "x{instance=\"i\",job=\"a\"} 5 z{job=\"a\"} 1");
        state.delete(&group_of("job/a").unwrap());
        state.delete(&group_of("job/nobody").unwrap());
        assert_eq!(text(&state), "x{instance=\"i\",job=\"a\"} 5");
    }

    #[test]
    fn what_is_wrong_changes_nothing_and_is_told() {
        let mut state = State::default();
        push(&mut state, "job/a", "x 1\n", true, 0);
        let mut refused = |text: &str| push(&mut state, "job/a", text, true, 1);
        assert!(refused("x one\n").starts_with("line 1: "));
        assert_eq!(refused("x 1 1700000000000\n"), "`x` has a timestamp; what is pushed has none");
        assert_eq!(refused("x 1\nx 2\n"), "a series of `x` comes twice");
        assert_eq!(refused("x{job=\"b\"} 1\nx 2\n"), "a series of `x` comes twice");
        assert_eq!(refused("veilleur_x 1\n"), "the name `veilleur_x` is not yours to push");
        assert_eq!(
            refused("push_time_seconds 1\n"),
            "the name `push_time_seconds` is not yours to push"
        );
        let many: String = (0..=MAX_SERIES).map(|n| format!("x{{n=\"{n}\"}} 1\n")).collect();
        assert_eq!(refused(&many), "the check takes at most 10000 series");
        assert_eq!(text(&state), "x{job=\"a\"} 1");
        let failed = state.families().pop().unwrap();
        assert_eq!((failed.name.as_str(), failed.samples[0].value), (FAILED, at(1).seconds()));
        for n in 1..MAX_GROUPS {
            assert_eq!(push(&mut state, &format!("job/a/n/{n}"), "", true, 0), "");
        }
        let refused = push(&mut state, "job/a/n/x", "", true, 0);
        assert_eq!(refused, "the check takes at most 100 groups");
    }

    #[test]
    fn age_and_values_are_judged_and_blindness_is_credited() {
        let mut diagnostics = Diagnostics::new("test");
        let yaml = "{max_age: 1h, series: [{select: rows, crit: '1:', missing: critical}]}";
        let config: Option<PushConfig> = base::yaml::read(yaml, &mut diagnostics);
        let name = Spanned { value: "a".to_owned(), place: Default::default() };
        let check = config.and_then(|config| config.build(&name, &mut diagnostics)).unwrap();
        let mut state = State::default();
        let said = |state: &State, minute| {
            let outcome = check.judge(state, at(minute));
            outcome.map_or("new".to_owned(), |o| format!("{}: {}", o.status, o.summary))
        };
        assert_eq!(said(&state, 0), "new");
        push(&mut state, "job/a", "rows 7\n", true, 0);
        state.note_alive(at(0));
        assert_eq!(said(&state, 60), "ok: rows{job=\"a\"} is 7");
        assert_eq!(said(&state, 61), "critical: {job=\"a\"} was pushed 1h1m ago");
        // We were away for 50 minutes.
        state.note_alive(at(50));
        assert_eq!(said(&state, 110), "ok: rows{job=\"a\"} is 7");
        assert_eq!(said(&state, 111), "critical: {job=\"a\"} was pushed 1h51m ago");
        push(&mut state, "job/a", "rows 0\n", true, 120);
        assert_eq!(said(&state, 121), "critical: rows{job=\"a\"} is 0, outside of 1:");
        push(&mut state, "job/a", "", true, 120);
        assert_eq!(said(&state, 121), "critical: there is no series `rows`");
    }
}
