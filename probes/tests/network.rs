//! The probes over the network against peers that are slow, broken, large or hostile: each failure
//! with its own reason, and the metrics of blackbox_exporter. F54, X03.

#![allow(clippy::unwrap_used, reason = "a test may fail")]

mod common;

use std::net::SocketAddr;
use std::time::Duration;

use base::exposition::{Encoding, Escaping, Format, encode};
use common::{faults, probe, run, run_for};
use probes::{Outcome, Reason, Status};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// A peer that hands every connection to `serve`, one after the other.
async fn peer<F: Future<Output = ()> + Send>(
    serve: impl Fn(TcpStream, u32) -> F + Send + 'static,
) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    #[expect(clippy::disallowed_methods, reason = "a peer of a test")]
    tokio::spawn(async move {
        for n in 0.. {
            let (socket, _) = listener.accept().await.unwrap();
            serve(socket, n).await;
        }
    });
    address
}

/// A peer that answers every request with `answer`, in which `{}` stands for its address.
async fn answering(answer: &'static str) -> SocketAddr {
    peer(move |mut socket, _| async move {
        let request = head(&mut socket).await;
        let answer = answer.replace("{}", &socket.local_addr().unwrap().to_string());
        let answer = answer.replace("{request}", &request);
        let _ = socket.write_all(answer.as_bytes()).await;
        let _ = socket.shutdown().await;
    })
    .await
}

/// Reads the head of a request.
async fn head(socket: &mut TcpStream) -> String {
    let mut request = Vec::new();
    let is_whole = |request: &[u8]| request.windows(4).any(|end| end == b"\r\n\r\n");
    while !is_whole(&request) && socket.read_buf(&mut request).await.unwrap_or(0) > 0 {}
    String::from_utf8(request).unwrap()
}

/// Asks the peer at `address`; `more` are further settings, each after a comma.
async fn ask(address: SocketAddr, more: &str) -> Outcome {
    run(probe(&format!("http: {{url: 'http://{address}/page'{more}}}")).as_ref()).await
}

#[track_caller]
fn check(outcome: &Outcome, reason: Reason, part: &str) {
    let status = if reason == Reason::None { Status::Ok } else { Status::Critical };
    assert_eq!((outcome.status, outcome.reason), (status, reason), "{outcome:?}");
    assert!(outcome.summary.contains(part), "{}", outcome.summary);
}

fn metrics(outcome: &Outcome) -> String {
    let mut text = String::new();
    encode(
        &outcome.families,
        Encoding { format: Format::Text, names: Escaping::Underscores },
        &mut text,
    );
    text
}

#[track_caller]
fn has(outcome: &Outcome, line: &str) {
    let text = metrics(outcome);
    assert!(text.lines().any(|l| l == line), "no {line} in\n{text}");
}

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: 5\r\n\r\nready";

#[tokio::test]
async fn a_page_is_judged_by_status_headers_and_body() {
    let page = answering(OK).await;
    check(&ask(page, "").await, Reason::None, "HTTP status 200, 5 bytes in");
    check(&ask(page, ", body_contains: ready").await, Reason::None, "");
    check(
        &ask(page, ", body_contains: [ready, no]").await,
        Reason::BodyMismatch,
        "does not contain `no`",
    );
    check(&ask(page, ", body_matches: '^r.*y$'").await, Reason::None, "");
    check(&ask(page, ", body_matches: ['^x']").await, Reason::BodyMismatch, "does not match `^x`");
    let o = ask(page, ", body_not_matches: [rea]").await;
    check(&o, Reason::BodyMismatch, "the body has `rea`, matches `rea`");
    has(&o, "probe_failed_due_to_regex 1");
    check(
        &ask(page, ", expect_status: [404, 5xx]").await,
        Reason::HttpStatus,
        "status 200, wanted 404, 5xx",
    );
    check(&ask(page, ", expect_status: 200").await, Reason::None, "");
    check(&ask(page, ", expect_headers: {content-type: ^text/}").await, Reason::None, "");
    let o = ask(page, ", expect_headers: {content-type: json}").await;
    check(
        &o,
        Reason::HeaderMismatch,
        "the header `content-type` is `text/html`, does not match `json`",
    );
    check(
        &ask(page, ", expect_headers: {x-a: ''}").await,
        Reason::HeaderMismatch,
        "`x-a` is missing",
    );
    let o = ask(page, ", reject_headers: {content-type: html}").await;
    check(&o, Reason::HeaderMismatch, "the header `content-type` is `text/html`, matches `html`");
    check(&ask(page, ", fail_if_not_ssl: true").await, Reason::TlsPolicy, "not encrypted");
    check(&ask(page, ", body_limit: 4B").await, Reason::BodyTooLarge, "over 4 bytes");
}

