//! What an expression may take, and when one that is under way ends although it is not done.
//!
//! Invariant: the evaluation of a rule ends soon after its time is up, or after nobody waits for it any
//! more.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use base::clock::Stopwatch;
use base::period::Period;
use promql::EvalError;
use tokio_util::sync::CancellationToken;

/// What expressions may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueryLimits {
    /// How long one may take.
    pub timeout: Duration,
    /// How many queries of people are evaluated at a time.
    pub at_a_time: usize,
    /// The most samples and values of one that may be in memory at a time.
    pub samples: usize,
}

impl Default for QueryLimits {
    fn default() -> Self {
        Self { timeout: Duration::from_secs(120), at_a_time: 4, samples: 50_000_000 }
    }
}

/// The evaluation of rules, one after the other.
#[derive(Debug)]
pub(super) struct Turn {
    begun: Mutex<Stopwatch>,
    timeout: Duration,
    stop: CancellationToken,
}

impl Turn {
    /// Each may take as long as `limits` say, and all end with `stop`.
    pub(super) fn new(limits: QueryLimits, stop: &CancellationToken) -> Self {
        let (begun, stop) = (Mutex::new(Stopwatch::start()), stop.clone());
        Self { begun, timeout: limits.timeout, stop }
    }

    /// The next one begins.
    pub(super) fn next(&self) {
        *self.begun.lock().unwrap_or_else(PoisonError::into_inner) = Stopwatch::start();
    }

    /// Whether the one that is under way is to end.
    pub(super) fn is_over(&self) -> bool {
        self.stop.is_cancelled() || self.is_late()
    }

    fn is_late(&self) -> bool {
        let begun = *self.begun.lock().unwrap_or_else(PoisonError::into_inner);
        begun.elapsed() >= self.timeout
    }

    /// Why it failed with `error`.
    pub(super) fn why(&self, error: String) -> String {
        if self.stop.is_cancelled() || !self.is_late() || error != EvalError::Cancelled.to_string()
        {
            return error;
        }
        let timeout = Period::from(self.timeout);
        format!("query timed out in expression evaluation: it may take {timeout} (--query.timeout)")
    }
}

#[cfg(test)]
mod tests {
    use base::diagnostic::Diagnostics;
    use base::labels::Labels;
    use base::sample::Timestamp;
    use storage::Point;

    use super::*;
    use crate::rules::{RuleFile, Sources};

    /// Why the rule failed, and how many alerts it made.
    fn evaluate(sources: &Sources) -> (Option<String>, usize) {
        let series = sources.storage.series(&Labels::from_pairs([("__name__", "x")])).unwrap();
        let point = Point { series, timestamp: Timestamp::from_millis(500), value: 1.0 };
        sources.storage.append(&[point]).unwrap();
        let mut diagnostics = Diagnostics::new("r.yml");
        let text = "groups: [{name: g, rules: [{alert: a, expr: sum(x) > 0}]}]";
        let file: RuleFile = base::yaml::read(text, &mut diagnostics).unwrap();
        let group = file.build("r.yml", Period::from_secs(60), &mut diagnostics).remove(0);
        let mut state = group.restore(&[], Duration::ZERO);
        let evaluation = group.evaluate(&mut state, Timestamp::from_millis(1000), sources);
        let error = group.view(&state, None).rules[0].error.clone();
        (error, evaluation.alerts.len())
    }

    #[test]
    fn an_expression_ends_when_its_time_is_up_and_when_nobody_waits() {
        assert_eq!(evaluate(&Sources::of_a_test()), (None, 1));
        let mut hurried = Sources::of_a_test();
        hurried.limits.timeout = Duration::ZERO;
        let why = "query timed out in expression evaluation: it may take 0s (--query.timeout)";
        assert_eq!(evaluate(&hurried), (Some(why.to_owned()), 0));
        let stopped = Sources::of_a_test();
        stopped.stop.cancel();
        assert_eq!(evaluate(&stopped), (Some("query was cancelled".to_owned()), 0));
        let mut small = Sources::of_a_test();
        small.limits.samples = 0;
        let why = "query would load more than 0 samples into memory";
        assert_eq!(evaluate(&small).0.unwrap(), why);
    }
}
