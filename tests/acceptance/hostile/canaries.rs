//! Every setting of the agent that holds a secret, with a canary in it, in one table: X43.
//!
//! ```text
//! schema ──▶ which settings are secrets ─┐
//! TABLE  ──▶ which have a canary         ┴▶ the same
//!        ──▶ agents that use them all ──▶ pages, log, files, processes, faults: not one canary
//! ```
//!
//! Invariant: a setting of the type `Secret` that is not in the table fails the test.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use serde_json::Value;
use tests::certificates::{Authority, Purpose};
use tests::http_server::{HttpServer, Reply};
use tests::program::{free_port, run};
use tests::{curl, escaped, wait_until};

use crate::secrets::{canary, look, looks, shows_none};
use crate::stage::{Kind, Running};

/// The settings below a probe, and a probe that has them. `@` is a canary, `HOST` a server that
/// answers nothing good, `TLS` our certificate with its key as they are.
const PROBES: &[(&str, &str)] = &[
    ("amqp.password", "amqp: {address: HOST, username: u, password: @}"),
    ("amqp.tls.key", "amqp: {address: HOST, tls: TLS}"),
    ("grpc.metadata.*", "grpc: {address: HOST, metadata: {authorization: @}}"),
    ("grpc.tls.key", "grpc: {address: HOST, tls: TLS}"),
    (
        "health.authorization.credentials",
        "health: {url: 'http://HOST/', authorization: {credentials: @}}",
    ),
    (
        "health.basic_auth.password",
        "health: {url: 'http://HOST/', basic_auth: {username: u, password: @}}",
    ),
    ("health.headers.*", "health: {url: 'http://HOST/', headers: {x-token: @}}"),
    (
        "health.oauth2.client_secret health.oauth2.endpoint_params.* health.oauth2.tls.key",
        "health: {url: 'http://HOST/', oauth2: {client_id: c, client_secret: @, token_url: 'http://HOST/t', \
         endpoint_params: {extra: @}, tls: TLS}}",
    ),
    ("health.tls.key", "health: {url: 'https://HOST/', tls: TLS}"),
    (
        "http.authorization.credentials",
        "http: {url: 'http://HOST/', authorization: {credentials: @}}",
    ),
    (
        "http.basic_auth.password",
        "http: {url: 'http://HOST/', basic_auth: {username: u, password: @}}",
    ),
    ("http.body", "http: {url: 'http://HOST/', method: POST, body: 'password=@'}"),
    ("http.headers.*", "http: {url: 'http://HOST/', headers: {authorization: Bearer @, x-key: @}}"),
    (
        "http.oauth2.client_secret http.oauth2.endpoint_params.* http.oauth2.tls.key",
        "http: {url: 'http://HOST/', oauth2: {client_id: c, client_secret: @, token_url: 'http://HOST/t', \
         endpoint_params: {extra: @}, tls: TLS}}",
    ),
    (
        "http.proxy.basic_auth.password",
        "http: {url: 'http://shop.test/', proxy: {url: 'http://HOST', basic_auth: {username: u, password: @}}}",
    ),
    (
        "http.steps.-.body http.steps.-.headers.*",
        "http: {steps: [{url: 'http://HOST/', method: POST, body: 'a=@', headers: {x-key: @}}]}",
    ),
    ("http.tls.key", "http: {url: 'https://HOST/', tls: TLS}"),
    ("imap.password", "imap: {address: HOST, starttls: true, username: u, password: @, tls: {}}"),
    ("imap.tls.key", "imap: {address: HOST, tls: TLS}"),
    ("ldap.password", "ldap: {address: HOST, username: u, password: @}"),
    ("ldap.tls.key", "ldap: {address: HOST, tls: TLS}"),
    ("mongodb.password", "mongodb: {address: HOST, username: u, password: @}"),
    ("mongodb.tls.key", "mongodb: {address: HOST, tls: TLS}"),
    ("mqtt.password", "mqtt: {address: HOST, username: u, password: @}"),
    ("mqtt.tls.key", "mqtt: {address: HOST, tls: TLS}"),
    ("mysql.password", "mysql: {address: HOST, username: u, password: @}"),
    ("mysql.tls.key", "mysql: {address: HOST, tls: TLS}"),
    ("nats.password", "nats: {address: HOST, password: @}"),
    ("nats.request", "nats: {address: HOST, subject: a, request: @}"),
    ("nats.tls.key", "nats: {address: HOST, tls: TLS}"),
    ("pop3.password", "pop3: {address: HOST, starttls: true, username: u, password: @, tls: {}}"),
    ("pop3.tls.key", "pop3: {address: HOST, tls: TLS}"),
    ("postgres.password", "postgres: {address: HOST, username: u, password: @}"),
    ("postgres.tls.key", "postgres: {address: HOST, username: u, tls: TLS}"),
    (
        "prometheus.authorization.credentials",
        "prometheus: {url: 'http://HOST/', series: [{select: x, crit: 1}], authorization: {credentials: @}}",
    ),
    (
        "prometheus.basic_auth.password prometheus.headers.*",
        "prometheus: {url: 'http://HOST/', series: [{select: x, crit: 1}], basic_auth: {username: u, password: @}, \
         headers: {x-key: @}}",
    ),
    (
        "prometheus.oauth2.client_secret prometheus.oauth2.endpoint_params.* prometheus.oauth2.tls.key",
        "prometheus: {url: 'http://HOST/', series: [{select: x, crit: 1}], oauth2: {client_id: c, client_secret: @, \
         token_url: 'http://HOST/t', endpoint_params: {extra: @}, tls: TLS}}",
    ),
    (
        "prometheus.tls.key",
        "prometheus: {url: 'https://HOST/', series: [{select: x, crit: 1}], tls: TLS}",
    ),
    ("redis.password", "redis: {address: HOST, password: @}"),
    ("redis.tls.key", "redis: {address: HOST, tls: TLS}"),
    // It has its own, and keeps it; nobody else has.
    ("script.env.*", "script: {command: [/bin/false], env: {TOKEN: @}}"),
    ("smtp.password", "smtp: {address: HOST, starttls: true, username: u, password: @, tls: {}}"),
    ("smtp.tls.key", "smtp: {address: HOST, tls: TLS}"),
    (
        "snmp.auth.password snmp.privacy.password",
        "snmp: {address: '127.0.0.1:1', username: u, auth: {protocol: sha, password: @}, \
         privacy: {protocol: aes-128, password: @}}",
    ),
    ("snmp.community", "snmp: {address: '127.0.0.1:1', community: @}"),
    ("tcp.tls.key", "tcp: {address: HOST, tls: TLS}"),
    ("tls.tls.key", "tls: {address: HOST, tls: TLS}"),
    ("websocket.headers.*", "websocket: {url: 'ws://HOST/', headers: {cookie: @}}"),
    ("websocket.tls.key", "websocket: {url: 'wss://HOST/', tls: TLS}"),
    // What is no secret by its type, but may well have one in it.
    ("", "tcp: {address: HOST, send: 'AUTH @'}"),
    ("", "tcp: {address: HOST, query_response: [{send: 'PASS @'}, {expect: nothing}]}"),
    ("", "websocket: {url: 'ws://HOST/', query_response: [{send: '@'}]}"),
    ("", "http: {url: 'http://HOST/', basic_auth: {username: u, password: '${env:PASSWORD}'}}"),
];

