//! The agent beside blackbox_exporter itself: the same modules, the same targets, the same answers.
//!
//! Compared are the help and the type of every family, and all series with their labels and values; of
//! times only that they are there. What we say besides begins with `veilleur_`.
//!
//! There is no WebSocket in a blackbox_exporter that has been released; that prober is judged by
//! `tests/acceptance/agent/blackbox_websocket.rs`.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixListener;

use tests::certificates::{Authority, Purpose};
use tests::dns_server;
use tests::http_server::{HttpServer, Reply};
use tests::program::{Program, free_port};
use tests::tls_server::TlsServer;
use tests::{escaped, get, peers, wait_until};

use crate::stage::{Agent, Stage};

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
  gzip_cel: {prober: http, http: {<<: *web, compression: gzip, fail_if_body_json_matches_cel: body.ok}}
  br: {prober: http, http: {<<: *web, compression: br}}
  br_body: {prober: http, http: {<<: *web, compression: br, headers: {Accept-Encoding: br}, fail_if_body_not_matches_regexp: [^fine$]}}
  br_cel: {prober: http, http: {<<: *web, compression: br, fail_if_body_json_matches_cel: body.ok}}
  br_small: {prober: http, http: {<<: *web, compression: br, body_size_limit: 8B, fail_if_body_matches_regexp: [a]}}
  deflate: {prober: http, http: {<<: *web, compression: deflate}}
  deflate_body: {prober: http, http: {<<: *web, compression: deflate, fail_if_body_not_matches_regexp: [fine]}}
  identity: {prober: http, http: {<<: *web, compression: identity, fail_if_body_not_matches_regexp: [fine]}}
  old: {prober: http, http: {<<: *web, valid_http_versions: [HTTP/1.0]}}
  small: {prober: http, http: {<<: *web, body_size_limit: 3B}}
  small_body: {prober: http, http: {<<: *web, body_size_limit: 3B, fail_if_body_matches_regexp: [nothing]}}
  kilo: {prober: http, http: {<<: *web, body_size_limit: 1KB, compression: br}}
  cel: {prober: http, http: {<<: *web, fail_if_body_json_not_matches_cel: "body.ok && body.items.all(x, x.n < 3) && body.name.startsWith('sh')"}}
  cel_not: {prober: http, http: {<<: *web, fail_if_body_json_matches_cel: "body.items.exists(x, x.n == 2)"}}
  cel_sum: {prober: http, http: {<<: *web, fail_if_body_json_not_matches_cel: "body.items[0].n + 1.0 == 2.0"}}
  cel_mixed: {prober: http, http: {<<: *web, fail_if_body_json_not_matches_cel: "body.items[0].n + 1 == 2"}}
  cel_text: {prober: http, http: {<<: *web, fail_if_body_json_not_matches_cel: body.name}}
  cel_missing: {prober: http, http: {<<: *web, fail_if_body_json_matches_cel: body.missing}}
  cel_regexp: {prober: http, http: {<<: *web, fail_if_body_json_matches_cel: body.ok, fail_if_body_matches_regexp: [shop]}}
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
            std::thread::spawn(move || talk(socket.try_clone().ok()?, socket));
        }
    });
    port
}

