//! What is sent to Pushover, and what is made of its answers.
//!
//! Invariant: the fields are those of the documentation of the message API.

use base::http::HeaderMap;

use super::super::sink::build_entry;
use super::super::texts::tests::notification;
use super::*;

fn build(yaml: &str) -> (Option<PushoverNotifier>, String) {
    build_entry(yaml, PushoverConfig::build)
}

#[track_caller]
fn fields(yaml: &str, notification: &Notification) -> Vec<(&'static str, String)> {
    let (notifier, faults) = build(yaml);
    assert_eq!(faults, "", "{yaml}");
    notifier.unwrap().fields(notification)
}

#[track_caller]
fn check(yaml: &str, notification: &Notification, expected: &[(&str, &str)]) {
    let got = fields(yaml, notification);
    let got: Vec<_> = got.iter().map(|(name, text)| (*name, text.as_str())).collect();
    assert_eq!(got, expected, "{yaml}");
}

#[test]
fn what_fires_is_an_emergency_and_its_end_is_not() {
    let yaml = "{user_key: u, token: t, message: '{{ .Status }}', device: a, sound: siren, retry: 1s, expire: 1d, ttl: 1h, url_title: All}";
    let (title, link) = (
        "[FIRING:1] CheckFailed on web:1, since 2023-11-14 22:13 UTC",
        "http://v/#/alerts?receiver=ops",
    );
    check(
        yaml,
        &notification(),
        &[
            ("title", title),
            ("message", "firing"),
            ("url", link),
            ("url_title", "All"),
            ("retry", "30"),
            ("expire", "10800"),
            ("priority", "2"),
            ("device", "a"),
            ("sound", "siren"),
            ("ttl", "3600"),
            ("timestamp", "1700000100"),
        ],
    );
    let mut ended = notification();
    ended.alerts.remove(0);
    check(
        "{user_key: u, token: t, message: '', url: 'javascript:x', monospace: true}",
        &ended,
        &[
            ("title", "[RESOLVED] CheckFailed (db:1), since 2023-11-14 22:13 UTC"),
            ("message", "RESOLVED"),
            ("monospace", "1"),
            ("priority", "0"),
            ("timestamp", "1700000100"),
        ],
    );
}

#[test]
fn what_alerts_bring_is_text_in_html_too() {
    // X16, F16
    let mut hostile = notification();
    let text = format!("<a href='http://evil'>log in</a> {}", "&".repeat(2000));
    hostile.alerts[0].annotations.insert("summary".into(), text);
    let yaml = "{user_key: u, token: t, html: true, message: '<b>{{ (index .Alerts 0).Annotations.summary }}</b>'}";
    let got = fields(yaml, &hostile);
    let message = &got.iter().find(|(name, _)| *name == "message").unwrap().1;
    assert!(message.starts_with("<b>&lt;a href=") && message.ends_with("&amp;…"), "{message}");
    assert!(message.chars().count() <= MAX_MESSAGE);
    assert!(got.contains(&("html", "1".to_owned())));
}

#[test]
fn no_tag_is_cut_in_two() {
    let long = |end: &str| format!("{}{end}", "x".repeat(MAX_MESSAGE - 5));
    assert_eq!(cut_html(&long("<b>bold")), format!("{}<b>b…", "x".repeat(MAX_MESSAGE - 5)));
    assert_eq!(cut_html(&long("<strong>")), format!("{}…", "x".repeat(MAX_MESSAGE - 5)));
    assert_eq!(cut_html(&long("&quot;&quot;")), format!("{}…", "x".repeat(MAX_MESSAGE - 5)));
    assert_eq!(cut_html("<b>a</b>"), "<b>a</b>");
    let lone = format!("R&D {}", "x".repeat(MAX_MESSAGE));
    assert_eq!(cut_html(&lone).chars().count(), MAX_MESSAGE);
}

#[test]
fn counts_as_taken_only_what_pushover_says_it_took() {
    let check = |status, body: &str, expected: &str| {
        let answer = Answer { status, headers: HeaderMap::new(), body: body.to_owned() };
        let got = match judge(&answer, Timestamp::default()) {
            Ok(_) => "taken",
            Err(DeliveryError::Transient { .. }) => "again",
            Err(DeliveryError::Permanent { .. }) => "never",
        };
        assert_eq!(got, expected, "{status} {body}");
    };
    check(200, r#"{"status":1,"request":"x","receipt":"r"}"#, "taken");
    check(200, r#"{"status":0,"errors":["user identifier is invalid"]}"#, "never");
    check(400, r#"{"status":0,"errors":["user identifier is invalid"]}"#, "never");
    check(200, "<html>", "again");
    check(429, "", "again");
    check(500, "", "again");
}

#[test]
fn reports_every_fault() {
    let check = |yaml: &str, expected: &str| assert_eq!(build(yaml).1, expected, "{yaml}");
    check(
        "{html: true, monospace: true, device: '{{ .x }}'}",
        "f.yml:1:1: `user_key` is missing\n  help: set it or `user_key_file`\n\
         f.yml:1:1: `token` is missing\n  help: set it or `token_file`\n\
         f.yml:1:1: only one of `html` and `monospace` can be given\n\
         f.yml:1:39: `device` cannot come from an alert\n  \
         help: make a receiver for each `device` and route to it",
    );
}
