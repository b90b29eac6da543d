//! One native histogram as bytes, where it can be as what has changed since the one before it: in
//! the log, and for the newest samples of a chunk.
//!
//! ```text
//! flags        1 byte: layout as before, buckets as before, counts are whole; 2 bits: reset
//! layout       schema, zero threshold, and for custom buckets their bounds
//! buckets      positive, then negative: how many, then the steps from index to index
//! sum          8 bytes
//! counts       all, zero, each bucket: whole numbers as differences where the buckets are as
//!              before, else as they are; or 8 bytes each
//! ```
//!
//! Invariant: what is read is what was written, bit for bit; damaged bytes give `None`, and take no
//! more memory than there are bytes.

use std::sync::Arc;

use base::histogram::{Buckets, CUSTOM, Histogram, Reset};

use crate::varint;

const SAME_LAYOUT: u8 = 1;
const SAME_BUCKETS: u8 = 2;
const WHOLE: u8 = 4;
const RESET_SHIFT: u8 = 3;

const RESETS: [Reset; 4] = [Reset::Unknown, Reset::Reset, Reset::NotReset, Reset::Gauge];

/// The number of what is known about a reset.
pub(crate) fn reset_number(reset: Reset) -> u8 {
    RESETS.iter().position(|other| *other == reset).unwrap_or(0) as u8
}

/// What a number says about a reset.
pub(crate) fn reset_of(number: u8) -> Reset {
    RESETS[usize::from(number & 3)]
}

/// Whether the buckets of two have the same bounds.
pub(crate) fn same_layout(a: &Histogram, b: &Histogram) -> bool {
    a.schema == b.schema
        && a.zero_threshold.to_bits() == b.zero_threshold.to_bits()
        && a.bounds.len() == b.bounds.len()
        && a.bounds.iter().zip(b.bounds.iter()).all(|(x, y)| x.to_bits() == y.to_bits())
}

fn same_buckets(a: &Buckets, b: &Buckets) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(x, y)| x.0 == y.0)
}

/// All counts in order.
fn counts(of: &Histogram) -> impl Iterator<Item = f64> {
    let buckets = of.positive.iter().chain(&of.negative).map(|(_, count)| *count);
    [of.count, of.zero_count].into_iter().chain(buckets)
}

/// The number that a count is, where it is a whole one; minus zero is none.
fn whole(count: f64) -> Option<i64> {
    let fits = count.fract() == 0.0 && count.abs() < (1_i64 << 53) as f64;
    (fits && (count != 0.0 || count.is_sign_positive())).then_some(count as i64)
}

fn push_float(to: &mut Vec<u8>, value: f64) {
    to.extend_from_slice(&value.to_bits().to_le_bytes());
}

fn take_float(from: &mut &[u8]) -> Option<f64> {
    let (bytes, rest) = from.split_first_chunk::<8>()?;
    *from = rest;
    Some(f64::from_bits(u64::from_le_bytes(*bytes)))
}

/// Appends the bounds of the buckets.
pub(crate) fn push_layout(to: &mut Vec<u8>, of: &Histogram) {
    varint::push_signed(to, i64::from(of.schema));
    push_float(to, of.zero_threshold);
    if of.schema == CUSTOM {
        varint::push(to, of.bounds.len() as u64);
        of.bounds.iter().for_each(|bound| push_float(to, *bound));
    }
}

/// A histogram without observations that has the bounds that were written.
pub(crate) fn take_layout(from: &mut &[u8]) -> Option<Histogram> {
    let schema = i32::try_from(varint::take_signed(from)?).ok()?;
    let zero_threshold = take_float(from)?;
    let bounds = if schema == CUSTOM {
        let count = usize::try_from(varint::take(from)?).ok()?;
        if count > from.len() / 8 {
            return None;
        }
        (0..count).map(|_| take_float(from)).collect::<Option<_>>()?
    } else {
        Arc::default()
    };
    Some(Histogram { schema, zero_threshold, bounds, ..Histogram::default() })
}

/// Appends the indices of buckets.
pub(crate) fn push_indices(to: &mut Vec<u8>, indices: impl ExactSizeIterator<Item = i32>) {
    varint::push(to, indices.len() as u64);
    let mut before = 0;
    for index in indices {
        varint::push_signed(to, i64::from(index) - before);
        before = i64::from(index);
    }
}

/// The indices of buckets, rising.
pub(crate) fn take_indices(from: &mut &[u8]) -> Option<Vec<i32>> {
    let count = usize::try_from(varint::take(from)?).ok()?;
    if count > from.len() {
        return None;
    }
    let mut indices = Vec::with_capacity(count);
    let mut before = 0_i64;
    for n in 0..count {
        let step = varint::take_signed(from)?;
        before = before.checked_add(step).filter(|_| n == 0 || step > 0)?;
        indices.push(i32::try_from(before).ok()?);
    }
    Some(indices)
}

