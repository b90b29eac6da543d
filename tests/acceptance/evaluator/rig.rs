//! An agent with one check that the test breaks and mends, an evaluator, and a chat service.
//!
//! Invariant: everything of it is in its own folder and on its own ports, so that tests run side by
//! side.

use std::fs;
use std::path::PathBuf;

use serde_json::Value;
use tempfile::TempDir;
use tests::http_server::HttpServer;
use tests::mail_server::{self, MailServer};
use tests::program::{Program, free_port};
use tests::{get, wait_until};

/// A bash probe.
const PROBE: &str = r#"#!/bin/bash
# Says how many orders wait.
if [ -e "$1/broken" ]; then
  echo 'ORDERS CRITICAL - 42 orders wait | waiting=42;10;20'
  exit 2
fi
echo 'ORDERS OK - nothing waits | waiting=0;10;20'
"#;

/// The whole way.
pub(crate) struct Rig {
    pub(crate) dir: TempDir,
    pub(crate) agent_port: u16,
    pub(crate) port: u16,
    pub(crate) agent: Option<Program>,
    pub(crate) evaluator: Option<Program>,
    pub(crate) sink: HttpServer,
}

impl Rig {
    /// A rig whose receiver `ops` is the chat service.
    pub(crate) fn start() -> Self {
        Self::start_by("", "  slack_configs: [{channel: '#ops'}]\n")
    }

    /// A rig whose receiver `ops` is told by mail, too.
    pub(crate) fn start_with(mail: &MailServer) -> Self {
        let global = format!(
            "  smtp_smarthost: {}\n  smtp_from: veilleur@veilleur.test\n  \
             smtp_auth_username: {}\n  smtp_auth_password: {}\n  \
             smtp_tls_config: {{ca_file: {}}}\n",
            mail.address(),
            mail_server::USER,
            mail_server::PASSWORD,
            mail.certificate_file().display()
        );
        let ways = "  slack_configs: [{channel: '#ops'}]\n  \
                    email_configs: [{to: oncall@veilleur.test}]\n";
        Self::start_by(&global, ways)
    }

    /// A rig with more lines of `global` and these lines of the receiver `ops`.
    pub(crate) fn start_by(global: &str, ways: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut rig = Self {
            agent_port: free_port(),
            port: free_port(),
            agent: None,
            evaluator: None,
            sink: HttpServer::sink(),
            dir,
        };
        let probe = rig.path("orders.sh");
        tests::write_program(&probe, PROBE);
        let folder = rig.dir.path().display().to_string();
        rig.write(
            "agent.yml",
            &format!(
                "listen: 127.0.0.1:{}\nchecks:\n- name: orders\n  interval: 1s\n  retries: 0\n  \
                 probe: {{script: {{command: [{}, {folder}]}}}}\n",
                rig.agent_port,
                probe.display()
            ),
        );
        rig.configure(global, ways);
        rig.start_agent();
        rig.start_evaluator();
        rig
    }

    /// Writes `veilleur.yml`.
    pub(crate) fn configure(&self, global: &str, ways: &str) {
        self.write(
            "veilleur.yml",
            &format!(
                "global:\n  scrape_interval: 1s\n  evaluation_interval: 1s\n  slack_api_url: {}\n\
                 {global}scrape_configs:\n- job_name: agents\n  static_configs:\n  \
                 - targets: ['127.0.0.1:{}']\nbuiltin_rules: {{interval: 1s, for: {{AgentDown: 3s}}}}\n\
                 route: {{receiver: ops, group_by: [alertname, check], group_wait: 1s, \
                 group_interval: 1s, repeat_interval: 1h}}\nreceivers:\n- name: ops\n{ways}",
                self.sink.url("/chat"),
                self.agent_port,
            ),
        );
    }

    pub(crate) fn start_agent(&mut self) {
        let config = self.path("agent.yml");
        self.agent =
            Some(Program::start("veilleur-agent", ["--config".as_ref(), config.as_os_str()]));
        let url = format!("http://127.0.0.1:{}/readyz", self.agent_port);
        wait_until("the agent is ready", || get(&url).is_some_and(|(status, _)| status == 200));
    }

    pub(crate) fn start_evaluator(&mut self) {
        let (config, data) = (self.path("veilleur.yml"), self.path("data"));
        let listen = format!("127.0.0.1:{}", self.port);
        self.evaluator = Some(Program::start(
            "veilleur",
            [
                "--config".as_ref(),
                config.as_os_str(),
                "--data".as_ref(),
                data.as_os_str(),
                "--listen".as_ref(),
                listen.as_ref(),
            ],
        ));
        wait_until("the evaluator is ready", || {
            self.get("/-/ready").is_some_and(|(status, _)| status == 200)
        });
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
    }

    /// From now on the check is critical.
    pub(crate) fn break_check(&self) {
        self.write("broken", "");
    }

    /// From now on the check is well.
    pub(crate) fn mend_check(&self) {
        fs::remove_file(self.path("broken")).unwrap();
    }

    /// An answer of the evaluator, if it gives one.
    pub(crate) fn get(&self, path: &str) -> Option<(u16, String)> {
        get(&format!("http://127.0.0.1:{}{path}", self.port))
    }

    /// The value of the one series that `query` gives now, as text; empty where there is none.
    pub(crate) fn value(&self, query: &str) -> String {
        let Some((_, body)) = self.get(&format!("/api/v1/query?query={}", tests::escaped(query)))
        else {
            return String::new();
        };
        let body: Value = serde_json::from_str(&body).unwrap();
        let value = &body["data"]["result"][0]["value"][1];
        value.as_str().unwrap_or("").to_owned()
    }

    /// The names of the alerts that fire, sorted.
    pub(crate) fn firing(&self) -> Vec<String> {
        let Some((_, body)) = self.get("/api/v1/alerts") else { return Vec::new() };
        let body: Value = serde_json::from_str(&body).unwrap();
        let alerts = body["data"]["alerts"].as_array().unwrap();
        let firing = alerts.iter().filter(|alert| alert["state"] == "firing");
        let name = |alert: &Value| alert["labels"]["alertname"].as_str().unwrap().to_owned();
        let mut names: Vec<_> = firing.map(name).collect();
        names.sort();
        names
    }

    /// What the chat service was told.
    pub(crate) fn chat(&self) -> Vec<Value> {
        let asked = self.sink.asked();
        asked.iter().filter(|asked| asked.path == "/chat").map(|asked| asked.json()).collect()
    }
}
