//! Converts classic histograms to native ones with custom buckets, as `load_with_nhcb` asks for.

use std::collections::BTreeMap;

use base::histogram::{CUSTOM, Histogram};
use base::labels::Labels;
use base::number;
use promql::series_notation::Point;

/// What the series of one classic histogram say at one time.
#[derive(Default)]
struct Parts {
    count: Option<f64>,
    sum: f64,
    /// Bounds with cumulative counts.
    buckets: Vec<(f64, f64)>,
}

/// The series of native histograms: for each the labels, and samples by their position.
pub(crate) fn converted(series: &[(&Labels, &[Point])]) -> Vec<(Labels, Vec<(usize, Histogram)>)> {
    let mut all: BTreeMap<Labels, BTreeMap<usize, Parts>> = BTreeMap::new();
    for (labels, points) in series {
        let name = labels.metric_name();
        let (suffix, base) = if let Some(base) = name.strip_suffix("_bucket") {
            ("bucket", base)
        } else if let Some(base) = name.strip_suffix("_count") {
            ("count", base)
        } else if let Some(base) = name.strip_suffix("_sum") {
            ("sum", base)
        } else {
            continue;
        };
        let bound = labels.get("le").and_then(number::parse);
        if suffix == "bucket" && bound.is_none() {
            continue;
        }
        let times = all.entry(labels.with("__name__", base).with("le", "")).or_default();
        for (n, point) in points.iter().enumerate() {
            let Point::Float(value) = point else { continue };
            let parts = times.entry(n).or_default();
            match (suffix, bound) {
                ("bucket", Some(bound)) => parts.buckets.push((bound, *value)),
                ("count", _) => parts.count = Some(*value),
                _ => parts.sum = *value,
            }
        }
    }
    all.into_iter()
        .map(|(labels, times)| {
            let native = times.into_iter().map(|(n, parts)| (n, parts.native())).collect();
            (labels, native)
        })
        .collect()
}

impl Parts {
    fn native(mut self) -> Histogram {
        self.buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
        let last = self.buckets.last().map_or(0.0, |bucket| bucket.1);
        let count = self.count.unwrap_or(last);
        let has_end = self.buckets.last().is_some_and(|bucket| bucket.0 == f64::INFINITY);
        if !has_end {
            self.buckets.push((f64::INFINITY, count));
        }
        let below = std::iter::once(0.0).chain(self.buckets.iter().map(|bucket| bucket.1));
        let counts = self.buckets.iter().zip(below).map(|(bucket, below)| bucket.1 - below);
        let positive = (0..).zip(counts).filter(|(_, count)| *count != 0.0).collect();
        let bounds = self.buckets.iter().map(|bucket| bucket.0);
        let bounds = bounds.filter(|bound| bound.is_finite()).collect();
        Histogram { schema: CUSTOM, count, sum: self.sum, positive, bounds, ..Histogram::default() }
    }
}
