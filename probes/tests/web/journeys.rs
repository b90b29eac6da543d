//! JSON, and one request after the other.

use probes::{Reason, Status};

use crate::server::{Server, check, has, look, ok, value};

const JSON: &str = "HTTP/1.1 200 OK\r\n\r\n\
    {\"state\": \"ready\", \"queue\": {\"length\": 120}, \"parts\": [{\"ok\": true}, {\"ok\": false}], \
    \"errors\": [], \"version\": \"4.7\", \"bad\": \"\\u001b[31m\"}";

#[tokio::test]
async fn json_is_judged_by_path() {
    let page = Server::saying(JSON).await;
    for (rules, reason, part) in [
        ("{path: $.state, equals: ready}", Reason::None, "HTTP status 200"),
        ("{path: state}", Reason::None, ""),
        (
            "{path: $.state, equals: Ready}",
            Reason::BodyMismatch,
            "`$.state` is `ready`, wanted `Ready`",
        ),
        ("{path: $.queue.length, equals: 120.0}", Reason::None, ""),
        ("{path: $.version, equals: '4.70'}", Reason::BodyMismatch, "wanted `4.70`"),
        ("{path: $.version, matches: '^4\\.'}", Reason::None, ""),
        (
            "{path: $.version, matches: '^5'}",
            Reason::BodyMismatch,
            "`$.version` is `4.7`, does not match `^5`",
        ),
        ("{path: $.none}", Reason::BodyMismatch, "the body has no `$.none`"),
        (
            "{path: '$.parts[*].ok', equals: true}",
            Reason::BodyMismatch,
            "is `false`, wanted `true`",
        ),
        ("{path: '$.parts[-2].ok', equals: true}", Reason::None, ""),
        ("{path: $.errors.length(), crit: 0}", Reason::None, ""),
        (
            "{path: $.queue.length, warn: 100, crit: 200}",
            Reason::Threshold,
            "`$.queue.length` is 120, warning by `100`",
        ),
        (
            "{path: $.queue.length, name: queue, crit: '@100:'}",
            Reason::Threshold,
            "`queue` is 120, critical by `@100:`",
        ),
        (
            "{path: $.state, crit: 1}",
            Reason::BodyMismatch,
            "`$.state` is `ready`, which is no number",
        ),
        ("{path: $.bad, equals: x}", Reason::BodyMismatch, "is `\\u{1b}[31m`"),
    ] {
        let o = page.ask(&format!(", json: [{rules}]")).await;
        check(&o, reason, part);
    }
    let o = page.ask(", json: [{path: $.queue.length, name: queue, unit: c, warn: 100}]").await;
    assert_eq!((o.status, value(&o, "queue")), (Status::Warning, Some(120.0)));
    has(&o, "probe_http_json_value{name=\"queue\"} 120");
    has(&o, "probe_success 0");
    for (answer, part) in [
        ("HTTP/1.1 200 OK\r\n\r\n<html>", "the body is not JSON: expected value at line 1"),
        ("HTTP/1.1 200 OK\r\n\r\n{\"a\": \"\u{fffd}", "the body is not JSON: EOF"),
        ("HTTP/1.1 200 OK\r\n\r\n", "the body is not JSON: EOF"),
    ] {
        let o = Server::saying(answer).await.ask(", json: [{path: $.a}]").await;
        check(&o, Reason::BodyMismatch, part);
    }
    let deep: &'static str = format!("HTTP/1.1 200 OK\r\n\r\n{}", "[".repeat(100_000)).leak();
    let o = Server::saying(deep).await.ask(", json: [{path: $.a}]").await;
    check(&o, Reason::BodyMismatch, "recursion limit");
}

