//! The agent beside blackbox_exporter itself: the same modules, the same targets, the same answers.
//!
//! Compared are all series with their labels and values; of times only that they are there. What we
//! say besides begins with `veilleur_`.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};

use tests::http_server::{HttpServer, Reply};
use tests::program::{Program, free_port};
use tests::tls_server::TlsServer;
use tests::{escaped, get, peers, wait_until};

use crate::stage::Stage;

const TLS_ANSWER: &str = "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nfine\n";

/// Modules of every kind of judgement; `CA` stands for a certificate.
const MODULES: &str = r#"
modules:
  web: {prober: http, timeout: 5s, http: &web {preferred_ip_protocol: ip4}}
  post: {prober: http, http: {<<: *web, method: POST, body: hello, headers: {X-A: b}, valid_status_codes: [200, 404]}}
  still: {prober: http, http: {<<: *web, follow_redirects: false, valid_status_codes: [302]}}
  body: {prober: http, http: {<<: *web, fail_if_body_not_matches_regexp: [nothing of it]}}
  no_body: {prober: http, http: {<<: *web, fail_if_body_matches_regexp: [nothing of it]}}
  header: {prober: http, http: {<<: *web, fail_if_header_not_matches: [{header: X-None, regexp: a}]}}
  header_or_none: {prober: http, http: {<<: *web, fail_if_header_matches: [{header: X-None, regexp: a, allow_missing: true}]}}
  gzip: {prober: http, http: {<<: *web, compression: gzip}}
  gzip_asked: {prober: http, http: {<<: *web, compression: gzip, headers: {Accept-Encoding: gzip}, fail_if_body_not_matches_regexp: [fine]}}
  old: {prober: http, http: {<<: *web, valid_http_versions: [HTTP/1.0]}}
  small: {prober: http, http: {<<: *web, body_size_limit: 3B}}
  not_ssl: {prober: http, http: {<<: *web, fail_if_not_ssl: true}}
  basic: {prober: http, http: {<<: *web, basic_auth: {username: user, password: pass}}}
  bearer: {prober: http, http: {<<: *web, bearer_token: abc}}
  ca: {prober: http, http: {<<: *web, tls_config: {ca_file: CA}}}
  any: {prober: http, http: {<<: *web, tls_config: {insecure_skip_verify: true}}}
  ssl: {prober: http, http: {<<: *web, fail_if_ssl: true, tls_config: {insecure_skip_verify: true}}}
  tcp: {prober: tcp, tcp: {preferred_ip_protocol: ip4}}
  tcp6: {prober: tcp, tcp: {preferred_ip_protocol: ip6, ip_protocol_fallback: false}}
  tls: {prober: tcp, tcp: {tls: true, tls_config: {ca_file: CA}}}
  tls_any: {prober: tcp, tcp: {tls: true, tls_config: {insecure_skip_verify: true}}}
  tls_none: {prober: tcp, tcp: {tls: true}}
  talk:
    prober: tcp
    tcp:
      query_response:
      - {expect: '^220 ([^ ]+) (.*)$', labels: [{name: host, value: '${1}'}, {name: rest, value: 'a ${2}'}]}
      - {send: "HELO ${1}"}
      - {expect: '^250 you said (HELO.*)', send: 'again ${1}'}
      - {expect: '^250 you said again HELO'}
  starttls:
    prober: tcp
    tcp:
      tls_config: {ca_file: CA}
      query_response: &starttls
      - {expect: '^220 ready', send: STARTTLS}
      - {expect: '^220 go on', starttls: true}
      - {send: "GET / HTTP/1.0\r\n\r"}
      - {expect: '^fine'}
  starttls_untrusted: {prober: tcp, tcp: {query_response: *starttls}}
  mismatch: {prober: tcp, tcp: {query_response: [{send: bye}, {expect: never}]}}
  bytes: {prober: tcp, tcp: {query_response: [{expect_bytes: '220 mail'}, {send: !!binary Ynll}]}}
  other_bytes: {prober: tcp, tcp: {query_response: [{expect_bytes: '221'}]}}
