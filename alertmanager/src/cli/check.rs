//! `veilleur check FILE`, `veilleur check rules FILE...`: whether files are right, and what is worth a
//! look in them; `veilleur check metrics`: what is worth a look in what a target shows.
//!
//! Invariant: exit status 2 where a file is wrong; what is worth a look in rules is a failure only with
//! `--strict`, and in metrics it is one by promtool's status.

use std::collections::BTreeSet;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use base::http::percent_encoded;
use base::number::counted;
use base::period::Period;
use clap::{Args, Subcommand};

use super::evaluator::{EvaluatorArgs, PerhapsEvaluatorArgs};
use super::{complain, print, runtime, wrong};
use crate::app::Origin;
use crate::config::{Files, Reading};
use crate::discovery::matching;
use crate::rules::{Findings, RuleGroup, Unknown, read_file};
use crate::scrape::{Problem, lint};

/// The most bytes of metrics: as much as a target may show.
const MOST_METRICS: u64 = 64 << 20;
/// The status with which promtool says that something is worth a look.
const FOUND: u8 = 3;

/// What follows `check`.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub(super) struct CheckArgs {
    #[command(subcommand)]
    command: Option<CheckCommand>,
    /// The configuration
    #[arg(required = true)]
    file: Option<PathBuf>,
    /// It is a prometheus.yml, to be taken as it is
    #[arg(long)]
    prometheus: bool,
    /// It is one of Prometheus in agent mode
    #[arg(long, requires = "prometheus")]
    agent: bool,
    /// Look at the file only: secrets, certificates and rule files that it names need not be there
    #[arg(long)]
    syntax_only: bool,
    /// Who may reach us, in Prometheus's web configuration format
    #[arg(long = "web.config.file", value_name = "FILE")]
    web_file: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum CheckCommand {
    /// Check rule files, and tell what is worth a look in them
    Rules(RulesArgs),
    /// Tell what is worth a look in metrics, read from standard input in the text format
    Metrics,
    /// Check files of Prometheus, as promtool does: the same as `check --prometheus`
    Config(ConfigArgs),
    /// Ask whether the running evaluator lives
    Healthy(EvaluatorArgs),
    /// Ask whether the running evaluator is ready
    Ready(EvaluatorArgs),
}

#[derive(Debug, Args)]
struct ConfigArgs {
    /// The configurations
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// They are of Prometheus in agent mode
    #[arg(long)]
    agent: bool,
    /// Look at the files only: secrets, certificates and rule files that they name need not be there
    #[arg(long)]
    syntax_only: bool,
}

#[derive(Debug, Args)]
struct RulesArgs {
    /// Rule files; `*` stands for any part of a name
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// The configuration whose routes must be able to tell the alerts apart
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Fail where something is worth a look
    #[arg(long)]
    strict: bool,
    /// Let settings through that nobody knows
    #[arg(long)]
    ignore_unknown_fields: bool,
    /// Selectors must match something in the last so much time; with --url
    #[arg(long, value_name = "PERIOD", default_value = "1h")]
    within: Period,
    #[command(flatten)]
    evaluator: PerhapsEvaluatorArgs,
}

/// Does what the command line says.
pub(super) fn check(args: CheckArgs) -> anyhow::Result<ExitCode> {
    match args.command {
        Some(CheckCommand::Rules(args)) => rules(args),
        Some(CheckCommand::Metrics) => metrics(),
        Some(CheckCommand::Config(args)) => configurations(args),
        Some(CheckCommand::Healthy(evaluator)) => is_well(&evaluator, "/-/healthy", "healthy"),
        Some(CheckCommand::Ready(evaluator)) => is_well(&evaluator, "/-/ready", "ready"),
        None => configuration(&args.origin()),
    }
}

impl CheckArgs {
    fn origin(self) -> Origin {
        let reading = match (self.prometheus, self.agent) {
            (false, _) => Reading::Own,
            (true, false) => Reading::Prometheus,
            (true, true) => Reading::PrometheusAgent,
        };
        let origin = match self.file {
            Some(file) => Origin::of(reading, file, self.web_file),
            None => Origin::find(None, self.web_file),
        };
        origin.with_files(if self.syntax_only { Files::Spared } else { Files::Needed })
    }
}

fn configuration(origin: &Origin) -> anyhow::Result<ExitCode> {
    match origin.load() {
        Ok(config) => {
            for note in &config.notes {
                print(&format!("note: {note}\n"))?;
            }
            if !config.missing.is_empty() {
                complain(&format!("{}\n", config.missing.join("\n")));
                return Ok(ExitCode::from(2));
            }
            let rules: usize = config.groups.iter().map(|group| group.len()).sum();
            print(&format!(
                "ok: {}, {} in {}, {}\n",
                counted(config.jobs.len(), "job"),
                counted(rules, "rule"),
                counted(config.groups.len(), "group"),
                counted(config.receivers.len(), "receiver"),
            ))?;
            Ok(ExitCode::SUCCESS)
        }
        Err(faults) => Ok(wrong(&faults)),
    }
}

