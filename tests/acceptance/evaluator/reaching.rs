//! How targets are reached: files of TLS that change while we run, and proxies.
//!
//! Invariant: who was asked is what the servers say, not what we say of ourselves.

use std::fs;

use tests::certificates::{Authority, Purpose};
use tests::http_server::{Asked, HttpServer, Reply};
use tests::program::{Program, free_port};
use tests::tls_server::TlsServer;
use tests::wait_until;

use crate::rig::Evaluator;

const SHOWN: &str =
    "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 7\r\n\r\nheat 1\n";

fn jobs(jobs: &str) -> String {
    format!(
        "global: {{scrape_interval: 500ms, scrape_timeout: 500ms}}\n\
         builtin_rules: {{enabled: false}}\nscrape_configs:\n{jobs}"
    )
}

/// Waits until a job was scraped twice more, and gives the least of `up` since.
#[track_caller]
fn up_since(evaluator: &Evaluator, job: &str) -> String {
    let at = |n: usize| format!("scrapes {n}");
    let count = || -> usize {
        let query = format!("count_over_time(up{{job=\"{job}\"}}[1h])");
        evaluator.value(&query).parse().unwrap_or(0)
    };
    let before = count();
    wait_until(&at(before + 3), || count() >= before + 3);
    evaluator.value(&format!("min_over_time(up{{job=\"{job}\"}}[1s])"))
}

#[test]
fn authorities_are_read_again_when_their_file_has_changed_f56() {
    let (server, other) = (TlsServer::start(SHOWN), TlsServer::start(SHOWN));
    let mut evaluator = Evaluator::new();
    let trusted = evaluator.path("ca.pem");
    let put = |text: &[u8]| {
        // As those do who renew certificates: nobody ever reads half of a file.
        fs::write(trusted.with_extension("new"), text).unwrap();
        fs::rename(trusted.with_extension("new"), &trusted).unwrap();
    };
    put(&fs::read(server.authority()).unwrap());
    evaluator.write(
        "veilleur.yml",
        &jobs(&format!(
            "- {{job_name: s, scheme: https, tls_config: {{ca_file: ca.pem}}, \
             static_configs: [{{targets: ['localhost:{}']}}]}}\n",
            server.port()
        )),
    );
    evaluator.start();
    let up = "up{job=\"s\"}";
    wait_until("the target is up", || evaluator.value(up) == "1");
    put(&fs::read(other.authority()).unwrap());
    wait_until("its authority is no longer trusted", || evaluator.value(up) == "0");
    put(&fs::read(server.authority()).unwrap());
    wait_until("its authority is trusted again", || evaluator.value(up) == "1");
    // What is of no use changes nothing, and is told.
    put(b"-----BEGIN NOTHING-----\n");
    wait_until("it is told", || {
        evaluator.program().log().contains("changed TLS files are of no use")
    });
    assert_eq!(up_since(&evaluator, "s"), "1");
}

#[test]
fn our_own_certificate_is_read_again_when_its_files_have_changed_f56() {
    let folder = tempfile::tempdir().unwrap();
    let ours = Authority::new(folder.path(), "ours");
    let strangers = Authority::new(folder.path(), "strangers");
    let (certificate, key) = ours.sign("server", Purpose::Server);
    let mut agent = Evaluator::new();
    // Whoever scrapes it needs a certificate of our authority.
    agent.write(
        "veilleur.yml",
        &format!(
            "builtin_rules: {{enabled: false}}\nweb:\n  tls_server_config: {{cert_file: {certificate}, \
             key_file: {key}, client_ca_file: {}, client_auth_type: RequireAndVerifyClientCert}}\n",
            ours.certificate()
        ),
    );
    let mut evaluator = Evaluator::new();
    let (cert_file, key_file) = (evaluator.path("our.crt"), evaluator.path("our.key"));
    let put = |(certificate, key): (String, String)| {
        fs::copy(key, &key_file).unwrap();
        fs::copy(certificate, &cert_file).unwrap();
    };
    put(strangers.sign("stranger", Purpose::Client));
    evaluator.write(
        "veilleur.yml",
        &jobs(&format!(
            "- {{job_name: s, scheme: https, tls_config: {{ca_file: {}, cert_file: our.crt, \
             key_file: our.key}}, static_configs: [{{targets: ['localhost:{}']}}]}}\n",
            ours.certificate(),
            agent.port
        )),
    );
    agent.begin_with(("TZ", "UTC"));
    evaluator.start();
    wait_until("a stranger is refused", || evaluator.value("up{job=\"s\"}") == "0");
    assert_eq!(up_since(&evaluator, "s"), "0");
    put(ours.sign("friend", Purpose::Client));
    wait_until("a friend is let in", || evaluator.value("up{job=\"s\"}") == "1");
}

fn paths(asked: &[Asked], method: &str) -> Vec<String> {
    let asked = asked.iter().filter(|asked| asked.method == method);
    let mut paths: Vec<_> = asked.map(|asked| asked.path.clone()).collect();
    paths.sort();
    paths.dedup();
    paths
}

