//! Chat services: one incident is one thread, also over a crash; and Alertmanager's own judgement of
//! what may be configured.
//!
//! Invariant: what names a message is what the service called it, and nothing else.

use serde_json::{Value, json};
use tests::http_server::{Asked, HttpServer, Reply};
use tests::{ask, wait_until};

use crate::amtool::same_judgement;
use crate::rig::Evaluator;

/// A server that is several services, each with its own names for messages.
fn services() -> HttpServer {
    HttpServer::start(|asked| {
        let answer = match asked.path.as_str() {
            "/slack/chat.postMessage" => json!({"ok": true, "channel": "C9", "ts": "1.5"}),
            "/bot1:t/sendMessage" => json!({"ok": true, "result": {"message_id": 77}}),
            path if path.starts_with("/discord") => json!({"id": "4711"}),
            path if path.starts_with("/_matrix") => json!({"event_id": "$first"}),
            path if path.starts_with("/webex") => json!({"id": "W1"}),
            path if path.starts_with("/api/v1/chat.") => {
                json!({"success": true, "message": {"_id": "m1", "rid": "r1"}})
            }
            _ => return Reply::status(404),
        };
        let json = "content-type: application/json\r\n".to_owned();
        Reply::Answer(200, json, answer.to_string().into())
    })
}

/// What a service was asked, by the beginning of the path.
fn to(server: &HttpServer, path: &str) -> Vec<Asked> {
    server.asked().into_iter().filter(|asked| asked.path.starts_with(path)).collect()
}

fn push(evaluator: &Evaluator, instance: &str, ends_at: Option<&str>) {
    let mut alert = json!({
        "labels": {"alertname": "DiskFull", "instance": instance},
        "annotations": {"summary": "93 % full"},
    });
    if let Some(ends_at) = ends_at {
        alert["endsAt"] = json!(ends_at);
    }
    let url = format!("http://127.0.0.1:{}/api/v2/alerts", evaluator.port);
    let body = json!([alert]).to_string();
    let answer = ask("POST", &url, "content-type: application/json\r\n", &body);
    assert_eq!(answer.map(|got| got.0), Some(200));
}

#[test]
fn an_incident_is_one_thread_that_outlives_a_crash() {
    let server = services();
    let url = server.url("");
    let mut evaluator = Evaluator::with(&format!(
        "route: {{receiver: all, group_by: [alertname], group_wait: 0s, group_interval: 1s}}\n\
         builtin_rules: {{enabled: false}}\nreceivers:\n- name: all\n  \
         slack_configs: [{{app_token: t, app_url: '{url}/slack/chat.postMessage', channel: C1}}]\n  \
         telegram_configs: [{{bot_token: '1:t', api_url: '{url}', chat_id: -5}}]\n  \
         discord_configs: [{{webhook_url: '{url}/discord/w', update_message: true}}]\n  \
         matrix_configs: [{{homeserver_url: '{url}', access_token: t, room_id: '!r:x'}}]\n  \
         rocketchat_configs: [{{api_url: '{url}', token_id: u, token: t, channel: '#a'}}]\n  \
         webex_configs: [{{api_url: '{url}/webex', room_id: R, \
           http_config: {{authorization: {{credentials: t}}}}}}]\n"
    ));
    let paths = ["/slack", "/bot1:t", "/discord", "/_matrix", "/api/v1/chat.", "/webex"];
    let told = |count: usize| paths.iter().all(|path| to(&server, path).len() >= count);
    push(&evaluator, "web1", None);
    wait_until("all are told that it fires", || told(1));
    // What was told is noted only after the answer.
    wait_until("it is noted", || evaluator.own("veilleur_outbox_waiting") == 0.0);
    evaluator.kill();
    evaluator.start();
    push(&evaluator, "web2", None);
    wait_until("all are told that there are two", || told(2));
    let second = |path: &str| to(&server, path).swap_remove(1);
    assert_eq!(second("/slack").json()["thread_ts"], "1.5");
    assert_eq!(second("/bot1:t").json()["reply_parameters"]["message_id"], 77);
    assert_eq!(second("/discord").path, "/discord/w/messages/4711");
    assert_eq!(second("/_matrix").json()["m.relates_to"]["event_id"], "$first");
    assert_eq!(second("/api/v1/chat.").json()["tmid"], "m1");
    assert_eq!(second("/webex").json()["parentId"], "W1");

    let now = jiff::Timestamp::now().to_string();
    push(&evaluator, "web1", Some(&now));
    push(&evaluator, "web2", Some(&now));
    let over = |path: &str| {
        let fires = |text: &str| text.contains("FIRING") || text.contains("Firing");
        to(&server, path).iter().any(|asked| !fires(&asked.body))
    };
    wait_until("all are told that it is over", || paths.iter().all(|path| over(path)));
    let slack: Vec<Value> = to(&server, "/slack").iter().map(Asked::json).collect();
    assert!(slack[1..].iter().all(|message| message["thread_ts"] == "1.5"), "{slack:?}");
    assert_eq!(to(&server, "/discord").iter().filter(|asked| asked.method == "POST").count(), 1);
}

