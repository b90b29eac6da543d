//! What is answered, to whomever and about whatever: markup stays text (X13, X14), nobody is led
//! elsewhere (X32), no page of another site reads or changes anything (X30, X31), nothing is a table
//! that a program would calculate (X41), and what a stranger says becomes no label of ours (X27).
//!
//! Invariant: every route of both programs is asked, by the tables that they answer by.

use tests::http_server::{HttpServer, Reply};
use tests::{exchange, wait_until};

use crate::stage::{BOTH, Kind, Running};

/// What would be an element, a script or a link if it were not escaped.
const MARKUP: [&str; 6] = [
    "<script>alert(1)</script>",
    "\"><img src=x onerror=alert(1)>",
    "javascript:alert(1)",
    "{{7*7}}${jndi:ldap://x}",
    "</script><svg/onload=alert(1)>",
    "' onmouseover='alert(1)",
];

/// A program that has something to show.
fn running(kind: Kind) -> Running {
    match kind {
        Kind::Agent => Running::new(
            kind,
            "host: {enabled: false}\nservices: {shop: {needs: [job]}}\nchecks:\n\
             - {name: job, heartbeat: {period: 1d, get: true}}\n- {name: pushed, push: {job: job}}\n",
        ),
        Kind::Evaluator => Running::new(kind, "scrape_configs: []\n"),
    }
}

fn paths(kind: Kind) -> Vec<(String, &'static [&'static str])> {
    let fill = |path: &str| {
        let path = path.replace("{service}", "shop").replace("{id}", "job");
        path.replace("{group}", "job").replace("{name}", "job")
    };
    match kind {
        Kind::Agent => agent::server::ROUTES.iter().map(|r| (fill(r.path), r.methods)).collect(),
        Kind::Evaluator => {
            alertmanager::api::ROUTES.iter().map(|r| (fill(r.path), r.methods)).collect()
        }
    }
}

/// A header of an answer; empty where there is none.
fn header<'a>(head: &'a str, name: &str) -> &'a str {
    let is = |line: &&str| line.split(':').next().is_some_and(|n| n.eq_ignore_ascii_case(name));
    let line = head.lines().find(is);
    line.and_then(|line| line.split_once(':')).map_or("", |(_, value)| value.trim())
}

fn status(head: &str) -> u16 {
    head.split(' ').nth(1).unwrap().parse().unwrap()
}

#[test]
fn no_answer_leads_elsewhere_is_for_other_sites_or_is_a_table_x30_x32_x41() {
    for kind in BOTH {
        let running = running(kind);
        let mut asked = 0;
        for (path, methods) in paths(kind) {
            for query in [
                "",
                "?next=//evil.example",
                "?next=/%5Cevil.example&return=https:evil.example&url=http%3A%2F%2Fevil.example",
                "?redirect=%2F%2Fevil.example&format=csv&output=csv",
            ] {
                for method in methods {
                    // A preview of what a browser would ask for first.
                    for extra in ["", "origin: http://evil.example\r\naccept: text/csv, */*\r\n"] {
                        let url = running.url(&format!("{path}{query}"));
                        let (head, body) = exchange(method, &url, extra, "").unwrap();
                        let what = format!("{kind:?} {method} {path}{query} {extra}: {head}");
                        asked += 1;
                        // To a page of ours at the most, whatever was asked.
                        let to = header(&head, "location");
                        let is_ours = !to.contains("evil") && !to.contains([':', '\\']);
                        assert!(is_ours && !to.starts_with('/'), "{what}");
                        assert_eq!(header(&head, "refresh"), "", "{what}");
                        assert_eq!(header(&head, "access-control-allow-origin"), "", "{what}");
                        assert_eq!(header(&head, "set-cookie"), "", "{what}");
                        assert_eq!(header(&head, "content-disposition"), "", "{what}");
                        let media = header(&head, "content-type").split(';').next().unwrap();
                        let known = [
                            "",
                            "text/html",
                            "text/plain",
                            "text/css",
                            "application/json",
                            "application/health+json",
                            "application/openmetrics-text",
                        ];
                        assert!(known.contains(&media), "{what}");
                        if !body.is_empty() {
                            assert_eq!(
                                header(&head, "x-content-type-options"),
                                "nosniff",
                                "{what}"
                            );
                        }
                    }
                }
            }
        }
        assert!(asked > 80, "{kind:?}: {asked}");
    }
}

