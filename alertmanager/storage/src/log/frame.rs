//! The payload of a frame: definitions of series, samples, deletions.
//!
//! ```text
//! sample   varint: (slot - slot before, signed) * 4 + tag
//!          signed varint: time - first time, only where the times of the frame differ
//!          tag 0: the value as before; 1: signed varint, how much it rose; 2: its 8 bytes
//!          3: flags, 1 byte (1 histogram, 2 late, 4 start); signed varint: start - time, if flagged;
//!             8 bytes of the value, or the length and the bytes of the histogram
//! deletion behind the samples, where there are any: labels, from, to (signed varints)
//! exemplar in a frame without anything else, behind a mark; see `exemplars/bytes.rs`
//! ```
//!
//! Invariant: a difference refers to the sample of the same series before it in the same segment, of
//! which a late one is none; a start holds until another is told.

use std::sync::Arc;

use base::histogram::Histogram;
use base::labels::Labels;
use base::sample::Timestamp;

use crate::chunk::Span;
use crate::exemplars::bytes::{self, Of};
use crate::{Exemplar, record, varint};

const SAME: u64 = 0;
const ROSE: u64 = 1;
const RAW: u64 = 2;
const OTHER: u64 = 3;

const NATIVE: u8 = 1;
const LATE: u8 = 2;
const START: u8 = 4;

/// A sample on its way into the log.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Logged {
    pub(crate) slot: u32,
    pub(crate) time: Timestamp,
    pub(crate) value: f64,
    /// The value before it in this segment.
    pub(crate) before: Option<f64>,
    /// Its place among what is told of some, from 1; 0 where there is no more to tell.
    pub(crate) more: u32,
}

/// What there is to tell of a sample that is no ordinary float.
#[derive(Clone, Debug, Default)]
pub(crate) struct More {
    /// Older than the last of its series.
    pub(crate) late: bool,
    /// Since when it counts, where that is news.
    pub(crate) start: Option<i64>,
    /// The histogram that it is, and the one before it in this segment.
    pub(crate) native: Option<(Arc<Histogram>, Option<Arc<Histogram>>)>,
}

/// What one append writes.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    pub(crate) definitions: Vec<(u32, Labels)>,
    pub(crate) samples: Vec<Logged>,
    pub(crate) more: Vec<More>,
    pub(crate) deletions: Vec<(Labels, Span)>,
}

impl More {
    fn encode(&self, sample: &Logged, to: &mut Vec<u8>) {
        let flag = |is: bool, flag: u8| if is { flag } else { 0 };
        let native = self.native.is_some();
        to.push(flag(native, NATIVE) | flag(self.late, LATE) | flag(self.start.is_some(), START));
        if let Some(start) = self.start {
            varint::push_signed(to, start.wrapping_sub(sample.time.millis()));
        }
        match &self.native {
            Some((histogram, before)) => {
                let mut bytes = Vec::new();
                record::push(&mut bytes, histogram, before.as_deref());
                varint::push_bytes(to, &bytes);
            }
            None => to.extend_from_slice(&sample.value.to_le_bytes()),
        }
    }
}

fn whole(value: f64) -> Option<i64> {
    // `fract` would be a call for every sample.
    let number = value as i64;
    (number as f64 == value && value.abs() < (1_i64 << 53) as f64).then_some(number)
}

/// How much a whole number rose to another.
fn rise(before: f64, value: f64) -> Option<i64> {
    // Minus zero would come back as zero.
    let is_negative_zero = value == 0.0 && value.is_sign_negative();
    Some(whole(value)? - whole(before)?).filter(|_| !is_negative_zero)
}

impl Batch {
    pub(crate) fn clear(&mut self) {
        self.definitions.clear();
        self.samples.clear();
        self.more.clear();
        self.deletions.clear();
    }

    pub(crate) fn encode(&self, to: &mut Vec<u8>) {
        varint::push(to, self.definitions.len() as u64);
        for (slot, labels) in &self.definitions {
            varint::push(to, u64::from(*slot));
            varint::push_bytes(to, labels.as_encoded().as_bytes());
        }
        let first = self.samples.first().map_or(Timestamp::default(), |sample| sample.time);
        let differ = self.samples.iter().any(|sample| sample.time != first);
        varint::push(to, self.samples.len() as u64 * 2 + u64::from(differ));
        varint::push_signed(to, first.millis());
        let mut slot_before = 0;
        for sample in &self.samples {
            let more = self.more.get((sample.more as usize).wrapping_sub(1));
            let is_same = |before: f64| before.to_bits() == sample.value.to_bits();
            let (tag, rose) = match sample.before {
                _ if more.is_some() => (OTHER, 0),
                Some(before) if is_same(before) => (SAME, 0),
                Some(before) => rise(before, sample.value).map_or((RAW, 0), |rose| (ROSE, rose)),
                None => (RAW, 0),
            };
            let step = i64::from(sample.slot) - slot_before;
            slot_before = i64::from(sample.slot);
            varint::push(to, (((step << 1) ^ (step >> 63)) as u64) << 2 | tag);
            if differ {
                varint::push_signed(to, sample.time.millis().wrapping_sub(first.millis()));
            }
            if let Some(more) = more {
                more.encode(sample, to);
                continue;
            }
            match tag {
                ROSE => varint::push_signed(to, rose),
                RAW => to.extend_from_slice(&sample.value.to_le_bytes()),
                _ => {}
            }
        }
        for (labels, span) in &self.deletions {
            varint::push_bytes(to, labels.as_encoded().as_bytes());
            varint::push_signed(to, span.from);
            varint::push_signed(to, span.to);
        }
    }

