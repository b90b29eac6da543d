//! How far each alert of a rule is: pending, firing, over; and what becomes of one whose data are
//! missing.
//!
//! ```text
//!            holds                `for` is over             fresh data: no
//!   (none) ─────────▶ pending ──────────────────▶ firing ──────────────────▶ ended
//!                      │  ▲                        │  ▲
//!                      ▼  │   data are missing     ▼  │
//!                     stale                       stale
//! ```
//!
//! Invariant: missing data end nothing: an alert is stale until fresh data say whether it holds, or
//! what it was about is no longer watched (F41, F42). It is frozen meanwhile, unless its rule says
//! that missing data count as if it held.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use base::labels::Labels;
use base::sample::Timestamp;

use crate::alerts::{Alert, Ending};
use crate::state::{RuleAlertState, StoredAlert};

/// An alert that the expression found.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Found {
    pub(crate) labels: Labels,
    pub(crate) annotations: BTreeMap<String, String>,
    pub(crate) value: f64,
}

/// What the data say of an alert that the expression did not find.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// They are there, and its condition does not hold.
    Over,
    /// They are missing: nobody can say.
    Missing,
    /// They are missing, which counts as if its condition held.
    Feared,
    /// What it was about is no longer watched.
    Removed,
}

/// An alert that is pending or fires.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Active {
    pub(crate) labels: Labels,
    pub(crate) annotations: BTreeMap<String, String>,
    pub(crate) value: f64,
    pub(crate) state: RuleAlertState,
    pub(crate) active_at: Timestamp,
    pub(crate) fired_at: Option<Timestamp>,
    pub(crate) keep_since: Option<Timestamp>,
    pub(crate) stale_since: Option<Timestamp>,
    /// It was there before we were started, and has not been seen since.
    pub(crate) restored: bool,
}

/// The alerts of one rule.
#[derive(Clone, Debug, Default)]
pub(crate) struct AlertStates {
    active: HashMap<Labels, Active>,
}

/// What an evaluation changed.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Changes {
    /// Alerts whose durable state is another now.
    pub(crate) stored: Vec<Active>,
    /// Alerts that are neither pending nor firing any more.
    pub(crate) gone: Vec<Labels>,
    /// What there is to tell: alerts that fire, and those that ended.
    pub(crate) alerts: Vec<(Active, Option<(Timestamp, Ending)>)>,
}

impl AlertStates {
    /// Takes over what was stored. The time during which nobody evaluated does not count for
    /// `for`: an alert that was pending waits `blind` longer.
    pub(crate) fn restore(&mut self, stored: StoredAlert, blind: Duration) {
        let active = Active::from_stored(stored, blind);
        self.active.insert(active.labels.clone(), active);
    }

    /// Nobody evaluated for `blind`, which does not count for `for`; gives those that wait longer.
    pub(crate) fn credit(&mut self, blind: Duration) -> impl Iterator<Item = &Active> {
        let pending = |active: &&mut Active| active.state == RuleAlertState::Pending;
        self.active.values_mut().filter(pending).map(move |active| {
            active.active_at = active.active_at + blind;
            &*active
        })
    }

    /// The alerts, in no order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Active> {
        self.active.values()
    }

    /// The next evaluation, at `now`: `found` holds, and `fate` says what of an alert that is not
    /// among it.
    pub(crate) fn advance(
        &mut self,
        now: Timestamp,
        hold: Duration,
        keep_firing_for: Duration,
        found: Vec<Found>,
        fate: impl Fn(&Active) -> Fate,
    ) -> Changes {
        let mut changes = Changes::default();
        let mut seen = std::collections::HashSet::with_capacity(found.len());
        for found in found {
            seen.insert(found.labels.clone());
            self.holds(found, now, hold, &mut changes);
        }
        let missing: Vec<_> =
            self.active.keys().filter(|labels| !seen.contains(*labels)).cloned().collect();
        for labels in missing {
            let Some(active) = self.active.get_mut(&labels) else { continue };
            match fate(active) {
                fate @ (Fate::Missing | Fate::Feared) => {
                    let new = active.stale_since.is_none();
                    active.stale_since.get_or_insert(now);
                    let fires = fate == Fate::Feared && active.fires(now, hold);
                    if new || fires {
                        changes.stored.push(active.clone());
                        changes.tell(active, None);
                    }
                }
                Fate::Removed => {
                    changes.end(active, now, Ending::TargetRemoved);
                    self.active.remove(&labels);
                }
                Fate::Over if active.state == RuleAlertState::Pending => {
                    changes.gone.push(labels.clone());
                    self.active.remove(&labels);
                }
                Fate::Over => {
                    let since = *active.keep_since.get_or_insert(now);
                    if now.since(since) >= keep_firing_for {
                        changes.end(active, now, Ending::Resolved);
                        self.active.remove(&labels);
                    } else if since == now || active.stale_since.take().is_some() {
                        active.stale_since = None;
                        changes.stored.push(active.clone());
                        changes.tell(active, None);
                    }
                }
            }
        }
        changes
    }

    /// An alert whose condition holds.
    fn holds(&mut self, found: Found, now: Timestamp, hold: Duration, changes: &mut Changes) {
        let new = !self.active.contains_key(&found.labels);
        let active = self.active.entry(found.labels.clone()).or_insert_with(|| Active {
            labels: found.labels.clone(),
            annotations: BTreeMap::new(),
            value: found.value,
            state: RuleAlertState::Pending,
            active_at: now,
            fired_at: None,
            keep_since: None,
            stale_since: None,
            restored: false,
        });
        active.value = found.value;
        active.restored = false;
        let texts = active.annotations != found.annotations;
        active.annotations = found.annotations;
        let fresh = active.stale_since.take().is_some() | active.keep_since.take().is_some();
        let fires = active.fires(now, hold);
        if new || fires || fresh {
            changes.stored.push(active.clone());
        }
        if fires || fresh || texts {
            changes.tell(active, None);
        }
    }
}

