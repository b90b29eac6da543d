//! The seam for Nagios, asked by Debian's check_nrpe in all packet versions, with TLS and without.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::process::Command;
use std::time::{Duration, Instant};

use tests::certificates::{Authority, Purpose};
use tests::program::{End, free_port, run};
use tests::wait_until;

use crate::stage::{Agent, Stage};

const CHECK_NRPE: &str = "/usr/lib/nagios/plugins/check_nrpe";

/// Prints what it is told and exits as it is told.
const SAY: &str = "#!/bin/sh\nprintf \"$2\"\nexit \"$1\"\n";

/// An agent that answers on `port` of 127.0.0.1, with further lines under `nrpe:`.
struct Nrpe {
    stage: Stage,
    agent: Agent,
    port: u16,
    more: String,
}

impl Nrpe {
    fn with(stage: Stage, more: &str) -> Self {
        let port = free_port();
        configure(&stage, port, more);
        let agent = stage.start();
        Self { stage, agent, port, more: more.to_owned() }
    }

    /// What check_nrpe says, and how it exits.
    fn ask(&self, arguments: &[&str]) -> (i32, String) {
        let port = self.port.to_string();
        let mut command = Command::new(CHECK_NRPE);
        command.args(["-H", "127.0.0.1", "-p", &port, "-D"]).args(arguments);
        let done = command.output().expect("the package nagios-nrpe-plugin is installed");
        let text = String::from_utf8_lossy(&done.stdout).trim_end().to_owned();
        (done.status.code().unwrap_or(-1), text)
    }

    fn results(&self, result: &str) -> f64 {
        let series = format!("veilleur_nrpe_requests_total{{result=\"{result}\"}}");
        self.agent.value(&series).unwrap_or(0.0)
    }
}

fn configure(stage: &Stage, port: u16, more: &str) {
    let say = stage.program("say", SAY);
    let hang = stage.program("hang", "#!/bin/sh\nsleep 1000\n");
    stage.configure(&format!(
        "host: {{enabled: false}}\nnrpe:\n  listen: 127.0.0.1:{port}\n  timeout: 2s\n{more}  \
         commands:\n    ok: [{say}, '0', 'OK - fine | n=1;2;3\\nmore\\n']\n    \
         warning: [{say}, '1', 'WARNING']\n    critical: [{say}, '2', 'CRITICAL']\n    \
         unknown: [{say}, '3', 'UNKNOWN']\n    silent: [{say}, '0', '']\n    \
         long: [/bin/sh, -c, 'head -c 5000 /dev/zero | tr \"\\0\" x']\n    \
         hang: [{hang}]\n    environment: {{command: [/usr/bin/env], env: {{SHOP: a}}}}\n"
    ));
}

/// A folder with certificates; `server.crt` and `server.key` are in `pki`.
fn stage_with_tls() -> (Stage, Authority) {
    let stage = Stage::new();
    let authority = Authority::new(&stage.path(""), "pki");
    authority.sign("server", Purpose::Server);
    (stage, authority)
}

#[test]
fn every_packet_version_is_answered_with_tls_and_without() {
    let (stage, _) = stage_with_tls();
    let tls = "  tls: {cert_file: pki/server.crt, key_file: pki/server.key}\n";
    let secured = Nrpe::with(stage, tls);
    let plain = Nrpe::with(Stage::new(), "");
    for (nrpe, ssl) in [(&secured, &[][..]), (&secured, &["-S", "TLSv1.2"]), (&plain, &["-n"])] {
        for version in [&[][..], &["-3"], &["-2"]] {
            let ask = |command: &str| nrpe.ask(&[version, ssl, &["-c", command]].concat());
            let check = |command: &str, code: i32, text: &str| {
                assert_eq!(ask(command), (code, text.to_owned()), "{command} {version:?} {ssl:?}");
            };
            check("ok", 0, "OK - fine | n=1;2;3\nmore");
            check("warning", 1, "WARNING");
            check("critical", 2, "CRITICAL");
            check("unknown", 3, "UNKNOWN");
            check("silent", 0, "it printed nothing; exit code 0");
            check("none", 3, "there is no such command");
            let most = if version == ["-2"] { 1023 } else { 5000 };
            assert_eq!(ask("long"), (0, "x".repeat(most)), "{version:?} {ssl:?}");
            let (code, hello) = nrpe.ask(&[version, ssl].concat());
            assert!(code == 0 && hello.starts_with("NRPE v4"), "{hello}");
        }
    }
    assert_eq!((secured.results("critical"), plain.results("hello")), (6.0, 3.0));
    // One that speaks the other way gets nothing, and ends nothing.
    assert_ne!(secured.ask(&["-n", "-c", "ok"]).0, 0);
    assert_ne!(plain.ask(&["-c", "ok"]).0, 0);
    // Anonymous ciphers, which only TLS up to 1.2 has, cannot be had.
    assert_ne!(secured.ask(&["-d", "2", "-S", "TLSv1.2", "-c", "ok"]).0, 0);
    assert_eq!(secured.ask(&["-c", "ok"]).0, 0);
}

