//! Bits of a chunk, the highest of a byte first.
//!
//! Invariant: behind the end there is nothing.

/// Reads bit by bit.
#[derive(Clone, Debug)]
pub(super) struct Bits<'a> {
    bytes: &'a [u8],
    at: usize,
}

/// The lengths of numbers by how many ones stand before them.
const LENGTHS: [u32; 9] = [0, 3, 6, 9, 12, 18, 25, 56, 64];

impl<'a> Bits<'a> {
    pub(super) fn of(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    pub(super) fn bit(&mut self) -> Option<bool> {
        let byte = self.bytes.get(self.at / 8)?;
        let bit = byte >> (7 - self.at % 8) & 1 == 1;
        self.at += 1;
        Some(bit)
    }

    /// The next `count` bits, at most 64.
    pub(super) fn take(&mut self, count: u32) -> Option<u64> {
        let mut value = 0;
        let mut left = count as usize;
        while left > 0 {
            let byte = *self.bytes.get(self.at / 8)?;
            let free = 8 - self.at % 8;
            let taken = free.min(left);
            let bits = (byte << (self.at % 8)) >> (8 - taken);
            value = value << taken | u64::from(bits);
            self.at += taken;
            left -= taken;
        }
        Some(value)
    }

    pub(super) fn float(&mut self) -> Option<f64> {
        self.take(64).map(f64::from_bits)
    }

    /// A number of seven bits a byte.
    pub(super) fn varint(&mut self) -> Option<u64> {
        let (mut value, mut shift) = (0_u64, 0);
        loop {
            let byte = self.take(8)?;
            value |= (byte & 0x7f).checked_shl(shift).filter(|_| shift < 64)?;
            if byte & 0x80 == 0 {
                return Some(value);
            }
            shift += 7;
        }
    }

    pub(super) fn signed_varint(&mut self) -> Option<i64> {
        self.varint().map(|raw| (raw >> 1) as i64 ^ -((raw & 1) as i64))
    }

    fn length(&mut self) -> Option<u32> {
        let mut ones = 0;
        while ones < 8 && self.bit()? {
            ones += 1;
        }
        Some(LENGTHS[ones])
    }

    /// A number whose length is told by ones before it.
    pub(super) fn unsigned(&mut self) -> Option<u64> {
        let length = self.length()?;
        self.take(length)
    }

    /// The same with a sign.
    pub(super) fn signed(&mut self) -> Option<i64> {
        let length = self.length()?;
        self.take(length).map(|bits| signed(bits, length))
    }
}

/// Bits of so many as a number from just above minus a half of their range up to a half.
pub(super) fn signed(bits: u64, length: u32) -> i64 {
    if length > 0 && length < 64 && bits > 1 << (length - 1) {
        return (bits as i64).wrapping_sub(1 << length);
    }
    bits as i64
}

/// A float that follows from the one before it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Xor {
    pub(super) value: f64,
    leading: u32,
    trailing: u32,
}

impl Xor {
    /// The first of a column.
    pub(super) fn first(bits: &mut Bits<'_>) -> Option<Self> {
        Some(Self { value: bits.float()?, leading: 0, trailing: 0 })
    }

    pub(super) fn next(&mut self, bits: &mut Bits<'_>) -> Option<()> {
        if !bits.bit()? {
            return Some(());
        }
        if bits.bit()? {
            self.leading = bits.take(5)? as u32;
            let meaning = match bits.take(6)? as u32 {
                0 => 64,
                meaning => meaning,
            };
            self.trailing = 64_u32.checked_sub(self.leading)?.checked_sub(meaning)?;
        }
        let meaning = 64 - self.leading - self.trailing;
        let differ = bits.take(meaning)?.checked_shl(self.trailing)?;
        self.value = f64::from_bits(self.value.to_bits() ^ differ);
        Some(())
    }
}
