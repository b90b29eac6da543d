//! The native histograms of a chunk, as columns: one for each bucket.
//!
//! ```text
//! group     samples whose buckets have the same bounds
//!   length      of the group without this
//!   samples     1 byte
//!   kinds       1 byte: 1, all are histograms; 0, a bit for each follows, floats have none
//!   times       a column
//!   layout      schema, zero threshold, custom bounds
//!   buckets     indices of all buckets that any sample has, positive and negative
//!   columns     reset; sum, or the float; count; zero count; each bucket
//!   8 zeros     so that the last change can be read as a whole word
//! newest    up to 32 samples, each behind the one before it: step, kind, float or record
//! ```
//!
//! Invariant: what is read is what was written, bit for bit; damaged bytes give fewer samples.

use std::collections::BTreeSet;
use std::sync::Arc;

use base::histogram::{Buckets, Histogram};

use super::column::{self, Column};
use super::{Columns, Held, Span};
use crate::record;
use crate::varint;

const FLOAT: u8 = 0;
const NATIVE: u8 = 1;
/// The columns before those of the buckets.
const FIXED: usize = 4;

/// Histograms on their way into a chunk.
#[derive(Clone, Debug, Default)]
pub(super) struct Newest {
    bytes: Vec<u8>,
    count: usize,
    cleared: u8,
    first: i64,
    last: i64,
    before: Option<Arc<Histogram>>,
}

impl Newest {
    pub(super) fn count(&self) -> usize {
        self.count
    }

    /// How often it was cleared.
    pub(super) fn cleared(&self) -> u8 {
        self.cleared
    }

    /// Forgets all samples, and gives back their memory.
    pub(super) fn clear(&mut self) {
        *self = Self { cleared: self.cleared.saturating_add(1), ..Self::default() };
    }

    /// The time of the first sample.
    pub(super) fn first(&self) -> i64 {
        self.first
    }

    pub(super) fn allocated(&self) -> usize {
        self.bytes.capacity()
    }

    pub(super) fn push(&mut self, time: i64, held: Held<'_>) {
        if self.count == 0 {
            (self.first, self.last) = (time, time);
        }
        varint::push_signed(&mut self.bytes, time.wrapping_sub(self.last));
        self.last = time;
        self.count += 1;
        match held {
            Held::Float(value) => {
                self.bytes.push(FLOAT);
                self.bytes.extend_from_slice(&value.to_bits().to_le_bytes());
            }
            Held::Native(histogram) => {
                self.bytes.push(NATIVE);
                record::push(&mut self.bytes, histogram, self.before.as_deref());
                self.before = Some(Arc::clone(histogram));
            }
        }
    }

    /// Appends all samples.
    pub(super) fn read(&self, to: &mut Columns) {
        let (mut from, mut time) = (self.bytes.as_slice(), self.first);
        let mut before: Option<Arc<Histogram>> = None;
        let mut next = || {
            time = time.wrapping_add(varint::take_signed(&mut from)?);
            let (kind, rest) = from.split_first()?;
            from = rest;
            if *kind == FLOAT {
                let (bytes, rest) = from.split_first_chunk::<8>()?;
                from = rest;
                to.push_float(time, f64::from_bits(u64::from_le_bytes(*bytes)));
            } else {
                let histogram = Arc::new(record::take(&mut from, before.as_deref())?);
                to.push_native(time, Arc::clone(&histogram));
                before = Some(histogram);
            }
            Some(())
        };
        while next().is_some() {}
    }
}

/// Appends `columns` as groups to a chunk that begins at `start`.
pub(super) fn push_groups(to: &mut Vec<u8>, start: i64, columns: &Columns) {
    let mut begin = 0;
    let mut layout: Option<&Arc<Histogram>> = None;
    for (at, value) in columns.values.iter().enumerate() {
        let Some(found) = columns.native(*value) else { continue };
        if layout.is_some_and(|layout| !record::same_layout(layout, found)) {
            push_group(to, start, columns, begin..at);
            begin = at;
        }
        layout = Some(found);
    }
    push_group(to, start, columns, begin..columns.values.len());
}

