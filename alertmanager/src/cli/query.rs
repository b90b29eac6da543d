//! `veilleur query` and `veilleur query-range`: answers of the running evaluator as tables.
//!
//! Invariant: nothing is calculated here but what is drawn; labels are printed on one line, without
//! control characters.

use std::process::ExitCode;

use base::http::percent_encoded;
use base::number;
use base::period::Period;
use base::sample::Timestamp;
use clap::Args;
use serde_json::Value;

use super::evaluator::{EvaluatorArgs, data, printable};
use super::{complain, print, runtime};
use crate::app::now;
use crate::time::{parse_time, print_time};

/// What follows `query`.
#[derive(Debug, Args)]
pub(super) struct QueryArgs {
    /// The query
    #[arg(value_name = "EXPRESSION")]
    query: String,
    /// When: RFC 3339, or seconds since the epoch [default: now]
    #[arg(long, value_name = "TIME")]
    time: Option<String>,
    /// Print the data of the answer as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    evaluator: EvaluatorArgs,
}

/// What follows `query-range`.
#[derive(Debug, Args)]
pub(super) struct RangeArgs {
    /// The query
    #[arg(value_name = "EXPRESSION")]
    query: String,
    /// How far back
    #[arg(long, value_name = "PERIOD", default_value = "1h")]
    since: Period,
    /// Until when: RFC 3339, or seconds since the epoch [default: now]
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// From one value to the next [default: a sixtieth of the time]
    #[arg(long, value_name = "PERIOD")]
    step: Option<Period>,
    /// Print the data of the answer as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    evaluator: EvaluatorArgs,
}

/// How many characters a line of values has at most.
const WIDTH: usize = 60;

/// Asks for one time, and prints the answer.
pub(super) fn query(args: &QueryArgs) -> anyhow::Result<ExitCode> {
    let mut path = format!("/api/v1/query?query={}", percent_encoded(&args.query));
    if let Some(time) = &args.time {
        path.push_str(&format!("&time={}", percent_encoded(time)));
    }
    show(&args.evaluator, &path, args.json, table)
}

/// Asks for a stretch of time, and prints a line for each series.
pub(super) fn range(args: &RangeArgs) -> anyhow::Result<ExitCode> {
    let until = match args.until.as_deref().map(parse_time).transpose() {
        Ok(until) => until.unwrap_or_else(now),
        Err(fault) => {
            complain(&format!("veilleur: --until: {fault}\n"));
            return Ok(ExitCode::from(2));
        }
    };
    let sixtieth = (args.since.millis() / WIDTH as u64).max(1000);
    let step = args.step.map_or(sixtieth, Period::millis).max(1);
    let from = until - args.since.duration();
    let path = format!(
        "/api/v1/query_range?query={}&start={}&end={}&step={}",
        percent_encoded(&args.query),
        from.seconds(),
        until.seconds(),
        step as f64 / 1000.0,
    );
    let stretch = (from, until, step);
    show(&args.evaluator, &path, args.json, |data| lines(data, stretch))
}

fn show(
    evaluator: &EvaluatorArgs,
    path: &str,
    json: bool,
    draw: impl FnOnce(&Value) -> String,
) -> anyhow::Result<ExitCode> {
    let asked = evaluator.request(base::http::Method::GET, path, None);
    let (status, answer) = runtime()?.block_on(asked)?;
    let remarks = ["warnings", "infos"].map(|name| answer[name].clone());
    let data = data((status, answer))?;
    for remark in remarks.iter().flat_map(|list| list.as_array().into_iter().flatten()) {
        complain(&format!("{}\n", printable(remark.as_str().unwrap_or(""))));
    }
    print(&if json { format!("{data:#}\n") } else { draw(&data) })?;
    Ok(ExitCode::SUCCESS)
}

/// An answer for one time.
fn table(data: &Value) -> String {
    let result = &data["result"];
    let value = |pair: &Value| printable(pair[1].as_str().unwrap_or(""));
    match data["resultType"].as_str() {
        Some("scalar" | "string") => format!("{}\n", value(result)),
        Some("matrix") => {
            let mut text = String::new();
            for series in result.as_array().into_iter().flatten() {
                text.push_str(&format!("{}\n", labels(&series["metric"])));
                for pair in samples(series) {
                    let at = Timestamp::from_seconds(pair[0].as_f64().unwrap_or(0.0));
                    text.push_str(&format!("  {}  {}\n", print_time(at), value(pair)));
                }
            }
            or_nothing(text)
        }
        _ => {
            let rows = result.as_array().into_iter().flatten().map(|one| match one.get("value") {
                Some(pair) => (labels(&one["metric"]), value(pair)),
                None => (labels(&one["metric"]), printable(&one["histogram"][1].to_string())),
            });
            aligned(&rows.collect::<Vec<_>>())
        }
    }
}

/// The values of a series of a stretch of time, histograms left out.
fn samples(series: &Value) -> impl Iterator<Item = &Value> {
    series["values"].as_array().into_iter().flatten()
}

