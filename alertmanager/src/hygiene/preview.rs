//! What a silence would hold, and would have held. Drills are no alerts of anybody: they count for
//! nothing.
//!
//! Invariant: a look at it changes nothing, and the answer depends on nothing but its arguments.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use base::labels::{ALERT_NAME, Labels, LabelsBuilder, METRIC_NAME};
use base::matcher::Matcher;
use base::sample::{Timestamp, is_stale};
use storage::{SelectError, SeriesColumns, Storage};

use super::{Hygiene, PUSHED_METRIC};
use crate::alerts::Alert;
use crate::drill;

/// How far back it looks.
const WEEK: Duration = Duration::from_secs(7 * 86_400);
/// More of what fires than one in this many is a lot, from this many alerts on.
const SHARE: usize = 2;
const FEW: usize = 4;

/// An alert of the last week.
#[derive(Clone, Debug, PartialEq)]
pub struct Past {
    /// What it is known by.
    pub labels: Labels,
    /// When it was last seen to fire.
    pub last: Timestamp,
}

/// What a silence would hold.
#[derive(Clone, Debug, Default)]
pub struct Preview {
    /// What fires now and would be held.
    pub now: Vec<Arc<Alert>>,
    /// How many alerts fire.
    pub firing: usize,
    /// What fired in the last week, or still does, and would have been held.
    pub past: Vec<Past>,
    /// Why a confirmation is needed; nothing where it is not.
    pub why_confirm: Vec<Breadth>,
}

/// In which way a silence is broad.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Breadth {
    /// Its matchers accept almost anything.
    Anything,
    /// It holds more alerts than the setting.
    Many(usize),
    /// It holds more than half of what fires.
    Most,
    /// It would have held more alerts of the last week than the setting.
    ManyPast(usize),
}

impl Breadth {
    /// What people are told.
    pub fn text(self) -> String {
        match self {
            Self::Anything => "its matchers accept almost any alert".to_owned(),
            Self::Many(count) => format!("it holds {count} alerts now"),
            Self::Most => "it holds more than half of what fires".to_owned(),
            Self::ManyPast(count) => format!("it would have held {count} alerts in the last week"),
        }
    }
}

/// Adds a series and when it last had a value that is no marker.
fn last_seen(seen: &mut Vec<(Labels, Timestamp)>, series: SeriesColumns<'_>) {
    let mut values = series.times.iter().zip(series.values);
    if let Some((time, _)) = values.rfind(|(_, value)| !is_stale(**value)) {
        seen.push((series.labels.clone(), Timestamp::from_millis(*time)));
    }
}

/// The alerts that fired in the week before `now`, and those that still do, which `matchers` accept,
/// by the samples: ours by `ALERTS`, those of others by what the keeper recorded.
///
/// Reads a week of samples: not for the threads of the runtime.
///
/// # Errors
///
/// As [`Storage::select`].
pub fn history(
    storage: &Storage,
    external: &Labels,
    matchers: &[Matcher],
    now: Timestamp,
) -> Result<Vec<Past>, SelectError> {
    let mut found: BTreeMap<Labels, Timestamp> = BTreeMap::new();
    let ours = [Matcher::equal(METRIC_NAME, "ALERTS"), Matcher::equal("alertstate", "firing")];
    let pushed = [Matcher::equal(METRIC_NAME, PUSHED_METRIC)];
    let nothing = Labels::empty();
    for (is_ours, series) in [(true, &ours[..]), (false, &pushed[..])] {
        let external = if is_ours { external } else { &nothing };
        // What is added when an alert leaves the rules is in no sample.
        let stored = |matcher: &&Matcher| {
            let own = [METRIC_NAME, "alertstate"].contains(&matcher.name());
            external.get(matcher.name()).is_none() && !(own && is_ours)
        };
        let select: Vec<Matcher> =
            series.iter().chain(matchers.iter().filter(stored)).cloned().collect();
        for (labels, last) in storage.gather(&select, now - WEEK, now, last_seen)? {
            let mut builder = LabelsBuilder::from(&labels);
            builder.remove(METRIC_NAME);
            if is_ours {
                builder.remove("alertstate");
            }
            for (name, value) in external {
                if builder.get(name).is_none() {
                    builder.set(name, value);
                }
            }
            let labels = builder.build();
            let is_real = drill::id_of(&labels).is_none();
            if is_real && matchers.iter().all(|matcher| matcher.matches_labels(&labels)) {
                let known = found.entry(labels).or_insert(last);
                *known = last.max(*known);
            }
        }
    }
    Ok(found.into_iter().map(|(labels, last)| Past { labels, last }).collect())
}

