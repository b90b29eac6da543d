//! The probes that read pages, of health and of metrics, against real servers that are right, wrong,
//! slow, broken or large: each failure with its own reason. F54, X11, X48.

#![allow(clippy::unwrap_used, reason = "a test may fail")]

mod common;

use std::net::SocketAddr;
use std::time::Duration;

use base::exposition::{Encoding, Escaping, Format, encode};
use common::{faults, probe, run, run_for};
use probes::manual::manual;
use probes::{Outcome, Reason, Status, health};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

/// A server that answers every request with these bytes and hangs up; with `hang` it keeps the
/// connection.
async fn server(answer: String, hang: bool) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    #[expect(clippy::disallowed_methods, reason = "a peer of a test")]
    tokio::spawn(async move {
        let mut kept = Vec::new();
        loop {
            let (mut socket, _) = listener.accept().await.unwrap();
            let mut request = Vec::new();
            let is_whole = |request: &[u8]| request.windows(4).any(|end| end == b"\r\n\r\n");
            while !is_whole(&request) && socket.read_buf(&mut request).await.unwrap_or(0) > 0 {}
            let asked = String::from_utf8_lossy(&request).to_lowercase();
            let answer = answer.replace("{asked}", &asked.replace("\r\n", "|"));
            let _ = socket.write_all(answer.as_bytes()).await;
            if hang {
                kept.push(socket);
            } else {
                let _ = socket.shutdown().await;
            }
        }
    });
    address
}

/// A page with a status, a type and a body.
fn page(status: u16, content_type: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "HTTP/1.1 {status} X\r\ncontent-type: {content_type}\r\ncontent-length: {length}\r\n\r\n{body}"
    )
}

async fn serving(status: u16, content_type: &str, body: &str) -> SocketAddr {
    server(page(status, content_type, body), false).await
}

/// Reads a health page; `more` are further settings, each after a comma.
async fn health(status: u16, body: &str, more: &str) -> Outcome {
    let address = serving(status, "application/json", body).await;
    run(probe(&format!("health: {{url: 'http://{address}/health'{more}}}")).as_ref()).await
}

/// Scrapes a page with this list of series.
async fn scrape(body: &str, series: &str) -> Outcome {
    let address = serving(200, "text/plain; version=0.0.4", body).await;
    run(scraper(address, series).as_ref()).await
}

fn scraper(address: SocketAddr, series: &str) -> std::sync::Arc<dyn probes::Probe> {
    probe(&format!("prometheus: {{url: 'http://{address}/metrics', series: [{series}]}}"))
}

#[track_caller]
fn check(outcome: &Outcome, status: Status, reason: Reason, summary: &str) {
    // What is told stands in the manual, by the page of one kind or of the other.
    let is_told = |kind: &&str| manual(kind).unwrap().leaves_out(outcome).is_empty();
    assert!(["health", "prometheus"].iter().any(is_told), "{outcome:?}");
    assert_eq!((outcome.status, outcome.reason), (status, reason), "{outcome:?}");
    assert!(outcome.summary.contains(summary), "{} has not {summary}", outcome.summary);
}

#[track_caller]
fn has(outcome: &Outcome, line: &str) {
    let mut text = String::new();
    encode(
        &outcome.families,
        Encoding { format: Format::Text, names: Escaping::Underscores },
        &mut text,
    );
    assert!(text.lines().any(|l| l == line), "no {line} in\n{text}");
}

use Reason::{
    BodyTooLarge, ComponentFailed, ConnectionRefused, ConnectionReset, HttpStatus, LeadsBack,
    OutputInvalid, ProtocolError, SeriesMissing, Threshold, Timeout,
};
use Status::{Critical, Ok, Unknown, Warning};

const SPRING: &str = r#"{"status":"DOWN","components":{"db":{"status":"DOWN","details":{"error":"refused"}},
    "disk":{"status":"UP"},"mq":{"status":"UP","components":{"a":{"status":"DOWN"}}}}}"#;

