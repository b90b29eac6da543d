//! `veilleur history`: what was told to whom, when, and with what answer.
//!
//! Invariant: nothing is decided here; the running evaluator knows. What services and alerts say is
//! printed on one line, without control characters.

use std::process::ExitCode;

use base::http::percent_encoded;
use base::period::Period;
use clap::Args;
use serde_json::Value;

use super::evaluator::{EvaluatorArgs, printable};
use super::{print, runtime};

/// What follows `history`.
#[derive(Debug, Args)]
pub(super) struct HistoryArgs {
    /// Only to this receiver
    #[arg(long, value_name = "NAME")]
    receiver: Option<String>,
    /// Only of this alert: its name, or its fingerprint
    #[arg(long, value_name = "ALERT")]
    alert: Option<String>,
    /// From when on: RFC 3339, or seconds since the epoch
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Until when
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// The most, the newest of them
    #[arg(long, value_name = "COUNT", default_value_t = 100)]
    limit: usize,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    evaluator: EvaluatorArgs,
}

/// Asks, and prints the answer, oldest first.
pub(super) fn history(args: &HistoryArgs) -> anyhow::Result<ExitCode> {
    let data = runtime()?.block_on(args.evaluator.ask(&args.path(), None))?;
    if args.json {
        print(&format!("{:#}\n", data["attempts"]))?;
        return Ok(ExitCode::SUCCESS);
    }
    let attempts = data["attempts"].as_array().map_or(&[][..], Vec::as_slice);
    if attempts.is_empty() {
        print("nothing was told\n")?;
    }
    for attempt in attempts.iter().rev() {
        print(&line(attempt))?;
    }
    Ok(ExitCode::SUCCESS)
}

impl HistoryArgs {
    fn path(&self) -> String {
        let mut path = format!("/api/v1/notifications?limit={}", self.limit);
        for (name, value) in [
            ("receiver", &self.receiver),
            ("alert", &self.alert),
            ("since", &self.since),
            ("until", &self.until),
        ] {
            if let Some(value) = value {
                path.push_str(&format!("&{name}={}", percent_encoded(value)));
            }
        }
        path
    }
}

/// `TIME  LANE  RESULT  REASON  ALERTS  (attempt 2, 1s): ANSWER`
fn line(attempt: &Value) -> String {
    const MOST: usize = 5;
    let text = |name: &str| printable(attempt[name].as_str().unwrap_or(""));
    let alerts = attempt["alerts"].as_array().map_or(&[][..], Vec::as_slice);
    let mut names: Vec<String> = alerts
        .iter()
        .take(MOST)
        .map(|alert| {
            let name = printable(alert["name"].as_str().unwrap_or(""));
            let over = if alert["status"] == "resolved" { " (resolved)" } else { "" };
            format!("{name}{over}")
        })
        .collect();
    let all = attempt["alertCount"].as_u64().unwrap_or(0);
    let more = all.saturating_sub(names.len() as u64);
    if more > 0 {
        names.push(format!("{more} more"));
    }
    let millis = attempt["duration"].as_f64().unwrap_or(0.0) * 1000.0;
    let took = Period::from_millis(millis as u64);
    let answer = match text("answer") {
        answer if answer.is_empty() => answer,
        answer => format!(": {answer}"),
    };
    format!(
        "{}  {}  {}  {}  {}  (attempt {}, {took}){answer}\n",
        text("time"),
        text("lane"),
        text("result"),
        text("reason"),
        names.join(", "),
        attempt["attempt"],
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_line_says_when_who_what_and_with_which_answer() {
        let attempt = json!({
            "time": "2026-11-21T10:00:00Z", "duration": 1.5, "lane": "ops/email/0",
            "result": "failed", "reason": "new alerts", "attempt": 2, "alertCount": 7,
            "answer": "450 try\r\nlater",
            "alerts": [{"name": "Down", "status": "firing"}, {"name": "Full\n", "status": "resolved"}],
        });
        assert_eq!(
            line(&attempt),
            "2026-11-21T10:00:00Z  ops/email/0  failed  new alerts  Down, Full  (resolved), 5 more  \
             (attempt 2, 1s500ms): 450 try  later\n"
        );
    }
}
