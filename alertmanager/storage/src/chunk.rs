//! A stretch of one series, compressed: times as differences of differences, values as differences
//! of differences where they are whole numbers, else as what changed in their bits.
//!
//! ```text
//! byte 0        mode (0: whole numbers, 1: floats)
//! bits          first time: 64   first value: 64
//! per sample    time:   0                       the same step as before
//!                       10 + 7 bits ... 1111 + 64 bits   how much longer the step is
//!               value:  whole numbers: the same prefixes, for how much longer the step is;
//!                         11111 + 64 bits: not a whole number, its bits
//!                       floats: 0 the same; 10 + the bits within the last window;
//!                         11 + 6 leading zeros + 6 length - 1 + the bits
//! ```
//!
//! Sources: times and floats after "Gorilla: A Fast, Scalable, In-Memory Time Series Database"
//! (Pelkonen et al., VLDB 2015). Counters are most of what is stored, and a counter's float bits
//! change throughout where its steps do not; hence the other mode, chosen with the first sample.
//!
//! Invariant: what is read is what was written, bit for bit, markers and NaNs included; damaged
//! bytes give fewer samples, never a panic.

use base::sample::Timestamp;

use crate::bits::{BitReader, BitWriter};

/// After so many samples a chunk is full.
pub(crate) const MAX_SAMPLES: u32 = 240;
/// ... or after so many bytes.
const MAX_BYTES: usize = 1024;

/// Whole numbers up to here have floats of their own, and their differences fit an `i64`.
const MAX_WHOLE: f64 = (1_i64 << 53) as f64;

/// Bits of the four shorter forms of a difference of differences.
const WIDTHS: [u32; 3] = [7, 14, 24];

/// A chunk that is being written.
#[derive(Clone, Debug)]
pub(crate) struct ChunkWriter {
    bits: BitWriter,
    state: State,
    count: u32,
    first: i64,
    /// How many values did not fit the mode of whole numbers.
    misfits: u32,
}

/// What both the writer and the reader must remember between two samples.
#[derive(Clone, Copy, Debug, Default)]
struct State {
    floats: bool,
    time: i64,
    step: i64,
    value: f64,
    whole: i64,
    whole_step: i64,
    leading: u32,
    length: u32,
}

fn whole(value: f64) -> Option<i64> {
    let fits = value.fract() == 0.0 && value.abs() <= MAX_WHOLE;
    // Minus zero is a float of its own.
    (fits && (value != 0.0 || value.is_sign_positive())).then_some(value as i64)
}

impl ChunkWriter {
    /// A chunk that begins with this sample; `floats` chooses the mode for floats.
    pub(crate) fn begin(time: Timestamp, value: f64, floats: bool) -> Self {
        let time = time.millis();
        let mut bits = BitWriter::with_capacity(48);
        bits.write(u64::from(floats), 8);
        bits.write(time as u64, 64);
        bits.write(value.to_bits(), 64);
        let whole = whole(value).unwrap_or(0);
        let state = State { floats, time, value, whole, ..State::default() };
        Self { bits, state, count: 1, first: time, misfits: u32::from(value.fract() != 0.0) }
    }

    /// Adds a sample; the caller has checked that it is later than the last.
    pub(crate) fn push(&mut self, time: Timestamp, value: f64) {
        let state = &mut self.state;
        let step = time.millis().wrapping_sub(state.time);
        write_change(&mut self.bits, step.wrapping_sub(state.step), 4);
        (state.time, state.step) = (time.millis(), step);
        if state.floats {
            state.write_float(&mut self.bits, value);
        } else if let Some(number) = whole(value) {
            let step = number - state.whole;
            write_change(&mut self.bits, step - state.whole_step, 5);
            (state.whole, state.whole_step) = (number, step);
        } else {
            self.bits.write(0b11111, 5);
            self.bits.write(value.to_bits(), 64);
            self.misfits += 1;
        }
        state.value = value;
        self.count += 1;
    }

    /// Whether the next sample belongs into a new chunk.
    pub(crate) fn is_full(&self) -> bool {
        self.count >= MAX_SAMPLES || self.bits.bytes().len() >= MAX_BYTES
    }

