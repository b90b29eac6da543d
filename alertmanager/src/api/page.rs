//! The page for people: what is wrong, what is watched, what checks say.
//!
//! Invariant: everything is escaped by the template, and the page runs no script (X13).

use std::collections::BTreeMap;
use std::sync::Arc;

use askama::Template;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::Response;
use base::labels::{ALERT_NAME, Labels, METRIC_NAME};
use base::matcher::Matcher;
use base::period::Period;
use base::sample::{Timestamp, is_stale};

use super::Shown;
use super::health::{Health, parts};
use super::reply::{Failure, compressed};
use super::silences::in_force;
use crate::alerts::Alert;
use crate::explain::routes::group_key;
use crate::matchers;
use crate::mute::{Occurrence, Phase, Silence, SilenceState};
use crate::rules::{AlertView, RuleKind};
use crate::state::RuleAlertState;

/// What the page may load: its own style and nothing else.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; \
    form-action 'none'; frame-ancestors 'none'";

#[derive(Template)]
#[template(path = "index.html")]
struct Page {
    version: &'static str,
    problems: Vec<(String, &'static str, String)>,
    alerts: Vec<AlertRow>,
    has_bouts: bool,
    checks: Vec<CheckRow>,
    targets: Vec<TargetRow>,
    receivers: Vec<ReceiverRow>,
    silences: Vec<SilenceRow>,
    windows: Vec<WindowRow>,
}

struct AlertRow {
    id: String,
    state: &'static str,
    name: String,
    severity: String,
    labels: String,
    age: String,
    texts: Vec<String>,
    /// Where it can be silenced.
    silence: Option<String>,
    /// Of each of its groups: who has it, or who is waited for; and where one can take it.
    answers: Vec<(String, Option<String>)>,
}

struct SilenceRow {
    id: String,
    state: &'static str,
    matchers: String,
    owner: String,
    comment: String,
    age: String,
    end: String,
    held: Vec<String>,
    more: usize,
}

struct WindowRow {
    id: String,
    state: &'static str,
    name: String,
    matchers: String,
    owner: String,
    comment: String,
    when: String,
    held: usize,
}

struct CheckRow {
    status: &'static str,
    check: String,
    instance: String,
    output: String,
}

struct TargetRow {
    health: &'static str,
    job: String,
    instance: String,
    url: String,
    error: String,
    age: String,
}

struct ReceiverRow {
    health: &'static str,
    lane: String,
    text: String,
}

/// `/`
pub(super) async fn index(
    State(shown): State<Shown>,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let now = shown.clock.believed();
    let page = Page {
        version: env!("CARGO_PKG_VERSION"),
        problems: problems(&shown, now),
        alerts: alerts(&shown, now),
        has_bouts: !shown.escalations.all().is_empty(),
        checks: checks(&shown),
        targets: targets(&shown, now),
        receivers: receivers(&shown, now),
        silences: silences(&shown, now),
        windows: windows(&shown, now),
    };
    answer(&headers, StatusCode::OK, &page, POLICY)
}

/// A page, with what it may load and where it may lead.
pub(super) fn answer(
    headers: &HeaderMap,
    status: StatusCode,
    page: &impl Template,
    policy: &'static str,
) -> Result<Response, Failure> {
    let text = page.render().map_err(|error| Failure::internal(error.to_string()))?;
    let mut response = compressed(headers, status, "text/html; charset=utf-8", text);
    let policy = header::HeaderValue::from_static(policy);
    response.headers_mut().insert(header::CONTENT_SECURITY_POLICY, policy);
    Ok(response)
}

pub(super) fn age(now: Timestamp, since: Timestamp) -> String {
    Period::from_secs(now.since(since).as_secs()).to_string()
}

/// The most alerts of others that are shown.
const MOST_PUSHED: usize = 1000;
/// The most alerts of a silence that are named.
const MOST_NAMED: usize = 10;

/// The silences that hold or will, each with what it holds.
fn silences(shown: &Shown, now: Timestamp) -> Vec<SilenceRow> {
    let name = |alert: &Arc<Alert>| {
        format!("{} {}", alert.name(), alert.labels.filter(|name| name != ALERT_NAME))
    };
    let row = |(silence, held): (Arc<Silence>, Vec<_>)| {
        let state = silence.state(now);
        let end = match state {
            SilenceState::Pending => format!("begins in {}", age(silence.starts_at, now)),
            _ => format!("ends in {}", age(silence.ends_at, now)),
        };
        SilenceRow {
            id: format!("silence-{}", silence.id),
            state: state.as_str(),
            matchers: silence.matchers.iter().map(matchers::print).collect::<Vec<_>>().join(", "),
            owner: silence.created_by.clone(),
            comment: silence.comment.clone(),
            age: age(now, silence.starts_at),
            end: format!("{end}, {} UTC", clock(silence.ends_at)),
            more: held.len().saturating_sub(MOST_NAMED),
            held: held.iter().take(MOST_NAMED).map(name).collect(),
        }
    };
    in_force(shown, now).into_iter().map(row).collect()
}

/// The windows that run or are announced.
fn windows(shown: &Shown, now: Timestamp) -> Vec<WindowRow> {
    let current = shown.mutes.maintenance.current(now);
    let shown_now = current.iter().filter(|one| {
        matches!(one.phase(now), Phase::Announced | Phase::Running | Phase::Settling)
    });
    let row = |one: &Arc<Occurrence>| {
        let alerts = shown.alerts.filter(|alert| alert.is_firing() && one.matches(&alert.labels));
        let window = &one.window;
        WindowRow {
            id: format!("maintenance-{}", one.id),
            state: one.phase(now).as_str(),
            name: window.name.clone(),
            matchers: window.matchers.iter().map(matchers::print).collect::<Vec<_>>().join(", "),
            owner: window.owner.clone(),
            comment: window.comment.clone(),
            when: match one.began() {
                Some(start) => format!("{} to {} UTC", clock(start), clock(one.span.end)),
                None => format!("to {} UTC", clock(one.span.end)),
            },
            held: if one.holds(now) { alerts.len() } else { 0 },
        }
    };
    shown_now.map(row).collect()
}

pub(super) fn clock(at: Timestamp) -> String {
    jiff::Timestamp::from_millisecond(at.millis())
        .map_or_else(|_| at.to_string(), |at| at.strftime("%Y-%m-%d %H:%M").to_string())
}

fn problems(shown: &Shown, now: Timestamp) -> Vec<(String, &'static str, String)> {
    parts(shown, now)
        .into_iter()
        .filter(|part| part.health != Health::Pass)
        .map(|part| (part.name, part.health.as_str(), part.output))
        .collect()
}

fn alerts(shown: &Shown, now: Timestamp) -> Vec<AlertRow> {
    let groups = shown.rules.all();
    let views = groups.iter().flat_map(|group| &group.rules).filter_map(|rule| match &rule.kind {
        RuleKind::Alerting { alerts, .. } => Some(alerts),
        RuleKind::Recording { .. } => None,
    });
    let mut rows: Vec<_> = views.flatten().map(|view| alert_row(view, shown, now)).collect();
    let firing = shown.alerts.filter(|alert| alert.is_firing()).into_iter();
    let pushed = firing.filter(|alert| shown.pushed.times(&alert.labels).is_some());
    rows.extend(pushed.take(MOST_PUSHED).map(|alert| pushed_row(&alert, shown, now)));
    // What fires first, then what is about to, then by name.
    rows.sort_by(|a, b| {
        (a.state == "pending", &a.name, &a.labels).cmp(&(b.state == "pending", &b.name, &b.labels))
    });
    rows
}

/// An alert of others, as they say it.
fn pushed_row(alert: &Alert, shown: &Shown, now: Timestamp) -> AlertRow {
    AlertRow {
        id: format!("alert-{:016x}", alert.labels.fingerprint()),
        state: "firing",
        name: alert.name().to_owned(),
        severity: alert.labels.get("severity").unwrap_or("").to_owned(),
        labels: alert.labels.filter(|name| name != ALERT_NAME && name != "severity").to_string(),
        age: age(now, alert.starts_at),
        texts: alert.annotations.values().filter(|text| !text.is_empty()).cloned().collect(),
        silence: matchers::silence_path(alert.labels.iter()),
        answers: answers(&alert.labels, shown),
    }
}

fn alert_row(view: &AlertView, shown: &Shown, now: Timestamp) -> AlertRow {
    let state = match (view.state, view.stale_since) {
        (RuleAlertState::Pending, _) => "pending",
        (RuleAlertState::Firing, None) => "firing",
        (RuleAlertState::Firing, Some(_)) => "stale",
    };
    AlertRow {
        id: format!("alert-{:016x}", view.labels.fingerprint()),
        state,
        name: view.labels.get(ALERT_NAME).unwrap_or("").to_owned(),
        severity: view.labels.get("severity").unwrap_or("").to_owned(),
        labels: view.labels.filter(|name| name != ALERT_NAME && name != "severity").to_string(),
        age: age(now, view.active_at),
        texts: view.annotations.values().filter(|text| !text.is_empty()).cloned().collect(),
        silence: matchers::silence_path(view.labels.iter()),
        answers: match state {
            "pending" => Vec::new(),
            _ => answers(&outside(&view.labels, shown), shown),
        },
    }
}

/// The labels of an alert of ours as it leaves the rules.
fn outside(labels: &Labels, shown: &Shown) -> Labels {
    let routing = shown.config.routing();
    let external = routing.external_labels.iter();
    let added = external.filter(|(name, _)| labels.get(name).is_none());
    added.fold(labels.clone(), |labels, (name, value)| labels.with(name, value))
}

/// Of each group of an alert: who has it, or who is waited for; and where one can take it.
fn answers(labels: &Labels, shown: &Shown) -> Vec<(String, Option<String>)> {
    let routing = shown.config.routing();
    let nodes = routing.route.of(labels);
    let of_group = |route: &crate::dispatch::Route| {
        let key = group_key(route, labels);
        let bout = shown.escalations.get(&key)?;
        Some((bout.tell(&route.escalation), matchers::acknowledge_path(&key)))
    };
    nodes.iter().filter_map(of_group).collect()
}

/// The checks of all agents, as their last samples say.
fn checks(shown: &Shown) -> Vec<CheckRow> {
    let matchers = [Matcher::equal(METRIC_NAME, "veilleur_check_status")];
    let mut rows: BTreeMap<(u8, String, String), CheckRow> = BTreeMap::new();
    for (labels, sample) in shown.storage.last(&matchers) {
        let (status, rank) = match sample.value {
            value if is_stale(value) => ("stale", 1),
            2.0 => ("critical", 0),
            3.0 => ("unknown", 1),
            1.0 => ("warning", 2),
            _ => ("ok", 3),
        };
        let get = |name: &str| labels.get(name).unwrap_or("").to_owned();
        let output = shown.outputs.get(&labels).map_or_else(String::new, |text| text.to_string());
        let row = CheckRow { status, check: get("check"), instance: get("instance"), output };
        rows.insert((rank, row.instance.clone(), row.check.clone()), row);
    }
    rows.into_values().collect()
}

fn targets(shown: &Shown, now: Timestamp) -> Vec<TargetRow> {
    let instance = |labels: &Labels| labels.get("instance").unwrap_or("").to_owned();
    let all = shown.targets.all();
    let row = |(key, state): (&crate::scrape::TargetKey, &crate::scrape::TargetState)| TargetRow {
        health: state.health.as_str(),
        job: key.job.clone(),
        instance: instance(&key.labels),
        url: key.url.clone(),
        error: state.last_error.clone(),
        age: state.last_scrape.map_or_else(|| "never".to_owned(), |at| age(now, at)),
    };
    let mut rows: Vec<_> = all.iter().map(row).collect();
    rows.sort_by_key(|row| row.health != "down");
    rows
}

fn receivers(shown: &Shown, now: Timestamp) -> Vec<ReceiverRow> {
    let waiting = shown.outbox.waiting();
    let row = |(lane, state): (String, crate::notify::LaneState)| {
        let waits = waiting.get(&lane).copied().unwrap_or_default().intents;
        let (health, text) = match (state.failing_since, state.delivered_at) {
            (Some(since), _) => {
                ("down", format!("fails since {}: {}", age(now, since), state.last_error))
            }
            (None, Some(at)) => ("up", format!("last told {} ago", age(now, at))),
            (None, None) => ("up", "nothing told yet".to_owned()),
        };
        let text = if waits > 0 { format!("{text}, {waits} messages wait") } else { text };
        ReceiverRow { health, lane, text }
    };
    shown.lanes.all().into_iter().map(row).collect()
}
