//! What every part of an evaluation shares: its limits, the way to stop it, its annotations.
//!
//! Invariant: whatever holds samples or values of series has leased them, so the limit bounds the
//! memory of an evaluation at every moment.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use base::number;
use storage::{SelectError, Storage};

use super::Range;
use super::histograms::Arena;
use super::key::Naming;
use crate::annotation::{Annotation, Annotations, Severity};
use crate::fault::Span;

/// How queries are evaluated.
#[derive(Clone, Copy)]
pub struct Options<'a> {
    /// How far an instant selector looks back for a sample.
    pub lookback: Duration,
    /// From one evaluation to the next in a subquery that says nothing about it.
    pub subquery_step: Duration,
    /// The most samples and values that may be in memory at a time; each takes 16 bytes at most.
    pub max_samples: usize,
    /// What is done otherwise than by default.
    pub features: Features,
    /// Asked now and then; the evaluation ends when it says yes.
    pub cancelled: &'a (dyn Fn() -> bool + Sync),
}

/// What Prometheus does only where a feature flag asks for it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Features {
    /// Names of metrics that have to go do so at the end of the evaluation, and can be grouped by or
    /// be copied into other labels until then (`promql-delayed-name-removal`).
    pub late_names: bool,
    /// Since when a counter counts says that it began again, and where it was zero
    /// (`use-start-timestamps`).
    pub start_times: bool,
}

impl Default for Options<'_> {
    fn default() -> Self {
        Self {
            lookback: Duration::from_secs(300),
            subquery_step: Duration::from_secs(60),
            max_samples: 50_000_000,
            features: Features::default(),
            cancelled: &|| false,
        }
    }
}

impl std::fmt::Debug for Options<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Options")
            .field("lookback", &self.lookback)
            .field("subquery_step", &self.subquery_step)
            .field("max_samples", &self.max_samples)
            .field("features", &self.features)
            .finish_non_exhaustive()
    }
}

/// Why a query has no answer.
#[derive(Debug, thiserror::Error)]
pub enum EvalError {
    /// The query does not fit the series that are there, or asks for nonsense.
    #[error("{0}")]
    Query(String),
    /// The query touches more samples than it may.
    #[error("query would load more than {0} samples into memory")]
    TooManySamples(usize),
    /// The caller ended the evaluation.
    #[error("query was cancelled")]
    Cancelled,
    /// The samples could not be read.
    #[error(transparent)]
    Storage(#[from] SelectError),
}

/// How many samples and values an evaluation has in memory, has had at most, and in all.
#[derive(Debug, Default)]
pub(crate) struct Usage {
    now: Cell<usize>,
    peak: Cell<usize>,
    total: Cell<usize>,
}

impl Usage {
    fn get(&self) -> usize {
        self.now.get()
    }

    fn set(&self, now: usize) {
        self.now.set(now);
        self.peak.set(self.peak.get().max(now));
    }

    /// The most at a time, and all.
    pub(crate) fn peak_and_total(&self) -> (usize, usize) {
        (self.peak.get(), self.total.get())
    }
}

pub(crate) struct Context<'a> {
    options: &'a Options<'a>,
    used: Rc<Usage>,
    annotations: RefCell<Annotations>,
    range: Range,
    arena: Arena,
}

impl<'a> Context<'a> {
    /// As [`Context::over`], without histograms.
    #[cfg(test)]
    pub(crate) fn new(options: &'a Options<'a>, range: Range, used: &Rc<Usage>) -> Self {
        Self::over(None, options, range, used)
    }

    /// A context that shares its limit on samples with others that have the same `used`, and in which
    /// there may be the histograms of `storage`.
    pub(crate) fn over(
        storage: Option<&Storage>,
        options: &'a Options<'a>,
        range: Range,
        used: &Rc<Usage>,
    ) -> Self {
        let lease = || Lease { used: Rc::clone(used), limit: options.max_samples, amount: 0 };
        let arena = Arena::new(storage, [lease(), lease()]);
        let (used, annotations) = (Rc::clone(used), RefCell::default());
        Self { options, used, annotations, range, arena }
    }

    pub(crate) fn arena(&self) -> &Arena {
        &self.arena
    }

    pub(crate) fn into_annotations(self, text: &str) -> Vec<Annotation> {
        self.annotations.into_inner().finish(text)
    }

    /// Milliseconds that an instant selector looks back.
    pub(crate) fn lookback(&self) -> i64 {
        i64::try_from(self.options.lookback.as_millis()).unwrap_or(i64::MAX)
    }

    /// Milliseconds from step to step of a subquery.
    pub(crate) fn subquery_step(&self) -> i64 {
        i64::try_from(self.options.subquery_step.as_millis()).unwrap_or(i64::MAX)
    }

    /// What is done otherwise than by default.
    pub(crate) fn features(&self) -> Features {
        self.options.features
    }

    /// What becomes of the labels that say what a metric is where they have to go.
    pub(crate) fn without_name(&self) -> Naming {
        if self.options.features.late_names { Naming::Doomed } else { Naming::Gone }
    }

    /// Whether the query is evaluated in steps, so that the order of its series means nothing.
    pub(crate) fn has_steps(&self) -> bool {
        !self.range.is_instant()
    }

    /// What is asked whether the evaluation may go on; by other threads, too.
    pub(crate) fn cancelled(&self) -> &'a (dyn Fn() -> bool + Sync) {
        self.options.cancelled
    }

    /// Whether the evaluation may go on.
    pub(crate) fn check(&self) -> Result<(), EvalError> {
        if (self.options.cancelled)() { Err(EvalError::Cancelled) } else { Ok(()) }
    }

    /// A lease of nothing yet.
    pub(crate) fn lease(&self) -> Lease {
        Lease { used: Rc::clone(&self.used), limit: self.options.max_samples, amount: 0 }
    }

    pub(crate) fn warn(&self, span: Span, message: String) {
        self.annotations.borrow_mut().add(Severity::Warning, message, span);
    }

    pub(crate) fn inform(&self, span: Span, message: String) {
        self.annotations.borrow_mut().add(Severity::Info, message, span);
    }

    /// Warns of a quantile that is none.
    pub(crate) fn check_quantile(&self, quantile: f64, span: Span) {
        if !(0.0..=1.0).contains(&quantile) {
            let got = number::shortest(quantile);
            self.warn(span, format!("quantile value should be between 0 and 1, got {got}"));
        }
    }
}

/// A part of the samples that an evaluation may have in memory, given back when dropped.
#[derive(Debug)]
pub(crate) struct Lease {
    used: Rc<Usage>,
    limit: usize,
    amount: usize,
}

impl Lease {
    /// Asks for `amount` more.
    #[inline]
    pub(crate) fn extend(&mut self, amount: usize) -> Result<(), EvalError> {
        let used = self.used.get().saturating_add(amount);
        if used > self.limit {
            return Err(EvalError::TooManySamples(self.limit));
        }
        self.used.set(used);
        self.used.total.set(self.used.total.get().saturating_add(amount));
        self.amount += amount;
        Ok(())
    }

    /// Makes one lease of two.
    pub(crate) fn join(&mut self, mut other: Self) {
        self.amount += std::mem::take(&mut other.amount);
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.used.set(self.used.get().saturating_sub(self.amount));
    }
}