/// The worst status counts.
fn configurations(args: ConfigArgs) -> anyhow::Result<ExitCode> {
    let reading = if args.agent { Reading::PrometheusAgent } else { Reading::Prometheus };
    let files = if args.syntax_only { Files::Spared } else { Files::Needed };
    let mut status = ExitCode::SUCCESS;
    for file in args.files {
        let checked = configuration(&Origin::of(reading, file, None).with_files(files))?;
        status = if checked == ExitCode::SUCCESS { status } else { checked };
    }
    Ok(status)
}

fn is_well(evaluator: &EvaluatorArgs, path: &str, what: &str) -> anyhow::Result<ExitCode> {
    let status = runtime()?.block_on(evaluator.status(path))?;
    if status == 200 {
        print(&format!("the evaluator is {what}\n"))?;
        return Ok(ExitCode::SUCCESS);
    }
    complain(&format!("veilleur: the evaluator is not {what}: it answers {status}\n"));
    Ok(ExitCode::FAILURE)
}

fn metrics() -> anyhow::Result<ExitCode> {
    let mut text = Vec::new();
    std::io::stdin().lock().take(MOST_METRICS + 1).read_to_end(&mut text)?;
    let problems = match lint(&text, MOST_METRICS as usize) {
        Ok(problems) => problems,
        Err(error) => {
            complain(&format!("error while linting: {error}\n"));
            return Ok(ExitCode::FAILURE);
        }
    };
    for Problem { metric, text } in &problems {
        complain(&format!("{metric} {text}\n"));
    }
    Ok(if problems.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(FOUND) })
}

fn rules(args: RulesArgs) -> anyhow::Result<ExitCode> {
    let mut needed = BTreeSet::new();
    if let Some(file) = args.config {
        match Origin::find(Some(file), None).load() {
            Ok(config) => {
                needed = config.route.needed_labels();
                needed.retain(|label| config.external_labels.get(label).is_none());
            }
            Err(faults) => return Ok(wrong(&faults)),
        }
    }
    let unknown = if args.ignore_unknown_fields { Unknown::Ignored } else { Unknown::Refused };
    let mut findings = Findings::new(needed);
    let mut is_right = true;
    for path in args.files.iter().flat_map(|path| named(path)) {
        match read_file(&path, Period::from_secs(60), unknown) {
            Ok(groups) => {
                findings.look_at(&path, unknown);
                print(&format!("{}: ok: {}\n", path.display(), count(&groups)))?;
            }
            Err(faults) => {
                is_right = false;
                print(&format!("{}: is wrong\n", path.display()))?;
                complain(&format!("{faults}\n"));
            }
        }
    }
    if !findings.found.is_empty() {
        complain(&format!("{}\n", findings.found));
    }
    let mut worth = findings.found.faults().len();
    if let Some(evaluator) = args.evaluator.given().filter(|_| is_right) {
        let dead = runtime()?.block_on(dead(&findings, &evaluator, args.within))?;
        worth += dead.len();
        dead.iter().for_each(|line| complain(line));
    }
    Ok(match (is_right, args.strict && worth > 0) {
        (false, _) => ExitCode::from(2),
        (true, true) => ExitCode::FAILURE,
        (true, false) => ExitCode::SUCCESS,
    })
}

/// The files that a name on the command line stands for; itself where there is none.
fn named(path: &Path) -> Vec<PathBuf> {
    let found = matching(path);
    if found.is_empty() { vec![path.to_owned()] } else { found }
}

fn count(groups: &[RuleGroup]) -> String {
    let rules: usize = groups.iter().map(RuleGroup::len).sum();
    format!("{} in {}", counted(rules, "rule"), counted(groups.len(), "group"))
}

/// A line for each selector that matches nothing in the evaluator's storage.
async fn dead(
    findings: &Findings,
    evaluator: &EvaluatorArgs,
    within: Period,
) -> anyhow::Result<Vec<String>> {
    let (mut lines, mut known) = (Vec::new(), std::collections::BTreeMap::new());
    for selector in findings.foreign_selectors() {
        let is_dead = match known.get(&selector.text) {
            Some(is_dead) => *is_dead,
            None => {
                let query = format!("absent_over_time({}[{within}])", selector.text);
                let path = format!("/api/v1/query?query={}", percent_encoded(&query));
                let data = evaluator.ask(&path, None).await?;
                let is_dead = data["result"].as_array().is_some_and(|result| !result.is_empty());
                known.insert(selector.text.clone(), is_dead);
                is_dead
            }
        };
        if is_dead {
            lines.push(format!(
                "{}:{}: `{}` of `{}` has matched nothing for {within}\n",
                selector.file, selector.place, selector.text, selector.rule
            ));
        }
    }
    Ok(lines)
}
