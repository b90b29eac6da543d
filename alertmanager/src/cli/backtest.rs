//! `veilleur backtest RULES...`: how often and when alerts would have fired over the stored history.
//!
//! Invariant: nothing is written and nobody is told; the running evaluator, or any server with
//! Prometheus's query API, is only asked.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use base::http::percent_encoded;
use base::labels::{Labels, METRIC_NAME};
use base::number::counted;
use base::period::Period;
use base::sample::Timestamp;
use clap::Args;
use serde_json::Value;

use super::evaluator::{EvaluatorArgs, printable};
use super::{complain, print, runtime, wrong};
use crate::app::now;
use crate::backtest::{Firing, Patience, Steps, added, firings};
use crate::rules::{RuleKind, Unknown, read_file};
use crate::time::{parse_time, print_time};

/// What follows `backtest`.
#[derive(Debug, Args)]
pub(super) struct BacktestArgs {
    /// Rule files
    #[arg(required = true, value_name = "RULES")]
    files: Vec<PathBuf>,
    /// Rule files as they were: what the new ones add and take away is told
    #[arg(long, value_name = "OLD")]
    against: Vec<PathBuf>,
    /// How far back
    #[arg(long, value_name = "PERIOD", default_value = "30d")]
    since: Period,
    /// Until when: RFC 3339, or seconds since the epoch [default: now]
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// From one evaluation to the next [default: what the group says, else 1m]
    #[arg(long, value_name = "PERIOD")]
    step: Option<Period>,
    /// How many firings of an alert are listed
    #[arg(long, value_name = "COUNT", default_value_t = 10)]
    list: usize,
    #[command(flatten)]
    evaluator: EvaluatorArgs,
}

/// The most steps of one request, below the limit of the query API.
const STEPS: u64 = 10_000;

/// An alert of a rule file.
struct Alert {
    query: String,
    every: Period,
    patience: Patience,
}

/// The alerts by name; several rules can have the same one.
type Alerts = BTreeMap<String, Vec<Alert>>;

/// Asks, and tells.
pub(super) fn backtest(args: BacktestArgs) -> anyhow::Result<ExitCode> {
    let until = match args.until.as_deref().map(parse_time).transpose() {
        Ok(until) => until.unwrap_or_else(now),
        Err(fault) => {
            complain(&format!("veilleur: --until: {fault}\n"));
            return Ok(ExitCode::from(2));
        }
    };
    let (new, old) = match (read(&args.files), read(&args.against)) {
        (Ok(new), Ok(old)) => (new, old),
        (Err(faults), _) | (_, Err(faults)) => return Ok(wrong(&faults)),
    };
    let history = History { args: &args, until };
    let told = runtime()?.block_on(async {
        let mut told = String::new();
        let names: BTreeSet<&String> = new.keys().chain(old.keys()).collect();
        for name in names {
            let none = Vec::new();
            let (now, before) = (new.get(name).unwrap_or(&none), old.get(name).unwrap_or(&none));
            let fired = history.fired(now).await.with_context(|| format!("`{name}`"))?;
            if args.against.is_empty() {
                told.push_str(&history.tell(name, &fired));
            } else {
                let had = history.fired(before).await.with_context(|| format!("`{name}`"))?;
                told.push_str(&history.tell_change(name, &fired, &had));
            }
        }
        anyhow::Ok(told)
    })?;
    print(if told.is_empty() { "no rule makes alerts\n" } else { &told })?;
    Ok(ExitCode::SUCCESS)
}

fn read(files: &[PathBuf]) -> Result<Alerts, base::diagnostic::Diagnostics> {
    let mut alerts = Alerts::new();
    for file in files {
        for group in read_file(file, Period::from_secs(60), Unknown::Refused)? {
            let state = group.restore(&[], Duration::ZERO);
            for rule in group.view(&state, None).rules {
                let RuleKind::Alerting { hold, keep_firing_for, .. } = rule.kind else { continue };
                let patience = Patience { hold, keep: keep_firing_for };
                let alert = Alert { query: rule.query, every: group.interval(), patience };
                alerts.entry(rule.name).or_default().push(alert);
            }
        }
    }
    Ok(alerts)
}

