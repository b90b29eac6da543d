//! Secrets of every kind as canaries, and then a look wherever they could have gone: X43.

use std::fs;
use std::path::Path;

use tests::certificates::{Authority, Purpose};
use tests::http_server::{HttpServer, Reply};
use tests::{curl, wait_until};

use crate::stage::{Kind, Running};

/// What stands in every canary, and nowhere else.
const CANARY: &str = "tweettweet";

/// A number for each kind of secret, so that it is known which was seen.
fn canary(n: u32) -> String {
    format!("{CANARY}{n:02}")
}

/// How a canary looks in a log: plain, as `user:PASSWORD` in base64 at all three offsets, in hex.
fn looks() -> Vec<String> {
    let hex: String = CANARY.bytes().map(|byte| format!("{byte:02x}")).collect();
    // Of `tweettweet`, as its first bytes stand at the places 0, 1 and 2 of a triple.
    let base64 = ["dHdlZXR0d2VldD", "R3ZWV0dHdlZX", "0d2VldHR3ZWV0"];
    [CANARY.to_owned(), hex].into_iter().chain(base64.map(str::to_owned)).collect()
}

#[track_caller]
fn has_none(what: &str, text: &str) {
    for look in looks() {
        let at = text.to_lowercase().find(&look.to_lowercase());
        if let Some(at) = at {
            let around: String = text.chars().skip(at.saturating_sub(200)).take(400).collect();
            panic!("{what} has a secret, as {look}: {around}");
        }
    }
}

/// Every file below a folder.
fn files(folder: &Path, found: &mut Vec<(String, String)>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            files(&path, found);
        } else if let Ok(bytes) = fs::read(&path) {
            found.push((path.display().to_string(), String::from_utf8_lossy(&bytes).into_owned()));
        }
    }
}

/// Command lines and environments of a process and of all below it.
fn processes(pid: u32, found: &mut Vec<(u32, String, String)>) {
    let read = |file: &str| {
        let bytes = fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default();
        String::from_utf8_lossy(&bytes).replace('\0', " ")
    };
    found.push((pid, read("cmdline"), read("environ")));
    for task in fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten() {
        let children = fs::read_to_string(task.path().join("children")).unwrap_or_default();
        for child in children.split_whitespace().filter_map(|child| child.parse().ok()) {
            processes(child, found);
        }
    }
}

/// Looks at everything that a program shows or keeps, in folders of its own.
fn look(running: &Running, ask: &dyn Fn(&str) -> String, kept: &[&str]) {
    let kind = running.kind;
    let routes: Vec<&str> = match kind {
        Kind::Agent => agent::server::ROUTES.iter().map(|route| route.path).collect(),
        Kind::Evaluator => alertmanager::api::ROUTES.iter().map(|route| route.path).collect(),
    };
    for path in routes {
        let path = path.replace("{name}", "job").replace("{service}", "shop");
        for more in ["", "?format=json", "?format=html", "?debug=true&module=m&target=127.0.0.1:1"]
        {
            has_none(&format!("{kind:?} {path}{more}"), &ask(&format!("{path}{more}")));
        }
    }
    has_none("the log", &running.program.log());
    let mut found = Vec::new();
    processes(running.program.pid(), &mut found);
    for (pid, line, environment) in found {
        has_none("a command line", &line);
        if pid != running.program.pid() {
            has_none(&format!("the environment of {line}"), &environment);
        }
    }
    let mut found = Vec::new();
    kept.iter().for_each(|folder| files(&running.path(folder), &mut found));
    assert!(!found.is_empty(), "{kind:?} has kept nothing");
    found.iter().for_each(|(path, text)| has_none(path, text));
}

