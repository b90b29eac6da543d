//! Debian's snmpd: versions 2c and 3, one value and whole subtrees.

use std::net::UdpSocket;
use std::process::Command;
use std::thread;

use probes::Reason;
use tests::program::Program;
use tests::wait_until;

use crate::stage::{Stage, value};

/// The ways in which a user can be known, as we and as snmpd write them.
const HASHES: [(&str, &str); 5] = [
    ("md5", "MD5"),
    ("sha", "SHA"),
    ("sha-256", "SHA-256"),
    ("sha-384", "SHA-384"),
    ("sha-512", "SHA-512"),
];
const CIPHERS: [(&str, &str); 4] =
    [("des", "DES"), ("aes-128", "AES"), ("aes-192", "AES-192"), ("aes-256", "AES-256")];

fn snmpd() -> (Stage, Program) {
    let stage = Stage::new();
    let mut text = "agentAddress udp:127.0.0.1:PORT\nrocommunity s3cret 127.0.0.1\n\
                    sysLocation Cellar\nsysServices 72\nrouser open noauth\n\
                    createUser open\nview narrow included .1.3.6.1.2.1.1.6\n\
                    createUser short SHA shortpass1\nrouser short auth -V narrow\n"
        .to_owned();
    for (hash, theirs) in HASHES {
        text += &format!("createUser {hash} {theirs} letmein-{hash}\nrouser {hash} auth\n");
        for (cipher, hides) in CIPHERS {
            text += &format!(
                "createUser {hash}-{cipher} {theirs} letmein-{hash} {hides} hide-{cipher}\n\
                 rouser {hash}-{cipher} priv\n"
            );
        }
    }
    let config = stage.write("snmpd.conf", &text);
    let mut command = Command::new("/usr/sbin/snmpd");
    command.args(["-f", "-Lo", "-C", "-c", &config, "-p", &stage.text("pid")]);
    // Where it keeps how often it has started, and the keys of its users.
    command.env("SNMP_PERSISTENT_DIR", stage.text("kept"));
    let mut server = Program::spawn(command);
    wait_until("snmpd answers", || {
        assert!(server.is_running(), "{}{}", server.stdout(), server.log());
        stage.look("snmp: {address: '127.0.0.1:PORT', community: s3cret}").reason == Reason::None
    });
    (stage, server)
}

#[test]
fn a_device_is_asked_for_a_value() {
    let (stage, _server) = snmpd();
    let ask = |more: &str| format!("snmp: {{address: '127.0.0.1:PORT', community: s3cret{more}}}");
    let o = stage.check(&ask(""), Reason::None, "1.3.6.1.2.1.1.3.0 is ");
    assert!(value(&o, "value") > 0.0, "the time that it is up");
    let services = ask(", oid: 1.3.6.1.2.1.1.7.0, thresholds: {value: {crit: '@72:72'}}");
    stage.check(&services, Reason::Threshold, "`value` is 72, critical by `@72:72`");
    let location = |expect: &str| ask(&format!(", oid: 1.3.6.1.2.1.1.6.0, expect: {expect}"));
    stage.check(&location("^Cellar$"), Reason::None, "is Cellar");
    stage.check(&location("Attic"), Reason::AnswerMismatch, "does not match `Attic`");
    stage.check(&ask(", oid: 1.3.6.1.9.9.9"), Reason::AnswerMismatch, "has no `1.3.6.1.9.9.9`");
}

#[test]
fn a_subtree_is_walked() {
    let (stage, _server) = snmpd();
    let aes = "username: sha-256-aes-128, auth: {protocol: sha-256, password: letmein-sha-256}, \
               privacy: {protocol: aes-128, password: hide-aes-128}";
    for login in ["community: s3cret", aes] {
        let ask = |more: &str| format!("snmp: {{address: '127.0.0.1:PORT', {login}{more}}}");
        // The system group: more than one packet of values.
        let o =
            stage.check(&ask(", walk: 1.3.6.1.2.1.1"), Reason::None, "values below 1.3.6.1.2.1.1");
        assert!(value(&o, "count") > 25.0, "{o:?}");
        let o = stage.check(&ask(", walk: 1.3.6.1.2.1.1.7"), Reason::None, "1 values below");
        assert_eq!((value(&o, "sum"), value(&o, "min"), value(&o, "max")), (72.0, 72.0, 72.0));
        // The kinds of all interfaces; lo is 24, softwareLoopback.
        let kinds = ", walk: 1.3.6.1.2.1.2.2.1.3, thresholds: {max: {crit: '@24:'}}";
        stage.check(&ask(kinds), Reason::Threshold, "critical by `@24:`");
        let up = ", walk: 1.3.6.1.2.1.2.2.1.3, expect: '^x$'";
        stage.check(
            &ask(up),
            Reason::AnswerMismatch,
            "do not match `^x$`, first `1.3.6.1.2.1.2.2.1.3.1`: `24`",
        );
        let numbers = ", walk: 1.3.6.1.2.1.2.2.1.3, expect: '^[0-9]+$'";
        stage.check(&ask(numbers), Reason::None, "all match");
        let none = ", walk: 1.3.6.1.9.9.9, thresholds: {count: {crit: '1:'}}";
        stage.check(&ask(none), Reason::Threshold, "`count` is 0, critical by `1:`");
    }
}

