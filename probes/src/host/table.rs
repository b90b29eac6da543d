//! Families that share their rows: one sample of each for every device, say.
//!
//! Invariant: a family that nobody added a sample to is not handed out.

use base::family::{MetricFamily, MetricKind};

/// What a family is called and means.
#[derive(Clone, Copy, Debug)]
pub(super) struct Column {
    name: &'static str,
    help: &'static str,
    kind: MetricKind,
}

impl Column {
    pub(super) const fn counter(name: &'static str, help: &'static str) -> Self {
        Self { name, help, kind: MetricKind::Counter }
    }

    pub(super) const fn gauge(name: &'static str, help: &'static str) -> Self {
        Self { name, help, kind: MetricKind::Gauge }
    }

    /// The family, without samples yet.
    pub(super) fn family(&self) -> MetricFamily {
        MetricFamily::new(self.name, self.help, self.kind)
    }

    /// The family with one sample and no labels.
    pub(super) fn with(&self, value: f64) -> MetricFamily {
        self.family().with(&[], value)
    }
}

/// Families that are filled row by row.
#[derive(Debug)]
pub(super) struct Table(Vec<MetricFamily>);

impl Table {
    pub(super) fn new(columns: &[Column]) -> Self {
        Self(columns.iter().map(Column::family).collect())
    }

    /// Adds a sample to the family of `column`.
    pub(super) fn add(&mut self, column: usize, labels: &[(&'static str, &str)], value: f64) {
        if let Some(family) = self.0.get_mut(column) {
            family.add(labels, value);
        }
    }

    /// The families that have samples.
    pub(super) fn into_families(self) -> impl Iterator<Item = MetricFamily> {
        self.0.into_iter().filter(|family| !family.samples.is_empty())
    }
}
