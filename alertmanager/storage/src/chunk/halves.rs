//! A chunk of floats in halves: when, and how much. The series of a target have the same times, and a
//! block holds those once.
//!
//! ```text
//! times     count, 1 byte; bits of a change, 1 byte; first time, signed; least step, signed; changes
//! values    form and bits of a change, what a pack begins with, and its changes; see `pack.rs`
//! ```
//!
//! Invariant: what is joined has the samples of what was split, bit for bit.

use super::pack::{FLOAT_FORM, PADDING, Packs, unpack};
use super::{FLOATS, HEADER, MAX_SAMPLES};
use crate::varint;

/// How much, but for the changes from one to the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Values {
    pub(crate) form: u8,
    /// Bits of a change.
    pub(crate) width: u8,
    /// The first value: its number, or its bits.
    pub(crate) start: i64,
    /// The least change, or how many bits at the end never change.
    pub(crate) least: i64,
}

/// A pack of a chunk, in halves.
#[derive(Debug)]
pub(crate) struct Piece<'a> {
    /// For [`Times::take`].
    pub(crate) times: Vec<u8>,
    pub(crate) values: Values,
    pub(crate) changes: &'a [u8],
}

impl Values {
    /// Whether the values are floats, and no decimals.
    pub(crate) fn are_floats(&self) -> bool {
        self.form == FLOAT_FORM
    }

    /// Bytes that the changes of so many samples take.
    pub(crate) fn bytes(&self, count: usize) -> usize {
        (count.saturating_sub(1) * usize::from(self.width)).div_ceil(8)
    }
}

/// The packs of the chunk `bytes`; nothing where it is not made of floats alone, or has starts.
pub(crate) fn split(bytes: &[u8]) -> Option<Vec<Piece<'_>>> {
    if bytes.first() != Some(&FLOATS) {
        return None;
    }
    let (mut packs, mut pieces) = (Packs::of(bytes), Vec::new());
    while let Some(pack) = packs.next() {
        let changes = pack.count.checked_sub(1)?;
        let steps = pack.steps.get(..(changes * pack.time_width as usize).div_ceil(8))?;
        let values = Values {
            form: pack.form,
            width: pack.value_width as u8,
            start: pack.start,
            least: pack.least,
        };
        let mut times = Vec::with_capacity(12 + steps.len());
        times.extend_from_slice(&[pack.count as u8, pack.time_width as u8]);
        varint::push_signed(&mut times, pack.first);
        varint::push_signed(&mut times, pack.least_step);
        times.extend_from_slice(steps);
        pieces.push(Piece {
            times,
            values,
            changes: pack.changes.get(..values.bytes(pack.count))?,
        });
    }
    (packs.is_at_end() && !pieces.is_empty()).then_some(pieces)
}

/// Times that have been read, but for their changes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Times<'a> {
    pub(crate) count: usize,
    pub(crate) first: i64,
    width: u8,
    least: i64,
    steps: &'a [u8],
}

impl<'a> Times<'a> {
    /// Leaves `from` behind them.
    pub(crate) fn take(from: &mut &'a [u8]) -> Option<Self> {
        let (&[count, width], mut rest) = from.split_first_chunk()?;
        let (first, least) = (varint::take_signed(&mut rest)?, varint::take_signed(&mut rest)?);
        let changes = usize::from(count).checked_sub(1)?;
        if u32::from(count) > MAX_SAMPLES || width > 64 {
            return None;
        }
        let (steps, rest) = rest.split_at_checked((changes * usize::from(width)).div_ceil(8))?;
        *from = rest;
        Some(Self { count: usize::from(count), first, width, least, steps })
    }

    /// The last of them.
    pub(crate) fn last(&self) -> i64 {
        let changes = self.count.saturating_sub(1);
        let mut last = self.first.wrapping_add(self.least.wrapping_mul(changes as i64));
        if self.width > 0 {
            let steps = [self.steps, &[0; PADDING]].concat();
            let add = |_, more| last = last.wrapping_add(more as i64);
            let _ = unpack(&steps, changes, u32::from(self.width), add);
        }
        last
    }

