//! From a message to a silence in a browser: the link, the page, the form, the end.
//!
//! Invariant: the test does what a browser does: it reads the page, and sends back the form that is on
//! it.

use serde_json::{Value, json};
use tests::http_server::HttpServer;
use tests::{ask, escaped, exchange, wait_until};

use crate::rig::Evaluator;

const HOSTILE: &str = "</textarea><script>alert(1)</script>\" onx='";
const FORM: &str = "content-type: application/x-www-form-urlencoded\r\n";

/// What stands in the text field of the form, as a browser reads it.
fn filter_of(page: &str) -> String {
    let field = page.split_once("name=\"filter\"").unwrap().1.split_once('>').unwrap().1;
    let text = field.split_once("</textarea>").unwrap().0;
    let marks = [("&quot;", "\""), ("&#34;", "\""), ("&#39;", "'"), ("&#x27;", "'"), ("&lt;", "<")];
    let more = [("&#60;", "<"), ("&gt;", ">"), ("&#62;", ">"), ("&#38;", "&"), ("&amp;", "&")];
    let marks = marks.into_iter().chain(more);
    marks.fold(text.to_owned(), |text, (mark, sign)| text.replace(mark, sign))
}

#[test]
fn a_link_in_a_message_leads_to_a_form_that_silences_x13_x30_x50() {
    let sink = HttpServer::sink();
    let evaluator = Evaluator::with(&format!(
        "route: {{receiver: ops, group_by: [alertname], group_wait: 0s, group_interval: 1s}}\n\
         receivers: [{{name: ops, slack_configs: [{{api_url: '{}', channel: '#ops'}}]}}]\n",
        sink.url("/chat")
    ));
    let url = |path: &str| format!("http://127.0.0.1:{}{path}", evaluator.port);
    let full = json!({"alertname": "DiskFull", "host": "db1", "path": HOSTILE});
    let alerts = json!([{"labels": full}, {"labels": {"alertname": "Other", "host": "db1"}}]);
    let json = "content-type: application/json\r\n";
    let pushed = ask("POST", &url("/api/v2/alerts"), json, &alerts.to_string());
    assert_eq!(pushed.unwrap().0, 200);

    // The link in the message.
    let mut text = String::new();
    wait_until("it is told", || {
        let told: Vec<Value> = sink.asked().iter().map(|asked| asked.json()).collect();
        let of = |told: &Value| {
            let one = &told["attachments"][0];
            let is = one["title"].as_str()?.contains("DiskFull");
            is.then(|| one["text"].as_str().map(str::to_owned)).flatten()
        };
        text = told.iter().find_map(of).unwrap_or_default();
        !text.is_empty()
    });
    let link = text.split_once("|Silence>").unwrap().0.rsplit_once('<').unwrap().1;
    let path = &link[link.find("/silences/new?filter=").unwrap()..];

    // The page, which changes nothing.
    let (head, page) = exchange("GET", &url(path), "", "").unwrap();
    assert!(head.starts_with("HTTP/1.0 200") || head.starts_with("HTTP/1.1 200"), "{head}");
    assert!(head.contains("form-action 'self'") && head.contains("default-src 'none'"), "{head}");
    assert!(page.contains("It would hold 1 of 2 alerts that fire now"), "{page}");
    assert!(page.contains("Alerts of the last week that it would have held: 1"), "{page}");
    assert!(page.contains("They go to: ops."), "{page}");
    assert!(!page.contains("<script") && !page.contains("\" onx"), "{page}");
    let filter = filter_of(&page);
    let expected = serde_json::to_string(HOSTILE).unwrap();
    assert!(filter.contains(&format!("path={expected}")), "{filter}");
    assert_eq!(evaluator.data("/api/v1/silences"), json!([]));

    // The form.
    let form = |filter: &str, more: &str| {
        format!("filter={}&duration=1h&author=jo&comment=new+disks{more}", escaped(filter))
    };
    let send = |headers: &str, body: &str| {
        let headers = format!("{FORM}{headers}");
        ask("POST", &url("/silences/new"), &headers, body).unwrap()
    };
    let own = format!("origin: http://127.0.0.1:{}\r\n", evaluator.port);
    for (headers, body, status, said) in [
        ("origin: http://evil.example\r\n", form(&filter, ""), 403, "another site"),
        (&own, form("{alertname=~\".+\"}", ""), 409, "accept almost any alert"),
        (&own, form(&filter, "").replace("jo", ""), 400, "createdBy and comment are needed"),
        (&own, form(&filter, "").replace("1h", "soon"), 400, "duration: "),
        (&own, form("{a", ""), 400, "matchers: "),
        (&own, form("", ""), 400, "matchers: at least one is needed"),
    ] {
        let (got, page) = send(headers, &body);
        assert!(got == status && page.contains(said), "{body}: {got} {page}");
    }
    assert_eq!(evaluator.data("/api/v1/silences"), json!([]));
    let (status, page) = send(&own, &form(&filter, ""));
    assert_eq!(status, 200, "{page}");
    assert!(
        page.contains("Alerts that it holds now: 1.") && page.contains("veilleur silence expire")
    );
    assert!(!page.contains("<script"), "{page}");
    let silences = evaluator.data("/api/v1/silences");
    let id = silences[0]["id"].as_str().unwrap();
    assert!(page.contains(id), "{page}");
    let state = |name: &str| {
        let alerts: Value =
            serde_json::from_str(&evaluator.get("/api/v2/alerts").unwrap().1).unwrap();
        let is = |alert: &&Value| alert["labels"]["alertname"] == name;
        alerts.as_array().unwrap().iter().find(is).unwrap()["status"]["state"].clone()
    };
    assert_eq!((state("DiskFull"), state("Other")), (json!("suppressed"), json!("active")));
    // What is broad is done where it is confirmed.
    let broad = form("{alertname=~\".+\"}", "&confirm=yes");
    assert_eq!(send(&own, &broad).0, 200);
    assert_eq!(evaluator.data("/api/v1/silences").as_array().unwrap().len(), 2);

    // The list, and the end.
    let (_, page) = evaluator.get("/silences").unwrap();
    assert!(page.contains(id) && page.contains("jo: new disks"), "{page}");
    assert!(!page.contains("<script"), "{page}");
    let end = |headers: &str, id: &str| {
        let headers = format!("{FORM}{headers}");
        ask("POST", &url("/silences"), &headers, &format!("id={id}")).unwrap()
    };
    assert_eq!(end("origin: http://evil.example\r\n", id).0, 403);
    assert_eq!(evaluator.data("/api/v1/silences").as_array().unwrap().len(), 2);
    assert_eq!(end(&own, "none").0, 404);
    let (status, page) = end(&own, id);
    assert!(status == 200 && page.contains("has ended"), "{page}");
    assert_eq!(evaluator.data("/api/v1/silences").as_array().unwrap().len(), 1);
    // The page with all alerts leads there, too.
    let (_, page) = evaluator.get("/").unwrap();
    assert!(page.contains("href=\"silences/new?filter=%7B"), "{page}");
}
