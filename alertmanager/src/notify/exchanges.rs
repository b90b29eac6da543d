//! Whole exchanges of pagers and tickets with a service that answers as it is documented, and with
//! one that does not.
//!
//! Invariant: every notifier of these goes through the same table of misbehaviour, at each of the
//! requests that a message takes.

use serde_json::{Value, json};

use super::notifier::{Notification, Notifier};
use super::paging::{ServiceGlobals, group_id};
use super::sink::{Asked, Judges, Reply, SECRET, Sink, flood, hostile, misbehave, misbehave_but};
use super::sink::{outcome, shared, written};
use super::texts::tests::notification;
use super::*;

/// Makes a notifier of its configuration; globals are none.
macro_rules! built {
    ($config:ty, $yaml:expr, |$written:ident, $place:ident, $shared:ident, $faults:ident| $build:expr) => {{
        let (config, mut diagnostics) = written::<$config>(&$yaml);
        let ($written, $place) = (config.value, config.place);
        let notifier = shared(|$shared| {
            let $faults = &mut diagnostics;
            $build
        });
        assert_eq!(diagnostics.to_string(), "", "{}", $yaml);
        notifier.unwrap()
    }};
}

fn pagerduty(url: &str, key: &str) -> PagerdutyNotifier {
    let yaml = format!("{{url: '{url}/enqueue', {key}: {SECRET}}}");
    let none = ServiceGlobals::default();
    built!(PagerdutyConfig, yaml, |config, place, shared, faults| config
        .build(place, none, shared, faults))
}

fn opsgenie(url: &str, more: &str) -> OpsgenieNotifier {
    let yaml = format!("{{api_url: '{url}', api_key: {SECRET}{more}}}");
    let none = ServiceGlobals::default();
    built!(OpsgenieConfig, yaml, |config, place, shared, faults| config
        .build(place, none, shared, faults))
}

fn victorops(url: &str) -> VictoropsNotifier {
    let yaml = format!("{{api_url: '{url}/alert', api_key: {SECRET}, routing_key: a b}}");
    let none = ServiceGlobals::default();
    built!(VictoropsConfig, yaml, |config, place, shared, faults| config
        .build(place, none, shared, faults))
}

fn pushover(url: &str) -> PushoverNotifier {
    let yaml =
        format!("{{api_url: '{url}/1/messages.json', token: {SECRET}-t, user_key: {SECRET}-u}}");
    built!(PushoverConfig, yaml, |config, place, shared, faults| config
        .build(place, shared, faults))
}

fn sns(url: &str, role: &str) -> SnsNotifier {
    let yaml = format!(
        "{{api_url: '{url}/', topic_arn: 'arn:aws:sns:eu-west-1:1:t', \
         sigv4: {{access_key: AK, secret_key: {SECRET}{role}}}}}"
    );
    built!(SnsConfig, yaml, |config, place, shared, faults| config.build(place, shared, faults))
}

fn wechat(url: &str) -> WechatNotifier {
    let yaml = format!("{{api_url: '{url}/cgi-bin', api_secret: {SECRET}, corp_id: c}}");
    let none = ServiceGlobals::default();
    built!(WechatConfig, yaml, |config, place, shared, faults| config
        .build(place, none, None, shared, faults))
}

fn jira(url: &str) -> JiraNotifier {
    let yaml = format!(
        "{{api_url: '{url}/rest/api/2', project: OPS, issue_type: Bug, comment: '{{{{ .Status }}}}', \
         resolve_transition: Done, reopen_transition: Reopen, reopen_duration: 1h, \
         http_config: {{basic_auth: {{username: u, password: {SECRET}}}}}}}"
    );
    let none = ServiceGlobals::default();
    built!(JiraConfig, yaml, |config, place, shared, faults| config
        .build(place, none, shared, faults))
}

fn servicenow(url: &str) -> ServicenowNotifier {
    let yaml = format!(
        "{{api_url: '{url}', http_config: {{basic_auth: {{username: u, password: {SECRET}}}}}}}"
    );
    built!(ServicenowConfig, yaml, |config, place, shared, faults| config
        .build(place, shared, faults))
}

