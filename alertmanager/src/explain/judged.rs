//! What the rules made of the samples: from the series that an expression reads to the state of an
//! alert.
//!
//! Invariant: a moment of the past is told by what was stored then, the present by what the rules
//! hold.

use std::time::Duration;

use base::labels::{ALERT_NAME, Labels, METRIC_NAME};
use base::matcher::Matcher;
use base::number;
use base::period::Period;
use base::sample::{Ended, Timestamp};
use promql::{Options, Query, Range, Value};
use storage::Storage;

use super::trace::Stage;
use crate::hygiene::PUSHED_METRIC;
use crate::rules::{GroupView, RuleKind, RuleView};
use crate::time::print_time;

/// The most series of one selector that are shown.
const MOST_SERIES: usize = 3;

/// Where what was stored is looked up.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stored<'a> {
    pub(super) storage: &'a Storage,
    pub(super) lookback: Duration,
    pub(super) features: promql::Features,
    pub(super) at: Timestamp,
}

/// How far an alert was at a time, by the series that its rule wrote, or by what was pushed.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredState {
    pub(super) labels: Labels,
    pub(super) is_firing: bool,
    /// Whether somebody else said so.
    pub(super) is_pushed: bool,
    /// Since when its condition held.
    pub(super) active_at: Option<Timestamp>,
}

/// A rule with its group.
pub(super) struct Judge<'a> {
    pub(super) group: &'a GroupView,
    pub(super) rule: &'a RuleView,
    pub(super) hold: Duration,
}

/// The rule that an alert with `labels` can be of.
pub(super) fn judge<'a>(
    groups: &'a [std::sync::Arc<GroupView>],
    labels: &Labels,
) -> Option<Judge<'a>> {
    let name = labels.get(ALERT_NAME)?;
    groups.iter().find_map(|group| {
        group.rules.iter().find_map(|rule| {
            let RuleKind::Alerting { hold, labels: own, .. } = &rule.kind else { return None };
            // A label that is a template can be anything.
            let fits = own.iter().all(|(name, value)| {
                value.contains("{{") || labels.get(name).is_none_or(|is| is == value)
            });
            (rule.name == name && fits).then_some(Judge { group, rule, hold: *hold })
        })
    })
}

/// Whether a series can be of an alert: it contradicts none of its labels.
fn fits(series: &Labels, alert: &Labels) -> bool {
    let own = alert.iter().filter(|(name, _)| *name != ALERT_NAME);
    own.into_iter().all(|(name, value)| series.get(name).is_none_or(|other| other == value))
}

