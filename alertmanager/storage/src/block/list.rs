//! The numbers of the series that have a label, in few bytes.
//!
//! ```text
//! runs      gap to the run before it, numbers in it but for one; each a varint
//! list      0, runs; or 1, runs packed, where that is smaller
//! ```
//!
//! Series are numbered in the order of their labels, so a metric is one run, and a target comes back in
//! a pattern: both take a few bytes, whatever the number of series.
//!
//! Invariant: what is read has no number that is not below the number of series.

use std::io;

use roaring::RoaringBitmap;

use super::packed::{Packer, unpack};
use crate::varint;

const PLAIN: u8 = 0;
const PACKED: u8 = 1;
/// Shorter ones are not worth a try.
const WORTH_PACKING: usize = 32;

pub(super) fn encode(list: &RoaringBitmap, packer: &mut Packer) -> io::Result<Vec<u8>> {
    let (mut bytes, mut next, mut runs) = (vec![PLAIN], 0_u64, list.iter());
    while let Some(run) = runs.next_range() {
        let (first, last) = (u64::from(*run.start()), u64::from(*run.end()));
        varint::push(&mut bytes, first - next);
        varint::push(&mut bytes, last - first);
        next = last + 1;
    }
    if bytes.len() > WORTH_PACKING {
        let packed = packer.pack(&bytes[1..])?;
        if packed.len() + 1 < bytes.len() {
            bytes.clear();
            bytes.push(PACKED);
            bytes.extend_from_slice(&packed);
        }
    }
    Ok(bytes)
}

/// Adds the numbers of a list, all below `series`.
pub(super) fn decode(bytes: &[u8], series: u64, to: &mut RoaringBitmap) -> Option<()> {
    let (form, rest) = bytes.split_first()?;
    let unpacked;
    let mut rest = match *form {
        PLAIN => rest,
        PACKED => {
            unpacked = unpack(rest)?;
            unpacked.as_slice()
        }
        _ => return None,
    };
    let mut next = 0_u64;
    while !rest.is_empty() {
        let first = next.checked_add(varint::take(&mut rest)?)?;
        let last = first.checked_add(varint::take(&mut rest)?).filter(|last| *last < series)?;
        to.insert_range(u32::try_from(first).ok()?..=u32::try_from(last).ok()?);
        next = last + 1;
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn patterns_are_short() {
        let mut packer = Packer::default();
        let all: RoaringBitmap = (0..200_000).collect();
        assert!(encode(&all, &mut packer).unwrap().len() < 8);
        // Two series of each handler for one of two hundred targets.
        let target: RoaringBitmap = (0..500).flat_map(|n| [n * 400 + 14, n * 400 + 15]).collect();
        assert!(encode(&target, &mut packer).unwrap().len() < 40);
    }

    proptest! {
        #[test]
        fn reads_what_was_written(numbers in prop::collection::btree_set(0_u32..5000, 0..800)) {
            let list: RoaringBitmap = numbers.into_iter().collect();
            let bytes = encode(&list, &mut Packer::default()).unwrap();
            let mut read = RoaringBitmap::new();
            decode(&bytes, 5000, &mut read).unwrap();
            prop_assert_eq!(&read, &list);
            let last = list.max().unwrap_or(0);
            prop_assert_eq!(decode(&bytes, last.into(), &mut read).is_none(), !list.is_empty());
        }

        #[test]
        fn garbage_does_no_harm(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
            let mut read = RoaringBitmap::new();
            let _ = decode(&bytes, 100, &mut read);
            prop_assert!(read.max().is_none_or(|last| last < 100));
        }
    }
}
