//! Messages to real servers: IRC (ngircd), XMPP (prosody), syslog (rsyslog), all by TLS.
//!
//! Invariant: what a test looks for is what the server, or another client of it, has.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};

use tempfile::TempDir;
use tests::certificates::{Authority, Purpose};
use tests::program::{Program, free_port};
use tests::{ask, wait_until};

use crate::rig::Evaluator;

/// An evaluator that tells one receiver by `ways` of whatever it is sent.
fn evaluator(ways: &str) -> Evaluator {
    Evaluator::with(&format!(
        "route: {{receiver: ops, group_by: [alertname], group_wait: 0s, group_interval: 1s}}\n\
         receivers:\n- name: ops\n{ways}"
    ))
}

/// Sends an alert, or its end.
fn send(evaluator: &Evaluator, name: &str, is_over: bool) {
    let ends_at = if is_over { r#","endsAt":"2020-01-02T00:00:00Z""# } else { "" };
    let body = format!(
        r#"[{{"labels":{{"alertname":"{name}","instance":"web:1","severity":"critical"}},
             "annotations":{{"summary":"50 % \"full\" & <b>hot</b>\nsecond line"}},
             "startsAt":"2020-01-01T00:00:00Z"{ends_at}}}]"#
    );
    let url = format!("http://127.0.0.1:{}/api/v2/alerts", evaluator.port);
    let answer = ask("POST", &url, "content-type: application/json\r\n", &body);
    assert_eq!(answer.map(|(status, _)| status), Some(200));
}

/// Why lanes of `evaluator` fail; empty where all is well.
fn failures(evaluator: &Evaluator) -> String {
    let body = evaluator.get("/health").map_or_else(String::new, |(_, body)| body);
    let health: serde_json::Value = serde_json::from_str(&body).unwrap_or_default();
    let checks = health["checks"].as_object().cloned().unwrap_or_default();
    let lanes = checks.iter().filter(|(name, _)| name.starts_with("receiver:"));
    lanes.filter_map(|(_, check)| check[0]["output"].as_str().map(str::to_owned)).collect()
}

/// Certificates for a server on this host, readable for whoever the server runs as.
fn certificates(folder: &TempDir) -> (String, String, String) {
    let authority = Authority::new(folder.path(), "authority");
    let (certificate, key) = authority.sign("localhost", Purpose::Server);
    (authority.certificate(), certificate, key)
}

fn listens(port: u16) {
    wait_until("a server listens", || TcpStream::connect(("127.0.0.1", port)).is_ok());
}

fn run(program: &str, arguments: &[&str]) {
    let done = Command::new(program).args(arguments).output().unwrap();
    let said = [done.stdout, done.stderr].concat();
    assert!(done.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&said));
}

/// Somebody who reads along in `#ops`.
fn reader(port: u16) -> Arc<Mutex<Vec<String>>> {
    let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let mut writer = stream.try_clone().unwrap();
    let heard: Arc<Mutex<Vec<String>>> = Arc::default();
    let theirs = Arc::clone(&heard);
    writer.write_all(b"PASS sesame\r\nNICK reader\r\nUSER reader 0 * :r\r\nJOIN #ops\r\n").unwrap();
    std::thread::spawn(move || {
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            if let Some(token) = line.strip_prefix("PING ") {
                let _ = writer.write_all(format!("PONG {token}\r\n").as_bytes());
            }
            theirs.lock().unwrap().push(line);
        }
    });
    heard
}