impl Stored<'_> {
    /// The last samples that the expression of a rule reads for an alert.
    pub(super) fn samples(&self, query: &Query, alert: &Labels) -> Stage {
        let mut lines = Vec::new();
        for reads in query.reads() {
            let (from, to) = reads.span(Range::instant(self.at), self.lookback);
            let found = match self.storage.select(reads.matchers(), from, to) {
                Ok(found) => found,
                Err(error) => {
                    lines.push(format!("the samples cannot be read: {error}"));
                    continue;
                }
            };
            let of_alert: Vec<_> = found.iter().filter(|s| fits(&s.labels, alert)).collect();
            for series in of_alert.iter().take(MOST_SERIES) {
                if let (Some(time), Some(value)) = (series.times.last(), series.values.last()) {
                    lines.push(self.sample(&series.labels, Timestamp::from_millis(*time), *value));
                }
            }
            match of_alert.len() {
                0 => {
                    let name = crate::matchers::print_all(reads.matchers());
                    lines.push(format!("nothing of {name} from {} on", print_time(from)));
                }
                n if n > MOST_SERIES => lines.push(format!("and {} more", n - MOST_SERIES)),
                _ => {}
            }
        }
        if lines.is_empty() {
            lines.push("the expression reads no series".to_owned());
        }
        Stage::passes("sample", lines.join("\n"))
    }

    fn sample(&self, labels: &Labels, time: Timestamp, value: f64) -> String {
        let ago = Period::from(self.at.since(time));
        match Ended::from_value(value) {
            None => format!("{labels} is {}, {ago} before", number::plain(value)),
            Some(Ended::Gone) => {
                format!("{labels} ended {ago} before: its target no longer has it")
            }
            Some(Ended::Lost) => format!("{labels} ended {ago} before: its target did not answer"),
            Some(Ended::Removed) => format!("{labels} ended {ago} before: its target was removed"),
        }
    }

    /// The value that an expression has for an alert, where it has one.
    ///
    /// # Errors
    ///
    /// It cannot be evaluated.
    pub(super) fn value(&self, query: &Query, alert: &Labels) -> Result<Option<f64>, String> {
        let Self { lookback, features, .. } = *self;
        let options = Options { lookback, features, ..Options::default() };
        let output = promql::evaluate(query, self.storage, Range::instant(self.at), &options);
        Ok(match output.map_err(|error| error.to_string())?.value {
            Value::Scalar(sample) => Some(sample.value),
            Value::Vector(samples) => samples
                .iter()
                .find(|(labels, _)| fits(&labels.without_name(), alert))
                .map(|(_, sample)| sample.value),
            Value::Matrix(_) | Value::String(_) => None,
        })
    }

    /// The alerts that were pending or fired, by the series that rules write.
    ///
    /// # Errors
    ///
    /// The samples cannot be read.
    pub(super) fn states(&self, wanted: &[Matcher]) -> Result<Vec<StoredState>, String> {
        let from = self.at - self.lookback + Duration::from_millis(1);
        let named = |name: &str| {
            let own = wanted.iter().filter(|matcher| matcher.name() == ALERT_NAME).cloned();
            std::iter::once(Matcher::equal(METRIC_NAME, name)).chain(own).collect::<Vec<_>>()
        };
        let select = |name: &str| {
            let found = self.storage.select(&named(name), from, self.at);
            let found = found.map_err(|error| error.to_string())?;
            let last = |series: storage::SeriesSamples| {
                let value = *series.values.last()?;
                Ended::from_value(value).is_none().then_some((series.labels, value))
            };
            Ok::<Vec<(Labels, f64)>, String>(found.into_iter().filter_map(last).collect())
        };
        let since = select("ALERTS_FOR_STATE")?;
        let mut states: Vec<StoredState> = Vec::new();
        for (labels, _) in select("ALERTS")? {
            let is_firing = labels.get("alertstate") == Some("firing");
            let labels = labels.without_name().with("alertstate", "");
            let active_at = since
                .iter()
                .find(|(other, _)| other.without_name() == labels)
                .map(|(_, seconds)| Timestamp::from_seconds(*seconds));
            match states.iter_mut().find(|state| state.labels == labels) {
                Some(known) => known.is_firing |= is_firing,
                None => states.push(StoredState { labels, is_firing, is_pushed: false, active_at }),
            }
        }
        Ok(states)
    }

    /// The alerts that fired because they were pushed, and had ended by `now`: of each it is stored at
    /// its end since when it fired.
    ///
    /// # Errors
    ///
    /// The samples cannot be read.
    pub(super) fn pushed(
        &self,
        wanted: &[Matcher],
        now: Timestamp,
    ) -> Result<Vec<StoredState>, String> {
        let mut matchers = vec![Matcher::equal(METRIC_NAME, PUSHED_METRIC)];
        matchers.extend(wanted.iter().cloned());
        let found = self.storage.select(&matchers, self.at, now);
        let fired = |series: storage::SeriesSamples| {
            let ended = series.values.iter().find(|value| Ended::from_value(**value).is_none());
            let since = Timestamp::from_seconds(*ended?);
            (since <= self.at).then(|| StoredState {
                labels: series.labels.without_name(),
                is_firing: true,
                is_pushed: true,
                active_at: Some(since),
            })
        };
        Ok(found.map_err(|error| error.to_string())?.into_iter().filter_map(fired).collect())
    }
}

#[cfg(test)]
mod tests {
    use storage::Point;

    use super::*;

    #[test]
    fn what_was_pushed_fired_from_its_beginning_to_its_end() {
        let at = |second: i64| Timestamp::from_millis(second * 1000);
        let storage = Storage::in_memory(storage::Options::default());
        let labels = [("__name__", PUSHED_METRIC), ("alertname", "a")];
        let series = storage.series(&Labels::from_pairs(labels)).unwrap();
        // From 100 to 200, and from 300 to 400.
        for (time, value) in
            [(200, 100.0), (201, Ended::Gone.value()), (400, 300.0), (401, Ended::Gone.value())]
        {
            storage.append(&[Point { series, timestamp: at(time), value }]).unwrap();
        }
        let since = |second: i64, name: &str| {
            let (storage, features) = (&storage, promql::Features::default());
            let stored = Stored { storage, lookback: Duration::ZERO, features, at: at(second) };
            let found = stored.pushed(&[Matcher::equal(ALERT_NAME, name)], at(1000)).unwrap();
            found.first().and_then(|state| state.active_at).map(|since| since.millis() / 1000)
        };
        let check = |second: i64, expected: Option<i64>| {
            assert_eq!((since(second, "a"), since(second, "b")), (expected, None), "{second}");
        };
        check(99, None);
        check(100, Some(100));
        check(200, Some(100));
        check(202, None);
        check(350, Some(300));
        check(402, None);
    }
}
