//! `veilleur drill RECEIVER|LABELS`: tries whether messages arrive, and tells each hop.
//!
//! Invariant: exit status 0 only where every way to every receiver has taken the message.

use std::process::ExitCode;
use std::time::Duration;

use base::http::percent_encoded;
use base::period::Period;
use clap::Args;
use serde_json::{Value, json};
use tokio::time::{sleep, timeout};

use super::evaluator::{EvaluatorArgs, printable};
use super::routes::{labels, mistaken};
use super::{complain, print, runtime};

/// How often we look how far it is.
const EVERY: Duration = Duration::from_millis(200);

/// What follows `drill`.
#[derive(Debug, Args)]
pub(super) struct DrillArgs {
    /// A receiver, or labels by which the routes say whom to tell
    #[arg(required = true, value_name = "RECEIVER|NAME=VALUE")]
    wanted: Vec<String>,
    /// Who tries it; stands in the message
    #[arg(long, value_name = "NAME")]
    by: Option<String>,
    /// How long it fires after everybody has been told
    #[arg(long, value_name = "PERIOD", default_value = "2m")]
    hold: Period,
    /// How long to wait for the answers of all receivers
    #[arg(long, value_name = "PERIOD", default_value = "2m")]
    timeout: Period,
    #[command(flatten)]
    evaluator: EvaluatorArgs,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Begins a drill and waits for its answers.
pub(super) fn drill(args: DrillArgs) -> anyhow::Result<ExitCode> {
    let is_receiver = args.wanted.len() == 1 && !args.wanted[0].contains('=');
    let mut body =
        json!({"by": args.by.clone().unwrap_or_default(), "hold": args.hold.to_string()});
    if is_receiver {
        body["receiver"] = json!(args.wanted[0]);
    } else {
        match labels(&args.wanted) {
            Ok(labels) => body["labels"] = labels.iter().map(|(n, v)| (n, json!(v))).collect(),
            Err(fault) => return Ok(mistaken(&fault)),
        }
    }
    let drill = runtime()?.block_on(watch(&args, &body))?;
    match args.json {
        true => print(&format!("{drill:#}\n"))?,
        false => print(&tell(&drill))?,
    }
    if is_told(&drill) {
        return Ok(ExitCode::SUCCESS);
    }
    complain("veilleur: not everybody was told\n");
    Ok(ExitCode::FAILURE)
}

/// Follows the drill until everybody has been told, or nobody will be.
async fn watch(args: &DrillArgs, body: &Value) -> anyhow::Result<Value> {
    let mut drill = args.evaluator.ask("/api/v1/drill", Some(body)).await?;
    let path =
        format!("/api/v1/drill/{}", percent_encoded(drill["id"].as_str().unwrap_or_default()));
    let following = async {
        while !is_settled(&drill) {
            sleep(EVERY).await;
            drill = args.evaluator.ask(&path, None).await?;
        }
        Ok(())
    };
    match timeout(args.timeout.duration(), following).await {
        Ok(result) => result.map(|()| drill),
        Err(_) => Ok(drill),
    }
}

fn list<'a>(value: &'a Value, name: &str) -> &'a [Value] {
    value[name].as_array().map_or(&[], Vec::as_slice)
}

fn delivered(lane: &Value) -> bool {
    list(lane, "tries").iter().any(|attempt| attempt["delivered"] == true)
}

fn is_told(drill: &Value) -> bool {
    let lanes = || list(drill, "ways").iter().flat_map(|way| list(way, "lanes"));
    lanes().count() > 0 && lanes().all(delivered)
}

/// Whether nothing more is to be waited for.
fn is_settled(drill: &Value) -> bool {
    let refused = |lane: &Value| list(lane, "tries").iter().any(|a| a["result"] == "refused");
    drill["over"] == true
        || list(drill, "ways").iter().all(|way| {
            !list(way, "heldBy").is_empty()
                || list(way, "lanes").iter().all(|lane| delivered(lane) || refused(lane))
        })
}

/// A line for each hop.
fn tell(drill: &Value) -> String {
    let mut text = format!("drill {}\n", drill["id"].as_str().unwrap_or_default());
    let mut line = |indent: &str, name: &str, said: &Value| {
        if let Some(said) = said.as_str().filter(|said| !said.is_empty()) {
            // What a service or a silence says neither moves the cursor nor makes a line of its own.
            text.push_str(&format!("{indent}{name:<9} {}\n", printable(said)));
        }
    };
    for way in list(drill, "ways") {
        line("", "receiver", &way["receiver"]);
        line("  ", "accepted", &way["accepted"]);
        line("  ", "route", &way["route"]);
        for held in list(way, "heldBy") {
            line("  ", "held back", held);
        }
        line("  ", "grouped", &way["grouped"]);
        let tried = list(way, "lanes").iter().any(|lane| !list(lane, "tries").is_empty());
        if !tried {
            line("  ", "due", &way["due"]);
        }
        if list(way, "lanes").is_empty() {
            line("  ", "nobody", &json!("the receiver has no way to be told"));
        }
        for lane in list(way, "lanes") {
            line("  ", "by", &lane["lane"]);
            for attempt in list(lane, "tries").iter().filter(|a| a["firing"] == true) {
                line("    ", "queued", &attempt["queued"]);
                line("    ", "sent", &attempt["sent"]);
                line("    ", "answered", &attempt["answered"]);
                line("    ", "result", &attempt["result"]);
                line("    ", "answer", &attempt["answer"]);
            }
            if list(lane, "tries").is_empty() {
                line("    ", "waits", &json!("nothing was sent yet"));
            }
        }
    }
    text
}