/// The settings of sections, each with one that has them; of the same section there is one an agent.
const SECTIONS: &[(&str, &str)] = &[
    (
        "nrpe.tls.key nrpe.commands.*.env.*",
        "nrpe: {listen: '127.0.0.1:PORT', tls: TLS, commands: {c: {command: [/bin/false], env: {TOKEN: @}}}}",
    ),
    (
        "scripts.on_request.*.script.env.*",
        "scripts: {on_request: {s: {script: {command: [/bin/false], env: {TOKEN: @}}}}}",
    ),
    (
        "uplink.basic_auth.password",
        "uplink: {url: 'http://HOST/', interval: 1s, buffer: {dir: BUFFER}, basic_auth: {username: u, password: @}}",
    ),
    (
        "uplink.authorization.credentials uplink.tls_config.key",
        "uplink: {url: 'https://HOST/', interval: 1s, buffer: {dir: BUFFER}, authorization: {credentials: @}, \
         tls_config: TLS}",
    ),
    (
        "web.basic_auth_users.* web.tls_server_config.key",
        "web: {tls_server_config: TLS, basic_auth_users: {anne: HASH}, bearer_token_files: [token]}",
    ),
];

/// Modules of blackbox_exporter, whose files have no schema.
const MODULES: &[&str] = &[
    "{prober: http, http: {bearer_token: @}}",
    "{prober: http, http: {basic_auth: {username: u, password: @}}}",
    "{prober: http, http: {headers: {authorization: Bearer @}, body: 'password=@', method: POST}}",
    "{prober: http, http: {http_headers: {x-key: {values: [@], secrets: [@]}}}}",
    "{prober: http, http: {authorization: {credentials: @}}}",
    "{prober: http, http: {proxy_url: 'http://u:@@@HOST', proxy_connect_header: {x-key: [@]}}}",
    "{prober: http, http: {oauth2: {client_id: c, client_secret: @, token_url: 'http://HOST/t', \
     endpoint_params: {extra: @}}}}",
    "{prober: http, http: {tls_config: TLS}}",
    "{prober: tcp, tcp: {query_response: [{send: 'AUTH @'}, {expect: nothing}]}}",
    "{prober: grpc, grpc: {metadata: {authorization: [@]}}}",
    "{prober: websocket, websocket: {headers: {cookie: @}, query_response: [{send: @}]}}",
    "{prober: websocket, websocket: {http_config: {bearer_token: @}}}",
];

