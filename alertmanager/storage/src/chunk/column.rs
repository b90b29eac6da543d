//! A column of numbers whose changes are all stored in the same number of bits: what a chunk of
//! native histograms is made of, one column for each bucket.
//!
//! ```text
//! form         1 byte: 0 to 6 decimals with so many places, 7 floats
//! width        1 byte: bits of a change
//! decimals     first value, signed; least change, signed        both in their last places
//! floats       first value, 8 bytes; how many bits at the end never change, 1 byte
//! changes      over the least change; or the bits of floats that differ from those before
//! ```
//!
//! Invariant: a column that never changes takes a few bytes, however many samples it is of.

use super::pack::{
    Changed, Decimal, FLOAT_FORM, PADDING, changes_of, over_least, push_bits, unpack, width_of,
};
use crate::varint;

/// Appends a column of at most 255 values.
pub(super) fn push(to: &mut Vec<u8>, values: &[f64]) {
    let Some(first) = values.first() else { return };
    let Changed { form, least, tail, changes, number } = changes_of(values);
    let width = width_of(&changes);
    to.extend_from_slice(&[form, width as u8]);
    match number {
        Some(number) => {
            varint::push_signed(to, number);
            varint::push_signed(to, least);
        }
        None => {
            to.extend_from_slice(&first.to_bits().to_le_bytes());
            to.push(tail as u8);
        }
    }
    push_bits(to, &changes, width);
}

/// Appends a column of times.
pub(super) fn push_times(to: &mut Vec<u8>, start: i64, times: &[i64]) {
    let Some(first) = times.first() else { return };
    let (least, steps) = over_least(times);
    let width = width_of(&steps);
    to.push(width as u8);
    varint::push_signed(to, first.wrapping_sub(start));
    varint::push_signed(to, least);
    push_bits(to, &steps, width);
}

/// What must follow the last column of a chunk: a change is read as a whole word.
pub(super) fn push_padding(to: &mut Vec<u8>) {
    to.extend_from_slice(&[0; PADDING]);
}

/// A column whose head has been read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Column<'a> {
    form: u8,
    width: u32,
    start: i64,
    least: i64,
    changes: &'a [u8],
}

/// The bytes behind `count - 1` changes of `width` bits.
fn behind(from: &[u8], count: usize, width: u8) -> Option<&[u8]> {
    let bytes = (count.checked_sub(1)? * usize::from(width)).div_ceil(8);
    from.get(bytes..)
}

impl<'a> Column<'a> {
    /// Reads the head of a column of `count` values, and leaves `from` behind the column.
    pub(super) fn take(from: &mut &'a [u8], count: usize) -> Option<Self> {
        let (&[form, width], mut rest) = from.split_first_chunk()?;
        if form > FLOAT_FORM || width > 64 {
            return None;
        }
        let (start, least) = if form == FLOAT_FORM {
            let (bits, after) = rest.split_first_chunk()?;
            let (tail, after) = after.split_first()?;
            rest = after;
            (i64::from_le_bytes(*bits), i64::from(*tail & 63))
        } else {
            (varint::take_signed(&mut rest)?, varint::take_signed(&mut rest)?)
        };
        *from = behind(rest, count, width)?;
        Some(Self { form, width: u32::from(width), start, least, changes: rest })
    }

    /// Fills `values`, which are the first of the column.
    pub(super) fn read(&self, values: &mut [f64]) -> Option<()> {
        let (first, rest) = values.split_first_mut()?;
        if self.form == FLOAT_FORM {
            let mut bits = self.start as u64;
            *first = f64::from_bits(bits);
            return unpack(self.changes, rest.len(), self.width, |n, differ| {
                bits ^= differ << self.least;
                rest[n] = f64::from_bits(bits);
            });
        }
        let (mut number, least, scale) = (self.start, self.least, Decimal::scale(self.form));
        *first = Decimal::value(number, scale);
        unpack(self.changes, rest.len(), self.width, |n, more| {
            number = number.wrapping_add(least).wrapping_add(more as i64);
            rest[n] = Decimal::value(number, scale);
        })
    }
}

/// Reads a column of `count` times, and leaves `from` behind it.
pub(super) fn take_times(from: &mut &[u8], start: i64, count: usize) -> Option<Vec<i64>> {
    let (width, mut rest) = from.split_first()?;
    if *width > 64 {
        return None;
    }
    let mut time = start.wrapping_add(varint::take_signed(&mut rest)?);
    let least = varint::take_signed(&mut rest)?;
    *from = behind(rest, count, *width)?;
    let mut times = vec![time; count];
    let (_, later) = times.split_first_mut()?;
    unpack(rest, later.len(), u32::from(*width), |n, more| {
        time = time.wrapping_add(least).wrapping_add(more as i64);
        later[n] = time;
    })?;
    Some(times)
}
