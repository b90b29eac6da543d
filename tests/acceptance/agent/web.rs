//! Who may reach the agent: TLS, passwords, tokens, certificates of clients, asked by the real curl
//! and scraped by a real Prometheus.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::time::{Duration, Instant};

use tests::certificates::{Authority, Purpose};
use tests::program::{End, Program, free_port, run};
use tests::{curl, get, peers, wait_until};

use crate::stage::Stage;

/// Of `swordfish`.
const HASH: &str = "$2b$05$abcdefghijklmnopqrstuupWDwJQeCHYIBQy8WvkVB6ImhZ476YYy";
const TOKEN: &str = "0123456789abcdef0123456789abcdef";

/// A folder with certificates, and `web.yml` with these lines behind the ones for TLS.
struct Guarded {
    stage: Stage,
    authority: Authority,
}

impl Guarded {
    fn new() -> Self {
        let stage = Stage::with("checks: []\nhost: {enabled: false}\n");
        let authority = Authority::new(&stage.path(""), "pki");
        authority.sign("server", Purpose::Server);
        fs::write(stage.path("token"), format!("{TOKEN}\n")).unwrap();
        Self { stage, authority }
    }

    fn web(&self, tls: &str, more: &str) {
        let text = format!(
            "tls_server_config:\n  cert_file: pki/server.crt\n  key_file: pki/server.key\n{tls}{more}"
        );
        fs::write(self.stage.path("web.yml"), text).unwrap();
    }

    fn arguments(&self, listen: &str) -> Vec<String> {
        let (config, web) = (self.stage.text("agent.yml"), self.stage.text("web.yml"));
        ["--config", &config, "--listen", listen, "--web.config.file", &web]
            .map(str::to_owned)
            .to_vec()
    }

    fn start(&self) -> (Program, String) {
        let mut program = Program::start("veilleur-agent", self.arguments("127.0.0.1:0"));
        let url = program.url();
        (program, url)
    }

    /// What curl gets that trusts our authority, with further arguments.
    fn ask(&self, url: &str, more: &[&str]) -> (i32, u16, String) {
        let ca = self.authority.certificate();
        let mut arguments = vec!["--cacert", ca.as_str()];
        arguments.extend(more);
        arguments.push(url);
        curl(&arguments)
    }
}

#[test]
fn only_who_knows_a_password_or_a_token_is_let_in_x28() {
    let guarded = Guarded::new();
    let users = format!(
        "basic_auth_users: {{anne: '{HASH}'}}\nbearer_token_files: [token]\n\
         unauthenticated_paths: [/livez]\n\
         http_server_config: {{headers: {{Strict-Transport-Security: max-age=60}}}}\n"
    );
    guarded.web("", &users);
    let (program, url) = guarded.start();
    assert!(url.starts_with("https://"), "{url}");
    let status = |path: &str, more: &[&str]| guarded.ask(&format!("{url}{path}"), more).1;
    let bearer = format!("Authorization: Bearer {TOKEN}");
    for (path, more, expected) in [
        ("/metrics", &["-u", "anne:swordfish"][..], 200),
        ("/metrics", &["-u", "anne:swordfish"], 200),
        ("/health", &["-u", "anne:swordfish"], 200),
        ("/metrics", &["-H", &bearer], 200),
        ("/metrics", &[], 401),
        ("/metrics", &["-u", "anne:wrong"], 401),
        ("/metrics", &["-u", "bob:swordfish"], 401),
        ("/metrics", &["-H", "Authorization: Bearer x"], 401),
        ("/", &[], 401),
        ("/health", &[], 401),
        ("/health/shop", &[], 401),
        ("/style.css", &[], 401),
        ("/nothing", &[], 401),
        ("/-/reload", &["-X", "POST"], 401),
        ("/debug/pprof/", &[], 401),
        ("/livez", &[], 200),
        ("/readyz", &[], 401),
        ("/livez/", &[], 401),
        ("//livez", &["--path-as-is"], 401),
        ("/livez?x=y", &[], 200),
        ("/metrics", &["-X", "POST", "-d", "x"], 401),
    ] {
        assert_eq!(status(path, more), expected, "{path} {more:?}");
    }
    let head = guarded.ask(&format!("{url}/metrics"), &["-I"]).2.to_ascii_lowercase();
    assert!(head.contains("www-authenticate: basic realm=\"veilleur\""), "{head}");
    assert!(head.contains("strict-transport-security: max-age=60"), "{head}");
    // Whoever does not trust the authority does not ask, and whoever speaks plainly is told so.
    assert_eq!(curl(&[&format!("{url}/livez")]).0, 60);
    let plain = get(&format!("{}/livez", url.replace("https", "http")));
    assert_eq!(plain, Some((400, "this port speaks TLS: ask it by https://\n".to_owned())));
    let metrics = guarded.ask(&format!("{url}/metrics"), &["-u", "anne:swordfish"]).2;
    let refused = |reason: &str| {
        let series = format!("veilleur_http_refused_total{{reason=\"{reason}\"}} ");
        let line = metrics.lines().find_map(|line| line.strip_prefix(&series));
        line.unwrap().parse::<f64>().unwrap()
    };
    assert!(refused("credentials") >= 9.0 && refused("handshake") >= 1.0, "{metrics}");
    assert!(!program.log().contains("swordfish") && !program.log().contains(TOKEN));
}