#[test]
fn a_page_of_another_site_changes_nothing_x30() {
    for kind in BOTH {
        let running = running(kind);
        let own = format!("origin: http://127.0.0.1:{}\r\n", running.port);
        for (path, methods) in paths(kind) {
            for method in methods.iter().filter(|method| !matches!(**method, "GET" | "HEAD")) {
                for foreign in [
                    "origin: http://evil.example\r\n",
                    "origin: null\r\n",
                    "origin: http://127.0.0.1:1\r\n",
                    "origin: \r\n",
                    "origin: http://evil.example\r\ncontent-type: text/plain\r\n",
                    "origin: http://evil.example\r\ncontent-type: application/x-www-form-urlencoded\r\n",
                    "origin: http://evil.example\r\nx-http-method-override: GET\r\n",
                ] {
                    let (head, body) =
                        exchange(method, &running.url(&path), foreign, "[]").unwrap();
                    let what = format!("{kind:?} {method} {path} {foreign}: {body}");
                    assert_eq!(status(&head), 403, "{what}");
                }
                // Who is no browser says nothing about it, and our own page says so.
                for ours in ["", own.as_str()] {
                    let (head, _) = exchange(method, &running.url(&path), ours, "[]").unwrap();
                    assert_ne!(status(&head), 403, "{kind:?} {method} {path}");
                }
            }
        }
        // A browser that asks whether it may is told nothing that lets it.
        let preflight = "origin: http://evil.example\r\naccess-control-request-method: POST\r\n";
        let (head, _) = exchange("OPTIONS", &running.url("/"), preflight, "").unwrap();
        assert!(status(&head) >= 400 && !head.contains("access-control-allow"), "{head}");
    }
}

