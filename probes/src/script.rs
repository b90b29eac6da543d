//! Any program as a probe: a script in any language, a Nagios plugin.
//!
//! ```yaml
//! script:
//!   command: [/usr/lib/nagios/plugins/check_disk, -w, 10%, -c, 5%, -p, /]
//!   env: {TOKEN_FILE: /etc/shop/token}
//!   output: nagios                        # or json, or {metrics: {prefix: shop_}}
//!   limits: {memory: 512MiB, processes: 50, open_files: 64, cpu: 5s, file_size: 10MiB}
//!   user: backup                          # in place of ours, where we are root
//!   thresholds: {/: {warn: 8e9}}          # on what it measures, beside its own word
//! ```
//!
//! ```text
//! program ─▶ start (starters, spawn) ─▶ wait (output, runs) ─▶ judge (nagios, metrics, json) ─▶ Outcome
//! ```
//!
//! There is no shell in between: the command is a list, and nothing in it comes from a request.
//!
//! Invariant: after a run nothing that the script has started is left.

mod program;
mod launch;
mod limits;
mod cgroup;
mod confine;
mod processes;
mod runs;
mod spawn;
mod starters;
mod start;
mod output;
mod wait;
pub mod nagios;
mod metrics;
mod json;
mod judge;
mod tool;

pub use cgroup::use_cgroups;
pub use limits::{ByteSize, Limits, LimitsConfig};
pub use runs::{Totals, kill_all, tidy, totals};
pub(crate) use tool::{Answer, Tool};

use std::collections::BTreeMap;
use std::ffi::CString;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use base::clock::Stopwatch;
use base::diagnostic::{Diagnostics, Place, Spanned};
use base::labels::is_legacy_metric_name;
use base::secret::Secret;
use serde::Deserialize;
use tokio_util::sync::CancellationToken;

use self::confine::Identity;
use self::program::{Program, ProgramFault};
use self::runs::Run;
use self::spawn::Command;
use self::start::Start;
use self::wait::Ended;
use crate::series::{SeriesConfig, SeriesList};
use crate::thresholds::{Limits as ValueLimits, LimitsConfig as LimitsOfValues};
use crate::{Outcome, Probe, Reason, Status};

/// A script, as written.
#[derive(Debug, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ScriptConfig {
    /// The program by its full path, and its arguments.
    command: Spanned<Vec<Spanned<String>>>,
    /// Variables of its environment, beside `PATH` and `LANG`.
    #[serde(default)]
    env: BTreeMap<String, Spanned<Secret>>,
    /// In which form it prints its result; `nagios` where nothing is said.
    #[serde(default)]
    output: OutputConfig,
    /// What it may take of the host.
    #[serde(default)]
    limits: LimitsConfig,
    /// Whose it is when it runs, in place of our own user; only root can choose.
    #[serde(default)]
    user: Option<Spanned<String>>,
    /// Whether it may use what our own user may beyond others, and sudo, setuid programs and file
    /// capabilities.
    #[serde(default)]
    keep_privileges: bool,
    /// Limits on what it measures, by the names in its performance data or its JSON; a value that
    /// is missing is unknown. They can only make its result worse.
    #[serde(default)]
    thresholds: LimitsOfValues,
}

/// The form of a script's output.
#[derive(Debug, Default, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
enum OutputConfig {
    /// As a Nagios plugin: exit code, first line, performance data.
    #[default]
    Nagios,
    /// Metrics in the Prometheus text format.
    Metrics(MetricsConfig),
    /// One JSON object.
    Json,
}

/// Metrics in the Prometheus text format.
#[derive(Debug, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
struct MetricsConfig {
    /// What the name of every metric begins with.
    prefix: Spanned<String>,
    /// Values that are held against thresholds.
    #[serde(default)]
    series: Vec<SeriesConfig>,
}

/// The form of a script's output.
#[derive(Clone, Debug)]
enum Output {
    Nagios,
    Metrics { prefix: String, series: SeriesList },
    Json,
}

/// Runs a program.
#[derive(Debug)]
pub struct ScriptProbe {
    start: Arc<Start>,
    output: Output,
    limits: ValueLimits,
}

impl ScriptConfig {
    /// The program `command[0]` with its arguments, and the usual settings.
    pub fn of(command: Vec<Spanned<String>>) -> Self {
        let place = command.first().map(Place::from).unwrap_or_default();
        Self {
            command: Spanned { value: command, place },
            env: BTreeMap::new(),
            output: OutputConfig::default(),
            limits: LimitsConfig::default(),
            user: None,
            keep_privileges: false,
            thresholds: LimitsOfValues::new(),
        }
    }

    /// The probe, reporting what would keep the program from running.
    pub fn build(self, diagnostics: &mut Diagnostics) -> ScriptProbe {
        let limits = self.limits.build(diagnostics);
        let user = self.user.as_ref().and_then(|user| identity(user, diagnostics));
        let mut environment: Vec<CString> =
            [format!("PATH={}", spawn::PATH), "LANG=C.UTF-8".to_owned()]
                .into_iter()
                .filter(|default| !self.env.contains_key(default.split('=').next().unwrap_or("")))
                .filter_map(|default| CString::new(default).ok())
                .collect();
        for (name, value) in &self.env {
            environment.extend(variable(name, value, diagnostics));
        }
        let mut arguments = Vec::new();
        for argument in &self.command.value {
            match CString::new(argument.value.as_bytes()) {
                Ok(text) => arguments.push(text),
                Err(_) => diagnostics.report(argument, "an argument cannot have a zero byte in it"),
            }
        }
        let mut program = PathBuf::new();
        match self.command.value.first() {
            None => {
                let help = "write it like `[/usr/local/bin/check, --verbose]`";
                diagnostics.report_with_help(&self.command, "the command is empty", help);
            }
            Some(path) => {
                program = PathBuf::from(&path.value);
                if let Err(fault) = check(&program, user.as_ref()) {
                    report(&fault, path.place, diagnostics);
                }
            }
        }
        if let (OutputConfig::Metrics(_), Some(first)) =
            (&self.output, self.thresholds.values().next())
        {
            let help = "name the series under `output: {metrics: {series: [...]}}`";
            diagnostics.report_with_help(first, "metrics have no values by name", help);
        }
        let on_values = ValueLimits::of_any(&self.thresholds, diagnostics);
        let output = self.output.build(diagnostics);
        let command = Command { arguments, environment };
        let keeps_privileges = self.keep_privileges;
        let start = Start { program, command, limits, user, keeps_privileges };
        ScriptProbe { start: Arc::new(start), output, limits: on_values }
    }
}