impl Changes {
    /// A pending alert is nobody's business yet.
    fn tell(&mut self, active: &Active, ended: Option<(Timestamp, Ending)>) {
        if active.state == RuleAlertState::Firing {
            self.alerts.push((active.clone(), ended));
        }
    }

    fn end(&mut self, active: &Active, now: Timestamp, ending: Ending) {
        self.gone.push(active.labels.clone());
        self.tell(active, Some((now, ending)));
    }
}

impl Active {
    /// Makes a pending alert fire whose time has come; whether it was one.
    fn fires(&mut self, now: Timestamp, hold: Duration) -> bool {
        let fires = self.state == RuleAlertState::Pending && now.since(self.active_at) >= hold;
        if fires {
            self.state = RuleAlertState::Firing;
            self.fired_at = Some(now);
        }
        fires
    }

    /// The alert as dispatch sees it.
    pub(crate) fn to_alert(
        &self,
        ended: Option<(Timestamp, Ending)>,
        generator_url: String,
    ) -> Alert {
        Alert {
            labels: self.labels.clone(),
            annotations: self.annotations.clone(),
            starts_at: self.fired_at.unwrap_or(self.active_at),
            ended,
            stale_since: self.stale_since.filter(|_| ended.is_none()),
            generator_url,
        }
    }

    /// The alert as the state kept it, while nobody evaluated for `blind`.
    pub(crate) fn from_stored(stored: StoredAlert, blind: Duration) -> Self {
        let pending = stored.state == RuleAlertState::Pending;
        let blind = if pending { blind } else { Duration::ZERO };
        Self {
            labels: stored.labels,
            annotations: stored.annotations,
            value: stored.value,
            state: stored.state,
            active_at: stored.active_at + blind,
            fired_at: stored.fired_at,
            keep_since: stored.keep_since,
            stale_since: stored.stale_since,
            restored: true,
        }
    }