    /// The bytes of a chunk with these times, and values that change by `changes`.
    pub(crate) fn join(&self, values: &Values, changes: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEADER + 48 + self.steps.len() + changes.len());
        bytes.push(FLOATS);
        bytes.extend_from_slice(&self.first.to_le_bytes());
        bytes.extend_from_slice(&[self.count as u8, values.form, self.width, values.width]);
        // The chunk begins with this pack.
        varint::push_signed(&mut bytes, 0);
        varint::push_signed(&mut bytes, self.least);
        if values.are_floats() {
            bytes.extend_from_slice(&values.start.to_le_bytes());
            bytes.push(values.least as u8);
        } else {
            varint::push_signed(&mut bytes, values.start);
            varint::push_signed(&mut bytes, values.least);
        }
        bytes.extend_from_slice(self.steps);
        bytes.extend_from_slice(changes);
        bytes.extend_from_slice(&[0; PADDING]);
        bytes
    }
}

#[cfg(test)]
mod tests {
    use base::sample::{Ended, Timestamp};
    use proptest::prelude::*;

    use super::super::{ChunkWriter, Columns, Held, Span, UNKNOWN, read};
    use super::*;

    fn written(samples: &[(i64, f64)]) -> Vec<u8> {
        let mut samples = samples
            .iter()
            .map(|(time, value)| (Timestamp::from_millis(*time), Held::Float(*value), UNKNOWN));
        let (time, held, start) = samples.next().unwrap();
        let mut chunk = ChunkWriter::begin(time, held, start);
        samples.for_each(|(time, held, start)| chunk.push(time, held, start));
        chunk.seal()
    }

    /// Splits and joins, and returns of how many pieces.
    #[track_caller]
    fn check(samples: &[(i64, f64)]) -> usize {
        let bytes = written(samples);
        let pieces = split(&bytes).unwrap();
        let (mut columns, count) = (Columns::default(), pieces.len());
        for Piece { times, values, changes } in pieces {
            let times = Times::take(&mut times.as_slice()).unwrap();
            let last = times.last();
            let chunk = times.join(&values, changes);
            let before = columns.times.len();
            read(&chunk, Span::ALL, &mut columns);
            let read = (columns.times[before], *columns.times.last().unwrap());
            assert_eq!(read, (times.first, last));
            assert_eq!(columns.times.len() - before, times.count);
        }
        let (times, values): (Vec<i64>, Vec<f64>) = samples.iter().copied().unzip();
        assert_eq!(columns.times, times);
        assert!(columns.values.iter().map(|v| v.to_bits()).eq(values.iter().map(|v| v.to_bits())));
        count
    }

    #[test]
    fn halves_make_the_whole() {
        let at = |n: i64| 1_700_000_000_000 + n * 15_000 + n % 3;
        check(&[(-5, f64::NAN)]);
        assert_eq!(check(&(0..240).map(|n| (at(n), (n * 7) as f64)).collect::<Vec<_>>()), 1);
        check(&(0..240).map(|n| (at(n), (n as f64).sqrt())).collect::<Vec<_>>());
        // A series that ended and came again: its packs are smaller than one would be.
        let ended = |n: i64| if n == 100 { Ended::Gone.value() } else { 1.0 };
        assert!(check(&(0..240).map(|n| (at(n), ended(n))).collect::<Vec<_>>()) > 1);
    }

    #[test]
    fn what_has_more_than_floats_is_not_split() {
        let mut chunk = ChunkWriter::begin(Timestamp::from_millis(5), Held::Float(1.0), 3);
        chunk.push(Timestamp::from_millis(6), Held::Float(1.0), 3);
        assert!(split(&chunk.seal()).is_none());
        let whole = written(&[(5, 1.0), (6, 2.0)]);
        assert!((0..whole.len()).all(|cut| split(&whole[..cut]).is_none()));
    }

    proptest! {
        #[test]
        fn garbage_does_no_harm(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
            if let Some(times) = Times::take(&mut bytes.as_slice()) {
                let values = Values { form: 0, width: 3, start: 5, least: -2 };
                let mut columns = Columns::default();
                read(&times.join(&values, &bytes), Span::ALL, &mut columns);
            }
            let _ = split(&bytes);
        }
    }
}
