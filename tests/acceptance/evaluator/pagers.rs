//! Pagers and tickets, beside Alertmanager itself: the same alerts under the same names, and the same
//! judgement of what may be configured.
//!
//! Invariant: what Alertmanager opened can be closed by us.

use serde_json::{Value, json};
use tests::http_server::{Asked, HttpServer, Reply};
use tests::program::{Program, free_port};
use tests::{ask, get, peers, wait_until};

use crate::amtool::same_judgement;
use crate::rig::Evaluator;

/// A server that is all services at once: it says yes to everything.
fn services() -> HttpServer {
    HttpServer::start(|asked| {
        let answer = json!({
            "status": "success", "message": "Event processed", "result": "success", "requestId": "r",
        });
        match asked.path.as_str() {
            path if path.ends_with("/search") => Reply::text(r#"{"issues": []}"#),
            path if path.ends_with("/issue") => Reply::text(r#"{"key": "OPS-1"}"#),
            _ => {
                let json = "content-type: application/json\r\n".to_owned();
                Reply::Answer(202, json, answer.to_string().into())
            }
        }
    })
}

/// The receivers, with all services below a path of the server.
fn receivers(server: &HttpServer, side: &str) -> String {
    let url = server.url(side);
    format!(
        "route: {{receiver: all, group_by: [alertname, site], group_wait: 0s, group_interval: 1s}}\n\
         receivers:\n- name: all\n  \
         pagerduty_configs: [{{routing_key: k, url: '{url}/pagerduty', severity: critical, \
           details: {{firing: '', resolved: '', site: '{{{{ .CommonLabels.site }}}}'}}, \
           description: '{{{{ .Status }}}} {{{{ .CommonAnnotations.summary }}}}', client: c, client_url: 'http://h/'}}]\n  \
         opsgenie_configs: [{{api_key: k, api_url: '{url}/opsgenie', description: d, source: s, \
           message: '{{{{ .Status }}}}', tags: 'a,b', responders: [{{name: t, type: team}}]}}]\n  \
         victorops_configs: [{{api_key: k, routing_key: r, api_url: '{url}/victorops', \
           state_message: s, entity_display_name: e, monitoring_tool: m}}]\n  \
         jira_configs: [{{api_url: '{url}/jira', project: OPS, issue_type: Bug, summary: s, \
           description: d, labels: [x], fields: {{customfield_1: ['{{{{ .CommonLabels.site }}}}']}}}}]\n  \
         incidentio_configs: [{{url: '{url}/incidentio', alert_source_token: t}}]\n  \
         webhook_configs: [{{url: '{url}/webhook', payload: {{count: '{{{{ len .Alerts }}}}', \
           text: '{{{{ .Status }}}} in {{{{ .CommonLabels.site }}}}', list: [1, '{{{{ .GroupLabels | toJson }}}}']}}}}]\n"
    )
}

fn push(port: u16, ends_at: Option<&str>) {
    let mut alert = json!({
        "labels": {"alertname": "DiskFull", "instance": "web1", "site": "a\"b\\c"},
        "annotations": {"summary": "93 % full"},
        "startsAt": "2026-01-02T03:04:05Z",
    });
    if let Some(ends_at) = ends_at {
        alert["endsAt"] = json!(ends_at);
    }
    let url = format!("http://127.0.0.1:{port}/api/v2/alerts");
    let body = json!([alert]).to_string();
    let answer = ask("POST", &url, "content-type: application/json\r\n", &body);
    assert_eq!(answer.map(|got| got.0), Some(200));
}

/// Where a side sent something, without what is its own, and what.
fn sent(server: &HttpServer, side: &str) -> Vec<(String, Value)> {
    // That we look for the issue that we know of, before we search for it, is ours alone.
    let told = |asked: &Asked| asked.path.starts_with(side) && asked.method != "GET";
    let asked = server.asked().into_iter().filter(told);
    let mut sent: Vec<_> = asked
        .map(|asked| {
            let mut body = asked.json();
            // Ours says since when, and names the message; who sends it is not the same.
            for added in ["notificationId", "externalURL", "notification_reason", "routeLabels"] {
                body.as_object_mut().unwrap().remove(added);
            }
            if let Some(payload) = body["payload"].as_object_mut() {
                payload.remove("timestamp");
            }
            if let Some(alerts) = body["alerts"].as_array_mut() {
                for alert in alerts {
                    for own in ["fingerprint", "endsAt", "ending"] {
                        alert.as_object_mut().unwrap().remove(own);
                    }
                }
            }
            (format!("{} {}", asked.method, asked.path.trim_start_matches(side)), body)
        })
        .collect();
    sent.sort_by(|a, b| (&a.0, a.1.to_string()).cmp(&(&b.0, b.1.to_string())));
    sent
}

#[test]
fn alertmanager_and_we_send_the_same() {
    let Some(mut command) = peers::alertmanager() else { return };
    let server = services();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("alertmanager.yml");
    std::fs::write(&file, receivers(&server, "/theirs")).unwrap();
    let port = free_port();
    command.arg(format!("--config.file={}", file.display()));
    command.arg(format!("--storage.path={}", dir.path().join("data").display()));
    command.arg(format!("--web.listen-address=127.0.0.1:{port}"));
    command.arg("--cluster.listen-address=");
    let _theirs = Program::spawn(command);
    let ready = format!("http://127.0.0.1:{port}/-/ready");
    wait_until("Alertmanager is ready", || get(&ready).is_some_and(|answer| answer.0 == 200));
    let ours = Evaluator::with(&format!(
        "builtin_rules: {{enabled: false}}\n{}",
        receivers(&server, "/ours")
    ));

    // Six of each; of the end Jira hears nothing, because it said that it knows no issue.
    let compare = |count: usize| {
        for side in ["/theirs", "/ours"] {
            wait_until("all are told", || sent(&server, side).len() >= count);
        }
        let (theirs, ours) = (sent(&server, "/theirs"), sent(&server, "/ours"));
        for (theirs, ours) in theirs.iter().zip(&ours) {
            assert_eq!(theirs, ours);
        }
        assert_eq!(theirs.len(), ours.len());
    };
    for port in [port, ours.port] {
        push(port, None);
    }
    // Jira is searched first.
    compare(7);
    let now = jiff::Timestamp::now().to_string();
    for port in [port, ours.port] {
        push(port, Some(&now));
    }
    compare(13);
}

#[test]
fn amtool_and_we_agree_on_pagers_and_tickets() {
    // What stands under `global:`, the receiver, and whether it is right.
    let cases = [
        ("", "pagerduty_configs: [{routing_key: k}]", true),
        ("", "pagerduty_configs: [{service_key_file: f, url: 'https://h/x', timeout: 5s}]", true),
        ("pagerduty_url: 'https://h/x'", "pagerduty_configs: [{routing_key_file: f}]", true),
        (
            "",
            "pagerduty_configs: [{routing_key: k, client: a, client_url: b, description: c, severity: d, \
             source: e, class: f, component: g, group: h, details: {a: b, c: [d, {e: 1}], f: 2}, \
             images: [{src: a, alt: b, href: c}], links: [{href: a, text: b}]}]",
            true,
        ),
        ("", "pagerduty_configs: [{}]", false),
        ("", "pagerduty_configs: [{routing_key: k, routing_key_file: f}]", false),
        ("", "pagerduty_configs: [{service_key: k, service_key_file: f}]", false),
        ("", "pagerduty_configs: [{routing_key: k, links: [{src: a}]}]", false),
        ("", "opsgenie_configs: [{api_key: k}]", true),
        ("opsgenie_api_key_file: f, opsgenie_api_url: 'https://h'", "opsgenie_configs: [{}]", true),
        ("", "opsgenie_configs: [{message: a}]", false),
        ("", "opsgenie_configs: [{api_key: k, api_key_file: f}]", false),
        ("opsgenie_api_key: k, opsgenie_api_key_file: f", "opsgenie_configs: []", false),
        (
            "",
            "opsgenie_configs: [{api_key: k, message: a, description: b, source: c, details: {a: b}, \
             entity: d, actions: e, tags: f, note: g, priority: P1, update_alerts: true, \
             responders: [{id: a, type: team}, {name: 'b, c', type: teams}, {username: d, type: USER}]}]",
            true,
        ),
        ("", "opsgenie_configs: [{api_key: k, responders: [{type: team}]}]", false),
        ("", "opsgenie_configs: [{api_key: k, responders: [{name: a, type: boss}]}]", false),
        ("", "opsgenie_configs: [{api_key: k, responders: [{name: a}]}]", false),
        ("", "opsgenie_configs: [{api_key: k, teams: a}]", false),
        ("", "victorops_configs: [{api_key: k, routing_key: r}]", true),
        (
            "victorops_api_key: k, victorops_api_url: 'https://h'",
            "victorops_configs: [{routing_key: r, message_type: a, state_message: b, \
             entity_display_name: c, monitoring_tool: d, custom_fields: {a: b}}]",
            true,
        ),
        ("", "victorops_configs: [{api_key: k}]", false),
        ("", "victorops_configs: [{routing_key: r}]", false),
        ("", "victorops_configs: [{api_key: k, api_key_file: f, routing_key: r}]", false),
        (
            "",
            "victorops_configs: [{api_key: k, routing_key: r, custom_fields: {entity_id: a}}]",
            false,
        ),
        ("victorops_api_key: k, victorops_api_key_file: f", "victorops_configs: []", false),
        ("", "pushover_configs: [{user_key: u, token: t}]", true),
        (
            "",
            "pushover_configs: [{user_key_file: u, token_file: t, title: a, message: b, url: c, \
             url_title: d, device: e, sound: f, priority: g, retry: 1m, expire: 1h30m, ttl: 10s, html: true}]",
            true,
        ),
        ("", "pushover_configs: [{user_key: u}]", false),
        ("", "pushover_configs: [{token: t}]", false),
        ("", "pushover_configs: [{user_key: u, user_key_file: f, token: t}]", false),
        ("", "pushover_configs: [{user_key: u, token: t, html: true, monospace: true}]", false),
        ("", "sns_configs: [{topic_arn: t, sigv4: {access_key: a, secret_key: s}}]", true),
        (
            "",
            "sns_configs: [{phone_number: '1', api_url: 'https://h', subject: a, message: b, \
             attributes: {a: b}, sigv4: {region: r, profile: p, role_arn: x}}]",
            true,
        ),
        ("", "sns_configs: [{target_arn: t, sigv4: {}}]", true),
        ("", "sns_configs: [{sigv4: {region: r}}]", false),
        ("", "sns_configs: [{topic_arn: t, phone_number: '1', sigv4: {region: r}}]", false),
        ("", "sns_configs: [{topic_arn: t, sigv4: {access_key: a}}]", false),
        ("", "wechat_configs: [{api_secret: s, corp_id: c}]", true),
        (
            "wechat_api_secret_file: f, wechat_api_corp_id: c, wechat_api_url: 'https://h'",
            "wechat_configs: [{message: a, to_user: b, to_party: c, to_tag: d, agent_id: e, \
             message_type: markdown}]",
            true,
        ),
        ("", "wechat_configs: [{api_secret: s}]", false),
        ("", "wechat_configs: [{corp_id: c}]", false),
        ("", "wechat_configs: [{api_secret: s, corp_id: c, message_type: card}]", false),
        ("", "wechat_configs: [{api_secret: s, api_secret_file: f, corp_id: c}]", false),
        ("", "jira_configs: [{api_url: 'https://h', project: P, issue_type: Bug}]", true),
        (
            "jira_api_url: 'https://h/rest/api/3/'",
            "jira_configs: [{project: P, issue_type: Bug, api_type: cloud, summary: {template: a}, \
             description: {template: b, enable_update: false}, labels: [a], priority: b, \
             reopen_transition: c, resolve_transition: d, wont_fix_resolution: e, reopen_duration: 1h, \
             fields: {a: {b: [c]}}}]",
            true,
        ),
        ("", "jira_configs: [{project: P, issue_type: Bug}]", false),
        ("", "jira_configs: [{api_url: 'https://h', issue_type: Bug}]", false),
        ("", "jira_configs: [{api_url: 'https://h', project: P}]", false),
        (
            "",
            "jira_configs: [{api_url: 'https://h', project: P, issue_type: B, api_type: x}]",
            false,
        ),
        ("", "incidentio_configs: [{url: 'https://h', alert_source_token: t, timeout: 1s}]", true),
        (
            "",
            "incidentio_configs: [{url_file: f, max_alerts: 3, \
             http_config: {authorization: {credentials: c}}}]",
            true,
        ),
        ("", "incidentio_configs: [{alert_source_token: t}]", false),
        ("", "incidentio_configs: [{url: 'https://h', url_file: f, alert_source_token: t}]", false),
        (
            "",
            "incidentio_configs: [{url: 'https://h', alert_source_token: t, alert_source_token_file: f}]",
            false,
        ),
        (
            "",
            "incidentio_configs: [{url: 'https://h', alert_source_token: t, \
             http_config: {authorization: {credentials: c}}}]",
            false,
        ),
        (
            "",
            "webhook_configs: [{url: 'https://h', payload: {a: [1, '{{ .Status }}'], b: {c: d}}}]",
            true,
        ),
        (
            "http_config: {proxy_url: 'http://h:3128', no_proxy: 'localhost, 10.0.0.0/8'}",
            "webhook_configs: [{url: 'https://h', http_config: {proxy_url: h}}]",
            true,
        ),
    ];
    same_judgement(&cases);
}
