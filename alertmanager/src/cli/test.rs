//! `veilleur test FILE...`: runs test files, and says what is not as expected.
//!
//! Invariant: exit status 1 where a test failed or a file is wrong, and then something says why.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use regex::Regex;

use super::{complain, features, print, runtime};
use crate::unit_test::{Options, Unknown, run_file};

/// What follows `test`.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub(super) struct TestArgs {
    #[command(subcommand)]
    command: Option<TestCommand>,
    #[command(flatten)]
    files: FileArgs,
}

#[derive(Debug, Subcommand)]
enum TestCommand {
    /// The same, by promtool's name
    Rules(FileArgs),
}

#[derive(Debug, Args)]
struct FileArgs {
    /// Test files in promtool's format; with `config:` they go on to what is told to whom
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Only tests with a name in which this regular expression is found; may be repeated
    #[arg(long, value_name = "REGEX")]
    run: Vec<String>,
    /// Let settings of rule files through that nobody knows
    #[arg(long)]
    ignore_unknown_fields: bool,
    /// What to do otherwise than by default, by Prometheus's names with commas between them:
    /// promql-delayed-name-removal, use-start-timestamps
    #[arg(long = "enable-feature", value_name = "NAMES", value_parser = features::named)]
    features: Vec<promql::Features>,
}

/// Runs the files.
pub(super) fn test(args: TestArgs) -> anyhow::Result<ExitCode> {
    let args = match args.command {
        Some(TestCommand::Rules(args)) => args,
        None => args.files,
    };
    let only = match Regex::new(&args.run.join("|")) {
        Ok(only) => (!args.run.is_empty()).then_some(only),
        Err(error) => {
            complain(&format!("veilleur: --run is not a regular expression: {error}\n"));
            return Ok(ExitCode::from(2));
        }
    };
    let unknown = if args.ignore_unknown_fields { Unknown::Ignored } else { Unknown::Refused };
    let options = Options { only, unknown, features: features::all(&args.features) };
    let runtime = runtime()?;
    let mut passed = true;
    for file in &args.files {
        let outcome = runtime.block_on(run_file(file, &options));
        let shown = file.display();
        for warning in &outcome.warnings {
            complain(&format!("{shown}: warning: {warning}\n"));
        }
        let tests = |n: usize| if n == 1 { "1 test".to_owned() } else { format!("{n} tests") };
        if outcome.faults.is_empty() {
            print(&format!("{shown}: ok: {}\n", tests(outcome.tests)))?;
            continue;
        }
        passed = false;
        let told = match outcome.tests {
            0 => "is wrong, nothing was tried".to_owned(),
            all => format!("FAILED: {} of {}", outcome.failed, tests(all)),
        };
        print(&format!("{shown}: {told}\n"))?;
        complain(&format!("{}\n", outcome.faults));
    }
    Ok(if passed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