#[tokio::test]
async fn every_component_is_a_metric_and_a_node() {
    let o = health(503, SPRING, "").await;
    check(&o, Critical, ComponentFailed, "db: refused");
    assert_eq!(o.details, "critical: db: refused\ncritical: mq/a is not well");
    has(&o, "veilleur_health_component_status{component=\"db\"} 2");
    has(&o, "veilleur_health_component_status{component=\"disk\"} 0");
    has(&o, "veilleur_health_component_status{component=\"mq\"} 2");
    has(&o, "veilleur_health_component_status{component=\"mq/a\"} 2");
    has(&o, "probe_http_status_code 503");
    has(&o, "probe_success 0");
    assert_eq!(o.tree.components.len(), 3);
    // What is ignored, by name or path, counts for nothing.
    let o = health(503, SPRING, ", ignore: [db, mq/a]").await;
    check(&o, Ok, Reason::None, "1 component is well");
    has(&o, "probe_success 1");
    let body = r#"{"status":"pass","checks":{"load":[{"observedValue":0.5,"observedUnit":"n"}]}}"#;
    let o = health(200, body, ", format: health_json").await;
    check(&o, Ok, Reason::None, "1 component is well");
    has(&o, "veilleur_health_component_value{component=\"load\",unit=\"n\"} 0.5");
}

#[tokio::test]
async fn the_pages_word_its_status_and_its_parts_are_weighed() {
    let o = health(200, r#"{"status":"UP"}"#, "").await;
    check(&o, Ok, Reason::None, "says `UP`, with HTTP status 200");
    // One part fails, and the application says that it works all the same.
    let partly = r#"{"status":"UP","components":{"a":{"status":"DOWN"},"b":{"status":"UP"}}}"#;
    check(&health(200, partly, "").await, Warning, ComponentFailed, "a is not well");
    // All parts are well, and the application is not.
    let body = r#"{"status":"DOWN","components":{"a":{"status":"UP"}}}"#;
    let o = health(503, body, "").await;
    check(&o, Critical, ComponentFailed, "the page says `DOWN`, with HTTP status 503");
    assert_eq!(o.tree.components[1].name, "itself");
    let o = health(503, r#"{"status":"UP"}"#, "").await;
    check(&o, Critical, HttpStatus, "the page says `UP`, with HTTP status 503");
    check(&health(200, r#"{"status":"FATAL"}"#, "").await, Warning, ComponentFailed, "`FATAL`");
    check(&health(200, "Degraded", "").await, Warning, ComponentFailed, "`Degraded`");
    let o = health(500, "[+]ping ok\n[-]etcd failed: reason withheld\nreadyz check failed", "");
    check(&o.await, Critical, ComponentFailed, "etcd: failed: reason withheld");
}

#[tokio::test]
async fn what_is_no_health_page_is_never_well() {
    check(&health(200, "<html>ok", "").await, Critical, OutputInvalid, "`<html>ok` is no line");
    check(&health(200, "{\"status\":", "").await, Critical, OutputInvalid, "not JSON");
    check(&health(200, "", "").await, Critical, OutputInvalid, "the page is empty");
    let o = health(404, r#"{"status":404,"error":"Not Found"}"#, "").await;
    check(&o, Critical, HttpStatus, "HTTP status 404, and no health page: the `status`");
    let o = health(200, "[+]ping ok\nx check passed", ", format: spring").await;
    check(&o, Critical, OutputInvalid, "not JSON");
    let o = health(200, SPRING, ", body_limit: 20B").await;
    check(&o, Critical, BodyTooLarge, "the body is over 20 bytes");
    // A redirect is not followed.
    check(&health(302, "", "").await, Critical, HttpStatus, "HTTP status 302");
}

#[tokio::test]
async fn a_page_of_ours_has_its_truth_in_its_leaves() {
    let ours = health::identity();
    // We failed, the other one therefore, we therefore: nothing but ourselves is wrong.
    let body = format!(
        r#"{{"status":"fail","agent":"0123","tree":[{{"name":"shop","status":"fail","needs":[
           {{"name":"db","status":"pass"}},
           {{"name":"page of us","status":"fail","agent":"{ours}","needs":[
             {{"name":"disk","status":"fail","reason":"threshold"}}]}}]}}]}}"#
    );
    let o = health(503, &body, "").await;
    check(&o, Ok, Reason::None, "1 component is well");
    let body =
        body.replace(r#""db","status":"pass""#, r#""db","status":"fail","reason":"timeout""#);
    let o = health(503, &body, "").await;
    check(&o, Critical, Timeout, "shop/db is not well");
    let body = format!(r#"{{"status":"fail","agent":"{ours}","tree":[]}}"#);
    check(&health(503, &body, "").await, Unknown, LeadsBack, "the page is our own");
}

#[tokio::test]
async fn each_failure_of_the_network_has_its_reason_f54() {
    let look = |address: SocketAddr, kind: &'static str| async move {
        let settings = if kind == "health" { "" } else { ", series: [{select: up}]" };
        let probe = probe(&format!("{kind}: {{url: 'http://{address}/x'{settings}}}"));
        run_for(probe.as_ref(), Duration::from_millis(300)).await
    };
    for kind in ["health", "prometheus"] {
        let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        check(&look(closed, kind).await.0, Critical, ConnectionRefused, "connect");
        let silent = server(String::new(), true).await;
        let (o, took) = look(silent, kind).await;
        check(&o, Critical, Timeout, "there is no answer from `127.0.0.1:");
        assert!(took < Duration::from_millis(400), "{took:?}");
        let slow = server(page(200, "text/plain", "ok").replace("h: 2", "h: 9"), true).await;
        check(&look(slow, kind).await.0, Critical, Timeout, "not complete, with 2 bytes");
        let cut = serving(200, "text/plain", "ok").await;
        assert_ne!(look(cut, kind).await.0.status, Unknown);
        let cut = server(page(200, "text/plain", "ok").replace("h: 2", "h: 9"), false).await;
        check(&look(cut, kind).await.0, Critical, ConnectionReset, "");
        let reset = server(String::new(), false).await;
        check(&look(reset, kind).await.0, Critical, ConnectionReset, "");
        let other = server("220 mail.example ESMTP\r\n".to_owned(), false).await;
        check(&look(other, kind).await.0, Critical, ProtocolError, "");
    }
}