    /// The alert as the state keeps it.
    pub(crate) fn to_stored(&self, rule: &str) -> StoredAlert {
        StoredAlert {
            rule: rule.to_owned(),
            labels: self.labels.clone(),
            state: self.state,
            active_at: self.active_at,
            fired_at: self.fired_at,
            keep_since: self.keep_since,
            stale_since: self.stale_since,
            value: self.value,
            annotations: self.annotations.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    fn at(minute: usize) -> Timestamp {
        Timestamp::from_millis(minute as i64 * 60_000)
    }

    fn found() -> Found {
        let labels = Labels::from_pairs([("alertname", "a")]);
        Found { labels, annotations: BTreeMap::new(), value: 1.0 }
    }

    /// Evaluates once a minute: `x` where the condition holds, `.` where fresh data say no, `?`
    /// where they are missing, `^` where that counts as if it held, `-` where the target is removed. Draws `P` pending, `F` firing, in
    /// lower case where stale, `.` where there is no alert; `!` after it where it was told to end.
    fn draw(
        states: &mut AlertStates,
        first: usize,
        condition: &str,
        hold: u32,
        keep: u32,
    ) -> String {
        let mut drawn = String::new();
        for (minute, c) in condition.chars().enumerate() {
            let fate = match c {
                '?' => Fate::Missing,
                '^' => Fate::Feared,
                '-' => Fate::Removed,
                _ => Fate::Over,
            };
            let found = if c == 'x' { vec![found()] } else { vec![] };
            let changes =
                states.advance(at(first + minute), MINUTE * hold, MINUTE * keep, found, |_| fate);
            let active = states.iter().next();
            drawn.push(match active.map(|a| (a.state, a.stale_since.is_some())) {
                None => '.',
                Some((RuleAlertState::Pending, false)) => 'P',
                Some((RuleAlertState::Pending, true)) => 'p',
                Some((RuleAlertState::Firing, false)) => 'F',
                Some((RuleAlertState::Firing, true)) => 'f',
            });
            if changes.alerts.iter().any(|(_, ended)| ended.is_some()) {
                drawn.push('!');
            }
        }
        drawn
    }

    #[track_caller]
    fn check(condition: &str, hold: u32, keep: u32, expected: &str) {
        let drawn = draw(&mut AlertStates::default(), 0, condition, hold, keep);
        assert_eq!(drawn, expected, "condition {condition}");
    }

    #[test]
    fn fires_once_the_condition_has_held_for_the_whole_duration() {
        check("xx.....", 3, 0, "PP.....");
        check("xxxxx..", 3, 0, "PPPFF.!.");
        check("xx.xxxx", 3, 0, "PP.PPPF");
        check("x.", 0, 0, "F.!");
    }

    #[test]
    fn keeps_firing_for_a_while_if_told_to() {
        check("xx......", 0, 3, "FFFFF.!..");
        check("x..x....", 0, 3, "FFFFFFF.!");
    }

    #[test]
    fn missing_data_end_nothing_and_keep_the_timer() {
        // F41: scrapes fail every second time.
        check("x?x?x?x?.", 3, 0, "PpPpFfFf.!");
        check("xx????x", 3, 0, "PPppppF");
        check("xxx?????.", 0, 0, "FFFfffff.!");
        check("x?x", 0, 0, "FfF");
        // While nobody knows, nothing begins to fire.
        check("x????", 3, 0, "Ppppp");
        check("xxx?-", 0, 0, "FFFf.!");
        check("x?-", 3, 0, "Pp.");
    }

    #[test]
    fn missing_data_may_count_as_if_the_condition_held() {
        check("x^^^^", 3, 0, "Pppff");
        check("x^^^.", 3, 0, "Pppf.!");
        check("x^x^x", 3, 0, "PpPfF");
        check("xxx^^-", 0, 0, "FFFff.!");
        check("x^^", 0, 0, "Fff");
    }

    #[test]
    fn a_restart_goes_on_where_it_was() {
        // F43: at 80 % of `for`, with `for` raised and lowered, and with time nobody evaluated.
        let restart = |hold_after: u32, blind: u32| {
            let mut before = AlertStates::default();
            draw(&mut before, 0, "xxxxx", 5, 0);
            let stored: Vec<_> = before.iter().map(|a| a.to_stored("r")).collect();
            let mut after = AlertStates::default();
            stored.into_iter().for_each(|s| after.restore(s, MINUTE * blind));
            draw(&mut after, 5 + blind as usize, "xxxxxx", hold_after, 0)
        };
        assert_eq!(restart(5, 0), "FFFFFF");
        assert_eq!(restart(7, 0), "PPFFFF");
        assert_eq!(restart(2, 0), "FFFFFF");
        assert_eq!(restart(6, 3), "PFFFFF");
        // One that fires stays so, however `for` is changed.
        let mut firing = AlertStates::default();
        draw(&mut firing, 0, "xxx", 0, 0);
        let stored: Vec<_> = firing.iter().map(|a| a.to_stored("r")).collect();
        let mut after = AlertStates::default();
        stored.into_iter().for_each(|s| after.restore(s, MINUTE));
        assert_eq!(draw(&mut after, 9, "x?.", 60, 0), "Ff.!");
    }

    #[test]
    fn a_text_that_changes_is_told_on_but_not_stored() {
        let mut states = AlertStates::default();
        let with = |text: &str| Found {
            annotations: BTreeMap::from([("summary".to_owned(), text.to_owned())]),
            ..found()
        };
        let mut step = |minute, text: &str| {
            states.advance(at(minute), Duration::ZERO, Duration::ZERO, vec![with(text)], |_| {
                Fate::Over
            })
        };
        assert_eq!(step(0, "one").stored.len(), 1);
        let changes = step(1, "two");
        assert_eq!((changes.stored.len(), changes.alerts.len()), (0, 1));
        assert_eq!(step(2, "two"), Changes::default());
    }
}
