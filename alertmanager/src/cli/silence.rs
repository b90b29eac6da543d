//! `veilleur silence` and `veilleur maintenance`: asks the evaluator that runs.
//!
//! Invariant: what is broad is shown before it is done, and done only with `--confirm`.

use std::process::ExitCode;

use anyhow::bail;
use base::http::{Method, percent_encoded};
use base::number::counted;
use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::evaluator::{EvaluatorArgs, data, printable};
use super::{complain, print, runtime};

/// What is done with silences.
#[derive(Debug, Subcommand)]
pub(super) enum SilenceCommand {
    /// Show what a silence would hold now, and would have held in the last week
    Preview {
        /// Matchers such as `alertname=DiskFull` or `host=~"db.*"`
        #[arg(required = true)]
        matchers: Vec<String>,
        #[command(flatten)]
        at: EvaluatorArgs,
    },
    /// Make a silence
    Add {
        #[command(flatten)]
        what: What,
        #[command(flatten)]
        at: EvaluatorArgs,
    },
    /// List the silences that hold or will, with what they hold
    List {
        #[command(flatten)]
        at: EvaluatorArgs,
    },
    /// End silences
    Expire {
        /// Their ids
        #[arg(required = true)]
        ids: Vec<String>,
        #[command(flatten)]
        at: EvaluatorArgs,
    },
}

/// What is done with windows of maintenance.
#[derive(Debug, Subcommand)]
pub(super) enum MaintenanceCommand {
    /// Ask for a window
    Add {
        /// How people call it
        #[arg(long)]
        name: String,
        #[command(flatten)]
        what: What,
        #[command(flatten)]
        at: EvaluatorArgs,
    },
    /// List the windows that run, and those of the next week
    List {
        #[command(flatten)]
        at: EvaluatorArgs,
    },
    /// End a window that runs, or take back one that is planned
    End {
        /// Its id
        id: String,
        #[command(flatten)]
        at: EvaluatorArgs,
    },
}

/// What is held back, when and why.
#[derive(Debug, Args)]
pub(super) struct What {
    /// Matchers such as `alertname=DiskFull` or `host=~"db.*"`
    #[arg(required = true)]
    matchers: Vec<String>,
    /// How long
    #[arg(long = "for", value_name = "PERIOD", default_value = "1h")]
    duration: String,
    /// From when, as `2026-12-01T22:00:00+01:00` [default: now]
    #[arg(long, value_name = "TIME")]
    start: Option<String>,
    /// Why
    #[arg(long, value_name = "TEXT")]
    comment: String,
    /// Who answers for it [default: your user name]
    #[arg(long, value_name = "NAME")]
    by: Option<String>,
    /// Do it although it is broad
    #[arg(long)]
    confirm: bool,
}

impl SilenceCommand {
    /// Does it.
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        runtime()?.block_on(async {
            match self {
                Self::Preview { matchers, at } => {
                    let body = json!({ "matchers": matchers });
                    let path = "/api/v1/silences/preview";
                    let data = at.ask(path, Some(&body)).await?;
                    print(&preview(&data))?;
                }
                Self::Add { what, at } => {
                    let mut body = what.body();
                    body["createdBy"] = json!(what.by());
                    let answer = at.request(Method::POST, "/api/v1/silences", Some(&body)).await?;
                    if let Some(code) = unconfirmed(&answer) {
                        return Ok(code);
                    }
                    let data = data(answer)?;
                    print(&format!("{}\n", text(&data["silenceID"])))?;
                }
                Self::List { at } => {
                    let data = at.ask("/api/v1/silences", None).await?;
                    print(&list(&data, "createdBy", "no silence holds or will hold\n"))?;
                }
                Self::Expire { ids, at } => {
                    for id in ids {
                        let path = format!("/api/v2/silence/{}", percent_encoded(&id));
                        let (status, body) = at.request(Method::DELETE, &path, None).await?;
                        if status != 200 {
                            bail!(
                                "{id}: {}",
                                body["message"].as_str().map_or_else(|| text(&body), printable)
                            );
                        }
                    }
                }
            }
            Ok(ExitCode::SUCCESS)
        })
    }
}