fn incidentio(url: &str) -> IncidentioNotifier {
    let yaml = format!("{{url: '{url}/{SECRET}', alert_source_token: {SECRET}}}");
    built!(IncidentioConfig, yaml, |config, place, shared, faults| config
        .build(place, shared, faults))
}

/// The message that all is over, with what the service called the first.
fn over(reference: Option<&str>) -> Notification {
    let mut message = notification();
    message.alerts.remove(0);
    Notification { reference: reference.map(str::to_owned), ..message }
}

/// Hands over a message, expects it to be taken, and returns what was asked and the reference.
async fn taken(
    notifier: &dyn Notifier,
    sink: &Sink,
    message: &Notification,
    replies: &[Reply],
) -> (Vec<Asked>, Option<String>) {
    let (asked, result) = sink.hand_over(notifier, message, replies).await;
    let lines: Vec<_> = asked.iter().map(Asked::line).collect();
    assert_eq!(outcome(&result), "taken", "{result:?} {lines:?}");
    assert_eq!(asked.len(), replies.len(), "{lines:?}");
    (asked, result.unwrap().reference)
}

fn lines(asked: &[Asked]) -> Vec<String> {
    asked.iter().map(Asked::line).collect()
}

fn sns_took() -> Reply {
    Reply::text(200, "<PublishResponse><MessageId>m</MessageId></PublishResponse>")
}

#[tokio::test]
async fn pagers_tell_their_secret_in_the_place_for_it() {
    let sink = Sink::start().await;
    let success = || Reply::json(202, json!({"status": "success", "message": "Event processed"}));
    let pager = pagerduty(&sink.url(), "routing_key");
    let (asked, _) = taken(&pager, &sink, &notification(), &[success()]).await;
    assert_eq!(lines(&asked), ["POST /enqueue"]);
    assert_eq!(asked[0].json()["routing_key"], SECRET);
    assert_eq!(asked[0].headers["content-type"], "application/json");

    let reply = Reply::json(200, json!({"result": "success", "entity_id": "x"}));
    let (asked, _) = taken(&victorops(&sink.url()), &sink, &notification(), &[reply]).await;
    assert_eq!(lines(&asked), [format!("POST /alert/{SECRET}/a%20b")]);

    let reply = Reply::json(202, json!({"status": "success", "message": "accepted"}));
    let (asked, _) = taken(&incidentio(&sink.url()), &sink, &notification(), &[reply]).await;
    assert_eq!(asked[0].headers["authorization"], format!("Bearer {SECRET}"));

    let reply =
        || Reply::json(202, json!({"result": "Request will be processed", "requestId": "r"}));
    let pager = opsgenie(&sink.url(), ", update_alerts: true");
    let replies = [reply(), reply(), reply()];
    let (asked, _) = taken(&pager, &sink, &notification(), &replies).await;
    assert_eq!(asked[0].headers["authorization"], format!("GenieKey {SECRET}"));
    let id = group_id(&notification());
    let of = |what: &str| format!("/v2/alerts/{id}/{what}?identifierType=alias");
    let message = format!("PUT {}", of("message"));
    let description = format!("PUT {}", of("description"));
    assert_eq!(lines(&asked), ["POST /v2/alerts".to_owned(), message, description]);
    let (asked, _) = taken(&pager, &sink, &over(None), &[reply()]).await;
    assert_eq!(lines(&asked), [format!("POST {}", of("close"))]);
}