/// A shop: a page that sets a cookie and shows a token, a login that wants both, an order in JSON.
fn shop(request: &str) -> String {
    let path = request.split(' ').nth(1).unwrap_or_default();
    let is_known = request.contains("\r\ncookie: session=s1");
    match path {
        "/login" if request.starts_with("GET") => {
            let body = "<input name=\"csrf\" value=\"a&b=c\">";
            format!(
                "HTTP/1.1 200 OK\r\nset-cookie: session=s1; HttpOnly\r\ncontent-length: {}\r\n\r\n{body}",
                body.len()
            )
        }
        "/login" if is_known && request.ends_with("csrf=a%26b%3Dc&user=ann") => {
            "HTTP/1.1 302 Found\r\nlocation: /orders\r\nx-id: 7/8\r\ncontent-length: 0\r\n\r\n"
                .to_owned()
        }
        "/orders" if is_known => {
            ok(r#"{"orders": [{"id": "o 1", "sum": 12.5}], "next": "/orders/o%201"}"#)
        }
        "/orders/o%201?of=7%2F8" if request.contains("x-order: o 1") => ok("order o 1 is paid"),
        "/echo" => ok(request.split_once("\r\n\r\n").unwrap().1),
        _ => "HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n".to_owned(),
    }
}

const LOGIN: &str = r#"
  - name: form
    url: http://HOST/login
    extract: {csrf: {regex: 'name="csrf" value="([^"]+)"'}}
  - name: login
    url: http://HOST/login
    method: POST
    headers: {Content-Type: application/x-www-form-urlencoded}
    body: csrf=${csrf}&user=ann
    follow_redirects: false
    expect_status: 302
    extract: {id: {header: x-id}}
"#;

const ORDERS: &str = r#"
  - name: orders
    url: http://HOST/orders
    json: [{path: '$.orders[0].sum', name: sum, warn: 10}]
    extract: {order: {json: '$.orders[0].id'}}
  - name: order
    url: http://HOST/orders/${order}?of=${id}
    headers: {X-Order: '${order}'}
    body_contains: order ${order} is paid
"#;

#[tokio::test]
async fn a_journey_goes_on_with_what_it_finds() {
    let shop = Server::start(shop).await;
    let o = shop.walk(&LOGIN.replace("login\"", "x")).await;
    check(&o, Reason::None, "2 steps in");
    has(&o, "probe_http_status_code 302");
    has(&o, "probe_http_step_status_code{step=\"form\"} 200");
    has(&o, "probe_http_step_success{step=\"login\"} 1");
    assert!(value(&o, "form.seconds").is_some() && value(&o, "seconds").is_some(), "{o:?}");

    let o = shop.walk(&format!("{LOGIN}{ORDERS}")).await;
    let warned = "step `orders`: `sum` is 12.5, warning by `10`: 4 steps in";
    check(&o, Reason::Threshold, warned);
    assert_eq!((o.status, value(&o, "orders.sum")), (Status::Warning, Some(12.5)));
    has(&o, "probe_http_json_value{step=\"orders\",name=\"sum\"} 12.5");
    let text: Vec<_> = o.details.lines().collect();
    assert_eq!(text.len(), 4, "{text:?}");
    assert!(text[3].starts_with("order: HTTP status 200, 17 bytes"), "{text:?}");
    let phase = o.families.iter().find(|f| f.name == "probe_http_step_duration_seconds").unwrap();
    assert_eq!(phase.samples.len(), 4 * 5);

    // What fails is named, and what comes after it is not taken.
    let (form, _) = LOGIN.split_once("  - name: login").unwrap();
    let o = shop.walk(&format!("{form}{}", ORDERS.replace("?of=${id}", ""))).await;
    check(&o, Reason::HttpStatus, "step `order`: HTTP status 403");
    let o = shop.walk(ORDERS.replace("?of=${id}", "").trim_start_matches('\n')).await;
    check(&o, Reason::HttpStatus, "step `orders`: HTTP status 403, wanted 2xx");
    has(&o, "probe_http_step_success{step=\"orders\"} 0");
    assert!(o.details.ends_with("order: not taken"), "{}", o.details);
    assert!(!format!("{o:?}").contains("step=\"order\""));
}

#[tokio::test]
async fn what_a_journey_does_not_find_is_told_and_no_value_is_shown() {
    let shop = Server::start(shop).await;
    for (extract, reason, part) in [
        ("{json: $.none}", Reason::BodyMismatch, "step `1`: the body is not JSON"),
        (
            "{regex: csrf=(x+)}",
            Reason::BodyMismatch,
            "there is nothing for `a` in the body by `csrf=(x+)`",
        ),
        (
            "{header: x-none}",
            Reason::HeaderMismatch,
            "there is nothing for `a` in the header `x-none`",
        ),
    ] {
        let o = shop
            .walk(&format!("  - {{url: 'http://HOST/login', extract: {{a: {extract}}}}}\n"))
            .await;
        check(&o, reason, part);
    }
    let token = "  - {url: 'http://HOST/login', extract: {csrf: {regex: 'value=\"([^\"]+)'}}}\n";
    let o = shop
        .walk(&format!("{token}  - {{url: 'http://HOST/login', body_contains: 'not ${{csrf}}'}}\n"))
        .await;
    check(&o, Reason::BodyMismatch, "step `2`: the body does not contain `not ${csrf}`");
    // In JSON a value cannot leave its string.
    let json = "headers: {content-type: application/json}, method: POST, body: '{\"k\": \"${v}\"}'";
    let steps = format!(
        "  - {{url: 'http://HOST/echo', method: POST, body: 'x\"y', extract: {{v: {{regex: '.*'}}}}}}\n\
         \x20 - {{url: 'http://HOST/echo', {json}, json: [{{path: $.k, equals: 'x\"y'}}]}}\n"
    );
    check(&shop.walk(&steps).await, Reason::None, "2 steps");
    // A value with a line end cannot make a header of its own.
    let steps = "  - {url: 'http://HOST/echo', method: POST, body: \"a\\r\\nx-evil: 1\", extract: {v: {regex: '(?s).*'}}}\n\
                 \x20 - {url: 'http://HOST/login', headers: {x-v: '${v}'}}\n";
    let o = shop.walk(steps).await;
    check(&o, Reason::HeaderMismatch, "step `2`: a value for `x-v` has characters");
    assert!(
        !shop
            .asked()
            .iter()
            .any(|asked| asked.contains("\nx-evil: 1\r\n") && asked.contains("x-v"))
    );
}

#[tokio::test]
async fn who_we_are_goes_only_to_what_is_written_x03() {
    let evil = Server::saying("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
    let address = evil.address;
    let first = Server::start(move |_| ok(&format!("http://{address}/steal"))).await;
    let host = first.address;
    let yaml = format!(
        "http: {{basic_auth: {{username: u, password: p}}, steps: [\
         {{url: 'http://{host}/', extract: {{next: {{regex: '.*'}}}}}}, {{url: '${{next}}'}}]}}"
    );
    check(&look(&yaml).await, Reason::None, "2 steps");
    assert!(first.asked()[0].contains("authorization: Basic dTpw"), "{:?}", first.asked());
    assert!(
        evil.asked()[0].starts_with("GET /steal ") && !evil.asked()[0].contains("authorization")
    );
    let o = Server::start(|_| ok("gopher://x/")).await;
    let o = o
        .walk("  - {url: 'http://HOST/', extract: {next: {regex: '.*'}}}\n  - {url: '${next}'}\n")
        .await;
    check(&o, Reason::BadRedirect, "step `2`: `${next}` with its values is no URL");
}
