//! What karma and Grafana ask, and everything else of which Alertmanager's OpenAPI document says how
//! it is answered: our answers are as the document says, and what a real Alertmanager answers.
//!
//! Source: `grafana-endpoints.md` beside the document; karma asks for `/metrics`, `/api/v2/status`,
//! `/api/v2/silences` and `/api/v2/alerts/groups`, and passes on silences that are set or ended.
//!
//! Invariant: every answer of the document is seen but those of a server that fails itself, and where
//! ours is not as the document says, Alertmanager's is not either and ours is like it.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use tests::http_server::HttpServer;
use tests::{exchange, wait_until};

use crate::document::Document;
use crate::sides::{Side, Sides, held, plain};

fn config(sink: &HttpServer) -> String {
    let hook = format!("webhook_configs: [{{url: '{}'}}]", sink.url("/"));
    format!(
        "route:\n  receiver: ops\n  group_by: [alertname]\n  group_wait: 50ms\n  \
         group_interval: 200ms\n  routes:\n  - {{matchers: [team=db], receiver: db, continue: true}}\n  \
         - {{matchers: [team=night], receiver: night, mute_time_intervals: [always]}}\nreceivers:\n\
         - name: ops\n  labels: {{owner: anne, tier: '1'}}\n  {hook}\n- name: db\n  \
         labels: {{owner: bob}}\n  {hook}\n- {{name: night, {hook}}}\n\
         inhibit_rules:\n- {{source_matchers: [alertname=Cause], target_matchers: [alertname=Effect]}}\n\
         time_intervals:\n- {{name: always, time_intervals: [{{weekdays: ['sunday:saturday']}}]}}\n"
    )
}

/// A silence, as clients send it.
fn silence(name: &str, starts_at: &str) -> Value {
    json!({
        "matchers": [{"name": "alertname", "value": name, "isRegex": true, "isEqual": true}],
        "startsAt": starts_at, "endsAt": "2099-01-01T00:00:00.000Z", "createdBy": "me@example.org",
        "comment": "ACK! This alert was acknowledged",
    })
}

/// An answer: its status, its kind of content, its body.
fn answer(side: &Side, method: &str, path: &str, body: &str) -> (u16, String, String) {
    let kind = if body.is_empty() { "" } else { "content-type: application/json\r\n" };
    let headers = format!("accept: application/json\r\n{kind}");
    let (head, body) = exchange(method, &side.url(path), &headers, body).unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    let kind = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-type").then(|| value.trim().to_owned())
    });
    (status, kind.unwrap_or_default(), body)
}

/// Takes out what the document has and 0.33 has not yet.
fn as_of_33(item: &mut Value) {
    let Some(item) = item.as_object_mut() else { return };
    item.remove("routeLabels");
    if item.contains_key("createdBy") && item.get("annotations") == Some(&json!({})) {
        item.remove("annotations");
    }
}

/// What of a body can be compared: texts for people are ours, so of a fault only the kind and number.
fn comparable(status: u16, body: &str) -> Value {
    let body: Value = serde_json::from_str(&plain(body)).unwrap_or(Value::Null);
    match (status, body) {
        (200, mut body) => {
            if let Some(status) = body.as_object_mut() {
                // Of whom it is, and how it writes its configuration.
                status.remove("config");
                for name in ["branch", "revision", "buildUser", "buildDate", "goVersion"] {
                    if let Some(version) = status.get_mut("versionInfo") {
                        version.as_object_mut().unwrap().remove(name).unwrap();
                    }
                }
                // A name without a cluster says nothing; 0.33 leaves it out.
                if let Some(cluster) = status.get_mut("cluster") {
                    cluster.as_object_mut().unwrap().remove("name");
                }
            }
            match &mut body {
                Value::Array(items) => items.iter_mut().for_each(as_of_33),
                one => as_of_33(one),
            }
            // By its list nobody can tell that a route is mute (`docs/compatibility.md`).
            if let Some(alerts) = body.as_array_mut() {
                alerts.retain(|alert| {
                    alert["labels"]["alertname"] != "Quiet" || alert["alerts"].is_array()
                });
            }
            body
        }
        (_, Value::String(_)) => json!("why"),
        (_, mut fault) => {
            if let Some(fault) = fault.as_object_mut() {
                fault.remove("message").unwrap();
            }
            fault
        }
    }
}

struct Rig {
    sides: Sides,
    document: Document,
    seen: BTreeSet<String>,
    /// The ids of the silences that each side has set.
    ids: Vec<[String; 2]>,
}

impl Rig {
    fn start() -> Option<Self> {
        let (document, seen) = (Document::read()?, BTreeSet::new());
        Some(Self { sides: Sides::start(config)?, document, seen, ids: Vec::new() })
    }

