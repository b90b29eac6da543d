//! Secrets of every kind as canaries, and then a look wherever they could have gone: X43.

use std::fs;
use std::path::Path;

use tests::http_server::{HttpServer, Reply};
use tests::{curl, wait_until};

use crate::stage::{Kind, Running};

/// What stands in every canary, and nowhere else.
const CANARY: &str = "tweettweet";

/// A number for each kind of secret, so that it is known which was seen.
pub(crate) fn canary(n: u32) -> String {
    format!("{CANARY}{n:02}")
}

/// How a canary looks in a log: plain, as `user:PASSWORD` in base64 at all three offsets, in hex.
pub(crate) fn looks() -> Vec<String> {
    let hex: String = CANARY.bytes().map(|byte| format!("{byte:02x}")).collect();
    // Of `tweettweet`, as its first bytes stand at the places 0, 1 and 2 of a triple.
    let base64 = ["dHdlZXR0d2VldD", "R3ZWV0dHdlZX", "0d2VldHR3ZWV0"];
    [CANARY.to_owned(), hex].into_iter().chain(base64.map(str::to_owned)).collect()
}

#[track_caller]
fn has_none(what: &str, text: &str) {
    shows_none(what, text, &looks());
}

/// That none of `needles` is in a text, whatever its case.
#[track_caller]
pub(crate) fn shows_none(what: &str, text: &str, needles: &[String]) {
    let lower = text.to_lowercase();
    for needle in needles {
        if let Some(at) = lower.find(&needle.to_lowercase()) {
            let around = String::from_utf8_lossy(lower.as_bytes());
            let around: String = around.chars().skip(at.saturating_sub(200)).take(400).collect();
            panic!("{what} has a secret, as {needle}: {around}");
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
pub(crate) fn look(
    running: &Running,
    ask: &dyn Fn(&str) -> String,
    kept: &[&str],
    needles: &[String],
) {
    let has_none = |what: &str, text: &str| shows_none(what, text, needles);
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
    look(&running, &ask, &["data"], &looks());
    let broken = config.replace("username: u", "usernam: u").replace("500ms", "500 ms");
    fs::write(running.path("config.yml"), broken).unwrap();
    running.program.signal("HUP");
    wait_until("the fault is told", || ask("/health").contains("usernam"));
    look(&running, &ask, &["data"], &looks());
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
