//! What is sent to Slack, and what its answers mean.
//!
//! Invariant: the requests are those of Slack's documentation.

use base::http::HeaderMap;

use super::super::sink::{
    Judges, Reply, SECRET, Sink, build_entry, flood, hostile, misbehave, outcome,
};
use super::super::texts::tests::notification;
use super::*;

fn build(yaml: &str) -> (Option<SlackNotifier>, String) {
    build_entry(yaml, |config: &SlackConfig, place, shared, diagnostics| {
        config.build(place, SlackGlobals::default(), shared, diagnostics)
    })
}

#[track_caller]
fn built(yaml: &str) -> SlackNotifier {
    let (notifier, faults) = build(yaml);
    assert_eq!(faults, "", "{yaml}");
    notifier.unwrap()
}

/// With the token of an app, and further settings.
fn app(url: &str, more: &str) -> SlackNotifier {
    built(&format!(
        "{{app_url: '{url}/api/chat.postMessage', app_token: {SECRET}, channel: C1, \
         text: '{{{{ .CommonAnnotations.summary }}}}'{more}}}"
    ))
}

#[test]
fn writes_a_message_whose_labels_are_text() {
    let notifier = built(
        "{api_url: 'http://127.0.0.1:1/x', channel: '#ops', text: '{{ .CommonAnnotations.summary }}', \
         message_text: hello, \
         fields: [{title: Where, value: '{{ range .Alerts }}{{ .Labels.instance }} {{ end }}', short: true}], \
         actions: [{type: button, text: Look, url: 'https://v/a'}, \
                   {type: button, text: Stop, name: stop, value: x, confirm: {text: Really?}}]}",
    );
    let body = Value::Object(notifier.message(&notification()));
    let expected = json!({
        "channel": "#ops",
        "username": "Veilleur",
        "text": "hello",
        "attachments": [{
            "title": "[FIRING:1] CheckFailed on web:1, since 2023-11-14 22:13 UTC",
            "title_link": "http://v/#/alerts?receiver=ops",
            "text": "queue &lt;b&gt;full&lt;/b&gt; &amp; more",
            "fallback": "[FIRING:1] CheckFailed on web:1, since 2023-11-14 22:13 UTC | http://v/#/alerts?receiver=ops",
            "color": "danger",
            "fields": [{"title": "Where", "value": "web:1 db:1", "short": true}],
            "actions": [
                {"type": "button", "text": "Look", "url": "https://v/a"},
                {"type": "button", "text": "Stop", "name": "stop", "value": "x",
                 "confirm": {"text": "Really?"}},
            ],
            "mrkdwn_in": ["fallback", "pretext", "text"],
        }],
    });
    assert_eq!(body, expected);
}

#[test]
fn mentions_and_floods_come_out_literally() {
    // X15
    for (link_names, at) in [(false, "@everyone"), (true, "@\u{200b}everyone")] {
        let yaml = format!("{{api_url: 'http://127.0.0.1:1/x', link_names: {link_names}}}");
        let body = Value::Object(built(&yaml).message(&hostile())).to_string();
        for markup in ["<!channel>", "<!here>", "<@U1>", "<https://evil", "javascript:"] {
            assert!(!body.contains(markup), "{markup}: {body}");
        }
        assert!(body.contains("&lt;!channel&gt;") && body.contains("&amp;lt;!channel"), "{body}");
        assert!(body.contains(at), "{body}");
        let body = Value::Object(built(&yaml).message(&flood())).to_string();
        assert!(body.len() < 40_000 && body.contains("Only 10 of 5000"), "{}", body.len());
    }
}

#[tokio::test]
async fn with_a_token_later_messages_stand_below_the_first() {
    let sink = Sink::start().await;
    let notifier = app(&sink.url(), "");
    let said = Reply::json(200, json!({"ok": true, "channel": "C9", "ts": "1.2"}));
    let mut message = notification();
    let (asked, result) = sink.hand_over(&notifier, &message, std::slice::from_ref(&said)).await;
    assert_eq!(result, Ok(Receipt::named("C9:1.2:C1")));
    assert_eq!(asked[0].line(), "POST /api/chat.postMessage");
    assert_eq!(asked[0].headers["authorization"], format!("Bearer {SECRET}"));
    assert_eq!(asked[0].headers["content-type"], "application/json");
    assert_eq!((&asked[0].json()["channel"], &asked[0].json()["ts"]), (&json!("C1"), &Value::Null));

    message.reference = Some("C9:1.2:C1".to_owned());
    for (reason, resolved, broadcast) in [
        (Reason::NewAlerts, false, true),
        (Reason::Resolved, false, false),
        (Reason::Resolved, true, true),
    ] {
        message.reason = reason;
        if resolved {
            message.alerts.remove(0);
        }
        let replies = std::slice::from_ref(&said);
        let (asked, result) = sink.hand_over(&notifier, &message, replies).await;
        // The thread stays under its first message.
        assert_eq!(result, Ok(Receipt::default()));
        let body = asked[0].json();
        assert_eq!((&body["channel"], &body["thread_ts"]), (&json!("C9"), &json!("1.2")));
        assert_eq!(body["reply_broadcast"], broadcast, "{reason:?}");
    }
    // The configuration names another channel than it did.
    message.reference = Some("C9:1.2:C0".to_owned());
    let (asked, result) = sink.hand_over(&notifier, &message, std::slice::from_ref(&said)).await;
    assert_eq!(result, Ok(Receipt::named("C9:1.2:C1")));
    assert_eq!(asked[0].json()["thread_ts"], Value::Null);
    message.reference = Some("C9:1.2:C1".to_owned());
    // The first was deleted.
    let gone = Reply::json(200, json!({"ok": false, "error": "thread_not_found"}));
    let (asked, result) = sink.hand_over(&notifier, &message, &[gone, said]).await;
    assert_eq!(result, Ok(Receipt::named("C9:1.2:C1")));
    assert_eq!(asked[1].json()["thread_ts"], Value::Null);
}