#[tokio::test]
async fn the_end_stops_an_emergency_first() {
    let sink = Sink::start().await;
    let phone = pushover(&sink.url());
    let emergency = Reply::json(200, json!({"status": 1, "request": "q", "receipt": "r3c"}));
    let (asked, reference) = taken(&phone, &sink, &notification(), &[emergency]).await;
    assert_eq!(lines(&asked), ["POST /1/messages.json"]);
    let form = format!(
        "token={SECRET}-t&user={SECRET}-u&title=%5BFIRING%3A1%5D%20CheckFailed%20on%20web%3A1%2C%20since%20"
    );
    assert!(asked[0].body.starts_with(&form), "{}", asked[0].body);
    assert_eq!(asked[0].headers["content-type"], "application/x-www-form-urlencoded");
    assert_eq!(reference.as_deref(), Some("r3c"));

    let message = || Reply::json(200, json!({"status": 1, "request": "q"}));
    // A change is an emergency of its own, which takes the place of the first, come what may.
    let change = Notification { reference: reference.clone(), ..notification() };
    for cancelled in [message(), Reply::text(500, "")] {
        let next = Reply::json(200, json!({"status": 1, "receipt": "r4"}));
        let (asked, reference) = taken(&phone, &sink, &change, &[next, cancelled]).await;
        assert_eq!(lines(&asked), ["POST /1/messages.json", "POST /1/receipts/r3c/cancel.json"]);
        assert_eq!(reference.as_deref(), Some("r4"));
    }
    let end = over(reference.as_deref());
    let (asked, reference) = taken(&phone, &sink, &end, &[message(), message()]).await;
    assert_eq!(lines(&asked), ["POST /1/receipts/r3c/cancel.json", "POST /1/messages.json"]);
    assert_eq!(reference, None);
    // A receipt that has expired keeps nobody from hearing of the end.
    let expired = Reply::json(404, json!({"status": 0, "errors": ["receipt not found"]}));
    taken(&phone, &sink, &end, &[expired, message()]).await;
    let (asked, result) = sink.hand_over(&phone, &end, &[Reply::text(500, "")]).await;
    assert_eq!((asked.len(), outcome(&result)), (1, "again".to_owned()));
}

#[tokio::test]
async fn an_issue_is_created_updated_resolved_and_reopened() {
    let sink = Sink::start().await;
    let tickets = jira(&sink.url());
    let issue =
        |key: &str| json!({"key": "OPS-7", "fields": {"status": {"statusCategory": {"key": key}}}});
    let found = |issues: Value| Reply::json(200, json!({"issues": issues}));
    let none = || Reply::Answer(204, Vec::new(), Vec::new());
    let commented = || Reply::json(201, json!({"id": "1"}));
    let ways = || {
        Reply::json(
            200,
            json!({"transitions": [
                {"id": "11", "name": "Reopen"}, {"id": "31", "name": "Done"},
            ]}),
        )
    };

    let created = Reply::json(201, json!({"id": "1", "key": "OPS-7"}));
    let replies = [found(json!([])), created];
    let (asked, reference) = taken(&tickets, &sink, &notification(), &replies).await;
    assert_eq!(lines(&asked), ["POST /rest/api/2/search", "POST /rest/api/2/issue"]);
    assert!(asked[0].headers["authorization"].starts_with("Basic "));
    assert_eq!(reference.as_deref(), Some("OPS-7"));

    // The issue is known, whether or not a search would find it already.
    let update = Notification { reference, ..notification() };
    let replies = [Reply::json(200, issue("new")), none(), commented()];
    let (asked, reference) = taken(&tickets, &sink, &update, &replies).await;
    let base = "/rest/api/2/issue/OPS-7";
    let known = format!("GET {base}?fields=status");
    let (put, comment) = (format!("PUT {base}"), format!("POST {base}/comment"));
    assert_eq!(lines(&asked), [known.clone(), put.clone(), comment.clone()]);
    assert_eq!(asked[2].json(), json!({"body": "firing"}));
    assert_eq!(reference.as_deref(), Some("OPS-7"));

    let replies = [Reply::json(200, issue("new")), none(), commented(), ways(), none()];
    let (asked, _) = taken(&tickets, &sink, &over(Some("OPS-7")), &replies).await;
    let (look, go) = (format!("GET {base}/transitions"), format!("POST {base}/transitions"));
    assert_eq!(
        lines(&asked),
        [known.clone(), put.clone(), comment.clone(), look.clone(), go.clone()]
    );
    assert_eq!(asked[4].json(), json!({"transition": {"id": "31"}}));

    // Done by somebody, or by us, not long ago.
    let search = "POST /rest/api/2/search".to_owned();
    let replies = [
        Reply::json(200, issue("done")),
        found(json!([issue("done")])),
        ways(),
        none(),
        none(),
        commented(),
    ];
    let (asked, _) = taken(&tickets, &sink, &update, &replies).await;
    assert_eq!(lines(&asked), [known, search, look, go, put, comment]);
    assert_eq!(asked[3].json(), json!({"transition": {"id": "11"}}));

    // Nobody hears of the end of what was never told.
    taken(&tickets, &sink, &over(None), &[found(json!([]))]).await;
    let missing = Reply::json(200, json!({"transitions": [{"id": "1", "name": "Start"}]}));
    let replies = [found(json!([issue("new")])), none(), commented(), missing];
    let (_, result) = sink.hand_over(&tickets, &over(None), &replies).await;
    let told = result.unwrap_err().to_string();
    assert!(
        told.contains("no transition `Done` from where OPS-7 stands; there are: Start"),
        "{told}"
    );
}

