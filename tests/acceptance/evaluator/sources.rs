//! Builds and foreign monitors that post in their own words, by the real program.
//!
//! Invariant: what is expected of a message is what its sender and the receiver see.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use tests::http_server::HttpServer;
use tests::{ask, curl, wait_until};

use crate::rig::Evaluator;

const TOKEN: &str = "0123456789abcdef0123";

/// With the sources of `docs/sources.md`, and others beside them.
fn config(sink: &HttpServer) -> String {
    let document = include_str!("../../../docs/sources.md");
    let sources = document.split("```yaml\n# veilleur.yml\n").nth(1).unwrap();
    let sources = sources.split("```").next().unwrap();
    format!(
        "{sources}\
         - {{name: hub, labels: {{alertname: HubFailed}}, signature: {{secret: {TOKEN}, header: X-Hub-Signature-256, prefix: 'sha256='}}}}\n\
         - {{name: graf, kind: grafana, token: {TOKEN}, max_alerts: 3}}\n\
         - {{name: zabbix, kind: zabbix, token: {TOKEN}}}\n\
         route: {{receiver: sink, group_by: ['...'], group_wait: 0s, group_interval: 1s}}\n\
         receivers: [{{name: sink, webhook_configs: [{{url: '{}'}}]}}]\n",
        sink.url("/")
    )
}

/// `NAME source status` of every alert that the sink was told of.
fn told(sink: &HttpServer) -> Vec<String> {
    let (mut told, mut ids) = (Vec::new(), BTreeSet::new());
    for message in sink.asked() {
        // What was on its way when we were killed comes again, under its id.
        if !ids.insert(message.json()["notificationId"].to_string()) {
            continue;
        }
        for alert in message.json()["alerts"].as_array().unwrap() {
            let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
            let labels = &alert["labels"];
            told.push(format!(
                "{} {} {}",
                text(&labels["alertname"]),
                text(&labels["source"]),
                text(&alert["status"])
            ));
        }
    }
    told
}

fn post(evaluator: &Evaluator, name: &str, headers: &[&str], body: &str) -> (u16, Value) {
    let url = format!("http://127.0.0.1:{}/api/v1/in/{name}", evaluator.port);
    evaluator.write("body", body);
    let file = format!("@{}", evaluator.path("body").display());
    let mut arguments = vec!["-X", "POST", "--data-binary", file.as_str(), url.as_str()];
    for header in headers {
        arguments.extend(["-H", header]);
    }
    let (_, status, body) = curl(&arguments);
    (status, serde_json::from_str(&body).unwrap_or_default())
}

#[test]
fn what_others_say_takes_the_routes_and_is_on_the_disk() {
    let sink = HttpServer::sink();
    let mut evaluator = Evaluator::with(&config(&sink));
    let bearer = format!("authorization: Bearer {TOKEN}");
    // The example of the document.
    let backup = |state: &str| {
        format!(
            "{{\"state\": \"{state}\", \"host\": {{\"name\": \"db1\"}}, \"message\": \"no space left\"}}"
        )
    };
    let (status, said) = post(&evaluator, "backups", &[&bearer], &backup("failed"));
    assert_eq!(status, 200, "{said}");
    assert_eq!(said["data"], json!({"firing": 1, "resolved": 0, "ignored": 0, "replayed": false}));
    wait_until("it is told", || told(&sink) == ["BackupFailed backups firing"]);
    let alert = &sink.asked()[0].json()["alerts"][0];
    assert_eq!(alert["labels"]["host"], "db1");
    assert_eq!(alert["annotations"]["summary"], "no space left");
    let pipeline = |status: &str| {
        json!({"object_kind": "pipeline", "object_attributes": {"id": 1, "ref": "main", "status": status},
               "project": {"path_with_namespace": "web/shop"}}).to_string()
    };
    let gitlab = format!("x-gitlab-token: {TOKEN}");
    assert_eq!(post(&evaluator, "ci", &[&gitlab], &pipeline("failed")).0, 200);
    assert_eq!(post(&evaluator, "ci", &[&gitlab], &pipeline("running")).1["data"]["ignored"], 1);
    wait_until("the build is told", || {
        told(&sink).contains(&"PipelineFailed ci firing".to_owned())
    });
    let problem =
        json!({"event_id": "7", "event_value": "1", "event_name": "Disk is full", "host": "db1"});
    assert_eq!(post(&evaluator, "zabbix", &[&bearer], &problem.to_string()).0, 200);
    wait_until("the problem is told", || {
        told(&sink).contains(&"Disk is full zabbix firing".to_owned())
    });
    // After `kill -9` their ends still end them.
    evaluator.kill();
    evaluator.start();
    let recovery = json!({"event_id": "7", "event_value": "0", "event_name": "Disk is full"});
    assert_eq!(
        post(&evaluator, "zabbix", &[&bearer], &recovery.to_string()).1["data"]["resolved"],
        1
    );
    assert_eq!(post(&evaluator, "ci", &[&gitlab], &pipeline("success")).1["data"]["resolved"], 1);
    assert_eq!(post(&evaluator, "backups", &[&bearer], &backup("ok")).1["data"]["resolved"], 1);
    for end in [
        "Disk is full zabbix resolved",
        "PipelineFailed ci resolved",
        "BackupFailed backups resolved",
    ] {
        wait_until(end, || told(&sink).contains(&end.to_owned()));
    }
    assert_eq!(told(&sink).len(), 6);
}