#[test]
fn clients_are_asked_who_they_are() {
    let (stage, authority) = stage_with_tls();
    let good = authority.sign("nagios", Purpose::Client);
    let old = authority.sign("old", Purpose::ExpiredClient);
    let stranger = Authority::new(&stage.path(""), "stranger").sign("nagios", Purpose::Client);
    let tls = "  tls: {cert_file: pki/server.crt, key_file: pki/server.key, \
               client_ca_file: pki/ca.crt, client_auth_type: RequireAndVerifyClientCert}\n";
    let nrpe = Nrpe::with(stage, tls);
    let ca = authority.certificate();
    let with = |(cert, key): &(String, String)| {
        nrpe.ask(&["-A", &ca, "-C", cert, "-K", key, "-c", "ok"]).0
    };
    assert_eq!(with(&good), 0);
    assert_ne!(with(&old), 0);
    assert_ne!(with(&stranger), 0);
    assert_ne!(nrpe.ask(&["-c", "ok"]).0, 0);

    // Addresses that are not named are turned away before anything is read.
    let nrpe = Nrpe::with(Stage::new(), "  allowed: [127.0.0.9, 192.0.2.0/24]\n");
    assert_ne!(nrpe.ask(&["-n", "-c", "ok"]).0, 0);
    assert!(nrpe.results("not-allowed") >= 1.0);
    assert_eq!(nrpe.ask(&["-n", "-b", "127.0.0.9", "-c", "ok"]).0, 0);
}

#[test]
fn arguments_are_refused_x08() {
    let nrpe = Nrpe::with(Stage::new(), "");
    let proof = nrpe.stage.path("proof");
    let touch = format!("$(touch {})", proof.display());
    let newline = format!("x\ntouch {}", proof.display());
    for argument in ["x", "", &touch, &newline, "`id`", "--", "-oProxyCommand=x", "/etc/passwd"] {
        for version in ["-3", "-2"] {
            let (code, text) = nrpe.ask(&["-n", version, "-c", "ok", "-a", argument]);
            assert_eq!(code, 3, "{argument}: {text}");
            assert_eq!(text, "arguments are refused; declare a command that has them");
        }
    }
    for command in [&touch, &newline, "../ok", "ok ", "OK", "/bin/true", "ok;id", "ok|id"] {
        assert_eq!(nrpe.ask(&["-n", "-c", command]), (3, "there is no such command".to_owned()));
    }
    assert!(!proof.exists());
    let (_, environment) = nrpe.ask(&["-n", "-c", "environment"]);
    let mut names: Vec<_> =
        environment.lines().filter_map(|line| Some(line.split_once('=')?.0)).collect();
    names.sort_unstable();
    assert_eq!(names, ["LANG", "PATH", "SHOP", "VEILLEUR_RUN"], "{environment}");
}

#[test]
fn what_is_no_packet_is_not_answered_and_ends_nothing() {
    let nrpe = Nrpe::with(Stage::new(), "");
    let talk = |bytes: &[u8]| {
        let mut stream = TcpStream::connect(("127.0.0.1", nrpe.port)).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        // It may have been closed in the middle.
        let _ = stream.write_all(bytes).and_then(|()| stream.shutdown(Shutdown::Write));
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        answer
    };
    let huge =
        [&[0, 4, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0x7f, 0xff, 0xff, 0xff][..], &[0; 64]].concat();
    let response = [&[0, 2, 0, 2][..], &[0; 1032]].concat();
    let checksum = [&[0, 2, 0, 1][..], &[0; 1032]].concat();
    for bytes in [
        &[][..],
        &[0],
        b"GET / HTTP/1.1\r\n\r\n",
        &[0, 9, 0, 1, 0, 0, 0, 0, 0, 0],
        &[0xff; 5000],
        &huge,
        &response,
        &checksum,
        &[22, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3],
    ] {
        assert!(talk(bytes).is_empty(), "{bytes:?}");
    }
    assert_eq!(nrpe.results("malformed"), 9.0);
    // Half a packet costs a connection for a bounded time.
    let begun = Instant::now();
    let mut half = TcpStream::connect(("127.0.0.1", nrpe.port)).unwrap();
    half.write_all(&[0, 4, 0, 1, 0]).unwrap();
    half.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    assert_eq!(half.read(&mut [0; 10]).unwrap_or(0), 0);
    assert!(begun.elapsed() < Duration::from_secs(15), "{:?}", begun.elapsed());
    assert_eq!(nrpe.results("too-slow"), 1.0);
    assert_eq!(nrpe.ask(&["-n", "-c", "ok"]).0, 0);
}

