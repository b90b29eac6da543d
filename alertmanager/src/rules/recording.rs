//! A rule that records the value of an expression under a name.
//!
//! Invariant: no two of the samples that it writes have the same labels.

use std::collections::{BTreeMap, HashSet};

use base::labels::{LabelsBuilder, METRIC_NAME};
use base::sample::Timestamp;
use promql::{Query, Session};

use super::alerting::Written;
use super::group::Sources;

/// A rule that records.
#[derive(Clone, Debug)]
pub(super) struct RecordingRule {
    pub(super) name: String,
    pub(super) query: Query,
    pub(super) labels: BTreeMap<String, String>,
}

impl RecordingRule {
    /// One evaluation in `session`, of data as of `at`.
    ///
    /// # Errors
    ///
    /// What went wrong; nothing is to be written.
    pub(super) fn evaluate(
        &self,
        at: Timestamp,
        limit: usize,
        (sources, session): (&Sources, &Session<'_>),
    ) -> Result<Vec<Written>, String> {
        let samples = sources.judged(&self.query, at, session)?;
        if limit > 0 && samples.len() > limit {
            return Err(format!("exceeded limit of {limit} with {} series", samples.len()));
        }
        let mut seen = HashSet::with_capacity(samples.len());
        let mut written = Vec::with_capacity(samples.len());
        for (labels, value) in samples {
            let mut builder = LabelsBuilder::from(&labels);
            builder.set(METRIC_NAME, &self.name);
            for (name, value) in &self.labels {
                builder.set(name, value);
            }
            let labels = builder.build();
            if !seen.insert(labels.clone()) {
                return Err(
                    "vector contains metrics with the same labelset after applying rule labels"
                        .to_owned(),
                );
            }
            written.push((labels, value));
        }
        Ok(written)
    }
}
