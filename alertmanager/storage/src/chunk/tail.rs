//! The newest samples of an open chunk, in records of few lengths, so that they are read without
//! guessing where the next begins.
//!
//! ```text
//! bits 0 and 1   what the record is
//! 0  small     8 bits: how much longer the step is than the one before; 22 bits: how much the
//!              decimal rose, in its last places
//! 1  decimal   30 bits: the same of the step; 8 bytes: the decimal, in its last places
//! 2  float     30 bits: the same of the step; 8 bytes: the float
//! 3  apart     nothing; 8 bytes: the step; 8 bytes: the float
//! ```
//!
//! Invariant: the first sample stands beside the records, so a reader needs nothing before them.

use super::Columns;
use super::pack::Decimal;

const SMALL: u32 = 0;
const DECIMAL: u32 = 1;
const FLOAT: u32 = 2;
const APART: u32 = 3;

/// By so many bytes the records grow.
const GROWTH: usize = 32;

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
    fn begin(time: i64, first: Option<Decimal>) -> Self {
        let (number, places) = first.map_or((0, 0), |first| (first.number, first.places));
        Self { time, step: 0, number, places }
    }
}

/// `number` in so many bits, if it fits.
fn fitted(number: i64, bits: u32) -> Option<u32> {
    let half = 1_i64 << (bits - 1);
    (-half..half).contains(&number).then_some(number as u32 & ((1 << bits) - 1))
}

impl Tail {
    pub(crate) fn count(&self) -> usize {
        usize::from(self.count)
    }

    /// The time of the first sample.
    pub(crate) fn first(&self) -> i64 {
        self.first.0
    }

    /// Forgets all samples, and gives back their memory: most series are in step with others, and
    /// would hold as much as their fullest tail for ever.
    pub(crate) fn clear(&mut self) {
        self.bytes = Vec::new();
        self.count = 0;
    }

    /// Adds to the records. They grow by little at a time: there are as many tails as series.
    #[inline]
    fn put(&mut self, bytes: &[u8]) {
        if self.bytes.capacity() - self.bytes.len() < bytes.len() {
            self.bytes.reserve_exact(GROWTH.max(bytes.len()));
        }
        self.bytes.extend_from_slice(bytes);
    }

    pub(crate) fn push(&mut self, time: i64, value: f64) {
        self.count += 1;
        if self.count == 1 {
            self.first = (time, value);
            self.state = State::begin(time, Decimal::of(value));
            return;
        }
        let state = &mut self.state;
        let step = time.wrapping_sub(state.time);
        let longer = step.wrapping_sub(state.step);
        (state.time, state.step) = (time, step);
        let number = Decimal::with_places(value, state.places);
        let rose = number.map(|number| number.wrapping_sub(state.number));
        state.number = number.unwrap_or(state.number);
        let small = || Some(SMALL | fitted(longer, 8)? << 2 | fitted(rose?, 22)? << 10);
        if let Some(record) = small() {
            self.put(&record.to_le_bytes());
            return;
        }
        let bits = value.to_bits().to_le_bytes();
        match (fitted(longer, 30), number) {
            (Some(longer), Some(number)) => {
                self.put(&(DECIMAL | longer << 2).to_le_bytes());
                self.put(&number.to_le_bytes());
            }
            (Some(longer), None) => {
                self.put(&(FLOAT | longer << 2).to_le_bytes());
                self.put(&bits);
            }
            (None, _) => {
                self.put(&APART.to_le_bytes());
                self.put(&step.to_le_bytes());
                self.put(&bits);
            }
        }
    }

    /// Appends all samples.
    pub(crate) fn read(&self, to: &mut Columns) {
        if self.count == 0 {
            return;
        }
        to.times.push(self.first.0);
        to.values.push(self.first.1);
        let mut state =
            State { places: self.state.places, ..State::begin(self.first.0, self.first_decimal()) };
        let (mut rest, scale) = (self.bytes.as_slice(), Decimal::scale(self.state.places));
        while let Some((time, value)) = next(&mut state, &mut rest, scale) {
            to.times.push(time);
            to.values.push(value);
        }
    }

    fn first_decimal(&self) -> Option<Decimal> {
        let places = self.state.places;
        Decimal::with_places(self.first.1, places).map(|number| Decimal { number, places })
    }

    pub(crate) fn allocated(&self) -> usize {
        self.bytes.capacity()
    }
}

#[inline]
fn next(state: &mut State, rest: &mut &[u8], scale: f64) -> Option<(i64, f64)> {
    let (record, after) = rest.split_first_chunk()?;
    *rest = after;
    let record = u32::from_le_bytes(*record);
    let value = if record & 3 == SMALL {
        state.step = state.step.wrapping_add(i64::from((record << 22) as i32 >> 24));
        state.number = state.number.wrapping_add(i64::from(record as i32 >> 10));
        Decimal::value(state.number, scale)
    } else {
        wide(state, rest, record, scale)?
    };
    state.time = state.time.wrapping_add(state.step);
    Some((state.time, value))
}

fn wide(state: &mut State, rest: &mut &[u8], record: u32, scale: f64) -> Option<f64> {
    let mut word = || {
        let (word, after) = rest.split_first_chunk()?;
        *rest = after;
        Some(i64::from_le_bytes(*word))
    };
    if record & 3 == APART {
        state.step = word()?;
    } else {
        state.step = state.step.wrapping_add(i64::from(record as i32 >> 2));
    }
    let word = word()?;
    if record & 3 != DECIMAL {
        // As the writer does, so that both go on from the same number.
        let value = f64::from_bits(word as u64);
        state.number = Decimal::with_places(value, state.places).unwrap_or(state.number);
        return Some(value);
    }
    state.number = word;
    Some(Decimal::value(word, scale))
}
