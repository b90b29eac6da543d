//! Since when counters have been counting: the start timestamps of the samples of a chunk.
//!
//! ```text
//! run     the time of its first sample, and the start of all samples up to the next run
//! bytes   runs, then for each: step from time to time; start, before its time; all signed
//! ```
//!
//! Invariant: a sample of which nothing is known starts at [`UNKNOWN`], and costs nothing.

use super::Columns;
use crate::varint;

/// The start of a sample of which it is not known.
pub(crate) const UNKNOWN: i64 = 0;

/// Runs of samples with the same start, in order of time.
#[expect(clippy::box_collection, reason = "few series have any; the others hold one word")]
#[derive(Clone, Debug, Default)]
pub(crate) struct Starts(Option<Box<Vec<(i64, i64)>>>);

impl Starts {
    /// The sample at `time` has this start; samples come in order of time.
    #[inline]
    pub(crate) fn push(&mut self, time: i64, start: i64) {
        if self.0.is_none() && start == UNKNOWN {
            return;
        }
        let last = self.0.as_ref().and_then(|runs| runs.last()).map_or(UNKNOWN, |run| run.1);
        if start != last {
            self.0.get_or_insert_default().push((time, start));
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// Adds the starts of the samples of `to` from place `begin` on.
    pub(crate) fn read(&self, to: &mut Columns, begin: usize) {
        let Some(runs) = &self.0 else { return };
        // Those before have none.
        to.starts.resize(begin, UNKNOWN);
        let mut next = 0;
        for time in &to.times[begin..] {
            while runs.get(next).is_some_and(|run| run.0 <= *time) {
                next += 1;
            }
            let start = next.checked_sub(1).map_or(UNKNOWN, |at| runs[at].1);
            to.starts.push(start);
        }
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        let runs = self.0.iter().flat_map(|runs| runs.iter());
        let mut before = 0_i64;
        for (time, start) in runs {
            varint::push_signed(&mut bytes, time.wrapping_sub(before));
            varint::push_signed(&mut bytes, time.wrapping_sub(*start));
            before = *time;
        }
        bytes
    }

    /// The starts that were encoded, up to what is damaged.
    pub(crate) fn decode(mut bytes: &[u8]) -> Self {
        let (mut runs, mut time) = (Vec::new(), 0_i64);
        let mut next = || {
            let step = varint::take_signed(&mut bytes)?;
            let before = varint::take_signed(&mut bytes)?;
            time = time.wrapping_add(step);
            Some((time, time.wrapping_sub(before)))
        };
        while let Some(run) = next() {
            runs.push(run);
        }
        Self((!runs.is_empty()).then(|| Box::new(runs)))
    }
}