#[test]
fn only_clients_with_a_good_certificate_are_let_in_x46() {
    let guarded = Guarded::new();
    guarded.web(
        "  client_ca_file: pki/ca.crt\n  client_auth_type: RequireAndVerifyClientCert\n  \
         client_allowed_sans: [prometheus]\n",
        "",
    );
    let (_program, url) = guarded.start();
    let url = format!("{url}/metrics");
    let stranger = Authority::new(&guarded.stage.path(""), "stranger");
    let sign = |name: &str, purpose| guarded.authority.sign(name, purpose);
    let with = |(cert, key): &(String, String), more: &[&str]| {
        let mut arguments = vec!["--cert", cert, "--key", key];
        arguments.extend(more);
        let (exit, status, _) = guarded.ask(&url, &arguments);
        (exit == 0, status)
    };
    let good = sign("prometheus", Purpose::Client);
    assert_eq!(with(&good, &[]), (true, 200));
    assert_eq!(with(&good, &["--tlsv1.2", "--tls-max", "1.2"]), (true, 200));
    assert_eq!(with(&good, &["--tls-max", "1.1"]), (false, 0));
    for (what, bad) in [
        ("expired", sign("prometheus", Purpose::ExpiredClient)),
        ("another name", sign("other", Purpose::Client)),
        ("a server's", sign("localhost", Purpose::Server)),
        ("another authority", stranger.sign("prometheus", Purpose::Client)),
    ] {
        assert_eq!(with(&bad, &[]), (false, 0), "{what}");
    }
    assert_ne!(guarded.ask(&url, &[]).0, 0);
}

#[test]
fn others_are_not_listened_to_without_tls_and_a_password_s1() {
    let guarded = Guarded::new();
    let start = |guarded: &Guarded| run("veilleur-agent", guarded.arguments("0.0.0.0:0"));
    let refused = |what: &str| {
        let (end, _, told) = start(&guarded);
        assert_eq!(end, End::Exit(2), "{told}");
        for part in [what, "tls_server_config", "basic_auth_users", "--insecure-listen"] {
            assert!(told.contains(part), "{part} is missing in {told}");
        }
    };
    guarded.web("", "");
    refused("could reach `0.0.0.0:0` without a password, a token or a certificate");
    fs::write(guarded.stage.path("web.yml"), format!("basic_auth_users: {{a: '{HASH}'}}")).unwrap();
    refused("without TLS, so that passwords could be read");
    // What is wrong never opens the port, not even where anybody would be let in.
    fs::write(guarded.stage.path("web.yml"), "basic_auth_users: {a: b}").unwrap();
    let arguments = guarded.arguments("0.0.0.0:0").into_iter();
    let (end, _, told) = run("veilleur-agent", arguments.chain(["--insecure-listen".to_owned()]));
    assert_eq!(end, End::Exit(2));
    assert!(told.contains("web.yml:1:23: this is not a bcrypt hash"), "{told}");

    guarded.web("", &format!("basic_auth_users: {{a: '{HASH}'}}\n"));
    let mut program = Program::start("veilleur-agent", guarded.arguments("0.0.0.0:0"));
    let url = program.url().replace("0.0.0.0", "localhost");
    assert_eq!(guarded.ask(&url, &["-u", "a:swordfish"]).1, 200);
    // A file that would open the port is not taken.
    fs::write(guarded.stage.path("web.yml"), "{}").unwrap();
    wait_until("the change is told", || program.log().contains("would open the listener"));
    program.signal("HUP");
    wait_until("the reload is told", || program.log().contains("the one before stays in use"));
    assert_eq!(guarded.ask(&url, &[]).1, 401);
    assert_eq!(guarded.ask(&url, &["-u", "a:swordfish"]).1, 200);
}

#[test]
fn a_certificate_is_taken_up_when_it_changes() {
    let guarded = Guarded::new();
    let web = "web: {tls_server_config: {cert_file: pki/server.crt, key_file: pki/server.key}}\n";
    guarded.stage.configure(&format!("host: {{enabled: false}}\n{web}"));
    let config = guarded.stage.text("agent.yml");
    let arguments = ["--config", &config, "--listen", "127.0.0.1:0"];
    let mut program = Program::start("veilleur-agent", arguments);
    let url = format!("{}/livez", program.url());
    let serial = || {
        let address = url.strip_prefix("https://").unwrap().strip_suffix("/livez").unwrap();
        let command = format!(
            "openssl s_client -connect {address} </dev/null 2>/dev/null | openssl x509 -noout -serial"
        );
        let done = Command::new("sh").args(["-c", &command]).output().unwrap();
        String::from_utf8(done.stdout).unwrap()
    };
    assert_eq!(guarded.ask(&url, &[]).1, 200);
    let first = serial();
    guarded.authority.sign("server", Purpose::Server);
    wait_until("the new certificate is shown", || serial() != first && !serial().is_empty());
    let second = serial();
    // One that cannot be used is told, and the one before stays.
    fs::write(guarded.stage.path("pki/server.crt"), "nothing").unwrap();
    wait_until("the fault is told", || program.log().contains("has no certificate in PEM"));
    assert_eq!((guarded.ask(&url, &[]).1, serial()), (200, second.clone()));
    guarded.authority.sign("server", Purpose::Server);
    program.signal("HUP");
    wait_until("HUP takes it up", || serial() != second);
}