#[test]
fn nobody_ends_what_a_rule_or_a_source_says_x50() {
    let sink = HttpServer::sink();
    let rules = "global: {evaluation_interval: 1s}\nrule_files: [r.yml]\n";
    let mut evaluator = Evaluator::new();
    let rule =
        "groups: [{name: g, rules: [{alert: Fires, expr: vector(1), labels: {source: us}}]}]";
    evaluator.write("r.yml", rule);
    evaluator.write("veilleur.yml", &format!("{rules}{}", config(&sink)));
    evaluator.start();
    let bearer = format!("authorization: Bearer {TOKEN}");
    let failed = "{\"state\": \"failed\", \"host\": {\"name\": \"db1\"}}";
    assert_eq!(post(&evaluator, "backups", &[&bearer], failed).0, 200);
    let of = |name: &str| told(&sink).into_iter().filter(|told| told.contains(name)).count();
    wait_until("both are told", || of("Fires us firing") == 1 && of("backups firing") == 1);

    // Whoever can reach the API says that they have ended: for all that they know, with their labels.
    let shown: Value = serde_json::from_str(&evaluator.get("/api/v2/alerts").unwrap().1).unwrap();
    let push = |labels: &Value, ends: &str| {
        let alert = json!([{"labels": labels, "startsAt": "2020-01-01T00:00:00Z", "endsAt": ends}]);
        let url = format!("http://127.0.0.1:{}/api/v2/alerts", evaluator.port);
        ask("POST", &url, "content-type: application/json\r\n", &alert.to_string()).unwrap().0
    };
    let status = |name: &str| {
        let alerts = shown.as_array().unwrap().iter();
        let mut found = alerts.filter(|alert| alert["labels"]["source"] == name);
        push(&found.next().unwrap()["labels"], "2020-01-02T00:00:00Z")
    };
    assert_eq!((status("us"), status("backups")), (200, 400));
    // What comes after it is told, and they were not.
    push(&json!({"alertname": "Later"}), "2999-01-01T00:00:00Z");
    wait_until("what is pushed later is told", || of("Later") == 1);
    assert_eq!(told(&sink).iter().filter(|told| told.contains("resolved")).count(), 0);
    let still: Value = serde_json::from_str(&evaluator.get("/api/v2/alerts").unwrap().1).unwrap();
    assert_eq!(still.as_array().unwrap().len(), 3, "{still}");
}

