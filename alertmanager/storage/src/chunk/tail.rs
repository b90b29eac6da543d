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

/// There are as many as series, so it holds nothing twice: the time of the last sample stands beside
/// it, with whoever writes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tail {
    /// The records, and room for some more.
    records: Box<[u8]>,
    used: u16,
    count: u8,
    /// How often it was cleared.
    cleared: u8,
    /// How many places behind the point decimals have.
    places: u8,
    first: (i64, f64),
    step: i64,
    /// The last value that was a decimal, in its last places.
    number: i64,
}

/// What the reader must remember between two samples.
#[derive(Clone, Copy, Debug)]
struct State {
    time: i64,
    step: i64,
    number: i64,
    places: u8,
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

    /// How often it was cleared.
    pub(crate) fn cleared(&self) -> u8 {
        self.cleared
    }

    /// The time of the first sample.
    pub(crate) fn first(&self) -> i64 {
        self.first.0
    }

    /// Forgets all samples, and gives back their memory: most series are in step with others, and
    /// would hold as much as their fullest tail for ever.
    pub(crate) fn clear(&mut self) {
        *self = Self { cleared: self.cleared.saturating_add(1), ..Self::default() };
    }

    /// Adds to the records. They grow by little at a time: there are as many tails as series.
    #[inline]
    fn put(&mut self, bytes: &[u8]) {
        let begin = usize::from(self.used);
        if self.records.len() - begin < bytes.len() {
            self.grow(bytes.len());
        }
        self.records[begin..begin + bytes.len()].copy_from_slice(bytes);
        self.used += bytes.len() as u16;
    }

    fn grow(&mut self, least: usize) {
        let mut records = std::mem::take(&mut self.records).into_vec();
        let length = records.len() + GROWTH.max(least);
        records.reserve_exact(length - records.len());
        records.resize(length, 0);
        self.records = records.into_boxed_slice();
    }

    /// Adds a sample behind that of the time `before`, unless it is the first.
    #[inline]
    pub(crate) fn push(&mut self, before: i64, time: i64, value: f64) {
        self.count += 1;
        if self.count == 1 {
            let decimal = Decimal::of(value);
            (self.number, self.places) = decimal.map_or((0, 0), |of| (of.number, of.places));
            self.first = (time, value);
            return;
        }
        let step = time.wrapping_sub(before);
        let longer = step.wrapping_sub(self.step);
        self.step = step;
        let number = Decimal::with_places(value, self.places);
        let rose = number.map(|number| number.wrapping_sub(self.number));
        self.number = number.unwrap_or(self.number);
        let small = || Some(SMALL | fitted(longer, 8)? << 2 | fitted(rose?, 22)? << 10);
        if let Some(record) = small() {
            self.put(&record.to_le_bytes());
            return;
        }
        self.put_wide((step, longer), number, value);
    }

    fn put_wide(&mut self, (step, longer): (i64, i64), number: Option<i64>, value: f64) {
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
        let (time, places) = (self.first.0, self.places);
        // As the writer has begun.
        let number = Decimal::with_places(self.first.1, places).unwrap_or(0);
        let mut state = State { time, step: 0, number, places };
        let (mut rest, scale) = (&self.records[..usize::from(self.used)], Decimal::scale(places));
        while let Some((time, value)) = next(&mut state, &mut rest, scale) {
            to.times.push(time);
            to.values.push(value);
        }
    }

    pub(crate) fn allocated(&self) -> usize {
        self.records.len()
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
