//! What has been deleted from a block of Prometheus and still stands in it.
//!
//! ```text
//! magic, version     5 bytes
//! deletions          series by its place in the index / 16, from, to (both included)
//! sum                of the deletions
//! ```
//!
//! Invariant: a file that is not sound is told as damaged: what was deleted does not come back.

use std::collections::HashMap;

use super::crc::castagnoli;
use crate::chunk::Span;
use crate::varint;

const MAGIC: [u8; 4] = [0x01, 0x30, 0xba, 0x30];
const VERSION: u8 = 1;

/// The spans that are gone, by series.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Tombstones(HashMap<u64, Vec<Span>>);

impl Tombstones {
    pub(super) fn read(bytes: &[u8]) -> Result<Self, &'static str> {
        let (body, sum) = bytes.split_last_chunk::<4>().ok_or("it is cut off")?;
        let body = body.strip_prefix(&MAGIC).ok_or("it does not begin as tombstones do")?;
        let Some((&VERSION, mut from)) = body.split_first() else {
            return Err("it is not of version 1");
        };
        if castagnoli(from) != u32::from_be_bytes(*sum) {
            return Err("it has a wrong sum");
        }
        let mut all: HashMap<u64, Vec<Span>> = HashMap::new();
        while !from.is_empty() {
            let (series, span) = one(&mut from).ok_or("a deletion is damaged")?;
            all.entry(series).or_default().push(span);
        }
        Ok(Self(all))
    }

    /// Those of the series at a place of the index.
    pub(super) fn of(&self, at: usize) -> &[Span] {
        self.0.get(&(at as u64 / 16)).map_or(&[], Vec::as_slice)
    }
}

fn one(from: &mut &[u8]) -> Option<(u64, Span)> {
    let series = varint::take(from)?;
    Some((series, Span { from: varint::take_signed(from)?, to: varint::take_signed(from)? }))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn file(deletions: &[u8]) -> Vec<u8> {
        let mut bytes = [&MAGIC[..], &[VERSION], deletions].concat();
        bytes.extend(castagnoli(deletions).to_be_bytes());
        bytes
    }

    #[test]
    fn only_what_is_sound_is_read() {
        assert_eq!(Tombstones::read(&file(&[])), Ok(Tombstones::default()));
        // Series 5 from -1 to 2, series 300 from 0 to 0, series 5 again from 3 to 4.
        let bytes = file(&[5, 1, 4, 0xac, 2, 0, 0, 5, 6, 8]);
        let found = Tombstones::read(&bytes).unwrap();
        let spans = |at| found.of(at).iter().map(|span| (span.from, span.to)).collect::<Vec<_>>();
        assert_eq!(spans(80), [(-1, 2), (3, 4)]);
        assert_eq!((spans(4800), spans(96)), (vec![(0, 0)], vec![]));
        for at in 0..bytes.len() {
            assert!(Tombstones::read(&bytes[..at]).is_err(), "cut at {at}");
            let mut changed = bytes.clone();
            changed[at] ^= 4;
            assert!(Tombstones::read(&changed).is_err(), "changed at {at}");
        }
        assert_eq!(Tombstones::read(&file(&[5, 1])), Err("a deletion is damaged"));
    }

    proptest! {
        #[test]
        fn garbage_does_no_harm(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
            let _ = Tombstones::read(&bytes);
            let _ = Tombstones::read(&file(&bytes));
        }
    }
}