#[tokio::test]
async fn it_says_what_it_wants_and_who_it_is() {
    let body = r#"{"status":"fail","output":"{asked}"}"#;
    let answer = format!("HTTP/1.1 503 X\r\n\r\n{body}");
    let address = server(answer, false).await;
    let settings = ", headers: {x-a: b}, basic_auth: {username: u, password: p}";
    let probe = probe(&format!("health: {{url: 'http://{address}/a?b'{settings}}}"));
    let o = run(probe.as_ref()).await;
    for part in ["get /a?b http", "application/health+json", "x-a: b", "basic dtpw"] {
        check(&o, Critical, ComponentFailed, part);
    }
}

#[tokio::test]
async fn an_exporter_is_told_who_asks_too() {
    let answer = "HTTP/1.1 200 X\r\ncontent-type: {asked}\r\n\r\n";
    let address = server(answer.to_owned(), false).await;
    let ask = |who: &str| {
        let more =
            format!("headers: {{accept: a, user-agent: b}}, series: [{{select: up}}], {who}");
        probe(&format!("prometheus: {{url: 'http://{address}/', {more}}}"))
    };
    let o = run(ask("authorization: {credentials: t0ken}").as_ref()).await;
    check(&o, Critical, OutputInvalid, "authorization: bearer t0ken");
    let o = run(ask("basic_auth: {username: u, password: p}").as_ref()).await;
    check(&o, Critical, OutputInvalid, "authorization: basic dtpw");
    let token = r#"{"access_token": "abc", "token_type": "Bearer"}"#;
    let tokens = serving(200, "application/json", token).await;
    let grant = format!("client_id: a, client_secret: b, token_url: 'http://{tokens}/'");
    let o = run(ask(&format!("oauth2: {{{grant}}}")).as_ref()).await;
    check(&o, Critical, OutputInvalid, "authorization: bearer abc");
    has_one(&o, "probe_prometheus_duration_seconds{phase=\"token\"}");
    let none = grant.replace(&tokens.to_string(), &address.to_string());
    let o = run(ask(&format!("oauth2: {{{none}}}")).as_ref()).await;
    check(&o, Critical, Reason::TokenFailed, "no token from");
    has(&o, "probe_success 0");
    let both = "health: {url: 'http://x/', authorization: {credentials: a}, \
                basic_auth: {username: u, password: p}}";
    assert_eq!(
        faults(both),
        "test.yml:1:43: only one of `basic_auth`, `authorization` and `oauth2` can be given"
    );
}

/// There is one series that begins so.
#[track_caller]
fn has_one(outcome: &Outcome, start: &str) {
    let mut text = String::new();
    let encoding = Encoding { format: Format::Text, names: Escaping::Underscores };
    encode(&outcome.families, encoding, &mut text);
    let count = text.lines().filter(|line| line.starts_with(start)).count();
    assert_eq!(count, 1, "{start} in\n{text}");
}