#[tokio::test]
async fn an_incident_is_created_updated_and_resolved() {
    let sink = Sink::start().await;
    let tickets = servicenow(&sink.url());
    let id = "46e18c0fa9fe19810066a0083f76bd56";
    let record = |state: &str| json!({"sys_id": id, "state": state});
    let one = |state: &str, status| Reply::json(status, json!({"result": record(state)}));
    let found = |records: Value| Reply::json(200, json!({"result": records}));
    let replies = [found(json!([])), one("1", 201)];
    let (asked, reference) = taken(&tickets, &sink, &notification(), &replies).await;
    assert!(asked[0].path.starts_with("/api/now/table/incident?sysparm_query=correlation_id%3D"));
    assert_eq!(asked[1].line(), "POST /api/now/table/incident");
    assert_eq!(reference.as_deref(), Some(id));
    let replies = [found(json!([record("6")])), one("2", 200)];
    let (asked, _) = taken(&tickets, &sink, &notification(), &replies).await;
    assert_eq!(asked[1].line(), format!("PATCH /api/now/table/incident/{id}"));
    assert_eq!(asked[1].json()["state"], "2");
    let replies = [found(json!([record("2")])), one("6", 200)];
    let (asked, _) = taken(&tickets, &sink, &over(Some(id)), &replies).await;
    assert!(asked[0].path.contains(&format!("sys_id%3D{id}%5Eactive%3Dtrue%5ENQcorrelation_id")));
    assert_eq!(asked[1].json()["state"], "6");
    taken(&tickets, &sink, &over(None), &[found(json!([]))]).await;
}

#[tokio::test]
async fn a_token_and_a_role_are_fetched_for_each_message() {
    let sink = Sink::start().await;
    let token = Reply::json(200, json!({"errcode": 0, "access_token": "t/k"}));
    let sent = Reply::json(200, json!({"errcode": 0, "errmsg": "ok"}));
    let (asked, _) = taken(&wechat(&sink.url()), &sink, &notification(), &[token, sent]).await;
    let get = format!("GET /cgi-bin/gettoken?corpid=c&corpsecret={SECRET}");
    assert_eq!(lines(&asked), [get, "POST /cgi-bin/message/send?access_token=t%2Fk".to_owned()]);

    let (asked, _) = taken(&sns(&sink.url(), ""), &sink, &notification(), &[sns_took()]).await;
    assert_eq!(asked[0].line(), "POST /");
    assert!(
        asked[0].body.starts_with("Action=Publish&Version=2010-03-31&TopicArn=arn%3Aaws%3Asns")
    );
    let authorization = &asked[0].headers["authorization"];
    assert!(authorization.starts_with("AWS4-HMAC-SHA256 Credential=AK/20231114/eu-west-1/sns/"));
    assert_eq!(asked[0].headers["x-amz-date"], "20231114T221500Z");

    let role = format!(", role_arn: r, external_id: e, sts_url: '{}/sts'", sink.url());
    let given = "<Credentials><AccessKeyId>RK</AccessKeyId><SecretAccessKey>s</SecretAccessKey>\
                 <SessionToken>tok</SessionToken></Credentials>";
    let replies = [Reply::text(200, given), sns_took()];
    let (asked, _) = taken(&sns(&sink.url(), &role), &sink, &notification(), &replies).await;
    assert_eq!(lines(&asked), ["POST /sts", "POST /"]);
    assert!(asked[0].body.contains("Action=AssumeRole") && asked[0].body.contains("ExternalId=e"));
    assert!(asked[1].headers["authorization"].contains("Credential=RK/"));
    assert_eq!(asked[1].headers["x-amz-security-token"], "tok");
}

