//! From the text of series to points, and from what is missing to markers.
//!
//! A target sends the same series again and again, as the same text. The cache knows each text's
//! series, so that labels are read once and not at every scrape.
//!
//! Invariant: a scrape that fails on the way leaves no trace but its markers.

use std::sync::Arc;

use base::exposition::{Entry, ParseError, SampleEntry};
use base::family;
use base::histogram::Histogram;
use base::labels::{Labels, LabelsBuilder, is_legacy_label_name, is_legacy_metric_name};
use base::sample::{Ended, Timestamp, without_markers};
use storage::{AppendError, Beside, Exemplar, Point, SeriesRef, Storage};

use super::classic::{Classics, Converted};
use super::config::Job;
use super::known::{Known, KnownSeries};
use super::metadata::{Describing, Metadata};
use super::outputs::Collected;
use crate::relabel::Relabel;

/// A target's own timestamps count from an hour ago to ten minutes ahead (F30).
const OLDEST: std::time::Duration = std::time::Duration::from_secs(3600);
const NEWEST: std::time::Duration = std::time::Duration::from_secs(600);

/// What an agent of ours says of itself.
const AGENT: &str = "veilleur_agent_info";

/// The series of a target by their text.
#[derive(Debug, Default)]
pub(super) struct SeriesCache {
    known: KnownSeries,
    /// Counts scrapes.
    scrape: u32,
    /// What the target says of its metrics.
    describing: Describing,
}

/// Why a scrape is refused.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refusal {
    #[error("{0}")]
    Text(#[from] ParseError),
    #[error("more than {0} samples")]
    TooManySamples(usize),
    #[error("{0} has {1} labels, more than {2}")]
    TooManyLabels(String, usize, usize),
    #[error("the label name `{0}` is longer than {1} bytes")]
    NameTooLong(String, usize),
    #[error("the value of `{0}` is longer than {1} bytes")]
    ValueTooLong(String, usize),
    #[error("a native histogram has more than {0} buckets (native_histogram_bucket_limit)")]
    TooManyBuckets(usize),
    #[error("`{0}` is no classic name, and `metric_name_validation_scheme` is `legacy`")]
    NameNotClassic(String),
    #[error("{0}")]
    Storage(#[from] AppendError),
}

/// One scrape on its way in.
pub(super) struct Incoming<'a> {
    job: &'a Job,
    target: &'a Labels,
    cache: &'a mut SeriesCache,
    now: Timestamp,
    points: Vec<Point>,
    fresh: Vec<Fresh>,
    beside: Extras,
    /// Classic histograms that become native ones.
    classics: Option<Classics>,
    pub(super) outputs: Collected,
    pub(super) counts: Counts,
    /// The target says that it is one of our agents.
    pub(super) is_agent: bool,
}

/// What a scrape has beside floats.
#[derive(Debug, Default)]
pub(super) struct Extras {
    histograms: Vec<Arc<Histogram>>,
    /// Since when the points count, as far as any is known.
    starts: Vec<i64>,
    /// By series.
    exemplars: Vec<(SeriesRef, family::Exemplar)>,
}

impl Extras {
    /// The point at `place` has this start.
    fn start(&mut self, place: usize, start: Option<Timestamp>) {
        if let Some(start) = start {
            self.starts.resize(place, 0);
            self.starts.push(start.millis());
        }
    }

    /// For [`Storage::append_with`].
    pub(super) fn beside(&self) -> Beside<'_> {
        Beside { histograms: &self.histograms, starts: &self.starts }
    }

    /// Keeps the exemplars, which are of `now` where they do not say when they were observed.
    pub(super) fn keep_exemplars(&mut self, storage: &Storage, now: Timestamp) {
        if self.exemplars.is_empty() {
            return;
        }
        let taken = std::mem::take(&mut self.exemplars);
        let exemplars = taken.into_iter().filter_map(|(series, exemplar)| {
            let labels = Labels::from_pairs(exemplar.labels);
            let timestamp = exemplar.timestamp.unwrap_or(now);
            let exemplar = Exemplar { labels, value: exemplar.value, timestamp };
            Some((storage.labels_of(series)?, exemplar))
        });
        storage.append_exemplars(exemplars.collect::<Vec<_>>());
    }
}

/// A sample beside its series.
struct About {
    /// When it was measured, where the target says so.
    at: Option<Timestamp>,
    start: Option<Timestamp>,
    exemplar: Option<family::Exemplar>,
    value: f64,
}

/// A series whose text is new.
struct Fresh {
    text: Box<str>,
    labels: Option<Labels>,
    timestamp: Timestamp,
    timed: bool,
    value: f64,
    start: Option<Timestamp>,
    exemplar: Option<family::Exemplar>,
}

/// What a scrape had.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) samples: usize,
    pub(super) kept: usize,
    pub(super) added: usize,
    /// Of a series that comes twice the first counts.
    pub(super) duplicates: usize,
    /// With a timestamp too far from ours.
    pub(super) out_of_bounds: usize,
}

