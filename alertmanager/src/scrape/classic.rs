//! Classic histograms as native ones with the same bounds (`convert_classic_histograms_to_nhcb`).
//!
//! Invariant: a histogram whose buckets do not fit together is left out; it refuses nothing else.

use std::collections::HashMap;

use base::exposition::{Entry, ParseError, SampleEntry};
use base::family::{Exemplar, MetricKind};
use base::histogram::{CUSTOM, Histogram};
use base::labels::{Labels, LabelsBuilder, METRIC_NAME};
use base::number;
use base::sample::Timestamp;

/// The histograms of one scrape, as far as they have come. Their bound is that of the body.
#[derive(Debug, Default)]
pub(super) struct Classics {
    /// The family that comes now, where it is one of histograms.
    family: Option<String>,
    found: HashMap<Labels, Classic>,
    /// In the order in which they came.
    order: Vec<Labels>,
}

/// A histogram, as far as it has come.
#[derive(Debug, Default)]
struct Classic {
    /// The upper bound of each bucket, and how many observations are at most that.
    buckets: Vec<(f64, f64)>,
    count: Option<f64>,
    sum: f64,
    timestamp: Option<Timestamp>,
    start: Option<Timestamp>,
    exemplar: Option<Exemplar>,
}

/// A histogram, made native.
pub(super) struct Converted {
    /// With the name of the family.
    pub(super) labels: Labels,
    pub(super) histogram: Histogram,
    pub(super) timestamp: Option<Timestamp>,
    pub(super) start: Option<Timestamp>,
    pub(super) exemplar: Option<Exemplar>,
}

impl Classics {
    /// Looks at what is no sample: a new family begins.
    pub(super) fn look(&mut self, entry: &Entry<'_>) {
        if let Entry::Type { name, kind } = entry {
            self.family = (*kind == MetricKind::Histogram).then(|| name.to_string());
        }
    }

    /// Takes a sample that is a part of a histogram; whether it is one.
    ///
    /// # Errors
    ///
    /// The text of the series is malformed.
    pub(super) fn take(&mut self, sample: &SampleEntry<'_>) -> Result<bool, ParseError> {
        let Some(family) = &self.family else { return Ok(false) };
        if !sample.series.starts_with(family.as_str()) && !sample.series.starts_with('{') {
            return Ok(false);
        }
        let labels = sample.labels()?;
        let part = labels.metric_name().strip_prefix(family.as_str());
        let bound = labels.get("le").and_then(number::parse);
        let part = match (part, bound) {
            (Some("_bucket"), Some(bound)) => Part::Bucket(bound),
            (Some("_count"), _) => Part::Count,
            (Some("_sum"), _) => Part::Sum,
            _ => return Ok(false),
        };
        let mut key = LabelsBuilder::from(&labels);
        if let Part::Bucket(_) = part {
            key.set("le", "");
        }
        let key = key.set(METRIC_NAME, family).build();
        if !self.found.contains_key(&key) {
            self.order.push(key.clone());
        }
        let classic = self.found.entry(key).or_default();
        match part {
            Part::Bucket(bound) => classic.buckets.push((bound, sample.value)),
            Part::Count => classic.count = Some(sample.value),
            Part::Sum => classic.sum = sample.value,
        }
        classic.timestamp = sample.timestamp.or(classic.timestamp);
        classic.start = sample.start.or(classic.start);
        if classic.exemplar.is_none() {
            classic.exemplar.clone_from(&sample.exemplar);
        }
        Ok(true)
    }

    /// All that came, in its order.
    pub(super) fn converted(self) -> impl Iterator<Item = Converted> {
        let Self { mut found, order, .. } = self;
        order.into_iter().filter_map(move |labels| {
            let mut classic = found.remove(&labels)?;
            let histogram = classic.histogram()?;
            let Classic { timestamp, start, exemplar, .. } = classic;
            Some(Converted { labels, histogram, timestamp, start, exemplar })
        })
    }
}

enum Part {
    Bucket(f64),
    Count,
    Sum,
}

impl Classic {
    /// The native histogram; nothing where the buckets do not fit together.
    fn histogram(&mut self) -> Option<Histogram> {
        self.buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
        self.buckets.dedup_by(|a, b| a.0 == b.0);
        let count = self.count.or(self.buckets.last().map(|(_, count)| *count))?;
        if self.buckets.last().is_none_or(|(bound, _)| *bound != f64::INFINITY) {
            self.buckets.push((f64::INFINITY, count));
        }
        let mut before = 0.0;
        let mut positive = Vec::new();
        for (index, (_, so_far)) in (0..).zip(&self.buckets) {
            // Also what is not a number.
            if !(*so_far >= before && *so_far <= count) {
                return None;
            }
            if *so_far > before {
                positive.push((index, so_far - before));
            }
            before = *so_far;
        }
        let bounds = self.buckets.iter().map(|(bound, _)| *bound);
        let bounds = bounds.filter(|bound| *bound != f64::INFINITY).collect();
        let sum = self.sum;
        Some(Histogram { schema: CUSTOM, count, sum, positive, bounds, ..Histogram::default() })
    }
}

#[cfg(test)]
mod tests {
    use base::exposition::{Format, Parser};

    use super::*;

    #[test]
    fn classic_histograms_become_native_ones() {
        #[track_caller]
        fn check(text: &str, expected: &[&str], passed: usize) {
            let mut classics = Classics::default();
            let mut others = 0;
            let mut parser = Parser::new(Format::Text, 1 << 20);
            let mut entry = |entry: Entry<'_>| -> Result<(), ParseError> {
                classics.look(&entry);
                if let Entry::Sample(sample) = &entry {
                    others += usize::from(!classics.take(sample)?);
                }
                Ok(())
            };
            parser.feed(text.as_bytes(), &mut entry).unwrap();
            let shown = |c: Converted| {
                let h = c.histogram;
                format!("{} {} {} {:?} {:?}", c.labels, h.count, h.sum, h.positive, h.bounds)
            };
            let got: Vec<_> = classics.converted().map(shown).collect();
            assert_eq!(got, expected, "{text}");
            assert_eq!(others, passed, "{text}");
        }
        let kind = "# TYPE h histogram\n";
        let whole = "h_bucket{a=\"b\",le=\"1\"} 2\nh_bucket{a=\"b\",le=\"+Inf\"} 5\n\
                     h_sum{a=\"b\"} 7\nh_count{a=\"b\"} 5\nh_created{a=\"b\"} 1\n";
        let native = "h{a=\"b\"} 5 7 [(0, 2.0), (1, 3.0)] [1.0]";
        check(&format!("{kind}{whole}"), &[native], 1);
        check(whole, &[], 5);
        check(&format!("{kind}# TYPE g gauge\n{whole}"), &[], 5);
        check(&format!("{kind}h_bucket{{le=\"1\"}} 2\n"), &["h 2 0 [(0, 2.0)] [1.0]"], 0);
        check(&format!("{kind}h_count 3\nh_sum 4\n"), &["h 3 4 [(0, 3.0)] []"], 0);
        // Buckets that fall, one with more than there are, one without a bound.
        check(&format!("{kind}h_bucket{{le=\"1\"}} 2\nh_bucket{{le=\"2\"}} 1\n"), &[], 0);
        check(&format!("{kind}h_bucket{{le=\"1\"}} 2\nh_count 1\n"), &[], 0);
        check(&format!("{kind}h_bucket{{le=\"x\"}} 2\n"), &[], 1);
        check(&format!("{kind}h_bucket{{le=\"1\"}} NaN\nh_count 1\n"), &[], 0);
    }
}
