//! Certificates that are no good, of clients and of servers, and that change while all runs: X46, F56.

use std::fs;
use std::path::Path;
use std::process::Command;

use base::sample::Timestamp;
use serde_json::Value;
use tempfile::TempDir;
use tests::certificates::{Authority, Purpose};
use tests::program::{Program, free_port, path_of};
use tests::{curl, get, wait_until};

use crate::stage::{BOTH, Kind, Running};

/// A program that speaks TLS, in a folder with an authority and this section `web`.
struct Guarded {
    program: Program,
    port: u16,
    kind: Kind,
}

impl Guarded {
    fn start(kind: Kind, folder: &Path, web: &str) -> Self {
        let (port, config) = (free_port(), folder.join("config.yml"));
        let tls = format!("cert_file: pki/server.crt, key_file: pki/server.key{web}");
        let text = format!("{}web: {{tls_server_config: {{{tls}}}}}\n", kind.idle());
        fs::write(&config, text).unwrap();
        let mut command = Command::new(path_of(kind.name()));
        command.arg("--config").arg(config).arg("--listen").arg(format!("127.0.0.1:{port}"));
        if kind == Kind::Evaluator {
            command.arg("--data").arg(folder.join("data"));
        }
        let mut guarded = Self { program: Program::spawn(command), port, kind };
        guarded.program.url();
        guarded
    }

    fn url(&self) -> String {
        format!("https://localhost:{}{}", self.port, self.kind.alive())
    }
}

#[test]
fn clients_with_certificates_that_are_no_good_are_refused_x46() {
    for kind in BOTH {
        let folder = tempfile::tempdir().unwrap();
        let authority = Authority::new(folder.path(), "pki");
        authority.sign("server", Purpose::Server);
        authority.list_revoked();
        let web = ", client_ca_file: pki/ca.crt, client_auth_type: RequireAndVerifyClientCert, \
                   client_crl_file: pki/ca.crl";
        let guarded = Guarded::start(kind, folder.path(), web);
        let (url, ca) = (guarded.url(), authority.certificate());
        let ask = |(cert, key): &(String, String), more: &[&str]| {
            // Our side would not even show some of them otherwise.
            let mut line = vec!["--ciphers", "DEFAULT@SECLEVEL=0", "--cacert", &ca, "--cert", cert];
            line.extend(["--key", key.as_str()]);
            line.extend(more);
            line.push(&url);
            curl(&line).1
        };
        let sign = |name: &str, purpose| authority.sign(name, purpose);
        let good = sign("prometheus", Purpose::Client);
        assert_eq!(ask(&good, &[]), 200, "{kind:?}");
        for old in ["1.0", "1.1"] {
            assert_eq!(ask(&good, &["--tlsv1.0", "--tls-max", old]), 0, "{kind:?} TLS {old}");
        }
        let strangers = Authority::new(folder.path(), "strangers");
        for (what, bad) in [
            ("expired", sign("expired", Purpose::ExpiredClient)),
            // Agent A has a certificate by which it serves; by that it cannot speak as anybody.
            ("of another agent, as a server", sign("other-agent", Purpose::Server)),
            ("SHA-1", sign("sha1", Purpose::Sha1Client)),
            ("a weak key", sign("weak", Purpose::WeakClient)),
            ("of another authority", strangers.sign("prometheus", Purpose::Client)),
        ] {
            assert_eq!(ask(&bad, &[]), 0, "{kind:?}: {what}");
            assert_eq!(ask(&bad, &["--tls-max", "1.2"]), 0, "{kind:?}: {what}");
        }
        // Taken back while we run.
        authority.revoke("prometheus");
        authority.list_revoked();
        wait_until("what was taken back is refused", || ask(&good, &[]) == 0);
        assert_eq!(ask(&sign("another", Purpose::Client), &[]), 200, "{kind:?}");
        // A list that is broken opens nothing.
        fs::write(folder.path().join("pki/ca.crl"), "nothing").unwrap();
        wait_until("the fault is told", || {
            guarded.program.log().contains("has no list of revoked certificates")
        });
        assert_eq!(ask(&good, &[]), 0, "{kind:?}");
    }
}