#[tokio::test]
async fn limits_hold_for_the_time_of_a_page() {
    let up = r#"{"status":"UP","components":{"db":{"status":"UP"}}}"#;
    let o = health(200, up, ", thresholds: {seconds: {crit: '@0:'}, processing: {warn: 60}}").await;
    check(&o, Critical, Threshold, "critical by `@0:`; 1 component is well");
    has(&o, "probe_success 0");
    for phase in ["resolve", "connect", "tls", "processing", "transfer"] {
        has_one(&o, &format!("probe_health_duration_seconds{{phase=\"{phase}\"}}"));
    }
    let labels: Vec<_> = o.measurements.iter().map(|m| m.label.as_str()).collect();
    assert_eq!(labels, ["seconds", "processing"]);
    // The tree does not say that all is well then.
    assert_eq!(o.tree.culprit().map(|(path, _)| path).as_deref(), Some("itself"));
    // What is worse by the page's own word stays as it is.
    let o = health(503, SPRING, ", thresholds: {seconds: {crit: '@0:'}}").await;
    check(&o, Critical, ComponentFailed, "db: refused");
    let address = serving(200, "text/plain", METRICS).await;
    let settings = "series: [{select: load, warn: '1'}], thresholds: {transfer: {crit: '@0:'}}";
    let both = probe(&format!("prometheus: {{url: 'http://{address}/', {settings}}}"));
    check(
        &run(both.as_ref()).await,
        Critical,
        Threshold,
        "critical by `@0:`; load is 7.5, outside of 1",
    );
    assert_eq!(
        faults("health: {url: 'http://x/', thresholds: {second: {}}, components: {a: {warn: x}}}"),
        "test.yml:1:49: no value `second` is measured\n  help: did you mean `seconds`?\n\
         test.yml:1:77: `x` is not a range; write it like `10`, `10:`, `~:10`, `10:20` or `@10:20`"
    );
}

