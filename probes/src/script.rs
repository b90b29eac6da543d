//! Any program as a probe: a script in any language, a Nagios plugin.
//!
//! ```yaml
//! script:
//!   command: [/usr/lib/nagios/plugins/check_disk, -w, 10%, -c, 5%, -p, /]
//!   env: {TOKEN_FILE: /etc/shop/token}
//!   output: nagios                        # or json, or {metrics: {prefix: shop_}}
//!   limits: {memory: 512MiB, processes: 50, open_files: 64, cpu: 5s, file_size: 10MiB}
//!   user: backup                          # in place of ours, where we are root
//! ```
//!
//! ```text
//! program ─▶ spawn ─▶ wait (output, runs) ─▶ judge (nagios, metrics, json) ─▶ Outcome
//! ```
//!
//! There is no shell in between: the command is a list, and nothing in it comes from a request.
//!
//! Invariant: after a run nothing that the script has started is left.

mod program;
mod limits;
mod cgroup;
mod confine;
mod processes;
mod runs;
mod spawn;
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
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use base::clock::Stopwatch;
use base::diagnostic::{Diagnostics, Place, Spanned};
use base::labels::is_legacy_metric_name;
use base::secret::Secret;
use serde::Deserialize;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use self::confine::Identity;
use self::program::{Program, ProgramFault};
use self::runs::Run;
use self::spawn::{Command, Started};
use self::wait::Ended;
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
}

/// The form of a script's output.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Output {
    Nagios,
    Metrics(String),
    Json,
}

/// Runs a program.
#[derive(Debug)]
pub struct ScriptProbe {
    start: Arc<Start>,
    output: Output,
}

/// What it takes to start the program.
#[derive(Clone, Debug)]
struct Start {
    program: PathBuf,
    command: Command,
    limits: Limits,
    user: Option<Identity>,
    keeps_privileges: bool,
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
        let output = self.output.build(diagnostics);
        let command = Command { arguments, environment };
        let keeps_privileges = self.keep_privileges;
        let start = Start { program, command, limits, user, keeps_privileges };
        ScriptProbe { start: Arc::new(start), output }
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
        Some(Self { start: Arc::new(start), output: self.output.clone() })
    }
}

impl OutputConfig {
    fn build(self, diagnostics: &mut Diagnostics) -> Output {
        /// Names that mean something else on the same page.
        const TAKEN: [&str; 4] = ["veilleur_", "probe_", "process_", "scrape_"];
        let prefix = match self {
            Self::Nagios => return Output::Nagios,
            Self::Json => return Output::Json,
            Self::Metrics(metrics) => metrics.prefix,
        };
        let text = &prefix.value;
        if !is_legacy_metric_name(text) || !text.ends_with('_') {
            let message = format!("`{text}` is not a prefix of names");
            let help =
                "write letters, digits and underscores, with an underscore at the end: `shop_`";
            diagnostics.report_with_help(&prefix, message, help);
        } else if TAKEN.iter().any(|taken| text.starts_with(taken)) {
            diagnostics.report(&prefix, format!("names with `{text}` are not a script's to give"));
        }
        Output::Metrics(prefix.value)
    }
}

#[async_trait]
impl Probe for ScriptProbe {
    async fn run(&self, stop: &CancellationToken) -> Outcome {
        let watch = Stopwatch::start();
        match self.see_through(stop).await {
            Ok(ended) => judge::judge(&ended, &self.output, watch.seconds()),
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
        // Dropped when the run is over, however that comes about.
        let _cgroup = cgroup::enter(run.id, started.leader.pid, &self.start.limits);
        wait::see_through(started, run, wait::MAX_OUTPUT, stop).await.map_err(|error| {
            let summary = format!("the program was started but cannot be watched: {error}");
            Outcome::unknown(Reason::StartFailed, summary)
        })
    }
}

/// Programs that are being started: as many at a time as there are processors to load them.
///
/// There is one such count in a process, because a program that is being loaded holds, until then,
/// a copy of every descriptor that all others of us have: a script that ends meanwhile seems to have
/// left somebody behind who could still print. More at a time would not be faster either.
static STARTS: LazyLock<Arc<Semaphore>> = LazyLock::new(|| {
    let most = std::thread::available_parallelism().map_or(2, usize::from);
    Arc::new(Semaphore::new(most))
});

/// The turn of a start. It ends when the program is loaded, or when that takes so long that nobody
/// waits for it any more.
#[derive(Clone)]
struct Turn(Arc<Mutex<Option<OwnedSemaphorePermit>>>);

impl Turn {
    async fn wait() -> Self {
        let permit = Arc::clone(&STARTS).acquire_owned().await;
        Self(Arc::new(Mutex::new(permit.ok())))
    }

