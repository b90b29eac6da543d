//! Mail servers that say no at every stage: a real one, and one that does what no real one does.
//!
//! Invariant: a mail counts as sent only where the last answer, after the mail itself, was yes (F14).

use serde_json::Value;
use tests::mail_server::{self, MailServer, header};
use tests::smtp_server::{Act, SmtpServer};
use tests::wait_until;

use crate::delivery::push;
use crate::rig::Evaluator;

fn evaluator(email: &str) -> Evaluator {
    Evaluator::with(&format!(
        "builtin_rules: {{enabled: false}}\nroute: {{receiver: mail, group_by: [alertname], \
         group_wait: 0s, group_interval: 200ms, repeat_interval: 1d}}\nreceivers:\n- name: mail\n  \
         timeout: 4s\n  email_configs:\n  - {email}\n"
    ))
}

/// The first attempt at a message about the alert, once there is one.
fn first_attempt(evaluator: &Evaluator, name: &str) -> Value {
    let path = format!("/api/v1/notifications?alert={name}&limit=1000");
    let all = || evaluator.data(&path)["attempts"].as_array().cloned().unwrap_or_default();
    wait_until("it is tried", || !all().is_empty());
    all().pop().unwrap()
}

fn results(evaluator: &Evaluator, name: &str) -> Vec<String> {
    let data = evaluator.data(&format!("/api/v1/notifications?alert={name}&limit=1000"));
    let result = |attempt: &Value| attempt["result"].as_str().unwrap().to_owned();
    data["attempts"].as_array().unwrap().iter().rev().map(result).collect()
}

#[test]
fn a_real_mail_server_that_says_later_at_any_stage_gets_the_mail_once_f14() {
    let mail = MailServer::start();
    let evaluator = evaluator(&format!(
        "{{to: oncall@veilleur.test, from: v@veilleur.test, smarthost: '{}', auth_username: {}, \
         auth_password: {}, tls_config: {{ca_file: {}}}}}",
        mail.address(),
        mail_server::USER,
        mail_server::PASSWORD,
        mail.certificate_file().display()
    ));
    let later = "450 4.2.0 Greylisted, try again later";
    for (n, stage) in
        ["client", "helo", "sender", "recipient", "data", "end_of_data"].into_iter().enumerate()
    {
        let name = format!("Down{n}");
        mail.refuse(stage, later);
        push(&evaluator, &name, true);
        let attempt = first_attempt(&evaluator, &name);
        assert_eq!(attempt["result"], "failed", "{stage}: {attempt}");
        assert!(attempt["answer"].to_string().contains("4.2.0"), "{stage}: {attempt}");
        assert_eq!(mail.messages().len(), n, "{stage}");
        mail.refuse("", "");
        wait_until("the mail is taken", || mail.messages().len() > n);
        wait_until("that is noted", || {
            results(&evaluator, &name).contains(&"delivered".to_owned())
        });
        assert_eq!(mail.messages().len(), n + 1, "{stage}: sent twice");
    }
    let never = "554 5.7.1 We do not like it";
    for (n, stage) in ["sender", "recipient", "data", "end_of_data"].into_iter().enumerate() {
        let name = format!("Never{n}");
        mail.refuse(stage, never);
        push(&evaluator, &name, true);
        let attempt = first_attempt(&evaluator, &name);
        assert_eq!(attempt["result"], "refused", "{stage}: {attempt}");
        assert!(attempt["answer"].to_string().contains("5.7.1"), "{stage}: {attempt}");
    }
    assert_eq!(mail.messages().len(), 6);
}

#[test]
fn nothing_but_a_yes_after_the_mail_counts_as_sent_f14() {
    let stages = ["banner", "ehlo", "mail", "rcpt", "data", "dot"];
    let mut cases: Vec<(&str, Act, &str)> = Vec::new();
    for stage in stages {
        cases.push((stage, Act::say("451 4.3.0 later"), "failed"));
        cases.push((stage, Act::say("550 5.1.1 never"), "refused"));
        cases.push((stage, Act::Close, "failed"));
        cases.push((stage, Act::say("\u{7f}\u{1}garbage"), "failed"));
        cases.push((stage, Act::Endless, "failed"));
    }
    cases.push(("dot", Act::Hang, "failed"));
    cases.push(("banner", Act::Hang, "failed"));
    cases.push(("dot", Act::Say("250-half of an answer\r\n".to_owned()), "failed"));
    for (stage, act, expected) in cases {
        let shown = format!("{stage} {act:?}");
        let theirs = act.clone();
        let server = SmtpServer::start(move |at| (at == stage).then(|| theirs.clone()));
        let mut evaluator = evaluator(&format!(
            "{{to: a@b.test, from: v@b.test, smarthost: '{}', require_tls: false}}",
            server.address()
        ));
        push(&evaluator, "Down", true);
        let attempt = first_attempt(&evaluator, "Down");
        assert_eq!(attempt["result"], expected, "{shown}: {attempt}");
        assert!(attempt["answer"].as_str().unwrap().len() <= 500, "{shown}: {attempt}");
        assert!(server.taken().is_empty(), "{shown}");
        assert_eq!(evaluator.own("veilleur_outbox_waiting"), 1.0, "{shown}");
        assert!(!evaluator.program().log().contains("panicked"), "{shown}");
        if expected == "refused" {
            continue;
        }
        server.act(|_| None);
        wait_until(&shown, || {
            results(&evaluator, "Down").last().is_some_and(|result| result == "delivered")
        });
        assert_eq!(server.taken().len(), 1, "{shown}");
        // Whatever it has read of it before has the same name.
        let ids: Vec<_> = server.read().iter().map(|mail| id(mail)).collect();
        assert!(ids.iter().all(|other| *other == ids[0]), "{shown}: {ids:?}");
    }
}

fn id(mail: &str) -> String {
    header(&mail.replace("\r\n", "\n"), "message-id")
}
