//! Appending: first to the log, then to the head.
//!
//! Invariant: what is in the head is in the log, so a query never shows what a crash would lose; but for
//! what [`Storage::append_anyway`] takes while the disk takes nothing.

use std::collections::{HashMap, HashSet};
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use base::histogram::{Histogram, Tag};
use base::labels::Labels;
use base::sample::Timestamp;

use crate::Storage;
use crate::chunk::{Held, TABLE, UNKNOWN};
use crate::head::{Fit, Head, NoRoom, Offer, SeriesRef};
use crate::log::{Batch, Log, Logged, More};

/// A sample of a series.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point {
    /// The series, from [`Storage::series`].
    pub series: SeriesRef,
    /// When.
    pub timestamp: Timestamp,
    /// The value, or the marker that ends the series, or a tag of [`crate::HISTOGRAMS`] whose place is
    /// that of a histogram of [`Beside`].
    pub value: f64,
}

/// What points have beside their values.
#[derive(Clone, Copy, Debug, Default)]
pub struct Beside<'a> {
    /// The histograms that tags among the values stand for.
    pub histograms: &'a [Arc<Histogram>],
    /// Since when each point counts, in milliseconds since the Unix epoch; 0 where it is not known,
    /// and nothing at all where it is known of none.
    pub starts: &'a [i64],
}

impl Beside<'_> {
    fn start(&self, at: usize) -> i64 {
        self.starts.get(at).copied().unwrap_or(UNKNOWN)
    }
}

/// The value of a point that is the histogram at `place` of [`Beside`].
pub fn histogram_value(place: usize) -> f64 {
    Tag { table: TABLE, place: place as u64 }.value()
}

/// What became of the samples of an append.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Appended {
    /// Stored, also where the same sample was there already.
    pub stored: usize,
    /// Left out: the series has another value for that time.
    pub duplicates: usize,
    /// How many of those stored are histograms.
    pub histograms: usize,
    /// Left out: before the last sample of its series by more than is allowed, or in a window that is
    /// closed.
    pub out_of_order: usize,
    /// Positions of samples whose series is no longer known; ask for the series again.
    pub unknown: Vec<usize>,
    /// A series of a watched metric got another value than it had.
    pub news: bool,
}

/// Why nothing was appended.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// There are as many series as allowed.
    #[error("there are {0} series already, the most that --max-series allows")]
    TooManySeries(usize),
    /// One job has nearly all the series that are allowed.
    #[error(
        "the job `{job}` has {has} series, and what is left of {most} is for other jobs; \
         give it fewer series or allow more by --max-series"
    )]
    TooManyOfJob {
        /// The job.
        job: String,
        /// How many it has.
        has: usize,
        /// How many all jobs may have.
        most: usize,
    },
    /// The log could not be written.
    #[error("cannot write the sample log: {0}")]
    Io(#[from] io::Error),
}

/// No segment has this number: a series that was logged there is not defined in any.
const NOWHERE: u32 = 0;
/// The most samples that only memory has, some 200 MiB: then nobody takes more of them.
const MOST_UNLOGGED: u64 = 1 << 27;

/// Who holds this appends.
#[derive(Debug)]
pub(crate) struct Writer {
    pub(crate) log: Option<Log>,
    batch: Batch,
    /// Samples that only memory has, until a head is written.
    pub(crate) unlogged: u64,
    /// Whether the log did not take what was appended last.
    pub(crate) is_failing: bool,
}

impl Writer {
    pub(crate) fn new(log: Option<Log>) -> Self {
        Self { log, batch: Batch::default(), unlogged: 0, is_failing: false }
    }
}

impl Storage {
    /// The series with `labels`; begins one where there is none.
    ///
    /// Where nine tenths of the series are there that are allowed, only jobs begin more that have less
    /// than one tenth: a job whose labels never repeat takes nothing from the others (F37).
    ///
    /// # Errors
    ///
    /// [`AppendError::TooManySeries`] and [`AppendError::TooManyOfJob`]
    pub fn series(&self, labels: &Labels) -> Result<SeriesRef, AppendError> {
        self.begin_series(labels, true)
    }