"#;

/// A server that greets, and says what was said to it, until it hears `bye`.
fn talker() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for socket in listener.incoming().map_while(Result::ok) {
            std::thread::spawn(move || talk(socket));
        }
    });
    port
}

fn talk(mut socket: TcpStream) -> Option<()> {
    socket.write_all(b"220 mail ESMTP ready\r\n").ok()?;
    for line in BufReader::new(socket.try_clone().ok()?).lines() {
        let line = line.ok()?;
        socket.write_all(format!("250 you said {line}\r\n").as_bytes()).ok()?;
        if line == "bye" {
            break;
        }
    }
    Some(())
}

fn web() -> HttpServer {
    HttpServer::start(|asked| {
        let answer =
            |status, headers: &str| Reply::Answer(status, headers.to_owned(), b"fine\n".to_vec());
        let raw = |text: &str| Reply::Raw(text.as_bytes().to_vec());
        let is_known = |value: &str| asked.headers.get("authorization").is_some_and(|v| v == value);
        match asked.path.as_str() {
            "/missing" => answer(404, ""),
            "/loop" => answer(302, "location: /loop\r\n"),
            "/once" => answer(302, "location: /fine?x=y\r\n"),
            "/login" if asked.headers.get("cookie").is_some_and(|v| v == "s=1") => answer(200, ""),
            "/login" => answer(302, "location: /login\r\nset-cookie: s=1; Path=/; HttpOnly\r\n"),
            "/nowhere" => answer(302, ""),
            "/post" if asked.method == "POST" && asked.body == "hello" => answer(200, ""),
            "/post" => answer(500, ""),
            "/basic" if is_known("Basic dXNlcjpwYXNz") => answer(200, ""),
            "/bearer" if is_known("Bearer abc") => answer(200, ""),
            "/basic" | "/bearer" => answer(401, ""),
            "/gzip" if asked.headers.get("accept-encoding").is_some_and(|v| v == "gzip") => {
                let packed: &[u8] = &[
                    31, 139, 8, 0, 0, 0, 0, 0, 2, 255, 75, 203, 204, 75, 229, 74, 131, 19, 0, 58,
                    108, 208, 72, 15, 0, 0, 0,
                ];
                Reply::Answer(200, "content-encoding: gzip\r\n".to_owned(), packed.to_vec())
            }
            "/dated" => answer(200, "last-modified: Wed, 21 Oct 2026 07:28:00 GMT\r\n"),
            "/chunked" => {
                raw("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nfine\n\r\n0\r\n\r\n")
            }
            "/old" => raw("HTTP/1.0 200 OK\r\n\r\nfine\n"),
            "/reset" => Reply::Close,
            _ => answer(200, "x-test: yes\r\n"),
        }
    })
}

/// The series of a page, but for what is ours alone; times have no value.
fn series(text: &str) -> BTreeMap<String, Option<f64>> {
    let samples = text.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
    let samples = samples.map(|line| line.rsplit_once(' ').unwrap());
    samples
        .filter(|(series, _)| !series.starts_with("veilleur_"))
        .map(|(series, value)| {
            let name = series.split('{').next().unwrap();
            // Which one is chosen is a matter of the clients' taste.
            let series = if name == "probe_tls_cipher_info" { name } else { series };
            let is_time = name.ends_with("_seconds") && !name.ends_with("_timestamp_seconds");
            (series.to_owned(), (!is_time).then(|| value.parse().unwrap()))
        })
        .collect()
}

