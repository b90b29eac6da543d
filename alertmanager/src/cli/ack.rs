//! `veilleur ack`: asks the evaluator that runs who has what in hand, and says that somebody does.
//!
//! Invariant: nothing is decided here; what the evaluator answers is shown.

use std::process::ExitCode;

use base::http::{Method, percent_encoded};
use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::evaluator::{EvaluatorArgs, data, printable};
use super::silence::own_name;
use super::{print, runtime};

/// What is done with acknowledgements.
#[derive(Debug, Subcommand)]
pub(super) enum AckCommand {
    /// Say that you have a group of alerts in hand: nobody else is called
    Add {
        #[command(flatten)]
        which: Which,
        /// What you do about it
        #[arg(long, value_name = "TEXT", default_value = "")]
        comment: String,
        /// Who has it [default: your user name]
        #[arg(long, value_name = "NAME")]
        by: Option<String>,
        #[command(flatten)]
        at: EvaluatorArgs,
    },
    /// List what waits for an answer, and who has what in hand
    List {
        #[command(flatten)]
        at: EvaluatorArgs,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Give a group back: it waits for an answer again
    End {
        #[command(flatten)]
        which: Which,
        #[command(flatten)]
        at: EvaluatorArgs,
    },
}

/// Which groups.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(super) struct Which {
    /// The name of an alert, or labels: `{alertname="Down", host="a"}`
    #[arg(value_name = "ALERT|LABELS")]
    alert: Option<String>,
    /// The key of a group, as `list` shows it
    #[arg(long, value_name = "KEY")]
    group: Option<String>,
}

const PATH: &str = "/api/v1/acknowledgements";

impl AckCommand {
    /// Does it.
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        runtime()?.block_on(async {
            match self {
                Self::Add { which, comment, by, at } => {
                    let by = by.unwrap_or_else(own_name);
                    let mut body = json!({"by": by, "comment": comment});
                    let (name, text) = which.named();
                    body[name] = json!(text);
                    let taken = at.ask(PATH, Some(&body)).await?;
                    print(&lines(&taken))?;
                }
                Self::List { at, json } => {
                    let groups = at.ask(PATH, None).await?;
                    let text = match (json, lines(&groups)) {
                        (true, _) => format!("{groups:#}\n"),
                        (false, text) if text.is_empty() => "nothing waits for an answer\n".into(),
                        (false, text) => text,
                    };
                    print(&text)?;
                }
                Self::End { which, at } => {
                    let (name, text) = which.named();
                    let path = format!("{PATH}?{name}={}", percent_encoded(&text));
                    data(at.request(Method::DELETE, &path, None).await?)?;
                }
            }
            Ok(ExitCode::SUCCESS)
        })
    }
}

impl Which {
    fn named(self) -> (&'static str, String) {
        match self.group {
            Some(group) => ("group", group),
            None => ("alert", self.alert.unwrap_or_default()),
        }
    }
}

/// A line for each group, and what is known of it below.
fn lines(groups: &Value) -> String {
    let text = |value: &Value| printable(value.as_str().unwrap_or_default());
    let groups = groups.as_array().into_iter().flatten();
    groups
        .map(|group| {
            let (key, alerts) = (text(&group["group"]), &group["alerts"]);
            format!("{key} ({alerts} firing)\n  {}\n", text(&group["text"]))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_from_outside_moves_no_cursor() {
        let groups =
            json!([{"group": "{}:{a=\"\u{1b}[2J\"}", "alerts": 2, "text": "anna\nhas it"}]);
        assert_eq!(lines(&groups), "{}:{a=\" [2J\"} (2 firing)\n  anna has it\n");
        assert_eq!(lines(&json!([])), "");
    }
}