/// Whoever only connects keeps nobody out: neither from the same address nor, by many, from another.
#[test]
fn connections_that_ask_for_nothing_give_way_f52() {
    let nrpe = Nrpe::with(Stage::new(), "  allowed: [127.0.0.0/8]\n");
    let idle = || TcpStream::connect(("127.0.0.1", nrpe.port)).unwrap();
    let held: Vec<_> = (0..80).map(|_| idle()).collect();
    wait_until("those who came first are gone", || nrpe.results("gave-way") >= 16.0);
    assert_eq!(nrpe.ask(&["-n", "-c", "ok"]).0, 0);
    assert_eq!(nrpe.ask(&["-n", "-b", "127.0.0.9", "-c", "ok"]).0, 0);
    assert_eq!(nrpe.results("busy"), 0.0);
    drop(held);
}

#[test]
fn a_command_that_hangs_is_ended_and_so_is_one_whose_client_has_left() {
    let nrpe = Nrpe::with(Stage::new(), "");
    let begun = Instant::now();
    let (code, text) = nrpe.ask(&["-n", "-c", "hang"]);
    assert!(code == 3 && text.starts_with("did not end within 2."), "{code} {text}");
    assert!(begun.elapsed() < Duration::from_secs(8), "{:?}", begun.elapsed());

    let long = nrpe.more.replace("2s", "60s");
    configure(&nrpe.stage, nrpe.port, &format!("{long}  # again\n"));
    let text = std::fs::read_to_string(nrpe.stage.path("agent.yml")).unwrap();
    std::fs::write(nrpe.stage.path("agent.yml"), text.replace("timeout: 2s", "timeout: 60s"))
        .unwrap();
    nrpe.agent.program.signal("HUP");
    wait_until("the reload", || nrpe.agent.program.log().contains("was read again"));
    // check_nrpe gives up after a second; then the command has nobody to answer.
    assert_ne!(nrpe.ask(&["-n", "-t", "1", "-c", "hang"]).0, 0);
    wait_until("the command is ended", || nrpe.results("left") == 1.0);
    assert_eq!(nrpe.ask(&["-n", "-c", "ok"]).0, 0);
}

#[test]
fn a_reload_opens_changes_and_closes_the_listener() {
    let stage = Stage::with("host: {enabled: false}\n");
    let agent = stage.start();
    let nrpe = Nrpe { stage, agent, port: free_port(), more: String::new() };
    let told = |n: usize| {
        nrpe.agent.program.signal("HUP");
        wait_until("the reload", || {
            nrpe.agent.program.log().matches("was read again").count() == n
        });
    };
    assert_ne!(nrpe.ask(&["-n", "-c", "ok"]).0, 0);
    configure(&nrpe.stage, nrpe.port, "");
    told(1);
    assert_eq!(nrpe.ask(&["-n", "-c", "ok"]).0, 0);
    configure(&nrpe.stage, nrpe.port, "  allowed: [192.0.2.1]\n");
    told(2);
    assert_ne!(nrpe.ask(&["-n", "-c", "ok"]).0, 0);
    let other = Nrpe { port: free_port(), ..nrpe };
    let told = |n: usize| {
        other.agent.program.signal("HUP");
        wait_until("the reload", || {
            other.agent.program.log().matches("was read again").count() == n
        });
    };
    configure(&other.stage, other.port, "");
    told(3);
    assert_eq!(other.ask(&["-n", "-c", "ok"]).0, 0);
    // A port that somebody else has changes nothing.
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    configure(&other.stage, taken.local_addr().unwrap().port(), "");
    other.agent.program.signal("HUP");
    wait_until("the fault is told", || other.agent.program.log().contains("the port is in use"));
    let reload = "veilleur_config_last_reload_successful";
    assert_eq!((other.ask(&["-n", "-c", "ok"]).0, other.agent.value(reload)), (0, Some(0.0)));
    other.stage.configure("host: {enabled: false}\n");
    told(4);
    assert_ne!(other.ask(&["-n", "-c", "ok"]).0, 0);
}