    /// Asks both; `{0}` in the path or body is the id of the first silence that was set, `{start of
    /// 0}` when it began.
    #[track_caller]
    fn ask(&mut self, expected: u16, method: &str, path: &str, body: &str) {
        let mut answers = Vec::new();
        for (place, side) in [&self.sides.theirs, &self.sides.ours].into_iter().enumerate() {
            let named = |text: &str| {
                let ids = self.ids.iter().enumerate();
                ids.fold(text.to_owned(), |text, (n, ids)| {
                    let text = text.replace(&format!("{{{n}}}"), &ids[place]);
                    let start = format!("{{start of {n}}}");
                    if !text.contains(&start) {
                        return text;
                    }
                    let silence = side.json(&format!("/api/v2/silence/{}", ids[place]));
                    text.replace(&start, silence["startsAt"].as_str().unwrap())
                })
            };
            let (path, body) = (named(path), named(body));
            answers.push((answer(side, method, &path, &body), path));
        }
        let [((their_status, their_kind, theirs), _), ((status, kind, ours), our_path)] =
            <[_; 2]>::try_from(answers).unwrap();
        let what = format!("{method} {path} {body}\ntheirs: {theirs}\nours: {ours}");
        assert_eq!((status, their_status), (expected, expected), "{what}");
        // Of some faults Alertmanager says nothing, and we say what it is.
        if !theirs.is_empty() {
            assert_eq!(comparable(status, &ours), comparable(status, &theirs), "{what}");
            let media = |kind: &str| kind.split(';').next().unwrap().to_owned();
            assert_eq!(media(&kind), media(&their_kind), "{what}");
        }
        if our_path.starts_with("/api/v2/") {
            let (name, faults) = self.document.check(method, &our_path, status, &ours);
            let (_, their_faults) = self.document.check(method, &our_path, status, &theirs);
            assert!(faults.is_empty() || !their_faults.is_empty(), "{what}\n{faults:?}");
            if faults.is_empty() {
                self.seen.insert(name);
            }
        }
        if let (Ok(ours), Ok(theirs)) =
            (serde_json::from_str::<Value>(&ours), serde_json::from_str::<Value>(&theirs))
            && let (Some(ours), Some(theirs)) =
                (ours["silenceID"].as_str(), theirs["silenceID"].as_str())
        {
            self.ids.push([theirs.to_owned(), ours.to_owned()]);
        }
    }