    /// Which mode would have suited: what the next chunk of the series begins with.
    pub(crate) fn suits_floats(&self) -> bool {
        // An all-float chunk says nothing about whole numbers; try them again now and then.
        if self.state.floats {
            whole(self.state.value).is_none()
        } else {
            self.misfits * 8 > self.count
        }
    }

    pub(crate) fn first(&self) -> Timestamp {
        Timestamp::from_millis(self.first)
    }

    pub(crate) fn last(&self) -> Timestamp {
        Timestamp::from_millis(self.state.time)
    }

    pub(crate) fn count(&self) -> u32 {
        self.count
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        self.bits.bytes()
    }

    pub(crate) fn allocated(&self) -> usize {
        self.bits.capacity()
    }
}

/// Zero, or a prefix of ones and the change; the longest prefix has `ones` ones and, where it is
/// for times, 64 bits behind it. For values `ones` is 5 and four ones come before 64 bits.
fn write_change(bits: &mut BitWriter, change: i64, ones: u32) {
    if change == 0 {
        return bits.write(0, 1);
    }
    for (at, width) in WIDTHS.into_iter().enumerate() {
        let half = 1_i64 << (width - 1);
        if (-half..half).contains(&change) {
            let prefix_ones = at as u32 + 1;
            bits.write((1 << (prefix_ones + 1)) - 2, prefix_ones + 1);
            return bits.write(change as u64, width);
        }
    }
    // Times end with 1111, values with 11110 because 11111 is taken.
    if ones == 4 {
        bits.write(0b1111, 4)
    } else {
        bits.write(0b11110, 5)
    }
    bits.write(change as u64, 64);
}

/// What [`write_change`] wrote; `Err` where the prefix stands for something else.
#[inline(always)]
fn read_change(bits: &mut BitReader<'_>, most: u32) -> Option<Result<i64, ()>> {
    let ones = bits.read_ones(most)?;
    Some(Ok(match ones {
        0 => 0,
        1..=3 => {
            let width = WIDTHS[ones as usize - 1];
            let raw = bits.read(width)?;
            // Sign extension.
            ((raw << (64 - width)) as i64) >> (64 - width)
        }
        4 => bits.read(64)? as i64,
        _ => return Some(Err(())),
    }))
}

impl State {
    fn write_float(&mut self, bits: &mut BitWriter, value: f64) {
        let changed = value.to_bits() ^ self.value.to_bits();
        if changed == 0 {
            return bits.write(0, 1);
        }
        let leading = changed.leading_zeros().min(63);
        let trailing = changed.trailing_zeros();
        let length = 64 - leading - trailing;
        let window_trailing = 64 - self.leading - self.length;
        let fits = self.length > 0 && leading >= self.leading && trailing >= window_trailing;
        // A window that has become far too wide costs more than describing a new one.
        if fits && self.length < length + 12 {
            bits.write(0b10, 2);
            bits.write(changed >> window_trailing, self.length);
        } else {
            bits.write(0b11, 2);
            bits.write(u64::from(leading), 6);
            bits.write(u64::from(length - 1), 6);
            bits.write(changed >> trailing, length);
            (self.leading, self.length) = (leading, length);
        }
    }

    fn read_float(&mut self, bits: &mut BitReader<'_>) -> Option<f64> {
        let ones = bits.read_ones(2)?;
        if ones == 0 {
            return Some(self.value);
        }
        if ones == 2 {
            self.leading = bits.read(6)? as u32;
            self.length = bits.read(6)? as u32 + 1;
        }
        let trailing = 64_u32.checked_sub(self.leading + self.length)?;
        // Damaged bytes can use a window before there is one.
        let changed = bits.read(self.length)?.checked_shl(trailing)?;
        Some(f64::from_bits(self.value.to_bits() ^ changed))
    }
}

/// Reads the samples of a chunk in their order.
#[derive(Clone, Debug)]
pub(crate) struct ChunkReader<'a> {
    bits: BitReader<'a>,
    state: State,
    left: u32,
    begun: bool,
}

impl<'a> ChunkReader<'a> {
    /// The `count` samples in `bytes`.
    pub(crate) fn new(bytes: &'a [u8], count: u32) -> Self {
        Self { bits: BitReader::new(bytes), state: State::default(), left: count, begun: false }
    }

