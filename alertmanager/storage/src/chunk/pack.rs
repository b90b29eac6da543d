//! Samples whose changes are all stored in the same number of bits, so that they are read without
//! a decision for each.
//!
//! ```text
//! count        1 byte
//! form         1 byte: 0 to 6 decimals with so many places, 7 floats
//! widths       2 bytes: bits of a change of time, bits of a change of value
//! first time   signed, since the start of the chunk
//! least step   signed
//! decimals     first value, signed; least change, signed        both in their last places
//! floats       first value, 8 bytes; how many bits at the end never change, 1 byte
//! changes      of time, over the least step; of value, over the least change, or the bits of
//!              floats that differ from those before
//! 8 zeros      so that the last change can be read as a whole word
//! ```
//!
//! Invariant: a pack is as long as its head says, whatever the rest of it is.

use super::{Columns, HEADER, MAX_SAMPLES, Span};
use crate::varint;

pub(super) const FLOAT_FORM: u8 = 7;
const MOST_PLACES: u8 = 6;
const MOST: usize = MAX_SAMPLES as usize;
/// Zeros behind a pack.
pub(super) const PADDING: usize = 8;

/// Whole numbers up to here have floats of their own, and their differences fit an `i64`.
const MAX_NUMBER: f64 = (1_i64 << 53) as f64;

/// A float that is a whole number of some decimal place.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Decimal {
    pub(crate) number: i64,
    pub(crate) places: u8,
}

impl Decimal {
    /// `value` with the fewest places.
    pub(crate) fn of(value: f64) -> Option<Self> {
        (0..=MOST_PLACES).find_map(|places| {
            Self::with_places(value, places).map(|number| Self { number, places })
        })
    }

    /// How many of the last of `places` places `value` is, where it is exactly so many.
    #[inline]
    pub(crate) fn with_places(value: f64, places: u8) -> Option<i64> {
        let scale = Self::scale(places);
        let number = value * scale;
        // Also false for what is not a number.
        let fits = number.abs() <= MAX_NUMBER;
        // The nearest whole number; `round` would be a call for every sample. Where it is another one
        // after all, and where minus zero comes back as zero, the comparison sees it.
        let number = match number as i64 {
            whole if whole as f64 == number => whole,
            _ => (number + 0.5_f64.copysign(number)) as i64,
        };
        (fits && Self::value(number, scale).to_bits() == value.to_bits()).then_some(number)
    }

    /// What a number of places multiplies by.
    #[inline]
    pub(crate) fn scale(places: u8) -> f64 {
        const SCALES: [f64; 8] = [1.0, 10.0, 1e2, 1e3, 1e4, 1e5, 1e6, 1.0];
        SCALES[usize::from(places & 7)]
    }

    #[inline]
    pub(crate) fn value(number: i64, scale: f64) -> f64 {
        number as f64 / scale
    }
}

/// The values as whole numbers of the same decimal place.
fn decimals(values: &[f64]) -> Option<(u8, Vec<i64>)> {
    let mut places = 0;
    for value in values {
        while Decimal::with_places(*value, places).is_none() {
            places += 1;
            if places > MOST_PLACES {
                return None;
            }
        }
    }
    let numbers = values.iter().map(|value| Decimal::with_places(*value, places));
    Some((places, numbers.collect::<Option<_>>()?))
}

/// The least change from one to the next, and the changes over it.
pub(super) fn over_least(numbers: &[i64]) -> (i64, Vec<u64>) {
    let changes = || numbers.windows(2).map(|pair| pair[1].wrapping_sub(pair[0]));
    let least = changes().min().unwrap_or(0);
    (least, changes().map(|change| change.wrapping_sub(least) as u64).collect())
}

pub(super) fn width_of(numbers: &[u64]) -> u32 {
    64 - numbers.iter().fold(0, |all, number| all | number).leading_zeros()
}

/// Values as their first and what changes from one to the next.
pub(super) struct Changed {
    pub(super) form: u8,
    /// The least change of decimals.
    pub(super) least: i64,
    /// How many bits at the end of floats never change.
    pub(super) tail: u32,
    pub(super) changes: Vec<u64>,
    /// The first value, if the values are decimals.
    pub(super) number: Option<i64>,
}