fn push_group(to: &mut Vec<u8>, start: i64, columns: &Columns, range: std::ops::Range<usize>) {
    let (times, values) = (&columns.times[range.clone()], &columns.values[range]);
    if times.is_empty() {
        return;
    }
    let natives: Vec<Option<&Arc<Histogram>>> =
        values.iter().map(|value| columns.native(*value)).collect();
    let mut bytes = vec![times.len() as u8];
    let all = natives.iter().all(Option::is_some);
    bytes.push(u8::from(all));
    if !all {
        for eight in natives.chunks(8) {
            let bit = |(n, native): (usize, &Option<_>)| u8::from(native.is_some()) << n;
            bytes.push(eight.iter().enumerate().map(bit).sum());
        }
    }
    column::push_times(&mut bytes, start, times);
    let none = Arc::new(Histogram::default());
    let first = natives.iter().flatten().next().copied().unwrap_or(&none);
    record::push_layout(&mut bytes, first);
    let indices = |side: fn(&Histogram) -> &Buckets| -> BTreeSet<i32> {
        natives.iter().flatten().flat_map(|h| side(h).iter().map(|(index, _)| *index)).collect()
    };
    let (positive, negative) = (indices(|h| &h.positive), indices(|h| &h.negative));
    record::push_indices(&mut bytes, positive.iter().copied());
    record::push_indices(&mut bytes, negative.iter().copied());
    // A float goes on with the counts before it, so that they change no more than they do.
    let mut column = |of: &mut dyn FnMut(&Histogram) -> f64, float: bool| {
        let mut before = of(first);
        let values: Vec<f64> = natives
            .iter()
            .zip(values)
            .map(|(native, value)| {
                match native {
                    Some(native) => before = of(native),
                    None if float => return *value,
                    None => {}
                }
                before
            })
            .collect();
        column::push(&mut bytes, &values);
    };
    column(&mut |h| f64::from(record::reset_number(h.reset)), false);
    column(&mut |h| h.sum, true);
    column(&mut |h| h.count, false);
    column(&mut |h| h.zero_count, false);
    let count = |side: &Buckets, index: i32| {
        side.binary_search_by_key(&index, |(at, _)| *at).map_or(0.0, |at| side[at].1)
    };
    for index in positive {
        column(&mut |h| count(&h.positive, index), false);
    }
    for index in negative {
        column(&mut |h| count(&h.negative, index), false);
    }
    column::push_padding(&mut bytes);
    varint::push_bytes(to, &bytes);
}

/// Appends the samples of `span` that lie in the groups `bytes` and before `end`.
pub(super) fn read_groups(mut bytes: &[u8], start: i64, span: Span, to: &mut Columns) {
    while let Some(group) = varint::take_bytes(&mut bytes) {
        if read_group(group, start, span, to).is_none() {
            return;
        }
    }
}

/// `None` where nothing behind it is of the span, or it is damaged.
fn read_group(mut from: &[u8], start: i64, span: Span, to: &mut Columns) -> Option<()> {
    let from = &mut from;
    let (&[count, kinds], rest) = from.split_first_chunk()?;
    *from = rest;
    let count = usize::from(count);
    let bits = if kinds == NATIVE {
        &[][..]
    } else {
        let (bits, rest) = from.split_at_checked(count.div_ceil(8))?;
        *from = rest;
        bits
    };
    let is_native = |n: usize| bits.get(n / 8).is_none_or(|bits| bits >> (n % 8) & 1 == 1);
    let times = column::take_times(from, start, count)?;
    let behind = times.partition_point(|time| *time <= span.to);
    let early = times[..behind].partition_point(|time| *time < span.from);
    if behind == 0 {
        return None;
    }
    if early == behind {
        return Some(());
    }
    let layout = record::take_layout(from)?;
    let (positive, negative) = (record::take_indices(from)?, record::take_indices(from)?);
    let width = FIXED + positive.len() + negative.len();
    let mut cells = Vec::new();
    for _ in 0..width {
        let column = Column::take(from, count)?;
        let begin = cells.len();
        cells.resize(begin + behind, 0.0);
        column.read(&mut cells[begin..])?;
    }
    let cell = |column: usize, n: usize| cells[column * behind + n];
    for (n, &time) in times.iter().enumerate().take(behind).skip(early) {
        if !is_native(n) {
            to.push_float(time, cell(1, n));
            continue;
        }
        let side = |indices: &[i32], begin: usize| -> Buckets {
            let buckets = indices.iter().enumerate();
            let buckets = buckets.map(|(at, index)| (*index, cell(begin + at, n)));
            buckets.filter(|(_, count)| *count != 0.0).collect()
        };
        let histogram = Histogram {
            reset: record::reset_of(cell(0, n) as u8),
            sum: cell(1, n),
            count: cell(2, n),
            zero_count: cell(3, n),
            positive: side(&positive, FIXED),
            negative: side(&negative, FIXED + positive.len()),
            bounds: Arc::clone(&layout.bounds),
            ..layout
        };
        to.push_native(time, Arc::new(histogram));
    }
    Some(())
}