/// Two columns.
fn aligned(rows: &[(String, String)]) -> String {
    let width = rows.iter().map(|(left, _)| left.chars().count()).max().unwrap_or(0);
    let line = |(left, right): &(String, String)| format!("{left:width$}  {right}\n");
    or_nothing(rows.iter().map(line).collect())
}

fn or_nothing(text: String) -> String {
    if text.is_empty() { "nothing matches\n".to_owned() } else { text }
}

/// `up{job="a"}`
fn labels(metric: &Value) -> String {
    let all = metric.as_object().into_iter().flatten();
    let pairs: Vec<_> = all
        .filter(|(name, _)| *name != "__name__")
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    let name = metric["__name__"].as_str().unwrap_or("");
    printable(&match pairs.is_empty() && !name.is_empty() {
        true => name.to_owned(),
        false => format!("{name}{{{}}}", pairs.join(",")),
    })
}

/// A line for each series: its course, the least, the last and the greatest value.
fn lines(data: &Value, (from, until, step): (Timestamp, Timestamp, u64)) -> String {
    let mut rows = Vec::new();
    for series in data["result"].as_array().into_iter().flatten() {
        let values: Vec<(f64, f64)> = samples(series)
            .filter_map(|pair| {
                let value = number::parse(pair[1].as_str()?)?;
                Some((pair[0].as_f64()?, value))
            })
            .collect();
        let finite = values.iter().map(|(_, value)| *value).filter(|value| value.is_finite());
        let least = finite.clone().fold(f64::INFINITY, f64::min);
        let most = finite.fold(f64::NEG_INFINITY, f64::max);
        let last = values.last().map_or(f64::NAN, |(_, value)| *value);
        let course = course(&values, (from.seconds(), until.seconds(), step), (least, most));
        let [least, last, most] = [least, last, most].map(number::shortest);
        let numbers = format!("min {least}  last {last}  max {most}");
        rows.push((labels(&series["metric"]), format!("{course}  {numbers}")));
    }
    aligned(&rows)
}

/// The course of values as blocks of eight heights; a blank where there is none.
fn course(
    values: &[(f64, f64)],
    (from, until, step): (f64, f64, u64),
    (least, most): (f64, f64),
) -> String {
    const BLOCKS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let steps = ((until - from) * 1000.0 / step as f64).floor().max(0.0) as usize + 1;
    let width = steps.min(WIDTH);
    let mut columns = vec![(0.0, 0_u32); width];
    for (at, value) in values.iter().filter(|(_, value)| value.is_finite()) {
        let place = ((at - from) * 1000.0 / step as f64).round().max(0.0) as usize;
        if let Some((sum, count)) = columns.get_mut((place * width) / steps.max(1)) {
            *sum += value;
            *count += 1;
        }
    }
    let block = |(sum, count): (f64, u32)| match count {
        0 => ' ',
        _ if most <= least => BLOCKS[3],
        _ => {
            let share = (sum / f64::from(count) - least) / (most - least);
            BLOCKS[((share * 7.0).round().clamp(0.0, 7.0)) as usize]
        }
    };
    columns.into_iter().map(block).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn answers_are_tables() {
        let vector = json!({"resultType": "vector", "result": [
            {"metric": {"__name__": "up", "job": "a"}, "value": [1, "1"]},
            {"metric": {"__name__": "longer"}, "value": [1, "+Inf"]},
            {"metric": {}, "value": [1, "3"]},
        ]});
        assert_eq!(table(&vector), "up{job=\"a\"}  1\nlonger       +Inf\n{}           3\n");
        assert_eq!(table(&json!({"resultType": "scalar", "result": [1, "2"]})), "2\n");
        assert_eq!(table(&json!({"resultType": "vector", "result": []})), "nothing matches\n");
        let matrix = json!({"resultType": "matrix", "result": [
            {"metric": {"a": "b\n"}, "values": [[0, "1"], [1.5, "2"]]}]});
        let expected = "{a=\"b\\n\"}\n  1970-01-01T00:00:00Z  1\n  1970-01-01T00:00:01.5Z  2\n";
        assert_eq!(table(&matrix), expected);
    }

    #[test]
    fn a_course_has_a_block_for_each_stretch() {
        let check = |values: &[(f64, f64)], stretch: (f64, f64, u64), expected: &str| {
            let numbers = values.iter().map(|(_, value)| *value);
            let least = numbers.clone().fold(f64::INFINITY, f64::min);
            let most = numbers.fold(f64::NEG_INFINITY, f64::max);
            assert_eq!(course(values, stretch, (least, most)), expected);
        };
        check(&[(0.0, 0.0), (1.0, 7.0), (3.0, 3.0)], (0.0, 3.0, 1000), "▁█ ▄");
        check(&[(0.0, 5.0), (1.0, 5.0)], (0.0, 1.0, 1000), "▄▄");
        check(&[], (0.0, 2.0, 1000), "   ");
        let many: Vec<_> = (0..=600).map(|n| (f64::from(n), f64::from(n))).collect();
        let drawn = course(&many, (0.0, 600.0, 1000), (0.0, 600.0));
        assert_eq!(drawn.chars().count(), WIDTH);
        assert!(drawn.starts_with('▁') && drawn.ends_with('█'), "{drawn}");
    }
}
