//! Alerts that begin and end all the time: they are told as firing until they are quiet.
//!
//! ```text
//! begins 20 times in half an hour ──▶ flapping: told as firing, and that it flaps
//!                                        └── nothing changed for a quarter of an hour ──▶ as it is
//! ```
//!
//! Invariant: what is held back is only an end that was not told yet; what is told last is true
//! (F19, A4.3).

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use base::labels::Labels;
use base::sample::Timestamp;

use crate::alerts::{Alert, Ending};

/// How often an alert must begin, and within which time, to be flapping.
const TIMES: usize = 20;
const WITHIN: Duration = Duration::from_secs(30 * 60);
/// How long it must be quiet to be so no longer.
const QUIET: Duration = Duration::from_secs(15 * 60);

/// What is known of how often alerts begin. Its bound is the number of alerts that fired lately.
#[derive(Clone, Debug, Default)]
pub struct Flapping {
    known: HashMap<Labels, Known>,
    /// Ends that are not told, with when they came.
    held: HashMap<Labels, (Alert, Timestamp)>,
    pruned_at: Option<Timestamp>,
}

#[derive(Clone, Debug, Default)]
struct Known {
    fires: bool,
    begins: VecDeque<Timestamp>,
}

impl Flapping {
    /// What is to be told of what an evaluation at `now` found.
    pub fn pass(&mut self, alerts: Vec<Alert>, now: Timestamp) -> Vec<Alert> {
        let mut told: Vec<Alert> = Vec::with_capacity(alerts.len());
        for alert in alerts {
            told.push(self.one(alert, now));
        }
        let quiet: Vec<Labels> = self
            .held
            .iter()
            .filter(|(_, (_, since))| now.since(*since) >= QUIET)
            .map(|(labels, _)| labels.clone())
            .collect();
        for labels in quiet {
            self.known.remove(&labels);
            told.extend(self.held.remove(&labels).map(|(alert, _)| alert));
        }
        self.prune(now);
        told
    }

    fn one(&mut self, alert: Alert, now: Timestamp) -> Alert {
        let known = self.known.entry(alert.labels.clone()).or_default();
        while known.begins.front().is_some_and(|at| now.since(*at) > WITHIN) {
            known.begins.pop_front();
        }
        if alert.is_firing() && !known.fires {
            known.begins.push_back(now);
            known.begins.drain(..known.begins.len().saturating_sub(TIMES));
        }
        known.fires = alert.is_firing();
        let flaps = known.begins.len() >= TIMES;
        match alert.ended {
            None if flaps => {
                self.held.remove(&alert.labels);
                flapping(alert)
            }
            Some((_, Ending::Resolved)) if flaps => {
                self.held.insert(alert.labels.clone(), (alert.clone(), now));
                flapping(Alert { ended: None, ..alert })
            }
            _ => {
                self.held.remove(&alert.labels);
                alert
            }
        }
    }

    /// Forgets what has not begun for long.
    fn prune(&mut self, now: Timestamp) {
        if self.pruned_at.is_some_and(|at| now.since(at) < WITHIN) {
            return;
        }
        self.pruned_at = Some(now);
        let held = &self.held;
        self.known.retain(|labels, known| {
            known.fires
                || held.contains_key(labels)
                || known.begins.back().is_some_and(|at| now.since(*at) <= WITHIN)
        });
    }
}

/// Says in the texts of an alert that it flaps.
fn flapping(mut alert: Alert) -> Alert {
    let text = format!(
        "it began {TIMES} times within {} minutes; it is told as firing until it has been quiet for \
         {} minutes",
        WITHIN.as_secs() / 60,
        QUIET.as_secs() / 60
    );
    alert.annotations.insert("flapping".to_owned(), text);
    alert
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn alert(fires: bool, ending: Ending, now: Timestamp) -> Alert {
        Alert {
            labels: Labels::from_pairs([("alertname", "a")]),
            annotations: BTreeMap::new(),
            starts_at: now,
            ended: (!fires).then_some((now, ending)),
            stale_since: None,
            generator_url: String::new(),
        }
    }

    /// What is told when the alert begins or ends every `period` seconds, `changes` times, and then
    /// stays as it is for an hour: the changes of what is told.
    fn told(period: i64, changes: i64) -> Vec<(i64, bool)> {
        let mut flapping = Flapping::default();
        let mut told: Vec<(i64, bool)> = Vec::new();
        for second in 0..(changes * period + 3600) {
            let now = Timestamp::from_millis(second * 1000);
            let n = second / period;
            let new = second % period == 0 && n < changes;
            let alerts = new.then(|| alert(n % 2 == 0, Ending::Resolved, now));
            for alert in flapping.pass(alerts.into_iter().collect(), now) {
                if told.last().is_none_or(|(_, fires)| *fires != alert.is_firing()) {
                    told.push((second, alert.is_firing()));
                }
            }
        }
        told
    }

    #[test]
    fn what_begins_all_the_time_is_told_once_and_its_end_when_it_is_quiet_f19() {
        // A square wave of 20 seconds for half an hour.
        let changes = told(10, 180);
        assert_eq!(changes.len(), 40, "{changes:?}");
        assert_eq!(changes[38], (380, true));
        assert_eq!(changes[39], (1790 + 900, false));
        // It ends while it fires: then that is the truth.
        assert_eq!(told(10, 181).last(), Some(&(380, true)));
        // Not so often: every change is told.
        assert_eq!(told(60, 30).len(), 30);
    }

    #[test]
    fn what_is_no_longer_watched_ends_at_once() {
        let mut flapping = Flapping::default();
        let at = |n: i64| Timestamp::from_millis(n * 1000);
        for n in 0..60 {
            flapping.pass(vec![alert(n % 2 == 0, Ending::Resolved, at(n))], at(n));
        }
        let told = flapping.pass(vec![alert(false, Ending::TargetRemoved, at(60))], at(60));
        assert!(!told[0].is_firing());
        assert!(flapping.held.is_empty());
    }

    #[test]
    fn what_is_quiet_is_forgotten() {
        let mut flapping = Flapping::default();
        let at = |n: i64| Timestamp::from_millis(n * 1000);
        flapping.pass(vec![alert(true, Ending::Resolved, at(0))], at(0));
        flapping.pass(vec![alert(false, Ending::Resolved, at(1))], at(1));
        flapping.pass(Vec::new(), at(4000));
        assert!(flapping.known.is_empty());
    }
}
