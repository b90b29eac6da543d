//! Bytes that are small on the disk: deflated, behind their length.
//!
//! Deflate, because flate2 is in the tree and written in Rust; what lies in here is a tenth of a block.
//!
//! Invariant: damaged bytes give nothing, and cost no more memory than what could come of them.

use std::io;

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

use crate::varint;

/// Deflate makes no more of a byte than this.
const MOST_OF_A_BYTE: usize = 1032;

/// Packs pieces, one after the other.
#[derive(Debug)]
pub(super) struct Packer(Compress);

impl Default for Packer {
    fn default() -> Self {
        Self(Compress::new(Compression::new(6), false))
    }
}

impl Packer {
    /// `bytes` packed, for [`unpack`].
    pub(super) fn pack(&mut self, bytes: &[u8]) -> io::Result<Vec<u8>> {
        self.0.reset();
        let mut packed = Vec::with_capacity(bytes.len() / 2 + 64);
        varint::push(&mut packed, bytes.len() as u64);
        loop {
            let read = usize::try_from(self.0.total_in()).map_err(io::Error::other)?;
            let rest = bytes.get(read..).unwrap_or_default();
            let status = self.0.compress_vec(rest, &mut packed, FlushCompress::Finish);
            if status.map_err(io::Error::other)? == Status::StreamEnd {
                return Ok(packed);
            }
            packed.reserve(packed.capacity().max(64));
        }
    }
}

/// What [`Packer::pack`] was given; all of `packed` must be of it.
pub(super) fn unpack(mut packed: &[u8]) -> Option<Vec<u8>> {
    let length = usize::try_from(varint::take(&mut packed)?).ok()?;
    if length > packed.len().saturating_mul(MOST_OF_A_BYTE) {
        return None;
    }
    // One byte more, so that what is too long is seen.
    let mut bytes = Vec::with_capacity(length + 1);
    let status = Decompress::new(false).decompress_vec(packed, &mut bytes, FlushDecompress::Finish);
    (status.ok()? == Status::StreamEnd && bytes.len() == length).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn pieces_come_back_one_after_the_other() {
        let mut packer = Packer::default();
        let noise: Vec<u8> =
            (0..70_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
        for piece in [&b""[..], b"a", &[7; 1 << 20], &noise, &noise[..100]] {
            let packed = packer.pack(piece).unwrap();
            assert_eq!(unpack(&packed).unwrap(), piece);
            assert!(packed.len() < piece.len() + piece.len() / 50 + 16, "{}", packed.len());
            assert_eq!(unpack(&packed[..packed.len() - 1]), None);
        }
    }

    #[test]
    fn a_length_that_cannot_be_costs_nothing() {
        let mut packed = Vec::new();
        varint::push(&mut packed, u64::MAX);
        packed.extend_from_slice(&[0; 20]);
        assert_eq!(unpack(&packed), None);
    }

    proptest! {
        #[test]
        fn garbage_does_no_harm(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
            let _ = unpack(&bytes);
        }
    }
}