#[test]
fn no_secret_of_the_agent_is_shown_x43() {
    let server = HttpServer::start(|_| Reply::status(500));
    let c = canary;
    let url = server.url("/");
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).display().to_string();
    Authority::new(folder.path(), "pki").sign("server", Purpose::Server);
    for (name, n) in [("password", 1), ("credentials", 2)] {
        fs::write(at(name), format!("{}\n", c(n))).unwrap();
    }
    fs::write(at("token"), format!("0123456789abcdef{}\n", c(3))).unwrap();
    fs::create_dir(at("state")).unwrap();
    let probes = [
        format!("http: {{url: '{url}', basic_auth: {{username: u, password: {}}}}}", c(4)),
        format!("http: {{url: '{url}', headers: {{authorization: Bearer {}}}}}", c(5)),
        format!("http: {{url: '{url}', headers: {{x-api-key: {}}}}}", c(6)),
        format!("health: {{url: '{url}', headers: {{x-token: {}}}}}", c(7)),
        format!(
            "prometheus: {{url: '{url}', basic_auth: {{username: u, password: {}}}, series: [{{select: \
             x, crit: 1}}]}}",
            c(8)
        ),
        format!("websocket: {{url: 'ws://{}/', headers: {{cookie: {}}}}}", server.address(), c(9)),
        format!("mysql: {{address: '{}', username: u, password: {}}}", server.address(), c(10)),
        format!("postgres: {{address: '{}', username: u, password: {}}}", server.address(), c(11)),
        format!("redis: {{address: '{}', password: {}}}", server.address(), c(12)),
        format!("mqtt: {{address: '{}', username: u, password: {}}}", server.address(), c(13)),
        format!("amqp: {{address: '{}', username: u, password: {}}}", server.address(), c(14)),
        format!("nats: {{address: '{}', password: {}}}", server.address(), c(15)),
        format!("ldap: {{address: '{}', username: u, password: {}}}", server.address(), c(16)),
        format!("snmp: {{address: '127.0.0.1:1', community: {}}}", c(17)),
        format!(
            "imap: {{address: '{}', starttls: true, username: u, password: {}, tls: {{}}}}",
            server.address(),
            c(18)
        ),
        // It has its own, and keeps it; nobody else has.
        format!("script: {{command: [/bin/false], env: {{TOKEN: {}}}}}", c(19)),
        "script: {command: [/bin/sleep, '0.9']}".to_owned(),
        "http: {url: 'http://127.0.0.1:1/', basic_auth: {username: u, password: '${env:PASSWORD}'}}"
            .to_owned(),
    ];
    let checks: String = (0..)
        .zip(&probes)
        .map(|(n, probe)| {
            format!(
                "- {{name: c{n}, interval: 1s, timeout: 950ms, retries: 0, probe: {{{probe}}}}}\n"
            )
        })
        .collect();
    let config = format!(
        "host: {{enabled: false}}\nstate: {}\nservices: {{shop: {{needs: [c0]}}}}\nchecks:\n{checks}\
         - {{name: job, heartbeat: {{period: 1d}}}}\n\
         uplink:\n  url: {url}\n  interval: 1s\n  basic_auth: {{username: u, password: {}}}\n  \
         buffer: {{dir: {}}}\n\
         web:\n  tls_server_config: {{cert_file: pki/server.crt, key_file: pki/server.key}}\n  \
         basic_auth_users: {{anne: $2b$05$abcdefghijklmnopqrstuupWDwJQeCHYIBQy8WvkVB6ImhZ476YYy}}\n  \
         bearer_token_files: [token]\n",
        at("state"),
        c(20),
        at("buffer"),
    );
    let shell = format!("export PASSWORD={}; exec \"$@\"", c(21));
    let more = ["--log-level", "trace"];
    let running = Running::inside(Kind::Agent, &config, &shell, &more, folder);
    let base = format!("https://127.0.0.1:{}", running.port);
    let ask = |path: &str| {
        // The last one is a password that somebody guesses.
        curl(&["-k", "-u", &format!("anne:{}", c(22)), &format!("{base}{path}")]);
        let said = curl(&["-k", "-u", "anne:swordfish", &format!("{base}{path}")]);
        assert_ne!(said.1, 401, "{path}");
        said.2
    };
    wait_until("all have run", || {
        let metrics = ask("/metrics");
        let waiting = |n: &usize| {
            metrics
                .contains(&format!("veilleur_check_reason{{check=\"c{n}\",reason=\"never-run\"}}"))
        };
        !(0..probes.len()).any(|n| waiting(&n)) && server.asked().len() > 6
    });
    look(&running, &ask, &["state", "buffer"]);
    // A fault of the configuration, next to a secret, on the page, in the log and by `check`.
    let broken = config.replace("interval: 1s, timeout", "interval: 1x, nonsense: y, timeout");
    let broken = broken.replace("series: [", "serie: [").replace("username: u", "usernam: u");
    fs::write(running.path("config.yml"), &broken).unwrap();
    running.program.signal("HUP");
    wait_until("the fault is told", || running.program.log().contains("stays in use"));
    look(&running, &ask, &["state", "buffer"]);
    let file = running.path("config.yml").display().to_string();
    let (_, said, faults) = tests::program::run("veilleur-agent", ["check", &file]);
    assert!(faults.lines().count() > 20, "{faults}");
    has_none("`check`", &format!("{said}{faults}"));
    for wrong in [
        format!("http: {{url: 'http://u:{}@127.0.0.1/'}}", c(23)),
        format!("http: {{url: 'http://127.0.0.1/', basic_auth: {}}}", c(24)),
        format!("redis: {{address: '127.0.0.1:1', password: [{}]}}", c(25)),
        format!("script: {{command: [/bin/true], env: {{'A B': {}}}}}", c(26)),
    ] {
        let text = format!("checks: [{{name: a, interval: 1s, probe: {{{wrong}}}}}]\n");
        fs::write(&file, text).unwrap();
        let (_, said, faults) = tests::program::run("veilleur-agent", ["check", &file]);
        assert!(!faults.is_empty(), "{wrong}");
        has_none(&format!("`check` of {wrong}"), &format!("{said}{faults}"));
    }
}

