//! What a backtest asks of whoever stores the history.
//!
//! Invariant: no request asks for more steps than the query API gives.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::bail;
use base::http::percent_encoded;
use base::labels::Labels;
use base::number;
use base::sample::Timestamp;
use serde_json::Value;

use super::super::evaluator::EvaluatorArgs;
use crate::backtest::replay::{Given, Stored, Tried, Wanted, mark_ends};

/// The most steps of one request, below the limit of the query API.
const STEPS: u64 = 10_000;

/// How much time of samples is asked for at once, and the least where that is too much.
const MOST: Duration = Duration::from_secs(4 * 3600);
const LEAST: Duration = Duration::from_secs(5 * 60);

/// Whoever stores the history.
pub(super) struct Asked<'a> {
    pub(super) evaluator: &'a EvaluatorArgs,
}

/// The first step behind a time: steps are multiples, so that two runs look at the same ones.
pub(super) fn first_step(from: Timestamp, every: Duration) -> Timestamp {
    let every = i64::try_from(every.as_millis()).unwrap_or(i64::MAX).max(1);
    Timestamp::from_millis((from.millis().div_euclid(every) + 1).saturating_mul(every))
}

type Span = (Timestamp, Timestamp);

impl Asked<'_> {
    /// The series of a range query, each of them for a part of the time.
    async fn range(
        &self,
        query: &str,
        every: Duration,
        (from, to): Span,
    ) -> anyhow::Result<Vec<Value>> {
        let (mut all, mut begin) = (Vec::new(), from);
        let millis = u64::try_from(every.as_millis()).unwrap_or(u64::MAX);
        while begin <= to {
            let end = (begin + Duration::from_millis(millis.saturating_mul(STEPS))).min(to);
            let path = format!(
                "/api/v1/query_range?query={}&start={}&end={}&step={}",
                percent_encoded(query),
                begin.seconds(),
                end.seconds(),
                every.as_secs_f64(),
            );
            let mut data = self.evaluator.ask(&path, None).await?;
            if let Some(series) = data["result"].as_array_mut() {
                all.append(series);
            }
            begin = begin + Duration::from_millis(millis.saturating_mul(STEPS + 1));
        }
        Ok(all)
    }

    /// At which steps the series of a rule are there, which have no name then.
    pub(super) async fn presence(
        &self,
        rule: &Tried,
        (from, to): Span,
    ) -> anyhow::Result<BTreeMap<Labels, BTreeSet<Timestamp>>> {
        let mut present: BTreeMap<Labels, BTreeSet<Timestamp>> = BTreeMap::new();
        let span = (first_step(from, rule.every) - rule.offset, to - rule.offset);
        for series in self.range(rule.query.text(), rule.every, span).await? {
            let times = ["values", "histograms"].into_iter().flat_map(|kind| pairs(&series, kind));
            let times = times.map(|(at, _)| at + rule.offset);
            present.entry(labels(&series["metric"]).without_name()).or_default().extend(times);
        }
        Ok(present)
    }

    /// What a recording rule would have recorded.
    pub(super) async fn given(&self, rule: &Tried, (from, to): Span) -> anyhow::Result<Given> {
        let mut given = Given::new();
        let span = (first_step(from, rule.every) - rule.offset, to - rule.offset);
        for series in self.range(rule.query.text(), rule.every, span).await? {
            if series["histograms"].is_array() {
                bail!(
                    "records native histograms, of which the query API does not tell enough to \
                     evaluate the rules that read them"
                );
            }
            let labels = labels(&series["metric"]);
            for (at, value) in pairs(&series, "values") {
                let values: &mut Vec<_> = given.entry(at + rule.offset).or_default();
                values.push((labels.clone(), parsed(value)?));
            }
        }
        Ok(given)
    }

    /// The samples of series, and where they ended.
    pub(super) async fn stored(&self, wanted: &[Wanted]) -> anyhow::Result<Stored> {
        let mut stored = Stored::new();
        for one in wanted {
            let mut found = self.samples(one).await?;
            if one.is_instant {
                let mut present: BTreeMap<Labels, BTreeSet<Timestamp>> = BTreeMap::new();
                let mut steps = Vec::new();
                let first = first_step(one.from, one.every);
                for series in self.range(&one.selector, one.every, (first, one.to)).await? {
                    let times = pairs(&series, "values").map(|(at, _)| at);
                    let labels = labels(&series["metric"]);
                    present.entry(labels).or_default().extend(times);
                }
                let mut step = first;
                while step <= one.to {
                    steps.push(step);
                    step = step + one.every;
                }
                mark_ends(&mut found, &present, &steps);
            }
            for (labels, samples) in found {
                stored.entry(labels).or_default().extend(samples);
            }
        }
        Ok(stored)
    }

    async fn samples(&self, wanted: &Wanted) -> anyhow::Result<Stored> {
        let mut stored = Stored::new();
        let (mut begin, mut piece) = (wanted.from - Duration::from_millis(1), MOST);
        while begin < wanted.to {
            let end = (begin + piece).min(wanted.to);
            let text = format!("{}[{}ms]", wanted.selector, end.since(begin).as_millis());
            let time = end.seconds();
            let path = format!("/api/v1/query?query={}&time={time}", percent_encoded(&text));
            let data = match self.evaluator.ask(&path, None).await {
                Ok(data) => data,
                // It may have been too much for it, or for us.
                Err(_) if piece > LEAST => {
                    piece = (piece / 4).max(LEAST);
                    continue;
                }
                Err(error) => return Err(error),
            };
            for series in data["result"].as_array().into_iter().flatten() {
                if series["histograms"].is_array() {
                    bail!(
                        "`{}` are native histograms, of which the query API does not tell enough to \
                         evaluate rules that read recorded series, too",
                        wanted.selector
                    );
                }
                let samples = stored.entry(labels(&series["metric"])).or_default();
                for (at, value) in pairs(series, "values") {
                    samples.insert(at, parsed(value)?);
                }
            }
            begin = end;
        }
        Ok(stored)
    }
}

fn labels(metric: &Value) -> Labels {
    let pairs = metric.as_object().into_iter().flatten();
    Labels::from_pairs(pairs.map(|(name, value)| (name.as_str(), value.as_str().unwrap_or(""))))
}

fn pairs<'a>(series: &'a Value, kind: &str) -> impl Iterator<Item = (Timestamp, &'a Value)> {
    let all = series[kind].as_array().into_iter().flatten();
    all.filter_map(|pair| {
        let at = (pair[0].as_f64()? * 1000.0).round() as i64;
        Some((Timestamp::from_millis(at), &pair[1]))
    })
}

fn parsed(value: &Value) -> anyhow::Result<f64> {
    match value.as_str().and_then(number::parse) {
        Some(value) => Ok(value),
        None => bail!("{value} is no number"),
    }
}