#[tokio::test]
async fn tells_what_blackbox_exporter_tells() {
    let o = ask(answering(OK).await, "").await;
    for line in [
        "probe_success 1",
        "probe_http_status_code 200",
        "probe_http_redirects 0",
        "probe_http_content_length 5",
        "probe_http_uncompressed_body_length 5",
        "probe_http_ssl 0",
        "probe_http_version 1.1",
        "probe_ip_protocol 4",
        "probe_http_duration_seconds{phase=\"tls\"} 0",
        "# HELP probe_http_duration_seconds Duration of http request by phase, summed over all redirects",
    ] {
        has(&o, line);
    }
    let text = metrics(&o);
    for phase in ["resolve", "connect", "processing", "transfer"] {
        assert!(text.contains(&format!("phase=\"{phase}\"}} ")), "{text}");
    }
    assert!(
        text.contains("probe_duration_seconds 0.") || text.contains("probe_duration_seconds "),
        "{text}"
    );
    assert!(text.contains("\nprobe_dns_lookup_time_seconds "), "{text}");
}

#[tokio::test]
async fn has_no_other_metrics_than_blackbox_exporter() {
    let known = [
        "probe_success",
        "probe_duration_seconds",
        "probe_dns_lookup_time_seconds",
        "probe_ip_protocol",
        "probe_ip_addr_hash",
        "probe_http_duration_seconds",
        "probe_http_status_code",
        "probe_http_redirects",
        "probe_http_content_length",
        "probe_http_uncompressed_body_length",
        "probe_http_ssl",
        "probe_http_version",
    ];
    let o = ask(answering(OK).await, "").await;
    let names: std::collections::BTreeSet<_> = o.families.iter().map(|f| f.name.as_str()).collect();
    assert_eq!(names, known.into_iter().collect());
}

#[tokio::test]
async fn who_we_are_is_sent_and_not_shown() {
    let echo = answering("HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n{request}").await;
    let auth = ", basic_auth: {username: u, password: 'p:w'}, headers: {X-Key: k3y}, method: post, body: '12'";
    let yaml = format!(
        "http: {{url: 'http://{echo}/a?b=c'{auth}, body_matches: \
        ['^POST /a\\?b=c HTTP/1.1\\r\\n', '\\r\\nauthorization: Basic dTpwOnc=\\r\\n', '\\r\\nx-key: k3y\\r\\n', \
         '\\r\\nhost: {echo}\\r\\n', '\\r\\ncontent-length: 2\\r\\n', '\\r\\nuser-agent: veilleur-agent/']}}"
    );
    let probe = probe(&yaml);
    check(&run(probe.as_ref()).await, Reason::None, "");
    let other = common::probe(&format!("http: {{url: 'http://{echo}/'{auth}}}"));
    let shown = format!("{other:?}");
    assert!(
        !shown.contains("k3y") && !shown.contains("p:w") && !shown.contains("dTpwOnc"),
        "{shown}"
    );
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "p:w\n").unwrap();
    let more = format!(
        ", basic_auth: {{username: u, password_file: {}}}, body_contains: dTpwOnc=",
        file.path().display()
    );
    check(&ask(echo, &more).await, Reason::None, "");
}

#[tokio::test]
async fn redirects_are_followed_and_each_hop_is_checked_x03() {
    let hops = peer(|mut socket, n| async move {
        let request = head(&mut socket).await;
        let line = request.lines().next().unwrap_or_default().to_owned();
        let answer = match n {
            0 => "HTTP/1.1 302 Found\r\nlocation: /next?q\r\ncontent-length: 0\r\n\r\n".to_owned(),
            1 => {
                "HTTP/1.1 308 Permanent Redirect\r\nlocation: ../last\r\ncontent-length: 0\r\n\r\n"
                    .to_owned()
            }
            _ => format!("HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n{line}"),
        };
        let _ = socket.write_all(answer.as_bytes()).await;
    })
    .await;
    let o = ask(hops, ", method: POST, body: x, body_contains: 'GET /last'").await;
    check(&o, Reason::None, "2 redirects");
    has(&o, "probe_http_redirects 2");

    let circle =
        answering("HTTP/1.1 301 Moved\r\nlocation: http://{}/page\r\ncontent-length: 0\r\n\r\n")
            .await;
    check(&ask(circle, "").await, Reason::BadRedirect, "more than 10 redirects");
    check(&ask(circle, ", max_redirects: 2").await, Reason::BadRedirect, "more than 2 redirects");
    let o = ask(circle, ", follow_redirects: false").await;
    check(&o, Reason::HttpStatus, "HTTP status 301, wanted 2xx");
    check(&ask(circle, ", follow_redirects: false, expect_status: 301").await, Reason::None, "");

    for (location, part) in [
        ("location: file:///etc/passwd\r\n", "is not an http or https URL"),
        ("location: gopher://x/\r\n", "is not an http or https URL"),
        ("location: http://user@x/\r\n", "a URL cannot hold a user name"),
        ("location: http://x:0/\r\n", "no port"),
        ("location: http://[/\r\n", "is no URL"),
        ("", "leads nowhere"),
    ] {
        let answer = format!("HTTP/1.1 302 Found\r\n{location}content-length: 0\r\n\r\n");
        let answer: &'static str = answer.leak();
        check(&ask(answering(answer).await, "").await, Reason::BadRedirect, part);
    }
}

