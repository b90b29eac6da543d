//! The command line.
//!
//! Invariant: exit status 0 done, 1 failed, 2 bad configuration or command line; 3 only where promtool
//! has it.

mod evaluator;
mod features;
mod foreign;
mod check;
mod query;
mod backtest;
mod silence;
mod ack;
mod routes;
mod drill;
mod explain;
mod history;
mod test;
mod storage;

use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use base::diagnostic::Diagnostics;
use base::period::Period;
use clap::{ArgAction, Args, Parser, Subcommand};
use tokio::runtime::{Builder, Runtime};
use tracing::warn;

use crate::api::Enabled;
use crate::app::{self, Origin, Settings};
use crate::config::Reading;
use crate::rules::{OnMissing, QueryLimits};
use crate::safe_mode::Wanted;

/// More threads than these only get into each other's way.
const MAX_THREADS: usize = 8;

/// Threads that wait for the disk come and go; a heap for each of them would hold what it does not need.
const MOST_HEAPS: u8 = 2;

/// Scrapes, judges by rules, and tells the people on call.
#[derive(Debug, Parser)]
#[command(name = "veilleur", version, args_conflicts_with_subcommands = true)]
struct Line {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    run: RunArgs,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run until told to stop (the default)
    Run(RunArgs),
    /// Check a configuration and every file that it refers to, and tell everything that is wrong
    Check(check::CheckArgs),
    /// Say how often, and when, the alerts of rule files would have fired over what is stored
    Backtest(backtest::BacktestArgs),
    /// Ask the running evaluator a query, and show the answer as a table
    Query(query::QueryArgs),
    /// The same over a stretch of time, with a line for each series
    QueryRange(query::RangeArgs),
    /// See what a silence would hold; make, list and end silences
    #[command(subcommand)]
    Silence(silence::SilenceCommand),
    /// Ask for, list and end windows of maintenance
    #[command(subcommand)]
    Maintenance(silence::MaintenanceCommand),
    /// Say that somebody has a group of alerts in hand, give it back, list what waits for an answer
    #[command(subcommand)]
    Ack(ack::AckCommand),
    /// Run unit tests of rules, and of the whole way to the receivers
    Test(test::TestArgs),
    /// Try whether messages arrive, with one that says what it is
    Drill(drill::DrillArgs),
    /// Ask the running evaluator why somebody was told of an alert, or was not
    Explain(explain::ExplainArgs),
    /// Show who is told of what, by a configuration; nothing runs
    #[command(subcommand)]
    Routes(routes::RoutesCommand),
    /// Check, measure, take out and take in the samples of a data folder
    #[command(subcommand)]
    Storage(storage::StorageCommand),
    /// Ask the running evaluator what it has told to whom, when, and with what answer
    History(history::HistoryArgs),
}