#[test]
fn bad_messages_have_their_status_and_nothing_of_them_is_taken_x27_x50() {
    let sink = HttpServer::sink();
    let evaluator = Evaluator::with(&config(&sink));
    let bearer = format!("authorization: Bearer {TOKEN}");
    let check = |name: &str, headers: &[&str], body: &str, expected: u16| {
        let (status, said) = post(&evaluator, name, headers, body);
        let start: String = body.chars().take(60).collect();
        assert_eq!(status, expected, "{name} {headers:?} {start}: {said}");
    };
    let good = "{\"state\": \"failed\", \"host\": {\"name\": \"db1\"}}";
    check("backups", &[], good, 401);
    check("backups", &["authorization: Bearer wrong"], good, 401);
    check("nobody", &[&bearer], good, 404);
    check("aws", &[&bearer], good, 400);
    check(
        "aws",
        &[],
        "{\"Type\": \"Notification\", \"TopicArn\": \"arn:aws:sns:eu-west-1:1:other\"}",
        401,
    );
    check("backups", &[&bearer], "{", 400);
    check("backups", &[&bearer], "", 400);
    check("backups", &[&bearer], &"[".repeat(200_000), 400);
    check("backups", &[&bearer], &format!("\"{}\"", "x".repeat(1 << 20)), 413);
    check("graf", &[&bearer], "{\"alerts\": [{\"status\": \"firing\"}]}", 400);
    check("graf", &[&bearer], "{\"alerts\": 5}", 400);
    // The second is wrong, so the first is not taken either.
    let half = "{\"alerts\": [{\"status\": \"firing\", \"labels\": {\"alertname\": \"x\"}}, {\"status\": \"?\"}]}";
    check("graf", &[&bearer], half, 400);
    // More than it may, by labels that change.
    let many: Vec<_> = (0..4)
        .map(|n| json!({"status": "firing", "labels": {"alertname": "x", "n": n.to_string()}}))
        .collect();
    check("graf", &[&bearer], &json!({ "alerts": many }).to_string(), 429);
    check("graf", &[&bearer, "origin: http://evil.example"], "{\"alerts\": []}", 403);
    assert_eq!(evaluator.get("/api/v1/in/backups").unwrap().0, 405);
    assert_eq!(evaluator.get("/api/v2/alerts").unwrap().1, "[]");

    let signature = |body: &str| {
        let key = "0123456789abcdef0123";
        let script = "import hmac,sys;print(hmac.new(sys.argv[1].encode(),sys.argv[2].encode(),'sha256').hexdigest())";
        let done =
            std::process::Command::new("python3").args(["-c", script, key, body]).output().unwrap();
        format!("X-Hub-Signature-256: sha256={}", String::from_utf8_lossy(&done.stdout).trim())
    };
    let body = "{\"id\": 1}";
    check("hub", &[&signature("{\"id\": 2}")], body, 401);
    check("hub", &["X-Hub-Signature-256: sha256=zz"], body, 401);
    check("hub", &[&bearer], body, 401);
    let (status, said) = post(&evaluator, "hub", &[&signature(body)], body);
    assert_eq!((status, said["data"]["firing"].as_i64()), (200, Some(1)), "{said}");
    let (status, said) = post(&evaluator, "hub", &[&signature(body)], body);
    assert_eq!((status, said["data"]["replayed"].as_bool()), (200, Some(true)), "{said}");

    // Hostile labels are harmless, and no metric of ours has them.
    let hostile = json!({"alerts": [{"status": "firing", "labels": {
        "alertname": "<script>alert(1)</script>", "__address__": "x", "a b\r\nc": "y\u{202e}", "source": "ci"},
        "annotations": {"link": "javascript:alert(1)"}, "generatorURL": "javascript:alert(1)"}]});
    check("graf", &[&bearer], &hostile.to_string(), 200);
    let alerts: Value = serde_json::from_str(&evaluator.get("/api/v2/alerts").unwrap().1).unwrap();
    let alert =
        alerts.as_array().unwrap().iter().find(|a| a["labels"]["source"] == "graf").unwrap();
    let labels = json!({"alertname": "<script>alert(1)</script>", "a_b__c": "y", "source": "graf"});
    assert_eq!((&alert["labels"], alert["generatorURL"].as_str().unwrap_or("")), (&labels, ""));
    let metrics = evaluator.get("/metrics").unwrap().1;
    assert!(
        metrics.contains("veilleur_source_messages_total{result=\"refused\",source=\"graf\"}"),
        "{metrics}"
    );
    assert!(!metrics.contains("\"nobody\"") && !metrics.contains("<script"), "{metrics}");
}

#[test]
fn sources_ask_in_their_own_way_and_open_nothing_else_x28() {
    let sink = HttpServer::sink();
    let evaluator = {
        let hash = "$2b$05$abcdefghijklmnopqrstuupWDwJQeCHYIBQy8WvkVB6ImhZ476YYy";
        let mut evaluator = Evaluator::new();
        let web = format!(
            "web: {{basic_auth_users: {{anne: '{hash}'}}, unauthenticated_paths: [/-/ready]}}\n"
        );
        evaluator.write("veilleur.yml", &format!("{}{web}", config(&sink)));
        evaluator.start();
        evaluator
    };
    let bearer = format!("authorization: Bearer {TOKEN}");
    let body = "{\"state\": \"failed\", \"host\": {\"name\": \"db1\"}}";
    assert_eq!(post(&evaluator, "backups", &[&bearer], body).0, 200);
    assert_eq!(post(&evaluator, "backups", &[], body).0, 401);
    assert_eq!(post(&evaluator, "nobody", &[&bearer], body).0, 401);
    assert_eq!(post(&evaluator, "backups/", &[&bearer], body).0, 401);
    assert_eq!(post(&evaluator, "%2e%2e/silences", &[&bearer], "{}").0, 401);
    for path in ["/", "/api/v1/silences", "/api/v1/maintenance", "/api/v2/alerts"] {
        assert_eq!(evaluator.get(path).unwrap().0, 401, "{path}");
    }
}

