//! Which queries take less than handing them to another thread, and waiting for it, does.
//!
//! Invariant: what is brief looks at few series, in memory, at each of a few steps and at nothing
//! else, so its end need not be waited for by anybody but who asked.

use std::time::Duration;

use promql::ast::ExprKind;
use promql::{Query, Range};
use storage::Storage;

/// The longest text, the most selectors, the most series of each, and the most steps.
const TEXT: usize = 1024;
const SELECTORS: usize = 8;
const SERIES: u64 = 64;
const STEPS: u128 = 500;

/// The longest time that a selector reads.
const SPAN: i64 = 6 * 3600 * 1000;

/// Whether a query is brief. Waits for nobody who changes series.
pub(super) fn is_brief(query: &Query, storage: &Storage, range: Range, lookback: Duration) -> bool {
    let length = range.end().millis().abs_diff(range.start().millis());
    let steps = range.step().map_or(0, |step| u128::from(length) / step.as_millis().max(1));
    // A subquery has steps of its own.
    let over_time = |kind: &ExprKind| matches!(kind, ExprKind::Subquery(_) | ExprKind::Matrix(_));
    if query.text().len() > TEXT
        || steps > STEPS
        || query.expr().parts().any(|part| over_time(&part.kind))
    {
        return false;
    }
    let reads = query.reads();
    reads.len() <= SELECTORS
        && reads.iter().all(|reads| {
            let (from, to) = reads.span(range, lookback);
            to.millis().saturating_sub(from.millis()) <= SPAN
                && storage.finds_at_most(SERIES, reads.matchers(), from, to)
        })
}

#[cfg(test)]
mod tests {
    use base::labels::Labels;
    use base::sample::Timestamp;
    use storage::Point;

    use super::*;

    #[test]
    fn few_series_at_few_steps_are_brief() {
        let storage = Storage::in_memory(storage::Options::default());
        let timestamp = Timestamp::from_millis(1_000_000);
        for n in 0..100 {
            let labels =
                [("__name__", "x"), ("n", &n.to_string()), ("half", &(n / 50).to_string())]
                    .map(|(name, value)| (name.to_owned(), value.to_owned()));
            let series = storage.series(&Labels::from_pairs(labels)).unwrap();
            storage.append(&[Point { series, timestamp, value: 1.0 }]).unwrap();
        }
        let lookback = Duration::from_secs(300);
        let check_in = |range, text: &str, expected| {
            let query = Query::new(text).unwrap();
            assert_eq!(is_brief(&query, &storage, range, lookback), expected, "{text}");
        };
        let check = |text: &str, expected| check_in(Range::instant(timestamp), text, expected);
        check("1 + 1", true);
        check(r#"x{n="7"}"#, true);
        check(r#"{half="1"}"#, true);
        check(r#"x{half="1"}"#, true);
        check(r#"{half="1",__name__="x"}"#, true);
        check(r#"{n="nothing"}"#, true);
        check(r#"sum(x{n="7"}) / count(x{half="0"})"#, true);
        check("x", false);
        check(r#"x{half=~"1"}"#, false);
        check(r#"x{n!="7"}"#, false);
        check(r#"{half="",n="7"}"#, false);
        check(r#"x{n="7"} + sum(x)"#, false);
        check(r#"rate(x{n="7"}[5m])"#, false);
        check(r#"max_over_time(x{n="7"}[5m:1s])"#, false);
        check("max_over_time(vector(1)[1d:1s])", false);
        check(&format!("1{}", "+ 1".repeat(400)), false);
        let nine = [r#"x{n="7"}"#; 9].join(" + ");
        check(&nine, false);
        check(&[r#"x{n="7"}"#; 8].join(" + "), true);
        let hour = |step| {
            Range::new(timestamp, timestamp + Duration::from_secs(3600), Duration::from_secs(step))
        };
        check_in(hour(15), r#"x{n="7"}"#, true);
        check_in(hour(1), r#"x{n="7"}"#, false);
        let day = Range::new(timestamp, timestamp + Duration::from_secs(86_400), lookback);
        check_in(day, r#"x{n="7"}"#, false);
    }
}