#[test]
fn amtool_and_we_agree_on_receivers() {
    // What stands under `global:`, the receiver, and whether it is right.
    let cases = [
        ("", "slack_configs: [{api_url: 'https://h/x', channel: '#a'}]", true),
        ("", "slack_configs: [{app_token: t, channel: '#a'}]", true),
        ("", "slack_configs: [{app_token: t, app_url: 'https://h/x'}]", true),
        ("", "slack_configs: [{app_token: t, app_token_file: f}]", false),
        ("", "slack_configs: [{app_token: t, api_url: 'https://h/x'}]", false),
        ("", "slack_configs: [{api_url: nowhere}]", false),
        ("", "slack_configs: [{channel: '#a'}]", false),
        ("", "slack_configs: [{api_url: 'https://h/x', colour: red}]", false),
        ("", "slack_configs: [{api_url: 'https://h/x', fields: [{title: a}]}]", false),
        ("", "slack_configs: [{api_url: 'https://h/x', fields: [{title: a, value: b}]}]", true),
        (
            "",
            "slack_configs: [{api_url: 'https://h/x', actions: [{type: button, text: a}]}]",
            false,
        ),
        (
            "",
            "slack_configs: [{api_url: 'https://h/x', actions: [{type: button, text: a, name: b, \
             confirm: {text: c}}], message_text: a, timeout: 5s, mrkdwn_in: [text]}]",
            true,
        ),
        (
            "",
            "slack_configs: [{api_url: 'https://slack.com/api/chat.postMessage', update_message: true, \
             http_config: {authorization: {credentials: t}}}]",
            true,
        ),
        ("", "slack_configs: [{api_url: 'https://h/x', update_message: true}]", false),
        ("slack_app_token: t", "slack_configs: [{channel: '#a'}]", true),
        ("slack_app_token: t, slack_api_url: 'https://h/x'", "slack_configs: [{}]", false),
        (
            "slack_app_token: t, slack_api_url: 'https://slack.com/api/chat.postMessage'",
            "slack_configs: [{channel: '#a'}]",
            true,
        ),
        ("mattermost_webhook_url: 'https://h/x'", "mattermost_configs: [{channel: a}]", true),
        ("", "mattermost_configs: [{channel: a}]", false),
        ("", "mattermost_configs: [{webhook_url: 'https://h/x', webhook_url_file: f}]", false),
        (
            "",
            "mattermost_configs: [{webhook_url_file: f, priority: {priority: urgent, \
             requested_ack: true, persistent_notifications: true}, props: {card: c}, type: custom_x, \
             attachments: [{text: a, fields: [{title: b, value: c, short: true}]}]}]",
            true,
        ),
        ("", "mattermost_configs: [{webhook_url_file: f, fields: [{title: b}]}]", false),
        ("", "rocketchat_configs: [{token: t, token_id: i, channel: '#a'}]", true),
        ("", "rocketchat_configs: [{token: t}]", false),
        ("", "rocketchat_configs: [{token_id: i}]", false),
        ("", "rocketchat_configs: [{token: t, token_file: f, token_id: i}]", false),
        (
            "rocketchat_token: t, rocketchat_token_id: i, rocketchat_api_url: 'https://h/'",
            "rocketchat_configs: [{actions: [{type: button, text: a, url: 'https://h', \
             msginchatwindow: true}], fields: [{title: a}], link_names: true}]",
            true,
        ),
        (
            "",
            "msteams_configs: [{webhook_url: 'https://h/x', title: a, summary: b, text: c}]",
            true,
        ),
        ("", "msteams_configs: [{title: a}]", false),
        ("", "msteams_configs: [{webhook_url: 'https://h/x', webhook_url_file: f}]", false),
        ("", "msteamsv2_configs: [{webhook_url_file: f, title: a, text: b}]", true),
        ("", "msteamsv2_configs: [{webhook_url_file: f, summary: a}]", false),
        ("", "msteamsv2_configs: [{}]", false),
        (
            "",
            "discord_configs: [{webhook_url: 'https://h/x', content: a, title: b, message: c, \
             username: d, avatar_url: 'https://h/a.png'}]",
            true,
        ),
        ("", "discord_configs: [{content: a}]", false),
        ("", "discord_configs: [{webhook_url: 'https://h/x', webhook_url_file: f}]", false),
        (
            "",
            "telegram_configs: [{bot_token: t, chat_id: -1, message_thread_id: 5, \
             parse_mode: MarkdownV2, disable_notifications: true, message: a, api_url: 'https://h'}]",
            true,
        ),
        ("", "telegram_configs: [{bot_token: t, chat_id: 1, parse_mode: ''}]", true),
        ("", "telegram_configs: [{bot_token: t, chat_id: 1, parse_mode: html}]", false),
        ("", "telegram_configs: [{bot_token: t}]", false),
        ("", "telegram_configs: [{bot_token: t, chat_id: 1, chat_id_file: f}]", false),
        ("", "telegram_configs: [{bot_token: t, bot_token_file: f, chat_id: 1}]", false),
        ("", "telegram_configs: [{chat_id: 1}]", false),
        ("telegram_bot_token: t", "telegram_configs: [{chat_id: 1}]", true),
        ("telegram_bot_token: t, telegram_bot_token_file: f", "telegram_configs: []", false),
        (
            "",
            "webex_configs: [{room_id: R, message: a, http_config: {authorization: {credentials: t}}}]",
            true,
        ),
        ("", "webex_configs: [{room_id: R}]", false),
        ("", "webex_configs: [{http_config: {authorization: {credentials: t}}}]", false),
    ];
    same_judgement(&cases);
}