/// Adds to the `past` what of `alerts`, all that there are, fires and `matchers` accept: of what others
/// push only the end is in the samples.
pub fn add_firing(
    past: &mut Vec<Past>,
    alerts: &[Arc<Alert>],
    matchers: &[Matcher],
    now: Timestamp,
) {
    let mut all: BTreeMap<Labels, Timestamp> =
        past.drain(..).map(|past| (past.labels, past.last)).collect();
    let accepted = |labels: &Labels| {
        drill::id_of(labels).is_none() && matchers.iter().all(|m| m.matches_labels(labels))
    };
    let firing = alerts.iter().filter(|alert| alert.is_firing() && accepted(&alert.labels));
    all.extend(firing.map(|alert| (alert.labels.clone(), now)));
    past.extend(all.into_iter().map(|(labels, last)| Past { labels, last }));
}

/// What a silence with these matchers would hold of `alerts`, all that there are, and would have held.
pub fn preview(
    matchers: &[Matcher],
    alerts: &[Arc<Alert>],
    past: Vec<Past>,
    settings: &Hygiene,
) -> Preview {
    let is_real = |alert: &&Arc<Alert>| alert.is_firing() && drill::id_of(&alert.labels).is_none();
    let firing: Vec<_> = alerts.iter().filter(is_real).collect();
    let holds =
        |alert: &Alert| matchers.iter().all(|matcher| matcher.matches_labels(&alert.labels));
    let now: Vec<_> = firing.iter().filter(|alert| holds(alert)).map(|a| Arc::clone(a)).collect();
    let mut why = Vec::new();
    if matchers.iter().all(accepts_almost_anything) {
        why.push(Breadth::Anything);
    }
    if now.len() > settings.confirm_above {
        why.push(Breadth::Many(now.len()));
    }
    if now.len() >= FEW && now.len() * SHARE > firing.len() {
        why.push(Breadth::Most);
    }
    if past.len() > settings.confirm_above {
        why.push(Breadth::ManyPast(past.len()));
    }
    Preview { now, firing: firing.len(), past, why_confirm: why }
}

impl Preview {
    /// How many alerts of the last week there are of each name.
    pub fn names(&self) -> BTreeMap<&str, usize> {
        let mut names = BTreeMap::new();
        for past in &self.past {
            *names.entry(past.labels.get(ALERT_NAME).unwrap_or("")).or_insert(0) += 1;
        }
        names
    }
}

/// Whether a matcher says next to nothing: it accepts values that have nothing in common.
fn accepts_almost_anything(matcher: &Matcher) -> bool {
    ["a", "0", "Zz-9_x", "ü y", "10.0.0.1:9100"].iter().all(|value| matcher.matches(value))
}

#[cfg(test)]
mod tests {
    use base::matcher::MatchOp;
    use storage::{Options, Point};

    use super::*;
    use crate::alerts::Ending;

    fn alert(name: &str, n: usize, ended: bool) -> Arc<Alert> {
        Arc::new(Alert {
            labels: Labels::from_pairs([("alertname", name), ("n", &n.to_string())]),
            annotations: BTreeMap::new(),
            starts_at: Timestamp::default(),
            ended: ended.then(|| (Timestamp::default(), Ending::Resolved)),
            stale_since: None,
            generator_url: String::new(),
        })
    }

    #[test]
    fn broad_silences_need_a_confirmation_x50() {
        let check = |matchers: &str, alerts: &str, expected: &[&str]| {
            let matchers = crate::matchers::parse(matchers).unwrap();
            let alerts: Vec<_> = alerts
                .chars()
                .enumerate()
                .map(|(n, c)| alert(&c.to_ascii_lowercase().to_string(), n, c.is_ascii_uppercase()))
                .collect();
            let settings = Hygiene { confirm_above: 5, ..Hygiene::default() };
            let preview = preview(&matchers, &alerts, Vec::new(), &settings);
            let why: Vec<_> = preview.why_confirm.iter().map(|why| why.text()).collect();
            assert_eq!(why, expected, "{matchers:?}");
        };
        let (anything, most) =
            ("its matchers accept almost any alert", "it holds more than half of what fires");
        check("alertname=a", "aab", &[]);
        check("alertname=a", "aaab", &[]);
        check("alertname=a", "aaaab", &[most]);
        check("alertname=a", "aaaabbbb", &[]);
        check("alertname=a", "aaaaAAAAbbbb", &[]);
        check("alertname=a", "aaaaaabbbbbbb", &["it holds 6 alerts now"]);
        check("alertname=~\".+\"", "", &[anything]);
        check("alertname=~\".*\", n=~\".+\"", "", &[anything]);
        check("alertname!=\"x\"", "", &[anything]);
        check("alertname!=\"\"", "", &[anything]);
        check("alertname!~\"x.*\", n=~\"[^q]+\"", "", &[anything]);
        check("alertname!=\"x\", team=web", "", &[]);
        check("alertname=~\"a|b\"", "", &[]);
        let past = |count: usize| {
            (0..count).map(|n| Past {
                labels: alert("a", n, false).labels.clone(),
                last: Timestamp::default(),
            })
        };
        let matchers = [Matcher::equal("alertname", "a")];
        let of_past =
            |count| preview(&matchers, &[], past(count).collect(), &Hygiene::default()).why_confirm;
        assert_eq!((of_past(50), of_past(51)), (vec![], vec![Breadth::ManyPast(51)]));
    }

