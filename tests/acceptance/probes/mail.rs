//! Debian's Postfix and Dovecot: greetings, STARTTLS, logins.

use probes::Reason;
use tests::mail_server::{MailServer, PASSWORD, USER};
use tests::program::free_port;

use crate::stage::{Stage, look, metric, value};

#[test]
fn a_server_that_takes_mail_greets_encrypts_and_lets_us_in() {
    let mail = MailServer::start();
    let (address, trust) = (mail.address(), mail.certificate_file().display().to_string());
    let ask = |more: &str| format!("smtp: {{address: '{address}'{more}}}");
    let tls = format!(", starttls: true, tls: {{ca_file: {trust}}}");
    let check = |yaml: &str, reason, part: &str| {
        let o = look(yaml);
        assert_eq!(o.reason, reason, "{yaml}: {o:#?}");
        assert!(o.summary.contains(part), "{}", o.summary);
        o
    };
    check(&ask(""), Reason::None, "veilleur.test ESMTP Postfix");
    let o = check(&ask(&tls), Reason::None, "ESMTP");
    assert!(value(&o, "days_left") > 0.5);
    assert!(metric(&o, "probe_smtp_duration_seconds{phase=\"starttls\"}") > 0.0);
    check(&ask(", starttls: true"), Reason::CertificateSelfSigned, "");
    check(&ask(", expect: Exim"), Reason::AnswerMismatch, "does not match `Exim`");
    let login = |password: &str| format!("{tls}, username: {USER}, password: '{password}'");
    check(&ask(&login(PASSWORD)), Reason::None, "");
    check(&ask(&login("guess")), Reason::AuthenticationFailed, "535");
}

const DOVECOT: &str = "base_dir = DIR/run
state_dir = DIR/state
log_path = /dev/stderr
protocols = imap pop3
listen = 127.0.0.1
ssl = MODE
ssl_cert = <DIR/cert.pem
ssl_key = <DIR/key.pem
service imap-login {
  inet_listener imap {
    port = PORT
  }
  inet_listener imaps {
    port = 0
  }
}
service pop3-login {
  inet_listener pop3 {
    port = POP3
  }
  inet_listener pop3s {
    port = 0
  }
}
service anvil {
  chroot =
}
passdb {
  driver = static
  args = password=s3cret
}
userdb {
  driver = static
  args = uid=nobody gid=nogroup home=DIR/mail
}
mail_location = maildir:DIR/mail
first_valid_uid = 1
";

#[test]
fn servers_that_show_and_hand_out_mail_greet_encrypt_and_let_us_in() {
    let (stage, pop3) = (Stage::new(), free_port());
    stage.certificate();
    let config = DOVECOT.replace("POP3", &pop3.to_string()).replace("MODE", "required");
    let config = stage.write("dovecot.conf", &config);
    let _server = stage.start("/usr/sbin/dovecot", &["-F", "-c", &config]);
    for (kind, port) in [("imap", stage.port), ("pop3", pop3)] {
        let ask = |more: &str| format!("{kind}: {{address: '127.0.0.1:{port}'{more}}}");
        let tls = ", starttls: true, tls: {ca_file: DIR/cert.pem}";
        stage.wait_for(&ask(""));
        stage.check(&ask(", expect: Dovecot"), Reason::None, "Dovecot");
        let o = stage.check(&ask(tls), Reason::None, "ready");
        assert!(value(&o, "days_left") > 19.0);
        stage.check(&ask(", starttls: true"), Reason::CertificateSelfSigned, "");
        let login = |password: &str| format!("{tls}, username: ann, password: {password}");
        stage.check(&ask(&login("s3cret")), Reason::None, "");
        stage.check(&ask(&login("guess")), Reason::AuthenticationFailed, "refuses the login");
        let o = look(&ask("").replace(kind, "smtp"));
        assert_eq!(o.reason, Reason::ProtocolError, "{o:#?}");
        let seen = stage.look(&format!(
            "tls: {{address: '127.0.0.1:{port}', starttls: {kind}, tls: {{ca_file: DIR/cert.pem}}}}"
        ));
        assert_eq!(seen.reason, Reason::None, "{seen:#?}");
    }
}

#[test]
fn a_server_that_does_not_encrypt_is_told() {
    let (stage, pop3) = (Stage::new(), free_port());
    stage.certificate();
    let config = DOVECOT.replace("POP3", &pop3.to_string()).replace("MODE", "no");
    let config = stage.write("dovecot.conf", &config);
    let _server = stage.start("/usr/sbin/dovecot", &["-F", "-c", &config]);
    for (kind, port) in [("imap", stage.port), ("pop3", pop3)] {
        stage.wait_for(&format!("{kind}: {{address: '127.0.0.1:{port}'}}"));
        let yaml = format!("{kind}: {{address: '127.0.0.1:{port}', starttls: true}}");
        stage.check(&yaml, Reason::StarttlsMissing, "does not offer TLS");
    }
}