#[tokio::test]
async fn credentials_stay_with_their_origin() {
    let other = answering("HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n{request}").await;
    let answer =
        format!("HTTP/1.1 302 Found\r\nlocation: http://{other}/\r\ncontent-length: 0\r\n\r\n");
    let first = answering(answer.leak()).await;
    let more = ", basic_auth: {username: u, password: p}, headers: {Cookie: c, X-Other: o}, \
                body_not_matches: ['(?i)authorization', '(?i)cookie'], body_contains: x-other";
    check(&ask(first, more).await, Reason::None, "1 redirect");
}

#[tokio::test]
async fn every_way_to_fail_has_its_reason_f54() {
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    check(&ask(closed, "").await, Reason::ConnectionRefused, "connect to");
    let o = run(probe("http: {url: 'http://no-such-name.invalid/'}").as_ref()).await;
    assert!(matches!(o.reason, Reason::NoSuchName | Reason::ResolveFailed), "{o:?}");
    has(&o, "probe_success 0");
    has(&o, "probe_http_status_code 0");
    let hang_up = peer(|socket, _| async move { drop(socket) }).await;
    check(&ask(hang_up, "").await, Reason::ConnectionReset, "");
    check(&ask(answering("SSH-2.0-x\r\n").await, "").await, Reason::ProtocolError, "");
    let half = answering("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf").await;
    check(&ask(half, "").await, Reason::ConnectionReset, "answer broke off");
    let half = answering("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nha").await;
    check(&ask(half, "").await, Reason::ConnectionReset, "answer broke off");
    let head = answering("HTTP/1.1 200 OK\r\ncontent-le").await;
    let o = ask(head, "").await;
    assert!(matches!(o.reason, Reason::ConnectionReset | Reason::ProtocolError), "{o:?}");
    let plain = peer(|mut socket, _| async move {
        let _ = socket.write_all(b"220 this is no TLS\r\n").await;
        let _ = socket.shutdown().await;
    })
    .await;
    let o = run(probe(&format!("http: {{url: 'https://{plain}/'}}")).as_ref()).await;
    check(&o, Reason::TlsFailed, "TLS handshake");
}

#[tokio::test]
async fn an_endless_body_is_left_at_the_limit_f38() {
    let endless = peer(|mut socket, _| async move {
        head(&mut socket).await;
        let _ = socket.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await;
        while socket.write_all(&[b'x'; 65536]).await.is_ok() {}
    })
    .await;
    check(&ask(endless, "").await, Reason::BodyTooLarge, "over 1048576 bytes");
}

const BRIEF: Duration = Duration::from_millis(150);

#[tokio::test]
async fn says_in_which_phase_the_time_was_up() {
    let silent = peer(|socket, _| async move {
        std::mem::forget(socket);
    })
    .await;
    let late = async |yaml: String| run_for(probe(&yaml).as_ref(), BRIEF).await;
    let (o, took) = late(format!("http: {{url: 'http://{silent}/'}}")).await;
    check(&o, Reason::Timeout, "there is no answer from `127.0.0.1:");
    assert!(took < Duration::from_secs(1), "{took:?}");
    let (o, _) = late(format!("http: {{url: 'https://{silent}/'}}")).await;
    check(&o, Reason::Timeout, "the TLS handshake with `127.0.0.1:");
    let slow = peer(|mut socket, _| async move {
        head(&mut socket).await;
        let _ = socket.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nabc").await;
        std::mem::forget(socket);
    })
    .await;
    let (o, _) = late(format!("http: {{url: 'http://{slow}/'}}")).await;
    check(&o, Reason::Timeout, "is not complete, with 3 bytes after 0.");
    has(&o, "probe_http_status_code 200");
    let (o, _) = late(format!("tcp: {{address: '{silent}', expect: x}}")).await;
    check(&o, Reason::Timeout, "has not said a word");
    let (o, _) = late(format!("tcp: {{address: '{silent}', tls: {{}}}}")).await;
    check(&o, Reason::Timeout, "the TLS handshake with");
}

