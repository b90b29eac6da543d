//! Evaluating several queries over the same samples.
//!
//! Invariant: a query comes to the same in a session as alone.

use std::rc::Rc;

use base::labels::Labels;
use storage::{SelectError, Storage};

use super::context::Usage;
use super::select::Selections;
use super::{Context, EvalError, Evaluation, Options, Output, Range};
use crate::query::Query;

/// How often an evaluation begins again because samples moved to the disk meanwhile, which happens
/// every two hours.
const TRIES: usize = 3;

/// The evaluation of several queries at the same time, say the rules of a group: samples that more
/// than one of them reads are decoded once.
#[derive(Debug)]
pub struct Session<'a> {
    storage: &'a Storage,
    selections: Selections<'a>,
    range: Range,
    options: &'a Options<'a>,
    used: Rc<Usage>,
}

impl<'a> Session<'a> {
    /// A session in which each of `queries` will be evaluated. What they have in common is kept until
    /// the last one that reads it; it counts towards the limit on samples of `options`, which holds
    /// for all of the session.
    pub fn new<'q>(
        storage: &'a Storage,
        queries: impl IntoIterator<Item = &'q Query>,
        range: Range,
        options: &'a Options<'a>,
    ) -> Self {
        let selections = Selections::new(storage, queries, range, options.lookback);
        Self { storage, selections, range, options, used: Rc::default() }
    }

    /// Evaluates a query; one that was not announced, or comes once more, costs no less than alone.
    ///
    /// # Errors
    ///
    /// As [`evaluate`](super::evaluate).
    pub fn evaluate(&self, query: &Query) -> Result<Output, EvalError> {
        match self.once(query, &self.selections) {
            Err(EvalError::Storage(SelectError::Moved)) => {}
            result => return result,
        }
        let alone = || Selections::new(self.storage, [query], self.range, self.options.lookback);
        for _ in 1..TRIES {
            match self.once(query, &alone()) {
                Err(EvalError::Storage(SelectError::Moved)) => {}
                result => return result,
            }
        }
        Err(EvalError::Storage(SelectError::Moved))
    }

    /// Says that samples have been appended to the series with these labels since the session began.
    /// A query that comes later sees them.
    pub fn appended(&self, labels: &Labels) {
        self.selections.forget(labels);
    }

    /// How many samples and values its evaluations have had in memory at most, and in all.
    pub fn usage(&self) -> (usize, usize) {
        self.used.peak_and_total()
    }

    fn once(&self, query: &Query, selections: &Selections<'_>) -> Result<Output, EvalError> {
        let context = Context::over(Some(self.storage), self.options, self.range, &self.used);
        let evaluation = Evaluation { context: &context, selections, range: self.range };
        let (value, histograms) = evaluation.value(query.plan())?;
        let annotations = context.into_annotations(query.text());
        Ok(Output { value, annotations, histograms })
    }
}
