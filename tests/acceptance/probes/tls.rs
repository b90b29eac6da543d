//! Debian's nginx, Postfix and PostgreSQL: TLS at once and by STARTTLS; TCP step by step.

use probes::{Reason, Status};
use tests::certificates::{Authority, Purpose};
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

/// Servers of openssl that are as bad as they can be.
#[test]
fn a_server_that_is_not_to_be_trusted_is_refused_with_its_reason_x46() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new(folder.path(), "pki");
    let ca = authority.certificate();
    // The certificate, what else the server does, what the probe asks, and what it finds.
    let check = |certificate: &(String, String), server: &str, more: &str, reason, part: &str| {
        let stage = Stage::new();
        let (file, key) = certificate;
        let accept = format!("127.0.0.1:{}", stage.port);
        let plain = "s_server -quiet -www -cipher DEFAULT@SECLEVEL=0 -accept";
        let mut arguments: Vec<&str> = plain.split(' ').collect();
        arguments.extend([accept.as_str(), "-cert", file, "-key", key]);
        arguments.extend(server.split_whitespace());
        let _server = stage.start("openssl", &arguments);
        let ask = format!("tls: {{address: '127.0.0.1:PORT', tls: {{ca_file: {ca}}}{more}}}");
        stage.check(&ask, reason, part)
    };
    let sign = |name: &str, purpose| authority.sign(name, purpose);
    let any = ", thresholds: {days_left: {}}";
    let good = sign("good", Purpose::Server);
    check(&good, "", any, Reason::None, "good for 1 days");
    let sha1 = sign("sha1", Purpose::Sha1Server);
    check(&sha1, "", any, Reason::CertificateUntrusted, "");
    check(&sha1, "-tls1_2", any, Reason::CertificateUntrusted, "");
    let weak = sign("weak", Purpose::WeakServer);
    check(&weak, "", any, Reason::TlsFailed, "");
    let expired = sign("expired", Purpose::ExpiredServer);
    check(&expired, "", any, Reason::CertificateExpired, "expired");
    check(
        &sign("future", Purpose::FutureServer),
        "",
        any,
        Reason::CertificateExpired,
        "not valid yet",
    );
    check(&sign("other", Purpose::OtherServer), "", any, Reason::CertificateName, "other.example");
    // What an agent shows its clients is not what it shows as one, and the other way round.
    check(&sign("client", Purpose::Client), "", any, Reason::CertificateUntrusted, "");
    for old in ["-tls1", "-tls1_1"] {
        check(&good, old, any, Reason::TlsFailed, "");
    }
    let wanted = ", staple: true, thresholds: {days_left: {}}";
    check(&good, "", wanted, Reason::StapleMissing, "not revoked");
    let staple = |name: &str, ago| format!("-status_file {}", authority.staple(name, ago));
    let o = check(&good, &staple("good", 0), wanted, Reason::None, "good for 1 days");
    assert_eq!(metric(&o, "probe_tls_ocsp_stapled"), 1.0);
    check(&good, &staple("good", 3), wanted, Reason::StapleMissing, "its staple is out of date");
    check(&good, &staple("good", 3), any, Reason::None, "good for 1 days");
    sign("another", Purpose::Server);
    let another = staple("another", 0);
    check(
        &good,
        &another,
        wanted,
        Reason::StapleMissing,
        "its staple is about another certificate",
    );
    let revoked = sign("revoked", Purpose::Server);
    authority.revoke("revoked");
    for asked in [wanted, any] {
        let revoked_staple = staple("revoked", 0);
        check(&revoked, &revoked_staple, asked, Reason::CertificateRevoked, "was revoked");
    }
}