    #[test]
    fn what_fires_is_of_the_last_week_too() {
        let at = Timestamp::from_millis;
        let past = |alert: Arc<Alert>, last| Past { labels: alert.labels.clone(), last };
        let mut found = vec![past(alert("a", 1, false), at(5)), past(alert("a", 2, false), at(6))];
        let alerts = [alert("a", 2, false), alert("a", 3, false), alert("a", 4, true)];
        let other = alert("b", 5, false);
        let alerts: Vec<_> = alerts.into_iter().chain([other]).collect();
        add_firing(&mut found, &alerts, &[Matcher::equal("alertname", "a")], at(9));
        let found: Vec<_> =
            found.iter().map(|past| (past.labels.get("n").unwrap(), past.last)).collect();
        assert_eq!(found, [("1", at(5)), ("2", at(9)), ("3", at(9))]);
        // A drill is nothing that fires, now or in the week.
        let mut drill = Alert::clone(&alert("a", 9, false));
        drill.labels = drill.labels.with(drill::DRILL, "7");
        let (drills, mut found) = ([Arc::new(drill)], Vec::new());
        let a = [Matcher::equal("alertname", "a")];
        add_firing(&mut found, &drills, &a, at(9));
        assert_eq!(found, []);
        let preview = preview(&a, &drills, found, &Hygiene::default());
        assert_eq!((preview.firing, preview.now.len()), (0, 0));
    }

    #[test]
    fn the_last_week_is_in_the_samples() {
        let storage = Storage::in_memory(Options::default());
        let now = Timestamp::from_millis(1_000_000_000_000);
        let append = |labels: &[(&str, &str)], days: u64, value: f64| {
            let series = storage.series(&Labels::from_pairs(labels.iter().copied())).unwrap();
            let timestamp = now - Duration::from_secs(days * 86_400);
            storage.append(&[Point { series, timestamp, value }]).unwrap();
        };
        let ours =
            |name, state| [("__name__", "ALERTS"), ("alertname", name), ("alertstate", state)];
        append(&ours("old", "firing"), 8, 1.0);
        append(&ours("a", "firing"), 3, 1.0);
        append(&ours("a", "firing"), 2, base::sample::Ended::Gone.value());
        append(&ours("b", "pending"), 3, 1.0);
        append(&[("__name__", PUSHED_METRIC), ("alertname", "c"), ("team", "web")], 1, 1.0);
        append(&[("__name__", "up"), ("alertname", "d")], 1, 1.0);
        let drill = [("__name__", PUSHED_METRIC), ("alertname", "c"), (drill::DRILL, "7")];
        append(&drill, 1, 1.0);
        let external = Labels::from_pairs([("site", "paris")]);
        let check = |matchers: &str, expected: &str| {
            let matchers = crate::matchers::parse(matchers).unwrap();
            let found = history(&storage, &external, &matchers, now).unwrap();
            let days = |past: &Past| now.since(past.last).as_secs() / 86_400;
            let found: Vec<_> =
                found.iter().map(|past| format!("{} {}d", past.labels, days(past))).collect();
            assert_eq!(found.join("; "), expected);
        };
        let (a, c) = (r#"{alertname="a", site="paris"} 3d"#, r#"{alertname="c", team="web"} 1d"#);
        check("alertname=~\".+\"", &format!("{a}; {c}"));
        check("site=paris", a);
        check("site!=paris", c);
        check("team=web", c);
        assert!(Matcher::new("alertstate", MatchOp::Equal, "firing").is_ok());
        check("alertstate=firing", "");
    }
}