#[test]
fn a_configuration_of_the_nrpe_daemon_moves_in() {
    let (stage, _) = stage_with_tls();
    let port = free_port();
    let config = format!(
        "server_address=127.0.0.1\nserver_port={port}\nallowed_hosts=127.0.0.1,::1\n\
         ssl_cert_file={}\nssl_privatekey_file={}\ncommand_timeout=20\n\
         command[check_dummy]=/usr/lib/nagios/plugins/check_dummy 1 'all \"right\"'\n\
         command[check_args]=/usr/lib/nagios/plugins/check_dummy $ARG1$\n",
        stage.text("pki/server.crt"),
        stage.text("pki/server.key"),
    );
    std::fs::write(stage.path("nrpe.cfg"), config).unwrap();
    let file = stage.text("nrpe.cfg");
    let (end, yaml, told) = run("veilleur-agent", ["import", "nrpe", &file]);
    assert_eq!(end, End::Exit(0), "{told}");
    assert!(told.starts_with(&format!("{file}:8: `check_args` is not converted: ")), "{told}");
    assert_eq!(told.lines().count(), 1, "{told}");
    stage.configure(&yaml);
    let (_, counted, _) = stage.check();
    assert_eq!(counted, "ok: 0 checks, 0 services, 1 command of NRPE\n");
    let agent = stage.start();
    let nrpe = Nrpe { stage, agent, port, more: String::new() };
    assert_eq!(nrpe.ask(&["-c", "check_dummy"]), (1, "WARNING: all \"right\"".to_owned()));
    let (end, _, told) = run("veilleur-agent", ["import", "nrpe", "/no/such"]);
    assert!(end == End::Exit(1) && told.contains("/no/such: No such file"), "{told}");
}

#[test]
fn every_fault_is_told_with_its_place_s1() {
    let check = |text: &str, expected: &str| {
        let stage = Stage::with(text);
        let (end, _, told) = stage.check();
        assert_eq!(end, End::Exit(2), "{text}: {told}");
        assert!(told.contains(expected), "{text}\n{told}");
    };
    let commands = "commands: {a: [/bin/true]}";
    let open = format!("nrpe: {{listen: '0.0.0.0:5666', {commands}}}");
    check(&open, "agent.yml:1:16: others could reach `0.0.0.0:5666` without TLS");
    check(&format!("nrpe: {{listen: x, {commands}}}"), ":1:16: `x` is not an address to listen on");
    check("nrpe: {listen: '127.0.0.1:1'}", "commands");
    check("nrpe: {listen: '127.0.0.1:1', commands: {a: [true]}}", "is not an absolute path");
    check("nrpe: {listen: '127.0.0.1:1', commands: {a: []}}", "the command is empty");
    check("nrpe: {listen: '127.0.0.1:1', commands: {a: 1}}", "a list of the program");
    check("nrpe: {listen: '127.0.0.1:1', commands: {'a b': [/bin/true]}}", "cannot name a command");
    check(
        &format!("nrpe: {{listen: '127.0.0.1:1', allowed: [here], {commands}}}"),
        ":1:41: `here` is not an address or a network",
    );
    check(
        &format!("nrpe: {{listen: '127.0.0.1:1', timeout: 0s, {commands}}}"),
        "a timeout cannot be 0",
    );
    check(
        &format!("nrpe: {{listen: '127.0.0.1:1', tls: {{cert_file: x}}, {commands}}}"),
        "`key_file` is missing",
    );
    let (stage, _) = stage_with_tls();
    let tls = "tls: {cert_file: pki/server.crt, key_file: pki/server.key}";
    stage.configure(&format!("nrpe: {{listen: '0.0.0.0:5666', {tls}, {commands}}}"));
    let (_, _, told) = stage.check();
    assert!(told.contains("others could reach `0.0.0.0:5666` whoever they are"), "{told}");
    stage.configure(&format!(
        "nrpe: {{listen: '0.0.0.0:5666', {tls}, allowed: [192.0.2.1], {commands}}}"
    ));
    assert_eq!(stage.check().0, End::Exit(0));
    // The port is somebody else's: nothing is started.
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    stage.configure(&format!("nrpe: {{listen: '{address}', {commands}}}"));
    let config = stage.text("agent.yml");
    let (end, _, told) = run("veilleur-agent", ["--config", &config, "--listen", "127.0.0.1:0"]);
    assert!(end == End::Exit(1) && told.contains("the port is in use"), "{told}");
}
