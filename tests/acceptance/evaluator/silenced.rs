//! Whoever says "enough" hears nothing more, also of what was on its way already: F20. For
//! acknowledgements see `escalating.rs`.
//!
//! Invariant: what counts is the moment at which the silence was answered with 2xx.

use std::time::Duration;

use serde_json::json;
use tests::http_server::{HttpServer, Reply};
use tests::{ask, wait_until};

use crate::delivery::push;
use crate::rig::Evaluator;

fn evaluator(chat: &HttpServer) -> Evaluator {
    Evaluator::with(&format!(
        "builtin_rules: {{enabled: false}}\n\
         route: {{receiver: chat, group_by: [alertname], group_wait: 0s, group_interval: 10m, repeat_interval: 4h}}\n\
         receivers: [{{name: chat, webhook_configs: [{{url: '{}'}}]}}]\n",
        chat.url("/chat")
    ))
}

fn silence(evaluator: &Evaluator, name: &str) {
    let body = json!({
        "matchers": [{"name": "alertname", "value": name, "isRegex": false, "isEqual": true}],
        "startsAt": "2020-01-01T00:00:00Z", "endsAt": "2999-01-01T00:00:00Z",
        "createdBy": "anna", "comment": "I have it",
    });
    let url = format!("http://127.0.0.1:{}/api/v2/silences", evaluator.port);
    let asked = ask("POST", &url, "content-type: application/json\r\n", &body.to_string());
    assert_eq!(asked.unwrap().0, 200);
}

fn told_of(chat: &HttpServer, name: &str) -> usize {
    let is_about = |body: &serde_json::Value| {
        let mut alerts = body["alerts"].as_array().unwrap().iter();
        alerts.any(|alert| alert["labels"]["alertname"] == name)
    };
    chat.asked().iter().filter(|asked| is_about(&asked.json())).count()
}

#[test]
fn a_message_that_is_tried_again_ends_with_the_silence_f20() {
    // Long before the group would look at it again.
    let chat = HttpServer::start(|_| Reply::status(500));
    let evaluator = evaluator(&chat);
    push(&evaluator, "Loud", true);
    wait_until("it was tried twice", || told_of(&chat, "Loud") >= 2);
    silence(&evaluator, "Loud");
    let tried = told_of(&chat, "Loud");
    wait_until("nothing waits", || evaluator.own("veilleur_outbox_waiting") == 0.0);
    chat.reply_with(|_| Reply::text("ok"));
    push(&evaluator, "Fence", true);
    wait_until("the service hears of another", || told_of(&chat, "Fence") == 1);
    // One may have been on its way while the silence was answered.
    assert!(told_of(&chat, "Loud") <= tried + 1);
    let tried = told_of(&chat, "Loud");
    push(&evaluator, "Later", true);
    wait_until("and of one more", || told_of(&chat, "Later") == 1);
    assert_eq!(told_of(&chat, "Loud"), tried);
}

/// When messages about an alert were handed over, as the history has it.
fn handed_over(evaluator: &Evaluator, name: &str) -> Vec<String> {
    let data = evaluator.data(&format!("/api/v1/notifications?alert={name}&limit=100"));
    let attempts = data["attempts"].as_array().unwrap().iter();
    attempts.map(|attempt| attempt["time"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn nothing_is_handed_over_after_a_silence_was_answered_at_whatever_moment_f20() {
    let chat = HttpServer::sink();
    let evaluator = evaluator(&chat);
    for n in 0..40 {
        let name = format!("Race{n}");
        push(&evaluator, &name, true);
        // Before it is grouped, while it is queued, while it is sent, and after that.
        std::thread::sleep(Duration::from_micros(300 * n));
        silence(&evaluator, &name);
        let answered = jiff::Timestamp::now();
        let fence = format!("Fence{n}");
        push(&evaluator, &fence, true);
        wait_until("the next is told", || told_of(&chat, &fence) == 1);
        let times = handed_over(&evaluator, &name);
        assert_eq!(times.len(), told_of(&chat, &name), "{name}");
        for time in times {
            let at: jiff::Timestamp = time.parse().unwrap();
            assert!(at <= answered, "{name} was handed over at {at}, silenced by {answered}");
        }
    }
}
