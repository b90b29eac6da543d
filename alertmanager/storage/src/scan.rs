//! Handing out many series one after the other, their samples decoded into the same columns.
//!
//! ```text
//! matchers ──index──▶ series ──▶ a few thousand at a time: lock, decode, hand out, unlock
//! ```
//!
//! Invariant: what is handed out is what there was when the scan began, but for what came late; the lock of the head is never
//! held for longer than one batch takes.

use std::ops::Range;
use std::sync::Arc;

use base::matcher::Matcher;
use base::sample::Timestamp;
use roaring::RoaringBitmap;

use crate::block::Block;
use crate::chunk::{Columns, Span};
use crate::head::{Head, HeadSeries};
use crate::{SelectError, SeriesColumns, Storage};

/// So many series are handed out under one lock.
const BATCH: usize = 4096;

/// Series whose samples are in memory, to be handed out piece by piece, also by several threads.
#[derive(Debug)]
pub struct Parts<'s> {
    storage: &'s Storage,
    span: Span,
    /// The slots of the series, and when each had its last sample as the scan began: what comes later
    /// is not part of the answer.
    lasts: Vec<(u32, i64)>,
    moved: u64,
}

impl Parts<'_> {
    /// How many series there are, those without a sample in the range included.
    pub fn len(&self) -> usize {
        self.lasts.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.lasts.is_empty()
    }

    /// Hands some of the series to `each`, as [`Storage::scan`] does.
    ///
    /// # Errors
    ///
    /// As [`Storage::scan`].
    pub fn scan<E: From<SelectError>>(
        &self,
        part: Range<usize>,
        mut each: impl FnMut(SeriesColumns<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut columns = Columns::default();
        for batch in self.lasts.get(part).unwrap_or_default().chunks(BATCH) {
            let head = self.storage.head();
            if head.moved != self.moved {
                return Err(SelectError::Moved.into());
            }
            for (slot, last) in batch {
                let Some(series) = head.in_slot(*slot) else { continue };
                let span = Span { to: self.span.to.min(*last), ..self.span };
                hand_out(series, span, &mut columns, &mut each)?;
            }
        }
        Ok(())
    }
}

impl Storage {
    /// Hands the samples from `from` to `to`, both included, of every series that all `matchers`
    /// accept to `each`, in no particular order. Series without a sample in the range are left out.
    ///
    /// `each` is called while the head is locked, and must not ask the storage for anything.
    ///
    /// # Errors
    ///
    /// What `each` says, which ends the scan; and [`SelectError`].
    pub fn scan<E: From<SelectError>>(
        &self,
        matchers: &[Matcher],
        from: Timestamp,
        to: Timestamp,
        mut each: impl FnMut(SeriesColumns<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let head = self.head();
        let Some(span) = self.span_of(&head, from, to) else {
            drop(head);
            for series in self.select(matchers, from, to)? {
                each(series.as_columns())?;
            }
            return Ok(());
        };
        let found = head.find_all(matchers);
        if found.len() <= BATCH as u64 {
            let mut columns = Columns::default();
            let mut series = found.iter().filter_map(|slot| head.in_slot(slot));
            return series.try_for_each(|series| hand_out(series, span, &mut columns, &mut each));
        }
        let parts = self.parts_of(&head, span, &found);
        drop(head);
        parts.scan(0..parts.len(), each)
    }

    /// The series that [`Storage::scan`] would hand out, in its order; none where samples on the disk
    /// have to be read, too.
    pub fn parts(&self, matchers: &[Matcher], from: Timestamp, to: Timestamp) -> Option<Parts<'_>> {
        let head = self.head();
        let span = self.span_of(&head, from, to)?;
        Some(self.parts_of(&head, span, &head.find_all(matchers)))
    }

    /// Whether [`Storage::scan`] would hand out at most about so many series, and nothing of the disk;
    /// `false` also where that is not told at once.
    pub fn finds_at_most(
        &self,
        most: u64,
        matchers: &[Matcher],
        from: Timestamp,
        to: Timestamp,
    ) -> bool {
        let Ok(head) = self.head.try_read() else { return false };
        head.finds_at_most(most, matchers) && self.span_of(&head, from, to).is_some()
    }

    /// What is to be read of the head, if that is all.
    fn span_of(&self, head: &Head, from: Timestamp, to: Timestamp) -> Option<Span> {
        let begins = head.min_time.unwrap_or(Timestamp::MIN);
        let older = |block: &Arc<Block>| {
            block.max_time() >= from && block.min_time() <= to && block.min_time() < begins
        };
        let is_in_memory = !self.blocks().iter().any(older);
        is_in_memory.then(|| Span { from: from.max(begins).millis(), to: to.millis() })
    }

    fn parts_of(&self, head: &Head, span: Span, found: &RoaringBitmap) -> Parts<'_> {
        let lasts = found.iter().filter_map(|slot| Some((slot, last(head, slot)?))).collect();
        Parts { storage: self, span, lasts, moved: head.moved }
    }
}

fn last(head: &Head, slot: u32) -> Option<i64> {
    Some(head.in_slot(slot)?.last()?.0.millis())
}

fn hand_out<E>(
    series: &HeadSeries,
    span: Span,
    columns: &mut Columns,
    each: &mut impl FnMut(SeriesColumns<'_>) -> Result<(), E>,
) -> Result<(), E> {
    columns.clear();
    series.read(span, columns);
    if columns.times.is_empty() {
        return Ok(());
    }
    let Columns { times, values, histograms, starts } = columns;
    each(SeriesColumns { labels: &series.labels, times, values, histograms, starts })
}

#[cfg(test)]
mod tests {
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
                let scanned = storage.scan(&x, at(0), at(9000), |found| {
                    if series == 0 {
                        begun.wait();
                    }
                    series += 1;
                    samples += found.times.len();
                    Ok::<_, SelectError>(())
                });
                scanned.unwrap();
            });
            (series, samples)
        };
        assert_eq!(count(), (2 * BATCH + 5, 4 * BATCH + 10));
        assert_eq!(count(), (2 * BATCH + 5, 6 * BATCH + 15));
    }
}