    /// Reads a payload, handing over what is in it in order.
    pub(crate) fn decode<'a>(
        mut from: &'a [u8],
        mut each: impl FnMut(Told<'a>) -> Option<()>,
    ) -> Option<()> {
        if let Some(mut rest) = bytes::behind_mark(from) {
            while !rest.is_empty() {
                let (of, exemplar) = bytes::take(&mut rest)?;
                each(Told::Exemplar(of, exemplar))?;
            }
            return Some(());
        }
        let from = &mut from;
        for _ in 0..varint::take(from)? {
            let slot = u32::try_from(varint::take(from)?).ok()?;
            each(Told::Definition(slot, labels(from)?))?;
        }
        let count = varint::take(from)?;
        let differ = count & 1 == 1;
        let first = varint::take_signed(from)?;
        let mut slot = 0_i64;
        for _ in 0..count / 2 {
            let head = varint::take(from)?;
            let (step, tag) = (head >> 2, head & 3);
            slot = slot.checked_add((step >> 1) as i64 ^ -((step & 1) as i64))?;
            let time = if differ { first.wrapping_add(varint::take_signed(from)?) } else { first };
            let change = match tag {
                SAME => Change::Same,
                ROSE => Change::Rose(varint::take_signed(from)?),
                RAW => Change::Raw(take_float(from)?),
                _ => Change::Other(Other::take(from, time)?),
            };
            let slot = u32::try_from(slot).ok()?;
            each(Told::Sample(slot, Timestamp::from_millis(time), change))?;
        }
        while !from.is_empty() {
            let labels = labels(from)?;
            let (from, to) = (varint::take_signed(from)?, varint::take_signed(from)?);
            each(Told::Deletion(labels, Span { from, to }))?;
        }
        Some(())
    }
}

fn labels(from: &mut &[u8]) -> Option<Labels> {
    Labels::from_encoded(std::str::from_utf8(varint::take_bytes(from)?).ok()?)
}

fn take_float(from: &mut &[u8]) -> Option<f64> {
    let (bytes, rest) = from.split_first_chunk::<8>()?;
    *from = rest;
    Some(f64::from_le_bytes(*bytes))
}

/// What a payload holds, piece by piece.
#[derive(Debug)]
pub(crate) enum Told<'a> {
    /// From now on a slot stands for this series.
    Definition(u32, Labels),
    /// A sample of the series of a slot.
    Sample(u32, Timestamp, Change<'a>),
    /// The samples of a series in a span have been deleted.
    Deletion(Labels, Span),
    /// An example of what a series counted.
    Exemplar(Of, Exemplar),
}

/// How a value follows from the one before it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Change<'a> {
    Same,
    Rose(i64),
    Raw(f64),
    Other(Other<'a>),
}

/// A sample that is no ordinary float.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Other<'a> {
    pub(crate) late: bool,
    pub(crate) start: Option<i64>,
    /// The float, or the bytes of a histogram.
    pub(crate) held: Result<f64, &'a [u8]>,
}

impl<'a> Other<'a> {
    fn take(from: &mut &'a [u8], time: i64) -> Option<Self> {
        let (flags, rest) = from.split_first()?;
        *from = rest;
        let start = match flags & START {
            0 => None,
            _ => Some(time.wrapping_add(varint::take_signed(from)?)),
        };
        let held = match flags & NATIVE {
            0 => Ok(take_float(from)?),
            _ => Err(varint::take_bytes(from)?),
        };
        Some(Self { late: flags & LATE != 0, start, held })
    }
}

impl Change<'_> {
    /// The value, if it is a float.
    pub(crate) fn after(self, before: f64) -> Option<f64> {
        match self {
            Self::Same => Some(before),
            Self::Rose(by) => Some((before as i64).wrapping_add(by) as f64),
            Self::Raw(value) => Some(value),
            Self::Other(other) => other.held.ok(),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn reads_what_was_written(samples in prop::collection::vec(
            (any::<u32>(), any::<i64>(), any::<f64>(), prop::option::of((-5_i64..5).prop_map(|n| n as f64))), 0..50
        )) {
            let logged = |&(slot, time, value, before): &(u32, i64, f64, Option<f64>)| Logged {
                slot, time: Timestamp::from_millis(time), value: if slot % 2 == 0 { value.round() } else { value }, before, more: 0,
            };
            let batch = Batch {
                definitions: vec![(3, Labels::from_pairs([("a", "b")]))],
                samples: samples.iter().map(logged).collect(),
                deletions: vec![(Labels::from_pairs([("c", "d")]), Span { from: -5, to: 7 })],
                ..Batch::default()
            };
            let mut bytes = Vec::new();
            batch.encode(&mut bytes);
            let (mut defined, mut deleted, mut read) = (0, 0, Vec::new());
            Batch::decode(&bytes, |told| {
                match told {
                    Told::Definition(..) => defined += 1,
                    Told::Deletion(_, span) => deleted += span.to,
                    Told::Sample(slot, time, change) => read.push((slot, time, change)),
                    Told::Exemplar(..) => return None,
                }
                Some(())
            }).unwrap();
            prop_assert_eq!((defined, deleted, read.len()), (1, 7, batch.samples.len()));
            for ((slot, time, change), sample) in read.into_iter().zip(&batch.samples) {
                prop_assert_eq!((slot, time), (sample.slot, sample.time));
                let value = change.after(sample.before.unwrap_or(0.0)).unwrap();
                prop_assert_eq!(value.to_bits(), sample.value.to_bits());
            }
        }

        #[test]
        fn garbage_does_no_harm(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            let _ = Batch::decode(&bytes, |_| Some(()));
        }
    }
}
