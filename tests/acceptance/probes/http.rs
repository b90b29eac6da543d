//! Pages of Debian's nginx: over TLS with certificates on both sides, packed, behind a login, through
//! Debian's tinyproxy; and a token from an issuer of our own.

use probes::{Outcome, Reason};
use tests::http_server::{HttpServer, Reply};
use tests::program::{Program, free_port};

use crate::stage::{Stage, metric, value};

/// A shop: `/login` sets a cookie and leads to `/cart`, which wants it; `/state` is JSON, `/big` is packed.
const SHOP: &str = r#"
    location = /form { default_type text/html; add_header Set-Cookie "session=s1; HttpOnly";
        return 200 '<input name="csrf" value="x&y">'; }
    location = /login { if ($cookie_session != s1) { return 403; } if ($arg_csrf != "x%26y") { return 400; }
        return 302 /cart; }
    location = /cart { if ($cookie_session != s1) { return 403; }
        default_type application/json; return 200 '{"items": [{"id": "a/1", "n": 3}], "total": 12.5}'; }
    location ~ ^/items/(?<id>.+)$ { default_type text/plain; return 200 "item $id"; }
    location = /token { if ($http_authorization != "Bearer t0k3n") { return 401; } return 200 in; }
    location = /method { return 200 $request_method; }
    location = /away { return 302 http://localhost:PORT/; }
    location / { root DIR/www; gzip on; gzip_types text/plain; }
"#;

fn nginx(stage: &Stage, listen: &str) -> Program {
    let big = "ready ".repeat(10_000);
    stage.write("www/big.txt", &big);
    let config = format!(
        "daemon off; master_process off; pid DIR/pid; error_log stderr; events {{}}
        http {{ access_log off; client_body_temp_path DIR/a; proxy_temp_path DIR/b;
        fastcgi_temp_path DIR/c; uwsgi_temp_path DIR/d; scgi_temp_path DIR/e;
        types {{ text/plain txt; }}
        server {{ listen 127.0.0.1:PORT {listen}; {SHOP} }} }}"
    );
    let config = stage.write("nginx.conf", &config);
    stage.start("/usr/sbin/nginx", &["-c", &config])
}

fn tells(outcome: &Outcome, name: &str) -> bool {
    outcome.families.iter().any(|family| family.name == name)
}

#[test]
fn a_journey_through_a_shop() {
    let stage = Stage::new();
    let _server = nginx(&stage, "");
    let journey = r#"
http:
  steps:
  - name: form
    url: http://127.0.0.1:PORT/form
    extract: {csrf: {regex: 'value="([^"]+)"'}}
  - {name: login, url: 'http://127.0.0.1:PORT/login?csrf=${csrf}', extract: {item: {json: '$.items[0].id'}},
     json: [{path: $.total, name: total, warn: 100}, {path: $.items.length(), equals: 1}]}
  - {name: item, url: 'http://127.0.0.1:PORT/items/${item}', body_contains: 'item ${item}'}
  thresholds: {seconds: {crit: 10}, connect: {crit: 5}}
"#;
    let o = stage.check(journey, Reason::None, "3 steps in");
    assert_eq!(metric(&o, "probe_http_redirects"), 1.0);
    assert_eq!(metric(&o, "probe_http_json_value{step=\"login\",name=\"total\"}"), 12.5);
    assert_eq!((value(&o, "login.total"), value(&o, "connect") < 5.0), (12.5, true));
    let time = "probe_http_step_duration_seconds{step=\"login\",phase=\"processing\"}";
    assert!(metric(&o, time) > 0.0);
    let broken = journey.replace("?csrf=${csrf}", "?csrf=guess");
    let o = stage.check(&broken, Reason::HttpStatus, "step `login`: HTTP status 400, wanted 2xx");
    assert!(o.details.ends_with("item: not taken"), "{}", o.details);
    assert_eq!(metric(&o, "probe_http_step_success{step=\"form\"}"), 1.0);
    assert_eq!(metric(&o, "probe_http_step_success{step=\"login\"}"), 0.0);
    let dear = journey.replace("warn: 100", "warn: 10");
    stage.check(&dear, Reason::Threshold, "step `login`: `total` is 12.5, warning by `10`");
}

#[test]
fn a_page_is_asked_for_in_every_way() {
    let stage = Stage::new();
    let _server = nginx(&stage, "");
    let ask =
        |path: &str, more: &str| format!("http: {{url: 'http://127.0.0.1:PORT/{path}'{more}}}");
    let o =
        stage.check(&ask("big.txt", ", compression: gzip, body_contains: ready"), Reason::None, "");
    assert_eq!(metric(&o, "probe_http_uncompressed_body_length"), 60_000.0);
    let o = stage.check(
        &ask("big.txt", ", compression: gzip, body_limit: 32KiB"),
        Reason::BodyTooLarge,
        "",
    );
    assert!(o.summary.contains("when it is unpacked"), "{}", o.summary);
    stage.check(&ask("method", ", method: propfind, body_contains: PROPFIND"), Reason::None, "");
    let o = stage.check(
        &ask("method", ", method: head, thresholds: {processing: {crit: '9:'}}"),
        Reason::Threshold,
        "",
    );
    assert_eq!(metric(&o, "probe_http_version"), 1.1);
    stage.check(&ask("method", ", ip_version: 4"), Reason::None, "");
    stage.check(&ask("method", ", ip_version: 6"), Reason::ResolveFailed, "no IPv6 address");
    let o =
        stage.look("http: {url: 'http://localhost:PORT/method', ip_version: 6, ip_fallback: true}");
    assert_eq!((o.reason, metric(&o, "probe_ip_protocol")), (Reason::None, 4.0), "{o:?}");
    let token = |text: &str| ask("token", &format!(", authorization: {{credentials: {text}}}"));
    stage.check(&token("t0k3n"), Reason::None, "");
    let o = stage.check(&token("guess"), Reason::HttpStatus, "HTTP status 401");
    assert!(!format!("{o:?}").contains("guess"));
    // A token in a file is read when it is used.
    let file = stage.write("token", "guess\n");
    let by_file = ask("token", &format!(", authorization: {{credentials_file: {file}}}"));
    stage.check(&by_file, Reason::HttpStatus, "HTTP status 401");
    stage.write("token", "t0k3n\n");
    stage.check(&by_file, Reason::None, "");
    std::fs::remove_file(&file).unwrap();
    stage.check(&by_file, Reason::CannotRead, "token");
}

#[test]
fn certificates_on_both_sides() {
    let stage = Stage::new();
    stage.certificate();
    let tls = "ssl; ssl_certificate DIR/cert.pem; ssl_certificate_key DIR/key.pem;
        ssl_verify_client on; ssl_client_certificate DIR/cert.pem";
    let _server = nginx(&stage, tls);
    let ask = |tls: &str, more: &str| {
        format!("http: {{url: 'https://localhost:PORT/method', tls: {{{tls}}}{more}}}")
    };
    let own = "ca_file: DIR/cert.pem, cert_file: DIR/cert.pem, key_file: DIR/key.pem";
    let o = stage.check(&ask(own, ""), Reason::None, "HTTP status 200");
    assert!(value(&o, "days_left") > 19.0 && tells(&o, "probe_ssl_last_chain_info"), "{o:?}");
    assert!(metric(&o, "probe_http_duration_seconds{phase=\"tls\"}") > 0.0);
    let soon = ", thresholds: {days_left: {warn: '30:', crit: '7:'}}";
    let o = stage.check(&ask(own, soon), Reason::Threshold, "`days_left` is 1");
    assert!(o.summary.contains("warning by `30:`"), "{}", o.summary);
    stage.check(&ask("ca_file: DIR/cert.pem", ""), Reason::HttpStatus, "HTTP status 400");
    let o = stage.check(&ask("", ""), Reason::CertificateSelfSigned, "nobody but its owner");
    assert!(metric(&o, "probe_ssl_earliest_cert_expiry") > 1e9 && value(&o, "days_left") > 19.0);
    let other = ask("ca_file: DIR/cert.pem, server_name: other.example", "");
    stage.check(&other, Reason::CertificateName, "it is for localhost, 127.0.0.1");
}

#[test]
fn http_2_is_spoken_where_the_server_does() {
    let stage = Stage::new();
    stage.certificate();
    let tls = "ssl http2; ssl_certificate DIR/cert.pem; ssl_certificate_key DIR/key.pem";
    let _server = nginx(&stage, tls);
    let trust = "tls: {ca_file: DIR/cert.pem}";
    let ask = |path: &str, more: &str| {
        format!("http: {{url: 'https://localhost:PORT/{path}', {trust}{more}}}")
    };
    let version = |probe: &str, expected: f64| {
        let o = stage.check(probe, Reason::None, "");
        assert_eq!(metric(&o, "probe_http_version"), expected, "{probe}");
    };
    version(&ask("method", ", http2: false"), 1.1);
    version(&ask("method", ", method: head"), 2.0);
    // More than may be on its way at once, in both directions.
    let body = "x".repeat(300_000);
    version(&ask("method", &format!(", method: post, body: '{body}', body_contains: POST")), 2.0);
    version(&ask("big.txt", ", body_contains: ready"), 2.0);
    version(&ask("big.txt", ", compression: gzip, body_contains: ready"), 2.0);
    stage.check(&ask("cart", ""), Reason::HttpStatus, "HTTP status 403");
    let journey = format!(
        r#"
http:
  {trust}
  steps:
  - {{name: form, url: 'https://localhost:PORT/form', extract: {{csrf: {{regex: 'value="([^"]+)"'}}}}}}
  - {{name: login, url: 'https://localhost:PORT/login?csrf=${{csrf}}', json: [{{path: $.total, equals: 12.5}}]}}
"#
    );
    version(&journey, 2.0);
}

#[test]
fn a_server_that_refuses_our_certificate_is_told() {
    let stage = Stage::new();
    stage.certificate();
    let port = stage.port.to_string();
    let (cert, key) = (stage.text("cert.pem"), stage.text("key.pem"));
    let server = ["s_server", "-accept", &port, "-cert", &cert, "-key", &key, "-Verify", "1"];
    let _server = stage.start("openssl", &[&server[..], &["-www", "-quiet"]].concat());
    // By TLS 1.3 it refuses when the handshake is done for us.
    for probe in ["http: {url: 'https://localhost:PORT/'", "grpc: {address: 'localhost:PORT'"] {
        let ask = format!("{probe}, tls: {{ca_file: DIR/cert.pem}}}}");
        stage.check(&ask, Reason::TlsFailed, "CertificateRequired");
    }
}

/// tinyproxy in front of what `stage` serves, with a password where there is one.
fn tinyproxy(password: &str) -> (Stage, Program) {
    let stage = Stage::new();
    let login =
        if password.is_empty() { String::new() } else { format!("BasicAuth ann {password}") };
    let config = format!(
        "Port PORT\nListen 127.0.0.1\nTimeout 20\nAllow 127.0.0.1\nPidFile \"DIR/pid\"\n{login}\n"
    );
    let config = stage.write("tinyproxy.conf", &config);
    let server = stage.start("/usr/bin/tinyproxy", &["-d", "-c", &config]);
    (stage, server)
}

#[test]
fn through_a_proxy() {
    let stage = Stage::new();
    stage.certificate();
    let tls = "ssl; ssl_certificate DIR/cert.pem; ssl_certificate_key DIR/key.pem";
    let _secure = nginx(&stage, tls);
    let plain = Stage::new();
    let _plain = nginx(&plain, "");
    let (proxy, _tinyproxy) = tinyproxy("s3cret");
    let by = |login: &str| format!("proxy: {{url: 'http://127.0.0.1:{}'{login}}}", proxy.port);
    let login = |password: &str| format!(", basic_auth: {{username: ann, password: {password}}}");
    let to_secure = |login: &str| {
        let by = by(login);
        format!(
            "http: {{url: 'https://localhost:PORT/method', tls: {{ca_file: DIR/cert.pem}}, {by}}}"
        )
    };
    let to_plain =
        |login: &str| format!("http: {{url: 'http://127.0.0.1:PORT/method', {}}}", by(login));
    let o = stage.check(&to_secure(&login("s3cret")), Reason::None, "HTTP status 200");
    assert!(value(&o, "days_left") > 19.0);
    let o = stage.check(
        &to_secure(&login("guess")),
        Reason::ProxyFailed,
        "the proxy does not connect to",
    );
    assert!(
        !format!("{o:?}").contains("guess")
            && o.summary.contains("401") | o.summary.contains("407"),
        "{o:?}"
    );
    plain.check(&to_plain(&login("s3cret")), Reason::None, "HTTP status 200");
    plain.check(&to_plain(""), Reason::ProxyFailed, "does not take who we say we are");
    plain.check(&to_plain(", no_proxy: [127.0.0.0/8]"), Reason::None, "HTTP status 200");
    // What the proxy cannot reach is its failure.
    let nowhere =
        format!("http: {{url: 'https://127.0.0.1:{}/', {}}}", free_port(), by(&login("s3cret")));
    stage.check(&nowhere, Reason::ProxyFailed, "the proxy does not connect to `127.0.0.1:");
    // A stopped proxy.
    drop(_tinyproxy);
    stage.check(&to_secure(""), Reason::ConnectionRefused, "the proxy: connect to");
}

#[test]
fn a_token_is_asked_for_and_kept() {
    let stage = Stage::new();
    let _server = nginx(&stage, "");
    let issuer = HttpServer::start(|asked| {
        let good = asked
            .headers
            .get("authorization")
            .is_some_and(|value| value == "Basic YWdlbnQ6czNjcmV0");
        match good && asked.body.contains("grant_type=client_credentials") {
            true => Reply::Answer(
                200,
                "content-type: application/json\r\n".to_owned(),
                br#"{"access_token": "t0k3n", "token_type": "Bearer", "expires_in": 600}"#.to_vec(),
            ),
            false => Reply::Answer(401, String::new(), br#"{"error": "invalid_client"}"#.to_vec()),
        }
    });
    let ask = |secret: &str| {
        let token = issuer.url("/token");
        format!(
            "http: {{url: 'http://127.0.0.1:PORT/token', oauth2: {{client_id: agent, \
                 client_secret: {secret}, token_url: '{token}', scopes: [read]}}}}"
        )
    };
    stage.check(&ask("s3cret"), Reason::None, "HTTP status 200");
    let o = stage.check(&ask("guess"), Reason::TokenFailed, "HTTP status 401, `invalid_client`");
    assert!(!format!("{o:?}").contains("guess"));
    issuer.reply_with(|_| Reply::Close);
    stage.check(&ask("s3cret"), Reason::TokenFailed, "no token from");
    assert!(issuer.asked().iter().all(|asked| !asked.body.contains("s3cret")));
}
