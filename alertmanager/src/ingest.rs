//! Samples that others push to us.
//!
//! Invariant: what is told as written is in the sample log; what is refused would be refused again.

use std::sync::Arc;
use std::time::Duration;

use base::histogram::Histogram;
use base::labels::Labels;
use base::own_metrics::{IntCounter, IntCounterVec, OwnMetrics};
use base::remote_write::{Hold, Received};
use base::sample::{Ended, Timestamp};
use storage::{AppendError, Appended, Beside, Exemplar, Point, SeriesRef, Storage};

use crate::news::News;

/// How far ahead of our clock a sample may be (F30).
pub(crate) const NEWEST: Duration = Duration::from_secs(600);
/// How old the newest sample of a message may be that tells of the present.
const FRESH: Duration = Duration::from_secs(2);
/// How many reasons are told, and how many bytes of each.
const MOST_TOLD: usize = 5;
const LONGEST_TOLD: usize = 2000;
/// So many samples are stored at once: others append between them, and they take a few MiB until then.
const MOST_AT_ONCE: usize = 1 << 16;

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
    /// How many samples are stored, histograms not counted.
    pub samples: usize,
    /// How many histograms are stored.
    pub histograms: usize,
    /// How many exemplars are kept.
    pub exemplars: usize,
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
    /// The log could not be written: the same may be sent again, and what of it is stored is known then.
    pub fn write<S: Hold>(
        &self,
        received: &Received<S>,
        now: Timestamp,
    ) -> Result<Written, AppendError> {
        let mut way = Way::default();
        let stored = self.store(received, now, &mut way);
        let Way { offered, appended, mut written } = way;
        // Also of what was stored before the disk failed: it is no news when it comes again.
        self.appended.inc_by(appended.stored as u64);
        // What was held up on its way is the past: what is true now comes after it (F59).
        if appended.news && offered.newest.is_some_and(|newest| newest + FRESH >= now) {
            self.news.tell();
        }
        stored?;
        // Behind the samples: whoever follows the log knows their series by then.
        let exemplars = received.exemplars.iter().map(|exemplar| {
            let (labels, value) = (exemplar.labels.clone(), exemplar.value);
            let timestamp = exemplar.timestamp;
            (exemplar.series.clone(), Exemplar { labels, value, timestamp })
        });
        written.exemplars = self.storage.append_exemplars(exemplars);
        written.histograms = appended.histograms;
        written.samples = appended.stored - appended.histograms;
        let left_out = [
            ("duplicate", appended.duplicates, "have another value for a time that is known"),
            ("out-of-order", appended.out_of_order, "are older than what is known of their series"),
        ];
        for (reason, count, why) in left_out {
            if count > 0 {
                self.refuse(&mut written, reason, count, || format!("{count} samples {why}"));
            }
        }
        Ok(written)
    }

    /// Stores samples and histograms, some at a time.
    fn store<'a, S: Hold>(
        &self,
        received: &'a Received<S>,
        now: Timestamp,
        way: &mut Way<'a>,
    ) -> Result<(), AppendError> {
        for why in &received.refused {
            self.refuse(&mut way.written, "labels", 1, || why.clone());
        }
        for why in &received.refused_histograms {
            self.refuse(&mut way.written, "histogram", 1, || why.clone());
        }
        let rows = received.series.rows();
        let known = self.storage.find_each(rows.clone().map(|row| row.labels));
        for (at, (row, known)) in rows.zip(known).enumerate() {
            let start = received.starts.get(at).copied().unwrap_or_default();
            let series = match known {
                Some(known) => Some(known),
                None => self.series(row.labels, row.samples.len(), &mut way.written)?,
            };
            let Some(series) = series else { continue };
            for sample in row.samples {
                let point = Point { series, timestamp: sample.timestamp, value: sample.value };
                if self.is_near(point, row.labels, now, &mut way.written) {
                    way.offered.push(point, row.labels, start);
                }
                if way.offered.points.len() >= MOST_AT_ONCE {
                    self.append(way)?;
                }
            }
        }
        for one in &received.natives {
            let (labels, count) = (one.labels.as_encoded(), one.histograms.len());
            let Some(series) = self.series(labels, count, &mut way.written)? else { continue };
            for (timestamp, histogram) in &one.histograms {
                let value = match histogram {
                    Some(_) => storage::histogram_value(way.offered.histograms.len()),
                    None => Ended::Gone.value(),
                };
                let point = Point { series, timestamp: *timestamp, value };
                if self.is_near(point, labels, now, &mut way.written) {
                    way.offered.histograms.extend(histogram.clone());
                    way.offered.push(point, labels, one.start);
                }
                if way.offered.points.len() >= MOST_AT_ONCE {
                    self.append(way)?;
                }
            }
        }
        self.append(way)
    }

    /// Stores what is offered, and adds what became of it; nothing is offered then.
    fn append(&self, way: &mut Way<'_>) -> Result<(), AppendError> {
        let Way { offered, appended, written } = way;
        let Offered { points, labels, .. } = &*offered;
        let unknown = add(appended, self.storage.append_with(points, offered.beside())?);
        // Series that were dropped since we asked for them.
        if !unknown.is_empty() {
            let mut again =
                Offered { histograms: offered.histograms.clone(), ..Offered::default() };
            for place in unknown {
                let Some(series) = self.series(labels[place], 1, written)? else { continue };
                let point = Point { series, ..points[place] };
                again.push(point, labels[place], offered.starts[place]);
            }
            let again = self.storage.append_with(&again.points, again.beside())?;
            appended.out_of_order += add(appended, again).len();
        }
        offered.clear();
        Ok(())
    }

    /// The series with `labels`, as [`Labels::as_encoded`] has them; none where there are too many,
    /// which is told.
    fn series(
        &self,
        labels: &str,
        samples: usize,
        written: &mut Written,
    ) -> Result<Option<SeriesRef>, AppendError> {
        let Some(labels) = Labels::from_encoded(labels) else { return Ok(None) };
        match self.storage.series(&labels) {
            Ok(series) => Ok(Some(series)),
            Err(error @ (AppendError::TooManySeries(_) | AppendError::TooManyOfJob { .. })) => {
                self.refuse(written, "too-many-series", samples, || error.to_string());
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Whether a point is not too far ahead of our clock; one that is, is told.
    fn is_near(&self, point: Point, labels: &str, now: Timestamp, written: &mut Written) -> bool {
        let near = point.timestamp <= now + NEWEST;
        if !near {
            self.refuse(written, "future", 1, || {
                let labels = Labels::from_encoded(labels).unwrap_or_default();
                format!("{} is too far ahead of our clock: {labels}", point.timestamp)
            });
        }
        near
    }

    fn refuse(
        &self,
        written: &mut Written,
        reason: &str,
        count: usize,
        why: impl FnOnce() -> String,
    ) {
        self.refused.with_label_values(&[reason]).inc_by(count as u64);
        if written.refused.len() < MOST_TOLD {
            let mut why = why();
            why.truncate(why.floor_char_boundary(LONGEST_TOLD));
            why.shrink_to_fit();
            written.refused.push(why);
        }
    }
}

/// Adds what became of more samples; returns those whose series is not known.
fn add(appended: &mut Appended, more: Appended) -> Vec<usize> {
    let Appended { stored, histograms, duplicates, out_of_order, unknown, news } = more;
    appended.stored += stored;
    appended.histograms += histograms;
    appended.duplicates += duplicates;
    appended.out_of_order += out_of_order;
    appended.news |= news;
    unknown
}

/// A message on its way into the storage.
#[derive(Default)]
struct Way<'a> {
    /// What comes next.
    offered: Offered<'a>,
    /// What became of what came before.
    appended: Appended,
    written: Written,
}

/// Points for the storage, with what they have beside their values.
#[derive(Default)]
struct Offered<'a> {
    points: Vec<Point>,
    /// The labels of their series, as [`Labels::as_encoded`] has them.
    labels: Vec<&'a str>,
    starts: Vec<i64>,
    histograms: Vec<Arc<Histogram>>,
    /// Whether any start is known.
    has_starts: bool,
    /// The newest of all that ever were offered.
    newest: Option<Timestamp>,
}