/// Appends a histogram behind `before`, which the reader will know.
pub(crate) fn push(to: &mut Vec<u8>, histogram: &Histogram, before: Option<&Histogram>) {
    let known = before.filter(|before| same_layout(histogram, before));
    let same = known.filter(|before| {
        same_buckets(&histogram.positive, &before.positive)
            && same_buckets(&histogram.negative, &before.negative)
            && counts(before).all(|count| whole(count).is_some())
    });
    let is_whole = counts(histogram).all(|count| whole(count).is_some());
    let same = same.filter(|_| is_whole);
    let mut flags = reset_number(histogram.reset) << RESET_SHIFT;
    flags |= if known.is_some() { SAME_LAYOUT } else { 0 };
    flags |= if same.is_some() { SAME_BUCKETS } else { 0 };
    flags |= if is_whole { WHOLE } else { 0 };
    to.push(flags);
    if known.is_none() {
        push_layout(to, histogram);
    }
    if same.is_none() {
        for side in [&histogram.positive, &histogram.negative] {
            push_indices(to, side.iter().map(|(index, _)| *index));
        }
    }
    push_float(to, histogram.sum);
    if !is_whole {
        return counts(histogram).for_each(|count| push_float(to, count));
    }
    let mut earlier = same.map(counts);
    for count in counts(histogram) {
        let earlier = earlier.as_mut().and_then(Iterator::next).unwrap_or(0.0);
        varint::push_signed(to, count as i64 - earlier as i64);
    }
}

/// Reads a histogram that was written behind `before`, and leaves `from` behind it.
pub(crate) fn take(from: &mut &[u8], before: Option<&Histogram>) -> Option<Histogram> {
    let (flags, rest) = from.split_first()?;
    *from = rest;
    let has = |flag: u8| flags & flag != 0;
    let mut histogram = if has(SAME_LAYOUT) {
        let Histogram { schema, zero_threshold, bounds, .. } = before?;
        let (zero_threshold, bounds) = (*zero_threshold, Arc::clone(bounds));
        Histogram { schema: *schema, zero_threshold, bounds, ..Histogram::default() }
    } else {
        take_layout(from)?
    };
    histogram.reset = reset_of(flags >> RESET_SHIFT);
    let empty = |indices: Vec<i32>| indices.into_iter().map(|index| (index, 0.0)).collect();
    if has(SAME_BUCKETS) {
        let before = before?;
        (histogram.count, histogram.zero_count) = (before.count, before.zero_count);
        histogram.positive.clone_from(&before.positive);
        histogram.negative.clone_from(&before.negative);
    } else {
        histogram.positive = empty(take_indices(from)?);
        histogram.negative = empty(take_indices(from)?);
    }
    histogram.sum = take_float(from)?;
    let Histogram { count, zero_count, positive, negative, .. } = &mut histogram;
    let buckets = positive.iter_mut().chain(negative).map(|(_, count)| count);
    for count in [count, zero_count].into_iter().chain(buckets) {
        *count = if has(WHOLE) {
            (*count as i64).wrapping_add(varint::take_signed(from)?) as f64
        } else {
            take_float(from)?
        };
    }
    histogram.positive.retain(|(_, count)| *count != 0.0);
    histogram.negative.retain(|(_, count)| *count != 0.0);
    Some(histogram)
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;

    fn buckets(counts: impl Strategy<Value = f64>) -> impl Strategy<Value = Buckets> {
        prop::collection::btree_map(-300_i32..300, counts, 0..12).prop_map(|buckets| {
            buckets.into_iter().filter(|(_, count): &(i32, f64)| *count != 0.0).collect()
        })
    }

    fn count() -> impl Strategy<Value = f64> {
        prop_oneof![
            8 => (0_i64..100_000).prop_map(|n| n as f64),
            1 => any::<f64>().prop_map(|n| if n.is_nan() { 0.25 } else { n }),
        ]
    }

    /// Histograms of every kind.
    pub(crate) fn histogram() -> impl Strategy<Value = Histogram> {
        let bounds = prop::collection::btree_set(-50_i32..50, 0..6);
        let sides = (buckets(count()), buckets(count()));
        (sides, count(), count(), -1000.0..1000.0_f64, 0_u8..4, 0_i32..5, bounds).prop_map(
            |((positive, negative), count, zero_count, sum, reset, schema, bounds)| Histogram {
                schema: if schema == 4 { CUSTOM } else { schema },
                reset: reset_of(reset),
                zero_threshold: f64::from(schema % 2) / 8.0,
                zero_count,
                count,
                sum,
                positive,
                negative,
                bounds: if schema == 4 {
                    bounds.into_iter().map(f64::from).collect()
                } else {
                    Arc::default()
                },
            },
        )
    }

    proptest! {
        #[test]
        fn reads_what_was_written(histograms in prop::collection::vec(histogram(), 1..6)) {
            let mut bytes = Vec::new();
            let mut before: Option<&Histogram> = None;
            for histogram in &histograms {
                push(&mut bytes, histogram, before);
                before = Some(histogram);
            }
            let (mut from, mut before) = (bytes.as_slice(), None);
            for histogram in &histograms {
                let read = take(&mut from, before.as_ref());
                prop_assert_eq!(read.as_ref(), Some(histogram));
                before = read;
            }
            prop_assert!(from.is_empty());
        }

        #[test]
        fn garbage_does_no_harm(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            let before = Histogram { positive: vec![(1, 2.0)], ..Histogram::default() };
            let _ = take(&mut bytes.as_slice(), None);
            let _ = take(&mut bytes.as_slice(), Some(&before));
        }
    }

    #[test]
    fn what_has_not_changed_takes_a_byte_a_bucket() {
        let positive: Buckets = (0..20).map(|n| (n, 1000.0 * f64::from(n + 1))).collect();
        let before = Histogram { positive, count: 1e6, ..Histogram::default() };
        let mut bytes = Vec::new();
        push(&mut bytes, &before, Some(&before));
        assert_eq!(bytes.len(), 1 + 8 + 2 + 20);
    }
}
