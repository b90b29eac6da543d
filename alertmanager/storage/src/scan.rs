//! Handing out many series one after the other, their samples decoded into the same columns.
//!
//! ```text
//! matchers ──index──▶ series ──▶ a few thousand at a time: lock, decode, hand out, unlock
//! ```
//!
//! Invariant: what is handed out is what there was when the scan began, but for what came late; the lock of the head is never
//! held for longer than one batch takes.

use base::matcher::Matcher;
use base::sample::Timestamp;

use crate::chunk::{Columns, Span};
use crate::head::{Head, HeadSeries};
use crate::{SelectError, SeriesColumns, Storage};

/// So many series are handed out under one lock.
const BATCH: usize = 4096;

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
        let begins = head.min_time.unwrap_or(Timestamp::MIN);
        let older = |block: &crate::block::Block| {
            block.max_time() >= from && block.min_time() <= to && block.min_time() < begins
        };
        if self.blocks().iter().any(|block| older(block)) {
            drop(head);
            for series in self.select(matchers, from, to)? {
                each(series.as_columns())?;
            }
            return Ok(());
        }
        let span = Span { from: from.max(begins).millis(), to: to.millis() };
        let found = head.find_all(matchers);
        let mut columns = Columns::default();
        if found.len() <= BATCH as u64 {
            let mut series = found.iter().filter_map(|slot| head.in_slot(slot));
            return series.try_for_each(|series| hand_out(series, span, &mut columns, &mut each));
        }
        // What comes later than the last sample that a series has now is not part of the answer.
        let lasts: Vec<(u32, i64)> =
            found.iter().filter_map(|slot| Some((slot, last(&head, slot)?))).collect();
        let moved = head.moved;
        drop(head);
        for batch in lasts.chunks(BATCH) {
            let head = self.head();
            if head.moved != moved {
                return Err(SelectError::Moved.into());
            }
            for (slot, last) in batch {
                let Some(series) = head.in_slot(*slot) else { continue };
                let span = Span { to: span.to.min(*last), ..span };
                hand_out(series, span, &mut columns, &mut each)?;
            }
        }
        Ok(())
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
