//! Exemplars as bytes, in the log and in the head on the disk.
//!
//! ```text
//! mark       a varint of 2^64 - 1, which nothing else there begins with
//! exemplar   slot of its series + 1, or 0 and the labels of the series; labels, time, value (8 bytes)
//! ```
//!
//! Invariant: what is read was written so, or is told as nothing.

use base::labels::Labels;
use base::sample::Timestamp;

use super::Exemplar;
use crate::varint;

const MARK: u64 = u64::MAX;

/// Which series an exemplar is of.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Of {
    /// That which the segment of the log has defined by this slot.
    Slot(u32),
    Series(Labels),
}

pub(crate) fn push_mark(to: &mut Vec<u8>) {
    varint::push(to, MARK);
}

/// The exemplars of a payload, if it holds those.
pub(crate) fn behind_mark(mut payload: &[u8]) -> Option<&[u8]> {
    (varint::take(&mut payload) == Some(MARK)).then_some(payload)
}

/// Writes an exemplar of `series`, which has `slot` where that is enough.
pub(crate) fn push(to: &mut Vec<u8>, slot: Option<u32>, series: &Labels, exemplar: &Exemplar) {
    varint::push(to, slot.map_or(0, |slot| u64::from(slot) + 1));
    if slot.is_none() {
        varint::push_bytes(to, series.as_encoded().as_bytes());
    }
    varint::push_bytes(to, exemplar.labels.as_encoded().as_bytes());
    varint::push_signed(to, exemplar.timestamp.millis());
    to.extend_from_slice(&exemplar.value.to_le_bytes());
}

pub(crate) fn take(from: &mut &[u8]) -> Option<(Of, Exemplar)> {
    let of = match varint::take(from)? {
        0 => Of::Series(labels(from)?),
        slot => Of::Slot(u32::try_from(slot - 1).ok()?),
    };
    let labels = labels(from)?;
    let timestamp = Timestamp::from_millis(varint::take_signed(from)?);
    let (value, rest) = from.split_first_chunk::<8>()?;
    *from = rest;
    Some((of, Exemplar { labels, value: f64::from_le_bytes(*value), timestamp }))
}

fn labels(from: &mut &[u8]) -> Option<Labels> {
    Labels::from_encoded(std::str::from_utf8(varint::take_bytes(from)?).ok()?)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn reads_what_was_written(
            slot in prop::option::of(any::<u32>()), time in any::<i64>(), trace in "[a-z0-9é]{1,40}"
        ) {
            let labels = Labels::from_pairs([("trace_id", &*trace)]);
            let timestamp = Timestamp::from_millis(time);
            let exemplar = Exemplar { labels, value: time as f64 / 3.0, timestamp };
            let series = Labels::from_pairs([("__name__", &*trace)]);
            let mut bytes = Vec::new();
            push_mark(&mut bytes);
            push(&mut bytes, slot, &series, &exemplar);
            let mut rest = behind_mark(&bytes).unwrap();
            let of = slot.map_or(Of::Series(series), Of::Slot);
            prop_assert_eq!(take(&mut rest), Some((of, exemplar)));
            prop_assert!(rest.is_empty());
            for cut in 11..bytes.len() {
                prop_assert_eq!(take(&mut &bytes[10..cut]), None);
            }
        }

        #[test]
        fn garbage_does_no_harm(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            let _ = take(&mut bytes.as_slice());
            let _ = behind_mark(&bytes);
        }
    }
}