/// The password `swordfish`; the hash is a secret, too.
const HASH: &str = "$2b$05$abcdefghijklmnopqrstuupWDwJQeCHYIBQy8WvkVB6ImhZ476YYy";

/// Where secrets are, as the schema says it.
fn secrets(root: &Value, schema: &Value, path: &str, seen: &[&str], found: &mut BTreeSet<String>) {
    if !schema.is_object() {
        return;
    }
    if let Some(name) = schema["$ref"].as_str() {
        if !seen.contains(&name) {
            let below = agent::schema::resolve(root, schema);
            secrets(root, below, path, &[seen, &[name]].concat(), found);
        }
        return;
    }
    if schema["writeOnly"] == true {
        found.insert(path.trim_start_matches('.').to_owned());
    }
    for (name, schema) in schema["properties"].as_object().into_iter().flatten() {
        secrets(root, schema, &format!("{path}.{name}"), seen, found);
    }
    for (key, step) in [("additionalProperties", "*"), ("items", "-")] {
        secrets(root, &schema[key], &format!("{path}.{step}"), seen, found);
    }
    for key in ["anyOf", "oneOf", "allOf"] {
        for schema in schema[key].as_array().into_iter().flatten() {
            secrets(root, schema, path, seen, found);
        }
    }
}

#[test]
fn every_secret_setting_has_its_canary_x43() {
    let root = agent::schema::schema();
    let mut known = BTreeSet::new();
    secrets(&root, &root, "", &[], &mut known);
    let of = |table: &[(&str, &str)], start: &str| -> BTreeSet<String> {
        let paths = table.iter().flat_map(|(paths, _)| paths.split_whitespace());
        paths.map(|path| format!("{start}{path}")).collect()
    };
    let mut tried = of(PROBES, "checks.-.probe.");
    tried.extend(of(SECTIONS, ""));
    assert_eq!(known, tried, "a secret without a canary, or a canary without a secret");
    assert!(known.len() > 60, "{known:?}");
    // A row has what it says.
    for (paths, text) in PROBES.iter().chain(SECTIONS) {
        let placed = ["@", "TLS", "HASH"].map(|mark| text.matches(mark).count());
        let wanted = paths.split_whitespace().count();
        assert!(placed.iter().sum::<usize>() >= wanted, "{paths}: {text}");
    }
}