/// Whether scripts run as root, who may do everything.
pub fn run_as_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// The user to run a script as.
fn identity(user: &Spanned<String>, diagnostics: &mut Diagnostics) -> Option<Identity> {
    if !run_as_root() {
        let message = format!("only root can run a script as `{}`", user.value);
        let help = "take `user` out, or run the agent as that user";
        diagnostics.report_with_help(user, message, help);
        return None;
    }
    Identity::of(&user.value).map_err(|message| diagnostics.report(user, message)).ok()
}

/// Who besides root may own a program that runs as `user`.
fn owner(user: Option<&Identity>) -> u32 {
    user.map_or_else(|| rustix::process::geteuid().as_raw(), |user| user.uid)
}

/// Walks to the program and looks at its first line.
fn check(program: &Path, user: Option<&Identity>) -> Result<(), ProgramFault> {
    let user = owner(user);
    Program::resolve(program, user)?.check_content(user)
}

fn report(fault: &ProgramFault, place: Place, diagnostics: &mut Diagnostics) {
    match &fault.help {
        Some(help) => diagnostics.report_with_help(place, fault.to_string(), help),
        None => diagnostics.report(place, fault.to_string()),
    }
}

/// A variable of the environment as the system wants it.
fn variable(name: &str, value: &Spanned<Secret>, diagnostics: &mut Diagnostics) -> Option<CString> {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) || !name.chars().all(plain)
    {
        diagnostics.report(value, format!("`{name}` is not a name of a variable"));
        return None;
    }
    if name == processes::MARKER {
        diagnostics
            .report(value, format!("`{name}` is ours: by it we recognise what a script started"));
        return None;
    }
    let variable = CString::new(format!("{name}={}", value.value.expose()));
    if variable.is_err() {
        diagnostics.report(value, format!("the value of `{name}` has a zero byte in it"));
    }
    variable.ok()
}

impl ScriptProbe {
    /// The same script with further arguments at the end, and further variables; nothing where one
    /// of them has a zero byte in it.
    pub fn with(&self, arguments: &[String], variables: &[(String, String)]) -> Option<Self> {
        let mut command = self.start.command.clone();
        for argument in arguments {
            command.arguments.push(CString::new(argument.as_bytes()).ok()?);
        }
        for (name, value) in variables {
            command.environment.push(CString::new(format!("{name}={value}")).ok()?);
        }
        let start = Start { command, ..Start::clone(&self.start) };
        let (output, limits) = (self.output.clone(), self.limits.clone());
        Some(Self { start: Arc::new(start), output, limits })
    }
}

impl OutputConfig {
    fn build(self, diagnostics: &mut Diagnostics) -> Output {
        /// Names that mean something else on the same page.
        const TAKEN: [&str; 4] = ["veilleur_", "probe_", "process_", "scrape_"];
        let MetricsConfig { prefix, series } = match self {
            Self::Nagios => return Output::Nagios,
            Self::Json => return Output::Json,
            Self::Metrics(metrics) => metrics,
        };
        let series = SeriesList::build(series, diagnostics).unwrap_or_default();
        let text = &prefix.value;
        if !is_legacy_metric_name(text) || !text.ends_with('_') {
            let message = format!("`{text}` is not a prefix of names");
            let help =
                "write letters, digits and underscores, with an underscore at the end: `shop_`";
            diagnostics.report_with_help(&prefix, message, help);
        } else if TAKEN.iter().any(|taken| text.starts_with(taken)) {
            diagnostics.report(&prefix, format!("names with `{text}` are not a script's to give"));
        }
        Output::Metrics { prefix: prefix.value, series }
    }
}

#[async_trait]
impl Probe for ScriptProbe {
    async fn run(&self, stop: &CancellationToken) -> Outcome {
        let watch = Stopwatch::start();
        match self.see_through(stop).await {
            Ok(ended) => judge::judge(&ended, &self.output, &self.limits, watch.seconds()),
            Err(outcome) => outcome,
        }
    }
}

impl ScriptProbe {
    /// Runs the program as a Nagios plugin for somebody who takes apart what it prints: its status,
    /// and its output as it is, fit to be shown. As [`Probe::run`] otherwise.
    pub async fn answer(&self, stop: &CancellationToken) -> (Status, String) {
        let watch = Stopwatch::start();
        match self.see_through(stop).await {
            Ok(ended) => judge::answer(&ended, watch.seconds()),
            Err(outcome) => (outcome.status, outcome.summary),
        }
    }

    async fn see_through(&self, stop: &CancellationToken) -> Result<Ended, Outcome> {
        let run = Run::begin(self.start.limits.processes);
        let started = self.start.begin(&run, stop).await?;
        wait::see_through(started, run, wait::MAX_OUTPUT, stop).await.map_err(|error| {
            let summary = format!("the program was started but cannot be watched: {error}");
            Outcome::unknown(Reason::StartFailed, summary)
        })
    }
}
