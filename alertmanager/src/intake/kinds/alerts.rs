//! What is an alert already: Alertmanager, Grafana, Sentry.
//!
//! Sources: the webhook sections of Alertmanager's and Grafana's references; Sentry's reference of
//! webhooks of integrations.
//!
//! Invariant: labels of theirs are kept as they are, but for those that are ours.

use serde_json::Value;

use super::super::event::{Event, Status};
use super::super::json::{first_text, items, pairs, text, time};
use super::{Said, unlike};

/// The alerts of a message of Alertmanager, version 4, or Grafana.
pub(super) fn all(body: &Value) -> Result<Vec<Said<'_>>, String> {
    if !body["alerts"].is_array() {
        return Err(unlike("Alertmanager or Grafana", "the list `alerts`"));
    }
    items(body, "/alerts").iter().map(|alert| Ok((one(alert)?, alert))).collect()
}

fn one(alert: &Value) -> Result<Event, String> {
    let status = match text(alert, "/status").as_str() {
        "firing" => Status::Firing,
        "resolved" => Status::Resolved,
        _ => return Err(unlike("Alertmanager or Grafana", "an alert's `status`")),
    };
    let mut event = Event {
        status,
        labels: pairs(alert, "/labels").collect(),
        annotations: pairs(alert, "/annotations").collect(),
        starts_at: time(&text(alert, "/startsAt")),
        url: first_text(alert, &["/panelURL", "/dashboardURL", "/generatorURL"]),
        ..Event::default()
    };
    // While it fires, the end is when they would send it again.
    if status == Status::Resolved {
        event.ends_at = time(&text(alert, "/endsAt"));
    }
    Ok(event.text("silence_url", text(alert, "/silenceURL")))
}