/// A folder with what stands in the place of the marks.
struct Marks<'f> {
    folder: &'f Path,
    tls: String,
    host: String,
    /// How many canaries there are.
    canaries: u32,
}

impl Marks<'_> {
    /// A text with its marks replaced, each canary by one of its own.
    fn fill(&mut self, text: &str) -> String {
        let at = |name: &str| self.folder.join(name).display().to_string();
        // The sign before a host stays one.
        let text = text.replace("@@@", "@\u{1}").replace("HOST", &self.host);
        let text = text.replace("BUFFER", &at("buffer")).replace("HASH", HASH);
        let text = text.replace("PORT", &free_port().to_string());
        let mut filled = String::new();
        for (n, part) in text.split('@').enumerate() {
            if n > 0 {
                self.canaries += 1;
                filled.push_str(&canary(self.canaries % 100));
            }
            filled.push_str(part);
        }
        filled.replace('\u{1}', "@").replace("TLS", &self.tls)
    }
}

/// What must not be seen: canaries, the hash, and the key.
fn needles(key: &str) -> Vec<String> {
    let lines = key.lines().filter(|line| !line.starts_with("-----") && line.len() > 20);
    let mut needles = looks();
    needles.extend(lines.map(|line| line[..20].to_owned()));
    needles.push(HASH[7..].to_owned());
    needles
}

#[test]
fn no_secret_of_any_setting_is_shown_x43() {
    let server = HttpServer::start(|_| Reply::status(500));
    for turn in 0..2 {
        let folder = tempfile::tempdir().unwrap();
        let (certificate, key) =
            Authority::new(folder.path(), "pki").sign("server", Purpose::Server);
        let read = |file: &str| fs::read_to_string(file).unwrap();
        let needles = needles(&read(&key));
        assert!(needles.len() > looks().len() + 1, "the key has no lines");
        fs::write(folder.path().join("token"), format!("0123456789abcdef{}\n", canary(0))).unwrap();
        fs::create_dir(folder.path().join("state")).unwrap();
        let path = folder.path().to_owned();
        let tls = format!("{{cert: {:?}, key: {:?}}}", read(&certificate), read(&key));
        let mut marks = Marks { folder: &path, tls, host: server.address(), canaries: 0 };
        let config = config(&mut marks, turn);
        assert!(marks.canaries > 40, "{}", marks.canaries);
        let shell = format!("export PASSWORD={}; exec \"$@\"", canary(98));
        let running =
            Running::inside(Kind::Agent, &config, &shell, &["--log-level", "trace"], folder);
        watch(&running, &config, &needles, &server);
    }
}

/// The whole configuration; in each turn with another one of the sections that come twice.
fn config(marks: &mut Marks<'_>, turn: usize) -> String {
    let mut config = format!(
        "host: {{enabled: false}}\nstate: {}\nservices: {{shop: {{needs: [c0]}}}}\n",
        marks.folder.join("state").display()
    );
    let modules: String = (0..)
        .zip(MODULES)
        .map(|(n, module)| format!("  m{n}: {{timeout: 200ms, {}\n", marks.fill(&module[1..])))
        .collect();
    fs::write(marks.folder.join("blackbox.yml"), format!("modules:\n{modules}")).unwrap();
    config += &format!(
        "blackbox: {{config: {}, allow_targets: ['{}'], debug_from: [127.0.0.1]}}\n",
        marks.folder.join("blackbox.yml").display(),
        marks.host
    );
    let mut by_name: Vec<(&str, Vec<&str>)> = Vec::new();
    for (_, text) in SECTIONS {
        let name = text.split(':').next().unwrap();
        match by_name.iter_mut().find(|(known, _)| *known == name) {
            Some((_, texts)) => texts.push(text),
            None => by_name.push((name, vec![text])),
        }
    }
    for (_, texts) in by_name {
        config += &format!("{}\n", marks.fill(texts[turn % texts.len()]));
    }
    config += "checks:\n";
    for (n, (_, probe)) in PROBES.iter().enumerate() {
        let probe = marks.fill(probe);
        config += &format!(
            "- {{name: c{n}, interval: 1s, timeout: 950ms, retries: 0, probe: {{{probe}}}}}\n"
        );
    }
    config + "- {name: job, heartbeat: {period: 1d}}\n"
}