/// What clients of openssl try beside what they should: a second handshake within a connection, and
/// a request before the handshake is done, which somebody could send again.
#[test]
fn no_handshake_is_made_twice_and_nothing_is_taken_before_it_x46() {
    for kind in BOTH {
        let folder = tempfile::tempdir().unwrap();
        let authority = Authority::new(folder.path(), "pki");
        authority.sign("server", Purpose::Server);
        let guarded = Guarded::start(kind, folder.path(), "");
        let (address, ca) = (format!("127.0.0.1:{}", guarded.port), authority.certificate());
        let connect = format!("openssl s_client -connect {address} -CAfile {ca}");
        let request = format!(
            "GET {} HTTP/1.1\\r\\nhost: localhost\\r\\nconnection: close\\r\\n\\r\\n",
            kind.alive()
        );
        let client = |script: &str| {
            let script =
                script.replace("CLIENT", &connect).replace("ASK", &format!("printf '{request}'"));
            let mut command = Command::new("timeout");
            let done =
                command.args(["20", "bash", "-c", &script]).current_dir(folder.path()).output();
            let done = done.unwrap();
            [done.stdout, done.stderr]
                .map(|said| String::from_utf8_lossy(&said).into_owned())
                .concat()
        };
        // Without, it is answered.
        let said = client("ASK | CLIENT -tls1_2 -quiet");
        assert!(said.contains("HTTP/1.1 200"), "{kind:?}: {said}");
        // By a line with `R` s_client asks for another handshake.
        let said = client("(sleep 1; echo R; sleep 1) | CLIENT -tls1_2");
        assert!(
            said.contains("RENEGOTIATING") && said.contains("no renegotiation"),
            "{kind:?}: {said}"
        );
        let early = client(
            "ASK >request; ASK | CLIENT -tls1_3 -ign_eof -sess_out session >first 2>&1; \
             CLIENT -tls1_3 -sess_in session -early_data request </dev/null",
        );
        assert!(folder.path().join("session").exists(), "{kind:?}: {early}");
        let refused = ["Early data was not sent", "Early data was rejected"];
        assert!(refused.iter().any(|part| early.contains(part)), "{kind:?}: {early}");
        assert!(!early.contains("HTTP/1.1 200"), "{kind:?}: {early}");
    }
}

/// What an evaluator says of its one target.
fn last_error(evaluator: &Running) -> Option<String> {
    let (_, body) = get(&evaluator.url("/api/v1/targets"))?;
    let body: Value = serde_json::from_str(&body).ok()?;
    let target = &body["data"]["activeTargets"][0];
    (target["health"] != "unknown").then(|| target["lastError"].as_str().unwrap_or("").to_owned())
}

/// One agent and one evaluator, neither of which is started again, and every kind of certificate.
#[test]
fn certificates_that_change_are_taken_up_and_judged_f56() {
    let folder: TempDir = tempfile::tempdir().unwrap();
    let authority = Authority::new(folder.path(), "pki");
    authority.sign("server", Purpose::Server);
    let agent = Guarded::start(Kind::Agent, folder.path(), "");
    let config = format!(
        "global: {{scrape_interval: 500ms, scrape_timeout: 500ms, evaluation_interval: 500ms}}\n\
         scrape_configs:\n- job_name: t\n  scheme: https\n  tls_config: {{ca_file: {}}}\n  \
         static_configs: [{{targets: ['localhost:{}']}}]\n",
        authority.certificate(),
        agent.port
    );
    let evaluator = Running::new(Kind::Evaluator, &config);
    let is = |expected: &str| {
        wait_until(&format!("the scrape says `{expected}`"), || {
            last_error(&evaluator).is_some_and(|error| match expected {
                "" => error.is_empty(),
                _ => error.contains(expected),
            })
        });
    };
    is("");
    let strangers = Authority::new(folder.path(), "strangers");
    let pki = |name: &str| folder.path().join("pki").join(name);
    for (purpose, expected) in [
        (Purpose::ExpiredServer, "expired"),
        (Purpose::FutureServer, "not valid yet"),
        (Purpose::OtherServer, "not valid for name"),
    ] {
        authority.sign("server", purpose);
        is(expected);
        authority.sign("server", Purpose::Server);
        is("");
    }
    let (certificate, key) = strangers.sign("server", Purpose::Server);
    fs::copy(key, pki("server.key")).unwrap();
    fs::copy(certificate, pki("server.crt")).unwrap();
    is("invalid peer certificate");
    authority.sign("server", Purpose::Server);
    is("");

    // A key that is half written: the pair from before stays in use, and the whole one is taken.
    let key = fs::read_to_string(pki("server.key")).unwrap();
    fs::write(pki("server.key"), &key[..key.len() / 2]).unwrap();
    wait_until("the fault is told", || agent.program.log().contains("has no private key in PEM"));
    let scraped = || evaluator.value("veilleur_scrapes_total");
    let begun = scraped();
    wait_until("it is scraped again", || scraped() >= begun + 3.0);
    is("");
    fs::write(pki("server.key"), &key).unwrap();

    // When they expire is known on both sides, and told: these are good for two days.
    let ca = authority.certificate();
    let metrics = curl(&["--cacert", &ca, &format!("https://localhost:{}/metrics", agent.port)]).2;
    let own = "veilleur_http_certificate_not_after_timestamp_seconds ";
    let own: f64 = metrics.lines().find_map(|l| l.strip_prefix(own)).unwrap().parse().unwrap();
    let left = own - Timestamp::now().seconds();
    assert!((1.0..2.1 * 86_400.0).contains(&left), "{left}");
    let query = "veilleur_target_certificate_not_after_timestamp_seconds";
    let theirs = || {
        let (_, body) = get(&evaluator.url(&format!("/api/v1/query?query={query}"))).unwrap();
        let body: Value = serde_json::from_str(&body).unwrap();
        body["data"]["result"][0]["value"][1].as_str()?.parse::<f64>().ok()
    };
    wait_until("the evaluator knows it", || theirs() == Some(own));
    wait_until("it is told", || {
        let (_, body) = get(&evaluator.url("/api/v1/alerts")).unwrap();
        body.contains("\"CertificateExpires\"")
    });
}
