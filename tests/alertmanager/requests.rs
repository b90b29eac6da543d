//! Requests that are wrong, odd or large: the same status from both, and the same alerts and silences
//! afterwards.
//!
//! Invariant: where the two answer differently, the table says so, with the reason.

use serde_json::{Value, json};
use tests::http_server::HttpServer;

use crate::sides::{Side, Sides};

fn config(sink: &HttpServer) -> String {
    format!(
        "route: {{receiver: sink, group_by: [alertname], group_wait: 1h}}\n\
         receivers: [{{name: sink, webhook_configs: [{{url: '{}'}}]}}]\n",
        sink.url("/")
    )
}

const JSON: &str = "content-type: application/json\r\n";
const LATE: &str = "2099-01-01T00:00:00Z";

/// The alerts that there are, as labels, texts and times.
fn alerts(side: &Side) -> Vec<Value> {
    let alerts = side.json("/api/v2/alerts");
    let mut alerts: Vec<Value> = alerts.as_array().unwrap().clone();
    for alert in &mut alerts {
        // When each was told is its own affair.
        let kept = ["labels", "annotations", "generatorURL"];
        alert.as_object_mut().unwrap().retain(|name, _| kept.contains(&name.as_str()));
    }
    alerts.sort_by_key(Value::to_string);
    alerts
}

fn silences(side: &Side) -> usize {
    side.json("/api/v2/silences").as_array().unwrap().len()
}

/// Sends one request to both.
#[track_caller]
fn check(sides: &Sides, method: &str, path: &str, headers: &str, body: &str) {
    check_against(sides, method, path, headers, body, None);
}

/// As [`check`]; `ours` is our status where it is another.
#[track_caller]
fn check_against(
    sides: &Sides,
    method: &str,
    path: &str,
    headers: &str,
    body: &str,
    ours: Option<u16>,
) {
    let (their_status, their_answer) = sides.theirs.ask(method, path, headers, body);
    let (our_status, our_answer) = sides.ours.ask(method, path, headers, body);
    let shown: String = body.chars().take(200).collect();
    let what =
        format!("{method} {path} {headers}{shown}\ntheirs: {their_answer}\nours: {our_answer}");
    assert_eq!(our_status, ours.unwrap_or(their_status), "theirs is {their_status}: {what}");
    assert_eq!(alerts(&sides.ours), alerts(&sides.theirs), "{what}");
    assert_eq!(silences(&sides.ours), silences(&sides.theirs), "{what}");
}