/// What is asked for.
struct History<'a> {
    args: &'a BacktestArgs,
    until: Timestamp,
}

impl History<'_> {
    /// When the alerts fired, sorted by time.
    async fn fired(&self, alerts: &[Alert]) -> anyhow::Result<Vec<Firing>> {
        let mut all = Vec::new();
        for alert in alerts {
            let every = self.args.step.unwrap_or(alert.every).millis().max(1);
            // At times that are multiples of the step, so that two runs look at the same ones.
            let first = self.until.millis() - self.args.since.millis() as i64;
            let first = first.div_euclid(every as i64) * every as i64 + every as i64;
            let from = Timestamp::from_millis(first);
            let mut series: BTreeMap<Labels, BTreeSet<Timestamp>> = BTreeMap::new();
            let mut begin = from;
            while begin <= self.until {
                let end = (begin + Duration::from_millis(every * STEPS)).min(self.until);
                let path = format!(
                    "/api/v1/query_range?query={}&start={}&end={}&step={}",
                    percent_encoded(&alert.query),
                    begin.seconds(),
                    end.seconds(),
                    every as f64 / 1000.0,
                );
                let data = self.args.evaluator.ask(&path, None).await?;
                for one in data["result"].as_array().into_iter().flatten() {
                    series.entry(labels(&one["metric"])).or_default().extend(times(one));
                }
                begin = begin + Duration::from_millis(every * (STEPS + 1));
            }
            let steps = Steps { from, to: self.until, every: Duration::from_millis(every) };
            all.extend(firings(&series, steps, alert.patience));
        }
        all.sort();
        Ok(all)
    }

    /// How often, how long, and when.
    fn tell(&self, name: &str, fired: &[Firing]) -> String {
        let mut text = format!("{name}: {}\n", summary(fired));
        for firing in fired.iter().take(self.args.list) {
            text.push_str(&line(' ', firing));
        }
        if fired.len() > self.args.list {
            text.push_str(&format!("  and {} more\n", fired.len() - self.args.list));
        }
        text
    }

    /// What is added and what is gone.
    fn tell_change(&self, name: &str, fired: &[Firing], had: &[Firing]) -> String {
        let (more, less) = (added(fired, had), added(had, fired));
        let mut text = format!(
            "{name}: {}; before: {}; {} added, {} gone\n",
            summary(fired),
            summary(had),
            more.len(),
            less.len()
        );
        for (sign, list) in [('+', more), ('-', less)] {
            let shown = list.iter().take(self.args.list);
            text.extend(shown.map(|firing| line(sign, firing)));
        }
        text
    }
}

fn summary(fired: &[Firing]) -> String {
    if fired.is_empty() {
        return "never fires".to_owned();
    }
    let all: Duration = fired.iter().map(Firing::length).sum();
    let longest = fired.iter().map(Firing::length).max().unwrap_or_default();
    let series: BTreeSet<&Labels> = fired.iter().map(|firing| &firing.labels).collect();
    format!(
        "fires {}, {} in all, {} at the longest, {} series",
        counted(fired.len(), "time"),
        period(all),
        period(longest),
        series.len()
    )
}

fn line(sign: char, firing: &Firing) -> String {
    let (from, length) = (print_time(firing.from), period(firing.length()));
    format!("{sign} {from}  {length}  {}\n", printable(&firing.labels.to_string()))
}

fn period(duration: Duration) -> Period {
    Period::from_millis(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
}

/// The labels of an alert's series: without a name.
fn labels(metric: &Value) -> Labels {
    let pairs = metric.as_object().into_iter().flatten();
    let pairs = pairs.filter(|(name, _)| *name != METRIC_NAME);
    Labels::from_pairs(pairs.map(|(name, value)| (name.as_str(), value.as_str().unwrap_or(""))))
}

fn times(series: &Value) -> impl Iterator<Item = Timestamp> {
    let all = ["values", "histograms"].into_iter().flat_map(|name| series[name].as_array());
    let times = all.flatten().filter_map(|pair| pair[0].as_f64());
    times.map(|seconds| Timestamp::from_millis((seconds * 1000.0).round() as i64))
}
