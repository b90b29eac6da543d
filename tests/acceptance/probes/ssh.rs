//! Debian's OpenSSH with each kind of host key.

use std::process::Command;

use probes::Reason;

use crate::stage::{Stage, metric, run};

#[track_caller]
fn check(kind: &str, name: &str, more: &str) {
    let stage = Stage::new();
    let key = stage.text("key");
    run(Command::new("ssh-keygen").args(["-q", "-t", kind, "-N", "", "-f", &key]));
    let line = run(Command::new("ssh-keygen").args(["-lf", &key]));
    let fingerprint = line.split(' ').nth(1).unwrap();
    let config = format!(
        "Port PORT\nListenAddress 127.0.0.1\nHostKey DIR/key\nPidFile none\nUsePAM no\n\
         StrictModes no\n{more}"
    );
    let config = stage.write("sshd_config", &config);
    std::fs::create_dir_all("/run/sshd").unwrap();
    let _server = stage.start("/usr/sbin/sshd", &["-D", "-e", "-f", &config]);
    let ask = |more: &str| format!("ssh: {{address: '127.0.0.1:PORT'{more}}}");
    let o = stage.check(&ask(""), Reason::None, &format!("host key {name} {fingerprint}"));
    let labels = format!("{{type=\"{name}\",fingerprint_sha256=\"{fingerprint}\"}}");
    assert_eq!(metric(&o, &format!("probe_ssh_host_key_info{labels}")), 1.0);
    stage.check(&ask(", expect: '^SSH-2.0-OpenSSH_'"), Reason::None, "OpenSSH_");
    stage.check(&ask(", expect: Dropbear"), Reason::AnswerMismatch, "does not match `Dropbear`");
    stage.check(&ask(&format!(", host_key: {fingerprint}")), Reason::None, "");
    let other = "SHA256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
    let o = stage.check(
        &ask(&format!(", host_key: ['{other}']")),
        Reason::HostKeyMismatch,
        fingerprint,
    );
    assert_eq!(metric(&o, "probe_success"), 0.0);
    stage.check(&ask(&format!(", host_key: ['{other}', '{fingerprint}']")), Reason::None, "");
}

#[test]
fn the_host_key_of_a_server_is_proved() {
    check("ed25519", "ssh-ed25519", "");
    check("ecdsa", "ecdsa-sha2-nistp256", "");
    check("rsa", "ssh-rsa", "");
}

#[test]
fn a_server_without_an_exchange_that_we_know_is_told() {
    let stage = Stage::new();
    run(Command::new("ssh-keygen").args([
        "-q",
        "-t",
        "ed25519",
        "-N",
        "",
        "-f",
        &stage.text("key"),
    ]));
    let config = stage.write(
        "sshd_config",
        "Port PORT\nListenAddress 127.0.0.1\nHostKey DIR/key\nPidFile none\nUsePAM no\n\
         KexAlgorithms diffie-hellman-group16-sha512\n",
    );
    std::fs::create_dir_all("/run/sshd").unwrap();
    let _server = stage.start("/usr/sbin/sshd", &["-D", "-e", "-f", &config]);
    stage.check("ssh: {address: '127.0.0.1:PORT'}", Reason::ProtocolError, "no key exchange");
}
