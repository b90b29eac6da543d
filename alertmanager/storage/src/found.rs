//! Which series there are for some matchers, in memory and on the disk, and where their samples are.
//!
//! Invariant: what is found is of one moment: no sample is missing or there twice because a window moved
//! from the head into a block meanwhile.

use std::collections::HashMap;
use std::sync::Arc;

use base::labels::Labels;
use base::matcher::Matcher;
use base::sample::Timestamp;

use crate::block::{Block, BlockError};
use crate::chunk::Span;
use crate::head::Head;
use crate::{SelectError, Storage};

/// After so many series of a block the caller is told of them.
const TELL_AFTER: usize = 256;
/// Bytes that a series takes, and each block that it is in, about.
const SERIES: usize = 320;
const PLACE: usize = 16;

/// A series in memory: its slot, and when it had its last sample as it was found: what comes later is
/// not part of the answer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct InHead {
    pub(crate) slot: u32,
    pub(crate) last: i64,
}

/// What is to be read of the disk.
#[derive(Debug)]
pub(crate) struct Older {
    /// In the order of time; no two have samples of the same time.
    pub(crate) blocks: Vec<Arc<Block>>,
    /// What is to be read of them.
    pub(crate) span: Span,
}

/// Series some samples of which are in blocks.
#[derive(Debug)]
pub(crate) struct OnDisk {
    pub(crate) older: Older,
    /// How many samples there are in the blocks, about.
    pub(crate) samples: usize,
    /// Sorted by their labels.
    pub(crate) series: Vec<(Labels, Places)>,
}

/// Where the samples of a series are: in which blocks, under which numbers; and in memory.
#[derive(Debug, Default)]
pub(crate) struct Places {
    pub(crate) blocks: Vec<(u32, u32)>,
    pub(crate) head: Option<InHead>,
}

impl Storage {
    /// The series that all `matchers` accept which have samples from `from` to `to`, both included, or, on
    /// the disk, in chunks that reach into that time. In no particular order.
    ///
    /// # Errors
    ///
    /// A block is damaged or cannot be read.
    pub fn labels_between(
        &self,
        matchers: &[Matcher],
        from: Timestamp,
        to: Timestamp,
    ) -> Result<Vec<Labels>, SelectError> {
        let head = self.head();
        let (span, older) = self.places(&head, from, to);
        let own = head.find_all(matchers);
        let own = own.iter().filter_map(|slot| head.in_slot(slot));
        let own = own.filter(|series| series.has_samples(span)).map(|series| series.labels.clone());
        let own: Vec<_> = own.collect();
        drop(head);
        let Some(older) = older else { return Ok(own) };
        // Nobody is going to read what is in memory.
        let own = own.into_iter().map(|labels| (labels, None));
        let found = on_disk(older, matchers, own, |_| Ok::<_, SelectError>(()))?;
        Ok(found.series.into_iter().map(|(labels, _)| labels).collect())
    }

    /// What is to be read of the head, and of the disk if there is anything.
    pub(crate) fn places(
        &self,
        head: &Head,
        from: Timestamp,
        to: Timestamp,
    ) -> (Span, Option<Older>) {
        // All as of one moment, because a window could move from one to the other.
        let begins = head.min_time.unwrap_or(Timestamp::MIN);
        let span = Span { from: from.max(begins).millis(), to: to.millis() };
        let before = begins.millis().saturating_sub(1).min(to.millis());
        let reaches =
            |block: &Arc<Block>| block.max_time() >= from && block.min_time().millis() <= before;
        let mut blocks = self.blocks();
        blocks.retain(reaches);
        let older = Older { blocks, span: Span { from: from.millis(), to: before } };
        (span, Some(older).filter(|older| from.millis() <= before && !older.blocks.is_empty()))
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
        head.finds_at_most(most, matchers) && self.places(&head, from, to).1.is_none()
    }
}

/// Puts together what blocks have, in the order of time, and what is in memory. `go_on` is told of series
/// on the disk as [`Storage::scan`] says.
pub(crate) fn on_disk<E: From<SelectError>>(
    older: Older,
    matchers: &[Matcher],
    own: impl IntoIterator<Item = (Labels, Option<InHead>)>,
    mut go_on: impl FnMut(usize) -> Result<(), E>,
) -> Result<OnDisk, E> {
    let failed = |error: BlockError| E::from(SelectError::from(error));
    let (mut places, mut samples): (HashMap<Labels, Places>, usize) = Default::default();
    let (mut new, mut told) = (0, 0);
    for (place, block) in (0..).zip(&older.blocks) {
        let look = block.look().map_err(failed)?;
        for (count, number) in look.find(matchers).map_err(failed)?.into_iter().enumerate() {
            if count % TELL_AFTER == 0 {
                let series = places.len() - std::mem::replace(&mut told, places.len());
                go_on(series * SERIES + std::mem::take(&mut new) * PLACE)?;
            }
            if let Some((labels, count)) = look.labels(number, older.span).map_err(failed)? {
                samples = samples.saturating_add(count);
                places.entry(labels).or_default().blocks.push((place, number));
                new += 1;
            }
        }
    }
    for (labels, head) in own {
        places.entry(labels).or_default().head = head;
    }
    go_on((places.len() - told) * SERIES + new * PLACE)?;
    let mut series: Vec<_> = places.into_iter().collect();
    series.sort_unstable_by(|a, b| a.0.cmp(&b.0));
    Ok(OnDisk { older, samples, series })
}