    /// The series with labels that are written as each of `sets`
    /// ([`Labels::as_encoded`]); none where there is none. Nobody appends meanwhile.
    pub fn find_each<'a>(&self, sets: impl Iterator<Item = &'a str>) -> Vec<Option<SeriesRef>> {
        let head = self.head();
        let mut before = None;
        let found = sets.map(|set| {
            let found = head.find_encoded(set, before);
            before = found.or(before);
            found
        });
        found.collect()
    }

    /// As [`Storage::series`], for the few series that we make of a job ourselves: whether it answers,
    /// what rules say of it.
    ///
    /// # Errors
    ///
    /// [`AppendError::TooManySeries`]
    pub fn own_series(&self, labels: &Labels) -> Result<SeriesRef, AppendError> {
        self.begin_series(labels, false)
    }

    fn begin_series(&self, labels: &Labels, shares: bool) -> Result<SeriesRef, AppendError> {
        if let Some(found) = self.head().find(labels) {
            return Ok(found);
        }
        let mut head = self.head_mut();
        if let Some(found) = head.find(labels) {
            return Ok(found);
        }
        let most = self.options.max_series;
        let refusal = match head.room_for(labels, most, shares) {
            Ok(()) => return Ok(head.find_or_create(labels)),
            Err(NoRoom::All) => AppendError::TooManySeries(most),
            Err(NoRoom::Job { job, has }) => AppendError::TooManyOfJob { job, has, most },
        };
        self.refused_series.fetch_add(1, Ordering::Relaxed);
        Err(refusal)
    }

    /// The labels of a series that is still known.
    pub fn labels_of(&self, series: SeriesRef) -> Option<Labels> {
        self.head().get(series).map(|found| found.labels.clone())
    }

    /// Appends samples: all that fit, or none.
    ///
    /// The samples of a series must rise in time. What it returned `Ok` for survives a crash of the
    /// process; a crash of the machine loses what came after the last [`Storage::sync`]. One write
    /// to the log and one lock of the head, however many samples there are.
    ///
    /// # Errors
    ///
    /// [`AppendError::Io`]: the log could not be written.
    pub fn append(&self, points: &[Point]) -> Result<Appended, AppendError> {
        self.append_with(points, Beside::default())
    }

    /// Appends a histogram to a series, with what its predecessor says about its beginning again.
    ///
    /// # Errors
    ///
    /// As [`Storage::append`].
    pub fn append_histogram(
        &self,
        series: SeriesRef,
        timestamp: Timestamp,
        histogram: Histogram,
    ) -> Result<Appended, AppendError> {
        let histograms = &[Arc::new(histogram)];
        let point = Point { series, timestamp, value: histogram_value(0) };
        self.append_with(&[point], Beside { histograms, starts: &[] })
    }

    /// As [`Storage::append`], with what the points have beside their values. A histogram is stored
    /// with what its predecessor says about its beginning again.
    ///
    /// # Errors
    ///
    /// As [`Storage::append`].
    pub fn append_with(
        &self,
        points: &[Point],
        beside: Beside<'_>,
    ) -> Result<Appended, AppendError> {
        self.append_while(points, beside, |_| false)
    }

    /// As [`Storage::append_with`], but where the log cannot be written the samples are in memory only:
    /// for what nobody would send again, and rules are to judge (F35). They are gone after a crash,
    /// unless the disk takes what is in memory before. Of so many that they would take some hundred
    /// MiB no more are taken until a head is written.
    ///
    /// # Errors
    ///
    /// [`AppendError::Io`]: the log could not be written for too long.
    pub fn append_anyway(
        &self,
        points: &[Point],
        beside: Beside<'_>,
    ) -> Result<Appended, AppendError> {
        self.append_while(points, beside, |unlogged| unlogged < MOST_UNLOGGED)
    }

    /// Appends, also without the log where `without` says so of how many samples it lacks.
    fn append_while(
        &self,
        points: &[Point],
        beside: Beside<'_>,
        without: impl Fn(u64) -> bool,
    ) -> Result<Appended, AppendError> {
        let mut writer = self.writer();
        let Writer { log, batch, unlogged, is_failing } = &mut *writer;
        let natives = if beside.histograms.is_empty() {
            Vec::new()
        } else {
            resolve(&self.head(), points, beside.histograms)
        };
        let held = |at: usize, value: f64| match natives.get(at) {
            Some(Some(histogram)) => Held::Native(histogram),
            // A tag without a histogram is no number.
            _ if base::histogram::is_tag(value) => Held::Float(f64::NAN),
            _ => Held::Float(value),
        };
        let offer = |at: usize, point: &Point| Offer {
            time: point.timestamp,
            held: held(at, point.value),
            start: beside.start(at),
        };
        let written: io::Result<()> = log.as_mut().map_or(Ok(()), |log| {
            let newest = points.iter().map(|point| point.timestamp).max();
            if newest.is_some_and(|newest| log.is_full(newest)) {
                log.rotate()?;
            }
            prepare(&self.head(), points, &offer, log.number(), batch);
            if !batch.samples.is_empty() {
                log.append(batch)?;
                *is_failing = false;
            }
            Ok(())
        });
        *is_failing |= written.is_err();
        // The next sample that is written tells all of its series again.
        let segment = match written {
            Ok(()) => log.as_ref().map_or(NOWHERE, Log::number),
            Err(_) if without(*unlogged) => {
                *unlogged += points.len() as u64;
                NOWHERE
            }
            Err(error) => return Err(AppendError::Io(error)),
        };
        let mut head = self.head_mut();
        let mut appended = Appended::default();
        for (position, point) in points.iter().enumerate() {
            let news = head.is_news(point.series, point.value);
            let offer = offer(position, point);
            let fit = head.push(point.series, offer, segment);
            match fit {
                Fit::Stored => appended.news |= news,
                Fit::Late | Fit::Same => {}
                Fit::Duplicate => appended.duplicates += 1,
                Fit::OutOfOrder => appended.out_of_order += 1,
                Fit::Unknown => appended.unknown.push(position),
            }
            if matches!(fit, Fit::Stored | Fit::Late | Fit::Same) {
                appended.stored += 1;
                appended.histograms += usize::from(matches!(offer.held, Held::Native(_)));
            }
        }
        Ok(appended)
    }
}