#[test]
fn a_handshake_that_does_not_end_is_ended() {
    let guarded = Guarded::new();
    guarded.web("", "");
    let (_program, url) = guarded.start();
    let address = url.strip_prefix("https://").unwrap();
    let begun = Instant::now();
    // One says nothing, one begins, one talks on and on.
    let mut slow: Vec<_> = (0..3).map(|_| TcpStream::connect(address).unwrap()).collect();
    slow[1].write_all(&[22, 3, 1, 2, 0, 1]).unwrap();
    slow[2].write_all(&[22, 3, 1, 2, 0, 1]).unwrap();
    let mut open = vec![true; slow.len()];
    wait_until("all are closed", || {
        for (n, stream) in slow.iter_mut().enumerate() {
            stream.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
            let told = stream.read(&mut [0; 64]);
            let waits = told.as_ref().is_err_and(|error| {
                matches!(
                    error.kind(),
                    std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut
                )
            });
            open[n] = open[n] && (waits || told.is_ok_and(|length| length > 0));
        }
        let _ = slow[2].write_all(&[0]);
        !open.contains(&true)
    });
    let took = begun.elapsed();
    assert!(took > Duration::from_secs(5) && took < Duration::from_secs(20), "{took:?}");
    // No more connections are taken than there is room for, and the room is free again in time.
    let many: Vec<_> = (0..520).map(|_| TcpStream::connect(address).unwrap()).collect();
    let closed = |stream: &TcpStream| {
        stream.set_read_timeout(Some(Duration::from_millis(1))).unwrap();
        let mut stream = stream;
        stream.read(&mut [0; 8]).is_ok_and(|length| length == 0)
    };
    wait_until("those over the limit are closed", || {
        many.iter().filter(|s| closed(s)).count() >= 8
    });
    let asked = || guarded.ask(&format!("{url}/livez"), &[]).1 == 200;
    wait_until("the others are closed in time", asked);
    drop(many);
    // Nor does what is no handshake end anything.
    for garbage in [&[0_u8; 64][..], &[22, 3, 1, 255, 255], &[0x80, 0x2e, 1, 3, 1]] {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.write_all(garbage).unwrap();
        drop(stream);
    }
    assert_eq!(guarded.ask(&format!("{url}/livez"), &[]).1, 200);
}

#[test]
fn prometheus_scrapes_over_tls_with_a_password() {
    let Some(prometheus) = peers::program("prometheus") else { return };
    let guarded = Guarded::new();
    guarded.web("", &format!("basic_auth_users: {{prometheus: '{HASH}'}}\n"));
    let (_agent, url) = guarded.start();
    let address = url.strip_prefix("https://").unwrap();
    let (stage, port) = (&guarded.stage, free_port());
    let job = |name: &str, password: &str| {
        format!(
            "- job_name: {name}\n  scheme: https\n  tls_config: {{ca_file: {}}}\n  \
             basic_auth: {{username: prometheus, password: {password}}}\n  \
             static_configs: [{{targets: ['{address}']}}]\n",
            guarded.authority.certificate()
        )
    };
    let config = format!(
        "global: {{scrape_interval: 500ms, scrape_timeout: 500ms}}\nscrape_configs:\n{}{}",
        job("right", "swordfish"),
        job("wrong", "guess")
    );
    fs::write(stage.path("prometheus.yml"), config).unwrap();
    let arguments = [
        format!("--config.file={}", stage.text("prometheus.yml")),
        format!("--storage.tsdb.path={}", stage.text("prometheus")),
        format!("--web.listen-address=127.0.0.1:{port}"),
    ];
    let _prometheus = Program::start(prometheus.to_str().unwrap(), arguments);
    let value = |query: &str| {
        let query = tests::escaped(query);
        let (_, body) = get(&format!("http://127.0.0.1:{port}/api/v1/query?query={query}"))?;
        let body: serde_json::Value = serde_json::from_str(&body).ok()?;
        body["data"]["result"][0]["value"][1].as_str().map(str::to_owned)
    };
    wait_until("four scrapes", || {
        value("count_over_time(up{job=\"wrong\"}[1m]) >= 4").is_some()
            && value("count_over_time(up{job=\"right\"}[1m]) >= 4").is_some()
    });
    assert_eq!(value("min_over_time(up{job=\"right\"}[1m])").as_deref(), Some("1"));
    assert_eq!(value("max_over_time(up{job=\"wrong\"}[1m])").as_deref(), Some("0"));
    assert_eq!(value("veilleur_agent_info{job=\"right\"}").as_deref(), Some("1"));
}