    fn begin(&mut self) -> Option<(i64, f64)> {
        self.begun = true;
        self.state.floats = self.bits.read(8)? == 1;
        self.state.time = self.bits.read(64)? as i64;
        self.state.value = f64::from_bits(self.bits.read(64)?);
        self.state.whole = whole(self.state.value).unwrap_or(0);
        Some((self.state.time, self.state.value))
    }
}

impl Iterator for ChunkReader<'_> {
    type Item = (i64, f64);

    #[inline]
    fn next(&mut self) -> Option<(i64, f64)> {
        self.left = self.left.checked_sub(1)?;
        if !self.begun {
            return self.begin();
        }
        let state = &mut self.state;
        let change = read_change(&mut self.bits, 4)?.ok()?;
        state.step = state.step.wrapping_add(change);
        state.time = state.time.wrapping_add(state.step);
        state.value = if state.floats {
            state.read_float(&mut self.bits)?
        } else {
            match read_change(&mut self.bits, 5)? {
                Ok(change) => {
                    state.whole_step = state.whole_step.wrapping_add(change);
                    state.whole = state.whole.wrapping_add(state.whole_step);
                    state.whole as f64
                }
                Err(()) => f64::from_bits(self.bits.read(64)?),
            }
        };
        Some((state.time, state.value))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (0, Some(self.left as usize))
    }
}

#[cfg(test)]
mod tests {
    use base::sample::Ended;
    use proptest::prelude::*;

    use super::*;

    fn written(samples: &[(i64, f64)], floats: bool) -> ChunkWriter {
        let at = Timestamp::from_millis;
        let mut chunk = ChunkWriter::begin(at(samples[0].0), samples[0].1, floats);
        samples[1..].iter().for_each(|&(time, value)| chunk.push(at(time), value));
        chunk
    }

    #[track_caller]
    fn check(samples: &[(i64, f64)]) {
        for floats in [false, true] {
            let chunk = written(samples, floats);
            let read: Vec<_> = ChunkReader::new(chunk.bytes(), chunk.count()).collect();
            let bits =
                |s: &[(i64, f64)]| s.iter().map(|(t, v)| (*t, v.to_bits())).collect::<Vec<_>>();
            assert_eq!(bits(&read), bits(samples), "floats: {floats}");
        }
    }

    #[test]
    fn keeps_every_bit() {
        check(&[(0, 1.0)]);
        check(&[(i64::MIN, -0.0), (0, 0.0), (i64::MAX, f64::MIN_POSITIVE)]);
        let odd =
            [f64::NAN, Ended::Lost.value(), f64::INFINITY, 5e-324, MAX_WHOLE, -MAX_WHOLE, 0.1];
        check(&odd.iter().enumerate().map(|(n, v)| (n as i64 * 1000, *v)).collect::<Vec<_>>());
        check(&[(0, 1.0), (1, 2.0), (2, 2.5), (3, 3.0), (9, -4.0), (1 << 40, 1e15)]);
    }

    proptest! {
        #[test]
        fn reads_what_was_written(
            steps in prop::collection::vec((1_i64..100_000, prop_oneof![
                any::<f64>(), (-1000_i64..1000).prop_map(|n| n as f64), Just(0.5)
            ]), 1..300),
        ) {
            let mut time = -5000;
            let samples: Vec<_> = steps.into_iter().map(|(step, v)| { time += step; (time, v) }).collect();
            check(&samples);
        }

        #[test]
        fn damaged_bytes_do_no_harm(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            prop_assert!(ChunkReader::new(&bytes, 1000).count() <= 1000);
        }
    }

    #[test]
    fn a_counter_takes_about_a_byte_a_sample() {
        let counter: Vec<_> =
            (0..240).map(|n| (n * 15_000 + n % 3, (n * 37 + n % 5) as f64)).collect();
        let size = written(&counter, false).bytes().len();
        assert!(size < 240 * 5 / 2, "{size}");
        let constant: Vec<_> = (0..240).map(|n| (n * 15_000, 7.0)).collect();
        assert!(written(&constant, false).bytes().len() < 90);
    }
}