/// The histograms among `points`, each with what its predecessor says about its beginning again.
fn resolve(
    head: &Head,
    points: &[Point],
    histograms: &[Arc<Histogram>],
) -> Vec<Option<Arc<Histogram>>> {
    // What a series had last in this append, which the head does not know yet.
    let mut lasts: HashMap<SeriesRef, Option<Arc<Histogram>>> = HashMap::new();
    let mut resolve = |point: &Point| {
        let place = Tag::of(point.value).and_then(|tag| usize::try_from(tag.place).ok());
        let Some(given) = place.and_then(|place| histograms.get(place)) else {
            lasts.entry(point.series).and_modify(|last| *last = None);
            return None;
        };
        let before = match lasts.get(&point.series) {
            Some(last) => last.as_ref(),
            None => head.get(point.series).and_then(|series| series.native()),
        };
        let mut resolved = Histogram::clone(given).after(before.map(Arc::as_ref));
        // A bucket without observations, as a subtraction leaves it, is none: it is not written, and
        // the next histogram is written by what differs.
        resolved.positive.retain(|(_, count)| *count != 0.0);
        resolved.negative.retain(|(_, count)| *count != 0.0);
        let buckets = |h: &Histogram| h.positive.len() + h.negative.len();
        let same = resolved.reset == given.reset && buckets(&resolved) == buckets(given);
        let resolved = if same { Arc::clone(given) } else { Arc::new(resolved) };
        lasts.insert(point.series, Some(Arc::clone(&resolved)));
        Some(resolved)
    };
    points.iter().map(&mut resolve).collect()
}

/// Collects what the log must hold of `points`: those that fit, and definitions for those series
/// that the segment does not know yet.
fn prepare<'a>(
    head: &Head,
    points: &[Point],
    offer: &impl Fn(usize, &Point) -> Offer<'a>,
    segment: u32,
    batch: &mut Batch,
) {
    batch.clear();
    // Starts that this batch tells, for the further samples of the same series.
    let mut told: HashMap<u32, i64> = HashMap::new();
    for (at, point) in points.iter().enumerate() {
        let Offer { time, held, start } = offer(at, point);
        let Some(series) = head.get(point.series) else { continue };
        let fit = head.fit(series, time, held);
        if !matches!(fit, Fit::Stored | Fit::Late) {
            continue;
        }
        let slot = point.series.slot;
        let defined = series.logged_in == segment;
        if !defined {
            batch.definitions.push((slot, series.labels.clone()));
        }
        // The second sample of a series in one append has its predecessor in the batch, not in the
        // head; it is written whole.
        let before = series.last().filter(|_| defined).map(|(_, value)| value);
        let known = if defined { series.start() } else { UNKNOWN };
        let known = if told.is_empty() { known } else { *told.get(&slot).unwrap_or(&known) };
        let mut logged = Logged { slot, time, value: held.value(), before, more: 0 };
        let native = match held {
            Held::Float(_) => None,
            Held::Native(histogram) => {
                Some((Arc::clone(histogram), series.native().filter(|_| defined).cloned()))
            }
        };
        let late = fit == Fit::Late;
        let start = (start != known && !late).then_some(start);
        if late || start.is_some() || native.is_some() {
            told.extend(start.map(|start| (slot, start)));
            batch.more.push(More { late, start, native });
            logged.more = batch.more.len() as u32;
        }
        batch.samples.push(logged);
    }
    // A scrape's series mostly have rising slots, and then none comes twice.
    if batch.samples.is_sorted_by(|a, b| a.slot < b.slot) {
        return;
    }
    without_predecessors(batch);
}

