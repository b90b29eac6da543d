//! Why somebody was told, and why not: each decision on the way of an alert, in its order.
//!
//! ```text
//! samples ─▶ rule ─▶ state ─▶ route ─▶ held back? ─▶ group ─▶ each attempt to deliver
//! ```
//!
//! Of now it asks those who decide; of a moment of the past it reads what was stored: the series of
//! alerts, the revisions of silences, the history of deliveries, with the configuration of now.
//!
//! Invariant: it decides nothing.

pub mod routes;
mod trace;
mod question;
mod judged;
mod told;

pub use question::{Question, Standing, Subject};
pub use told::Attempted;
pub use trace::{Stage, Trace, Way};

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use base::labels::{Labels, LabelsBuilder};
use base::matcher::Matcher;
use base::period::Period;
use base::sample::Timestamp;
use promql::Query;
use storage::Storage;

use crate::alerts::{Alert, Alerts};
use crate::dispatch::{HeldBy, Lanes, Route};
use crate::escalation::Escalations;
use crate::mute::{Effects, InhibitRule, Inhibitor, Mutes, Silence};
use crate::outbox::{LaneGroup, Outbox};
use crate::pushed::Pushed;
use crate::rules::{GroupView, RuleKind};
use crate::state::RuleAlertState;
use crate::time::print_time;
use judged::{Stored, StoredState, judge};
use told::{OnLane, OnRoute};

/// The most alerts that one question is answered for.
const MOST: usize = 20;

/// Those who know.
#[derive(Debug)]
pub struct Witnesses<'a> {
    /// The samples.
    pub storage: &'a Storage,
    /// How far back a sample counts.
    pub lookback: Duration,
    /// What is done otherwise than by default where expressions are evaluated.
    pub features: promql::Features,
    /// The rules with their alerts.
    pub rules: Vec<Arc<GroupView>>,
    /// What fires, or has just ended.
    pub alerts: &'a Alerts,
    /// Alerts that others push.
    pub pushed: &'a Pushed,
    /// What holds alerts back now.
    pub mutes: &'a Mutes,
    /// The silences as they were at the time that is asked for.
    pub silences: Vec<Arc<Silence>>,
    /// What waits, and what was told.
    pub outbox: &'a Outbox,
    /// Of what nobody has answered, and who has what in hand.
    pub escalations: &'a Escalations,
    /// The tree.
    pub route: &'a Route,
    /// The ways to each receiver.
    pub lanes: &'a Lanes,
    /// Which alerts hold others back.
    pub inhibit_rules: &'a [InhibitRule],
    /// Added to every alert of ours.
    pub external_labels: &'a Labels,
    /// Attempts at messages around that time by the fingerprint of an alert, oldest first.
    pub attempts: HashMap<u64, Vec<Attempted>>,
    /// When groups are looked at next, by their keys.
    pub due: HashMap<String, Timestamp>,
    /// Now.
    pub now: Timestamp,
}

