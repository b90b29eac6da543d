//! Samples that others push to us.
//!
//! Invariant: what is told as written is in the sample log; what is refused would be refused again.

use std::sync::Arc;
use std::time::Duration;

use base::own_metrics::{IntCounter, IntCounterVec, OwnMetrics};
use base::remote_write::Received;
use base::sample::Timestamp;
use storage::{AppendError, Appended, Point, SeriesRef, Storage};

use crate::news::News;

/// How far ahead of our clock a sample may be (F30).
const NEWEST: Duration = Duration::from_secs(600);
/// How old the newest sample of a message may be that tells of the present.
const FRESH: Duration = Duration::from_secs(2);
/// How many reasons are told.
const MOST_TOLD: usize = 5;

/// Takes samples in. Clones share it.
#[derive(Clone, Debug)]
pub struct Ingest {
    storage: Arc<Storage>,
    news: News,
    appended: IntCounter,
    refused: IntCounterVec,
}

/// What became of a message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// How many samples are stored.
    pub samples: usize,
    /// Why others are not; the first few reasons.
    pub refused: Vec<String>,
}

impl Ingest {
    /// Takes samples into `storage`, and tells the `news` in them; `appended` counts those that are
    /// stored.
    pub fn new(
        storage: Arc<Storage>,
        news: News,
        appended: IntCounter,
        metrics: &OwnMetrics,
    ) -> Self {
        let refused = metrics.counters(
            "veilleur_remote_write_refused_total",
            "Pushed samples and series that were not stored, by the reason.",
            &["reason"],
        );
        Self { storage, news, appended, refused }
    }

    /// Stores what `received` holds, as far as it can be. Waits for the disk.
    ///
    /// # Errors
    ///
    /// The log could not be written: nothing is stored, and the same may be sent again.
    pub fn write(&self, received: &Received, now: Timestamp) -> Result<Written, AppendError> {
        let mut written = Written::default();
        for why in &received.refused {
            self.refuse(&mut written, "labels", 1, why.clone());
        }
        if received.histograms > 0 {
            let why = format!("{} native histograms: only floats are stored", received.histograms);
            self.refuse(&mut written, "histogram", received.histograms, why);
        }
        let (mut points, mut labels) = (Vec::new(), Vec::new());
        for one in &received.series {
            let series = match self.storage.series(&one.labels) {
                Ok(series) => series,
                Err(error @ AppendError::TooManySeries(_)) => {
                    self.refuse(
                        &mut written,
                        "too-many-series",
                        one.samples.len(),
                        error.to_string(),
                    );
                    continue;
                }
                Err(error) => return Err(error),
            };
            for sample in &one.samples {
                if sample.timestamp > now + NEWEST {
                    let why = format!(
                        "{} is too far ahead of our clock: {}",
                        sample.timestamp, one.labels
                    );
                    self.refuse(&mut written, "future", 1, why);
                    continue;
                }
                points.push(Point { series, timestamp: sample.timestamp, value: sample.value });
                labels.push(&one.labels);
            }
        }
        let mut appended = self.storage.append(&points)?;
        if !appended.unknown.is_empty() {
            // Series that were dropped since we asked for them.
            let again = |place: &usize| -> Result<Point, AppendError> {
                let series: SeriesRef = self.storage.series(labels[*place])?;
                Ok(Point { series, ..points[*place] })
            };
            let again: Vec<_> = appended.unknown.iter().map(again).collect::<Result<_, _>>()?;
            let Appended { stored, duplicates, out_of_order, unknown, news } =
                self.storage.append(&again)?;
            appended.stored += stored;
            appended.duplicates += duplicates;
            appended.out_of_order += out_of_order + unknown.len();
            appended.news |= news;
        }
        self.appended.inc_by(appended.stored as u64);
        // What was held up on its way is the past: what is true now comes after it (F59).
        let newest = points.iter().map(|point| point.timestamp).max();
        if appended.news && newest.is_some_and(|newest| newest + FRESH >= now) {
            self.news.tell();
        }
        written.samples = appended.stored;
        let left_out = [
            ("duplicate", appended.duplicates, "have another value for a time that is known"),
            ("out-of-order", appended.out_of_order, "are older than what is known of their series"),
        ];
        for (reason, count, why) in left_out {
            if count > 0 {
                self.refuse(&mut written, reason, count, format!("{count} samples {why}"));
            }
        }
        Ok(written)
    }

    fn refuse(&self, written: &mut Written, reason: &str, count: usize, why: String) {
        self.refused.with_label_values(&[reason]).inc_by(count as u64);
        if written.refused.len() < MOST_TOLD {
            written.refused.push(why);
        }
    }
}

#[cfg(test)]
mod tests {
    use base::family::MetricKind;
    use base::labels::Labels;
    use base::matcher::Matcher;
    use base::remote_write::Series;
    use base::sample::Sample;
    use storage::Options;

    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(10_000_000);

    fn ingest(max_series: usize) -> Ingest {
        let storage = Storage::in_memory(Options { max_series, ..Options::default() });
        let metrics = OwnMetrics::new();
        let appended = metrics.counter("veilleur_appended_total", "x");
        Ingest::new(Arc::new(storage), News::default(), appended, &metrics)
    }

    /// One series with samples at these seconds before [`NOW`].
    fn series(name: &str, samples: &[(i64, f64)]) -> Series {
        let sample = |&(before, value): &(i64, f64)| Sample {
            timestamp: Timestamp::from_millis(NOW.millis() - before * 1000),
            value,
        };
        Series {
            labels: Labels::from_pairs([("__name__", name)]),
            samples: samples.iter().map(sample).collect(),
            kind: MetricKind::Unknown,
            help: String::new(),
            unit: String::new(),
        }
    }

    #[track_caller]
    fn check(ingest: &Ingest, series: Vec<Series>, samples: usize, refused: &[&str]) {
        let received = Received { series, ..Received::default() };
        let written = ingest.write(&received, NOW).unwrap();
        assert_eq!(
            (written.samples, written.refused),
            (samples, refused.iter().map(|&s| s.into()).collect())
        );
    }

    #[test]
    fn what_fits_is_stored_and_the_rest_is_told() {
        let ingest = ingest(2);
        check(
            &ingest,
            vec![series("a", &[(30, 1.0), (20, 2.0)]), series("b", &[(20, 3.0)])],
            3,
            &[],
        );
        // The answer was lost and the sender sends it again.
        check(&ingest, vec![series("b", &[(20, 3.0)])], 1, &[]);
        check(
            &ingest,
            vec![series("a", &[(25, 1.0), (20, 9.0), (10, 1.0)])],
            1,
            &[
                "1 samples have another value for a time that is known",
                "1 samples are older than what is known of their series",
            ],
        );
        check(
            &ingest,
            vec![series("c", &[(0, 1.0)]), series("a", &[(-700, 1.0), (0, 1.0)])],
            1,
            &[
                "there are 2 series already, the most that are allowed",
                "10700000 is too far ahead of our clock: a",
            ],
        );
        let matchers = [Matcher::equal("__name__", "a")];
        let found = ingest.storage.select(&matchers, Timestamp::MIN, Timestamp::MAX).unwrap();
        assert_eq!(found[0].values, [1.0, 2.0, 1.0, 1.0]);
    }

    #[test]
    fn native_histograms_are_told_not_dropped_in_silence() {
        let ingest = ingest(2);
        let received = Received { histograms: 3, ..Received::default() };
        let written = ingest.write(&received, NOW).unwrap();
        assert_eq!(written.refused, ["3 native histograms: only floats are stored"]);
    }
}
