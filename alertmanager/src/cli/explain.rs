//! `veilleur explain ALERT`: why somebody was told of an alert, or was not.
//!
//! Invariant: nothing is decided here; the running evaluator knows.

use std::process::ExitCode;

use base::http::percent_encoded;
use clap::Args;

use super::evaluator::EvaluatorArgs;
use super::routes::mistaken;
use super::{complain, print, runtime};
use crate::time::parse_time;

/// What follows `explain`.
#[derive(Debug, Args)]
pub(super) struct ExplainArgs {
    /// The name of an alert, or labels: `{alertname="Down", host="a"}`
    #[arg(value_name = "ALERT|LABELS")]
    alert: String,
    /// As of when: RFC 3339, or seconds since the epoch [default: now]
    #[arg(long, value_name = "TIME")]
    at: Option<String>,
    #[command(flatten)]
    evaluator: EvaluatorArgs,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Asks, and prints the answer.
pub(super) fn explain(args: ExplainArgs) -> anyhow::Result<ExitCode> {
    let mut path = format!("/api/v1/explain?alert={}", percent_encoded(&args.alert));
    if let Some(at) = &args.at {
        if let Err(fault) = parse_time(at) {
            return Ok(mistaken(&format!("--at: {fault}")));
        }
        path.push_str(&format!("&at={}", percent_encoded(at)));
    }
    let data = runtime()?.block_on(args.evaluator.ask(&path, None))?;
    if args.json {
        print(&format!("{:#}\n", data["alerts"]))?;
        return Ok(ExitCode::SUCCESS);
    }
    print(data["text"].as_str().unwrap_or_default())?;
    match data["more"].as_u64() {
        Some(more) if more > 0 => complain(&format!("and {more} more alerts; name more labels\n")),
        _ => {}
    }
    Ok(ExitCode::SUCCESS)
}
