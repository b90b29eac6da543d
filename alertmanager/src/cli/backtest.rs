//! `veilleur backtest RULES...`: how often and when alerts would have fired over the stored history.
//!
//! Invariant: nothing is written and nobody is told; the running evaluator, or any server with
//! Prometheus's query API, is only asked.

mod asked;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use base::labels::Labels;
use base::number::counted;
use base::period::Period;
use base::sample::Timestamp;
use clap::Args;
use promql::Query;

use asked::{Asked, first_step};

use super::evaluator::{EvaluatorArgs, printable};
use super::{complain, print, runtime, wrong};
use crate::app::now;
use crate::backtest::replay::{self, Given, Makes, Tried, Way, ways};
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

/// When the alerts of some files fired, by their names; several rules can have the same one.
type Fired = BTreeMap<String, Vec<Firing>>;

/// Asks, and tells.
pub(super) fn backtest(args: BacktestArgs) -> anyhow::Result<ExitCode> {
    let until = match args.until.as_deref().map(parse_time).transpose() {
        Ok(until) => until.unwrap_or_else(now),
        Err(fault) => {
            complain(&format!("veilleur: --until: {fault}\n"));
            return Ok(ExitCode::from(2));
        }
    };
    let (new, old) = match (read(&args.files, args.step), read(&args.against, args.step)) {
        (Ok(new), Ok(old)) => (new, old),
        (Err(faults), _) | (_, Err(faults)) => return Ok(wrong(&faults)),
    };
    let history = History { args: &args, until };
    let told = runtime()?.block_on(async {
        let (now, before) = (history.fired(&new).await?, history.fired(&old).await?);
        let mut told = String::new();
        let names: BTreeSet<&String> = now.keys().chain(before.keys()).collect();
        for name in names {
            let none = Vec::new();
            let (now, before) = (now.get(name).unwrap_or(&none), before.get(name).unwrap_or(&none));
            if args.against.is_empty() {
                told.push_str(&history.tell(name, now));
            } else {
                told.push_str(&history.tell_change(name, now, before));
            }
        }
        anyhow::Ok(told)
    })?;
    print(if told.is_empty() { "no rule makes alerts\n" } else { &told })?;
    Ok(ExitCode::SUCCESS)
}

/// The rules of `files`, in their order.
fn read(
    files: &[PathBuf],
    step: Option<Period>,
) -> Result<Vec<Tried>, base::diagnostic::Diagnostics> {
    let mut rules = Vec::new();
    for file in files {
        for group in read_file(file, Period::from_secs(60), Unknown::Refused)? {
            let state = group.restore(&[], Duration::ZERO);
            let view = group.view(&state, None);
            let every = step.unwrap_or(view.interval).duration().max(Duration::from_millis(1));
            for rule in view.rules {
                let makes = match rule.kind {
                    RuleKind::Alerting { hold, keep_firing_for: keep, .. } => {
                        Makes::Alerts(Patience { hold, keep })
                    }
                    RuleKind::Recording { labels } => Makes::Samples(labels),
                };
                // Read once already, when the file was.
                let Ok(query) = Query::new(&rule.query) else { continue };
                let (offset, limit) = (group.query_offset().duration(), view.limit);
                rules.push(Tried { name: rule.name, query, every, offset, limit, makes });
            }
        }
    }
    Ok(rules)
}

/// What is asked for.
struct History<'a> {
    args: &'a BacktestArgs,
    until: Timestamp,
}

impl History<'_> {
    /// When the alerts of `rules` fired, sorted by time.
    async fn fired(&self, rules: &[Tried]) -> anyhow::Result<Fired> {
        let from = self.until - self.args.since.duration();
        let (ways, asked) = (ways(rules), Asked { evaluator: &self.args.evaluator });
        let begin = replay::begin(rules, &ways, from);
        let mut given = Vec::with_capacity(rules.len());
        let mut presence = Vec::with_capacity(rules.len());
        for (rule, way) in rules.iter().zip(&ways) {
            let of = || format!("`{}`", rule.name);
            let (mut values, mut present) = (Given::new(), BTreeMap::new());
            match (way, &rule.makes) {
                (Way::Asked, Makes::Samples(_)) => {
                    values = asked.given(rule, (begin, self.until)).await.with_context(of)?;
                }
                (Way::Asked, Makes::Alerts(_)) => {
                    present = asked.presence(rule, (from, self.until)).await.with_context(of)?;
                }
                (Way::Here | Way::Unneeded, _) => {}
            }
            given.push(values);
            presence.push(present);
        }
        if ways.contains(&Way::Here) {
            let wanted = replay::wanted(rules, &ways, begin, self.until);
            let stored = asked.stored(&wanted).await?;
            let span = (begin, self.until);
            let here = replay::replay(rules, &ways, (&stored, &given), span);
            let here = here.map_err(anyhow::Error::msg)?;
            for (n, present) in here.into_iter().enumerate().filter(|(n, _)| ways[*n] == Way::Here)
            {
                presence[n] = present;
            }
        }
        let mut fired = Fired::new();
        for (rule, present) in rules.iter().zip(presence) {
            let Makes::Alerts(patience) = rule.makes else { continue };
            let (from, every) = (first_step(from, rule.every), rule.every);
            let steps = Steps { from, to: self.until, every };
            let all = fired.entry(rule.name.clone()).or_default();
            all.extend(firings(&present, steps, patience));
            all.sort();
        }
        Ok(fired)
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