/// Writes the further samples of a series in the same append whole.
fn without_predecessors(batch: &mut Batch) {
    let Batch { definitions, samples, more, .. } = batch;
    let mut seen = HashSet::new();
    for sample in samples {
        if seen.insert(sample.slot) {
            continue;
        }
        sample.before = None;
        let told = (sample.more as usize).checked_sub(1).and_then(|at| more.get_mut(at));
        if let Some((_, before)) = told.and_then(|told| told.native.as_mut()) {
            *before = None;
        }
    }
    seen.clear();
    definitions.retain(|(slot, _)| seen.insert(*slot));
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use base::matcher::Matcher;

    use super::*;
    use crate::Options;

    /// What a start would find if there were a crash now.
    fn open_copy(dir: &Path) -> Storage {
        let copy = tempfile::tempdir().unwrap();
        std::fs::create_dir(copy.path().join("log")).unwrap();
        for name in ["head", "log/00000001.log", "log/00000002.log", "log/00000003.log"] {
            let _ = std::fs::copy(dir.join(name), copy.path().join(name));
        }
        Storage::open(copy.path(), Options::default()).unwrap()
    }

    #[test]
    fn what_the_log_does_not_take_is_in_memory_where_that_is_wanted_f35() {
        let dir = tempfile::tempdir().unwrap();
        let open = || Storage::open(dir.path(), Options::default()).unwrap();
        let storage = open();
        let series = storage.series(&Labels::from_pairs([("__name__", "x")])).unwrap();
        let point =
            |n: i64| Point { series, timestamp: Timestamp::from_millis(n * 1000), value: n as f64 };
        let times = |storage: &Storage| {
            let all = [Matcher::equal("__name__", "x")];
            storage.select(&all, Timestamp::MIN, Timestamp::MAX).unwrap().remove(0).times
        };
        let refuse = || storage.writer().log.as_mut().unwrap().refuse();
        storage.append(&[point(1)]).unwrap();
        refuse();
        // Who would be told that it is kept is told that it is not.
        assert!(matches!(storage.append(&[point(2)]), Err(AppendError::Io(_))));
        assert_eq!(times(&storage), [1000]);
        storage.append(&[point(2)]).unwrap();
        refuse();
        assert_eq!(storage.append_anyway(&[point(3)], Beside::default()).unwrap().stored, 1);
        assert_eq!((times(&storage).len(), storage.stats().unlogged), (3, 1));
        // While the disk takes nothing, it is not asked to take all of it.
        storage.maintain(Timestamp::from_millis(3000)).unwrap();
        assert!(!dir.path().join("head").exists());
        storage.append(&[point(4)]).unwrap();
        assert_eq!((times(&storage).len(), storage.stats().unlogged), (4, 1));
        storage.sync().unwrap();
        // A crash now costs what was in memory only, and nothing behind it.
        assert_eq!(times(&open_copy(dir.path())), [1000, 2000, 4000]);
        // A head is written for it, by and by or at an orderly end, however little log there is.
        for orderly in [false, true] {
            let room = dir.path().join("head.new");
            std::fs::create_dir(&room).unwrap();
            storage.checkpoint(1 << 30);
            assert_eq!(storage.stats().unlogged, 1, "there was no room for it");
            std::fs::remove_dir(&room).unwrap();
            if orderly {
                storage.close(1 << 30).unwrap();
            } else {
                storage.maintain(Timestamp::from_millis(4000)).unwrap();
                assert_eq!(times(&open_copy(dir.path())), [1000, 2000, 3000, 4000]);
                std::fs::remove_file(dir.path().join("head")).unwrap();
                assert_eq!(storage.stats().unlogged, 0);
                storage.writer().unlogged = 1;
            }
        }
        drop(storage);
        assert_eq!(times(&open()), [1000, 2000, 3000, 4000]);
        // It has an end.
        let storage = open();
        let series = storage.series(&Labels::from_pairs([("__name__", "x")])).unwrap();
        storage.writer().unlogged = MOST_UNLOGGED;
        storage.writer().log.as_mut().unwrap().refuse();
        let late = Point { series, ..point(5) };
        assert!(storage.append_anyway(&[late], Beside::default()).is_err());
    }
}