#[tokio::test]
async fn a_banner_is_compared_and_shown_harmlessly() {
    let mail = peer(|mut socket, _| async move {
        let _ = socket.write_all(b"220 mail\x1b[31m ready\r\n").await;
        let mut line = [0; 64];
        let length = socket.read(&mut line).await.unwrap_or(0);
        let _ = socket.write_all(&line[..length]).await;
    })
    .await;
    let tcp =
        async |more: &str| run(probe(&format!("tcp: {{address: '{mail}'{more}}}")).as_ref()).await;
    let o = tcp("").await;
    check(&o, Reason::None, "connected to 127.0.0.1:");
    has(&o, "probe_success 1");
    has(&o, "probe_ip_protocol 4");
    check(&tcp(", expect: ^220").await, Reason::None, "220 mail\\u{1b}[31m ready");
    check(&tcp(r#", send: "EHLO x\r\n", expect: EHLO"#).await, Reason::None, "220 mail");
    let o = tcp(r#", send: "x", expect: "^550""#).await;
    check(&o, Reason::BodyMismatch, "does not match `^550`");
    has(&o, "probe_failed_due_to_regex 1");
    let hang_up = peer(|socket, _| async move { drop(socket) }).await;
    let o = run(probe(&format!("tcp: {{address: '{hang_up}', expect: x}}")).as_ref()).await;
    check(&o, Reason::ConnectionReset, "");
    let endless =
        peer(|mut socket, _| async move { while socket.write_all(&[b'x'; 4096]).await.is_ok() {} })
            .await;
    let o = run(probe(&format!("tcp: {{address: '{endless}', expect: y}}")).as_ref()).await;
    check(&o, Reason::BodyMismatch, "65536 bytes came");
}

#[test]
fn faults_are_told_with_their_places() {
    let check = |yaml: &str, expected: &str| assert_eq!(faults(yaml), expected, "{yaml}");
    check("http: {url: 'ftp://x/'}", "test.yml:1:13: `ftp://x/` is not an http or https URL");
    check(
        "http: {url: 'http://u:p@x/'}",
        "test.yml:1:13: a URL cannot hold a user name; use basic_auth",
    );
    check(
        "http: {url: '::'}",
        "test.yml:1:13: `::` is not a URL\n  help: write it like `https://shop.example/health`",
    );
    check("http: {url: 'http://x/', method: 'L K'}", "test.yml:1:34: `L K` is not an HTTP method");
    check(
        "http: {url: 'http://x/', body_matches: '('}",
        "test.yml:1:40: `(` is not a regular expression: unclosed group",
    );
    check(
        "http: {url: 'http://x/', headers: {'a b': x}}",
        "test.yml:1:43: `a b` is not a name of a header",
    );
    check(
        "http: {url: 'http://x/', expect_status: 20}",
        "test.yml:1:41: `20` is not an HTTP status\n  help: write it like `200`, `300-399` or `2xx`",
    );
    check(
        "http: {url: 'http://x/', basic_auth: {username: u}}",
        "test.yml:1:38: either `password` or `password_file` is needed",
    );
    check(
        "http: {url: 'http://x/', tls: {ca_file: /no/such}}",
        "test.yml:1:31: cannot read /no/such as PEM: I/O error: No such file or directory (os error 2)",
    );
    check(
        "http: {url: 'http://x/', fail_if_ssl: true, fail_if_not_ssl: true}",
        "test.yml:1:13: no connection can pass both ways\n  help: remove `fail_if_ssl` or `fail_if_not_ssl`",
    );
    check(
        "tcp: {address: db.example}",
        "test.yml:1:16: `db.example` has no port\n  help: write it like `db.example:5432`",
    );
    check(
        "tcp: {address: '::1:80'}",
        "test.yml:1:16: `::1:80` is an IPv6 address without brackets, or has no port\n  help: write it like `db.example:5432`",
    );
    check(
        "tcp: {address: 'x:1', expect: '['}",
        "test.yml:1:31: `[` is not a regular expression: unclosed character class",
    );
}