#[test]
fn users_of_version_3_are_let_in_by_every_hash_and_cipher() {
    let (stage, _server) = snmpd();
    let ask =
        |more: &str| format!("snmp: {{address: '127.0.0.1:PORT', {more}, oid: 1.3.6.1.2.1.1.6.0}}");
    let good = |more: &str| stage.check(&ask(more), Reason::None, "is Cellar");
    good("username: open");
    for (hash, _) in HASHES {
        let auth = format!("auth: {{protocol: {hash}, password: letmein-{hash}}}");
        good(&format!("username: {hash}, {auth}"));
        for (cipher, _) in CIPHERS {
            let hidden = format!("privacy: {{protocol: {cipher}, password: hide-{cipher}}}");
            let o = good(&format!("username: {hash}-{cipher}, {auth}, {hidden}"));
            assert!(!format!("{o:?}").contains("letmein"), "{o:?}");
        }
    }
}

#[test]
fn a_device_that_refuses_a_user_says_why() {
    let (stage, _server) = snmpd();
    let bad = |more: &str, reason, part: &str| {
        let yaml = format!("snmp: {{address: '127.0.0.1:PORT', {more}}}");
        stage.check(&yaml, reason, part);
    };
    let denied = Reason::AuthenticationFailed;
    let auth = "auth: {protocol: sha, password: letmein-sha}";
    bad("username: eve", denied, "does not know the user `eve`");
    bad(&format!("username: eve, {auth}"), denied, "does not know the user `eve`");
    bad("username: sha", denied, "does not let us see that");
    let guess = "auth: {protocol: sha, password: guess-guess}";
    bad(&format!("username: sha, {guess}"), denied, "refuses the password or protocol of `sha`");
    let other = "auth: {protocol: sha-512, password: letmein-sha}";
    bad(&format!("username: sha, {other}"), denied, "refuses the password or protocol of `sha`");
    let hidden = "privacy: {protocol: aes-128, password: hide-aes-128}";
    bad(&format!("username: sha, {auth}, {hidden}"), denied, "does not let `sha` in at this level");
    bad(&format!("username: sha-aes-128, {auth}"), denied, "does not let us see that");
    // A view that ends before what is asked for.
    let short = "username: short, auth: {protocol: sha, password: shortpass1}";
    bad(&format!("{short}, oid: 1.3.6.1.2.1.1.7.0"), Reason::AnswerMismatch, "has no `1.3.6.1");
    bad(
        &format!("{short}, walk: 1.3.6.1.2.1.1, thresholds: {{count: {{crit: '2:'}}}}"),
        Reason::Threshold,
        "`count` is 1",
    );
}

/// A way to the server on which the first datagram that comes back is changed.
fn through(port: u16, change: impl Fn(&mut Vec<u8>) + Send + 'static) -> u16 {
    let ours = UdpSocket::bind("127.0.0.1:0").unwrap();
    let theirs = UdpSocket::bind("127.0.0.1:0").unwrap();
    theirs.connect(("127.0.0.1", port)).unwrap();
    let address = ours.local_addr().unwrap().port();
    thread::spawn(move || {
        let mut buffer = vec![0; 65_535];
        for number in 0.. {
            let (length, from) = ours.recv_from(&mut buffer).unwrap();
            theirs.send(&buffer[..length]).unwrap();
            let length = theirs.recv(&mut buffer).unwrap();
            let mut answer = buffer[..length].to_vec();
            if number == 0 {
                change(&mut answer);
            }
            ours.send_to(&answer, from).unwrap();
        }
    });
    address
}

#[test]
fn our_time_is_set_by_the_device_when_it_refuses_it() {
    let (stage, _server) = snmpd();
    let auth = "username: sha, auth: {protocol: sha, password: letmein-sha}";
    // How often it has started stands behind its name: 1, as it keeps that in a new folder.
    let late = through(stage.port, |report| {
        let boots = report.windows(4).position(|bytes| bytes == [2, 1, 1, 2]).unwrap();
        report[boots + 2] = 99;
    });
    let ask = |port: u16| format!("snmp: {{address: '127.0.0.1:{port}', {auth}}}");
    stage.check(&ask(late), Reason::None, "1.3.6.1.2.1.1.3.0 is ");
    // One whose name changes is not believed.
    let renamed = through(stage.port, |report| {
        let name =
            report.windows(5).position(|bytes| bytes == [0x80, 0, 0x1f, 0x88, 0x80]).unwrap();
        report[name + 6] ^= 1;
    });
    stage.check(
        &ask(renamed),
        Reason::ErrorAnswer,
        "does not know itself by the name that it told",
    );
}