    fn end(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
    }
}

/// Most scripts end within this, so that it is not worth to wait for their output before: a pipe
/// holds it.
const BRIEF: Duration = Duration::from_millis(20);

/// A start that takes longer than this hangs and counts no more.
const HANGS: Duration = Duration::from_millis(500);

/// It is not started with privileges that it should not have.
fn unconfined(error: io::Error) -> Outcome {
    let summary = format!("our privileges cannot be kept from the program: {error}");
    Outcome::unknown(Reason::StartFailed, summary)
}

impl Start {
    /// Starts the program, on a thread of its own: where its file system hangs, only it waits.
    ///
    /// The thread then stays with it for a moment, [`BRIEF`], in which most programs end: to be told
    /// that it was loaded, and later that it has ended, would cost us twice what it costs to be told
    /// once.
    async fn begin(
        self: &Arc<Self>,
        run: &Run,
        stop: &CancellationToken,
    ) -> Result<Started, Outcome> {
        let (start, id) = (Arc::clone(self), run.id);
        let starting = async {
            let turn = Turn::wait().await;
            let held = turn.clone();
            let start = move || start.start(id, &held);
            let mut starting =
                confine::on_thread(self.keeps_privileges, start).map_err(unconfined)?;
            let started = match timeout(HANGS, &mut starting).await {
                Ok(started) => started,
                Err(_) => {
                    turn.end();
                    starting.await
                }
            };
            match started {
                Ok(started) => started.map_err(unconfined)?,
                Err(panic) => {
                    let summary = format!("the start broke off: {panic}");
                    Err(Outcome::unknown(Reason::Internal, summary))
                }
            }
        };
        tokio::pin!(starting);
        if let Some(started) = stop.run_until_cancelled(starting.as_mut()).await {
            return started;
        }
        match timeout(BRIEF * 2, starting).await {
            Ok(started) => started,
            // Should it start after all, it is ended at once: nobody takes what `start` returns.
            Err(_) => {
                let summary = "the program could not be loaded in time; its file system hangs";
                Err(Outcome::unknown(Reason::Timeout, summary))
            }
        }
    }

    fn start(&self, run: u64, turn: &Turn) -> Result<Started, Outcome> {
        let owner = owner(self.user.as_ref());
        let program = Program::resolve(&self.program, owner).map_err(|fault| {
            let mut outcome = Outcome::unknown(fault.reason, fault.to_string());
            outcome.details = fault.help.unwrap_or_default();
            outcome
        })?;
        let mut started = spawn::start(&program.path, &self.command, self.user.as_ref(), run)
            .map_err(|error| Outcome::unknown(self.reason_of(&error), self.message_of(&error)))?;
        self.limits.put_on(started.leader.pid, processes::tasks());
        runs::started(run, started.leader.pid);
        turn.end();
        started.wait_briefly(BRIEF);
        Ok(started)
    }

    fn reason_of(&self, error: &io::Error) -> Reason {
        match error.kind() {
            // It was there a moment ago: what is missing is its interpreter.
            io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied => Reason::NotExecutable,
            _ if error.raw_os_error() == Some(nix::errno::Errno::ENOEXEC as i32) => {
                Reason::NotExecutable
            }
            _ => Reason::StartFailed,
        }
    }

    fn message_of(&self, error: &io::Error) -> String {
        let shown = self.program.display();
        match error.kind() {
            io::ErrorKind::NotFound => format!("the interpreter of `{shown}` does not exist"),
            _ => format!("`{shown}` cannot be started: {error}"),
        }
    }
}