impl Witnesses<'_> {
    /// The alerts that a question is about, at most [`MOST`] of them, and how many more there are.
    ///
    /// # Errors
    ///
    /// What was stored cannot be read.
    pub fn subjects(&self, question: &Question) -> Result<(Vec<Subject>, usize), String> {
        let mut found = match question.at {
            None => self.subjects_now(question),
            Some(at) => self.subjects_then(question, at)?,
        };
        found.sort_by(|a, b| a.labels.cmp(&b.labels));
        if found.is_empty() {
            let (labels, state) = (question.named(), Standing::Absent);
            found.push(Subject { labels, state });
        }
        let more = found.len().saturating_sub(MOST);
        found.truncate(MOST);
        Ok((found, more))
    }

    fn subjects_now(&self, question: &Question) -> Vec<Subject> {
        let mut found = Vec::new();
        for alert in self.alerts.all().into_iter().filter(|a| question.is_about(&a.labels)) {
            let labels = alert.labels.clone();
            found.push(Subject { labels, state: Standing::Known(alert) });
        }
        for view in self.rules.iter().flat_map(|group| &group.rules) {
            let RuleKind::Alerting { alerts, hold, .. } = &view.kind else { continue };
            for alert in alerts.iter().filter(|a| a.state == RuleAlertState::Pending) {
                let labels = self.outside(&alert.labels);
                if question.is_about(&labels) && found.iter().all(|known| known.labels != labels) {
                    let state = Standing::Pending { since: alert.active_at, hold: *hold };
                    found.push(Subject { labels, state });
                }
            }
        }
        found
    }

    fn subjects_then(&self, question: &Question, at: Timestamp) -> Result<Vec<Subject>, String> {
        let states = self.fired_then(&question.alert, at)?.into_iter();
        let about = states.filter(|state| question.is_about(&state.labels));
        Ok(about.map(|s| Subject { labels: s.labels.clone(), state: Standing::Then(s) }).collect())
    }

    /// The alerts that were pending or fired at a time of the past, as they leave us.
    fn fired_then(&self, wanted: &[Matcher], at: Timestamp) -> Result<Vec<StoredState>, String> {
        let stored = self.stored(at);
        let mut found = stored.states(wanted)?;
        for state in &mut found {
            state.labels = self.outside(&state.labels);
        }
        let mut others = stored.pushed(wanted, self.now)?;
        // What is still pushed has left no sample yet.
        others.extend(self.pushed.firing().into_iter().filter(|(_, since)| *since <= at).map(
            |(labels, since)| StoredState {
                labels,
                is_firing: true,
                is_pushed: true,
                active_at: Some(since),
            },
        ));
        let mut known: HashSet<Labels> = found.iter().map(|state| state.labels.clone()).collect();
        others.retain(|other| known.insert(other.labels.clone()));
        found.extend(others);
        Ok(found)
    }

    fn stored(&self, at: Timestamp) -> Stored<'_> {
        let Self { storage, lookback, features, .. } = *self;
        Stored { storage, lookback, features, at }
    }

    /// The labels of an alert as it leaves the rules.
    fn outside(&self, labels: &Labels) -> Labels {
        let mut builder = LabelsBuilder::from(labels);
        for (name, value) in self.external_labels {
            if builder.get(name).is_none() {
                builder.set(name, value);
            }
        }
        builder.build()
    }

    /// Explains one of the subjects.
    pub fn explain(&self, subject: &Subject, asked: Option<Timestamp>) -> Trace {
        let at = asked.unwrap_or(self.now);
        let labels = &subject.labels;
        let mut stages = Vec::new();
        let verdict = self.judged(subject, at, asked.is_none(), &mut stages);
        let mut ways = Vec::new();
        // Of what nobody found it is told where it would go.
        if verdict.is_none() || matches!(subject.state, Standing::Absent) {
            let inhibitor = asked.map(|_| self.inhibitor_then(at));
            for route in self.route.of(labels).iter() {
                let way = self.on_route(route, labels, at, inhibitor.as_ref()).tell();
                match verdict {
                    None => ways.push(way),
                    Some(_) => stages.push(Stage::passes(
                        "route",
                        format!("{} to `{}`, if it fired", route.key, route.receiver),
                    )),
                }
            }
        }
        Trace { labels: labels.clone(), at, stages, ways, verdict }
    }

    /// The stages up to the state; the answer where the way of the alert ends there.
    fn judged(
        &self,
        subject: &Subject,
        at: Timestamp,
        is_now: bool,
        stages: &mut Vec<Stage>,
    ) -> Option<String> {
        let labels = &subject.labels;
        let judge = judge(&self.rules, labels);
        let mut holds = None;
        match &judge {
            Some(judge) => {
                let stored = self.stored(at);
                if let Ok(query) = Query::new(&judge.rule.query) {
                    stages.push(stored.samples(&query, labels));
                    holds = Some(stored.value(&query, labels));
                }
                let value = match &holds {
                    Some(Ok(Some(value))) => format!("is {}", base::number::plain(*value)),
                    Some(Ok(None)) => "gives nothing for it".to_owned(),
                    Some(Err(error)) => format!("fails: {error}"),
                    None => "cannot be read".to_owned(),
                };
                let error = judge.rule.error.as_ref().filter(|_| is_now);
                let error =
                    error.map_or(String::new(), |e| format!("\nlast evaluation failed: {e}"));
                stages.push(Stage::passes(
                    "rule",
                    format!(
                        "{} of {} in {}: {} {value}, for {}{error}",
                        judge.rule.name,
                        judge.group.name,
                        judge.group.file,
                        judge.rule.query,
                        Period::from(judge.hold)
                    ),
                ));
            }
            None => stages.push(Stage::passes("rule", self.no_rule(subject, is_now))),
        }
        let (text, verdict) = subject.state.tell(at, judge.as_ref().map(|judge| judge.hold));
        let stage = if verdict.is_some() { Stage::decides } else { Stage::passes };
        stages.push(stage("state", text));
        verdict
    }

    fn no_rule(&self, subject: &Subject, is_now: bool) -> String {
        if matches!(&subject.state, Standing::Then(then) if then.is_pushed) {
            return "none of ours: it was pushed".to_owned();
        }
        match self.pushed.times(&subject.labels) {
            Some(times) if is_now => format!(
                "none of ours: it was pushed, last at {}, and ends at {} if nobody pushes it again",
                print_time(times.updated_at),
                print_time(times.ends_at)
            ),
            _ => "no rule makes such an alert".to_owned(),
        }
    }

    fn on_route<'a>(
        &'a self,
        route: &'a Route,
        labels: &Labels,
        at: Timestamp,
        then: Option<&Inhibitor>,
    ) -> OnRoute<'a> {
        let mut held = match then {
            None => HeldBy::all(route, labels, self.mutes, at),
            Some(inhibitor) => self.held_then(route, labels, at, inhibitor),
        };
        let group_key = routes::group_key(route, labels);
        let about = self.attempts.get(&labels.fingerprint()).map_or(&[][..], Vec::as_slice);
        let is_of = |attempt: &&Attempted| attempt.group_key == group_key;
        let own = self.lanes.get(&route.receiver).into_iter().flatten();
        let mut names: Vec<&str> = own.map(|lane| lane.id.as_str()).collect();
        // Others were told in the place of a receiver that could not be.
        for attempt in about.iter().filter(is_of) {
            if !names.contains(&attempt.lane.as_str()) {
                names.push(&attempt.lane);
            }
        }
        let lanes = names.into_iter().map(|name| {
            let key = LaneGroup { lane: name.to_owned(), group_key: group_key.clone() };
            // What was told later says nothing of the past.
            let told = self.outbox.last_told(&key).filter(|told| then.is_none() || told.at <= at);
            OnLane {
                lane: name.to_owned(),
                told: told.filter(|told| told.firing.iter().any(|a| a.labels == *labels)),
                waits: then.is_none() && self.outbox.intended(&key).is_some(),
                attempts: about.iter().filter(is_of).filter(|a| a.lane == name).cloned().collect(),
            }
        });
        let lanes: Vec<OnLane> = lanes.collect();
        let is_intended = |on: &OnLane| {
            let key = LaneGroup { lane: on.lane.clone(), group_key: group_key.clone() };
            let intended = self.outbox.intended(&key);
            intended.is_some_and(|it| it.flush.alerts.iter().any(|a| a.labels == *labels))
        };
        // What was told, or is about to be, does not wait for the first round.
        if lanes.iter().any(|on| on.told.is_some() || is_intended(on)) {
            held.retain(|by| !matches!(by, HeldBy::FirstRound { .. }));
        }
        OnRoute {
            route,
            at,
            is_now: then.is_none(),
            held,
            unknown: then.is_some().then_some("the configuration is that of now"),
            due: self.due.get(&group_key).copied(),
            bout: self.escalations.get(&group_key).filter(|_| then.is_none()),
            lanes,
            group_key: group_key.clone(),
        }
    }

    fn held_then(
        &self,
        route: &Route,
        labels: &Labels,
        at: Timestamp,
        inhibitor: &Inhibitor,
    ) -> Vec<HeldBy> {
        let silences = self.silences.iter().filter(|silence| silence.holds(labels, at));
        let mut held: Vec<_> = silences.cloned().map(HeldBy::Silence).collect();
        if let Some((rule, source)) = inhibitor.inhibition_of(labels) {
            held.push(HeldBy::Cause { rule: rule.title.clone(), source: source.clone() });
        }
        held.extend(HeldBy::of_windows(labels, self.mutes, at));
        held.extend(HeldBy::of_times(route, at));
        held
    }

    /// What held alerts back at a time of the past.
    fn inhibitor_then(&self, at: Timestamp) -> Inhibitor {
        let mut inhibitor = Inhibitor::new(self.inhibit_rules.iter().cloned());
        for state in self.fired_then(&[], at).unwrap_or_default() {
            if state.is_firing {
                let cause = Alert {
                    labels: state.labels,
                    annotations: Default::default(),
                    starts_at: at,
                    ended: None,
                    stale_since: None,
                    generator_url: String::new(),
                };
                inhibitor.put(&cause, &mut Effects::default());
            }
        }
        inhibitor
    }
}
