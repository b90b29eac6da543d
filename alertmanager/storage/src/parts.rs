//! Series that a query reads: found once, then read piece by piece, also by several threads.
//!
//! ```text
//! head   ──index──▶ slots ───┐
//! blocks ──index──▶ numbers ─┴─ by labels ─▶ series 0, 1, 2, ...
//!                                                 │
//!             each of them: its blocks, then the head, into the same columns; handed out
//! ```
//!
//! Invariant: no more than one series is decoded at a time; what is read is what there was when the
//! series were found, but for what came late.

use std::ops::Range;
use std::sync::RwLockReadGuard;

use base::labels::Labels;
use base::matcher::Matcher;
use base::sample::Timestamp;
use roaring::RoaringBitmap;

use crate::block::Look;
use crate::chunk::{Columns, Span};
use crate::found::{InHead, OnDisk, Places, on_disk};
use crate::head::{Head, HeadSeries};
use crate::{SelectError, SeriesColumns, Storage};

/// So many series are handed out under one lock.
const BATCH: usize = 4096;

/// The series that some matchers accept, to be handed out piece by piece.
#[derive(Debug)]
pub struct Parts<'s> {
    storage: &'s Storage,
    /// What is to be read of the head.
    span: Span,
    found: Found,
    moved: u64,
}

#[derive(Debug)]
enum Found {
    InMemory(Vec<InHead>),
    OnDisk(OnDisk),
}

impl Parts<'_> {
    /// How many series there are, those without a sample in the range included.
    pub fn len(&self) -> usize {
        match &self.found {
            Found::InMemory(series) => series.len(),
            Found::OnDisk(OnDisk { series, .. }) => series.len(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// About how many samples there are to read: in memory as if all series were like one of them.
    pub fn samples(&self) -> usize {
        match &self.found {
            Found::OnDisk(OnDisk { samples, .. }) => *samples,
            Found::InMemory(series) => {
                let middle = series.len() / 2;
                let mut one = 0;
                let count = |series: SeriesColumns<'_>| {
                    one = series.times.len();
                    Ok::<_, SelectError>(())
                };
                // Who reads them all is told of a fault.
                let _ = self.reader().read(middle..(middle + 1).min(series.len()), count);
                one.saturating_mul(series.len())
            }
        }
    }

    /// Begins to read, in one thread of maybe several.
    pub fn reader(&self) -> Reader<'_> {
        Reader { parts: self, looks: Vec::new(), columns: Columns::default() }
    }
}

/// Reads series, mostly in their order.
#[derive(Debug)]
pub struct Reader<'p> {
    parts: &'p Parts<'p>,
    /// One for each block.
    looks: Vec<Look<'p>>,
    columns: Columns,
}