fn talk(read: impl Read, mut socket: impl Write) -> Option<()> {
    socket.write_all(b"220 mail ESMTP ready\r\n").ok()?;
    for line in BufReader::new(read).lines() {
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
        let packed = |coding: &str, body: &[u8]| {
            Reply::Answer(200, format!("content-encoding: {coding}\r\n"), body.to_vec())
        };
        let raw = |text: &str| Reply::Raw(text.as_bytes().to_vec());
        let is_known = |value: &str| asked.headers.get("authorization").is_some_and(|v| v == value);
        match asked.path.as_str() {
            "/missing" => answer(404, ""),
            "/loop" => answer(302, "location: /loop\r\n"),
            "/once" => answer(302, "location: /fine?x=y\r\n"),
            "/refused" => answer(302, "location: http://127.0.0.1:1/\r\n"),
            "/thousand" => packed("br", &[31, 251, 3, 248, 39, 0, 162, 177, 64, 160, 54]),
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
            // `brotli` and bare deflate of the usual body, and of 16 zeros.
            "/br" => packed("br", &[15, 2, 128, 102, 105, 110, 101, 10, 3]),
            "/zeros" => packed("br", &[31, 15, 0, 248, 39, 0, 34, 140, 0, 0]),
            "/deflate" => packed("deflate", &[75, 203, 204, 75, 229, 2, 0]),
            "/cut" => packed("deflate", &[75, 203, 204]),
            "/dated" => answer(200, "last-modified: Wed, 21 Oct 2026 07:28:00 GMT\r\n"),
            "/chunked" => {
                raw("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nfine\n\r\n0\r\n\r\n")
            }
            "/old" => raw("HTTP/1.0 200 OK\r\n\r\nfine\n"),
            "/json" => {
                Reply::text(r#"{"ok": true, "name": "shop", "items": [{"n": 1}, {"n": 2}]}"#)
            }
            "/reset" => Reply::Close,
            _ => answer(200, "x-test: yes\r\n"),
        }
    })
}

/// What is said of the families of a page, and its series, but for what is ours alone; times have
/// no value.
fn series(text: &str) -> BTreeMap<String, Option<f64>> {
    let (told, samples): (Vec<&str>, Vec<&str>) =
        text.lines().filter(|line| !line.is_empty()).partition(|line| line.starts_with('#'));
    let told = told.into_iter().filter(|line| !line.contains(" veilleur_"));
    let told = told.map(|line| (line.to_owned(), None));
    let samples = samples.into_iter().map(|line| line.rsplit_once(' ').unwrap());
    samples
        .filter(|(series, _)| !series.starts_with("veilleur_"))
        .map(|(series, value)| {
            let name = series.split('{').next().unwrap();
            // Which one is chosen is a matter of the clients' taste.
            let series = if name == "probe_tls_cipher_info" { name } else { series };
            let is_time = name.ends_with("_seconds") && !name.ends_with("_timestamp_seconds");
            (series.to_owned(), (!is_time).then(|| value.parse().unwrap()))
        })
        .chain(told)
        .collect()
}

/// The agent and blackbox_exporter, both with the same modules.
struct Pair {
    stage: Stage,
    agent: Agent,
    _peer: Program,
    theirs: String,
}

impl Pair {
    /// Both with the modules of `blackbox.yml` in the stage's folder.
    fn start(stage: Stage, program: &std::path::Path, allowed: &str) -> Self {
        let file = stage.text("blackbox.yml");
        stage.configure(&format!(
            "host: {{enabled: false}}\nblackbox: {{config: {file}, allow_targets: {allowed}}}\n"
        ));
        let agent = stage.start();
        let port = free_port();
        let arguments =
            [format!("--config.file={file}"), format!("--web.listen-address=127.0.0.1:{port}")];
        let peer = Program::start(program.to_str().unwrap(), arguments);
        let theirs = format!("http://127.0.0.1:{port}");
        wait_until("blackbox_exporter answers", || get(&format!("{theirs}/-/healthy")).is_some());
        Self { stage, agent, _peer: peer, theirs }
    }