pub(super) fn changes_of(values: &[f64]) -> Changed {
    if let Some((form, numbers)) = decimals(values) {
        let (least, changes) = over_least(&numbers);
        return Changed { form, least, tail: 0, changes, number: numbers.first().copied() };
    }
    let differ = |pair: &[f64]| pair[0].to_bits() ^ pair[1].to_bits();
    let mut changes: Vec<u64> = values.windows(2).map(differ).collect();
    let tail = changes.iter().fold(0, |all, bits| all | bits).trailing_zeros().min(63);
    changes.iter_mut().for_each(|bits| *bits >>= tail);
    Changed { form: FLOAT_FORM, least: 0, tail, changes, number: None }
}

/// Appends a pack of at most [`MAX_SAMPLES`] samples, which lie in a chunk that begins at `start`.
pub(crate) fn push(to: &mut Vec<u8>, start: i64, columns: &Columns) {
    let Columns { times, values, .. } = columns;
    let (Some(first_time), Some(first)) = (times.first(), values.first()) else { return };
    let (least_step, steps) = over_least(times);
    let Changed { form, least, tail, changes, number } = changes_of(values);
    let (time_width, value_width) = (width_of(&steps), width_of(&changes));
    to.extend_from_slice(&[times.len() as u8, form, time_width as u8, value_width as u8]);
    varint::push_signed(to, first_time.wrapping_sub(start));
    varint::push_signed(to, least_step);
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
    push_bits(to, &steps, time_width);
    push_bits(to, &changes, value_width);
    to.extend_from_slice(&[0; PADDING]);
}

/// Appends the lowest `width` bits of each number, the lowest first.
pub(super) fn push_bits(to: &mut Vec<u8>, numbers: &[u64], width: u32) {
    let (mut word, mut filled) = (0_u128, 0);
    for number in numbers {
        word |= u128::from(*number) << filled;
        filled += width;
        while filled >= 8 {
            to.push(word as u8);
            word >>= 8;
            filled -= 8;
        }
    }
    if filled > 0 {
        to.push(word as u8);
    }
}

/// Adds up the `count` numbers of `width` bits at the start of `bytes`, each after `step` has been
/// applied to the sum and the number; `each` gets the sums.
#[inline]
pub(super) fn unpack(
    bytes: &[u8],
    count: usize,
    width: u32,
    mut each: impl FnMut(usize, u64),
) -> Option<()> {
    // A word of eight bytes holds 57 bits from any bit of its first byte on.
    if width <= 57 {
        let mask = (1_u64 << width) - 1;
        for n in 0..count {
            let at = n * width as usize;
            let word = bytes.get(at / 8..at / 8 + 8)?.first_chunk()?;
            each(n, u64::from_le_bytes(*word) >> (at % 8) & mask);
        }
    } else {
        for n in 0..count {
            let at = n * width as usize;
            let low = bytes.get(at / 8..at / 8 + 8)?.first_chunk()?;
            let high = *bytes.get(at / 8 + 8)?;
            let word = u128::from(u64::from_le_bytes(*low)) | u128::from(high) << 64;
            each(n, ((word >> (at % 8)) as u64) & (u64::MAX >> (64 - width)));
        }
    }
    Some(())
}

/// A pack whose head has been read.
#[derive(Debug)]
pub(crate) struct Pack<'a> {
    pub(super) count: usize,
    pub(super) form: u8,
    pub(super) time_width: u32,
    pub(super) value_width: u32,
    pub(super) first: i64,
    pub(super) least_step: i64,
    /// The first value: its number, or its bits.
    pub(super) start: i64,
    /// The least change, or how many bits at the end never change.
    pub(super) least: i64,
    /// The changes of time, and what follows them.
    pub(super) steps: &'a [u8],
    /// The changes of value, and what follows them.
    pub(super) changes: &'a [u8],
}

/// The packs of a chunk.
pub(crate) struct Packs<'a> {
    rest: &'a [u8],
    start: i64,
    damaged: bool,
}

impl<'a> Packs<'a> {
    pub(crate) fn of(bytes: &'a [u8]) -> Self {
        match bytes.split_first_chunk::<HEADER>() {
            Some(([super::FLOATS, start @ ..], rest)) => {
                Self::from(rest, i64::from_le_bytes(*start))
            }
            _ => Self { rest: &[], start: 0, damaged: true },
        }
    }