/// An alert of a rule, an issue that changes, or an alert of a metric.
pub(super) fn sentry(body: &Value, resource: &str) -> Result<Event, String> {
    let action = text(body, "/action");
    if action.is_empty() || !body["data"].is_object() {
        return Err(unlike("Sentry", "`action` or `data`"));
    }
    let has = |name: &str| body["data"][name].is_object();
    let resource = match resource {
        "" if has("metric_alert") => "metric_alert",
        "" if has("issue") => "issue",
        "" if has("event") => "event_alert",
        known => known,
    };
    let issue = |status, of: &str, id: String| {
        let get = |name: &str| text(body, &format!("/data/{of}/{name}"));
        let project = first_text(
            body,
            &[&format!("/data/{of}/project/slug"), &format!("/data/{of}/project")],
        );
        let url = first_text(
            body,
            &[
                &format!("/data/{of}/web_url"),
                &format!("/data/{of}/permalink"),
                &format!("/data/{of}/url"),
            ],
        );
        let event = Event::new(status, "SentryIssue")
            .label("project", project)
            .label("severity", get("level"))
            .text("summary", get("title"))
            .text("culprit", get("culprit"))
            .text("rule", text(body, "/data/triggered_rule"));
        Event { key: format!("issue {id}"), url, ..event }
    };
    let event = match resource {
        "event_alert" => {
            let id = text(body, "/data/event/issue_id");
            let status = if action == "triggered" { Status::Firing } else { Status::Neither };
            if id.is_empty() {
                return Err(unlike("Sentry", "`data.event.issue_id`"));
            }
            issue(status, "event", id)
        }
        "issue" => {
            let id = text(body, "/data/issue/id");
            if id.is_empty() {
                return Err(unlike("Sentry", "`data.issue.id`"));
            }
            // That one was created is told by the rules that somebody made.
            let status = match action.as_str() {
                "resolved" | "ignored" | "archived" => Status::Resolved,
                _ => Status::Neither,
            };
            issue(status, "issue", id)
        }
        "metric_alert" => {
            let status = match action.as_str() {
                "critical" | "warning" => Status::Firing,
                "resolved" => Status::Resolved,
                _ => Status::Neither,
            };
            let name = first_text(
                body,
                &["/data/metric_alert/alert_rule/name", "/data/metric_alert/title"],
            );
            if name.is_empty() {
                return Err(unlike("Sentry", "the name in `data.metric_alert`"));
            }
            let severity = if status == Status::Firing { action } else { String::new() };
            let event = Event::new(status, &name)
                .label("severity", severity)
                .text("summary", text(body, "/data/description_title"))
                .text("description", text(body, "/data/description_text"));
            let key = format!("metric {}", text(body, "/data/metric_alert/id"));
            Event { key, url: text(body, "/data/web_url"), ..event }
        }
        _ => Event::default(),
    };
    Ok(event)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::Kind;
    use super::super::tests::check;

    #[test]
    fn alerts_of_alertmanager_and_grafana_are_taken_as_they_are() {
        let body = json!({
            "version": "4", "groupKey": "{}:{}", "truncatedAlerts": 0, "status": "firing", "receiver": "v",
            "groupLabels": {}, "commonLabels": {}, "commonAnnotations": {}, "externalURL": "http://am/",
            "alerts": [
                {"status": "firing", "labels": {"alertname": "Down", "source": "mine"},
                 "annotations": {"summary": "it is down"}, "startsAt": "2023-11-14T22:13:20Z",
                 "endsAt": "0001-01-01T00:00:00Z", "generatorURL": "http://p/graph", "fingerprint": "1"},
                {"status": "resolved", "labels": {"alertname": "Slow"}, "annotations": {},
                 "startsAt": "2023-11-14T22:13:20Z", "endsAt": "2023-11-14T22:14:20Z", "generatorURL": ""},
            ],
        });
        check(
            Kind::Alertmanager,
            "",
            &body,
            &[
                "firing {alertname=\"Down\", source=\"s\"} http://p/graph [1700000000, 0] summary: it is down",
                "resolved {alertname=\"Slow\", source=\"s\"}  [1700000000, 1700000060] ",
            ],
        );
        let body = json!({
            "receiver": "v", "status": "firing", "orgId": 1, "version": "1", "state": "alerting",
            "title": "[FIRING:1] Hot", "message": "hot", "externalURL": "http://grafana/",
            "alerts": [{"status": "firing", "labels": {"alertname": "Hot", "grafana_folder": "Rooms"},
                "annotations": {"summary": "hot"}, "startsAt": "2023-11-14T22:13:20Z",
                "endsAt": "0001-01-01T00:00:00Z", "generatorURL": "http://grafana/alerting/1",
                "dashboardURL": "http://grafana/d/1", "panelURL": "http://grafana/d/1?viewPanel=2",
                "silenceURL": "http://grafana/alerting/silence/new", "values": {"A": 31.5}}],
        });
        let told = "firing {alertname=\"Hot\", grafana_folder=\"Rooms\", source=\"s\"} \
                    http://grafana/d/1?viewPanel=2 [1700000000, 0] \
                    silence_url: http://grafana/alerting/silence/new; summary: hot";
        check(Kind::Grafana, "", &body, &[told]);
        let wrong = |what: &str| {
            format!("this is no message of Alertmanager or Grafana: {what} is missing")
        };
        check(Kind::Grafana, "", &json!({"alerts": 5}), &[&wrong("the list `alerts`")]);
        check(Kind::Grafana, "", &json!({"alerts": [{}]}), &[&wrong("an alert's `status`")]);
    }

    #[test]
    fn sentry_tells_of_issues_and_metrics() {
        let event = json!({
            "action": "triggered", "installation": {"uuid": "u"}, "actor": {"type": "application"},
            "data": {"triggered_rule": "errors in production", "event": {
                "event_id": "e", "issue_id": "1170820242", "title": "TypeError: x is not a function",
                "level": "error", "culprit": "shop/cart.js", "project": 5, "platform": "javascript",
                "web_url": "https://sentry.example.org/issues/1170820242/events/e/"}},
        });
        let told = "firing {alertname=\"SentryIssue\", key=\"issue 1170820242\", project=\"5\", \
                    severity=\"error\", source=\"s\"} https://sentry.example.org/issues/1170820242/events/e/ \
                    [0, 0] culprit: shop/cart.js; rule: errors in production; \
                    summary: TypeError: x is not a function";
        check(Kind::Sentry, "event_alert", &event, &[told]);
        check(Kind::Sentry, "", &event, &[told]);
        let issue = |action: &str| {
            json!({"action": action, "data": {"issue": {"id": "1170820242", "title": "TypeError",
                "level": "error", "status": "resolved", "project": {"id": "5", "slug": "shop"},
                "permalink": "https://sentry.example.org/issues/1170820242/"}}})
        };
        let ended = "resolved {alertname=\"SentryIssue\", key=\"issue 1170820242\", project=\"shop\", \
                     severity=\"error\", source=\"s\"} https://sentry.example.org/issues/1170820242/ [0, 0] \
                     summary: TypeError";
        check(Kind::Sentry, "issue", &issue("resolved"), &[ended]);
        check(Kind::Sentry, "issue", &issue("created"), &["nothing"]);
        let metric = |action: &str| {
            json!({"action": action, "data": {"description_text": "1000 events in the last 10 minutes",
                "description_title": "Critical: too many errors", "web_url": "https://sentry.example.org/alerts/4/",
                "metric_alert": {"id": "4", "identifier": "4", "alert_rule": {"name": "too many errors"}}}})
        };
        let told = |what: &str, severity: &str| {
            format!(
                "{what} {{alertname=\"too many errors\", key=\"metric 4\", {severity}source=\"s\"}} \
                 https://sentry.example.org/alerts/4/ [0, 0] description: 1000 events in the last 10 minutes; \
                 summary: Critical: too many errors"
            )
        };
        check(
            Kind::Sentry,
            "metric_alert",
            &metric("critical"),
            &[&told("firing", "severity=\"critical\", ")],
        );
        check(Kind::Sentry, "", &metric("resolved"), &[&told("resolved", "")]);
        check(
            Kind::Sentry,
            "installation",
            &json!({"action": "created", "data": {}}),
            &["nothing"],
        );
        let wrong = "this is no message of Sentry: `action` or `data` is missing";
        check(Kind::Sentry, "", &json!({}), &[wrong]);
    }
}