#[test]
fn answers_are_those_of_blackbox_exporter() {
    let Some(program) = peers::program("prometheus-blackbox-exporter") else { return };
    let (web, https, talker, closed) = (web(), TlsServer::start(TLS_ANSWER), talker(), free_port());
    let later = TlsServer::after_a_word(TLS_ANSWER);
    let stage = Stage::new();
    let (theirs, other) = (https.authority(), later.authority());
    let both = [std::fs::read(theirs).unwrap(), std::fs::read(other).unwrap()].concat();
    std::fs::write(stage.path("ca.pem"), both).unwrap();
    let modules = MODULES.replace("CA}", &format!("{}}}", stage.text("ca.pem")));
    std::fs::write(stage.path("blackbox.yml"), modules).unwrap();
    let file = stage.text("blackbox.yml");
    stage.configure(&format!(
        "host: {{enabled: false}}\nblackbox: {{config: {file}, allow_targets: [127.0.0.0/8, localhost]}}\n"
    ));
    let agent = stage.start();
    let port = free_port();
    let arguments =
        [format!("--config.file={file}"), format!("--web.listen-address=127.0.0.1:{port}")];
    let _peer = Program::start(program.to_str().unwrap(), arguments);
    let theirs = format!("http://127.0.0.1:{port}");
    wait_until("blackbox_exporter answers", || get(&format!("{theirs}/-/healthy")).is_some());

    let page = |path: &str| web.url(path);
    let at = |port: u16| format!("127.0.0.1:{port}");
    let secure = |host: &str| format!("https://{host}:{}/", https.port());
    let cases = [
        ("web", page("/")),
        ("web", web.address()),
        ("web", page("/missing")),
        ("web", page("/once")),
        ("web", page("/loop")),
        ("web", page("/nowhere")),
        ("web", page("/login")),
        ("web", page("/chunked")),
        ("web", page("/old")),
        ("web", page("/dated")),
        ("web", page("/reset")),
        ("web", format!("http://{}/", at(closed))),
        ("web", secure("127.0.0.1")),
        ("web", "http://localhost.invalid/".to_owned()),
        ("post", page("/post")),
        ("post", page("/missing")),
        ("still", page("/once")),
        ("body", page("/")),
        ("no_body", page("/")),
        ("header", page("/")),
        ("header_or_none", page("/")),
        ("gzip", page("/gzip")),
        ("gzip", page("/")),
        ("gzip_asked", page("/gzip")),
        ("old", page("/old")),
        ("old", page("/")),
        ("small", page("/")),
        ("not_ssl", page("/")),
        ("basic", page("/basic")),
        ("bearer", page("/bearer")),
        ("basic", page("/bearer")),
        ("ca", secure("127.0.0.1")),
        ("ca", secure("localhost")),
        ("any", secure("127.0.0.1")),
        ("ssl", secure("127.0.0.1")),
        ("any", page("/")),
        ("tcp", at(talker)),
        ("tcp", at(closed)),
        ("tcp6", at(talker)),
        ("tls", at(https.port())),
        ("tls_any", at(https.port())),
        ("tls_none", at(https.port())),
        ("tls", at(closed)),
        ("talk", at(talker)),
        ("starttls", at(later.port())),
        ("starttls_untrusted", at(later.port())),
        ("mismatch", at(talker)),
        ("bytes", at(talker)),
        ("other_bytes", at(talker)),
    ];
    let mut differences = Vec::new();
    for (module, target) in &cases {
        let path = format!("/probe?module={module}&target={}", escaped(target));
        let (status, expected) = get(&format!("{theirs}{path}")).unwrap();
        assert_eq!(status, 200, "{module} {target}: {expected}");
        let (status, got) = agent.get(&path);
        if target.contains("localhost.invalid") {
            assert_eq!(status, 403, "{got}");
            continue;
        }
        assert_eq!(status, 200, "{module} {target}: {got}");
        let (ours, theirs) = (series(&got), series(&expected));
        for name in ours.keys().chain(theirs.keys()) {
            if ours.get(name) != theirs.get(name) {
                let (ours, theirs) = (ours.get(name), theirs.get(name));
                differences.push(format!("{module} {target} {name}: {ours:?}, not {theirs:?}"));
            }
        }
    }
    differences.sort();
    differences.dedup();
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}