#[tokio::test]
async fn update_message_changes_the_first_message() {
    let sink = Sink::start().await;
    let notifier = app(&sink.url(), ", update_message: true");
    let said = Reply::json(200, json!({"ok": true, "channel": "C9", "ts": "3.4"}));
    let mut message = notification();
    message.reference = Some("C9:1.2:C1".to_owned());
    let (asked, result) = sink.hand_over(&notifier, &message, std::slice::from_ref(&said)).await;
    assert_eq!(result, Ok(Receipt::default()));
    assert_eq!(asked[0].line(), "POST /api/chat.update");
    let body = asked[0].json();
    assert_eq!((&body["channel"], &body["ts"]), (&json!("C9"), &json!("1.2")));
    assert_eq!(body["username"], Value::Null);
    for error in ["message_not_found", "cant_update_message", "edit_window_closed"] {
        let gone = Reply::json(200, json!({"ok": false, "error": error}));
        let (asked, result) = sink.hand_over(&notifier, &message, &[gone, said.clone()]).await;
        assert_eq!(result, Ok(Receipt::named("C9:3.4:C1")), "{error}");
        assert_eq!(asked[1].line(), "POST /api/chat.postMessage");
    }
    // What passes with time is no reason for a second message.
    let busy = Reply::json(429, json!({"ok": false, "error": "ratelimited"}));
    let replies = [busy.with("retry-after", "30"), said];
    let (asked, result) = sink.hand_over(&notifier, &message, &replies).await;
    assert_eq!((asked.len(), outcome(&result).as_str()), (1, "again after 30s"));
}

#[test]
fn counts_as_taken_only_what_the_service_says_it_took() {
    // F14
    let check = |status: u16, body: &str, expected: &str| {
        let answer = Answer { status, headers: HeaderMap::new(), body: body.to_owned() };
        let got = match judge(&answer, &notification()) {
            Ok(()) => "taken".to_owned(),
            Err(DeliveryError::Transient { reason, .. }) => format!("again: {reason}"),
            Err(DeliveryError::Permanent { reason }) => format!("never: {reason}"),
        };
        assert_eq!(got, expected, "{status} {body}");
    };
    check(200, "ok", "taken");
    check(200, r#"{"ok":true}"#, "taken");
    check(200, r#"{"success":true}"#, "taken");
    check(200, "", "again: the answer is not that of the service: ``");
    check(
        200,
        r#"{"ok":false,"error":"channel_not_found"}"#,
        "never: the answer was: channel_not_found; write the channel's id, and invite the app into it",
    );
    check(200, r#"{"ok":false,"error":"ratelimited"}"#, "again: the answer was: ratelimited");
    check(200, r#"{"ok":false,"error":"fatal_error"}"#, "again: the answer was: fatal_error");
    check(
        200,
        r#"{"ok":false,"error":"token_revoked"}"#,
        "never: the answer was: token_revoked; the token is not, or no longer, a valid one",
    );
    check(200, r#"{"success":false}"#, r#"never: the answer was: {"success":false}"#);
    check(
        200,
        "<html>log in</html>",
        "again: the answer is not that of the service: `<html>log in</html>`",
    );
    check(404, "no_service", "never: the answer was HTTP status 404: no_service");
    check(500, "", "again: the answer was HTTP status 500");
}

#[tokio::test]
async fn survives_every_bad_answer() {
    misbehave(Judges::Body, &[], |url| built(&format!("{{api_url: '{url}/{SECRET}'}}"))).await;
    misbehave(Judges::Body, &[], |url| app(url, "")).await;
}

#[test]
fn reports_every_fault() {
    let check = |yaml: &str, expected: &str| assert_eq!(build(yaml).1, expected, "{yaml}");
    check(
        "{channel: '{{ .x }}', title: '{{ nope }}'}",
        "f.yml:1:1: `api_url` is missing\n  \
         help: set it or `api_url_file` here, or `slack_api_url` or `slack_app_token` under `global:`\n\
         f.yml:1:11: `channel` cannot come from an alert\n  \
         help: make a receiver for each `channel` and route to it\n\
         f.yml:1:30: template: title:1: function \"nope\" not defined",
    );
    check(
        "{api_url: 'http://h/', app_token: x}",
        "f.yml:1:1: only one of `api_url`, `api_url_file` and `app_token`, `app_token_file` can be given",
    );
    check(
        "{app_token: x, app_token_file: y}",
        "f.yml:1:1: only one of `app_token` and `app_token_file` can be given",
    );
    check(
        "{api_url: 'http://h/', update_message: true}",
        "f.yml:1:40: `update_message` needs the token of an app; `api_url` is a webhook\n  \
         help: use `app_token`, or set `api_url` to https://slack.com/api/chat.postMessage and the \
         token under `http_config`",
    );
    check("{api_url: 'https://slack.com/api/chat.postMessage', update_message: true}", "");
    check(
        "{app_token: x, http_config: {authorization: {credentials: y}}}",
        "f.yml:1:45: `authorization` and `app_token` say two things of who we are\n  \
         help: take one of them out",
    );
    check(
        "{api_url: 'http://h/', actions: [{type: button}], fields: [{title: x}]}",
        "f.yml:1:34: the action has no `text`\n\
         f.yml:1:34: the action has neither `url` nor `name`\n\
         f.yml:1:60: the field has no `value`",
    );
}
