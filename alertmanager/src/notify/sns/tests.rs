//! What is sent to SNS, and what is made of its answers.
//!
//! Invariant: the parameters are those of the documentation of `Publish`.

use base::http::HeaderMap;

use super::super::paging::tests::flood;
use super::super::sink::build_entry;
use super::super::texts::tests::notification;
use super::*;

fn build(yaml: &str) -> (Option<SnsNotifier>, String) {
    build_entry(yaml, SnsConfig::build)
}

#[track_caller]
fn fields(yaml: &str, notification: &Notification) -> Vec<(String, String)> {
    let (notifier, faults) = build(yaml);
    assert_eq!(faults, "", "{yaml}");
    notifier.unwrap().fields(notification)
}

#[track_caller]
fn check(yaml: &str, notification: &Notification, expected: &[(&str, &str)]) {
    let got = fields(yaml, notification);
    let got: Vec<_> = got.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
    let begin = [("Action", "Publish"), ("Version", VERSION)];
    assert_eq!(got, [&begin, expected].concat(), "{yaml}");
}

const KEYS: &str = "sigv4: {access_key: a, secret_key: s}";

#[test]
fn publishes_to_each_kind_of_destination() {
    let subject = ("Subject", "[FIRING:1] CheckFailed on web:1, since 2023-11-14 22:13 UTC");
    check(
        &format!(
            "{{{KEYS}, topic_arn: 'arn:aws:sns:eu-west-1:1:t', message: '{{{{ .Status }}}}', attributes: {{severity: Sev2, none: ''}}}}"
        ),
        &notification(),
        &[
            ("TopicArn", "arn:aws:sns:eu-west-1:1:t"),
            ("Message", "firing"),
            subject,
            ("MessageAttributes.entry.1.Name", "severity"),
            ("MessageAttributes.entry.1.Value.DataType", "String"),
            ("MessageAttributes.entry.1.Value.StringValue", "Sev2"),
        ],
    );
    check(
        &format!("{{{KEYS}, phone_number: '+491701234', message: x, subject: ''}}"),
        &notification(),
        &[("PhoneNumber", "+491701234"), ("Message", "x")],
    );
    check(
        &format!("{{{KEYS}, target_arn: 'arn:aws:sns:eu-west-1:1:endpoint/x', message: ''}}"),
        &notification(),
        &[("TargetArn", "arn:aws:sns:eu-west-1:1:endpoint/x"), ("Message", "FIRING"), subject],
    );
}

#[test]
fn a_fifo_topic_takes_a_repeated_message_once_and_an_update_too() {
    // G2
    let yaml = format!("{{{KEYS}, topic_arn: 'arn:aws:sns:eu-west-1:1:t.fifo', message: x}}");
    let ids = |notification: &Notification| -> Vec<String> {
        let fields = fields(&yaml, notification);
        let ids = fields.into_iter().filter(|(name, _)| name.ends_with("Id"));
        ids.map(|(_, text)| text).collect()
    };
    let first = notification();
    let update = Notification { id: "id3".into(), ..notification() };
    assert_eq!(ids(&first), [group_id(&first), "id2".to_owned()]);
    assert_eq!(ids(&first), ids(&first.clone()));
    assert_eq!(ids(&update), [group_id(&first), "id3".to_owned()]);
}

#[test]
fn a_flood_is_cut_to_what_is_taken() {
    // F16
    let each = "'{{ range .Alerts }}{{ .Annotations.summary }}{{ end }}'";
    let yaml = |to: &str| {
        format!("{{{KEYS}, {to}, message: {each}, subject: {each}, attributes: {{a: {each}}}}}")
    };
    let text = |got: &[(String, String)], name: &str| {
        got.iter().find(|(known, _)| known == name).map(|(_, text)| text.clone()).unwrap()
    };
    let whole = fields(&yaml("topic_arn: t"), &flood(100));
    assert!(text(&whole, "Message").len() > 50_000);
    assert_eq!(text(&whole, "Subject").len(), MAX_SUBJECT);
    assert!(text(&whole, "Subject").starts_with("?xxx"));
    assert!(
        text(&whole, "MessageAttributes.entry.1.Value.StringValue").len() <= MAX_ATTRIBUTES / 4
    );
    let cut = fields(&yaml("phone_number: '1'"), &flood(100));
    assert!(text(&cut, "Message").len() <= MAX_SMS && text(&cut, "Message").len() > MAX_SMS - 10);
    assert_eq!(text(&cut, "MessageAttributes.entry.2.Name"), "truncated");
}

#[test]
fn the_region_is_that_of_the_topic_unless_it_is_given() {
    let check = |yaml: &str, expected: &str| {
        assert_eq!(build(yaml).0.unwrap().region().as_deref(), Some(expected), "{yaml}");
    };
    check(
        "{topic_arn: 'arn:aws:sns:eu-west-1:1:t', sigv4: {access_key: a, secret_key: s}}",
        "eu-west-1",
    );
    check("{topic_arn: 'arn:aws:sns:eu-west-1:1:t', sigv4: {region: us-east-2}}", "us-east-2");
}

#[test]
fn counts_as_taken_only_what_sns_says_it_took() {
    // F12, F14
    let check = |status, body: &str, expected: &str| {
        let answer = Answer { status, headers: HeaderMap::new(), body: body.to_owned() };
        let got = match judge(&answer, Timestamp::default()) {
            Ok(()) => "taken",
            Err(DeliveryError::Transient { .. }) => "again",
            Err(DeliveryError::Permanent { .. }) => "never",
        };
        assert_eq!(got, expected, "{status} {body}");
    };
    let error = |code: &str| {
        format!(
            "<ErrorResponse><Error><Code>{code}</Code><Message>m</Message></Error></ErrorResponse>"
        )
    };
    check(
        200,
        "<PublishResponse><PublishResult><MessageId>m-1</MessageId></PublishResult></PublishResponse>",
        "taken",
    );
    check(200, "<html>log in</html>", "again");
    check(200, "<MessageId></MessageId>", "again");
    check(400, &error("Throttling"), "again");
    check(400, &error("ThrottledException"), "again");
    check(403, &error("RequestExpired"), "again");
    check(400, &error("InvalidParameter"), "never");
    check(403, &error("InvalidClientTokenId"), "never");
    check(404, &error("NotFound"), "never");
    check(500, &error("InternalError"), "again");
    check(429, "", "again");
}

#[test]
fn reports_every_fault() {
    let check = |yaml: &str, expected: &str| assert_eq!(build(yaml).1, expected, "{yaml}");
    let nowhere = "f.yml:1:1: there is not one place to publish to\n  \
                   help: set one of `topic_arn`, `phone_number` and `target_arn`";
    check("{sigv4: {region: x}}", nowhere);
    check("{topic_arn: a, phone_number: b}", nowhere);
    check(
        "{phone_number: '{{ .CommonLabels.phone }}', sigv4: {access_key: a, external_id: e}}",
        "f.yml:1:16: `phone_number` cannot come from an alert\n  \
         help: make a receiver for each `phone_number` and route to it\n\
         f.yml:1:52: `access_key` and `secret_key` belong together",
    );
    check(
        "{topic_arn: t, sigv4: {secret_key: s, secret_key_file: f, access_key: a}}",
        "f.yml:1:23: only one of `secret_key` and `secret_key_file` can be given\n\
         f.yml:1:23: `access_key` and `secret_key` belong together",
    );
    check(
        "{topic_arn: t, sigv4: {external_id: e}}",
        "f.yml:1:23: `external_id` is for a role: `role_arn` is missing",
    );
}