/// An envelope of SNS about an alarm in `state`, signed by the key in the evaluator's folder.
fn envelope(evaluator: &Evaluator, id: &str, state: &str, topic: &str) -> String {
    let message = json!({"AlarmName": "queue too long", "NewStateValue": state,
        "AlarmArn": "arn:aws:cloudwatch:eu-west-1:123456789012:alarm:queue too long"})
    .to_string();
    let now = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%S.000Z").to_string();
    let fields = [
        ("Message", message.as_str()),
        ("MessageId", id),
        ("Timestamp", &now),
        ("TopicArn", topic),
        ("Type", "Notification"),
    ];
    let signed: String = fields.iter().map(|(name, text)| format!("{name}\n{text}\n")).collect();
    evaluator.write("signed", &signed);
    let path = |name: &str| evaluator.path(name).display().to_string();
    openssl(&[
        "dgst",
        "-sha256",
        "-sign",
        &path("key.pem"),
        "-out",
        &path("signature"),
        &path("signed"),
    ]);
    openssl(&["base64", "-A", "-in", &path("signature"), "-out", &path("signature.txt")]);
    let mut body: Value = fields.iter().map(|(name, text)| (*name, *text)).collect();
    body["SignatureVersion"] = json!("2");
    body["Signature"] = json!(std::fs::read_to_string(path("signature.txt")).unwrap());
    body["SigningCertURL"] = json!("https://sns.eu-west-1.amazonaws.com/x.pem");
    body.to_string()
}

fn openssl(arguments: &[&str]) {
    let done = std::process::Command::new("openssl").args(arguments).output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
}

#[test]
fn an_alarm_of_cloudwatch_comes_signed_by_sns_and_is_taken_once() {
    let sink = HttpServer::sink();
    let mut evaluator = Evaluator::new();
    let path = |name: &str| evaluator.path(name).display().to_string();
    openssl(&[
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-keyout",
        &path("key.pem"),
        "-out",
        &path("sns.pem"),
        "-days",
        "2",
        "-subj",
        "/CN=sns.amazonaws.com",
    ]);
    let signed = "confirm_subscription: true\n  certificate_file: sns.pem";
    let config = config(&sink).replace("confirm_subscription: true", signed);
    evaluator.write("veilleur.yml", &config);
    evaluator.start();
    let topic = "arn:aws:sns:eu-west-1:123456789012:alarms";
    let alarm = envelope(&evaluator, "1", "ALARM", topic);
    let take = |body: &str| {
        let (status, said) = post(&evaluator, "aws", &["content-type: text/plain"], body);
        (status, said["data"]["firing"].as_i64(), said["data"]["replayed"].as_bool())
    };
    assert_eq!(take(&alarm), (200, Some(1), Some(false)));
    wait_until("it is told", || told(&sink) == ["queue too long aws firing"]);
    assert_eq!(sink.asked()[0].json()["alerts"][0]["labels"]["region"], "eu-west-1");
    assert_eq!(take(&alarm), (200, Some(0), Some(true)));
    assert_eq!(take(&alarm.replace("ALARM", "OK")).0, 401);
    assert_eq!(take(&envelope(&evaluator, "2", "OK", "arn:aws:sns:eu-west-1:1:other")).0, 401);
    assert_eq!(
        take(&envelope(&evaluator, "3", "INSUFFICIENT_DATA", topic)),
        (200, Some(0), Some(false))
    );
    assert_eq!(take(&envelope(&evaluator, "4", "OK", topic)), (200, Some(0), Some(false)));
    wait_until("its end is told", || told(&sink).len() == 2);
    // What fired before and is sent again by a stranger fires nothing.
    assert_eq!(take(&alarm), (200, Some(0), Some(true)));
    assert_eq!(told(&sink)[1], "queue too long aws resolved");
}