#[tokio::test]
async fn the_numbers_of_components_have_limits() {
    let page = |status: &str, value: &str| {
        let node =
            format!(r#"{{"status":"{status}","observedValue":{value},"observedUnit":"ms"}}"#);
        format!(r#"{{"status":"pass","checks":{{"db:time":[{node}],"q":[{node},{node}]}}}}"#)
    };
    let limits = ", components: {'db:time': {warn: 100, crit: 500}, q/2: {warn: 200}}";
    let o = health(200, &page("pass", "20"), limits).await;
    check(&o, Ok, Reason::None, "components are well");
    let m = &o.measurements[0];
    assert_eq!((m.label.as_str(), m.value, m.unit.as_str()), ("db:time", 20.0, "ms"));
    assert_eq!((m.warn.as_deref(), m.crit.as_deref()), (Some("100"), Some("500")));
    let o = health(200, &page("pass", "150"), limits).await;
    check(&o, Warning, Threshold, "db:time: `value` is 150ms, warning by `100`");
    let o = health(200, &page("pass", "600"), limits).await;
    check(&o, Critical, Threshold, "db:time: `value` is 600ms, critical by `500`");
    assert!(
        o.details.contains("warning: q/2: `value` is 600ms, warning by `200`"),
        "{}",
        o.details
    );
    has(&o, "veilleur_health_component_status{component=\"db:time\"} 2");
    has(&o, "veilleur_health_component_status{component=\"q/1\"} 0");
    // What fails by its own word fails for that.
    let o = health(200, &page("fail", "150"), limits).await;
    check(&o, Warning, ComponentFailed, "db:time is not well");
    // What has a limit and no number is not held to be well.
    let o =
        health(200, r#"{"status":"pass","checks":{"db:time":[{"status":"pass"}]}}"#, limits).await;
    check(&o, Unknown, Reason::AnswerMismatch, "no component `db:time` shows a number");
}

const METRICS: &str =
    "# TYPE up gauge\nup{job=\"a\"} 1\nup{job=\"b\"} 0\nload 7.5\nfree 3e9\nodd NaN\n";

#[tokio::test]
async fn values_are_held_against_thresholds() {
    let o = scrape(METRICS, "{select: load, warn: '8', crit: '10'}").await;
    check(&o, Ok, Reason::None, "load is 7.5");
    let o = scrape(METRICS, "{select: load, name: l, unit: s, warn: '@5:8', crit: '10'}").await;
    check(&o, Warning, Threshold, "l is 7.5s, inside of 5:8");
    let m = &o.measurements[0];
    assert_eq!((m.label.as_str(), m.value, m.unit.as_str()), ("l", 7.5, "s"));
    assert_eq!((m.warn.as_deref(), m.crit.as_deref()), (Some("@5:8"), Some("10")));
    let o = scrape(METRICS, "{select: load, warn: '8'}, {select: 'free', crit: '5e9:'}").await;
    check(&o, Critical, Threshold, "free is 3e+09, outside of 5000000000:");
    let o = scrape(METRICS, "{select: up, crit: '1:', name: up}").await;
    check(&o, Critical, Threshold, "up{job=\"b\"} is 0, outside of 1:");
    let o = scrape(METRICS, "{select: 'up{job=~\"a|c\"}', crit: '1:'}").await;
    check(&o, Ok, Reason::None, "up{job=\"a\"} is 1");
    let o = scrape(METRICS, "{select: up, crit: '2:'}, {select: load, warn: '1'}").await;
    check(&o, Critical, Threshold, ", and 2 more");
    assert_eq!(o.details.lines().count(), 3, "{}", o.details);
    // What is not a number lies in no range.
    check(&scrape(METRICS, "{select: odd, crit: '~:'}").await, Critical, Threshold, "odd is NaN");
}

#[tokio::test]
async fn a_missing_series_is_as_bad_as_configured() {
    let o = scrape(METRICS, "{select: gone}").await;
    check(&o, Unknown, SeriesMissing, "there is no series `gone`");
    for (word, status) in [("warning", Warning), ("critical", Critical), ("unknown", Unknown)] {
        let o = scrape(METRICS, &format!("{{select: gone, missing: {word}}}")).await;
        check(&o, status, SeriesMissing, "gone");
    }
    let o = scrape(METRICS, "{select: gone, missing: ok}, {select: load}").await;
    check(&o, Ok, Reason::None, "load is 7.5");
}

#[tokio::test]
async fn what_are_no_metrics_is_told() {
    let get = |status, kind: &'static str, body: String| async move {
        let address = serving(status, kind, &body).await;
        run(scraper(address, "{select: up}").as_ref()).await
    };
    let plain = "text/plain";
    check(&get(404, plain, "up 1\n".into()).await, Critical, HttpStatus, "HTTP status 404");
    let o = get(200, "text/html", "<html>".into()).await;
    check(&o, Critical, OutputInvalid, "the page is `text/html`, no metrics");
    check(&get(200, plain, "up one\n".into()).await, Critical, OutputInvalid, "line 1");
    let open = "application/openmetrics-text; version=1.0.0";
    let o = get(200, open, "# TYPE up gauge\nup 1\n".into()).await;
    check(&o, Critical, OutputInvalid, "EOF");
    let o = get(200, open, "# TYPE up gauge\nup 1\n# EOF\n".into()).await;
    check(&o, Ok, Reason::None, "up is 1");
    let many: String = (0..501).map(|n| format!("up{{n=\"{n}\"}} 1\n")).collect();
    check(&get(200, plain, many).await, Critical, Reason::OutputTooLong, "more than 500 series");
}

#[test]
fn what_is_wrong_is_told_with_its_place() {
    let check = |yaml: &str, expected: &str| assert_eq!(faults(yaml), expected, "{yaml}");
    check(
        "health: {url: 'x', format: xml}",
        "test.yml:1:15: `x` is not an http or https URL\n\
         test.yml:1:28: unknown kind `xml`\n  \
         help: known here: `auto`, `health_json`, `spring`, `aspnet`, `microprofile`, `kubernetes`",
    );
    check(
        "prometheus: {url: 'http://x/', series: []}",
        "test.yml:1:40: no series are looked at\n  \
         help: add `- select: up`, or look at the whole page with the probe `http`",
    );
    check(
        "prometheus:\n  url: http://x/\n  series:\n  \
         - {select: 'a b', warn: x, crit: '5:1', missing: bad}\n  - {select: 'up{'}\n",
        "test.yml:4:14: `a b` is not a selector: `a b` is not a name of a metric\n  \
         help: write it like `node_load1` or `up{job=\"shop\"}`\n\
         test.yml:4:27: `x` is not a range; write it like `10`, `10:`, `~:10`, `10:20` or `@10:20`\n\
         test.yml:4:36: `5:1` is not a range; write it like `10`, `10:`, `~:10`, `10:20` or `@10:20`\n\
         test.yml:4:52: `bad` is not a status\n  \
         help: write `ok`, `warning`, `critical` or `unknown`\n\
         test.yml:5:14: `up{` is not a selector: a matcher has no `=`\n  \
         help: write it like `node_load1` or `up{job=\"shop\"}`",
    );
}
