//! Debian's Redis, open, with a password, and over TLS.

use probes::Reason;
use tests::program::Program;

use crate::stage::{Stage, metric, value};

fn serve(stage: &Stage, more: &[&str]) -> Program {
    let (port, folder) = (stage.port.to_string(), stage.text(""));
    let arguments = ["--bind", "127.0.0.1", "--port", &port, "--dir", &folder, "--save", ""];
    stage.start("/usr/bin/redis-server", &[&arguments, more].concat())
}

#[test]
fn a_redis_server_answers_and_tells_of_itself() {
    let stage = Stage::new();
    let _server = serve(&stage, &[]);
    let o = stage.check("redis: {address: '127.0.0.1:PORT'}", Reason::None, "PONG");
    assert_eq!(metric(&o, "probe_success"), 1.0);
    assert!(metric(&o, "probe_redis_duration_seconds{phase=\"request\"}") > 0.0);
    let ask = "redis: {address: '127.0.0.1:PORT', info: used_memory";
    let o = stage.check(&format!("{ask}}}"), Reason::None, "used_memory is ");
    assert!(value(&o, "info") > 1e5);
    let over = format!("{ask}, thresholds: {{info: {{warn: 1e3, crit: 1e4}}}}}}");
    stage.check(&over, Reason::Threshold, "critical by `10000`");
    let none = "redis: {address: '127.0.0.1:PORT', info: nothing}";
    stage.check(none, Reason::AnswerMismatch, "INFO has no field `nothing`");
    let word = "redis: {address: '127.0.0.1:PORT', info: role}";
    stage.check(word, Reason::AnswerMismatch, "`role` is `master`, which is no number");
    let login = "redis: {address: '127.0.0.1:PORT', password: wrong}";
    stage.check(login, Reason::AuthenticationFailed, "the server answers");
}

#[test]
fn a_password_is_needed_and_may_be_wrong() {
    let stage = Stage::new();
    stage.certificate();
    let port = stage.port.to_string();
    let (cert, key) = (stage.text("cert.pem"), stage.text("key.pem"));
    let tls =
        ["--port", "0", "--tls-port", &port, "--tls-cert-file", &cert, "--tls-key-file", &key];
    let more = ["--tls-ca-cert-file", &cert, "--tls-auth-clients", "no", "--requirepass", "s3cret"];
    let _server = serve(&stage, &[&tls[..], &more].concat());
    let ask = |more: &str| {
        format!("redis: {{address: '127.0.0.1:PORT', tls: {{ca_file: DIR/cert.pem}}{more}}}")
    };
    let o = stage.check(&ask(", password: s3cret"), Reason::None, "PONG");
    assert!(value(&o, "days_left") > 19.0);
    stage.check(&ask(", username: default, password: s3cret"), Reason::None, "PONG");
    let o = stage.check(&ask(", password: guess"), Reason::AuthenticationFailed, "WRONGPASS");
    assert!(!o.summary.contains("guess"), "{}", o.summary);
    stage.check(&ask(""), Reason::AuthenticationFailed, "NOAUTH");
    let untrusted = "redis: {address: '127.0.0.1:PORT', tls: {}}";
    stage.check(untrusted, Reason::CertificateSelfSigned, "");
}
