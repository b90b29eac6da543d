//! A string of bits, written and read from the highest bit of each byte down.
//!
//! Invariant: reading past the end gives `None`, never a panic.

/// Bits being written.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct BitWriter {
    bytes: Vec<u8>,
    /// How many bits of the last byte are still free.
    free: u32,
}

impl BitWriter {
    pub(crate) fn with_capacity(bytes: usize) -> Self {
        Self { bytes: Vec::with_capacity(bytes), free: 0 }
    }

    /// Writes the lowest `count` bits of `value`, at most 64.
    #[inline]
    pub(crate) fn write(&mut self, value: u64, count: u32) {
        let mut left = count;
        while left > 0 {
            if self.free == 0 {
                self.bytes.push(0);
                self.free = 8;
            }
            let take = left.min(self.free);
            let part = (value >> (left - take)) & (u64::MAX >> (64 - take));
            self.free -= take;
            left -= take;
            if let Some(last) = self.bytes.last_mut() {
                *last |= (part as u8) << self.free;
            }
        }
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(crate) fn capacity(&self) -> usize {
        self.bytes.capacity()
    }
}

/// Bits being read. The reading is inlined where it is used: left to itself the compiler makes calls
/// of it, and a call for each few bits costs a third of a query over many series.
#[derive(Clone, Debug)]
pub(crate) struct BitReader<'a> {
    bytes: &'a [u8],
    /// Bits that were taken out of `bytes` and not yet given, at the top of the word.
    word: u64,
    available: u32,
}

impl<'a> BitReader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, word: 0, available: 0 }
    }

    #[inline]
    fn refill(&mut self) {
        if let Some((bytes, _)) = self.bytes.split_first_chunk() {
            // The bits behind those that count as available are the ones that come next, so that it
            // does no harm to have them there already.
            self.word |= u64::from_be_bytes(*bytes) >> self.available;
            let taken = (64 - self.available) / 8;
            self.available += taken * 8;
            self.bytes = &self.bytes[taken as usize..];
        } else {
            self.refill_at_the_end();
        }
    }

    #[cold]
    fn refill_at_the_end(&mut self) {
        while self.available <= 56 {
            let Some((byte, rest)) = self.bytes.split_first() else { return };
            self.word |= u64::from(*byte) << (56 - self.available);
            self.available += 8;
            self.bytes = rest;
        }
    }

    /// Reads `count` bits, at most 64.
    #[inline(always)]
    pub(crate) fn read(&mut self, count: u32) -> Option<u64> {
        if count > 56 { self.read_wide(count) } else { self.read_narrow(count) }
    }

    #[inline(never)]
    fn read_wide(&mut self, count: u32) -> Option<u64> {
        let high = self.read_narrow(32)?;
        Some(high << (count - 32) | self.read_narrow(count - 32)?)
    }

    #[inline(always)]
    fn read_narrow(&mut self, count: u32) -> Option<u64> {
        if count == 0 {
            return Some(0);
        }
        if self.available < count {
            self.refill();
            if self.available < count {
                return None;
            }
        }
        let value = self.word >> (64 - count);
        self.word <<= count;
        self.available -= count;
        Some(value)
    }

    /// Reads ones up to the first zero, at most `most`; the zero after `most` ones is not there.
    #[inline(always)]
    pub(crate) fn read_ones(&mut self, most: u32) -> Option<u32> {
        if self.available < most {
            self.refill();
        }
        let ones = self.word.leading_ones().min(most);
        let taken = if ones < most { ones + 1 } else { most };
        if self.available < taken {
            return None;
        }
        self.word <<= taken;
        self.available -= taken;
        Some(ones)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn reads_what_was_written(values in prop::collection::vec((any::<u64>(), 1_u32..=64), 0..200)) {
            let mut writer = BitWriter::default();
            for (value, count) in &values {
                writer.write(*value, *count);
            }
            let mut reader = BitReader::new(writer.bytes());
            for (value, count) in &values {
                prop_assert_eq!(reader.read(*count), Some(value & (u64::MAX >> (64 - count))));
            }
        }
    }

    #[test]
    fn counts_ones() {
        let mut reader = BitReader::new(&[0b1110_1111, 0b1000_0000]);
        assert_eq!(reader.read_ones(5), Some(3));
        assert_eq!(reader.read_ones(5), Some(5));
        assert_eq!(reader.read_ones(5), Some(0));
        assert_eq!(reader.read(6), Some(0));
        assert_eq!(reader.read_ones(5), None);
    }
}
