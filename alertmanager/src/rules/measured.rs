//! What an expression of a rule comes to: for each series a number or a native histogram.
//!
//! Invariant: a histogram is kept as such; no tag for one leaves an evaluation.

use std::sync::Arc;

use base::histogram::Histogram;
use base::labels::Labels;
use promql::{EvalError, Output, Value};

/// A value of a series.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Measured {
    Float(f64),
    Native(Arc<Histogram>),
}

impl Measured {
    /// The number; 0 for a histogram, as in Prometheus.
    pub(super) fn number(&self) -> f64 {
        match self {
            Self::Float(value) => *value,
            Self::Native(_) => 0.0,
        }
    }
}

/// The samples of an instant query.
///
/// # Errors
///
/// It came to something that has no samples.
pub(super) fn samples(output: Output) -> Result<Vec<(Labels, Measured)>, EvalError> {
    let measured = |value: f64| match output.histograms.get(value) {
        Some(histogram) => Measured::Native(Arc::clone(histogram)),
        None => Measured::Float(value),
    };
    match output.value {
        Value::Vector(samples) => {
            Ok(samples.into_iter().map(|(l, sample)| (l, measured(sample.value))).collect())
        }
        Value::Scalar(sample) => Ok(vec![(Labels::empty(), Measured::Float(sample.value))]),
        Value::Matrix(_) | Value::String(_) => {
            Err(EvalError::Query("rule result is not a vector or scalar".to_owned()))
        }
    }
}
