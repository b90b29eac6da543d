//! `veilleur routes`: the tree of routes of a configuration, and the way of an alert through it.
//!
//! Invariant: nothing runs and nothing is asked but the file.

use std::path::PathBuf;
use std::process::ExitCode;

use base::labels::Labels;
use clap::{Args, Subcommand};

use super::{complain, print, wrong};
use crate::app::{Origin, now};
use crate::config::Config;
use crate::explain::routes::Routing;
use crate::time::parse_time;

/// What follows `routes`.
#[derive(Debug, Subcommand)]
pub(super) enum RoutesCommand {
    /// Show the tree
    Show(ConfigArgs),
    /// Show the way of an alert through the tree, and who is told
    Test(TestArgs),
}

#[derive(Debug, Args)]
pub(super) struct ConfigArgs {
    /// The configuration [default: ./veilleur.yml, then /etc/veilleur/veilleur.yml]
    #[arg(long = "config.file", visible_alias = "config", value_name = "FILE")]
    config: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(super) struct TestArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// A label of the alert; may be given several times
    #[arg(long = "label", value_name = "NAME=VALUE")]
    named: Vec<String>,
    /// Labels of the alert
    #[arg(value_name = "NAME=VALUE")]
    labels: Vec<String>,
    /// When: RFC 3339, or seconds since the epoch [default: now]
    #[arg(long, value_name = "TIME")]
    at: Option<String>,
    /// Fail unless these are the receivers, in this order, with commas between them
    #[arg(long = "verify.receivers", value_name = "NAMES")]
    expected: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Does what the command line says.
pub(super) fn routes(command: RoutesCommand) -> anyhow::Result<ExitCode> {
    match command {
        RoutesCommand::Show(args) => with(args, |routing| {
            print(&routing.show())?;
            Ok(ExitCode::SUCCESS)
        }),
        RoutesCommand::Test(args) => test(args),
    }
}

fn test(args: TestArgs) -> anyhow::Result<ExitCode> {
    let labels = match labels(args.named.iter().chain(&args.labels)) {
        Ok(labels) => labels,
        Err(fault) => return Ok(mistaken(&fault)),
    };
    let at = match args.at.as_deref().map(parse_time).transpose() {
        Ok(at) => at.unwrap_or_else(now),
        Err(fault) => return Ok(mistaken(&format!("--at: {fault}"))),
    };
    with(args.config, |routing| {
        match args.json {
            true => print(&format!("{:#}\n", routing.describe(&labels, at)))?,
            false => print(&routing.tell(&labels, at))?,
        }
        let got = routing.receivers(&labels).join(",");
        match args.expected {
            Some(expected) if expected != got => {
                complain(&format!("veilleur: the receivers are `{got}`, not `{expected}`\n"));
                Ok(ExitCode::FAILURE)
            }
            _ => Ok(ExitCode::SUCCESS),
        }
    })
}

/// Reads the configuration and does something with it.
fn with(
    args: ConfigArgs,
    work: impl FnOnce(Routing<'_>) -> anyhow::Result<ExitCode>,
) -> anyhow::Result<ExitCode> {
    let config: Config = match Origin::find(args.config, None).load() {
        Ok(config) => config,
        Err(faults) => return Ok(wrong(&faults)),
    };
    let Config { route, lanes, inhibit_rules, .. } = &config;
    work(Routing { route, lanes, inhibit_rules })
}

/// Labels as a command line has them: `team=db`.
///
/// # Errors
///
/// What is wrong with them.
pub(super) fn labels<'a>(texts: impl IntoIterator<Item = &'a String>) -> Result<Labels, String> {
    let mut pairs = Vec::new();
    for text in texts {
        match text.split_once('=') {
            Some((name, value)) if !name.is_empty() => pairs.push((name, value)),
            _ => return Err(format!("`{text}` is not a label; write `name=value`")),
        }
    }
    Ok(Labels::from_pairs(pairs))
}

/// A command line that says nothing of use.
pub(super) fn mistaken(fault: &str) -> ExitCode {
    complain(&format!("veilleur: {fault}\n"));
    ExitCode::from(2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_read_as_they_are_written() {
        let read = |texts: &[&str]| {
            let texts: Vec<String> = texts.iter().map(|text| (*text).to_owned()).collect();
            labels(&texts).map_or_else(|error| error, |labels| labels.to_string())
        };
        assert_eq!(read(&["team=db", "x=a=b"]), r#"{team="db", x="a=b"}"#);
        assert_eq!(read(&["team"]), "`team` is not a label; write `name=value`");
        assert_eq!(read(&["=x"]), "`=x` is not a label; write `name=value`");
    }
}
