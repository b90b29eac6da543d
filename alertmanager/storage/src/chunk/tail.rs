//! The newest samples of an open chunk, a few bytes each.
//!
//! ```text
//! time    how much longer the step is than the one before, as a signed number
//! value   0 + how much a decimal rose, as a signed number of its last places
//!         1 + the eight bytes of a float
//! ```
//!
//! The 0 or 1 is the lowest bit of the number for the time. Numbers take one byte for each seven
//! bits.
//!
//! Invariant: the first sample stands beside the bytes, so a reader needs nothing before them.

use super::Columns;
use super::pack::Decimal;
use crate::varint;

#[derive(Clone, Debug, Default)]
pub(crate) struct Tail {
    bytes: Vec<u8>,
    count: u8,
    first: (i64, f64),
    state: State,
}

/// What the writer and the reader must remember between two samples.
#[derive(Clone, Copy, Debug, Default)]
struct State {
    time: i64,
    step: i64,
    /// The last value that was a decimal, in its last places.
    number: i64,
    /// How many places behind the point decimals have.
    places: u8,
}

impl State {
    fn begin((time, value): (i64, f64)) -> Self {
        let decimal = Decimal::of(value);
        Self {
            time,
            step: 0,
            number: decimal.map_or(0, |decimal| decimal.number),
            places: decimal.map_or(0, |decimal| decimal.places),
        }
    }
}

impl Tail {
    pub(crate) fn count(&self) -> usize {
        usize::from(self.count)
    }

    /// The time of the first sample.
    pub(crate) fn first(&self) -> i64 {
        self.first.0
    }

    pub(crate) fn clear(&mut self) {
        self.bytes.clear();
        self.count = 0;
    }

    pub(crate) fn push(&mut self, time: i64, value: f64) {
        self.count += 1;
        if self.count == 1 {
            self.first = (time, value);
            self.state = State::begin(self.first);
            return;
        }
        let state = &mut self.state;
        let step = time.wrapping_sub(state.time);
        let change = step.wrapping_sub(state.step);
        // The bit for the value must not push a bit of the time out.
        let zigzag = u128::from(((change << 1) ^ (change >> 63)) as u64) << 1;
        let number = Decimal::with_places(value, state.places);
        push_wide(&mut self.bytes, zigzag | u128::from(number.is_none()));
        (state.time, state.step) = (time, step);
        match number {
            Some(number) => {
                varint::push_signed(&mut self.bytes, number.wrapping_sub(state.number));
                state.number = number;
            }
            None => self.bytes.extend_from_slice(&value.to_bits().to_le_bytes()),
        }
    }

    /// Appends all samples.
    pub(crate) fn read(&self, to: &mut Columns) {
        if self.count == 0 {
            return;
        }
        to.times.push(self.first.0);
        to.values.push(self.first.1);
        let (mut state, mut from) = (State::begin(self.first), self.bytes.as_slice());
        let scale = Decimal::scale(state.places);
        for _ in 1..self.count {
            let Some((time, value)) = next(&mut state, &mut from, scale) else { return };
            to.times.push(time);
            to.values.push(value);
        }
    }

    pub(crate) fn allocated(&self) -> usize {
        self.bytes.capacity()
    }
}

#[inline]
fn next(state: &mut State, from: &mut &[u8], scale: f64) -> Option<(i64, f64)> {
    let head = take_wide(from)?;
    let zigzag = (head >> 1) as u64;
    state.step = state.step.wrapping_add((zigzag >> 1) as i64 ^ -((zigzag & 1) as i64));
    state.time = state.time.wrapping_add(state.step);
    let value = if head & 1 == 0 {
        state.number = state.number.wrapping_add(varint::take_signed(from)?);
        Decimal::value(state.number, scale)
    } else {
        let (bytes, rest) = from.split_first_chunk()?;
        *from = rest;
        f64::from_bits(u64::from_le_bytes(*bytes))
    };
    Some((state.time, value))
}

fn push_wide(to: &mut Vec<u8>, mut value: u128) {
    while value >= 0x80 {
        to.push(value as u8 | 0x80);
        value >>= 7;
    }
    to.push(value as u8);
}

#[inline]
fn take_wide(from: &mut &[u8]) -> Option<u128> {
    // Nearly always one byte.
    let (byte, rest) = from.split_first()?;
    *from = rest;
    let mut value = u128::from(byte & 0x7f);
    let (mut more, mut shift) = (byte & 0x80 != 0, 7);
    while more {
        let (byte, rest) = from.split_first()?;
        *from = rest;
        value |= u128::from(byte & 0x7f).checked_shl(shift)?;
        more = byte & 0x80 != 0;
        shift += 7;
    }
    Some(value)
}