impl<'a> Incoming<'a> {
    pub(super) fn begin(
        job: &'a Job,
        target: &'a Labels,
        cache: &'a mut SeriesCache,
        now: Timestamp,
    ) -> Self {
        cache.scrape = cache.scrape.wrapping_add(1);
        cache.known.rewind();
        cache.describing.begin();
        let points = Vec::with_capacity(cache.known.len() + 8);
        Self {
            job,
            target,
            cache,
            now,
            points,
            fresh: Vec::new(),
            beside: Extras::default(),
            classics: job.protocols.converts.then(Classics::default),
            outputs: Collected::default(),
            counts: Counts::default(),
            is_agent: false,
        }
    }

    /// The text of the series that comes next, if the target tells the same as the last time.
    #[inline]
    pub(super) fn expected(&self) -> Option<&[u8]> {
        // Whoever looks for histograms wants to see all texts.
        self.cache.known.expected().filter(|_| self.classics.is_none())
    }

    /// Takes a value of the series that was expected, which has nothing but that.
    #[inline]
    pub(super) fn value(&mut self, value: f64) -> Result<(), Refusal> {
        self.counts.samples += 1;
        let scrape = self.cache.scrape;
        let Some(known) = self.cache.known.take_expected() else { return Ok(()) };
        self.is_agent |= known.is_agent;
        if known.seen == scrape {
            self.counts.duplicates += 1;
            return Ok(());
        }
        (known.seen, known.timed) = (scrape, false);
        let Some(series) = known.series else { return Ok(()) };
        self.points.push(Point { series, timestamp: self.now, value });
        self.check_count()
    }

    #[inline]
    fn check_count(&self) -> Result<(), Refusal> {
        let most = self.job.limits.samples;
        if self.points.len() + self.fresh.len() > most {
            return Err(Refusal::TooManySamples(most));
        }
        Ok(())
    }

    /// Takes what the parser found.
    pub(super) fn entry(&mut self, entry: Entry<'_>) -> Result<(), Refusal> {
        match entry {
            Entry::Sample(sample) => {
                if let Some(classics) = &mut self.classics
                    && classics.take(&sample)?
                    && !self.job.protocols.keeps_classic
                {
                    return Ok(());
                }
                let value = without_markers(sample.value);
                self.sample(sample, value)
            }
            Entry::Histogram(sample, histogram) => {
                let value = self.native(histogram)?;
                self.sample(sample, value)
            }
            Entry::Output { labels, text } => {
                self.outputs.add(&labels, &text);
                Ok(())
            }
            other => {
                self.cache.describing.take(&other);
                if let Some(classics) = &mut self.classics {
                    classics.look(&other);
                }
                Ok(())
            }
        }
    }

    fn sample(&mut self, mut sample: SampleEntry<'_>, value: f64) -> Result<(), Refusal> {
        self.is_agent |= sample.series.starts_with(AGENT);
        let (at, start, exemplar) = (sample.timestamp, sample.start, sample.exemplar.take());
        let about = About { at, start, exemplar, value };
        self.add(sample.series, || sample.labels(), about)
    }

    /// Adds a sample of the series that is known by `text`; `labels` are asked for where it is new.
    fn add(
        &mut self,
        text: &str,
        labels: impl FnOnce() -> Result<Labels, ParseError>,
        about: About,
    ) -> Result<(), Refusal> {
        let About { at, start, exemplar, value } = about;
        self.counts.samples += 1;
        let timed = at.is_some() && self.job.honor_timestamps;
        let timestamp = at.filter(|_| timed).unwrap_or(self.now);
        if timestamp < self.now - OLDEST || timestamp > self.now + NEWEST {
            self.counts.out_of_bounds += 1;
            return Ok(());
        }
        match self.cache.known.get_mut(text) {
            Some(known) if known.seen == self.cache.scrape => {
                self.counts.duplicates += 1;
                return Ok(());
            }
            Some(known) => {
                (known.seen, known.timed) = (self.cache.scrape, timed);
                let Some(series) = known.series else { return Ok(()) };
                self.beside.start(self.points.len(), start);
                self.beside.exemplars.extend(exemplar.map(|exemplar| (series, exemplar)));
                self.points.push(Point { series, timestamp, value });
            }
            None => {
                let labels = self.labels(&labels()?)?;
                let text = text.into();
                let fresh = Fresh { text, labels, timestamp, timed, value, start, exemplar };
                self.fresh.push(fresh);
            }
        }
        self.check_count()
    }

    /// Puts a native histogram beside the points, as fine as it may be; the value that stands for it.
    fn native(&mut self, histogram: Histogram) -> Result<f64, Refusal> {
        let resolution = self.job.limits.resolution;
        let fitting = resolution.fitting(histogram);
        let histogram = fitting.ok_or(Refusal::TooManyBuckets(resolution.buckets()))?;
        self.beside.histograms.push(Arc::new(histogram));
        Ok(storage::histogram_value(self.beside.histograms.len() - 1))
    }

