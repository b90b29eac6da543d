//! Whole numbers in as few bytes as they need: seven bits a byte, the lowest first.
//!
//! Invariant: reading past the end or over 64 bits gives `None`.

#[inline]
pub(crate) fn push(to: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        to.push(value as u8 | 0x80);
        value >>= 7;
    }
    to.push(value as u8);
}

/// Numbers near zero, of either sign, stay short.
#[inline]
pub(crate) fn push_signed(to: &mut Vec<u8>, value: i64) {
    push(to, ((value << 1) ^ (value >> 63)) as u64);
}

pub(crate) fn push_bytes(to: &mut Vec<u8>, bytes: &[u8]) {
    push(to, bytes.len() as u64);
    to.extend_from_slice(bytes);
}

pub(crate) fn take(from: &mut &[u8]) -> Option<u64> {
    let (mut value, mut shift) = (0_u64, 0);
    loop {
        let (byte, rest) = from.split_first()?;
        *from = rest;
        value |= u64::from(byte & 0x7f).checked_shl(shift).filter(|_| shift < 64)?;
        if byte & 0x80 == 0 {
            return Some(value);
        }
        shift += 7;
    }
}

pub(crate) fn take_signed(from: &mut &[u8]) -> Option<i64> {
    take(from).map(|raw| (raw >> 1) as i64 ^ -((raw & 1) as i64))
}

pub(crate) fn take_bytes<'a>(from: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = usize::try_from(take(from)?).ok()?;
    let (bytes, rest) = from.split_at_checked(length)?;
    *from = rest;
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn reads_what_was_written(signed in any::<i64>(), unsigned in any::<u64>(), text in ".*") {
            let mut bytes = Vec::new();
            push_signed(&mut bytes, signed);
            push(&mut bytes, unsigned);
            push_bytes(&mut bytes, text.as_bytes());
            let mut rest = bytes.as_slice();
            prop_assert_eq!(take_signed(&mut rest), Some(signed));
            prop_assert_eq!(take(&mut rest), Some(unsigned));
            prop_assert_eq!(take_bytes(&mut rest), Some(text.as_bytes()));
            prop_assert_eq!(take(&mut rest), None);
        }

        #[test]
        fn garbage_does_no_harm(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            let mut rest = bytes.as_slice();
            while take_bytes(&mut rest).is_some() {}
        }
    }
}