#[test]
fn a_channel_of_irc_hears_of_alerts_and_their_end() {
    let folder = tempfile::tempdir().unwrap();
    let (authority, certificate, key) = certificates(&folder);
    let (plain, tls) = (free_port(), free_port());
    let config = folder.path().join("ngircd.conf");
    let text = format!(
        "[Global]\nName = irc.veilleur.test\nInfo = test\nListen = 127.0.0.1\nPorts = {plain}\n\
         Password = sesame\nServerUID = root\nServerGID = root\n\
         [Options]\nDNS = no\nIdent = no\nPAM = no\n\
         [SSL]\nCertFile = {certificate}\nKeyFile = {key}\nPorts = {tls}\n\
         [Channel]\nName = #ops\nModes = tn\n"
    );
    fs::write(&config, text).unwrap();
    let config = config.display().to_string();
    let _ngircd = Program::start("/usr/sbin/ngircd", ["--nodaemon", "--config", &config]);
    listens(plain);
    listens(tls);
    let heard = reader(plain);
    let has = |part: &str| heard.lock().unwrap().iter().any(|line| line.contains(part));
    wait_until("the reader is in the channel", || has(" 366 "));

    let way = format!(
        "{{server: 'localhost:{tls}', tls_config: {{ca_file: {authority}}}, channel: '#ops', \
         password: sesame}}"
    );
    let evaluator = evaluator(&format!("  irc_configs: [{way}]\n"));
    send(&evaluator, "Full", false);
    let firing = "PRIVMSG #ops :[FIRING] Full on web:1, since 2020-01-01 00:00 UTC";
    wait_until("the alert is said", || has(firing) || !failures(&evaluator).is_empty());
    assert!(has(firing), "{}\n{:?}", failures(&evaluator), heard.lock().unwrap());
    assert!(has(": 50 % \"full\" & <b>hot</b>"));
    send(&evaluator, "Full", true);
    wait_until("its end is said", || has("PRIVMSG #ops :[RESOLVED] Full on web:1"));

    // Whom the server does not know is refused for good, and told why, without the password.
    let wrong = way.replace("sesame", "open");
    let evaluator = self::evaluator(&format!("  irc_configs: [{wrong}]\n"));
    send(&evaluator, "Full", false);
    wait_until("the refusal is shown", || failures(&evaluator).contains("the server refused us"));
    assert!(!failures(&evaluator).contains("open"), "{}", failures(&evaluator));
}

/// A server of XMPP with two accounts, `veilleur` and `ops`, whose password is `sesame`.
fn prosody(folder: &Path, certificate: &str, key: &str, ports: (u16, u16)) -> (Program, String) {
    let config = folder.join("prosody.cfg.lua");
    fs::create_dir(folder.join("data")).unwrap();
    let shown = folder.display();
    let (starttls, direct) = ports;
    let text = format!(
        "run_as_root = true\npidfile = '{shown}/pid'\n\
         data_path = '{shown}/data'\nadmin_socket = '{shown}/admin'\n\
         interfaces = {{ '127.0.0.1' }}\nc2s_ports = {{ {starttls} }}\n\
         c2s_direct_tls_ports = {{ {direct} }}\n\
         c2s_direct_tls_ssl = {{ certificate = '{certificate}', key = '{key}' }}\n\
         modules_enabled = {{ 'roster', 'saslauth', 'tls', 'disco', 'ping', 'offline', 'admin_shell' }}\n\
         modules_disabled = {{ 's2s' }}\nauthentication = 'internal_hashed'\n\
         c2s_require_encryption = true\nstorage = 'internal'\nlog = {{ debug = '*console' }}\n\
         ssl = {{ certificate = '{certificate}', key = '{key}' }}\n\
         VirtualHost 'localhost'\n\
         Component 'rooms.localhost' 'muc'\n  modules_enabled = {{ 'muc_mam' }}\n  \
         muc_log_by_default = true\n  muc_room_default_persistent = true\n"
    );
    fs::write(&config, text).unwrap();
    let config = config.display().to_string();
    let prosody = Program::start("/usr/bin/prosody", ["-F", "--config", &config]);
    listens(starttls);
    listens(direct);
    for user in ["veilleur", "ops"] {
        run("prosodyctl", &["--config", &config, "register", user, "localhost", "sesame"]);
    }
    (prosody, config)
}

/// Whether a file of a folder, however deep, has `part` in it.
fn kept(folder: &Path, part: &str) -> bool {
    let Ok(entries) = fs::read_dir(folder) else { return false };
    entries.map_while(Result::ok).any(|entry| {
        let path = entry.path();
        let text = || fs::read(&path).unwrap_or_default();
        if path.is_dir() {
            kept(&path, part)
        } else {
            String::from_utf8_lossy(&text()).contains(part)
        }
    })
}

