//! An agent with one check that the test breaks and mends, an evaluator, and a chat service.
//!
//! Invariant: everything of it is in its own folder and on its own ports, so that tests run side by
//! side.

use std::ffi::OsString;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;
use tempfile::TempDir;
use tests::http_server::HttpServer;
use tests::mail_server::{self, MailServer};
use tests::program::{Program, free_port, path_of};
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

/// An evaluator with its folder.
pub(crate) struct Evaluator {
    dir: TempDir,
    pub(crate) port: u16,
    program: Option<Program>,
}

impl Evaluator {
    /// An evaluator that does not run yet.
    pub(crate) fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap(), port: free_port(), program: None }
    }

    /// An evaluator that runs with this configuration.
    pub(crate) fn with(config: &str) -> Self {
        let mut evaluator = Self::new();
        evaluator.write("veilleur.yml", config);
        evaluator.start();
        evaluator
    }

    /// Its command line.
    pub(crate) fn arguments(&self) -> Vec<OsString> {
        let listen = format!("127.0.0.1:{}", self.port);
        let (config, data) = (self.path("veilleur.yml"), self.path("data"));
        let options = ["--config".into(), config.into(), "--data".into(), data.into()];
        options.into_iter().chain(["--listen".into(), listen.into()]).collect()
    }

    /// Runs it with this variable in its environment, and waits for nothing.
    pub(crate) fn begin_with(&mut self, variable: (&str, &str)) {
        let mut command = Command::new(path_of("veilleur"));
        command.args(self.arguments()).env(variable.0, variable.1);
        self.program = Some(Program::spawn(command));
    }

    pub(crate) fn start(&mut self) {
        self.start_with(&[]);
    }

    /// Starts it with `more` on its command line.
    pub(crate) fn start_with(&mut self, more: &[&str]) {
        let more = more.iter().map(OsString::from);
        self.program = Some(Program::start("veilleur", self.arguments().into_iter().chain(more)));
        wait_until("the evaluator is ready", || {
            self.get("/-/ready").is_some_and(|(status, _)| status == 200)
        });
    }

    #[track_caller]
    pub(crate) fn program(&mut self) -> &mut Program {
        self.program.as_mut().unwrap()
    }

    /// Ends it without a warning.
    #[track_caller]
    pub(crate) fn kill(&mut self) {
        self.program.take().unwrap().kill();
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
    }

    /// An answer, if it gives one.
    pub(crate) fn get(&self, path: &str) -> Option<(u16, String)> {
        get(&format!("http://127.0.0.1:{}{path}", self.port))
    }

    /// The data of an answer of the API; nothing where it gives none.
    pub(crate) fn data(&self, path: &str) -> Value {
        let body = self.get(path).map_or_else(String::new, |(_, body)| body);
        let body: Value = serde_json::from_str(&body).unwrap_or_default();
        body["data"].clone()
    }

    /// The value of the one series that `query` gives now, as text; empty where there is none.
    pub(crate) fn value(&self, query: &str) -> String {
        let data = self.data(&format!("/api/v1/query?query={}", tests::escaped(query)));
        data["result"][0]["value"][1].as_str().unwrap_or("").to_owned()
    }

    /// The names of the alerts in `state`, sorted.
    pub(crate) fn alerts(&self, state: &str) -> Vec<String> {
        let data = self.data("/api/v1/alerts");
        let alerts = data["alerts"].as_array().cloned().unwrap_or_default();
        let alerts = alerts.iter().filter(|alert| alert["state"] == state);
        let name = |alert: &Value| alert["labels"]["alertname"].as_str().unwrap().to_owned();
        let mut names: Vec<_> = alerts.map(name).collect();
        names.sort();
        names
    }

    /// Waits until every rule has been evaluated `more` times.
    #[track_caller]
    pub(crate) fn let_evaluate(&self, more: u32) {
        let count = || self.own("veilleur_rule_evaluations_total");
        let rules = self.rule_count().max(1);
        let begun = count();
        wait_until("rules are evaluated", || count() >= begun + f64::from(more) * rules as f64);
    }

    fn rule_count(&self) -> usize {
        let data = self.data("/api/v1/rules");
        let groups = data["groups"].as_array().cloned().unwrap_or_default();
        groups.iter().map(|group| group["rules"].as_array().unwrap().len()).sum()
    }

    /// The sum of one of its own metrics.
    pub(crate) fn own(&self, metric: &str) -> f64 {
        let text = self.get("/metrics").map_or_else(String::new, |(_, body)| body);
        let series = |line: &&str| {
            line.strip_prefix(metric).is_some_and(|rest| rest.starts_with(['{', ' ']))
        };
        let value =
            |line: &str| line.rsplit(' ').next().and_then(|value| value.parse::<f64>().ok());
        text.lines().filter(series).filter_map(value).sum()
    }
}