/// Looks wherever a secret could have gone, with the configuration in order and then with faults.
fn watch(running: &Running, config: &str, needles: &[String], server: &HttpServer) {
    let base = format!("https://127.0.0.1:{}", running.port);
    let ask = |path: &str| {
        // First with a password that somebody guesses.
        curl(&["-k", "-u", &format!("anne:{}", canary(99)), &format!("{base}{path}")]);
        let said = curl(&["-k", "-u", "anne:swordfish", &format!("{base}{path}")]);
        assert_ne!(said.1, 401, "{path}");
        said.2
    };
    wait_until("all have run", || {
        let metrics = ask("/metrics");
        let never = "reason=\"never-run\"} 1";
        !metrics.lines().any(|line| {
            line.starts_with("veilleur_check_reason{check=\"c") && line.ends_with(never)
        })
    });
    // The secrets are in use, so that there is something to be seen.
    let sent = server.asked();
    let is_sent = |part: &str| sent.iter().any(|asked| format!("{asked:?}").contains(part));
    assert!(is_sent("x-key") && is_sent("tweettweet") && is_sent("authorization"), "{sent:?}");
    for n in 0..MODULES.len() {
        for target in [server.url("/"), server.address(), server.url("/").replace("http", "ws")] {
            let said = ask(&format!("/probe?module=m{n}&debug=true&target={}", escaped(&target)));
            shows_none(&format!("/probe of the module {n}"), &said, needles);
        }
    }
    look(running, &ask, &["state", "buffer"], needles);
    let limits = fs::read_to_string(format!("/proc/{}/limits", running.program.pid())).unwrap();
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
    assert_eq!(core.split_whitespace().nth(4), Some("0"), "{core}");
    let file = running.path("config.yml").display().to_string();
    let told = |arguments: &[&str], needles: &[String]| {
        let (_, said, faults) = run("veilleur-agent", arguments);
        shows_none(&arguments.join(" "), &format!("{said}{faults}"), needles);
        faults
    };
    told(&["check", &file], needles);
    told(&["run-once", "--config", &file, "--log-level", "trace"], needles);
    // Faults next to secrets, and in their place: on the page, in the log and by `check`.
    let end = |text: &str, more: &str| {
        let lines = text.lines().map(|line| match line.strip_suffix("}}}") {
            Some(line) if line.starts_with("- ") => format!("{line}{more}}}}}}}"),
            _ => line.to_owned(),
        });
        lines.collect::<Vec<_>>().join("\n")
    };
    let canary_at = regex::Regex::new("tweettweet[0-9]{2}").unwrap();
    for (what, broken) in [
        ("another setting", end(config, ", nonsense: y")),
        ("a list in place of a text", canary_at.replace_all(config, "[$0]").into_owned()),
        ("a mapping in place of a text", canary_at.replace_all(config, "{a: $0}").into_owned()),
        ("half of a file", config[..config.len() * 2 / 3].to_owned()),
        ("no end", canary_at.replace_all(config, "'$0").into_owned()),
    ] {
        fs::write(&file, &broken).unwrap();
        let faults = told(&["check", &file], needles);
        assert!(!faults.is_empty(), "{what}");
        running.program.signal("HUP");
    }
    wait_until("the fault is told", || running.program.log().contains("stays in use"));
    look(running, &ask, &["state", "buffer"], needles);
}
