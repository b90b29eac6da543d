//! What is sent to Opsgenie, and what is made of its answers.
//!
//! Invariant: the shapes are those of the documentation of the alert API.

use base::http::HeaderMap;

use super::super::paging::ServiceGlobals;
use super::super::sink::build_entry;
use super::super::texts::tests::notification;
use super::*;

fn build(yaml: &str) -> (Option<OpsgenieNotifier>, String) {
    build_entry(yaml, |config: &OpsgenieConfig, place, shared, diagnostics| {
        config.build(place, ServiceGlobals::default(), shared, diagnostics)
    })
}

#[track_caller]
fn steps(yaml: &str, notification: &Notification) -> Vec<Step> {
    let (notifier, faults) = build(yaml);
    assert_eq!(faults, "", "{yaml}");
    notifier.unwrap().steps(notification)
}

#[test]
fn opens_an_alert() {
    let yaml = "{api_key: k, description: '{{ .Status }}', priority: p2, tags: 'a, b,,{{ .Receiver }}',\n\
                entity: e, note: n, actions: 'restart', details: {on: '{{ len .Alerts }}', alertname: own},\n\
                responders: [{name: 'db, web', type: teams}, {username: u@x, type: User}]}";
    let got = steps(yaml, &notification());
    assert_eq!(got.len(), 1);
    assert_eq!((&got[0].method, got[0].path.as_str()), (&Method::POST, "v2/alerts"));
    assert_eq!(
        got[0].body,
        json!({
            "alias": group_id(&notification()), "message": "[FIRING:1] CheckFailed on web:1, since 2023-11-14 22:13 UTC",
            "description": "firing", "source": "http://v/#/alerts?receiver=ops",
            "details": {"alertname": "own", "on": "2"}, "priority": "P2",
            "tags": ["a", "b", "ops"], "entity": "e", "note": "n", "actions": ["restart"],
            "responders": [
                {"name": "db", "type": "team"}, {"name": "web", "type": "team"},
                {"username": "u@x", "type": "user"},
            ],
        })
    );
}

#[test]
fn updates_and_closes_what_it_opened() {
    let id = group_id(&notification());
    let paths = |notification: &Notification| -> Vec<String> {
        let steps = steps("{api_key: k, update_alerts: true}", notification);
        steps.into_iter().map(|step| format!("{} {}", step.method, step.path)).collect()
    };
    assert_eq!(
        paths(&notification()),
        [
            "POST v2/alerts".to_owned(),
            format!("PUT v2/alerts/{id}/message?identifierType=alias"),
            format!("PUT v2/alerts/{id}/description?identifierType=alias"),
        ]
    );
    let mut ended = notification();
    ended.alerts.remove(0);
    assert_eq!(paths(&ended), [format!("POST v2/alerts/{id}/close?identifierType=alias")]);
}

#[test]
fn a_flood_is_cut_to_what_is_taken() {
    // F16
    let mut flood = notification();
    for alert in &mut flood.alerts {
        alert.labels = alert.labels.with("long", &"ü\n".repeat(20_000));
    }
    let yaml = "{api_key: k, message: '{{ .CommonLabels.long }}', tags: '{{ .CommonLabels.long }}',\n\
                description: '{{ .CommonLabels.long }}', priority: high}";
    let body = &steps(yaml, &flood)[0].body;
    let length = |name: &str| body[name].as_str().unwrap().chars().count();
    assert_eq!((length("message"), length("description")), (MAX_MESSAGE, MAX_DESCRIPTION));
    assert_eq!(body["tags"][0].as_str().unwrap().chars().count(), TAGS.1);
    assert_eq!(body["priority"], Value::Null);
    let details: usize = body["details"]
        .as_object()
        .unwrap()
        .iter()
        .map(|(name, value)| name.chars().count() + value.as_str().unwrap().chars().count())
        .sum();
    assert!(details <= MAX_DETAILS && details > MAX_DETAILS / 2, "{details}");
}

#[test]
fn counts_as_taken_only_what_opsgenie_says_it_took() {
    // F12, F14
    let check = |status, body: &str, expected: &str| {
        let mut headers = HeaderMap::new();
        headers.insert("x-ratelimit-period-in-sec", "60".parse().unwrap());
        let answer = Answer { status, headers, body: body.to_owned() };
        let got = match judge(&answer, Timestamp::default()) {
            Ok(()) => "taken".to_owned(),
            Err(DeliveryError::Transient { retry_after, .. }) => format!("again {retry_after:?}"),
            Err(DeliveryError::Permanent { .. }) => "never".to_owned(),
        };
        assert_eq!(got, expected, "{status} {body}");
    };
    let taken = r#"{"result":"Request will be processed","took":0.3,"requestId":"43a2"}"#;
    check(202, taken, "taken");
    check(200, "<html>", "again None");
    check(200, "{}", "again None");
    check(422, r#"{"message":"Message can not be empty."}"#, "never");
    check(403, "", "never");
    check(429, r#"{"message":"You are making too many requests!"}"#, "again Some(60s)");
    check(503, "", "again None");
}

#[test]
fn reports_every_fault() {
    let check = |yaml: &str, expected: &str| assert_eq!(build(yaml).1, expected, "{yaml}");
    check(
        "{}",
        "f.yml:1:1: `api_key` is missing\n  help: set it or `api_key_file` here, or \
         `opsgenie_api_key` under `global:`",
    );
    check(
        "{api_key: k, responders: [{type: team}, {name: a, type: boss}, {name: '{{ .x }}', type: team}]}",
        "f.yml:1:27: a responder has an `id`, a `name` or a `username`\n\
         f.yml:1:57: `boss` cannot be responsible\n  \
         help: one of team, teams, user, escalation, schedule\n\
         f.yml:1:71: `name` cannot come from an alert\n  \
         help: make a receiver for each `name` and route to it",
    );
}