#[test]
fn a_name_that_somebody_else_bound_to_the_loopback_is_not_ours_x31() {
    for kind in BOTH {
        let running = running(kind);
        let ask = |path: &str, host: &str| {
            let request =
                format!("GET {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
            let answer = running.talk(request.as_bytes());
            (status(&answer), answer)
        };
        for (path, _) in paths(kind) {
            let (got, answer) = ask(&path, &format!("evil.example:{}", running.port));
            assert_eq!(got, 421, "{kind:?} {path}: {answer}");
        }
        for host in ["localhost.evil.example", "127.0.0.1.nip.io", "evil.example#localhost", "a@b"]
        {
            let (got, answer) = ask(kind.alive(), host);
            assert!(matches!(got, 400 | 421), "{kind:?} {host}: {answer}");
        }
        let own = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
        for host in ["127.0.0.1", "127.0.0.1:80", "localhost:1", "LOCALHOST", "[::1]:9", own.trim()]
        {
            assert_eq!(ask(kind.alive(), host).0, 200, "{kind:?} {host}");
        }
        assert!(running.value("veilleur_http_refused_total") >= 10.0);
    }
    // A name that a proxy on this host asks by.
    let config = "scrape_configs: []\nweb: {allowed_hosts: [watch.example.org]}\n";
    let running = Running::new(Kind::Evaluator, config);
    for (host, expected) in [("watch.example.org", " 200 "), ("evil.example", " 421 ")] {
        let request =
            format!("GET /-/healthy HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
        let answer = running.talk(request.as_bytes());
        assert!(answer.lines().next().unwrap().contains(expected), "{host}: {answer}");
    }
}

#[test]
fn the_way_a_request_is_written_changes_nothing_about_what_it_may_x29() {
    for kind in BOTH {
        let running = running(kind);
        let port = running.port;
        let first = |request: String| {
            let answer = running.talk(request.as_bytes());
            answer.lines().next().unwrap_or("").to_owned()
        };
        for (line, expected) in [
            // What is overridden in a header stays what it was.
            ("GET /-/reload HTTP/1.1\r\nx-http-method-override: POST", &["404", "405"][..]),
            (
                "GET /api/v2/silences?_method=POST HTTP/1.1\r\nx-method-override: POST",
                &["200", "404"],
            ),
            ("TRACE / HTTP/1.1", &["405"]),
            ("CONNECT evil.example:80 HTTP/1.1", &["400", "404", "405"]),
            ("GET //evil.example/ HTTP/1.1", &["400", "404"]),
            ("GET /%2e%2e/%2e%2e/etc/passwd HTTP/1.1", &["400", "404"]),
            ("GET /:name/ HTTP/1.1", &["400", "404"]),
            ("GET /{name} HTTP/1.1", &["400", "404"]),
        ] {
            let got =
                first(format!("{line}\r\nhost: 127.0.0.1:{port}\r\nconnection: close\r\n\r\n"));
            let status = got.split(' ').nth(1).unwrap_or("");
            assert!(expected.contains(&status), "{kind:?} {line}: {got}");
        }
        // The absolute form is the same path.
        let got = first(format!(
            "GET http://127.0.0.1:{port}{} HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\nconnection: close\r\n\r\n",
            kind.alive()
        ));
        assert!(got.contains(" 200 ") || got.contains(" 400 "), "{kind:?}: {got}");
        // A HEAD changes nothing where a POST would.
        if kind == Kind::Evaluator {
            let reloads = running.program.log().matches("was read again").count();
            let got = first(format!(
                "HEAD /-/reload HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\nconnection: close\r\n\r\n"
            ));
            assert!(got.contains(" 405 "), "{got}");
            assert_eq!(running.program.log().matches("was read again").count(), reloads);
        }
    }
}

/// A page without its own `<style>`: what is left of markup in it is ours, or somebody got in.
fn is_inert(page: &str) {
    let lower = page.to_lowercase();
    for dangerous in ["<script", "<img", "<svg", "href=\"javascript:", "href='javascript:"] {
        let found = lower.find(dangerous);
        assert!(found.is_none(), "{dangerous} is in {}", &lower[found.unwrap_or(0)..]);
    }
    // Inside an attribute a quote must be escaped: no tag has an attribute that we never write.
    for tag in lower.split('<').skip(1).filter_map(|rest| rest.split('>').next()) {
        assert!(
            !tag.contains(" onmouseover='alert")
                && !tag.contains("onload=")
                && !tag.contains("onerror="),
            "<{tag}>"
        );
    }
}

#[test]
fn markup_in_alerts_metrics_and_results_is_text_on_every_page_x13_x14() {
    // Labels, `le` and names of metrics that a target chose; and the texts of a pushed alert.
    let text: String = MARKUP
        .iter()
        .enumerate()
        .map(|(n, bad)| {
            let bad = bad.replace('\\', "\\\\").replace('"', "\\\"");
            format!("bad_bucket{{n=\"{n}\",le=\"{bad}\"}} 1\n{{\"{bad}\",n=\"{n}\"}} 1\n")
        })
        .collect();
    let target = HttpServer::start(move |_| Reply::text(&text));
    let config = format!(
        "global: {{scrape_interval: 500ms}}\nscrape_configs:\n- job_name: \"{}\"\n  static_configs:\n  \
         - targets: ['{}']\n    labels: {{where: '<img src=x onerror=alert(1)>'}}\n",
        MARKUP[0],
        target.address()
    );
    let running = Running::new(Kind::Evaluator, &config);
    let alerts: Vec<_> = MARKUP
        .iter()
        .map(|bad| {
            serde_json::json!({
                "labels": {"alertname": bad, "instance": bad},
                "annotations": {"summary": bad, "runbook_url": bad, "description": bad},
                "generatorURL": "http://x.example/",
                "endsAt": "2090-01-01T00:00:00Z",
            })
        })
        .collect();
    let body = serde_json::Value::from(alerts).to_string();
    let json = "content-type: application/json\r\n";
    let (head, said) = exchange("POST", &running.url("/api/v2/alerts"), json, &body).unwrap();
    assert_eq!(status(&head), 200, "{said}");
    let silence = serde_json::json!({
        "matchers": [{"name": "alertname", "value": MARKUP[1], "isRegex": false, "isEqual": true}],
        "startsAt": "2020-01-01T00:00:00Z", "endsAt": "2090-01-01T00:00:00Z",
        "createdBy": MARKUP[0], "comment": MARKUP[4],
    });
    let (head, said) =
        exchange("POST", &running.url("/api/v2/silences"), json, &silence.to_string()).unwrap();
    assert_eq!(status(&head), 200, "{said}");
    let page = || exchange("GET", &running.url("/"), "accept: text/html\r\n", "").unwrap();
    wait_until("the page shows all of it", || {
        let shown = page().1;
        shown.contains("alert(1)") && shown.contains("7*7") && shown.contains("onmouseover")
    });
    let (head, shown) = page();
    is_inert(&shown);
    let policy = header(&head, "content-security-policy");
    assert!(policy.contains("default-src 'none'"), "{head}");
    assert!(!policy.contains("unsafe-inline") || !policy.contains("script-src"), "{policy}");
    // What is not a page is not taken for one, whatever stands in it.
    for path in [
        "/api/v2/alerts",
        "/api/v1/alerts",
        "/api/v1/targets",
        "/api/v1/label/le/values",
        "/health",
    ] {
        let (head, body) =
            exchange("GET", &running.url(path), "accept: text/html\r\n", "").unwrap();
        match header(&head, "content-type").split(';').next().unwrap() {
            "text/html" => is_inert(&body),
            media => assert_eq!(media.rsplit(['/', '+']).next(), Some("json"), "{path}: {media}"),
        }
    }
}

#[test]
fn what_a_stranger_says_becomes_no_series_of_ours_x27() {
    for kind in BOTH {
        let running = running(kind);
        let series = || {
            let (_, text) = exchange("GET", &running.url("/metrics"), "", "").unwrap();
            text.lines().filter(|line| !line.starts_with('#')).count()
        };
        // Each kind of answer once, so that its series are there.
        let stranger = |n: usize| {
            for path in [
                "/ping/",
                "/hb/",
                "/probe?module=",
                "/api/v1/query?query=",
                "/nothing/",
                "/api/v1/intake/",
            ] {
                let agent = format!("user-agent: stranger-{n}\r\nx-forwarded-for: 10.0.0.{n}\r\n");
                let url = running.url(&format!("{path}stranger{n}"));
                exchange("GET", &url, &agent, "").unwrap();
                exchange("POST", &url, &agent, "").unwrap();
            }
            let labels =
                format!(r#"[{{"labels": {{"alertname": "stranger{n}", "l{n}": "{n}"}}}}]"#);
            let json = "content-type: application/json\r\n";
            exchange("POST", &running.url("/api/v2/alerts"), json, &labels).unwrap();
        };
        stranger(0);
        let before = series();
        (1..=60).for_each(stranger);
        let after = series();
        assert!(after <= before + 5, "{kind:?}: {before} series became {after}");
        let (_, text) = exchange("GET", &running.url("/metrics"), "", "").unwrap();
        assert!(!text.contains("stranger"), "{kind:?}");
    }
}