#[derive(Debug, Args)]
struct RunArgs {
    /// The configuration [default: ./veilleur.yml, then /etc/veilleur/veilleur.yml]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// A prometheus.yml, taken as it is: what is not done here is told, and is no fault
    #[arg(
        long = "config.prometheus",
        alias = "config.file",
        value_name = "FILE",
        conflicts_with = "config"
    )]
    prometheus: Option<PathBuf>,
    /// The address to serve on
    #[arg(long, alias = "web.listen-address", value_name = "ADDRESS",
          default_value = "127.0.0.1:12912", value_parser = address)]
    listen: SocketAddr,
    /// Accept an address that others can reach, without TLS and passwords
    #[arg(long)]
    insecure_listen: bool,
    /// Who may reach us, in Prometheus's web configuration format, in place of `web:`
    #[arg(long = "web.config.file", value_name = "FILE")]
    web_file: Option<PathBuf>,
    /// The folder for samples, alerts and the outbox
    #[arg(long, aliases = ["storage.tsdb.path", "storage.path"], value_name = "FOLDER",
          default_value = "veilleur-data")]
    data: PathBuf,
    /// How long samples are kept
    #[arg(long, aliases = ["storage.tsdb.retention.time", "storage.tsdb.retention"],
          value_name = "PERIOD", default_value = "15d")]
    retention: Period,
    /// The most that samples may take on disk, such as 50GB; then the oldest go, whatever their age
    #[arg(long, alias = "storage.tsdb.retention.size", value_name = "SIZE", value_parser = size)]
    retention_size: Option<u64>,
    /// How much older than the newest of its series a sample may be
    #[arg(long, value_name = "PERIOD", default_value = "0s")]
    out_of_order: Period,
    /// The most series that may be in memory; of a job that has most of them, new ones are refused
    #[arg(long, value_name = "NUMBER", default_value_t = 5_000_000,
          value_parser = clap::value_parser!(u32).range(100..))]
    max_series: u32,
    /// How long it is kept what was told to whom, and when
    #[arg(long, value_name = "PERIOD", default_value = "90d")]
    history_retention: Period,
    /// After starts that crashed: alerts and messages only, without samples, scrapes and rules; auto, on or off
    #[arg(long, value_name = "WHEN", default_value = "auto")]
    safe_mode: Wanted,
    /// How long that lasts until all of it is tried again; longer where that crashes, too
    #[arg(long, value_name = "PERIOD", default_value = "10m")]
    safe_mode_for: Period,
    /// Where people reach this program, for the links in messages
    #[arg(long, value_name = "URL")]
    external_url: Option<String>,
    /// The path under which everything is served, for a proxy that leaves it in
    #[arg(long = "web.route-prefix", value_name = "PATH", default_value = "/")]
    route_prefix: String,
    /// Whether we are told to read the configuration again over HTTP
    #[arg(long = "web.enable-lifecycle", value_name = "BOOL", default_value_t = true,
          action = ArgAction::Set, num_args = 0..=1, default_missing_value = "true",
          require_equals = true)]
    lifecycle: bool,
    /// Whether others may push samples by remote write
    #[arg(long = "web.enable-remote-write-receiver", value_name = "BOOL", default_value_t = true,
          action = ArgAction::Set, num_args = 0..=1, default_missing_value = "true",
          require_equals = true)]
    remote_write: bool,
    /// Whether others may push metrics of OpenTelemetry
    #[arg(long = "web.enable-otlp-receiver", value_name = "BOOL", default_value_t = true,
          action = ArgAction::Set, num_args = 0..=1, default_missing_value = "true",
          require_equals = true)]
    otlp: bool,
    /// Let people delete series and make copies of the samples over HTTP
    #[arg(long = "web.enable-admin-api")]
    admin_api: bool,
    /// What becomes of an alert whose target does not answer, where neither its rule nor the
    /// configuration says so: hold, page, or resolve as in Prometheus
    #[arg(long = "rules.on-missing", value_name = "WHAT", default_value = "hold")]
    on_missing: OnMissing,
    /// What to do otherwise than by default, by Prometheus's names with commas between them:
    /// promql-delayed-name-removal, use-start-timestamps
    #[arg(long = "enable-feature", value_name = "NAMES", value_parser = features::named)]
    features: Vec<promql::Features>,
    /// How long a query, or the expression of a rule, may take
    #[arg(long = "query.timeout", value_name = "PERIOD", default_value = "2m",
          value_parser = positive)]
    timeout: Period,
    /// How many queries are evaluated at a time; one more waits
    #[arg(long = "query.max-concurrency", value_name = "NUMBER", default_value_t = 4,
          value_parser = clap::value_parser!(u32).range(1..=10_000))]
    at_a_time: u32,
    /// The most samples that a query, or the expression of a rule, may have in memory
    #[arg(long = "query.max-samples", value_name = "NUMBER", default_value_t = 50_000_000,
          value_parser = clap::value_parser!(u32).range(1..))]
    samples: u32,
    /// How far back a query looks for the newest sample of a series
    #[arg(long = "query.lookback-delta", value_name = "PERIOD", default_value = "5m",
          value_parser = positive)]
    lookback: Period,
    /// How much is logged: error, warn, info, debug or trace
    #[arg(long, alias = "log.level", value_name = "LEVEL", default_value = "info")]
    log_level: tracing::Level,
}

/// Does what the command line says.
pub fn main() -> ExitCode {
    if let Err(fault) = base::process::begin() {
        complain(&format!("veilleur: {fault}\n"));
        return ExitCode::FAILURE;
    }
    let line = match Line::try_parse() {
        Ok(line) => line,
        Err(error) => return usage(&error),
    };
    let result = match line.command {
        None => run(line.run),
        Some(Command::Run(args)) => run(args),
        Some(Command::Check(args)) => check::check(args),
        Some(Command::Backtest(args)) => backtest::backtest(args),
        Some(Command::Query(args)) => query::query(&args),
        Some(Command::QueryRange(args)) => query::range(&args),
        Some(Command::Silence(command)) => command.run(),
        Some(Command::Maintenance(command)) => command.run(),
        Some(Command::Ack(command)) => command.run(),
        Some(Command::Test(args)) => test::test(args),
        Some(Command::Drill(args)) => drill::drill(args),
        Some(Command::Explain(args)) => explain::explain(args),
        Some(Command::Routes(command)) => routes::routes(command),
        Some(Command::Storage(command)) => command.run(),
        Some(Command::History(args)) => history::history(&args),
    };
    result.unwrap_or_else(|error| {
        complain(&format!("veilleur: {error:#}\n"));
        ExitCode::FAILURE
    })
}