    /// In what the answers to each of `cases`, module and target, differ.
    fn differences(&self, cases: &[(&str, String)]) -> Vec<String> {
        let mut differences = Vec::new();
        for (module, target) in cases {
            let path = format!("/probe?module={module}&target={}", escaped(target));
            let (status, expected) = get(&format!("{}{path}", self.theirs)).unwrap();
            assert_eq!(status, 200, "{module} {target}: {expected}");
            let (status, got) = self.agent.get(&path);
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
        differences
    }
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
    let pair = Pair::start(stage, &program, "[127.0.0.0/8, localhost]");

    let page = |path: &str| web.url(path);
    let at = |port: u16| format!("127.0.0.1:{port}");
    let secure = |host: &str| format!("https://{host}:{}/", https.port());
    let cases = [
        ("web", page("/")),
        ("web", web.address()),
        ("web", page("/missing")),
        ("web", page("/once")),
        ("web", page("/loop")),
        ("web", page("/refused")),
        ("kilo", page("/thousand")),
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
        ("gzip_cel", page("/json")),
        ("br", page("/br")),
        ("br", page("/")),
        ("br", page("/json")),
        ("br_body", page("/br")),
        ("br_body", page("/")),
        ("br_body", page("/missing")),
        ("br_cel", page("/json")),
        ("br_small", page("/zeros")),
        ("deflate", page("/deflate")),
        ("deflate_body", page("/deflate")),
        ("deflate_body", page("/cut")),
        ("identity", page("/")),
        ("old", page("/old")),
        ("old", page("/")),
        ("small", page("/")),
        ("small_body", page("/")),
        ("small_body", page("/missing")),
        ("cel", page("/json")),
        ("cel", page("/")),
        ("cel", page("/missing")),
        ("cel_not", page("/json")),
        ("cel_sum", page("/json")),
        ("cel_mixed", page("/json")),
        ("cel_text", page("/json")),
        ("cel_missing", page("/json")),
        ("cel_regexp", page("/json")),
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
    let differences = pair.differences(&cases);
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

/// Modules of the other probers; `CA` stands for a certificate.
const OTHERS: &str = r#"
modules:
  a: {prober: dns, timeout: 2s, dns: &dns {query_name: example.test, query_type: A, preferred_ip_protocol: ip4}}
  tcp: {prober: dns, dns: {<<: *dns, transport_protocol: tcp}}
  any: {prober: dns, dns: {query_name: example.test}}
  none: {prober: dns, dns: {<<: *dns, query_name: nowhere.test}}
  none_wanted: {prober: dns, dns: {<<: *dns, query_name: nowhere.test, valid_rcodes: [NXDOMAIN, SERVFAIL]}}
  broken: {prober: dns, dns: {<<: *dns, query_name: broken.test}}
  silent: {prober: dns, timeout: 300ms, dns: {<<: *dns, query_name: silent.test}}
  soa: {prober: dns, dns: {<<: *dns, query_name: zone.test, query_type: SOA}}
  no_soa: {prober: dns, dns: {<<: *dns, query_type: SOA}}
  cut: {prober: dns, dns: {<<: *dns, query_name: cut.test}}
  cut_tcp: {prober: dns, dns: {<<: *dns, query_name: cut.test, transport_protocol: tcp}}
  chaos: {prober: dns, dns: {<<: *dns, query_name: version.bind, query_class: CH, query_type: TXT, validate_answer_rrs: {fail_if_not_matches_regexp: ['^version.bind.\t300\tCH\tTXT\t.one.$']}}}
  not_recursive: {prober: dns, dns: {<<: *dns, recursion_desired: false}}
  matches: {prober: dns, dns: {<<: *dns, query_name: two.test, validate_answer_rrs: {fail_if_matches_regexp: ['\.2$']}}}
  matches_not: {prober: dns, dns: {<<: *dns, query_name: two.test, validate_answer_rrs: {fail_if_matches_regexp: ['\.3$']}}}
  all: {prober: dns, dns: {<<: *dns, query_name: two.test, validate_answer_rrs: {fail_if_all_match_regexp: [two.test]}}}
  all_not: {prober: dns, dns: {<<: *dns, query_name: two.test, validate_answer_rrs: {fail_if_all_match_regexp: ['\.2$']}}}
  not: {prober: dns, dns: {<<: *dns, query_name: two.test, validate_answer_rrs: {fail_if_not_matches_regexp: ['\.2$']}}}
  not_not: {prober: dns, dns: {<<: *dns, query_name: two.test, validate_answer_rrs: {fail_if_not_matches_regexp: ['two.test.\t300\tIN\tA\t192']}}}
  one_of: {prober: dns, dns: {<<: *dns, query_name: two.test, validate_answer_rrs: {fail_if_none_matches_regexp: ['\.9$', '\.2$']}}}
  one_of_none: {prober: dns, dns: {<<: *dns, query_name: two.test, validate_answer_rrs: {fail_if_none_matches_regexp: ['\.9$']}}}
  empty: {prober: dns, dns: {<<: *dns, query_name: empty.test, validate_answer_rrs: {fail_if_none_matches_regexp: ['.']}}}
  empty_not: {prober: dns, dns: {<<: *dns, query_name: empty.test, validate_answer_rrs: {fail_if_not_matches_regexp: ['.']}}}
  empty_all: {prober: dns, dns: {<<: *dns, query_name: empty.test, validate_answer_rrs: {fail_if_all_match_regexp: ['.']}}}
  authority: {prober: dns, dns: {<<: *dns, validate_authority_rrs: {fail_if_none_matches_regexp: ['.']}}}
  additional: {prober: dns, dns: {<<: *dns, validate_additional_rrs: {fail_if_none_matches_regexp: ['.']}}}
  over_tls: {prober: dns, timeout: 2s, dns: {<<: *dns, transport_protocol: tcp, dns_over_tls: true, tls_config: {insecure_skip_verify: true}}}
  ping: {prober: icmp, timeout: 2s, icmp: {preferred_ip_protocol: ip4}}
  ping_far: {prober: icmp, timeout: 2s, icmp: {preferred_ip_protocol: ip4, ttl: 5, payload_size: 1000, source_ip_address: 127.0.0.1}}
  ping_whole: {prober: icmp, timeout: 2s, icmp: {preferred_ip_protocol: ip4, dont_fragment: true}}
  ping6: {prober: icmp, timeout: 2s, icmp: {preferred_ip_protocol: ip6, ip_protocol_fallback: false}}
  grpc: {prober: grpc, timeout: 2s, grpc: &grpc {preferred_ip_protocol: ip4}}
  cart: {prober: grpc, timeout: 2s, grpc: {<<: *grpc, service: shop.Cart}}
  pay: {prober: grpc, timeout: 2s, grpc: {<<: *grpc, service: shop.Pay}}
  nobody: {prober: grpc, timeout: 2s, grpc: {<<: *grpc, service: shop.None}}
  grpc_metadata: {prober: grpc, timeout: 2s, grpc: {<<: *grpc, metadata: {x-a: [b]}}}
  grpc_tls: {prober: grpc, timeout: 2s, grpc: {<<: *grpc, tls: true, tls_config: {ca_file: CA}}}
  grpc_untrusted: {prober: grpc, timeout: 2s, grpc: {<<: *grpc, tls: true}}
  unix: {prober: unix, timeout: 2s}
  unix_talk: {prober: unix, unix: {query_response: [{expect: '^220 ([^ ]+)'}, {send: 'hello ${1}'}, {expect: '^250 you said hello'}]}}
  unix_mismatch: {prober: unix, unix: {query_response: [{send: bye}, {expect: never}]}}
  unix_bytes: {prober: unix, unix: {query_response: [{expect_bytes: '221'}]}}
  unix_tls: {prober: unix, unix: {tls: true, tls_config: {insecure_skip_verify: true}}}
"#;

/// gRPC's own server, on one port without TLS and on another with it.
const GRPC: &str = r#"
import sys
from concurrent import futures
import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

servicer = health.HealthServicer()
servicer.set("shop.Cart", health_pb2.HealthCheckResponse.SERVING)
servicer.set("shop.Pay", health_pb2.HealthCheckResponse.NOT_SERVING)
server = grpc.server(futures.ThreadPoolExecutor(4))
health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
read = lambda name: open(name, "rb").read()
secure = grpc.ssl_server_credentials([(read(sys.argv[3]), read(sys.argv[4]))])
server.add_insecure_port("127.0.0.1:" + sys.argv[1])
server.add_secure_port("127.0.0.1:" + sys.argv[2], secure)
server.start()
server.wait_for_termination()
"#;

#[test]
fn answers_of_the_other_probers_are_those_of_blackbox_exporter() {
    let Some(program) = peers::program("prometheus-blackbox-exporter") else { return };
    let stage = Stage::new();
    let authority = Authority::new(&stage.path(""), "authority");
    let (certificate, key) = authority.sign("localhost", Purpose::Server);
    let modules = OTHERS.replace("CA}", &format!("{}}}", authority.certificate()));
    std::fs::write(stage.path("blackbox.yml"), modules).unwrap();
    let socket = stage.text("talk.sock");
    let listener = UnixListener::bind(&socket).unwrap();
    std::thread::spawn(move || {
        for socket in listener.incoming().map_while(Result::ok) {
            std::thread::spawn(move || talk(socket.try_clone().ok()?, socket));
        }
    });
    let (dns, tls, closed) = (dns_server::start(), TlsServer::start(TLS_ANSWER), free_port());
    let (plain, secure) = (free_port(), free_port());
    let grpc = peers::python().map(|python| {
        std::fs::write(stage.path("server.py"), GRPC).unwrap();
        let (plain, secure) = (plain.to_string(), secure.to_string());
        let arguments = [&stage.text("server.py"), &plain, &secure, &key, &certificate];
        let server = Program::start(python.to_str().unwrap(), arguments);
        wait_until("the server of gRPC listens", || {
            [&plain, &secure]
                .iter()
                .all(|port| TcpStream::connect(format!("127.0.0.1:{port}")).is_ok())
        });
        server
    });

    let at = |port: u16| format!("127.0.0.1:{port}");
    let mut cases: Vec<(&str, String)> = Vec::new();
    for line in OTHERS.lines().filter(|line| line.contains("prober: dns")) {
        let module = line.trim().split(':').next().unwrap();
        cases.push((module, if module == "over_tls" { at(tls.port()) } else { at(dns) }));
    }
    cases.extend([("a", format!("localhost:{dns}")), ("a", at(closed)), ("tcp", at(closed))]);
    cases.extend([("a", "127.0.0.1".to_owned()), ("over_tls", at(closed))]);
    for module in ["ping", "ping_far", "ping_whole", "ping6"] {
        cases.push((module, "127.0.0.1".to_owned()));
        cases.push((module, "localhost".to_owned()));
    }
    let text = |suffix: &str| stage.text(suffix);
    for module in ["unix", "unix_talk", "unix_mismatch", "unix_bytes", "unix_tls"] {
        cases.push((module, socket.clone()));
        cases.push((module, text("none.sock")));
    }
    cases.extend([("grpc", at(closed)), ("grpc_tls", at(closed))]);
    if grpc.is_some() {
        for module in ["grpc", "cart", "pay", "nobody", "grpc_metadata", "grpc_tls"] {
            cases.push((module, at(plain)));
        }
        for module in ["grpc_tls", "grpc_untrusted"] {
            cases.push((module, format!("localhost:{secure}")));
            cases.push((module, format!("https://localhost:{secure}/path")));
        }
    }
    let allowed = format!("[127.0.0.0/8, localhost, {socket}, {}]", text("none.sock"));
    let pair = Pair::start(stage, &program, &allowed);
    let differences = pair.differences(&cases);
    assert!(differences.is_empty(), "{}", differences.join("\n"));
    let (status, text) = pair.agent.get("/probe?module=unix&target=/run/docker.sock");
    assert_eq!((status, text.starts_with("the target is not allowed")), (403, true), "{text}");
    drop(pair.stage);
}