#[tokio::test]
async fn nothing_but_the_service_confirms_a_message() {
    // F12, F14, X19, X48
    misbehave(Judges::Body, &[], |url| pagerduty(url, "routing_key")).await;
    let throttled = [("403", "again")];
    misbehave_but(&throttled, Judges::Body, &[], |url| pagerduty(url, "service_key")).await;
    misbehave(Judges::Body, &[], |url| opsgenie(url, "")).await;
    misbehave(Judges::Body, &[], victorops).await;
    misbehave(Judges::Body, &[], pushover).await;
    misbehave(Judges::Body, &[], |url| sns(url, "")).await;
    misbehave_but(&[("nothing", "taken")], Judges::Body, &[], incidentio).await;
    let token = [Reply::json(200, json!({"errcode": 0, "access_token": SECRET}))];
    misbehave(Judges::Body, &[], wechat).await;
    misbehave(Judges::Body, &token, wechat).await;
    let no_issue = [Reply::json(200, json!({"issues": []}))];
    misbehave(Judges::Body, &[], jira).await;
    misbehave(Judges::Body, &no_issue, jira).await;
    let no_incident = [Reply::json(200, json!({"result": []}))];
    misbehave(Judges::Body, &[], servicenow).await;
    misbehave(Judges::Body, &no_incident, servicenow).await;
}

#[tokio::test]
async fn hostile_and_huge_messages_are_sent_like_any_other() {
    // X16, F16: nothing panics, and nothing is over what services take of a request.
    let sink = Sink::start().await;
    let url = sink.url();
    let success =
        Reply::json(202, json!({"status": "success", "result": "success", "requestId": "r"}));
    let pagers: [Box<dyn Notifier>; 4] = [
        Box::new(pagerduty(&url, "routing_key")),
        Box::new(opsgenie(&url, "")),
        Box::new(victorops(&url)),
        Box::new(incidentio(&url)),
    ];
    for message in [hostile(), flood()] {
        for pager in &pagers {
            let (asked, _) = taken(&**pager, &sink, &message, std::slice::from_ref(&success)).await;
            assert!(asked[0].body.len() <= 512 << 10, "{pager:?}: {}", asked[0].body.len());
        }
        let reply = Reply::json(200, json!({"status": 1}));
        let (asked, _) = taken(&pushover(&url), &sink, &message, &[reply]).await;
        assert!(asked[0].body.len() < 32 << 10, "{}", asked[0].body.len());
        let (asked, _) = taken(&sns(&url, ""), &sink, &message, &[sns_took()]).await;
        assert!(asked[0].body.len() < 800_000, "{}", asked[0].body.len());
        let replies = [
            Reply::json(200, json!({"errcode": 0, "access_token": "t"})),
            Reply::json(200, json!({"errcode": 0})),
        ];
        let (asked, _) = taken(&wechat(&url), &sink, &message, &replies).await;
        assert!(asked[1].body.len() < 8 << 10, "{}", asked[1].body.len());
        let replies =
            [Reply::json(200, json!({"issues": []})), Reply::json(201, json!({"key": "O-1"}))];
        taken(&jira(&url), &sink, &message, &replies).await;
        let replies =
            [Reply::json(200, json!({"result": []})), Reply::json(201, json!({"result": {}}))];
        taken(&servicenow(&url), &sink, &message, &replies).await;
    }
}
