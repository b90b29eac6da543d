//! From families to what is sent: series with all labels, and markers for those that are gone.
//!
//! Invariant: a series that was sent and is no longer there is ended once. That we are up and who we are
//! stands together at the front: the evaluator knows by that whom to miss.

use std::collections::HashSet;

use base::family::{MetricFamily, MetricKind};
use base::labels::{Labels, LabelsBuilder, METRIC_NAME};
use base::remote_write::{Series, Version, encode};
use base::sample::{Ended, Sample, Timestamp};

use super::buffer::Record;

/// Who we are.
const INFO: &str = "veilleur_agent_info";
/// The most series of a record.
const MOST_SERIES: usize = 2000;

/// What was there at the last collection.
#[derive(Debug, Default)]
pub(super) struct Collector {
    alive: HashSet<Labels>,
}

impl Collector {
    /// What is to be sent of `families` as of `now`; every series gets those of `labels` whose
    /// names it has not.
    pub(super) fn records(
        &mut self,
        families: &[MetricFamily],
        labels: &[(String, String)],
        now: Timestamp,
    ) -> Vec<Record> {
        let mut series = Vec::new();
        let mut alive = HashSet::with_capacity(self.alive.len());
        let up = MetricFamily::gauge("up", "Whether the agent is up: it says so itself.");
        let (info, others): (Vec<_>, Vec<_>) = families.iter().partition(|f| f.name == INFO);
        for family in std::iter::once(&up.with(&[], 1.0)).chain(info).chain(others) {
            for sample in &family.samples {
                let name = format!("{}{}", family.name, sample.suffix);
                let mut builder = LabelsBuilder::default();
                builder.set(METRIC_NAME, &name);
                sample.labels.iter().for_each(|(name, value)| {
                    builder.set(name, value);
                });
                for (name, value) in labels {
                    if builder.get(name).is_none() {
                        builder.set(name, value);
                    }
                }
                let labels = builder.build();
                let timestamp = sample.timestamp.unwrap_or(now);
                // A series with times of its own just ends.
                if sample.timestamp.is_none() {
                    alive.insert(labels.clone());
                }
                let samples = vec![Sample { timestamp, value: sample.value }];
                let (help, unit) = (family.help.clone(), family.unit.clone());
                series.push(Series { labels, samples, kind: family.kind, help, unit });
            }
        }
        for labels in self.alive.difference(&alive) {
            let samples = vec![Sample { timestamp: now, value: Ended::Gone.value() }];
            let (labels, kind) = (labels.clone(), MetricKind::Unknown);
            series.push(Series { labels, samples, kind, help: String::new(), unit: String::new() });
        }
        self.alive = alive;
        let record = |series: &[Series]| Record {
            body: encode(series, Version::V2),
            samples: series.len() as u32,
        };
        series.chunks(MOST_SERIES).map(record).collect()
    }
}

#[cfg(test)]
mod tests {
    use base::remote_write::decode;
    use base::sample::is_stale;

    use super::*;

    fn collect(collector: &mut Collector, families: &[MetricFamily], now: i64) -> Vec<Series> {
        let labels =
            [("instance", "h"), ("job", "j")].map(|(name, value)| (name.into(), value.into()));
        let records = collector.records(families, &labels, Timestamp::from_millis(now));
        let decoded = |record: &Record| {
            let received = decode(&record.body, Version::V2, 1 << 30).unwrap();
            assert_eq!(received.series.len(), record.samples as usize);
            received.series
        };
        records.iter().flat_map(decoded).collect()
    }

    #[test]
    fn series_have_every_label_and_end_when_they_are_gone() {
        let mut collector = Collector::default();
        let families = [
            MetricFamily::gauge("heat", "How hot.").with(&[("room", "a"), ("job", "own")], 21.0),
            MetricFamily::gauge(INFO, "").with(&[], 1.0),
            MetricFamily::gauge("cold", "").with(&[], 1.0),
        ];
        let sent = collect(&mut collector, &families, 1000);
        let names: Vec<_> = sent.iter().map(|series| series.labels.to_string()).collect();
        assert_eq!(
            names,
            [
                "up{instance=\"h\", job=\"j\"}",
                "veilleur_agent_info{instance=\"h\", job=\"j\"}",
                "heat{instance=\"h\", job=\"own\", room=\"a\"}",
                "cold{instance=\"h\", job=\"j\"}",
            ]
        );
        assert_eq!((sent[2].kind, sent[2].help.as_str()), (MetricKind::Gauge, "How hot."));
        let sent = collect(&mut collector, &families[..2], 2000);
        assert_eq!(sent.len(), 4);
        let ended = &sent[3];
        assert_eq!(ended.labels.metric_name(), "cold");
        assert!(is_stale(ended.samples[0].value));
        assert_eq!(ended.samples[0].timestamp.millis(), 2000);
        assert_eq!(collect(&mut collector, &families[..2], 3000).len(), 3, "ended once");
    }

    #[test]
    fn many_series_are_several_records() {
        let mut family = MetricFamily::gauge("x", "");
        for number in 0..4999 {
            family.add(&[("n", &number.to_string())], 0.0);
        }
        let records = Collector::default().records(&[family], &[], Timestamp::from_millis(1));
        let samples: Vec<_> = records.iter().map(|record| record.samples).collect();
        assert_eq!(samples, [2000, 2000, 1000]);
    }
}
