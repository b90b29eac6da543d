//! Taking in series that were stored elsewhere.
//!
//! ```text
//! before the end of the newest block ──▶ merged with the block of their window, or a new one
//! behind it                          ──▶ appended, window by window
//! ```
//!
//! Invariant: of two samples of a series at one time the one that was there before stays.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::Arc;

use base::labels::Labels;
use base::sample::Timestamp;

use crate::Storage;
use crate::append::{AppendError, Beside, Point, histogram_value};
use crate::block::{self, Block, BlockError};
use crate::chunk::{self, Columns, Held, Span};
use crate::delete::sealed;
use crate::head::{Sealed, WINDOW, window_of};
use crate::series::SeriesSamples;

/// What became of samples that were to be imported.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Imported {
    /// Stored, or known already.
    pub stored: u64,
    /// Left out: another sample has their time, or they come too late for the window in memory.
    pub left_out: u64,
}

/// Why an import ended early.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// A sample could not be appended.
    #[error(transparent)]
    Append(#[from] AppendError),
    /// A file could not be read or written.
    #[error("cannot write a block of samples: {0}")]
    Io(#[from] io::Error),
    /// A block that the samples belong into is damaged.
    #[error("{0}; `veilleur storage check` tells more")]
    Damaged(String),
}

impl From<BlockError> for ImportError {
    fn from(error: BlockError) -> Self {
        match error {
            BlockError::Io { source, .. } => Self::Io(source),
            error @ BlockError::Damaged { .. } => Self::Damaged(error.to_string()),
        }
    }
}

/// Series of one window.
type Window = BTreeMap<Labels, Columns>;

impl Storage {
    /// Takes in `series`, each with its samples in order of time. It belongs to nobody else
    /// meanwhile, and is best opened with a large [`crate::Options::out_of_order`].
    ///
    /// # Errors
    ///
    /// [`ImportError`]; what was stored before stays, and the same may be imported again.
    pub fn import(&self, series: Vec<SeriesSamples>) -> Result<Imported, ImportError> {
        let mut imported = Imported::default();
        let end = self.head().closed_until.map_or(i64::MIN, Timestamp::millis);
        let (mut old, mut new) = (BTreeMap::new(), BTreeMap::new());
        for SeriesSamples { labels, times, values, histograms, starts } in series {
            let columns = Columns { times, values, histograms, starts };
            for at in 0..columns.times.len() {
                let time = columns.times[at];
                let windows = if time < end && self.dir.is_some() { &mut old } else { &mut new };
                let window: &mut Window =
                    windows.entry(window_of(Timestamp::from_millis(time))).or_default();
                window.entry(labels.clone()).or_default().push(&columns, at);
            }
        }
        if let Some(dir) = &self.dir {
            for (window, series) in old {
                self.import_window(&dir.join("blocks"), window, series, &mut imported)?;
            }
        }
        let mut moved = false;
        for (_, series) in new {
            self.import_new(series, &mut imported)?;
            moved |= self.flush_imported()?;
        }
        if moved {
            let _turn = self.changing_blocks();
            self.renew_checkpoint();
        }
        Ok(imported)
    }

    fn import_window(
        &self,
        dir: &Path,
        window: i64,
        given: Window,
        imported: &mut Imported,
    ) -> Result<(), ImportError> {
        let _turn = self.changing_blocks();
        let inside = |block: &Arc<Block>| {
            window_of(block.min_time()) <= window && window <= window_of(block.max_time())
        };
        let known = self.blocks().into_iter().find(inside);
        let mut all: BTreeMap<Labels, Columns> = BTreeMap::new();
        let mut kept: BTreeMap<Labels, Vec<Sealed>> = BTreeMap::new();
        if let Some(block) = &known {
            let keep = |labels: Labels, chunks: Vec<Sealed>| {
                if !given.contains_key(&labels) {
                    kept.insert(labels, chunks);
                    return;
                }
                let columns = all.entry(labels).or_default();
                chunks.iter().for_each(|chunk| chunk::read(&chunk.bytes, Span::ALL, columns));
                columns.complete();
            };
            let mut damaged = false;
            block.each_chunk(keep, |_, _| damaged = true)?;
            if damaged {
                block.keep_copy()?;
            }
        }
        for (labels, columns) in given {
            let before = all.remove(&labels).unwrap_or_default();
            let (merged, left_out) = merged(&before, &columns);
            imported.left_out += left_out;
            imported.stored += columns.times.len() as u64 - left_out;
            kept.insert(labels, sealed(&merged));
        }
        let end = window.saturating_add(1).saturating_mul(WINDOW.as_millis() as i64);
        let name = known.as_ref().and_then(|block| block.path().file_stem()?.to_str());
        let name = name.map_or_else(|| format!("{end:016}"), str::to_owned);
        let path = block::write(dir, &name, kept.into_iter().collect())?;
        let written = Arc::new(Block::open(&path)?);
        let mut blocks = self.blocks_mut();
        blocks.retain(|block| block.path() != path);
        let place = blocks.partition_point(|block| block.min_time() < written.min_time());
        blocks.insert(place, written);
        Ok(())
    }

    fn import_new(&self, given: Window, imported: &mut Imported) -> Result<(), ImportError> {
        for (labels, columns) in given {
            let series = self.series(&labels)?;
            let mut histograms = Vec::new();
            let points: Vec<Point> = (0..columns.times.len())
                .map(|at| {
                    let value = match columns.held(at) {
                        Held::Float(value) => value,
                        Held::Native(histogram) => {
                            histograms.push(Arc::clone(histogram));
                            histogram_value(histograms.len() - 1)
                        }
                    };
                    let timestamp = Timestamp::from_millis(columns.times[at]);
                    Point { series, timestamp, value }
                })
                .collect();
            let beside = Beside { histograms: &histograms, starts: &columns.starts };
            let appended = self.append_with(&points, beside)?;
            imported.stored += appended.stored as u64;
            imported.left_out += (points.len() - appended.stored) as u64;
        }
        Ok(())
    }
}

/// Two columns as one, and how many of the second were left out because the first has another sample
/// at their time.
fn merged(first: &Columns, second: &Columns) -> (Columns, u64) {
    let (mut all, mut left_out) = (Columns::default(), 0);
    let (mut a, mut b) = (0, 0);
    while a < first.times.len() || b < second.times.len() {
        let (early, late) = (first.times.get(a), second.times.get(b));
        match (early, late) {
            (Some(early), Some(late)) if early == late => {
                let same = crate::late::is_same(first.held(a), second.held(b));
                left_out += u64::from(!same);
                b += 1;
            }
            (Some(early), late) if late.is_none_or(|late| early < late) => {
                all.push(first, a);
                a += 1;
            }
            _ => {
                all.push(second, b);
                b += 1;
            }
        }
    }
    (all, left_out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Options;

    const MINUTE: i64 = 60_000;

    fn series(name: &str, samples: &[(i64, f64)]) -> SeriesSamples {
        let columns = Columns {
            times: samples.iter().map(|(minute, _)| minute * MINUTE).collect(),
            values: samples.iter().map(|(_, value)| *value).collect(),
            ..Columns::default()
        };
        SeriesSamples::new(Labels::from_pairs([("__name__", name)]), columns)
    }

    fn all(storage: &Storage) -> Vec<(String, Vec<(i64, f64)>)> {
        let found = storage.select(&[], Timestamp::MIN, Timestamp::MAX).unwrap();
        let one = |series: &SeriesSamples| {
            let times = series.times.iter().map(|time| time / MINUTE);
            let samples = times.zip(series.values.iter().copied()).collect();
            (series.labels.metric_name().to_owned(), samples)
        };
        found.iter().map(one).collect()
    }

    #[test]
    fn the_past_is_merged_and_the_rest_appended() {
        let dir = tempfile::tempdir().unwrap();
        let options =
            Options { out_of_order: std::time::Duration::from_secs(1 << 40), ..Options::default() };
        let storage = Storage::open(dir.path(), options).unwrap();
        let a: Vec<_> = (0..500).map(|n| (n, n as f64)).collect();
        let imported = storage.import(vec![series("a", &a)]).unwrap();
        assert_eq!(imported, Imported { stored: 500, left_out: 0 });
        drop(storage);
        let ordinary = Storage::open(dir.path(), Options::default()).unwrap();
        ordinary.maintain(Timestamp::from_millis(500 * MINUTE)).unwrap();
        assert_eq!(ordinary.stats().blocks, 3);
        drop(ordinary);

        let storage = Storage::open(dir.path(), options).unwrap();
        // Before everything, into a block with one that is known and one that is not, and at the end.
        let again = [(-200, 7.0), (10, 10.0), (11, 0.5), (480, 480.0), (499, 499.0), (501, 8.0)];
        let given = vec![series("a", &again), series("b", &[(15, 1.0), (490, 2.0)])];
        let imported = storage.import(given).unwrap();
        assert_eq!(imported, Imported { stored: 7, left_out: 1 });
        let mut expected = vec![(-200, 7.0)];
        expected.extend(&a);
        expected.push((501, 8.0));
        let expected = [("a".to_owned(), expected), ("b".to_owned(), vec![(15, 1.0), (490, 2.0)])];
        assert_eq!(all(&storage), expected);
        drop(storage);
        assert_eq!(all(&Storage::open(dir.path(), Options::default()).unwrap()), expected);
    }
}