#[test]
fn a_person_and_a_room_of_xmpp_hear_of_alerts() {
    let folder = tempfile::tempdir().unwrap();
    let (authority, certificate, key) = certificates(&folder);
    let ports = (free_port(), free_port());
    let (prosody, config) = prosody(folder.path(), &certificate, &key, ports);
    let tls = format!("tls_config: {{ca_file: {authority}}}");
    let way = |port: u16, rest: &str| {
        format!(
            "{{jid: veilleur@localhost, server: 'localhost:{port}', password: sesame, {tls}, {rest}}}"
        )
    };
    // The person is away: the server keeps the message until they come back.
    let person = way(ports.0, "to: ops@localhost");
    let evaluator = evaluator(&format!("  xmpp_configs: [{person}]\n"));
    send(&evaluator, "Full", false);
    let offline = folder.path().join("data/localhost/offline");
    let firing = "Firing: Full on web:1, since 2020-01-01 00:00 UTC";
    let told = || kept(&offline, firing);
    wait_until("the person is told", || told() || !failures(&evaluator).is_empty());
    assert!(told(), "{}\n{}", failures(&evaluator), prosody.stdout());
    assert!(kept(&offline, "50 % \\\"full\\\" & <b>hot</b>"), "what was escaped is text again");
    send(&evaluator, "Full", true);
    wait_until("its end is told", || kept(&offline, "Resolved: Full on web:1"));

    // A room that is not there is not made; one that is there shows the message.
    let room = way(ports.1, "direct_tls: true, room: ops@rooms.localhost, nick: watch");
    let evaluator = self::evaluator(&format!("  xmpp_configs: [{room}]\n"));
    send(&evaluator, "Full", false);
    wait_until("the refusal is shown", || failures(&evaluator).contains("there is no room"));
    let create = "muc:create('ops@rooms.localhost')";
    run("prosodyctl", &["--config", &config, "shell", create]);
    send(&evaluator, "Hot", false);
    let rooms = folder.path().join("data/rooms%2elocalhost");
    let firing = "Firing: Hot on web:1";
    wait_until("the room is told", || kept(&rooms, firing));

    // A wrong password is refused for good.
    let wrong = person.replace("sesame", "open");
    let evaluator = self::evaluator(&format!("  xmpp_configs: [{wrong}]\n"));
    send(&evaluator, "Full", false);
    wait_until("the refusal is shown", || failures(&evaluator).contains("not-authorized"));
}

#[test]
fn a_syslog_server_gets_a_message_for_each_alert() {
    let folder = tempfile::tempdir().unwrap();
    let (authority, certificate, key) = certificates(&folder);
    let (udp, tcp, tls) = (free_port(), free_port(), free_port());
    let log = folder.path().join("log");
    let config = folder.path().join("rsyslog.conf");
    let shown = folder.path().display();
    let text = format!(
        "global(workDirectory=\"{shown}\" defaultNetstreamDriverCAFile=\"{authority}\" \
         defaultNetstreamDriverCertFile=\"{certificate}\" defaultNetstreamDriverKeyFile=\"{key}\")\n\
         module(load=\"imudp\")\nmodule(load=\"imtcp\")\n\
         input(type=\"imudp\" address=\"127.0.0.1\" port=\"{udp}\")\n\
         input(type=\"imtcp\" address=\"127.0.0.1\" port=\"{tcp}\")\n\
         input(type=\"imtcp\" address=\"127.0.0.1\" port=\"{tls}\" streamDriver.name=\"gtls\" \
         streamDriver.mode=\"1\" streamDriver.authMode=\"anon\")\n\
         template(name=\"t\" type=\"string\" \
         string=\"%syslogfacility-text%.%syslogseverity-text% %hostname% %app-name% %msgid% %structured-data% %msg%\\n\")\n\
         action(type=\"omfile\" file=\"{}\" template=\"t\")\n",
        log.display()
    );
    fs::write(&config, text).unwrap();
    let config = config.display().to_string();
    let pid = folder.path().join("pid").display().to_string();
    let _rsyslog = Program::start("/usr/sbin/rsyslogd", ["-n", "-f", &config, "-i", &pid]);
    listens(tcp);
    listens(tls);
    let evaluator = evaluator(&format!(
        "  syslog_configs:\n  \
         - {{address: 'localhost:{tls}', transport: tls, tls_config: {{ca_file: {authority}}}, \
         hostname: by-tls}}\n  \
         - {{address: '127.0.0.1:{tcp}', hostname: by-tcp, facility: local3}}\n  \
         - {{address: '127.0.0.1:{udp}', transport: udp, hostname: by-udp}}\n"
    ));
    send(&evaluator, "Full", false);
    let has = |line: &str| fs::read_to_string(&log).is_ok_and(|text| text.contains(line));
    let data = "[alert@32473 status=\"firing\" since=\"2020-01-01T00:00:00.000Z\" receiver=\"ops\"";
    for (facility, way) in [("daemon", "by-tls"), ("local3", "by-tcp"), ("daemon", "by-udp")] {
        let firing = format!("{facility}.crit {way} veilleur firing {data}");
        let told = || has(&firing);
        wait_until(way, || told() || !failures(&evaluator).is_empty());
        assert!(told(), "{}\n{:?}", failures(&evaluator), fs::read_to_string(&log));
    }
    assert!(has("] [FIRING] Full on web:1, since 2020-01-01 00:00 UTC"));
    send(&evaluator, "Full", true);
    wait_until("its end is told", || has("daemon.notice by-tls veilleur resolved "));
}