#[test]
fn targets_are_reached_by_the_proxy_that_is_named() {
    let proxy = HttpServer::start(|asked| match asked.method.as_str() {
        "CONNECT" => Reply::status(403),
        _ => Reply::text("heat 1\n"),
    });
    let direct = HttpServer::start(|_| Reply::text("heat 2\n"));
    let by = format!("proxy_url: 'http://ann:s3cret@{}'", proxy.address());
    let job = |name: &str, scheme: &str, target: &str, more: &str| {
        format!(
            "- {{job_name: {name}, scheme: {scheme}, {by}{more}, static_configs: [{{targets: ['{target}']}}]}}\n"
        )
    };
    let evaluator = Evaluator::with(&jobs(
        &[
            job("proxied", "http", "metrics.example:9100", ""),
            job("spared", "http", &direct.address(), ", no_proxy: 'other.example, 127.0.0.0/8'"),
            job(
                "tunnel",
                "https",
                "secure.example:9443",
                ", proxy_connect_header: {X-Team: [night, watch]}",
            ),
        ]
        .concat(),
    ));
    let heat = |job: &str| evaluator.value(&format!("heat{{job=\"{job}\"}}"));
    wait_until("what is proxied is scraped", || heat("proxied") == "1");
    wait_until("what is spared is scraped", || heat("spared") == "2");
    wait_until("a tunnel is refused", || evaluator.value("up{job=\"tunnel\"}") == "0");
    let asked = proxy.asked();
    assert_eq!(paths(&asked, "GET"), ["http://metrics.example:9100/metrics"]);
    assert_eq!(paths(&asked, "CONNECT"), ["secure.example:9443"]);
    // ann:s3cret
    assert!(asked.iter().all(|a| a.headers["proxy-authorization"] == "Basic YW5uOnMzY3JldA=="));
    let tunnel = asked.iter().find(|asked| asked.method == "CONNECT").unwrap();
    assert_eq!(tunnel.headers["x-team"], "watch");
    assert!(
        !asked.iter().any(|asked| asked.method == "GET" && asked.headers.contains_key("x-team"))
    );
    assert_eq!(paths(&direct.asked(), "GET"), ["/metrics"]);
    assert!(!direct.asked()[0].headers.contains_key("proxy-authorization"));
    // Why there is no tunnel is told, without the password.
    let targets = evaluator.get("/api/v1/targets").unwrap().1;
    assert!(targets.contains("the proxy does not connect to") && !targets.contains("s3cret"));
}

#[test]
fn targets_are_reached_by_the_proxy_of_the_environment() {
    let proxy = HttpServer::start(|_| Reply::text("heat 1\n"));
    let mut evaluator = Evaluator::new();
    let job = |name: &str, more: &str| {
        format!(
            "- {{job_name: {name}, {more}static_configs: [{{targets: ['{name}.example:9100']}}]}}\n"
        )
    };
    let by = job("by", "proxy_from_environment: true, ");
    evaluator.write("veilleur.yml", &jobs(&[by, job("not", "")].concat()));
    evaluator.begin_with(("HTTP_PROXY", &proxy.url("")));
    wait_until("it is scraped", || evaluator.value("heat{job=\"by\"}") == "1");
    wait_until("the other is not", || evaluator.value("up{job=\"not\"}") == "0");
    assert_eq!(paths(&proxy.asked(), "GET"), ["http://by.example:9100/metrics"]);
}

#[test]
fn a_tunnel_leads_to_a_target_behind_a_real_proxy() {
    let server = TlsServer::start(SHOWN);
    let (evaluator, port) = (Evaluator::new(), free_port());
    evaluator.write(
        "tinyproxy.conf",
        &format!(
            "Port {port}\nListen 127.0.0.1\nTimeout 20\nAllow 127.0.0.1\nBasicAuth ann s3cret\n\
             PidFile \"{}\"\n",
            evaluator.path("pid").display()
        ),
    );
    let config = evaluator.path("tinyproxy.conf").display().to_string();
    let _proxy = Program::start("/usr/bin/tinyproxy", ["-d", "-c", &config]);
    let mut evaluator = evaluator;
    let job = |name: &str, password: &str| {
        format!(
            "- {{job_name: {name}, scheme: https, proxy_url: 'http://ann:{password}@127.0.0.1:{port}', \
             tls_config: {{ca_file: {}}}, static_configs: [{{targets: ['localhost:{}']}}]}}\n",
            server.authority().display(),
            server.port()
        )
    };
    evaluator
        .write("veilleur.yml", &jobs(&[job("known", "s3cret"), job("unknown", "guess")].concat()));
    evaluator.start();
    wait_until("it is scraped through the tunnel", || evaluator.value("up{job=\"known\"}") == "1");
    assert_eq!(evaluator.value("heat{job=\"known\"}"), "1");
    wait_until("others are refused", || evaluator.value("up{job=\"unknown\"}") == "0");
}