impl Reader<'_> {
    /// Hands some of the series to `each`, as [`Storage::scan`] does.
    ///
    /// # Errors
    ///
    /// As [`Storage::scan`].
    pub fn read<E: From<SelectError>>(
        &mut self,
        part: Range<usize>,
        mut each: impl FnMut(SeriesColumns<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let Parts { storage, span, found, moved } = self.parts;
        match found {
            Found::InMemory(series) => {
                for batch in series.get(part).unwrap_or_default().chunks(BATCH) {
                    let head = storage.head_of(*moved)?;
                    for InHead { slot, last } in batch {
                        let Some(series) = head.in_slot(*slot) else { continue };
                        let span = Span { to: span.to.min(*last), ..*span };
                        hand_out(series, span, &mut self.columns, &mut each)?;
                    }
                }
            }
            Found::OnDisk(on_disk) => {
                if self.looks.is_empty() {
                    let looks = on_disk.older.blocks.iter().map(|block| block.look());
                    self.looks = looks.collect::<Result<_, _>>().map_err(SelectError::from)?;
                }
                for (labels, places) in on_disk.series.get(part).unwrap_or_default() {
                    self.put_together(on_disk.older.span, places)?;
                    if !self.columns.times.is_empty() {
                        each(columns_of(labels, &self.columns))?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Reads all samples of a series. The head is not locked while a disk is read.
    fn put_together(&mut self, span: Span, places: &Places) -> Result<(), SelectError> {
        self.columns.clear();
        for (block, number) in &places.blocks {
            if let Some(look) = self.looks.get(*block as usize) {
                look.read(*number, span, &mut self.columns)?;
            }
        }
        if let Some(InHead { slot, last }) = places.head {
            let head = self.parts.storage.head_of(self.parts.moved)?;
            if let Some(series) = head.in_slot(slot) {
                let span = self.parts.span;
                series.read(Span { to: span.to.min(last), ..span }, &mut self.columns);
            }
        }
        Ok(())
    }
}

impl Storage {
    /// The head, if nothing has been moved from it to the disk since.
    fn head_of(&self, moved: u64) -> Result<RwLockReadGuard<'_, Head>, SelectError> {
        let head = self.head();
        if head.moved == moved { Ok(head) } else { Err(SelectError::Moved) }
    }

    /// The series that all `matchers` accept which may have samples from `from` to `to`, both included.
    /// Where there are series on the disk, `go_on` is told from time to time how many more bytes those take
    /// that were found, until the end, and asked whether they are still wanted.
    ///
    /// # Errors
    ///
    /// What `go_on` says; and [`SelectError`].
    pub fn parts<E: From<SelectError>>(
        &self,
        matchers: &[Matcher],
        from: Timestamp,
        to: Timestamp,
        go_on: impl FnMut(usize) -> Result<(), E>,
    ) -> Result<Parts<'_>, E> {
        let head = self.head();
        let parts = match self.places(&head, from, to) {
            (span, None) => self.parts_of(&head, span, &head.find_all(matchers)),
            (span, Some(older)) => {
                let slots = head.find_all(matchers);
                let own = slots.iter().filter_map(|slot| {
                    let (series, last) = (head.in_slot(slot)?, last(&head, slot)?);
                    (last >= span.from)
                        .then(|| (series.labels.clone(), Some(InHead { slot, last })))
                });
                let own: Vec<_> = own.collect();
                let moved = head.moved;
                drop(head);
                let found = Found::OnDisk(on_disk(older, matchers, own, go_on)?);
                Parts { storage: self, span, found, moved }
            }
        };
        Ok(parts)
    }

    /// Hands the samples from `from` to `to`, both included, of every series that all `matchers`
    /// accept to `each`, in no particular order. Series without a sample in the range are left out.
    /// `go_on` is told of series of the disk before the first is handed out, as in [`Storage::parts`].
    ///
    /// `each` may be called while the head is locked, and must not ask the storage for anything.
    ///
    /// # Errors
    ///
    /// What `each` or `go_on` says, which ends the scan; and [`SelectError`].
    pub fn scan<E: From<SelectError>>(
        &self,
        matchers: &[Matcher],
        from: Timestamp,
        to: Timestamp,
        go_on: impl FnMut(usize) -> Result<(), E>,
        mut each: impl FnMut(SeriesColumns<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let head = self.head();
        if let (span, None) = self.places(&head, from, to) {
            let found = head.find_all(matchers);
            if found.len() <= BATCH as u64 {
                let mut columns = Columns::default();
                let mut series = found.iter().filter_map(|slot| head.in_slot(slot));
                return series
                    .try_for_each(|series| hand_out(series, span, &mut columns, &mut each));
            }
            let parts = self.parts_of(&head, span, &found);
            drop(head);
            return parts.reader().read(0..parts.len(), each);
        }
        drop(head);
        let parts = self.parts(matchers, from, to, go_on)?;
        parts.reader().read(0..parts.len(), each)
    }

    fn parts_of(&self, head: &Head, span: Span, found: &RoaringBitmap) -> Parts<'_> {
        let own = found.iter().filter_map(|slot| Some(InHead { slot, last: last(head, slot)? }));
        let found = Found::InMemory(own.collect());
        Parts { storage: self, span, found, moved: head.moved }
    }
}

fn last(head: &Head, slot: u32) -> Option<i64> {
    Some(head.in_slot(slot)?.last()?.0.millis())
}

fn columns_of<'a>(labels: &'a Labels, columns: &'a Columns) -> SeriesColumns<'a> {
    let Columns { times, values, histograms, starts } = columns;
    SeriesColumns { labels, times, values, histograms, starts }
}

fn hand_out<E>(
    series: &HeadSeries,
    span: Span,
    columns: &mut Columns,
    each: &mut impl FnMut(SeriesColumns<'_>) -> Result<(), E>,
) -> Result<(), E> {
    columns.clear();
    series.read(span, columns);
    if columns.times.is_empty() { Ok(()) } else { each(columns_of(&series.labels, columns)) }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use base::labels::Labels;

    use super::*;
    use crate::{Options, Point};

    fn point(storage: &Storage, n: usize, time: i64) -> Point {
        let labels = Labels::from_pairs([("__name__", "x"), ("n", &n.to_string())]);
        let series = storage.series(&labels).unwrap();
        Point { series, timestamp: Timestamp::from_millis(time), value: n as f64 }
    }

    /// As many series as take several batches, with two samples each.
    fn filled() -> Storage {
        let storage = Storage::in_memory(Options::default());
        for time in [1000, 2000] {
            let points: Vec<_> = (0..2 * BATCH + 5).map(|n| point(&storage, n, time)).collect();
            storage.append(&points).unwrap();
        }
        storage
    }

    /// As many samples as lie in several blocks and the head; every third series has begun late, every
    /// fifth has ended early.
    fn several_blocks(folder: &std::path::Path) -> (Storage, Timestamp) {
        let storage = Storage::open(folder, Options::default()).unwrap();
        let hours = 0..12;
        for minute in (0..60 * hours.end).step_by(10) {
            let lives = |n: &usize| match (n % 3, n % 5) {
                (0, _) => minute >= 400,
                (_, 0) => minute < 400,
                _ => true,
            };
            let points: Vec<_> =
                (0..300).filter(lives).map(|n| point(&storage, n, minute * 60_000)).collect();
            storage.append(&points).unwrap();
        }
        let now = Timestamp::from_millis(hours.end * 3_600_000);
        storage.maintain(now).unwrap();
        assert!(storage.stats().blocks > 2);
        (storage, now)
    }

    type Row = (Labels, Vec<i64>, Vec<f64>);

    fn row(series: SeriesColumns<'_>) -> Row {
        (series.labels.clone(), series.times.to_vec(), series.values.to_vec())
    }

    #[test]
    fn pieces_of_what_is_on_the_disk_are_the_whole() {
        let folder = tempfile::tempdir().unwrap();
        let (storage, now) = several_blocks(folder.path());
        let (x, begin) = ([Matcher::equal("__name__", "x")], Timestamp::from_millis(0));
        let all = storage.select(&x, begin, now).unwrap();
        assert_eq!(all.len(), 300);
        let samples = |n: &str| {
            let found = all.iter().find(|series| series.labels.get("n") == Some(n)).unwrap();
            assert!(found.times.is_sorted() && found.values.len() == found.times.len());
            found.times.len()
        };
        assert_eq!([samples("1"), samples("3"), samples("5")], [72, 32, 40]);
        let parts = storage.parts(&x, begin, now, |_| Ok::<_, SelectError>(())).unwrap();
        assert!(parts.samples() > 10_000, "{}", parts.samples());
        let (mut first, mut second, mut rows) = (parts.reader(), parts.reader(), Vec::new());
        for (n, begin) in (0..parts.len()).step_by(7).enumerate() {
            let reader = if n % 2 == 0 { &mut first } else { &mut second };
            let part = begin..(begin + 7).min(parts.len());
            let read = reader.read(part, |series| {
                rows.push(row(series));
                Ok::<_, SelectError>(())
            });
            read.unwrap();
        }
        let expected: Vec<Row> = all.iter().map(|series| row(series.as_columns())).collect();
        assert_eq!(rows, expected);
        let labels =
            storage.labels_between(&x, begin, Timestamp::from_millis(300 * 60_000)).unwrap();
        assert_eq!(labels.len(), 200);
    }

    #[test]
    fn what_goes_to_the_disk_meanwhile_is_told_and_read_anew() {
        let folder = tempfile::tempdir().unwrap();
        let (storage, now) = several_blocks(folder.path());
        let (x, begin) = ([Matcher::equal("__name__", "x")], Timestamp::from_millis(0));
        let parts = storage.parts(&x, begin, now, |_| Ok::<_, SelectError>(())).unwrap();
        let later = now + Duration::from_secs(12 * 3600);
        storage.append(&[point(&storage, 1, later.millis())]).unwrap();
        storage.maintain(later).unwrap();
        let read = parts.reader().read(0..parts.len(), |_| Ok::<_, SelectError>(()));
        assert!(matches!(read, Err(SelectError::Moved)), "{read:?}");
        assert_eq!(storage.select(&x, begin, now).unwrap().len(), 300);
    }

    #[test]
    fn who_no_longer_wants_to_know_ends_the_search() {
        let folder = tempfile::tempdir().unwrap();
        let (storage, now) = several_blocks(folder.path());
        let stop = |_| Err(SelectError::Unreadable("enough".to_owned()));
        let found = storage.parts(&[], Timestamp::from_millis(0), now, stop);
        assert_eq!(found.unwrap_err().to_string(), "cannot read samples: enough");
    }

    #[test]
    fn what_is_appended_meanwhile_is_not_seen() {
        let storage = filled();
        let newer: Vec<_> = (0..2 * BATCH + 5).map(|n| point(&storage, n, 3000)).collect();
        let at = Timestamp::from_millis;
        let count = || {
            let (mut series, mut samples) = (0, 0);
            let begun = std::sync::Barrier::new(2);
            std::thread::scope(|scope| {
                // Gets the lock behind the first batch.
                scope.spawn(|| {
                    begun.wait();
                    storage.append(&newer).unwrap();
                });
                let x = [Matcher::equal("__name__", "x")];
                let scanned = storage.scan(
                    &x,
                    at(0),
                    at(9000),
                    |_| Ok(()),
                    |found| {
                        if series == 0 {
                            begun.wait();
                        }
                        series += 1;
                        samples += found.times.len();
                        Ok::<_, SelectError>(())
                    },
                );
                scanned.unwrap();
            });
            (series, samples)
        };
        assert_eq!(count(), (2 * BATCH + 5, 4 * BATCH + 10));
        assert_eq!(count(), (2 * BATCH + 5, 6 * BATCH + 15));
    }
}