#[test]
fn alerts_that_are_wrong_are_answered_as_alertmanager_answers_and_nothing_is_half_taken() {
    let Some(sides) = Sides::start(config) else { return };
    let post = |body: &str| check(&sides, "POST", "/api/v2/alerts", JSON, body);
    for body in
        ["", "{", "[", "[{]", "nonsense", "null", "{}", "\"x\"", "7", "[]", "[7]", "[{}]", "[[]]"]
    {
        post(body);
    }
    // It reads half of what is sent.
    check_against(&sides, "POST", "/api/v2/alerts", JSON, "[] x", Some(400));
    // It breaks off the connection.
    assert_eq!(sides.ours.ask("POST", "/api/v2/alerts", JSON, "[null]").0, 400);
    let with = |field: &str| format!("[{{\"labels\":{{\"alertname\":\"a\"}},{field}}}]");
    for labels in [
        "{}",
        "null",
        "7",
        "[]",
        "\"x\"",
        r#"{"alertname":7}"#,
        r#"{"alertname":null}"#,
        r#"{"alertname":""}"#,
        r#"{"":"x"}"#,
        r#"{"alertname":"x","a":""}"#,
        r#"{"alertname":{"x":"y"}}"#,
        r#"{"alertname":"x","with space":"y","é":"ü"}"#,
        r#"{"alertname":"twice","alertname":"once"}"#,
        r#"{"alertname":"a\nb\u0000c"}"#,
        r#"{"__name__":"x"}"#,
    ] {
        post(&format!("[{{\"labels\":{labels}}}]"));
    }
    for field in [
        r#""unknown":{"x":[1,2]}"#,
        r#""annotations":null"#,
        r#""annotations":7"#,
        r#""annotations":{"a":7}"#,
        r#""annotations":{"a":""}"#,
        r#""annotations":{"":"x"}"#,
        r#""startsAt":null"#,
        r#""startsAt":"""#,
        r#""startsAt":"yesterday""#,
        r#""startsAt":7"#,
        r#""startsAt":"2026-13-01T00:00:00Z""#,
        r#""startsAt":"2026-01-01T00:00:00""#,
        r#""startsAt":"2026-01-01 00:00:00Z""#,
        r#""startsAt":"2026-01-01T00:00:00.123456789+02:00""#,
        r#""startsAt":"0001-01-01T00:00:00Z""#,
        r#""endsAt":"0001-01-01T00:00:00.000Z""#,
        r#""startsAt":"2099-01-02T00:00:00Z","endsAt":"2099-01-01T00:00:00Z""#,
        r#""startsAt":"2020-01-02T00:00:00Z","endsAt":"2020-01-03T00:00:00Z""#,
        r#""generatorURL":null"#,
        r#""generatorURL":"""#,
        r#""generatorURL":7"#,
        r#""generatorURL":"http://x/?a=b&c=%20""#,
        r#""generatorURL":"not a url""#,
        r#""generatorURL":"javascript:alert(1)""#,
    ] {
        post(&with(field));
    }
    // One that is wrong beside others that are right.
    post(r#"[{"labels":{"alertname":"good"}},{"labels":{"alertname":""}}]"#);
    post(r#"[{"labels":{"alertname":"better"}},{"labels":{}}]"#);
    post(r#"[{"labels":{"alertname":"best"}},{"labels":7}]"#);
    post(&format!(
        "[{{\"labels\":{{\"alertname\":\"n\"}},\"x\":{}{}}}]",
        "[".repeat(100),
        "]".repeat(100)
    ));
    for headers in [
        "content-type: application/json; charset=utf-8\r\n",
        "content-type: APPLICATION/JSON\r\n",
        "content-type: text/plain\r\n",
        "content-type: application/x-www-form-urlencoded\r\n",
        "content-type: nonsense\r\n",
        "content-type: application/xml\r\n",
        "",
    ] {
        check(&sides, "POST", "/api/v2/alerts", headers, r#"[{"labels":{"alertname":"typed"}}]"#);
    }
    for method in ["PUT", "DELETE", "PATCH", "TRACE"] {
        check(&sides, method, "/api/v2/alerts", JSON, "[]");
        check(&sides, method, "/api/v2/silences", JSON, "{}");
    }
}

#[test]
fn silences_that_are_wrong_are_answered_as_alertmanager_answers() {
    let Some(sides) = Sides::start(config) else { return };
    let good = json!({
        "matchers": [{"name": "a", "value": "b", "isRegex": false, "isEqual": true}],
        "startsAt": "2020-01-01T00:00:00Z", "endsAt": LATE, "createdBy": "me", "comment": "why",
    });
    let post = |change: &dyn Fn(&mut Value)| {
        let mut silence = good.clone();
        change(&mut silence);
        check(&sides, "POST", "/api/v2/silences", JSON, &silence.to_string());
    };
    post(&|_| ());
    for field in ["matchers", "startsAt", "endsAt", "createdBy", "comment"] {
        post(&|silence| drop(silence.as_object_mut().unwrap().remove(field)));
        post(&|silence| silence[field] = Value::Null);
        post(&|silence| silence[field] = json!(7));
        post(&|silence| silence[field] = json!(""));
    }
    for field in ["name", "value", "isRegex", "isEqual"] {
        post(&|silence| drop(silence["matchers"][0].as_object_mut().unwrap().remove(field)));
        post(&|silence| silence["matchers"][0][field] = Value::Null);
        post(&|silence| silence["matchers"][0][field] = json!(7));
        post(&|silence| silence["matchers"][0][field] = json!(""));
    }
    post(&|silence| silence["matchers"] = json!([]));
    post(&|silence| silence["matchers"][0] = json!({"name": "a", "value": "(", "isRegex": true}));
    post(&|silence| silence["matchers"][0] = json!({"name": "a", "value": ".*", "isRegex": true}));
    post(&|silence| silence["endsAt"] = json!("2019-01-01T00:00:00Z"));
    post(&|silence| silence["endsAt"] = json!("2021-01-01T00:00:00Z"));
    post(&|silence| silence["endsAt"] = json!("soon"));
    post(&|silence| silence["id"] = json!("nonsense"));
    post(&|silence| silence["id"] = json!("9b1d4b9e-0000-4000-8000-000000000000"));
    post(&|silence| silence["unknown"] = json!({"x": 1}));
    for body in ["", "{", "null", "[]", "7"] {
        check(&sides, "POST", "/api/v2/silences", JSON, body);
    }
    check(&sides, "POST", "/api/v2/silences", "content-type: text/plain\r\n", &good.to_string());
    for id in ["nonsense", "9b1d4b9e-0000-4000-8000-000000000000"] {
        for method in ["GET", "DELETE", "POST"] {
            check(&sides, method, &format!("/api/v2/silence/{id}"), "", "");
        }
    }
}

#[test]
fn questions_that_are_wrong_are_answered_as_alertmanager_answers() {
    let Some(sides) = Sides::start(config) else { return };
    sides.theirs.post("/api/v2/alerts", &json!([{"labels": {"alertname": "a", "x": "y"}}]));
    sides.ours.post("/api/v2/alerts", &json!([{"labels": {"alertname": "a", "x": "y"}}]));
    for path in ["alerts", "alerts/groups"] {
        for query in [
            "",
            "?",
            "?active=true",
            "?active=false",
            "?active=maybe",
            "?active=",
            "?active=1",
            "?active=T",
            "?silenced=no",
            "?inhibited=nonsense",
            "?muted=x",
            "?filter=alertname=a",
            "?filter=alertname%3D%22a%22",
            "?filter=alertname%3D~%22(%22",
            "?filter=%7B",
            "?filter=",
            "?filter=x=y&filter=alertname!=a",
            "?receiver=sink",
            "?receiver=none",
            "?receiver=(",
            "?receiver=s.*",
            "?unknown=1",
            "?unprocessed=false",
            "?active=true&active=false",
        ] {
            check(&sides, "GET", &format!("/api/v2/{path}{query}"), "", "");
            let count = |side: &Side| {
                let (status, body) = side.ask("GET", &format!("/api/v2/{path}{query}"), "", "");
                let body: Value = serde_json::from_str(&body).unwrap_or_default();
                (status == 200).then(|| body.as_array().unwrap().len())
            };
            assert_eq!(count(&sides.ours), count(&sides.theirs), "{path}{query}");
        }
    }
    for path in [
        "silences?filter=(",
        "silences?filter=a=b",
        "silences?filter=",
        "nothing",
        "status?x=y",
        "receivers",
        "",
    ] {
        check(&sides, "GET", &format!("/api/v2/{path}"), "", "");
    }
}

#[test]
fn ten_megabytes_and_fifty_thousand_alerts_at_once_are_taken() {
    let Some(sides) = Sides::start(config) else { return };
    let many: Vec<_> = (0..50_000)
        .map(|n| json!({"labels": {"alertname": "many", "n": n.to_string()}, "endsAt": LATE}))
        .collect();
    check(&sides, "POST", "/api/v2/alerts", JSON, &json!(many).to_string());
    assert_eq!(alerts(&sides.ours).len(), 50_000);
    let long = "x".repeat(10 << 20);
    let large = json!([{"labels": {"alertname": "large"}, "annotations": {"text": long}}]);
    check(&sides, "POST", "/api/v2/alerts", JSON, &large.to_string());
    assert_eq!(alerts(&sides.ours).len(), 50_001);
    // Beyond what we read of a body; Alertmanager reads until its memory is full.
    let long = "x".repeat(33 << 20);
    let larger = json!([{"labels": {"alertname": "larger"}, "annotations": {"text": long}}]);
    let (status, _) = sides.ours.ask("POST", "/api/v2/alerts", JSON, &larger.to_string());
    assert_eq!((status, alerts(&sides.ours).len()), (413, 50_001));
}