/// The whole way.
pub(crate) struct Rig {
    pub(crate) evaluator: Evaluator,
    pub(crate) agent_port: u16,
    pub(crate) agent: Option<Program>,
    pub(crate) chat: HttpServer,
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
    fn start_by(global: &str, ways: &str) -> Self {
        let evaluator = Evaluator::new();
        let mut rig =
            Self { evaluator, agent_port: free_port(), agent: None, chat: HttpServer::sink() };
        let probe = rig.evaluator.path("orders.sh");
        tests::write_program(&probe, PROBE);
        let agent = format!(
            "listen: 127.0.0.1:{}\nchecks:\n- name: orders\n  interval: 1s\n  retries: 0\n  \
             probe: {{script: {{command: [{}, {}]}}}}\n",
            rig.agent_port,
            probe.display(),
            rig.evaluator.dir.path().display(),
        );
        rig.evaluator.write("agent.yml", &agent);
        let config = format!(
            "global:\n  scrape_interval: 1s\n  evaluation_interval: 1s\n  slack_api_url: {}\n\
             {global}scrape_configs:\n- job_name: agents\n  static_configs:\n  \
             - targets: ['127.0.0.1:{}']\nbuiltin_rules: {{interval: 1s, for: {{AgentDown: 3s}}}}\n\
             route: {{receiver: ops, group_by: [alertname, check], group_wait: 1s, \
             group_interval: 1s, repeat_interval: 1h}}\nreceivers:\n- name: ops\n{ways}",
            rig.chat.url("/chat"),
            rig.agent_port,
        );
        rig.evaluator.write("veilleur.yml", &config);
        rig.start_agent();
        rig.evaluator.start();
        let seen = || rig.evaluator.value("veilleur_check_status") == "0";
        wait_until("the check is seen to be well", seen);
        rig
    }

    pub(crate) fn start_agent(&mut self) {
        let config = self.evaluator.path("agent.yml");
        let arguments = ["--config".as_ref(), config.as_os_str()];
        self.agent = Some(Program::start("veilleur-agent", arguments));
        let url = format!("http://127.0.0.1:{}/readyz", self.agent_port);
        wait_until("the agent is ready", || get(&url).is_some_and(|(status, _)| status == 200));
    }

    /// From now on the check is critical.
    pub(crate) fn break_check(&self) {
        self.evaluator.write("broken", "");
    }

    /// From now on the check is well.
    pub(crate) fn mend_check(&self) {
        fs::remove_file(self.evaluator.path("broken")).unwrap();
    }

    /// What the chat service was told.
    pub(crate) fn chat(&self) -> Vec<Value> {
        self.chat.asked().iter().map(|asked| asked.json()).collect()
    }

    /// The titles of the messages that the chat service was told.
    pub(crate) fn titles(&self) -> Vec<String> {
        let title = |said: &Value| said["attachments"][0]["title"].as_str().unwrap().to_owned();
        self.chat().iter().map(title).collect()
    }
}
