//! Chunks of native histograms of Prometheus.
//!
//! ```text
//! number of samples, 2 bytes; flags, 1 byte: what is known about a reset before the first
//! zero threshold, schema, spans, custom bounds
//! samples: time, count, zero count, sum, buckets; whole numbers as how much their change changes,
//!          floats by the bits in which they differ
//! ```
//!
//! Invariant: a chunk that ends early is no chunk, and a histogram that cannot be makes it none.

use std::sync::Arc;

use base::histogram::{BucketSpan, CUSTOM, Histogram, Reset, Side};
use base::sample::{Ended, is_stale};

use super::bits::{Bits, Xor};
use crate::chunk::Columns;

/// The most spans, buckets or bounds that are believed.
const MOST: u64 = 1 << 16;

/// What all histograms of a chunk have in common.
struct Layout {
    about: Histogram,
    positive: Vec<BucketSpan>,
    negative: Vec<BucketSpan>,
    bounds: Vec<f64>,
}

fn buckets(spans: &[BucketSpan]) -> Option<usize> {
    let sum: u64 = spans.iter().map(|span| u64::from(span.length)).sum();
    usize::try_from(sum).ok().filter(|_| sum <= MOST)
}

impl Layout {
    fn read(bits: &mut Bits<'_>) -> Option<Self> {
        let zero_threshold = match bits.take(8)? {
            0 => 0.0,
            255 => bits.float()?,
            exponent => 0.5 * ((exponent as i32 - 243) as f64).exp2(),
        };
        let schema = i32::try_from(bits.signed()?).ok()?;
        let (positive, negative) = (spans(bits)?, spans(bits)?);
        let mut bounds = Vec::new();
        if schema == CUSTOM {
            for _ in 0..few(bits.unsigned()?)? {
                bounds.push(match bits.unsigned()? {
                    0 => bits.float()?,
                    thousandths => (thousandths - 1) as f64 / 1000.0,
                });
            }
        }
        let about = Histogram { schema, zero_threshold, ..Histogram::default() };
        Some(Self { about, positive, negative, bounds })
    }

    fn histogram(&self, about: Histogram, sides: [&[f64]; 2], whole: bool) -> Option<Histogram> {
        // Whole numbers are differences from bucket to bucket.
        let deltas = |side: &[f64]| side.iter().map(|count| *count as i64).collect::<Vec<_>>();
        let deltas = if whole { sides.map(deltas) } else { [Vec::new(), Vec::new()] };
        let side = |n: usize, spans| {
            let counts = if whole { &[] } else { sides[n] };
            Side { spans, deltas: &deltas[n], counts }
        };
        let (positive, negative) = (side(0, &self.positive[..]), side(1, &self.negative[..]));
        about.with_sides(positive, negative, &self.bounds).ok()
    }
}

fn few(count: u64) -> Option<u64> {
    (count <= MOST).then_some(count)
}

fn spans(bits: &mut Bits<'_>) -> Option<Vec<BucketSpan>> {
    let mut spans = Vec::new();
    for _ in 0..few(bits.unsigned()?)? {
        let length = u32::try_from(bits.unsigned()?).ok()?;
        spans.push(BucketSpan { length, offset: i32::try_from(bits.signed()?).ok()? });
    }
    Some(spans)
}

/// A number of which the change of the change is told.
#[derive(Clone, Copy, Debug, Default)]
struct Changing {
    value: i64,
    change: i64,
}

impl Changing {
    /// `n` is the place of the sample.
    fn next(&mut self, bits: &mut Bits<'_>, n: u16, first: i64) -> Option<()> {
        match n {
            0 => self.value = first,
            1 => self.change = bits.signed()?,
            _ => self.change = self.change.wrapping_add(bits.signed()?),
        }
        if n > 0 {
            self.value = self.value.wrapping_add(self.change);
        }
        Some(())
    }
}

/// A number of a histogram, of either kind.
#[derive(Clone, Copy, Debug)]
enum Number {
    Whole(Changing),
    Float(Xor),
}

impl Number {
    fn next(&mut self, bits: &mut Bits<'_>, n: u16, signed: bool) -> Option<()> {
        match self {
            Self::Whole(number) => {
                let first = match (n, signed) {
                    (0, true) => bits.signed()?,
                    (0, false) => bits.unsigned()? as i64,
                    _ => 0,
                };
                number.next(bits, n, first)
            }
            Self::Float(xor) if n == 0 => {
                *xor = Xor::first(bits)?;
                Some(())
            }
            Self::Float(xor) => xor.next(bits),
        }
    }

    fn value(&self) -> f64 {
        match self {
            Self::Whole(number) => number.value as f64,
            Self::Float(xor) => xor.value,
        }
    }
}

/// The samples of a chunk, whose counts are floats or whole numbers.
pub(super) fn read(bytes: &[u8], floats: bool) -> Option<Columns> {
    let (count, rest) = bytes.split_first_chunk::<2>()?;
    let (flags, body) = rest.split_first()?;
    let mut bits = Bits::of(body);
    let layout = Layout::read(&mut bits)?;
    let number =
        if floats { Number::Float(Xor::default()) } else { Number::Whole(Changing::default()) };
    let mut time = Changing::default();
    let (mut all, mut zero, mut sum) = (number, number, Xor::default());
    let mut positive = vec![number; buckets(&layout.positive)?];
    let mut negative = vec![number; buckets(&layout.negative)?];
    let gauge = flags >> 6 == 3;
    let first =
        [Reset::Unknown, Reset::NotReset, Reset::Reset, Reset::Gauge][usize::from(flags >> 6)];
    let mut columns = Columns::default();
    for n in 0..u16::from_be_bytes(*count) {
        let begin = if n == 0 { bits.signed()? } else { 0 };
        time.next(&mut bits, n, begin)?;
        all.next(&mut bits, n, false)?;
        zero.next(&mut bits, n, false)?;
        match n {
            0 => sum = Xor::first(&mut bits)?,
            _ => sum.next(&mut bits)?,
        }
        // A marker has no buckets; but the first sample has what its layout says.
        if n > 0 && is_stale(sum.value) {
            columns.push_float(time.value, Ended::Gone.value());
            continue;
        }
        for bucket in positive.iter_mut().chain(&mut negative) {
            bucket.next(&mut bits, n, true)?;
        }
        if is_stale(sum.value) {
            columns.push_float(time.value, Ended::Gone.value());
            continue;
        }
        let about = Histogram {
            reset: if n == 0 || gauge { first } else { Reset::NotReset },
            count: all.value(),
            zero_count: zero.value(),
            sum: sum.value,
            ..layout.about.clone()
        };
        let values = |side: &[Number]| side.iter().map(Number::value).collect::<Vec<_>>();
        let sides = [&values(&positive)[..], &values(&negative)];
        let histogram = layout.histogram(about, sides, !floats)?;
        columns.push_native(time.value, Arc::new(histogram));
    }
    Some(columns)
}