#[test]
fn no_secret_of_the_evaluator_is_shown_x43() {
    let server = HttpServer::start(|asked| match asked.path.as_str() {
        "/metrics" => Reply::text("broken 1\n"),
        _ => Reply::status(500),
    });
    let c = canary;
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).display().to_string();
    fs::write(at("password"), format!("{}\n", c(31))).unwrap();
    fs::write(at("token"), format!("0123456789abcdef{}\n", c(32))).unwrap();
    fs::write(
        at("rules.yml"),
        "groups:\n- name: g\n  rules:\n  - {alert: Broken, expr: broken == 1}\n",
    )
    .unwrap();
    let target = server.address();
    let url = server.url("");
    let chat = format!(
        "  telegram_configs: [{{api_url: '{url}', bot_token: {}, chat_id: 1}}]\n  \
         discord_configs: [{{webhook_url: '{url}/discord/{}'}}]\n  \
         mattermost_configs: [{{webhook_url: '{url}/mattermost/{}'}}]\n  \
         msteams_configs: [{{webhook_url: '{url}/teams/{}'}}]\n  \
         msteamsv2_configs: [{{webhook_url: '{url}/flow?sig={}'}}]\n  \
         googlechat_configs: [{{webhook_url: '{url}/google?token={}'}}]\n  \
         rocketchat_configs: [{{api_url: '{url}', token_id: {}, token: {}}}]\n  \
         matrix_configs: [{{homeserver_url: '{url}', access_token: {}, room_id: '!a:b'}}]\n  \
         zulip_configs: [{{api_url: '{url}/zulip', bot_email: a, api_key: {}, channel: a}}]\n  \
         webex_configs: [{{api_url: '{url}/webex', room_id: a, \
           http_config: {{authorization: {{credentials: {}}}}}}}]\n",
        c(50),
        c(51),
        c(52),
        c(53),
        c(54),
        c(55),
        c(56),
        c(57),
        c(58),
        c(59),
        c(60),
    );
    let others = format!(
        "  ntfy_configs: [{{url: '{url}/ntfy', topic: a, token: {}}}]\n  \
         gotify_configs: [{{url: '{url}/gotify', token: {}, client_token: {}}}]\n  \
         twilio_configs: [{{url: '{url}/twilio', account_sid: AC0123456789abcdef0123456789abcdef, \
           auth_token: {}, from: a, to: '+33612345678'}}]\n  \
         elasticsearch_configs: [{{url: '{url}/es', api_key: {}}}]\n  \
         splunk_configs: [{{url: '{url}/splunk', token: {}}}]\n  \
         irc_configs: [{{server: '{target}', tls: false, channel: '#a', password: {}, \
           sasl_password: {}, channel_key: {}}}]\n  \
         xmpp_configs: [{{jid: a@localhost, server: '{target}', password: {}, room: a@b, \
           room_password: {}}}]\n",
        c(70),
        c(71),
        c(72),
        c(73),
        c(74),
        c(75),
        c(76),
        c(77),
        c(78),
        c(79),
        c(80),
    );
    let config = format!(
        "global:\n  scrape_interval: 500ms\n  evaluation_interval: 500ms\n  slack_api_url: {}\n  \
         smtp_smarthost: {target}\n  smtp_from: a@veilleur.test\n  smtp_auth_username: u\n  \
         smtp_auth_password: {}\nscrape_configs:\n\
         - job_name: basic\n  basic_auth: {{username: u, password: {}}}\n  \
         static_configs: [{{targets: ['{target}']}}]\n\
         - job_name: file\n  basic_auth: {{username: u, password_file: {}}}\n  \
         static_configs: [{{targets: ['{target}']}}]\n\
         - job_name: token\n  authorization: {{credentials: {}}}\n  \
         static_configs: [{{targets: ['{target}', '127.0.0.1:1']}}]\n\
         rule_files: ['{}']\nroute: {{receiver: all, group_wait: 0s}}\nreceivers:\n- name: all\n  \
         slack_configs: [{{channel: '#a'}}]\n  email_configs: [{{to: b@veilleur.test}}]\n\
         {chat}{others}  webhook_configs:\n  - {{url: '{}'}}\n  \
         - {{url: '{}', http_config: {{authorization: {{credentials: {}}}}}}}\n  \
         - {{url: '{}', http_config: {{basic_auth: {{username: u, password: {}}}}}}}\n\
         web:\n  basic_auth_users: {{anne: $2b$05$abcdefghijklmnopqrstuupWDwJQeCHYIBQy8WvkVB6ImhZ476YYy}}\n  \
         bearer_token_files: [token]\n",
        server.url(&format!("/slack/{}", c(33))),
        c(34),
        c(35),
        at("password"),
        c(36),
        at("rules.yml"),
        server.url(&format!("/hook/{}?token={}", c(37), c(38))),
        server.url("/hook"),
        c(39),
        server.url("/hook"),
        c(40),
    );
    let more = ["--log-level", "trace"];
    let running = Running::inside(Kind::Evaluator, &config, "exec \"$@\"", &more, folder);
    let base = running.url("");
    let ask = |path: &str| {
        curl(&["-u", &format!("anne:{}", c(41)), &format!("{base}{path}")]);
        let said = curl(&["-u", "anne:swordfish", &format!("{base}{path}")]);
        assert_ne!(said.1, 401, "{path}");
        said.2
    };
    wait_until("all were asked", || {
        let asked = server.asked();
        let of = |start: &str| asked.iter().any(|asked| asked.path.starts_with(start));
        let chats = ["/bot", "/discord", "/mattermost", "/teams", "/flow", "/google", "/zulip"];
        let others = ["/ntfy", "/gotify", "/twilio", "/es", "/splunk"];
        let more = ["/api/v1/chat.", "/_matrix", "/webex", "/slack/"];
        chats.into_iter().chain(more).chain(others).all(of)
            && of("/hook/")
            && asked.iter().filter(|a| a.path == "/hook").count() >= 2
    });
    wait_until("that they failed is told", || ask("/health").contains("receiver:all/webhook/0"));
    look(&running, &ask, &["data"]);
    let broken = config.replace("username: u", "usernam: u").replace("500ms", "500 ms");
    fs::write(running.path("config.yml"), broken).unwrap();
    running.program.signal("HUP");
    wait_until("the fault is told", || ask("/health").contains("usernam"));
    look(&running, &ask, &["data"]);
    let file = running.path("config.yml").display().to_string();
    for wrong in [
        format!("webhook_configs: [{{url: 'ftp://{}'}}]", c(42)),
        format!("webhook_configs: [{{url: ['{}']}}]", c(43)),
        format!("slack_configs: [{{channel: a, api_url: 'x{}'}}]", c(44)),
        format!("slack_configs: {}", c(46)),
        format!("webhook_configs: [{{url: 'http://x', http_config: {{basic_auth: {}}}}}]", c(47)),
        format!(
            "webhook_configs: [{{url: 'http://x', http_config: {{authorization: {{type: basic, \
             credentials: {}}}}}}}]",
            c(48)
        ),
    ] {
        let receivers = format!("route: {{receiver: a}}\nreceivers: [{{name: a, {wrong}}}]\n");
        fs::write(&file, receivers).unwrap();
        let (_, said, faults) = tests::program::run("veilleur", ["check", &file]);
        assert!(!faults.is_empty(), "{wrong}");
        has_none(&format!("`check` of {wrong}"), &format!("{said}{faults}"));
    }
    fs::write(
        &file,
        format!(
            "scrape_configs:\n- job_name: a\n  static_configs: [{{targets: ['u:{}@127.0.0.1:1']}}]\n",
            c(45)
        ),
    )
    .unwrap();
    let (_, said, faults) = tests::program::run("veilleur", ["check", &file]);
    has_none("`check` of a target with a password", &format!("{said}{faults}"));
}
