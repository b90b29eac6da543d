//! The payload of a frame: definitions of series, then samples.
//!
//! ```text
//! sample   varint: (slot - slot before, signed) * 4 + tag
//!          signed varint: time - first time, only where the times of the frame differ
//!          tag 0: the value as before; 1: signed varint, how much it rose; 2: its 8 bytes
//! ```
//!
//! Invariant: a difference refers to the sample of the same series before it in the same segment.

use base::labels::Labels;
use base::sample::Timestamp;

use crate::varint;

const SAME: u64 = 0;
const ROSE: u64 = 1;
const RAW: u64 = 2;

/// A sample on its way into the log.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Logged {
    pub(crate) slot: u32,
    pub(crate) time: Timestamp,
    pub(crate) value: f64,
    /// The value before it in this segment.
    pub(crate) before: Option<f64>,
}

/// What one append writes.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    pub(crate) definitions: Vec<(u32, Labels)>,
    pub(crate) samples: Vec<Logged>,
}

fn whole(value: f64) -> Option<i64> {
    (value.fract() == 0.0 && value.abs() < (1_i64 << 53) as f64).then_some(value as i64)
}

impl Batch {
    pub(crate) fn clear(&mut self) {
        self.definitions.clear();
        self.samples.clear();
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
            let rose = sample.before.and_then(|before| {
                // Minus zero would come back as zero.
                let negative_zero = sample.value == 0.0 && sample.value.is_sign_negative();
                Some(whole(sample.value)? - whole(before)?).filter(|_| !negative_zero)
            });
            let tag = match (sample.before, rose) {
                (Some(before), _) if before.to_bits() == sample.value.to_bits() => SAME,
                (_, Some(_)) => ROSE,
                _ => RAW,
            };
            let step = i64::from(sample.slot) - slot_before;
            slot_before = i64::from(sample.slot);
            varint::push(to, (((step << 1) ^ (step >> 63)) as u64) << 2 | tag);
            if differ {
                varint::push_signed(to, sample.time.millis().wrapping_sub(first.millis()));
            }
            match (tag, rose) {
                (ROSE, Some(rose)) => varint::push_signed(to, rose),
                (RAW, _) => to.extend_from_slice(&sample.value.to_le_bytes()),
                _ => {}
            }
        }
    }

    /// Reads a payload, handing definitions to `define` and samples to `sample`. The latter gets
    /// a function of the value before to the value, and gives the value back.
    pub(crate) fn decode(
        mut from: &[u8],
        mut define: impl FnMut(u32, Labels),
        mut sample: impl FnMut(u32, Timestamp, Change),
    ) -> Option<()> {
        let from = &mut from;
        for _ in 0..varint::take(from)? {
            let slot = u32::try_from(varint::take(from)?).ok()?;
            let text = std::str::from_utf8(varint::take_bytes(from)?).ok()?;
            define(slot, Labels::from_encoded(text)?);
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
                RAW => {
                    let (bytes, rest) = from.split_first_chunk::<8>()?;
                    *from = rest;
                    Change::Raw(f64::from_le_bytes(*bytes))
                }
                _ => return None,
            };
            sample(u32::try_from(slot).ok()?, Timestamp::from_millis(time), change);
        }
        from.is_empty().then_some(())
    }
}

/// How a value follows from the one before it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Change {
    Same,
    Rose(i64),
    Raw(f64),
}

impl Change {
    pub(crate) fn after(self, before: f64) -> f64 {
        match self {
            Self::Same => before,
            Self::Rose(by) => (before as i64).wrapping_add(by) as f64,
            Self::Raw(value) => value,
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
                slot, time: Timestamp::from_millis(time), value: if slot % 2 == 0 { value.round() } else { value }, before,
            };
            let batch = Batch {
                definitions: vec![(3, Labels::from_pairs([("a", "b")]))],
                samples: samples.iter().map(logged).collect(),
            };
            let mut bytes = Vec::new();
            batch.encode(&mut bytes);
            let (mut defined, mut read) = (0, Vec::new());
            Batch::decode(&bytes, |_, _| defined += 1, |slot, time, change| read.push((slot, time, change))).unwrap();
            prop_assert_eq!((defined, read.len()), (1, batch.samples.len()));
            for ((slot, time, change), sample) in read.into_iter().zip(&batch.samples) {
                prop_assert_eq!((slot, time), (sample.slot, sample.time));
                let value = change.after(sample.before.unwrap_or(0.0));
                prop_assert_eq!(value.to_bits(), sample.value.to_bits());
            }
        }

        #[test]
        fn garbage_does_no_harm(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            let _ = Batch::decode(&bytes, |_, _| {}, |_, _, _| {});
        }
    }
}
