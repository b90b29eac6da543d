//! Debian's nginx, Postfix and PostgreSQL: TLS at once and by STARTTLS; TCP step by step.

use probes::{Reason, Status};
use tests::mail_server::MailServer;

use crate::stage::{Stage, look, metric, value};

const NGINX: &str = "daemon off; master_process off; pid DIR/pid; error_log stderr;
events {} http { access_log off; client_body_temp_path DIR/a; proxy_temp_path DIR/b;
fastcgi_temp_path DIR/c; uwsgi_temp_path DIR/d; scgi_temp_path DIR/e;
server { listen 127.0.0.1:PORT ssl http2; ssl_certificate DIR/cert.pem; ssl_certificate_key DIR/key.pem;
ssl_protocols PROTOCOLS; return 200 ready; } }";

fn nginx(protocols: &str) -> (Stage, tests::program::Program) {
    let stage = Stage::new();
    stage.certificate();
    let config = stage.write("nginx.conf", &NGINX.replace("PROTOCOLS", protocols));
    let server = stage.start("/usr/sbin/nginx", &["-c", &config]);
    (stage, server)
}

#[test]
fn the_certificate_of_a_web_server_is_seen_and_judged() {
    let (stage, _server) = nginx("TLSv1.2 TLSv1.3");
    let ask = |more: &str| {
        format!("tls: {{address: '127.0.0.1:PORT', tls: {{ca_file: DIR/cert.pem}}{more}}}")
    };
    let o = stage.check(&ask(""), Reason::None, "good for 19 days, TLS 1.3, localhost 127.0.0.1");
    assert!((19.9..20.1).contains(&value(&o, "days_left")));
    let expiry = metric(&o, "probe_ssl_earliest_cert_expiry");
    assert!(expiry > 1.7e9);
    assert_eq!(metric(&o, "probe_tls_version_info{version=\"TLS 1.3\"}"), 1.0);
    assert_eq!(metric(&o, "probe_tls_cipher_info{cipher=\"TLS_AES_256_GCM_SHA384\"}"), 1.0);
    assert_eq!(metric(&o, "probe_tls_ocsp_stapled"), 0.0);
    assert!(o.details.contains("CN=localhost until 20"), "{}", o.details);
    stage.check(&ask(", alpn: [h2], names: [localhost]"), Reason::None, "");
    let o = stage.check(
        &ask(", thresholds: {days_left: {warn: '30:', crit: '10:'}}"),
        Reason::Threshold,
        "warning by `30:`",
    );
    assert_eq!(o.status, Status::Warning);
    stage.check(&ask(", thresholds: {days_left: {crit: '30:'}}"), Reason::Threshold, "critical");
    stage.check(&ask(", names: [shop.test]"), Reason::CertificateName, "not for shop.test");
    stage.check(&ask(", staple: true"), Reason::StapleMissing, "not revoked");
    let o = stage.check(
        "tls: {address: '127.0.0.1:PORT'}",
        Reason::CertificateSelfSigned,
        "nobody but its owner",
    );
    assert_eq!(metric(&o, "probe_ssl_earliest_cert_expiry"), expiry);
    let any = "tls: {address: '127.0.0.1:PORT', tls: {insecure_skip_verify: true}}";
    stage.check(any, Reason::None, "good for 19 days");
    let other =
        "tls: {address: '127.0.0.1:PORT', tls: {ca_file: DIR/cert.pem, server_name: a.test}}";
    stage.check(other, Reason::CertificateName, "it is for localhost, 127.0.0.1");
}

#[test]
fn an_old_version_of_tls_is_told() {
    let (stage, _server) = nginx("TLSv1.2");
    let ask = "tls: {address: '127.0.0.1:PORT', tls: {ca_file: DIR/cert.pem}";
    stage.check(&format!("{ask}}}"), Reason::None, "TLS 1.2");
    stage.check(&format!("{ask}, min_version: 1.3}}"), Reason::TlsPolicy, "speaks TLS 1.2");
}

#[test]
fn tls_begins_after_starttls_of_a_mail_server() {
    let mail = MailServer::start();
    let trust = mail.certificate_file().display().to_string();
    let address = mail.address();
    let tls = format!("address: '{address}', tls: {{ca_file: {trust}}}");
    let o = look(&format!("tls: {{{tls}, starttls: smtp, thresholds: {{days_left: {{}}}}}}"));
    assert_eq!(o.reason, Reason::None, "{o:#?}");
    assert!(metric(&o, "probe_tls_duration_seconds{phase=\"starttls\"}") > 0.0);
    let o = look(&format!("tls: {{{tls}, starttls: imap}}"));
    assert_eq!(o.reason, Reason::ProtocolError, "{o:#?}");

    let steps = "[{expect: '^220 ([^ ]+) ESMTP'}, {send: \"EHLO prober\\r\"}, {expect: '^250-STARTTLS'},
        {send: \"STARTTLS\\r\"}, {expect: ^220}, {starttls: true}, {send: \"EHLO prober\\r\"},
        {expect: '^250-AUTH ([A-Z]+)', send: \"NOOP ${1}\\r\"}, {expect: '^250 2.0.0'}, {send: \"QUIT\\r\"}]";
    let o = look(&format!("tcp: {{{tls}, query_response: {steps}}}"));
    assert_eq!(o.reason, Reason::None, "{o:#?}");
    assert_eq!(metric(&o, "probe_failed_due_to_regex"), 0.0);
    assert!(metric(&o, "probe_ssl_earliest_cert_expiry") > 1.7e9);
    let steps = "[{expect: ^220}, {send: \"QUIT\\r\"}, {expect: ^999}]";
    let o = look(&format!("tcp: {{address: '{address}', query_response: {steps}}}"));
    assert_eq!(o.reason, Reason::BodyMismatch, "{o:#?}");
    assert_eq!(metric(&o, "probe_failed_due_to_regex"), 1.0);
}