impl MaintenanceCommand {
    /// Does it.
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        const PATH: &str = "/api/v1/maintenance";
        runtime()?.block_on(async {
            match self {
                Self::Add { name, what, at } => {
                    let mut body = what.body();
                    body["owner"] = json!(what.by());
                    body["name"] = json!(name);
                    let answer = at.request(Method::POST, PATH, Some(&body)).await?;
                    if let Some(code) = unconfirmed(&answer) {
                        return Ok(code);
                    }
                    print(&format!("{}\n", text(&data(answer)?["id"])))?;
                }
                Self::List { at } => {
                    let data = at.ask(PATH, None).await?;
                    print(&list(&data["windows"], "owner", "no window runs or is planned\n"))?;
                    for fault in data["calendarFaults"].as_array().into_iter().flatten() {
                        let (name, fault) = (text(&fault["name"]), text(&fault["fault"]));
                        complain(&format!("veilleur: the calendar of `{name}`: {fault}\n"));
                    }
                }
                Self::End { id, at } => {
                    let path = format!("{PATH}/{}", percent_encoded(&id));
                    data(at.request(Method::DELETE, &path, None).await?)?;
                }
            }
            Ok(ExitCode::SUCCESS)
        })
    }
}

impl What {
    fn body(&self) -> Value {
        json!({
            "matchers": self.matchers,
            "startsAt": self.start,
            "duration": self.duration,
            "comment": self.comment,
            "confirm": self.confirm,
        })
    }

    /// Who answers for it.
    fn by(&self) -> String {
        self.by.clone().unwrap_or_else(own_name)
    }
}

/// The name of whoever runs us, else the number.
pub(super) fn own_name() -> String {
    let own = rustix::process::getuid().as_raw().to_string();
    let users = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let user = users.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)? == own).then(|| name.to_owned())
    });
    user.unwrap_or(own)
}

/// Shows what is broad, where that was not confirmed.
fn unconfirmed((status, body): &(u16, Value)) -> Option<ExitCode> {
    if *status != 409 {
        return None;
    }
    if body["data"].is_object() {
        complain(&preview(&body["data"]));
    } else {
        complain(&format!("{}\n", text(&body["error"])));
    }
    complain("nothing was done: say --confirm if that is meant\n");
    Some(ExitCode::FAILURE)
}

fn text(value: &Value) -> String {
    match value {
        Value::String(text) => printable(text),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

fn labels(labels: &Value) -> String {
    let pairs = labels.as_object().into_iter().flatten();
    let others = pairs.filter(|(name, _)| *name != "alertname");
    let others: Vec<_> = others.map(|(name, value)| format!("{name}={}", text(value))).collect();
    format!("{} {}", text(&labels["alertname"]), others.join(" "))
}

fn preview(data: &Value) -> String {
    let (now, week) = (&data["now"], &data["week"]);
    let mut out = format!("now: {} of {} alerts that fire\n", now["held"], now["firing"]);
    for alert in now["alerts"].as_array().into_iter().flatten() {
        out.push_str(&format!(
            "  {} since {}\n",
            labels(&alert["labels"]),
            text(&alert["startsAt"])
        ));
    }
    let held = counted(week["held"].as_u64().unwrap_or(0) as usize, "alert");
    out.push_str(&format!("in the last week: {held}\n"));
    for (name, count) in week["byName"].as_object().into_iter().flatten() {
        let name: String = name.chars().filter(|c| !c.is_control()).collect();
        out.push_str(&format!("  {count} {name}\n"));
    }
    let receivers = data["receivers"].as_array().into_iter().flatten().map(text);
    out.push_str(&format!("of: {}\n", receivers.collect::<Vec<_>>().join(", ")));
    for why in data["why"].as_array().into_iter().flatten() {
        out.push_str(&format!("a confirmation is needed: {}\n", text(why)));
    }
    out
}

/// Silences or windows, a line each, and what they are about below; `none` where there are none.
fn list(items: &Value, by: &str, none: &str) -> String {
    let mut out = String::new();
    for item in items.as_array().into_iter().flatten() {
        let name = match &item["name"] {
            Value::Null => String::new(),
            name => format!(" {}", text(name)),
        };
        let matchers = item["matchers"].as_array().into_iter().flatten().map(text);
        out.push_str(&format!(
            "{}{name} {} from {} until {}, holds {}\n  {}\n  {}: {}\n",
            text(&item["id"]),
            text(&item["state"]),
            text(&item["startsAt"]),
            text(&item["endsAt"]),
            item["holds"],
            matchers.collect::<Vec<_>>().join(" "),
            text(&item[by]),
            text(&item["comment"]),
        ));
    }
    if out.is_empty() { none.to_owned() } else { out }
}