    /// Adds the classic histograms that were taken, as native ones.
    fn add_converted(&mut self) -> Result<(), Refusal> {
        let Some(classics) = self.classics.take() else { return Ok(()) };
        for Converted { labels, histogram, timestamp: at, start, exemplar } in classics.converted()
        {
            let value = self.native(histogram)?;
            // No series of a text begins so.
            let text = format!("\u{1}{labels}");
            self.add(&text, || Ok(labels), About { at, start, exemplar, value })?;
        }
        Ok(())
    }

    /// The labels under which a sample is stored; `None` where relabelling drops it.
    fn labels(&self, own: &Labels) -> Result<Option<Labels>, Refusal> {
        let mut labels = LabelsBuilder::from(own);
        for (name, value) in self.target {
            match labels.get(name).map(str::to_owned) {
                Some(_) if self.job.config.honor_labels => {}
                Some(theirs) => {
                    // What the target says of itself stays visible, under another name (X12).
                    let mut other = format!("exported_{name}");
                    while labels.get(&other).is_some() || self.target.get(&other).is_some() {
                        other.insert_str(0, "exported_");
                    }
                    labels.set(&other, &theirs).set(name, value);
                }
                None => {
                    labels.set(name, value);
                }
            }
        }
        if !Relabel::run(&self.job.metric_relabel, &mut labels) {
            return Ok(None);
        }
        let labels = labels.build();
        if labels.metric_name().is_empty() {
            return Ok(None);
        }
        if self.job.protocols.classic_names {
            let metric =
                (!is_legacy_metric_name(labels.metric_name())).then(|| labels.metric_name());
            let mut names = labels.iter().map(|(name, _)| name);
            if let Some(name) = metric.or_else(|| names.find(|name| !is_legacy_label_name(name))) {
                return Err(Refusal::NameNotClassic(name.to_owned()));
            }
        }
        let limits = &self.job.limits;
        let count = labels.len();
        if count > limits.labels {
            let name = labels.metric_name().to_owned();
            return Err(Refusal::TooManyLabels(name, count, limits.labels));
        }
        for (name, value) in &labels {
            if name.len() > limits.name_length {
                return Err(Refusal::NameTooLong(name.to_owned(), limits.name_length));
            }
            if value.len() > limits.value_length {
                return Err(Refusal::ValueTooLong(name.to_owned(), limits.value_length));
            }
        }
        Ok(Some(labels))
    }

    /// The points of a scrape that came in whole, with the markers of what is gone; from here on
    /// the new series are known.
    pub(super) fn finish(
        mut self,
        storage: &Storage,
    ) -> Result<(Vec<Point>, Extras, Collected, Counts), Refusal> {
        self.add_converted()?;
        for fresh in std::mem::take(&mut self.fresh) {
            let series = fresh.labels.map(|labels| storage.series(&labels)).transpose()?;
            let is_agent = fresh.text.starts_with(AGENT);
            let known = Known { series, seen: self.cache.scrape, timed: fresh.timed, is_agent };
            if !self.cache.known.add(&fresh.text, known) {
                self.counts.duplicates += 1;
                continue;
            }
            if let Some(series) = series {
                self.counts.added += 1;
                let (timestamp, value) = (fresh.timestamp, fresh.value);
                self.beside.start(self.points.len(), fresh.start);
                self.beside.exemplars.extend(fresh.exemplar.map(|exemplar| (series, exemplar)));
                self.points.push(Point { series, timestamp, value });
            }
        }
        self.counts.kept = self.points.len();
        let scrape = self.cache.scrape;
        let now = self.now;
        let points = &mut self.points;
        self.cache.known.retain(|known| {
            if known.seen == scrape {
                return true;
            }
            points.extend(known.marker(Ended::Gone, now));
            false
        });
        self.cache.known.settle();
        Ok((self.points, self.beside, self.outputs, self.counts))
    }
}

impl Known {
    fn marker(&self, end: Ended, timestamp: Timestamp) -> Option<Point> {
        let series = self.series.filter(|_| !self.timed)?;
        Some(Point { series, timestamp, value: end.value() })
    }
}

impl SeriesCache {
    /// Ends every series of the target; the next scrape begins anew.
    pub(super) fn end_all(&mut self, end: Ended, timestamp: Timestamp) -> Vec<Point> {
        self.known.drain().filter_map(|known| known.marker(end, timestamp)).collect()
    }

    /// What the target says of its metrics after a scrape that succeeded; nothing where that is as
    /// before.
    pub(super) fn described(&mut self) -> Option<Arc<Metadata>> {
        self.describing.changed()
    }

    /// Forgets series that the storage no longer knows.
    pub(super) fn forget(&mut self, gone: &[SeriesRef]) {
        self.known.retain(|known| known.series.is_none_or(|series| !gone.contains(&series)));
    }
}
