//! A folder with a configuration, and an agent that runs with it.

use std::path::PathBuf;

use serde_json::Value;
use tempfile::TempDir;
use tests::program::{End, Program, run};
use tests::{get, wait_until, write_program};

/// A folder that an agent is configured in.
pub(crate) struct Stage {
    folder: TempDir,
}

/// An agent that runs.
pub(crate) struct Agent {
    pub(crate) program: Program,
    pub(crate) url: String,
}

impl Stage {
    pub(crate) fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    /// A stage with this configuration.
    pub(crate) fn with(config: &str) -> Self {
        let stage = Self::new();
        stage.configure(config);
        stage
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The path as text, to be written into a configuration.
    pub(crate) fn text(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }

    pub(crate) fn configure(&self, config: &str) {
        std::fs::write(self.path("agent.yml"), config).unwrap();
    }

    /// Writes a program into the folder; returns its path as text.
    pub(crate) fn program(&self, name: &str, text: &str) -> String {
        write_program(&self.path(name), text);
        self.text(name)
    }

    /// Starts an agent on a port of its own, and waits until it is ready.
    #[track_caller]
    pub(crate) fn start(&self) -> Agent {
        self.start_on(0)
    }

    /// As [`Stage::start`], on this port.
    #[track_caller]
    pub(crate) fn start_on(&self, port: u16) -> Agent {
        let (config, listen) = (self.text("agent.yml"), format!("127.0.0.1:{port}"));
        let arguments = ["--config", &config, "--listen", &listen];
        let mut program = Program::start("veilleur-agent", arguments);
        let url = program.url();
        wait_until("the agent is ready", || {
            get(&format!("{url}/readyz")).is_some_and(|(status, _)| status == 200)
        });
        Agent { program, url }
    }

    /// What `veilleur-agent check` says of the configuration.
    pub(crate) fn check(&self) -> (End, String, String) {
        run("veilleur-agent", ["check", &self.text("agent.yml")])
    }

    /// What `veilleur-agent run-once` says, with further arguments.
    pub(crate) fn run_once(&self, more: &[&str]) -> (End, String, String) {
        let config = self.text("agent.yml");
        let arguments = ["run-once", "--config", &config];
        run("veilleur-agent", arguments.iter().chain(more))
    }
}

impl Agent {
    /// A page with its status.
    #[track_caller]
    pub(crate) fn get(&self, path: &str) -> (u16, String) {
        get(&format!("{}{path}", self.url)).unwrap_or_else(|| panic!("{path}: no answer"))
    }

    #[track_caller]
    pub(crate) fn metrics(&self) -> String {
        let (status, text) = self.get("/metrics");
        assert_eq!(status, 200, "{text}");
        text
    }

    /// The value of a series, written as on the page.
    #[track_caller]
    pub(crate) fn value(&self, series: &str) -> Option<f64> {
        let metrics = self.metrics();
        let line = metrics.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '))?;
        Some(line.parse().unwrap())
    }

    /// Waits until a series has this value.
    #[track_caller]
    pub(crate) fn wait_for(&self, series: &str, value: f64) {
        wait_until(&format!("{series} is {value}"), || self.value(series) == Some(value));
    }

    /// The health of everything, as JSON.
    #[track_caller]
    pub(crate) fn health(&self) -> (u16, Value) {
        let (status, text) = self.get("/health?format=json");
        (status, serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}")))
    }

    /// How often the check has run, whatever it found.
    #[track_caller]
    pub(crate) fn runs(&self, check: &str) -> f64 {
        let series = format!("veilleur_check_runs_total{{check=\"{check}\",");
        let metrics = self.metrics();
        let values = metrics.lines().filter(|line| line.starts_with(&series));
        values.map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()).sum()
    }
}