    /// Puts in alerts in every state.
    fn fill(&mut self) {
        let alert = |name: &str, team: &str| {
            json!({
                "labels": {"alertname": name, "team": team}, "annotations": {"summary": "é \"x\""},
                "startsAt": "2026-01-01T00:00:00Z", "endsAt": "2099-01-01T00:00:00Z",
                "generatorURL": "http://grafana:3000/alerting/grafana/x/view?orgId=1",
            })
        };
        let alerts = [
            alert("Free", "db"),
            alert("Known", "web"),
            alert("Cause", "web"),
            alert("Effect", "web"),
            alert("Quiet", "night"),
            json!({"labels": {"alertname": "Bare", "with space": "x"}}),
        ];
        let known = silence("Kn.wn", "2020-01-01T00:00:00.000Z").to_string();
        self.ask(200, "POST", "/api/v2/silences", &known);
        self.ask(200, "POST", "/api/v2/alerts", &json!(alerts).to_string());
        let sides = &self.sides;
        wait_until("both hold back the same", || {
            held(&sides.theirs) == held(&sides.ours) && held(&sides.ours).len() == 2
        });
        wait_until("a route is mute", || {
            let groups = sides.theirs.json("/api/v2/alerts/groups").to_string();
            groups.contains(r#""mutedBy":["always"]"#)
        });
        let ours = sides.ours.json("/api/v2/alerts").to_string();
        assert!(ours.contains(r#""mutedBy":["always"]"#), "{ours}");
    }
}

#[test]
fn karma_and_grafana_are_answered_as_the_document_says_and_alertmanager_does() {
    let Some(mut rig) = Rig::start() else { return };
    // Karma asks for the version first, and there.
    for side in rig.sides.both() {
        let (status, _, body) = answer(side, "GET", "/metrics", "");
        let info = body.lines().find(|line| line.starts_with("alertmanager_build_info{")).unwrap();
        assert!(status == 200 && info.contains("version=\"0.33.1\"") && info.ends_with(" 1"));
    }
    rig.ask(200, "GET", "/api/v2/alerts/groups", "");
    rig.ask(200, "GET", "/api/v2/silences", "");
    rig.fill();
    for path in [
        "/api/v2/status",
        "/api/v2/silences",
        "/api/v2/alerts/groups",
        "/-/ready",
        "/-/healthy",
        "/api/v2/alerts",
        "/api/v2/receivers",
    ] {
        rig.ask(200, "GET", path, "");
    }
    // What the pages of Grafana filter by.
    for filter in [
        "active=true",
        "active=false",
        "silenced=false",
        "inhibited=false",
        "active=false&silenced=true&inhibited=true",
        "active=true&silenced=false&inhibited=false&unprocessed=false",
        "filter=alertname%3D%22Free%22",
        "filter=team%3D~%22web%7Cdb%22&filter=alertname!%3DKnown",
        "filter=%22with%20space%22%3D%22x%22",
        "receiver=db",
        "receiver=ops%7Cnight",
        "receiver_matchers=owner%3D%22anne%22",
        "receiver_matchers=owner%3D~%22.%2B%22&receiver_matchers=tier%3D",
        "receiver_matchers=name%3Dnight",
        "receiver_matchers=owner%3Danne&receiver=db",
    ] {
        rig.ask(200, "GET", &format!("/api/v2/alerts?{filter}"), "");
        rig.ask(200, "GET", &format!("/api/v2/alerts/groups?{filter}"), "");
    }
    for query in ["muted=false", "muted=false&silenced=false", "muted=true&active=false"] {
        rig.ask(200, "GET", &format!("/api/v2/alerts/groups?{query}"), "");
    }
    for matcher in ["owner%3Danne", "owner!%3Danne", "tier%3D", "name%3D~%22o.*%22"] {
        rig.ask(200, "GET", &format!("/api/v2/receivers?receiver_matchers={matcher}"), "");
    }
    // Silences, set, changed and ended, and those that are still to come.
    let later = silence("Later", "2098-01-01T00:00:00.000Z").to_string();
    rig.ask(200, "POST", "/api/v2/silences", &later);
    let mut changed = silence("Kn.wn", "{start of 0}");
    changed["id"] = json!("{0}");
    changed["comment"] = json!("another text");
    rig.ask(200, "POST", "/api/v2/silences", &changed.to_string());
    rig.ask(200, "GET", "/api/v2/silence/{0}", "");
    rig.ask(200, "DELETE", "/api/v2/silence/{1}", "");
    rig.ask(200, "DELETE", "/api/v2/silence/{1}", "");
    for filter in ["", "?filter=alertname%3D%22Later%22", "?filter=alertname%3D~%22Kn.wn%22"] {
        rig.ask(200, "GET", &format!("/api/v2/silences{filter}"), "");
    }
    // What the document says of these 0.33 does not do yet.
    for (flags, expected) in [
        ("", &["active", "expired"][..]),
        ("expired=false", &["active"]),
        ("active=false", &["expired"]),
        ("active=false&pending=false", &["expired"]),
        ("active=false&expired=false", &[]),
    ] {
        let silences = rig.sides.ours.json(&format!("/api/v2/silences?{flags}"));
        let silences = silences.as_array().unwrap().iter();
        let states: Vec<_> = silences.map(|silence| &silence["status"]["state"]).collect();
        assert_eq!(states, expected, "{flags}");
    }

    // What cannot be answered.
    let unknown = "9b1d4b9e-0000-4000-8000-000000000000";
    let mut nobody = silence("x", "2020-01-01T00:00:00.000Z");
    nobody["id"] = json!(unknown);
    let empty = json!([{"labels": {}}]).to_string();
    let past = json!({
        "matchers": [{"name": "a", "value": "b", "isRegex": false}], "startsAt": "2020-01-01T00:00:00Z",
        "endsAt": "2020-01-02T00:00:00Z", "createdBy": "x", "comment": "y",
    });
    for (status, method, path, body) in [
        (400, "GET", "/api/v2/alerts?filter=(", ""),
        (400, "GET", "/api/v2/alerts?receiver=(", ""),
        (400, "GET", "/api/v2/alerts?receiver_matchers=(", ""),
        (400, "GET", "/api/v2/alerts/groups?filter=%7B", ""),
        (400, "GET", "/api/v2/receivers?receiver_matchers=(", ""),
        (400, "GET", "/api/v2/receivers?receiver_matchers=", ""),
        (400, "GET", "/api/v2/silences?filter=(", ""),
        (400, "POST", "/api/v2/alerts", &empty),
        (400, "POST", "/api/v2/alerts", "{"),
        (422, "POST", "/api/v2/alerts", "[{}]"),
        (400, "POST", "/api/v2/silences", &past.to_string()),
        (422, "POST", "/api/v2/silences", "{}"),
        (404, "POST", "/api/v2/silences", &nobody.to_string()),
        (404, "GET", &format!("/api/v2/silence/{unknown}"), ""),
        (404, "DELETE", &format!("/api/v2/silence/{unknown}"), ""),
        (422, "GET", "/api/v2/silence/nonsense", ""),
    ] {
        rig.ask(status, method, path, body);
    }
    // By that path Grafana finds out whether it speaks to Mimir.
    for side in rig.sides.both() {
        assert_eq!(answer(side, "GET", "/alertmanager/api/v2/status", "").0, 404);
    }
    // Of the rest only those that say that the server itself failed.
    let unseen: Vec<_> = rig.document.answers().difference(&rig.seen).cloned().collect();
    assert!(unseen.iter().all(|name| name.ends_with(" 500")), "{unseen:?}");
}