impl<'a> Offered<'a> {
    fn push(&mut self, point: Point, labels: &'a str, start: i64) {
        self.newest = self.newest.max(Some(point.timestamp));
        self.points.push(point);
        self.labels.push(labels);
        self.starts.push(start);
        self.has_starts |= start != 0;
    }

    fn clear(&mut self) {
        self.points.clear();
        self.labels.clear();
        self.starts.clear();
        self.histograms.clear();
        self.has_starts = false;
    }

    fn beside(&self) -> Beside<'_> {
        let starts = if self.has_starts { &self.starts[..] } else { &[] };
        Beside { histograms: &self.histograms, starts }
    }
}

#[cfg(test)]
mod tests {
    use base::family::MetricKind;
    use base::matcher::Matcher;
    use base::remote_write::{self, NativeSeries, Series};
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
                "there are 2 series already, the most that --max-series allows",
                "10700000 is too far ahead of our clock: a",
            ],
        );
        let matchers = [Matcher::equal("__name__", "a")];
        let found = ingest.storage.select(&matchers, Timestamp::MIN, Timestamp::MAX).unwrap();
        assert_eq!(found[0].values, [1.0, 2.0, 1.0, 1.0]);
    }

    #[test]
    fn a_large_message_is_stored_in_pieces() {
        let ingest = ingest(9);
        let sample = |n: usize| (60_000 - n as i64 / 4, n as f64);
        let samples: Vec<_> = (0..2 * MOST_AT_ONCE + 7).step_by(4).map(sample).collect();
        let names = ["a", "b", "c", "d", "e"];
        let all = names.map(|name| series(name, &samples));
        assert!(samples.len() * names.len() > 2 * MOST_AT_ONCE);
        check(&ingest, all.to_vec(), samples.len() * names.len(), &[]);
        for name in names {
            let matchers = [Matcher::equal("__name__", name)];
            let found = ingest.storage.select(&matchers, Timestamp::MIN, Timestamp::MAX).unwrap();
            assert_eq!(found[0].values.len(), samples.len());
        }
        // Reasons are few and short, however long the labels are.
        let long = "x".repeat(1 << 20);
        let ahead: Vec<_> = (0..50_000).map(|n| (-700 - n, 1.0)).collect();
        let received = Received { series: vec![series(&long, &ahead)], ..Received::default() };
        let written = ingest.write(&received, NOW).unwrap();
        assert_eq!((written.samples, written.refused.len()), (0, MOST_TOLD));
        assert!(written.refused.iter().all(|why| why.len() == LONGEST_TOLD));
    }

    #[test]
    fn native_histograms_are_stored_with_floats_and_exemplars() {
        let ingest = ingest(3);
        let labels = Labels::from_pairs([("__name__", "h")]);
        let histogram = |count: f64| {
            let positive = vec![(1, count)];
            Some(Arc::new(Histogram { count, positive, ..Histogram::default() }))
        };
        let at = |before: i64| Timestamp::from_millis(NOW.millis() - before * 1000);
        let native = NativeSeries {
            labels: labels.clone(),
            histograms: vec![(at(30), histogram(1.0)), (at(20), histogram(3.0)), (at(10), None)],
            start: 7,
        };
        let exemplar = remote_write::Exemplar {
            series: labels.clone(),
            labels: Labels::from_pairs([("trace_id", "a")]),
            value: 1.0,
            timestamp: at(20),
        };
        let received = Received {
            series: vec![series("a", &[(30, 1.0)])],
            starts: vec![5],
            natives: vec![native],
            refused_histograms: vec!["native histogram: wrong: g".to_owned()],
            exemplars: vec![exemplar],
            ..Received::default()
        };
        let written = ingest.write(&received, NOW).unwrap();
        assert_eq!((written.samples, written.histograms, written.exemplars), (2, 2, 1));
        assert_eq!(written.refused, ["native histogram: wrong: g"]);
        let matchers = [Matcher::equal("__name__", "h")];
        let found = ingest.storage.select(&matchers, Timestamp::MIN, Timestamp::MAX).unwrap();
        let counts = found[0].values.iter().map(|v| found[0].histogram(*v).map(|h| h.count));
        assert_eq!(counts.collect::<Vec<_>>(), [Some(1.0), Some(3.0), None]);
        assert_eq!(found[0].starts, [7, 7, 7]);
        assert_eq!(ingest.storage.exemplars(&[matchers.to_vec()], at(99), NOW).len(), 1);
    }
}