fn run(args: RunArgs) -> anyhow::Result<ExitCode> {
    base::memory::share_heaps(MOST_HEAPS);
    let dropped = base::log::init(args.log_level);
    if let Some(fault) = args.fault() {
        complain(&format!("veilleur: {fault}\n"));
        return Ok(ExitCode::from(2));
    }
    let origin = match args.prometheus {
        Some(file) => Origin::of(Reading::Prometheus, file, args.web_file),
        None => Origin::find(args.config, args.web_file),
    };
    let config = match origin.load() {
        Ok(config) => config,
        Err(faults) => return Ok(wrong(&faults)),
    };
    config.notes.iter().chain(&config.missing).for_each(|note| warn!("{note}"));
    if let Some((message, help)) = config.web.refuses(args.listen).filter(|_| !args.insecure_listen)
    {
        complain(&format!("veilleur: {message}; {help}\n"));
        return Ok(ExitCode::from(2));
    }
    let settings = Settings {
        listen: args.listen,
        insecure_listen: args.insecure_listen,
        data: args.data,
        retention: args.retention.duration(),
        retention_bytes: args.retention_size,
        out_of_order: args.out_of_order.duration(),
        max_series: args.max_series as usize,
        max_exemplars: None,
        history_retention: args.history_retention.duration(),
        safe_mode: args.safe_mode,
        safe_mode_for: args.safe_mode_for.duration(),
        route_prefix: args.route_prefix.trim_end_matches('/').to_owned(),
        enabled: Enabled {
            lifecycle: args.lifecycle,
            remote_write: args.remote_write,
            otlp: args.otlp,
        },
        admin_api: args.admin_api,
        on_missing: args.on_missing,
        lookback: args.lookback.duration(),
        limits: QueryLimits {
            timeout: args.timeout.duration(),
            at_a_time: args.at_a_time as usize,
            samples: args.samples as usize,
        },
        features: features::all(&args.features),
        dropped,
        external_url: args.external_url.map(|url| url.trim_end_matches('/').to_owned()),
    };
    runtime()?.block_on(app::run(origin, config, settings))
}

impl RunArgs {
    /// What is wrong with the command line beyond its form.
    fn fault(&self) -> Option<String> {
        if !self.route_prefix.starts_with('/') || self.route_prefix.contains(['?', '#', ' ']) {
            return Some("--web.route-prefix must be a path such as `/veilleur`".to_owned());
        }
        if self.retention.is_zero() {
            return Some("--retention cannot be zero".to_owned());
        }
        let url = self.external_url.as_deref()?;
        let known = url.starts_with("http://") || url.starts_with("https://");
        (!known).then(|| format!("--external-url `{url}` does not begin with http:// or https://"))
    }
}

/// The address of a listener.
fn address(text: &str) -> Result<SocketAddr, String> {
    // As Prometheus takes it: all addresses, or this host.
    let written = match text.split_once(':') {
        Some(("", port)) => format!("0.0.0.0:{port}"),
        Some(("localhost", port)) => format!("127.0.0.1:{port}"),
        _ => text.to_owned(),
    };
    let wrong = |_| "write it like `127.0.0.1:12912`, `[::1]:12912` or `:12912`".to_owned();
    written.parse().map_err(wrong)
}

fn positive(text: &str) -> Result<Period, String> {
    let period: Period = text.parse().map_err(|error| format!("{error}"))?;
    if period.is_zero() { Err("it cannot be zero".to_owned()) } else { Ok(period) }
}

/// Help and version are what was asked for; everything else is a mistake.
fn size(text: &str) -> Result<u64, String> {
    let bytes = base::number::parse_size(text).filter(|bytes| *bytes > 0);
    bytes.map(|bytes| bytes as u64).ok_or_else(|| "not a size such as 512MB or 50GB".to_owned())
}

fn usage(error: &clap::Error) -> ExitCode {
    let text = error.render().to_string();
    if error.use_stderr() {
        complain(&text);
        foreign::instead(error).iter().for_each(|hint| complain(hint));
        return ExitCode::from(2);
    }
    match print(&text) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

/// Tells everything that is wrong with a configuration.
fn wrong(faults: &Diagnostics) -> ExitCode {
    complain(&format!("{faults}\n"));
    ExitCode::from(2)
}

fn runtime() -> io::Result<Runtime> {
    // Half of the processors: what takes long is done on threads for waiting, and two threads that wake
    // each other for every scrape cost a seventh more than one that does it.
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let threads = (processors / 2).clamp(1, MAX_THREADS);
    Builder::new_multi_thread().worker_threads(threads).enable_all().build()
}

/// Writes to standard output; a reader that hangs up early is no failure.
fn print(text: &str) -> io::Result<()> {
    match io::stdout().lock().write_all(text.as_bytes()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        result => result,
    }
}

/// Writes to standard error, as far as that goes: nobody is left to be told.
fn complain(text: &str) {
    let _ = io::stderr().lock().write_all(text.as_bytes());
}