    /// The packs `rest` of a chunk that begins at `start`.
    pub(crate) fn from(rest: &'a [u8], start: i64) -> Self {
        Self { rest, start, damaged: false }
    }

    /// Whether all of the bytes were packs.
    pub(super) fn is_at_end(&self) -> bool {
        self.rest.is_empty() && !self.damaged
    }

    fn take(&mut self) -> Option<Pack<'a>> {
        let (&[count, form, time_width, value_width], mut rest) = self.rest.split_first_chunk()?;
        let (count, changes) = (usize::from(count), usize::from(count).checked_sub(1)?);
        if count > MOST || form > FLOAT_FORM || time_width > 64 || value_width > 64 {
            return None;
        }
        let first = self.start.wrapping_add(varint::take_signed(&mut rest)?);
        let least_step = varint::take_signed(&mut rest)?;
        let (start, least) = if form == FLOAT_FORM {
            let (bits, after) = rest.split_first_chunk()?;
            let (tail, after) = after.split_first()?;
            rest = after;
            (i64::from_le_bytes(*bits), i64::from(*tail & 63))
        } else {
            (varint::take_signed(&mut rest)?, varint::take_signed(&mut rest)?)
        };
        let time_bytes = (changes * usize::from(time_width)).div_ceil(8);
        let value_bytes = (changes * usize::from(value_width)).div_ceil(8);
        let (body, after) = rest.split_at_checked(time_bytes + value_bytes + PADDING)?;
        self.rest = after;
        Some(Pack {
            count,
            form,
            time_width: u32::from(time_width),
            value_width: u32::from(value_width),
            first,
            least_step,
            start,
            least,
            steps: body,
            changes: &body[time_bytes..],
        })
    }

    pub(crate) fn next(&mut self) -> Option<Pack<'a>> {
        let pack = self.take();
        if pack.is_none() {
            self.damaged |= !self.rest.is_empty();
            self.rest = &[];
        }
        pack
    }
}

impl Pack<'_> {
    /// The time of the first sample.
    pub(crate) fn first(&self) -> i64 {
        self.first
    }

    /// Appends the samples of `span`.
    pub(crate) fn read(&self, span: Span, to: &mut Columns) -> Option<()> {
        let mut times = [0; MOST];
        let times = times.get_mut(..self.count)?;
        self.read_times(times)?;
        let behind = times.partition_point(|time| *time <= span.to);
        let early = times[..behind].partition_point(|time| *time < span.from);
        if early == behind {
            return Some(());
        }
        let mut values = [0.0; MOST];
        let values = values.get_mut(..behind)?;
        self.read_values(values)?;
        to.times.extend_from_slice(&times[early..behind]);
        to.values.extend_from_slice(&values[early..]);
        Some(())
    }

    fn read_times(&self, times: &mut [i64]) -> Option<()> {
        let mut time = self.first;
        if self.time_width == 0 {
            for to in times {
                *to = time;
                time = time.wrapping_add(self.least_step);
            }
            return Some(());
        }
        let (first, rest) = times.split_first_mut()?;
        *first = time;
        unpack(self.steps, rest.len(), self.time_width, |n, more| {
            time = time.wrapping_add(self.least_step).wrapping_add(more as i64);
            rest[n] = time;
        })
    }

    fn read_values(&self, values: &mut [f64]) -> Option<()> {
        let (first, rest) = values.split_first_mut()?;
        if self.form == FLOAT_FORM {
            let mut bits = self.start as u64;
            *first = f64::from_bits(bits);
            return unpack(self.changes, rest.len(), self.value_width, |n, differ| {
                bits ^= differ << self.least;
                rest[n] = f64::from_bits(bits);
            });
        }
        let mut number = self.start;
        let (least, scale) = (self.least, Decimal::scale(self.form));
        *first = Decimal::value(number, scale);
        // Most are whole numbers, which need no division.
        if self.form == 0 {
            return unpack(self.changes, rest.len(), self.value_width, |n, more| {
                number = number.wrapping_add(least).wrapping_add(more as i64);
                rest[n] = number as f64;
            });
        }
        unpack(self.changes, rest.len(), self.value_width, |n, more| {
            number = number.wrapping_add(least).wrapping_add(more as i64);
            rest[n] = Decimal::value(number, scale);
        })
    }
}
