//! What is sent to PagerDuty, and what is made of its answers.
//!
//! Invariant: the shapes are those of the documentation of the events API.

use base::http::HeaderMap;

use super::super::paging::ServiceGlobals;
use super::super::paging::tests::flood;
use super::super::sink::build_entry;
use super::super::texts::tests::notification;
use super::*;

fn build(yaml: &str) -> (Option<PagerdutyNotifier>, String) {
    build_entry(yaml, |config: &PagerdutyConfig, place, shared, diagnostics| {
        config.build(place, ServiceGlobals::default(), shared, diagnostics)
    })
}

#[track_caller]
fn event(yaml: &str, notification: &Notification) -> Value {
    let (notifier, faults) = build(yaml);
    assert_eq!(faults, "", "{yaml}");
    notifier.unwrap().event(notification, &Secret::new("k3y"))
}

fn ended() -> Notification {
    let mut notification = notification();
    notification.alerts.remove(0);
    notification
}

#[test]
fn writes_an_event_of_version_2() {
    let yaml = "{routing_key: k, severity: '{{ .CommonLabels.none }}', class: disk, group: '{{ .GroupLabels.alertname }}',\n\
                details: {num_resolved: '{{ .Alerts.Resolved | len }} of them', firing: '', resolved: ''},\n\
                links: [{href: '{{ (index .Alerts 0).GeneratorURL }}', text: Graph}, {href: 'javascript:x', text: no}],\n\
                images: [{src: 'https://h/x.png', alt: A}, {src: 'http://h/x.png'}]}";
    let id = group_id(&notification());
    assert_eq!(
        event(yaml, &notification()),
        json!({
            "routing_key": "k3y", "event_action": "trigger", "dedup_key": id,
            "client": "Veilleur", "client_url": "http://v/#/alerts?receiver=ops",
            "links": [{"href": "http://v/#a", "text": "Graph"}],
            "images": [{"src": "https://h/x.png", "alt": "A", "href": ""}],
            "payload": {
                "summary": "[FIRING:1] CheckFailed on web:1, since 2023-11-14 22:13 UTC", "source": "Veilleur", "severity": "error",
                "class": "disk", "group": "CheckFailed", "timestamp": "2023-11-14T22:13:20Z",
                "custom_details": {
                    "firing": null, "resolved": null, "num_firing": 1, "num_resolved": "1 of them",
                },
            },
        })
    );
}

#[test]
fn an_update_and_the_end_concern_the_same_incident() {
    let first = event("{routing_key: k}", &notification());
    let end = event("{routing_key: k}", &ended());
    assert_eq!(
        (&first["event_action"], &end["event_action"]),
        (&json!("trigger"), &json!("resolve"))
    );
    assert_eq!(first["dedup_key"], end["dedup_key"]);
    assert_eq!(end["payload"]["timestamp"], Value::Null);
    let details = &first["payload"]["custom_details"];
    assert_eq!(details["firing"][0]["labels"]["instance"], "web:1");
    assert_eq!(details["resolved"][0]["labels"]["instance"], "db:1");
}

#[test]
fn writes_an_event_of_version_1() {
    let yaml = "{service_key: k, routing_key: r, details: {firing: '', resolved: ''}}";
    let id = group_id(&notification());
    let details = json!({"firing": null, "resolved": null, "num_firing": 1, "num_resolved": 1});
    assert_eq!(
        event(yaml, &notification()),
        json!({
            "service_key": "k3y", "event_type": "trigger", "incident_key": id,
            "description": "[FIRING:1] CheckFailed on web:1, since 2023-11-14 22:13 UTC", "details": details,
            "client": "Veilleur", "client_url": "http://v/#/alerts?receiver=ops",
        })
    );
    let end = event(yaml, &ended());
    assert_eq!((&end["event_type"], &end["client"]), (&json!("resolve"), &Value::Null));
}

#[test]
fn a_flood_is_cut_to_what_is_taken() {
    // F16
    let each = "{{ range .Alerts }}{{ .Annotations.summary }}{{ end }}";
    let sent = event(&format!("{{routing_key: k, description: '{each}'}}"), &flood(700));
    assert!(sent.to_string().len() <= MAX_EVENT);
    assert_eq!(sent["payload"]["summary"].as_str().unwrap().chars().count(), MAX_SUMMARY);
    assert_eq!(sent["payload"]["custom_details"]["num_firing"], 700);
    assert!(sent["payload"]["custom_details"]["left_out"].is_string());
}

#[test]
fn an_unknown_severity_is_an_error() {
    let check = |severity: &str, expected: &str| {
        let yaml = format!("{{routing_key: k, severity: '{severity}'}}");
        assert_eq!(event(&yaml, &notification())["payload"]["severity"], expected, "{severity}");
    };
    check("Critical", "critical");
    check("info", "info");
    check("page", "error");
    check("", "error");
}

#[test]
fn counts_as_taken_only_what_pagerduty_says_it_took() {
    // F12, F14
    let check = |version_1, status, body: &str, expected: &str| {
        let answer = Answer { status, headers: HeaderMap::new(), body: body.to_owned() };
        let got = match judge(&answer, version_1, Timestamp::default()) {
            Ok(()) => "taken",
            Err(DeliveryError::Transient { .. }) => "again",
            Err(DeliveryError::Permanent { .. }) => "never",
        };
        assert_eq!(got, expected, "{status} {body}");
    };
    let success = r#"{"status":"success","message":"Event processed","dedup_key":"x"}"#;
    check(false, 202, success, "taken");
    check(true, 200, success, "taken");
    check(false, 200, r#"{"status":"invalid event","errors":["no source"]}"#, "never");
    check(false, 200, "<html>log in</html>", "again");
    check(false, 400, r#"{"status":"invalid event"}"#, "never");
    check(false, 429, r#"{"status":"throttle exceeded"}"#, "again");
    check(false, 403, "Forbidden", "never");
    check(true, 403, "Forbidden", "again");
    check(false, 500, "", "again");
}

#[test]
fn reports_every_fault() {
    let check = |yaml: &str, expected: &str| assert_eq!(build(yaml).1, expected, "{yaml}");
    check(
        "{url: 'x'}",
        "f.yml:1:1: `routing_key` is missing\n  help: set `routing_key` or `routing_key_file`\n\
         f.yml:1:7: this is no address to post to\n  \
         help: write `http://host:port/path` or `https://...`",
    );
    check(
        "{routing_key: a, routing_key_file: /b}",
        "f.yml:1:1: only one of `routing_key` and `routing_key_file` can be given",
    );
    check(
        "{routing_key: a, details: {x: ['{{ nope }}']}}",
        "f.yml:1:32: template: details:1: function \"nope\" not defined",
    );
    assert!(!format!("{:?}", build("{routing_key: s3cret}").0).contains("s3cret"));
}
