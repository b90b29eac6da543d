//! Counters about our own process, and their families for `/metrics`.
//!
//! Invariant: labels of our own metrics are names from the configuration or from closed sets, never
//! what a caller or a target chose (X27).

use prometheus::proto::MetricType;
pub use prometheus::{Histogram, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec};
use prometheus::{HistogramOpts, Opts, Registry};

use crate::family::{LabelPairs, MetricFamily, MetricKind};
use crate::number;

/// A set of metrics; clones share it.
#[derive(Clone, Debug)]
pub struct OwnMetrics {
    registry: Registry,
}

impl Default for OwnMetrics {
    fn default() -> Self {
        Self::new()
    }
}

impl OwnMetrics {
    /// A set with the process's own: CPU seconds, memory, descriptors, start time.
    pub fn new() -> Self {
        let registry = Registry::new();
        let process = prometheus::process_collector::ProcessCollector::for_self();
        registry.register(Box::new(process)).expect("the set is empty");
        Self { registry }
    }

    /// A counter.
    pub fn counter(&self, name: &str, help: &str) -> IntCounter {
        self.add(IntCounter::new(name, help))
    }

    /// Counters told apart by labels.
    pub fn counters(&self, name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
        self.add(IntCounterVec::new(Opts::new(name, help), labels))
    }

    /// A gauge.
    pub fn gauge(&self, name: &str, help: &str) -> IntGauge {
        self.add(IntGauge::new(name, help))
    }

    /// Gauges told apart by labels.
    pub fn gauges(&self, name: &str, help: &str, labels: &[&str]) -> IntGaugeVec {
        self.add(IntGaugeVec::new(Opts::new(name, help), labels))
    }

    /// A histogram of seconds.
    pub fn seconds(&self, name: &str, help: &str) -> Histogram {
        self.add(Histogram::with_opts(HistogramOpts::new(name, help)))
    }

    /// Histograms of seconds told apart by labels.
    pub fn seconds_by(&self, name: &str, help: &str, labels: &[&str]) -> HistogramVec {
        self.add(HistogramVec::new(HistogramOpts::new(name, help), labels))
    }

    /// Shows a counter that was there before, too; one that is shown already stays as it is.
    pub fn adopt(&self, counter: &IntCounter) {
        let _ = self.registry.register(Box::new(counter.clone()));
    }

    /// What there is to show now.
    pub fn families(&self) -> Vec<MetricFamily> {
        self.registry.gather().iter().map(family).collect()
    }

    fn add<M: prometheus::core::Collector + Clone + 'static>(
        &self,
        metric: prometheus::Result<M>,
    ) -> M {
        let metric = metric.expect("names and labels of our own metrics are constants and valid");
        let added = self.registry.register(Box::new(metric.clone()));
        added.expect("each of our own metrics is made once");
        metric
    }
}

fn family(from: &prometheus::proto::MetricFamily) -> MetricFamily {
    let kind = match from.get_field_type() {
        MetricType::COUNTER => MetricKind::Counter,
        MetricType::GAUGE => MetricKind::Gauge,
        MetricType::HISTOGRAM => MetricKind::Histogram,
        _ => MetricKind::Unknown,
    };
    let mut family = MetricFamily::new(from.name(), from.help(), kind);
    for metric in from.get_metric() {
        let labels: LabelPairs = metric
            .get_label()
            .iter()
            .map(|pair| (pair.name().to_owned().into(), pair.value().to_owned()))
            .collect();
        match kind {
            MetricKind::Counter => family.add_pairs("", labels, metric.get_counter().get_value()),
            MetricKind::Histogram => {
                let histogram = metric.get_histogram();
                let count = histogram.get_sample_count() as f64;
                let finite = histogram
                    .get_bucket()
                    .iter()
                    .map(|b| (b.upper_bound(), b.cumulative_count() as f64))
                    .filter(|(bound, _)| bound.is_finite());
                for (bound, counted) in finite.chain([(f64::INFINITY, count)]) {
                    let mut labels = labels.clone();
                    labels.push(("le".into(), number::shortest(bound)));
                    family.add_pairs("_bucket", labels, counted);
                }
                family.add_pairs("_sum", labels.clone(), histogram.get_sample_sum());
                family.add_pairs("_count", labels, count)
            }
            _ => family.add_pairs("", labels, metric.get_gauge().get_value()),
        };
    }
    family
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exposition::{Encoding, Escaping, Format, check, encode};

    #[test]
    fn what_it_shows_is_valid_in_both_formats() {
        let metrics = OwnMetrics::new();
        metrics.counter("veilleur_things_total", "Things.").inc();
        metrics
            .seconds_by("veilleur_wait_seconds", "Waiting.", &["for"])
            .with_label_values(&["x"])
            .observe(0.2);
        for format in [Format::Text, Format::OpenMetrics] {
            let mut text = String::new();
            encode(
                &metrics.families(),
                Encoding { format, names: Escaping::Underscores },
                &mut text,
            );
            check(text.as_bytes(), format, 1 << 20).unwrap_or_else(|e| panic!("{e}\n{text}"));
            assert!(text.contains("process_resident_memory_bytes"), "{text}");
            assert!(text.contains("veilleur_things_total 1"), "{text}");
        }
    }
}
